package ingest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/group"
	"github.com/bargedata/barge/ingest"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// startAgent runs the front door with everything real behind it, on a store and a log in memory.
func startAgent(t *testing.T, change func(*ingest.Config)) (addr string) {
	t.Helper()
	addrs, _ := startAgents(t, 1, func(_ int, cfg *ingest.Config, _ *ingest.Deps) {
		if change != nil {
			change(cfg)
		}
	})
	return addrs[0]
}

// startAgents runs n front doors, nodes 1 to n, with one of everything behind them. change comes before any of them runs.
func startAgents(t *testing.T, n int, change func(i int, cfg *ingest.Config, deps *ingest.Deps)) (addrs []string, servers []*ingest.Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(21, 22))
	random := func() *rand.Rand {
		mu.Lock()
		defer mu.Unlock()
		return rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
	}
	id := func() (id [16]byte) {
		mu.Lock()
		defer mu.Unlock()
		binary.BigEndian.PutUint64(id[:], rng.Uint64())
		binary.BigEndian.PutUint64(id[8:], rng.Uint64())
		return id
	}
	var ended sync.WaitGroup
	run := func(ctx context.Context, name string, f func(context.Context) error) {
		ended.Go(func() {
			if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}

	store := objectstore.NewMemory(time.Now)
	view := metadata.NewView()
	sequencer := metadata.NewSequencer(metadata.SequencerConfig{Owner: "test"}, metadata.NewMemoryLog(), view, time.Now, id, logger)
	inner, stopInner := context.WithCancel(context.Background())
	run(inner, "sequencer", sequencer.Run)
	<-sequencer.Ready()
	res, err := sequencer.Do(ctx, metadata.OpenSession{Agent: metadata.AgentInfo{Level: metadata.MaxLevel}})
	opened, ok := res.(metadata.OpenSessionResult)
	if err != nil || !ok {
		t.Fatal(res, err)
	}
	if raised, err := metadata.Ask[metadata.RaiseLevelResult](ctx, sequencer, metadata.RaiseLevel{Level: metadata.MaxLevel}); err != nil || raised.Err != nil {
		t.Fatal(raised, err)
	}

	noFiles := func(context.Context, fetch.RangeGetter, string, int64) (fetch.FileReader, error) {
		return nil, errors.New("nothing is compacted here")
	}
	reader, err := fetch.New(fetch.DefaultConfig(), view, store, noFiles, logger)
	if err != nil {
		t.Fatal(err)
	}
	batches, err := batcher.New(batcher.Config{
		Session: opened.Session, FlushInterval: 10 * time.Millisecond, OnUploaded: reader.Seed,
	}, store, sequencer, time.Now, random(), nil, logger)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := group.New(group.DefaultConfig(), view, sequencer, time.Now, random(), logger)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg := ingest.DefaultConfig()
		cfg.Listener, cfg.ClusterID, cfg.NodeID = ln, "integration", int32(i+1)
		deps := ingest.Deps{
			View: view, Commands: sequencer, Batches: ingest.FromBatcher(batches), Reader: reader, Groups: groups,
			Now: time.Now, NewTopicID: func() record.TopicID { return id() }, Log: logger,
		}
		change(i, &cfg, &deps)
		server, err := ingest.New(cfg, deps)
		if err != nil {
			t.Fatal(err)
		}
		addrs, servers = append(addrs, ln.Addr().String()), append(servers, server)
	}
	run(inner, "batcher", batches.Run)
	run(ctx, "groups", groups.Run)
	var served sync.WaitGroup
	for _, server := range servers {
		served.Add(1)
		run(ctx, "server", func(ctx context.Context) error { defer served.Done(); return server.Run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		served.Wait()
		stopInner()
		ended.Wait()
	})
	return addrs, servers
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, addr, name string, partitions int32, configs map[string]string) {
	t.Helper()
	set := make(map[string]*string)
	for k, v := range configs {
		set[k] = kadm.StringPtr(v)
	}
	if _, err := kadm.NewClient(client(t, addr)).CreateTopic(t.Context(), partitions, -1, set, name); err != nil {
		t.Fatal(err)
	}
}

// consume reads n records of topic from the start.
func consume(t *testing.T, addr, topic string, n int, opts ...kgo.Opt) []*kgo.Record {
	t.Helper()
	opts = append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, opts...)
	cl := client(t, addr, opts...)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out []*kgo.Record
	for len(out) < n {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(out), n, err)
		}
		out = append(out, fetches.Records()...)
	}
	return out
}

// A default client, idempotent and all, with every codec: what it reads back is what it sent.
func TestClientReadsBackWhatItProduced(t *testing.T) {
	addr := startAgent(t, nil)
	for _, codec := range []struct {
		name string
		c    kgo.CompressionCodec
	}{
		{"none", kgo.NoCompression()},
		{"gzip", kgo.GzipCompression()},
		{"snappy", kgo.SnappyCompression()},
		{"lz4", kgo.Lz4Compression()},
		{"zstd", kgo.ZstdCompression()},
	} {
		t.Run(codec.name, func(t *testing.T) {
			topic := "codec-" + codec.name
			createTopic(t, addr, topic, 3, nil)
			cl := client(t, addr, kgo.ProducerBatchCompression(codec.c), kgo.DefaultProduceTopic(topic))
			sent := make(map[string]*kgo.Record)
			var records []*kgo.Record
			for i := range 500 {
				r := &kgo.Record{
					Key:       []byte(fmt.Sprint(i)),
					Value:     []byte(strings.Repeat(fmt.Sprint("value ", i, " "), 1+i%7)),
					Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)),
				}
				switch i % 5 {
				case 0:
					r.Value = nil
				case 1:
					r.Value = []byte{}
				case 2:
					r.Headers = []kgo.RecordHeader{{Key: "h", Value: nil}, {Key: "h", Value: []byte{}}, {Key: "", Value: []byte{0xff}}}
				}
				sent[string(r.Key)] = r
				records = append(records, r)
			}
			if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			got := consume(t, addr, topic, len(records))
			next := make(map[int32]int64)
			for _, r := range got {
				want := sent[string(r.Key)]
				if want == nil || (r.Value == nil) != (want.Value == nil) || string(r.Value) != string(want.Value) ||
					!r.Timestamp.Equal(want.Timestamp) || len(r.Headers) != len(want.Headers) || r.Offset != want.Offset || r.Partition != want.Partition {
					t.Fatalf("got %+v, sent %+v", r, want)
				}
				for i, h := range r.Headers {
					if w := want.Headers[i]; h.Key != w.Key || (h.Value == nil) != (w.Value == nil) || string(h.Value) != string(w.Value) {
						t.Fatalf("header %+v, sent %+v", h, w)
					}
				}
				if r.Offset != next[r.Partition] {
					t.Fatalf("partition %d: offset %d after %d", r.Partition, r.Offset, next[r.Partition]-1)
				}
				next[r.Partition]++
				delete(sent, string(r.Key))
			}
			if len(sent) != 0 {
				t.Errorf("%d records were not read", len(sent))
			}
		})
	}
}

func TestLargestMessagesPass(t *testing.T) {
	addr := startAgent(t, nil)
	createTopic(t, addr, "large", 1, map[string]string{"max.message.bytes": fmt.Sprint(64 << 20)})
	big := make([]byte, 40<<20)
	for i := range big {
		big[i] = byte(i * 7 >> 3)
	}
	cl := client(t, addr, kgo.DefaultProduceTopic("large"), kgo.ProducerBatchMaxBytes(64<<20), kgo.BrokerMaxWriteBytes(100<<20),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Value: big}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	got := consume(t, addr, "large", 1)
	if !slices.Equal(got[0].Value, big) {
		t.Error("the large value came back changed")
	}
	createTopic(t, addr, "normal", 1, nil)
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "normal", Value: big[:2<<20]}).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("2 MiB into a topic of 1 MiB: %v, want MESSAGE_TOO_LARGE", err)
	}
}

func TestUnsupportedProducersHearWhy(t *testing.T) {
	addr := startAgent(t, nil)
	createTopic(t, addr, "events", 1, nil)
	txn := client(t, addr, kgo.TransactionalID("payments"), kgo.DefaultProduceTopic("events"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := txn.BeginTransaction(); !errors.Is(err, kerr.TransactionalIDAuthorizationFailed) {
		t.Errorf("transactional: %v, want TRANSACTIONAL_ID_AUTHORIZATION_FAILED", err)
	}
	plain := client(t, addr, kgo.DefaultProduceTopic("nowhere"), kgo.UnknownTopicRetries(1))
	if err := plain.ProduceSync(ctx, &kgo.Record{Value: []byte("v")}).FirstErr(); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("unknown topic: %v, want UNKNOWN_TOPIC_OR_PARTITION", err)
	}
}

func TestAutoCreatedTopicTakesTheFirstProduce(t *testing.T) {
	addr := startAgent(t, func(c *ingest.Config) { c.AutoCreateTopics, c.NumPartitions = true, 5 })
	cl := client(t, addr, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("fresh"))
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	details, err := kadm.NewClient(cl).ListTopics(t.Context(), "fresh")
	if err != nil || len(details["fresh"].Partitions) != 5 {
		t.Errorf("%v, %+v", err, details)
	}
}

func TestGroupMembersShareATopicAndCommit(t *testing.T) {
	addr := startAgent(t, nil)
	createTopic(t, addr, "work", 4, nil)
	producer := client(t, addr, kgo.DefaultProduceTopic("work"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	const n = 400
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Value: []byte(fmt.Sprint(i))})
	}
	if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	seen := make(map[string]int)
	all := make(chan struct{})
	members := make([]*kgo.Client, 2)
	var polling sync.WaitGroup
	for i := range members {
		members[i] = client(t, addr, kgo.ConsumerGroup("workers"), kgo.ConsumeTopics("work"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(100*time.Millisecond))
		polling.Go(func() {
			for {
				fetches := members[i].PollFetches(ctx)
				if fetches.IsClientClosed() || ctx.Err() != nil {
					return
				}
				mu.Lock()
				fetches.EachRecord(func(r *kgo.Record) {
					seen[string(r.Value)]++
					if len(seen) == n && seen[string(r.Value)] == 1 {
						close(all)
					}
				})
				mu.Unlock()
			}
		})
	}
	select {
	case <-all:
	case <-ctx.Done():
		t.Fatalf("%d of %d records seen", len(seen), n)
	}
	for _, m := range members {
		if err := m.CommitUncommittedOffsets(ctx); err != nil {
			t.Errorf("commit: %v", err)
		}
		m.LeaveGroup()
		m.Close()
	}
	polling.Wait()
	lags, err := kadm.NewClient(producer).FetchOffsets(ctx, "workers")
	if err != nil {
		t.Fatal(err)
	}
	var committed int64
	lags.Each(func(o kadm.OffsetResponse) { committed += o.At })
	if committed != n {
		t.Errorf("committed offsets add up to %d, want %d", committed, n)
	}
	if _, err := kadm.NewClient(producer).DeleteGroups(ctx, "workers"); err != nil {
		t.Errorf("delete group: %v", err)
	}
}

func TestOffsetsByTimeAreExact(t *testing.T) {
	addr := startAgent(t, nil)
	createTopic(t, addr, "times", 1, nil)
	cl := client(t, addr, kgo.DefaultProduceTopic("times"))
	base := time.UnixMilli(1_700_000_000_000)
	var records []*kgo.Record
	for i := range 50 {
		records = append(records, &kgo.Record{Value: []byte("v"), Timestamp: base.Add(time.Duration(i) * time.Second)})
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	admin := kadm.NewClient(cl)
	at, err := admin.ListOffsetsAfterMilli(t.Context(), base.Add(20500*time.Millisecond).UnixMilli(), "times")
	if o, _ := at.Lookup("times", 0); err != nil || o.Offset != 21 {
		t.Errorf("offset %d, %v; want 21", o.Offset, err)
	}
	end, err := admin.ListEndOffsets(t.Context(), "times")
	if o, _ := end.Lookup("times", 0); err != nil || o.Offset != 50 {
		t.Errorf("end %d, %v; want 50", o.Offset, err)
	}
}

// A consumer that stands below a deleted start goes on from the new one; an idempotent producer is known as before, and hears the start.
func TestClientsGoOnAfterADeletionOfRecords(t *testing.T) {
	addr := startAgent(t, nil)
	createTopic(t, addr, "cut", 1, nil)
	cl := client(t, addr, kgo.DefaultProduceTopic("cut"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	produce := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if err := cl.ProduceSync(ctx, &kgo.Record{Value: []byte(fmt.Sprint(i))}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	produce(0, 5)
	adm := kadm.NewClient(cl)
	res, err := adm.DeleteRecords(ctx, kadm.Offsets{"cut": {0: {Topic: "cut", Partition: 0, At: 4}}})
	if r, _ := res.Lookup("cut", 0); err != nil || r.Err != nil || r.LowWatermark != 4 {
		t.Fatal(err, r)
	}
	fresh := consume(t, addr, "cut", 1)
	if len(fresh) != 1 || fresh[0].Offset != 4 {
		t.Errorf("a new consumer starts at %d, want 4", fresh[0].Offset)
	}
	late := client(t, addr, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"cut": {0: kgo.NewOffset().At(1)}}), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	f := late.PollFetches(ctx)
	if records := f.Records(); f.Err() != nil || len(records) != 1 || records[0].Offset != 4 {
		t.Errorf("a consumer that stood at 1 got %v, %v; want to go on from 4", records, f.Err())
	}
	produce(5, 7)
	if got := consume(t, addr, "cut", 3); got[2].Offset != 6 || string(got[2].Value) != "6" {
		t.Errorf("after the deletion: %d %q, want 6", got[2].Offset, got[2].Value)
	}
	producers, err := adm.DescribeProducers(ctx, kadm.TopicsSet{"cut": {0: {}}})
	if p := producers["cut"].Partitions[0]; err != nil || p.Err != nil || len(p.ActiveProducers) != 1 || p.ActiveProducers.Sorted()[0].LastSequence != 6 {
		t.Errorf("%v, %+v: want one producer at sequence 6", err, p)
	}
}

func TestAdminCommandsOfAClient(t *testing.T) {
	addr := startAgent(t, nil)
	createTopic(t, addr, "one", 2, map[string]string{"retention.ms": "1234"})
	admin := kadm.NewClient(client(t, addr))
	configs, err := admin.DescribeTopicConfigs(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, c := range configs[0].Configs {
		found = found || c.Key == "retention.ms" && c.MaybeValue() == "1234"
	}
	if !found {
		t.Error("retention.ms=1234 is not among the configs")
	}
	brokers, err := admin.ListBrokers(t.Context())
	if err != nil || len(brokers) != 1 || brokers[0].NodeID != 1 {
		t.Errorf("brokers %+v, %v", brokers, err)
	}
	if _, err := admin.DeleteTopics(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	topics, err := kadm.NewClient(client(t, addr)).ListTopics(t.Context()) // the first client keeps what it knew a while
	if err != nil || topics.Has("one") {
		t.Errorf("after the deletion: %v, %v", topics.Names(), err)
	}
}

// Many small idempotent requests in flight at once keep their order, whatever the flushes do to them.
func TestPipelinedIdempotentProducerKeepsItsOrder(t *testing.T) {
	addr := startAgent(t, nil)
	createTopic(t, addr, "ordered", 1, nil)
	cl := client(t, addr, kgo.DefaultProduceTopic("ordered"), kgo.MaxBufferedRecords(5000), kgo.ProducerBatchMaxBytes(600), kgo.ProducerLinger(0))
	const n = 3000
	var failed error
	var mu sync.Mutex
	for i := range n {
		cl.Produce(t.Context(), &kgo.Record{Value: []byte(fmt.Sprint(i))}, func(_ *kgo.Record, err error) {
			mu.Lock()
			failed = errors.Join(failed, err)
			mu.Unlock()
		})
	}
	if err := cl.Flush(t.Context()); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	for i, r := range consume(t, addr, "ordered", n) {
		if string(r.Value) != fmt.Sprint(i) || r.Offset != int64(i) {
			t.Fatalf("record %d is %s at offset %d", i, r.Value, r.Offset)
		}
	}
}

// Consumers that ask for much and read nothing use the memory of replies up. Those who read go on, slower at most.
func TestConsumersThatDoNotReadHoldUpNobody(t *testing.T) {
	addr := startAgent(t, func(c *ingest.Config) { c.FetchBytes, c.ReplyBytes = 16<<20, 64<<20 })
	createTopic(t, addr, "large", 1, map[string]string{"max.message.bytes": fmt.Sprint(16 << 20)})
	createTopic(t, addr, "small", 1, nil)
	cl := client(t, addr, kgo.ProducerBatchMaxBytes(12<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range 40 {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "large", Value: make([]byte, 900<<10)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "small", Value: []byte("v")},
		&kgo.Record{Topic: "large", Value: make([]byte, 10<<20)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 12, 500, 1, 1<<30, -1
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic = "large"
	p := kmsg.NewFetchRequestTopicPartition()
	p.PartitionMaxBytes = 1 << 30
	ft.Partitions = append(ft.Partitions, p)
	req.Topics = append(req.Topics, ft)
	for i := range 12 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.(*net.TCPConn).SetReadBuffer(4096)
		for n := range 2 {
			if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, int32(2*i+n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(2 * time.Second) // until they hold what they can get
	start := time.Now()
	consume(t, addr, "small", 1)
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("one record took %v", took)
	}
	// The whole of the large topic, with a batch of 10 MiB at its end.
	consume(t, addr, "large", 41)
	t.Logf("all of the large topic was read after %v", time.Since(start))
}
