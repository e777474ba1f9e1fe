//go:build realworld

package test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// loadSettings say what each producer of a load sends.
type loadSettings struct {
	topic      string
	partitions int
	rate       int // records a second
	valueBytes int
	waiting    int // records without an answer, at most; the producer waits then
}

// load is three idempotent producers at work, each of another client library, and a consumer that reads along.
type load struct {
	settings  loadSettings
	producers []*producer
	watcher   *watcher
}

// producer is one client that sends numbered records, number n to partition n % partitions, until it is stopped.
type producer struct {
	name string
	stop func()        // sends no more and waits for what is unanswered
	done chan struct{} // closed when it has ended

	mu     sync.Mutex
	acks   []ack
	sent   int64 // known when it has ended
	faults []string
}

type ack struct {
	partition      int32
	number, offset int64
}

func (p *producer) acked(a ack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acks = append(p.acks, a)
}

func (p *producer) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

func (p *producer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acks)
}

// startLoad starts franz-go in this process, librdkafka in Python and Apache's client in Java. None of them may give up on a
// record within ten minutes.
func startLoad(t *testing.T, brokers string, s loadSettings) *load {
	t.Helper()
	jars := filepath.Join(tool(t, "jars"), "*")
	args := []string{s.topic, "", strconv.Itoa(s.partitions), strconv.Itoa(s.rate), strconv.Itoa(s.valueBytes), strconv.Itoa(s.waiting)}
	outside := func(name string, program string, before ...string) *producer {
		mine := slices.Clone(args)
		mine[1] = name
		return startOutside(t, name, program, slices.Concat(before, []string{brokers}, mine)...)
	}
	return &load{settings: s, watcher: startWatcher(t, brokers, s.topic), producers: []*producer{
		startFranz(t, brokers, s),
		outside("librdkafka", tool(t, "venv", "bin", "python"), filepath.Join("py", "load.py")),
		outside("java", "java", "-Xmx256m", "-cp", jars, filepath.Join("java", "Load.java")),
	}}
}

// watcher is a consumer at the end of the log. What it has been shown must stay, whatever happens to the agent that showed it.
type watcher struct {
	mu     sync.Mutex
	seen   map[place]string // to the id of the record
	faults []string
}

func startWatcher(t *testing.T, brokers, topic string) *watcher {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(500*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{seen: map[place]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		next := map[int32]int64{}
		for ctx.Err() == nil {
			fetches := client.PollFetches(ctx)
			w.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) {
				if r.Offset != next[r.Partition] {
					w.faults = append(w.faults, fmt.Sprintf("partition %d: offset %d was shown after %d", r.Partition, r.Offset, next[r.Partition]-1))
				}
				next[r.Partition] = r.Offset + 1
				id, _, _ := strings.Cut(string(r.Value), " ")
				w.seen[place{r.Partition, r.Offset}] = id
			})
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		client.Close()
	})
	return w
}

// check wants everything that was shown to be what the log holds, and all of that to be shown in the end.
func (w *watcher) check(t *testing.T, at map[place]string) {
	t.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.seen)
	}
	waitFor(t, time.Minute, "the consumer that reads along has been shown everything", func() bool { return count() >= len(at) })
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) > 0 {
		t.Fatalf("the consumer that reads along: %d faults, first: %s", len(w.faults), w.faults[0])
	}
	for p, id := range w.seen {
		if at[p] != id {
			t.Fatalf("a consumer was shown %s at offset %d of partition %d, which holds %q", id, p.offset, p.partition, at[p])
		}
	}
}

// startOutside runs a producer that speaks the lines of py/load.py.
func startOutside(t *testing.T, name, program string, args ...string) *producer {
	t.Helper()
	p := &producer{name: name, done: make(chan struct{})}
	cmd := exec.Command(program, args...)
	cmd.Env = environment(nil)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stop = sync.OnceFunc(func() { _ = stdin.Close() }) // fails when the process has ended, which done tells
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	go func() {
		defer close(p.done)
		p.read(stdout)
		if err := cmd.Wait(); err != nil {
			text := errs.String()
			p.fault("%s ended: %v\n%s", name, err, text[max(0, len(text)-3000):])
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it ended by itself
		<-p.done
	})
	return p
}

func (p *producer) read(out io.Reader) {
	whole := false
	for scan := bufio.NewScanner(out); scan.Scan(); {
		line := scan.Text()
		var a ack
		if n, _ := fmt.Sscanf(line, "ack %d %d %d", &a.partition, &a.number, &a.offset); n == 3 {
			p.acked(a)
		} else if n, _ := fmt.Sscanf(line, "sent %d", &p.sent); n == 1 {
			whole = true
		} else {
			p.fault("%s", line)
		}
	}
	if !whole {
		p.fault("%s did not say how much it sent", p.name)
	}
}

func startFranz(t *testing.T, brokers string, s loadSettings) *producer {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.DefaultProduceTopic(s.topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchMaxBytes(int32(max(2048, 4*s.valueBytes))), kgo.MaxBufferedRecords(s.waiting),
		kgo.RecordDeliveryTimeout(10*time.Minute), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.ProduceRequestTimeout(15*time.Second), kgo.UnknownTopicRetries(-1))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	p := &producer{name: "franz", done: make(chan struct{}), stop: sync.OnceFunc(func() { close(stopped) })}
	go func() {
		defer close(p.done)
		pace := time.NewTicker(10 * time.Millisecond)
		defer pace.Stop()
		for number, due := int64(0), 0.0; ; {
			select {
			case <-stopped:
				p.sent = number
				if err := client.Flush(ctx); err != nil {
					p.fault("franz: flush: %v", err)
				}
				return
			case <-pace.C:
			}
			for due = min(due+float64(s.rate)/100, float64(s.rate)/10); due >= 1; due-- {
				partition := int32(number % int64(s.partitions))
				value := fmt.Appendf(make([]byte, 0, s.valueBytes), "franz/%d/%d ", partition, number)
				value = append(value, bytes.Repeat([]byte("."), max(0, s.valueBytes-len(value)))...)
				n := number
				client.Produce(ctx, &kgo.Record{Partition: partition, Value: value}, func(r *kgo.Record, err error) {
					if err != nil {
						p.fault("failed %d %d %v", partition, n, err)
					} else {
						p.acked(ack{partition, n, r.Offset})
					}
				})
				number++
			}
		}
	}()
	t.Cleanup(func() {
		p.stop()
		cancel()
		<-p.done
		client.Close()
	})
	return p
}

// healthy fails the test when a producer has given up on a record or ended.
func (l *load) healthy(t *testing.T) {
	t.Helper()
	for _, p := range l.producers {
		p.mu.Lock()
		if len(p.faults) > 0 {
			t.Errorf("%s: %d faults, first: %s", p.name, len(p.faults), p.faults[0])
		}
		p.mu.Unlock()
		select {
		case <-p.done:
			t.Errorf("%s has ended", p.name)
		default:
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// acked is how many records have been acknowledged so far.
func (l *load) acked() (n int) {
	for _, p := range l.producers {
		n += p.count()
	}
	return n
}

// finish stops the producers and wants every record they sent acknowledged within the limit.
func (l *load) finish(t *testing.T, limit time.Duration) {
	t.Helper()
	for _, p := range l.producers {
		p.stop()
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for _, p := range l.producers {
		select {
		case <-p.done:
		case <-timer.C:
			t.Fatalf("%s: not all of its records are answered %v after it was told to stop; %d are", p.name, limit, p.count())
		}
		if len(p.faults) > 0 {
			t.Fatalf("%s: %d faults, first: %s", p.name, len(p.faults), p.faults[0])
		}
		if int64(len(p.acks)) != p.sent || p.sent == 0 {
			t.Fatalf("%s sent %d records, %d were acknowledged", p.name, p.sent, len(p.acks))
		}
	}
}

type place struct {
	partition int32
	offset    int64
}

// check holds what a consumer read, sorted by partition and offset, against what was acknowledged: every offset once, and
// of each producer exactly what it sent, in the order in which it sent it, at the offsets it was told.
func (l *load) check(t *testing.T, consumed []message) {
	t.Helper()
	at := map[place]string{}
	next := map[string]int64{} // by name/partition: the number that comes next
	end := map[int32]int64{}   // by partition: the offset that comes next
	for _, m := range consumed {
		if m.Offset != end[m.Partition] {
			t.Fatalf("partition %d: offset %d follows offset %d", m.Partition, m.Offset, end[m.Partition]-1)
		}
		end[m.Partition]++
		id, _, _ := strings.Cut(unbase64(t, m.Value), " ")
		at[place{m.Partition, m.Offset}] = id
		parts := strings.Split(id, "/")
		number, err := strconv.ParseInt(parts[len(parts)-1], 10, 64)
		if err != nil || len(parts) != 3 {
			t.Fatalf("partition %d offset %d holds %q, which no producer sent", m.Partition, m.Offset, id)
		}
		stream := parts[0] + "/" + parts[1]
		want, begun := next[stream]
		if !begun {
			want = int64(m.Partition)
		}
		if parts[1] != strconv.Itoa(int(m.Partition)) || number != want {
			t.Fatalf("partition %d offset %d holds %s, want %s/%d: lost, doubled or out of order", m.Partition, m.Offset, id, stream, want)
		}
		next[stream] = want + int64(l.settings.partitions)
	}
	var sent, untold int64
	for _, p := range l.producers {
		sent += p.sent
		for _, a := range p.acks {
			id := fmt.Sprintf("%s/%d/%d", p.name, a.partition, a.number)
			if a.offset < 0 { // a client may learn only that the batch is a duplicate
				untold++
				continue
			}
			if got := at[place{a.partition, a.offset}]; got != id {
				t.Fatalf("%s was acknowledged at offset %d of partition %d, which holds %q", id, a.offset, a.partition, got)
			}
		}
	}
	// Each stream has no gap and no record stands twice, so the count tells that none is missing at the end.
	if int64(len(consumed)) != sent {
		t.Fatalf("%d records served, %d acknowledged", len(consumed), sent)
	}
	l.watcher.check(t, at)
	t.Logf("%d records acknowledged (%d without their offset), each served once and in order", sent, untold)
}

// checkTable wants the table to hold exactly what was consumed, each record once.
func checkTable(t *testing.T, b backend, topic string, consumed []message, engines ...string) {
	t.Helper()
	values := map[place]string{}
	for _, m := range consumed {
		values[place{m.Partition, m.Offset}] = unbase64(t, m.Value)
	}
	waitForRows(t, b, topic, int64(len(consumed)))
	for _, engine := range engines {
		rows := readTable(t, b, engine, topic)
		samePlaces(t, topic+" by "+engine, rows, consumed)
		for _, r := range rows {
			if got, want := rowValue(t, r), values[place{r.Partition, r.Offset}]; got != want {
				t.Fatalf("%s by %s: partition %d offset %d holds %.60q, Kafka served %.60q", topic, engine, r.Partition, r.Offset, got, want)
			}
		}
	}
}

// number reads a test's size from the environment.
func number(t *testing.T, variable string, fallback int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a whole number from 1 up", variable, text)
	}
	return n
}
