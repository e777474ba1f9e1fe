package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// deletedRow is a partition after the deletion of records.
type deletedRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	LogStart  int64  `json:"log_start_offset"`
}

func (a *app) topicDeleteRecordsCommand() *cobra.Command {
	var out outputFlag
	var before string
	var partitions []int32
	var yes bool
	cmd := a.topicVerb(&cobra.Command{
		Use: "delete-records TOPIC", Short: "Delete the records of a topic below an offset",
		Long: "Delete the records of a topic below an offset: its log starts there from then on.\n\n" +
			"Consumers cannot read what lies below any more. On Barge, rows that are in the topic's table stay there; records that had not\nreached it never do.",
		Example: "  barge topic delete-records logs --before end\n  barge topic delete-records logs --before 5000 --partition 2",
		Args:    exactly("TOPIC"),
	}, func(ctx context.Context, b brokersFlag, adm *kadm.Client, args []string) error {
		topic, to := args[0], int64(-1) // the high watermark, to Kafka
		if before != "end" {
			n, err := strconv.ParseInt(before, 10, 64)
			if err != nil || n < 0 {
				return usagef("--before %q: want an offset, or end", before)
			}
			to = n
		}
		details, err := adm.ListTopics(ctx, topic)
		if err != nil {
			return b.explain(err)
		}
		t := details[topic]
		if t.Err != nil {
			return topicError(topic, t.Err, "")
		}
		offsets := kadm.Offsets{}
		for _, p := range t.Partitions.Sorted() {
			if len(partitions) == 0 || slices.Contains(partitions, p.Partition) {
				offsets.Add(kadm.Offset{Topic: topic, Partition: p.Partition, At: to})
			}
		}
		for _, p := range partitions {
			if _, ok := offsets.Lookup(topic, p); !ok {
				return usagef("--partition %d: topic %q has %d partitions", p, topic, len(t.Partitions))
			}
		}
		if !yes && isTerminal(a.stdin) {
			tell(a.stderr, "This deletes records of %d partitions of %s. Type its name to go on: ", len(offsets[topic]), topic)
			line, err := bufio.NewReader(a.stdin).ReadString('\n')
			if strings.TrimSpace(line) != topic {
				return errors.Join(fmt.Errorf("topic %q is left as it is: the name was not typed", topic), err)
			}
		}
		deleted, err := adm.DeleteRecords(ctx, offsets)
		if err != nil {
			return b.explain(err)
		}
		return a.tellDeleted(out, topic, deleted)
	})
	cmd.Flags().StringVar(&before, "before", "", "delete below this `offset`; end is the end of each partition")
	cmd.Flags().Int32SliceVar(&partitions, "partition", nil, "only of this `partition`; may be given again")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask on a terminal")
	out.register(cmd.Flags())
	return cmd
}

// tellDeleted prints where the partitions start now, and returns the errors of the others.
func (a *app) tellDeleted(out outputFlag, topic string, deleted kadm.DeleteRecordsResponses) error {
	rows := []deletedRow{}
	var cells [][]string
	var errs []error
	for _, r := range deleted.Sorted() {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("topic %q partition %d: %w", topic, r.Partition, r.Err))
			continue
		}
		rows = append(rows, deletedRow{Topic: topic, Partition: r.Partition, LogStart: r.LowWatermark})
		cells = append(cells, []string{strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.LowWatermark, 10)})
	}
	var err error
	if out.json() {
		err = a.writeJSON(rows)
	} else if len(cells) > 0 {
		err = a.writeTable([]string{"PARTITION", "LOG-START"}, cells)
	}
	return errors.Join(append(errs, err)...)
}
