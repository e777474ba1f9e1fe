package kfake

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bargedata/barge/test/suites/agents"
)

const adminTime = 20 * time.Second

// Opt is an option of NewCluster.
type Opt func(*config)

type config struct {
	brokers int
	topics  []seedTopics
	configs map[string]string
}

type seedTopics struct {
	partitions int32
	names      []string
}

// NumBrokers sets the number of agents; without it there are three.
func NumBrokers(n int) Opt { return func(c *config) { c.brokers = n } }

// SeedTopics makes topics before NewCluster returns.
func SeedTopics(partitions int32, names ...string) Opt {
	return func(c *config) { c.topics = append(c.topics, seedTopics{partitions, names}) }
}

// BrokerConfigs sets what Kafka has as broker configs and an agent has as flags. Later ones win.
func BrokerConfigs(configs map[string]string) Opt {
	return func(c *config) { maps.Copy(c.configs, configs) }
}

// flags maps broker configs to flags of an agent.
func flags(configs map[string]string) ([]string, error) {
	args := []string{"--flush-interval", "5ms"}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		value := configs[name]
		switch name {
		case "group.max.size":
			args = append(args, "--group-max-size", value)
		case "group.consumer.heartbeat.interval.ms":
			args = append(args, "--group-heartbeat-interval", value+"ms")
		case "group.consumer.session.timeout.ms":
			args = append(args, "--group-session-timeout", value+"ms")
		default:
			return nil, fmt.Errorf("an agent has no setting for %s=%s", name, value)
		}
	}
	return args, nil
}

// Cluster is running agents, each behind a gate.
type Cluster struct {
	agents   *agents.Cluster
	gates    []*gate
	controls controls
	closed   sync.Once
}

// NewCluster starts agents and waits until all take requests. Close ends them.
func NewCluster(opts ...Opt) (*Cluster, error) {
	cfg := config{brokers: 3, configs: map[string]string{}}
	for _, o := range opts {
		o(&cfg)
	}
	args, err := flags(cfg.configs)
	if err != nil {
		return nil, err
	}
	running, err := agents.New(os.Getenv("BARGE_BINARY"), args...)
	if err != nil {
		return nil, fmt.Errorf("BARGE_BINARY: %w", err)
	}
	c := &Cluster{agents: running}
	if err := c.start(cfg.brokers); err != nil {
		c.Close()
		return nil, err
	}
	if err := c.seed(cfg.topics); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// start starts agents, each of which tells clients the address of its gate.
func (c *Cluster) start(n int) error {
	for range n {
		g, err := newGate(&c.controls)
		if err != nil {
			return err
		}
		c.gates = append(c.gates, g)
		address, err := c.agents.Start("--advertise", g.address())
		if err != nil {
			return err
		}
		g.serve(address)
	}
	return nil
}

// seed makes topics.
func (c *Cluster) seed(topics []seedTopics) error {
	if len(topics) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminTime)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		return fmt.Errorf("a client for %v: %w", c.ListenAddrs(), err)
	}
	defer client.Close()
	for _, t := range topics {
		resp, err := kadm.NewClient(client).CreateTopics(ctx, t.partitions, 1, nil, t.names...)
		if err == nil {
			err = resp.Error()
		}
		if err != nil {
			return fmt.Errorf("create %v with %d partitions: %w", t.names, t.partitions, err)
		}
	}
	return nil
}

// ListenAddrs returns what clients connect to, one address an agent.
func (c *Cluster) ListenAddrs() []string {
	var all []string
	for _, g := range c.gates {
		all = append(all, g.address())
	}
	return all
}

// Close ends the agents, at once, and deletes what they kept.
func (c *Cluster) Close() {
	c.closed.Do(func() {
		for _, g := range c.gates {
			g.close()
		}
		if err := c.agents.Close(); err != nil {
			panic(err) // a process that outlives its test: nobody else hears of it
		}
	})
}
