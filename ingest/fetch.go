package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

const (
	// maxFetchWait bounds a long poll, whatever max.wait says.
	maxFetchWait = 5 * time.Minute
	// maxUnparkedWait bounds a long poll for which there is no room among the requests that wait.
	maxUnparkedWait = 100 * time.Millisecond
)

// fetch answers key 1, versions 4-17. Sessions are declined by session id 0 (KIP-227), so every partition asked for is in
// the answer. Record bodies are written from where they lie.
func (s *Server) fetch(c *conn, req *request, r *reply) {
	fr, err := decodeFetch(req.body, req.version, req.flexible())
	if err != nil {
		r.fault = &fault{refusedFrame, fmt.Errorf("fetch v%d: %w", req.version, err)}
		return
	}
	if fr.sessionID != 0 {
		// No session was ever given out; the client starts over with a full request.
		top := code(s.refuse(keyFetch, codeFetchSessionIDNotFound))
		c.answer(r, encodeFetch(*req, top, nil, nil, false))
		return
	}
	req.body = nil // nothing decoded refers to it
	if r.zone == "" && s.cfg.Zone != "" {
		r.zone = fr.rack // a consumer may tell its zone here alone
	}
	wait := min(time.Duration(max(fr.maxWaitMillis, 0))*time.Millisecond, maxFetchWait)
	if !c.park(r, fr.memory()) {
		wait = min(wait, maxUnparkedWait)
	}
	room := replyRoom{replies: s.replies, large: s.large}
	defer room.giveBack() // the reply pays for itself then
	results, response := s.fetchPartitions(c, req, fr, wait, &room)
	for _, res := range results {
		s.refuse(keyFetch, res.code)
	}
	c.answer(r, encodeFetch(*req, codeNone, fr.topics, results, fr.readCommitted))
	r.over = response.Release
	room.handOver(r)
}

// fetchPartitions returns one result for each partition of the request, in order, and the response whose memory they
// alias. room is asked for the records' memory.
func (s *Server) fetchPartitions(c *conn, req *request, fr fetchRequest, wait time.Duration, room *replyRoom) (results []fetchResult, response fetch.Response) {
	version := req.version
	others, away := s.away(c.caller(req))
	steer := fr.rack != "" && fr.rack != s.cfg.Zone && !away
	if steer {
		others = s.destinations(c.caller(req))
	}
	sent := false
	var (
		ask = fetch.Request{
			MinBytes: int(max(fr.minBytes, 0)),
			MaxBytes: min(int(max(fr.maxBytes, 0)), s.cfg.FetchBytes),
			Admit:    room.admit,
			MaxWait:  wait,
			Turn:     c.turns.Add(1),
		}
		places []int // ask.Partitions[i] is answered in results[places[i]]
		seen   = make(map[record.Partition]bool)
	)
	look := s.lookup(c.polls)
	if !away {
		c.catchUp(look)
	}
	for _, t := range fr.topics {
		topic, unknown := look.topic(t.name, t.id, version)
		for _, p := range t.partitions {
			part := record.Partition{Topic: topic.ID, Index: p.index}
			res := fetchResult{highWatermark: -1, lastStable: -1, logStart: -1}
			switch {
			case unknown != codeNone:
				res.code = unknown
			case !look.covers(&topic, p.index):
				res.code = codeUnknownTopicOrPartition
			case p.leaderEpoch > 0: // ours is 0 for ever
				res.code = codeUnknownLeaderEpoch
			case seen[part]:
				res.code = codeInvalidRequest
			default:
				seen[part] = true
				if look.err != nil {
					res.code = readCode(look.err)
					break
				}
				if away {
					res.code, res.to, sent = codeNotLeaderOrFollower, others.leader(topic.ID, topic.Partitions, p.index), true
					break
				}
				if steer {
					if there, ok := s.replica(c, others, fr.rack, part, record.Offset(p.offset)); ok {
						res, sent = there, true
						break
					}
				}
				ask.Partitions = append(ask.Partitions, fetch.PartitionRequest{
					Partition: part, Offset: record.Offset(p.offset), MaxBytes: int(max(p.maxBytes, 0)),
				})
				places = append(places, len(results))
			}
			results = append(results, res)
		}
	}
	if sent {
		ask.MaxWait = 0 // the client has something to do
		reason := redirectedZone
		if away {
			reason = redirectedDraining
		}
		s.observe.Redirected(reason)
	}
	if len(ask.Partitions) == 0 {
		return results, response // nothing to wait for
	}
	response = s.read(c.polls, ask, room)
	for i, part := range response.Partitions {
		results[places[i]] = fetched(part, version)
	}
	return results, response
}

// catchUp makes the View catch up before the first Fetch of a connection is answered: the client may come from another
// agent, and ends of partitions that it was told there do not go back here. Later the View only moves on.
func (c *conn) catchUp(look *lookup) {
	if c.caughtUp.Load() {
		return
	}
	if look.catchUp(); look.err == nil {
		c.caughtUp.Store(true)
	}
}

// read asks the reader, and once more where an offset is out of range: the View may merely be behind, and a consumer
// that hears OFFSET_OUT_OF_RANGE throws its position away. What is then at the end of the log is waited for, as long as the
// client does.
func (s *Server) read(ctx context.Context, ask fetch.Request, room *replyRoom) fetch.Response {
	begun := s.deps.Now()
	response := s.deps.Reader.Fetch(ctx, ask)
	parts := response.Partitions
	for _, p := range parts {
		if !errors.Is(p.Err, metadata.ErrOffsetOutOfRange) {
			continue
		}
		if err := s.fresh(ctx, freshTimeout); err != nil {
			for i := range parts {
				if errors.Is(parts[i].Err, metadata.ErrOffsetOutOfRange) {
					parts[i] = fetch.PartitionResponse{Err: err}
				}
			}
			return response
		}
		ask.MaxWait = max(0, ask.MaxWait-s.deps.Now().Sub(begun))
		room.giveBack() // the first answer is dropped
		response.Release()
		return s.deps.Reader.Fetch(ctx, ask)
	}
	return response
}

// fetched turns the reader's answer about one partition into ours.
func fetched(p fetch.PartitionResponse, version int16) fetchResult {
	if p.Err == nil {
		return fetchResult{
			code:          codeNone,
			highWatermark: int64(p.Bounds.HighWatermark),
			lastStable:    int64(p.Bounds.LastStable),
			logStart:      int64(p.Bounds.LogStart),
			chunks:        p.Chunks,
			size:          p.Size,
		}
	}
	res := fetchResult{code: codeOf(p.Err), highWatermark: -1, lastStable: -1, logStart: -1}
	switch {
	case res.code == codeUnknownTopicOrPartition && version >= 13:
		res.code = codeUnknownTopicID
	case errors.Is(p.Err, context.Canceled):
		res.code = codeNotLeaderOrFollower // this agent drains in the middle of a read
	case res.code == codeUnknownServerError || res.code == codeRequestTimedOut:
		// A read that failed may work the next time; clients retry a storage error and fail on an unknown one.
		res.code = codeKafkaStorageError
	}
	return res
}
