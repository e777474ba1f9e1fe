package metadata

import (
	"fmt"

	"github.com/bargedata/barge/record"
)

// The first byte of an encoded entry is its version: the lowest that has all of its commands, so that agents of a lower
// level go on reading what they know. What a version means never changes.
const (
	entryVersion1 = 1 // tags up to lastTagOfVersion1
	entryVersion2 = 2 // tags up to lastTagOfVersion2
	entryVersion3 = 3
)

// Tags of the commands. A tag is never used again for something else.
const (
	tagOpenSession         = 1
	tagSealSession         = 2
	tagCommitObject        = 3
	tagAllocateProducerIDs = 4
	tagCreateTopic         = 5
	tagDeleteTopic         = 6
	tagSetKeys             = 7
	tagClaimJob            = 8
	tagReleaseJob          = 9
	tagReplace             = 10
	tagProjected           = 11
	tagForgetObjects       = 12
	tagForgetTopic         = 13

	lastTagOfVersion1 = tagForgetTopic

	tagOpenSessionLevel   = 14 // OpenSession of an agent that tells its level
	tagRaiseLevel         = 15
	tagForgetSession      = 16
	tagReplaceMoved       = 17 // Replace with a MovedObject
	tagCommitObjectInline = 18 // CommitObject with the object itself
	tagCommitObjectHeld   = 19 // which batches are held back, then tag and rest of one of the other CommitObjects
	tagCommitHeld         = 20

	lastTagOfVersion2 = tagCommitHeld

	tagAlterTopicConfigs = 21
	tagCreatePartitions  = 22
	tagDeleteRecords     = 25
	tagApplyRetention    = 26

	// Only in what followers are sent, never in a slot.
	tagCommitObjectPlaced = 255 // CommitObject of which the object itself is left out
)

// tagOf chooses the lowest tag that has everything c says.
func tagOf(c Command) byte {
	switch c := c.(type) {
	case CommitHeld:
		return tagCommitHeld
	case CommitObject:
		if len(c.Held) > 0 {
			return tagCommitObjectHeld
		}
		if c.placed {
			return tagCommitObjectPlaced
		}
		if c.Inline != nil {
			return tagCommitObjectInline
		}
		return tagCommitObject
	case OpenSession:
		if c.Agent.Level != 0 {
			return tagOpenSessionLevel
		}
		return tagOpenSession
	case SealSession:
		return tagSealSession
	case ForgetSession:
		return tagForgetSession
	case RaiseLevel:
		return tagRaiseLevel
	case AllocateProducerIDs:
		return tagAllocateProducerIDs
	case CreateTopic:
		return tagCreateTopic
	case DeleteTopic:
		return tagDeleteTopic
	case AlterTopicConfigs:
		return tagAlterTopicConfigs
	case CreatePartitions:
		return tagCreatePartitions
	case SetKeys:
		return tagSetKeys
	case ClaimJob:
		return tagClaimJob
	case ReleaseJob:
		return tagReleaseJob
	case Replace:
		if c.Moved != nil {
			return tagReplaceMoved
		}
		return tagReplace
	case Projected:
		return tagProjected
	case ForgetObjects:
		return tagForgetObjects
	case ForgetTopic:
		return tagForgetTopic
	case DeleteRecords:
		return tagDeleteRecords
	case ApplyRetention:
		return tagApplyRetention
	}
	return 0 // Command is sealed: only nil gets here
}

// EncodeEntry renders e as the body of a log slot. Equal entries give equal bytes. It tells the commits among e.Commands
// where their inline objects lie (CommitObject.InlinePos), which Apply wants to know. Source: docs/format/log-entry.md.
func EncodeEntry(e Entry) []byte {
	encoded := make([][]byte, len(e.Commands))
	for i, c := range e.Commands {
		encoded[i] = encodeCommand(c)
	}
	return assembleEntry(e, encoded)
}

// encodeCommand begins with the command's tag and ends with its inline object, if it has one.
func encodeCommand(c Command) []byte {
	w := wireWriter{}
	w.command(c)
	return w.b
}

// assembleEntry is EncodeEntry for commands that are encoded already.
func assembleEntry(e Entry, encoded [][]byte) []byte {
	version, size := byte(entryVersion1), entryHeaderBytes
	for _, c := range encoded {
		size += len(c)
		if len(c) > 0 {
			version = max(version, versionOf(c[0]))
		}
	}
	w := wireWriter{b: make([]byte, 0, size)}
	w.byte(version)
	w.uvarint(uint64(shardOf(record.TopicID{}, 0)))
	w.uvarint(e.Seq)
	w.uvarint(e.Term)
	w.varint(e.Time)
	w.count(len(encoded))
	for i := range encoded {
		w.b = append(w.b, encoded[i]...)
		if c, ok := e.Commands[i].(CommitObject); ok && c.Inline != nil {
			c.InlinePos = record.Pos(len(w.b) - len(c.Inline))
			e.Commands[i] = c
		}
	}
	return w.b
}

// versionOf is the lowest version of an entry with such a command.
func versionOf(tag byte) byte {
	switch {
	case tag <= lastTagOfVersion1:
		return entryVersion1
	case tag <= lastTagOfVersion2:
		return entryVersion2
	default:
		return entryVersion3
	}
}

// DecodeEntry reads what EncodeEntry wrote; the entry shares nothing with b. Errors: ErrNewer - of a version this barge does
// not know; ErrCorrupt - every other fault.
func DecodeEntry(b []byte) (Entry, error) {
	r := wireReader{b: b}
	version := r.byte()
	switch {
	case version > entryVersion3:
		r.newer("a log entry has version", uint64(version), entryVersion3)
	case version < entryVersion1:
		r.fail("entry version 0")
	}
	return r.entry(version)
}

// entry reads what follows the version.
func (r *wireReader) entry(version byte) (Entry, error) {
	size := len(r.b) + 1
	if shard := r.uvarint(); shard != 0 {
		r.fail(fmt.Sprintf("entry of shard %d", shard))
	}
	e := Entry{Seq: r.uvarint(), Term: r.uvarint(), Time: r.varint()}
	for range r.count(2) {
		c := r.command(version)
		if r.err != nil {
			break
		}
		if inline, ok := c.(CommitObject); ok && inline.Inline != nil {
			inline.InlinePos = record.Pos(size - len(r.b) - len(inline.Inline))
			c = inline
		}
		e.Commands = append(e.Commands, c)
	}
	if err := r.end(); err != nil {
		return Entry{}, fmt.Errorf("decode log entry of %d bytes: %w", size, err)
	}
	return e, nil
}

func (w *wireWriter) command(c Command) {
	tag := tagOf(c)
	if tag == 0 {
		return
	}
	w.byte(tag)
	switch c := c.(type) {
	case CommitHeld:
		w.uvarint(uint64(c.Session))
		w.uvarint(c.Counter)
		w.heldBatches(c.Batches)
	case CommitObject:
		if tag == tagCommitObjectHeld {
			w.heldBatches(c.Held)
			c.Held = nil
			w.command(c)
			return
		}
		w.commitObject(&c)
		if tag == tagCommitObjectInline {
			w.bytes(c.Inline) // last: where they begin follows from where the command ends
		}
		if tag == tagCommitObjectPlaced {
			w.uvarint(uint64(c.InlinePos))
			w.uvarint(uint64(c.inlineLen))
		}
	case OpenSession:
		w.agent(&c.Agent)
		if tag == tagOpenSessionLevel {
			w.uvarint(uint64(c.Agent.Level))
		}
	case ForgetSession:
		w.uvarint(uint64(c.Session))
	case RaiseLevel:
		w.uvarint(uint64(c.Level))
	case SealSession:
		w.uvarint(uint64(c.Session))
	case AllocateProducerIDs:
		w.varint(int64(c.Count))
	case CreateTopic:
		w.topicID(c.ID)
		w.string(c.Name)
		w.varint(int64(c.Partitions))
		w.configs(c.Configs)
	case DeleteTopic:
		w.topicID(c.ID)
	case AlterTopicConfigs:
		w.topicID(c.ID)
		w.configs(c.From)
		w.configs(c.To)
	case CreatePartitions:
		w.topicID(c.ID)
		w.varint(int64(c.Partitions))
	case SetKeys:
		w.setKeys(&c)
	case ClaimJob:
		w.uvarint(uint64(c.Session))
		w.topicIDs(c.Topics)
		w.strings(c.Outputs)
	case ReleaseJob:
		w.uvarint(uint64(c.Job))
	case Replace:
		w.replace(&c)
	case Projected:
		w.topicID(c.Topic)
		w.varint(c.Version)
		w.uvarint(c.UpTo)
	case ForgetObjects:
		w.strings(c.Keys)
	case ForgetTopic:
		w.topicID(c.ID)
	case DeleteRecords:
		w.logStartMoves(c.Moves)
	case ApplyRetention:
		w.topicIDs(c.Topics)
	}
}

func (r *wireReader) command(version byte) Command {
	tag := r.byte()
	if version < entryVersion3 && versionOf(tag) > version {
		r.fail(fmt.Sprintf("command tag %d in an entry of version %d", tag, version))
	}
	switch tag {
	case tagCommitObject:
		return r.commitObject()
	case tagCommitObjectInline:
		c := r.commitObject()
		c.Inline = r.bytes()
		return c
	case tagCommitObjectPlaced:
		return r.commitObjectPlaced(version)
	case tagCommitObjectHeld:
		return r.commitObjectHeld(version)
	case tagCommitHeld:
		return CommitHeld{Session: SessionID(r.uvarint()), Counter: r.uvarint(), Batches: r.heldBatches()}
	case tagOpenSessionLevel:
		c := OpenSession{Agent: r.agent()}
		if c.Agent.Level = r.uint32(); c.Agent.Level == 0 {
			r.fail("level 0")
		}
		return c
	case tagRaiseLevel:
		return RaiseLevel{Level: r.uint32()}
	case tagForgetSession:
		return ForgetSession{Session: SessionID(r.uvarint())}
	case tagOpenSession:
		return OpenSession{Agent: r.agent()}
	case tagSealSession:
		return SealSession{Session: SessionID(r.uvarint())}
	case tagAllocateProducerIDs:
		return AllocateProducerIDs{Count: r.int32()}
	case tagCreateTopic:
		return CreateTopic{ID: r.topicID(), Name: r.string(), Partitions: r.int32(), Configs: r.configs()}
	case tagDeleteTopic:
		return DeleteTopic{ID: r.topicID()}
	case tagAlterTopicConfigs:
		return AlterTopicConfigs{ID: r.topicID(), From: r.configs(), To: r.configs()}
	case tagCreatePartitions:
		return CreatePartitions{ID: r.topicID(), Partitions: r.int32()}
	case tagSetKeys:
		return r.setKeys()
	case tagClaimJob:
		return ClaimJob{Session: SessionID(r.uvarint()), Topics: r.topicIDs(), Outputs: r.strings()}
	case tagReleaseJob:
		return ReleaseJob{Job: JobID(r.uvarint())}
	case tagReplace:
		return r.replace()
	case tagReplaceMoved:
		c := r.replace()
		c.Moved = r.movedObject()
		return c
	case tagProjected:
		return Projected{Topic: r.topicID(), Version: r.varint(), UpTo: r.uvarint()}
	case tagForgetObjects:
		return ForgetObjects{Keys: r.strings()}
	case tagForgetTopic:
		return ForgetTopic{ID: r.topicID()}
	case tagDeleteRecords:
		return DeleteRecords{Moves: r.logStartMoves()}
	case tagApplyRetention:
		return ApplyRetention{Topics: r.topicIDs()}
	default:
		r.fail(fmt.Sprintf("command tag %d is not known", tag))
		return nil
	}
}

// commitObject spends about ten bytes on a batch: what follows from the one before is left out or written as a difference.
func (w *wireWriter) commitObject(c *CommitObject) {
	w.uvarint(uint64(c.Session))
	w.uvarint(c.Counter)
	w.uvarint(c.Settled)
	w.string(c.Key)
	w.varint(int64(c.Size))
	w.count(len(c.Runs))
	var prev record.Partition
	var end record.Pos
	var time, producer int64
	for i := range c.Runs {
		r := &c.Runs[i]
		w.nextPartition(r.Partition, prev, i == 0)
		prev = r.Partition
		w.varint(int64(r.Pos - end))
		end = r.Pos
		w.count(len(r.Batches))
		for j := range r.Batches {
			b := &r.Batches[j]
			w.varint(int64(b.Len))
			w.varint(int64(b.Records))
			w.varint(b.MaxTimestamp - time)
			w.varint(b.ProducerID - producer)
			if b.ProducerID >= 0 {
				w.varint(int64(b.ProducerEpoch))
				w.varint(int64(b.BaseSequence))
			}
			end += record.Pos(b.Len)
			time, producer = b.MaxTimestamp, b.ProducerID
		}
	}
}

func (r *wireReader) commitObject() CommitObject {
	c := CommitObject{Session: SessionID(r.uvarint()), Counter: r.uvarint(), Settled: r.uvarint(), Key: r.string(), Size: record.Len(r.varint())}
	var prev record.Partition
	var end record.Pos
	var time, producer int64
	for range r.count(4) {
		prev = r.nextPartition(prev)
		run := CommitRun{Partition: prev, Pos: end + record.Pos(r.varint())}
		end = run.Pos
		for range r.count(4) {
			b := CommitBatch{Len: record.Len(r.varint()), Records: r.int32(), MaxTimestamp: time + r.varint(), ProducerID: producer + r.varint()}
			if b.ProducerID >= 0 {
				b.ProducerEpoch, b.BaseSequence = r.int16(), r.int32()
			}
			end += record.Pos(b.Len)
			time, producer = b.MaxTimestamp, b.ProducerID
			if r.err != nil {
				return c
			}
			run.Batches = append(run.Batches, b)
		}
		c.Runs = append(c.Runs, run)
	}
	return c
}

func (w *wireWriter) setKeys(c *SetKeys) {
	w.string(c.Space)
	w.count(len(c.Ops))
	for i := range c.Ops {
		op := &c.Ops[i]
		w.string(op.Key)
		w.bool(op.Check)
		w.uvarint(op.Expect)
		w.bool(op.Write)
		w.bool(op.Delete)
		w.optBytes(op.Value)
	}
}

func (r *wireReader) setKeys() Command {
	c := SetKeys{Space: r.string()}
	for range r.count(6) {
		op := KeyOp{Key: r.string(), Check: r.bool(), Expect: r.uvarint(), Write: r.bool(), Delete: r.bool(), Value: r.optBytes()}
		if r.err != nil {
			return nil
		}
		c.Ops = append(c.Ops, op)
	}
	return c
}

func (w *wireWriter) replace(c *Replace) {
	w.uvarint(uint64(c.Job))
	w.count(len(c.Files))
	for i := range c.Files {
		f := &c.Files[i]
		w.file(&File{Topic: f.Topic, Key: f.Key, Size: f.Size, Rows: f.Rows, Parts: f.Parts})
		w.optBytes(f.Add)
	}
	if c.Moved != nil {
		w.movedObject(c.Moved)
	}
}

func (r *wireReader) replace() Replace {
	c := Replace{Job: JobID(r.uvarint())}
	for range r.count(minFileBytes + 1) {
		f := r.file()
		nf := NewFile{Topic: f.Topic, Key: f.Key, Size: f.Size, Rows: f.Rows, Parts: f.Parts, Add: r.optBytes()}
		if r.err != nil {
			return c
		}
		c.Files = append(c.Files, nf)
	}
	return c
}

// nextPartition writes p of a sorted list: its topic only where that is not the one before's, its index as a difference.
func (w *wireWriter) nextPartition(p, prev record.Partition, first bool) {
	newTopic := first || p.Topic != prev.Topic
	w.bool(newTopic)
	if newTopic {
		w.topicID(p.Topic)
		prev.Index = 0
	}
	w.varint(int64(p.Index) - int64(prev.Index))
}

func (r *wireReader) nextPartition(prev record.Partition) record.Partition {
	if r.bool() {
		prev = record.Partition{Topic: r.topicID()}
	}
	index := int64(prev.Index) + r.varint()
	if int64(int32(index)) != index {
		r.fail("partition index over 32 bits")
	}
	prev.Index = int32(index)
	return prev
}

func (w *wireWriter) logStartMoves(moves []LogStartMove) {
	w.count(len(moves))
	var prev record.Partition
	for i, m := range moves {
		w.nextPartition(m.Partition, prev, i == 0)
		w.varint(int64(m.To))
		prev = m.Partition
	}
}

func (r *wireReader) logStartMoves() (moves []LogStartMove) {
	var prev record.Partition
	for range r.count(3) {
		prev = r.nextPartition(prev)
		m := LogStartMove{Partition: prev, To: record.Offset(r.varint())}
		if r.err != nil {
			return nil
		}
		moves = append(moves, m)
	}
	return moves
}

// movedObject spends about ten bytes on a run, as commitObject does on a batch.
func (w *wireWriter) movedObject(m *MovedObject) {
	w.string(m.Key)
	w.varint(int64(m.Size))
	w.count(len(m.Runs))
	var prev record.Partition
	var end record.Pos
	var offset record.Offset
	var time int64
	for i := range m.Runs {
		r := &m.Runs[i]
		w.nextPartition(r.Partition, prev, i == 0)
		w.varint(int64(r.Base - offset))
		w.varint(int64(r.End - r.Base))
		w.varint(int64(r.Pos - end))
		w.varint(int64(r.Len))
		w.varint(r.MaxTimestamp - time)
		prev, offset, end, time = r.Partition, r.End, r.Pos+record.Pos(r.Len), r.MaxTimestamp
	}
}

func (r *wireReader) movedObject() *MovedObject {
	m := &MovedObject{Key: r.string(), Size: record.Len(r.varint())}
	var prev record.Partition
	var end record.Pos
	var offset record.Offset
	var time int64
	for range r.count(7) {
		prev = r.nextPartition(prev)
		v := MovedRun{Partition: prev, Base: offset + record.Offset(r.varint())}
		v.End = v.Base + record.Offset(r.varint())
		v.Pos = end + record.Pos(r.varint())
		v.Len = record.Len(r.varint())
		v.MaxTimestamp = time + r.varint()
		if r.err != nil {
			return m
		}
		m.Runs = append(m.Runs, v)
		offset, end, time = v.End, v.Pos+record.Pos(v.Len), v.MaxTimestamp
	}
	return m
}
