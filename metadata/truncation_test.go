package metadata_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// bucketAgent is one sequencer over a bucket. Time is a synctest bubble's, so a day passes at once.
type bucketAgent struct {
	*metadata.Sequencer
	view    *metadata.View
	stop    context.CancelFunc
	done    chan error
	session metadata.SessionID
	counter uint64
}

var slotTopic = record.TopicID{15: 1}

func startOn(t *testing.T, store bucketlog.Store, serial *atomic.Uint64, checkpointEntries uint64) *bucketAgent {
	t.Helper()
	newID := func() (id [16]byte) {
		binary.BigEndian.PutUint64(id[:], serial.Add(1))
		return id
	}
	log, err := bucketlog.New(store, bucketlog.Config{Prefix: "meta/0"}, newID, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a := &bucketAgent{view: metadata.NewView(), stop: cancel, done: make(chan error, 1)}
	cfg := metadata.SequencerConfig{Owner: fmt.Sprint("agent ", serial.Load()), CheckpointEntries: checkpointEntries}
	a.Sequencer = metadata.NewSequencer(cfg, log, a.view, time.Now, newID, slog.New(slog.DiscardHandler))
	go func() { a.done <- a.Run(ctx) }()
	<-a.Ready()
	if _, ok := a.view.TopicByID(slotTopic); !ok {
		if _, err := a.Do(ctx, metadata.CreateTopic{ID: slotTopic, Name: "logs", Partitions: 1}); err != nil {
			t.Fatal(err)
		}
	}
	res, err := metadata.Ask[metadata.OpenSessionResult](ctx, a, metadata.OpenSession{})
	if err != nil {
		t.Fatal(err)
	}
	a.session = res.Session
	return a
}

// commit writes n entries of one record each.
func (a *bucketAgent) commit(t *testing.T, n int) {
	t.Helper()
	for range n {
		r, err := a.Commit(t.Context(), metadata.CommitObject{
			Session: a.session, Counter: a.counter, Settled: a.counter, Key: record.ObjectKey(uint64(a.session), a.counter, "x"), Size: 100,
			Runs: []metadata.CommitRun{{Partition: record.Partition{Topic: slotTopic}, Batches: []metadata.CommitBatch{{Len: 80, Records: 1, ProducerID: -1}}}},
		})
		if err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
		a.counter++
		synctest.Wait() // for a checkpoint and a truncation, so that each run makes the same
	}
}

func (a *bucketAgent) end(t *testing.T) {
	t.Helper()
	a.stop()
	if err := <-a.done; err != nil {
		t.Error(err)
	}
}

// numbers lists the numbered objects under a prefix.
func numbers(t *testing.T, store bucketlog.Store, prefix string) (list []uint64) {
	t.Helper()
	objects, err := store.List(t.Context(), prefix, "", 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		n, err := strconv.ParseUint(strings.TrimPrefix(o.Key, prefix), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

const (
	slots      = "meta/0/log/"
	boundaries = "meta/0/boundary/"
	snapshots  = "meta/0/snapshot/"
)

func TestCheckpointsLetOldSlotsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := objectstore.NewMemory(time.Now)
		var serial atomic.Uint64
		a := startOn(t, store, &serial, 10)
		a.commit(t, 100)
		if got := numbers(t, store, boundaries); len(got) != 0 || a.Stats().Truncations == 0 {
			t.Fatalf("boundaries %v after %d truncations of young slots", got, a.Stats().Truncations)
		}
		time.Sleep(25 * time.Hour)
		a.commit(t, 35)
		first := numbers(t, store, slots)[0]
		if first < 90 || first > 103 {
			t.Fatalf("the first slot is %d: all that is a day old and not needed by a snapshot should be gone, and no more", first)
		}
		time.Sleep(25 * time.Hour)
		a.commit(t, 35)
		left, edge, kept := numbers(t, store, slots), numbers(t, store, boundaries), numbers(t, store, snapshots)
		if left[0] <= first || len(edge) != 1 || edge[0] != left[0] || left[0] > kept[0] {
			t.Fatalf("slots from %d on (before: %d), boundaries %v, snapshots %v", left[0], first, edge, kept)
		}
		if a.Stats().TruncationFailures != 0 {
			t.Errorf("%d truncations failed", a.Stats().TruncationFailures)
		}
		a.end(t)

		again := startOn(t, store, &serial, 10)
		if b, err := again.view.Bounds(record.Partition{Topic: slotTopic}); err != nil || b.HighWatermark != 170 {
			t.Fatalf("after a restart: %+v, %v", b, err)
		}
		again.commit(t, 5)
		again.end(t)
	})
}

// Agents that never live for a checkpoint's time leave one when they stop, and the next one truncates for them.
func TestShortLivesTruncateToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := objectstore.NewMemory(time.Now)
		var serial atomic.Uint64
		for range 20 {
			a := startOn(t, store, &serial, 2000)
			a.commit(t, 5)
			a.end(t)
			time.Sleep(25 * time.Hour)
		}
		if got := numbers(t, store, slots); len(got) > 6*8 {
			t.Errorf("%d slots are left of twenty lives of 7 or 8", len(got))
		}
	})
}

// A sequencer that slept while another one took over, and truncated the slot that the sleeper will write next, hears that it
// is fenced, and what it wrote there counts for nobody.
func TestSequencerThatSleptOverATruncationIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := objectstore.NewMemory(time.Now)
		var serial atomic.Uint64
		old := startOn(t, store, &serial, 10)
		old.commit(t, 4)
		next := old.view.Applied()
		young := startOn(t, store, &serial, 10)
		for range 3 {
			young.commit(t, 40)
			time.Sleep(25 * time.Hour)
		}
		young.commit(t, 10)
		if first := numbers(t, store, slots)[0]; first <= next {
			t.Fatalf("slot %d is not truncated, slots begin at %d", next, first)
		}
		_, err := old.Do(t.Context(), metadata.OpenSession{})
		if !errors.Is(err, metadata.ErrUnavailable) {
			t.Errorf("the old one answers %v", err)
		}
		if err := <-old.done; !errors.Is(err, metadata.ErrFenced) {
			t.Errorf("the old one ended with %v", err)
		}
		if first := numbers(t, store, slots)[0]; first != next {
			t.Errorf("the test is wrong: the write into the recycled slot %d did not land, slots begin at %d", next, first)
		}
		young.commit(t, 1)
		young.end(t)
		third := startOn(t, store, &serial, 10)
		if b, err := third.view.Bounds(record.Partition{Topic: slotTopic}); err != nil || b.HighWatermark != 4+3*40+11 {
			t.Errorf("after it: %+v, %v", b, err)
		}
		third.end(t)
	})
}

// brokenTruncation refuses what truncation deletes.
type brokenTruncation struct {
	objectstore.Store
	refuse atomic.Bool
}

func (b *brokenTruncation) Delete(ctx context.Context, keys ...string) error {
	if b.refuse.Load() && strings.HasPrefix(keys[0], slots) {
		return errors.New("the store is away")
	}
	return b.Store.Delete(ctx, keys...)
}

func TestFailedTruncationIsTriedAgainWithTheNextCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenTruncation{Store: objectstore.NewMemory(time.Now)}
		var serial atomic.Uint64
		a := startOn(t, store, &serial, 10)
		a.commit(t, 50)
		time.Sleep(25 * time.Hour)
		store.refuse.Store(true)
		a.commit(t, 20)
		s := a.Stats()
		if s.TruncationFailures == 0 || s.Checkpoints < 6 || numbers(t, store, slots)[0] != 0 {
			t.Fatalf("%+v, slots from %d on: nothing failed", s, numbers(t, store, slots)[0])
		}
		store.refuse.Store(false)
		time.Sleep(25 * time.Hour)
		a.commit(t, 40)
		if first := numbers(t, store, slots)[0]; first < 50 || a.Stats().TruncationFailures != s.TruncationFailures {
			t.Errorf("slots begin at %d after the store came back: %+v", first, a.Stats())
		}
		a.end(t)
	})
}
