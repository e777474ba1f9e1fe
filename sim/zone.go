package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/routing"
)

// objectLimit is for how long an agent is asked for bytes of an object at most, as peer has it.
const objectLimit = 60 * time.Second

// zoneMates is fetch.Zone over the network of a world: the agents of one zone keep objects for one another.
type zoneMates struct{ a *agent }

// Owner implements fetch.Zone as barge.Agent does.
func (z zoneMates) Owner(key string) (addr string, self bool) {
	owner, ok := routing.Pick(key, z.a.node.members().Keepers(z.a.zone))
	return owner.Peer, !ok || owner.Peer == "" || owner.Session == uint64(z.a.session)
}

// ReadObject implements fetch.Zone.
func (z zoneMates) ReadObject(ctx context.Context, addr string, req *peerpb.ReadObjectRequest) ([]byte, error) {
	w := z.a.w
	body, err := z.ask(ctx, addr, "read object", func(ctx context.Context, b *agent) ([]byte, error) { return b.reader.HandleRead(ctx, req) })
	switch {
	case err == nil && w.strange():
		return w.damage(body), nil
	case err == nil:
		w.counts["objects read from their keepers"]++
		z.compare(addr, req, body)
	}
	return body, err
}

// compare holds what a keeper answered against the object, where no bytes were damaged so far and it is still in the store.
func (z zoneMates) compare(addr string, req *peerpb.ReadObjectRequest, body []byte) {
	w := z.a.w
	if !w.whole() {
		return
	}
	want, err := w.witness.GetRange(w.ctx, req.GetKey(), req.GetPos(), req.GetLength())
	if err == nil && !bytes.Equal(body, want) {
		w.flaw("zone", "%s answered %d bytes at %d of %s with others", addr, req.GetLength(), req.GetPos(), req.GetKey())
	}
}

// SeedObject implements fetch.Zone.
func (z zoneMates) SeedObject(ctx context.Context, addr, key string, body []byte) error {
	body = slices.Clone(body) // as it travels
	if z.a.w.strange() {
		body = z.a.w.damage(body)
	}
	_, err := z.ask(ctx, addr, "seed object", func(ctx context.Context, b *agent) ([]byte, error) { return nil, b.reader.HandleSeed(ctx, key, body) })
	if err == nil {
		z.a.w.counts["objects handed to their keepers"]++
	}
	return err
}

// errBusy is what an agent answers that can not answer.
var errBusy = errors.New("busy")

// ask has another agent do something, and waits until it has or ctx ends.
func (z zoneMates) ask(ctx context.Context, addr, what string, serve func(context.Context, *agent) ([]byte, error)) ([]byte, error) {
	type answer struct {
		body []byte
		err  error
	}
	w := z.a.w
	var got answer
	settled := false
	w.net.call(z.a, addr, what, objectLimit, func(b *agent, reply func(any)) {
		w.spawn(b, "serve", func(*task) {
			if w.strange() {
				switch w.rng.IntN(3) {
				case 0:
					reply(answer{err: errBusy})
					return
				case 1:
					_ = w.sleep(ctx, time.Duration(w.rng.IntN(2000))*time.Millisecond)
				}
			}
			if b.reader == nil {
				reply(answer{err: errBusy})
				return
			}
			body, err := serve(ctx, b)
			reply(answer{slices.Clone(body), err})
		})
	}, func(a any, err error) {
		settled = true
		if got.err = err; err == nil {
			got, _ = a.(answer) // nothing else is replied
		}
	})
	w.await(func() bool { return settled || ctx.Err() != nil })
	if !settled {
		w.counts["keepers that were too slow"]++
		return nil, fmt.Errorf("%s: %w: %w", what, errNoAnswer, ctx.Err())
	}
	if got.err != nil {
		w.note(what+" failed", got.err.Error(), 0)
	}
	return got.body, got.err
}

// strange tells whether what one agent answers another about an object goes wrong.
func (w *world) strange() bool {
	if w.mild() || w.rng.IntN(w.profile.strange) > 0 {
		return false
	}
	w.counts[goneWrong]++
	return true
}

// damage makes other bytes of an object's: fewer, more, some of them flipped, or those of something else.
func (w *world) damage(body []byte) []byte {
	r := w.rng
	body = slices.Clone(body)
	switch r.IntN(4) {
	case 0:
		return body[:r.IntN(len(body)+1)]
	case 1:
		return append(body, body...)
	case 2:
		for i := range body {
			body[i] = byte(r.Uint32())
		}
	default:
		if len(body) > 0 {
			body[r.IntN(len(body))] ^= 1 << r.IntN(8)
		}
	}
	return body
}

// worldClock is fetch.Clock in world time.
type worldClock struct{ a *agent }

// WithTimeout implements fetch.Clock.
func (c worldClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	t := c.a.after(d, "limit", func() {
		cancel()
	})
	return ctx, func() {
		t.off = true
		cancel()
	}
}

// After implements fetch.Clock.
func (c worldClock) After(d time.Duration) <-chan time.Time {
	at := make(chan time.Time, 1)
	c.a.after(d, "over", func() { at <- time.UnixMilli(c.a.w.now) })
	return at
}

// Wait implements fetch.Clock.
func (c worldClock) Wait(ctx context.Context, done <-chan struct{}) {
	c.a.w.await(func() bool {
		select {
		case <-done:
			return true
		default:
			return ctx.Err() != nil
		}
	})
}

// handOver starts the tasks that bring objects to who keeps them.
func (a *agent) handOver() {
	if a.reader == nil || a.node == nil {
		return
	}
	for _, send := range a.reader.Senders() {
		a.w.spawn(a, "hand over", func(*task) { send(a.w.ctx) })
	}
}

// seenReads is the store of an agent's reader: it notes what is read of it while nothing goes wrong.
type seenReads struct {
	inner fetch.RangeGetter
	a     *agent
}

// GetRange implements fetch.RangeGetter.
func (s seenReads) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	w := s.a.w
	quiet := w.quiet()
	body, err := s.inner.GetRange(ctx, key, pos, length)
	if err == nil && quiet && w.quiet() && s.a.node != nil {
		w.counts["reads while nobody failed"]++
		w.hist.Reads = append(w.hist.Reads, StoreRead{At: w.now, AtEnd: w.resting, Zone: s.a.zone, Agent: s.a.n, Step: w.steps, Key: key, Pos: pos, Len: length})
	}
	if err != nil && !errors.Is(err, objectstore.ErrNotFound) {
		w.note("read failed", err.Error(), 0)
	}
	return body, err
}

// quiet tells whether each object is to be read once in a zone: nobody fails or is slow, all know of one another, and what is read is kept and
// whole: who finds damage in memory reads again.
func (w *world) quiet() bool {
	p := &w.profile
	fast := p.delay <= 20 && p.storeDelay == 0
	return p.caches && fast && (w.lull || w.resting && w.whole())
}

// whole tells whether no bytes have been damaged on their way so far.
func (w *world) whole() bool { return w.torn.Counts()["torn"] == 0 && w.counts[goneWrong] == 0 }

// goneWrong counts answers of one agent to another.
const goneWrong = "answers about objects gone wrong"
