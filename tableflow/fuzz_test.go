package tableflow

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/bargedata/barge/record"
)

// FuzzOpenFile: bytes of any kind give records or an error, no panic, and take no more memory than the file is worth.
func FuzzOpenFile(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 5))
	small, _ := writeFile(f, WriterConfig{RowGroupRows: 3, PageBytes: 64}, rows{0, oddRecords(rng, 7, 0)}, rows{2, oddRecords(rng, 4, 9)})
	logs, _ := writeFile(f, WriterConfig{PageBytes: 512}, rows{0, logRecords(rng, 40, 0)})
	empty, _ := writeFile(f, WriterConfig{})
	for _, seed := range [][]byte{small, logs, empty, small[:len(small)/2], []byte("PAR1PAR1"), nil} {
		f.Add(seed)
	}
	// A footer that claims a list of 2^31 row groups.
	lie := []byte{0x15, 2, 0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07}
	f.Add(append(binary.LittleEndian.AppendUint32(append([]byte(magic), lie...), uint32(len(lie))), magic...))
	f.Fuzz(func(t *testing.T, body []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		file, err := OpenFile(context.Background(), &memory{body: body}, "k", int64(len(body)))
		if err == nil {
			last := record.Offset(-1)
			for i := range file.RowGroups() {
				last = -1
				_ = file.Records(context.Background(), i, 1, 0, func(r *record.Record) bool {
					if r.Offset <= last {
						t.Fatalf("offset %d after %d", r.Offset, last)
					}
					last = r.Offset
					return true
				})
			}
			_, _ = file.Head(context.Background(), 3)
			_ = file.Records(context.Background(), 0, file.RowGroups(), 5, func(*record.Record) bool { return true })
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 512<<20 {
			t.Fatalf("%d bytes took %d bytes of memory", len(body), took)
		}
	})
}

// The writer's bytes must be a legal file for a reader that shares no code with this package's.
func TestLibraryReadsTheSameColumns(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	recs := oddRecords(rng, 300, 0)
	body, _ := writeFile(t, WriterConfig{RowGroupRows: 70, PageBytes: 1 << 10}, rows{0, recs})
	table := readWithLibrary(t, body)
	if len(table) != len(recs) {
		t.Fatalf("%d rows, want %d", len(table), len(recs))
	}
	for i, r := range recs {
		got := table[i]
		if got.Offset != int64(r.Offset) || got.Partition != 0 || got.TimestampType != int32(r.TimestampType) {
			t.Fatalf("row %d: %+v", i, got)
		}
		if kind := got.ValueKind; (kind == kindNull) != (r.Value == nil) || (kind == kindRaw) != (got.RawValue != nil) || (kind == kindString) != (got.Value != nil) {
			t.Fatalf("row %d: kind %d, raw %v, string %v", i, kind, got.RawValue != nil, got.Value != nil)
		}
		if got.Value != nil && !bytes.Equal([]byte(*got.Value), r.Value) {
			t.Fatalf("row %d: value %q", i, *got.Value)
		}
		if got.RawKey != nil && !bytes.Equal(*got.RawKey, r.Key) {
			t.Fatalf("row %d: key %q", i, *got.RawKey)
		}
		if bad := headerProblem(r.Headers) != ""; bad != (got.RawHeaders != nil) || (!bad && len(got.Headers) != len(r.Headers)) {
			t.Fatalf("row %d: %d headers, raw %v", i, len(got.Headers), got.RawHeaders != nil)
		}
	}
}

// FuzzPage: a page whose header and checksum are right may still hold anything.
func FuzzPage(f *testing.F) {
	f.Add(uint8(colValue), uint16(2), uint16(2), false, []byte{2, 0, 0, 0, 4, 1, 1, 0, 0, 0, 'a', 0, 0, 0, 0}, []byte{})
	f.Add(uint8(colKey), uint16(3), uint16(3), true, []byte{2, 0, 0, 0, 6, 1, 1, 3, 0b101}, []byte{1, 0, 0, 0, 'a', 0, 0, 0, 0})
	f.Add(uint8(colHeaderKey), uint16(1), uint16(9), true, []byte{4, 0, 0, 0, 2, 0, 16, 1, 2, 0, 0, 0, 18, 2, 0}, []byte{0, 0, 0, 0})
	f.Add(uint8(colOffset), uint16(1), uint16(1), false, []byte{1, 2, 3, 4, 5, 6, 7, 8}, []byte{})
	f.Add(uint8(colTimestampType), uint16(8), uint16(8), true, []byte{1, 3, 0xff}, []byte{0, 0, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, col uint8, rows, values uint16, dict bool, body, dictionary []byte) {
		if rows == 0 {
			return
		}
		l := leaves()[int(col)%numColumns]
		data := format.PageHeader{Type: format.DataPage}
		data.DataPageHeader.V.NumValues, data.DataPageHeader.Valid = int32(values), true
		if dict {
			data.DataPageHeader.V.Encoding = format.RLEDictionary
		}
		head := format.PageHeader{Type: format.DictionaryPage}
		head.DictionaryPageHeader.V.NumValues, head.DictionaryPageHeader.Valid = int32(len(dictionary)/4), true
		object := append(sealPage(t, head, dictionary), sealPage(t, data, body)...)
		size := int64(len(object)) - int64(len(sealPage(t, head, dictionary)))
		g := &rowGroup{rows: int64(rows)}
		c := cursor{leaf: l, group: g, chunk: &chunk{
			dictLen: int64(len(object)) - size, pages: []page{{pos: int64(len(object)) - size, len: size}},
		}}
		c.fetch = func(pos, length int64) ([]byte, error) { return object[pos : pos+length], nil }
		if c.start(int64(rows/2)) != nil {
			return
		}
		for range int(rows) {
			if c.skip() != nil {
				return
			}
		}
	})
}

func sealPage(t *testing.T, h format.PageHeader, body []byte) []byte {
	t.Helper()
	h.CompressedPageSize, h.UncompressedPageSize = int32(len(body)), int32(len(body))
	h.CRC = int32(crc32.ChecksumIEEE(body))
	out, err := thrift.Marshal(new(thrift.CompactProtocol), &h)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, body...)
}
