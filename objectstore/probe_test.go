package objectstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/storetest"
)

func TestProbePassesAnAtomicStoreAndLeavesNothing(t *testing.T) {
	m := objectstore.NewMemory(time.Now)
	// Lost answers are weather, not a broken promise.
	weather := storetest.NewFaulty(m, 1, storetest.FaultConfig{FailBefore: 0.1, FailAfter: 0.1})
	for _, endpoints := range [][]objectstore.Store{{m}, {m, m, m}, {weather, m}, {withRetry(weather, objectstore.RetryConfig{BaseDelay: time.Microsecond})}} {
		if err := objectstore.Probe(t.Context(), endpoints, "meta/probe/", "r"); err != nil {
			t.Fatal(err)
		}
		if left, err := m.List(t.Context(), "", "", 10); err != nil || len(left) != 0 {
			t.Fatalf("left %v, %v", left, err)
		}
	}
}

// checkThenWrite is the classic broken create: two steps with a gap between them.
type checkThenWrite struct{ objectstore.Store }

func (s checkThenWrite) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	if _, err := s.Get(ctx, key, 1<<20); err == nil {
		return time.Time{}, objectstore.ErrExists
	}
	time.Sleep(time.Millisecond)
	return time.Now(), s.Put(ctx, key, body)
}

// TestProbeRefusesRacyCreates: also a store where only some creates are made in two steps is found out.
func TestProbeRefusesRacyCreates(t *testing.T) {
	for _, raced := range []float64{1, 0.5, 0.2} {
		for seed := range uint64(30) {
			synctest.Test(t, func(t *testing.T) {
				faulty := storetest.NewFaulty(objectstore.NewMemory(time.Now), seed, storetest.FaultConfig{Raced: raced, FailBefore: 0.05, FailAfter: 0.05})
				if err := objectstore.Probe(t.Context(), []objectstore.Store{faulty}, "meta/probe/", "r"); !errors.Is(err, objectstore.ErrNotAtomic) {
					t.Errorf("seed %d, %v of creates raced: got %v, want ErrNotAtomic; counted %v", seed, raced, err, faulty.Counts())
				}
			})
		}
	}
}

// deaf ignores the condition.
type deaf struct{ objectstore.Store }

func (s deaf) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	return time.Now(), s.Put(ctx, key, body)
}

// lying refuses rightly but overwrites all the same.
type lying struct{ objectstore.Store }

func (s lying) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	at, err := s.Store.Create(ctx, key, body)
	if err != nil {
		err = errors.Join(err, s.Put(ctx, key, body))
	}
	return at, err
}

func TestProbeRefusesStoresThatAreNotAtomic(t *testing.T) {
	m := func() objectstore.Store { return objectstore.NewMemory(time.Now) }
	for name, endpoints := range map[string][]objectstore.Store{
		"check, then write":          {checkThenWrite{m()}},
		"condition ignored":          {deaf{m()}},
		"refused but overwritten":    {lying{m()}},
		"endpoints without a common": {m(), m()},
	} {
		err := objectstore.Probe(t.Context(), endpoints, "meta/probe/", "r")
		if !errors.Is(err, objectstore.ErrNotAtomic) || !strings.Contains(err.Error(), "--metadata postgres://") {
			t.Errorf("%s: got %v, want ErrNotAtomic with the way out", name, err)
		}
		for _, endpoint := range endpoints[:1] {
			if left, err := endpoint.List(t.Context(), "", "", 10); err != nil || len(left) != 0 {
				t.Errorf("%s: left %v, %v", name, left, err)
			}
		}
	}
}

// lagging shows an object in listings only after further writes.
type lagging struct{ objectstore.Store }

func (s lagging) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	page, err := s.Store.List(ctx, prefix, after, limit)
	return page[:max(0, len(page)-1)], err
}

func TestProbeRefusesStoresThatListBadly(t *testing.T) {
	m := func() objectstore.Store { return objectstore.NewMemory(time.Now) }
	for name, store := range map[string]objectstore.Store{
		"out of order": storetest.NewFaulty(m(), 1, storetest.FaultConfig{Unordered: true}),
		"lagging":      lagging{m()},
	} {
		if err := objectstore.Probe(t.Context(), []objectstore.Store{store}, "meta/probe/", "r"); !errors.Is(err, objectstore.ErrListing) {
			t.Errorf("%s: got %v, want ErrListing", name, err)
		}
	}
}

func TestProbeReportsTheStoresOwnErrors(t *testing.T) {
	faulty := storetest.NewFaulty(objectstore.NewMemory(time.Now), 1, storetest.FaultConfig{})
	faulty.Script(objectstore.OpCreate, storetest.Deny)
	if err := objectstore.Probe(t.Context(), []objectstore.Store{faulty}, "p/", "r"); !errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
	faulty.Configure(storetest.FaultConfig{FailBefore: 1})
	if err := objectstore.Probe(t.Context(), []objectstore.Store{faulty}, "p/", "r"); !errors.Is(err, objectstore.ErrUnknown) || errors.Is(err, objectstore.ErrNotAtomic) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	if err := objectstore.Probe(t.Context(), nil, "p/", "r"); err == nil {
		t.Error("no endpoints: no error")
	}
}
