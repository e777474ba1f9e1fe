package barge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow/delta"
)

// running is an agent in this process, on a store the test can look into.
type running struct {
	*barge.Agent
	stop func() error // returns what Run did, once
	over <-chan struct{}
}

func start(t *testing.T, store objectstore.Store, change func(*barge.Config)) running {
	t.Helper()
	cfg := barge.DefaultConfig()
	cfg.Listen, cfg.HTTP = "127.0.0.1:0", "127.0.0.1:0"
	cfg.FlushInterval = 5 * time.Millisecond
	cfg.TableCommitInterval = 100 * time.Millisecond
	cfg.AutoCreateTopics = true
	if change != nil {
		change(&cfg)
	}
	agent, err := barge.New(cfg, barge.Parts{
		Logger: slog.New(slog.DiscardHandler), Env: func(string) string { return "" }, Now: time.Now,
		Seed: uint64(time.Now().UnixNano()), Version: "test", Store: store,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, over := make(chan error, 1), make(chan struct{})
	go func() {
		done <- agent.Run(ctx)
		close(over)
	}()
	select {
	case <-agent.Ready():
	case err := <-done:
		cancel()
		t.Fatalf("agent ended: %v", err)
	case <-time.After(20 * time.Second):
		cancel()
		t.Fatal("agent not ready within 20 s")
	}
	stopped := false
	stop := func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("agent: %v", err)
		}
	})
	return running{agent, stop, over}
}

func newClient(t *testing.T, a running, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(a.Addr()), kgo.AllowAutoTopicCreation()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func produce(t *testing.T, a running, topic string, from, to int) {
	t.Helper()
	c := newClient(t, a, kgo.DefaultProduceTopic(topic))
	for i := from; i < to; i++ {
		c.Produce(t.Context(), kgo.StringRecord(fmt.Sprintf("%06d", i)), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// consume wants each of the numbers below n exactly once.
func consume(t *testing.T, a running, topic string, n int) {
	t.Helper()
	c := newClient(t, a, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	seen := map[string]int{}
	for total := 0; total < n; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", total, n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++; total++ })
	}
	for i := range n {
		if v := fmt.Sprintf("%06d", i); seen[v] != 1 {
			t.Fatalf("record %s read %d times", v, seen[v])
		}
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func tableRows(t *testing.T, store objectstore.Store, topic string) (rows int64) {
	t.Helper()
	snap, err := delta.NewLog(store, "tables/"+topic, time.Now).Load(t.Context())
	if errors.Is(err, delta.ErrNoTable) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, add := range snap.Adds() {
		var stats struct {
			NumRecords int64 `json:"numRecords"`
		}
		if err := json.Unmarshal([]byte(add.Stats), &stats); err != nil {
			t.Fatal(err)
		}
		rows += stats.NumRecords
	}
	return rows
}

func walObjects(t *testing.T, store objectstore.Store) int {
	t.Helper()
	objects, err := store.List(t.Context(), "wal/", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(objects)
}

func TestRecordsReachTheTableAndAreReplayedFromIt(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	a := start(t, store, func(c *barge.Config) { c.ReleaseGrace = 0; c.CacheBytes = 0 })
	produce(t, a, "logs", 0, 3000)
	consume(t, a, "logs", 3000)
	eventually(t, "3000 rows in the table", func() bool { return tableRows(t, store, "logs") == 3000 })
	eventually(t, "no WAL object is left", func() bool { return walObjects(t, store) == 0 })
	consume(t, a, "logs", 3000)

	// More arrives behind what is compacted already: one read crosses the border.
	produce(t, a, "logs", 3000, 3500)
	consume(t, a, "logs", 3500)
	eventually(t, "3500 rows in the table", func() bool { return tableRows(t, store, "logs") == 3500 })
}

func TestAFreshAgentServesWhatTheStoreHolds(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	a := start(t, store, nil)
	produce(t, a, "logs", 0, 500)
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	b := start(t, store, nil)
	consume(t, b, "logs", 500)
	produce(t, b, "logs", 500, 700)
	consume(t, b, "logs", 700)
	eventually(t, "700 rows in the table", func() bool { return tableRows(t, store, "logs") == 700 })
}

// A sequencer that was deposed without hearing of it finds out when it is about to tell where a log ends, or what a group has
// committed: it answers nothing of what it knew.
func TestAnIdleAgentThatWasDeposedServesNoStaleEnds(t *testing.T) {
	const topic, group = "logs", "g"
	// Each returns the error code of the answer, and whether the answer was of the past: of before the second agent's records.
	for name, ask := range map[string]func(t *testing.T, first *kgo.Broker, id [16]byte) (code int16, stale bool, err error){
		"ListOffsets(latest)": func(t *testing.T, first *kgo.Broker, _ [16]byte) (int16, bool, error) {
			t.Helper()
			req := kmsg.NewPtrListOffsetsRequest()
			req.Topics = append(req.Topics, kmsg.NewListOffsetsRequestTopic())
			req.Topics[0].Topic = topic
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Timestamp, p.CurrentLeaderEpoch = -1, -1
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
			kresp, err := first.Request(t.Context(), req)
			if err != nil {
				return 0, false, err
			}
			got := kresp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
			return got.ErrorCode, got.ErrorCode == 0 && got.Offset < 200, nil
		},
		"Fetch beyond its end": func(t *testing.T, first *kgo.Broker, id [16]byte) (int16, bool, error) {
			t.Helper()
			req := kmsg.NewPtrFetchRequest()
			req.MaxBytes, req.MaxWaitMillis, req.MinBytes, req.SessionEpoch = 1<<20, 100, 1, -1
			req.Topics = append(req.Topics, kmsg.NewFetchRequestTopic())
			req.Topics[0].Topic, req.Topics[0].TopicID = topic, id
			p := kmsg.NewFetchRequestTopicPartition()
			p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = 150, 1<<20, -1
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
			kresp, err := first.Request(t.Context(), req)
			if err != nil {
				return 0, false, err
			}
			got := kresp.(*kmsg.FetchResponse).Topics[0].Partitions[0]
			return got.ErrorCode, got.ErrorCode == 0 && got.HighWatermark < 200 || got.ErrorCode == kerr.OffsetOutOfRange.Code, nil
		},
		"OffsetFetch": func(t *testing.T, first *kgo.Broker, _ [16]byte) (int16, bool, error) {
			t.Helper()
			req := kmsg.NewPtrOffsetFetchRequest()
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = group
			req.Groups = append(req.Groups, g)
			kresp, err := first.Request(t.Context(), req)
			if err != nil {
				return 0, false, err
			}
			got := kresp.(*kmsg.OffsetFetchResponse).Groups[0]
			stale := got.ErrorCode == 0 && (len(got.Topics) == 0 || got.Topics[0].Partitions[0].Offset < 150)
			return got.ErrorCode, stale, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := objectstore.NewMeter(objectstore.NewMemory(time.Now))
			p := newProxy(t)
			first := start(t, store, func(c *barge.Config) { p.through(c); c.NumPartitions = 1 })
			produce(t, first, topic, 0, 100)
			commitOffset(t, first, group, topic, 50)
			idle(t, store)
			client := newClient(t, first)
			id := topicID(t, client, topic)
			p.sever() // before the second agent comes: the first never hears of it
			second := start(t, store, nil)
			if !sequencing(t, second) {
				t.Fatal("the second agent does not sequence")
			}
			produce(t, second, topic, 100, 200)
			commitOffset(t, second, group, topic, 150)

			code, stale, err := ask(t, client.SeedBrokers()[0], id)
			switch {
			case stale:
				t.Errorf("a deposed agent answered from the past (error code %d)", code)
			case err == nil && code != 0 && !kerr.IsRetriable(kerr.ErrorForCode(code)):
				t.Errorf("error code %d: %v, which clients do not retry", code, kerr.ErrorForCode(code))
			}
			consume(t, second, topic, 200)
		})
	}
}

func commitOffset(t *testing.T, a running, group, topic string, offset int64) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 8, group, -1
	req.Topics = append(req.Topics, kmsg.NewOffsetCommitRequestTopic())
	req.Topics[0].Topic = topic
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset = offset
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	eventually(t, "the offset is committed", func() bool {
		resp, err := req.RequestWith(t.Context(), newClient(t, a, kgo.MaxVersions(kversion.V3_0_0())))
		return err == nil && resp.Topics[0].Partitions[0].ErrorCode == 0
	})
}

func topicID(t *testing.T, c *kgo.Client, topic string) [16]byte {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = append(req.Topics, kmsg.NewMetadataRequestTopic())
	req.Topics[0].Topic = kmsg.StringPtr(topic)
	resp, err := req.RequestWith(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Topics[0].TopicID
}

// idle waits until nothing is asked of the store any more.
func idle(t *testing.T, store *objectstore.Meter) {
	t.Helper()
	eventually(t, "the agent is idle", func() bool {
		before := store.Snapshot().Total()
		time.Sleep(300 * time.Millisecond)
		return store.Snapshot().Total() == before
	})
}

// Only the start of a consumer asks where the log ends; polls and heartbeats at its end cost nothing.
func TestAConsumerThatWaitsSendsNoRequests(t *testing.T) {
	store := objectstore.NewMeter(objectstore.NewMemory(time.Now))
	a := start(t, store, nil)
	produce(t, a, "logs", 0, 10)
	c := newClient(t, a, kgo.ConsumeTopics("logs"), kgo.ConsumerGroup("g"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(200*time.Millisecond), kgo.HeartbeatInterval(200*time.Millisecond), kgo.AutoCommitInterval(100*time.Millisecond))
	for got := 0; got < 10; {
		fetches := c.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		got += fetches.NumRecords()
	}
	polled := make(chan int, 1)
	go func() { polled <- c.PollFetches(t.Context()).NumRecords() }()
	idle(t, store)
	before := store.Snapshot().Total()
	time.Sleep(3 * time.Second)
	if got := store.Snapshot().Total() - before; got != 0 {
		t.Errorf("%d requests in 3 s while a consumer waited at the end of its log", got)
	}
	produce(t, a, "logs", 10, 11)
	if got := <-polled; got != 1 {
		t.Errorf("the waiting consumer got %d records, want the new one", got)
	}
}

func TestIdleAgentSendsNoRequests(t *testing.T) {
	store := objectstore.NewMeter(objectstore.NewMemory(time.Now))
	a := start(t, store, nil)
	produce(t, a, "logs", 0, 10)
	eventually(t, "10 rows in the table", func() bool { return tableRows(t, store, "logs") == 10 })
	idle(t, store)
}

func TestAnotherClustersStoreIsRefused(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	if err := start(t, store, func(c *barge.Config) { c.ClusterID = "one" }).stop(); err != nil {
		t.Fatal(err)
	}
	cfg := barge.DefaultConfig()
	cfg.Listen, cfg.HTTP, cfg.ClusterID = "127.0.0.1:0", "", "two"
	agent, err := barge.New(cfg, barge.Parts{
		Logger: slog.New(slog.DiscardHandler), Env: func(string) string { return "" }, Now: time.Now, Store: store,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = agent.Run(t.Context())
	if err == nil {
		t.Fatal("an agent of cluster two runs on the store of cluster one")
	}
	for _, id := range []string{`"one"`, `"two"`} {
		if !strings.Contains(err.Error(), id) {
			t.Errorf("the error does not name %s: %v", id, err)
		}
	}
}

// leaky lets every racing writer win: the conditional write of a store that only checks and then writes.
type leaky struct{ objectstore.Store }

func (l leaky) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	if strings.HasPrefix(key, "meta/probe/") {
		return time.Now(), l.Put(ctx, key, body)
	}
	return l.Store.Create(ctx, key, body)
}

func TestAStoreThatLetsTwoWritersWinIsRefused(t *testing.T) {
	cfg := barge.DefaultConfig()
	cfg.Listen, cfg.HTTP = "127.0.0.1:0", ""
	agent, err := barge.New(cfg, barge.Parts{
		Logger: slog.New(slog.DiscardHandler), Env: func(string) string { return "" }, Now: time.Now,
		Store: leaky{objectstore.NewMemory(time.Now)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := agent.Run(ctx); !errors.Is(err, objectstore.ErrNotAtomic) || !strings.Contains(err.Error(), "postgres") {
		t.Fatalf("agent on a store without atomic creates: %v, want ErrNotAtomic and the way out", err)
	}
}

// A stop does not wait for the flush interval: what producers wait for is written at once, and they hear of it.
func TestAStopAnswersWhatWaitsForTheFlush(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	a := start(t, store, func(c *barge.Config) { c.FlushInterval = time.Hour; c.DrainTimeout = 5 * time.Second })
	c := newClient(t, a, kgo.DefaultProduceTopic("logs"))
	acked := make(chan error, 1)
	c.Produce(t.Context(), kgo.StringRecord("000000"), func(_ *kgo.Record, err error) { acked <- err })
	eventually(t, "the record waits for its flush", func() bool { return a.Stats().WaitingBytes > 0 })
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-acked:
		if err != nil {
			t.Errorf("the record was not acknowledged at the stop: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the record was never answered")
	}
	consume(t, start(t, store, nil), "logs", 1)
}

// A job claim of an agent that died must not keep its topic from the table for ever.
func TestClaimsOfADeadAgentEndWithItsSession(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	var ids byte
	newID := func() (id [16]byte) { ids++; id[0] = ids; return id }
	quiet := slog.New(slog.DiscardHandler)
	log, err := bucketlog.New(store, bucketlog.Config{Prefix: "meta/0"}, newID, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Create(t.Context(), "cluster.json", []byte(`{"id":"c","format":1}`)); err != nil {
		t.Fatal(err)
	}
	dead := metadata.NewSequencer(metadata.SequencerConfig{Owner: "dead"}, log, metadata.NewView(), time.Now, newID, quiet)
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- dead.Run(ctx) }()
	<-dead.Ready()
	opened, err := metadata.Ask[metadata.OpenSessionResult](ctx, dead, metadata.OpenSession{})
	if err != nil {
		t.Fatal(err)
	}
	id := record.TopicID{1}
	for _, cmd := range []metadata.Command{
		metadata.CreateTopic{ID: id, Name: "logs", Partitions: 1},
		metadata.ClaimJob{Session: opened.Session, Topics: []record.TopicID{id}, Outputs: []string{"tables/logs/_data/dead.parquet"}},
	} {
		if _, err := dead.Do(ctx, cmd); err != nil {
			t.Fatal(err)
		}
	}
	kill()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	a := start(t, store, nil)
	produce(t, a, "logs", 0, 10)
	eventually(t, "10 rows in the table", func() bool { return tableRows(t, store, "logs") == 10 })
}

func TestAStoreThatIsNotOursIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ key, body, want string }{
		"other objects": {"photos/cat.jpg", "x", "photos/cat.jpg"},
		"later format":  {"cluster.json", `{"id":"c","format":3}`, "upgrade"},
		"damaged":       {"cluster.json", `{"id":`, "cluster.json"},
	} {
		t.Run(name, func(t *testing.T) {
			store := objectstore.NewMemory(time.Now)
			if _, err := store.Create(t.Context(), c.key, []byte(c.body)); err != nil {
				t.Fatal(err)
			}
			cfg := barge.DefaultConfig()
			cfg.Listen, cfg.HTTP = "127.0.0.1:0", ""
			agent, err := barge.New(cfg, barge.Parts{
				Logger: slog.New(slog.DiscardHandler), Env: func(string) string { return "" }, Now: time.Now, Store: store,
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := agent.Run(ctx); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("agent: %v, want a refusal that names %q", err, c.want)
			}
		})
	}
}
