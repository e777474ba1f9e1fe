package group

import (
	"context"
	"errors"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// OffsetCommit makes the offsets of one request durable in one command: all that are acceptable, or none. Topics are
// named by id from version 10 on.
func (c *Coordinator) OffsetCommit(ctx context.Context, req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.SetVersion(req.Version)
	sh := &c.shards[ShardOf(req.Group)]
	var ops []metadata.KeyOp
	var parts []record.Partition
	for _, t := range req.Topics {
		topic, code := c.topic(req.Version >= 10, t.Topic, t.TopicID)
		out := kmsg.NewOffsetCommitResponseTopic()
		out.Topic, out.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			part := kmsg.NewOffsetCommitResponseTopicPartition()
			part.Partition = p.Partition
			switch {
			case code != codeNone:
				part.ErrorCode = int16(code)
			case p.Partition < 0 || p.Partition >= topic.Partitions:
				part.ErrorCode = int16(codeUnknownTopicOrPartition)
			case len(str(p.Metadata)) > c.cfg.MaxOffsetMetadataBytes:
				part.ErrorCode = int16(codeOffsetMetadataTooLarge)
			default:
				o := committed{offset: p.Offset, leaderEpoch: p.LeaderEpoch, at: c.now().UnixMilli(), metadata: str(p.Metadata)}
				if req.Version < 6 {
					o.leaderEpoch = -1
				}
				at := record.Partition{Topic: topic.ID, Index: p.Partition}
				parts = append(parts, at)
				ops = append(ops, metadata.KeyOp{Key: sh.offsetKey(req.Group, at), Write: true, Value: o.encode()})
			}
			out.Partitions = append(out.Partitions, part)
		}
		resp.Topics = append(resp.Topics, out)
	}
	code := c.commit(ctx, req, ops, parts)
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			if p := &resp.Topics[i].Partitions[j]; p.ErrorCode == 0 {
				p.ErrorCode = int16(code)
			}
		}
	}
	return resp
}

// commit asks the group whether the member may commit for these partitions, and writes.
func (c *Coordinator) commit(ctx context.Context, req *kmsg.OffsetCommitRequest, ops []metadata.KeyOp, parts []record.Partition) Code {
	sh, code := c.enter(ctx, req.Group)
	if code != codeNone {
		return code
	}
	generation := req.Generation
	if req.Version < 1 {
		generation = -1
	}
	if sh.groups[req.Group] == nil && generation >= 0 {
		sh.mu.Unlock()
		if req.Version >= 9 {
			return codeGroupIDNotFound
		}
		return codeIllegalGeneration
	}
	g, code := c.cellFor(sh, req.Group)
	if code == codeNone {
		code = g.state.checkCommit(commitCheck{
			memberID: req.MemberID, instance: str(req.InstanceID), generation: generation, version: req.Version, partitions: parts,
		}, c.now())
		c.timers.set(g, g.state.Wake())
		c.tidyUnless(g, code == codeNone && len(ops) > 0)
	}
	if code != codeNone || len(ops) == 0 {
		sh.mu.Unlock()
		return code
	}
	g.commits++ // keeps the group from being deleted or forgotten meanwhile
	claim := sh.claim
	create := !g.durable
	_, value := g.state.Snapshot()
	sh.mu.Unlock()

	// A group that so far is only offsets gets its own key with the first of them, so that it is listed and found. It
	// may exist after all, when an earlier write was not answered.
	if create {
		key := sh.groupKey(req.Group)
		group := metadata.KeyOp{Key: key, Check: true, Write: true, Value: value}
		code = c.write(ctx, sh, claim, append([]metadata.KeyOp{group}, ops...))
	}
	if !create || code == codeInvalidRequest {
		code = c.write(ctx, sh, claim, ops)
	}

	sh.mu.Lock()
	defer sh.mu.Unlock()
	if g.gone {
		return code
	}
	g.commits--
	g.durable = g.durable || code == codeNone
	if code == codeNotCoordinator {
		c.lose(sh, claim)
	}
	c.tidy(g)
	return code
}

func (c *Coordinator) tidyUnless(g *cell, busy bool) {
	if !busy {
		c.tidy(g)
	}
}

// OffsetFetch answers what was committed; a group, topic or partition without a commit has offset -1 and no error. It waits for
// the log to confirm that this is all: a consumer that starts from an offset of long ago reads everything since once more.
func (c *Coordinator) OffsetFetch(ctx context.Context, req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	resp := kmsg.NewPtrOffsetFetchResponse()
	resp.SetVersion(req.Version)
	fresh := c.fresh(ctx) // once for the whole request
	if req.Version >= 8 {
		for _, g := range req.Groups {
			resp.Groups = append(resp.Groups, c.fetchGroup(ctx, req.Version, g, fresh))
		}
		return resp
	}
	in := kmsg.NewOffsetFetchRequestGroup()
	in.Group = req.Group
	if req.Topics != nil {
		in.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetFetchRequestGroupTopic()
		topic.Topic, topic.Partitions = t.Topic, t.Partitions
		in.Topics = append(in.Topics, topic)
	}
	out := c.fetchGroup(ctx, req.Version, in, fresh)
	resp.ErrorCode = out.ErrorCode
	if out.ErrorCode != 0 && req.Version < 2 {
		out.Topics = refuseTopics(in, Code(out.ErrorCode)) // these versions have no place for a code of the group
	}
	for _, t := range out.Topics {
		topic := kmsg.NewOffsetFetchResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			part := kmsg.NewOffsetFetchResponseTopicPartition()
			part.Partition, part.Offset, part.LeaderEpoch = p.Partition, p.Offset, p.LeaderEpoch
			part.Metadata, part.ErrorCode = p.Metadata, p.ErrorCode
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// fresh waits until the View is known to hold everything.
func (c *Coordinator) fresh(ctx context.Context) Code {
	if !c.running.Load() {
		return codeNone // enter has the answer
	}
	err := c.doer.Confirm(ctx)
	switch {
	case err == nil:
		return codeNone
	case errors.Is(err, metadata.ErrEnded):
		return codeNotCoordinator // somebody else is, or this agent stops
	default:
		c.log.WarnContext(ctx, "offsets not read", "err", err)
		return codeCoordinatorUnavailable
	}
}

func (c *Coordinator) fetchGroup(ctx context.Context, version int16, in kmsg.OffsetFetchRequestGroup, fresh Code) kmsg.OffsetFetchResponseGroup {
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group = in.Group
	if fresh != codeNone {
		out.ErrorCode = int16(fresh)
		return out
	}
	sh, code := c.enter(ctx, in.Group)
	if code == codeNone {
		// Members of the consumer protocol name themselves; a group nobody knows can not have them.
		if version >= 9 && (in.MemberID != nil || in.MemberEpoch >= 0) {
			if g := sh.groups[in.Group]; g == nil {
				code = codeGroupIDNotFound
			} else {
				code = g.state.checkFetch(str(in.MemberID), in.MemberEpoch)
			}
		}
		sh.mu.Unlock()
	}
	if code != codeNone {
		out.ErrorCode = int16(code)
		return out
	}
	if in.Topics == nil {
		out.Topics = c.allOffsets(sh, in.Group)
		return out
	}
	for _, t := range in.Topics {
		topic, code := c.topic(version >= 10, t.Topic, t.TopicID)
		answer := kmsg.NewOffsetFetchResponseGroupTopic()
		answer.Topic, answer.TopicID = t.Topic, t.TopicID
		for _, index := range t.Partitions {
			p := noOffset(index)
			switch code {
			case codeUnknownTopicID:
				p.ErrorCode = int16(code)
			case codeNone:
				key := sh.offsetKey(in.Group, record.Partition{Topic: topic.ID, Index: index})
				if kv, ok := c.view.Key(Space, key); ok {
					c.fill(&p, kv)
				}
			default: // a topic nobody knows by name has no offset, as in Kafka
			}
			answer.Partitions = append(answer.Partitions, p)
		}
		out.Topics = append(out.Topics, answer)
	}
	return out
}

// allOffsets lists what the group has committed for topics that still exist.
func (c *Coordinator) allOffsets(sh *shard, group string) []kmsg.OffsetFetchResponseGroupTopic {
	topics := []kmsg.OffsetFetchResponseGroupTopic{}
	prefix := sh.offsetPrefix(group)
	for _, kv := range c.view.Keys(Space, prefix) {
		at, err := parseOffsetKey(strings.TrimPrefix(kv.Key, prefix))
		if err != nil {
			c.log.Error("offset key not read", "key", kv.Key, "err", err)
			continue
		}
		topic, ok := c.view.TopicByID(at.Topic)
		if !ok {
			continue
		}
		if n := len(topics); n == 0 || topics[n-1].TopicID != at.Topic {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			t.Topic, t.TopicID = topic.Name, topic.ID
			topics = append(topics, t)
		}
		p := noOffset(at.Index)
		c.fill(&p, kv)
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, p)
	}
	return topics
}

func noOffset(index int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = index, -1, -1, new(string)
	return p
}

func (c *Coordinator) fill(p *kmsg.OffsetFetchResponseGroupTopicPartition, kv metadata.KeyValue) {
	o, err := decodeCommitted(kv.Value)
	if err != nil {
		// Saying "no offset" would make the consumer start over; an error makes somebody look.
		c.log.Error("offset not read", "key", kv.Key, "err", err)
		p.ErrorCode = -1
		return
	}
	p.Offset, p.LeaderEpoch, p.Metadata = o.offset, o.leaderEpoch, &o.metadata
}

func refuseTopics(in kmsg.OffsetFetchRequestGroup, code Code) []kmsg.OffsetFetchResponseGroupTopic {
	var out []kmsg.OffsetFetchResponseGroupTopic
	for _, t := range in.Topics {
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic = t.Topic
		for _, index := range t.Partitions {
			p := noOffset(index)
			p.ErrorCode = int16(code)
			topic.Partitions = append(topic.Partitions, p)
		}
		out = append(out, topic)
	}
	return out
}

// topic finds a topic the way the request's version names it.
func (c *Coordinator) topic(byID bool, name string, id record.TopicID) (metadata.Topic, Code) {
	if byID {
		if t, ok := c.view.TopicByID(id); ok {
			return t, codeNone
		}
		return metadata.Topic{}, codeUnknownTopicID
	}
	if t, ok := c.view.Topic(name); ok {
		return t, codeNone
	}
	return metadata.Topic{}, codeUnknownTopicOrPartition
}
