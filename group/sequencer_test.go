package group

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// TestOverTheRealLog tells the main story over the sequencer and its view instead of the fake: members and offsets, a
// new process on a replayed log, a coordinator that lost its shard, deletion.
func TestOverTheRealLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := metadata.NewMemoryLog()
		view, seq, stop := startSequencer(t, log)
		res, err := seq.Do(t.Context(), metadata.CreateTopic{ID: record.TopicID{7}, Name: "orders", Partitions: 4})
		if r, ok := res.(metadata.CreateTopicResult); err != nil || !ok || r.Err != nil {
			t.Fatalf("create topic: %+v, %v", res, err)
		}
		ctx, stopGroups := context.WithCancel(t.Context())
		c := startOver(ctx, t, view, seq, 1)
		m := &testMember{c: c, group: "g", work: 2}
		m.join(t.Context())
		if !m.join(t.Context()) {
			t.Fatal("join failed")
		}
		id, gen := m.place()
		if code := commit(t, c, "g", id, gen, 2, 41); code != 0 {
			t.Fatalf("commit: %d", code)
		}
		stopGroups()
		stop()

		view, seq, _ = startSequencer(t, log)
		c = startOver(t.Context(), t, view, seq, 2)
		m.c = c
		if code := m.beat(t.Context()); code != 0 {
			t.Errorf("heartbeat after the restart: %d", code)
		}
		if got := fetchOffset(t, c, "g", 2); got != 41 {
			t.Errorf("offset after the restart: %d, want 41", got)
		}

		other := startOver(t.Context(), t, view, seq, 3)
		if got := fetchOffset(t, other, "g", 2); got != 41 {
			t.Errorf("offset at the new coordinator: %d, want 41", got)
		}
		if code := m.beat(t.Context()); code != codeNotCoordinator {
			t.Errorf("heartbeat at the old coordinator: %d, want 16", code)
		}
		time.Sleep(time.Minute) // the member's session ends at the new one
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{"g"}
		if code := other.DeleteGroups(t.Context(), req).Groups[0].ErrorCode; code != 0 {
			t.Errorf("delete: %d", code)
		}
		if left := append(view.Keys(Space, "g/"), view.Keys(Space, "o/")...); len(left) != 0 {
			t.Errorf("keys left: %v", left)
		}
	})
}

func startSequencer(t *testing.T, log metadata.Log) (*metadata.View, *metadata.Sequencer, func()) {
	t.Helper()
	view := metadata.NewView()
	rng := rand.New(rand.NewPCG(1, 2))
	ids := func() (id [16]byte) {
		binary.LittleEndian.PutUint64(id[:], rng.Uint64())
		return id
	}
	seq := metadata.NewSequencer(metadata.SequencerConfig{}, log, view, time.Now, ids, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- seq.Run(ctx) }()
	select {
	case <-seq.Ready():
	case err := <-done:
		t.Fatalf("sequencer: %v", err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("sequencer: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return view, seq, stop
}

func startOver(ctx context.Context, t *testing.T, view *metadata.View, seq *metadata.Sequencer, seed uint64) *Coordinator {
	t.Helper()
	c, err := New(DefaultConfig(), view, seq, time.Now, rand.New(rand.NewPCG(seed, 0)), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("coordinator: %v", err)
		}
	})
	synctest.Wait()
	return c
}
