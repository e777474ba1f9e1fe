//go:build realworld

package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// script is what one client does with a server at an address.
type script struct {
	name string
	run  func(t *testing.T, addr string)
}

func scripts() []script {
	const topic = "shared"
	lines := func() *strings.Reader { return strings.NewReader("one\ntwo\nthree\n") }
	return []script{
		{"kafka-topics", func(t *testing.T, addr string) {
			java(t, nil, "TopicCommand", "--bootstrap-server", addr, "--create", "--topic", topic, "--partitions", "1", "--config", "retention.ms=3600000000")
			java(t, nil, "TopicCommand", "--bootstrap-server", addr, "--describe", "--topic", topic)
		}},
		{"kcat", func(t *testing.T, addr string) {
			kcat := tool(t, "bin", "kcat")
			command(t, nil, nil, kcat, "-b", addr, "-L", "-t", topic)
			command(t, nil, lines(), kcat, "-b", addr, "-P", "-t", topic, "-p", "0")
			if out := command(t, nil, nil, kcat, "-b", addr, "-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q"); string(out) != "one\ntwo\nthree\n" {
				t.Errorf("kcat reads %q at %s", out, addr)
			}
			command(t, nil, nil, kcat, "-b", addr, "-Q", "-t", topic+":0:0")
		}},
		{"console producer", func(t *testing.T, addr string) {
			java(t, lines(), "ConsoleProducer", "--bootstrap-server", addr, "--topic", topic)
		}},
		{"console consumer", func(t *testing.T, addr string) {
			out := java(t, nil, "consumer.ConsoleConsumer", "--bootstrap-server", addr, "--topic", topic, "--group", "console", "--from-beginning", "--max-messages", "6", "--timeout-ms", "30000")
			if n := strings.Count(string(out), "\n"); n != 6 {
				t.Errorf("the console consumer reads %d records at %s: %q", n, addr, out)
			}
		}},
		{"kafka-consumer-groups", func(t *testing.T, addr string) {
			java(t, nil, "consumer.group.ConsumerGroupCommand", "--bootstrap-server", addr, "--describe", "--group", "console")
			java(t, nil, "consumer.group.ConsumerGroupCommand", "--bootstrap-server", addr, "--group", "console", "--topic", topic, "--reset-offsets", "--to-earliest", "--execute")
		}},
		{"kafka-get-offsets", func(t *testing.T, addr string) {
			java(t, nil, "GetOffsetShell", "--bootstrap-server", addr, "--topic", topic)
		}},
		{"confluent-kafka-python", func(t *testing.T, addr string) { python(t, nil, nil, "consume.py", addr, topic) }},
		{"franz-go", func(t *testing.T, addr string) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumerGroup("franz"), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("four")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < 7; {
				fetches := client.PollFetches(ctx)
				if err := fetches.Err(); err != nil {
					t.Fatal(err)
				}
				n += fetches.NumRecords()
			}
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				t.Fatal(err)
			}
		}},
	}
}

// chance are the leaves that tell how records fell into batches, and how far a log was when it was asked: the cases of raw
// requests hold these to Kafka's.
var chance = []string{".RecordBatches", ".HighWatermark", ".LastStableOffset", ".BaseOffset", ".SessionID", "].Timestamp", ".Generation", ".GenerationID"}

// heard is what a client was answered, by path; versions of a request are a path of their own.
func heard(seen []exchange) map[string][]string {
	out := make(map[string][]string)
	note := func(path, value string) { out[path] = append(out[path], "any "+value) }
	for _, e := range seen {
		note(apiName(e.req.Key()), fmt.Sprintf("version %d", e.req.GetVersion()))
	next:
		for path, value := range leavesOf(e.resp) {
			for _, c := range chance {
				if strings.HasSuffix(path, c) {
					continue next
				}
			}
			note(path, value)
		}
	}
	return out
}

// Clients that do the same with Apache Kafka and with barge use the same versions and hear the same; what differs is listed with
// its reason. A recorder between them notes every request and answer.
func TestClientsHearWhatKafkaSays(t *testing.T) {
	t.Parallel()
	kafkaRecorder, kafkaPort := listenRecorder(t)
	ourRecorder, ourPort := listenRecorder(t)
	kafka, ours := servers(t, kafkaRecorder.addr, ourRecorder.addr)
	awaitCoordinators(t, kafka)
	awaitCoordinators(t, ours)
	kafkaRecorder.forward(kafkaPort, kafka)
	ourRecorder.forward(ourPort, ours)
	k, b := make(map[string]map[string][]string), make(map[string]map[string][]string)
	for _, s := range scripts() {
		for _, r := range []struct {
			*recorder
			into map[string]map[string][]string
		}{{kafkaRecorder, k}, {ourRecorder, b}} {
			s.run(t, r.addr)
			seen := r.exchanges()
			if len(seen) == 0 {
				t.Fatalf("%s said nothing to %s", s.name, r.target)
			}
			r.into[s.name] = heard(seen)
			if dir := os.Getenv("BARGE_RECORDS"); dir != "" {
				var text strings.Builder
				for _, e := range seen {
					fmt.Fprintf(&text, "%s v%d %+v\n  -> %+v\n", apiName(e.req.Key()), e.req.GetVersion(), e.req, e.resp)
				}
				if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(s.name, " ", "-")+"-"+r.target+".txt"), []byte(text.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	report(t, readRules(t, filepath.Join("compare", "clients.txt")), k, b)
}
