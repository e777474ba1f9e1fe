package logtest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTime bounds the search for an order that explains one history; those of DefaultLoad take milliseconds.
const checkTime = 20 * time.Second

// errNotLinearizable says that no order of a history's calls explains its answers.
var errNotLinearizable = errors.New("no order of these calls is one of a fenced log")

// Check asks porcupine whether one order of all calls obeys the contract of metadata.Log. The error says what is wrong
// with the log, or that the search took too long.
func (h *History) Check() (Tally, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := Tally{Histories: 1, Operations: len(h.ops), Outcomes: make(map[string]int)}
	for _, op := range h.ops {
		if answerOf(op).outcome == open {
			sum.Open++
		}
		sum.Outcomes[questionOf(op).kind.String()+" "+answerOf(op).outcome.String()]++
	}
	if err := errors.Join(append(h.wrong, h.checkSnapshots()...)...); err != nil {
		return sum, err
	}
	switch porcupine.CheckOperationsTimeout(fencedLog(), h.ordered(), checkTime) {
	case porcupine.Ok:
		return sum, nil
	case porcupine.Unknown:
		return sum, fmt.Errorf("%d operations could not be checked in %v:\n%s", len(h.ops), checkTime, h.String())
	default:
		return sum, fmt.Errorf("%w:\n%s", errNotLinearizable, h.String())
	}
}

func questionOf(op porcupine.Operation) question {
	q, _ := op.Input.(question) // nothing else is noted
	return q
}

func answerOf(op porcupine.Operation) answer {
	a, _ := op.Output.(answer) // nothing else is noted
	return a
}

// checkSnapshots holds every snapshot handed out against those that somebody had begun to publish.
func (h *History) checkSnapshots() (wrong []error) {
	for _, op := range h.ops {
		got := answerOf(op).acquired
		if !got.HasSnapshot {
			if got.SnapshotSeq != 0 {
				wrong = append(wrong, fmt.Errorf("%s: no snapshot, of slot %d", questionOf(op), got.SnapshotSeq))
			}
			continue
		}
		published := slices.ContainsFunc(h.ops, func(c porcupine.Operation) bool {
			q := questionOf(c)
			return q.kind == opCheckpoint && q.seq == got.SnapshotSeq && c.Call < op.Return
		})
		if !published || answerOf(op).snapshotWrittenAs != got.SnapshotSeq {
			wrong = append(wrong, fmt.Errorf("%s: snapshot of %d, which says it is of %d; published: %v", questionOf(op), got.SnapshotSeq,
				answerOf(op).snapshotWrittenAs, published))
		}
	}
	return wrong
}

// ordered returns the operations in a form that can be searched fast: reads know what may have been truncated, and of the
// acquires and others without an answer only those are left that had an effect somebody may have met.
func (h *History) ordered() []porcupine.Operation {
	var out []porcupine.Operation
	known := map[uint64]bool{}
	var newest uint64
	firstOpen := int64(math.MaxInt64)
	for _, op := range h.ops {
		q, a := questionOf(op), answerOf(op)
		switch {
		case q.kind == opAcquire && a.outcome == open:
			firstOpen = min(firstOpen, op.Call)
			continue
		case a.outcome == open && q.kind != opAppend:
			continue
		case q.kind == opRead:
			for _, c := range h.ops {
				if t := questionOf(c); t.kind == opTruncate && c.Call < op.Return {
					a.below = max(a.below, t.seq)
				}
			}
			op.Output = a
		}
		if q.kind == opAcquire {
			known[a.acquired.Term] = true
		}
		newest = max(newest, a.acquired.Term)
		for _, c := range a.entries {
			newest = max(newest, c.term)
		}
		out = append(out, op)
	}
	// Terms go up by one, so a term that is in the log and was given to nobody is that of an acquire without an answer.
	// Which one does not matter, and trying all of them at all times would take for ever.
	for term := uint64(1); term <= newest; term++ {
		if !known[term] {
			a := answer{outcome: open}
			a.acquired.Term = term
			out = append(out, porcupine.Operation{ClientId: h.load.Writers + h.load.Readers, Input: question{kind: opAcquire}, Call: firstOpen, Output: a, Return: math.MaxInt64})
		}
	}
	return out
}

// String lists the operations by their beginning. The caller holds mu.
func (h *History) String() string {
	ops := slices.Clone(h.ops)
	slices.SortFunc(ops, byCall)
	var b strings.Builder
	for _, op := range ops {
		until := fmt.Sprint(op.Return)
		if op.Return == math.MaxInt64 {
			until = "ever"
		}
		fmt.Fprintf(&b, "%5d to %-5s client %d: %v -> %v\n", op.Call, until, op.ClientId, op.Input, op.Output)
	}
	return b.String()
}
