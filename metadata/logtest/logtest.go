// Package logtest holds every engine of the metadata log to the contract of metadata.Log.
//
//	func TestLog(t *testing.T) {
//		logtest.Run(t, func(t *testing.T) logtest.Instance { ... })
//	}
package logtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
)

// Instance is one fresh log under test.
type Instance struct {
	// Open returns a handle on the log, as another process would have. It may be the same object each time.
	Open func() metadata.Log
	// Doubt makes the next Append through any handle answer ErrUnknown, with or without effect.
	Doubt func(effect bool)
	// DamageNewestSnapshot makes the newest snapshot unreadable.
	DamageNewestSnapshot func()
	// Age moves the engine's time so far that every slot written so far may be deleted.
	Age func()
	// Vague: the faults under the log hide times from it, so that a truncation may keep more than it was asked to.
	Vague bool
}

// Factory makes a fresh log; it cleans up through t.
type Factory func(t *testing.T) Instance

// Run runs the conformance suite, each case on a log of its own.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, in Instance)
	}{
		{"EmptyLogStartsAtItsFirstClaim", testEmpty},
		{"AppendedEntriesReadBackInOrder", testRoundTrip},
		{"ReadKeepsToMaxBytesButGivesOne", testReadLimit},
		{"RepeatedAppendIsOneEntry", testRepeat},
		{"AppendRefusesWhatIsNotNext", testNotNext},
		{"AppendRefusesTooLargeEntries", testTooLarge},
		{"LowerTermIsFenced", testFenced},
		{"FencedTermStaysFenced", testStaysFenced},
		{"AcquireLeavesTheTermThatItDoesNotMean", testAcquireUnless},
		{"RacingAcquirersLeaveOneWriter", testRacingAcquirers},
		{"RacingWritersNeverShareASlot", testRacingWriters},
		{"UnknownWithEffectIsSettledByRepeating", testDoubtKept},
		{"UnknownWithoutEffectIsSettledByRepeating", testDoubtLost},
		{"UnknownThenFencedTellsWhoWon", testDoubtThenFenced},
		{"ConfirmSeesNewerTermsAndLaterSlots", testConfirm},
		{"AcquireStartsFromTheNewestSnapshot", testCheckpoint},
		{"AcquireFallsBackFromADamagedSnapshot", testDamagedSnapshot},
		{"CheckpointTwiceIsNoError", testCheckpointTwice},
		{"TruncatedSlotsAreToldApart", testTruncate},
		{"TruncateKeepsWhatOlderSnapshotsNeed", testTruncateKeeps},
		{"ReadersSeeAGrowingPrefix", testReaders},
		{"HintNamesTheNewestOwner", testHint},
		{"NewestFencesNobodyAndWritesNothing", testNewestOnlyReads},
		{"NewestStartsFromTheNewestUsableSnapshot", testNewestSnapshot},
		{"EndedContextIsAnError", testContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, factory(t)) })
	}
}

// ID makes an append id from a number.
func ID(n uint64) [16]byte {
	var id [16]byte
	binary.BigEndian.PutUint64(id[8:], n)
	id[0] = 0xa5 // so that no id is all zero
	return id
}

func body(seq uint64) []byte { return fmt.Appendf(nil, "entry %d", seq) }

func acquire(t *testing.T, log metadata.Log, owner string) metadata.Acquired {
	t.Helper()
	got, err := log.Acquire(t.Context(), owner, 0)
	if err != nil {
		t.Fatalf("acquire as %s: %v", owner, err)
	}
	if got.Term == 0 || got.HasSnapshot != (got.Snapshot != nil) || got.SnapshotSeq > got.Next {
		t.Fatalf("acquire as %s: inconsistent answer %+v", owner, got)
	}
	return got
}

// fill appends n entries and returns the next slot.
func fill(t *testing.T, log metadata.Log, term, seq uint64, n int) uint64 {
	t.Helper()
	for range n {
		if err := log.Append(t.Context(), term, seq, ID(seq), body(seq)); err != nil {
			t.Fatalf("append %d: %v", seq, err)
		}
		seq++
	}
	return seq
}

// readAll reads [from, end) in small steps and checks that there is neither gap nor falling term.
func readAll(t *testing.T, log metadata.Log, from uint64) []metadata.LogEntry {
	t.Helper()
	var all []metadata.LogEntry
	for {
		got, err := log.Read(t.Context(), from, 40)
		if err != nil {
			t.Fatalf("read from %d: %v", from, err)
		}
		if len(got) == 0 {
			return all
		}
		for _, e := range got {
			if e.Seq != from {
				t.Fatalf("read gave slot %d where %d was next", e.Seq, from)
			}
			if n := len(all); n > 0 && e.Term < all[n-1].Term {
				t.Fatalf("slot %d has term %d after %d", e.Seq, e.Term, all[n-1].Term)
			}
			if e.Claim && len(e.Body) != 0 {
				t.Fatalf("claim in slot %d has a body", e.Seq)
			}
			all = append(all, e)
			from++
		}
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
}

func testEmpty(t *testing.T, in Instance) {
	log := in.Open()
	if got, err := log.Read(t.Context(), 0, 1000); err != nil || len(got) != 0 {
		t.Fatalf("read of an empty log: %v, %v", got, err)
	}
	if h, err := log.Hint(t.Context()); err != nil || h.Owner != "" || h.Next != 0 {
		t.Fatalf("hint of an empty log: %+v, %v", h, err)
	}
	got := acquire(t, log, "a")
	if got.HasSnapshot || got.SnapshotSeq != 0 {
		t.Fatalf("an empty log has a snapshot: %+v", got)
	}
	for _, e := range readAll(t, log, 0) {
		if !e.Claim {
			t.Fatalf("an empty log holds %+v", e)
		}
	}
}

func testRoundTrip(t *testing.T, in Instance) {
	log := in.Open()
	got := acquire(t, log, "a")
	seq := got.Next
	bodies := [][]byte{body(1), {}, nil, bytes.Repeat([]byte{0xff, 0}, 70_000), body(2)}
	for i, b := range bodies {
		if err := log.Append(t.Context(), got.Term, seq+uint64(i), ID(uint64(i)), b); err != nil {
			t.Fatal(err)
		}
	}
	for name, reader := range map[string]metadata.Log{"writer": log, "other": in.Open()} {
		entries := readAll(t, reader, seq)
		if len(entries) != len(bodies) {
			t.Fatalf("%s read %d entries, want %d", name, len(entries), len(bodies))
		}
		for i, e := range entries {
			if e.Claim || e.Term != got.Term || !bytes.Equal(e.Body, bodies[i]) {
				t.Fatalf("%s read slot %d: claim %v term %d, %d bytes", name, e.Seq, e.Claim, e.Term, len(e.Body))
			}
		}
	}
	if n := uint64(len(readAll(t, in.Open(), 0))); n != seq+uint64(len(bodies)) {
		t.Fatalf("the log from 0 has %d entries, want %d", n, seq+uint64(len(bodies)))
	}
}

func testReadLimit(t *testing.T, in Instance) {
	log := in.Open()
	got := acquire(t, log, "a")
	for i := range uint64(40) {
		if err := log.Append(t.Context(), got.Term, got.Next+i, ID(i), make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ maxBytes, want int }{{0, 1}, {1, 1}, {100, 1}, {250, 2}, {2000, 20}, {1 << 20, 40}} {
		entries, err := log.Read(t.Context(), got.Next, c.maxBytes)
		if err != nil || len(entries) > c.want || len(entries) == 0 {
			t.Fatalf("read of at most %d bytes gave %d entries of 100 bytes, want 1 to %d: %v", c.maxBytes, len(entries), c.want, err)
		}
	}
}

func testRepeat(t *testing.T, in Instance) {
	log := in.Open()
	got := acquire(t, log, "a")
	next := fill(t, log, got.Term, got.Next, 3)
	for seq := got.Next; seq < next; seq++ {
		if err := log.Append(t.Context(), got.Term, seq, ID(seq), body(seq)); err != nil {
			t.Fatalf("repeat of slot %d: %v", seq, err)
		}
	}
	fill(t, log, got.Term, next, 1)
	if n := len(readAll(t, log, got.Next)); n != 4 {
		t.Fatalf("%d entries, want 4", n)
	}
	acquire(t, in.Open(), "b")
	if err := log.Append(t.Context(), got.Term, next, ID(next), body(next)); err != nil {
		t.Fatalf("repeat of what is durable, after the term ended: %v", err)
	}
}

func testNotNext(t *testing.T, in Instance) {
	log := in.Open()
	got := acquire(t, log, "a")
	next := fill(t, log, got.Term, got.Next, 2)
	calls := map[string]error{
		"gap":                 log.Append(t.Context(), got.Term, next+1, ID(99), body(99)),
		"other id, last slot": log.Append(t.Context(), got.Term, next-1, ID(99), body(99)),
		"other id, old slot":  log.Append(t.Context(), got.Term, next-2, ID(99), body(99)),
		"term of nobody":      log.Append(t.Context(), got.Term+7, next, ID(99), body(99)),
	}
	for name, err := range calls {
		if err == nil || errors.Is(err, metadata.ErrUnknown) || errors.Is(err, metadata.ErrFenced) {
			t.Errorf("%s: got %v, want an error that says neither unknown nor fenced", name, err)
		}
	}
	fill(t, log, got.Term, next, 1)
	if n := len(readAll(t, log, got.Next)); n != 3 {
		t.Fatalf("%d entries, want 3", n)
	}
}

func testTooLarge(t *testing.T, in Instance) {
	log := in.Open()
	got := acquire(t, log, "a")
	err := log.Append(t.Context(), got.Term, got.Next, ID(1), make([]byte, metadata.MaxEntryBytes+1))
	wantErr(t, "append above the limit", err, metadata.ErrEntryTooLarge)
	if err := log.Append(t.Context(), got.Term, got.Next, ID(1), make([]byte, metadata.MaxEntryBytes)); err != nil {
		t.Fatalf("append at the limit: %v", err)
	}
	if entries, err := log.Read(t.Context(), got.Next, 10); err != nil || len(entries) != 1 || len(entries[0].Body) != metadata.MaxEntryBytes {
		t.Fatalf("read of an entry at the limit: %d entries, %v", len(entries), err)
	}
}

func testFenced(t *testing.T, in Instance) {
	old, young := in.Open(), in.Open()
	a := acquire(t, old, "a")
	next := fill(t, old, a.Term, a.Next, 2)
	b := acquire(t, young, "b")
	if b.Term <= a.Term || b.Next < next {
		t.Fatalf("second acquire %+v after %+v with next %d", b, a, next)
	}
	err := old.Append(t.Context(), a.Term, next, ID(77), body(77))
	wantErr(t, "append of the old term", err, metadata.ErrFenced)
	wantErr(t, "checkpoint of the old term", old.Checkpoint(t.Context(), a.Term, next, body(1)), metadata.ErrFenced)
	wantErr(t, "truncate of the old term", old.Truncate(t.Context(), a.Term, next), metadata.ErrFenced)
	fill(t, young, b.Term, b.Next, 2)
	for _, e := range readAll(t, young, 0) {
		if bytes.Equal(e.Body, body(77)) {
			t.Fatal("the fenced entry is in the log")
		}
	}
}

func testStaysFenced(t *testing.T, in Instance) {
	old, young := in.Open(), in.Open()
	a := acquire(t, old, "a")
	b := acquire(t, young, "b")
	next := fill(t, young, b.Term, b.Next, 3)
	for seq := a.Next; seq <= next+1; seq++ {
		if err := old.Append(t.Context(), a.Term, seq, ID(500+seq), nil); !errors.Is(err, metadata.ErrFenced) {
			t.Fatalf("append of slot %d in an ended term: %v", seq, err)
		}
	}
	again := acquire(t, old, "a")
	if again.Term <= b.Term || again.Next < next {
		t.Fatalf("acquire %+v after term %d, next %d", again, b.Term, next)
	}
	fill(t, old, again.Term, again.Next, 1)
	wantErr(t, "append of the term in between", young.Append(t.Context(), b.Term, next, ID(900), nil), metadata.ErrFenced)
}

func testConfirm(t *testing.T, in Instance) {
	old, young := in.Open(), in.Open()
	a := acquire(t, old, "a")
	if err := old.Confirm(t.Context(), a.Term, a.Next); err != nil {
		t.Fatal(err)
	}
	next := fill(t, old, a.Term, a.Next, 2)
	if err := old.Confirm(t.Context(), a.Term, next); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "confirm of a slot filled meanwhile", old.Confirm(t.Context(), a.Term, next-1), metadata.ErrUnknown)
	b := acquire(t, young, "b")
	wantErr(t, "confirm of an ended term", old.Confirm(t.Context(), a.Term, next), metadata.ErrFenced)
	if err := young.Confirm(t.Context(), b.Term, b.Next); err != nil {
		t.Fatal(err)
	}
}

func testReaders(t *testing.T, in Instance) {
	const entries = 60
	log := in.Open()
	a := acquire(t, log, "a")
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var wg sync.WaitGroup
	for r := range 3 {
		wg.Go(func() {
			reader := in.Open()
			for from := uint64(0); from < a.Next+entries; {
				got, err := reader.Read(ctx, from, 100)
				if err != nil {
					t.Errorf("reader %d: %v", r, err)
					return
				}
				for _, e := range got {
					if e.Seq != from || !e.Claim && !bytes.Equal(e.Body, body(e.Seq)) {
						t.Errorf("reader %d: slot %d holds seq %d %q", r, from, e.Seq, e.Body)
						return
					}
					from++
				}
			}
		})
	}
	fill(t, log, a.Term, a.Next, entries)
	wg.Wait()
}

func testHint(t *testing.T, in Instance) {
	log := in.Open()
	a := acquire(t, log, "first:9092")
	next := fill(t, log, a.Term, a.Next, 3)
	for name, handle := range map[string]metadata.Log{"owner": log, "other": in.Open()} {
		if h, err := handle.Hint(t.Context()); err != nil || h.Owner != "first:9092" || h.Term != a.Term || h.Next != next {
			t.Fatalf("%s: hint %+v, %v, want next %d", name, h, err, next)
		}
	}
	b := acquire(t, in.Open(), "second:9092")
	if h, err := log.Hint(t.Context()); err != nil || h.Owner != "second:9092" || h.Term != b.Term || h.Next != b.Next {
		t.Fatalf("hint %+v, %v after %+v", h, err, b)
	}
	if _, err := log.Acquire(t.Context(), string(make([]byte, metadata.MaxOwnerBytes+1)), 0); err == nil {
		t.Fatal("an owner above the limit was taken")
	}
}

func testContext(t *testing.T, in Instance) {
	log := in.Open()
	a := acquire(t, log, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "append", log.Append(ctx, a.Term, a.Next, ID(1), body(1)), metadata.ErrUnknown)
	calls := map[string]error{"confirm": log.Confirm(ctx, a.Term, a.Next)}
	_, calls["acquire"] = log.Acquire(ctx, "b", 0)
	_, calls["read"] = log.Read(ctx, 0, 100)
	_, calls["hint"] = log.Hint(ctx)
	for name, err := range calls {
		wantErr(t, name, err, context.Canceled)
	}
	if err := log.Append(t.Context(), a.Term, a.Next, ID(1), body(1)); err != nil {
		t.Fatal(err)
	}
}
