package record

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// golden compares got with testdata/name, or writes it there with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes differ from the golden %d: the format changed", path, len(got), len(want))
	}
}

// oddRecords are records with everything that is easily lost: null and empty told apart, repeated headers, odd bytes.
func oddRecords(base Offset) []Record {
	records := []Record{
		{Key: []byte("k"), Value: []byte("v")},
		{Key: nil, Value: nil},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte{0, 0xff, '\n', '\r'}, Value: bytes.Repeat([]byte("abc "), 500), Timestamp: 5},
		{Value: []byte("h"), Headers: []Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}}}},
		{Value: []byte("h"), Headers: []Header{{Key: "a", Value: []byte("2")}, {Key: "\xff\xfe", Value: []byte{0}}}, Timestamp: -7},
	}
	for i := range records {
		records[i].Offset = base + Offset(i)
		records[i].Timestamp += 1_700_000_000_000
	}
	return records
}

func build(tb testing.TB, codec Codec, records ...Record) Batch {
	tb.Helper()
	b := NewBuilder(codec)
	b.Reset(records[0].Offset)
	for i := range records {
		if err := b.Append(&records[i]); err != nil {
			tb.Fatal(err)
		}
	}
	raw, err := b.Build(nil)
	if err != nil {
		tb.Fatal(err)
	}
	batch, err := Parse(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return batch
}

// seal makes a batch of a payload as it is, with a header that fits.
func seal(codec Codec, count int32, payload []byte) []byte {
	b := kmsg.NewRecordBatch()
	b.Magic, b.Attributes = 2, int16(codec)
	b.PartitionLeaderEpoch, b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1, -1
	b.LastOffsetDelta, b.NumRecords, b.Records = count-1, count, payload
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[posLength:], uint32(len(raw)-lengthOverhead))
	binary.BigEndian.PutUint32(raw[posCRC:], Checksum(raw[posAttributes:]))
	return raw
}

func mustParse(tb testing.TB, raw []byte) Batch {
	tb.Helper()
	b, err := Parse(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// kmsgPayload encodes records with franz-go's encoder.
func kmsgPayload(records []Record) []byte {
	var p []byte
	for i, r := range records {
		k := kmsg.Record{OffsetDelta: int32(i), TimestampDelta64: r.Timestamp, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			k.Headers = append(k.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
		}
		k.Length = int32(len(k.AppendTo(nil)) - 1) // the length of a zero Length is one byte
		p = k.AppendTo(p)
	}
	return p
}

// kgoCompress compresses as franz-go's producer does.
func kgoCompress(tb testing.TB, codec Codec, p []byte) []byte {
	tb.Helper()
	if codec == None {
		return p
	}
	c, err := kgo.DefaultCompressor(map[Codec]kgo.CompressionCodec{
		Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(), LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression(),
	}[codec])
	if err != nil {
		tb.Fatal(err)
	}
	out, got := c.Compress(new(bytes.Buffer), p)
	if int8(got) != int8(codec) {
		tb.Fatalf("kgo compressed with %v, want %v", got, codec)
	}
	return slices.Clone(out)
}

func sameRecord(a, b Record) error {
	same := func(x, y []byte) bool { return bytes.Equal(x, y) && (x == nil) == (y == nil) }
	switch {
	case a.Offset != b.Offset, a.Timestamp != b.Timestamp, a.TimestampType != b.TimestampType:
		return fmt.Errorf("offset, timestamp, type: %d %d %d, want %d %d %d", a.Offset, a.Timestamp, a.TimestampType, b.Offset, b.Timestamp, b.TimestampType)
	case !same(a.Key, b.Key):
		return fmt.Errorf("key %q, want %q", a.Key, b.Key)
	case !same(a.Value, b.Value):
		return fmt.Errorf("value of %d bytes, want %d", len(a.Value), len(b.Value))
	case !slices.EqualFunc(a.Headers, b.Headers, func(x, y Header) bool { return x.Key == y.Key && same(x.Value, y.Value) }):
		return fmt.Errorf("headers %q, want %q", a.Headers, b.Headers)
	}
	return nil
}

func wantRecords(tb testing.TB, got, want []Record) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if err := sameRecord(got[i], want[i]); err != nil {
			tb.Errorf("record %d: %v", i, err)
		}
	}
}

// allocated is how many bytes f allocates, freed ones included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func random(seed uint64, n int) []byte {
	p := make([]byte, n)
	c := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = c.Read(p)
	return p
}

// text is compressible: words out of a small set.
func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	p := make([]byte, 0, n+16)
	for len(p) < n {
		p = fmt.Appendf(p, "level=%d msg=%d ", r.IntN(5), r.IntN(2000))
	}
	return p[:n]
}
