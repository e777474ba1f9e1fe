package objectstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/storetest"
)

func withRetry(store objectstore.Store, cfg objectstore.RetryConfig) objectstore.Store {
	return objectstore.WithRetry(store, cfg, time.Now, rand.New(rand.NewPCG(1, 1)), slog.New(slog.DiscardHandler))
}

func TestRetryOverASoundStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) objectstore.Store {
		return withRetry(objectstore.NewMemory(time.Now), objectstore.RetryConfig{})
	})
}

func TestMeter(t *testing.T) {
	storetest.Run(t, func(*testing.T) objectstore.Store {
		return objectstore.NewTimedMeter(objectstore.NewMemory(time.Now), time.Now)
	})
}

func TestFaultyWithoutFaults(t *testing.T) {
	storetest.Run(t, func(*testing.T) objectstore.Store {
		return storetest.NewFaulty(objectstore.NewMemory(time.Now), 1, storetest.FaultConfig{})
	})
}

// fixture is a faulty store under a retrying one, with a meter between memory and faults: it counts effects.
func fixture(cfg objectstore.RetryConfig) (objectstore.Store, *storetest.Faulty, *objectstore.Meter) {
	meter := objectstore.NewMeter(objectstore.NewMemory(time.Now))
	faulty := storetest.NewFaulty(meter, 1, storetest.FaultConfig{})
	return withRetry(faulty, cfg), faulty, meter
}

func TestCreateAfterAFailureWithoutEffectSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, faulty, _ := fixture(objectstore.RetryConfig{})
		faulty.Script(objectstore.OpCreate, storetest.FailBefore, storetest.FailBefore)
		if at, err := s.Create(t.Context(), "k", []byte("x")); err != nil || at.IsZero() {
			t.Fatalf("create: %v, %v", at, err)
		}
	})
}

func TestCreateMarksATakenKeyThatMayBeItsOwn(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults []storetest.Fault
		taken  bool // by somebody else, beforehand
		maybe  bool
	}{
		{"effect, then lost answer", []storetest.Fault{storetest.FailAfter}, false, true},
		{"effect, then silence until the hedge", []storetest.Fault{storetest.StallAfter}, false, true},
		{"no effect, but who can tell", []storetest.Fault{storetest.FailBefore}, true, true},
		{"taken at the first attempt", nil, true, false},
		{"silence, and the hedge finds it taken", []storetest.Fault{storetest.Stall}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, faulty, _ := fixture(objectstore.RetryConfig{})
				if c.taken {
					if _, err := s.Create(t.Context(), "k", []byte("theirs")); err != nil {
						t.Fatal(err)
					}
				}
				faulty.Script(objectstore.OpCreate, c.faults...)
				_, err := s.Create(t.Context(), "k", []byte("ours"))
				if !errors.Is(err, objectstore.ErrExists) || errors.Is(err, objectstore.ErrUnknown) || errors.Is(err, objectstore.ErrMaybeOurs) != c.maybe {
					t.Fatalf("got %v, want ErrExists, not ErrUnknown, ErrMaybeOurs=%v", err, c.maybe)
				}
			})
		})
	}
}

func TestSlowWritesAndReadsAreHedgedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, faulty, _ := fixture(objectstore.RetryConfig{})
		for _, op := range []objectstore.Op{objectstore.OpCreate, objectstore.OpPut, objectstore.OpGet, objectstore.OpGetRange} {
			key := op.String()
			if op == objectstore.OpGet || op == objectstore.OpGetRange {
				if err := s.Put(t.Context(), key, []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			faulty.Script(op, storetest.Stall)
			started := time.Now()
			if err := one(t.Context(), s, op, key); err != nil {
				t.Fatalf("%s: %v", op, err)
			}
			if took := time.Since(started); took < 350*time.Millisecond || took > 450*time.Millisecond {
				t.Fatalf("%s took %v, want the hedge delay", op, took)
			}
		}
		// 8 MiB are given the time they need at 20 MiB/s.
		faulty.Script(objectstore.OpPut, storetest.Stall)
		started := time.Now()
		if err := s.Put(t.Context(), "big", make([]byte, 8<<20)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(started); took != 400*time.Millisecond {
			t.Fatalf("8 MiB: hedged after %v, want 400ms", took)
		}
	})
}

func one(ctx context.Context, s objectstore.Store, op objectstore.Op, key string) (err error) {
	switch op {
	case objectstore.OpCreate:
		_, err = s.Create(ctx, key, []byte("x"))
	case objectstore.OpPut:
		err = s.Put(ctx, key, []byte("x"))
	case objectstore.OpGet:
		_, err = s.Get(ctx, key, 10)
	case objectstore.OpGetRange:
		_, err = s.GetRange(ctx, key, 0, 1)
	case objectstore.OpList:
		_, err = s.List(ctx, key, "", 10)
	case objectstore.OpDelete:
		err = s.Delete(ctx, key)
	}
	return err
}

func TestHedgesAreBoundedWhenEverythingIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meter := objectstore.NewMeter(objectstore.NewMemory(time.Now))
		faulty := storetest.NewFaulty(meter, 1, storetest.FaultConfig{Delay: 1, DelayMin: time.Second, DelayMax: time.Second})
		s := withRetry(faulty, objectstore.RetryConfig{})
		const calls = 200
		for i := range calls {
			if err := s.Put(t.Context(), fmt.Sprint("k", i), []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if n := faulty.Count(storetest.Delay); n < calls+10 || n > calls+calls/10+10 {
			t.Fatalf("%d attempts for %d slow calls, want about a tenth more", n, calls)
		}
	})
}

func TestPermanentErrorsAreNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, faulty, meter := fixture(objectstore.RetryConfig{})
		for op := range objectstore.NumOps {
			faulty.Script(op, storetest.Deny)
			started := time.Now()
			err := one(t.Context(), s, op, "k")
			if !errors.Is(err, objectstore.ErrDenied) || errors.Is(err, objectstore.ErrUnknown) || time.Since(started) != 0 {
				t.Fatalf("%s: %v after %v, want ErrDenied alone and at once", op, err, time.Since(started))
			}
		}
		if n := meter.Snapshot().Total(); n != 0 {
			t.Fatalf("%d requests came through", n)
		}
		for op, want := range map[objectstore.Op]error{objectstore.OpGet: objectstore.ErrNotFound, objectstore.OpGetRange: objectstore.ErrNotFound} {
			if err := one(t.Context(), s, op, "missing"); !errors.Is(err, want) {
				t.Fatalf("%s: %v", op, err)
			}
		}
		if n := meter.Snapshot().Total(); n != 2 {
			t.Fatalf("%d requests for two missing objects", n)
		}
		// A definite refusal after an indefinite attempt is not the whole story of a write.
		faulty.Script(objectstore.OpCreate, storetest.FailAfter, storetest.Deny)
		if err := one(t.Context(), s, objectstore.OpCreate, "k2"); !errors.Is(err, objectstore.ErrDenied) || !errors.Is(err, objectstore.ErrUnknown) {
			t.Fatalf("create: %v, want ErrDenied and ErrUnknown", err)
		}
	})
}

func TestAFullStoreIsTriedThreeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, faulty, _ := fixture(objectstore.RetryConfig{})
		faulty.Script(objectstore.OpPut, storetest.Full, storetest.Full)
		if err := s.Put(t.Context(), "k", nil); err != nil {
			t.Fatal(err)
		}
		faulty.Script(objectstore.OpPut, storetest.Full, storetest.Full, storetest.Full)
		if err := s.Put(t.Context(), "k", nil); !errors.Is(err, objectstore.ErrFull) || errors.Is(err, objectstore.ErrUnknown) {
			t.Fatalf("got %v, want ErrFull alone", err)
		}
	})
}

func TestAttemptsAndBudgetBoundACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meter := objectstore.NewMeter(objectstore.NewMemory(time.Now))
		faulty := storetest.NewFaulty(meter, 1, storetest.FaultConfig{FailBefore: 1})
		s := withRetry(faulty, objectstore.RetryConfig{Attempts: 4})
		for op := range objectstore.NumOps {
			before := faulty.Count(storetest.FailBefore)
			if err := one(t.Context(), s, op, "k"); !errors.Is(err, objectstore.ErrUnknown) {
				t.Fatalf("%s: %v", op, err)
			}
			if n := faulty.Count(storetest.FailBefore) - before; n != 4 {
				t.Fatalf("%s: %d attempts, want 4", op, n)
			}
		}
		s = withRetry(faulty, objectstore.RetryConfig{Attempts: 1000, Budget: 7 * time.Second})
		started := time.Now()
		err := s.Put(t.Context(), "k", nil)
		if took := time.Since(started); !errors.Is(err, objectstore.ErrUnknown) || errors.Is(err, context.DeadlineExceeded) || took > 7*time.Second || took < time.Second {
			t.Fatalf("%v after %v, want ErrUnknown within the budget", err, took)
		}
	})
}

func TestASilentAttemptTimesOutAndIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, faulty, _ := fixture(objectstore.RetryConfig{HedgeDelay: -1, AttemptTimeout: 3 * time.Second})
		faulty.Script(objectstore.OpPut, storetest.Stall)
		started := time.Now()
		if err := s.Put(t.Context(), "k", nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(started); took < 3*time.Second || took > 4*time.Second {
			t.Fatalf("took %v, want one time-out", took)
		}
	})
}

func TestTheCallersContextEndsACallAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, faulty, _ := fixture(objectstore.RetryConfig{})
		faulty.Script(objectstore.OpCreate, storetest.Stall, storetest.Stall)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		started := time.Now()
		_, err := s.Create(ctx, "k", nil)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, objectstore.ErrUnknown) || time.Since(started) != time.Second {
			t.Fatalf("%v after %v", err, time.Since(started))
		}
	})
}

// TestSeededWeather writes and reads through heavy faults: every call must succeed or say truly what it does not know.
func TestSeededWeather(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { weather(t, seed) })
		})
	}
}

func weather(t *testing.T, seed uint64) {
	t.Helper()
	memory := objectstore.NewMemory(time.Now)
	faulty := storetest.NewFaulty(memory, seed, storetest.FaultConfig{
		FailBefore: 0.15, FailAfter: 0.15, Truncate: 0.2, Delay: 0.2, DelayMin: 10 * time.Millisecond, DelayMax: 3 * time.Second, Burst: 0.02, BurstCalls: 5,
	})
	s := withRetry(faulty, objectstore.RetryConfig{Attempts: 30, Budget: time.Hour})
	for i := range 60 {
		key, ours := fmt.Sprintf("k/%03d", i), fmt.Sprintf("ours %d", i)
		theirs := i%3 == 0
		if theirs {
			if _, err := memory.Create(t.Context(), key, []byte("theirs")); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.Create(t.Context(), key, []byte(ours))
		if err != nil && !errors.Is(err, objectstore.ErrExists) {
			t.Fatalf("create %s: %v", key, err)
		}
		body, getErr := s.Get(t.Context(), key, 100)
		if getErr != nil {
			t.Fatal(getErr)
		}
		won := string(body) == ours
		if won == theirs {
			t.Fatalf("%s holds %q, theirs=%v", key, body, theirs)
		}
		if won && err != nil && !errors.Is(err, objectstore.ErrMaybeOurs) {
			t.Fatalf("create %s wrote, and said that somebody else had: %v", key, err)
		}
		if !won && err == nil {
			t.Fatalf("create %s claims another's object", key)
		}
		if got, err := s.GetRange(t.Context(), key, 1, 3); err != nil || string(got) != string(body[1:4]) {
			t.Fatalf("range: %q, %v", got, err)
		}
	}
	if page, err := s.List(t.Context(), "k/", "", 100); err != nil || len(page) != 60 {
		t.Fatalf("listed %d, %v", len(page), err)
	}
}

func TestMeterCountsWhatTheStoreBills(t *testing.T) {
	clock := time.Unix(1000, 0)
	m := objectstore.NewTimedMeter(objectstore.NewMemory(time.Now), func() time.Time { clock = clock.Add(time.Second); return clock })
	ctx := t.Context()
	_, err1 := m.Create(ctx, "a", []byte("12345"))
	_, err2 := m.Create(ctx, "a", []byte("123"))
	err3 := m.Put(ctx, "b", []byte("12"))
	_, err4 := m.Get(ctx, "a", 10)
	_, err5 := m.GetRange(ctx, "a", 1, 2)
	_, err6 := m.GetRange(ctx, "nope", 1, 2)
	_, err7 := m.List(ctx, "", "", 5)
	keys := make([]string, 2001)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	err8 := m.Delete(ctx, keys...)
	if err := errors.Join(err1, err3, err4, err5, err7, err8); err != nil || err2 == nil || err6 == nil {
		t.Fatal(err, err2, err6)
	}
	u := m.Snapshot()
	want := map[objectstore.Op][2]int64{
		objectstore.OpCreate: {2, 8}, objectstore.OpPut: {1, 2}, objectstore.OpGet: {1, 5}, objectstore.OpGetRange: {2, 2}, objectstore.OpList: {1, 0}, objectstore.OpDelete: {3, 0},
	}
	for op, w := range want {
		got := u.Ops[op]
		if got.Total() != w[0] || got.BytesIn+got.BytesOut != w[1] || got.Latency != time.Duration(got.Calls)*time.Second {
			t.Errorf("%s: %+v, want %d requests and %d bytes", op, got, w[0], w[1])
		}
	}
	if u.Ops[objectstore.OpCreate].Requests[objectstore.OutcomeExists] != 1 || u.Ops[objectstore.OpGetRange].Requests[objectstore.OutcomeNotFound] != 1 || u.Errors() != 0 {
		t.Errorf("outcomes: %+v", u)
	}
	if in, out := u.Bytes(); in != 7 || out != 10 || u.Total() != 10 {
		t.Errorf("in %d out %d requests %d", in, out, u.Total())
	}
}
