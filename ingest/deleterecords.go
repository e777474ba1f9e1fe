package ingest

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// deleteRecords answers key 21, versions 0-2 (KIP-107): the log of a partition starts at an offset, at the high watermark with
// -1. All of a request is one command, and each partition is answered for itself. The low watermark is where the log
// starts now, which may be beyond what was asked for.
func (s *Server) deleteRecords(ctx context.Context, req *kmsg.DeleteRecordsRequest) *kmsg.DeleteRecordsResponse {
	ctx, cancel := adminTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrDeleteRecordsResponse()
	resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(req.Topics))
	var cmd metadata.DeleteRecords
	var places []*kmsg.DeleteRecordsResponseTopicPartition // of the moves
	topics, times := make([]metadata.Topic, len(req.Topics)), make(map[record.Partition]int)
	unknown := make([]error, len(req.Topics))
	look := s.lookup(ctx)
	for i, t := range req.Topics {
		topics[i], unknown[i] = look.named(t.Topic)
		for _, p := range t.Partitions {
			times[record.Partition{Topic: topics[i].ID, Index: p.Partition}]++
		}
	}
	for i, t := range req.Topics {
		out := &resp.Topics[i]
		*out = kmsg.NewDeleteRecordsResponseTopic()
		out.Topic = t.Topic
		out.Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(t.Partitions))
		for j, p := range t.Partitions {
			answer := &out.Partitions[j]
			*answer = kmsg.NewDeleteRecordsResponseTopicPartition()
			answer.Partition, answer.LowWatermark = p.Partition, noOffset
			part := record.Partition{Topic: topics[i].ID, Index: p.Partition}
			var c code
			switch {
			case unknown[i] != nil:
				c = codeOf(unknown[i])
			case p.Partition < 0 || p.Partition >= topics[i].Partitions:
				c = codeUnknownTopicOrPartition
			case times[part] > 1:
				c = codeInvalidRequest
			case !topics[i].MayDeleteRecords():
				c = codePolicyViolation
			case p.Offset < 0 && p.Offset != int64(metadata.ToHighWatermark):
				c = codeOffsetOutOfRange
			default:
				cmd.Moves = append(cmd.Moves, metadata.LogStartMove{Partition: part, To: record.Offset(p.Offset)})
				places = append(places, answer)
				continue
			}
			answer.ErrorCode = s.refuse(keyDeleteRecords, c)
		}
	}
	if len(cmd.Moves) > 0 {
		s.moveLogStarts(ctx, cmd, places)
	}
	return resp
}

// moveLogStarts carries cmd out and fills in the answers of its moves.
func (s *Server) moveLogStarts(ctx context.Context, cmd metadata.DeleteRecords, answers []*kmsg.DeleteRecordsResponseTopicPartition) {
	res, err := do[metadata.DeleteRecordsResult](ctx, s.deps.Commands, cmd)
	if err == nil {
		err = res.Err
	}
	if err == nil && len(res.Moves) != len(answers) {
		err = fmt.Errorf("%d moves were answered with %d", len(answers), len(res.Moves))
	}
	if err != nil {
		s.log.WarnContext(ctx, "records not deleted", "partitions", len(cmd.Moves), "err", err)
	}
	for i, answer := range answers {
		fate := err
		if err == nil {
			fate = res.Moves[i].Err
		}
		answer.ErrorCode = s.refuse(keyDeleteRecords, codeOf(fate))
		if fate == nil {
			answer.LowWatermark = int64(res.Moves[i].LogStart)
			s.log.InfoContext(ctx, "records deleted", "topic", cmd.Moves[i].Partition.Topic.String(), "partition", answer.Partition, "offset", answer.LowWatermark)
		}
	}
}
