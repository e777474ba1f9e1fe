package fetch

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

// world is a metadata log, a store and what they hold: the real parts, fed by hand.
type world struct {
	tb        testing.TB
	view      *metadata.View
	store     *counting
	seq       uint64
	session   metadata.SessionID
	objects   uint64
	laidOut   []metadata.CommitObject
	groupRows int   // of the Parquet files
	late      int64 // milliseconds of the log that have passed without entries
	topic     record.TopicID
	produced  map[int32][]record.Record // what consumers must get, by partition
	next      map[int32]record.Offset
}

// counting counts the reads of a store, and hands them to hook first.
type counting struct {
	*objectstore.Memory
	mu    sync.Mutex
	reads []string
	hook  func(ctx context.Context, key string) error
}

func (c *counting) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	c.mu.Lock()
	c.reads = append(c.reads, fmt.Sprintf("%s@%d+%d", key, pos, length))
	hook := c.hook
	c.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, key); err != nil {
			return nil, err
		}
	}
	return c.Memory.GetRange(ctx, key, pos, length)
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.reads)
}

func newWorld(tb testing.TB, partitions int32) *world {
	tb.Helper()
	w := &world{
		tb: tb, view: metadata.NewView(), topic: record.TopicID{1}, groupRows: 50, produced: map[int32][]record.Record{}, next: map[int32]record.Offset{},
		store: &counting{Memory: objectstore.NewMemory(func() time.Time { return time.Unix(1, 0) })},
	}
	opened := apply[metadata.OpenSessionResult](w, metadata.OpenSession{})
	w.session = opened.Session
	if created := apply[metadata.CreateTopicResult](w, metadata.CreateTopic{ID: w.topic, Name: "t", Partitions: partitions}); created.Err != nil {
		tb.Fatal(created.Err)
	}
	return w
}

func apply[R metadata.Result](w *world, c metadata.Command) R {
	w.tb.Helper()
	w.seq = w.view.Applied()
	results := w.view.Apply(metadata.Entry{Seq: w.seq, Term: 1, Time: int64(w.seq) + w.late, Commands: []metadata.Command{c}})
	if len(results) != 1 {
		w.tb.Fatalf("entry %d (%T) has %d results", w.seq, c, len(results))
	}
	r, ok := results[0].(R)
	if !ok {
		w.tb.Fatalf("entry %d (%T): result %+v", w.seq, c, results[0])
	}
	return r
}

func (w *world) part(index int32) record.Partition {
	return record.Partition{Topic: w.topic, Index: index}
}

// batch makes the next n records of a partition into a batch as a producer sends it, with base offset 0.
func (w *world) batch(index int32, codec record.Codec, n, size int) record.Batch {
	w.tb.Helper()
	var records []record.Record
	for range n {
		o := w.next[index]
		w.next[index]++
		records = append(records, record.Record{
			Offset: o, Timestamp: 1000 + int64(o)*10, Key: fmt.Appendf(nil, "key %d", o), Value: bytes.Repeat([]byte{byte('a' + o%26)}, size),
		})
	}
	return w.batchOf(index, codec, records)
}

func (w *world) batchOf(index int32, codec record.Codec, records []record.Record) record.Batch {
	w.tb.Helper()
	b := record.NewBuilder(codec)
	b.Reset(0)
	for i, r := range records {
		r.Offset = record.Offset(i)
		if err := b.Append(&r); err != nil {
			w.tb.Fatal(err)
		}
	}
	raw, err := b.Build(nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	batch, err := record.Parse(raw)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.next[index] = records[len(records)-1].Offset + 1
	w.produced[index] = append(w.produced[index], records...)
	return batch
}

// commit writes one WAL object of the batches and commits it.
func (w *world) commit(runs map[int32][]record.Batch) (key string, body []byte) {
	w.tb.Helper()
	key, body = w.layOut(runs)
	w.commitAll()
	return key, body
}

// layOut writes one WAL object of the batches, which commitAll commits.
func (w *world) layOut(runs map[int32][]record.Batch) (key string, body []byte) {
	w.tb.Helper()
	w.objects++
	key = record.ObjectKey(uint64(w.session), w.objects, "x")
	ow := record.NewObjectWriter(record.ObjectHeader{Session: uint64(w.session), Counter: w.objects}, 0)
	var indexes []int32
	for i := range runs {
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	for _, i := range indexes {
		if err := ow.Add(w.part(i), runs[i]...); err != nil {
			w.tb.Fatal(err)
		}
	}
	body, entries, err := ow.Finish()
	if err != nil {
		w.tb.Fatal(err)
	}
	if _, err := w.store.Create(context.Background(), key, body); err != nil {
		w.tb.Fatal(err)
	}
	c := metadata.CommitObject{Session: w.session, Counter: w.objects, Key: key, Size: record.Len(len(body))}
	for _, e := range entries {
		run := metadata.CommitRun{Partition: e.Partition, Pos: e.Pos}
		for _, b := range runs[e.Partition.Index] {
			run.Batches = append(run.Batches, metadata.CommitBatch{
				Len: b.Len(), Records: b.OffsetCount(), MaxTimestamp: b.MaxTimestamp(), ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1,
			})
		}
		c.Runs = append(c.Runs, run)
	}
	w.laidOut = append(w.laidOut, c)
	return key, body
}

func (w *world) commitAll() {
	w.tb.Helper()
	for _, c := range w.laidOut {
		if res := apply[metadata.CommitObjectResult](w, c); res.Err != nil {
			w.tb.Fatal(res.Err)
		}
	}
	w.laidOut = nil
}

// compact writes all records of the partitions between their compacted end and end into one Parquet file. With drop,
// records for which it is true leave a gap.
func (w *world) compact(key string, from, to map[int32]record.Offset, drop func(record.Offset) bool) {
	w.tb.Helper()
	var buf bytes.Buffer
	tw := tableflow.NewWriter(&buf, tableflow.WriterConfig{RowGroupRows: w.groupRows})
	var indexes []int32
	for i := range to {
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	for _, i := range indexes {
		if err := tw.StartPartition(i); err != nil {
			w.tb.Fatal(err)
		}
		w.produced[i] = slices.DeleteFunc(w.produced[i], func(r record.Record) bool {
			return drop != nil && r.Offset >= from[i] && r.Offset < to[i] && drop(r.Offset)
		})
		for _, r := range w.produced[i] {
			if r.Offset >= from[i] && r.Offset < to[i] {
				if err := tw.Append(&r); err != nil {
					w.tb.Fatal(err)
				}
			}
		}
	}
	stats, err := tw.Close()
	if err != nil {
		w.tb.Fatal(err)
	}
	if _, err := w.store.Create(context.Background(), key, buf.Bytes()); err != nil {
		w.tb.Fatal(err)
	}
	f := metadata.NewFile{Topic: w.topic, Key: key, Size: record.Len(buf.Len()), Rows: stats.Rows}
	for _, p := range stats.Parts {
		f.Parts = append(f.Parts, metadata.FilePart{
			Partition: p.Partition, Base: from[p.Partition], End: to[p.Partition], RowGroup: p.RowGroup, RowGroups: p.RowGroups, Rows: p.Rows, MaxTimestamp: p.MaxTimestamp,
		})
	}
	claim := apply[metadata.ClaimJobResult](w, metadata.ClaimJob{Session: w.session, Topics: []record.TopicID{w.topic}, Outputs: []string{key}})
	if claim.Err != nil {
		w.tb.Fatal(claim.Err)
	}
	if res := apply[metadata.ReplaceResult](w, metadata.Replace{Job: claim.Job, Files: []metadata.NewFile{f}}); res.Err != nil {
		w.tb.Fatal(res.Err)
	}
}

func (w *world) reader(change func(*Config)) *Reader {
	w.tb.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	r, err := New(cfg, w.view, w.store, OpenParquet, slog.New(slog.DiscardHandler))
	if err != nil {
		w.tb.Fatal(err)
	}
	return r
}

// one asks for one partition without waiting.
func (w *world) one(r *Reader, index int32, from record.Offset, maxBytes int) PartitionResponse {
	w.tb.Helper()
	got := r.Fetch(w.tb.Context(), Request{MinBytes: 1, MaxBytes: 1 << 30, Partitions: []PartitionRequest{{w.part(index), from, maxBytes}}})
	if len(got.Partitions) != 1 {
		w.tb.Fatalf("%d partitions in the response, want 1", len(got.Partitions))
	}
	return got.Partitions[0]
}

// batches parses a response: every batch whole, with its own CRC, and the sizes as told.
func batches(tb testing.TB, p PartitionResponse) []record.Batch {
	tb.Helper()
	if len(p.Chunks)%2 != 0 {
		tb.Fatalf("%d chunks, want two a batch", len(p.Chunks))
	}
	var list []record.Batch
	size := 0
	for i := 0; i < len(p.Chunks); i += 2 {
		raw := slices.Concat(p.Chunks[i], p.Chunks[i+1])
		size += len(raw)
		b, err := record.Parse(raw)
		if err != nil {
			tb.Fatal(err)
		}
		if len(p.Chunks[i]) != record.PatchLen || int(b.Len()) != len(raw) || b.LeaderEpoch() != 0 {
			tb.Fatalf("chunks of %d and %d bytes, batch of %d, epoch %d", len(p.Chunks[i]), len(p.Chunks[i+1]), b.Len(), b.LeaderEpoch())
		}
		if len(list) > 0 && list[len(list)-1].LastOffset()+1 != b.BaseOffset() {
			tb.Fatalf("batch at %d follows one that ends at %d", b.BaseOffset(), list[len(list)-1].LastOffset())
		}
		list = append(list, b)
	}
	if size != p.Size {
		tb.Fatalf("Size is %d, chunks have %d bytes", p.Size, size)
	}
	return list
}

// consume reads a partition from an offset to its end as a client does, and returns the records and how many fetches it took.
func (w *world) consume(r *Reader, index int32, from record.Offset, maxBytes int) (records []record.Record, fetches int) {
	w.tb.Helper()
	for at := from; ; fetches++ {
		p := w.one(r, index, at, maxBytes)
		if p.Err != nil {
			w.tb.Fatalf("offset %d: %v", at, p.Err)
		}
		list := batches(w.tb, p)
		if len(list) == 0 {
			if at != p.Bounds.HighWatermark {
				w.tb.Fatalf("nothing at offset %d, high watermark is %d", at, p.Bounds.HighWatermark)
			}
			return records, fetches
		}
		if list[0].BaseOffset() > at || list[0].LastOffset() < at {
			w.tb.Fatalf("first batch holds offsets %d to %d, not %d", list[0].BaseOffset(), list[0].LastOffset(), at)
		}
		for _, b := range list {
			all, err := b.Decode(record.DefaultLimits(), nil)
			if err != nil {
				w.tb.Fatal(err)
			}
			for _, rec := range all {
				if rec.Offset >= at {
					records = append(records, rec)
				}
			}
			at = b.LastOffset() + 1
		}
	}
}

func (w *world) wantConsumed(r *Reader, index int32, from record.Offset, maxBytes int) {
	w.tb.Helper()
	got, _ := w.consume(r, index, from, maxBytes)
	var want []record.Record
	for _, rec := range w.produced[index] {
		if rec.Offset >= from {
			want = append(want, rec)
		}
	}
	if len(got) != len(want) {
		w.tb.Fatalf("partition %d from %d: %d records, want %d", index, from, len(got), len(want))
	}
	for i := range got {
		if !same(got[i], want[i]) {
			w.tb.Fatalf("partition %d from %d, record %d: %+v, want %+v", index, from, i, got[i], want[i])
		}
	}
}

func same(a, b record.Record) bool {
	eq := func(x, y []byte) bool { return bytes.Equal(x, y) && (x == nil) == (y == nil) }
	return a.Offset == b.Offset && a.Timestamp == b.Timestamp && a.TimestampType == b.TimestampType && eq(a.Key, b.Key) && eq(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y record.Header) bool { return x.Key == y.Key && eq(x.Value, y.Value) })
}
