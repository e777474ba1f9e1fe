package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
)

// broken is a log in memory that breaks one promise.
type broken struct {
	promise string

	mu    sync.Mutex
	rng   *rand.Rand
	term  uint64
	slots []metadata.LogEntry
	ids   [][16]byte
	gone  uint64
	snaps []uint64
}

// brokenHandle keeps what one process believes.
type brokenHandle struct {
	*broken
	seen []metadata.LogEntry // of the first read
}

func (b *broken) next() uint64 { return uint64(len(b.slots)) }

// breaks tells whether this call is one that breaks promise.
func (b *broken) breaks(promise string) bool { return b.promise == promise && b.rng.IntN(4) == 0 }

func (b *broken) put(e metadata.LogEntry, id [16]byte) {
	e.Seq = b.next()
	b.slots, b.ids = append(b.slots, e), append(b.ids, id)
}

func wait() { time.Sleep(time.Millisecond) }

func (b *brokenHandle) Acquire(context.Context, string, uint64) (metadata.Acquired, error) {
	wait()
	defer wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.slots); n > 0 && !b.slots[n-1].Claim && b.breaks("an acknowledged append stays when a term ends") {
		b.slots, b.ids = b.slots[:n-1], b.ids[:n-1]
	}
	if b.term == 0 || !b.breaks("terms are given once") {
		b.term++
	}
	b.put(metadata.LogEntry{Term: b.term, Claim: true}, [16]byte{})
	got := metadata.Acquired{Term: b.term, Next: b.next()}
	if n := len(b.snaps); n > 0 {
		got.SnapshotSeq, got.HasSnapshot = b.snaps[n-1], true
		got.Snapshot = uint64Body(got.SnapshotSeq)
		if b.breaks("snapshots are what they say they are") {
			got.Snapshot = uint64Body(got.SnapshotSeq - 1)
		}
	}
	return got, nil
}

func uint64Body(n uint64) []byte {
	return []byte{byte(n >> 56), byte(n >> 48), byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

func (b *brokenHandle) Newest(context.Context) (metadata.Acquired, error) {
	wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	got := metadata.Acquired{Term: b.term, Next: b.next()}
	if b.breaks("readers start at the end of the log") {
		got.Next = max(got.Next, 1) - 1
	}
	return got, nil
}

func (b *brokenHandle) Append(_ context.Context, term, seq uint64, id [16]byte, body []byte) error {
	wait()
	defer wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	e := metadata.LogEntry{Term: term, Body: bytes.Clone(body)}
	switch {
	case seq < b.next() && b.ids[seq] == id && b.slots[seq].Term == term:
		return nil
	case term < b.term && b.breaks("only the newest term appends"):
		b.put(e, id)
		return nil
	case term < b.term || seq < b.next():
		return fmt.Errorf("term %d: %w", term, metadata.ErrFenced)
	case b.breaks("an acknowledged append is in the log"):
		b.put(metadata.LogEntry{Term: term, Body: uint64Body(1 << 40)}, [16]byte{1})
		return nil
	case b.breaks("an append is written once"):
		b.put(e, id)
		b.put(e, id)
		return nil
	}
	b.put(e, id)
	if b.rng.IntN(5) == 0 {
		return fmt.Errorf("no answer: %w", metadata.ErrUnknown)
	}
	return nil
}

func (b *brokenHandle) Confirm(_ context.Context, term, next uint64) error {
	wait()
	defer wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.promise == "a confirm knows of later terms":
		return nil
	case term < b.term:
		return fmt.Errorf("term %d: %w", term, metadata.ErrFenced)
	case next < b.next():
		return metadata.ErrUnknown
	}
	return nil
}

func (b *brokenHandle) Read(_ context.Context, from uint64, maxBytes int) ([]metadata.LogEntry, error) {
	wait()
	defer wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.promise == "reads see what was acknowledged before" {
		if b.seen == nil || b.rng.IntN(8) == 0 {
			b.seen = slices.Clone(b.slots)
		}
		if from >= uint64(len(b.seen)) {
			return nil, nil
		}
		return slices.Clone(b.seen[from:]), nil
	}
	if from < b.gone || from > 0 && b.breaks("slots that nobody truncated are there") {
		return nil, fmt.Errorf("from %d: %w", from, metadata.ErrTruncated)
	}
	if from >= b.next() {
		return nil, nil
	}
	out := slices.Clone(b.slots[from:min(b.next(), from+1+uint64(maxBytes/8))])
	if n := len(out); n > 1 && b.breaks("reads come in the order of slots") {
		out[n-1].Term, out[n-2].Term = out[n-2].Term, out[n-1].Term
		out[n-1].Body, out[n-2].Body = out[n-2].Body, out[n-1].Body
		out[n-1].Claim, out[n-2].Claim = out[n-2].Claim, out[n-1].Claim
	}
	return out, nil
}

func (b *brokenHandle) Checkpoint(_ context.Context, term, seq uint64, _ []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if term < b.term {
		return fmt.Errorf("term %d: %w", term, metadata.ErrFenced)
	}
	b.snaps = append(b.snaps, seq)
	return nil
}

func (b *brokenHandle) Truncate(_ context.Context, term, _ uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if term < b.term {
		return fmt.Errorf("term %d: %w", term, metadata.ErrFenced)
	}
	return nil
}

func (b *brokenHandle) Hint(context.Context) (metadata.Hint, error) { return metadata.Hint{}, nil }

func recordBroken(t *testing.T, promise string, seed uint64) (h *History) {
	t.Helper()
	load := DefaultLoad()
	load.Pause = 5 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		b := &broken{promise: promise, rng: rand.New(rand.NewPCG(seed, 3))}
		h = Record(t.Context(), Instance{Open: func() metadata.Log { return &brokenHandle{broken: b} }, Age: func() {}}, seed, load)
	})
	return h
}

// TestBrokenPromisesAreFound: a checker that can not fail shows nothing. One history need not show a fault, a few must.
func TestBrokenPromisesAreFound(t *testing.T) {
	const seeds = 10
	for _, promise := range []string{
		"only the newest term appends", "an acknowledged append is in the log", "an acknowledged append stays when a term ends",
		"an append is written once", "terms are given once", "a confirm knows of later terms",
		"reads see what was acknowledged before", "reads come in the order of slots", "slots that nobody truncated are there",
		"snapshots are what they say they are", "readers start at the end of the log",
	} {
		t.Run(promise, func(t *testing.T) {
			found := 0
			for seed := range uint64(seeds) {
				_, err := recordBroken(t, promise, seed).Check()
				if err != nil && strings.Contains(err.Error(), "could not be checked") {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if err != nil {
					found++
				}
			}
			t.Logf("found in %d of %d histories", found, seeds)
			if found < seeds/2 {
				t.Errorf("found in %d of %d histories", found, seeds)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		for seed := range uint64(seeds) {
			if _, err := recordBroken(t, "", seed).Check(); err != nil {
				t.Fatalf("seed %d: the log breaks no promise: %v", seed, err)
			}
		}
	})
}

// TestOneWrongAnswerIsFound changes single answers of a sound history.
func TestOneWrongAnswerIsFound(t *testing.T) {
	changed := 0
	for i := range recordBroken(t, "", 1).ops {
		h := recordBroken(t, "", 1)
		op := &h.ops[i]
		q, a := questionOf(*op), answerOf(*op)
		switch {
		case q.kind == opAppend && a.outcome == done:
			q.id++
			op.Input = q
		case q.kind == opRead && len(a.entries) > 0:
			a.entries[0].id++
		case q.kind == opAcquire:
			a.acquired.Next++
		default:
			continue
		}
		op.Output = a
		changed++
		if _, err := h.Check(); !errors.Is(err, errNotLinearizable) {
			t.Fatalf("%v -> %v was taken: %v", q, a, err)
		}
	}
	if changed < 20 {
		t.Fatalf("%d answers changed", changed)
	}
}
