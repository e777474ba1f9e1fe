package bucketlog

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/logtest"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/file"
	"github.com/bargedata/barge/objectstore/storetest"
)

// clock is a store's clock that tests move.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(1_800_000_000_000)
	return c
}

func (c *clock) now() time.Time        { return time.UnixMilli(c.ms.Load()) }
func (c *clock) move(by time.Duration) { c.ms.Add(by.Milliseconds()) }

// shaky is a store whose creates can be made to fail, and that counts calls.
type shaky struct {
	Store
	mu     sync.Mutex
	create func(key string) (before, after error) // before: no effect; after: effect, then the error
	lists  int
	gets   int
}

var errReset = fmt.Errorf("connection reset: %w", objectstore.ErrUnknown)

func (s *shaky) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	s.mu.Lock()
	hook := s.create
	s.mu.Unlock()
	var before, after error
	if hook != nil {
		before, after = hook(key)
	}
	if before != nil {
		return time.Time{}, before
	}
	at, err := s.Store.Create(ctx, key, body)
	if after != nil {
		return time.Time{}, after
	}
	return at, err
}

func (s *shaky) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	s.mu.Lock()
	s.lists++
	s.mu.Unlock()
	return s.Store.List(ctx, prefix, after, limit)
}

func (s *shaky) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	s.mu.Lock()
	s.gets++
	s.mu.Unlock()
	return s.Store.Get(ctx, key, maxBytes)
}

// doubt makes the next create answer "unknown".
func (s *shaky) doubt(effect bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.create = func(string) (error, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.create = nil
		if effect {
			return nil, errReset
		}
		return errReset, nil
	}
}

// counts returns the calls since the last time.
func (s *shaky) counts() (gets, lists int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gets, lists = s.gets, s.lists
	s.gets, s.lists = 0, 0
	return gets, lists
}

// ids makes ids from a seed.
func ids(seed uint64) func() [16]byte {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 7))
	return func() [16]byte {
		mu.Lock()
		defer mu.Unlock()
		var id [16]byte
		for i := range id {
			id[i] = byte(rng.Uint32())
		}
		return id
	}
}

func open(t *testing.T, store Store, seed uint64) *Log {
	t.Helper()
	log, err := New(store, Config{Prefix: "meta/0"}, ids(seed), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// damageNewest overwrites the newest object under prefix with a flipped byte.
func damageNewest(t *testing.T, store objectstore.Store, prefix string) {
	t.Helper()
	found, err := store.List(t.Context(), prefix, "", 1000)
	if err != nil || len(found) == 0 {
		t.Fatalf("nothing to damage under %s: %v", prefix, err)
	}
	key := found[len(found)-1].Key
	buf, err := store.Get(t.Context(), key, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	buf = slices.Clone(buf)
	buf[len(buf)/2] ^= 0x10
	if err := store.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), key, buf); err != nil {
		t.Fatal(err)
	}
}

// conformance runs the suite over stores made by newStore, each seen through wrap.
func conformance(
	t *testing.T, newStore func(t *testing.T, now func() time.Time) objectstore.Store,
	wrap func(store objectstore.Store, now func() time.Time) objectstore.Store,
) {
	t.Helper()
	logtest.Run(t, func(t *testing.T) logtest.Instance {
		t.Helper()
		clock := newClock()
		store := newStore(t, clock.now)
		wrapped := wrap(store, clock.now)
		faulty := &shaky{Store: wrapped}
		var seed atomic.Uint64
		return logtest.Instance{
			Open:                 func() metadata.Log { return open(t, faulty, seed.Add(1)) },
			Doubt:                faulty.doubt,
			DamageNewestSnapshot: func() { damageNewest(t, store, "meta/0/snapshot/") },
			Age:                  func() { clock.move(25 * time.Hour) },
			Vague:                wrapped != store,
		}
	})
}

func memory(_ *testing.T, now func() time.Time) objectstore.Store { return objectstore.NewMemory(now) }

func plain(store objectstore.Store, _ func() time.Time) objectstore.Store { return store }

func TestLogOnMemoryKeepsTheContract(t *testing.T) { conformance(t, memory, plain) }

func TestLogOnFilesKeepsTheContract(t *testing.T) {
	conformance(t, func(t *testing.T, now func() time.Time) objectstore.Store {
		t.Helper()
		store, err := file.Open(t.TempDir(), now)
		if err != nil {
			t.Fatal(err)
		}
		return store
	}, plain)
}

// TestLogOverRetriesKeepsTheContract: a decorator that repeats calls makes writers meet their own writes.
func TestLogOverRetriesKeepsTheContract(t *testing.T) {
	weather := storm()
	weather.Sleep = func(context.Context, time.Duration) error { return nil }
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			conformance(t, memory, func(store objectstore.Store, now func() time.Time) objectstore.Store {
				cfg := objectstore.RetryConfig{Attempts: 50, BaseDelay: time.Microsecond, MaxDelay: time.Microsecond, HedgeDelay: -1}
				rng := rand.New(rand.NewPCG(seed, 1))
				return objectstore.WithRetry(storetest.NewFaulty(store, seed, weather), cfg, now, rng, slog.New(slog.DiscardHandler))
			})
		})
	}
}
