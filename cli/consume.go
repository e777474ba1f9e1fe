package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// consumeOptions is what `barge consume` is told.
type consumeOptions struct {
	brokers   brokersFlag
	topic     string
	number    int64 // 0: no end
	from      string
	group     string
	format    string
	output    string
	exitAtEnd bool
}

// pollRecords is how many records are printed between two looks at the clock and, in a group, two commits.
const pollRecords = 10_000

func (a *app) consumeCommand() *cobra.Command {
	var o consumeOptions
	cmd := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Print the records of a topic, of any Kafka",
		Long: `Print records as they come, until interrupted, until there were -n of them, or with --exit-at-end until what was
there at the start has been printed.

The format takes %t topic, %p partition, %o offset, %T timestamp in ms, %k key, %s value, %h headers, %K and %S the
lengths of key and value (-1: null), %% a percent sign, and \n \t \r \0 \\.`,
		Example: `  barge consume logs --from end
  barge consume logs -n 10 -f '%p/%o %T %s\n'
  barge consume logs --exit-at-end -o jsonl`,
		Args: exactly("TOPIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.topic = args[0]
			return a.consume(cmd.Context(), o)
		},
	}
	a.registerBrokers(cmd.Flags(), &o.brokers)
	flags := cmd.Flags()
	flags.Int64VarP(&o.number, "number", "n", 0, "`records` to print; 0 is all")
	flags.StringVar(&o.from, "from", "start", "where to begin: start, end or an `offset`; a group goes on where it left off")
	flags.StringVar(&o.group, "group", "", "consumer group to join; what was printed is committed")
	flags.StringVarP(&o.format, "format", "f", `%s\n`, "format of a record")
	flags.StringVarP(&o.output, "output", "o", "text", "`text` (see --format) or jsonl")
	flags.BoolVar(&o.exitAtEnd, "exit-at-end", false, "end when the records there at the start have been printed")
	return cmd
}

func (o consumeOptions) formatter() (formatter, error) {
	switch o.output {
	case "text":
		return parseFormat(o.format)
	case "jsonl":
		return formatJSONL, nil
	default:
		return nil, usagef("-o %q: want text or jsonl", o.output)
	}
}

func (o consumeOptions) start() (kgo.Offset, error) {
	switch o.from {
	case "start":
		return kgo.NewOffset().AtStart(), nil
	case "end":
		return kgo.NewOffset().AtEnd(), nil
	}
	n, err := strconv.ParseInt(o.from, 10, 64)
	if err != nil || n < 0 {
		return kgo.Offset{}, usagef("--from %q: want start, end or an offset", o.from)
	}
	return kgo.NewOffset().At(n), nil
}

func (a *app) consume(ctx context.Context, o consumeOptions) error {
	format, err := o.formatter()
	if err != nil {
		return err
	}
	start, err := o.start()
	if err != nil {
		return err
	}
	if o.number < 0 {
		return usagef("-n %d: want 1 or more, or 0 for all", o.number)
	}
	if o.exitAtEnd && o.group != "" {
		return usagef("--exit-at-end reads all partitions and --group may get some of them: use one of the two")
	}
	opts := []kgo.Opt{kgo.ConsumeTopics(o.topic), kgo.ConsumeResetOffset(start), kgo.FetchMaxWait(time.Second), kgo.KeepControlRecords()}
	if o.group != "" {
		opts = append(opts, kgo.ConsumerGroup(o.group), kgo.DisableAutoCommit())
	}
	left, err := o.ahead(ctx)
	if err != nil {
		return err
	}
	if o.exitAtEnd && len(left) == 0 {
		return nil
	}
	client, err := o.brokers.client(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	out := bufio.NewWriterSize(a.stdout, 64<<10)
	err = o.pump(ctx, client, out, format, left)
	return errors.Join(err, out.Flush())
}

// ahead checks that the topic is there, and with --exit-at-end returns for each partition that has records to print the offset
// to end at.
func (o consumeOptions) ahead(ctx context.Context) (map[int32]int64, error) {
	c, err := o.brokers.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	m, err := o.brokers.reach(ctx, c, o.topic)
	if err != nil {
		return nil, err
	}
	if t := m.Topics[o.topic]; t.Err != nil {
		return nil, topicError(o.topic, t.Err, "")
	}
	if !o.exitAtEnd {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*reachTimeout)
	defer cancel()
	adm := kadm.NewClient(c)
	starts, err := adm.ListStartOffsets(ctx, o.topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("start of topic %q: %w", o.topic, err)
	}
	ends, err := adm.ListEndOffsets(ctx, o.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("end of topic %q: %w", o.topic, err)
	}
	left := map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		first, _ := starts.Lookup(o.topic, end.Partition)
		from := first.Offset
		if n, err := strconv.ParseInt(o.from, 10, 64); err == nil {
			from = max(from, n)
		}
		if o.from != "end" && from < end.Offset {
			left[end.Partition] = end.Offset
		}
	})
	return left, nil
}

// pump prints until ctx ends or what was asked for is printed. What is printed is flushed before it is committed.
func (o consumeOptions) pump(ctx context.Context, client *kgo.Client, out *bufio.Writer, format formatter, left map[int32]int64) error {
	var line []byte
	printed := int64(0)
	for {
		most := int64(pollRecords)
		if o.number > 0 {
			most = min(most, o.number-printed)
		}
		fetches := client.PollRecords(ctx, int(most))
		select {
		case <-ctx.Done():
			return nil // an interrupt is how most reading ends
		default:
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("topic %q partition %d: %w", o.topic, e.Partition, e.Err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			end, bounded := left[r.Partition]
			if o.exitAtEnd && !bounded {
				continue // beyond the end there was
			}
			if !r.Attrs.IsControl() {
				line = format(line[:0], r)
				if _, err := out.Write(line); err != nil {
					return fmt.Errorf("write: %w", err)
				}
				printed++
			}
			if bounded && r.Offset >= end-1 {
				delete(left, r.Partition)
			}
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if o.group != "" {
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				return fmt.Errorf("group %q: commit: %w", o.group, err)
			}
		}
		if (o.number > 0 && printed >= o.number) || (o.exitAtEnd && len(left) == 0) {
			return nil
		}
	}
}
