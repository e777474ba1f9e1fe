package metadata

import (
	"slices"

	"github.com/bargedata/barge/record"
)

// Watch tells that something about some partitions changed. Get the Watch first, then look at the View, then wait: a
// change after the call to View.Watch is never missed.
type Watch struct {
	view  *View
	parts []record.Partition
	c     chan struct{}
}

// Watch starts to watch the high watermark and the existence of the partitions, which need not exist yet. The caller must
// Close it.
func (v *View) Watch(parts []record.Partition) *Watch {
	w := &Watch{view: v, parts: slices.Clone(parts), c: make(chan struct{}, 1)}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range w.parts {
		v.watches[p] = append(v.watches[p], w)
	}
	return w
}

// C gets a token, and holds at most one, whenever one of the partitions changed. It is never closed.
func (w *Watch) C() <-chan struct{} { return w.c }

// Close ends the watch. Closing twice is no error.
func (w *Watch) Close() {
	w.view.mu.Lock()
	defer w.view.mu.Unlock()
	for _, p := range w.parts {
		list := w.view.watches[p]
		i := slices.Index(list, w)
		if i < 0 {
			continue
		}
		list[i] = list[len(list)-1]
		list[len(list)-1] = nil
		if list = list[:len(list)-1]; len(list) == 0 {
			delete(w.view.watches, p)
		} else {
			w.view.watches[p] = list
		}
	}
	w.parts = nil
}

// wake gives a token to every watch of p; mu is held.
func (v *View) wake(p record.Partition) {
	for _, w := range v.watches[p] {
		select {
		case w.c <- struct{}{}:
		default: // it has one already
		}
	}
}
