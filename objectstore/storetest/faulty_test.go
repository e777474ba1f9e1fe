package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/objectstore"
)

func newFaulty(seed uint64, cfg FaultConfig) (*Faulty, *objectstore.Memory) {
	memory := objectstore.NewMemory(time.Now)
	return NewFaulty(memory, seed, cfg), memory
}

func TestFaultyWithoutFaultsKeepsTheContract(t *testing.T) {
	Run(t, func(*testing.T) objectstore.Store {
		f, _ := newFaulty(1, FaultConfig{})
		return f
	})
}

// TestOneSeedGivesOneHistory makes the same calls twice over every fault and compares all answers and counts.
func TestOneSeedGivesOneHistory(t *testing.T) {
	cfg := FaultConfig{
		FailBefore: 0.05, FailAfter: 0.05, Late: 0.1, ConflictBefore: 0.05, ConflictAfter: 0.05, OwnExists: 0.05, OwnMarked: 0.05,
		Truncate: 0.1, Delay: 0.05, Torn: 0.1, Burst: 0.01, BurstCalls: 4, Raced: 0.1, Unordered: true,
		DateSkew: time.Hour, DateJump: time.Minute, NoDate: 0.2,
	}
	history := func(seed uint64) (out []string) {
		naps := 0
		cfg.Sleep = func(context.Context, time.Duration) error { naps++; return nil }
		memory := objectstore.NewMemory(func() time.Time { return time.Unix(1_800_000_000, 0) })
		f := NewFaulty(memory, seed, cfg)
		ctx := t.Context()
		for i := range 600 {
			key := fmt.Sprint("k/", i*7%31)
			at, err := f.Create(ctx, key, fmt.Appendf(nil, "create %d", i))
			out = append(out, fmt.Sprint(at, err))
			out = append(out, fmt.Sprint(f.Put(ctx, "p/"+key, []byte("put"))))
			body, err := f.Get(ctx, key, 100)
			out = append(out, fmt.Sprintf("%q %v", body, err))
			body, err = f.GetRange(ctx, key, 1, 3)
			out = append(out, fmt.Sprintf("%q %v", body, err))
			page, err := f.List(ctx, "", "", 10)
			out = append(out, fmt.Sprint(page, err))
			if i%5 == 0 {
				out = append(out, fmt.Sprint(f.Delete(ctx, key)))
			}
		}
		counts := f.Counts()
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			out = append(out, fmt.Sprint(name, counts[name]))
		}
		out = append(out, fmt.Sprint("naps ", naps, " in limbo ", f.InLimbo()))
		return out
	}
	first := history(3)
	if second := history(3); !slices.Equal(first, second) {
		for i := range first {
			if first[i] != second[i] {
				t.Fatalf("answer %d: %s, then %s", i, first[i], second[i])
			}
		}
	}
	if slices.Equal(first, history(4)) {
		t.Fatal("another seed gave the same history")
	}
	f, _ := newFaulty(3, cfg)
	for i := range 3000 {
		key := fmt.Sprint("k/", i%50)
		_, _ = f.Create(t.Context(), key, []byte("x"))
		_, _ = f.Get(t.Context(), key, 10)
		_, _ = f.List(t.Context(), "", "", 10)
		_ = f.Delete(t.Context(), key)
	}
	counts := f.Counts()
	for fault := Fault(1); fault < numFaults; fault++ {
		scripted := fault == Stall || fault == StallAfter || fault == Full || fault == Deny
		if !scripted && counts[fault.String()] == 0 {
			t.Errorf("%s never happened: %v", fault, counts)
		}
	}
}

func TestLateWritesLandByTheirKind(t *testing.T) {
	ctx := t.Context()
	t.Run("a create on a free key", func(t *testing.T) {
		f, memory := newFaulty(1, FaultConfig{})
		f.Script(objectstore.OpCreate, Late)
		_, err := f.Create(ctx, "k", []byte("late"))
		wantErr(t, "late create", err, objectstore.ErrUnknown)
		_, err = f.Get(ctx, "k", 10)
		wantErr(t, "get before it lands", err, objectstore.ErrNotFound)
		if n := f.Land(5); n != 1 || f.InLimbo() != 0 {
			t.Fatalf("%d writes landed, %d are left", n, f.InLimbo())
		}
		wantBody(t, memory, "k", "late")
		if f.Count(LandedAfterGone) != 1 || f.Count(Landed) != 1 {
			t.Fatalf("counted %v", f.Counts())
		}
	})
	t.Run("a create on a taken key", func(t *testing.T) {
		f, memory := newFaulty(1, FaultConfig{})
		f.Script(objectstore.OpCreate, Late)
		_, _ = f.Create(ctx, "k", []byte("late"))
		create(t, f, "k", "first")
		f.Land(1)
		wantBody(t, memory, "k", "first")
		if f.Count(LandedRefused) != 1 || f.Count(Landed) != 0 {
			t.Fatalf("counted %v", f.Counts())
		}
	})
	t.Run("a create after its key was deleted", func(t *testing.T) {
		f, memory := newFaulty(1, FaultConfig{})
		f.Script(objectstore.OpCreate, Late)
		_, _ = f.Create(ctx, "k", []byte("late"))
		create(t, f, "k", "first")
		if err := f.Delete(ctx, "other", "k"); err != nil {
			t.Fatal(err)
		}
		f.Land(1)
		wantBody(t, memory, "k", "late")
		if f.Count(LandedAfterDelete) != 1 {
			t.Fatalf("counted %v", f.Counts())
		}
	})
	t.Run("a put over newer bytes", func(t *testing.T) {
		f, memory := newFaulty(1, FaultConfig{})
		f.Script(objectstore.OpPut, Late)
		body := []byte("old")
		wantErr(t, "late put", f.Put(ctx, "hint", body), objectstore.ErrUnknown)
		copy(body, "XXX") // the caller's again
		if err := f.Put(ctx, "hint", []byte("new")); err != nil {
			t.Fatal(err)
		}
		f.Land(1)
		wantBody(t, memory, "hint", "old")
	})
	t.Run("a delete", func(t *testing.T) {
		f, memory := newFaulty(1, FaultConfig{})
		create(t, f, "k", "x")
		f.Script(objectstore.OpDelete, Late)
		wantErr(t, "late delete", f.Delete(ctx, "k"), objectstore.ErrUnknown)
		wantBody(t, memory, "k", "x")
		f.Land(1)
		_, err := memory.Get(ctx, "k", 10)
		wantErr(t, "get", err, objectstore.ErrNotFound)
	})
	t.Run("oldest first, and no more than asked for", func(t *testing.T) {
		f, memory := newFaulty(1, FaultConfig{})
		f.Script(objectstore.OpCreate, Late, Late, Late)
		for _, body := range []string{"a", "b", "c"} {
			_, _ = f.Create(ctx, "k"+body, []byte(body))
		}
		if n := f.Land(2); n != 2 || f.InLimbo() != 1 {
			t.Fatalf("%d landed, %d left", n, f.InLimbo())
		}
		wantList(t, memory, "", "", 10, "ka", "kb")
	})
	t.Run("by chance on top of a 404", func(t *testing.T) {
		f, memory := newFaulty(1, FaultConfig{Land: 0.2, Only: func(objectstore.Op, string) bool { return false }})
		landed := 0
		for i := range 200 {
			key := fmt.Sprint("k", i)
			f.Script(objectstore.OpCreate, Late)
			_, _ = f.Create(ctx, key, nil)
			_, gone := f.Get(ctx, key, 10)
			_, err := memory.Get(ctx, key, 10)
			if errors.Is(gone, objectstore.ErrNotFound) && err == nil {
				landed++
			}
		}
		if landed < 50 || f.Count(LandedAfterGone) < landed {
			t.Fatalf("%d of 200 landed right after a 404; counted %v", landed, f.Counts())
		}
	})
}

func TestLimboIsBounded(t *testing.T) {
	f, memory := newFaulty(1, FaultConfig{Late: 1, Land: math.SmallestNonzeroFloat64})
	for i := range maxLimbo + 10 {
		_, _ = f.Create(t.Context(), fmt.Sprintf("k%05d", i), nil)
	}
	if page, err := memory.List(t.Context(), "", "", 100); err != nil || len(page) != 10 || f.InLimbo() != maxLimbo {
		t.Fatalf("%d landed and %d wait, %v", len(page), f.InLimbo(), err)
	}
}

func TestConflictsAndOwnRepetitions(t *testing.T) {
	for _, c := range []struct {
		fault      Fault
		want       []error
		notMaybe   bool
		effect     bool
		whenExists error
	}{
		{fault: ConflictBefore, want: []error{objectstore.ErrUnknown}, whenExists: objectstore.ErrUnknown},
		{fault: ConflictAfter, want: []error{objectstore.ErrUnknown}, effect: true, whenExists: objectstore.ErrUnknown},
		{fault: FailAfter, want: []error{objectstore.ErrUnknown}, effect: true, whenExists: objectstore.ErrUnknown},
		{fault: OwnExists, want: []error{objectstore.ErrExists}, notMaybe: true, effect: true, whenExists: objectstore.ErrExists},
		{fault: OwnMarked, want: []error{objectstore.ErrExists, objectstore.ErrMaybeOurs}, effect: true, whenExists: objectstore.ErrExists},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			f, memory := newFaulty(1, FaultConfig{})
			f.Script(objectstore.OpCreate, c.fault, c.fault)
			_, err := f.Create(t.Context(), "k", []byte("ours"))
			for _, want := range c.want {
				wantErr(t, "create", err, want)
			}
			if c.notMaybe && errors.Is(err, objectstore.ErrMaybeOurs) {
				t.Fatalf("got %v, which is marked", err)
			}
			_, err = memory.Get(t.Context(), "k", 10)
			if (err == nil) != c.effect {
				t.Fatalf("get after it: %v, want effect %v", err, c.effect)
			}
			create(t, memory, "taken", "theirs")
			_, err = f.Create(t.Context(), "taken", []byte("ours"))
			wantErr(t, "create of a taken key", err, c.whenExists)
			wantBody(t, memory, "taken", "theirs")
			f.Script(objectstore.OpPut, c.fault)
			if err := f.Put(t.Context(), "p", nil); (err != nil) != (c.fault == FailAfter) {
				t.Fatalf("put: %v", err)
			}
		})
	}
}

func TestTornReadsSayNothing(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 20)
	kinds := map[string]int{}
	for seed := range uint64(200) {
		f, memory := newFaulty(seed, FaultConfig{Torn: 1})
		create(t, memory, "k", string(body))
		got, err := f.Get(t.Context(), "k", 1000)
		if err != nil || bytes.Equal(got, body) {
			t.Fatalf("seed %d: get: %q, %v", seed, got, err)
		}
		switch {
		case len(got) < len(body):
			kinds["shorter"]++
		case got[len(got)-1] == 0:
			kinds["zeroed"]++
		default:
			kinds["flipped"]++
		}
		got, err = f.GetRange(t.Context(), "k", 50, 100)
		if err != nil || len(got) != 100 || bytes.Equal(got, body[50:150]) {
			t.Fatalf("seed %d: range: %q, %v", seed, got, err)
		}
		wantBody(t, memory, "k", string(body))
	}
	if len(kinds) != 3 {
		t.Fatalf("tears: %v", kinds)
	}
}

func TestStragglersTakeSecondsAndObeyTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, memory := newFaulty(1, FaultConfig{Delay: 1})
		for i := range 50 {
			started := time.Now()
			if err := f.Put(t.Context(), fmt.Sprint("k", i), nil); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(started); took < 2*time.Second || took > 10*time.Second {
				t.Fatalf("took %v", took)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := f.Create(ctx, "left", []byte("x"))
		wantErr(t, "create", err, objectstore.ErrUnknown)
		wantErr(t, "create", err, context.DeadlineExceeded)
		_, err = memory.Get(t.Context(), "left", 10)
		wantErr(t, "get", err, objectstore.ErrNotFound)
		if f.Land(9) != 1 {
			t.Fatal("the straggler did not land")
		}
		wantBody(t, memory, "left", "x")
	})
}

func TestSkewedAndMissingDates(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	f := NewFaulty(objectstore.NewMemory(func() time.Time { return at }), 1, FaultConfig{DateSkew: time.Hour, DateJump: time.Minute, NoDate: 0.3})
	seen := map[time.Duration]int{}
	zero := 0
	for i := range 300 {
		got, err := f.Create(t.Context(), fmt.Sprint("k", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.IsZero() {
			zero++
			continue
		}
		skew := got.Sub(at)
		if skew < 59*time.Minute || skew > 61*time.Minute {
			t.Fatalf("skew %v", skew)
		}
		seen[skew]++
	}
	if len(seen) < 100 || zero < 50 || zero != f.Count(NoDate) || 300-zero != f.Count(SkewedDate) {
		t.Fatalf("%d skews, %d without a date, counted %v", len(seen), zero, f.Counts())
	}
}

func TestUnorderedListingsHoldTheSameKeys(t *testing.T) {
	f, memory := newFaulty(1, FaultConfig{Unordered: true})
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("k%02d", i))
		create(t, memory, want[i], "x")
	}
	page, err := f.List(t.Context(), "", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range page {
		got = append(got, o.Key)
	}
	if slices.Equal(got, want) {
		t.Fatal("in order")
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Fatalf("got %v", got)
	}
}

func TestFaultsKeepToTheKeysAskedFor(t *testing.T) {
	f, _ := newFaulty(1, FaultConfig{FailBefore: 1, Only: func(op objectstore.Op, key string) bool { return op == objectstore.OpPut && key == "bad" }})
	create(t, f, "bad", "x")
	wantErr(t, "put", f.Put(t.Context(), "bad", nil), objectstore.ErrUnknown)
	if err := f.Put(t.Context(), "good", nil); err != nil {
		t.Fatal(err)
	}
}
