package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/record"
)

// Zone is the agents of one zone, which keep objects for one another, so that each is read from the store once. All methods are
// safe for concurrent use.
type Zone interface {
	// Owner names the agent that keeps key; self: this one, also when there is no other. It asks nobody. Agents may disagree
	// for a while: any of them reads any object.
	Owner(key string) (addr string, self bool)
	// ReadObject asks the agent at addr for a range of an object. An objectstore.ErrNotFound is believed; after any other
	// error the store is asked.
	ReadObject(ctx context.Context, addr string, req *peerpb.ReadObjectRequest) ([]byte, error)
	// SeedObject hands an object to the agent at addr.
	SeedObject(ctx context.Context, addr, key string, body []byte) error
}

// Errors that other agents are answered with.
var (
	// ErrBusy: too many reads for other agents are under way. Read the store.
	ErrBusy = errors.New("too many reads for other agents")
	// ErrRefused: what is asked for is no range of an object that is kept for others.
	ErrRefused = errors.New("not kept for other agents")
)

const (
	// partBytes is the size of the cells in which bytes come from their owner: a call for each run would be too many, and an
	// agent that serves few partitions of an object does without the rest of it.
	partBytes = 1 << 20
	// maxPeerBytes is the most one agent reads by way of another at a time.
	maxPeerBytes = 16 << 20
	// An owner has OwnerWait, and the time that reading the store takes at ownerBytesPerSecond. For lagging readers it has
	// laggingPatience times as much: they stand in its queue, and are in no hurry.
	ownerBytesPerSecond = 20 << 20
	laggingPatience     = 10
	// shunTime is for how long an owner that failed is not asked again. The members of the zone need some seconds to notice
	// that it is dead.
	shunTime = time.Second
)

// fromOwner asks the agent that keeps what is wanted; ok is false when it is this one, or does not answer.
func (o *objects) fromOwner(ctx context.Context, w *want, stored extentKey, hold *held) (e *extent, tail, ok bool, err error) {
	if o.cfg.Zone == nil || w.len > maxPeerBytes {
		return nil, false, false, nil
	}
	addr, self := o.cfg.Zone.Owner(ownerKey(stored, w.size))
	if self {
		return nil, false, false, nil
	}
	part := w.cell(o.part)
	if part != stored {
		if e, tail, ok = o.kept(part, hold); ok {
			return e, tail, true, nil
		}
	}
	if o.owners.shuns(addr, w.lagging) {
		o.counts.fallbacks.Add(1)
		return nil, false, false, nil
	}
	e, joined, err := o.asked.do(ctx, part, func(ctx context.Context) (*extent, error) { return o.ask(ctx, addr, w, part, stored) })
	switch {
	case joined:
		o.counts.joined.Add(1)
	case err != nil && ctx.Err() == nil && !isGone(err):
		o.counts.fallbacks.Add(1)
	}
	if err != nil && (ctx.Err() != nil || isGone(err)) {
		return nil, false, false, err
	}
	return e, false, err == nil, nil
}

// ownerKey is what the owner of an extent is chosen by: cells of a large object have different ones.
func ownerKey(stored extentKey, size int64) string {
	if stored.len == size {
		return stored.object
	}
	return fmt.Sprintf("%s@%d", stored.object, stored.pos)
}

// ask gets an extent from its owner and keeps it.
func (o *objects) ask(ctx context.Context, addr string, w *want, part, stored extentKey) (*extent, error) {
	if e, ok := o.tail.get(part, nil); ok {
		return e, nil
	}
	if e, ok := o.old.get(part); ok {
		return e, nil
	}
	patience := o.cfg.OwnerWait + time.Duration(stored.len)*time.Second/ownerBytesPerSecond
	if w.lagging {
		patience *= laggingPatience
	}
	limited, cancel := o.cfg.Clock.WithTimeout(ctx, patience)
	defer cancel()
	data, err := o.cfg.Zone.ReadObject(limited, addr, &peerpb.ReadObjectRequest{Key: part.object, Size: w.size, Pos: part.pos, Length: part.len, Lagging: w.lagging})
	if err == nil && int64(len(data)) != part.len {
		err = fmt.Errorf("%d bytes in place of %d: %w", len(data), part.len, ErrCorrupt)
	}
	if err != nil {
		if ctx.Err() == nil && !isGone(err) {
			o.owners.shun(addr, w.lagging)
		}
		return nil, fmt.Errorf("read %s from %s: %w", part, addr, err)
	}
	o.counts.owner.Add(1)
	o.counts.ownerBytes.Add(part.len)
	e := newExtent(part, data)
	o.keep(e, w.lagging)
	return e, nil
}

// owners remembers which agents failed of late.
type owners struct {
	clock Clock
	mu    sync.Mutex
	shut  map[failed]<-chan time.Time // a value comes when it is over
}

// failed is an agent and the kind of reads in which it failed: one that has no time for lagging readers may have it for others.
type failed struct {
	addr    string
	lagging bool
}

func (o *owners) shun(addr string, lagging bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut == nil {
		o.shut = map[failed]<-chan time.Time{}
	}
	for f, t := range o.shut {
		if over(t) {
			delete(o.shut, f)
		}
	}
	o.shut[failed{addr, lagging}] = o.clock.After(shunTime)
}

func (o *owners) shuns(addr string, lagging bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := failed{addr, lagging}
	t, ok := o.shut[f]
	if ok && over(t) {
		delete(o.shut, f)
		return false
	}
	return ok
}

func over(t <-chan time.Time) bool {
	select {
	case <-t:
		return true
	default:
		return false
	}
}

// HandleRead answers another agent's ReadObject with bytes that must not change: of WAL objects and tables' data files, whoever
// their owner is, never by way of a third agent. A read of the store that has begun is finished and kept even when ctx ends.
// Errors: ErrRefused, ErrBusy, the store's, ctx's.
func (r *Reader) HandleRead(ctx context.Context, req *peerpb.ReadObjectRequest) ([]byte, error) {
	w := want{object: req.GetKey(), size: req.GetSize(), pos: req.GetPos(), len: req.GetLength(), lagging: req.GetLagging(), store: true, peer: true}
	if !keptForOthers(w.object) || w.pos < 0 || w.len <= 0 || w.len > maxPeerBytes || w.pos > w.size-w.len {
		r.objects.counts.refused.Add(1)
		return nil, fmt.Errorf("%d bytes at %d of %q (%d bytes): %w", w.len, w.pos, w.object, w.size, ErrRefused)
	}
	lane, weight := r.objects.lane(w.lagging), max(w.len, leastPeerBytes)
	if !lane.peers.TryAcquire(weight) {
		r.objects.counts.refused.Add(1)
		return nil, fmt.Errorf("read %s: %w", w.object, ErrBusy)
	}
	defer lane.peers.Release(weight)
	var hold held
	defer hold.release()
	e, _, err := r.objects.read(ctx, &w, &hold)
	if err != nil {
		return nil, err
	}
	r.objects.counts.served.Add(1)
	r.objects.counts.servedBytes.Add(w.len)
	body := e.from(w.pos)[:w.len:w.len]
	if e.lent {
		body = bytes.Clone(body) // what is sent is not held
	}
	return body, nil
}

// keptForOthers tells whether an agent reads an object for others: those of the log and of tables, and nothing else of the bucket.
func keptForOthers(key string) bool {
	return objectstore.ValidKey(key) == nil && (isObject(key) || isTableFile(key))
}

// HandleSeed takes over an object from the agent that made it. Errors: ErrRefused - of another kind or too large; ErrCorrupt -
// not the object that its key names, or damaged.
func (r *Reader) HandleSeed(_ context.Context, key string, body []byte) error {
	if err := r.checkSeed(key, body); err != nil {
		r.objects.counts.seedsRefused.Add(1)
		return fmt.Errorf("seed %q of %d bytes: %w", key, len(body), err)
	}
	r.objects.counts.seedsTaken.Add(1)
	r.objects.tail.add(newExtent(extentKey{key, 0, int64(len(body))}, body))
	return nil
}

func (r *Reader) checkSeed(key string, body []byte) error {
	if !isObject(key) || int64(len(body)) > r.cfg.WholeObjectBytes {
		return ErrRefused
	}
	h, _, err := record.ReadObject(body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if k, ok := record.ParseObjectKey(key); ok && (h.Session != k.Session || h.Counter != k.Counter) {
		return fmt.Errorf("it is object %d of session %d: %w", h.Counter, h.Session, ErrCorrupt)
	}
	return nil
}
