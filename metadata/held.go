package metadata

import (
	"slices"

	"github.com/bargedata/barge/record"
)

// heldObject is what State keeps of an object some of whose batches are held back: all that judging them takes.
type heldObject struct {
	object uint64    // one reference for each of runs
	runs   []heldRun // by number
}

// heldRun is the part of one run that is held back.
type heldRun struct {
	run       int32 // in CommitObject.Runs
	partition record.Partition
	batches   []heldBatch // as they lie in the object
}

type heldBatch struct {
	at  int32 // in CommitRun.Batches
	pos record.Pos
	CommitBatch
}

// validHeld checks that what is held back is there, in order, and of idempotent producers.
func (c *CommitObject) validHeld() bool {
	for i, h := range c.Held {
		if i > 0 {
			if last := c.Held[i-1]; h.Run < last.Run || h.Run == last.Run && h.Batch <= last.Batch {
				return false
			}
		}
		if h.Run < 0 || int(h.Run) >= len(c.Runs) || h.Batch < 0 || int(h.Batch) >= len(c.Runs[h.Run].Batches) {
			return false
		}
		if c.Runs[h.Run].Batches[h.Batch].ProducerID < 0 {
			return false
		}
	}
	return true
}

// holdBack notes those of c.Held that wait, and gives each of their runs a reference to the object. nil when none waits.
func (s *State) holdBack(c *CommitObject, object uint64, results [][]BatchResult) *heldObject {
	held := &heldObject{object: object}
	for _, h := range c.Held {
		if results[h.Run][h.Batch].Err != ErrHeld { //nolint:errorlint // Apply puts the bare sentinels there
			continue // its partition is gone
		}
		r := &c.Runs[h.Run]
		if n := len(held.runs); n == 0 || held.runs[n-1].run != h.Run {
			held.runs = append(held.runs, heldRun{run: h.Run, partition: r.Partition})
			s.objects[object].refs++
		}
		pos := r.Pos
		for i := range r.Batches[:h.Batch] {
			pos += record.Pos(r.Batches[i].Len)
		}
		last := &held.runs[len(held.runs)-1]
		last.batches = append(last.batches, heldBatch{at: h.Batch, pos: pos, CommitBatch: r.Batches[h.Batch]})
	}
	if len(held.runs) == 0 {
		return nil
	}
	return held
}

func (s *State) commitHeld(c CommitHeld) Result {
	if s.level < 2 {
		return CommitObjectResult{Err: ErrLevel}
	}
	ss := s.open(c.Session)
	if ss == nil {
		return CommitObjectResult{Err: ErrSessionSealed}
	}
	i, ok := ss.result(c.Counter)
	if !ok {
		return CommitObjectResult{Err: ErrOutOfOrderCounter}
	}
	named := make(map[HeldBatch]bool, len(c.Batches))
	for _, h := range c.Batches {
		named[h] = true
	}
	return CommitObjectResult{Batches: s.judgeHeld(ss, i, func(h HeldBatch) bool { return named[h] })}
}

// judgeHeld judges those batches that the i-th result of ss holds back and which names, and returns the result as it is then.
// Frozen states and earlier answers keep the old one.
func (s *State) judgeHeld(ss *session, i int, which func(HeldBatch) bool) [][]BatchResult {
	r := ss.results[i]
	if r.held == nil {
		return r.batches
	}
	batches := slices.Clone(r.batches)
	changed := false
	var rest []heldRun
	for _, h := range r.held.runs {
		now, later := h, h
		now.batches, later.batches = nil, nil
		for _, b := range h.batches {
			if which(HeldBatch{h.run, b.at}) {
				now.batches = append(now.batches, b)
			} else {
				later.batches = append(later.batches, b)
			}
		}
		if len(later.batches) > 0 {
			rest = append(rest, later)
		}
		if len(now.batches) == 0 {
			continue
		}
		changed = true
		batches[h.run] = slices.Clone(batches[h.run])
		s.commitHeldRun(&now, r.held.object, batches[h.run])
		if len(later.batches) == 0 {
			s.unref(r.held.object)
		}
	}
	if !changed {
		return r.batches
	}
	next := objectResult{counter: r.counter, batches: batches}
	if rest != nil {
		next.held = &heldObject{object: r.held.object, runs: rest}
	}
	ss.results = slices.Clone(ss.results)
	ss.results[i] = next
	return batches
}

// commitHeldRun commits stretches of batches that lie beside each other.
func (s *State) commitHeldRun(h *heldRun, object uint64, results []BatchResult) {
	for rest := h.batches; len(rest) > 0; {
		run := CommitRun{Partition: h.partition, Pos: rest[0].pos}
		end := rest[0].pos
		for n := 0; n < len(rest) && rest[n].pos == end; n++ {
			run.Batches = append(run.Batches, rest[n].CommitBatch)
			end += record.Pos(rest[n].Len)
		}
		fates := make([]BatchResult, len(run.Batches))
		s.commitRun(&run, nil, object, fates)
		for n := range fates {
			results[rest[n].at] = fates[n]
		}
		rest = rest[len(fates):]
	}
}

// dropHeld lets go of what a result holds back: nobody will ask for it any more.
func (s *State) dropHeld(r *objectResult) {
	if r.held == nil {
		return
	}
	for range r.held.runs {
		s.unref(r.held.object)
	}
}

// nextSequence implements sequencerView.
func (v *View) nextSequence(p record.Partition, id int64) (epoch int16, next int32, ok bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, part := v.state.partition(p)
	if part == nil {
		return 0, 0, false
	}
	slot := part.producers.find(id)
	if slot == 0 {
		return 0, 0, false
	}
	pr := &part.producers.slots[slot-1]
	if pr.lastAt <= v.state.time-producerExpiryMs {
		return 0, 0, false
	}
	return pr.epoch, lastSequence(pr.window[pr.n-1].last, 2), true
}

func (w *wireWriter) heldBatches(held []HeldBatch) {
	w.count(len(held))
	for _, h := range held {
		w.varint(int64(h.Run))
		w.varint(int64(h.Batch))
	}
}

func (r *wireReader) heldBatches() (held []HeldBatch) {
	for range r.count(2) {
		held = append(held, HeldBatch{Run: r.int32(), Batch: r.int32()})
	}
	return held
}

func (r *wireReader) commitObjectHeld(version byte) Command {
	held := r.heldBatches()
	if r.err == nil && (len(r.b) == 0 || r.b[0] != tagCommitObject && r.b[0] != tagCommitObjectInline && r.b[0] != tagCommitObjectPlaced) {
		r.fail("batches held back of no commit")
	}
	if r.err != nil {
		return nil
	}
	c, ok := r.command(version).(CommitObject)
	if !ok || len(held) == 0 {
		r.fail("nothing is held back")
		return nil
	}
	c.Held = held
	return c
}

// heldObject follows a result of which batches have fateHeld.
func (w *wireWriter) heldObject(held *heldObject) {
	w.uvarint(held.object)
	w.count(len(held.runs))
	for i := range held.runs {
		h := &held.runs[i]
		w.uvarint(uint64(h.run))
		w.topicID(h.partition.Topic)
		w.uvarint(uint64(h.partition.Index))
		w.count(len(h.batches))
		for j := range h.batches {
			b := &h.batches[j]
			w.uvarint(uint64(b.at))
			w.uvarint(uint64(b.pos))
			w.uvarint(uint64(b.Len))
			w.uvarint(uint64(b.Records))
			w.varint(b.MaxTimestamp)
			w.uvarint(uint64(b.ProducerID))
			w.varint(int64(b.ProducerEpoch))
			w.uvarint(uint64(b.BaseSequence))
		}
	}
}

// heldObject reads what belongs to the held batches of a result.
func (r *snapshotReader) heldObject(s *State, batches [][]BatchResult) *heldObject {
	want := 0
	for _, run := range batches {
		for i := range run {
			if run[i].Err == ErrHeld { //nolint:errorlint // just put there
				want++
			}
		}
	}
	if want == 0 {
		return nil
	}
	held := &heldObject{object: r.uvarint()}
	o := s.objects[held.object]
	lastRun := int32(-1)
	for range r.count(20) {
		h := heldRun{run: r.natural32(), partition: record.Partition{Topic: r.topicID(), Index: r.natural32()}}
		lastAt := int32(-1)
		for range r.count(8) {
			b := heldBatch{at: r.natural32(), pos: record.Pos(r.natural()), CommitBatch: CommitBatch{
				Len: record.Len(r.natural()), Records: r.natural32(), MaxTimestamp: r.varint(), ProducerID: r.natural(),
				ProducerEpoch: r.int16(), BaseSequence: r.natural32(),
			}}
			if r.err != nil || o == nil || h.run <= lastRun || int(h.run) >= len(batches) || b.at <= lastAt || int(b.at) >= len(batches[h.run]) ||
				batches[h.run][b.at].Err != ErrHeld || b.Len < 1 || b.Records < 1 || b.ProducerEpoch < 0 || b.Len > o.size || record.Len(b.pos) > o.size-b.Len { //nolint:errorlint // as above
				r.fail("bad held batch")
				return nil
			}
			lastAt = b.at
			want--
			h.batches = append(h.batches, b)
		}
		lastRun = h.run
		if r.err != nil || len(h.batches) == 0 {
			r.fail("bad held run")
			return nil
		}
		o.refs++
		held.runs = append(held.runs, h)
	}
	if want != 0 {
		r.fail("held batches are missing")
	}
	return held
}
