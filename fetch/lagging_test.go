package fetch

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/record"
)

// backlog commits n objects of one batch of size bytes in each partition, then lets the log go on past HotAge.
func (w *world) backlog(n, size int, partitions ...int32) {
	w.tb.Helper()
	for range n {
		runs := map[int32][]record.Batch{}
		for _, p := range partitions {
			runs[p] = []record.Batch{w.batch(p, record.None, 1, size)}
		}
		w.commit(runs)
	}
	w.late += 60_000
}

// TestLaggingReadersLeaveTheLogsEndAlone: one that reads as fast as it can neither costs a consumer at the end a read of the
// store nor makes it wait, at its own agent or at the owner.
func TestLaggingReadersLeaveTheLogsEndAlone(t *testing.T) {
	for name, agents := range map[string]int{"one agent": 1, "three agents": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 8)
				w.backlog(200, 1000, 1, 2, 3, 4, 5, 6, 7)
				w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 10)}}) // the newest entry; nobody reads it
				first := w.next[0]
				q := w.zone(agents, func(c *Config) {
					c.TailBytes, c.ObjectBytes = 200_000, 50_000 // the backlog has 1.5 MB
					c.LaggingReads = 2
					c.OwnerWait = 5 * time.Second
				})
				w.slow(100 * time.Millisecond)
				before := len(w.gets())
				var catchingUp sync.WaitGroup
				var done sync.Map
				for p := int32(1); p < 8; p++ {
					catchingUp.Go(func() {
						w.follow(q.readers[int(p)%agents], 200, p)
						done.Store(p, true)
					})
				}
				var worst time.Duration
				mine := map[string]bool{}
				at := first
				for range 30 {
					time.Sleep(200 * time.Millisecond)
					key, _ := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 1000)}})
					mine[key] = true
					for group := range 3 {
						start := time.Now()
						w.wantConsumed(q.readers[group%agents], 0, at, 1<<20)
						worst = max(worst, time.Since(start))
					}
					at = w.next[0]
				}
				// What was read at the end is still in memory, though much has been read since.
				w.wantConsumed(q.readers[0], 0, first, 1<<20)
				finished := 0
				done.Range(func(any, any) bool { finished++; return true })
				for key, n := range w.gets() {
					if mine[key] && n != 1 {
						t.Errorf("%s, at the log's end, was read %d times", key, n)
					}
				}
				if behind := len(w.gets()) - before - len(mine); behind < 50 || finished > 0 {
					t.Errorf("%d objects of the backlog were read meanwhile and %d readers had caught up; nothing is shown", behind, finished)
				}
				if worst > 120*time.Millisecond {
					t.Errorf("a consumer at the log's end waited for %v, want the 100ms of one read", worst)
				}
				catchingUp.Wait()
				if s := q.sum(func(s Stats) int64 { return s.Fallbacks }); s != 0 {
					t.Errorf("%d fallbacks", s)
				}
				if n := q.sum(func(s Stats) int64 { return s.Store }); n != int64(len(mine)) {
					t.Errorf("%d reads of the store at the log's end, want %d", n, len(mine))
				}
			})
		})
	}
}

// TestLaggingReadersShareReadsAmongThemselves: those who are at the same place.
func TestLaggingReadersShareReadsAmongThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		w.backlog(50, 1000, 0, 1, 2, 3, 4, 5)
		w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 10)}})
		q := w.zone(2, func(c *Config) { c.LaggingReads = 1 })
		w.slow(10 * time.Millisecond)
		var consumers sync.WaitGroup
		for p := range int32(6) {
			for range 5 {
				consumers.Go(func() { w.follow(q.readers[p%2], 50, p) })
			}
		}
		consumers.Wait()
		gets := w.gets()
		for key, n := range gets {
			if n != 1 {
				t.Errorf("%s was read %d times", key, n)
			}
		}
		if len(gets) < 50 {
			t.Errorf("%d objects were read", len(gets))
		}
	})
}

// TestAnOwnerThatHasNoTimeForLaggingReadersIsNotShunnedByOthers: the two kinds are told apart there too.
func TestAnOwnerThatHasNoTimeForLaggingReadersIsNotShunnedByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.backlog(2, 1000, 0)
		w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 10)}})
		q := w.away(nil)
		q.spoils(func(ctx context.Context, _ string, body []byte) ([]byte, error) {
			if len(body) > 1000 { // the old object
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return body, nil
		})
		start := time.Now()
		w.wantConsumed(q.readers[0], 0, 0, 1000)
		if took := time.Since(start); took < laggingPatience*300*time.Millisecond || took > laggingPatience*310*time.Millisecond {
			t.Errorf("the owner had %v", took)
		}
		if s := q.readers[0].Stats(); s.Fallbacks != 2 || s.Owner != 1 || s.Store != 0 || s.Cold != 2 || q.reads != 2 {
			t.Errorf("%+v after %d calls, want the old objects from the store after one call, and the new one from its owner", s, q.reads)
		}
	})
}

// TestReadingParquetAgainAndAgainCostsNoMoreReads: consumers that take it in small steps, one after the other.
func TestReadingParquetAgainAndAgainCostsNoMoreReads(t *testing.T) {
	w := newWorld(t, 10)
	ends := map[int32]record.Offset{}
	runs := map[int32][]record.Batch{}
	for p := range int32(10) {
		runs[p] = []record.Batch{w.batch(p, record.None, 2000, 100)}
		ends[p] = 2000
	}
	w.commit(runs)
	w.groupRows = 0
	w.compact("tables/t/_data/1.parquet", nil, ends, nil)
	w.store.reads = nil
	r := w.reader(nil)
	for range 3 {
		for p := range int32(10) {
			w.wantConsumed(r, p, 0, 20_000)
		}
	}
	if !slices.ContainsFunc(w.store.reads, func(s string) bool { return strings.HasPrefix(s, "tables/t/_data/1.parquet@0+") }) || w.store.count() != 1 {
		t.Errorf("reads of the store: %v, want the whole file once", w.store.reads)
	}
}
