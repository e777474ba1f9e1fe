package ingest

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
)

// maxDescribedProducers bounds the producers that one DescribeProducers request is answered with: a partition has up to 1,000 of them.
const maxDescribedProducers = 100_000

// describeProducers answers key 61, version 0 (KIP-664): the idempotent producers of partitions, without those unused for a day. There
// are no transactions yet: no producer has one that is open. The timestamp is the time of the last append.
func (s *Server) describeProducers(ctx context.Context, req *kmsg.DescribeProducersRequest) *kmsg.DescribeProducersResponse {
	resp := kmsg.NewPtrDescribeProducersResponse()
	look := s.lookup(ctx)
	room := maxDescribedProducers
	for _, t := range req.Topics {
		out := kmsg.NewDescribeProducersResponseTopic()
		out.Topic = t.Topic
		topic, unknown := look.named(t.Topic)
		for _, index := range t.Partitions {
			answer := kmsg.NewDescribeProducersResponseTopicPartition()
			answer.Partition = index
			refuse := func(c code, message string) {
				answer.ErrorCode, answer.ErrorMessage = s.refuse(keyDescribeProducers, c), &message
			}
			switch {
			case unknown != nil:
				refuse(codeOf(unknown), messageOf(unknown))
			case index < 0 || index >= topic.Partitions:
				refuse(codeUnknownTopicOrPartition, fmt.Sprintf("topic %q has no partition %d", t.Topic, index))
			case room <= 0:
				refuse(codePolicyViolation, fmt.Sprintf("a request is answered with at most %d producers: ask for fewer partitions at a time", maxDescribedProducers))
			default:
				producers, err := s.deps.View.Producers(record.Partition{Topic: topic.ID, Index: index})
				if err != nil {
					refuse(codeOf(err), messageOf(err))
					break
				}
				room -= len(producers)
				for _, p := range producers {
					active := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
					active.ProducerID, active.ProducerEpoch, active.LastSequence = p.ID, int32(p.Epoch), p.LastSequence
					active.LastTimestamp, active.CoordinatorEpoch, active.CurrentTxnStartOffset = p.LastAt, -1, -1
					answer.ActiveProducers = append(answer.ActiveProducers, active)
				}
			}
			out.Partitions = append(out.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}
