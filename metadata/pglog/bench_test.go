//go:build realworld

package pglog

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/metadata/logtest"
	"github.com/bargedata/barge/metadata/pglog/pgtest"
	"github.com/bargedata/barge/objectstore/file"
)

// BenchmarkAppend appends entries one after another, to a real server on loopback and, beside it, to a log on files of the same disk. Both wait
// for the disk with every append.
func BenchmarkAppend(b *testing.B) {
	server := pgtest.Start(b)
	files, err := file.Open(b.TempDir(), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	onFiles, err := bucketlog.New(files, bucketlog.Config{Prefix: "meta/0"}, ids(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	for name, log := range map[string]metadata.Log{"postgres": open(b, Config{URL: server.URL(), Cluster: newCluster()}), "file": onFiles} {
		for _, size := range []int{4 << 10, 32 << 10} {
			b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
				got, err := log.Acquire(b.Context(), "bench", 0)
				if err != nil {
					b.Fatal(err)
				}
				body := make([]byte, size)
				seq := got.Next
				var took []time.Duration
				for b.Loop() {
					began := time.Now()
					if err := log.Append(b.Context(), got.Term, seq, logtest.ID(seq), body); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
					seq++
				}
				slices.Sort(took)
				b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "appends/s")
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			})
		}
	}
}
