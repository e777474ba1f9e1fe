package batcher

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// Putter is where objects go; objectstore.Store is one. Retries and hedges are its work: an error is final.
type Putter interface {
	Put(ctx context.Context, key string, body []byte) error
}

// Committer orders objects; metadata.Sequencer is one. Commands submitted by one goroutine take effect in that order.
// done is called exactly once, from any goroutine, perhaps before Submit returns; an error leaves the outcome unknown,
// except for ErrInvalidCommand. Submit may wait for room; it must return when the committer ends.
type Committer interface {
	Submit(cmd metadata.Command, done func(metadata.Result, error))
}

// Batcher gathers appends into objects. Make it with New, let Run run; the methods are safe for concurrent use.
type Batcher struct {
	cfg      Config
	store    Putter
	commit   Committer
	now      func() time.Time
	rng      *rand.Rand // only in Run's goroutine
	observer Observer
	log      *slog.Logger
	wake     chan struct{} // a token when core has actions

	mu   sync.Mutex // guards core; never held while waiting
	core *Core
}

// New makes a batcher; it starts nothing, but takes appends from now on. now stamps latencies; rng makes put ids and the
// random part of keys, and is the batcher's from here on; observer may be nil.
func New(cfg Config, store Putter, commit Committer, now func() time.Time, rng *rand.Rand, observer Observer, log *slog.Logger) (*Batcher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	cfg.Buffers = cmp.Or(cfg.Buffers, new(record.BufferPool))
	return &Batcher{
		cfg: cfg, store: store, commit: commit, now: now, rng: rng, observer: observer, log: log,
		wake: make(chan struct{}, 1), core: NewCore(cfg),
	}, nil
}

// Append takes batches in, all into one object, and returns before they are durable: Pending tells when. The order of
// calls by one goroutine is the order of their offsets in each partition. The slice and the bytes of the batches belong
// to the batcher until Pending is done, and must not change.
//
// It blocks while the buffer is full (that is how a connection is slowed), in the order of the calls, until ctx ends.
// Errors: ErrClosed, ErrTooLarge, ctx's; nothing of the call is or will be written then.
func (b *Batcher) Append(ctx context.Context, appends []record.Append) (*Pending, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := NewPending(appends)
	now := b.now()
	b.mu.Lock()
	err := b.core.Append(now, p)
	admitted := p.admitted
	b.unlock()
	if err != nil {
		return nil, err
	}
	if admitted == nil {
		return p, nil
	}
	select {
	case <-admitted:
	case <-ctx.Done():
		b.mu.Lock()
		back := b.core.Cancel(b.now(), p)
		b.unlock()
		if back {
			return nil, fmt.Errorf("append of %d bytes waits for room: %w", p.bytes, ctx.Err())
		}
		<-admitted // closed already
	}
	if p.refused {
		return nil, ErrClosed
	}
	return p, nil
}

// Stats tells how much went through and how much is on its way.
func (b *Batcher) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.core.Stats()
}

// Hurry has what waits for FlushInterval, now or later, sealed at once; appends go on. It is for whoever drains: those who
// wait for answers are done after one upload and one commit, before Run is told to end.
func (b *Batcher) Hurry() { b.step(b.core.Hurry) }

// unlock gives core free and wakes Run when there is something to do.
func (b *Batcher) unlock() {
	wake := len(b.core.actions) > 0
	b.mu.Unlock()
	if wake {
		select {
		case b.wake <- struct{}{}:
		default: // a token waits already
		}
	}
}

// run is what Run needs while it runs.
type run struct {
	ctx     context.Context // of uploads and commits
	uploads sync.WaitGroup
	commits chan metadata.CommitObject // has room for all that core allows at a time
	flush   *time.Timer
	counter uint64 // for which flush is armed
	retry   *time.Timer
}

// Run uploads and commits until ctx ends, then seals what waits and goes on until all is answered, at most DrainTimeout
// longer; what is left then is answered with ErrNotWritten or ErrOutcomeUnknown, and Run returns an error. It returns
// metadata.ErrSessionSealed, wrapped, as soon as all is answered after the session was sealed. Only a Submit that still
// waits for room may outlast a Run that was cut short. Call it once.
func (b *Batcher) Run(ctx context.Context) error {
	uploads, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	r := &run{ctx: uploads, flush: stopped(), retry: stopped(), commits: make(chan metadata.CommitObject, b.cfg.MaxCommits)}
	defer r.flush.Stop()
	defer r.retry.Stop()
	committing := make(chan struct{})
	go func() {
		defer close(committing)
		b.submit(r)
	}()
	end := ctx.Done()
	var deadline <-chan time.Time
	for {
		b.mu.Lock()
		actions := b.core.Actions()
		over := b.core.closed && b.core.Idle() && len(actions) == 0
		fatal := b.core.Fatal()
		b.mu.Unlock()
		if over {
			r.uploads.Wait()
			stop()
			<-committing
			return fatal
		}
		for _, a := range actions {
			b.perform(r, a)
		}
		if len(actions) > 0 {
			continue
		}
		select {
		case <-b.wake:
		case <-r.flush.C:
			b.step(func(now time.Time) { b.core.Expire(now, r.counter) })
		case <-r.retry.C:
			b.step(func(time.Time) { b.core.Retry() })
		case <-end:
			end = nil
			timer := time.NewTimer(b.cfg.DrainTimeout)
			defer timer.Stop()
			deadline = timer.C
			b.step(b.core.Drain)
		case <-deadline:
			return b.abort(r, stop)
		}
	}
}

// step feeds core one event.
func (b *Batcher) step(event func(now time.Time)) {
	now := b.now()
	b.mu.Lock()
	event(now)
	b.unlock()
}

// abort ends what would not end by itself.
func (b *Batcher) abort(r *run, stop context.CancelFunc) error {
	b.step(b.core.Halt)
	stop()
	r.uploads.Wait() // the bytes of the appends go back to their owners below
	left := 0
	b.step(func(now time.Time) { left = b.core.Abort(now) })
	b.mu.Lock()
	actions := b.core.Actions()
	b.mu.Unlock()
	for _, a := range actions {
		if a.Kind == ActionAnswer {
			b.perform(r, a)
		}
	}
	return fmt.Errorf("batcher: %d objects were not committed within %v of the stop", left, b.cfg.DrainTimeout)
}

// perform carries out one action.
func (b *Batcher) perform(r *run, a Action) {
	switch a.Kind {
	case ActionArm:
		r.counter = a.Counter
		r.flush.Reset(b.cfg.FlushInterval)
	case ActionRetry:
		r.retry.Reset(a.Delay)
	case ActionUpload:
		putID, random := b.name()
		r.uploads.Go(func() { b.upload(r.ctx, a.Object, putID, random) })
	case ActionCommit:
		r.commits <- a.Commit
	case ActionAnswer:
		b.report(r.ctx, a.Object.Answer())
	}
}

// name draws what tells this object from every other of its session and counter.
func (b *Batcher) name() (putID [16]byte, random string) {
	for i := range putID {
		putID[i] = byte(b.rng.Uint32())
	}
	return putID, hex.EncodeToString(putID[:6])
}

// upload lays one object out and puts it into the store, unless it is small enough for its commit.
func (b *Batcher) upload(ctx context.Context, o *Object, putID [16]byte, random string) {
	built, err := o.Build(b.cfg, putID, random)
	if err == nil && built.Body != nil {
		if err = b.store.Put(objectstore.WithChecksum(ctx, built.CRC), built.Key, built.Body.Bytes); err == nil {
			if b.cfg.OnUploaded != nil {
				b.cfg.OnUploaded(built.Key, built.Body) // not after the commit: the View wakes consumers before it is answered
			}
			// Only now: a store that broke off owes us the body as well, but that is not worth trusting it for.
			built.Body.Release()
		}
	}
	b.step(func(now time.Time) { b.core.Uploaded(now, o, built, err) })
}

// submit hands commits in, one after another, apart from Run's loop: it may have to wait for room, and uploads go on
// meanwhile.
func (b *Batcher) submit(r *run) {
	for {
		select {
		case <-r.ctx.Done():
			return
		case c := <-r.commits:
			b.commit.Submit(c, func(result metadata.Result, err error) { b.committed(c.Counter, result, err) })
		}
	}
}

// committed takes the answer to one commit.
func (b *Batcher) committed(counter uint64, result metadata.Result, err error) {
	answer, _ := result.(metadata.CommitObjectResult) // anything else is a result of the wrong shape, which core knows
	if errors.Is(err, metadata.ErrInvalidCommand) {
		answer, err = metadata.CommitObjectResult{Err: err}, nil // never taken in, by no try
	}
	b.step(func(now time.Time) { b.core.Committed(now, counter, answer, err) })
}

// report tells log and observer how an object ended.
func (b *Batcher) report(ctx context.Context, f Flush) {
	about := slog.Group("flush", slog.String("object", f.Key), slog.String("reason", f.Reason.String()),
		slog.Int("batches", f.Batches), slog.Int64("bytes", f.Bytes), slog.Duration("total", f.Total))
	if f.Err != nil {
		b.log.LogAttrs(ctx, slog.LevelWarn, "object failed", about, slog.Any("err", f.Err))
	} else {
		b.log.LogAttrs(ctx, slog.LevelDebug, "object committed", about)
	}
	if b.observer != nil {
		b.observer.Flushed(f)
	}
}

// stopped makes a timer that is not running.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
