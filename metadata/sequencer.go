package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// SequencerConfig holds a Sequencer's settings. Zero values take the defaults.
type SequencerConfig struct {
	Owner             string        // what Hint tells others about this agent
	Unless            uint64        // another owner has this term or a newer one: Run does not take the log, and returns ErrFenced; 0 takes it from anybody
	EntryBytes        int           // commands put in one entry, default 1 MiB; one command may be larger alone
	EntryCommands     int           // default 4,096
	QueueCommands     int           // commands that wait for an append, default 10,000; Submit and Do wait for room
	QueueBytes        int           // the same in encoded bytes, default 64 MiB
	QueueQuestions    int           // callers of Confirm who wait, default 10,000; further ones wait for room
	ParkedBatches     int           // that wait for an earlier one of their producer, default 10,000; a further one is judged at once
	CheckpointEntries uint64        // default 2,000
	CheckpointBytes   int64         // of entries, default 64 MiB, or as much as the last snapshot had where that is more; of inline objects a quarter counts
	StopTimeout       time.Duration // for the append in flight and the last checkpoint, default 10 s

	// OnInline, when set, is told of every object in an entry that this sequencer has appended, before the View shows what
	// lies in it: who reads it then finds what this keeps. Not each is committed. It is called on Run's goroutine and must be
	// quick; it may keep body, which stays as it is, and must not change it.
	OnInline func(key string, body []byte)

	// OnApplied, when set, is told of every entry that this sequencer has appended, once the View shows it and before its
	// commands are answered. It is called on Run's goroutine and must be quick; what the entry refers to stays as it is.
	OnApplied func(Entry)
}

func (c SequencerConfig) withDefaults() SequencerConfig {
	orInt := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	orInt(&c.EntryBytes, 1<<20)
	orInt(&c.EntryCommands, 4096)
	orInt(&c.QueueCommands, 10_000)
	orInt(&c.QueueBytes, 64<<20)
	orInt(&c.QueueQuestions, 10_000)
	orInt(&c.ParkedBatches, 10_000)
	if c.CheckpointEntries == 0 {
		c.CheckpointEntries = 2000
	}
	if c.CheckpointBytes <= 0 {
		c.CheckpointBytes = 64 << 20
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = 10 * time.Second
	}
	c.EntryBytes = min(c.EntryBytes, maxCommandBytes)
	return c
}

const (
	entryHeaderBytes = 64 // room for an entry's own fields
	maxCommandBytes  = MaxEntryBytes - entryHeaderBytes
	replayBytes      = 8 << 20
)

// Sequencer is the one agent that appends to the log: it takes a term, catches the View up, and then puts the commands it
// is given into entries, one append at a time, everything that queued meanwhile in the next one. When nothing is asked of
// it, it does nothing. All methods but Run are safe for concurrent use at any time; before Run is ready commands wait,
// after it has ended they get ErrUnavailable.
type Sequencer struct {
	cfg  SequencerConfig
	log  Log
	view *View
	now  func() time.Time
	ids  func() [16]byte
	out  *slog.Logger

	started  atomic.Bool
	in       chan *Submission // not buffered, as are the next two: what is sent has been taken
	ask      chan *Question
	leave    chan *Question
	ready    chan struct{}
	ended    chan struct{}
	start    TakenOver    // valid when ready is closed
	inFlight atomic.Int64 // when the append under way began, Unix milliseconds, 0 if none
	counters sequencerCounters
}

type sequencerCounters struct {
	term, entries, commands, bytes, unknowns, confirms, checkpoints, checkpointFailures, truncations, truncationFailures, parked, parkedInVain, parkedTooMany atomic.Uint64
}

// SequencerStats counts since the start of Run.
type SequencerStats struct {
	Term               uint64 // 0 before one is taken
	Entries            uint64 // appended
	Commands           uint64 // in those entries
	EntryBytes         uint64
	Unknowns           uint64 // appends whose outcome had to be asked for again
	Confirms           uint64 // checks of the log's end on behalf of Confirm
	Checkpoints        uint64
	CheckpointFailures uint64
	Truncations        uint64 // calls of Log.Truncate that succeeded, whether or not a slot was old enough to go
	TruncationFailures uint64
	Parked             uint64 // batches that waited for an earlier one of their producer
	ParkedInVain       uint64 // of those: it did not come in time
	ParkedTooMany      uint64 // batches that did not wait because too many did
}

// NewSequencer makes a Sequencer over log that feeds view. ids makes the random identity of an append; it is called by
// Run's goroutine only. Nothing starts before Run.
func NewSequencer(cfg SequencerConfig, log Log, view *View, now func() time.Time, ids func() [16]byte, logger *slog.Logger) *Sequencer {
	return &Sequencer{
		cfg: cfg.withDefaults(), log: log, view: view, now: now, ids: ids, out: logger,
		in: make(chan *Submission), ask: make(chan *Question), leave: make(chan *Question), ready: make(chan struct{}), ended: make(chan struct{}),
	}
}

// Ready is closed once the View is caught up and commands are taken.
func (s *Sequencer) Ready() <-chan struct{} { return s.ready }

// Start is where the term began; valid once Ready is closed.
func (s *Sequencer) Start() TakenOver { return s.start }

// Stalled is for how long the append under way has had no outcome, 0 if there is none.
func (s *Sequencer) Stalled() time.Duration {
	began := s.inFlight.Load()
	if began == 0 {
		return 0
	}
	return max(0, time.Duration(s.now().UnixMilli()-began)*time.Millisecond)
}

// Stats returns the counters.
func (s *Sequencer) Stats() SequencerStats {
	c := &s.counters
	return SequencerStats{
		Term: c.term.Load(), Entries: c.entries.Load(), Commands: c.commands.Load(), EntryBytes: c.bytes.Load(),
		Unknowns: c.unknowns.Load(), Confirms: c.confirms.Load(), Checkpoints: c.checkpoints.Load(), CheckpointFailures: c.checkpointFailures.Load(),
		Truncations: c.truncations.Load(), TruncationFailures: c.truncationFailures.Load(),
		Parked: c.parked.Load(), ParkedInVain: c.parkedInVain.Load(), ParkedTooMany: c.parkedTooMany.Load(),
	}
}

// Do makes cmd durable, applies it to the View and returns its result. A refusal is in the Result's Err, not in the error.
// Errors: ErrUnavailable - the sequencer ended, or stops, before the outcome was known: the command may still take
// effect; ErrInvalidCommand - larger than an entry can be, nothing happened; ctx's error - as ErrUnavailable. The
// caller must not change what cmd refers to afterwards.
func (s *Sequencer) Do(ctx context.Context, cmd Command) (Result, error) {
	type answer struct {
		result Result
		err    error
	}
	answers := make(chan answer, 1)
	s.submit(ctx, cmd, func(r Result, err error) { answers <- answer{r, err} })
	select {
	case a := <-answers:
		return a.result, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the metadata log: %w", ctx.Err())
	}
}

// Commit is Do for a CommitObject. When a batch of an idempotent producer comes ahead of its turn, the rest is committed and the
// answer waits for it, half a second at most (ADR 0006).
func (s *Sequencer) Commit(ctx context.Context, c CommitObject) (CommitObjectResult, error) {
	r, err := s.Do(ctx, c)
	if err != nil {
		return CommitObjectResult{}, err
	}
	res, ok := r.(CommitObjectResult)
	if !ok {
		return CommitObjectResult{}, fmt.Errorf("commit was answered %T: %w", r, ErrCorrupt)
	}
	return res, nil
}

// Submit is Do without the waiting: done is called once, with what Do would return. Commands submitted by one goroutine
// are appended in that order. Submit itself waits only while the queue is full. done runs on the sequencer's goroutine
// (or, on refusal, on the caller's): it must return at once and must not call Submit or Do, which wait for that goroutine.
func (s *Sequencer) Submit(cmd Command, done func(Result, error)) {
	s.submit(context.Background(), cmd, done)
}

func (s *Sequencer) submit(ctx context.Context, cmd Command, done func(Result, error)) {
	sub, err := NewSubmission(cmd, done)
	if err != nil {
		done(nil, err)
		return
	}
	s.SubmitEncoded(ctx, sub)
}

// SubmitEncoded is Submit for what is made already; it also stops waiting for room when ctx ends, and answers its error.
func (s *Sequencer) SubmitEncoded(ctx context.Context, sub *Submission) {
	select {
	case s.in <- sub:
	case <-s.ended:
		sub.done(nil, fmt.Errorf("%w: %w", ErrUnavailable, ErrEnded))
	case <-ctx.Done():
		sub.done(nil, fmt.Errorf("wait for room in the metadata queue: %w", ctx.Err()))
	}
}

// errEnded is what callers of Confirm hear from a sequencer that stops or was fenced.
var errEnded = fmt.Errorf("sequencer stops: %w: %w", ErrUnavailable, ErrEnded)

// Confirm returns nil once it is known that, at some instant after the call began, this term was the newest and the View held
// everything in the log; until then it waits. Callers share: one check of the log's end is under way at a time and answers
// all who came before it began, and so does an append that began after they came. Without callers nothing is asked.
//
// A newer term found this way ends the sequencer, as it would on an append. A log that does not answer is asked again, 10 ms
// later and up to a second, until it does or everybody has gone. Errors: ErrUnavailable with ErrEnded - this sequencer stops or
// was fenced; ctx's error - nothing is known.
func (s *Sequencer) Confirm(ctx context.Context) error {
	answer := make(chan error, 1)
	q := NewQuestion(func(err error) { answer <- err })
	select {
	case s.ask <- q:
	case <-s.ended:
		return errEnded
	case <-ctx.Done():
		return fmt.Errorf("ask the metadata log: %w", ctx.Err())
	}
	select {
	case err := <-answer:
		return err
	case <-s.ended: // by a mistake inside: otherwise it has answered first
		return errEnded
	case <-ctx.Done():
	}
	select {
	case s.leave <- q:
	case <-s.ended:
	}
	return fmt.Errorf("wait for the metadata log to confirm its end: %w", ctx.Err())
}

// Run takes the log, catches up and serves until ctx ends, and then finishes the append in flight, refuses the rest,
// writes a checkpoint and returns nil. It returns ErrFenced, naming the new owner, when a newer term owns the log.
// It can run once.
func (s *Sequencer) Run(ctx context.Context) error {
	if s.started.Swap(true) {
		return errors.New("sequencer: Run called twice")
	}
	defer close(s.ended)
	core, err := s.open(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before there was anything to finish
		}
		return err
	}
	close(s.ready)
	err = s.serve(ctx, core)
	if errors.Is(err, ErrFenced) {
		hintCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		hint, hintErr := s.log.Hint(hintCtx)
		if hintErr == nil && hint.Term > core.term {
			err = fmt.Errorf("term %d now belongs to %q: %w", hint.Term, hint.Owner, err)
		}
		s.out.WarnContext(ctx, "fenced", "term", core.term, "owner", hint.Owner, "err", err)
	}
	return err
}

// open takes the log and catches the View up to its end.
func (s *Sequencer) open(ctx context.Context) (*SequencerCore, error) {
	began := s.now()
	start, err := TakeOver(ctx, s.log, s.view, s.cfg.Owner, s.cfg.Unless, pause, s.out)
	if err != nil {
		return nil, err
	}
	s.start = start
	s.counters.term.Store(start.Term)
	s.out.InfoContext(ctx, "metadata log acquired", "term", start.Term, "next", start.Next, "snapshot_seq", start.SnapshotSeq,
		"seconds", s.now().Sub(began).Seconds())
	return NewSequencerCore(s.cfg, s.view, s.ids, start), nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve drives core until it ends.
func (s *Sequencer) serve(ctx context.Context, core *SequencerCore) error {
	workCtx, cancelWork := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	defer work.Wait()
	defer cancelWork()
	sh := &seqShell{
		Sequencer: s, core: core, ctx: workCtx, work: &work,
		appended: make(chan error, 1), checkpointed: make(chan CheckpointedEvent, 1), truncated: make(chan error, 1), confirmed: make(chan error, 1),
	}
	stop := ctx.Done()
	var giveUp <-chan time.Time
	for {
		in := s.in
		if !core.Room() {
			in = nil
		}
		ask := s.ask
		if !core.RoomToAsk() {
			ask = nil
		}
		var ev SequencerEvent
		select {
		case sub := <-in:
			ev = SubmitEvent{sub}
		case err := <-sh.appended:
			sh.takeWaiting()
			ev = AppendedEvent{err}
		case <-sh.retry:
			sh.retry = nil
			ev = RetryEvent{}
		case <-sh.tick:
			sh.tick = nil
			ev = TickEvent{}
		case done := <-sh.checkpointed:
			ev = done
		case err := <-sh.truncated:
			ev = TruncatedEvent{err}
		case q := <-ask:
			ev = AskEvent{q}
		case q := <-s.leave:
			ev = LeaveEvent{q}
		case err := <-sh.confirmed:
			ev = ConfirmedEvent{err}
		case <-sh.confirmAgain:
			sh.confirmAgain = nil
			ev = ConfirmAgainEvent{}
		case <-stop:
			stop = nil
			giveUp = time.After(s.cfg.StopTimeout)
			ev = StopEvent{}
		case <-giveUp:
			giveUp = nil
			cancelWork()
			ev = GiveUpEvent{}
		}
		if sh.step(ev); sh.over {
			return sh.err
		}
	}
}

// seqShell carries out what the core decides; it belongs to Run's goroutine.
type seqShell struct {
	*Sequencer
	core         *SequencerCore
	ctx          context.Context // of the work in progress, which outlives a cancel of Run's
	work         *sync.WaitGroup
	appended     chan error
	checkpointed chan CheckpointedEvent
	truncated    chan error
	confirmed    chan error
	retry        <-chan time.Time
	tick         <-chan time.Time
	confirmAgain <-chan time.Time
	over         bool
	err          error
}

// takeWaiting queues the commands whose submitters stand at the door, so that the entry made next holds them all.
func (sh *seqShell) takeWaiting() {
	for sh.core.Room() {
		select {
		case sub := <-sh.in:
			sh.step(SubmitEvent{sub})
		default:
			return
		}
	}
}

func (sh *seqShell) step(ev SequencerEvent) {
	for _, act := range sh.core.Step(ev, sh.now().UnixMilli()) {
		switch act := act.(type) {
		case AppendAction:
			sh.inFlight.CompareAndSwap(0, sh.now().UnixMilli())
			sh.work.Go(func() { sh.appended <- act.Append(sh.ctx, sh.log) })
		case WaitAction:
			sh.counters.unknowns.Add(1)
			sh.out.Warn("append outcome unknown, asking again", "term", sh.core.term, "wait", act.D)
			sh.retry = time.After(act.D)
		case ApplyAction:
			sh.inFlight.Store(0)
			if err := sh.apply(act); err != nil {
				return
			}
		case AnswerAction:
			act.Answer()
		case RefuseAction:
			act.Refuse()
		case TickAction:
			sh.tick = time.After(act.D)
		case CheckpointAction:
			sh.checkpoint(act.Term)
		case TruncateAction:
			sh.work.Go(func() { sh.truncated <- sh.truncate(act) })
		case ConfirmAction:
			sh.counters.confirms.Add(1)
			sh.work.Go(func() { sh.confirmed <- sh.log.Confirm(sh.ctx, act.Term, act.Next) })
		case ConfirmLaterAction:
			sh.out.Warn("log not confirmed, asking again", "term", sh.core.term, "wait", act.D, "err", act.Err)
			sh.confirmAgain = time.After(act.D)
		case TellAction:
			act.Tell()
		case EndAction:
			sh.over, sh.err = true, act.Err
		}
	}
	sh.parking()
}

// parking tells who watches how often runs had to wait.
func (sh *seqShell) parking() {
	s := sh.core.parking.stats
	sh.counters.parked.Store(s.parked)
	sh.counters.parkedInVain.Store(s.expired)
	sh.counters.parkedTooMany.Store(s.refused)
}

// apply feeds the View. When it can not, all is over.
func (sh *seqShell) apply(act ApplyAction) error {
	if sh.cfg.OnInline != nil {
		act.Entry().EachInline(sh.cfg.OnInline)
	}
	if err := act.Apply(sh.view); err != nil {
		sh.over, sh.err = true, err
		act.Refuse()
		for _, rest := range sh.core.End(err) {
			if rest, ok := rest.(RefuseAction); ok {
				rest.Refuse()
			}
		}
		return err
	}
	sh.counters.entries.Add(1)
	sh.counters.commands.Add(uint64(len(act.Entry().Commands)))
	sh.counters.bytes.Add(uint64(act.Bytes()))
	if sh.cfg.OnApplied != nil {
		sh.cfg.OnApplied(act.Entry())
	}
	return nil
}

// checkpoint copies the state here, between two applies, and encodes and publishes it beside them.
func (sh *seqShell) checkpoint(term uint64) {
	seq, encode := sh.view.Freeze()
	sh.work.Go(func() {
		body := encode()
		err := sh.log.Checkpoint(sh.ctx, term, seq, body)
		if err != nil {
			sh.counters.checkpointFailures.Add(1)
			sh.out.Warn("checkpoint failed", "seq", seq, "size_bytes", len(body), "err", err)
		} else {
			sh.counters.checkpoints.Add(1)
			sh.out.Debug("checkpoint written", "seq", seq, "size_bytes", len(body))
		}
		sh.checkpointed <- CheckpointedEvent{seq, int64(len(body)), err}
	})
}

func (sh *seqShell) truncate(act TruncateAction) error {
	err := sh.log.Truncate(sh.ctx, act.Term, act.Below)
	switch {
	case err == nil:
		sh.counters.truncations.Add(1)
	case sh.ctx.Err() == nil: // otherwise it was cut short by the end
		sh.counters.truncationFailures.Add(1)
		sh.out.Warn("truncation failed, the next checkpoint tries again", "term", act.Term, "below", act.Below, "err", err)
	}
	return err
}
