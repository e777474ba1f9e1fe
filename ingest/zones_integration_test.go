package ingest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bargedata/barge/ingest"
	"github.com/bargedata/barge/routing"
)

// traffic counts what an agent took in and gave out.
type traffic struct {
	ingest.Observer // nil: only the methods below are called, or the test fails with a panic
	produces        atomic.Int64
	fetchedBytes    atomic.Int64
}

func (o *traffic) Connections(int)                       {}
func (o *traffic) Error(int16, int16)                    {}
func (o *traffic) Refused(string)                        {}
func (o *traffic) Placed(string)                         {}
func (o *traffic) Redirected(string)                     {}
func (o *traffic) CrossedZones(string, string, int, int) {}
func (o *traffic) Produced(int, int64, time.Duration)    { o.produces.Add(1) }
func (o *traffic) Request(key int16, _, bytesOut int, _ time.Duration) {
	if key == 1 {
		o.fetchedBytes.Add(int64(bytesOut))
	}
}

// A franz-go producer and consumer meet three agents in three zones: each talks to its own zone's, the consumer by its rack
// alone, and both go on when that agent drains.
func TestClientsOfThreeZones(t *testing.T) {
	zones := []string{"a", "b", "c"}
	seen := make([]*traffic, 3)
	var mu sync.Mutex
	var members routing.Members
	addrs, servers := startAgents(t, 3, func(i int, cfg *ingest.Config, deps *ingest.Deps) {
		cfg.Zone = zones[i]
		seen[i] = &traffic{}
		deps.Observer = seen[i]
		mu.Lock()
		defer mu.Unlock()
		members = routing.Sorted(append([]routing.Member{{Session: uint64(i + 1), Kafka: cfg.Listener.Addr().String(), Zone: zones[i]}}, members...))
		deps.Members = func() routing.Members {
			mu.Lock()
			defer mu.Unlock()
			return members
		}
	})
	createTopic(t, addrs[0], "events", 6, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	producer := client(t, addrs[0], kgo.MetadataMinAge(50*time.Millisecond), kgo.ClientID("app,zone=b"), kgo.DefaultProduceTopic("events"))
	produce := func(n int) {
		t.Helper()
		for i := range n {
			if err := producer.ProduceSync(ctx, &kgo.Record{Value: fmt.Append(nil, i), Partition: int32(i % 6)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	produce(12)
	if a, b, c := seen[0].produces.Load(), seen[1].produces.Load(), seen[2].produces.Load(); a != 0 || b == 0 || c != 0 {
		t.Errorf("a producer of zone b wrote %d, %d and %d times to a, b and c", a, b, c)
	}

	consumer := client(t, addrs[0], kgo.MetadataMinAge(50*time.Millisecond), kgo.Rack("c"), kgo.ConsumeTopics("events"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := make(map[string]int)
	consume := func(n int) {
		t.Helper()
		for have := 0; have < n; {
			fetches := consumer.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatalf("after %d of %d records: %v", have, n, err)
			}
			fetches.EachRecord(func(r *kgo.Record) { have++; got[fmt.Sprintf("%d/%d", r.Partition, r.Offset)]++ })
		}
	}
	consume(12)
	before := seen[2].fetchedBytes.Load() // before there is more to read: consumers fetch ahead
	produce(60)
	consume(60)
	if seen[2].fetchedBytes.Load() == before {
		t.Error("a consumer of rack c read nothing from zone c")
	}

	// The agent of zone b leaves: the others hear of it first, then it sends its clients away.
	mu.Lock()
	leaving := append(routing.Members(nil), members...)
	leaving[1].Draining = true
	members = leaving
	mu.Unlock()
	servers[1].Drain()
	b := seen[1].produces.Load()
	produce(12)
	consume(12)
	if after := seen[1].produces.Load(); after != b {
		t.Errorf("%d batches were taken by an agent that drains", after-b)
	}
	for at, times := range got {
		if times != 1 {
			t.Errorf("record %s came %d times", at, times)
		}
	}
	if len(got) != 84 {
		t.Errorf("%d records came, want 84", len(got))
	}
}
