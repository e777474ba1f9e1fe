package metadata_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// The whole of it over the engine that users run: restarts on one bucket go on where the last one ended.
func TestSequencerOverABucketGoesOnAfterRestarts(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	var serial atomic.Uint64
	newID := func() (id [16]byte) {
		binary.BigEndian.PutUint64(id[:], serial.Add(1))
		return id
	}
	topic := record.TopicID{15: 1}
	const rounds, writers, each = 3, 8, 20
	for round := range rounds {
		log, err := bucketlog.New(store, bucketlog.Config{Prefix: "meta/0"}, newID, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		view := metadata.NewView()
		seq := metadata.NewSequencer(metadata.SequencerConfig{CheckpointEntries: 25}, log, view, time.Now, newID, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- seq.Run(ctx) }()
		select {
		case <-seq.Ready():
		case err := <-done:
			t.Fatal(err)
		}
		if round == 0 {
			if _, err := seq.Do(ctx, metadata.CreateTopic{ID: topic, Name: "logs", Partitions: writers}); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for w := range int32(writers) {
			wg.Go(func() { commitSome(t, seq, record.Partition{Topic: topic, Index: w}, each) })
		}
		wg.Wait()
		for w := range int32(writers) {
			b, err := view.Bounds(record.Partition{Topic: topic, Index: w})
			if want := record.Offset((round + 1) * each); err != nil || b.HighWatermark != want {
				t.Errorf("round %d partition %d: %+v, %v, want high watermark %d", round, w, b, err, want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// commitSome opens a session and commits n objects of one record each, one after the other.
func commitSome(t *testing.T, seq *metadata.Sequencer, p record.Partition, n uint64) {
	t.Helper()
	res, err := seq.Do(t.Context(), metadata.OpenSession{})
	if err != nil {
		t.Error(err)
		return
	}
	session := res.(metadata.OpenSessionResult).Session
	for counter := range n {
		r, err := seq.Commit(t.Context(), metadata.CommitObject{
			Session: session, Counter: counter, Settled: counter, Key: record.ObjectKey(uint64(session), counter, "x"), Size: 100,
			Runs: []metadata.CommitRun{{Partition: p, Batches: []metadata.CommitBatch{{Len: 80, Records: 1, ProducerID: -1}}}},
		})
		if err != nil || r.Err != nil || r.Batches[0][0].Err != nil {
			t.Errorf("commit: %+v, %v", r, err)
			return
		}
	}
}
