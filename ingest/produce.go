package ingest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// minProduceTimeout is the least a batch is given before its producer hears REQUEST_TIMED_OUT, whatever timeout.ms says.
// One upload can take longer than an impatient client's setting, and the answer only makes it send the same bytes again.
const minProduceTimeout = 5 * time.Second

// produceCall is one Produce request between its two stages.
type produceCall struct {
	req     produceRequest
	results []produceResult // one for each partition of the request, in order
	failed  bool            // some result is a refusal

	appends []record.Append
	places  []int // appends[i] answers results[places[i]]
	bytes   int64
	pending Pending
	begun   time.Time
	settled bool // the batcher has answered
}

// produce answers key 0, versions 3-13. acks=1 is treated as -1: an answer means durable and ordered.
//
// Stage 1, here and in order on the connection's reader: parse, check, hand over to the batcher. Stage 2, in the writer
// when the reply's turn comes: wait for the batches' fate. All batches of a request go into one object and so into one
// log entry.
func (s *Server) produce(c *conn, req request, r *reply) {
	pr, err := decodeProduce(req.body, req.version, req.flexible())
	if err != nil {
		r.fault = &fault{refusedFrame, fmt.Errorf("produce v%d: %w", req.version, err)}
		return
	}
	call := &produceCall{req: pr}
	s.checkProduce(c, call, req)
	if len(call.appends) > 0 {
		call.begun = s.deps.Now()
		if call.pending, err = s.deps.Batches.Append(c.work, call.appends); err != nil {
			call.settle(nil, err, req.version)
		} else {
			s.produced.add(call.begun, call.bytes)
			c.track(call.pending)
			r.fate = call.pending.Done()
		}
	}
	r.await = func() {
		if call.pending != nil {
			s.awaitProduce(c.work, call, req.version)
		}
		for _, res := range call.results {
			s.refuse(keyProduce, res.code)
		}
		switch {
		case pr.acks != 0:
			c.answer(r, encodeProduce(req, pr.topics, call.results))
		case call.failed:
			// No answer was asked for; closing is the only signal there is.
			r.fault = &fault{refusedAcksZero, call.firstError()}
		}
		if call.settled {
			req.frame.Release() // the batcher has let go of the batches in it
		}
	}
}

// track remembers p for awaitProduces and forgets those that are done.
func (c *conn) track(p Pending) {
	kept := c.produces[:0]
	for _, q := range c.produces {
		select {
		case <-q.Done():
		default:
			kept = append(kept, q)
		}
	}
	c.produces = append(kept, p)
}

// checkProduce judges every partition of the request and collects what is to be appended.
func (s *Server) checkProduce(c *conn, call *produceCall, req request) {
	ctx, version := c.work, req.version
	others, away := s.away(c.caller(&req))
	away = away && call.req.acks != 0 // a producer that hears nothing can not be sent anywhere
	whole, why := codeNone, ""
	switch {
	case call.req.acks < -1 || call.req.acks > 1:
		whole, why = codeInvalidRequiredAcks, "acks must be -1, 0 or 1"
	case call.req.transactionalID != nil:
		whole, why = codeTransactionalIDDenied, "transactions are not supported"
	}
	seen := make(map[record.Partition]int) // to its place in results
	look := s.lookup(ctx)
	for _, t := range call.req.topics {
		topic, unknown := look.topic(t.name, t.id, version)
		for _, p := range t.partitions {
			place := len(call.results)
			call.results = append(call.results, produceResult{baseOffset: -1, logAppendTime: -1, logStartOffset: -1})
			switch {
			case whole != codeNone:
				call.refuse(place, whole, why)
				continue
			case unknown != codeNone:
				call.refuse(place, unknown, "")
				continue
			case !look.covers(&topic, p.index):
				call.refuse(place, codeUnknownTopicOrPartition, "")
				continue
			}
			part := record.Partition{Topic: topic.ID, Index: p.index}
			if first, twice := seen[part]; twice {
				call.refuse(first, codeInvalidRequest, "partition named twice in one request")
				call.refuse(place, codeInvalidRequest, "partition named twice in one request")
				continue
			}
			seen[part] = place
			if away {
				call.refuse(place, codeNotLeaderOrFollower, "this agent is about to leave")
				call.results[place].to = others.leader(topic.ID, topic.Partitions, p.index)
				continue
			}
			batch, stamp, refused := s.checkBatch(ctx, topic, p.records, version)
			if refused.code != codeNone {
				call.refuse(place, refused.code, refused.message)
				call.results[place].records = refused.records
				if refused.content {
					if bounds, err := s.deps.View.Bounds(part); err == nil {
						call.results[place].logStartOffset = int64(bounds.LogStart)
					}
				}
				continue
			}
			if codec, level, keep := topic.Compression(); !keep && codec != batch.Codec() {
				var code code
				var message string
				if batch, code, message = s.recompress(ctx, topic, batch, codec, level); code != codeNone {
					call.refuse(place, code, message)
					continue
				}
			}
			call.results[place].logAppendTime = stamp
			call.appends = append(call.appends, record.Append{Partition: part, Batch: batch})
			call.places = append(call.places, place)
			call.bytes += int64(batch.Len())
		}
	}
	call.dropRefused()
	if away {
		s.observe.Redirected(redirectedDraining)
	}
}

// topic finds the topic that a Produce or Fetch request means, or gives the code of not finding it.
func (l *lookup) topic(name string, id record.TopicID, version int16) (metadata.Topic, code) {
	if version >= 13 {
		t, err := l.identified(id)
		if errors.Is(err, metadata.ErrUnknownTopic) {
			return t, codeUnknownTopicID
		}
		return t, readCode(err)
	}
	t, err := l.named(name)
	return t, readCode(err)
}

// refusal is why a batch is not taken.
type refusal struct {
	code    code
	message string
	content bool          // it is the records that are wrong: Kafka tells the log start then
	records []recordError // which of them
}

func refuse(c code, message string) refusal { return refusal{code: c, message: message} }

// checkBatch holds the records of one partition against Kafka's rules: exactly one batch of format v2, within the
// topic's size, its CRC right, its records what its header says and what the topic takes. stamp is the append time where the
// topic wants one, -1 otherwise. The batch aliases records, which a stamp changes.
func (s *Server) checkBatch(ctx context.Context, t metadata.Topic, records []byte, version int16) (b record.Batch, stamp int64, why refusal) {
	if limit := t.MaxMessageBytes(); len(records) > limit {
		return b, -1, refuse(codeMessageTooLarge, fmt.Sprintf("batch of %d bytes is over the topic's max.message.bytes of %d", len(records), limit))
	}
	if len(records) == 0 {
		return b, -1, refuse(codeInvalidRecord, "no record batch")
	}
	b, err := record.Parse(records)
	switch {
	case errors.Is(err, record.ErrTruncated):
		return b, -1, refuse(codeInvalidRecord, messageOf(err)) // the frame ends there: no damage that sending again would mend
	case err != nil:
		why := refuse(codeOf(err), messageOf(err))
		why.content = errors.Is(err, record.ErrInvalid)
		return b, -1, why
	case int(b.Len()) != len(records):
		return b, -1, refuse(codeInvalidRecord, "more than one record batch for a partition")
	case b.Codec() == record.Zstd && version < 7:
		return b, -1, refuse(codeUnsupportedCompression, "zstd needs Produce version 7")
	case b.Transactional():
		return b, -1, refuse(codeInvalidTxnState, "transactions are not supported")
	}
	now := s.deps.Now().UnixMilli()
	rules := rulesOf(t, now)
	learned, err := s.inspect(ctx, b, rules)
	if err != nil {
		why := refuse(codeOf(err), messageOf(err))
		why.content = why.code == codeInvalidRecord
		return b, -1, why
	}
	if len(learned.Refused) > 0 {
		return b, -1, refuseRecords(learned.Refused, rules)
	}
	stamp = -1
	switch {
	case t.TimestampType() == record.LogAppendTime:
		stamp = now
		b, err = record.StampLogAppendTime(records, stamp)
	case learned.MaxTimestamp != b.MaxTimestamp():
		b, err = record.StampMaxTimestamp(records, learned.MaxTimestamp) // as Kafka does: lookups by time rely on it
	}
	if err != nil {
		return b, -1, refuse(codeOf(err), messageOf(err))
	}
	return b, stamp, refusal{}
}

// rulesOf is what a topic demands of records that arrive now, ms.
func rulesOf(t metadata.Topic, now int64) record.ProduceRules {
	rules := record.AnyRecord()
	rules.Keys = t.Compacted()
	if t.TimestampType() == record.LogAppendTime {
		return rules // the producer's timestamps are not kept
	}
	before, after := t.TimestampBounds()
	rules.MinTimestamp = now - before
	if after < math.MaxInt64-now {
		rules.MaxTimestamp = now + after
	}
	return rules
}

// refuseRecords names the records that a topic does not take.
func refuseRecords(refused []record.RefusedRecord, rules record.ProduceRules) refusal {
	out := refusal{code: codeInvalidRecord, content: true, message: "records without a key, which a compacted topic does not take"}
	for _, r := range refused {
		text := "the record has no key, and the topic is compacted"
		switch {
		case r.Early:
			text = fmt.Sprintf("timestamp %d is before %d, the earliest by message.timestamp.before.max.ms", r.Timestamp, rules.MinTimestamp)
		case r.Late:
			text = fmt.Sprintf("timestamp %d is after %d, the latest by message.timestamp.after.max.ms", r.Timestamp, rules.MaxTimestamp)
		}
		if r.Early || r.Late {
			out.code, out.message = codeInvalidTimestamp, "records with a timestamp that the topic does not take"
		}
		out.records = append(out.records, recordError{r.Index, text})
	}
	return out
}

// inspect reads through the records of b. It decompresses, so only as many run at a time as there are processors.
func (s *Server) inspect(ctx context.Context, b record.Batch, rules record.ProduceRules) (record.Inspection, error) {
	select {
	case s.validators <- struct{}{}:
	case <-ctx.Done():
		return record.Inspection{}, ctx.Err()
	}
	defer func() { <-s.validators }()
	return b.InspectProduce(record.Limits{Decompressed: s.cfg.DecompressedBytes}, rules)
}

// recompress gives a checked batch the codec that the topic wants. It takes a token of those who decompress, and memory beside the
// frame's: at most what the topic takes as a batch once it is done.
func (s *Server) recompress(ctx context.Context, t metadata.Topic, b record.Batch, codec record.Codec, level int) (record.Batch, code, string) {
	select {
	case s.validators <- struct{}{}:
	case <-ctx.Done():
		return b, codeOf(ctx.Err()), messageOf(ctx.Err())
	}
	defer func() { <-s.validators }()
	out, err := record.Recompress(b, codec, level, record.Limits{Decompressed: s.cfg.DecompressedBytes})
	switch limit := t.MaxMessageBytes(); {
	case err != nil:
		return b, codeOf(err), messageOf(err)
	case int(out.Len()) > limit:
		return b, codeMessageTooLarge, fmt.Sprintf("batch of %d bytes takes %d under the topic's compression.type %s, over its max.message.bytes of %d", b.Len(), out.Len(), codec, limit)
	}
	return out, codeNone, ""
}

func (call *produceCall) refuse(place int, code code, message string) {
	call.failed = true
	call.results[place] = produceResult{code: code, message: message, baseOffset: -1, logAppendTime: -1, logStartOffset: -1}
}

// dropRefused takes out appends whose partition turned out to be named twice after they had been accepted.
func (call *produceCall) dropRefused() {
	kept := 0
	for i, place := range call.places {
		if call.results[place].code != codeNone {
			call.bytes -= int64(call.appends[i].Batch.Len())
			continue
		}
		call.appends[kept], call.places[kept] = call.appends[i], place
		kept++
	}
	call.appends, call.places = call.appends[:kept], call.places[:kept]
}

// awaitProduce waits for the fate of the batches, as long as the client does.
func (s *Server) awaitProduce(ctx context.Context, call *produceCall, version int16) {
	limit := max(time.Duration(call.req.timeoutMillis)*time.Millisecond, minProduceTimeout)
	clock := time.NewTimer(limit - s.deps.Now().Sub(call.begun))
	defer clock.Stop()
	select {
	case <-call.pending.Done():
		call.settled = true
		s.observe.Produced(len(call.appends), call.bytes, s.deps.Now().Sub(call.begun))
		call.settle(call.pending.Results(), nil, version)
	case <-clock.C:
		call.settle(nil, context.DeadlineExceeded, version)
	case <-ctx.Done():
		call.settle(nil, ctx.Err(), version)
	}
}

// settle fills in the fate of every batch appended: err, or what the batcher says.
func (call *produceCall) settle(results []batcher.Result, err error, version int16) {
	for i, place := range call.places {
		fate := err
		if fate == nil {
			fate = results[i].Err
		}
		if fate != nil {
			c := producedCode(fate)
			if c == codeUnknownTopicOrPartition && version >= 13 {
				c = codeUnknownTopicID
			}
			call.refuse(place, c, messageOf(fate))
			continue
		}
		call.results[place].baseOffset = int64(results[i].BaseOffset)
		call.results[place].logStartOffset = int64(results[i].LogStart)
	}
}

// firstError describes the first refusal, for the log of a connection that gets no answers.
func (call *produceCall) firstError() error {
	for _, res := range call.results {
		if res.code != codeNone {
			return fmt.Errorf("produce without acks failed with code %d %s", res.code, res.message)
		}
	}
	return nil
}
