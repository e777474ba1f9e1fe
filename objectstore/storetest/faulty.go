package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bargedata/barge/objectstore"
)

// Fault is one way for a call to go wrong.
type Fault int8

// The faults. Each error is what a driver would return for it.
const (
	NoFault    Fault = iota
	FailBefore       // ErrUnknown, nothing has happened (a 503, a refused connection)
	FailAfter        // the call has its effect, its answer is lost (a time-out, a reset)
	Stall            // nothing happens until the context ends
	StallAfter       // the call has its effect, then nothing happens until the context ends
	Delay            // the call succeeds, late
	Truncate         // a read ends early (ErrUnknown); of other calls: NoFault
	Full             // ErrFull, nothing has happened
	Deny             // ErrDenied, nothing has happened
	numFaults
)

// FaultConfig gives the probability of each fault per call, tried in this order, and their size.
type FaultConfig struct {
	FailBefore, FailAfter, Truncate, Delay float64
	// Burst starts a run of BurstCalls calls, of any method, that all FailBefore.
	Burst      float64
	BurstCalls int
	// DelayMin and DelayMax bound Delay.
	DelayMin, DelayMax time.Duration
}

// Faulty is a Store with faults, chosen by a seed and a script. With one caller at a time its choices depend on nothing
// else. It is safe for concurrent use.
type Faulty struct {
	store objectstore.Store

	mu     sync.Mutex
	cfg    FaultConfig
	rng    *rand.Rand
	burst  int // calls left of a burst
	script [objectstore.NumOps][]Fault
	counts [numFaults]int
}

// NewFaulty puts faults over store. Print the seed when a test fails.
func NewFaulty(store objectstore.Store, seed uint64, cfg FaultConfig) *Faulty {
	return &Faulty{store: store, cfg: cfg, rng: rand.New(rand.NewPCG(seed, 0))}
}

// Script gives the next calls of op these faults, before chance has a say again.
func (f *Faulty) Script(op objectstore.Op, faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script[op] = append(f.script[op], faults...)
}

// Configure replaces the probabilities; the zero FaultConfig makes the store well-behaved.
func (f *Faulty) Configure(cfg FaultConfig) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cfg, f.burst = cfg, 0
}

// Count tells how many calls have got the fault.
func (f *Faulty) Count(fault Fault) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[fault]
}

func (f *Faulty) next(op objectstore.Op) (Fault, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := f.choose(op)
	if fault == Truncate && op != objectstore.OpGet && op != objectstore.OpGetRange {
		fault = NoFault
	}
	f.counts[fault]++
	delay := f.cfg.DelayMin
	if spread := f.cfg.DelayMax - f.cfg.DelayMin; spread > 0 {
		delay += time.Duration(f.rng.Int64N(int64(spread)))
	}
	return fault, delay
}

func (f *Faulty) choose(op objectstore.Op) Fault {
	if s := f.script[op]; len(s) > 0 {
		f.script[op] = s[1:]
		return s[0]
	}
	if f.burst == 0 && f.rng.Float64() < f.cfg.Burst {
		f.burst = f.cfg.BurstCalls
	}
	if f.burst > 0 {
		f.burst--
		return FailBefore
	}
	roll := f.rng.Float64()
	for _, c := range []struct {
		fault Fault
		p     float64
	}{{FailBefore, f.cfg.FailBefore}, {FailAfter, f.cfg.FailAfter}, {Truncate, f.cfg.Truncate}, {Delay, f.cfg.Delay}} {
		if roll < c.p {
			return c.fault
		}
		roll -= c.p
	}
	return NoFault
}

// inject makes one call, with its fault.
func inject[T any](ctx context.Context, f *Faulty, op objectstore.Op, key string, call func() (T, error)) (T, error) {
	fault, delay := f.next(op)
	var none T
	switch fault { //nolint:exhaustive // the rest is no fault
	case FailBefore:
		return none, fmt.Errorf("%s %s: %w: injected 503", op, key, objectstore.ErrUnknown)
	case Full:
		return none, fmt.Errorf("%s %s: %w: injected", op, key, objectstore.ErrFull)
	case Deny:
		return none, fmt.Errorf("%s %s: %w: injected", op, key, objectstore.ErrDenied)
	case Stall:
		<-ctx.Done()
		return none, fmt.Errorf("%s %s: %w: %w: injected stall", op, key, objectstore.ErrUnknown, ctx.Err())
	case StallAfter, FailAfter, Truncate:
		if _, err := call(); err != nil {
			return none, err
		}
		if fault == StallAfter {
			<-ctx.Done()
			return none, fmt.Errorf("%s %s: %w: %w: injected stall after the effect", op, key, objectstore.ErrUnknown, ctx.Err())
		}
		return none, fmt.Errorf("%s %s: %w: injected, after the effect", op, key, objectstore.ErrUnknown)
	case Delay:
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return none, fmt.Errorf("%s %s: %w: %w: injected delay", op, key, objectstore.ErrUnknown, ctx.Err())
		}
	}
	return call()
}

// Create implements objectstore.Store.
func (f *Faulty) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	return inject(ctx, f, objectstore.OpCreate, key, func() (time.Time, error) { return f.store.Create(ctx, key, body) })
}

// Put implements objectstore.Store.
func (f *Faulty) Put(ctx context.Context, key string, body []byte) error {
	_, err := inject(ctx, f, objectstore.OpPut, key, func() (struct{}, error) { return struct{}{}, f.store.Put(ctx, key, body) })
	return err
}

// Get implements objectstore.Store.
func (f *Faulty) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	return inject(ctx, f, objectstore.OpGet, key, func() ([]byte, error) { return f.store.Get(ctx, key, maxBytes) })
}

// GetRange implements objectstore.Store.
func (f *Faulty) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	return inject(ctx, f, objectstore.OpGetRange, key, func() ([]byte, error) { return f.store.GetRange(ctx, key, pos, length) })
}

// List implements objectstore.Store.
func (f *Faulty) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	return inject(ctx, f, objectstore.OpList, prefix, func() ([]objectstore.Object, error) { return f.store.List(ctx, prefix, after, limit) })
}

// Delete implements objectstore.Store.
func (f *Faulty) Delete(ctx context.Context, keys ...string) error {
	_, err := inject(ctx, f, objectstore.OpDelete, fmt.Sprint(len(keys), " keys"), func() (struct{}, error) { return struct{}{}, f.store.Delete(ctx, keys...) })
	return err
}
