package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// cluster is the Kafka side of what is measured, as an ordinary client sees it: for all that is not load.
type cluster struct {
	client *kgo.Client
}

// openCluster connects to a cluster; opts come after its own.
func openCluster(brokers []string, opts ...kgo.Opt) (*cluster, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.ClientID(clientID), kgo.DialTimeout(5 * time.Second),
		kgo.RetryTimeout(15 * time.Second), kgo.MetadataMinAge(100 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("brokers %v: %w", brokers, err)
	}
	return &cluster{client}, nil
}

func (c *cluster) close() { c.client.Close() }

// topic makes the topic, or takes the one that is there if it has the partitions asked for, and returns the address of
// each partition's leader.
func (c *cluster) topic(ctx context.Context, name string, partitions int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	admin := kadm.NewClient(c.client)
	resp, err := admin.CreateTopic(ctx, int32(partitions), -1, forEver(), name)
	if err := cmp.Or(err, resp.Err); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return nil, fmt.Errorf("make the topic %q: %w", name, err)
	}
	for {
		leaders, err := c.leaders(ctx, admin, name, partitions)
		if err == nil {
			return leaders, nil
		}
		select { // Kafka elects leaders after it has answered
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (c *cluster) leaders(ctx context.Context, admin *kadm.Client, name string, partitions int) ([]string, error) {
	meta, err := admin.Metadata(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("ask for the topic %q: %w", name, err)
	}
	topic := meta.Topics[name]
	if topic.Err != nil {
		return nil, fmt.Errorf("topic %q: %w", name, topic.Err)
	}
	if len(topic.Partitions) != partitions {
		return nil, fmt.Errorf("topic %q has %d partitions, not %d: name another topic", name, len(topic.Partitions), partitions)
	}
	addresses := make(map[int32]string)
	for _, b := range meta.Brokers {
		addresses[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	leaders := make([]string, partitions)
	for _, p := range topic.Partitions {
		if p.Err != nil || addresses[p.Leader] == "" {
			return nil, fmt.Errorf("topic %q: partition %d has no leader yet", name, p.Partition)
		}
		leaders[p.Partition] = addresses[p.Leader]
	}
	return leaders, nil
}

// routes spreads connections over the leaders. A connection sends to all partitions of its leader.
func routes(leaders []string, connections int) []route {
	byLeader := make(map[string][]int32)
	for p, addr := range leaders {
		byLeader[addr] = append(byLeader[addr], int32(p))
	}
	addrs := make([]string, 0, len(byLeader))
	for addr := range byLeader {
		addrs = append(addrs, addr)
	}
	slices.Sort(addrs)
	out := make([]route, max(connections, len(addrs)))
	for i := range out {
		addr := addrs[i%len(addrs)]
		out[i] = route{addr, byLeader[addr]}
	}
	return out
}

// ends returns the first offset of each partition, or the one after the last.
func (c *cluster) ends(ctx context.Context, name string, partitions int, last bool) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	admin := kadm.NewClient(c.client)
	list := admin.ListStartOffsets
	if last {
		list = admin.ListEndOffsets
	}
	offsets, err := list(ctx, name)
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for offsets of %q: %w", name, err)
	}
	out := make([]int64, partitions)
	for p := range out {
		o, ok := offsets.Lookup(name, int32(p))
		if !ok {
			return nil, fmt.Errorf("topic %q: no offset of partition %d", name, p)
		}
		out[p] = o.Offset
	}
	return out, nil
}

// producer gets an id for an idempotent producer.
func (c *cluster) producer(ctx context.Context, _ string) (int64, int16, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = -1, -1
	resp, err := req.RequestWith(ctx, c.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("ask for a producer id: %w", err)
	}
	return resp.ProducerID, resp.ProducerEpoch, nil
}

// forEver are the configs of a topic whose records stay: the timestamps of a load are the same in every run, and so ever older.
func forEver() map[string]*string {
	all := "-1"
	return map[string]*string{"retention.ms": &all}
}
