package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

func TestAllotGivesInOrderWhatIsLeft(t *testing.T) {
	run := func(base record.Offset, n record.Len) metadata.Slice {
		return metadata.Slice{Base: base, End: base + 10, Run: &metadata.Run{Len: n}}
	}
	at := func(from record.Offset, limit int64, slices ...metadata.Slice) look {
		return look{ask: metadataAsk{from: from, limit: limit}, loc: metadata.Location{Slices: slices}}
	}
	file := metadata.Slice{Base: 0, End: 10, File: &metadata.File{Size: 100, Rows: 10}, Part: metadata.FilePart{Rows: 5}}
	looks := []look{
		{err: metadata.ErrUnknownTopic},
		at(0, 500),                            // at the end of the log
		at(5, 500, run(0, 200), run(10, 100)), // half of the first run lies behind: 200 bytes
		at(0, 300, file),                      // 50 bytes of Parquet, but nobody knows how many of batches
		at(0, 500, run(0, 400)),
		at(0, 500, run(0, 400)),
	}
	limits, _, forced := allot(looks, []int{0, 1, 2, 3, 4, 5}, 1000)
	if want := []int64{0, 0, 500, 300, 500, 100}; !slices.Equal(limits, want) || forced != 2 {
		t.Errorf("limits %v, forced %d; want %v, 2", limits, forced, want)
	}
	limits, _, forced = allot(looks, []int{4, 5, 0, 1, 2, 3}, 0)
	if slices.Max(limits) != 0 || forced != 4 {
		t.Errorf("with no budget: limits %v, forced %d; want zeros, 4", limits, forced)
	}
	if _, _, forced = allot(looks[:2], []int{0, 1}, 1000); forced != -1 {
		t.Errorf("nothing to give: forced %d", forced)
	}
}

func TestRotationIsAnOrderOfAll(t *testing.T) {
	for n := 1; n < 20; n++ {
		for turn := range uint64(50) {
			order := slices.Clone(rotation(n, turn))
			slices.Sort(order)
			for i := range order {
				if order[i] != i {
					t.Fatalf("rotation(%d, %d) is %v", n, turn, rotation(n, turn))
				}
			}
		}
	}
}

// rows is a file that needs no store.
type rows struct {
	list []record.Record
	err  error
}

func (f rows) Records(_ context.Context, _, _ int32, from record.Offset, yield func(*record.Record) bool) error {
	for _, r := range f.list {
		if r.Offset >= from && !yield(&r) {
			return nil
		}
	}
	return f.err
}

func (f rows) MemoryBytes() int64 { return 1 }

func rebuilt(t *testing.T, f rows, from, end record.Offset, target int, limit int64, force bool) []record.Batch {
	t.Helper()
	cfg := DefaultConfig()
	cfg.BatchBytes = target
	r, err := New(cfg, metadata.NewView(), nil, func(context.Context, RangeGetter, string, int64) (FileReader, error) { return f, nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := metadata.Slice{Base: 0, End: end, File: &metadata.File{Key: "f"}}
	list, size, _, err := r.readFile(t.Context(), &s, from, limit, force)
	if err != nil {
		t.Fatal(err)
	}
	if size > limit && (len(list) > 1 || !force) {
		t.Errorf("%d bytes in %d batches, limit %d", size, len(list), limit)
	}
	return batches(t, PartitionResponse{Chunks: chunks(nil, list), Size: int(size)})
}

func TestRebuiltBatchesStretchOverGaps(t *testing.T) {
	f := rows{}
	for _, o := range []record.Offset{3, 4, 9, 20, 21, 22, 40} {
		f.list = append(f.list, record.Record{Offset: o, Value: make([]byte, 100)})
	}
	for _, c := range []struct {
		from, end record.Offset
		target    int
		limit     int64
		force     bool
		want      string // base-last(records) of each
	}{
		{0, 50, 1 << 20, 1 << 20, false, "0-49(7)"},
		{5, 50, 1 << 20, 1 << 20, false, "5-49(5)"},
		{0, 50, 350, 1 << 20, false, "0-8(2) 9-20(2) 21-39(2) 40-49(1)"},
		{0, 50, 1, 1 << 20, false, "0-3(1) 4-8(1) 9-19(1) 20-20(1) 21-21(1) 22-39(1) 40-49(1)"},
		{0, 50, 350, 550, false, "0-8(2) 9-19(1)"},
		{0, 50, 350, 10, true, "0-3(1)"},
		{0, 50, 350, 10, false, ""},
		{41, 50, 350, 100, false, "41-49(0)"},
		{41, 50, 350, 10, true, "41-49(0)"},
		{41, 50, 350, 10, false, ""},
		{40, 41, 350, 500, false, "40-40(1)"},
	} {
		g := rows{list: slices.DeleteFunc(slices.Clone(f.list), func(r record.Record) bool { return r.Offset >= c.end })}
		got := ""
		for i, b := range rebuilt(t, g, c.from, c.end, c.target, c.limit, c.force) {
			if i > 0 {
				got += " "
			}
			got += fmt.Sprintf("%d-%d(%d)", b.BaseOffset(), b.LastOffset(), b.Records())
		}
		if got != c.want {
			t.Errorf("[%d, %d) by %d up to %d, force %t: %s, want %s", c.from, c.end, c.target, c.limit, c.force, got, c.want)
		}
	}
}

func TestRebuiltBatchesSplitWhereTimestampTypesChange(t *testing.T) {
	f := rows{list: []record.Record{
		{Offset: 0, Timestamp: 1},
		{Offset: 1, Timestamp: 9, TimestampType: record.LogAppendTime},
		{Offset: 2, Timestamp: 9, TimestampType: record.LogAppendTime},
		{Offset: 3, Timestamp: 12, TimestampType: record.LogAppendTime},
		{Offset: 4, Timestamp: 3},
	}}
	var got []record.Record
	for _, b := range rebuilt(t, f, 0, 5, 1<<20, 1<<20, false) {
		var err error
		if got, err = b.Decode(record.DefaultLimits(), got); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.EqualFunc(got, f.list, same) {
		t.Errorf("%+v\nwant %+v", got, f.list)
	}
}

func TestGapsNoBatchCanSpan(t *testing.T) {
	const far = record.Offset(3) << 31
	f := rows{list: []record.Record{{Offset: far, Value: []byte("v")}}}
	got := rebuilt(t, f, 0, 2*far, 1<<20, 1<<20, false)
	if len(got) != 1 || got[0].BaseOffset() != far || got[0].LastOffset() != far+math.MaxInt32-1 {
		t.Errorf("%d batches, first from %d to %d", len(got), got[0].BaseOffset(), got[0].LastOffset())
	}
}

func TestFileThatDisagreesWithTheLogIsAnError(t *testing.T) {
	for name, f := range map[string]rows{
		"offset beyond the slice": {list: []record.Record{{Offset: 5}}},
		"offset twice":            {list: []record.Record{{Offset: 2}, {Offset: 2}}},
		"read error":              {list: []record.Record{{Offset: 2}}, err: ErrCorrupt},
	} {
		r, err := New(DefaultConfig(), metadata.NewView(), nil, func(context.Context, RangeGetter, string, int64) (FileReader, error) { return f, nil }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s := metadata.Slice{Base: 0, End: 5, File: &metadata.File{Key: "f"}}
		if _, _, _, err := r.readFile(t.Context(), &s, 0, 1<<20, true); !errors.Is(err, ErrCorrupt) && !errors.Is(err, record.ErrInvalid) {
			t.Errorf("%s: %v, want an error", name, err)
		}
	}
}

// TestPartitionsAdvanceEqually: a hundred with more to give than a response holds, whatever turns their consumer has.
func TestPartitionsAdvanceEqually(t *testing.T) {
	const partitions, fetches = 100, 2000
	for _, stride := range []uint64{1, 2, 3, 5, 7, 8, 10, 12, 13, 50, 100, 1000} {
		w := newWorld(t, partitions)
		runs := map[int32][]record.Batch{}
		var size int
		for p := range int32(partitions) {
			for range 3 {
				runs[p] = append(runs[p], w.batch(p, record.None, 1, 10))
			}
			size = int(runs[p][0].Len())
		}
		w.commit(runs)
		r := w.reader(func(c *Config) { c.PartitionReads = 1 })
		served := make([]int, partitions)
		for n := range uint64(fetches) {
			req := Request{MinBytes: 1, MaxBytes: 4*size + size/2, Turn: n * stride}
			for p := range int32(partitions) {
				req.Partitions = append(req.Partitions, PartitionRequest{w.part(p), 0, size})
			}
			for i, p := range r.Fetch(t.Context(), req).Partitions {
				served[i] += len(p.Chunks) / 2
			}
		}
		if least, most := slices.Min(served), slices.Max(served); least < fetches*4/partitions*8/10 || most > fetches*4/partitions*12/10 {
			t.Errorf("every turn of %d: partitions were served between %d and %d times, want about %d", stride, least, most, fetches*4/partitions)
		}
	}
}

func TestTailIsBounded(t *testing.T) {
	tl := newTail(100)
	key := func(object string) extentKey { return extentKey{object, 0, 30} }
	for i := range 20 {
		tl.add(newExtent(key(fmt.Sprint(i)), make([]byte, 30)))
		tl.add(newExtent(key(fmt.Sprint(i)), make([]byte, 30))) // twice is once
	}
	if tl.add(newExtent(key("large"), make([]byte, 101))) {
		t.Error("one larger than the tail is kept")
	}
	for i := range 20 {
		if _, ok := tl.get(key(fmt.Sprint(i)), nil); ok != (i >= 17) {
			t.Errorf("object %d is kept: %t", i, ok)
		}
	}
	if _, ok := tl.get(key("large"), nil); ok || tl.used != 90 || len(tl.order) != 3 {
		t.Errorf("%d bytes in %d objects, want 90 in 3", tl.used, len(tl.order))
	}
	tl.forget(key("18"))
	tl.forget(key("0"))
	tl.add(newExtent(key("18"), make([]byte, 30))) // anew, now the youngest
	tl.add(newExtent(key("20"), make([]byte, 30)))
	tl.add(newExtent(key("21"), make([]byte, 30)))
	for i, want := range map[int]bool{17: false, 18: true, 19: false, 20: true, 21: true} {
		if _, ok := tl.get(key(fmt.Sprint(i)), nil); ok != want {
			t.Errorf("after one was forgotten and came back: object %d is kept: %t", i, ok)
		}
	}
	if tl.used != 90 {
		t.Errorf("%d bytes, want 90", tl.used)
	}
}

func TestCacheKeepsTheRecentlyUsed(t *testing.T) {
	c := newCache[int, int](100, realClock{})
	loads := 0
	get := func(k int, weight int64) {
		t.Helper()
		if v, err := c.load(t.Context(), k, func(context.Context) (int, int64, error) { loads++; return k * 10, weight, nil }); v != k*10 || err != nil {
			t.Errorf("key %d: %d, %v", k, v, err)
		}
	}
	for k := range 3 {
		get(k, 40) // 0 goes
	}
	get(1, 40) // used again
	get(3, 40) // 2 goes
	get(1, 40)
	if loads != 4 {
		t.Errorf("%d loads, want 4", loads)
	}
	get(9, 101) // never kept
	get(9, 101)
	if loads != 6 || c.used != 80 || c.order.Len() != 2 {
		t.Errorf("%d loads, %d bytes in %d values; want 6, 80, 2", loads, c.used, c.order.Len())
	}
	c.forget(1)
	c.forget(77)
	if get(1, 40); loads != 7 {
		t.Errorf("a forgotten key is not loaded again")
	}
	fault := errors.New("fault")
	if _, err := c.load(t.Context(), 50, func(context.Context) (int, int64, error) { return 0, 0, fault }); !errors.Is(err, fault) {
		t.Errorf("%v, want the fault", err)
	}
	if get(50, 1); loads != 8 {
		t.Error("an error was kept")
	}
}

func TestConfigIsChecked(t *testing.T) {
	cfg := DefaultConfig()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg.StoreReads = 0
	if _, err := New(cfg, nil, nil, nil, nil); err == nil {
		t.Error("no store reads are allowed, and the reader is made")
	}
}
