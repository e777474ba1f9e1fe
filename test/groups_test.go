//go:build realworld

package test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// lines collects what a process prints, one record a line.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.buf.String()), "\n")
}

// startMember starts a process that prints the records it is given, until the test's end.
func startMember(t *testing.T, name string, args ...string) *lines {
	t.Helper()
	out, errs := &lines{}, &bytes.Buffer{}
	cmd := exec.Command(name, args...)
	cmd.Env = environment(nil)
	cmd.Stdout, cmd.Stderr = out, errs
	startProcess(t, cmd, errs)
	return out
}

// consumersOf describes a group of the consumer protocol.
func consumersOf(t *testing.T, cl *kgo.Client, group string) (out kmsg.ConsumerGroupDescribeResponseGroup) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{group}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		t.Fatalf("describe %s: %v", group, err)
	}
	return resp.Groups[0]
}

// TestConsumerProtocolClientsShareAGroup runs a Java, a librdkafka and a franz-go consumer in one group of the consumer protocol
// (KIP-848). Between them they read everything; their agent dies and comes back, and none of them has to join again.
func TestConsumerProtocolClientsShareAGroup(t *testing.T) {
	b := fileBackend(t)
	a := startAgent(t, b)
	cl, err := kgo.NewClient(kgo.SeedBrokers(a.brokers), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 6, 1, nil, "shared"); err != nil {
		t.Fatal(err)
	}
	tool(t, "jars")
	javaOut := startMember(t, "java", "-Xmx256m", "-cp", filepath.Join(os.Getenv("BARGE_TOOLS"), "jars", "*"),
		"org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", a.brokers, "--topic", "shared", "--group", "mixed",
		"--consumer-property", "group.protocol=consumer", "--consumer-property", "auto.offset.reset=earliest")
	pythonOut := startMember(t, tool(t, "venv", "bin", "python"), filepath.Join("py", "member.py"), a.brokers, "shared", "mixed")
	goOut := &lines{}
	goClient, err := kgo.NewClient(kgo.SeedBrokers(a.brokers), kgo.ConsumerGroup("mixed"), kgo.ConsumeTopics("shared"),
		kgo.ServerSideBalancer(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var polling sync.WaitGroup
	polling.Go(func() {
		for ctx.Err() == nil {
			goClient.PollFetches(ctx).EachRecord(func(r *kgo.Record) { _, _ = goOut.Write(append(r.Value, '\n')) })
		}
	})
	defer func() { cancel(); polling.Wait(); goClient.Close() }()

	waitFor(t, 2*time.Minute, "three members have their partitions", func() bool {
		g := consumersOf(t, cl, "mixed")
		return g.State == "Stable" && len(g.Members) == 3
	})
	produce := func(prefix string) {
		t.Helper()
		var all []*kgo.Record
		for _, line := range numberedLines(300) {
			all = append(all, &kgo.Record{Topic: "shared", Value: []byte(prefix + line)})
		}
		if err := cl.ProduceSync(t.Context(), all...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, time.Minute, "the members read "+prefix, func() bool {
			seen := map[string]bool{}
			for _, out := range []*lines{javaOut, pythonOut, goOut} {
				mine := 0
				for _, line := range out.all() {
					if strings.HasPrefix(line, prefix) {
						seen[line] = true
						mine++
					}
				}
				if mine == 0 {
					return false // each of them has two of the six partitions
				}
			}
			return len(seen) == 300
		})
	}
	produce("first-")

	before := consumersOf(t, cl, "mixed")
	a.kill(t)
	a = startAgentAt(t, b, a.brokers, a.http)
	produce("second-")
	after := consumersOf(t, cl, "mixed")
	if after.State != "Stable" || after.Epoch != before.Epoch || len(after.Members) != len(before.Members) {
		t.Errorf("after the agent's death the group is %s in epoch %d with %d members, before it was in epoch %d with %d",
			after.State, after.Epoch, len(after.Members), before.Epoch, len(before.Members))
	}

	out := string(java(t, nil, "consumer.group.ConsumerGroupCommand", "--bootstrap-server", a.brokers, "--describe", "--group", "mixed", "--members"))
	if strings.Count(out, "mixed") != 3 {
		t.Errorf("kafka-consumer-groups --members tells\n%s", out)
	}
	out = string(java(t, nil, "consumer.group.ConsumerGroupCommand", "--bootstrap-server", a.brokers, "--list", "--state", "--type"))
	if fields := strings.Fields(out); len(fields) != 6 || strings.Join(fields[3:], " ") != "mixed Consumer Stable" {
		t.Errorf("kafka-consumer-groups --list tells\n%s", out)
	}
}

// TestConsumerGroupCommandResetsAndDeletes goes through what kafka-consumer-groups does to a group without members.
func TestConsumerGroupCommandResetsAndDeletes(t *testing.T) {
	b := fileBackend(t)
	a := startAgent(t, b, "--auto-create-topics=true")
	kcat := tool(t, "bin", "kcat")
	command(t, nil, strings.NewReader("one\ntwo\nthree\n"), kcat, "-P", "-b", a.brokers, "-t", "reset", "-p", "0")
	read := func(n string) string {
		return string(command(t, nil, nil, kcat, "-b", a.brokers, "-G", "g", "-c", n, "-X", "auto.offset.reset=earliest", "-q", "reset"))
	}
	groups := func(args ...string) string {
		return string(java(t, nil, "consumer.group.ConsumerGroupCommand", append([]string{"--bootstrap-server", a.brokers, "--group", "g"}, args...)...))
	}
	if got := read("3"); got != "one\ntwo\nthree\n" {
		t.Fatalf("first read %q", got)
	}
	groups("--reset-offsets", "--topic", "reset", "--to-offset", "1", "--execute")
	if got := read("2"); got != "two\nthree\n" {
		t.Errorf("after the reset the group read %q", got)
	}
	if out := groups("--delete-offsets", "--topic", "reset"); !strings.Contains(out, "Successful") {
		t.Errorf("delete-offsets said\n%s", out)
	}
	if got := read("1"); got != "one\n" {
		t.Errorf("without offsets the group read %q", got)
	}
	if out := groups("--delete"); !strings.Contains(out, "successful") {
		t.Errorf("delete said\n%s", out)
	}
	out := string(java(t, nil, "consumer.group.ConsumerGroupCommand", "--bootstrap-server", a.brokers, "--list"))
	if strings.Contains(out, "g") {
		t.Errorf("the group is still listed:\n%s", out)
	}
}
