package fetch

import (
	"bytes"
	"slices"
	"testing"

	"github.com/bargedata/barge/record"
)

// librdkafka refuses responses of more than receive.message.max.bytes, 100,000,000 by default.
const receiveLimit = 100_000_000

func TestLargeRecordsThatCameSmallGoOutSmall(t *testing.T) {
	w := newWorld(t, 1)
	large := func() record.Record {
		return record.Record{Offset: w.next[0], Timestamp: 5, Key: []byte("large"), Value: bytes.Repeat([]byte("105 MiB "), 105<<20/8)}
	}
	list := []record.Batch{w.batch(0, record.Zstd, 3, 10)}
	list = append(list, w.batchOf(0, record.Zstd, []record.Record{large()})) // at offset 3
	list = append(list, w.batch(0, record.Zstd, 3, 10))
	w.commit(map[int32][]record.Batch{0: list})
	w.compact("tables/t/_data/1", nil, map[int32]record.Offset{0: w.next[0]}, func(o record.Offset) bool { return o == 4 })
	r := w.reader(nil)
	for _, from := range []record.Offset{0, 3} {
		w.wantConsumed(r, 0, from, 1<<20)
	}
	p := w.one(r, 0, 3, 1<<20)
	if p.Err != nil || p.Size == 0 || p.Size > receiveLimit {
		t.Fatalf("%d bytes, %v", p.Size, p.Err)
	}
	b := batches(t, p)[0]
	if b.Codec() != record.Gzip || b.Records() != 1 || b.BaseOffset() != 3 || b.LastOffset() != 4 {
		t.Errorf("batch of %d records, offsets %d to %d, codec %s", b.Records(), b.BaseOffset(), b.LastOffset(), b.Codec())
	}
	// The others are cheap to read as they are.
	if b := batches(t, w.one(r, 0, 0, 1<<20))[0]; b.Codec() != record.None || b.LastOffset() != 2 {
		t.Errorf("batch before: offsets to %d, codec %s", b.LastOffset(), b.Codec())
	}
}

// With a batch target above it, too, a large record has its own batch.
func TestLargeRecordsStandAlone(t *testing.T) {
	value := bytes.Repeat([]byte("v"), largeRecord)
	re := newRebuild(0, 6, 1<<30, 1<<30, false)
	for o := range record.Offset(6) {
		rec := record.Record{Offset: o, Value: []byte("small")}
		if o == 2 || o == 3 {
			rec.Value = value
		}
		if !re.add(&rec) {
			t.Fatal(re.err)
		}
	}
	if err := re.finish(); err != nil {
		t.Fatal(err)
	}
	var got []record.Codec
	var records []int32
	for _, b := range re.batches {
		got, records = append(got, b.batch.Codec()), append(records, b.batch.Records())
	}
	if want := []record.Codec{record.None, record.Gzip, record.Gzip, record.None}; !slices.Equal(got, want) || !slices.Equal(records, []int32{2, 1, 1, 2}) {
		t.Errorf("batches of %d records, codecs %s", records, got)
	}
}
