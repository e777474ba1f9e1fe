package logtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bargedata/barge/metadata"
)

// Load is the size of one history.
type Load struct {
	Writers, Readers int
	// Calls is how many each of them makes, about.
	Calls int
	// Pause, above zero, is the longest that a client waits between two calls. The histories are then made in synctest
	// bubbles, where waiting costs nothing; so the log under test must wait for nothing but timers.
	Pause time.Duration
}

// DefaultLoad is small enough to be checked in milliseconds.
func DefaultLoad() Load { return Load{Writers: 3, Readers: 1, Calls: 25} }

// Tally sums up what was checked.
type Tally struct {
	Histories, Operations, Open int
	Outcomes                    map[string]int
}

// Add adds o to t.
func (t *Tally) Add(o Tally) {
	if t.Outcomes == nil {
		t.Outcomes = make(map[string]int)
	}
	t.Histories += o.Histories
	t.Operations += o.Operations
	t.Open += o.Open
	for name, n := range o.Outcomes {
		t.Outcomes[name] += n
	}
}

func (t *Tally) String() string {
	return fmt.Sprintf("%d histories, %d operations checked, %d of them without an answer: %v", t.Histories, t.Operations, t.Open, t.Outcomes)
}

// History is what clients asked of one log and what they were told.
type History struct {
	in   Instance
	load Load

	mu    sync.Mutex
	clock int64 // counts beginnings and ends of calls
	ops   []porcupine.Operation
	next  uint64 // about where the log ends
	ids   uint64
	wrong []error // what no log may ever say
}

// Record lets clients with handles of their own use one log side by side (terms come and go; appends, confirms, reads,
// checkpoints and truncations) and notes when each call began and what it was told in the end. Faults are the factory's to
// put under the log. Only Open and Age of in are used.
func Record(ctx context.Context, in Instance, seed uint64, load Load) *History {
	h := &History{in: in, load: load}
	var wg sync.WaitGroup
	for i := range load.Writers {
		wg.Go(func() { h.writer(ctx, i, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	for i := range load.Readers {
		wg.Go(func() { h.reader(ctx, load.Writers+i, rand.New(rand.NewPCG(seed, uint64(load.Writers+i)))) })
	}
	wg.Wait()
	h.judge(ctx, load.Writers+load.Readers)
	return h
}

// RunHistories records and checks as many histories, each on a log of its own, and logs what was checked.
func RunHistories(t *testing.T, seeds uint64, load Load, factory func(t *testing.T, seed uint64) Instance) {
	t.Helper()
	var sum Tally
	for seed := range seeds {
		var h *History
		record := func(t *testing.T) {
			t.Helper()
			h = Record(t.Context(), factory(t, seed), seed, load)
		}
		if load.Pause > 0 {
			synctest.Test(t, record)
		} else {
			record(t)
		}
		// Not in the bubble, whose clock stands still during a search.
		got, err := h.Check()
		sum.Add(got)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	t.Log(sum.String())
	for _, name := range []string{"append done", "append fenced", "confirm done", "read done", "checkpoint done"} {
		if sum.Outcomes[name] == 0 {
			t.Errorf("no %q in any history: they were too quiet to show anything", name)
		}
	}
}

func (h *History) tick() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	return h.clock
}

func (h *History) newID() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids++
	return h.ids
}

func (h *History) note(client int, began int64, q question, a answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	op := porcupine.Operation{ClientId: client, Input: q, Call: began, Output: a, Return: h.clock}
	if a.outcome == open {
		op.Return = math.MaxInt64
	}
	h.ops = append(h.ops, op)
	h.next = max(h.next, a.acquired.Next, q.seq)
}

func (h *History) end() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.next
}

// refuse notes an answer that no log may give, whatever happened.
func (h *History) refuse(q question, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = append(h.wrong, fmt.Errorf("%s: %w", q, err))
}

func (h *History) pause(rng *rand.Rand) {
	if h.load.Pause > 0 {
		time.Sleep(time.Duration(rng.Int64N(int64(h.load.Pause))))
	}
}

// writer lives through terms until it has made its calls.
func (h *History) writer(ctx context.Context, client int, rng *rand.Rand) {
	log := h.in.Open()
	for calls := 0; calls < h.load.Calls && ctx.Err() == nil; calls++ {
		for range 1 + rng.IntN(30) { // so that terms last
			h.pause(rng)
		}
		if rng.IntN(6) == 0 {
			log = h.in.Open() // the process died, and a new one starts
		}
		began, q := h.tick(), question{kind: opAcquire}
		got, err := log.Acquire(ctx, fmt.Sprint("client ", client), 0)
		if err != nil {
			h.failed(client, began, q, err)
			continue
		}
		h.note(client, began, q, acquiredAnswer(got))
		calls += h.term(ctx, client, rng, log, got.Term, got.Next)
	}
}

func acquiredAnswer(got metadata.Acquired) answer {
	a := answer{acquired: got}
	if len(got.Snapshot) == 8 {
		a.snapshotWrittenAs = binary.BigEndian.Uint64(got.Snapshot)
	}
	a.acquired.Snapshot = nil
	return a
}

// term makes calls in one term, until it is over or left.
func (h *History) term(ctx context.Context, client int, rng *rand.Rand, log metadata.Log, term, next uint64) (calls int) {
	for range 1 + rng.IntN(10) {
		h.pause(rng)
		calls++
		began := h.tick()
		switch rng.IntN(10) {
		case 0:
			q := question{kind: opConfirm, term: term, seq: next}
			if err := log.Confirm(ctx, term, next); err == nil {
				h.note(client, began, q, answer{})
			} else {
				h.failed(client, began, q, err)
			}
		case 1:
			q := question{kind: opCheckpoint, term: term, seq: next}
			if err := log.Checkpoint(ctx, term, next, binary.BigEndian.AppendUint64(nil, next)); err == nil {
				h.note(client, began, q, answer{})
			} else {
				h.failed(client, began, q, err)
			}
		case 2:
			if rng.IntN(2) == 0 {
				h.in.Age()
			}
			q := question{kind: opTruncate, term: term, seq: next}
			if err := log.Truncate(ctx, term, next); err == nil {
				h.note(client, began, q, answer{})
			} else {
				h.failed(client, began, q, err)
			}
		default:
			if !h.append(ctx, client, rng, log, question{kind: opAppend, term: term, seq: next, id: h.newID()}) {
				return calls
			}
			next++
		}
	}
	return calls
}

// append repeats one append until it is settled, or the client dies; false when the term is over.
func (h *History) append(ctx context.Context, client int, rng *rand.Rand, log metadata.Log, q question) bool {
	began := h.tick()
	for {
		err := log.Append(ctx, q.term, q.seq, ID(q.id), binary.BigEndian.AppendUint64(nil, q.id))
		switch {
		case err == nil:
			h.note(client, began, q, answer{outcome: done})
			return true
		case errors.Is(err, metadata.ErrFenced):
			h.note(client, began, q, answer{outcome: fenced})
			return false
		case errors.Is(err, metadata.ErrUnknown) && rng.IntN(12) > 0:
			h.pause(rng)
		default:
			h.failed(client, began, q, err)
			return false
		}
	}
}

// failed notes a call that got an error.
func (h *History) failed(client int, began int64, q question, err error) {
	switch {
	case errors.Is(err, metadata.ErrCorrupt):
		h.refuse(q, err) // no fault of these histories damages the log
	case errors.Is(err, metadata.ErrFenced):
		a := answer{outcome: fenced}
		if q.kind == opAcquire {
			a.outcome = open // its claim may be in the log, and ends the terms before it
		}
		h.note(client, began, q, a)
	case errors.Is(err, metadata.ErrTruncated) && q.kind == opRead:
		h.note(client, began, q, answer{outcome: truncated})
	case q.kind == opRead || q.kind == opNewest || q.kind == opConfirm:
		// An error of the store: nothing was asked and nothing told.
	case q.kind == opAppend && !errors.Is(err, metadata.ErrUnknown):
		h.refuse(q, err)
	default:
		h.note(client, began, q, answer{outcome: open})
	}
}

// reader reads here and there, and asks where it would start.
func (h *History) reader(ctx context.Context, client int, rng *rand.Rand) {
	log := h.in.Open()
	from := uint64(0)
	for calls := 0; calls < h.load.Calls && ctx.Err() == nil; calls++ {
		h.pause(rng)
		began := h.tick()
		if rng.IntN(6) == 0 {
			q := question{kind: opNewest}
			got, err := log.Newest(ctx)
			if err != nil {
				h.failed(client, began, q, err)
				continue
			}
			h.note(client, began, q, acquiredAnswer(got))
			from = got.SnapshotSeq
			continue
		}
		if rng.IntN(8) == 0 {
			log, from = h.in.Open(), rng.Uint64N(h.end()+2)
		}
		n, err := h.read(ctx, client, log, from, rng.IntN(60))
		if err != nil {
			from = max(from, h.end()/2)
		}
		from += uint64(n)
	}
}

// read reads once and notes what it saw.
func (h *History) read(ctx context.Context, client int, log metadata.Log, from uint64, maxBytes int) (int, error) {
	began, q := h.tick(), question{kind: opRead, seq: from}
	entries, err := log.Read(ctx, from, maxBytes)
	if err != nil {
		h.failed(client, began, q, err)
		return 0, err
	}
	a := answer{}
	for i, e := range entries {
		c := cell{term: e.Term, claim: e.Claim}
		if len(e.Body) == 8 {
			c.id = binary.BigEndian.Uint64(e.Body)
		}
		if e.Seq != from+uint64(i) || e.Claim != (len(e.Body) != 8) {
			h.refuse(q, fmt.Errorf("entry %d is of slot %d, claim %v, %d bytes", i, e.Seq, e.Claim, len(e.Body)))
		}
		a.entries = append(a.entries, c)
	}
	h.note(client, began, q, a)
	return len(entries), nil
}

// judgeTries bounds how often the last reader asks a store that fails.
const judgeTries = 200

// judge reads in the end what is left of the log, so that all that was promised is looked at once more.
func (h *History) judge(ctx context.Context, client int) {
	log := h.in.Open()
	var last error
	from, started := uint64(0), false
	for range judgeTries {
		if !started {
			began := h.tick()
			got, err := log.Newest(ctx)
			if err != nil {
				h.failed(client, began, question{kind: opNewest}, err)
				last = err
				continue
			}
			h.note(client, began, question{kind: opNewest}, acquiredAnswer(got))
			from = got.SnapshotSeq
		}
		n, err := h.read(ctx, client, log, from, 64)
		if err == nil && n == 0 {
			return
		}
		from += uint64(n)
		last = err
		started = !errors.Is(err, metadata.ErrTruncated) // as a truncation may land late
	}
	h.refuse(question{kind: opNewest}, fmt.Errorf("no answer in %d tries: %w", judgeTries, last))
}
