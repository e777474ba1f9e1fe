package metadata

import (
	"fmt"
	"slices"

	"github.com/bargedata/barge/record"
)

// session is the life of one agent process on the log.
type session struct {
	id          SessionID
	agent       AgentInfo
	openedAt    int64
	sealedAt    int64 // valid when sealed
	sealed      bool
	nextCounter uint64         // lowest counter that a new object may have
	results     []objectResult // by counter, not settled yet; elements are immutable
}

// objectResult is kept so that a repeated CommitObject gets the answer of the first.
type objectResult struct {
	counter uint64
	batches [][]BatchResult
	held    *heldObject // nil: all batches have been judged
}

func (s *State) openSession(c OpenSession) Result {
	if c.Agent.understands() < s.level {
		return OpenSessionResult{Err: ErrLevel}
	}
	s.lastSession++
	s.sessions[s.lastSession] = &session{id: s.lastSession, agent: c.Agent, openedAt: s.time}
	return OpenSessionResult{Session: s.lastSession}
}

func (s *State) sealSession(c SealSession) Result {
	ss := s.sessions[c.Session]
	if ss == nil {
		return SealSessionResult{Err: ErrInvalidCommand}
	}
	if ss.sealed {
		return SealSessionResult{}
	}
	for i := range ss.results {
		s.dropHeld(&ss.results[i])
	}
	ss.sealed, ss.sealedAt, ss.results = true, s.time, nil
	for _, id := range sortedKeys(s.jobs) {
		if j := s.jobs[id]; j.session == c.Session {
			s.endJob(j, nil)
		}
	}
	return SealSessionResult{}
}

func (s *State) forgetSession(c ForgetSession) Result {
	ss := s.sessions[c.Session]
	switch {
	case s.level < 2:
		return ForgetSessionResult{Err: ErrLevel}
	case c.Session == 0 || c.Session > s.lastSession:
		return ForgetSessionResult{Err: ErrInvalidCommand}
	case ss != nil && !ss.sealed:
		return ForgetSessionResult{Err: ErrStaleInput}
	}
	delete(s.sessions, c.Session)
	return ForgetSessionResult{}
}

// open finds a session that may still act.
func (s *State) open(id SessionID) *session {
	if ss := s.sessions[id]; ss != nil && !ss.sealed {
		return ss
	}
	return nil
}

// settle drops the results of ss below counter.
func (s *State) settle(ss *session, counter uint64) {
	n := 0
	for n < len(ss.results) && ss.results[n].counter < counter {
		s.dropHeld(&ss.results[n])
		n++
	}
	if ss.results = ss.results[n:]; len(ss.results) == 0 {
		ss.results = nil
	}
}

// result finds what is kept under a counter.
func (ss *session) result(counter uint64) (i int, ok bool) {
	return slices.BinarySearchFunc(ss.results, counter, func(r objectResult, counter uint64) int {
		if r.counter < counter {
			return -1
		}
		return int(min(r.counter-counter, 1))
	})
}

func (s *State) commitObject(c CommitObject) Result {
	if (c.inline() || len(c.Held) > 0) && s.level < 2 {
		return CommitObjectResult{Err: ErrLevel}
	}
	ss := s.open(c.Session)
	if ss == nil {
		return CommitObjectResult{Err: ErrSessionSealed}
	}
	s.settle(ss, min(c.Settled, c.Counter))
	if c.Counter < ss.nextCounter {
		i, ok := ss.result(c.Counter)
		if !ok {
			return CommitObjectResult{Err: ErrOutOfOrderCounter}
		}
		return CommitObjectResult{Batches: s.judgeHeld(ss, i, func(HeldBatch) bool { return true })}
	}
	switch {
	case !c.valid() || !c.validHeld():
		return CommitObjectResult{Err: ErrInvalidCommand}
	case len(ss.results) >= MaxUnsettled:
		return CommitObjectResult{Err: fmt.Errorf("%w: %d results wait to be settled", ErrOutOfOrderCounter, len(ss.results))}
	case !c.inline() && s.known(c.Key):
		return CommitObjectResult{Err: ErrConflict}
	}
	ss.nextCounter = c.Counter + 1
	batches, held := s.commitRuns(&c)
	ss.results = append(ss.results, objectResult{counter: c.Counter, batches: batches, held: held})
	return CommitObjectResult{Batches: batches}
}

// valid checks what the rest relies on: runs in order, batches inside the object, numbers in their ranges.
func (c *CommitObject) valid() bool {
	if c.Size < 0 || c.Size > maxObjectBytes || c.Counter == 1<<64-1 {
		return false
	}
	if inline := c.inline(); inline != (c.Key == "") || inline && !c.validInline() {
		return false
	}
	for i := range c.Runs {
		r := &c.Runs[i]
		if i > 0 && c.Runs[i-1].Partition.Compare(r.Partition) >= 0 {
			return false
		}
		if r.Pos < 0 || r.Pos > maxObjectBytes || len(r.Batches) == 0 {
			return false
		}
		end := record.Len(r.Pos)
		for j := range r.Batches {
			b := &r.Batches[j]
			if b.Len < 1 || b.Len > c.Size-end || b.Records < 1 {
				return false
			}
			end += b.Len
			if b.ProducerID < -1 || b.ProducerID >= 0 && (b.ProducerEpoch < 0 || b.BaseSequence < 0) {
				return false
			}
		}
	}
	return true
}

// validInline refuses, beside what is too long, an entry that nobody has told where its bytes lie.
func (c *CommitObject) validInline() bool {
	return c.lenInline() <= MaxInlineBytes && c.Size == c.lenInline() && c.InlinePos > 0
}

// commitRuns is the heart of it: sequence, offset and location of every batch change here, in one entry.
func (s *State) commitRuns(c *CommitObject) ([][]BatchResult, *heldObject) {
	total := 0
	for i := range c.Runs {
		total += len(c.Runs[i].Batches)
	}
	flat := make([]BatchResult, total)
	results := make([][]BatchResult, len(c.Runs))

	s.lastObject++
	id := s.lastObject
	o := &object{key: c.Key, size: c.Size}
	if c.inline() {
		o.slot, o.pos, o.inline = s.next-1, c.InlinePos, true
	} else {
		s.keys[c.Key] = struct{}{}
	}
	s.addObject(id, o)
	later := c.Held
	for i := range c.Runs {
		r := &c.Runs[i]
		n := len(r.Batches)
		results[i], flat = flat[:n:n], flat[n:]
		n = 0
		for n < len(later) && int(later[n].Run) == i {
			n++
		}
		s.commitRun(r, later[:n], id, results[i])
		later = later[n:]
	}
	held := s.holdBack(c, id, results)
	if o.refs == 0 { // nothing in it was accepted: it can go
		s.dropObject(id)
	}
	return results, held
}

// commitRun commits the batches of a run but those held back.
func (s *State) commitRun(r *CommitRun, held []HeldBatch, object uint64, results []BatchResult) {
	t, p := s.partition(r.Partition)
	if p == nil {
		for j := range results {
			results[j] = BatchResult{Err: ErrUnknownTopic, BaseOffset: -1, LogStartOffset: -1}
		}
		return
	}
	before := p.highWatermark
	pos := r.Pos
	open := run{} // len 0: none
	for j := range r.Batches {
		b := &r.Batches[j]
		base, duplicate, err := record.Offset(-1), false, ErrHeld
		if len(held) > 0 && int(held[0].Batch) == j {
			held = held[1:]
		} else {
			base, duplicate, err = p.accept(b, s.time)
		}
		results[j] = BatchResult{Err: err, BaseOffset: base, LogStartOffset: p.logStart, Duplicate: duplicate}
		switch {
		case err != nil || duplicate: // its bytes belong to nobody: a run must not span them
			if open.len > 0 {
				s.addRun(t, p, open)
				open = run{}
			}
		case open.len == 0:
			open = run{base: base, end: p.highWatermark, object: object, pos: pos, len: b.Len, maxTime: b.MaxTimestamp, committedAt: s.time}
		default:
			open.end = p.highWatermark
			open.len += b.Len
			open.maxTime = max(open.maxTime, b.MaxTimestamp)
		}
		pos += record.Pos(b.Len)
	}
	if open.len > 0 {
		s.addRun(t, p, open)
	}
	if p.highWatermark != before {
		s.changed = append(s.changed, r.Partition)
	}
}

// accept gives a batch its offsets, or tells why not.
func (p *partition) accept(b *CommitBatch, now int64) (base record.Offset, duplicate bool, err error) {
	if b.ProducerID < 0 {
		base = p.highWatermark
		p.highWatermark += record.Offset(b.Records)
		return base, false, nil
	}
	slot, base, duplicate, err := p.producers.judge(b, now)
	if err != nil || duplicate {
		return base, duplicate, err
	}
	base = p.highWatermark
	p.highWatermark += record.Offset(b.Records)
	p.producers.appended(slot, b, base, now)
	return base, false, nil
}
