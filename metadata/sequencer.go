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
	EntryBytes        int           // commands put in one entry, default 1 MiB; one command may be larger alone
	EntryCommands     int           // default 4,096
	QueueCommands     int           // commands that wait for an append, default 10,000; Submit and Do wait for room
	QueueBytes        int           // the same in encoded bytes, default 64 MiB
	QueueQuestions    int           // callers of Confirm who wait, default 10,000; further ones wait for room
	CheckpointEntries uint64        // default 2,000
	CheckpointBytes   int64         // of entries, default 64 MiB
	StopTimeout       time.Duration // for the append in flight and the last checkpoint, default 10 s
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
	in       chan *submission // not buffered, as are the next two: what is sent has been taken
	ask      chan *question
	leave    chan *question
	ready    chan struct{}
	ended    chan struct{}
	counters sequencerCounters
}

type sequencerCounters struct {
	term, entries, commands, bytes, unknowns, confirms, checkpoints, checkpointFailures atomic.Uint64
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
}

// NewSequencer makes a Sequencer over log that feeds view. ids makes the random identity of an append; it is called by
// Run's goroutine only. Nothing starts before Run.
func NewSequencer(cfg SequencerConfig, log Log, view *View, now func() time.Time, ids func() [16]byte, logger *slog.Logger) *Sequencer {
	return &Sequencer{
		cfg: cfg.withDefaults(), log: log, view: view, now: now, ids: ids, out: logger,
		in: make(chan *submission), ask: make(chan *question), leave: make(chan *question), ready: make(chan struct{}), ended: make(chan struct{}),
	}
}

// Ready is closed once the View is caught up and commands are taken.
func (s *Sequencer) Ready() <-chan struct{} { return s.ready }

// Stats returns the counters.
func (s *Sequencer) Stats() SequencerStats {
	c := &s.counters
	return SequencerStats{
		Term: c.term.Load(), Entries: c.entries.Load(), Commands: c.commands.Load(), EntryBytes: c.bytes.Load(),
		Unknowns: c.unknowns.Load(), Confirms: c.confirms.Load(), Checkpoints: c.checkpoints.Load(), CheckpointFailures: c.checkpointFailures.Load(),
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

// Commit is Do for a CommitObject.
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
	if cmd == nil {
		done(nil, fmt.Errorf("%w: none given", ErrInvalidCommand))
		return
	}
	w := wireWriter{}
	w.command(cmd)
	if len(w.b) > maxCommandBytes {
		done(nil, fmt.Errorf("%w: %T of %d bytes, at most %d", ErrInvalidCommand, cmd, len(w.b), maxCommandBytes))
		return
	}
	select {
	case s.in <- &submission{cmd: cmd, encoded: w.b, done: done}:
	case <-s.ended:
		done(nil, fmt.Errorf("%w: %w", ErrUnavailable, ErrEnded))
	case <-ctx.Done():
		done(nil, fmt.Errorf("wait for room in the metadata queue: %w", ctx.Err()))
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
	q := &question{done: func(err error) { answer <- err }}
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

// serve drives core until it ends.
func (s *Sequencer) serve(ctx context.Context, core *seqCore) error {
	workCtx, cancelWork := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	defer work.Wait()
	defer cancelWork()
	sh := &seqShell{
		Sequencer: s, core: core, ctx: workCtx, work: &work,
		appended: make(chan error, 1), checkpointed: make(chan error, 1), confirmed: make(chan error, 1),
	}
	stop := ctx.Done()
	var giveUp <-chan time.Time
	for {
		in := s.in
		if !core.room() {
			in = nil
		}
		ask := s.ask
		if !core.roomToAsk() {
			ask = nil
		}
		var ev any
		select {
		case sub := <-in:
			ev = evSubmit{sub}
		case err := <-sh.appended:
			sh.takeWaiting()
			ev = evAppended{err}
		case <-sh.retry:
			sh.retry = nil
			ev = evRetry{}
		case err := <-sh.checkpointed:
			ev = evCheckpointed{err}
		case q := <-ask:
			ev = evAsk{q}
		case q := <-s.leave:
			ev = evLeave{q}
		case err := <-sh.confirmed:
			ev = evConfirmed{err}
		case <-sh.confirmAgain:
			sh.confirmAgain = nil
			ev = evConfirmAgain{}
		case <-stop:
			stop = nil
			giveUp = time.After(s.cfg.StopTimeout)
			ev = evStop{}
		case <-giveUp:
			giveUp = nil
			cancelWork()
			ev = evGiveUp{}
		}
		if sh.step(ev); sh.over {
			return sh.err
		}
	}
}

// seqShell carries out what the core decides; it belongs to Run's goroutine.
type seqShell struct {
	*Sequencer
	core         *seqCore
	ctx          context.Context // of the work in progress, which outlives a cancel of Run's
	work         *sync.WaitGroup
	appended     chan error
	checkpointed chan error
	confirmed    chan error
	retry        <-chan time.Time
	confirmAgain <-chan time.Time
	over         bool
	err          error
}

// takeWaiting queues the commands whose submitters stand at the door, so that the entry made next holds them all.
func (sh *seqShell) takeWaiting() {
	for sh.core.room() {
		select {
		case sub := <-sh.in:
			sh.step(evSubmit{sub})
		default:
			return
		}
	}
}

func (sh *seqShell) step(ev any) {
	for _, act := range sh.core.step(ev, sh.now().UnixMilli()) {
		switch act := act.(type) {
		case actAppend:
			sh.append(act.flight)
		case actWait:
			sh.counters.unknowns.Add(1)
			sh.out.Warn("append outcome unknown, asking again", "term", sh.core.term, "wait", act.d)
			sh.retry = time.After(act.d)
		case actApply:
			if err := sh.apply(act.flight); err != nil {
				sh.over, sh.err = true, err
				sh.refuse(act.flight.group)
				for _, rest := range sh.core.end(err) {
					if rest, ok := rest.(actRefuse); ok {
						sh.refuse(rest.group)
					}
				}
				return
			}
		case actAnswer:
			for i, sub := range act.flight.group {
				sub.done(act.flight.results[i], nil)
			}
		case actRefuse:
			sh.refuse(act.group)
		case actCheckpoint:
			sh.checkpoint()
		case actConfirm:
			sh.confirm(act.next)
		case actConfirmLater:
			sh.out.Warn("log not confirmed, asking again", "term", sh.core.term, "wait", act.d, "err", act.err)
			sh.confirmAgain = time.After(act.d)
		case actTell:
			for _, q := range act.questions {
				q.done(act.err)
			}
		case actEnd:
			sh.over, sh.err = true, act.err
		}
	}
}

func (sh *seqShell) append(f *flight) {
	sh.work.Go(func() {
		sh.appended <- sh.log.Append(sh.ctx, f.entry.Term, f.entry.Seq, f.id, f.body)
	})
}

func (sh *seqShell) confirm(next uint64) {
	sh.counters.confirms.Add(1)
	term := sh.core.term
	sh.work.Go(func() { sh.confirmed <- sh.log.Confirm(sh.ctx, term, next) })
}

func (sh *seqShell) refuse(group []*submission) {
	for _, sub := range group {
		sub.done(nil, fmt.Errorf("sequencer stops: %w", ErrUnavailable))
	}
}

// apply fails only when somebody else feeds the View: a mistake that must end this sequencer, though the entry is durable.
func (sh *seqShell) apply(f *flight) error {
	f.results = sh.view.Apply(f.entry)
	if len(f.results) != len(f.group) {
		return fmt.Errorf("view at entry %d was given entry %d: %w", sh.view.Applied(), f.entry.Seq, ErrCorrupt)
	}
	sh.counters.entries.Add(1)
	sh.counters.commands.Add(uint64(len(f.group)))
	sh.counters.bytes.Add(uint64(len(f.body)))
	return nil
}

// checkpoint copies the state here, between two applies, and encodes and publishes it beside them.
func (sh *seqShell) checkpoint() {
	frozen, term := sh.view.freeze(), sh.core.term
	sh.work.Go(func() {
		body := frozen.Encode()
		err := sh.log.Checkpoint(sh.ctx, term, frozen.next, body)
		if err != nil {
			sh.counters.checkpointFailures.Add(1)
			sh.out.Warn("checkpoint failed", "seq", frozen.next, "size_bytes", len(body), "err", err)
		} else {
			sh.counters.checkpoints.Add(1)
			sh.out.Debug("checkpoint written", "seq", frozen.next, "size_bytes", len(body))
		}
		sh.checkpointed <- err
	})
}
