package objectstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// RetryConfig bounds WithRetry. A zero field takes the default named with it.
type RetryConfig struct {
	// Attempts is the most a call is tried, hedges not counted: 10.
	Attempts int
	// Budget is the longest a call takes, waits included: 60 s.
	Budget time.Duration
	// AttemptTimeout is given to one attempt, and more by size, at AttemptBytesPerSecond: 10 s, 1 MiB/s.
	AttemptTimeout        time.Duration
	AttemptBytesPerSecond int64
	// BaseDelay and MaxDelay bound the wait before a repetition, drawn evenly between 0 and BaseDelay doubled each time,
	// at most MaxDelay (full jitter, so that agents hit by the same fault do not come back together): 50 ms, 5 s.
	BaseDelay, MaxDelay time.Duration
	// HedgeDelay is after how long without an answer the same request is sent once more beside the first, or after the
	// time its size takes at HedgeBytesPerSecond if that is longer: 350 ms, 20 MiB/s. Negative: never hedge, which is
	// right for a local directory, where a second write waits for the same disk.
	HedgeDelay          time.Duration
	HedgeBytesPerSecond int64
}

// fullAttempts is how often a full store is tried: it may pass (a sweep, an operator), but its callers must be told.
const fullAttempts = 3

// Hedges may be a tenth of all calls, and hedgeBurst at once: a store that is slow for everybody must not get twice
// the load for it.
const (
	hedgesPerCall = 0.1
	hedgeBurst    = 10.0
)

func (c RetryConfig) withDefaults() RetryConfig {
	return RetryConfig{
		Attempts:              cmp.Or(c.Attempts, 10),
		Budget:                cmp.Or(c.Budget, time.Minute),
		AttemptTimeout:        cmp.Or(c.AttemptTimeout, 10*time.Second),
		AttemptBytesPerSecond: cmp.Or(c.AttemptBytesPerSecond, 1<<20),
		BaseDelay:             cmp.Or(c.BaseDelay, 50*time.Millisecond),
		MaxDelay:              cmp.Or(c.MaxDelay, 5*time.Second),
		HedgeDelay:            cmp.Or(c.HedgeDelay, 350*time.Millisecond),
		HedgeBytesPerSecond:   cmp.Or(c.HedgeBytesPerSecond, 20<<20),
	}
}

// WithRetry returns a Store that repeats calls whose outcome is unknown, and hedges slow Create, Put, Get and GetRange: the
// same key and the same bytes once more, the first success wins, the other attempt is canceled and waited for, so that
// a call leaves no goroutine and no use of the body behind.
//
// When attempts or budget run out, the error is the last one and ErrUnknown. ErrDenied, ErrNoBucket, ErrNotFound,
// ErrExists and errors without a sentinel are returned at once; ErrFull after three attempts. ErrExists after an attempt
// with an unknown outcome is also ErrMaybeOurs (see Store); any other error after one is also ErrUnknown.
//
// now measures the calls for the log; rng gives the jitter and need not be safe for concurrent use, but must not be
// used elsewhere.
func WithRetry(store Store, cfg RetryConfig, now func() time.Time, rng *rand.Rand, log *slog.Logger) Store {
	return &retry{store: store, cfg: cfg.withDefaults(), now: now, log: log, rng: rng, hedges: hedgeBurst}
}

type retry struct {
	store Store
	cfg   RetryConfig
	now   func() time.Time
	log   *slog.Logger

	mu     sync.Mutex
	rng    *rand.Rand
	hedges float64 // that may be sent now
}

// call describes a call to the loop below.
type call struct {
	op     Op
	key    string
	bytes  int64
	write  bool
	hedged bool
}

// Create implements Store.
func (r *retry) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	c := call{op: OpCreate, key: key, bytes: int64(len(body)), write: true, hedged: true}
	return run(ctx, r, c, func(ctx context.Context) (time.Time, error) { return r.store.Create(ctx, key, body) })
}

// Put implements Store.
func (r *retry) Put(ctx context.Context, key string, body []byte) error {
	c := call{op: OpPut, key: key, bytes: int64(len(body)), write: true, hedged: true}
	_, err := run(ctx, r, c, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.store.Put(ctx, key, body) })
	return err
}

// Get implements Store. The time limits go by maxBytes only up to 8 MiB: the object's size is not known before.
func (r *retry) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	c := call{op: OpGet, key: key, bytes: min(maxBytes, 8<<20), hedged: true}
	return run(ctx, r, c, func(ctx context.Context) ([]byte, error) { return r.store.Get(ctx, key, maxBytes) })
}

// GetRange implements Store.
func (r *retry) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	c := call{op: OpGetRange, key: key, bytes: length, hedged: true}
	return run(ctx, r, c, func(ctx context.Context) ([]byte, error) { return r.store.GetRange(ctx, key, pos, length) })
}

// List implements Store.
func (r *retry) List(ctx context.Context, prefix, after string, limit int) ([]Object, error) {
	c := call{op: OpList, key: prefix}
	return run(ctx, r, c, func(ctx context.Context) ([]Object, error) { return r.store.List(ctx, prefix, after, limit) })
}

// Delete implements Store.
func (r *retry) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	c := call{op: OpDelete, key: keys[0], write: true}
	_, err := run(ctx, r, c, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.store.Delete(ctx, keys...) })
	return err
}

// outcome is what one attempt returned.
type outcome[T any] struct {
	value T
	err   error
}

// run repeats rounds of attempts until one settles the call or the bounds are reached.
func run[T any](ctx context.Context, r *retry, c call, try func(context.Context) (T, error)) (T, error) {
	r.earnHedge()
	started := r.now()
	budget, cancel := context.WithTimeout(ctx, r.cfg.Budget)
	defer cancel()
	ambiguous := false // an attempt so far may have had an effect that we were not told of
	for n := 1; ; n++ {
		outcomes := round(budget, r, c, try)
		for _, o := range outcomes {
			if o.err == nil {
				return o.value, nil
			}
			ambiguous = ambiguous || unknownOutcome(o.err)
		}
		err := mostTelling(outcomes)
		if r.again(err, n) && budget.Err() == nil {
			delay := r.delay(n)
			r.log.WarnContext(ctx, "object store call repeated", "op", c.op.String(), "object", c.key, "attempt", n, "delay", delay, "err", err)
			if sleep(budget, delay) {
				continue
			}
		}
		var none T
		return none, r.final(ctx, c, err, ambiguous, n, r.now().Sub(started))
	}
}

// again tells whether a call that failed with err at its nth attempt is worth another one.
func (r *retry) again(err error, n int) bool {
	switch {
	case errors.Is(err, ErrExists): // also when it is ErrMaybeOurs
		return false
	case errors.Is(err, ErrFull):
		return n < min(fullAttempts, r.cfg.Attempts)
	default:
		return unknownOutcome(err) && n < r.cfg.Attempts
	}
}

// final turns the last error of a call into the one its caller can act on.
func (r *retry) final(ctx context.Context, c call, err error, ambiguous bool, attempts int, took time.Duration) error {
	ended := ctx.Err()
	switch {
	case errors.Is(err, ErrExists) && ambiguous:
		if errors.Is(err, ErrMaybeOurs) {
			return err
		}
		return fmt.Errorf("%w: %w", err, ErrMaybeOurs)
	case errors.Is(err, ErrExists):
		return err
	case unknownOutcome(err) && ended != nil:
		return fmt.Errorf("%w: %w: %s %s ended after %d attempts in %v: %s", ErrUnknown, ended, c.op, c.key, attempts, took.Round(time.Millisecond), err.Error())
	case unknownOutcome(err):
		// As text: the driver's context error would be that of our own time-out, which is none of the caller's.
		return fmt.Errorf("%w: gave up %s %s after %d attempts in %v: %s", ErrUnknown, c.op, c.key, attempts, took.Round(time.Millisecond), err.Error())
	case ambiguous && c.write:
		return fmt.Errorf("%w (an earlier attempt: %w)", err, ErrUnknown)
	default:
		return err
	}
}

// unknownOutcome tells whether the attempt may have had an effect, or gave no answer where one is to be had. Context
// errors are time-outs and cancellations of our own here, or the caller's, whom final tells.
func unknownOutcome(err error) bool {
	return errors.Is(err, ErrUnknown) || errors.Is(err, ErrMaybeOurs) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// settles tells whether an attempt leaves nothing to wait for from the attempt beside it.
func settles(err error) bool { return err == nil || !unknownOutcome(err) || errors.Is(err, ErrExists) }

// mostTelling chooses among the errors of a round: a taken key says most, then anything definite.
func mostTelling[T any](outcomes []outcome[T]) error {
	best := outcomes[0].err
	for _, o := range outcomes[1:] {
		if rank(o.err) < rank(best) {
			best = o.err
		}
	}
	return best
}

func rank(err error) int {
	switch {
	case errors.Is(err, ErrExists):
		return 0
	case !unknownOutcome(err):
		return 1
	case errors.Is(err, ErrUnknown) && !errors.Is(err, context.Canceled):
		return 2
	default: // a canceled loser
		return 3
	}
}

// round makes one attempt, and a second beside it when the first is slow, and returns when both have ended.
func round[T any](ctx context.Context, r *retry, c call, try func(context.Context) (T, error)) []outcome[T] {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.AttemptTimeout+transferTime(c.bytes, r.cfg.AttemptBytesPerSecond))
	defer cancel()
	if !c.hedged || r.cfg.HedgeDelay < 0 {
		value, err := try(ctx)
		return []outcome[T]{{value, err}}
	}
	ended := make(chan outcome[T], 2)
	attempt := func() {
		value, err := try(ctx)
		ended <- outcome[T]{value, err}
	}
	slow := time.NewTimer(max(r.cfg.HedgeDelay, transferTime(c.bytes, r.cfg.HedgeBytesPerSecond)))
	defer slow.Stop()
	go attempt()
	outcomes := make([]outcome[T], 0, 2)
	for running := 1; running > 0; {
		select {
		case o := <-ended:
			running--
			outcomes = append(outcomes, o)
			if settles(o.err) {
				cancel()
			}
		case <-slow.C:
			if r.spendHedge() {
				running++
				r.log.DebugContext(ctx, "object store call hedged", "op", c.op.String(), "object", c.key)
				go attempt()
			}
		}
	}
	return outcomes
}

// maxTransfer keeps a length that some caller made up from overflowing a Duration.
const maxTransfer = time.Hour

func transferTime(bytes, perSecond int64) time.Duration {
	seconds := float64(bytes) / float64(perSecond)
	return time.Duration(min(seconds, maxTransfer.Seconds()) * float64(time.Second))
}

func (r *retry) delay(n int) time.Duration {
	ceiling := r.cfg.MaxDelay
	if n < 20 { // beyond, the shift would overflow
		ceiling = min(ceiling, r.cfg.BaseDelay<<(n-1))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(r.rng.Int64N(int64(ceiling) + 1))
}

func (r *retry) earnHedge() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hedges = min(hedgeBurst, r.hedges+hedgesPerCall)
}

func (r *retry) spendHedge() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hedges < 1 {
		return false
	}
	r.hedges--
	return true
}

// sleep waits for d and tells whether ctx still lives then.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
