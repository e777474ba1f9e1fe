package logtest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/bargedata/barge/metadata"
)

// kind is a method of metadata.Log.
type kind int8

const (
	opAcquire kind = iota
	opNewest
	opAppend
	opConfirm
	opRead
	opCheckpoint
	opTruncate
)

func (k kind) String() string {
	return [...]string{"acquire", "newest", "append", "confirm", "read", "checkpoint", "truncate"}[k]
}

// question is what a client asked: an append or checkpoint at seq, a read from seq, a confirm of next seq, a truncation below
// seq. id is the append's, and all of its body.
type question struct {
	kind      kind
	term, seq uint64
	id        uint64
}

func (q question) String() string {
	return fmt.Sprintf("%s term %d seq %d id %x", q.kind, q.term, q.seq, q.id)
}

// outcome is what a client was told in the end.
type outcome int8

const (
	done      outcome = iota
	fenced            // an append: it has happened before that or never will; all others: it has not happened
	open              // no answer: it happens at any later time, or never
	truncated         // a read's
)

func (o outcome) String() string {
	return [...]string{"done", "fenced", "no answer", "truncated"}[o]
}

// answer is an outcome with what came with it.
type answer struct {
	outcome           outcome
	acquired          metadata.Acquired // of acquire and newest
	entries           []cell            // of read
	snapshotWrittenAs uint64            // what the acquired snapshot says it is of
	below             uint64            // of read: the highest truncation asked for before it ended
}

func (a answer) String() string {
	return fmt.Sprintf("%s term %d next %d snapshot %d (%v) %v", a.outcome, a.acquired.Term, a.acquired.Next, a.acquired.SnapshotSeq, a.acquired.HasSnapshot, a.entries)
}

// cell is the content of one slot.
type cell struct {
	term  uint64
	claim bool
	id    uint64
}

// logState is the fenced log as its contract has it: a list of cells, and the newest term. Values are never changed, only
// replaced. What may have been truncated or published depends on the beginnings of calls alone and is judged without it.
type logState struct {
	cells []cell
	sum   uint64 // of cells
	term  uint64
}

func (s logState) next() uint64 { return uint64(len(s.cells)) }

func (s logState) with(c cell) logState {
	h := fnv.New64a()
	var buf [25]byte
	binary.BigEndian.PutUint64(buf[:], s.sum)
	binary.BigEndian.PutUint64(buf[8:], c.term)
	binary.BigEndian.PutUint64(buf[16:], c.id)
	if c.claim {
		buf[24] = 1
	}
	_, _ = h.Write(buf[:]) // never fails
	s.cells = append(s.cells[:len(s.cells):len(s.cells)], c)
	s.sum, s.term = h.Sum64(), c.term
	return s
}

func (s logState) equal(o logState) bool { return s.sum == o.sum && len(s.cells) == len(o.cells) }

// step tells whether the log in state s may answer a to q, and what it is afterwards.
func (s logState) step(q question, a answer) (bool, logState) {
	switch q.kind {
	case opAcquire:
		if a.outcome == open && a.acquired.Term != s.term+1 || a.acquired.Term <= s.term || a.outcome == done && a.acquired.Next != s.next()+1 {
			return false, s
		}
		return true, s.with(cell{term: a.acquired.Term, claim: true})
	case opNewest:
		return a.acquired.Next == s.next() && a.acquired.Term == s.term, s
	case opAppend:
		return s.append(q, a)
	case opConfirm:
		if a.outcome == fenced {
			return s.term > q.term, s
		}
		return s.term == q.term && s.next() == q.seq, s
	case opRead:
		return s.read(q, a), s
	case opCheckpoint, opTruncate:
		return a.outcome != fenced || s.term > q.term, s
	default:
		return false, s
	}
}

func (s logState) append(q question, a answer) (bool, logState) {
	want := cell{term: q.term, id: q.id}
	written := q.seq < s.next() && s.cells[q.seq] == want
	takes := s.term == q.term && s.next() == q.seq
	switch a.outcome {
	case done:
		if takes {
			return true, s.with(want)
		}
		return written, s
	case fenced:
		if takes {
			return true, s.with(want)
		}
		return s.term > q.term, s // when it never happens: after whatever fenced it
	default:
		if takes {
			return true, s.with(want)
		}
		return true, s
	}
}

func (s logState) read(q question, a answer) bool {
	if a.outcome == truncated {
		return q.seq < a.below
	}
	if len(a.entries) == 0 {
		return q.seq >= s.next() || q.seq < a.below
	}
	end := q.seq + uint64(len(a.entries))
	return end <= s.next() && slices.Equal(s.cells[q.seq:end], a.entries)
}

// fencedLog is the contract of metadata.Log as porcupine wants it.
func fencedLog() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return logState{} },
		Step: func(state, input, output any) (bool, any) {
			return state.(logState).step(input.(question), output.(answer)) //nolint:errcheck,forcetypeassert // the checker hands back what it was given
		},
		Equal: func(a, b any) bool {
			return a.(logState).equal(b.(logState)) //nolint:errcheck,forcetypeassert // see above
		},
		Hash: func(state any) uint64 {
			return state.(logState).sum //nolint:errcheck,forcetypeassert // see above
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " -> ", output) },
		DescribeState: func(state any) string {
			s := state.(logState) //nolint:errcheck,forcetypeassert // see above
			return fmt.Sprintf("%d slots, term %d", len(s.cells), s.term)
		},
	}
}

// byCall orders operations for people.
func byCall(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) }
