package bucketlog

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
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

// jitter lets time pass before and after each call, so that calls of several handles overlap; now and then so much of it
// that others take the log over, go on for days and truncate it meanwhile.
type jitter struct {
	objectstore.Store
	mu  sync.Mutex
	rng *rand.Rand
}

func (j *jitter) wait() {
	j.mu.Lock()
	d := time.Duration(j.rng.IntN(8)) * time.Millisecond
	if j.rng.IntN(60) == 0 {
		d *= 200
	}
	j.mu.Unlock()
	time.Sleep(d)
}

func (j *jitter) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	j.wait()
	defer j.wait()
	return j.Store.Create(ctx, key, body)
}

func (j *jitter) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	j.wait()
	defer j.wait()
	return j.Store.Get(ctx, key, maxBytes)
}

func (j *jitter) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	j.wait()
	defer j.wait()
	return j.Store.GetRange(ctx, key, pos, length)
}

func (j *jitter) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	j.wait()
	defer j.wait()
	return j.Store.List(ctx, prefix, after, limit)
}

func (j *jitter) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys { // one by one, so that others act in between
		j.wait()
		if err := j.Store.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// storm is all that a store may do to a log.
func storm() storetest.FaultConfig {
	return storetest.FaultConfig{
		FailBefore: 0.04, FailAfter: 0.04, Late: 0.06, ConflictBefore: 0.03, ConflictAfter: 0.03, OwnExists: 0.03, OwnMarked: 0.03,
		Truncate: 0.03, Delay: 0.02, DelayMin: time.Millisecond, DelayMax: 200 * time.Millisecond, Burst: 0.005, BurstCalls: 6,
		DateJump: 10 * time.Minute, NoDate: 0.1,
	}
}

// histories checks histories over the stores that newStore makes, and tells how often each fault struck.
func histories(t *testing.T, seeds uint64, load logtest.Load, newStore func(t *testing.T, seed uint64, now func() time.Time) (Store, *storetest.Faulty)) {
	t.Helper()
	var all []*storetest.Faulty
	logtest.RunHistories(t, seeds, load, func(t *testing.T, seed uint64) logtest.Instance {
		t.Helper()
		clock := newClock()
		store, faulty := newStore(t, seed, clock.now)
		all = append(all, faulty)
		var handles atomic.Uint64
		return logtest.Instance{
			Open: func() metadata.Log { return open(t, store, seed<<32|handles.Add(1)) },
			Age:  func() { clock.move(25 * time.Hour) },
		}
	})
	sum := map[string]int{}
	for _, f := range all {
		for fault, n := range f.Counts() {
			sum[fault] += n
		}
	}
	var line []string
	for _, fault := range slices.Sorted(maps.Keys(sum)) {
		line = append(line, fmt.Sprint(fault, " ", sum[fault]))
	}
	t.Log("faults: ", strings.Join(line, ", "))
}

func historySeeds() uint64 {
	if testing.Short() {
		return 150
	}
	return 1000
}

func TestLogIsLinearizableInAStorm(t *testing.T) {
	load := logtest.DefaultLoad()
	load.Pause = 20 * time.Millisecond
	histories(t, historySeeds(), load, func(_ *testing.T, seed uint64, now func() time.Time) (Store, *storetest.Faulty) {
		slow := &jitter{Store: objectstore.NewMemory(now), rng: rand.New(rand.NewPCG(seed, 5))}
		faulty := storetest.NewFaulty(slow, seed, storm())
		return faulty, faulty
	})
}

// TestLogIsLinearizableOverRetriesAndHedges is the same through the decorator that agents use: writers meet the echo of
// their own writes, and those of hedges that were given up.
func TestLogIsLinearizableOverRetriesAndHedges(t *testing.T) {
	load := logtest.DefaultLoad()
	load.Pause = 20 * time.Millisecond
	histories(t, historySeeds(), load, func(_ *testing.T, seed uint64, now func() time.Time) (Store, *storetest.Faulty) {
		slow := &jitter{Store: objectstore.NewMemory(now), rng: rand.New(rand.NewPCG(seed, 5))}
		weather := storm()
		weather.Delay, weather.DelayMin, weather.DelayMax = 0.2, 20*time.Millisecond, 400*time.Millisecond
		faulty := storetest.NewFaulty(slow, seed, weather)
		cfg := objectstore.RetryConfig{Attempts: 3, BaseDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond, HedgeDelay: 30 * time.Millisecond, AttemptTimeout: 100 * time.Millisecond}
		return objectstore.WithRetry(faulty, cfg, now, rand.New(rand.NewPCG(seed, 6)), slog.New(slog.DiscardHandler)), faulty
	})
}

func TestLogOnFilesIsLinearizable(t *testing.T) {
	histories(t, historySeeds()/50, logtest.DefaultLoad(), func(t *testing.T, seed uint64, now func() time.Time) (Store, *storetest.Faulty) {
		t.Helper()
		files, err := file.Open(t.TempDir(), now)
		if err != nil {
			t.Fatal(err)
		}
		faulty := storetest.NewFaulty(files, seed, storm())
		return faulty, faulty
	})
}
