package metadata

import (
	"slices"

	"github.com/bargedata/barge/record"
)

// snapshotReader knows what the sections of a snapshot decode to. Everything Apply relies on is checked here.
type snapshotReader struct {
	wireReader
	version byte
	times   map[uint64]int64 // version 1: of the commits of objects
}

// learn puts an object key into the set of known ones.
func (r *snapshotReader) learn(s *State, key string) {
	if key == "" || s.known(key) {
		r.fail("object key empty or named twice")
	}
	s.keys[key] = struct{}{}
}

func (r *snapshotReader) objects(s *State) {
	last, slot := uint64(0), uint64(0)
	for range r.count(4) {
		step := r.uvarint()
		if step == 0 || step > s.lastObject-last {
			r.fail("object ids out of order")
		}
		last += step
		o := r.object(last)
		if o.inline && (o.slot >= s.next || o.slot < slot || o.pos < 1 || o.size < 0 || o.size > MaxInlineBytes) {
			r.fail("inline object out of order or of no entry")
		}
		if r.err != nil {
			return
		}
		if o.inline {
			slot = o.slot
		} else {
			r.learn(s, o.key)
		}
		s.addObject(last, o)
	}
	for range r.count(2) {
		o := ReleasedObject{Key: r.string(), ReleasedAt: r.varint()}
		if r.err != nil {
			return
		}
		r.learn(s, o.Key)
		s.released = append(s.released, o)
	}
}

func (r *snapshotReader) object(id uint64) *object {
	if r.version < snapshotVersion2 {
		o := &object{key: r.string(), size: record.Len(r.varint())}
		r.times[id] = r.varint()
		return o
	}
	o := &object{size: record.Len(r.varint())}
	switch place := r.byte(); place {
	case placeStored, placeSorted:
		o.key, o.sorted = r.string(), place == placeSorted
	case placeInline:
		o.inline, o.slot, o.pos = true, r.uvarint(), record.Pos(r.natural())
	default:
		r.fail("object in an unknown place")
	}
	return o
}

func (r *snapshotReader) topics(s *State) {
	for range r.count(minTopicBytes) {
		t := r.topicHead(s)
		if r.err != nil {
			return
		}
		if t.Partitions < 1 || t.Partitions > MaxPartitions || int(t.Partitions) > len(r.b) || s.names[t.Name] != nil {
			r.fail("bad topic")
			return
		}
		t.parts = make([]partition, t.Partitions)
		for i := range t.parts {
			r.partition(s, t, &t.parts[i])
		}
		pending := make(map[string]bool, len(t.adds))
		for i := range t.adds {
			f := &t.adds[i].File
			pending[f.Key] = true
			if slices.ContainsFunc(f.Parts, func(p FilePart) bool { return p.Partition < 0 || p.Partition >= t.Partitions }) {
				r.fail("add of a file that is out of range")
				return
			}
		}
		for _, f := range t.files {
			if r.attach(t, f); r.err == nil && !pending[f.Key] && !t.holds(f) {
				r.fail("file below the log starts that waits for nothing")
			}
		}
		if r.err != nil {
			return
		}
		s.enlist(t)
	}
	for range r.count(minTopicBytes) {
		t := r.topicHead(s)
		if r.err != nil {
			return
		}
		s.tombstones[t.ID] = t
	}
	last := ""
	for _, dir := range r.strings() {
		if dir <= last {
			r.fail("kept tables out of order")
			return
		}
		last = dir
		s.usedDirs[dir] = struct{}{}
	}
}

const minTopicBytes = 16 + 8

func (r *snapshotReader) topicHead(s *State) *topicState {
	t := &topicState{Topic: r.topic()}
	t.version, t.upTo = r.varint(), r.uvarint()
	for range r.count(minFileBytes) {
		f := r.file()
		if r.err != nil {
			return t
		}
		r.learn(s, f.Key)
		t.files = append(t.files, &f)
	}
	for range r.count(minFileBytes + 2) {
		add := PendingAdd{Seq: r.uvarint(), File: r.file(), Add: r.optBytes()}
		if r.err != nil {
			return t
		}
		t.adds = append(t.adds, add)
	}
	if t.ID.IsZero() || s.topics[t.ID] != nil || s.tombstones[t.ID] != nil {
		r.fail("topic id zero or named twice")
		return t
	}
	if len(t.adds) > 0 {
		s.withAdds[t.ID] = t
	}
	return t
}

// attach lists a file of a live topic in those of its partitions whose log still has some of it.
func (r *snapshotReader) attach(t *topicState, f *File) {
	for i := range f.Parts {
		fp := &f.Parts[i]
		if fp.Partition < 0 || int(fp.Partition) >= len(t.parts) || fp.Base < 0 || fp.End <= fp.Base {
			r.fail("file part out of range")
			return
		}
		p := &t.parts[fp.Partition]
		if fp.End <= p.logStart {
			continue
		}
		if n := len(p.files); fp.End > p.compactedEnd || n > 0 && fp.Base < p.files[n-1].end {
			r.fail("file parts overlap")
			return
		}
		p.files = append(p.files, fileSpan{base: fp.Base, end: fp.End, file: f, part: int32(i)})
	}
}

func (r *snapshotReader) partition(s *State, t *topicState, p *partition) {
	if !r.bool() {
		return
	}
	p.logStart, p.compactedEnd, p.highWatermark = record.Offset(r.natural()), record.Offset(r.natural()), record.Offset(r.natural())
	if p.logStart > p.compactedEnd || p.compactedEnd > p.highWatermark || p.highWatermark > 1<<62 {
		r.fail("partition bounds out of order")
	}
	prev := run{}
	for range r.count(6) {
		v := run{base: prev.end + record.Offset(r.natural())}
		v.end = v.base + record.Offset(r.natural())
		v.object = prev.object + uint64(r.varint())
		v.pos, v.len = record.Pos(r.natural()), record.Len(r.natural())
		v.maxTime = prev.maxTime + r.varint()
		if r.version < snapshotVersion2 {
			v.committedAt = r.times[v.object]
		} else {
			v.committedAt = prev.committedAt + r.natural()
		}
		if r.err != nil {
			return
		}
		o := s.objects[v.object]
		// The first one may begin below the compacted end where a deletion of records has taken that along.
		straddles := len(p.runs) == 0 && s.level >= 4 && p.compactedEnd == p.logStart && v.end > p.compactedEnd
		if o == nil || v.base < p.compactedEnd && !straddles || v.end <= v.base || v.end > p.highWatermark || v.base < prev.end {
			r.fail("run out of order or without its object")
			return
		}
		if v.committedAt < prev.committedAt || v.committedAt > s.time {
			r.fail("run older than the one before, or of the future")
			return
		}
		s.addRun(t, p, v)
		prev = v
	}
	r.producers(&p.producers)
}

func (r *snapshotReader) producers(t *producerTable) {
	for range r.count(7) {
		p := producer{id: r.varint(), epoch: r.int16(), lastAt: r.varint(), n: int8(r.byte())}
		if r.err != nil {
			return
		}
		if p.id < 0 || p.n < 1 || p.n > producerWindow || len(t.slots) >= maxProducers || t.find(p.id) != 0 {
			r.fail("bad producer")
			return
		}
		for i := range p.window[:p.n] {
			first, last := r.natural(), r.natural()
			if first > 1<<31-1 || last > 1<<31-1 {
				r.fail("sequence over 31 bits")
			}
			p.window[i] = sequenceRange{first: int32(first), last: int32(last), base: record.Offset(r.natural())}
		}
		slot := t.insert(p.id)
		at := &t.slots[slot-1]
		p.older, p.newer = at.older, at.newer
		*at = p
	}
}

func (r *snapshotReader) sessions(s *State) {
	last := SessionID(0)
	for range r.count(10) {
		ss := &session{id: SessionID(r.uvarint()), agent: r.agent()}
		if r.version >= snapshotVersion2 {
			ss.agent.Level = r.uint32()
		}
		ss.openedAt, ss.sealed = r.varint(), r.bool()
		if ss.sealed {
			ss.sealedAt = r.varint()
		}
		ss.nextCounter = r.uvarint()
		if ss.id <= last || ss.id > s.lastSession {
			r.fail("session ids out of order")
		}
		if !ss.sealed && ss.agent.understands() < s.level {
			r.fail("open session below the level")
		}
		for range r.count(2) {
			res := objectResult{counter: r.uvarint()}
			if n := len(ss.results); res.counter >= ss.nextCounter || n > 0 && res.counter <= ss.results[n-1].counter {
				r.fail("results out of order")
			}
			for range r.count(1) {
				batches := make([]BatchResult, r.count(3))
				for i := range batches {
					batches[i] = r.batchResult()
				}
				if r.err != nil {
					return
				}
				res.batches = append(res.batches, batches)
			}
			if r.err != nil {
				return
			}
			if res.held = r.heldObject(s, res.batches); r.err != nil {
				return
			}
			if res.held != nil && ss.sealed {
				r.fail("held batches of a sealed session")
			}
			ss.results = append(ss.results, res)
		}
		if r.err != nil {
			return
		}
		s.sessions[ss.id] = ss
		last = ss.id
	}
}

func (r *snapshotReader) batchResult() (b BatchResult) {
	switch r.byte() {
	case fateAccepted:
	case fateDuplicate:
		b.Duplicate = true
	case fateUnknownTopic:
		b.Err = ErrUnknownTopic
	case fateOutOfOrder:
		b.Err = ErrOutOfOrderSequence
	case fateInvalidEpoch:
		b.Err = ErrInvalidProducerEpoch
	case fateHeld:
		b.Err = ErrHeld
	default:
		r.fail("bad batch result")
	}
	b.BaseOffset, b.LogStartOffset = record.Offset(r.varint()), record.Offset(r.varint())
	return b
}

func (r *snapshotReader) jobs(s *State) {
	last := JobID(0)
	for range r.count(4) {
		j := &job{id: JobID(r.uvarint()), session: SessionID(r.uvarint()), topics: r.topicIDs(), outputs: r.strings()}
		if r.err != nil {
			return
		}
		if j.id <= last || j.id > s.lastJob {
			r.fail("job ids out of order")
			return
		}
		for _, key := range j.outputs {
			r.learn(s, key)
		}
		for _, id := range j.topics {
			if t := s.topics[id]; t != nil { // a topic deleted meanwhile has no claim any more
				if t.job != 0 {
					r.fail("topic claimed twice")
				}
				t.job = j.id
			}
		}
		s.jobs[j.id] = j
		last = j.id
	}
}

func (r *snapshotReader) spaces(s *State) {
	lastName := ""
	for i := range r.count(2) {
		name, space := r.string(), &keySpace{}
		if i > 0 && name <= lastName {
			r.fail("key spaces out of order")
		}
		for j := range r.count(3) {
			kv := &KeyValue{Key: r.string(), Value: r.optBytes(), Version: r.uvarint()}
			if r.err != nil {
				return
			}
			if kv.Version == 0 || j > 0 && kv.Key <= space.sorted[j-1].Key {
				r.fail("keys out of order")
				return
			}
			space.sorted = append(space.sorted, kv)
		}
		if len(space.sorted) == 0 {
			r.fail("empty key space")
			return
		}
		s.spaces[name], lastName = space, name
	}
}
