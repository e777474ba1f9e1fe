package tableflow

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/bargedata/barge/record"
)

// memory is a store with one object, which notes the ranges read.
type memory struct {
	body []byte
	mu   sync.Mutex
	gets []int64 // lengths
}

func (m *memory) GetRange(_ context.Context, key string, pos, length int64) ([]byte, error) {
	m.mu.Lock()
	m.gets = append(m.gets, length)
	m.mu.Unlock()
	if pos < 0 || length < 0 || pos+length > int64(len(m.body)) {
		return nil, fmt.Errorf("get %s %d+%d: %w", key, pos, length, io.ErrUnexpectedEOF)
	}
	return bytes.Clone(m.body[pos : pos+length]), nil
}

// rows are the records of one partition.
type rows struct {
	partition int32
	records   []record.Record
}

func writeFile(tb testing.TB, cfg WriterConfig, parts ...rows) ([]byte, FileStats) {
	tb.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, cfg)
	scratch := make([]byte, 0, 64)
	for _, p := range parts {
		if err := w.StartPartition(p.partition); err != nil {
			tb.Fatal(err)
		}
		for i := range p.records {
			// The writer promises not to keep the record's bytes: spoil them after the call.
			r := p.records[i]
			r.Value, scratch = copyInto(scratch[:0], r.Value)
			if err := w.Append(&r); err != nil {
				tb.Fatal(err)
			}
			for j := range scratch {
				scratch[j] = 0xEE
			}
		}
	}
	stats, err := w.Close()
	if err != nil {
		tb.Fatal(err)
	}
	if stats.Size != int64(out.Len()) {
		tb.Fatalf("stats say %d bytes, wrote %d", stats.Size, out.Len())
	}
	return out.Bytes(), stats
}

func copyInto(buf, b []byte) (c, scratch []byte) {
	if b == nil {
		return nil, buf
	}
	buf = append(buf, b...)
	return buf[:len(b):len(b)], buf
}

func openFile(tb testing.TB, body []byte) (*File, *memory) {
	tb.Helper()
	src := &memory{body: body}
	f, err := OpenFile(context.Background(), src, "k", int64(len(body)))
	if err != nil {
		tb.Fatal(err)
	}
	return f, src
}

func readPart(tb testing.TB, f *File, p Part, from record.Offset) []record.Record {
	tb.Helper()
	var got []record.Record
	err := f.Records(context.Background(), p.RowGroup, p.RowGroups, from, func(r *record.Record) bool {
		got = append(got, clone(r))
		return true
	})
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

// diff names the first difference between two lists of records, "" if there is none.
func diff(want, got []record.Record) string {
	for i := range min(len(want), len(got)) {
		w, g := &want[i], &got[i]
		if w.Offset != g.Offset || w.Timestamp != g.Timestamp || w.TimestampType != g.TimestampType {
			return fmt.Sprintf("row %d: want offset %d time %d type %d, got %d %d %d", i, w.Offset, w.Timestamp, w.TimestampType, g.Offset, g.Timestamp, g.TimestampType)
		}
		if !same(w.Key, g.Key) {
			return fmt.Sprintf("row %d: want key %.80q (nil %v), got %.80q (nil %v)", i, w.Key, w.Key == nil, g.Key, g.Key == nil)
		}
		if !same(w.Value, g.Value) {
			return fmt.Sprintf("row %d: want value %.80q (nil %v), got %.80q (nil %v)", i, w.Value, w.Value == nil, g.Value, g.Value == nil)
		}
		if len(w.Headers) != len(g.Headers) {
			return fmt.Sprintf("row %d: want %d headers, got %d", i, len(w.Headers), len(g.Headers))
		}
		for j := range w.Headers {
			if w.Headers[j].Key != g.Headers[j].Key || !same(w.Headers[j].Value, g.Headers[j].Value) {
				return fmt.Sprintf("row %d header %d: want %.80q=%.80q, got %.80q=%.80q", i, j, w.Headers[j].Key, w.Headers[j].Value, g.Headers[j].Key, g.Headers[j].Value)
			}
		}
	}
	if len(want) != len(got) {
		return fmt.Sprintf("want %d rows, got %d", len(want), len(got))
	}
	return ""
}

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// oddRecords makes n records that try every corner, with ascending offsets from base.
func oddRecords(rng *rand.Rand, n int, base record.Offset) []record.Record {
	recs := make([]record.Record, n)
	offset := base
	for i := range recs {
		offset += record.Offset(1 + rng.IntN(3)*rng.IntN(2))
		r := &recs[i]
		r.Offset = offset
		r.Timestamp = oddTimestamp(rng)
		r.TimestampType = record.TimestampType(rng.IntN(2))
		r.Key, r.Value = oddBytes(rng), oddBytes(rng)
		for range rng.IntN(2) * rng.IntN(6) {
			r.Headers = append(r.Headers, record.Header{Key: string(oddBytes(rng)), Value: oddBytes(rng)})
		}
		if rng.IntN(4) > 0 { // mostly headers that a STRING can hold
			for j := range r.Headers {
				r.Headers[j].Key = fmt.Sprintf("h%d", rng.IntN(3))
			}
		}
	}
	return recs
}

func oddTimestamp(rng *rand.Rand) int64 {
	switch rng.IntN(10) {
	case 0:
		return -1
	case 5:
		return firstMilli - rng.Int64N(2)
	case 6:
		return lastMilli + rng.Int64N(2)
	case 1:
		return math.MaxInt64
	case 2:
		return math.MinInt64
	case 3:
		return math.MaxInt64 / 1000
	case 4:
		return -rng.Int64N(1 << 45)
	default:
		return 1_700_000_000_000 + rng.Int64N(1<<30)
	}
}

func oddBytes(rng *rand.Rand) []byte {
	switch rng.IntN(9) {
	case 0:
		return nil
	case 7:
		return append(bytes.Repeat([]byte(topChar), 30+rng.IntN(40)), "tail"[:rng.IntN(5)]...)
	case 1:
		return []byte{}
	case 2:
		return []byte("nul\x00inside\x00")
	case 3:
		return []byte{0xff, 0xfe, byte(rng.IntN(256))}
	case 4:
		return []byte("\xed\xa0\x80 surrogate")
	case 5:
		return []byte("Grüße \U0001F6A2 ")
	case 6:
		b := make([]byte, rng.IntN(2000))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	default:
		return fmt.Appendf(nil, `{"n":%d}`, rng.IntN(100))
	}
}

// logRecords makes n records that look like JSON logs of some 300 bytes.
func logRecords(rng *rand.Rand, n int, base record.Offset) []record.Record {
	recs := make([]record.Record, n)
	for i := range recs {
		ts := int64(1_700_000_000_000 + i*3)
		recs[i] = record.Record{
			Offset: base + record.Offset(i), Timestamp: ts, Key: fmt.Appendf(nil, "user-%d", rng.IntN(10_000)),
			Value: fmt.Appendf(nil, `{"time":%d,"level":"%s","service":"checkout-%d","trace":"%016x%016x","msg":"request %d for cart %d finished","path":"/api/v1/carts/%d/items","status":%d,"bytes":%d,"ms":%.3f,"agent":"Mozilla/5.0 (X11; Linux x86_64)"}`,
				ts, []string{"info", "warn", "error"}[rng.IntN(3)], rng.IntN(20), rng.Uint64(), rng.Uint64(), i, rng.IntN(1e6), rng.IntN(1e6), 200+rng.IntN(4)*100, rng.IntN(1e5), rng.Float64()*100),
		}
		if i%2 == 0 {
			recs[i].Headers = []record.Header{{Key: "source", Value: []byte("web")}}
		}
	}
	return recs
}
