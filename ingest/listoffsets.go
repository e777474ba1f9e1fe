package ingest

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// Timestamps of ListOffsets that mean something else.
const (
	tsLatest          = -1
	tsEarliest        = -2
	tsMaxTimestamp    = -3 // from v7 (KIP-734)
	tsEarliestLocal   = -4 // from v8 (KIP-405); no tiers: the log start
	tsLatestTiered    = -5 // from v9 (KIP-1005); no tiers: none
	tsEarliestPending = -6 // from v11 (KIP-1023); no tiers: none
	noOffset          = -1
)

// parallelLookups bounds the lookups by time of one request under way at a time.
const parallelLookups = 16

// listOffsets answers key 2, versions 0-11. v0 answers with a list of offsets and knows no exact timestamps; from v1 the
// first offset whose record's timestamp is at least the one asked for. v2 brings isolation levels, v4 leader epochs.
func (s *Server) listOffsets(ctx context.Context, req *kmsg.ListOffsetsRequest) *kmsg.ListOffsetsResponse {
	resp := kmsg.NewPtrListOffsetsResponse()
	fresh := s.fresh(ctx, freshTimeout) // once for the whole request, and before topics are looked for
	twice := make(map[record.Partition]int)
	for _, t := range req.Topics {
		topic, ok := s.deps.View.Topic(t.Topic)
		if !ok {
			continue
		}
		for _, p := range t.Partitions {
			twice[record.Partition{Topic: topic.ID, Index: p.Partition}]++
		}
	}
	// Lookups by time read the log: several at a time, for tools ask about every partition of a topic at once.
	var g errgroup.Group
	g.SetLimit(parallelLookups)
	for _, t := range req.Topics {
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		out.Partitions = make([]kmsg.ListOffsetsResponseTopicPartition, len(t.Partitions))
		topic, known := s.deps.View.Topic(t.Topic)
		for i, p := range t.Partitions {
			answer := &out.Partitions[i]
			*answer = kmsg.NewListOffsetsResponseTopicPartition()
			answer.Partition = p.Partition
			answer.Offset, answer.Timestamp, answer.LeaderEpoch = noOffset, -1, -1
			part := record.Partition{Topic: topic.ID, Index: p.Partition}
			var c code
			switch {
			case !known && fresh != nil:
				c = codeOf(fresh)
			case !known || p.Partition < 0 || p.Partition >= topic.Partitions:
				c = codeUnknownTopicOrPartition
			case twice[part] > 1:
				c = codeInvalidRequest
			case p.CurrentLeaderEpoch > leaderEpoch:
				c = codeUnknownLeaderEpoch
			case fresh != nil:
				c = codeOf(fresh)
			default:
				g.Go(func() error {
					c := codeKafkaStorageError
					_ = s.guarded(ctx, keyListOffsets, func() error { // a panic leaves c as it is
						c = s.listOffset(ctx, req, part, p, answer)
						return nil
					})
					answer.ErrorCode = s.refuse(keyListOffsets, c)
					return nil
				})
				continue
			}
			answer.ErrorCode = s.refuse(keyListOffsets, c)
		}
		resp.Topics = append(resp.Topics, out)
	}
	_ = g.Wait() // the functions return no error
	return resp
}

// listOffset answers for one partition.
func (s *Server) listOffset(ctx context.Context, req *kmsg.ListOffsetsRequest, part record.Partition, p kmsg.ListOffsetsRequestTopicPartition, answer *kmsg.ListOffsetsResponseTopicPartition) code {
	bounds, err := s.deps.View.Bounds(part)
	if err != nil {
		return codeOf(err)
	}
	latest := bounds.HighWatermark
	if req.IsolationLevel == 1 {
		latest = bounds.LastStable
	}
	offset, timestamp := record.Offset(noOffset), int64(-1)
	switch ts := p.Timestamp; {
	case ts == tsLatest:
		offset = latest
	case ts == tsEarliest, ts == tsEarliestLocal && req.Version >= 8:
		offset = bounds.LogStart
	case ts == tsMaxTimestamp && req.Version >= 7:
		offset, timestamp, err = s.deps.Reader.OffsetOfMaxTimestamp(ctx, part)
	case ts == tsLatestTiered && req.Version >= 9, ts == tsEarliestPending && req.Version >= 11:
		// No tiers, no offset.
	case ts < 0:
		return codeUnsupportedVersion
	default:
		offset, timestamp, err = s.deps.Reader.OffsetForTime(ctx, part, ts)
	}
	if err != nil {
		return readCode(err)
	}
	if req.Version == 0 {
		answer.OldStyleOffsets = oldStyle(p, offset, bounds)
		return codeNone
	}
	if offset >= 0 {
		answer.Offset, answer.Timestamp, answer.LeaderEpoch = int64(offset), timestamp, leaderEpoch
	}
	return codeNone
}

// readCode maps an error of reading the log: what is not known may pass.
func readCode(err error) code {
	switch c := codeOf(err); c {
	case codeUnknownServerError, codeRequestTimedOut:
		return codeKafkaStorageError
	default:
		return c
	}
}

// oldStyle is the list of v0: segment starts at or before the time asked for, newest first, led by the end of the log
// for the latest. This log has one segment.
func oldStyle(p kmsg.ListOffsetsRequestTopicPartition, offset record.Offset, bounds metadata.Bounds) []int64 {
	out := make([]int64, 0, 2)
	if offset >= 0 && p.MaxNumOffsets > 0 {
		out = append(out, int64(offset))
	}
	if p.Timestamp == tsLatest && p.MaxNumOffsets > 1 && offset > bounds.LogStart {
		out = append(out, int64(bounds.LogStart))
	}
	return out
}

// offsetForLeaderEpoch answers key 23, versions 0-4 (KIP-320). There has only ever been epoch 0, and it ends at the high
// watermark: no client finds a truncation that never was.
func (s *Server) offsetForLeaderEpoch(ctx context.Context, req *kmsg.OffsetForLeaderEpochRequest) *kmsg.OffsetForLeaderEpochResponse {
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	fresh := s.fresh(ctx, freshTimeout)
	for _, t := range req.Topics {
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = t.Topic
		topic, known := s.deps.View.Topic(t.Topic)
		for _, p := range t.Partitions {
			answer := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			answer.Partition = p.Partition
			answer.LeaderEpoch, answer.EndOffset = -1, -1
			var c code
			switch {
			case !known && fresh != nil:
				c = codeOf(fresh)
			case !known || p.Partition < 0 || p.Partition >= topic.Partitions:
				c = codeUnknownTopicOrPartition
			case p.CurrentLeaderEpoch > leaderEpoch:
				c = codeUnknownLeaderEpoch
			case fresh != nil:
				c = codeOf(fresh)
			case p.LeaderEpoch == leaderEpoch:
				bounds, err := s.deps.View.Bounds(record.Partition{Topic: topic.ID, Index: p.Partition})
				if c = codeOf(err); c == codeNone {
					answer.LeaderEpoch, answer.EndOffset = leaderEpoch, int64(bounds.HighWatermark)
				}
			default: // no such epoch: undefined, which is not an error
			}
			answer.ErrorCode = s.refuse(keyOffsetForLeaderEpoch, c)
			out.Partitions = append(out.Partitions, answer)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}
