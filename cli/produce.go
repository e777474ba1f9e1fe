package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	maxLine          = 64 << 20 // the largest record any topic may take
	produceBuffer    = 128 << 20
	defaultBatchSize = 1_000_012 // Kafka's default of max.message.bytes
	deliveryTimeout  = 2 * time.Minute
	progressEvery    = 10 * time.Second // where the progress is not rewritten in place
)

// produceOptions is what `barge produce` is told.
type produceOptions struct {
	brokers     brokersFlag
	topic       string
	file        string
	separator   string
	compression string
	partition   int32 // -1: chosen by key
}

func (a *app) produceCommand() *cobra.Command {
	var o produceOptions
	cmd := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Send lines of a file or of standard input as records, to any Kafka",
		Long: `Send each line as one record: the line without its newline is the value, carriage returns and blank lines are
kept. The command ends when all are acknowledged; the totals stand on standard error. With one record refused it ends
with status 1 and names the line.`,
		Example: `  tail -f app.log | barge produce logs
  barge produce users -f users.tsv --key-separator $'\t'`,
		Args: exactly("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.topic = args[0]
			return a.produce(cmd.Context(), o)
		},
	}
	a.registerBrokers(cmd.Flags(), &o.brokers)
	cmd.Flags().StringVarP(&o.file, "file", "f", "", "`file` to read instead of standard input")
	cmd.Flags().StringVar(&o.separator, "key-separator", "", "`text` that ends the key at the start of a line; lines without it have a null key")
	cmd.Flags().StringVar(&o.compression, "compression", "zstd", "`codec`: none, gzip, snappy, lz4 or zstd")
	cmd.Flags().Int32Var(&o.partition, "partition", -1, "`partition` for all records; -1 is by key")
	return cmd
}

func compressionCodec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	names := []string{"none", "gzip", "snappy", "lz4", "zstd"}
	return kgo.NoCompression(), usagef("--compression %q: want none, gzip, snappy, lz4 or zstd%s", name, didYouMean(name, names, ""))
}

func (a *app) produce(ctx context.Context, o produceOptions) error {
	codec, err := compressionCodec(o.compression)
	if err != nil {
		return err
	}
	if o.partition < -1 {
		return usagef("--partition %d: want 0 or more", o.partition)
	}
	in, size := a.stdin, int64(0)
	if o.file != "" && o.file != "-" {
		f, err := os.Open(o.file)
		if err != nil {
			return err // names the file
		}
		defer func() { _ = f.Close() }() // was only read
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		in = f
	}
	batchBytes, err := a.findTopic(ctx, o)
	if err != nil {
		return err
	}
	opts := []kgo.Opt{
		kgo.DefaultProduceTopic(o.topic), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(batchBytes),
		kgo.MaxBufferedBytes(produceBuffer), kgo.RecordDeliveryTimeout(deliveryTimeout), kgo.ProducerLinger(20 * time.Millisecond),
		// A topic that does not exist is asked for a few times, in case the brokers are creating it.
		kgo.UnknownTopicRetries(2), kgo.MetadataMinAge(500 * time.Millisecond),
	}
	if o.partition >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	client, err := o.brokers.client(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	p := &production{options: o, client: client, size: size, begun: a.now(), status: newStatusLine(a.stderr, progressEvery), now: a.now}
	p.status.last = p.begun
	return p.run(ctx, in, a.stderr)
}

// findTopic returns how large a batch of the topic may be. A topic that does not exist is left to the brokers, which may create
// it at the first record.
func (a *app) findTopic(ctx context.Context, o produceOptions) (int32, error) {
	c, err := o.brokers.client()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	m, err := o.brokers.reach(ctx, c, o.topic)
	if err != nil {
		return 0, err
	}
	t := m.Topics[o.topic]
	if errors.Is(t.Err, kerr.InvalidTopicException) {
		return 0, topicError(o.topic, t.Err, "")
	}
	if t.Err != nil {
		return defaultBatchSize, nil // producing tells better
	}
	if o.partition >= 0 && int(o.partition) >= len(t.Partitions) {
		return 0, usagef("--partition %d: topic %q has %d partitions, counted from 0", o.partition, o.topic, len(t.Partitions))
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	configs, err := kadm.NewClient(c).DescribeTopicConfigs(ctx, o.topic)
	if err != nil {
		return defaultBatchSize, nil // not everybody may ask, and the default fits
	}
	for _, rc := range configs {
		for _, e := range rc.Configs {
			if e.Key == "max.message.bytes" && e.Value != nil {
				if n, err := strconv.ParseInt(*e.Value, 10, 32); err == nil && n >= 1<<10 {
					return int32(min(n, maxLine)), nil
				}
			}
		}
	}
	return defaultBatchSize, nil
}

// production sends the lines of one input.
type production struct {
	options produceOptions
	client  *kgo.Client
	size    int64 // of the input, 0 when unknown
	begun   time.Time
	now     func() time.Time
	status  *statusLine

	read, acked, ackedBytes atomic.Int64 // bytes read; records and bytes of values acknowledged
	mu                      sync.Mutex
	failure                 error // the first
}

// run reads until the end of in, the end of ctx, or the first refusal, waits for the fate of what was read, and prints the totals.
func (p *production) run(ctx context.Context, in io.Reader, stderr io.Writer) error {
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// Reading may block for ever, as from a terminal: at the end of ctx it is left behind, and the process ends.
	ended := make(chan error, 1)
	lines := make(chan []byte, 64)
	go func() {
		ended <- p.readLines(work, in, lines)
		close(lines)
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	number := int64(0)
	for open := true; open; {
		select {
		case line, ok := <-lines:
			if !ok {
				open = false
				break
			}
			number++
			p.send(work, stop, number, line)
		case <-tick.C:
			p.progress()
		case <-work.Done():
			open = false
		}
	}
	interrupted := ctx.Err() != nil
	// What was read is sent, also after an interrupt.
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), deliveryTimeout+10*time.Second)
	defer cancel()
	flushErr := p.flush(flush)
	p.status.end()
	took := max(p.now().Sub(p.begun), time.Millisecond)
	bytes := p.ackedBytes.Load()
	tell(stderr, "%s records, %s acknowledged in %s (%s/s)\n", humanCount(p.acked.Load()), humanSize(bytes), took.Round(10*time.Millisecond), humanSize(int64(float64(bytes)/took.Seconds())))
	p.mu.Lock()
	failure := p.failure
	p.mu.Unlock()
	switch {
	case failure != nil:
		return failure
	case flushErr != nil:
		return fmt.Errorf("wait for the last records: %w", flushErr)
	case interrupted && p.size > 0:
		return fmt.Errorf("interrupted after line %d of %s", number, p.options.file)
	case interrupted:
		return nil // how `tail -f | barge produce` ends
	default:
		return <-ended
	}
}

// flush waits for the fate of every record, and keeps the progress moving meanwhile.
func (p *production) flush(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- p.client.Flush(ctx) }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			p.progress()
		}
	}
}

// readLines sends lines without their newline. The last one may lack it.
func (p *production) readLines(ctx context.Context, in io.Reader, lines chan<- []byte) error {
	r := bufio.NewReaderSize(in, 256<<10)
	for number := 1; ; number++ {
		line, err := readLine(r)
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", number, err)
		}
		p.read.Add(int64(len(line)))
		select {
		case lines <- bytes.TrimSuffix(line, []byte("\n")):
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return nil //nolint:nilerr // the end, after a last line without newline
		}
	}
}

// readLine returns the next line with its newline, in memory of its own, at most maxLine bytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, fmt.Errorf("is longer than %s, the largest record there can be", formatSize(maxLine))
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// send hands a line to the client; it blocks while too much is on its way.
func (p *production) send(ctx context.Context, stop context.CancelCauseFunc, number int64, line []byte) {
	r := &kgo.Record{Value: line, Partition: p.options.partition}
	if p.options.separator != "" {
		if key, value, ok := bytes.Cut(line, []byte(p.options.separator)); ok {
			r.Key, r.Value = key, value
		}
	}
	size := int64(len(r.Value))
	// The record's own context does not end with ctx: what was read is sent.
	p.client.Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) {
		if err == nil {
			p.acked.Add(1)
			p.ackedBytes.Add(size)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.failure == nil {
			p.failure = p.explain(number, err)
			stop(p.failure)
		}
	})
}

func (p *production) explain(number int64, err error) error {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("topic %q does not exist and the brokers did not create it: use `barge topic create %s`", p.options.topic, p.options.topic)
	case errors.Is(err, kerr.MessageTooLarge):
		return fmt.Errorf("line %d: topic %q: %w: raise its max.message.bytes or send shorter lines", number, p.options.topic, err)
	default:
		return fmt.Errorf("line %d: topic %q: %w", number, p.options.topic, err)
	}
}

func (p *production) progress() {
	now := p.now()
	bytes := p.ackedBytes.Load()
	rate := float64(bytes) / max(now.Sub(p.begun).Seconds(), 0.001)
	text := fmt.Sprintf("%s records, %s, %s/s", humanCount(p.acked.Load()), humanSize(bytes), humanSize(int64(rate)))
	if p.size > 0 {
		share := float64(p.read.Load()) / float64(p.size)
		text = fmt.Sprintf("%s %3.0f%% %s", bar(share, 30), 100*share, text)
	}
	p.status.show(now, text)
}
