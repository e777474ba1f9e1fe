package batcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

func TestFlushesExactlyAnIntervalAfterTheFirstAppend(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		time.Sleep(time.Minute)
		first := r.append(one(t, part(1, 0), "a", 10))
		time.Sleep(100 * time.Millisecond)
		second := r.append(one(t, part(1, 0), "b", 10))
		if at := r.offset(first, 0); at != time.Minute+250*time.Millisecond {
			t.Errorf("answered after %v", at)
		}
		if at := r.offset(second, 1); at != time.Minute+250*time.Millisecond {
			t.Errorf("answered after %v", at)
		}
		third := r.append(one(t, part(1, 0), "c", 10))
		if at := r.offset(third, 2); at != time.Minute+500*time.Millisecond {
			t.Errorf("answered after %v", at)
		}
		if len(r.store.puts) != 2 {
			t.Errorf("%d objects, want 2", len(r.store.puts))
		}
		if s := r.Stats(); s.Objects != 2 || s.Sealed[FlushTime] != 2 || s.BufferedBytes != 0 || s.Live != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestIdleBatcherDoesNothing(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.offset(r.append(one(t, part(1, 0), "a", 10)), 0)
		at := time.Now()
		time.Sleep(24 * time.Hour)
		if r.store.calls != 1 || len(r.ledger.commits) != 1 || time.Since(at) != 24*time.Hour {
			t.Errorf("%d puts and %d commits after a day of silence", r.store.calls, len(r.ledger.commits))
		}
	})
}

func TestFullObjectFlushesAtOnce(t *testing.T) {
	inBubble(t, Config{FlushBytes: 10_000, BufferBytes: 100_000}, func(r *rig) {
		var last *Pending
		for range 5 {
			last = r.append(one(t, part(1, 0), "a", 2_000))
		}
		if at := r.offset(last, 4); at != 0 {
			t.Errorf("answered after %v", at)
		}
		straggler := r.append(one(t, part(1, 0), "b", 10))
		if at := r.offset(straggler, 5); at != 250*time.Millisecond {
			t.Errorf("the next object was flushed after %v", at)
		}
		if s := r.Stats(); s.Sealed[FlushSize] != 1 || s.Sealed[FlushTime] != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestBigCallMakesItsOwnObject(t *testing.T) {
	inBubble(t, Config{FlushBytes: 10_000, BufferBytes: 200_000}, func(r *rig) {
		small := r.append(one(t, part(1, 0), "small", 10))
		var appends []record.Append
		for i := range int32(10) {
			appends = append(appends, one(t, part(1, i), "big", 3_000)...)
		}
		big := r.append(appends)
		results, at := r.wait(big)
		for i, got := range results {
			if want := record.Offset(max(0, 1-i)); got.Err != nil || got.BaseOffset != want {
				t.Errorf("append %d: %+v, want offset %d", i, got, want)
			}
		}
		if at != 0 || len(r.ledger.commits) != 2 || r.ledger.commits[0].Size > 1_000 || r.ledger.commits[1].Size < 30_000 {
			t.Errorf("answered after %v with objects %+v", at, r.ledger.commits)
		}
		r.offset(small, 0)
		_, err := r.Append(r.t.Context(), slices.Repeat(one(t, part(1, 0), "x", 1), MaxCallBatches+1))
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("too many batches: %v", err)
		}
		_, err = r.Append(r.t.Context(), slices.Repeat(one(t, part(1, 0), "x", 1<<20), 100))
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("too many bytes: %v", err)
		}
		if p := r.append(nil); len(p.Results()) != 0 {
			t.Error("results for nothing")
		} else {
			<-p.Done()
		}
	})
}

// TestObjectHoldsWhatWasAppended reads objects back and holds them against commit and appends, byte for byte.
func TestObjectHoldsWhatWasAppended(t *testing.T) {
	seeded := map[string][]byte{}
	cfg := Config{Session: 0xabc, Cluster: 99, OnUploaded: func(key string, body *record.Buffer) { seeded[key] = slices.Clone(body.Bytes) }}
	inBubble(t, cfg, func(r *rig) {
		parts := []record.Partition{part(2, 1), part(1, 3), part(2, 0), part(1, 3), part(1, 0)}
		want := map[record.Partition][]byte{}
		var calls []*Pending
		for c := range 4 {
			var appends []record.Append
			for i, p := range parts {
				batch := batchOf(t, fmt.Sprintf("call %d append %d", c, i), 1+i, 20)
				appends = append(appends, record.Append{Partition: p, Batch: batch})
				want[p] = append(want[p], batch.Bytes()...)
			}
			calls = append(calls, r.append(appends))
		}
		for c, call := range calls {
			results, _ := r.wait(call)
			for i, wantOffset := range []int{c * 1, c * 6, c * 3, c*6 + 2, c * 5} {
				if results[i].Err != nil || results[i].BaseOffset != record.Offset(wantOffset) {
					t.Errorf("call %d append %d: %+v, want offset %d", c, i, results[i], wantOffset)
				}
			}
		}
		object := r.store.puts[0]
		header, runs, err := record.ReadObject(object.body)
		if err != nil {
			t.Fatal(err)
		}
		commit := r.ledger.commits[0]
		if header.Session != 0xabc || header.Counter != 0 || header.ClusterHash != 99 || header.PutID == [16]byte{} {
			t.Errorf("header %+v", header)
		}
		if commit.Key != object.key || commit.Size != record.Len(len(object.body)) || len(commit.Runs) != 4 || len(runs) != 4 {
			t.Errorf("commit %+v of %s with %d runs", commit, object.key, len(runs))
		}
		for i, run := range runs {
			if !bytes.Equal(object.body[run.Pos:run.Pos+record.Pos(run.Len)], want[run.Partition]) {
				t.Errorf("run of %s differs", run.Partition)
			}
			c := commit.Runs[i]
			total := record.Len(0)
			for _, b := range c.Batches {
				total += b.Len
			}
			if c.Partition != run.Partition || c.Pos != run.Pos || total != run.Len || c.Batches[0].ProducerID != -1 {
				t.Errorf("commit run %+v of entry %+v", c, run)
			}
		}
		if len(seeded) != 1 || !bytes.Equal(seeded[object.key], object.body) {
			t.Errorf("seeded %d objects", len(seeded))
		}
	})
}

// TestObjectIsToldOfBeforeItsCommitIsHandedIn: the View wakes consumers before the commit is answered, and they read what
// the hook keeps.
func TestObjectIsToldOfBeforeItsCommitIsHandedIn(t *testing.T) {
	var mu sync.Mutex
	told := map[string][]byte{}
	cfg := Config{FlushBytes: 1_000, BufferBytes: 100_000, OnUploaded: func(key string, body *record.Buffer) {
		mu.Lock()
		defer mu.Unlock()
		told[key] = slices.Clone(body.Bytes)
	}}
	inBubble(t, cfg, func(r *rig) {
		r.store.fate = func(n int) (time.Duration, error) {
			if n == 2 {
				return 0, errors.New("broken")
			}
			return 0, nil
		}
		r.ledger.fault = func(_ int, c metadata.CommitObject) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			if len(told[c.Key]) != int(c.Size) {
				t.Errorf("%d bytes of object %d known at its commit, want %d", len(told[c.Key]), c.Counter, c.Size)
			}
			return false, nil
		}
		var calls []*Pending
		for range 5 {
			calls = append(calls, r.append(one(t, part(1, 0), "a", 2_000)))
		}
		for i, p := range calls {
			if i == 2 {
				r.fails(p, ErrNotWritten)
			} else {
				r.offset(p, record.Offset(min(i, 1)+max(0, i-2)))
			}
		}
		if len(told) != 4 || len(r.store.puts) != 4 {
			t.Errorf("told of %d objects, %d are in the store, want 4", len(told), len(r.store.puts))
		}
		for _, put := range r.store.puts { // whose copies were made at the time
			if !bytes.Equal(told[put.key], r.store.objects[put.key]) {
				t.Errorf("the body of %s changed", put.key)
			}
		}
	})
}

// TestSmallObjectTravelsInItsCommit: it is the object that would have been uploaded, and nothing is.
func TestSmallObjectTravelsInItsCommit(t *testing.T) {
	cfg := Config{InlineBytes: 1_000, OnUploaded: func(key string, _ *record.Buffer) { t.Errorf("told of %q, which is in no store", key) }}
	inBubble(t, cfg, func(r *rig) {
		small := one(t, part(1, 0), "small", 20)
		if at := r.offset(r.append(small), 0); at != 250*time.Millisecond {
			t.Errorf("answered after %v", at)
		}
		commit := r.ledger.commits[0]
		header, runs, err := record.ReadObject(commit.Inline)
		if err != nil {
			t.Fatal(err)
		}
		if header.Session != 7 || header.Counter != 0 || commit.Key != "" || commit.Size != record.Len(len(commit.Inline)) || len(runs) != 1 {
			t.Errorf("commit of %q, %d bytes, with header %+v and %d runs", commit.Key, commit.Size, header, len(runs))
		}
		if run := runs[0]; run.Pos != commit.Runs[0].Pos || !bytes.Equal(commit.Inline[run.Pos:][:run.Len], small[0].Batch.Bytes()) {
			t.Errorf("run at %d, the commit says %d", run.Pos, commit.Runs[0].Pos)
		}
		synctest.Wait() // the observer hears of it after the caller
		if len(r.store.puts) != 0 || r.flushes[0].Key != "" || r.Stats().Inline != 1 || r.Stats().UploadedBytes != 0 {
			t.Errorf("%d puts, flush %+v, stats %+v", len(r.store.puts), r.flushes[0], r.Stats())
		}
	})
}

// TestObjectIsUploadedFromAByteMoreOn: where the limit lies, to the byte.
func TestObjectIsUploadedFromAByteMoreOn(t *testing.T) {
	a := one(t, part(1, 0), "a", 20)
	size := record.ObjectSize(1, int64(a[0].Batch.Len()))
	for _, limit := range []int64{0, size - 1, size, size + 1} {
		inBubble(t, Config{InlineBytes: limit}, func(r *rig) {
			r.offset(r.append(one(t, part(1, 0), "a", 20)), 0)
			if inline := len(r.ledger.commits[0].Inline) > 0; inline != (size <= limit) || inline == (len(r.store.puts) > 0) {
				t.Errorf("object of %d bytes with a limit of %d: inline %v, %d puts", size, limit, inline, len(r.store.puts))
			}
		})
	}
}

// TestInlineCommitWaitsForTheUploadsBeforeIt: commits keep the order of counters, however their objects travel.
func TestInlineCommitWaitsForTheUploadsBeforeIt(t *testing.T) {
	inBubble(t, Config{InlineBytes: 1_000, FlushBytes: 2_000, BufferBytes: 100_000}, func(r *rig) {
		r.store.fate = func(int) (time.Duration, error) { return 3 * time.Second, nil }
		large := r.append(one(t, part(1, 0), "large", 2_000))
		small := r.append(one(t, part(1, 0), "small", 20))
		r.offset(large, 0)
		if at := r.offset(small, 1); at < 3*time.Second {
			t.Errorf("the small object was answered after %v, before the upload of the one before it", at)
		}
		if c := r.ledger.commits; len(c) != 2 || c[0].Counter != 0 || c[0].Key == "" || c[1].Counter != 1 || c[1].Inline == nil {
			t.Errorf("commits %+v", c)
		}
	})
}

// TestInlineCommitIsRepeatedWithItsBytes: a commit whose answer was lost comes again as it was, and takes effect once.
func TestInlineCommitIsRepeatedWithItsBytes(t *testing.T) {
	inBubble(t, Config{InlineBytes: 1_000}, func(r *rig) {
		var tries []metadata.CommitObject
		r.ledger.fault = func(try int, c metadata.CommitObject) (bool, error) {
			tries = append(tries, c)
			if try < 2 {
				return try == 1, metadata.ErrUnavailable
			}
			return false, nil
		}
		r.offset(r.append(one(t, part(1, 0), "a", 20)), 0)
		if len(tries) != 3 || len(r.ledger.commits) != 1 {
			t.Fatalf("%d tries, %d took effect", len(tries), len(r.ledger.commits))
		}
		for i := range tries {
			if tries[i].Counter != 0 || len(tries[i].Inline) == 0 || !bytes.Equal(tries[i].Inline, tries[0].Inline) {
				t.Errorf("try %d: object %d with %d bytes", i, tries[i].Counter, len(tries[i].Inline))
			}
		}
	})
}

func TestCommitsKeepTheOrderWhenUploadsOvertake(t *testing.T) {
	inBubble(t, Config{FlushBytes: 1_000, BufferBytes: 1 << 20, MaxUploads: 4}, func(r *rig) {
		waits := []time.Duration{time.Second, 10 * time.Millisecond, 500 * time.Millisecond, 20 * time.Millisecond, 0, 0, 0, 0}
		r.store.fate = func(n int) (time.Duration, error) { return waits[n], nil }
		var calls []*Pending
		for range waits {
			calls = append(calls, r.append(one(t, part(1, 0), "a", 2_000)))
		}
		for i, call := range calls {
			if at := r.offset(call, record.Offset(i)); at != time.Second {
				t.Errorf("call %d answered after %v, want with the slowest before it", i, at)
			}
		}
		if r.store.most != 4 {
			t.Errorf("%d uploads at a time, want 4", r.store.most)
		}
		for i, c := range r.ledger.commits {
			if c.Counter != uint64(i) {
				t.Errorf("commit %d is of object %d", i, c.Counter)
			}
		}
	})
}

func TestSlowStoreMakesObjectsFullerNotMore(t *testing.T) {
	inBubble(t, Config{MaxUploads: 1}, func(r *rig) {
		r.store.fate = func(int) (time.Duration, error) { return 10 * time.Second, nil }
		var calls []*Pending
		for range 40 { // 10 s
			calls = append(calls, r.append(one(t, part(1, 0), "a", 10)))
			time.Sleep(250 * time.Millisecond)
		}
		for i, call := range calls {
			r.offset(call, record.Offset(i))
		}
		if n := len(r.store.puts); n > 3 {
			t.Errorf("%d objects, want at most 3", n)
		}
	})
}

func TestCommitsArePipelined(t *testing.T) {
	inBubble(t, Config{FlushBytes: 1_000, BufferBytes: 1 << 20, MaxCommits: 4}, func(r *rig) {
		r.ledger.delay = 100 * time.Millisecond
		var calls []*Pending
		for range 8 {
			calls = append(calls, r.append(one(t, part(1, 0), "a", 2_000)))
		}
		for i, call := range calls {
			if at, want := r.offset(call, record.Offset(i)), time.Duration(1+i/4)*100*time.Millisecond; at != want {
				t.Errorf("call %d answered after %v, want %v", i, at, want)
			}
		}
	})
}

func TestFullBufferBlocksInOrder(t *testing.T) {
	cfg := Config{FlushBytes: 4_000, BufferBytes: 10_000, MaxUploads: 1}
	inBubble(t, cfg, func(r *rig) {
		r.store.fate = func(int) (time.Duration, error) { return time.Second, nil }
		type answer struct {
			p  *Pending
			at time.Duration
		}
		answers := make(chan answer)
		go func() {
			for range 6 {
				p := r.append(one(t, part(1, 0), "a", 4_000))
				answers <- answer{p, time.Since(r.start)}
			}
		}()
		var calls []*Pending
		// Two fit; each upload of a second lets one more in.
		for i, seconds := range []int{0, 0, 1, 2, 3, 4} {
			a, want := <-answers, time.Duration(seconds)*time.Second
			if a.at != want {
				t.Errorf("call %d was let in after %v, want %v", i, a.at, want)
			}
			if r.Stats().BufferedBytes > cfg.BufferBytes {
				t.Errorf("%d bytes buffered", r.Stats().BufferedBytes)
			}
			calls = append(calls, a.p)
		}
		for i, call := range calls {
			r.offset(call, record.Offset(i))
		}
		if s := r.Stats(); s.BufferedBytes != 0 || s.Waits != 4 || s.Waiting != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestCallThatGivesUpWaitingIsNotWritten(t *testing.T) {
	cfg := Config{FlushBytes: 4_000, BufferBytes: 10_000}
	inBubble(t, cfg, func(r *rig) {
		r.store.fate = func(int) (time.Duration, error) { return time.Minute, nil }
		first := r.append(one(t, part(1, 0), "a", 9_000))
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
		defer cancel()
		go func() {
			time.Sleep(time.Millisecond)
			small := r.append(one(t, part(1, 0), "small", 10)) // would fit, but is behind the one that does not
			if at := time.Since(r.start); at != time.Second {
				t.Errorf("the small call was let in after %v", at)
			}
			r.offset(small, 1)
		}()
		if _, err := r.Append(ctx, one(t, part(1, 0), "b", 9_000)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("append: %v", err)
		}
		r.offset(first, 0)
		time.Sleep(5 * time.Minute)
		if end := r.ledger.end(part(1, 0)); end != 2 {
			t.Errorf("%d records committed, want 2", end)
		}
		ended, end := context.WithCancel(r.t.Context())
		end()
		if _, err := r.Append(ended, one(t, part(1, 0), "c", 10)); !errors.Is(err, context.Canceled) {
			t.Errorf("append with an ended context: %v", err)
		}
	})
}

func TestStopDrainsEverything(t *testing.T) {
	inBubble(t, Config{FlushBytes: 4_000, BufferBytes: 10_000}, func(r *rig) {
		r.store.fate = func(int) (time.Duration, error) { return 3 * time.Second, nil }
		r.ledger.delay = time.Second
		full := r.append(one(t, part(1, 0), "full", 5_000))
		open := r.append(one(t, part(1, 0), "open", 10))
		blocked := make(chan error)
		go func() {
			_, err := r.Append(r.t.Context(), one(t, part(1, 0), "blocked", 9_000))
			blocked <- err
		}()
		synctest.Wait()
		r.stop()
		if err := <-blocked; !errors.Is(err, ErrClosed) {
			t.Errorf("blocked append: %v", err)
		}
		if _, err := r.Append(r.t.Context(), one(t, part(1, 0), "late", 10)); !errors.Is(err, ErrClosed) {
			t.Errorf("late append: %v", err)
		}
		r.offset(full, 0)
		if at := r.offset(open, 1); at != 4*time.Second {
			t.Errorf("drained after %v, want 4 s: the open object must not wait for its interval", at)
		}
		<-r.stopped
		if r.err != nil {
			t.Errorf("run: %v", r.err)
		}
		if len(r.flushes) != 2 || r.flushes[1].Reason != FlushDrain || r.flushes[1].Total != 4*time.Second {
			t.Errorf("flushes %+v", r.flushes)
		}
	})
}

// TestHurryWaitsForNoInterval: a drain waits for the answers of what was taken in, and they wait for nothing but one
// upload and one commit.
func TestHurryWaitsForNoInterval(t *testing.T) {
	inBubble(t, Config{FlushInterval: time.Hour}, func(r *rig) {
		r.store.fate = func(int) (time.Duration, error) { return time.Second, nil }
		first := r.append(one(t, part(1, 0), "a", 10))
		second := r.append(one(t, part(1, 0), "b", 10))
		time.Sleep(time.Minute)
		r.Hurry()
		if at := r.offset(first, 0); at != time.Minute+time.Second {
			t.Errorf("what waited was answered after %v, want an upload after Hurry", at)
		}
		r.offset(second, 1)
		r.Hurry()
		if at := r.offset(r.append(one(t, part(1, 0), "c", 10)), 2); at != time.Minute+2*time.Second {
			t.Errorf("what came later was answered after %v, want after an upload", at)
		}
		if s := r.Stats(); s.Objects != 2 || s.Sealed[FlushDrain] != 2 {
			t.Errorf("stats %+v", s)
		}
		time.Sleep(2 * time.Hour) // the timer of the first object meets nobody
	})
}

func TestHurryDoesNotMakeAQueueOfSmallObjects(t *testing.T) {
	inBubble(t, Config{FlushInterval: time.Hour, MaxUploads: 2}, func(r *rig) {
		r.store.fate = func(int) (time.Duration, error) { return time.Second, nil }
		r.Hurry()
		var calls []*Pending
		for range 20 {
			calls = append(calls, r.append(one(t, part(1, 0), "a", 10)))
		}
		for i, p := range calls {
			want := time.Second
			if i >= 2 {
				want *= 2
			}
			if at := r.offset(p, record.Offset(i)); at != want {
				t.Errorf("call %d answered after %v, want %v", i, at, want)
			}
		}
		if n := len(r.store.puts); n != 3 {
			t.Errorf("%d objects, want 3", n)
		}
	})
}

func TestDrainThatCanNotEndIsCutShort(t *testing.T) {
	inBubble(t, Config{FlushBytes: 1_000, BufferBytes: 100_000, DrainTimeout: 5 * time.Second}, func(r *rig) {
		r.store.fate = func(n int) (time.Duration, error) {
			if n == 0 {
				return 0, nil
			}
			return time.Hour, nil
		}
		r.ledger.delay = time.Hour
		committing := r.append(one(t, part(1, 0), "a", 2_000))
		synctest.Wait()
		uploading := r.append(one(t, part(1, 0), "b", 2_000))
		synctest.Wait()
		r.stop()
		r.fails(committing, ErrOutcomeUnknown)
		r.fails(uploading, ErrNotWritten)
		if at := time.Since(r.start); at != 5*time.Second {
			t.Errorf("gave up after %v", at)
		}
		<-r.stopped
		if r.err == nil {
			t.Error("run says all is well")
		}
		if s := r.Stats(); s.BufferedBytes != 0 || s.Live != 0 {
			t.Errorf("stats %+v", s)
		}
		time.Sleep(2 * time.Hour) // the late answer meets nobody
	})
}

// TestStuckCommitterHoldsUpNeitherUploadsNorTheStop: Submit waits while the log can not be had.
func TestStuckCommitterHoldsUpNeitherUploadsNorTheStop(t *testing.T) {
	inBubble(t, Config{FlushBytes: 1_000, BufferBytes: 100_000, DrainTimeout: 5 * time.Second}, func(r *rig) {
		r.ledger.stuck = make(chan struct{})
		var calls []*Pending
		for range 4 {
			calls = append(calls, r.append(one(t, part(1, 0), "a", 2_000)))
		}
		synctest.Wait()
		if r.store.calls != 4 {
			t.Errorf("%d uploads, want 4", r.store.calls)
		}
		r.stop()
		<-r.stopped
		if at := time.Since(r.start); at != 5*time.Second || r.err == nil {
			t.Errorf("run ended after %v: %v", at, r.err)
		}
		for _, call := range calls {
			r.fails(call, ErrOutcomeUnknown)
		}
		close(r.ledger.stuck)
	})
}

func TestCommitThatIsTooLargeIsRefusedForGood(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		r.ledger.fault = func(try int, _ metadata.CommitObject) (bool, error) {
			if try == 0 {
				return false, metadata.ErrInvalidCommand
			}
			return false, nil
		}
		r.fails(r.append(one(t, part(1, 0), "a", 10)), ErrNotWritten)
		r.offset(r.append(one(t, part(1, 0), "b", 10)), 0)
	})
}

func TestFailedUploadFailsItsOwnAppendsOnly(t *testing.T) {
	inBubble(t, Config{FlushBytes: 1_000, BufferBytes: 100_000}, func(r *rig) {
		broken := errors.New("no such bucket")
		r.store.fate = func(n int) (time.Duration, error) {
			if n == 1 {
				return time.Second, broken
			}
			return 10 * time.Millisecond, nil
		}
		var calls []*Pending
		for range 4 {
			calls = append(calls, r.append(one(t, part(1, 0), "a", 2_000)))
		}
		r.offset(calls[0], 0)
		r.fails(calls[1], ErrNotWritten)
		r.fails(calls[1], broken)
		r.offset(calls[2], 1)
		r.offset(calls[3], 2)
		r.offset(r.append(one(t, part(1, 0), "b", 2_000)), 3)
		commits := r.ledger.commits
		if last := commits[len(commits)-1]; last.Counter != 4 || last.Settled != 4 {
			t.Errorf("last commit has counter %d, settled %d, want 4 and 4", last.Counter, last.Settled)
		}
		if s := r.Stats(); s.Failed != 1 || s.Objects != 4 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestCommitIsRepeatedUntilItIsAnswered(t *testing.T) {
	for _, effect := range []bool{false, true} {
		t.Run(fmt.Sprint("effect=", effect), func(t *testing.T) {
			inBubble(t, Config{FlushBytes: 1_000, BufferBytes: 100_000}, func(r *rig) {
				r.ledger.fault = func(try int, _ metadata.CommitObject) (bool, error) {
					if try < 10 {
						return effect, metadata.ErrUnavailable
					}
					return false, nil
				}
				var calls []*Pending
				for range 4 {
					calls = append(calls, r.append(one(t, part(1, 0), "a", 2_000)))
				}
				for i, call := range calls {
					r.offset(call, record.Offset(i))
				}
				if n := len(r.ledger.commits); n != 4 {
					t.Errorf("%d commits took effect, want 4", n)
				}
				if at := time.Since(r.start); at < 100*time.Millisecond || at > 10*time.Second {
					t.Errorf("took %v", at)
				}
			})
		})
	}
}

// TestRepeatedCommitKeepsItsPlace loses the first of four pipelined commits only: the others come after it all the same,
// or, if they were faster, it is told for certain that it is not in the log.
func TestRepeatedCommitKeepsItsPlace(t *testing.T) {
	inBubble(t, Config{FlushBytes: 1_000, BufferBytes: 100_000, MaxCommits: 1}, func(r *rig) {
		r.ledger.fault = func(try int, _ metadata.CommitObject) (bool, error) {
			if try%3 != 2 {
				return try%3 == 1, metadata.ErrUnavailable
			}
			return false, nil
		}
		var calls []*Pending
		for range 6 {
			calls = append(calls, r.append(one(t, part(1, 0), "a", 2_000)))
		}
		for i, call := range calls {
			r.offset(call, record.Offset(i))
		}
	})
	inBubble(t, Config{FlushBytes: 1_000, BufferBytes: 100_000, MaxCommits: 4}, func(r *rig) {
		r.ledger.delay = 10 * time.Millisecond
		r.ledger.fault = func(try int, _ metadata.CommitObject) (bool, error) {
			if try == 0 {
				return false, metadata.ErrUnavailable
			}
			return false, nil
		}
		var calls []*Pending
		for range 4 {
			calls = append(calls, r.append(one(t, part(1, 0), "a", 2_000)))
		}
		r.fails(calls[0], ErrNotWritten)
		for i, call := range calls[1:] {
			r.offset(call, record.Offset(i))
		}
	})
}

func TestSealedSessionStopsTheBatcher(t *testing.T) {
	inBubble(t, Config{FlushBytes: 1_000, BufferBytes: 100_000, MaxUploads: 1}, func(r *rig) {
		r.offset(r.append(one(t, part(1, 0), "a", 2_000)), 0)
		r.ledger.sealed = true
		refused := r.append(one(t, part(1, 0), "b", 2_000))
		open := r.append(one(t, part(1, 0), "c", 10))
		for _, p := range []*Pending{refused, open} {
			r.fails(p, ErrNotWritten)
			r.fails(p, metadata.ErrSessionSealed)
		}
		<-r.stopped
		if !errors.Is(r.err, metadata.ErrSessionSealed) {
			t.Errorf("run: %v", r.err)
		}
		if _, err := r.Append(r.t.Context(), one(t, part(1, 0), "d", 10)); !errors.Is(err, ErrClosed) {
			t.Errorf("append afterwards: %v", err)
		}
	})
}

func TestSealAfterAnUnclearTryLeavesDoubt(t *testing.T) {
	inBubble(t, Config{FlushBytes: 1_000, BufferBytes: 100_000}, func(r *rig) {
		r.ledger.fault = func(try int, _ metadata.CommitObject) (bool, error) {
			if try == 0 {
				r.ledger.sealed = true
				return false, metadata.ErrUnavailable
			}
			return false, nil
		}
		r.fails(r.append(one(t, part(1, 0), "a", 2_000)), ErrOutcomeUnknown)
		<-r.stopped
		if !errors.Is(r.err, metadata.ErrSessionSealed) {
			t.Errorf("run: %v", r.err)
		}
	})
}

// TestBatchesAreAnsweredOneByOne: a refusal in State is of one batch, not of the object.
func TestBatchesAreAnsweredOneByOne(t *testing.T) {
	inBubble(t, Config{}, func(r *rig) {
		p := r.append(append(one(t, part(9, 0), "gone", 10), one(t, part(1, 0), "fine", 10)...))
		r.ledger.mu.Lock()
		r.ledger.results[0] = metadata.CommitObjectResult{Batches: [][]metadata.BatchResult{
			{{BaseOffset: 5, LogStartOffset: 2}}, {{Err: metadata.ErrUnknownTopic, BaseOffset: -1}},
		}}
		r.ledger.next = 1
		r.ledger.mu.Unlock()
		got, _ := r.wait(p)
		if !errors.Is(got[0].Err, metadata.ErrUnknownTopic) || got[1].Err != nil || got[1].BaseOffset != 5 || got[1].LogStart != 2 {
			t.Errorf("answered %+v", got)
		}
	})
}

func TestValidate(t *testing.T) {
	if err := (Config{Session: 1}).Validate(); err != nil {
		t.Error(err)
	}
	for name, cfg := range map[string]Config{
		"no session":     {},
		"flush > buffer": {Session: 1, FlushBytes: 2000, BufferBytes: 1000},
		"huge flush":     {Session: 1, FlushBytes: MaxCallBytes + 1, BufferBytes: 1 << 40},
		"uploads":        {Session: 1, MaxUploads: 65},
		"commits":        {Session: 1, MaxCommits: -1},
		"interval":       {Session: 1, FlushInterval: -1},
		"retry":          {Session: 1, RetryMin: time.Minute},
	} {
		if cfg.Validate() == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
