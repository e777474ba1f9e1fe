package ingest

import (
	"context"
	"net/netip"
	"sync"
)

// byteBudget is a counting semaphore over bytes. Waiters are served in the order they came, so a large request is not
// starved by small ones. Safe for concurrent use.
type byteBudget struct {
	capacity int64

	mu      sync.Mutex
	used    int64
	waiters []*waiter
}

type waiter struct {
	n     int64
	ready chan struct{}
}

func newByteBudget(capacity int64) *byteBudget { return &byteBudget{capacity: capacity} }

// acquire takes n bytes, waiting until they are free. More than the whole capacity is granted once nothing else is out.
// The error is ctx's; nothing is held then.
func (b *byteBudget) acquire(ctx context.Context, n int64) error {
	b.mu.Lock()
	if len(b.waiters) == 0 && b.fits(n) {
		b.used += n
		b.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, ready: make(chan struct{})}
	b.waiters = append(b.waiters, w)
	b.mu.Unlock()

	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range b.waiters {
		if other == w {
			b.waiters = append(b.waiters[:i], b.waiters[i+1:]...)
			b.wake() // who waited behind may fit now
			return ctx.Err()
		}
	}
	b.used -= n // granted in the meantime
	b.wake()
	return ctx.Err()
}

// force takes n bytes at once, past the capacity if need be: for memory that exists already. Whoever acquires next pays
// by waiting longer.
func (b *byteBudget) force(n int64) {
	b.mu.Lock()
	b.used += n
	b.mu.Unlock()
}

// try takes n bytes if they are free, past those who wait.
func (b *byteBudget) try(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fits(n) {
		return false
	}
	b.used += n
	return true
}

// share takes as much of want as one of many may have, past those who wait: one part in parts of what is free. However
// many come, a little is left for the next. It returns what it took, perhaps nothing.
func (b *byteBudget) share(want, parts int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := max(min(want, (b.capacity-b.used)/parts), 0)
	b.used += n
	return n
}

// release gives n bytes back.
func (b *byteBudget) release(n int64) {
	b.mu.Lock()
	b.used -= n
	b.wake()
	b.mu.Unlock()
}

func (b *byteBudget) fits(n int64) bool { return b.used <= 0 || b.used+n <= b.capacity }

func (b *byteBudget) wake() {
	for len(b.waiters) > 0 && b.fits(b.waiters[0].n) {
		b.used += b.waiters[0].n
		close(b.waiters[0].ready)
		b.waiters[0] = nil
		b.waiters = b.waiters[1:]
	}
}

// inUse returns the bytes out.
func (b *byteBudget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// doorman counts connections, in all and by address. Safe for concurrent use.
type doorman struct {
	maxAll, maxPerIP int

	mu    sync.Mutex
	all   int
	perIP map[netip.Addr]int
}

func newDoorman(maxAll, maxPerIP int) *doorman {
	return &doorman{maxAll: maxAll, maxPerIP: maxPerIP, perIP: make(map[netip.Addr]int)}
}

// enter admits a connection from ip or gives the reason why not.
func (d *doorman) enter(ip netip.Addr) (refusal string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.all >= d.maxAll:
		return refusedConnections
	case d.perIP[ip] >= d.maxPerIP:
		return refusedConnectionsPerIP
	}
	d.all++
	d.perIP[ip]++
	return ""
}

// leave undoes enter.
func (d *doorman) leave(ip netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all--
	if d.perIP[ip]--; d.perIP[ip] <= 0 {
		delete(d.perIP, ip)
	}
}

func (d *doorman) open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all
}
