package batcher

import (
	"container/list"
	"fmt"
	"math"
	"time"

	"github.com/bargedata/barge/record"
)

// maxGaps is how many gaps are remembered: as many as the batches of one object can leave. The oldest goes.
const maxGaps = MaxCallBatches

// gapExpiry is how long a gap is remembered. It is there for what was sent before the producer heard of the failure: from
// then on it fills the gap first, or goes on in a new epoch. So it is as long as a client waits for an answer before it
// drops the connection (Java 30 s, librdkafka 60 s), and no longer: one who fills the gap through another agent and then
// comes back must not wait for it.
const gapExpiry = time.Minute

// producer is an idempotent producer in one partition.
type producer struct {
	partition record.Partition
	id        int64
}

// sequenced is what a batch of an idempotent producer says of its place.
type sequenced struct {
	producer producer
	epoch    int16
	first    int32 // sequence of the first record
	records  int32
}

// sequencedOf describes an append; false when its producer is not idempotent.
func sequencedOf(a *record.Append) (sequenced, bool) {
	id := a.Batch.ProducerID()
	if id < 0 {
		return sequenced{}, false
	}
	return sequenced{
		producer: producer{a.Partition, id}, epoch: a.Batch.ProducerEpoch(),
		first: a.Batch.BaseSequence(), records: a.Batch.OffsetCount(),
	}, true
}

// gaps remembers which sequences producers were told are not written. Kafka fails what comes after a failed batch until
// that one has come again. metadata.State sees to it for producers it knows, but accepts one it does not know with any
// sequence: were the first batch lost and the second committed, the first could never be written any more.
// The zero value is empty.
type gaps struct {
	byProducer map[producer]*list.Element // of order
	order      list.List                  // of gap, by since
}

type gap struct {
	producer producer
	epoch    int16
	first    int32 // the lowest sequence that is missing
	since    time.Time
}

// leave remembers that batches were not written.
func (g *gaps) leave(now time.Time, batches []sequenced) {
	for oldest := g.order.Front(); oldest != nil && now.Sub(gapOf(oldest).since) >= gapExpiry; oldest = g.order.Front() {
		g.forget(oldest)
	}
	for i := range batches {
		b := &batches[i]
		if e := g.byProducer[b.producer]; e != nil {
			held := gapOf(e)
			if b.epoch < held.epoch || b.epoch == held.epoch && distance(held.first, b.first) < half {
				continue
			}
			g.forget(e)
		}
		if g.byProducer == nil {
			g.byProducer = map[producer]*list.Element{}
		}
		g.byProducer[b.producer] = g.order.PushBack(gap{b.producer, b.epoch, b.first, now})
		if g.order.Len() > maxGaps {
			g.forget(g.order.Front())
		}
	}
}

// take lets a batch pass, nil, unless it comes after a gap. One that fills the gap, or is of a newer epoch, closes it. What
// is of an older epoch or lies before the gap passes and leaves it open: State knows what to think of that.
func (g *gaps) take(now time.Time, b *sequenced) error {
	e := g.byProducer[b.producer]
	if e == nil {
		return nil
	}
	held := gapOf(e)
	switch ahead := distance(b.first, held.first); {
	case b.epoch < held.epoch:
	case b.epoch > held.epoch || ahead < b.records || now.Sub(held.since) >= gapExpiry:
		g.forget(e)
	case ahead >= half:
		return fmt.Errorf("%w: sequence %d of producer %d comes after %d, which was not written",
			ErrNotWritten, b.first, b.producer.id, held.first)
	}
	return nil
}

// takeAll lets the batches of an object pass, until one comes after a gap.
func (g *gaps) takeAll(now time.Time, batches []sequenced) error {
	for i := range batches {
		if err := g.take(now, &batches[i]); err != nil {
			return err
		}
	}
	return nil
}

func (g *gaps) forget(e *list.Element) {
	delete(g.byProducer, gapOf(e).producer)
	g.order.Remove(e)
}

func gapOf(e *list.Element) gap {
	held, _ := e.Value.(gap) // nothing else is in the list
	return held
}

// half is the distance from which on one sequence counts as before the other.
const half = 1 << 30

// distance is how far it is from one sequence up to another; 2^31-1 is followed by 0.
func distance(from, to int32) int32 { return (to - from) & math.MaxInt32 }
