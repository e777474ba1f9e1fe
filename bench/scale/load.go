package scale

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// agent is one that flushes what its producers send. Nothing is sent: it only tells the log what it would have written.
type agent struct {
	session    metadata.SessionID
	counter    uint64
	partitions []int32 // places in producing.all: ascending, as the runs of an object are
	interval   int64   // of flushes, microseconds
	due        int64   // of the next flush
	flushed    int64   // when the last one was
}

// producing is the load.
type producing struct {
	all       []record.Partition
	sequences []int32   // next of the producer of each partition
	phase     []float32 // when a partition's batches come, as a share of the time between two
	every     float64   // time between two batches of a partition, microseconds
	batch     int64     // bytes
	records   int32     // of a batch
	agents    []*agent  // that lead something
	stalled   int64     // flushes that had to wait for room in the sequencer's queue
}

// newProducing makes the load of agents that lead the partitions; owners are their places in the order of partitions.
func newProducing(c *cluster, owners []int32) *producing {
	p := &producing{all: c.partitions(), batch: c.cfg.batchBytes()}
	p.records = int32(max(1, p.batch>>10))
	p.every = 1e6 * float64(p.batch) * float64(len(p.all)) / float64(c.cfg.Rate)
	p.sequences, p.phase = make([]int32, len(p.all)), make([]float32, len(p.all))
	all := make([]*agent, c.cfg.Agents)
	for i := range all {
		all[i] = &agent{session: metadata.SessionID(i + 1)}
	}
	for i := range p.all {
		a := all[owners[i]]
		a.partitions = append(a.partitions, int32(i))
		p.phase[i] = float32(math.Mod(float64(i)*math.Phi, 1))
	}
	p.agents = slices.DeleteFunc(all, func(a *agent) bool { return len(a.partitions) == 0 })
	for i, a := range p.agents {
		rate := float64(c.cfg.Rate) * float64(len(a.partitions)) / float64(len(p.all))
		a.interval = min(c.cfg.FlushInterval.Microseconds(), int64(1e6*float64(c.cfg.FlushBytes)/rate))
		a.flushed = c.now
		a.due = c.now + a.interval*int64(i+1)/int64(len(p.agents))
	}
	return p
}

// flush makes the commit of what came since the last one; false when nothing did.
func (p *producing) flush(a *agent, now int64, idempotent bool) (metadata.CommitObject, int64, bool) {
	c := metadata.CommitObject{Session: a.session, Counter: a.counter, Settled: a.counter - min(a.counter, 1)}
	pos := record.Pos(64)
	total := int64(0)
	var batches []metadata.CommitBatch // of many runs together
	for _, i := range a.partitions {
		n := int64(float64(now)/p.every+float64(p.phase[i])) - int64(float64(a.flushed)/p.every+float64(p.phase[i]))
		if n == 0 {
			continue
		}
		if int64(len(batches)) < n {
			batches = make([]metadata.CommitBatch, max(n, 1024))
		}
		run := metadata.CommitRun{Partition: p.all[i], Pos: pos, Batches: batches[:n:n]}
		batches = batches[n:]
		for j := range run.Batches {
			b := metadata.CommitBatch{Len: record.Len(p.batch), Records: p.records, MaxTimestamp: epoch + now/1000 - int64(j), ProducerID: -1}
			if idempotent {
				b.ProducerID, b.BaseSequence = int64(i)+1, p.sequences[i]
				p.sequences[i] = (p.sequences[i] + p.records) & math.MaxInt32
			}
			run.Batches[j] = b
		}
		pos += record.Pos(n * p.batch)
		total += n
		c.Runs = append(c.Runs, run)
	}
	a.flushed = now
	if total == 0 {
		return c, 0, false
	}
	c.Key = record.ObjectKey(uint64(a.session), a.counter, "0123456789ab")
	c.Size = record.Len(pos) + record.Len(48*len(c.Runs))
	a.counter++
	return c, total, true
}

// tick is how often the planner runs, as compactor.Config.Tick has it.
const tick = 500 * time.Millisecond

// run makes load until its time is over, or the heap is full, and tells how long it was.
func (c *cluster) run(ctx context.Context, p *producing, workers []*worker) (took time.Duration, full bool) {
	began, looked := c.now, c.now
	end := began + c.cfg.Load.Microseconds()
	for c.failed == nil && ctx.Err() == nil {
		a := slices.MinFunc(p.agents, func(a, b *agent) int { return cmp.Compare(a.due, b.due) })
		var w *worker
		next := a.due
		for _, one := range workers {
			if at := one.due(); at < next {
				w, next = one, at
			}
		}
		if c.appending > 0 {
			next = min(next, c.appending)
		}
		if next >= end {
			break
		}
		c.now = max(c.now, next)
		switch {
		case c.appending > 0 && c.appending <= c.now:
			before := cpuTime()
			c.appended(ctx)
			c.sums.sequencing += int64(cpuTime() - before)
		case w != nil:
			w.work(ctx)
		default:
			c.flushOne(ctx, p, a)
		}
		if c.now-looked > 1e6 {
			looked = c.now
			if full = heapAbout() > 2*c.cfg.HeapLimit || heapAbout() > c.cfg.HeapLimit && heapNow() > c.cfg.HeapLimit; full {
				break
			}
		}
	}
	return time.Duration(c.now-began) * time.Microsecond, full
}

// flushOne is an agent's turn. One that finds no room waits: what comes meanwhile makes its next object larger.
func (c *cluster) flushOne(ctx context.Context, p *producing, a *agent) {
	if !c.core.Room() {
		p.stalled++
		a.due = c.now + 10_000
		return
	}
	before := cpuTime()
	cmd, batches, some := p.flush(a, c.now, c.cfg.Idempotent)
	a.due = c.now + a.interval
	made := cpuTime()
	c.sums.generating += int64(made - before)
	if !some {
		return
	}
	c.sums.sent += batches
	c.submit(ctx, cmd, accepted)
	c.sums.sequencing += int64(cpuTime() - made)
}

// accepted fails on an object that the state did not take.
func accepted(r metadata.Result) error {
	res, ok := r.(metadata.CommitObjectResult)
	if !ok {
		return fmt.Errorf("commit: answered %T", r)
	}
	if res.Err != nil {
		return fmt.Errorf("commit: %w", res.Err)
	}
	for _, run := range res.Batches {
		for i := range run {
			if run[i].Err != nil || run[i].Duplicate {
				return fmt.Errorf("commit: a batch was answered %+v", run[i])
			}
		}
	}
	return nil
}
