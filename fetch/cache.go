package fetch

import (
	"container/list"
	"context"
	"sync"

	"github.com/bargedata/barge/record"
)

// tail keeps whole WAL objects in memory, bounded in bytes that they take, first in, first out: they leave the log's end in the order in
// which they joined it, and a lagging reader does not keep old ones alive.
type tail struct {
	mu     sync.Mutex
	limit  int64
	used   int64
	bodies map[string]*record.Buffer // each held by the tail
	order  []string
}

func newTail(limit int64) *tail { return &tail{limit: limit, bodies: map[string]*record.Buffer{}} }

func (t *tail) add(key string, body *record.Buffer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.bodies[key]; ok || int64(cap(body.Bytes)) > t.limit {
		return
	}
	body.Hold()
	t.bodies[key] = body
	t.order = append(t.order, key)
	t.used += int64(cap(body.Bytes))
	for t.used > t.limit {
		oldest := t.bodies[t.order[0]]
		t.used -= int64(cap(oldest.Bytes))
		oldest.Release()
		delete(t.bodies, t.order[0])
		t.order[0] = ""
		t.order = t.order[1:]
	}
}

// get returns an object, held for the caller.
func (t *tail) get(key string) (*record.Buffer, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	body, ok := t.bodies[key]
	if ok {
		body.Hold() // before the lock is free: the next add may evict it
	}
	return body, ok
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

// cache keeps values bounded by their summed weight, and loads each key once at a time. The least recently used values
// make room. A value heavier than the whole cache is handed out and not kept.
type cache[K comparable, V any] struct {
	mu      sync.Mutex
	limit   int64
	used    int64
	entries map[K]*list.Element // of *entry[K, V]
	order   *list.List          // most recently used first
	flights map[K]*flight[V]
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	weight int64
}

// flight is one load under way. Those who wait for it see its value, or its error when that is not the leader's own end.
type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
	gone  bool // the leader's context ended: the error says nothing about the key
}

func newCache[K comparable, V any](limit int64) *cache[K, V] {
	return &cache[K, V]{limit: limit, entries: map[K]*list.Element{}, order: list.New(), flights: map[K]*flight[V]{}}
}

// load returns the value of key, calling fetch for it if need be: once for all who ask at the same time, in the goroutine
// and under the context of the first. When that context ends, the next one takes over. Errors are fetch's or ctx's.
func (c *cache[K, V]) load(ctx context.Context, key K, fetch func(ctx context.Context) (V, int64, error)) (V, error) {
	for {
		c.mu.Lock()
		if e, ok := c.entries[key]; ok {
			c.order.MoveToFront(e)
			v := e.Value.(*entry[K, V]).value //nolint:errcheck,forcetypeassert // the list holds nothing else
			c.mu.Unlock()
			return v, nil
		}
		f, ok := c.flights[key]
		if !ok {
			f = &flight[V]{done: make(chan struct{})}
			c.flights[key] = f
			c.mu.Unlock()
			return c.lead(ctx, key, f, fetch)
		}
		c.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
		if !f.gone {
			return f.value, f.err
		}
	}
}

func (c *cache[K, V]) lead(ctx context.Context, key K, f *flight[V], fetch func(ctx context.Context) (V, int64, error)) (V, error) {
	f.gone = true // until fetch has returned: a panic must not leave others waiting or with nothing
	var weight int64
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.flights, key)
		close(f.done)
		if f.err == nil && !f.gone {
			c.add(key, f.value, weight)
		}
	}()
	f.value, weight, f.err = fetch(ctx)
	f.gone = f.err != nil && ctx.Err() != nil
	return f.value, f.err
}

// add keeps a value; mu is held.
func (c *cache[K, V]) add(key K, value V, weight int64) {
	if weight > c.limit {
		return
	}
	c.entries[key] = c.order.PushFront(&entry[K, V]{key, value, weight})
	c.used += weight
	for c.used > c.limit {
		c.drop(c.order.Back())
	}
}

// drop forgets an element; mu is held.
func (c *cache[K, V]) drop(e *list.Element) {
	old := c.order.Remove(e).(*entry[K, V]) //nolint:errcheck,forcetypeassert // the list holds nothing else
	delete(c.entries, old.key)
	c.used -= old.weight
}

// forget drops a key, if it is there.
func (c *cache[K, V]) forget(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		c.drop(e)
	}
}
