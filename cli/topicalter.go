package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alteredTopic is what alter tells of a topic.
type alteredTopic struct {
	Topic      string `json:"topic"`
	Partitions int32  `json:"partitions,omitempty"` // where they were changed
	Configs    int    `json:"configs"`              // that were changed
	Validated  bool   `json:"validate_only,omitempty"`
}

func (a *app) topicAlterCommand() *cobra.Command {
	var out outputFlag
	var partitions int32
	var validateOnly bool
	var set, remove, add, subtract []string
	cmd := a.topicVerb(&cobra.Command{
		Use: "alter TOPIC", Short: "Change a topic's configuration, or give it more partitions",
		Example: "  barge topic alter logs --config retention.ms=86400000 --unset max.message.bytes\n  barge topic alter logs --partitions 16",
		Args:    exactly("TOPIC"),
	}, func(ctx context.Context, b brokersFlag, adm *kadm.Client, args []string) error {
		changes, err := parseChanges(set, remove, add, subtract)
		if err != nil {
			return err
		}
		switch {
		case partitions < 0:
			return usagef("--partitions %d: want more than the topic has", partitions)
		case len(changes) == 0 && partitions == 0:
			return usagef("nothing to change: want --config, --unset, --append, --subtract or --partitions")
		}
		row := alteredTopic{Topic: args[0], Configs: len(changes), Partitions: partitions, Validated: validateOnly}
		if err := alterTopic(ctx, b, adm, row, changes); err != nil {
			return err
		}
		if out.json() {
			return a.writeJSON(row)
		}
		var told []string
		if row.Configs > 0 {
			told = append(told, strconv.Itoa(row.Configs)+" configs")
		}
		if row.Partitions > 0 {
			told = append(told, strconv.Itoa(int(row.Partitions))+" partitions")
		}
		verb := "altered"
		if validateOnly {
			verb = "could alter"
		}
		_, err = fmt.Fprintf(a.stdout, "%s %s: %s\n", verb, row.Topic, strings.Join(told, ", "))
		return err
	})
	flags := cmd.Flags()
	flags.StringArrayVar(&set, "config", nil, "set a topic configuration, `name=value`; may be given again")
	flags.StringArrayVar(&remove, "unset", nil, "put a configuration `name` back to its default; may be given again")
	flags.StringArrayVar(&add, "append", nil, "append to a list, `name=value,value`; may be given again")
	flags.StringArrayVar(&subtract, "subtract", nil, "take out of a list, `name=value,value`; may be given again")
	flags.Int32Var(&partitions, "partitions", 0, "`number` of partitions in all: more than there are")
	flags.BoolVar(&validateOnly, "validate-only", false, "only ask whether it could be done")
	out.register(flags)
	return cmd
}

// parseChanges reads the flags into operations, of which each names another config.
func parseChanges(set, remove, add, subtract []string) ([]kadm.AlterConfig, error) {
	var changes []kadm.AlterConfig
	seen := map[string]bool{}
	note := func(flag, name string) error {
		if seen[name] {
			return usagef("%s %s: the config is named twice: keep one of them", flag, name)
		}
		seen[name] = true
		return nil
	}
	for _, f := range []struct {
		flag  string
		op    kadm.IncrementalOp
		pairs []string
	}{{"--config", kadm.SetConfig, set}, {"--append", kadm.AppendConfig, add}, {"--subtract", kadm.SubtractConfig, subtract}} {
		for _, pair := range f.pairs {
			name, value, ok := strings.Cut(pair, "=")
			if !ok || name == "" {
				return nil, usagef("%s %q: want name=value", f.flag, pair)
			}
			if err := note(f.flag, name); err != nil {
				return nil, err
			}
			changes = append(changes, kadm.AlterConfig{Op: f.op, Name: name, Value: &value})
		}
	}
	for _, name := range remove {
		if name == "" || strings.Contains(name, "=") {
			return nil, usagef("--unset %q: want the name of a config", name)
		}
		if err := note("--unset", name); err != nil {
			return nil, err
		}
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
	}
	return changes, nil
}

// alterTopic does what row tells: configs first, which are refused as a whole.
func alterTopic(ctx context.Context, b brokersFlag, adm *kadm.Client, row alteredTopic, changes []kadm.AlterConfig) error {
	if len(changes) > 0 {
		alter := adm.AlterTopicConfigs
		if row.Validated {
			alter = adm.ValidateAlterTopicConfigs
		}
		altered, err := alter(ctx, changes, row.Topic)
		if err != nil {
			return b.explain(err)
		}
		r, err := altered.On(row.Topic, nil)
		if err = errors.Join(err, r.Err); err != nil {
			return topicError(row.Topic, err, r.ErrMessage)
		}
	}
	if row.Partitions == 0 {
		return nil
	}
	grow := adm.UpdatePartitions
	if row.Validated {
		grow = adm.ValidateUpdatePartitions
	}
	grown, err := grow(ctx, int(row.Partitions), row.Topic)
	if err != nil {
		return b.explain(err)
	}
	r, err := grown.On(row.Topic, nil)
	if err = errors.Join(err, r.Err); err == nil {
		return nil
	}
	if len(changes) > 0 && !row.Validated {
		return fmt.Errorf("the configs are changed, the partitions are not: %w", topicError(row.Topic, err, r.ErrMessage))
	}
	return topicError(row.Topic, err, r.ErrMessage)
}

// configSource names where a value comes from, as people call it.
func configSource(s kmsg.ConfigSource) string {
	switch s {
	case kmsg.ConfigSourceDynamicTopicConfig:
		return "topic"
	case kmsg.ConfigSourceDynamicBrokerConfig, kmsg.ConfigSourceDynamicDefaultBrokerConfig, kmsg.ConfigSourceStaticBrokerConfig:
		return "broker"
	default:
		return "default"
	}
}
