package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/metadata"
)

// createPartitions answers key 37, versions 0-3. Assignments must count as many partitions as are new; which brokers they name
// is not looked at. The answer comes when this agent serves the new partitions; others serve them when they have heard of it,
// and a request that comes earlier waits for that (lookup).
func (s *Server) createPartitions(ctx context.Context, req *kmsg.CreatePartitionsRequest) *kmsg.CreatePartitionsResponse {
	ctx, cancel := adminTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrCreatePartitionsResponse()
	resp.Topics = make([]kmsg.CreatePartitionsResponseTopic, len(req.Topics))
	named := make(map[string]int)
	for _, t := range req.Topics {
		named[t.Topic]++
	}
	look := s.lookup(ctx)
	if req.ValidateOnly {
		look.catchUp() // what grows is judged by the log, this by the View
	}
	var g errgroup.Group
	g.SetLimit(parallelCommands)
	added := 0
	tell := func(i int, v verdict) {
		resp.Topics[i].ErrorCode, resp.Topics[i].ErrorMessage = s.refuse(keyCreatePartitions, v.code), v.text()
	}
	for i, t := range req.Topics {
		resp.Topics[i] = kmsg.NewCreatePartitionsResponseTopic()
		resp.Topics[i].Topic = t.Topic
		if named[t.Topic] > 1 {
			tell(i, refused(codeInvalidRequest, "duplicate topic in request"))
			continue
		}
		topic, v := s.planGrowth(t, look)
		if v.code == codeNone {
			if added += int(t.Count - topic.Partitions); added > maxNewPartitions {
				v = refused(codePolicyViolation, "a request may create at most %d partitions", maxNewPartitions)
			}
		}
		if v.code != codeNone || req.ValidateOnly {
			tell(i, v)
			continue
		}
		g.Go(func() error {
			tell(i, verdictOf(s.guarded(ctx, keyCreatePartitions, func() error { return s.growTopic(ctx, topic, t.Count) })))
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return resp
}

// planGrowth judges what can be judged without a command. That a topic has as many partitions already may be the word of an old
// View about a topic that was made anew, so it catches up before it is believed.
func (s *Server) planGrowth(t kmsg.CreatePartitionsRequestTopic, look *lookup) (metadata.Topic, verdict) {
	topic, err := look.named(t.Topic)
	if err == nil && t.Count <= topic.Partitions {
		if look.catchUp(); look.err != nil {
			return topic, verdictOf(look.err)
		}
		topic, err = look.named(t.Topic)
	}
	if err == nil {
		err = s.canChange()
	}
	switch {
	case err != nil:
		return topic, verdictOf(err)
	case t.Count <= topic.Partitions:
		return topic, verdictOf(notGrowing(topic, t.Count))
	case t.Count > metadata.MaxPartitions:
		return topic, refused(codeInvalidPartitions, "%d partitions: a topic has at most %d", t.Count, metadata.MaxPartitions)
	case t.Assignment != nil && len(t.Assignment) != int(t.Count-topic.Partitions):
		return topic, refused(codeInvalidReplicaAssignment, "attempted to add %d additional partition(s), but only %d assignment(s) were specified", t.Count-topic.Partitions, len(t.Assignment))
	}
	for _, a := range t.Assignment {
		replicas := slices.Sorted(slices.Values(a.Replicas))
		if len(replicas) == 0 {
			return topic, refused(codeInvalidReplicaAssignment, "the manual partition assignment includes an empty replica list")
		}
		if len(slices.Compact(slices.Clone(replicas))) < len(replicas) {
			return topic, refused(codeInvalidReplicaAssignment, "the manual partition assignment includes a broker more than once")
		}
	}
	return topic, verdict{}
}

func notGrowing(t metadata.Topic, count int32) error {
	if count == t.Partitions {
		return fmt.Errorf("%w: topic already has %d partition(s)", metadata.ErrInvalidPartitions, count)
	}
	return fmt.Errorf("%w: the topic %s currently has %d partition(s); %d would not be an increase", metadata.ErrInvalidPartitions, t.Name, t.Partitions, count)
}

func (s *Server) growTopic(ctx context.Context, t metadata.Topic, count int32) error {
	res, err := do[metadata.CreatePartitionsResult](ctx, s.deps.Commands, metadata.CreatePartitions{ID: t.ID, Partitions: count})
	switch {
	case err != nil:
		return fmt.Errorf("create partitions of topic %q: %w", t.Name, err)
	case errors.Is(res.Err, metadata.ErrInvalidPartitions) && res.Topic.Partitions >= count:
		return notGrowing(res.Topic, count)
	case res.Err != nil:
		return fmt.Errorf("create partitions of topic %q: %w", t.Name, res.Err)
	}
	s.log.InfoContext(ctx, "topic grown", "topic", t.Name, "id", t.ID.String(), "partitions", count)
	return nil
}
