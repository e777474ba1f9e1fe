package bucketlog

import (
	"log/slog"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata/logtest"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/file"
)

// BenchmarkAppend appends entries of 4 KiB, one after another. On files the disk's flush is most of it.
func BenchmarkAppend(b *testing.B) {
	files, err := file.Open(b.TempDir(), time.Now)
	if err != nil {
		b.Fatal(err)
	}
	for name, store := range map[string]Store{"memory": objectstore.NewMemory(time.Now), "file": files} {
		b.Run(name, func(b *testing.B) {
			log, err := New(store, Config{Prefix: "meta/" + name}, ids(uint64(b.N)), slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			got, err := log.Acquire(b.Context(), "bench", 0)
			if err != nil {
				b.Fatal(err)
			}
			body := make([]byte, 4<<10)
			seq := got.Next
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := log.Append(b.Context(), got.Term, seq, logtest.ID(seq), body); err != nil {
					b.Fatal(err)
				}
				seq++
			}
		})
	}
}
