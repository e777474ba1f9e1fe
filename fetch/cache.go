package fetch

import (
	"container/list"
	"context"
	"sync"
)

// cache keeps values bounded by their summed weight, and loads each key once at a time. The least recently used values
// make room. A value heavier than the whole cache is handed out and not kept.
type cache[K comparable, V any] struct {
	mu      sync.Mutex
	limit   int64
	used    int64
	entries map[K]*list.Element // of *entry[K, V]
	order   *list.List          // most recently used first
	flights *flights[K, V]
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	weight int64
}

func newCache[K comparable, V any](limit int64, clock Clock) *cache[K, V] {
	return &cache[K, V]{limit: limit, entries: map[K]*list.Element{}, order: list.New(), flights: newFlights[K, V](clock)}
}

// load returns the value of key, calling fetch for it and its weight if need be, as flights.do calls it.
func (c *cache[K, V]) load(ctx context.Context, key K, fetch func(ctx context.Context) (V, int64, error)) (V, error) {
	if v, ok := c.get(key); ok {
		return v, nil
	}
	v, _, err := c.flights.do(ctx, key, func(ctx context.Context) (V, error) {
		if v, ok := c.get(key); ok { // kept between the look and the flight
			return v, nil
		}
		v, weight, err := fetch(ctx)
		if err == nil {
			c.add(key, v, weight)
		}
		return v, err
	})
	return v, err
}

func (c *cache[K, V]) get(key K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true //nolint:errcheck,forcetypeassert // the list holds nothing else
}

// add keeps a value, unless there is one of its key.
func (c *cache[K, V]) add(key K, value V, weight int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[key]; ok || weight > c.limit {
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

// flights makes each key's load happen once at a time.
type flights[K comparable, V any] struct {
	clock Clock
	mu    sync.Mutex
	loads map[K]*flight[V]
}

// flight is one load under way. Those who wait for it see its value, or its error when that is not the leader's own end.
type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
	gone  bool // the leader's context ended: the error says nothing about the key
}

func newFlights[K comparable, V any](clock Clock) *flights[K, V] {
	return &flights[K, V]{clock: clock, loads: map[K]*flight[V]{}}
}

// do returns what load returns: called once for all who ask at the same time, in the goroutine and under the context of the
// first; joined tells those who came later. When that context ends, the next one takes over. load is to look first whether
// the value has come by now, and to keep it before it returns. Errors are load's or ctx's.
func (f *flights[K, V]) do(ctx context.Context, key K, load func(ctx context.Context) (V, error)) (v V, joined bool, err error) {
	for {
		f.mu.Lock()
		l, ok := f.loads[key]
		if !ok {
			l = &flight[V]{done: make(chan struct{})}
			f.loads[key] = l
			f.mu.Unlock()
			v, err = f.lead(ctx, key, l, load)
			return v, false, err
		}
		f.mu.Unlock()
		f.clock.Wait(ctx, l.done)
		select {
		case <-l.done:
		default:
			return v, true, ctx.Err()
		}
		if !l.gone {
			return l.value, true, l.err
		}
	}
}

func (f *flights[K, V]) lead(ctx context.Context, key K, l *flight[V], load func(ctx context.Context) (V, error)) (V, error) {
	l.gone = true // until load has returned: a panic must not leave others waiting or with nothing
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.loads, key)
		close(l.done)
	}()
	l.value, l.err = load(ctx)
	l.gone = l.err != nil && ctx.Err() != nil
	return l.value, l.err
}
