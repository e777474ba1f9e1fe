package fetch_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/peer"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/record"
)

// neighbor is an agent of a zone of two, over the real transport.
type neighbor struct {
	*peer.Client
	mu    sync.Mutex
	other string // keeps everything; empty: this one does
}

func (n *neighbor) Owner(string) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.other, n.other == ""
}

func (n *neighbor) point(to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.other = to
}

// noLog answers nothing about the log.
type noLog struct{ peer.Log }

// TestObjectsComeOverTheTransportBetweenAgents: a read, a seed, and what becomes of reads when the other agent is gone.
func TestObjectsComeOverTheTransportBetweenAgents(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	store := objectstore.NewMeter(objectstore.NewMemory(time.Now))
	view := metadata.NewView()
	topic := record.TopicID{1}
	apply := func(c metadata.Command) metadata.Result {
		return view.Apply(metadata.Entry{Seq: view.Applied(), Term: 1, Time: 1000, Commands: []metadata.Command{c}})[0]
	}
	opened, ok := apply(metadata.OpenSession{}).(metadata.OpenSessionResult)
	if !ok {
		t.Fatal("no session")
	}
	apply(metadata.CreateTopic{ID: topic, Name: "t", Partitions: 1})

	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	run := func(ctx context.Context, part func(context.Context) error) {
		running.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	cfg := peer.Config{Cluster: "c", Secret: make([]byte, peer.SecretBytes)}
	agent := func() (*fetch.Reader, *neighbor, string, context.CancelFunc) {
		client, err := peer.NewClient(cfg, new(peer.Traffic), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		n := &neighbor{Client: client}
		fetchConfig := fetch.DefaultConfig()
		fetchConfig.Zone = n
		r, err := fetch.New(fetchConfig, view, store, fetch.OpenParquet, log)
		if err != nil {
			t.Fatal(err)
		}
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server, err := peer.NewServer(cfg, ln, new(peer.Traffic), noLog{}, r, time.Now, log)
		if err != nil {
			t.Fatal(err)
		}
		mine, end := context.WithCancel(ctx)
		run(mine, server.Run)
		run(ctx, r.Run)
		return r, n, ln.Addr().String(), end
	}
	keeper, _, addr, kill := agent()
	reader, at, _, _ := agent()
	at.point(addr)

	counter, next := uint64(0), record.Offset(0)
	lay := func() (key string, body []byte, commit func()) {
		b := record.NewBuilder(record.None)
		b.Reset(0)
		if err := b.Append(&record.Record{Value: make([]byte, 100<<10)}); err != nil {
			t.Fatal(err)
		}
		raw, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := record.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		counter++
		ow := record.NewObjectWriter(record.ObjectHeader{Session: uint64(opened.Session), Counter: counter}, 0)
		if err := ow.Add(record.Partition{Topic: topic}, batch); err != nil {
			t.Fatal(err)
		}
		body, entries, err := ow.Finish()
		if err != nil {
			t.Fatal(err)
		}
		c := metadata.CommitObject{Session: opened.Session, Counter: counter, Key: record.ObjectKey(uint64(opened.Session), counter, "x"), Size: record.Len(len(body)), Runs: []metadata.CommitRun{{
			Partition: record.Partition{Topic: topic}, Pos: entries[0].Pos,
			Batches: []metadata.CommitBatch{{Len: batch.Len(), Records: 1, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}},
		}}}
		if err := store.Put(t.Context(), c.Key, body); err != nil {
			t.Fatal(err)
		}
		return c.Key, body, func() { apply(c) }
	}
	read := func(what string, gets int64) {
		t.Helper()
		got := reader.Fetch(t.Context(), fetch.Request{MaxBytes: 1 << 20, Partitions: []fetch.PartitionRequest{{Partition: record.Partition{Topic: topic}, Offset: next, MaxBytes: 1 << 20}}})
		if p := got.Partitions[0]; p.Err != nil || p.Size < 100<<10 {
			t.Errorf("%s: %d bytes, %v", what, p.Size, p.Err)
		}
		got.Release()
		next++
		if n := store.Snapshot().Ops[objectstore.OpGetRange].Total(); n != gets {
			t.Errorf("%s: %d reads of the store, want %d", what, n, gets)
		}
	}

	_, _, commit := lay()
	commit()
	read("by way of the keeper", 1)
	if s := keeper.Stats(); s.Served != 1 || s.Store != 1 || reader.Stats().Owner != 1 {
		t.Errorf("the keeper: %+v, the reader: %+v", s, reader.Stats())
	}

	key, body, commit := lay()
	reader.Seed(key, record.NewBuffer(body)) // by another agent's hand: keeper's tail has it
	for deadline := time.Now().Add(10 * time.Second); keeper.Stats().SeedsTaken == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not taken over: %+v", keeper.Stats())
		}
	}
	commit()
	read("made here", 1)
	if got, err := at.ReadObject(t.Context(), addr, &peerpb.ReadObjectRequest{Key: key, Size: int64(len(body)), Pos: 10, Length: 1000}); err != nil || string(got) != string(body[10:1010]) {
		t.Errorf("what was handed over: %v", err)
	}
	if _, err := at.ReadObject(t.Context(), addr, &peerpb.ReadObjectRequest{Key: "meta/secret", Size: 32, Length: 32}); err == nil {
		t.Error("the cluster's secret was read by way of another agent")
	}

	kill()
	for i := range 3 {
		_, _, commit = lay()
		commit()
		read(fmt.Sprint("the keeper is gone, ", i), int64(2+i))
	}
	if s := reader.Stats(); s.Fallbacks != 3 {
		t.Errorf("%+v, want 3 fallbacks", s)
	}
}
