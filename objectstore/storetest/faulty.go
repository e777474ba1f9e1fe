package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bargedata/barge/objectstore"
)

// Faulty is a Store with faults, chosen by a seed and a script. With one caller at a time its choices depend on nothing
// else. It starts no goroutines and is safe for concurrent use.
type Faulty struct {
	store objectstore.Store

	mu     sync.Mutex // never held during a call to store or a sleep
	cfg    FaultConfig
	sleep  func(ctx context.Context, d time.Duration) error
	rng    *rand.Rand
	burst  int // calls left of a burst
	script [objectstore.NumOps][]Fault
	limbo  []write // writes on their way, oldest first
	counts [numFaults]int
}

// NewFaulty puts faults over store. Print the seed when a test fails.
func NewFaulty(store objectstore.Store, seed uint64, cfg FaultConfig) *Faulty {
	f := &Faulty{store: store, rng: rand.New(rand.NewPCG(seed, 0)), sleep: realSleep}
	f.Configure(cfg)
	return f
}

// Script gives the next calls of op these faults, before chance has a say again.
func (f *Faulty) Script(op objectstore.Op, faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script[op] = append(f.script[op], faults...)
}

// Configure replaces the settings; the zero FaultConfig makes the store well-behaved, but for writes that Land still
// brings. A Sleep that was set stays when the new one is nil.
func (f *Faulty) Configure(cfg FaultConfig) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cfg, f.burst = cfg, 0
	if cfg.Sleep != nil {
		f.sleep = cfg.Sleep
	}
}

// Count tells how many calls have got the fault, or how often what it names has happened.
func (f *Faulty) Count(fault Fault) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[fault]
}

// Counts returns the counts that are not zero, by the faults' names; calls without a fault are left out.
func (f *Faulty) Counts() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]int)
	for fault, n := range f.counts {
		if n > 0 && Fault(fault) != NoFault {
			out[Fault(fault).String()] = n
		}
	}
	return out
}

func (f *Faulty) count(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[fault]++
}

// request is one call as far as faults need to know it.
type request struct {
	op   objectstore.Op
	keys []string
	body []byte
}

func (r request) String() string {
	if r.op == objectstore.OpDelete {
		return fmt.Sprintf("%s %d keys", r.op, len(r.keys))
	}
	return fmt.Sprintf("%s %s", r.op, r.keys[0])
}

// decision is all that chance has a say in, drawn at the begin of a call.
type decision struct {
	fault Fault
	delay time.Duration
	dice  uint64 // for the details
	// Of a Create:
	raced  bool
	skew   time.Duration
	noDate bool
	// Of a List:
	unordered bool
}

func (f *Faulty) decide(r request) decision {
	f.mu.Lock()
	defer f.mu.Unlock()
	only := f.cfg.Only == nil || f.cfg.Only(r.op, first(r.keys))
	d := decision{fault: f.choose(r.op, only), delay: f.cfg.delay(f.rng), dice: f.rng.Uint64()}
	f.counts[d.fault]++
	if !only {
		return d
	}
	d.unordered = f.cfg.Unordered && r.op == objectstore.OpList
	if r.op == objectstore.OpCreate {
		d.raced = f.rng.Float64() < f.cfg.Raced
		d.noDate = f.rng.Float64() < f.cfg.NoDate
		d.skew = f.cfg.DateSkew
		if jump := int64(f.cfg.DateJump); jump > 0 {
			d.skew += time.Duration(f.rng.Int64N(2*jump+1) - jump)
		}
	}
	return d
}

// choose picks a call's fault. The caller holds mu.
func (f *Faulty) choose(op objectstore.Op, only bool) Fault {
	if s := f.script[op]; len(s) > 0 {
		f.script[op] = s[1:]
		if !s[0].fits(op) {
			return NoFault
		}
		return s[0]
	}
	if !only {
		return NoFault
	}
	if f.burst == 0 && f.rng.Float64() < f.cfg.Burst {
		f.burst = f.cfg.BurstCalls
	}
	if f.burst > 0 {
		f.burst--
		return Unavailable
	}
	return f.cfg.roll(f.rng, op)
}

func first(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return keys[0]
}

// inject makes one call, with its fault.
func inject[T any](ctx context.Context, f *Faulty, r request, call func(decision) (T, error)) (T, error) {
	f.drift(ctx)
	d := f.decide(r)
	value, err := misbehave(ctx, f, r, d, func() (T, error) { return call(d) })
	f.passed(ctx, r, err)
	f.drift(ctx)
	return value, err
}

func misbehave[T any](ctx context.Context, f *Faulty, r request, d decision, call func() (T, error)) (T, error) {
	var none T
	unknown := func(why string) (T, error) {
		return none, fmt.Errorf("%s: %w: injected %s", r, objectstore.ErrUnknown, why)
	}
	ended := func(why string) (T, error) {
		return none, fmt.Errorf("%s: %w: %w: injected %s", r, objectstore.ErrUnknown, ctx.Err(), why)
	}
	switch d.fault {
	case FailBefore, Unavailable:
		return unknown("503")
	case ConflictBefore:
		return unknown("409")
	case Full:
		return none, fmt.Errorf("%s: %w: injected", r, objectstore.ErrFull)
	case Deny:
		return none, fmt.Errorf("%s: %w: injected", r, objectstore.ErrDenied)
	case Late:
		if err := f.checkWrite(ctx, r); err != nil {
			return none, err
		}
		f.park(ctx, write{op: r.op, keys: r.keys, body: r.body})
		return unknown("time-out, the effect may come")
	case Stall:
		<-ctx.Done()
		return ended("stall")
	case Delay:
		if err := f.nap(ctx, d.delay); err != nil {
			if Late.fits(r.op) && f.checkWrite(context.WithoutCancel(ctx), r) == nil {
				f.park(ctx, write{op: r.op, keys: r.keys, body: r.body})
			}
			return ended("delay")
		}
		return call()
	case ConflictAfter, OwnExists, OwnMarked, StallAfter, FailAfter, Truncate, Torn:
		value, err := call()
		if err != nil && !answered(err) {
			return none, err // of this side of the wire, so no answer to lose
		}
		return distort(ctx, r, d, value, err)
	default:
		return call()
	}
}

// answered tells whether err is what a store said about a key.
func answered(err error) bool {
	return errors.Is(err, objectstore.ErrExists) || errors.Is(err, objectstore.ErrNotFound)
}

// distort is what becomes of an answer on its way back.
func distort[T any](ctx context.Context, r request, d decision, value T, err error) (T, error) {
	var none T
	switch d.fault { //nolint:exhaustive // the rest has been dealt with
	case StallAfter:
		<-ctx.Done()
		return none, fmt.Errorf("%s: %w: %w: injected stall after the effect", r, objectstore.ErrUnknown, ctx.Err())
	case ConflictAfter:
		return none, fmt.Errorf("%s: %w: injected 409 after the effect", r, objectstore.ErrUnknown)
	case FailAfter:
		return none, fmt.Errorf("%s: %w: injected, after the effect", r, objectstore.ErrUnknown)
	}
	if err != nil {
		return none, err
	}
	switch d.fault { //nolint:exhaustive // the rest has been dealt with
	case OwnExists:
		return none, fmt.Errorf("%s: %w: injected repetition", r, objectstore.ErrExists)
	case OwnMarked:
		return none, fmt.Errorf("%s: %w: %w: injected repetition", r, objectstore.ErrExists, objectstore.ErrMaybeOurs)
	case Truncate:
		return none, fmt.Errorf("%s: %w: injected, body cut short", r, objectstore.ErrUnknown)
	case Torn:
		if body, ok := any(value).([]byte); ok {
			torn, _ := any(tear(body, d.dice, r.op == objectstore.OpGet)).(T)
			return torn, nil
		}
	}
	return value, nil
}

// tear damages a copy of body; shorter allows it to lose its end. An empty body stays as it is.
func tear(body []byte, dice uint64, shorter bool) []byte {
	if len(body) == 0 {
		return body
	}
	body = bytes.Clone(body)
	at := int((dice >> 8) % uint64(len(body)))
	switch kind := dice % 3; {
	case kind == 0 && shorter:
		return body[:at]
	case kind == 1 && body[len(body)-1] != 0: // so that zeros show
		clear(body[at:])
	default:
		body[at] ^= 1 << (dice >> 40 % 8)
	}
	return body
}

// checkWrite gives the errors that a driver finds before it sends a write.
func (f *Faulty) checkWrite(ctx context.Context, r request) error {
	for _, key := range r.keys {
		if err := objectstore.ValidKey(key); err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
}

func (f *Faulty) nap(ctx context.Context, d time.Duration) error {
	f.mu.Lock()
	sleep := f.sleep
	f.mu.Unlock()
	return sleep(ctx, d)
}

// Create implements objectstore.Store.
func (f *Faulty) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	r := request{op: objectstore.OpCreate, keys: []string{key}, body: body}
	return inject(ctx, f, r, func(d decision) (time.Time, error) {
		if d.raced {
			return time.Time{}, f.checkThenWrite(ctx, key, body)
		}
		at, err := f.store.Create(ctx, key, body)
		switch {
		case err != nil || at.IsZero():
		case d.noDate:
			f.count(NoDate)
			at = time.Time{}
		case d.skew != 0:
			f.count(SkewedDate)
			at = at.Add(d.skew)
		}
		return at, err
	})
}

// checkThenWrite is a Create in two steps with a gap between them.
func (f *Faulty) checkThenWrite(ctx context.Context, key string, body []byte) error {
	f.count(Raced)
	_, err := f.store.Get(ctx, key, math.MaxInt64)
	if err == nil {
		return fmt.Errorf("create %s: %w", key, objectstore.ErrExists)
	}
	if !errors.Is(err, objectstore.ErrNotFound) {
		return err
	}
	f.mu.Lock()
	gap := f.cfg.RacedFor
	f.mu.Unlock()
	if gap == 0 {
		gap = time.Millisecond
	}
	if err := f.nap(ctx, gap); err != nil {
		return fmt.Errorf("create %s: %w: %w", key, objectstore.ErrUnknown, err)
	}
	return f.store.Put(ctx, key, body)
}

// Put implements objectstore.Store.
func (f *Faulty) Put(ctx context.Context, key string, body []byte) error {
	r := request{op: objectstore.OpPut, keys: []string{key}, body: body}
	_, err := inject(ctx, f, r, func(decision) (struct{}, error) { return struct{}{}, f.store.Put(ctx, key, body) })
	return err
}

// Get implements objectstore.Store.
func (f *Faulty) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	r := request{op: objectstore.OpGet, keys: []string{key}}
	return inject(ctx, f, r, func(decision) ([]byte, error) { return f.store.Get(ctx, key, maxBytes) })
}

// GetRange implements objectstore.Store.
func (f *Faulty) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	r := request{op: objectstore.OpGetRange, keys: []string{key}}
	return inject(ctx, f, r, func(decision) ([]byte, error) { return f.store.GetRange(ctx, key, pos, length) })
}

// List implements objectstore.Store.
func (f *Faulty) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	r := request{op: objectstore.OpList, keys: []string{prefix}}
	return inject(ctx, f, r, func(d decision) ([]objectstore.Object, error) {
		page, err := f.store.List(ctx, prefix, after, limit)
		if d.unordered && len(page) > 1 {
			f.count(Unordered)
			rng := rand.New(rand.NewPCG(d.dice, 0))
			rng.Shuffle(len(page), func(i, j int) { page[i], page[j] = page[j], page[i] })
		}
		return page, err
	})
}

// Delete implements objectstore.Store.
func (f *Faulty) Delete(ctx context.Context, keys ...string) error {
	r := request{op: objectstore.OpDelete, keys: keys}
	_, err := inject(ctx, f, r, func(decision) (struct{}, error) { return struct{}{}, f.store.Delete(ctx, keys...) })
	return err
}
