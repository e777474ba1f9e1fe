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
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
)

func (a *app) topicCommand() *cobra.Command {
	return group("topic", "List, describe, create and delete topics, on any Kafka",
		a.topicListCommand(), a.topicDescribeCommand(), a.topicCreateCommand(), a.topicAlterCommand(), a.topicDeleteCommand(), a.topicDeleteRecordsCommand())
}

// topicVerb makes a verb that gets an admin client.
func (a *app) topicVerb(cmd *cobra.Command, run func(ctx context.Context, b brokersFlag, adm *kadm.Client, args []string) error) *cobra.Command {
	var brokers brokersFlag
	a.registerBrokers(cmd.Flags(), &brokers)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := brokers.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return run(cmd.Context(), brokers, kadm.NewClient(c), args)
	}
	return cmd
}

// topicRow is a topic in a list.
type topicRow struct {
	Topic             string `json:"topic"`
	ID                string `json:"id,omitempty"`
	Partitions        int    `json:"partitions"`
	ReplicationFactor int    `json:"replication_factor"`
}

func newTopicRow(t kadm.TopicDetail) topicRow {
	r := topicRow{Topic: t.Topic, Partitions: len(t.Partitions), ReplicationFactor: t.Partitions.NumReplicas()}
	if id := record.TopicID(t.ID); !id.IsZero() {
		r.ID = id.String()
	}
	return r
}

func (a *app) topicListCommand() *cobra.Command {
	var out outputFlag
	cmd := a.topicVerb(&cobra.Command{Use: "list", Short: "List topics", Args: exactly()},
		func(ctx context.Context, b brokersFlag, adm *kadm.Client, _ []string) error {
			details, err := adm.ListTopics(ctx)
			if err != nil {
				return b.explain(err)
			}
			rows := []topicRow{}
			var cells [][]string
			for _, t := range details.Sorted() {
				r := newTopicRow(t)
				rows = append(rows, r)
				cells = append(cells, []string{r.Topic, strconv.Itoa(r.Partitions), strconv.Itoa(r.ReplicationFactor)})
			}
			if out.json() {
				return a.writeJSON(rows)
			}
			return a.writeTable([]string{"TOPIC", "PARTITIONS", "REPLICAS"}, cells)
		})
	out.register(cmd.Flags())
	return cmd
}

// partitionRow is a partition of a described topic.
type partitionRow struct {
	Partition     int32  `json:"partition"`
	Leader        int32  `json:"leader"`
	LogStart      int64  `json:"log_start_offset"`
	HighWatermark int64  `json:"high_watermark"`
	Error         string `json:"error,omitempty"`
}

// configRow is a configuration entry of a described topic.
type configRow struct {
	Name    string  `json:"name"`
	Value   *string `json:"value"`
	Default bool    `json:"default"` // not set on the topic
	SetBy   string  `json:"set_by"`  // topic, broker or default
}

// topicDescription is what describe tells.
type topicDescription struct {
	topicRow
	PartitionRows []partitionRow `json:"partition_details"`
	Configs       []configRow    `json:"configs"`
}

func describeTopic(ctx context.Context, b brokersFlag, adm *kadm.Client, topic string) (topicDescription, error) {
	var d topicDescription
	details, err := adm.ListTopics(ctx, topic)
	if err != nil {
		return d, b.explain(err)
	}
	t, ok := details[topic]
	if !ok {
		return d, fmt.Errorf("topic %q: the brokers said nothing about it", topic)
	}
	if t.Err != nil {
		return d, topicError(topic, t.Err, "")
	}
	d.topicRow = newTopicRow(t)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return d, b.explain(err)
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return d, b.explain(err)
	}
	for _, p := range t.Partitions.Sorted() {
		row := partitionRow{Partition: p.Partition, Leader: p.Leader, LogStart: -1, HighWatermark: -1}
		start, _ := starts.Lookup(topic, p.Partition)
		end, _ := ends.Lookup(topic, p.Partition)
		if err := errors.Join(p.Err, start.Err, end.Err); err != nil {
			row.Error = err.Error()
		} else {
			row.LogStart, row.HighWatermark = start.Offset, end.Offset
		}
		d.PartitionRows = append(d.PartitionRows, row)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return d, b.explain(err)
	}
	for _, c := range configs {
		if c.Err != nil {
			return d, topicError(topic, c.Err, c.ErrMessage)
		}
		for _, e := range c.Configs {
			d.Configs = append(d.Configs, configRow{Name: e.Key, Value: e.Value, Default: e.Source != kmsg.ConfigSourceDynamicTopicConfig, SetBy: configSource(e.Source)})
		}
	}
	slices.SortFunc(d.Configs, func(x, y configRow) int { return strings.Compare(x.Name, y.Name) })
	return d, nil
}

func (a *app) topicDescribeCommand() *cobra.Command {
	var out outputFlag
	cmd := a.topicVerb(&cobra.Command{Use: "describe TOPIC", Short: "Show a topic's partitions and configuration", Args: exactly("TOPIC")},
		func(ctx context.Context, b brokersFlag, adm *kadm.Client, args []string) error {
			d, err := describeTopic(ctx, b, adm, args[0])
			if err != nil {
				return err
			}
			if out.json() {
				return a.writeJSON(d)
			}
			tell(a.stdout, "topic %s, id %s, %d partitions\n", d.Topic, d.ID, d.Partitions)
			var cells [][]string
			for _, p := range d.PartitionRows {
				cells = append(cells, []string{strconv.Itoa(int(p.Partition)), strconv.Itoa(int(p.Leader)), strconv.FormatInt(p.LogStart, 10), strconv.FormatInt(p.HighWatermark, 10), p.Error})
			}
			if err := a.writeTable([]string{"PARTITION", "LEADER", "LOG-START", "HIGH-WATERMARK", "ERROR"}, cells); err != nil {
				return err
			}
			cells = nil
			hidden := 0
			for _, c := range d.Configs {
				value := ""
				if c.Value != nil {
					value = *c.Value
				}
				if c.SetBy == "default" && !strings.HasPrefix(c.Name, "barge.") {
					hidden++
					continue
				}
				cells = append(cells, []string{c.Name, value, c.SetBy})
			}
			if err := a.writeTable([]string{"CONFIG", "VALUE", "SET-BY"}, cells); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stderr, "%d more have their defaults: -o json shows them\n", hidden)
			return err
		})
	out.register(cmd.Flags())
	return cmd
}

func (a *app) topicCreateCommand() *cobra.Command {
	var out outputFlag
	var partitions int32
	var pairs []string
	cmd := a.topicVerb(&cobra.Command{
		Use: "create TOPIC", Short: "Create a topic",
		Example: "  barge topic create logs --partitions 8 --config barge.table.commit.interval.ms=5000",
		Args:    exactly("TOPIC"),
	}, func(ctx context.Context, b brokersFlag, adm *kadm.Client, args []string) error {
		configs, err := parseConfigs(pairs)
		if err != nil {
			return err
		}
		if partitions == 0 || partitions < -1 {
			return usagef("--partitions %d: want 1 or more, or leave it out for the broker's number", partitions)
		}
		topic := args[0]
		created, err := adm.CreateTopics(ctx, partitions, -1, configs, topic)
		if err != nil {
			return b.explain(err)
		}
		r, ok := created[topic]
		if !ok {
			return fmt.Errorf("topic %q: the brokers said nothing about it", topic)
		}
		if r.Err != nil {
			return topicError(topic, r.Err, r.ErrMessage)
		}
		row := topicRow{Topic: topic, Partitions: int(r.NumPartitions), ReplicationFactor: int(r.ReplicationFactor)}
		if id := record.TopicID(r.ID); !id.IsZero() {
			row.ID = id.String()
		}
		if out.json() {
			return a.writeJSON(row)
		}
		_, err = fmt.Fprintf(a.stdout, "created %s with %d partitions\n", row.Topic, row.Partitions)
		return err
	})
	cmd.Flags().Int32Var(&partitions, "partitions", -1, "`number` of partitions; -1 is the broker's default")
	cmd.Flags().StringArrayVar(&pairs, "config", nil, "topic configuration `name=value`; may be given again")
	out.register(cmd.Flags())
	return cmd
}

func parseConfigs(pairs []string) (map[string]*string, error) {
	configs := map[string]*string{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usagef("--config %q: want name=value", pair)
		}
		if _, twice := configs[name]; twice {
			return nil, usagef("--config %s is given twice: keep one of them", name)
		}
		configs[name] = &value
	}
	return configs, nil
}

func (a *app) topicDeleteCommand() *cobra.Command {
	var out outputFlag
	var yes bool
	cmd := a.topicVerb(&cobra.Command{
		Use: "delete TOPIC", Short: "Delete a topic with its records, and its table unless the topic says to keep it",
		Args: exactly("TOPIC"),
	}, func(ctx context.Context, b brokersFlag, adm *kadm.Client, args []string) error {
		topic := args[0]
		if !yes && isTerminal(a.stdin) {
			tell(a.stderr, "This deletes %s and all its records. Type its name to go on: ", topic)
			line, err := bufio.NewReader(a.stdin).ReadString('\n')
			if strings.TrimSpace(line) != topic {
				return errors.Join(fmt.Errorf("topic %q is left as it is: the name was not typed", topic), err)
			}
		}
		deleted, err := adm.DeleteTopics(ctx, topic)
		if err != nil {
			return b.explain(err)
		}
		if r := deleted[topic]; r.Err != nil {
			return topicError(topic, r.Err, r.ErrMessage)
		}
		if out.json() {
			return a.writeJSON(map[string]string{"topic": topic})
		}
		_, err = fmt.Fprintf(a.stdout, "deleted %s\n", topic)
		return err
	})
	out.register(cmd.Flags())
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask on a terminal")
	return cmd
}
