package sim

import (
	"errors"
	"fmt"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// batches drives a batcher.Core as batcher.Batcher does.
type batches struct {
	a        *agent
	cfg      batcher.Config
	core     *batcher.Core
	requests []*request // not answered
	armed    uint64
}

// request is one Produce call: batches of one or more producers, answered together.
type request struct {
	agent   *agent
	pending *batcher.Pending
	batches []*batch
	open    bool // the clients still wait
}

func newBatches(a *agent, cfg batcher.Config) *batches {
	return &batches{a: a, cfg: cfg, core: batcher.NewCore(cfg)}
}

// produce takes a call in. False: the agent takes nothing more.
func (b *batches) produce(r *request) bool {
	appends := make([]record.Append, len(r.batches))
	for i, p := range r.batches {
		appends[i] = record.Append{Partition: p.by.partition, Batch: p.raw}
	}
	r.pending = batcher.NewPending(appends)
	if err := b.core.Append(b.a.now(), r.pending); err != nil {
		return false
	}
	b.requests = append(b.requests, r)
	b.act()
	return true
}

// act carries out what the core wants done.
func (b *batches) act() {
	for _, act := range b.core.Actions() {
		switch act.Kind {
		case batcher.ActionArm:
			b.armed = act.Counter
			b.a.after(b.cfg.FlushInterval, "flush", func() {
				if b.armed == act.Counter {
					b.core.Expire(b.a.now(), act.Counter)
					b.act()
				}
			})
		case batcher.ActionUpload:
			b.a.w.spawn(b.a, "upload", func(*task) { b.upload(act.Object) })
		case batcher.ActionCommit:
			lost := !b.a.w.calm && b.a.w.rng.IntN(b.a.w.profile.lostCommits) == 0
			b.a.submit(act.Commit, func(r metadata.Result, err error) {
				if lost && err == nil { // as between two agents: the committer is there, its answer is not
					b.a.w.counts["commits answered to nobody"]++
					r, err = nil, metadata.ErrUnavailable
				}
				b.committed(act.Commit.Counter, r, err)
			})
		case batcher.ActionRetry:
			b.a.after(act.Delay, "commit again", func() { b.core.Retry(); b.act() })
		case batcher.ActionAnswer:
			if f := act.Object.Answer(); f.Err != nil {
				b.a.w.note("object failed", f.Err.Error(), 0)
			}
		default:
			b.a.w.fault("rest", "the batcher wants action %d, which is not carried out", act.Kind)
		}
	}
	b.answer()
}

func (b *batches) upload(o *batcher.Object) {
	putID := b.a.id16()
	built, err := o.Build(b.cfg, putID, fmt.Sprintf("%x", putID[:4]))
	if err == nil && built.Body != nil {
		if err = b.a.store.Put(b.a.w.ctx, built.Key, built.Body.Bytes); err == nil {
			b.a.reader.Seed(built.Key, built.Body)
			b.a.handOver()
		}
	}
	b.core.Uploaded(b.a.now(), o, built, err)
	b.act()
}

func (b *batches) committed(counter uint64, r metadata.Result, err error) {
	answer, _ := r.(metadata.CommitObjectResult)
	if errors.Is(err, metadata.ErrInvalidCommand) {
		answer, err = metadata.CommitObjectResult{Err: err}, nil
	}
	b.core.Committed(b.a.now(), counter, answer, err)
	b.act()
}

// answer tells clients what has become of their calls.
func (b *batches) answer() {
	var rest, done []*request
	for _, r := range b.requests {
		select {
		case <-r.pending.Done():
			done = append(done, r)
		default:
			rest = append(rest, r)
		}
	}
	b.requests = rest
	for _, r := range done {
		for i, res := range r.pending.Results() {
			b.a.w.told(r, r.batches[i], res)
		}
	}
}

// hangUp is what clients see of an agent that dies.
func (b *batches) hangUp() {
	for _, r := range b.requests {
		r.open = false
		for _, p := range r.batches {
			if p.request == r {
				p.by.hangUp()
			}
		}
	}
	b.requests = nil
}
