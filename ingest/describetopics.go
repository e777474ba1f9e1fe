package ingest

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/routing"
)

// maxDescribedPartitions bounds one page, as Kafka's max.request.partition.size.limit does by default.
const maxDescribedPartitions = 2_000

// describeTopicPartitions answers key 75, version 0 (KIP-966): topics by name, from the cursor on, up to so many partitions, and
// where the next page begins.
func (s *Server) describeTopicPartitions(ctx context.Context, c caller, req *kmsg.DescribeTopicPartitionsRequest) *kmsg.DescribeTopicPartitionsResponse {
	resp := kmsg.NewPtrDescribeTopicPartitionsResponse()
	place, outcome := s.place(c, s.cluster())
	s.observe.Placed(outcome)
	topics := s.topicsToDescribe(ctx, req)
	if req.Cursor != nil && req.Cursor.Partition < 0 {
		for _, t := range topics {
			resp.Topics = append(resp.Topics, describedFault(t.name, codeInvalidRequest))
			s.refuse(keyDescribeTopicPartitions, codeInvalidRequest)
		}
		return resp
	}
	left := min(max(req.ResponsePartitionLimit, 1), maxDescribedPartitions)
	for _, t := range topics {
		from := int32(0)
		if req.Cursor != nil {
			if t.name < req.Cursor.Topic {
				continue
			}
			if t.name == req.Cursor.Topic {
				from = req.Cursor.Partition
			}
		}
		if left <= 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: t.name, Partition: from}
			break
		}
		if t.code != codeNone {
			resp.Topics = append(resp.Topics, describedFault(t.name, t.code))
			s.refuse(keyDescribeTopicPartitions, t.code)
			continue
		}
		from = min(from, t.topic.Partitions)
		to := min(from+left, t.topic.Partitions)
		resp.Topics = append(resp.Topics, describedTopic(t.topic, place, from, to))
		left -= to - from
		if to < t.topic.Partitions {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: t.name, Partition: to}
			break
		}
	}
	return resp
}

// toDescribe is a topic asked for, or why there is none.
type toDescribe struct {
	name  string
	topic metadata.Topic
	code  code
}

// topicsToDescribe finds the topics asked for by name, each once; all of them when none is named.
func (s *Server) topicsToDescribe(ctx context.Context, req *kmsg.DescribeTopicPartitionsRequest) []toDescribe {
	var out []toDescribe
	if len(req.Topics) == 0 {
		for _, t := range s.deps.View.Topics() {
			out = append(out, toDescribe{name: t.Name, topic: t})
		}
		return out
	}
	look := s.lookup(ctx)
	seen := make(map[string]bool)
	for _, asked := range req.Topics {
		if seen[asked.Topic] {
			continue
		}
		seen[asked.Topic] = true
		t := toDescribe{name: asked.Topic}
		if metadata.ValidateTopicName(t.name) != nil {
			t.code = codeInvalidTopic
		} else if topic, err := look.named(t.name); err != nil {
			t.code = missingCode(err, codeUnknownTopicOrPartition)
		} else {
			t.topic = topic
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b toDescribe) int { return cmp.Or(strings.Compare(a.name, b.name)) })
	return out
}

func describedFault(name string, code code) kmsg.DescribeTopicPartitionsResponseTopic {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.ErrorCode = &name, int16(code)
	out.AuthorizedOperations = topicOperations
	return out
}

// describedTopic tells partitions [from, to) of t.
func describedTopic(t metadata.Topic, place routing.Placement, from, to int32) kmsg.DescribeTopicPartitionsResponseTopic {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic, out.TopicID = &t.Name, t.ID
	out.AuthorizedOperations = topicOperations
	nodes := place.Topic(t.ID, int(t.Partitions))
	for i := from; i < to; i++ {
		p := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		p.Partition = i
		p.LeaderID, p.LeaderEpoch = nodes[i][0], leaderEpoch
		p.Replicas, p.ISR = nodes[i], nodes[i]                          // nobody changes an answer
		p.EligibleLeaderReplicas, p.LastKnownELR = []int32{}, []int32{} // Java's admin client does not take null, which the schema allows
		out.Partitions = append(out.Partitions, p)
	}
	return out
}
