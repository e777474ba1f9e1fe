package tableflow

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"github.com/bargedata/barge/record"
)

// I10: what a consumer reads from Parquet equals what the producer sent.
func TestRecordsComeBackAsTheyWereSent(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 7))
		cfg := WriterConfig{RowGroupRows: 1 + rng.IntN(700), PageBytes: 1 << (6 + rng.IntN(10))}
		var parts []rows
		for p := range int32(1 + rng.IntN(4)) {
			parts = append(parts, rows{p * 3, oddRecords(rng, rng.IntN(900), record.Offset(rng.IntN(1000)))})
		}
		body, stats := writeFile(t, cfg, parts...)
		f, _ := openFile(t, body)
		if f.Rows() != stats.Rows {
			t.Fatalf("seed %d: %d rows, stats say %d", seed, f.Rows(), stats.Rows)
		}
		i := 0
		for _, p := range parts {
			if len(p.records) == 0 {
				continue
			}
			part := stats.Parts[i]
			i++
			if part.Partition != p.partition || part.Rows != int64(len(p.records)) || part.Base != p.records[0].Offset ||
				part.Last != p.records[len(p.records)-1].Offset {
				t.Fatalf("seed %d: part %+v for partition %d with %d rows", seed, part, p.partition, len(p.records))
			}
			if d := diff(p.records, readPart(t, f, part, 0)); d != "" {
				t.Fatalf("seed %d partition %d: %s", seed, p.partition, d)
			}
			for range 5 {
				from := part.Base + record.Offset(rng.Int64N(int64(part.Last-part.Base)+3)) - 1
				want := p.records
				for len(want) > 0 && want[0].Offset < from {
					want = want[1:]
				}
				if d := diff(want, readPart(t, f, part, from)); d != "" {
					t.Fatalf("seed %d partition %d from %d: %s", seed, p.partition, from, d)
				}
			}
		}
	}
}

func TestLargeValuesComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	big := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abcdefgh"[rng.IntN(8)]
		}
		return b
	}
	recs := oddRecords(rng, 50, 0)
	recs[3].Value = big(10 << 20)
	recs[4].Key = big(10 << 20)
	recs[5].Value = append(big(10<<20), 0xff)
	recs[6].Headers = []record.Header{{Key: string(big(1 << 20)), Value: big(10 << 20)}, {Key: "\xff", Value: big(1 << 20)}}
	recs[7].Headers = make([]record.Header, maxHeaders)
	recs[8].Headers = make([]record.Header, maxHeaders+1)
	body, stats := writeFile(t, WriterConfig{}, rows{0, recs})
	f, _ := openFile(t, body)
	if d := diff(recs, readPart(t, f, stats.Parts[0], 0)); d != "" {
		t.Fatal(d)
	}
	if got := readPart(t, f, stats.Parts[0], recs[5].Offset); len(got) != 45 {
		t.Fatalf("%d rows from the sixth on", len(got))
	}
}

func TestRowGroupsAreBoundedByBytes(t *testing.T) {
	recs := logRecords(rand.New(rand.NewPCG(1, 1)), 5000, 0)
	_, stats := writeFile(t, WriterConfig{RowGroupBytes: 256 << 10}, rows{0, recs}, rows{1, recs[:10]})
	if n := stats.Parts[0].RowGroups; n < 5 || n > 9 {
		t.Fatalf("%d row groups for about %d bytes", n, stats.RawBytes)
	}
	if p := stats.Parts[1]; p.RowGroup != stats.Parts[0].RowGroups || p.RowGroups != 1 {
		t.Fatalf("second partition %+v after %+v", p, stats.Parts[0])
	}
}

func TestReadingFromAnOffsetReadsLittle(t *testing.T) {
	recs := logRecords(rand.New(rand.NewPCG(1, 1)), 60_000, 0)
	body, stats := writeFile(t, WriterConfig{}, rows{0, recs})
	f, src := openFile(t, body)
	if len(src.gets) > 2 {
		t.Fatalf("%d reads to open", len(src.gets))
	}
	src.gets = nil
	n := 0
	err := f.Records(context.Background(), stats.Parts[0].RowGroup, stats.Parts[0].RowGroups, 30_000, func(r *record.Record) bool {
		if r.Offset != record.Offset(30_000+n) {
			t.Fatalf("offset %d", r.Offset)
		}
		n++
		return n < 1000
	})
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, g := range src.gets {
		total += g
	}
	t.Logf("file %d bytes: %d reads of %v bytes for 1000 rows", len(body), len(src.gets), src.gets)
	if len(src.gets) > 5 || total > int64(len(body))/2 {
		t.Fatalf("%d reads, %d bytes of a file of %d", len(src.gets), total, len(body))
	}
}

func TestWriterRefusesRowsOutOfOrder(t *testing.T) {
	for name, do := range map[string]func(w *Writer) error{
		"offset twice":       func(w *Writer) error { return w.Append(&record.Record{Offset: 5}) },
		"partition twice":    func(w *Writer) error { return w.StartPartition(2) },
		"partition backward": func(w *Writer) error { return w.StartPartition(1) },
	} {
		w := NewWriter(&bytes.Buffer{}, WriterConfig{})
		if err := errors.Join(w.StartPartition(2), w.Append(&record.Record{Offset: 5})); err != nil {
			t.Fatal(err)
		}
		if err := do(w); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.Close(); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: close after it: %v", name, err)
		}
	}
	if err := NewWriter(&bytes.Buffer{}, WriterConfig{}).Append(&record.Record{}); !errors.Is(err, ErrOrder) {
		t.Errorf("row without partition: %v", err)
	}
}

func TestEmptyFileIsLegal(t *testing.T) {
	body, stats := writeFile(t, WriterConfig{}, rows{3, nil})
	f, _ := openFile(t, body)
	if f.Rows() != 0 || f.RowGroups() != 0 || len(stats.Parts) != 0 {
		t.Fatalf("%d rows, %d row groups, parts %v", f.Rows(), f.RowGroups(), stats.Parts)
	}
}

func TestHeadShowsTheVisibleColumns(t *testing.T) {
	recs := []record.Record{
		{Offset: 4, Timestamp: 5, Key: []byte("k"), Headers: []record.Header{{Key: "h", Value: nil}}},
		{Offset: 6, Timestamp: 1 << 62},
	}
	body, _ := writeFile(t, WriterConfig{}, rows{1, recs}, rows{2, recs})
	f, _ := openFile(t, body)
	got, err := f.Head(context.Background(), 3)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d rows, %v", len(got), err)
	}
	if got[0].Partition != 1 || got[2].Partition != 2 || got[1].Error == "" || got[0].Error != "" || got[0].SchemaID != nil {
		t.Fatalf("%+v", got)
	}
	if d := diff(append(recs, recs[0]), []record.Record{got[0].Record, got[1].Record, got[2].Record}); d != "" {
		t.Fatal(d)
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	recs := oddRecords(rng, 400, 0)
	body, stats := writeFile(t, WriterConfig{RowGroupRows: 150, PageBytes: 4 << 10}, rows{0, recs})
	read := func(b []byte) ([]record.Record, error) {
		f, err := OpenFile(context.Background(), &memory{body: b}, "k", int64(len(b)))
		if err != nil {
			return nil, err
		}
		var got []record.Record
		err = f.Records(context.Background(), 0, f.RowGroups(), 0, func(r *record.Record) bool {
			got = append(got, clone(r))
			return true
		})
		return got, err
	}
	for cut := 0; cut < len(body); cut += 1 + len(body)/200 {
		if _, err := read(body[:cut]); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	dataEnd := int64(0)
	f, _ := openFile(t, body)
	for _, g := range f.groups {
		for _, c := range g.chunks {
			last := c.pages[len(c.pages)-1]
			dataEnd = max(dataEnd, last.pos+last.len)
		}
	}
	// Every page has a checksum: a flipped bit in the data is either seen or lies in a column that is not read.
	for range 500 {
		b := bytes.Clone(body)
		pos := rng.Int64N(dataEnd)
		b[pos] ^= 1 << rng.IntN(8)
		got, err := read(b)
		if err == nil {
			if d := diff(recs, got); d != "" {
				t.Fatalf("bit flipped at %d goes unseen: %s", pos, d)
			}
		}
	}
	for range 2000 { // the tail: errors or not, but no panic
		b := bytes.Clone(body)
		b[dataEnd+rng.Int64N(int64(len(b))-dataEnd)] ^= byte(1 + rng.IntN(255))
		_, _ = read(b)
	}
	_ = stats
}

// manyHeaders are rows of as many empty headers as columns take: 131 KB each in a batch that compresses to 25 bytes a row.
func manyHeaders(n int) []record.Record {
	recs := make([]record.Record, n)
	headers := make([]record.Header, maxHeaders)
	for i := range recs {
		recs[i] = record.Record{Offset: record.Offset(i), Headers: headers}
	}
	return recs
}

func TestHeadersCountAsBytesOfTheBatchAndTheRowGroup(t *testing.T) {
	recs := manyHeaders(60)
	w := NewWriter(&bytes.Buffer{}, WriterConfig{RowGroupBytes: 16 << 20})
	if err := w.StartPartition(0); err != nil {
		t.Fatal(err)
	}
	for i := range recs {
		if err := w.Append(&recs[i]); err != nil {
			t.Fatal(err)
		}
	}
	held := 0
	for i := range w.cols {
		held += cap(w.cols[i].values) * int(unsafe.Sizeof(parquet.Value{}))
	}
	if held > 8<<20 {
		t.Errorf("the pending batch takes %d bytes", held)
	}
	stats, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if n := stats.Parts[0].RowGroups; n != 10 { // 6 rows of 3 MiB pass 16 MiB
		t.Errorf("%d row groups", n)
	}
	if stats.RawBytes != 0 {
		t.Errorf("%d raw bytes, the headers have none", stats.RawBytes)
	}
}

// A consumer that reads a few rows a fetch must not decode a page of many others every time.
func TestPagesOfHeadersEndBySize(t *testing.T) {
	few := logRecords(rand.New(rand.NewPCG(3, 3)), 20_000, 0)
	for i := range few {
		few[i].Headers = make([]record.Header, 9)
	}
	for name, recs := range map[string][]record.Record{"65536 headers": manyHeaders(60), "9 headers": few} {
		body, stats := writeFile(t, WriterConfig{}, rows{0, recs})
		f, _ := openFile(t, body)
		headers := int64(len(recs[0].Headers))
		for i := range f.groups {
			g := &f.groups[i]
			for _, col := range []int{colHeaderKey, colHeaderValue} {
				for j := range g.chunks[col].pages {
					if n := g.pageRows(&g.chunks[col], j); n > 1 && n*headers > 30_000 {
						t.Fatalf("%s: row group %d, column %d, page %d has %d rows, %d headers", name, i, col, j, n, n*headers)
					}
				}
			}
		}
		begin := time.Now()
		for i := range len(recs) / (len(recs) / 60) {
			at := i * (len(recs) / 60)
			err := f.Records(context.Background(), 0, stats.Parts[0].RowGroups, recs[at].Offset, func(r *record.Record) bool {
				if d := diff(recs[at:at+1], []record.Record{*r}); d != "" {
					t.Fatal(d)
				}
				return false
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: %d row groups, %d bytes, 60 reads of a row took %s", name, f.RowGroups(), len(body), time.Since(begin))
	}
}

// Every file that the writer finishes opens again.
func TestRowGroupsAreBoundedByWhatOpens(t *testing.T) {
	write := func(groups int) (*bytes.Buffer, error) {
		var out bytes.Buffer
		w := NewWriter(&out, WriterConfig{PageBytes: 64})
		for i := range groups {
			if err := w.StartPartition(int32(i)); err != nil {
				return nil, err
			}
			for row := range 3 { // a page each, with values and nulls
				err := w.Append(&record.Record{
					Offset: record.Offset(row), Timestamp: int64(row), Key: fmt.Appendf(nil, "key %d", i), Value: bytes.Repeat([]byte("v"), 70),
					Headers: []record.Header{{Key: fmt.Sprint(row), Value: []byte("0123456789")}, {Key: "null"}},
				})
				if err = errors.Join(err, w.flushBatch()); err != nil {
					return nil, err
				}
			}
		}
		_, err := w.Close()
		return &out, err
	}
	out, err := write(MaxRowGroups)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := openFile(t, out.Bytes())
	if f.RowGroups() != MaxRowGroups {
		t.Fatalf("%d row groups", f.RowGroups())
	}
	got := readPart(t, f, Part{RowGroup: MaxRowGroups - 1, RowGroups: 1}, 0)
	if len(got) != 3 || string(got[2].Key) != fmt.Sprintf("key %d", MaxRowGroups-1) {
		t.Fatalf("last row group: %+v", got)
	}
	body := out.Bytes()
	footer := body[len(body)-8-int(binary.LittleEndian.Uint32(body[len(body)-8:])) : len(body)-8]
	g := thriftGuard{buf: footer}
	if err := g.structure(0); err != nil {
		t.Fatal(err)
	}
	t.Logf("footer: %d bytes of %d, %d structs of %d", len(footer), maxFooter, g.structs, maxStructs)
	if len(footer) > maxFooter*9/10 || g.structs > maxStructs*9/10 {
		t.Errorf("too near the guard's limits")
	}

	if _, err := write(MaxRowGroups + 1); !errors.Is(err, ErrTooManyRowGroups) {
		t.Fatalf("one row group more: %v", err)
	}
}

// Whatever a footer is too large for, it is not written.
func TestTailThatCouldNotBeReadIsNotWritten(t *testing.T) {
	var structs []byte // a list of more structs than the guard lets pass, all empty
	structs = binary.AppendUvarint(append(structs, 0x19, 0xfc), maxStructs+1)
	structs = append(structs, make([]byte, maxStructs+2)...)
	for name, err := range map[string]error{
		"footer":     checkTail(make([]byte, maxFooter+1), 0),
		"page index": checkTail([]byte{0}, 2*maxFooter),
		"structs":    checkTail(structs, 0),
	} {
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkTail([]byte{0}, maxFooter); err != nil {
		t.Error(err)
	}
}

func TestTimestampsThatEnginesCanNotNameAreMisfits(t *testing.T) {
	stamps := []int64{firstMilli, lastMilli, firstMilli - 1, lastMilli + 1, math.MaxInt64/1000 + 1}
	if a, b := time.UnixMilli(firstMilli).UTC(), time.UnixMilli(lastMilli+1).UTC(); a != time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC) || b != time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) {
		t.Fatalf("years from %s to before %s", a, b)
	}
	recs := make([]record.Record, len(stamps))
	for i, ms := range stamps {
		recs[i] = record.Record{Offset: record.Offset(i), Timestamp: ms}
	}
	body, stats := writeFile(t, WriterConfig{}, rows{0, recs})
	if stats.Misfits != 3 {
		t.Errorf("%d misfits", stats.Misfits)
	}
	f, _ := openFile(t, body)
	if d := diff(recs, readPart(t, f, stats.Parts[0], 0)); d != "" {
		t.Error(d)
	}
	for i, row := range readWithLibrary(t, body) {
		misfit := i >= 2
		if (row.Timestamp == nil) != misfit || (row.TimestampMs == nil) == misfit || (row.Error == nil) == misfit {
			t.Errorf("row %d: %+v", i, row)
		}
	}
}

// Scans lend each other their buffers, one after the other and never at once.
func TestScansThatOverlapReadTheirOwnRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	a, b := oddRecords(rng, 300, 0), oddRecords(rng, 300, 0)
	bodyA, statsA := writeFile(t, WriterConfig{}, rows{0, a})
	bodyB, statsB := writeFile(t, WriterConfig{}, rows{0, b})
	fileA, _ := openFile(t, bodyA)
	fileB, _ := openFile(t, bodyB)
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			i := 0
			err := fileA.Records(context.Background(), 0, statsA.Parts[0].RowGroups, 0, func(r *record.Record) bool {
				if i%50 == 0 {
					if d := diff(b, readPart(t, fileB, statsB.Parts[0], 0)); d != "" {
						t.Error(d)
					}
				}
				if d := diff(a[i:i+1], []record.Record{*r}); d != "" {
					t.Error(d)
				}
				i++
				return true
			})
			if err != nil || i != len(a) {
				t.Errorf("%d rows, %v", i, err)
			}
		})
	}
	g.Wait()
}

func TestSeeksTakeLittleMemory(t *testing.T) {
	body, stats := writeFile(t, WriterConfig{}, rows{0, logRecords(rand.New(rand.NewPCG(1, 1)), 20_000, 0)})
	f, src := openFile(t, body)
	const seeks = 40
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read := int64(0)
	for i := range seeks {
		err := f.Records(context.Background(), 0, stats.Parts[0].RowGroups, record.Offset(i), func(*record.Record) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	for _, n := range src.gets {
		read += n
	}
	took := (int64(after.TotalAlloc-before.TotalAlloc) - read) / seeks
	t.Logf("%d bytes a seek beside what is read from the store", took)
	if took > 600<<10 {
		t.Errorf("%d bytes a seek beside what is read from the store", took)
	}
}
