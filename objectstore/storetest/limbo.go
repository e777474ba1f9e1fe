package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/bargedata/barge/objectstore"
)

// maxLimbo bounds how many writes are on their way at a time; one more makes the oldest land.
const maxLimbo = 256

// write is a Create, Put or Delete, complete enough to be made again.
type write struct {
	op   objectstore.Op
	keys []string
	body []byte

	gone    bool // since it was parked, a read found nothing under the key
	deleted bool // since then, the key was deleted
}

// park keeps a write whose caller has been told that its outcome is unknown.
func (f *Faulty) park(ctx context.Context, w write) {
	w.keys, w.body = slices.Clone(w.keys), bytes.Clone(w.body)
	f.mu.Lock()
	f.limbo = append(f.limbo, w)
	full := len(f.limbo) > maxLimbo
	f.mu.Unlock()
	if full {
		f.landOldest(ctx)
	}
}

// Land makes up to n writes land, oldest first, that were answered with a time-out and are still on their way: a Create
// only where its key is free then, a Put and a Delete always. It returns how many there were. An error of the store below
// but ErrExists means that the write never happens, which its caller was told may be so.
func (f *Faulty) Land(n int) int {
	landed := 0
	for landed < n && f.landOldest(context.Background()) {
		landed++
	}
	return landed
}

func (f *Faulty) landOldest(ctx context.Context) bool {
	w, ok := f.takeWrite(func() int { return 0 })
	if ok {
		f.land(ctx, w)
	}
	return ok
}

// InLimbo tells how many writes are on their way.
func (f *Faulty) InLimbo() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.limbo)
}

// takeWrite takes the write that choose names, which is called with mu held and returns -1 for none.
func (f *Faulty) takeWrite(choose func() int) (write, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.limbo) == 0 {
		return write{}, false
	}
	i := choose()
	if i < 0 {
		return write{}, false
	}
	w := f.limbo[i]
	f.limbo = slices.Delete(f.limbo, i, i+1)
	return w, true
}

// land makes w happen. Whoever sent it has given up on it, so the end of ctx, another call's, means nothing to it.
func (f *Faulty) land(ctx context.Context, w write) {
	ctx = context.WithoutCancel(ctx)
	var err error
	switch w.op { //nolint:exhaustive // only writes are parked
	case objectstore.OpCreate:
		_, err = f.store.Create(ctx, w.keys[0], w.body)
	case objectstore.OpPut:
		err = f.store.Put(ctx, w.keys[0], w.body)
	case objectstore.OpDelete:
		err = f.store.Delete(ctx, w.keys...)
	}
	if errors.Is(err, objectstore.ErrExists) {
		f.count(LandedRefused)
	}
	if err != nil {
		return
	}
	f.count(Landed)
	if w.gone {
		f.count(LandedAfterGone)
	}
	if w.deleted {
		f.count(LandedAfterDelete)
	}
}

// drift lets one write land by chance.
func (f *Faulty) drift(ctx context.Context) {
	if w, ok := f.takeWrite(func() int {
		if f.rng.Float64() >= f.cfg.landChance() {
			return -1
		}
		return f.rng.IntN(len(f.limbo))
	}); ok {
		f.land(ctx, w)
	}
}

// passed notes what a call has shown to its caller, and lets a write under the same key land on top of it by chance.
func (f *Faulty) passed(ctx context.Context, r request, err error) {
	gone := errors.Is(err, objectstore.ErrNotFound)
	deleted := r.op == objectstore.OpDelete && err == nil
	if !gone && !deleted {
		return
	}
	if w, ok := f.takeWrite(func() int {
		at := -1
		for i := range f.limbo {
			w := &f.limbo[i]
			if w.op == objectstore.OpDelete || !slices.Contains(r.keys, w.keys[0]) {
				continue
			}
			w.gone, w.deleted, at = w.gone || gone, w.deleted || deleted, i
		}
		if at >= 0 && f.rng.Float64() >= 5*f.cfg.landChance() {
			at = -1
		}
		return at
	}); ok {
		f.land(ctx, w)
	}
}
