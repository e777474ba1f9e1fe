package tableflow

import (
	"context"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/bargedata/barge/record"
)

func BenchmarkWriteLogRows(b *testing.B) {
	recs := logRecords(rand.New(rand.NewPCG(1, 1)), 100_000, 0)
	var stats FileStats
	b.ReportAllocs()
	for b.Loop() {
		w := NewWriter(io.Discard, WriterConfig{})
		if err := w.StartPartition(0); err != nil {
			b.Fatal(err)
		}
		for i := range recs {
			if err := w.Append(&recs[i]); err != nil {
				b.Fatal(err)
			}
		}
		var err error
		if stats, err = w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(stats.RawBytes)
	b.ReportMetric(float64(stats.Size)/float64(stats.Rows), "B/row")
	b.ReportMetric(float64(stats.RawBytes)/float64(stats.Rows), "rawB/row")
}

func BenchmarkReadLogRows(b *testing.B) {
	recs := logRecords(rand.New(rand.NewPCG(1, 1)), 100_000, 0)
	body, stats := writeFile(b, WriterConfig{}, rows{0, recs})
	f, _ := openFile(b, body)
	b.SetBytes(stats.RawBytes)
	b.ReportAllocs()
	for b.Loop() {
		n := int64(0)
		err := f.Records(context.Background(), 0, f.RowGroups(), 0, func(*record.Record) bool { n++; return true })
		if err != nil || n != stats.Rows {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkSeekAndReadThousandRows(b *testing.B) {
	recs := logRecords(rand.New(rand.NewPCG(1, 1)), 100_000, 0)
	body, stats := writeFile(b, WriterConfig{}, rows{0, recs})
	f, _ := openFile(b, body)
	b.ReportAllocs()
	rng := rand.New(rand.NewPCG(2, 2))
	for b.Loop() {
		n := 0
		err := f.Records(context.Background(), 0, f.RowGroups(), record.Offset(rng.Int64N(stats.Rows-1000)), func(*record.Record) bool { n++; return n < 1000 })
		if err != nil {
			b.Fatal(err)
		}
	}
}
