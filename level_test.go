package barge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
)

// appendEntry takes the log of a store, as an agent of another version would, and writes one entry.
func appendEntry(t *testing.T, store objectstore.Store, serial byte, commands ...metadata.Command) {
	t.Helper()
	ids := func() (id [16]byte) { return [16]byte{serial} }
	log, err := bucketlog.New(store, bucketlog.Config{Prefix: "meta/0"}, ids, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	acquired, err := log.Acquire(t.Context(), "another", 0)
	if err != nil {
		t.Fatal(err)
	}
	e := metadata.Entry{Seq: acquired.Next, Term: acquired.Term, Time: 1000, Commands: commands}
	if err := log.Append(t.Context(), e.Term, e.Seq, [16]byte{serial, 1}, metadata.EncodeEntry(e)); err != nil {
		t.Fatal(err)
	}
}

// levelOf is the level of a store's log, read by nobody's leave.
func levelOf(t *testing.T, store objectstore.Store) uint32 {
	t.Helper()
	log, err := bucketlog.New(store, bucketlog.Config{Prefix: "meta/0"}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	view := metadata.NewView()
	if _, err := metadata.Follow(t.Context(), log, view, func(ctx context.Context, _ time.Duration) error { return ctx.Err() }); err != nil {
		t.Fatal(err)
	}
	return view.Level()
}

// A log of version 1 whose agent died is taken over: its session is sealed, so that the level can be raised, and what needs the
// level is used from then on.
func TestLogOfLevelOneIsRaised(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	if _, err := store.Create(t.Context(), "cluster.json", []byte(`{"id":"old","format":1,"created":"2026-01-01T00:00:00Z"}`)); err != nil {
		t.Fatal(err)
	}
	appendEntry(t, store, 1,
		metadata.OpenSession{Agent: metadata.AgentInfo{Address: "old:9092", Version: "before levels"}},
		metadata.CreateTopic{ID: [16]byte{1}, Name: "logs", Partitions: 1},
	)
	if level := levelOf(t, store); level != 1 {
		t.Fatalf("level %d before, want 1", level)
	}
	agent := start(t, store, func(c *barge.Config) { c.Roles = []string{barge.RoleProduce, barge.RoleFetch} })
	produce(t, agent, "logs", 0, 10)
	consume(t, agent, "logs", 10)
	if err := agent.stop(); err != nil {
		t.Fatal(err)
	}
	if level := levelOf(t, store); level != metadata.MaxLevel {
		t.Errorf("level %d after, want %d", level, metadata.MaxLevel)
	}
	if objects, err := store.List(t.Context(), "wal/", "", 10); err != nil || len(objects) != 0 {
		t.Errorf("%d WAL objects for small flushes, %v", len(objects), err)
	}
}

// An agent that meets a level beyond its own ends, and says which of the two numbers is whose and what to do. It takes the
// log from nobody.
func TestAgentBelowTheLevelOfTheLogEnds(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	agent := start(t, store, nil)
	produce(t, agent, "logs", 0, 3)
	if err := agent.stop(); err != nil {
		t.Fatal(err)
	}
	appendEntry(t, store, 2, metadata.RaiseLevel{Level: metadata.MaxLevel + 1})

	cfg := barge.DefaultConfig()
	cfg.Listen, cfg.HTTP = "127.0.0.1:0", ""
	old, err := barge.New(cfg, barge.Parts{
		Logger: slog.New(slog.DiscardHandler), Env: func(string) string { return "" }, Now: time.Now, Seed: 7, Version: "test", Store: store,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	before := slots(t, store)
	err = old.Run(ctx)
	want := fmt.Sprintf("the metadata log is at level %d, this one understands up to %d; upgrade barge", metadata.MaxLevel+1, metadata.MaxLevel)
	if !errors.Is(err, metadata.ErrNewer) || !strings.Contains(err.Error(), want) {
		t.Errorf("Run: %v, want ErrNewer with %q", err, want)
	}
	if after := slots(t, store); after != before {
		t.Errorf("%d slots before, %d after: it took the log", before, after)
	}
}

func slots(t *testing.T, store objectstore.Store) int {
	t.Helper()
	objects, err := store.List(t.Context(), "meta/0/log/", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(objects)
}
