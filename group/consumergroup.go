package group

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
)

// topicsAge is how old the topics may be that a heartbeat is judged by; with a new subscription they are looked at anew.
const topicsAge = time.Second

// ConsumerGroupHeartbeat is the whole protocol of KIP-848: joining, being alive, telling what is subscribed to and owned, hearing what to
// own, leaving. What it answers is durable. Nothing of req is kept.
func (c *Coordinator) ConsumerGroupHeartbeat(ctx context.Context, req *kmsg.ConsumerGroupHeartbeatRequest, clientID, clientHost string) *kmsg.ConsumerGroupHeartbeatResponse {
	r := c.consumerHeartbeat(ctx, req, clientID, clientHost)
	resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	resp.SetVersion(req.Version)
	if r.Code != codeNone {
		resp.ErrorCode = int16(r.Code)
		if r.Text != "" {
			resp.ErrorMessage = &r.Text
		}
		return resp
	}
	resp.MemberID, resp.MemberEpoch = &r.MemberID, r.Generation
	if r.Generation >= 0 {
		resp.HeartbeatIntervalMillis = int32(c.cfg.ConsumerHeartbeat.Milliseconds())
	}
	if r.Assigned {
		resp.Assignment = &kmsg.ConsumerGroupHeartbeatResponseAssignment{Topics: []kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic{}}
		byTopic(r.Partitions, func(id record.TopicID, indexes []int32) {
			t := kmsg.NewConsumerGroupHeartbeatResponseAssignmentTopic()
			t.TopicID, t.Partitions = id, indexes
			resp.Assignment.Topics = append(resp.Assignment.Topics, t)
		})
	}
	return resp
}

func (c *Coordinator) consumerHeartbeat(ctx context.Context, req *kmsg.ConsumerGroupHeartbeatRequest, clientID, clientHost string) Reply {
	if wrong := checkHeartbeat(req); wrong != nil {
		return Reply{Code: wrong.code, Text: wrong.text}
	}
	ev := Beat{
		MemberID: req.MemberID, Epoch: req.MemberEpoch, InstanceID: str(req.InstanceID), RackID: req.RackID, ClientID: clientID, Host: clientHost,
		Rebalance: -1, HasNames: req.SubscribedTopicNames != nil, Names: req.SubscribedTopicNames, Pattern: req.SubscribedTopicRegex,
		Assignor: req.ServerAssignor, HasOwned: req.Topics != nil,
	}
	if req.RebalanceTimeoutMillis >= 0 {
		ev.Rebalance = time.Duration(req.RebalanceTimeoutMillis) * time.Millisecond
	}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			ev.Owned = append(ev.Owned, record.Partition{Topic: t.TopicID, Index: p})
		}
	}
	if ev.MemberID == "" {
		ev.MemberID = c.newMemberID("consumer") // version 0; from 1 on clients bring their own
	}
	ev.Topics = c.topicSet(ev.Epoch == joinEpoch || ev.HasNames || ev.Pattern != nil)
	sh, code := c.enter(ctx, req.Group)
	if code != codeNone {
		return Reply{Code: code}
	}
	g, code := sh.groups[req.Group], codeNone
	switch {
	case ev.Epoch == joinEpoch:
		g, code = c.cellFor(sh, req.Group)
	case g == nil || g.deleting:
		code = codeGroupIDNotFound
	}
	if code != codeNone {
		sh.mu.Unlock()
		return Reply{Code: code, Text: fmt.Sprintf("Group %s not found.", req.Group)}
	}
	if _, classic := g.state.(*State); classic && g.state.Idle() {
		if ev.Epoch != joinEpoch {
			sh.mu.Unlock()
			return Reply{Code: codeUnknownMemberID, Text: fmt.Sprintf("Member %s is not a member of group %s.", ev.MemberID, req.Group)}
		}
		s := NewConsumerState(req.Group, c.cfg, g.state.round(), c.now())
		s.emptySince = g.state.EmptySince()
		g.state = s
	}
	ev.Ticket = Ticket(c.ticket.Add(1))
	return c.ask(ctx, g, ev.Ticket, ev)
}

// checkHeartbeat refuses what makes no sense whatever the group is.
func checkHeartbeat(req *kmsg.ConsumerGroupHeartbeatRequest) *problem {
	first := req.MemberEpoch == joinEpoch
	switch {
	case req.Group == "":
		return refusal(codeInvalidRequest, "GroupId can't be empty.")
	case req.MemberID == "" && (req.Version >= 1 || !first):
		return refusal(codeInvalidRequest, "MemberId can't be empty.")
	case req.InstanceID != nil && *req.InstanceID == "":
		return refusal(codeInvalidRequest, "InstanceId can't be empty.")
	case req.RackID != nil && *req.RackID == "":
		return refusal(codeInvalidRequest, "RackId can't be empty.")
	case first && req.RebalanceTimeoutMillis == -1:
		return refusal(codeInvalidRequest, "RebalanceTimeoutMs must be provided in first request.")
	case first && (req.Topics == nil || len(req.Topics) > 0):
		return refusal(codeInvalidRequest, "TopicPartitions must be empty when (re-)joining.")
	case first && req.SubscribedTopicNames == nil && req.SubscribedTopicRegex == nil:
		return refusal(codeInvalidRequest, "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
	case req.MemberEpoch == staticLeaveEpoch && req.InstanceID == nil:
		return refusal(codeInvalidRequest, "InstanceId can't be null.")
	case req.MemberEpoch < staticLeaveEpoch:
		return refusal(codeInvalidRequest, "MemberEpoch is %d, but must be greater than or equal to -2.", req.MemberEpoch)
	case len(req.MemberID) > maxNameBytes || len(str(req.InstanceID)) > maxNameBytes || len(str(req.RackID)) > maxNameBytes:
		return refusal(codeInvalidRequest, "MemberId, InstanceId and RackId may have %d bytes.", maxNameBytes)
	}
	if name := req.ServerAssignor; name != nil && *name != "" {
		for _, known := range assignors() {
			if *name == known {
				return nil
			}
		}
		return refusal(codeUnsupportedAssignor, "ServerAssignor %s is not supported. Supported assignors: %s.", printable(*name), strings.Join(assignors(), ", "))
	}
	return nil
}

// maxNameBytes bounds what members call themselves.
const maxNameBytes = 1 << 10

// topicSet returns the topics there are, the same pointer as long as they are the same: those of now, or of up to a second ago.
func (c *Coordinator) topicSet(anew bool) *TopicSet {
	c.topicsMu.Lock()
	defer c.topicsMu.Unlock()
	now := c.now()
	if age := now.Sub(c.topicsAt); c.topics != nil && !anew && age >= 0 && age < topicsAge {
		return c.topics
	}
	topics := c.view.Topics()
	c.topicsAt = now
	if c.topics == nil || !c.topics.holds(topics) {
		c.topics = NewTopicSet(topics)
	}
	return c.topics
}

// byTopic calls do for each topic of sorted partitions.
func byTopic(parts []record.Partition, do func(id record.TopicID, indexes []int32)) {
	for len(parts) > 0 {
		id := parts[0].Topic
		var indexes []int32
		for len(parts) > 0 && parts[0].Topic == id {
			indexes = append(indexes, parts[0].Index)
			parts = parts[1:]
		}
		do(id, indexes)
	}
}

// ConsumerGroupDescribe tells the state and the members of groups of the consumer protocol. GROUP_ID_NOT_FOUND when there is no such
// group, or it is a classic one; tools ask for that with DescribeGroups then.
func (c *Coordinator) ConsumerGroupDescribe(ctx context.Context, req *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse {
	resp := kmsg.NewPtrConsumerGroupDescribeResponse()
	resp.SetVersion(req.Version)
	for _, name := range req.Groups {
		resp.Groups = append(resp.Groups, c.describeConsumerGroup(ctx, name))
	}
	return resp
}

func (c *Coordinator) describeConsumerGroup(ctx context.Context, name string) kmsg.ConsumerGroupDescribeResponseGroup {
	out := kmsg.NewConsumerGroupDescribeResponseGroup()
	out.Group = name
	topics := c.topicSet(true)
	sh, code := c.enter(ctx, name)
	if code != codeNone {
		out.ErrorCode = int16(code)
		return out
	}
	defer sh.mu.Unlock()
	text := ""
	g := sh.groups[name]
	switch {
	case g == nil || g.deleting:
		text = fmt.Sprintf("Group %s not found.", name)
	case !g.state.describeConsumers(&out):
		text = fmt.Sprintf("Group %s is not a consumer group.", name)
	}
	if text != "" {
		out.ErrorCode, out.ErrorMessage = int16(codeGroupIDNotFound), &text
		return out
	}
	for i := range out.Members {
		m := &out.Members[i]
		m.Assignment.TopicPartitions = topics.named(m.Assignment.TopicPartitions)
		m.TargetAssignment.TopicPartitions = topics.named(m.TargetAssignment.TopicPartitions)
	}
	return out
}

// named adds the names of topics and leaves out those that are gone, which a member may have until its next heartbeat.
func (s *TopicSet) named(all []kmsg.AssignmentTopicPartition) (out []kmsg.AssignmentTopicPartition) {
	for _, t := range all {
		if name, ok := s.byID[t.TopicID]; ok {
			t.Topic = name
			out = append(out, t)
		}
	}
	return out
}

// describeConsumers tells of the members everything but the names of their topics.
func (s *ConsumerState) describeConsumers(out *kmsg.ConsumerGroupDescribeResponseGroup) bool {
	out.State, out.Epoch, out.AssignmentEpoch, out.AssignorName = s.phase(), s.epoch, s.targetEpoch, s.preferred()
	for _, m := range s.sorted() {
		d := kmsg.NewConsumerGroupDescribeResponseGroupMember()
		d.MemberID, d.MemberEpoch, d.ClientID, d.ClientHost, d.SubscribedTopics = m.id, m.epoch, m.clientID, m.host, m.names
		d.InstanceID, d.RackID, d.SubscribedTopicRegex = optional(m.instance), optional(m.rack), optional(m.pattern)
		d.MemberType = 1
		d.Assignment.TopicPartitions = describePartitions(keysOf(m.assigned))
		d.TargetAssignment.TopicPartitions = describePartitions(m.target)
		out.Members = append(out.Members, d)
	}
	return true
}

func describePartitions(parts []record.Partition) (out []kmsg.AssignmentTopicPartition) {
	byTopic(parts, func(id record.TopicID, indexes []int32) {
		out = append(out, kmsg.AssignmentTopicPartition{TopicID: id, Partitions: indexes})
	})
	return out
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// describe reports that this is no classic group.
func (s *ConsumerState) describe(*kmsg.DescribeGroupsResponseGroup) bool { return false }

func (s *ConsumerState) list(out *kmsg.ListGroupsResponseGroup) {
	out.ProtocolType, out.GroupState, out.GroupType = consumerProtocol, s.phase(), "consumer"
}
