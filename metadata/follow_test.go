package metadata_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// noSleep is for logs whose reads never lag.
func noSleep(t *testing.T) func(context.Context, time.Duration) error {
	t.Helper()
	return func(context.Context, time.Duration) error {
		t.Error("a read lagged")
		return context.Canceled
	}
}

// A follower sees what the sequencer wrote, takes what came since in a second call, and ends nobody's term.
func TestFollowReadsAlongWithoutFencing(t *testing.T) {
	log := metadata.NewMemoryLog()
	var serial byte
	ids := func() [16]byte { serial++; return [16]byte{serial} }
	seq := metadata.NewSequencer(metadata.SequencerConfig{CheckpointEntries: 5}, log, metadata.NewView(), time.Now, ids, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- seq.Run(ctx) }()
	<-seq.Ready()
	topic := record.TopicID{15: 1}
	if _, err := seq.Do(ctx, metadata.CreateTopic{ID: topic, Name: "logs", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	p := record.Partition{Topic: topic}
	view := metadata.NewView()
	for round := range 3 {
		commitSome(t, seq, p, 7)
		start, err := metadata.Follow(t.Context(), log, view, noSleep(t))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := view.Bounds(p); err != nil || b.HighWatermark != record.Offset(7*(round+1)) || view.Applied() != start.Next {
			t.Errorf("round %d: %+v, %v, applied %d of %d", round, b, err, view.Applied(), start.Next)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("the sequencer beside a follower: %v", err)
	}
}

// growing is a log to which somebody appends between a follower's start and its reading.
type growing struct {
	metadata.Log
	grow func()
}

func (g growing) Newest(ctx context.Context) (metadata.Acquired, error) {
	got, err := g.Log.Newest(ctx)
	g.grow()
	return got, err
}

// Entries beyond the end that a follower was told are nothing wrong: only a sequencer is fenced by them.
func TestFollowEndsWhereItWasTold(t *testing.T) {
	log := metadata.NewMemoryLog()
	start, err := log.Acquire(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	view := metadata.NewView()
	got, err := metadata.Follow(t.Context(), growing{log, func() {
		e := metadata.Entry{Seq: start.Next, Term: start.Term, Time: 1}
		if err := log.Append(t.Context(), start.Term, e.Seq, [16]byte{1}, metadata.EncodeEntry(e)); err != nil {
			t.Fatal(err)
		}
	}}, view, noSleep(t))
	if err != nil || got.Next != start.Next || view.Applied() != start.Next {
		t.Errorf("%+v, %v, applied %d, want %d", got, err, view.Applied(), start.Next)
	}
}

// A hole in the log is told, not waited for.
func TestFollowTellsAMissingSlot(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	open := func() *bucketlog.Log {
		log, err := bucketlog.New(store, bucketlog.Config{Prefix: "meta/0"}, func() [16]byte { return [16]byte{1} }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	log := open()
	a, err := log.Acquire(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	for seq := a.Next; seq < a.Next+3; seq++ {
		e := metadata.EncodeEntry(metadata.Entry{Seq: seq, Term: a.Term, Time: 1})
		if err := log.Append(t.Context(), a.Term, seq, [16]byte{15: byte(seq)}, e); err != nil {
			t.Fatal(err)
		}
	}
	slots, err := store.List(t.Context(), "meta/0/log/", "", 10)
	if err != nil || len(slots) != 4 {
		t.Fatalf("%d slots, %v", len(slots), err)
	}
	if err := store.Delete(t.Context(), slots[2].Key); err != nil {
		t.Fatal(err)
	}
	if _, err := metadata.Follow(t.Context(), open(), metadata.NewView(), noSleep(t)); !errors.Is(err, metadata.ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
}
