package barge_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/objectstore"
)

// heapAtMost runs f and returns its time and the most bytes of heap there were meanwhile, looked at every 10 ms.
func heapAtMost(f func()) (took time.Duration, most uint64) {
	stop, top := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-stop:
				top <- most
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	runtime.GC() // what was before does not count
	begun := time.Now()
	f()
	took = time.Since(begun)
	close(stop)
	return took, <-top
}

// The largest record there is, 64 MiB as a batch, goes through producer, object, cache, table and back, on a topic that is told
// while it lives to take it.
func TestARecordOf64MiB(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	agent := start(t, store, func(c *barge.Config) { c.ReleaseGrace = 0 })
	const largest = 64 << 20
	client := newClient(t, agent, kgo.DefaultProduceTopic("models"), kgo.ProducerBatchMaxBytes(largest), kgo.BrokerMaxWriteBytes(100<<20),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedBytes(0), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(t.Context(), 1, -1, nil, "models"); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, largest-200)
	rng := rand.NewChaCha8([32]byte{1})
	if _, err := rng.Read(value); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(value)
	send := func(v []byte) error {
		return client.ProduceSync(t.Context(), &kgo.Record{Key: []byte("k"), Value: v}).FirstErr()
	}
	if err := send(value); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("before the topic is told: %v, want MESSAGE_TOO_LARGE", err)
	}
	alter := func(bytes string) error {
		altered, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &bytes}}, "models")
		if err != nil {
			return err
		}
		return altered[0].Err
	}
	if err := alter("67108865"); !errors.Is(err, kerr.InvalidConfig) {
		t.Errorf("over 64 MiB: %v, want INVALID_CONFIG", err)
	}
	if err := alter("67108864"); err != nil {
		t.Fatal(err)
	}
	took, heap := heapAtMost(func() {
		if err := send(value); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("produced in %v, %d MiB of heap at most, client and store in it", took.Round(time.Millisecond), heap>>20)

	read := func(a running, what string) {
		t.Helper()
		c := newClient(t, a, kgo.ConsumeTopics("models"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(1<<20), kgo.BrokerMaxReadBytes(200<<20))
		var got []*kgo.Record
		took, heap := heapAtMost(func() {
			for len(got) == 0 {
				fetches := c.PollFetches(t.Context())
				if err := fetches.Err(); err != nil {
					t.Fatal(err)
				}
				got = fetches.Records()
			}
		})
		if len(got) != 1 || sha256.Sum256(got[0].Value) != sum || !bytes.Equal(got[0].Key, []byte("k")) {
			t.Errorf("%s: %d records, the first of %d bytes", what, len(got), len(got[0].Value))
		}
		t.Logf("%s: read in %v, %d MiB of heap at most, client and store in it", what, took.Round(time.Millisecond), heap>>20)
	}
	read(agent, "from memory or its object")
	eventually(t, "the row is in the table", func() bool { return tableRows(t, store, "models") == 1 })
	eventually(t, "no WAL object is left", func() bool { return walObjects(t, store) == 0 })
	if err := agent.stop(); err != nil {
		t.Fatal(err)
	}
	read(start(t, store, nil), "by a fresh agent, from Parquet")
}

// A topic of 10,000 partitions, grown to that while it is written to: every partition is served, compacted and replayed.
func TestATopicOf10000Partitions(t *testing.T) {
	const partitions = 10_000
	store := objectstore.NewMemory(time.Now)
	agent := start(t, store, func(c *barge.Config) { c.ReleaseGrace = 0 })
	client := newClient(t, agent, kgo.DefaultProduceTopic("wide"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(50*time.Millisecond), kgo.UnknownTopicRetries(50))
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(t.Context(), 10, -1, nil, "wide"); err != nil {
		t.Fatal(err)
	}
	fill := func(from, to int) {
		t.Helper()
		for p := from; p < to; p++ {
			client.Produce(t.Context(), &kgo.Record{Partition: int32(p), Value: fmt.Appendf(nil, "%06d", p)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("partition %d: %v", p, err)
				}
			})
		}
		if err := client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fill(0, 10)
	took, _ := heapAtMost(func() {
		grown, err := admin.UpdatePartitions(t.Context(), partitions, "wide")
		if err == nil {
			err = grown["wide"].Err
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("grown in %v", took.Round(time.Millisecond))
	eventually(t, "the client knows the new partitions", func() bool {
		client.ForceMetadataRefresh()
		m, err := admin.Metadata(t.Context(), "wide")
		return err == nil && len(m.Topics["wide"].Partitions) == partitions
	})
	// A client of its own: the first one refreshes what it knows when it likes.
	client = newClient(t, agent, kgo.DefaultProduceTopic("wide"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	took, heap := heapAtMost(func() { fill(10, partitions) })
	t.Logf("a record into each partition in %v, %d MiB of heap at most, client and store in it", took.Round(time.Millisecond), heap>>20)
	took, heap = heapAtMost(func() { consume(t, agent, "wide", partitions) })
	t.Logf("all of them read in %v, %d MiB of heap at most", took.Round(time.Millisecond), heap>>20)
	took, _ = heapAtMost(func() {
		eventually(t, "every row is in the table", func() bool { return tableRows(t, store, "wide") == partitions })
	})
	t.Logf("all in the table after %v more", took.Round(time.Millisecond))
	if err := agent.stop(); err != nil {
		t.Fatal(err)
	}
	var next running
	took, _ = heapAtMost(func() { next = start(t, store, nil) })
	t.Logf("a fresh agent is ready in %v", took.Round(time.Millisecond))
	took, heap = heapAtMost(func() { consume(t, next, "wide", partitions) })
	t.Logf("all of them read from Parquet in %v, %d MiB of heap at most", took.Round(time.Millisecond), heap>>20)
	admin = kadm.NewClient(newClient(t, next))
	dirs, err := admin.DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	told, size := 0, int64(0)
	for _, broker := range dirs {
		broker.EachPartition(func(p kadm.DescribedLogDirPartition) { told++; size += p.Size })
	}
	if told != partitions || size <= 0 {
		t.Errorf("the log directories tell %d partitions and %d bytes", told, size)
	}
}
