package kfake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// GroupInfo is what a cluster tells of a consumer group, classic or of KIP-848.
type GroupInfo struct {
	Group   string
	State   string
	Members []GroupMember
	Commits map[string]map[int32]GroupCommit // by topic and partition
}

// GroupCommit is one committed offset.
type GroupCommit struct {
	Offset   int64
	Metadata string // empty when the commit had none
}

// GroupMember is one member.
type GroupMember struct {
	MemberID   string
	InstanceID *string
	Assignment map[string][]int32 // partitions by topic
}

// NumAssigned returns how many partitions the member has.
func (m *GroupMember) NumAssigned() int {
	n := 0
	for _, ps := range m.Assignment {
		n += len(ps)
	}
	return n
}

// NumAssigned returns how many partitions all members have.
func (g *GroupInfo) NumAssigned() int {
	n := 0
	for i := range g.Members {
		n += g.Members[i].NumAssigned()
	}
	return n
}

// GroupInfo asks the cluster for a group; nil when there is none, or no answer.
func (c *Cluster) GroupInfo(group string) *GroupInfo {
	ctx, cancel := context.WithTimeout(context.Background(), adminTime)
	defer cancel()
	g, err := c.group(ctx, group)
	if err != nil {
		return nil
	}
	return g
}

// WaitGroupStable waits until the group is stable with so many members, -1 for any number.
func (c *Cluster) WaitGroupStable(ctx context.Context, group string, members int) (*GroupInfo, error) {
	for {
		g, err := c.group(ctx, group)
		if err == nil && g.State == "Stable" && (members < 0 || len(g.Members) == members) {
			return g, nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("it is %s with %d members", g.State, len(g.Members))
			}
			return nil, fmt.Errorf("group %s: %w", group, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// group describes a group by KIP-848's API or the older one, and fetches its commits.
func (c *Cluster) group(ctx context.Context, group string) (*GroupInfo, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		return nil, fmt.Errorf("a client for %v: %w", c.ListenAddrs(), err)
	}
	defer client.Close()
	g, err := describe848(ctx, client, group)
	if errors.Is(err, kerr.GroupIDNotFound) || errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, errNo848) {
		g, err = describeClassic(ctx, client, group)
	}
	if err != nil {
		return nil, err
	}
	commits, err := kadm.NewClient(client).FetchOffsets(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("offsets of group %s: %w", group, err)
	}
	g.Commits = map[string]map[int32]GroupCommit{}
	commits.Each(func(o kadm.OffsetResponse) {
		if g.Commits[o.Topic] == nil {
			g.Commits[o.Topic] = map[int32]GroupCommit{}
		}
		g.Commits[o.Topic][o.Partition] = GroupCommit{Offset: o.At, Metadata: o.Metadata}
	})
	return g, nil
}

var errNo848 = errors.New("the cluster has no groups of KIP-848")

func describe848(ctx context.Context, client *kgo.Client, group string) (*GroupInfo, error) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{group}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNo848, err)
	}
	if len(resp.Groups) != 1 {
		return nil, fmt.Errorf("%d groups described, one asked for", len(resp.Groups))
	}
	d := resp.Groups[0]
	if err := kerr.ErrorForCode(d.ErrorCode); err != nil {
		return nil, fmt.Errorf("describe group %s: %w", group, err)
	}
	g := &GroupInfo{Group: group, State: d.State}
	for _, m := range d.Members {
		a := map[string][]int32{}
		for _, t := range m.Assignment.TopicPartitions {
			a[t.Topic] = t.Partitions
		}
		g.Members = append(g.Members, GroupMember{MemberID: m.MemberID, InstanceID: m.InstanceID, Assignment: a})
	}
	return g, nil
}

func describeClassic(ctx context.Context, client *kgo.Client, group string) (*GroupInfo, error) {
	all, err := kadm.NewClient(client).DescribeGroups(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("describe group %s: %w", group, err)
	}
	d := all[group]
	if d.Err != nil {
		return nil, fmt.Errorf("describe group %s: %w", group, d.Err)
	}
	g := &GroupInfo{Group: group, State: d.State}
	for _, m := range d.Members {
		member := GroupMember{MemberID: m.MemberID, InstanceID: m.InstanceID, Assignment: map[string][]int32{}}
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				member.Assignment[t.Topic] = t.Partitions
			}
		}
		g.Members = append(g.Members, member)
	}
	return g, nil
}
