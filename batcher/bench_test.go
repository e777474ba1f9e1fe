package batcher

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

type nowhere struct{}

func (nowhere) Put(context.Context, string, []byte) error { return nil }

type everyone struct{}

func (everyone) Submit(cmd metadata.Command, done func(metadata.Result, error)) {
	c, _ := cmd.(metadata.CommitObject)
	result := metadata.CommitObjectResult{Batches: make([][]metadata.BatchResult, len(c.Runs))}
	for i, run := range c.Runs {
		result.Batches[i] = make([]metadata.BatchResult, len(run.Batches))
	}
	done(result, nil)
}

// BenchmarkAppend is the whole path of one batch from Append to its answer, with a store and a log that cost nothing.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		b.Run(strconv.Itoa(size>>10)+"KiB", func(b *testing.B) {
			cfg := Config{Session: 1}
			batcher, err := New(cfg, nowhere{}, everyone{}, time.Now, rand.New(rand.NewPCG(1, 2)), nil, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			stopped := make(chan error)
			go func() { stopped <- batcher.Run(ctx) }()
			batch := batchOf(b, "", 1, size)
			parts := make([]record.Partition, 64)
			for i := range parts {
				parts[i] = part(byte(i/8+1), int32(i%8))
			}
			b.SetBytes(int64(batch.Len()))
			b.ReportAllocs()
			i := 0
			var last *Pending
			for b.Loop() {
				p, err := batcher.Append(ctx, []record.Append{{Partition: parts[i%len(parts)], Batch: batch}})
				if err != nil {
					b.Fatal(err)
				}
				i++
				last = p
			}
			stop()
			<-last.Done()
			if err := <-stopped; err != nil {
				b.Fatal(err)
			}
		})
	}
}
