package logtest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/bargedata/barge/metadata"
)

// testAcquireUnless: two miss the holder of a term, the second looks at the log after the first has claimed.
func testAcquireUnless(t *testing.T, in Instance) {
	first, second := in.Open(), in.Open()
	gone := acquire(t, in.Open(), "gone")
	a, err := first.Acquire(t.Context(), "a", gone.Term+1)
	if err != nil {
		t.Fatalf("acquire after term %d: %v", gone.Term, err)
	}
	for range 2 { // a claim alone, and one with an entry after it
		_, err := second.Acquire(t.Context(), "b", gone.Term+1)
		wantErr(t, "acquire after a term that is not the newest", err, metadata.ErrFenced)
		if err := first.Confirm(t.Context(), a.Term, a.Next); err != nil {
			t.Fatalf("a refused acquire left a trace: %v", err)
		}
		a.Next = fill(t, first, a.Term, a.Next, 1)
	}
	again, err := in.Open().Acquire(t.Context(), "b", a.Term+1)
	if err != nil || again.Term <= a.Term {
		t.Fatalf("acquire after term %d: %+v, %v", a.Term, again, err)
	}
	// A claim that landed though its caller did not hear of it is its own to take up.
	if got, err := in.Open().Acquire(t.Context(), "b", a.Term+1); err != nil || got.Term <= again.Term {
		t.Fatalf("acquire after the own claim: %+v, %v", got, err)
	}
}

func testRacingAcquirers(t *testing.T, in Instance) {
	const racers = 8
	type won struct {
		log metadata.Log
		metadata.Acquired
	}
	var mu sync.Mutex
	var all []won
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			log := in.Open()
			got, err := log.Acquire(t.Context(), fmt.Sprint("racer ", i), 0)
			if errors.Is(err, metadata.ErrFenced) {
				return
			}
			if err != nil {
				t.Errorf("racer %d: %v", i, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, won{log, got})
		})
	}
	wg.Wait()
	terms := map[uint64]bool{}
	var newest uint64
	for _, w := range all {
		if terms[w.Term] {
			t.Fatalf("term %d was given twice", w.Term)
		}
		terms[w.Term] = true
		newest = max(newest, w.Term)
	}
	for _, w := range all {
		err := w.log.Append(t.Context(), w.Term, w.Next, ID(w.Term), nil)
		if w.Term == newest && err != nil {
			t.Fatalf("the newest term %d can not append: %v", w.Term, err)
		}
		if w.Term != newest && !errors.Is(err, metadata.ErrFenced) {
			t.Fatalf("term %d of newest %d: append gave %v", w.Term, newest, err)
		}
	}
}

// testRacingWriters lets sequencers depose each other all the time and holds what each was promised against the log.
func testRacingWriters(t *testing.T, in Instance) {
	var mu sync.Mutex
	acked := map[uint64][]byte{} // seq to body
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			log := in.Open()
			for round := range 5 {
				got, err := log.Acquire(t.Context(), fmt.Sprint(w), 0)
				if errors.Is(err, metadata.ErrFenced) {
					continue
				}
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				for i := range uint64(10) {
					seq, b := got.Next+i, fmt.Appendf(nil, "writer %d round %d slot %d", w, round, got.Next+i)
					err := log.Append(t.Context(), got.Term, seq, ID(uint64(w)<<32|uint64(round)<<16|i), b)
					if errors.Is(err, metadata.ErrFenced) {
						break
					}
					if err != nil {
						t.Errorf("writer %d: %v", w, err)
						return
					}
					mu.Lock()
					if held, taken := acked[seq]; taken {
						t.Errorf("slot %d was promised to %q and %q", seq, held, b)
					}
					acked[seq] = b
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	entries := readAll(t, in.Open(), 0)
	for seq, b := range acked {
		if seq >= uint64(len(entries)) || !bytes.Equal(entries[seq].Body, b) {
			t.Fatalf("slot %d was acknowledged as %q and is not there", seq, b)
		}
	}
	for _, e := range entries {
		if _, ok := acked[e.Seq]; !ok && !e.Claim {
			t.Fatalf("slot %d holds %q, which nobody was promised", e.Seq, e.Body)
		}
	}
}

func testDoubtKept(t *testing.T, in Instance) { doubt(t, in, true) }

func testDoubtLost(t *testing.T, in Instance) { doubt(t, in, false) }

func doubt(t *testing.T, in Instance, effect bool) {
	t.Helper()
	log := in.Open()
	got := acquire(t, log, "a")
	next := fill(t, log, got.Term, got.Next, 1)
	for range 3 {
		in.Doubt(effect)
		wantErr(t, "append in doubt", log.Append(t.Context(), got.Term, next, ID(next), body(next)), metadata.ErrUnknown)
	}
	next = fill(t, log, got.Term, next, 3)
	entries := readAll(t, log, got.Next)
	if uint64(len(entries)) != next-got.Next {
		t.Fatalf("%d entries, want %d", len(entries), next-got.Next)
	}
	for _, e := range entries {
		if !bytes.Equal(e.Body, body(e.Seq)) {
			t.Fatalf("slot %d holds %q", e.Seq, e.Body)
		}
	}
}

func testDoubtThenFenced(t *testing.T, in Instance) {
	for _, effect := range []bool{true, false} {
		old, young := in.Open(), in.Open()
		a := acquire(t, old, "a")
		in.Doubt(effect)
		wantErr(t, "append in doubt", old.Append(t.Context(), a.Term, a.Next, ID(a.Next), body(a.Next)), metadata.ErrUnknown)
		acquire(t, young, "b")
		err := old.Append(t.Context(), a.Term, a.Next, ID(a.Next), body(a.Next))
		entries := readAll(t, young, a.Next)
		written := len(entries) > 0 && !entries[0].Claim && bytes.Equal(entries[0].Body, body(a.Next))
		if written != effect {
			t.Fatalf("effect %v: in the log is %v", effect, written)
		}
		if err == nil && !written {
			t.Fatal("acknowledged though the slot holds something else")
		}
		if !written {
			wantErr(t, "repeat of what never happened", err, metadata.ErrFenced)
		}
	}
}
