package fetch

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/bargedata/barge/record"
)

// seedTimeout bounds the handing over of one object: later than that its owner has read it from the store.
const seedTimeout = 2 * time.Second

// Seed puts a WAL object that was uploaded and is about to be committed into the tail, so that consumers at the end of the log
// cost no reads, and hands it to the agent of the zone that keeps it: in the background, while Run runs.
// body must not be changed afterwards; it is held while it is in the tail or on its way. The oldest objects make room in the
// tail; one larger than the tail is not kept, and one for which there is no room on the way is not handed over.
func (r *Reader) Seed(key string, body *record.Buffer) {
	r.objects.tail.add(&extent{key: extentKey{key, 0, int64(len(body.Bytes))}, buffer: body, lent: true, checked: true})
	if r.cfg.Zone == nil || int64(len(body.Bytes)) > r.cfg.WholeObjectBytes {
		return
	}
	switch addr, self := r.cfg.Zone.Owner(key); {
	case self:
	case r.objects.owners.shuns(addr, false):
		r.objects.counts.seedsDropped.Add(1)
	default:
		r.seeds.offer(addr, key, body)
	}
}

// Run hands objects over to their owners until ctx ends. What waits then is dropped. Call it once.
func (r *Reader) Run(ctx context.Context) error {
	var senders sync.WaitGroup
	defer senders.Wait()
	defer r.seeds.close()
	for {
		for _, send := range r.Senders() {
			senders.Go(func() { send(ctx) })
		}
		select {
		case <-r.seeds.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// Senders is what Run starts: one function for each owner for whom something waits, in the order of their addresses. Each is to be called once, beside the others, and
// returns when nothing waits any more. From the first call on objects wait for their senders. For who has a simulation in the place of Run.
func (r *Reader) Senders() []func(ctx context.Context) {
	r.seeds.open()
	var senders []func(ctx context.Context)
	for _, addr := range r.seeds.unattended() {
		senders = append(senders, func(ctx context.Context) { r.send(ctx, addr) })
	}
	return senders
}

// send hands over what waits for one owner, one object after the other. An owner that fails is left alone for a while.
func (r *Reader) send(ctx context.Context, addr string) {
	for {
		s, ok := r.seeds.next(addr)
		if !ok {
			return
		}
		limited, cancel := r.cfg.Clock.WithTimeout(ctx, seedTimeout)
		err := r.cfg.Zone.SeedObject(limited, addr, s.key, s.body.Bytes)
		cancel()
		s.body.Release()
		if err == nil {
			r.objects.counts.seedsSent.Add(1)
			continue
		}
		r.objects.counts.seedsDropped.Add(1 + int64(r.seeds.drop(addr)))
		if ctx.Err() == nil {
			r.objects.owners.shun(addr, false)
			r.log.LogAttrs(ctx, slog.LevelDebug, "object not handed over", slog.String("object", s.key), slog.String("peer", addr), slog.Any("err", err))
		}
	}
}

// seed is an object on its way to its owner; body is held.
type seed struct {
	key  string
	body *record.Buffer
}

// seeds are the objects that wait, by owner, bounded in bytes that they take. One owner may have half of that, so that one who is
// slow leaves room for the others.
type seeds struct {
	limit   int64
	dropped func()
	wake    chan struct{} // a token when an owner may be unattended

	mu     sync.Mutex
	opened bool
	bytes  int64
	queues map[string]*seedQueue
}

// seedQueue is what waits for one owner. It is there as long as it has a sender, or something to send.
type seedQueue struct {
	waiting  []seed
	bytes    int64
	attended bool
}

func newSeeds(limit int64, dropped func()) *seeds {
	return &seeds{limit: limit, dropped: dropped, wake: make(chan struct{}, 1), queues: map[string]*seedQueue{}}
}

// offer lets an object wait for its sender, unless there is no room or nobody sends.
func (s *seeds) offer(addr, key string, body *record.Buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[addr]
	if q == nil {
		q = &seedQueue{}
	}
	size := int64(cap(body.Bytes))
	if !s.opened || s.bytes+size > s.limit || q.bytes+size > s.limit/2 {
		s.dropped()
		return
	}
	s.queues[addr] = q
	body.Hold()
	s.bytes += size
	q.bytes += size
	q.waiting = append(q.waiting, seed{key, body})
	if !q.attended {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// unattended returns the owners for whom something waits and nobody sends, in order; the caller sends from now on.
func (s *seeds) unattended() (addrs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr, q := range s.queues {
		if !q.attended {
			q.attended = true
			addrs = append(addrs, addr)
		}
	}
	slices.Sort(addrs)
	return addrs
}

// next takes the oldest object that waits for addr. When there is none, the sender is to end.
func (s *seeds) next(addr string) (seed, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[addr]
	if q == nil || len(q.waiting) == 0 {
		delete(s.queues, addr)
		return seed{}, false
	}
	next := q.waiting[0]
	q.waiting = q.waiting[1:]
	s.bytes -= int64(cap(next.body.Bytes))
	q.bytes -= int64(cap(next.body.Bytes))
	return next, true
}

// drop lets go of all that waits for addr and tells how much that was.
func (s *seeds) drop(addr string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[addr]
	if q == nil {
		return 0
	}
	n := len(q.waiting)
	for _, w := range q.waiting {
		w.body.Release()
	}
	s.bytes -= q.bytes
	q.waiting, q.bytes = nil, 0
	return n
}

func (s *seeds) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = true
}

// close refuses what comes from now on and lets go of what waits.
func (s *seeds) close() {
	s.mu.Lock()
	s.opened = false
	addrs := make([]string, 0, len(s.queues))
	for addr := range s.queues {
		addrs = append(addrs, addr)
	}
	s.mu.Unlock()
	for _, addr := range addrs {
		for range s.drop(addr) {
			s.dropped()
		}
	}
}
