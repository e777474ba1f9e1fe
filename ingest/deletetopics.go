package ingest

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// deleteTopics answers key 20, versions 0-6. Until v5 topics go by name, from v6 by name or id (KIP-516).
func (s *Server) deleteTopics(ctx context.Context, req *kmsg.DeleteTopicsRequest) *kmsg.DeleteTopicsResponse {
	ctx, cancel := adminTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	asked := req.Topics
	for _, name := range req.TopicNames {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &name
		asked = append(asked, t)
	}
	resp := kmsg.NewPtrDeleteTopicsResponse()
	resp.Topics = make([]kmsg.DeleteTopicsResponseTopic, len(asked))
	doomed := make([]metadata.Topic, len(asked))
	times := make(map[record.TopicID]int)
	look := s.lookup(ctx)
	for i, a := range asked {
		out := &resp.Topics[i]
		*out = kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID = a.Topic, a.TopicID
		topic, c := s.doomed(a, look)
		out.ErrorCode = int16(c)
		if c == codeNone {
			doomed[i] = topic
			times[topic.ID]++
		}
	}
	var g errgroup.Group
	g.SetLimit(parallelCommands)
	for i, topic := range doomed {
		out := &resp.Topics[i]
		switch {
		case out.ErrorCode != 0:
			continue
		case times[topic.ID] > 1:
			out.ErrorCode = int16(codeInvalidRequest)
			continue
		}
		g.Go(func() error {
			err := s.guarded(ctx, keyDeleteTopics, func() error { return s.deleteTopic(ctx, topic) })
			out.ErrorCode = int16(codeOf(err))
			out.Topic, out.TopicID = &topic.Name, topic.ID
			if err != nil {
				message := messageOf(err)
				out.ErrorMessage = &message
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	for _, t := range resp.Topics {
		s.refuse(keyDeleteTopics, code(t.ErrorCode))
	}
	return resp
}

// doomed finds the topic meant. The View catches up before one is said not to exist.
func (s *Server) doomed(a kmsg.DeleteTopicsRequestTopic, look *lookup) (metadata.Topic, code) {
	id := record.TopicID(a.TopicID)
	if (a.Topic == nil) == id.IsZero() { // both or neither
		return metadata.Topic{}, codeInvalidRequest
	}
	find, unknown := func() (metadata.Topic, bool) { return s.deps.View.TopicByID(id) }, codeUnknownTopicID
	if a.Topic != nil {
		find, unknown = func() (metadata.Topic, bool) { return s.deps.View.Topic(*a.Topic) }, codeUnknownTopicOrPartition
	}
	if t, ok := find(); ok {
		return t, codeNone
	}
	if look.catchUp(); look.err != nil {
		return metadata.Topic{}, codeOf(look.err)
	}
	if t, ok := find(); ok {
		return t, codeNone
	}
	return metadata.Topic{}, unknown
}

func (s *Server) deleteTopic(ctx context.Context, t metadata.Topic) error {
	res, err := do[metadata.DeleteTopicResult](ctx, s.deps.Commands, metadata.DeleteTopic{ID: t.ID})
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return fmt.Errorf("delete topic %q: %w", t.Name, err)
	}
	s.log.InfoContext(ctx, "topic deleted", "topic", t.Name, "id", t.ID.String())
	return nil
}
