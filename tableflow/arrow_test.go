//go:build realworld

package tableflow

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	arrowmem "github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// A second opinion on the file: Arrow's own Parquet reader, which shares nothing with ours nor with the library that
// wrote it.
func TestArrowReadsTheSameRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	recs := oddRecords(rng, 2000, 0)
	body, _ := writeFile(t, WriterConfig{RowGroupRows: 300, PageBytes: 1 << 10}, rows{7, recs})
	pf, err := file.NewParquetReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer pf.Close()
	reader, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{}, arrowmem.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := reader.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	if table.NumRows() != int64(len(recs)) {
		t.Fatalf("%d rows, want %d", table.NumRows(), len(recs))
	}
	column := func(name string) []arrow.Array {
		i := table.Schema().FieldIndices(name)
		if len(i) != 1 {
			t.Fatalf("column %s: %v", name, i)
		}
		return table.Column(i[0]).Data().Chunks()
	}
	values := func(name string) func(row int) []byte { return arrowBytes(t, column(name)) }
	rawKey, rawValue, key, value := values("_kafka_key"), values("_kafka_value"), values("key"), values("value")
	either := func(a, b []byte) []byte {
		if a != nil {
			return a
		}
		return b
	}
	for i, r := range recs {
		if got := either(key(i), rawKey(i)); !same(got, r.Key) {
			t.Fatalf("row %d: key %.80q (nil %v), want %.80q (nil %v)", i, got, got == nil, r.Key, r.Key == nil)
		}
		if got := either(value(i), rawValue(i)); !same(got, r.Value) {
			t.Fatalf("row %d: value %.80q (nil %v), want %.80q (nil %v)", i, got, got == nil, r.Value, r.Value == nil)
		}
	}
	i := 0
	for _, chunk := range column("_kafka_offset") {
		for _, offset := range as[*array.Int64](t, chunk).Int64Values() {
			if offset != int64(recs[i].Offset) {
				t.Fatalf("row %d: offset %d, want %d", i, offset, recs[i].Offset)
			}
			i++
		}
	}
	i = 0
	for _, chunk := range column("_kafka_headers") {
		list := as[*array.List](t, chunk)
		pairs := as[*array.Struct](t, list.ListValues())
		keys, vals := as[*array.String](t, pairs.Field(0)), as[*array.Binary](t, pairs.Field(1))
		for j := range list.Len() {
			r := recs[i]
			i++
			if list.IsNull(j) != (headerProblem(r.Headers) != "") {
				t.Fatalf("row %d: null list %v for %d headers", i-1, list.IsNull(j), len(r.Headers))
			}
			if list.IsNull(j) {
				continue
			}
			from, to := list.ValueOffsets(j)
			if int(to-from) != len(r.Headers) {
				t.Fatalf("row %d: %d headers, want %d", i-1, to-from, len(r.Headers))
			}
			for k, h := range r.Headers {
				at := int(from) + k
				var got []byte
				if !vals.IsNull(at) {
					got = append([]byte{}, vals.Value(at)...)
				}
				if keys.Value(at) != h.Key || !same(got, h.Value) {
					t.Fatalf("row %d header %d: %q=%q, want %q=%q", i-1, k, keys.Value(at), got, h.Key, h.Value)
				}
			}
		}
	}
}

// arrowBytes gives a string or binary column's value by row, nil for null.
func arrowBytes(t *testing.T, chunks []arrow.Array) func(row int) []byte {
	t.Helper()
	return func(row int) []byte {
		for _, c := range chunks {
			if row >= c.Len() {
				row -= c.Len()
				continue
			}
			if c.IsNull(row) {
				return nil
			}
			switch c := c.(type) {
			case *array.String:
				return []byte(c.Value(row))
			case *array.Binary:
				return append([]byte{}, c.Value(row)...)
			}
			t.Fatalf("column of %T", c)
		}
		t.Fatalf("no row %d", row)
		return nil
	}
}

func as[T arrow.Array](t *testing.T, a arrow.Array) T {
	t.Helper()
	typed, ok := a.(T)
	if !ok {
		t.Fatalf("array of %T", a)
	}
	return typed
}
