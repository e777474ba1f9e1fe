package batcher

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bargedata/barge/metadata"
)

// ActionKind says what Core wants done.
type ActionKind int

// The actions.
const (
	// ActionArm: call Core.Expire(Counter) when FlushInterval has passed. One replaces the one before.
	ActionArm ActionKind = iota
	// ActionUpload: build Object, upload it unless it travels in its commit (Built.Body is nil then), call Core.Uploaded.
	ActionUpload
	// ActionCommit: hand in Commit, call Core.Committed with its answer. Commits are handed in in the order of these actions.
	ActionCommit
	// ActionRetry: call Core.Retry when Delay has passed.
	ActionRetry
	// ActionAnswer: call Object.Answer, then tell whoever wants to hear of it.
	ActionAnswer
)

// Action is one thing that Core wants done, in order. Fields beside Kind are set as the kind needs them.
type Action struct {
	Kind    ActionKind
	Counter uint64
	Object  *Object
	Commit  metadata.CommitObject
	Delay   time.Duration
}

// Core decides what is sealed, uploaded and committed when, and who is answered what. It does no I/O, waits for nothing
// and reads no clock, so one goroutine can drive it deterministically. It is not safe for concurrent use. Every method may add
// actions, which Actions hands over.
type Core struct {
	cfg     Config
	actions []Action

	open     *Object   // being filled; nil when nothing waits
	live     []*Object // sealed and not answered, by counter
	counter  uint64    // of the next object
	waiting  []*Pending
	used     int64 // of the buffer
	uploads  int
	commits  int // handed in, not answered
	retrying bool
	backoff  time.Duration
	closed   bool
	halted   bool  // starts nothing any more
	fatal    error // after which nothing can be committed
	hurried  bool  // nothing waits for FlushInterval any more
	gaps     gaps
	siftings []sequenced // of sift, used again
	stats    Stats
}

// NewCore returns an empty core. cfg must be valid.
func NewCore(cfg Config) *Core { return &Core{cfg: cfg.withDefaults()} }

// Actions returns what is to be done since the last call, in order.
func (c *Core) Actions() []Action {
	actions := c.actions
	c.actions = nil
	return actions
}

func (c *Core) act(a Action) { c.actions = append(c.actions, a) }

// Append takes a call in. When the buffer is full, or others wait already, the call waits for its turn and p.admitted is
// set. ErrClosed, ErrTooLarge.
func (c *Core) Append(now time.Time, p *Pending) error {
	switch {
	case c.fatal != nil:
		return fmt.Errorf("%w: %w", ErrClosed, c.fatal)
	case c.closed:
		return ErrClosed
	case p.bytes > MaxCallBytes || len(p.appends) > MaxCallBatches:
		return fmt.Errorf("append of %d batches, %d bytes: %w", len(p.appends), p.bytes, ErrTooLarge)
	case len(p.appends) == 0:
		close(p.done)
		return nil
	}
	if len(c.waiting) > 0 || !c.room(p) {
		p.admitted = make(chan struct{})
		c.waiting = append(c.waiting, p)
		c.stats.Waits++
		return nil
	}
	c.admit(now, p)
	return nil
}

// room tells whether p fits the buffer. A call larger than the whole buffer gets it alone.
func (c *Core) room(p *Pending) bool {
	return c.used == 0 || c.used+p.cost() <= c.cfg.BufferBytes
}

// Cancel takes a call back that still waits for room; false when it does not wait any more.
func (c *Core) Cancel(now time.Time, p *Pending) bool {
	i := slices.Index(c.waiting, p)
	if i < 0 {
		return false
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	c.letIn(now) // the next may be smaller
	return true
}

// letIn admits those who wait, in their order, as far as there is room.
func (c *Core) letIn(now time.Time) {
	for len(c.waiting) > 0 && c.room(c.waiting[0]) {
		p := c.waiting[0]
		c.waiting = slices.Delete(c.waiting, 0, 1)
		close(p.admitted)
		c.admit(now, p)
	}
}

// admit puts a call into the open object.
func (c *Core) admit(now time.Time, p *Pending) {
	batches := c.sift(now, p)
	if batches == 0 {
		close(p.done)
		return
	}
	c.used += p.cost()
	if c.open != nil && (p.bytes >= c.cfg.FlushBytes || c.open.Batches+batches > MaxCallBatches) {
		c.seal(now, FlushSize)
	}
	if c.open == nil {
		c.open = &Object{Counter: c.counter, opened: now}
		c.counter++
		if !c.hurried {
			c.act(Action{Kind: ActionArm, Counter: c.open.Counter})
		}
	}
	c.open.Calls = append(c.open.Calls, p)
	c.open.Bytes += p.bytes
	c.open.Batches += batches
	c.open.sequenced = append(c.open.sequenced, c.siftings...)
	switch {
	case c.open.Bytes >= c.cfg.FlushBytes || c.open.Batches >= MaxCallBatches:
		c.seal(now, FlushSize)
	case c.hurried:
		c.sealDue(now)
	}
}

// sift refuses those appends of a call that come after a gap, leaves the sequences of the others in c.siftings, and
// returns how many there are. It must happen when the call takes its place among the others, not when it begins to wait
// for one: gaps come and go meanwhile.
func (c *Core) sift(now time.Time, p *Pending) int {
	c.siftings = c.siftings[:0]
	n := 0
	for i := range p.appends {
		if b, idempotent := sequencedOf(&p.appends[i]); idempotent {
			if err := c.gaps.take(now, &b); err != nil {
				p.refuse(i, err)
				continue
			}
			c.siftings = append(c.siftings, b)
		}
		n++
	}
	return n
}

// Expire says that FlushInterval has passed since the ActionArm of that counter.
func (c *Core) Expire(now time.Time, counter uint64) {
	if c.open == nil || c.open.Counter != counter {
		return // sealed by size meanwhile
	}
	c.sealDue(now)
}

// Hurry has what waits sealed at once, and from now on what comes too: those who wait for its answer hold up a drain.
func (c *Core) Hurry(now time.Time) {
	c.hurried = true
	if c.open != nil {
		c.sealDue(now)
	}
}

// sealDue closes the open object, whose time is up, as soon as an upload slot is free. Without one it could only wait in
// another queue. Here it still takes what comes, and saves requests when the store is slow.
func (c *Core) sealDue(now time.Time) {
	switch {
	case c.uploads >= c.cfg.MaxUploads:
		c.open.due = true
	case c.hurried:
		c.seal(now, FlushDrain)
	default:
		c.seal(now, FlushTime)
	}
}

// seal closes the open object.
func (c *Core) seal(now time.Time, reason FlushReason) {
	o := c.open
	c.open = nil
	o.state, o.sealed, o.Reason = stateSealed, now, reason
	c.live = append(c.live, o)
	c.stats.Sealed[reason]++
	c.upload()
}

// upload starts as many uploads as there may be.
func (c *Core) upload() {
	for _, o := range c.live {
		if c.uploads >= c.cfg.MaxUploads || c.halted || c.fatal != nil {
			return
		}
		if o.state == stateSealed && o.lost == nil {
			o.state = stateUploading
			c.uploads++
			c.act(Action{Kind: ActionUpload, Object: o})
		}
	}
}

// Uploaded answers an ActionUpload. On an error nothing of the object was or will be committed, whatever the store holds:
// its appends fail, its counter is left out, and the objects after it go on, save those that lose says.
func (c *Core) Uploaded(now time.Time, o *Object, built Built, err error) {
	if o.state != stateUploading {
		return // answered by Abort
	}
	c.uploads--
	o.uploaded = now
	if err == nil {
		if built.Body != nil {
			c.stats.UploadedBytes += int64(built.Commit.Size)
		}
		built.Body = nil
		o.built = built
	}
	switch {
	case o.lost != nil:
		c.finish(now, o, o.lost, metadata.CommitObjectResult{})
	case err != nil:
		c.lose(now, o, fmt.Errorf("%w: %w", ErrNotWritten, err))
	case c.fatal != nil:
		c.finish(now, o, fmt.Errorf("%w: %w", ErrNotWritten, c.fatal), metadata.CommitObjectResult{})
	default:
		o.state = stateUploaded
	}
	if c.open != nil && c.open.due {
		c.sealDue(now)
	}
	c.upload()
	c.commit()
}

// lose answers an object that was not written and, with it, the objects after it that hold later batches of its
// idempotent producers, or of those of an object that is lost with it; see gaps. Commits keep the order of objects, so
// none of them was handed in while the first was uploading. After a refused commit some may have been: those keep their
// own answer.
func (c *Core) lose(now time.Time, o *Object, err error) {
	c.gaps.leave(now, o.sequenced)
	after := c.live[slices.Index(c.live, o)+1:]
	if c.open != nil {
		after = append(slices.Clip(after), c.open)
	}
	lost := []*Object{o}
	o.lost = err
	for _, l := range after {
		if l.lost != nil { // earlier; its gaps are known
			continue
		}
		// What was sent again after a time-out may be in a later object already, and fills the gap there.
		if c.gaps.takeAll(now, l.sequenced) == nil || l.tries > 0 {
			continue
		}
		c.gaps.leave(now, l.sequenced)
		l.lost = fmt.Errorf("object %d holds batches that come after those of object %d: %w", l.Counter, o.Counter, err)
		if l == c.open {
			c.open = nil
		}
		if l.state != stateUploading { // its bytes are in use until Uploaded
			lost = append(lost, l)
		}
	}
	for _, l := range lost {
		c.finish(now, l, l.lost, metadata.CommitObjectResult{})
	}
}

// commit hands in what may be committed, in counter order. A repeat waits until those handed in after it have come back,
// and everything later waits for the repeat.
func (c *Core) commit() {
	if c.retrying || c.halted {
		return
	}
	var first *Object
	for _, o := range c.live {
		if o.lost != nil {
			continue
		}
		first = cmp.Or(first, o)
		if c.commits >= c.cfg.MaxCommits || o.state < stateUploaded || o.tries > 0 && o.state == stateUploaded && c.commits > 0 {
			return
		}
		if o.state != stateUploaded {
			continue
		}
		o.state = stateCommitting
		o.tries++
		c.commits++
		commit := o.built.Commit
		commit.Settled = first.Counter // objects below are never handed in again: they are answered, or lost
		c.act(Action{Kind: ActionCommit, Counter: o.Counter, Commit: commit})
	}
}

// Committed answers an ActionCommit. An error says that the outcome is unknown and that a repeat may tell; a result is
// final.
func (c *Core) Committed(now time.Time, counter uint64, result metadata.CommitObjectResult, err error) {
	i, found := slices.BinarySearchFunc(c.live, counter, func(o *Object, counter uint64) int {
		if o.Counter < counter {
			return -1
		}
		return int(min(o.Counter-counter, 1))
	})
	if !found || c.live[i].state != stateCommitting {
		return // answered by Abort
	}
	o := c.live[i]
	c.commits--
	switch {
	case errors.Is(err, metadata.ErrEnded):
		o.unclear = true
		c.giveUp(now, o, fmt.Errorf("commit %s: %w", o.built.name(), err))
	case err != nil:
		o.state, o.unclear = stateUploaded, true
		c.stats.CommitRetries++
		c.backOff()
	case result.Err != nil:
		c.refused(now, o, result.Err)
	case !o.fits(result):
		c.finish(now, o, fmt.Errorf("%w: the commit of %s was answered in another shape", ErrOutcomeUnknown, o.built.name()), result)
	default:
		c.backoff = 0
		c.finish(now, o, nil, result)
	}
	c.commit()
}

// refused deals with the refusal of a whole object: nothing of it is in the log, or a repeat would have found the first
// result. Only a seal leaves doubt after an unclear try, since the results of a sealed session are forgotten.
func (c *Core) refused(now time.Time, o *Object, err error) {
	err = fmt.Errorf("commit %s: %w", o.built.name(), err)
	if !errors.Is(err, metadata.ErrSessionSealed) {
		c.lose(now, o, fmt.Errorf("%w: %w", ErrNotWritten, err))
		return
	}
	c.giveUp(now, o, err)
}

// giveUp ends the batcher: nothing can be committed any more, neither o nor what comes after it.
func (c *Core) giveUp(now time.Time, o *Object, err error) {
	o.state = stateUploaded
	if c.fatal == nil {
		c.fatal = err
	}
	c.Drain(now)
	for _, o := range slices.Clone(c.live) {
		if o.state == stateSealed || o.state == stateUploaded { // the others are left to their answer
			c.finish(now, o, fmt.Errorf("%w: %w", o.unanswered(), c.fatal), metadata.CommitObjectResult{})
		}
	}
}

// unanswered is what the calls of an object hear whose commit will not be answered any more; a commit that was handed in
// once and refused for its session's seal has been answered.
func (o *Object) unanswered() error {
	if o.tries == 0 || o.tries == 1 && o.state == stateUploaded && !o.unclear {
		return ErrNotWritten
	}
	return ErrOutcomeUnknown
}

// backOff asks for one Retry, later each time.
func (c *Core) backOff() {
	if c.retrying {
		return
	}
	c.retrying = true
	c.backoff = min(max(2*c.backoff, c.cfg.RetryMin), c.cfg.RetryMax)
	c.act(Action{Kind: ActionRetry, Delay: c.backoff})
}

// Retry says that the Delay of ActionRetry has passed.
func (c *Core) Retry() {
	c.retrying = false
	c.commit()
}

// finish has an object's calls answered, with err or with the result, and makes room for others.
func (c *Core) finish(now time.Time, o *Object, err error, result metadata.CommitObjectResult) {
	for _, call := range o.Calls {
		c.used -= call.cost()
	}
	if err == nil {
		c.stats.Objects++
		c.stats.Bytes += o.Bytes
		if o.built.Commit.Inline != nil {
			c.stats.Inline++
		}
	} else {
		c.stats.Failed++
	}
	o.state, o.answered, o.err, o.result = stateAnswered, now, err, result
	c.live = slices.DeleteFunc(c.live, func(l *Object) bool { return l == o })
	c.act(Action{Kind: ActionAnswer, Object: o})
	c.letIn(now)
}

// Drain closes the door: calls that wait for room are refused, and what was taken in is sealed.
func (c *Core) Drain(now time.Time) {
	c.closed = true
	for _, p := range c.waiting {
		p.refused = true
		close(p.admitted)
	}
	c.waiting = nil
	if c.open != nil {
		c.seal(now, FlushDrain)
	}
}

// Halt makes core start nothing any more; what is under way may still be answered. Abort follows.
func (c *Core) Halt(now time.Time) {
	c.halted = true
	c.Drain(now)
}

// Abort has everything answered that is still on its way: what was never handed in for commit is not written, of the rest
// the outcome is unknown. Nothing may be laying objects out any more. It returns how many objects that were. Answers to
// actions given out before have no effect any more.
func (c *Core) Abort(now time.Time) int {
	c.Halt(now)
	left := slices.Clone(c.live)
	for _, o := range left {
		c.finish(now, o, fmt.Errorf("%w: batcher stopped", o.unanswered()), metadata.CommitObjectResult{})
	}
	return len(left)
}

// Idle tells whether nothing is waiting, uploading or committing.
func (c *Core) Idle() bool { return c.open == nil && len(c.live) == 0 && len(c.waiting) == 0 }

// Fatal is the error after which nothing can be committed in this session, or nil.
func (c *Core) Fatal() error { return c.fatal }

// Stats tells how much went through and how much is on its way.
func (c *Core) Stats() Stats {
	s := c.stats
	s.BufferedBytes, s.Waiting, s.Uploading, s.Committing, s.Live = c.used, len(c.waiting), c.uploads, c.commits, len(c.live)
	return s
}
