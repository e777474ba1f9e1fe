package fsck_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/compactor/fsck"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
)

// agent is a real agent in this process, on a store that the test looks into.
type agent struct {
	*barge.Agent
	t    *testing.T
	stop func() error // returns what Run did, once
}

func start(t *testing.T, store objectstore.Store, change func(*barge.Config)) agent {
	t.Helper()
	cfg := barge.DefaultConfig()
	cfg.Listen, cfg.HTTP = "127.0.0.1:0", ""
	cfg.FlushInterval = 5 * time.Millisecond
	cfg.TableCommitInterval = 100 * time.Millisecond
	cfg.AutoCreateTopics = true
	if change != nil {
		change(&cfg)
	}
	a, err := barge.New(cfg, barge.Parts{
		Logger: slog.New(slog.DiscardHandler), Env: func(string) string { return "" }, Now: time.Now,
		Seed: uint64(time.Now().UnixNano()), Version: "test", Store: store,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	select {
	case <-a.Ready():
	case err := <-done:
		cancel()
		t.Fatalf("agent ended: %v", err)
	case <-time.After(20 * time.Second):
		cancel()
		t.Fatal("agent not ready within 20 s")
	}
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return agent{a, t, stop}
}

func (a agent) produce(topic string, n int) {
	a.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(a.Addr()), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic(topic))
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	for i := range n {
		c.Produce(a.t.Context(), kgo.StringRecord(fmt.Sprintf("%s %06d", topic, i)), func(_ *kgo.Record, err error) {
			if err != nil {
				a.t.Errorf("produce: %v", err)
			}
		})
	}
	if err := c.Flush(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

// compacted waits until a topic's table shows n rows.
func (a agent) compacted(topic string, n int64) {
	a.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		for _, table := range a.Stats().Tables {
			if table.Topic == topic && table.Rows == n && table.Version >= 0 {
				return
			}
		}
		if time.Now().After(end) {
			a.t.Fatalf("not within 30 s: %d rows in the table of %s; tables are %+v", n, topic, a.Stats().Tables)
		}
	}
}

// bucket copies a store, so that each test damages one of its own.
func bucket(t *testing.T, from objectstore.Store) *objectstore.Memory {
	t.Helper()
	to := objectstore.NewMemory(time.Now)
	for after := ""; ; {
		page, err := from.List(t.Context(), "", after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page {
			after = o.Key
			body, err := from.Get(t.Context(), o.Key, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			if err := to.Put(t.Context(), o.Key, body); err != nil {
				t.Fatal(err)
			}
		}
		if len(page) < 1000 {
			return to
		}
	}
}

var options = fsck.Options{Full: true, Now: time.Now}

func check(t *testing.T, store fsck.Store, o fsck.Options) fsck.Report {
	t.Helper()
	report, err := fsck.Check(t.Context(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func clean(t *testing.T, store fsck.Store, what string) fsck.Report {
	t.Helper()
	for _, full := range []bool{false, true} {
		o := options
		o.Full = full
		report := check(t, store, o)
		for _, f := range report.Findings {
			t.Errorf("%s, full %v: %s", what, full, f)
		}
		if full {
			return report
		}
	}
	panic("unreachable")
}

// built is a stopped cluster with all that a store holds: records in WAL objects and in files, tables of several versions, three snapshots.
var built = sync.OnceValue(func() *cluster { return &cluster{} })

type cluster struct {
	once  sync.Once
	store *objectstore.Memory
}

func stopped(t *testing.T) *objectstore.Memory {
	t.Helper()
	c := built()
	c.once.Do(func() {
		store := objectstore.NewMemory(time.Now)
		for round := range 3 {
			a := start(t, store, nil)
			a.produce("orders", 500)
			a.compacted("orders", int64(500*(round+1)))
			a.produce("logs", 300)
			a.compacted("logs", int64(300*(round+1)))
			if err := a.stop(); err != nil {
				t.Fatal(err)
			}
		}
		for _, inline := range []int64{1 << 16, 0} {
			a := start(t, store, func(c *barge.Config) { c.TableCommitInterval, c.InlineBytes = time.Hour, inline })
			a.produce("orders", 50)
			a.produce("logs", 25)
			if err := a.stop(); err != nil {
				t.Fatal(err)
			}
		}
		c.store = store
	})
	if c.store == nil {
		t.Fatal("the cluster could not be built")
	}
	return bucket(t, c.store)
}

func TestCleanClusterIsClean(t *testing.T) {
	report := clean(t, stopped(t), "stopped cluster")
	n := report.Counts
	if n.Rows != 2400 || n.Runs == 0 || n.Objects.Objects == 0 || n.Inline.Objects == 0 || n.Batches < n.Runs || n.Files.Objects < 6 || n.Tables != 2 || n.Versions < 6 || n.Snapshots != 3 || n.Topics != 2 {
		t.Errorf("too little was looked at: %+v", n)
	}
	if report.Cluster == "" || report.Next == 0 {
		t.Errorf("report is of cluster %q, entry %d", report.Cluster, report.Next)
	}
}

// Beside an agent that writes, compacts, commits tables and deletes what it released at once, nothing is reported.
func TestRunningAgentIsClean(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	a := start(t, store, func(c *barge.Config) { c.ReleaseGrace = 0 })
	var wg sync.WaitGroup
	var over atomic.Bool
	for i := range 3 {
		wg.Go(func() {
			for !over.Load() {
				a.produce(fmt.Sprintf("topic%d", i), 200)
			}
		})
	}
	checks := 0
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end) && !t.Failed(); checks++ {
		clean(t, store, "running agent")
	}
	over.Store(true)
	wg.Wait()
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	report := clean(t, store, "after it stopped")
	if checks < 3 || report.Counts.Versions < 3 {
		t.Errorf("%d checks beside an agent that made %d table versions", checks, report.Counts.Versions)
	}
}

// gate is a store that a killed agent has no more: while it is shut, nothing that the agent does reaches the store.
type gate struct {
	objectstore.Store
	shut atomic.Bool
}

func (g *gate) pass() error {
	if g.shut.Load() {
		return fmt.Errorf("the process is gone: %w", objectstore.ErrDenied)
	}
	return nil
}

func (g *gate) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	if err := g.pass(); err != nil {
		return time.Time{}, err
	}
	return g.Store.Create(ctx, key, body)
}

func (g *gate) Put(ctx context.Context, key string, body []byte) error {
	if err := g.pass(); err != nil {
		return err
	}
	return g.Store.Put(ctx, key, body)
}

func (g *gate) Delete(ctx context.Context, keys ...string) error {
	if err := g.pass(); err != nil {
		return err
	}
	return g.Store.Delete(ctx, keys...)
}

// What an agent leaves that is killed in the middle of everything is clean: its uploads may still be committed, for all one can know.
func TestKilledAgentIsClean(t *testing.T) {
	for round := range 4 {
		store := objectstore.NewMemory(time.Now)
		g := &gate{Store: store}
		a := start(t, g, func(c *barge.Config) { c.ReleaseGrace = 0 })
		ctx, cancel := context.WithCancel(t.Context())
		c, err := kgo.NewClient(kgo.SeedBrokers(a.Addr()), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("orders"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2000 {
			c.Produce(ctx, kgo.StringRecord(strings.Repeat("x", i%500)), nil)
		}
		time.Sleep(time.Duration(300+130*round) * time.Millisecond)
		g.shut.Store(true)
		time.Sleep(10 * time.Millisecond) // for calls that have passed the gate
		clean(t, store, "killed agent")
		cancel()
		c.Close()
		fence(t, store)
		g.shut.Store(false) // it meets the new term and ends
		if err := a.stop(); err != nil && !errors.Is(err, metadata.ErrFenced) {
			t.Error(err)
		}
		clean(t, store, "after the next agent took the log")
	}
}

// fence takes the log, as another agent would.
func fence(t *testing.T, store objectstore.Store) {
	t.Helper()
	log, err := bucketlog.New(store, bucketlog.Config{Prefix: "meta/0"}, func() [16]byte { return [16]byte{1, 2, 3} }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Acquire(t.Context(), "other", 0); err != nil {
		t.Fatal(err)
	}
}
