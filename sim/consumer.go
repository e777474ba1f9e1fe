package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// consumer reads one partition from where it is, over all restarts.
type consumer struct {
	client
	w         *world
	n         int
	partition record.Partition
	position  record.Offset
	asked     *poll  // that waits for its answer
	agent     *agent // to which it is connected
	confirmed bool   // that agent's View was held against the log since
	restUntil int64  // in a cluster: it has read all and does not ask before
	over      bool
}

// poll is one fetch on its way.
type poll struct {
	by    *consumer
	to    *agent
	at    int64 // world time
	began int   // step
	from  record.Offset
	bytes int
}

// lost is what a consumer sees of an agent that dies.
func (p *poll) lost() {
	if p.by.asked == p {
		p.by.asked = nil
	}
}

// lookAtClock gives up what takes too long.
func (c *consumer) lookAtClock() {
	if p := c.asked; p != nil && (p.to.gone || c.w.now-p.at > c.w.profile.patience) {
		c.asked, c.home = nil, nil
	}
}

// poll asks an agent for what comes next.
func (c *consumer) poll(a *agent) bool {
	if c.over || c.asked != nil || !a.ready {
		return false
	}
	if !c.w.oracle.live(c.partition) {
		c.over = true
		return false
	}
	if !c.w.calm && c.w.rng.IntN(50) == 0 {
		c.position = 0 // somebody rewinds
	}
	c.connect(a)
	p := &poll{by: c, to: a, at: c.w.now, began: c.w.steps, from: c.position, bytes: 1 + c.w.rng.IntN(2000)}
	if c.asked = p; c.n < 0 {
		p.bytes = 1 << 20 // all there is
	}
	if c.w.net == nil || c.n < 0 {
		a.polls = append(a.polls, p)
		return true
	}
	c.w.onTheWay(&c.client, a, c.w.net.delay(), func() { a.polls = append(a.polls, p) }, func() { p.lost() })
	return true
}

// connect makes a the agent that the consumer talks to.
func (c *consumer) connect(a *agent) {
	if c.agent != a {
		c.agent, c.confirmed = a, false
	}
}

// read is an agent's reader: it answers one poll after the other.
func (a *agent) read(*task) {
	for {
		a.w.await(func() bool { return len(a.polls) > 0 })
		p := a.polls[0]
		a.fetch(p)
		if a.gone {
			return // unwinding
		}
		a.polls = a.polls[1:]
		if a.w.hears(&p.by.client, a) {
			p.lost()
		}
	}
}

// fetch answers a poll as ingest does: the first of a connection after a Confirm, and so what lies outside of the log.
func (a *agent) fetch(p *poll) {
	ctx := a.w.ctx
	c := p.by
	if !c.confirmed || c.agent != a {
		if a.confirm(ctx) != nil {
			c.restUntil = a.w.now + 500
			return // an error is said, of no offset
		}
		c.confirmed = c.confirmed || c.agent == a
	}
	res := a.fetchOnce(ctx, p)
	if errors.Is(res.Err, metadata.ErrOffsetOutOfRange) {
		if a.confirm(ctx) != nil {
			return // as above
		}
		res = a.fetchOnce(ctx, p)
	}
	heard := c.asked == p && a.w.hears(&c.client, a)
	polled := Polled{
		Consumer: c.n, Agent: a.n, Began: p.began, Step: a.w.steps, Heard: heard, Partition: c.partition, From: p.from,
		LogStart: res.Bounds.LogStart, LogEnd: res.Bounds.HighWatermark,
	}
	switch {
	case res.Err == nil:
		records, err := decode(res.Chunks)
		if err != nil {
			a.w.flaw("rest", "consumer %d can not decode what it got: %v", c.n, err)
		}
		polled.Records = records
		if len(records) > 0 && c.position == p.from && heard {
			c.position = max(c.position, records[len(records)-1].Offset+1)
		}
		a.w.counts["records polled"] += len(records)
	case errors.Is(res.Err, metadata.ErrOffsetOutOfRange):
		polled.OutOfRange = true
		if c.position == p.from && heard && p.from < res.Bounds.LogStart {
			c.position = res.Bounds.LogStart // auto.offset.reset=earliest
		}
	default:
		polled.Failed = true
		if errors.Is(res.Err, objectstore.ErrNotFound) && !a.gone && !a.sealed {
			a.w.flaw("unseen", "consumer %d, at %s: %v", c.n, a.label(), res.Err)
		}
		if corrupt(res.Err) && a.w.profile.torn == 0 {
			a.w.flaw("rest", "consumer %d: %v", c.n, res.Err)
		}
	}
	if len(polled.Records) == 0 {
		c.restUntil = a.w.now + 500
	}
	a.w.note("polled", fmt.Sprint(len(polled.Records)), int64(p.from))
	a.w.hist.Kafka.Polled = append(a.w.hist.Kafka.Polled, polled)
}

func (a *agent) fetchOnce(ctx context.Context, p *poll) fetch.PartitionResponse {
	return a.reader.Fetch(ctx, fetch.Request{
		MaxBytes:   p.bytes,
		Partitions: []fetch.PartitionRequest{{Partition: p.by.partition, Offset: p.from, MaxBytes: p.bytes}},
	}).Partitions[0]
}

// decode takes the records out of an answer's batches.
func decode(chunks [][]byte) ([]Seen, error) {
	var buf []byte
	for _, c := range chunks {
		buf = append(buf, c...)
	}
	var seen []Seen
	for len(buf) > 0 {
		b, rest, err := record.Split(buf)
		if err != nil {
			return seen, err
		}
		if err := b.Each(record.DefaultLimits(), func(r *record.Record) bool {
			seen = append(seen, Seen{Offset: r.Offset, Value: render(r)})
			return true
		}); err != nil {
			return seen, err
		}
		buf = rest
	}
	return seen, nil
}

// look asks an agent for the bounds of a partition, as ListOffsets does: after a Confirm.
func (w *world) look(a *agent, p record.Partition) {
	began := w.steps
	a.ask(func(err error) {
		if err != nil || a.gone {
			return
		}
		b, err := a.view.Bounds(p)
		if err != nil {
			return // the topic is gone
		}
		w.hist.Kafka.Looked = append(w.hist.Kafka.Looked, Looked{Partition: p, Began: began, Ended: w.steps, LogStart: b.LogStart, LogEnd: b.HighWatermark})
	})
}
