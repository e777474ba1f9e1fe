package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bargedata/barge"
)

const (
	demoTopic    = "logs"
	demoTick     = 20 * time.Millisecond // between two portions of lines
	demoBuffered = 64 << 20              // bytes of lines on their way, beyond which the generator waits
	demoEvery    = 5 * time.Second       // between status lines that are not rewritten in place
	portsTried   = 50
)

func (a *app) demoCommand() *cobra.Command {
	defaults := values{Config: barge.DefaultConfig(), LogFormat: "text", LogLevel: slog.LevelWarn, DataDir: "./barge-data", Rate: 2e6, Seed: 1}
	defaults.AutoCreateTopics = true
	// Rows show in the table soon, which an agent in production would pay for in requests and small files.
	defaults.TableCommitInterval = 3 * time.Second
	l := &loader{settings: demoSettings(), defaults: defaults}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run an agent on a local directory with generated logs going through it",
		Long: `Run one agent on a local directory, produce made-up logs of a few services to it, and show what comes of them: a
Kafka topic and a Delta table, with commands to paste that read both. Needs nothing else. Ctrl-C ends it; the data stays.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, from, err := l.load(a.environ)
			if err != nil {
				return err
			}
			dir, err := filepath.Abs(v.DataDir)
			if err != nil {
				return fmt.Errorf("data-dir %q: %w", v.DataDir, err)
			}
			v.DataDir, v.Store = dir, "file://"+dir
			if err := from.explain(v.Validate()); err != nil {
				return err
			}
			if v.Duration < 0 {
				return configError{fmt.Errorf("duration %v (%s): want 0 or more", v.Duration, from["duration"])}
			}
			return a.demo(cmd.Context(), v, from)
		},
	}
	l.register(cmd.Flags())
	return cmd
}

// demo runs agent and generator until ctx ends or the duration is over.
func (a *app) demo(ctx context.Context, v values, from origins) error {
	d := &demonstration{app: a, values: v, status: newStatusLine(a.stdout, demoEvery)}
	tell(a.stdout, "barge %s\ndata in %s\n", readVersion(), v.DataDir)
	for _, s := range []struct {
		name string
		addr *string
	}{{"listen", &d.values.Listen}, {"http", &d.values.HTTP}} {
		if from[s.name] != "" || *s.addr == "" {
			continue // chosen by the user: if it is taken, the agent says so
		}
		addr, err := freeAddress(ctx, *s.addr)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if addr != *s.addr {
			tell(a.stdout, "%s is taken, so --%s is %s\n", *s.addr, s.name, addr)
			*s.addr = addr
		}
	}
	if v.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, v.Duration)
		defer cancel()
	}
	return d.run(ctx)
}

// freeAddress returns the first address from addr up whose port nobody has.
func freeAddress(ctx context.Context, addr string) (string, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	first, err := strconv.Atoi(portText)
	if err != nil {
		return "", err
	}
	var lc net.ListenConfig
	for port := first; port < first+portsTried && port <= 65535; port++ {
		try := net.JoinHostPort(host, strconv.Itoa(port))
		l, lErr := lc.Listen(ctx, "tcp", try)
		if lErr == nil {
			return try, l.Close()
		}
		err = lErr
	}
	return "", fmt.Errorf("no free port from %s up: %w", addr, err)
}

// demonstration is one run of the demo.
type demonstration struct {
	*app
	values values
	agent  *barge.Agent
	status *statusLine

	begun, lastShown        time.Time
	lastBytes               int64
	rate                    float64      // as last shown, in bytes a second
	records, bytes, refused atomic.Int64 // acknowledged records and their values; records that were not
}

// run starts the agent, and after it the generator; they stop the other way round, so that what was produced is acknowledged.
func (d *demonstration) run(ctx context.Context) error {
	var err error
	// What the agent logs appears above the status line.
	logs := d.stderr
	if d.status.terminal && isTerminal(d.stderr) {
		logs = d.status
	}
	if d.agent, err = d.newAgent(d.values, newLogger(logs, d.values)); err != nil {
		return err
	}
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	served := make(chan error, 1)
	go func() { served <- d.agent.Run(serving) }()
	select {
	case <-d.agent.Ready():
	case err := <-served:
		return err
	case <-ctx.Done():
		stopServing()
		return <-served
	}
	d.welcome()
	producing, stopProducing := context.WithCancel(ctx)
	defer stopProducing()
	produced := make(chan error, 1)
	go func() { produced <- d.generate(producing, serving) }()

	agentEnded := d.watch(ctx, served, produced)
	d.status.end()
	if agentEnded {
		stopServing() // nobody is there to acknowledge what is on its way
	} else {
		tell(d.stdout, "draining\n")
	}
	stopProducing()
	producedErr := <-produced
	stopServing()
	agentErr := <-served
	d.farewell(d.agent.Stats())
	return errors.Join(agentErr, producedErr)
}

// watch shows the status until ctx ends or one of the two ends, and tells whether that was the agent. What they returned stays in
// the channels.
func (d *demonstration) watch(ctx context.Context, served, produced chan error) (agentEnded bool) {
	every := time.Second
	if d.status.terminal {
		every = 500 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	d.begun = d.now()
	d.lastShown, d.status.last = d.begun, d.begun
	for {
		select {
		case <-tick.C:
			d.show(d.now())
		case err := <-served:
			served <- err
			return true
		case err := <-produced:
			produced <- err
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// generate produces lines at the rate until ctx ends, then waits for their fate as long as the agent serves.
func (d *demonstration) generate(ctx, serving context.Context) error {
	client, err := brokersFlag(d.agent.Addr()).client(
		kgo.DefaultProduceTopic(demoTopic), kgo.AllowAutoTopicCreation(), kgo.MaxBufferedBytes(demoBuffered), kgo.ProducerLinger(50*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.RecordDeliveryTimeout(time.Minute), kgo.ClientID("barge-demo"),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	gen := newGenerator(d.values.Seed)
	failed := make(chan error, 1)
	tick := time.NewTicker(demoTick)
	defer tick.Stop()
	owed, last := 0.0, d.now()
	for ctx.Err() == nil {
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		case <-tick.C:
			now := d.now()
			// After a stall there is no flood: at most a second's worth is owed.
			owed = min(owed+float64(d.values.Rate)*gen.burstFactor()*now.Sub(last).Seconds(), float64(d.values.Rate))
			last = now
			for owed > 0 && ctx.Err() == nil {
				line := gen.next(now)
				owed -= float64(len(line.Value))
				d.produceLine(ctx, client, line, now, failed)
			}
		}
	}
	flush, cancel := context.WithTimeout(serving, d.values.DrainTimeout)
	defer cancel()
	if err := client.Flush(flush); err != nil {
		return fmt.Errorf("wait for the last records: %w", err)
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (d *demonstration) produceLine(ctx context.Context, client *kgo.Client, line logRecord, at time.Time, failed chan<- error) {
	r := &kgo.Record{
		Key: []byte(line.TraceID), Value: line.Value, Timestamp: at,
		Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte(line.TraceParent)}},
	}
	client.Produce(context.WithoutCancel(ctx), r, func(r *kgo.Record, err error) {
		if err != nil {
			d.refused.Add(1)
			select {
			case failed <- fmt.Errorf("produce to %s: %w", r.Topic, err):
			default: // the first is told
			}
			return
		}
		d.records.Add(1)
		d.bytes.Add(int64(len(r.Value)))
	})
}

// show renews the status line.
func (d *demonstration) show(now time.Time) {
	bytes := d.bytes.Load()
	rate := float64(bytes-d.lastBytes) / max(now.Sub(d.lastShown).Seconds(), 0.001)
	if !d.status.terminal && now.Sub(d.status.last) < d.status.every {
		return // the rate is of the whole time between two lines
	}
	d.lastBytes, d.lastShown = bytes, now
	if d.status.terminal && d.rate > 0 {
		rate = 0.8*d.rate + 0.2*rate // acknowledgements come in lumps
	}
	d.rate = rate
	d.status.show(now, statusText(rate, d.agent.Stats()))
}

// statusText tells in one line how it goes; the rate is in bytes of log lines a second.
func statusText(rate float64, s barge.Stats) string {
	text := fmt.Sprintf("%.1f MB/s, %s objects, %s requests, p50/p99 %d/%d ms", rate/1e6, humanCount(s.Objects), humanCount(s.Requests), s.P50.Milliseconds(), s.P99.Milliseconds())
	for _, t := range s.Tables {
		if t.Topic == demoTopic && t.Version >= 0 {
			return text + fmt.Sprintf(", table v%d %s rows", t.Version, humanCount(t.Rows))
		}
	}
	return text + ", no table yet"
}

// welcome prints where everything is, and commands to paste.
func (d *demonstration) welcome() {
	kafka := d.agent.Addr()
	table := filepath.Join(d.values.DataDir, "tables", demoTopic)
	tell(d.stdout, "Kafka on %s\n", kafka)
	if addr := d.agent.HTTPAddr(); addr != "" {
		tell(d.stdout, "overview on http://%s/, metrics on http://%s/metrics\n", addr, addr)
	}
	duck := fmt.Sprintf("INSTALL delta; LOAD delta; SELECT value->>'severity_text' AS severity, count(*) AS lines FROM delta_scan(%s) GROUP BY 1 ORDER BY 2 DESC", sqlQuote("file://"+table))
	polars := fmt.Sprintf("import polars as pl; print(pl.read_delta(%s).select('_kafka_offset', '_kafka_timestamp', 'key', 'value').tail())", pythonQuote(table))
	tell(d.stdout, `
produce   echo '{"body":"hello"}' | kcat -P -b %s -t %s
consume   kcat -C -b %s -t %s -o end
DuckDB    duckdb -c %s
Polars    python3 -c %s

`, kafka, demoTopic, kafka, demoTopic, shellQuote(duck), shellQuote(polars))
}

// farewell prints what came of it, and how to go on.
func (d *demonstration) farewell(s barge.Stats) {
	took := d.now().Sub(d.begun)
	tell(d.stdout, "%s records, %s of log lines in %s; %s objects, %s requests to the store\n",
		humanCount(d.records.Load()), humanSize(d.bytes.Load()), took.Round(time.Second), humanCount(s.Objects), humanCount(s.Requests))
	for _, t := range s.Tables {
		if t.Version >= 0 {
			tell(d.stdout, "table %s: version %d, %s rows\n", t.Topic, t.Version, humanCount(t.Rows))
		}
	}
	if n := d.refused.Load(); n > 0 {
		tell(d.stdout, "%s records were not acknowledged\n", humanCount(n))
	}
	tell(d.stdout, "go on with the same data: %s demo --data-dir %s\n", shellWord(d.program), shellWord(d.values.DataDir))
}

// shellQuote makes text one argument of a POSIX shell, in double quotes since SQL and Python are full of single ones.
func shellQuote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(text) + `"`
}

// shellWord quotes text only if the shell would not take it as it is.
func shellWord(text string) string {
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,") == "" && text != "" {
		return text
	}
	return shellQuote(text)
}

func sqlQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func pythonQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}
