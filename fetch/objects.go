package fetch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/bargedata/barge/objectstore"
)

// objects reads bytes of objects: out of memory, from the agent of the zone that keeps them, or from the store. What it has
// read it keeps: what lies at the log's end in the tail, the rest among the old. Whatever the number of readers, an extent is
// read once at a time, and what lagging readers do neither fills the tail nor takes the place of a read at the log's end.
type objects struct {
	cfg     *Config
	store   RangeGetter
	part    int64 // bytes of the cells that other agents are asked for, never more than those of the store
	tail    *tail
	old     *cache[extentKey, *extent]
	flights *flights[extentKey, *extent] // to the store
	asked   *flights[extentKey, *extent] // to other agents; apart, so that two who take each other for the owner do not wait for each other
	hot     lane
	lagging lane
	owners  owners
	counts  counts
}

// lane is one of the two kinds of reads, which do not wait for each other.
type lane struct {
	store chan struct{}       // tokens for reads of the store; further ones wait
	peers *semaphore.Weighted // bytes that other agents read; further ones are refused
}

const (
	// peerBytes is how much of one lane other agents may have under way here. Both lanes together have as much as
	// peer.Server lets in, so that neither keeps the other out.
	peerBytes = 32 << 20
	// A read for another agent counts as least so many bytes.
	leastPeerBytes = 64 << 10
)

// peerRead bounds a read of the store that was begun for another agent, which may have left.
const peerRead = 30 * time.Second

func newObjects(cfg *Config, store RangeGetter) *objects {
	newLane := func(n int) lane {
		return lane{store: make(chan struct{}, n), peers: semaphore.NewWeighted(peerBytes)}
	}
	return &objects{
		cfg: cfg, store: store, part: min(partBytes, cfg.CellBytes),
		tail:    newTail(cfg.TailBytes),
		old:     newCache[extentKey, *extent](cfg.ObjectBytes, cfg.Clock),
		flights: newFlights[extentKey, *extent](cfg.Clock),
		asked:   newFlights[extentKey, *extent](cfg.Clock),
		hot:     newLane(cfg.StoreReads),
		lagging: newLane(cfg.LaggingReads),
		owners:  owners{clock: cfg.Clock},
	}
}

func (o *objects) lane(lagging bool) *lane {
	if lagging {
		return &o.lagging
	}
	return &o.hot
}

// read returns an extent that holds what is wanted. Its memory may be lent: then hold has it, until it is released. tail tells
// that it was in memory as part of the log's end. Errors: the store's, ctx's.
func (o *objects) read(ctx context.Context, w *want, hold *held) (e *extent, tail bool, err error) {
	stored := w.stored(o.cfg)
	if e, tail, ok := o.kept(stored, hold); ok {
		return e, tail, nil
	}
	if !w.store {
		if e, tail, ok, err := o.fromOwner(ctx, w, stored, hold); ok || err != nil {
			return e, tail, err
		}
	}
	e, joined, err := o.flights.do(ctx, stored, func(ctx context.Context) (*extent, error) { return o.fromStore(ctx, w, stored) })
	if joined {
		o.counts.joined.Add(1)
	}
	return e, false, err
}

// kept returns an extent that is in memory.
func (o *objects) kept(key extentKey, hold *held) (e *extent, tail, ok bool) {
	if e, ok = o.tail.get(key, hold); ok {
		o.counts.tail.Add(1)
		return e, true, true
	}
	if e, ok = o.old.get(key); ok {
		o.counts.old.Add(1)
	}
	return e, false, ok
}

// keep keeps an extent that was read.
func (o *objects) keep(e *extent, lagging bool) {
	if lagging || !o.tail.add(e) {
		o.old.add(e.key, e, e.memory())
	}
}

// forget drops what is kept for w: it is damaged.
func (o *objects) forget(w *want) {
	for _, key := range [...]extentKey{w.stored(o.cfg), w.cell(o.part)} {
		o.tail.forget(key)
		o.old.forget(key)
	}
}

// forgetFile drops all that is kept of a Parquet file.
func (o *objects) forgetFile(key string, size int64) {
	for pos := int64(0); pos < size; pos += o.part {
		o.forget(&want{object: key, size: size, pos: pos, len: min(o.part, size-pos)})
	}
}

// fromStore reads an extent and keeps it.
func (o *objects) fromStore(ctx context.Context, w *want, key extentKey) (*extent, error) {
	// Between the look into memory and the flight it may have come. Memory that is lent is passed over: others wait for this
	// flight who do not hold it.
	if e, ok := o.tail.get(key, nil); ok {
		return e, nil
	}
	if e, ok := o.old.get(key); ok {
		return e, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err // select would begin a read for nobody every other time
	}
	lane := o.lane(w.lagging)
	select {
	case lane.store <- struct{}{}:
		defer func() { <-lane.store }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if w.peer {
		var cancel context.CancelFunc
		ctx, cancel = o.cfg.Clock.WithTimeout(context.WithoutCancel(ctx), peerRead)
		defer cancel()
	}
	data, err := o.store.GetRange(ctx, key.object, key.pos, key.len)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	o.counts.store(w.lagging, len(data))
	e := newExtent(key, data)
	o.keep(e, w.lagging)
	return e, nil
}

// source is one object as a range reader of slices that nobody may change.
type source struct {
	objects *objects
	size    int64
	store   bool // as of want
}

// GetRange implements RangeGetter: it is for lagging readers, and puts what it returns together from cells.
func (s *source) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	if pos < 0 || length < 0 || pos > s.size-length {
		return nil, fmt.Errorf("read %s, %d bytes at %d of %d: %w", key, length, pos, s.size, ErrCorrupt)
	}
	var out []byte
	step := s.objects.part
	for at, end := pos, pos+length; at < end; {
		next := min(end, at-at%step+step)
		w := want{object: key, size: s.size, pos: at, len: next - at, lagging: true, store: s.store}
		e, _, err := s.objects.read(ctx, &w, nil)
		if err != nil {
			return nil, err
		}
		have := e.from(at)
		have = have[:min(int64(len(have)), end-at)]
		at += int64(len(have))
		if out == nil {
			if at == end {
				return have[:length:length], nil
			}
			out = make([]byte, 0, length)
		}
		out = append(out, have...)
	}
	return out, nil
}

// isGone tells that an object is not in the store, whoever says so.
func isGone(err error) bool { return errors.Is(err, objectstore.ErrNotFound) }
