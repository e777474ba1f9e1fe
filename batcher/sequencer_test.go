package batcher

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// TestProducedBatchesAreWhereTheViewSays puts the real parts together: batcher, sequencer, bucket log, one store. What
// several producers append at once is found through the View, byte for byte, at the offsets they were told.
func TestProducedBatchesAreWhereTheViewSays(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	quiet := slog.New(slog.DiscardHandler)
	newIDs := func(seed uint64) func() [16]byte {
		rng := rand.New(rand.NewPCG(seed, seed))
		return func() (id [16]byte) {
			for i := range id {
				id[i] = byte(rng.Uint32())
			}
			return id
		}
	}
	log, err := bucketlog.New(store, bucketlog.Config{Prefix: "meta/0"}, newIDs(1), quiet)
	if err != nil {
		t.Fatal(err)
	}
	view := metadata.NewView()
	seq := metadata.NewSequencer(metadata.SequencerConfig{Owner: "test"}, log, view, time.Now, newIDs(2), quiet)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return seq.Run(ctx) })

	opened, err := seq.Do(ctx, metadata.OpenSession{})
	if err != nil {
		t.Fatal(err)
	}
	topic := record.TopicID{1}
	if _, err := seq.Do(ctx, metadata.CreateTopic{ID: topic, Name: "t", Partitions: 4}); err != nil {
		t.Fatal(err)
	}
	session, ok := opened.(metadata.OpenSessionResult)
	if !ok || session.Err != nil {
		t.Fatalf("open session: %+v", opened)
	}
	cfg := Config{Session: session.Session, FlushInterval: 5 * time.Millisecond, FlushBytes: 20_000, BufferBytes: 60_000}
	b, err := New(cfg, store, seq, time.Now, rand.New(rand.NewPCG(3, 3)), nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	batcherCtx, stopBatcher := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- b.Run(batcherCtx) }()

	const calls = 100
	var producers errgroup.Group
	for p := range 4 {
		producers.Go(func() error {
			last := record.Offset(-1)
			at := record.Partition{Topic: topic, Index: int32(p)}
			for i := range calls {
				batch := batchOf(t, fmt.Sprintf("producer %d call %d", p, i), 2, 500)
				pending, err := b.Append(ctx, []record.Append{{Partition: at, Batch: batch}, {Partition: at, Batch: batch}})
				if err != nil {
					return err
				}
				<-pending.Done()
				for _, got := range pending.Results() {
					if got.Err != nil || got.BaseOffset != last+1 {
						return fmt.Errorf("producer %d call %d: %+v after offset %d", p, i, got, last)
					}
					last += 2
				}
				where, err := view.Locate(at, last-1, 1)
				if err != nil || len(where.Slices) == 0 || where.Slices[0].Run == nil {
					return fmt.Errorf("producer %d call %d: located at %+v: %w", p, i, where, err)
				}
				run := where.Slices[0].Run
				body, err := store.GetRange(ctx, run.Key, int64(run.Pos), int64(run.Len))
				if err != nil {
					return err
				}
				if !bytes.HasSuffix(body[:int(last+1-run.Base)/2*int(batch.Len())], batch.Bytes()) {
					return fmt.Errorf("producer %d call %d: other bytes in %s", p, i, run.Key)
				}
			}
			return nil
		})
	}
	if err := producers.Wait(); err != nil {
		t.Fatal(err)
	}
	for p := range int32(4) {
		bounds, err := view.Bounds(record.Partition{Topic: topic, Index: p})
		if err != nil || bounds.HighWatermark != 4*calls {
			t.Errorf("partition %d: %+v, %v, want high watermark %d", p, bounds, err, 4*calls)
		}
	}
	stopBatcher()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}
