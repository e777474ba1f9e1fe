package ingest

// kind is what one field of a request looks like on the wire.
type kind uint8

const (
	fixed          kind = iota // size bytes
	text                       // string
	nullableText               // string or null
	blob                       // bytes
	array                      // of structs: each element ends in a tag section in flexible versions
	nullableArray              // the same, or null
	list                       // of primitives: no tag sections
	nullableList               // the same, or null
	nullableStruct             // one struct or null, told apart by a byte
)

// field is one field of a request, present in versions [from, to].
type field struct {
	kind     kind
	size     int
	from, to int16
	of       []field // elements of array and list
}

const newest int16 = 1<<15 - 1

func always(k kind, size int, of []field) field {
	return field{kind: k, size: size, to: newest, of: of}
}

func i8() field                       { return always(fixed, 1, nil) }
func i16() field                      { return always(fixed, 2, nil) }
func i32() field                      { return always(fixed, 4, nil) }
func i64() field                      { return always(fixed, 8, nil) }
func uuid() field                     { return always(fixed, 16, nil) }
func boolean() field                  { return i8() }
func str() field                      { return always(text, 0, nil) }
func nstr() field                     { return always(nullableText, 0, nil) }
func bytesField() field               { return always(blob, 0, nil) }
func structs(of ...field) field       { return always(array, 0, of) }
func nstructs(of ...field) field      { return always(nullableArray, 0, of) }
func listOf(of field) field           { return always(list, 0, []field{of}) }
func nstruct(of ...field) field       { return always(nullableStruct, 0, of) }
func nlistOf(of field) field          { return always(nullableList, 0, []field{of}) }
func (f field) since(v int16) field   { f.from = v; return f }
func (f field) until(v int16) field   { f.to = v; return f }
func (f field) only(a, b int16) field { f.from, f.to = a, b; return f }
func (f field) present(v int16) bool  { return f.from <= v && v <= f.to }
func fields(of ...field) []field      { return of }

// schemaOf returns the request layout of each key that kmsg decodes. Produce and Fetch have decoders of their own.
//
// kmsg bounds a count only by the bytes left and does not bound tag sections at all: a frame of a few bytes keeps its
// tag loop busy for 2^32 rounds, and 1 MiB of zeros turns into 80 MiB of structs. So every such frame is first walked by
// these layouts; what passes costs kmsg an allocation in proportion to the frame and can not fail there.
func schemaOf(key int16) ([]field, bool) {
	switch key {
	case keyListOffsets:
		return fields(i32(), i8().since(2), structs(
			str(), structs(i32(), i32().since(4), i64(), i32().until(0)),
		), i32().since(10)), true
	case keyMetadata:
		return fields(nstructs(uuid().since(10), str().until(9), nstr().since(10)),
			boolean().since(4), boolean().only(8, 10), boolean().since(8)), true
	case keyOffsetCommit:
		return fields(str(), i32().since(1), str().since(1), nstr().since(7), i64().only(2, 4), structs(
			str().until(9), uuid().since(10), structs(i32(), i64(), i64().only(1, 1), i32().since(6), nstr()),
		)), true
	case keyOffsetFetch:
		return fields(
			str().until(7), nstructs(str(), listOf(i32())).only(2, 7), structs(str(), listOf(i32())).until(1),
			structs(str(), nstr().since(9), i32().since(9), nstructs(
				str().until(9), uuid().since(10), listOf(i32()),
			)).since(8),
			boolean().since(7)), true
	case keyFindCoordinator:
		return fields(str().until(3), i8().since(1), listOf(str()).since(4)), true
	case keyJoinGroup:
		return fields(str(), i32(), i32().since(1), str(), nstr().since(5), str(), structs(str(), bytesField()), nstr().since(8)), true
	case keyHeartbeat:
		return fields(str(), i32(), str(), nstr().since(3)), true
	case keyLeaveGroup:
		return fields(str(), str().until(2), structs(str(), nstr(), nstr().since(5)).since(3)), true
	case keySyncGroup:
		return fields(str(), i32(), str(), nstr().since(3), nstr().since(5), nstr().since(5), structs(str(), bytesField())), true
	case keyAPIVersions:
		return fields(str().since(3), str().since(3), nstr().since(5), i32().since(5)), true
	case keyCreateTopics:
		return fields(structs(str(), i32(), i16(), structs(i32(), listOf(i32())), structs(str(), nstr())),
			i32(), boolean().since(1)), true
	case keyDeleteTopics:
		return fields(listOf(str()).until(5), structs(nstr(), uuid()).since(6), i32()), true
	case keyDeleteRecords:
		return fields(structs(str(), structs(i32(), i64())), i32()), true
	case keyInitProducerID:
		return fields(nstr(), i32(), i64().since(3), i16().since(3)), true
	case keyOffsetForLeaderEpoch:
		return fields(i32().since(3), structs(str(), structs(i32(), i32().since(2), i32()))), true
	case keyDescribeConfigs:
		return fields(structs(i8(), str(), nlistOf(str())), boolean().since(1), boolean().since(3)), true
	case keyConsumerHeartbeat:
		return fields(str(), str(), i32(), nstr(), nstr(), i32(), nlistOf(str()), nstr().since(1), nstr(), nstructs(uuid(), listOf(i32()))), true
	case keyConsumerDescribe:
		return fields(listOf(str()), boolean()), true
	case keyDescribeGroups:
		return fields(listOf(str()), boolean().since(3)), true
	case keyListGroups:
		return fields(listOf(str()).since(4), listOf(str()).since(5)), true
	case keyOffsetDelete:
		return fields(str(), structs(str(), structs(i32()))), true
	case keyAlterConfigs:
		return fields(structs(i8(), str(), structs(str(), nstr())), boolean()), true
	case keyDescribeLogDirs:
		return fields(nstructs(str(), listOf(i32()))), true
	case keyCreatePartitions:
		return fields(structs(str(), i32(), nstructs(listOf(i32()))), i32(), boolean()), true
	case keyIncrementalAlterConfigs:
		return fields(structs(i8(), str(), structs(str(), i8(), nstr())), boolean()), true
	case keyListPartitionReassignments:
		return fields(i32(), nstructs(str(), listOf(i32()))), true
	case keyListConfigResources:
		return fields(listOf(i8()).since(1)), true
	case keyDescribeTopicPartitions:
		return fields(structs(str()), i32(), nstruct(str(), i32())), true
	case keyDeleteGroups:
		return fields(listOf(str())), true
	case keyDescribeCluster:
		return fields(boolean(), i8().since(1), boolean().since(2)), true
	case keyDescribeProducers:
		return fields(structs(str(), listOf(i32()))), true
	default:
		return nil, false
	}
}

// checkBody walks body by the layout and reports the first lie in it. Bytes after the last field are tolerated, as
// Kafka does.
func checkBody(layout []field, version int16, flexible bool, body []byte) error {
	d := decoder{buf: body, flexible: flexible}
	d.walk(layout, version)
	d.tags()
	return d.err
}

func (d *decoder) walk(layout []field, version int16) {
	for _, f := range layout {
		if d.err != nil {
			return
		}
		if !f.present(version) {
			continue
		}
		switch f.kind {
		case fixed:
			d.take(f.size)
		case text:
			if _, ok := d.rawString(); !ok {
				d.fail("a string is null")
			}
		case nullableText:
			d.rawString()
		case blob:
			if d.nullableBytes() == nil {
				d.fail("bytes are null")
			}
		case array, nullableArray, list, nullableList:
			d.walkElements(f, version)
		case nullableStruct:
			if there := d.take(1); len(there) == 1 && there[0] != 0xff { // -1 is null
				d.walk(f.of, version)
				d.tags()
			}
		}
	}
}

func (d *decoder) walkElements(f field, version int16) {
	n := d.arrayLen(1)
	if n < 0 && (f.kind == array || f.kind == list) {
		d.fail("an array is null")
	}
	for i := 0; i < n && d.err == nil; i++ {
		d.walk(f.of, version)
		if f.kind == array || f.kind == nullableArray {
			d.tags()
		}
	}
}
