package group

import (
	"container/heap"
	"sync"
	"time"
)

// timers is the set of groups that want a Tick, by when. Safe for concurrent use.
type timers struct {
	mu      sync.Mutex
	heap    cellHeap
	earlier chan struct{} // cap 1: the earliest deadline moved forward
}

func newTimers() *timers { return &timers{earlier: make(chan struct{}, 1)} }

// set makes g due at the given time; zero takes it out.
func (t *timers) set(g *cell, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.due.Equal(at) {
		return
	}
	g.due = at
	switch {
	case at.IsZero():
		if g.slot > 0 {
			heap.Remove(&t.heap, g.slot-1)
		}
		return
	case g.slot > 0:
		heap.Fix(&t.heap, g.slot-1)
	default:
		heap.Push(&t.heap, g)
	}
	if g.slot == 1 {
		select {
		case t.earlier <- struct{}{}:
		default:
		}
	}
}

// pop takes out and returns a group that is due at now, or tells when the next one is (zero: none).
func (t *timers) pop(now time.Time) (*cell, time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heap) == 0 {
		return nil, time.Time{}
	}
	g := t.heap[0]
	if now.Before(g.due) {
		return nil, g.due
	}
	heap.Pop(&t.heap)
	g.due = time.Time{}
	return g, time.Time{}
}

// cellHeap orders cells by due, and by name where that is the same; a cell knows its place (slot, from 1).
type cellHeap []*cell

func (h cellHeap) Len() int { return len(h) }

func (h cellHeap) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return h[i].name < h[j].name
}

func (h cellHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i+1, j+1
}

// Push is heap.Interface's.
func (h *cellHeap) Push(x any) {
	g, ok := x.(*cell)
	if !ok {
		return
	}
	*h = append(*h, g)
	g.slot = len(*h)
}

// Pop is heap.Interface's.
func (h *cellHeap) Pop() any {
	last := len(*h) - 1
	g := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	g.slot = 0
	return g
}
