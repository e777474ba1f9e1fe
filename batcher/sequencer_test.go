package batcher

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
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
	for name, inline := range map[string]int64{"uploaded": 0, "mixed": 3_000, "inline": 1 << 20} {
		t.Run(name, func(t *testing.T) { producedBatches(t, inline) })
	}
}

func producedBatches(t *testing.T, inlineBytes int64) {
	t.Helper()
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
	var kept sync.Map // what the hook was told of
	seq := metadata.NewSequencer(metadata.SequencerConfig{
		Owner: "test", OnInline: func(key string, body []byte) { kept.Store(key, body) },
	}, log, view, time.Now, newIDs(2), quiet)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return seq.Run(ctx) })

	opened, err := seq.Do(ctx, metadata.OpenSession{Agent: metadata.AgentInfo{Level: metadata.MaxLevel}})
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
	if raised, err := metadata.Ask[metadata.RaiseLevelResult](ctx, seq, metadata.RaiseLevel{Level: metadata.MaxLevel}); err != nil || raised.Err != nil {
		t.Fatalf("raise level: %v, %v", raised.Err, err)
	}
	cfg := Config{Session: session.Session, InlineBytes: inlineBytes, FlushInterval: 5 * time.Millisecond, FlushBytes: 20_000, BufferBytes: 60_000}
	b, err := New(cfg, store, seq, time.Now, rand.New(rand.NewPCG(3, 3)), nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	batcherCtx, stopBatcher := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- b.Run(batcherCtx) }()

	callsOf := func(p int) int { return 100 - 20*p } // so that the last objects are small
	reader := log.WithInline(store)
	var producers errgroup.Group
	for p := range 4 {
		producers.Go(func() error {
			last := record.Offset(-1)
			at := record.Partition{Topic: topic, Index: int32(p)}
			for i := range callsOf(p) {
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
				if _, told := kept.Load(run.Key); told != run.Inline {
					return fmt.Errorf("producer %d call %d: %s is shown (inline %v), the hook was told %v", p, i, run.Key, run.Inline, told)
				}
				body, err := reader.GetRange(ctx, run.Key, int64(run.Pos), int64(run.Len))
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
		if err != nil || bounds.HighWatermark != record.Offset(4*callsOf(int(p))) {
			t.Errorf("partition %d: %+v, %v, want high watermark %d", p, bounds, err, 4*callsOf(int(p)))
		}
	}
	if s := b.Stats(); s.Objects == 0 || (s.Inline > 0) != (inlineBytes > 0) || (s.Inline < s.Objects) != (inlineBytes < 1<<20) {
		t.Errorf("%d objects, %d of them inline", s.Objects, s.Inline)
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
