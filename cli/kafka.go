package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const defaultBrokers = "127.0.0.1:9092"

// reachTimeout is how long a verb tries to reach brokers before it says that it cannot.
const reachTimeout = 10 * time.Second

// brokersFlag is --brokers of the verbs that speak Kafka.
type brokersFlag string

func (a *app) registerBrokers(flags *pflag.FlagSet, b *brokersFlag) {
	flags.StringVar((*string)(b), "brokers", cmp.Or(a.env("BARGE_BROKERS"), defaultBrokers), "`host:port` of brokers, separated by commas; also BARGE_BROKERS")
}

func (b brokersFlag) list() []string {
	var brokers []string
	for addr := range strings.SplitSeq(string(b), ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			brokers = append(brokers, addr)
		}
	}
	return brokers
}

// client makes a Kafka client that gives up soon on brokers that cannot be reached.
func (b brokersFlag) client(opts ...kgo.Opt) (*kgo.Client, error) {
	if len(b.list()) == 0 {
		return nil, usagef("--brokers names nobody: want host:port")
	}
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.list()...), kgo.ClientID("barge-cli"), kgo.DialTimeout(5 * time.Second),
		kgo.RetryTimeout(reachTimeout), kgo.RequestRetries(3),
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("--brokers %s: %w", string(b), err)
	}
	return c, nil
}

// reach answers within reachTimeout whether the brokers can be reached and what they say about the topics, all when none is
// named. Asking creates no topic.
func (b brokersFlag) reach(ctx context.Context, c *kgo.Client, topics ...string) (kadm.Metadata, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	m, err := kadm.NewClient(c).Metadata(ctx, topics...)
	if err != nil {
		return m, b.explain(err)
	}
	return m, nil
}

// explain adds the fix to an error that comes from not reaching a broker.
func (b brokersFlag) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[*kerr.Error](err); ok {
		return err
	}
	return fmt.Errorf("reach %s: %w: is an agent running there? Name it with --brokers or BARGE_BROKERS", string(b), err)
}

// topicError names the topic and the reason, in the broker's own words when there are any.
func topicError(topic string, err error, message string) error {
	e, ok := errors.AsType[*kerr.Error](err)
	switch {
	case ok && message != "":
		return fmt.Errorf("topic %q: %s: %s", topic, e.Message, message)
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("topic %q does not exist: `barge topic list` shows those that do", topic)
	default:
		return fmt.Errorf("topic %q: %w", topic, err)
	}
}
