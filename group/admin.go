package group

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// consumerProtocol is the protocol type of consumers, the only one whose members' metadata is looked into.
const consumerProtocol = "consumer"

// DescribeGroups tells the state and the members of classic groups. A group that does not exist is GROUP_ID_NOT_FOUND from version
// 6 on (KIP-1043) and before that a group in state Dead. As in Kafka the protocol, and what the members said and were assigned,
// are told of a stable group only.
func (c *Coordinator) DescribeGroups(ctx context.Context, req *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	resp.SetVersion(req.Version)
	for _, name := range req.Groups {
		resp.Groups = append(resp.Groups, c.describeGroup(ctx, req.Version, name))
	}
	return resp
}

func (c *Coordinator) describeGroup(ctx context.Context, version int16, name string) kmsg.DescribeGroupsResponseGroup {
	out := kmsg.NewDescribeGroupsResponseGroup()
	out.Group = name
	sh, code := c.enter(ctx, name)
	if code != codeNone {
		out.ErrorCode = int16(code)
		return out
	}
	defer sh.mu.Unlock()
	g := sh.groups[name]
	if g == nil || g.deleting {
		out.State = "Dead"
		if version >= 6 {
			text := fmt.Sprintf("Group %s not found.", name)
			out.ErrorCode, out.ErrorMessage = int16(codeGroupIDNotFound), &text
		}
		return out
	}
	if !g.state.describe(&out) {
		out.State = "Dead"
		if version >= 6 {
			text := fmt.Sprintf("Group %s is not a classic group.", name)
			out.ErrorCode, out.ErrorMessage = int16(codeGroupIDNotFound), &text
		}
	}
	return out
}

// describe fills in what DescribeGroups tells of the group.
func (s *State) describe(out *kmsg.DescribeGroupsResponseGroup) bool {
	out.State, out.ProtocolType = s.phase.String(), s.protocolType
	stable := s.phase == Stable
	if stable {
		out.Protocol = s.protocol
	}
	for _, m := range s.sorted() {
		member := kmsg.NewDescribeGroupsResponseGroupMember()
		member.MemberID, member.ClientID, member.ClientHost = m.id, m.clientID, m.host
		if instance := m.instance; instance != "" {
			member.InstanceID = &instance
		}
		member.ProtocolMetadata, member.MemberAssignment = []byte{}, []byte{}
		if stable {
			member.ProtocolMetadata = append(member.ProtocolMetadata, m.metadata(s.protocol)...)
			member.MemberAssignment = append(member.MemberAssignment, m.assignment...)
		}
		out.Members = append(out.Members, member)
	}
	return true
}

// ListGroups tells the groups of those shards that are this agent's as FindCoordinator would say (choose), whether it has
// claimed them yet or not. Agents that agree about members and claims therefore list every group once between them, and a client
// that asks all brokers, as they do, gets the whole list. Groups that exist only as offsets count as Empty. The answer waits
// for the log to confirm that this agent knows all: groups of a shard not claimed here are read from their durable record.
func (c *Coordinator) ListGroups(ctx context.Context, req *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	resp := kmsg.NewPtrListGroupsResponse()
	resp.SetVersion(req.Version)
	code := codeCoordinatorUnavailable
	if c.running.Load() && !c.cutOff() {
		code = c.fresh(ctx)
	}
	for i := range c.shards {
		if code != codeNone {
			break
		}
		var groups []kmsg.ListGroupsResponseGroup
		groups, code = c.listShard(&c.shards[i])
		for _, g := range groups {
			if passes(req.StatesFilter, g.GroupState) && passes(req.TypesFilter, g.GroupType) {
				resp.Groups = append(resp.Groups, g)
			}
		}
	}
	if code != codeNone {
		resp.ErrorCode, resp.Groups = int16(code), nil
		return resp
	}
	slices.SortFunc(resp.Groups, func(a, b kmsg.ListGroupsResponseGroup) int { return strings.Compare(a.Group, b.Group) })
	return resp
}

// passes reports whether a filter lets a name pass; an empty one lets all. Kafka compares without regard to case.
func passes(filter []string, name string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, name) })
}

// listShard returns the groups of a shard, none when another agent lists it.
func (c *Coordinator) listShard(sh *shard) ([]kmsg.ListGroupsResponseGroup, Code) {
	if c.cfg.Cluster != nil {
		cl, _ := c.claimed(sh)
		m, ok := choose(sh.index, cl.session, c.cfg.Cluster.Members())
		switch {
		case !ok:
			return nil, codeCoordinatorUnavailable
		case m.Session != uint64(c.cfg.Session):
			return nil, codeNone
		case c.unsettled(cl):
			return nil, codeLoadInProgress
		}
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var out []kmsg.ListGroupsResponseGroup
	if sh.claim != 0 && c.stillOurs(sh) {
		for name, g := range sh.groups {
			if !g.deleting {
				out = append(out, listed(name, g.state))
			}
		}
		return out, codeNone
	}
	prefix := sh.groupsPrefix()
	for _, kv := range c.view.Keys(Space, prefix) {
		name, state, err := c.restore(prefix, kv)
		if state == nil {
			c.log.Error("group not listed", "key", kv.Key, "err", err)
			continue
		}
		out = append(out, listed(name, state))
	}
	return out, codeNone
}

func listed(name string, m machine) kmsg.ListGroupsResponseGroup {
	g := kmsg.NewListGroupsResponseGroup()
	g.Group = name
	m.list(&g)
	return g
}

func (s *State) list(out *kmsg.ListGroupsResponseGroup) {
	out.ProtocolType, out.GroupState, out.GroupType = s.protocolType, s.phase.String(), "classic"
}

// OffsetDelete removes committed offsets of partitions whose topic no member is subscribed to: GROUP_SUBSCRIBED_TO_TOPIC for the
// others (KIP-496). Of a group with members only consumers can be asked what they are subscribed to; any other such group is
// NON_EMPTY_GROUP. All offsets of the request go in one command.
func (c *Coordinator) OffsetDelete(ctx context.Context, req *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse {
	resp := kmsg.NewPtrOffsetDeleteResponse()
	resp.SetVersion(req.Version)
	refuse := func(code Code) *kmsg.OffsetDeleteResponse {
		resp.ErrorCode, resp.Topics = int16(code), nil
		return resp
	}
	sh, code := c.enter(ctx, req.Group)
	if code != codeNone {
		return refuse(code)
	}
	g := sh.groups[req.Group]
	if g == nil || g.deleting {
		sh.mu.Unlock()
		return refuse(codeGroupIDNotFound)
	}
	subscribed, code := g.state.subscriptions()
	if code != codeNone {
		sh.mu.Unlock()
		return refuse(code)
	}
	var ops []metadata.KeyOp
	for _, t := range req.Topics {
		topic, code := c.topic(false, t.Topic, record.TopicID{})
		if code == codeNone && subscribed(t.Topic) {
			code = codeGroupSubscribed
		}
		out := kmsg.NewOffsetDeleteResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			part := kmsg.NewOffsetDeleteResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Partition, int16(code)
			there := p.Partition >= 0 && p.Partition < topic.Partitions
			if code == codeNone && !there {
				part.ErrorCode = int16(codeUnknownTopicOrPartition)
			}
			out.Partitions = append(out.Partitions, part)
			if code == codeNone && there {
				key := sh.offsetKey(req.Group, record.Partition{Topic: topic.ID, Index: p.Partition})
				ops = append(ops, metadata.KeyOp{Key: key, Write: true, Delete: true})
			}
		}
		resp.Topics = append(resp.Topics, out)
	}
	if len(ops) == 0 {
		sh.mu.Unlock()
		return resp
	}
	g.commits++ // keeps the group from being deleted or forgotten meanwhile
	claim := sh.claim
	sh.mu.Unlock()
	code = c.write(ctx, sh, claim, ops)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !g.gone {
		g.commits--
		c.tidy(g)
	}
	if code == codeNotCoordinator {
		c.lose(sh, claim)
	}
	if code != codeNone {
		return refuse(code)
	}
	return resp
}

// subscriptions returns what tells whether a member is subscribed to a topic, or NON_EMPTY_GROUP when the members' metadata
// is not for this package to read.
func (s *State) subscriptions() (func(topic string) bool, Code) {
	if len(s.members) == 0 {
		return func(string) bool { return false }, codeNone
	}
	if s.protocolType != consumerProtocol {
		return nil, codeNonEmptyGroup
	}
	topics := map[string]bool{}
	for _, m := range s.members {
		for _, p := range m.protocols {
			if !subscribe(topics, p.Metadata) {
				// Not what consumers send: any topic may be in it.
				return func(string) bool { return true }, codeNone
			}
		}
	}
	return func(topic string) bool { return topics[topic] }, codeNone
}

// subscribe adds the topics of a consumer's metadata (ConsumerProtocolSubscription: version, then an array of names; the rest
// does not matter here) and reports whether it could be read.
func subscribe(topics map[string]bool, metadata []byte) bool {
	if len(metadata) < 6 {
		return false
	}
	n := int32(binary.BigEndian.Uint32(metadata[2:]))
	metadata = metadata[6:]
	for ; n > 0; n-- {
		if len(metadata) < 2 {
			return false
		}
		size := int(binary.BigEndian.Uint16(metadata))
		if metadata = metadata[2:]; size > len(metadata) {
			return false
		}
		topics[string(metadata[:size])] = true
		metadata = metadata[size:]
	}
	return true
}
