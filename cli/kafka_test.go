package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/bargedata/barge/cli"
)

// result is what a run of the binary left.
type result struct {
	out, err string
	code     int
}

// barge runs a verb in this process.
func barge(t *testing.T, stdin io.Reader, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs lockedBuffer
	code := cli.Main(ctx, append([]string{"barge"}, args...), stdin, &out, &errs, nil)
	return result{out.String(), errs.String(), code}
}

// must wants exit status 0.
func must(t *testing.T, r result) result {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("exit status %d: %s", r.code, r.err)
	}
	return r
}

// lockedBuffer is a buffer that one goroutine reads while another writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// otherKafka is a Kafka that is not ours: what the verbs do must not depend on Barge.
func otherKafka(t *testing.T, opts ...kfake.Opt) string {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return strings.Join(c.ListenAddrs(), ",")
}

func TestLinesGoThroughAnyKafkaUnchanged(t *testing.T) {
	brokers := otherKafka(t)
	must(t, barge(t, nil, "topic", "create", "lines", "--partitions", "1", "--brokers", brokers))
	input := "a=1\r\n\n=nokey\nplain\n \xff\xfe\nlast"
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		r := must(t, barge(t, strings.NewReader(input), "produce", "lines", "--brokers", brokers, "--compression", codec))
		if r.out != "" || !strings.HasPrefix(r.err, "6 records, ") {
			t.Errorf("%s: totals %q, output %q", codec, r.err, r.out)
		}
	}
	got := must(t, barge(t, nil, "consume", "lines", "--brokers", brokers, "--exit-at-end")).out
	if want := strings.Repeat(input+"\n", 5); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	got = must(t, barge(t, nil, "consume", "lines", "--brokers", brokers, "--from", "28", "-n", "2", "-f", `%t/%p/%o %s\n`)).out
	if want := "lines/0/28  \xff\xfe\nlines/0/29 last\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKeysAreCutOffAndNullWithoutSeparator(t *testing.T) {
	brokers := otherKafka(t)
	must(t, barge(t, nil, "topic", "create", "keys", "--partitions", "3", "--brokers", brokers))
	file := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(file, []byte("a=1=2\n=empty\nnone\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, barge(t, nil, "produce", "keys", "-f", file, "--brokers", brokers, "--key-separator", "=", "--partition", "2"))
	out := must(t, barge(t, nil, "consume", "keys", "--brokers", brokers, "--exit-at-end", "-o", "jsonl")).out
	var got []string
	for line := range strings.Lines(out) {
		var r struct {
			Partition  int32
			Key, Value *string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		key := "null"
		if r.Key != nil {
			key = fmt.Sprintf("%q", *r.Key)
		}
		got = append(got, fmt.Sprintf("%d %s %s", r.Partition, key, *r.Value))
	}
	if want := []string{`2 "a" 1=2`, `2 "" empty`, `2 null none`}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	if r := barge(t, nil, "produce", "keys", "--brokers", brokers, "--partition", "3"); r.code != 2 || !strings.Contains(r.err, "has 3 partitions") {
		t.Errorf("a partition that does not exist: status %d, %s", r.code, r.err)
	}
}

func TestAGroupGoesOnWhereItPrintedLast(t *testing.T) {
	brokers := otherKafka(t)
	must(t, barge(t, nil, "topic", "create", "g", "--partitions", "1", "--brokers", brokers))
	must(t, barge(t, strings.NewReader("1\n2\n3\n4\n5\n"), "produce", "g", "--brokers", brokers))
	first := must(t, barge(t, nil, "consume", "g", "--brokers", brokers, "--group", "readers", "-n", "2")).out
	second := must(t, barge(t, nil, "consume", "g", "--brokers", brokers, "--group", "readers", "-n", "3")).out
	if first != "1\n2\n" || second != "3\n4\n5\n" {
		t.Errorf("first %q, second %q", first, second)
	}
}

func TestRecordsAreDeletedOnAnyKafka(t *testing.T) {
	brokers := otherKafka(t)
	run := func(args ...string) result { return barge(t, nil, append(args, "--brokers", brokers)...) }
	must(t, run("topic", "create", "cut", "--partitions", "2"))
	must(t, barge(t, strings.NewReader("1\n2\n3\n4\n5\n"), "produce", "cut", "--brokers", brokers, "--partition", "0"))
	must(t, barge(t, strings.NewReader("6\n7\n"), "produce", "cut", "--brokers", brokers, "--partition", "1"))
	if r := must(t, run("topic", "delete-records", "cut", "--before", "3", "--partition", "0")); strings.Join(strings.Fields(r.out), " ") != "PARTITION LOG-START 0 3" {
		t.Errorf("told %q", r.out)
	}
	if got := must(t, run("consume", "cut", "--exit-at-end")).out; !strings.Contains(got, "4\n5\n") || strings.Contains(got, "3\n") {
		t.Errorf("consumed %q", got)
	}
	var rows []struct {
		Topic     string
		Partition int32
		LogStart  int64 `json:"log_start_offset"`
	}
	r := must(t, run("topic", "delete-records", "cut", "--before", "end", "-o", "json"))
	if err := json.Unmarshal([]byte(r.out), &rows); err != nil || len(rows) != 2 || rows[0].LogStart != 5 || rows[1].LogStart != 2 {
		t.Errorf("told %s (%v)", r.out, err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"cut", "--before", "99", "--partition", "1"}, 1, "partition 1: OFFSET_OUT_OF_RANGE"},
		{[]string{"cut", "--before", "soon"}, 2, "want an offset, or end"},
		{[]string{"cut"}, 2, "want an offset, or end"},
		{[]string{"cut", "--before", "1", "--partition", "2"}, 2, "has 2 partitions"},
		{[]string{"nowhere", "--before", "1"}, 1, "does not exist"},
	} {
		if r := run(append([]string{"topic", "delete-records"}, c.args...)...); r.code != c.code || !strings.Contains(r.err, c.want) {
			t.Errorf("%v: status %d, %s; want %d, %s", c.args, r.code, r.err, c.code, c.want)
		}
	}
}

func TestTopicsOfAnyKafka(t *testing.T) {
	brokers := otherKafka(t)
	run := func(args ...string) result { return barge(t, nil, append(args, "--brokers", brokers)...) }
	if got := must(t, run("topic", "list", "-o", "json")).out; got != "[]\n" {
		t.Errorf("no topics: %q", got)
	}
	must(t, run("topic", "create", "b", "--partitions", "2", "--config", "retention.ms=1000"))
	must(t, run("topic", "create", "a", "--partitions", "1"))
	if got := must(t, run("topic", "list")).out; got != "TOPIC\tPARTITIONS\tREPLICAS\na\t1\t1\nb\t2\t1\n" {
		t.Errorf("list: %q", got)
	}
	must(t, barge(t, strings.NewReader("x\ny\n"), "produce", "b", "--partition", "1", "--brokers", brokers))
	var d struct {
		Topic      string
		Partitions int
		Details    []struct {
			Partition int32
			HW        int64 `json:"high_watermark"`
		} `json:"partition_details"`
		Configs []struct{ Name, Value string }
	}
	if err := json.Unmarshal([]byte(must(t, run("topic", "describe", "b", "-o", "json")).out), &d); err != nil {
		t.Fatal(err)
	}
	if d.Topic != "b" || d.Partitions != 2 || len(d.Details) != 2 || d.Details[0].HW != 0 || d.Details[1].HW != 2 {
		t.Errorf("describe: %+v", d)
	}
	if out := must(t, run("topic", "describe", "b")).out; !strings.Contains(out, "retention.ms\t1000\ttopic\n") {
		t.Errorf("describe: %s", out)
	}
	must(t, run("topic", "alter", "b", "--config", "max.message.bytes=5000", "--append", "cleanup.policy=compact", "--unset", "retention.ms", "--partitions", "3", "--validate-only"))
	if out := must(t, run("topic", "describe", "b")).out; !strings.Contains(out, "retention.ms\t1000\ttopic\n") || strings.Contains(out, "max.message.bytes\t5000") {
		t.Errorf("asking changed something: %s", out)
	}
	if got := must(t, run("topic", "alter", "b", "--config", "max.message.bytes=5000", "--append", "cleanup.policy=compact", "--unset", "retention.ms", "--partitions", "3")).out; got != "altered b: 3 configs, 3 partitions\n" {
		t.Errorf("alter: %q", got)
	}
	if out := must(t, run("topic", "describe", "b")).out; !strings.Contains(out, "max.message.bytes\t5000\ttopic\n") || strings.Contains(out, "retention.ms\t1000") ||
		!strings.Contains(out, "compact\ttopic\n") || !strings.Contains(out, "3 partitions") {
		t.Errorf("altered: %s", out)
	}
	if got := must(t, run("topic", "alter", "b", "--subtract", "cleanup.policy=compact", "-o", "json")).out; got != "{\n  \"topic\": \"b\",\n  \"configs\": 1\n}\n" && got != "{\"topic\":\"b\",\"configs\":1}\n" {
		t.Errorf("alter: %q", got)
	}
	for args, want := range map[string]string{
		"topic alter missing --config flush.ms=1": `topic "missing" does not exist`,
		"topic create a":         `topic "a": TOPIC_ALREADY_EXISTS`,
		"topic describe missing": `topic "missing" does not exist`,
		"topic delete missing":   `topic "missing"`,
		"consume missing":        `topic "missing" does not exist`,
	} {
		if r := run(strings.Fields(args)...); r.code != 1 || !strings.Contains(r.err, want) {
			t.Errorf("%s: status %d, %q, want %q", args, r.code, r.err, want)
		}
	}
	must(t, run("topic", "delete", "b"))
	if got := must(t, run("topic", "list")).out; strings.Contains(got, "b\t") {
		t.Errorf("after the deletion: %q", got)
	}
}

func TestARefusedLineIsNamed(t *testing.T) {
	brokers := otherKafka(t)
	must(t, barge(t, nil, "topic", "create", "small", "--partitions", "1", "--config", "max.message.bytes=2000", "--brokers", brokers))
	input := "short\n" + strings.Repeat("x", 5000) + "\nafter\n"
	r := barge(t, strings.NewReader(input), "produce", "small", "--brokers", brokers)
	if r.code != 1 || !strings.Contains(r.err, "line 2: ") || !strings.Contains(r.err, "max.message.bytes") {
		t.Errorf("status %d: %s", r.code, r.err)
	}
	r = barge(t, strings.NewReader("x\n"), "produce", "missing", "--brokers", brokers)
	if r.code != 1 || !strings.Contains(r.err, `topic "missing" does not exist`) {
		t.Errorf("status %d: %s", r.code, r.err)
	}
}

// stuck is a standard input on which nobody types any more.
type stuck struct{ first io.Reader }

func (s stuck) Read(p []byte) (int, error) {
	if n, err := s.first.Read(p); err == nil {
		return n, nil
	}
	select {}
}

func TestAnInterruptSendsWhatWasRead(t *testing.T) {
	brokers := otherKafka(t)
	must(t, barge(t, nil, "topic", "create", "tail", "--partitions", "1", "--brokers", brokers))
	ctx, interrupt := context.WithCancel(t.Context())
	var errs lockedBuffer
	done := make(chan int, 1)
	go func() {
		done <- cli.Main(ctx, []string{"barge", "produce", "tail", "--brokers", brokers}, stuck{strings.NewReader("one\ntwo\n")}, io.Discard, &errs, nil)
	}()
	got := must(t, barge(t, nil, "consume", "tail", "--brokers", brokers, "-n", "2")).out
	interrupt()
	if code := <-done; code != 0 || got != "one\ntwo\n" || !strings.HasPrefix(errs.String(), "2 records") {
		t.Errorf("status %d, consumed %q, totals %q", code, got, errs.String())
	}
}
