package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// odd are records that are easily bent on the way through a table.
func odd(base record.Offset) []record.Record {
	list := []record.Record{
		{Key: []byte("k"), Value: []byte("v"), Timestamp: 5},
		{Key: nil, Value: nil, Timestamp: -1},
		{Key: []byte{}, Value: []byte{}, Timestamp: 7},
		{Key: []byte{0xff, 0}, Value: []byte{0xfe, '\r', '\n'}, Timestamp: 1 << 50},
		{Value: []byte("h"), Headers: []record.Header{{Key: "a", Value: []byte("1")}, {Key: "a"}, {Key: "", Value: []byte{}}}},
	}
	for i := range list {
		list[i].Offset = base + record.Offset(i)
	}
	return list
}

// sources are the three places records may come from.
var sources = map[string]func(w *world, r *Reader, key string, body []byte){
	"tail":   func(_ *world, r *Reader, key string, body []byte) { r.Seed(key, record.NewBuffer(body)) },
	"object": func(*world, *Reader, string, []byte) {},
	"parquet": func(w *world, _ *Reader, _ string, _ []byte) {
		w.compact("tables/t/_data/1", nil, map[int32]record.Offset{0: w.next[0]}, nil)
	},
}

func TestRecordsComeBackFromEverySource(t *testing.T) {
	for source, put := range sources {
		t.Run(source, func(t *testing.T) {
			w := newWorld(t, 1)
			list := []record.Batch{w.batchOf(0, record.Zstd, odd(0))}
			for _, codec := range []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
				list = append(list, w.batch(0, codec, 40, 100))
			}
			list = append(list, w.batchOf(0, record.LZ4, []record.Record{{Offset: w.next[0], Value: bytes.Repeat([]byte("10 MiB "), 10<<20/7)}}))
			list = append(list, w.batch(0, record.None, 3, 10))
			r := w.reader(nil)
			key, body := w.commit(map[int32][]record.Batch{0: list})
			put(w, r, key, body)
			for _, from := range []record.Offset{0, 1, 4, 5, 44, 100, 204, 205, 206, 208, 209} {
				for _, maxBytes := range []int{1, 3000, 1 << 20, 64 << 20} {
					w.wantConsumed(r, 0, from, maxBytes)
				}
			}
			if reads := w.store.count(); (source == "tail") != (reads == 0) || source == "object" && reads != 1 {
				t.Errorf("%d reads of the store", reads)
			}
		})
	}
}

func TestReadsCrossFromParquetToObjectsToTheTail(t *testing.T) {
	w := newWorld(t, 2)
	r := w.reader(func(c *Config) { c.BatchBytes = 2000 })
	for i := range 12 {
		key, body := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 10, 50), w.batch(0, record.Zstd, 7, 50)}, 1: {w.batch(1, record.LZ4, 3, 9)}})
		switch {
		case i == 3:
			w.compact("tables/t/_data/a", nil, map[int32]record.Offset{0: w.next[0], 1: w.next[1]}, nil)
		case i == 7:
			w.compact("tables/t/_data/b", map[int32]record.Offset{0: 68, 1: 12}, map[int32]record.Offset{0: w.next[0], 1: w.next[1]}, func(o record.Offset) bool { return o%5 == 0 || o > 120 && o < 126 })
		case i > 9:
			r.Seed(key, record.NewBuffer(body))
		}
	}
	for _, maxBytes := range []int{1, 1500, 100 << 10} {
		for from := record.Offset(0); from <= 204; from += 3 {
			w.wantConsumed(r, 0, from, maxBytes)
		}
		w.wantConsumed(r, 1, 0, maxBytes)
		w.wantConsumed(r, 1, 35, maxBytes)
	}
}

func TestLimitsCutAtWholeBatches(t *testing.T) {
	w := newWorld(t, 3)
	run := func(i int32) []record.Batch {
		return []record.Batch{w.batch(i, record.None, 1, 1000), w.batch(i, record.None, 1, 1000), w.batch(i, record.None, 1, 5000)}
	}
	small := int(w.batch(9, record.None, 1, 1000).Len())
	w.commit(map[int32][]record.Batch{0: run(0), 1: run(1), 2: run(2)})
	for _, c := range []struct {
		name      string
		partition int // MaxBytes of each
		request   int
		want      []int // batches, from the first served on
	}{
		{"all fits", 1 << 20, 1 << 20, []int{3, 3, 3}},
		{"partition limit", small, 1 << 20, []int{1, 1, 1}},
		{"partition limit one byte short", small - 1, 1 << 20, []int{1, 0, 0}},
		{"two batches and a bit", 2*small + 10, 1 << 20, []int{2, 2, 2}},
		{"request limit", 2 * small, 3 * small, []int{2, 1, 0}},
		{"nothing allowed", 0, 0, []int{1, 0, 0}},
		{"request limit in the first", 1 << 20, small / 2, []int{1, 0, 0}},
	} {
		r := w.reader(nil)
		for turn := range uint64(5) {
			req := Request{MinBytes: 1, MaxBytes: c.request, Turn: turn}
			for i := range int32(3) {
				req.Partitions = append(req.Partitions, PartitionRequest{w.part(i), 0, c.partition})
			}
			got := r.Fetch(t.Context(), req)
			var counts []int
			for _, p := range got.Partitions {
				if p.Err != nil || p.Bounds.HighWatermark != 3 {
					t.Errorf("%s: %v, bounds %+v", c.name, p.Err, p.Bounds)
				}
				counts = append(counts, len(batches(t, p)))
			}
			rotated := false
			for k := range 3 {
				rotated = rotated || slices.Equal(counts, append(slices.Clone(c.want[k:]), c.want[:k]...))
			}
			if !rotated {
				t.Errorf("%s: %v batches, want %v or a rotation of it", c.name, counts, c.want)
			}
		}
	}
}

func TestServerCapHoldsWhateverIsAsked(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 1000), w.batch(0, record.None, 1, 1000), w.batch(0, record.None, 1, 1000)}})
	r := w.reader(func(c *Config) { c.MaxBytes = 2500 })
	if got := len(batches(t, w.one(r, 0, 0, 1<<30))); got != 2 {
		t.Errorf("%d batches, want the 2 that fit 2500 bytes", got)
	}
}

func TestEveryPartitionComesFirstInItsTurn(t *testing.T) {
	w := newWorld(t, 4)
	runs := map[int32][]record.Batch{}
	req := Request{MinBytes: 1, MaxBytes: 1}
	for i := range int32(4) {
		runs[i] = []record.Batch{w.batch(i, record.None, 1, 10)}
		req.Partitions = append(req.Partitions, PartitionRequest{w.part(i), 0, 1 << 20})
	}
	w.commit(runs)
	r := w.reader(nil)
	var served [2][4]int
	for n := range 400 {
		req.Turn = uint64(n)
		for i, p := range r.Fetch(t.Context(), req).Partitions {
			served[n%2][i] += len(p.Chunks) / 2 // two consumers that take turns
		}
	}
	for consumer := range served {
		for i, n := range served[consumer] {
			if n < 25 {
				t.Errorf("partition %d served %d times of 200 to consumer %d", i, n, consumer)
			}
		}
	}
}

func TestOffsetsOutsideTheLog(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 5, 10)}})
	r := w.reader(nil)
	for _, from := range []record.Offset{-1, 6, 1 << 60} {
		if p := w.one(r, 0, from, 1<<20); !errors.Is(p.Err, metadata.ErrOffsetOutOfRange) || p.Bounds.HighWatermark != 5 || len(p.Chunks) > 0 {
			t.Errorf("offset %d: %v, bounds %+v", from, p.Err, p.Bounds)
		}
	}
	if p := w.one(r, 0, 5, 1<<20); p.Err != nil || len(p.Chunks) > 0 {
		t.Errorf("the end: %v, %d chunks", p.Err, len(p.Chunks))
	}
	if p := w.one(r, 7, 0, 1<<20); !errors.Is(p.Err, metadata.ErrUnknownTopic) {
		t.Errorf("partition 7: %v, want ErrUnknownTopic", p.Err)
	}
	if got := r.Fetch(t.Context(), Request{}); len(got.Partitions) != 0 {
		t.Errorf("a request for nothing: %+v", got)
	}
}

func TestDamagedRunIsAnErrorOfItsPartitionAlone(t *testing.T) {
	for name, whole := range map[string]int64{"whole object": 16 << 20, "range": 0} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			key, body := w.commit(map[int32][]record.Batch{
				0: {w.batch(0, record.None, 5, 100), w.batch(0, record.None, 5, 100)}, 1: {w.batch(1, record.None, 5, 100)},
			})
			damaged := bytes.Clone(body)
			at := bytes.Index(body, []byte("jjjjj")) // in the second batch of partition 0
			if at < 0 {
				t.Fatal("no such record")
			}
			damaged[at] ^= 1
			if err := w.store.Put(t.Context(), key, damaged); err != nil {
				t.Fatal(err)
			}
			r := w.reader(func(c *Config) { c.WholeObjectBytes, c.CellBytes = whole, 1 })
			p := w.one(r, 0, 0, 1<<20)
			if !errors.Is(p.Err, ErrCorrupt) || len(p.Chunks) > 0 || !strings.Contains(p.Err.Error(), key) {
				t.Errorf("damaged run: %v, %d chunks; want ErrCorrupt naming %s", p.Err, len(p.Chunks), key)
			}
			w.wantConsumed(r, 1, 0, 1<<20)
			if err := w.store.Put(t.Context(), key, body); err != nil {
				t.Fatal(err)
			}
			w.wantConsumed(r, 0, 0, 1<<20) // the damage was not kept
		})
	}
}

func TestLogAndObjectThatDisagreeAreAnError(t *testing.T) {
	w := newWorld(t, 1)
	b := w.batch(0, record.None, 5, 100)
	for name, run := range map[string]metadata.Run{
		"beyond the object": {Base: 0, End: 5, Key: "k", ObjectSize: 100, Pos: 0, Len: b.Len()},
		"fewer offsets":     {Base: 0, End: 6, Key: "k", ObjectSize: b.Len(), Len: b.Len()},
		"more offsets":      {Base: 0, End: 4, Key: "k", ObjectSize: b.Len(), Len: b.Len()},
		"half a batch":      {Base: 0, End: 5, Key: "k", ObjectSize: b.Len(), Len: b.Len() - 1},
	} {
		e := newExtent(extentKey{"k", 0, int64(run.ObjectSize)}, b.Bytes()[:min(run.ObjectSize, b.Len())])
		if _, err := e.run(&run); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
	r := w.reader(nil)
	r.Seed("k", record.NewBuffer(b.Bytes()))
	if _, _, _, err := cutRun(b.Bytes(), &metadata.Run{Base: 0, End: 3, Key: "k"}, 0, 1<<20, true); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a run that ends inside a batch: %v, want ErrCorrupt", err)
	}
}

func TestMissingObjectIsLocatedAgain(t *testing.T) {
	w := newWorld(t, 1)
	key, _ := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 20, 100)}})
	caught := 0
	r := w.reader(func(c *Config) {
		c.CatchUp = func(context.Context) error {
			if caught++; caught == 2 { // the second try finds it in its new place
				w.compact("tables/t/_data/1", nil, map[int32]record.Offset{0: 20}, nil)
			}
			return nil
		}
	})
	if err := w.store.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	w.wantConsumed(r, 0, 0, 1<<20)
	if caught != 2 {
		t.Errorf("caught up %d times, want 2", caught)
	}
	if got, _, err := r.OffsetForTime(t.Context(), w.part(0), 1050); got != 5 || err != nil {
		t.Errorf("offset for time: %d, %v; want 5", got, err)
	}
}

func TestObjectMissingForGoodIsAnErrorAfterBoundedTries(t *testing.T) {
	w := newWorld(t, 1)
	key, _ := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 2, 100)}})
	if err := w.store.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	r := w.reader(nil)
	if p := w.one(r, 0, 0, 1<<20); !errors.Is(p.Err, objectstore.ErrNotFound) || !strings.Contains(p.Err.Error(), key) || w.store.count() != locateTries {
		t.Errorf("%v after %d reads, want ErrNotFound naming %s after %d", p.Err, w.store.count(), key, locateTries)
	}
	if _, _, err := r.OffsetForTime(t.Context(), w.part(0), 0); !errors.Is(err, objectstore.ErrNotFound) || w.store.count() != 2*locateTries {
		t.Errorf("by time: %v after %d reads", err, w.store.count())
	}
}

func TestWhatWasReadBeforeAFaultGoesOut(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 2, 100)}})
	key, _ := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 2, 100)}})
	fault := errors.New("the store is down")
	w.store.hook = func(_ context.Context, k string) error {
		if k == key {
			return fault
		}
		return nil
	}
	r := w.reader(nil)
	if p := w.one(r, 0, 0, 1<<20); p.Err != nil || len(batches(t, p)) != 1 {
		t.Errorf("%v and %d batches, want the first object's", p.Err, len(p.Chunks)/2)
	}
	if p := w.one(r, 0, 2, 1<<20); !errors.Is(p.Err, fault) {
		t.Errorf("%v, want the store's fault", p.Err)
	}
}

func TestLargeObjectsAreReadByTheRun(t *testing.T) {
	w := newWorld(t, 2)
	key, _ := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 500)}, 1: {w.batch(1, record.None, 1, 500)}})
	r := w.reader(func(c *Config) { c.WholeObjectBytes, c.CellBytes = 1000, 500 })
	w.wantConsumed(r, 1, 0, 1<<20)
	w.wantConsumed(r, 1, 0, 1<<20)
	n := w.batch(0, record.None, 1, 500).Len()
	if want := []string{fmt.Sprintf("%s@%d+%d", key, 64+n, n)}; !slices.Equal(w.store.reads, want) {
		t.Errorf("reads %v, want %v, once", w.store.reads, want)
	}
}

func TestNothingIsReadBeforeItIsAdmitted(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reader(nil)
	w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 10, 100), w.batch(0, record.None, 10, 100)}})
	full := errors.New("no room")
	asked := int64(-1)
	req := Request{MaxBytes: 1 << 20, Admit: func(_ context.Context, want int64) (int64, error) { asked = want; return 0, full }}
	req.Partitions = []PartitionRequest{{Partition: w.part(0), MaxBytes: 1 << 20}}
	if got := r.Fetch(t.Context(), req).Partitions[0]; !errors.Is(got.Err, full) || w.store.count() != 0 {
		t.Errorf("refused: %v after %d reads, want the refusal and none", got.Err, w.store.count())
	}
	req.Admit = func(_ context.Context, want int64) (int64, error) { asked = want; return want, nil }
	got := r.Fetch(t.Context(), req).Partitions[0]
	if got.Err != nil || int64(got.Size) != asked {
		t.Errorf("read %d bytes (%v), admitted were %d", got.Size, got.Err, asked)
	}
	asked = -1
	req.Partitions[0].Offset = 20
	if r.Fetch(t.Context(), req); asked != -1 {
		t.Errorf("%d bytes admitted at the end of the log, where nothing is", asked)
	}
}

func TestLimitsAreCutToWhatIsAdmitted(t *testing.T) {
	w := newWorld(t, 3)
	three := func(i int32) []record.Batch {
		return []record.Batch{w.batch(i, record.None, 1, 1000), w.batch(i, record.None, 1, 1000), w.batch(i, record.None, 1, 1000)}
	}
	small := int64(w.batch(9, record.None, 1, 1000).Len())
	w.commit(map[int32][]record.Batch{0: three(0), 1: three(1), 2: three(2)})
	for _, c := range []struct {
		allow []int64 // call by call
		want  []int64 // asked for
		total int     // batches
	}{
		{[]int64{9 * small}, []int64{9 * small}, 9},
		{[]int64{4 * small}, []int64{9 * small}, 4},
		{[]int64{small}, []int64{9 * small}, 1},
		{[]int64{0, small}, []int64{9 * small, small}, 1},                                 // the first batch, on its own
		{[]int64{0, small - 1}, []int64{9 * small, small}, 0},                             // not even that: the reader comes again
		{[]int64{small - 1, 1}, []int64{9 * small, 1}, 1},                                 // the rest of the first batch
		{[]int64{-5, small}, []int64{9 * small, small}, 1},                                // as 0
		{[]int64{1 << 40, small}, []int64{9 * small}, 9},                                  // more than asked for
		{[]int64{2*small + small/2}, []int64{9 * small}, 2},                               // whole batches
		{[]int64{small / 2, small - small/2 - 1}, []int64{9 * small, small - small/2}, 0}, // a byte short
	} {
		var asked []int64
		req := Request{MaxBytes: 1 << 20, MaxWait: time.Second, Admit: func(_ context.Context, want int64) (int64, error) {
			asked = append(asked, want)
			return c.allow[len(asked)-1], nil
		}}
		for i := range int32(3) {
			req.Partitions = append(req.Partitions, PartitionRequest{w.part(i), 0, 1 << 20})
		}
		total := 0
		for _, p := range w.reader(nil).Fetch(t.Context(), req).Partitions {
			if p.Err != nil || p.Bounds.HighWatermark != 3 {
				t.Errorf("allowed %v: %v, bounds %+v", c.allow, p.Err, p.Bounds)
			}
			total += len(batches(t, p))
		}
		if total != c.total || !slices.Equal(asked, c.want) {
			t.Errorf("allowed %v: %d batches after asking for %v; want %d after %v", c.allow, total, asked, c.total, c.want)
		}
	}
}

func TestAdmissionKnowsWhenTheClientsWaitIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		r := w.reader(nil)
		go func() {
			time.Sleep(2 * time.Second)
			w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 100)}})
		}()
		start := time.Now()
		req := Request{MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 3 * time.Second, Admit: func(ctx context.Context, want int64) (int64, error) {
			<-ctx.Done()
			return want, nil
		}}
		req.Partitions = []PartitionRequest{{w.part(0), 0, 1 << 20}}
		got := r.Fetch(t.Context(), req).Partitions[0]
		if took := time.Since(start); took != 3*time.Second || got.Err != nil || got.Size == 0 {
			t.Errorf("%d bytes (%v) after %v, want the batch after 3s", got.Size, got.Err, took)
		}
	})
}

func TestPanicInAReadIsAnErrorOfItsPartitionAlone(t *testing.T) {
	w := newWorld(t, 2)
	bad, _ := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 100)}})
	w.commit(map[int32][]record.Batch{1: {w.batch(1, record.None, 1, 100)}})
	w.store.hook = func(_ context.Context, key string) error {
		if key == bad {
			panic("a bug")
		}
		return nil
	}
	r := w.reader(nil)
	for range 2 {
		got := r.Fetch(t.Context(), Request{MaxBytes: 1 << 20, Partitions: []PartitionRequest{{w.part(0), 0, 1 << 20}, {w.part(1), 0, 1 << 20}}}).Partitions
		if !errors.Is(got[0].Err, errPanicked) || got[0].Size != 0 || got[1].Err != nil || len(batches(t, got[1])) != 1 {
			t.Errorf("%v with %d bytes and %v; want a panic of the first and the second's batch", got[0].Err, got[0].Size, got[1].Err)
		}
	}
}

// TestEvictedObjectsStayAsLongAsAnAnswerRefersToThem: their memory is lent again when the answer is released, not before.
func TestEvictedObjectsStayAsLongAsAnAnswerRefersToThem(t *testing.T) {
	w := newWorld(t, 1)
	var pool record.BufferPool
	r := w.reader(func(c *Config) { c.TailBytes = 20_000 })
	lend := func() *record.Buffer { return pool.Lend(10_000) }
	key, body := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 5000)}})
	want := slices.Clone(body)
	first := lend()
	first.Bytes = append(first.Bytes[:0], body...)
	r.Seed(key, first)
	first.Release() // the batcher has let go; the tail has not

	var answers []Response
	for range 3 {
		answers = append(answers, r.Fetch(t.Context(), Request{MaxBytes: 1 << 20, Partitions: []PartitionRequest{{w.part(0), 0, 1 << 20}}}))
	}
	scribble := func() {
		for i := range 50 {
			b := lend()
			for j := range b.Bytes {
				b.Bytes[j] = 0xff
			}
			r.Seed(fmt.Sprintf("other %d %p", i, b), b) // the tail has room for two
			b.Release()
		}
	}
	for i := range answers {
		scribble()
		p := answers[i].Partitions[0]
		if p.Err != nil || len(p.Chunks) != 2 || !bytes.Contains(want, p.Chunks[1]) {
			t.Errorf("answer %d has changed after %d were released: %v", i, i, p.Err)
		}
		answers[i].Release()
		answers[i].Release() // twice is once
	}
	var empty Response
	empty.Release()
}
