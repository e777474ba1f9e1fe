//go:build realworld

package test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func numberedLines(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %05d of the console", i)
	}
	return lines
}

// The Java producer's defaults are acks=all, idempotence on, five requests in flight.
func TestDefaultJavaProducerAndConsumer(t *testing.T) {
	b := fileBackend(t)
	a := startAgent(t, b, "--table-commit-interval", "500ms")
	java(t, nil, "TopicCommand", "--bootstrap-server", a.brokers, "--create", "--topic", "java", "--partitions", "3", "--replication-factor", "1",
		"--config", "max.message.bytes=2000000") // the tool itself refuses names of configs it does not know
	described := string(java(t, nil, "TopicCommand", "--bootstrap-server", a.brokers, "--describe", "--topic", "java"))
	if !strings.Contains(described, "PartitionCount: 3") || !strings.Contains(described, "max.message.bytes=2000000") {
		t.Fatalf("kafka-topics --describe printed:\n%s", described)
	}
	lines := numberedLines(5000)
	java(t, strings.NewReader(strings.Join(lines, "\n")+"\n"), "ConsoleProducer", "--bootstrap-server", a.brokers, "--topic", "java")

	// Idempotence was on: the producer asked for its id.
	if n := a.metric(t, `barge_kafka_request_seconds_count{api="InitProducerID"}`); n < 1 {
		t.Errorf("the Java producer asked for a producer id %.0f times", n)
	}

	// In a group, so that joining, syncing, committing and leaving are what a Java consumer does.
	got := strings.Split(strings.TrimSpace(string(java(t, nil, "consumer.ConsoleConsumer", "--bootstrap-server", a.brokers, "--topic", "java",
		"--group", "readers", "--from-beginning", "--max-messages", "5000", "--timeout-ms", "60000"))), "\n")
	slices.Sort(got)
	if !slices.Equal(got, lines) {
		t.Fatalf("the Java consumer read %d lines, first %q; want the %d produced", len(got), got[0], len(lines))
	}
	waitForRows(t, b, "java", 5000)
	for _, engine := range engines {
		if rows := readTable(t, b, engine, "java"); len(rows) != len(lines) {
			t.Fatalf("%s reads %d rows, want %d", engine, len(rows), len(lines))
		}
	}
	if list := string(java(t, nil, "TopicCommand", "--bootstrap-server", a.brokers, "--list")); strings.TrimSpace(list) != "java" {
		t.Fatalf("kafka-topics --list printed %q", list)
	}
	java(t, nil, "TopicCommand", "--bootstrap-server", a.brokers, "--delete", "--topic", "java")
	a.stop(t)
}

func TestDefaultFranzGoClient(t *testing.T) {
	b := fileBackend(t)
	a := startAgent(t, b, "--auto-create-topics=true")
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	producer, err := kgo.NewClient(kgo.SeedBrokers(a.brokers), kgo.DefaultProduceTopic("franz"), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	lines := numberedLines(20000)
	for _, line := range lines {
		producer.Produce(ctx, kgo.StringRecord(line), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := producer.Flush(ctx); err != nil {
		t.Fatal(err)
	}

	// Two members share the partitions; the second joins while the first reads.
	seen := make(chan string, 4*len(lines))
	member := func() *kgo.Client {
		c, err := kgo.NewClient(kgo.SeedBrokers(a.brokers), kgo.ConsumeTopics("franz"), kgo.ConsumerGroup("franz-readers"),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(64<<10))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for ctx.Err() == nil {
				fetches := c.PollFetches(ctx)
				if fetches.IsClientClosed() {
					return
				}
				fetches.EachRecord(func(r *kgo.Record) { seen <- string(r.Value) })
			}
		}()
		return c
	}
	first := member()
	defer first.Close()
	unique := map[string]bool{}
	unique[<-seen] = true
	second := member()
	defer second.Close()
	for len(unique) < len(lines) {
		select {
		case v := <-seen:
			unique[v] = true
		case <-ctx.Done():
			t.Fatalf("%d of %d records read", len(unique), len(lines))
		}
	}
	if n := a.metric(t, "barge_produced_bytes_total"); n < 1000 { // compressed
		t.Errorf("the metrics tell of %.0f produced bytes", n)
	}
	if n := a.metric(t, "barge_store_requests_total"); n == 0 {
		t.Error("the metrics tell of no request to the store")
	}
}

func TestCommittedOffsetsSurviveARestart(t *testing.T) {
	b := fileBackend(t)
	a := startAgent(t, b, "--auto-create-topics=true")
	kcat := tool(t, "bin", "kcat")
	command(t, nil, strings.NewReader("one\ntwo\nthree\n"), kcat, "-P", "-b", a.brokers, "-t", "restart", "-p", "0")
	first := command(t, nil, nil, kcat, "-b", a.brokers, "-G", "g", "-c", "2", "-X", "auto.offset.reset=earliest", "-q", "restart")
	if string(first) != "one\ntwo\n" {
		t.Fatalf("first read %q", first)
	}
	a.kill(t)
	a = startAgent(t, b)
	second := command(t, nil, nil, kcat, "-b", a.brokers, "-G", "g", "-c", "1", "-X", "auto.offset.reset=earliest", "-q", "restart")
	if string(second) != "three\n" {
		t.Fatalf("after the restart the group read %q, want what it had not read", second)
	}
}
