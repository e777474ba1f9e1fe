package metadata

import (
	"errors"

	"github.com/bargedata/barge/record"
)

// checkMoved tells why runs may not move, and otherwise which of them do; claimed are the job's topics, ends says where the files of
// the same Replace will end.
//
// Up to level 2 all of them move or none: a job claims every topic it touches. From level 3 on a move needs no claim of its topic, so
// that the jobs of several agents which read different objects, and those which write a topic's files, do not wait for one another.
// What such a job has taken meanwhile (its runs have left, or were moved before) stays where it is, and the rest moves; only
// when nothing is left to do is that ErrStaleInput.
func (s *State) checkMoved(claimed map[record.TopicID]bool, m *MovedObject, ends map[record.Partition]record.Offset, files bool) ([]MovedRun, error) {
	if len(m.Runs) == 0 || m.Size < 0 || m.Size > maxObjectBytes {
		return nil, ErrInvalidCommand
	}
	unclaimed := s.level >= 3
	moves := m.Runs
	if unclaimed {
		moves = make([]MovedRun, 0, len(m.Runs))
	}
	for i := range m.Runs {
		r := &m.Runs[i]
		if i > 0 {
			last := &m.Runs[i-1]
			if c := last.Partition.Compare(r.Partition); c > 0 || c == 0 && last.End > r.Base {
				return nil, ErrInvalidCommand
			}
		}
		if r.Pos < 0 || r.Len < 1 || r.Len > m.Size || record.Len(r.Pos) > m.Size-r.Len {
			return nil, ErrInvalidCommand
		}
		if !unclaimed && !claimed[r.Partition.Topic] {
			return nil, ErrStaleClaim
		}
		err := s.checkMove(r, ends, unclaimed)
		switch {
		case err == nil && unclaimed:
			moves = append(moves, *r)
		case err != nil && (!unclaimed || errors.Is(err, ErrInvalidCommand)):
			return nil, err
		}
	}
	if len(moves) == 0 && !files {
		return nil, ErrStaleInput
	}
	return moves, nil
}

// checkMove tells why one run may not move; once: it was not moved before.
func (s *State) checkMove(r *MovedRun, ends map[record.Partition]record.Offset, once bool) error {
	_, p := s.partition(r.Partition)
	if p == nil {
		return ErrUnknownTopic
	}
	if end, ok := ends[r.Partition]; ok && r.Base < end {
		return ErrStaleInput // these runs leave for a file
	}
	from, to, ok := p.wholeRuns(r.Base, r.End)
	if !ok {
		return ErrStaleInput
	}
	size := record.Len(0)
	for _, old := range p.runs[from:to] {
		if once && s.objects[old.object].sorted {
			return ErrStaleInput
		}
		size += old.len
	}
	if size != r.Len {
		return ErrInvalidCommand
	}
	return nil
}

// wholeRuns finds the runs that cover exactly [base, end): p.runs[from:to], at least one.
func (p *partition) wholeRuns(base, end record.Offset) (from, to int, ok bool) {
	from = p.runIndex(base)
	if base >= end || from == len(p.runs) || p.runs[from].base != base || !p.runEndsAt(end) {
		return 0, 0, false
	}
	return from, p.runIndex(end), true
}

// move puts runs of m, at least one, which have been checked, in the place of those they cover.
func (s *State) move(m *MovedObject, runs []MovedRun) {
	s.lastObject++
	id := s.lastObject
	s.addObject(id, &object{key: m.Key, size: m.Size, sorted: true})
	for rest := runs; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Partition == rest[0].Partition {
			n++
		}
		t, p := s.partition(rest[0].Partition)
		s.moveRuns(t, p, rest[:n], id)
		rest = rest[n:]
	}
}

// moveRuns does one partition's share, in a new list: frozen states keep the old one.
func (s *State) moveRuns(t *topicState, p *partition, moved []MovedRun, object uint64) {
	old := p.runs
	runs := make([]run, 0, len(old))
	done := 0
	for i := range moved {
		m := &moved[i]
		from, to, _ := p.wholeRuns(m.Base, m.End)
		runs = append(runs, old[done:from]...)
		r := run{
			base: m.Base, end: m.End, object: object, pos: m.Pos, len: m.Len, maxTime: m.MaxTimestamp, committedAt: old[from].committedAt,
		}
		runs = append(runs, r)
		s.countRun(t, &r)
		done = to
		for k := from; k < to; k++ {
			s.uncountRun(t, &old[k])
		}
	}
	p.runs = append(runs, old[done:]...)
}
