package fetch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// poll fetches partitions from their offsets and tells how long it took.
func (w *world) poll(ctx context.Context, r *Reader, minBytes int, wait time.Duration, parts ...PartitionRequest) (Response, time.Duration) {
	start := time.Now()
	got := r.Fetch(ctx, Request{MinBytes: minBytes, MaxBytes: 1 << 20, MaxWait: wait, Partitions: parts})
	return got, time.Since(start)
}

func TestLongPollEndsAtTheCommitItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		r := w.reader(nil)
		go func() {
			time.Sleep(time.Second)
			key, body := w.commit(map[int32][]record.Batch{2: {w.batch(2, record.None, 1, 10)}}) // not asked for
			r.Seed(key, record.NewBuffer(body))
			time.Sleep(time.Second)
			key, body = w.commit(map[int32][]record.Batch{1: {w.batch(1, record.None, 1, 10)}})
			r.Seed(key, record.NewBuffer(body))
		}()
		got, took := w.poll(t.Context(), r, 1, time.Minute, PartitionRequest{w.part(0), 0, 1 << 20}, PartitionRequest{w.part(1), 0, 1 << 20})
		if took != 2*time.Second || len(got.Partitions) != 2 || len(got.Partitions[0].Chunks) != 0 || len(got.Partitions[1].Chunks) != 2 {
			t.Errorf("%+v after %v, want partition 1's batch after 2s", got, took)
		}
		if w.store.count() != 0 {
			t.Errorf("%d reads of the store, want none: the tail has it", w.store.count())
		}
	})
}

func TestLongPollWaitsForMinBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		r := w.reader(nil)
		go func() {
			for range 5 {
				time.Sleep(time.Second)
				w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 1000)}})
			}
		}()
		got, took := w.poll(t.Context(), r, 2500, time.Minute, PartitionRequest{w.part(0), 0, 1 << 20})
		if took != 3*time.Second || len(got.Partitions[0].Chunks) != 6 {
			t.Errorf("%d batches after %v, want 3 after 3s", len(got.Partitions[0].Chunks)/2, took)
		}
		// What a partition may not give does not count, and no one waits for more than the response may hold.
		_, took = w.poll(t.Context(), r, 2500, 2500*time.Millisecond, PartitionRequest{w.part(0), 0, 1500})
		if took != 2500*time.Millisecond {
			t.Errorf("a partition limit under MinBytes: after %v, want the whole 2.5s", took)
		}
		small := w.reader(func(c *Config) { c.MaxBytes = 1500 })
		if _, took = w.poll(t.Context(), small, 1<<30, time.Minute, PartitionRequest{w.part(0), 0, 1 << 20}); took != 0 {
			t.Errorf("MinBytes over the server's cap: after %v, want at once", took)
		}
		synctest.Wait()
	})
}

func TestLongPollAnswersAtMaxWaitWithEveryPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		r := w.reader(nil)
		w.commit(map[int32][]record.Batch{1: {w.batch(1, record.None, 1, 10)}})
		parts := []PartitionRequest{{w.part(0), 0, 1 << 20}, {w.part(1), 0, 1 << 20}, {w.part(2), 0, 1 << 20}}
		got, took := w.poll(t.Context(), r, 10_000, 500*time.Millisecond, parts...)
		if took != 500*time.Millisecond || len(got.Partitions) != 3 || len(got.Partitions[1].Chunks) != 2 {
			t.Errorf("%+v after %v, want three partitions, one batch, after 500ms", got, took)
		}
		for _, wait := range []time.Duration{0, -1} {
			if _, took := w.poll(t.Context(), r, 10_000, wait, parts...); took != 0 {
				t.Errorf("waiting %v took %v", wait, took)
			}
		}
		if _, took := w.poll(t.Context(), r, 0, time.Minute, parts[0]); took != 0 {
			t.Errorf("no MinBytes: after %v, want at once", took)
		}
	})
}

func TestLongPollEndsWhenAPartitionHasAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		r := w.reader(nil)
		if got, took := w.poll(t.Context(), r, 1, time.Minute, PartitionRequest{w.part(0), 0, 1}, PartitionRequest{w.part(5), 0, 1}); took != 0 ||
			!errors.Is(got.Partitions[1].Err, metadata.ErrUnknownTopic) || got.Partitions[0].Err != nil {
			t.Errorf("%+v after %v, want the error at once", got, took)
		}
		go func() {
			time.Sleep(time.Second)
			apply[metadata.DeleteTopicResult](w, metadata.DeleteTopic{ID: w.topic})
		}()
		if got, took := w.poll(t.Context(), r, 1, time.Minute, PartitionRequest{w.part(0), 0, 1}); took != time.Second || !errors.Is(got.Partitions[0].Err, metadata.ErrUnknownTopic) {
			t.Errorf("%+v after %v, want the topic's end after 1s", got, took)
		}
	})
}

func TestLongPollEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if got, took := w.poll(ctx, w.reader(nil), 1, time.Minute, PartitionRequest{w.part(0), 0, 1}); took != 3*time.Second || len(got.Partitions) != 1 {
			t.Errorf("%+v after %v, want an empty answer after 3s", got, took)
		}
	})
}

func TestManyReadersCostOneReadAndOutliveOneThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 5, 100)}})
		w.store.hook = func(ctx context.Context, _ string) error {
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		r := w.reader(nil)
		leaving, leave := context.WithCancel(t.Context())
		type answer struct {
			p    PartitionResponse
			took time.Duration
		}
		answers := make(chan answer, 10)
		for i := range 10 {
			ctx := t.Context()
			if i == 0 {
				ctx = leaving // it comes first, and leads
			}
			go func() {
				got, took := w.poll(ctx, r, 1, 0, PartitionRequest{w.part(0), 0, 1 << 20})
				answers <- answer{got.Partitions[0], took}
			}()
			synctest.Wait()
		}
		time.Sleep(30 * time.Second)
		leave()
		failed := 0
		for range 10 {
			a := <-answers
			if errors.Is(a.p.Err, context.Canceled) && a.took == 30*time.Second {
				failed++
			} else if a.p.Err != nil || len(a.p.Chunks) != 2 || a.took != 90*time.Second {
				t.Errorf("%v, %d chunks after %v; want a batch after 90s", a.p.Err, len(a.p.Chunks), a.took)
			}
		}
		if failed != 1 || w.store.count() != 2 {
			t.Errorf("%d readers failed and %d reads; want 1, and 2: the leader's and that of who took over", failed, w.store.count())
		}
	})
}
