package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// Waits of a client, in milliseconds: for one answer, and for a batch's whole life. They are Kafka's defaults.
const (
	requestTimeout  = 30_000
	deliveryTimeout = 120_000

	// lostOnTheWay is for how long a request may be on its way. The batcher remembers for so long what a producer was told is not
	// written (gapExpiry): a later batch that arrives after that, of a producer the log does not know, is taken as its
	// first, and the one before it is refused until its client begins a new epoch. No client still waits for such a request.
	lostOnTheWay = 60_000
)

// producer writes to one partition as Kafka's clients do. An idempotent one has up to five batches in flight, numbered; a batch
// that has to be sent again waits until all before it are settled, and nothing new is sent meanwhile. One that is not idempotent
// has one batch in flight. A batch that was not settled in time is given up, and an idempotent producer goes on in a new epoch.
type producer struct {
	client
	w          *world
	n          int
	partition  record.Partition
	idempotent bool

	// careless goes on in the same epoch after it has given up a batch, as clients do that know no better, until it is refused.
	careless bool
	skipped  bool
	accepted bool // something of this epoch

	id       int64 // -1: to be asked for
	asking   bool
	askedAt  int64
	epoch    int16
	sequence int32 // of the next record
	made     int   // records
	batches  int
	window   []*batch
	agent    *agent  // to which it is connected
	conns    []*conn // to it: one, or two of a client whose batches may overtake each other
	over     bool    // its topic is gone
}

// batch is one record batch until it is settled.
type batch struct {
	by      *producer
	index   int // in KafkaHistory.Sent
	number  int // among its producer's
	raw     record.Batch
	epoch   int16
	born    int64
	sentAt  int64
	first   bool     // when it was sent this time, all before it had been acknowledged
	request *request // in flight; nil: to be sent again
	answer  *Told    // to the request, while answers before it are missing
}

const window = 5 // batches from the oldest that is not settled on

// produce lets the producer do what it would do next; false when that is nothing.
func (p *producer) produce(a *agent) bool {
	if !p.over && !p.w.oracle.live(p.partition) {
		p.hangUp()
		p.over, p.window = true, nil
	}
	if p.over || !a.ready {
		return false
	}
	p.connect(a)
	if p.idempotent && p.id < 0 {
		return p.askID(a)
	}
	b := p.next()
	if b == nil {
		return false
	}
	r := &request{agent: a, batches: []*batch{b}, open: true}
	c := p.conns[p.w.rng.IntN(len(p.conns))]
	late := !p.w.calm && p.w.rng.IntN(p.w.profile.lateRequests) == 0 || len(c.queue) > 0 || p.w.net != nil
	// Now and then several producers share a call, as partitions of one client do.
	if other := p.w.pick(); !late && len(other.conns) == 1 && len(other.conns[0].queue) == 0 && other.partition != p.partition && other.agent == a && p.w.rng.IntN(3) == 0 && !other.over && (!other.idempotent || other.id >= 0) {
		if ob := other.next(); ob != nil {
			r.batches = append(r.batches, ob)
			other.conns[0].wire = append(other.conns[0].wire, ob)
		}
	}
	c.wire = append(c.wire, b)
	for _, b := range r.batches {
		b.request, b.sentAt, b.answer, b.first = r, p.w.now, nil, b.by.window[0] == b
		p.w.hist.Kafka.Sent[b.index].Attempts++
		p.w.note("send", p.w.hist.Kafka.Sent[b.index].Values[0], int64(a.n))
	}
	if !late {
		a.deliver(r)
		return true
	}
	c.queue = append(c.queue, r)
	first := func() (r *request) {
		r, c.queue = c.queue[0], c.queue[1:]
		return r
	}
	if p.w.net != nil {
		p.w.onTheWay(&p.client, a, p.w.net.delay(), func() {
			if len(c.queue) > 0 {
				a.deliver(first())
			}
		}, func() {
			for len(c.queue) > 0 { // nothing arrives over a connection after what it has lost
				a.turnAway(first())
			}
		})
		return true
	}
	sent := p.w.now
	a.after(time.Duration(p.w.rng.IntN(1500))*time.Millisecond, "arrive", func() {
		if a.w.now-sent >= lostOnTheWay {
			a.turnAway(first())
			return
		}
		a.deliver(first())
	})
	p.w.counts["requests on their way"]++
	return true
}

// conn is one connection: what was sent over it arrives in order, late perhaps, and also when its client has hung up.
type conn struct {
	queue []*request // on their way
	wire  []*batch   // not answered, in the order of the asking, which is that of the answers
}

// deliver hands a request in that has arrived.
func (a *agent) deliver(r *request) {
	if !a.ready && a.w.net != nil || !a.batches.produce(r) {
		a.turnAway(r)
	}
}

// turnAway ends a request that the agent's batcher never sees.
func (a *agent) turnAway(r *request) {
	r.open = false
	for _, b := range r.batches {
		a.w.hist.Kafka.Sent[b.index].Attempts--
		if b.request == r {
			b.by.hangUp()
		}
	}
}

// connect makes a the agent that the producer talks to. It hears no answer any more to what it has asked another one.
func (p *producer) connect(a *agent) {
	if p.agent == a {
		return
	}
	p.agent = a
	p.hangUp()
}

// hangUp ends the connection: everything that was asked over it has to be asked again.
func (p *producer) hangUp() {
	for i, c := range p.conns {
		for _, b := range c.wire {
			b.request, b.answer = nil, nil
		}
		p.w.counts["answers lost"] += len(c.wire)
		c.wire = nil // what is on its way arrives all the same
		p.conns[i] = &conn{}
	}
}

func (p *producer) askID(a *agent) bool {
	if p.asking {
		return false
	}
	if p.w.net != nil {
		return p.askIDFrom(a)
	}
	p.asking = true
	asked := a
	a.submit(metadata.AllocateProducerIDs{Count: 1}, func(r metadata.Result, err error) {
		p.asking = false
		if got, ok := r.(metadata.AllocateProducerIDsResult); ok && err == nil && got.Err == nil && !asked.gone {
			p.id = got.First
			p.w.hist.Kafka.IDs = append(p.w.hist.Kafka.IDs, got.First)
		}
	})
	return true
}

// next is the batch to send now: the oldest that has to be sent again, alone, or a new one.
func (p *producer) next() *batch {
	for i, b := range p.window {
		if b.request != nil {
			continue
		}
		if i == 0 {
			return b
		}
		return nil
	}
	most := 1
	if p.idempotent && (p.accepted || len(p.conns) == 1) { // a log that does not know a producer takes whatever of it comes first
		most = window
	}
	if p.w.draining || len(p.window) > 0 && p.batches-p.window[0].number >= most {
		return nil
	}
	return p.make()
}

// make builds the next batch.
func (p *producer) make() *batch {
	w := p.w
	n := 1 + w.rng.IntN(3)
	builder := record.NewBuilder(record.None)
	sent := Sent{Producer: p.n, Idempotent: p.idempotent, Partition: p.partition, First: p.made, Epoch: int(p.epoch)}
	for i := range n {
		r := record.Record{Offset: record.Offset(i), Timestamp: w.now, Value: fmt.Appendf(nil, "producer %d record %d", p.n, p.made)}
		switch p.made % 4 {
		case 0:
			r.Key = []byte("k")
		case 1:
			r.Key = []byte{}
			r.Headers = []record.Header{{Key: "h", Value: []byte{}}, {Key: "h"}, {Key: "", Value: []byte{0xff, 0}}}
		case 2:
			r.Key = []byte{0xfe, 0}
		}
		sent.Values = append(sent.Values, render(&r))
		if err := builder.Append(&r); err != nil {
			w.fault("rest", "build: %v", err)
		}
		p.made++
	}
	raw, err := builder.Build(nil)
	if err != nil {
		w.fault("rest", "build: %v", err)
	}
	if p.idempotent {
		stamp(raw, p.id, p.epoch, p.sequence)
		p.sequence = int32((int64(p.sequence) + int64(n)) % (math.MaxInt32 + 1))
	}
	parsed, err := record.Parse(raw)
	if err != nil {
		w.fault("rest", "parse: %v", err)
	}
	b := &batch{by: p, index: len(w.hist.Kafka.Sent), number: p.batches, raw: parsed, epoch: p.epoch, born: w.now}
	p.batches++
	w.hist.Kafka.Sent = append(w.hist.Kafka.Sent, sent)
	p.window = append(p.window, b)
	return b
}

// render is all of a record but its offset, as text: null and empty differ.
func render(r *record.Record) string {
	b := fmt.Appendf(nil, "%s at %d", r.Value, r.Timestamp)
	if r.Key != nil {
		b = fmt.Appendf(b, " key %q", r.Key)
	}
	for _, h := range r.Headers {
		b = fmt.Appendf(b, " header %q", h.Key)
		if h.Value != nil {
			b = fmt.Appendf(b, "=%q", h.Value)
		}
	}
	return string(b)
}

// stamp writes producer, epoch and sequence into a batch, where KIP-98 has them.
func stamp(raw []byte, id int64, epoch int16, sequence int32) {
	binary.BigEndian.PutUint64(raw[43:], uint64(id))
	binary.BigEndian.PutUint16(raw[51:], uint16(epoch))
	binary.BigEndian.PutUint32(raw[53:], uint32(sequence))
	binary.BigEndian.PutUint32(raw[17:], record.Checksum(raw[21:]))
}

// lookAtClock gives up what takes too long.
func (p *producer) lookAtClock() {
	for _, b := range p.window {
		if p.w.now-b.born > deliveryTimeout {
			p.giveUp()
			return
		}
	}
	patience := int64(requestTimeout)
	if p.w.net != nil {
		patience = p.w.profile.patience
		if p.asking && p.w.now-p.askedAt > patience {
			p.asking, p.home = false, nil
		}
	}
	for _, c := range p.conns {
		if len(c.wire) > 0 && p.w.now-c.wire[0].sentAt > patience {
			p.hangUp()
			p.home = nil
			return
		}
	}
}

func (p *producer) giveUp() {
	p.w.counts["batches given up"] += len(p.window)
	p.hangUp()
	p.window = nil
	if p.skipped = p.careless; !p.careless {
		p.bump()
	}
}

// bump begins a new epoch.
func (p *producer) bump() {
	p.skipped, p.accepted = false, false
	if p.idempotent {
		p.epoch++
		p.sequence = 0
	}
}

// settled takes a batch out of its producer's window.
func (b *batch) settled() {
	p := b.by
	for i := range p.window {
		if p.window[i] == b {
			p.window = append(p.window[:i:i], p.window[i+1:]...)
			return
		}
	}
}

// told takes an agent's answer to one batch of a request: down for the checkers, and to the client if that still waits.
func (w *world) told(r *request, b *batch, res batcher.Result) {
	t := Told{Sent: b.index, Step: w.steps, Base: res.BaseOffset}
	heard := r.open && b.request == r && w.hears(&b.by.client, r.agent)
	switch {
	case res.Err == nil:
		t.Outcome = Committed
		w.counts["batches acknowledged"]++
		if s := &w.hist.Kafka.Sent[b.index]; !r.agent.gone {
			if end, err := r.agent.view.Bounds(s.Partition); err == nil && end.HighWatermark < t.Base+record.Offset(len(s.Values)) {
				w.flaw("unseen", "%s acknowledges %s at %d and shows %s up to %d", r.agent.label(), s.Values[0], t.Base, s.Partition, end.HighWatermark)
			}
		}
	case errors.Is(res.Err, batcher.ErrNotWritten):
		t.Outcome = NotWritten
		w.counts["batches not written"]++
	case errors.Is(res.Err, batcher.ErrOutcomeUnknown):
		t.Outcome = Unknown
		w.counts["batches of unknown outcome"]++
	case errors.Is(res.Err, metadata.ErrUnknownTopic):
		t.Outcome, t.Unjust = Refused, w.oracle.live(b.by.partition)
	case errors.Is(res.Err, metadata.ErrOutOfOrderSequence), errors.Is(res.Err, metadata.ErrInvalidProducerEpoch):
		t.Outcome, t.Unjust = Refused, heard && b.first && !b.by.skipped
		w.counts["batches out of order"]++
	default:
		t.Outcome, t.Unjust = Refused, true
	}
	if res.Err != nil {
		t.Text = res.Err.Error()
	}
	w.note("told", t.Text, int64(b.index)<<32|int64(t.Base))
	w.hist.Kafka.Told = append(w.hist.Kafka.Told, t)
	if heard {
		b.answer = &t
		b.by.listen()
	}
}

// listen takes the answers that have come, in their order: a connection's answers keep the order of its requests.
func (p *producer) listen() {
	for _, c := range p.conns {
		p.hear(c)
	}
}

func (p *producer) hear(c *conn) {
	for len(c.wire) > 0 && c.wire[0].answer != nil {
		b := c.wire[0]
		c.wire = c.wire[1:]
		outcome := b.answer.Outcome
		b.request, b.answer = nil, nil
		switch {
		case outcome == Committed:
			p.accepted = p.accepted || b.epoch == p.epoch
			p.w.heardOf(p)
			b.settled()
		case outcome == Refused && p.skipped:
			p.hangUp()
			p.window = nil
			p.bump()
		}
	}
}
