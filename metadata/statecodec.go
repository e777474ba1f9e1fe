package metadata

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/bargedata/barge/record"
)

const (
	snapshotMagic    = "brgs"
	snapshotVersion1 = 1 // read, not written: no levels, runs of the age of their objects, which lie in the store
	snapshotVersion2 = 2
)

// castagnoli is built once: MakeTable answers a shared, read-only table.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// Encode renders the whole state. Equal states give equal bytes (invariant I9). Source: docs/format/snapshot.md.
func (s *State) Encode() []byte {
	w := wireWriter{}
	w.b = append(w.b, snapshotMagic...)
	w.byte(snapshotVersion2)
	w.uvarint(uint64(s.level))
	w.uvarint(uint64(s.shard))
	w.uvarint(s.next)
	w.uvarint(s.term)
	w.varint(s.time)
	w.uvarint(uint64(s.lastSession))
	w.uvarint(uint64(s.lastJob))
	w.uvarint(s.lastObject)
	w.uvarint(s.lastKeyVersion)
	w.varint(s.nextProducerID)
	w.objects(s)
	w.topics(s)
	w.sessions(s)
	w.jobs(s)
	w.spaces(s)
	return binary.LittleEndian.AppendUint32(w.b, crc32.Checksum(w.b, castagnoli()))
}

// Codes of an object's place in a snapshot.
const (
	placeStored = 0
	placeSorted = 1 // in the store, its runs together by topic
	placeInline = 2 // in a log entry
)

func (w *wireWriter) objects(s *State) {
	w.count(len(s.objects))
	last := uint64(0)
	for _, id := range sortedKeys(s.objects) {
		o := s.objects[id]
		w.uvarint(id - last)
		last = id
		w.varint(int64(o.size))
		switch {
		case o.inline:
			w.byte(placeInline)
			w.uvarint(o.slot)
			w.uvarint(uint64(o.pos))
		case o.sorted:
			w.byte(placeSorted)
			w.string(o.key)
		default:
			w.byte(placeStored)
			w.string(o.key)
		}
	}
	w.count(len(s.released))
	for i := range s.released {
		w.string(s.released[i].Key)
		w.varint(s.released[i].ReleasedAt)
	}
}

func (w *wireWriter) topics(s *State) {
	w.count(len(s.topics))
	for _, t := range sortedTopics(s.topics) {
		w.topicHead(t)
		for i := range t.parts {
			w.partition(&t.parts[i])
		}
	}
	w.count(len(s.tombstones))
	for _, t := range sortedTopics(s.tombstones) {
		w.topicHead(t)
	}
	w.strings(sortedKeys(s.usedDirs))
}

// topicHead is all of a topic but its partitions.
func (w *wireWriter) topicHead(t *topicState) {
	w.topic(&t.Topic)
	w.varint(t.version)
	w.uvarint(t.upTo)
	w.count(len(t.files))
	for _, f := range t.files {
		w.file(f)
	}
	w.count(len(t.adds))
	for i := range t.adds {
		w.uvarint(t.adds[i].Seq)
		w.file(&t.adds[i].File)
		w.optBytes(t.adds[i].Add)
	}
}

func (w *wireWriter) partition(p *partition) {
	if p.highWatermark == 0 && len(p.producers.slots) == 0 {
		w.byte(0) // never written to: most partitions of most clusters
		return
	}
	w.byte(1)
	w.uvarint(uint64(p.logStart))
	w.uvarint(uint64(p.compactedEnd))
	w.uvarint(uint64(p.highWatermark))
	w.count(len(p.runs))
	var prev run
	for i := range p.runs {
		r := &p.runs[i]
		w.uvarint(uint64(r.base - prev.end))
		w.uvarint(uint64(r.end - r.base))
		w.varint(int64(r.object - prev.object))
		w.uvarint(uint64(r.pos))
		w.uvarint(uint64(r.len))
		w.varint(r.maxTime - prev.maxTime)
		w.uvarint(uint64(r.committedAt - prev.committedAt))
		prev = *r
	}
	w.count(len(p.producers.slots))
	for slot := p.producers.oldest; slot != 0; {
		pr := &p.producers.slots[slot-1]
		w.varint(pr.id)
		w.varint(int64(pr.epoch))
		w.varint(pr.lastAt)
		w.byte(byte(pr.n))
		for _, b := range pr.window[:pr.n] {
			w.uvarint(uint64(b.first))
			w.uvarint(uint64(b.last))
			w.uvarint(uint64(b.base))
		}
		slot = pr.newer
	}
}

func (w *wireWriter) sessions(s *State) {
	w.count(len(s.sessions))
	for _, id := range sortedKeys(s.sessions) {
		ss := s.sessions[id]
		w.uvarint(uint64(id))
		w.agent(&ss.agent)
		w.uvarint(uint64(ss.agent.Level))
		w.varint(ss.openedAt)
		w.bool(ss.sealed)
		if ss.sealed {
			w.varint(ss.sealedAt)
		}
		w.uvarint(ss.nextCounter)
		w.count(len(ss.results))
		for i := range ss.results {
			w.uvarint(ss.results[i].counter)
			w.count(len(ss.results[i].batches))
			for _, batches := range ss.results[i].batches {
				w.count(len(batches))
				for j := range batches {
					w.batchResult(&batches[j])
				}
			}
			if held := ss.results[i].held; held != nil {
				w.heldObject(held)
			}
		}
	}
}

// Codes of a batch's fate in a snapshot.
const (
	fateAccepted     = 0
	fateDuplicate    = 1
	fateUnknownTopic = 2
	fateOutOfOrder   = 3
	fateInvalidEpoch = 4
	fateHeld         = 5 // not judged yet: what it takes follows the results of the object
)

func (w *wireWriter) batchResult(b *BatchResult) {
	switch {
	case b.Duplicate:
		w.byte(fateDuplicate)
	case b.Err == nil:
		w.byte(fateAccepted)
	case b.Err == ErrHeld: //nolint:errorlint // Apply puts the bare sentinels here
		w.byte(fateHeld)
	case b.Err == ErrUnknownTopic: //nolint:errorlint // as above
		w.byte(fateUnknownTopic)
	case b.Err == ErrOutOfOrderSequence: //nolint:errorlint // as above
		w.byte(fateOutOfOrder)
	default:
		w.byte(fateInvalidEpoch)
	}
	w.varint(int64(b.BaseOffset))
	w.varint(int64(b.LogStartOffset))
}

func (w *wireWriter) jobs(s *State) {
	w.count(len(s.jobs))
	for _, id := range sortedKeys(s.jobs) {
		j := s.jobs[id]
		w.uvarint(uint64(id))
		w.uvarint(uint64(j.session))
		w.topicIDs(j.topics)
		w.strings(j.outputs)
	}
}

func (w *wireWriter) spaces(s *State) {
	w.count(len(s.spaces))
	for _, name := range sortedKeys(s.spaces) {
		w.string(name)
		w.count(len(s.spaces[name].sorted))
		for _, kv := range s.spaces[name].sorted {
			w.string(kv.Key)
			w.optBytes(kv.Value)
			w.uvarint(kv.Version)
		}
	}
}

// DecodeState reads what Encode wrote, of any version; the state shares nothing with b. What it accepts is safe to Apply to:
// references resolve, orders hold. Errors: ErrNewer - of a version or a level this barge does not know; ErrCorrupt - every other
// fault.
func DecodeState(b []byte) (*State, error) {
	s, err := decodeState(b)
	if err != nil {
		return nil, fmt.Errorf("decode snapshot of %d bytes: %w", len(b), err)
	}
	return s, nil
}

func decodeState(b []byte) (*State, error) {
	if len(b) < len(snapshotMagic)+1+4 || string(b[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: not a snapshot", ErrCorrupt)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(body, castagnoli()); got != sum {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, sum)
	}
	r := &snapshotReader{wireReader: wireReader{b: body[len(snapshotMagic):]}, times: map[uint64]int64{}}
	s := NewState()
	switch r.version = r.byte(); {
	case r.version > snapshotVersion2:
		return nil, newer("a metadata snapshot has version", uint64(r.version), snapshotVersion2)
	case r.version < snapshotVersion1:
		return nil, fmt.Errorf("%w: snapshot version 0", ErrCorrupt)
	case r.version >= snapshotVersion2:
		if s.level = r.uint32(); s.level < 1 {
			r.fail("level 0")
		}
		if err := CheckLevel(s.level); err != nil {
			return nil, err
		}
	}
	if s.shard = uint32(r.uvarint()); s.shard != shardOf(record.TopicID{}, 0) {
		r.fail("snapshot of another shard")
	}
	s.next, s.term, s.time = r.uvarint(), r.uvarint(), r.varint()
	s.lastSession, s.lastJob, s.lastObject = SessionID(r.uvarint()), JobID(r.uvarint()), r.uvarint()
	s.lastKeyVersion, s.nextProducerID = r.uvarint(), r.varint()
	r.objects(s)
	r.topics(s)
	r.sessions(s)
	r.jobs(s)
	r.spaces(s)
	for _, o := range s.objects { // any order: only whether one is there counts
		if o.refs == 0 {
			r.fail("object without runs")
		}
	}
	return s, r.end()
}
