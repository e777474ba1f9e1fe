package fetch

import (
	"sync"

	"github.com/bargedata/barge/record"
)

// tail keeps extents of the log's end in memory, bounded in bytes that they take, first in, first out: they leave in the order
// in which they joined, and a lagging reader does not keep old ones alive.
type tail struct {
	mu      sync.Mutex
	limit   int64
	used    int64
	extents map[extentKey]*extent
	order   []*extent
}

func newTail(limit int64) *tail { return &tail{limit: limit, extents: map[extentKey]*extent{}} }

// add tells whether the tail has e, or had one of its key, and keeps it then.
func (t *tail) add(e *extent) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.extents[e.key]; ok {
		return true
	}
	if e.memory() > t.limit {
		return false
	}
	if e.lent {
		e.buffer.Hold()
	}
	t.extents[e.key] = e
	t.order = append(t.order, e)
	t.used += e.memory()
	for t.used > t.limit {
		oldest := t.order[0]
		t.order[0] = nil
		t.order = t.order[1:]
		if t.extents[oldest.key] == oldest {
			t.drop(oldest)
		}
	}
	return true
}

// get returns an extent. Memory that is lent is held for the caller, in hold; without one such an extent is not found.
func (t *tail) get(key extentKey, hold *held) (*extent, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.extents[key]
	if !ok || e.lent && hold == nil {
		return nil, false
	}
	if e.lent {
		e.buffer.Hold() // before the lock is free: the next add may evict it
		hold.add(e.buffer)
	}
	return e, true
}

// forget drops a key, if it is there.
func (t *tail) forget(key extentKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.extents[key]; ok {
		t.drop(e) // add passes over what is left of it in order
	}
}

// drop lets go of an extent; mu is held.
func (t *tail) drop(e *extent) {
	t.used -= e.memory()
	delete(t.extents, e.key)
	if e.lent {
		e.buffer.Release()
	}
}

// held is the objects of the tail that an answer refers to. Safe for concurrent use.
type held struct {
	mu      sync.Mutex
	buffers []*record.Buffer
}

func (h *held) add(b *record.Buffer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buffers = append(h.buffers, b)
}

func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.buffers {
		b.Release()
	}
	h.buffers = nil
}
