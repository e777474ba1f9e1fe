package metadata

import (
	"errors"
	"fmt"
	"time"
)

// SequencerCore decides what the one agent that appends to the log does: events in, actions out, no clock, no goroutine, no
// I/O, so one goroutine can drive it deterministically. Sequencer drives it beside the world, a simulator inside its own. It
// appends one entry at a time and puts everything that queued meanwhile in the next. It is not safe for concurrent use.
//
// A driver takes the log over with TakeOver, makes a core with NewSequencerCore, hands Step every event and carries out the
// actions Step returns, in their order, before the next event. Until EndAction every call that an action asked for is
// answered by one event, however late.
type SequencerCore struct {
	cfg  SequencerConfig
	ids  func() [16]byte
	view sequencerView
	term uint64
	next uint64 // slot of the next new entry
	time int64  // of the last entry, milliseconds

	queue      []*Submission
	queueBytes int
	launched   uint64  // commands put in flight since the start
	flight     *flight // the one append under way, nil if none
	waiting    bool    // flight is between two tries

	questions    []*Question // not answered yet
	asked        uint64      // how many have come so far: the number of the next one
	confirming   bool        // a check is under way, for the questions below confirmBelow
	confirmBelow uint64
	confirmNext  uint64 // what it asks about
	confirmTries int    // that have failed since the last success
	confirmLater bool   // a check failed and is made again after a wait

	sinceEntries  uint64 // beyond the last checkpoint
	sinceBytes    int64  // of them, as flight.replayBytes counts
	snapshotBytes int64  // of the last checkpoint, 0 before the first
	checkpointing bool
	truncateBelow uint64 // a checkpoint that has not been followed by a truncation yet, 0 if none
	truncating    bool

	parking parking

	stopping bool
	gaveUp   bool // stopping took too long
	ended    bool
}

// sequencerView is what the core asks of the View it has applied: *View is one.
type sequencerView interface {
	parkingView
	// OldestInline is the lowest slot that holds bytes somebody may still read; false if none does.
	OldestInline() (slot uint64, ok bool)
}

const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
)

// NewSequencerCore returns the core of a term that TakeOver took and caught view up for. ids makes the random identity of an
// append.
func NewSequencerCore(cfg SequencerConfig, view *View, ids func() [16]byte, start TakenOver) *SequencerCore {
	return &SequencerCore{
		cfg: cfg.withDefaults(), ids: ids, view: view, term: start.Term, next: start.Next, time: view.EntryTime(),
		sinceEntries: start.Next - start.SnapshotSeq,
		// The term before may have ended with a checkpoint and no time for more.
		truncateBelow: start.SnapshotSeq,
	}
}

// Term is the term in which it appends.
func (c *SequencerCore) Term() uint64 { return c.term }

// Room reports whether another command may be submitted; when not, submitters wait.
func (c *SequencerCore) Room() bool {
	return !c.stopping && len(c.queue) < c.cfg.QueueCommands && c.queueBytes < c.cfg.QueueBytes
}

// RoomToAsk reports whether another question may be asked; when not, askers wait.
func (c *SequencerCore) RoomToAsk() bool {
	return !c.stopping && len(c.questions) < c.cfg.QueueQuestions
}

// Step takes one event and returns what is to be done about it; now is milliseconds since the Unix epoch. After EndAction it
// does nothing.
func (c *SequencerCore) Step(ev SequencerEvent, now int64) []SequencerAction {
	if c.ended {
		return nil
	}
	switch ev := ev.(type) {
	case SubmitEvent:
		if c.stopping {
			return []SequencerAction{RefuseAction{[]*Submission{ev.Sub}}}
		}
		c.enqueue(ev.Sub)
		return c.launch(c.keepTicking(nil), now)
	case TickEvent:
		if c.stopping {
			return nil
		}
		c.ticked()
		return c.launch(c.keepTicking(nil), now)
	case AppendedEvent:
		return c.appended(ev.Err, now)
	case RetryEvent:
		c.waiting = false
		return []SequencerAction{AppendAction{c.flight}}
	case CheckpointedEvent:
		c.checkpointing = false
		if errors.Is(ev.Err, ErrFenced) && c.flight == nil {
			return c.End(ev.Err)
		}
		if ev.Err == nil {
			c.truncateBelow = max(c.truncateBelow, ev.Seq)
			c.snapshotBytes = ev.Bytes
		}
		return c.finish(c.truncate(nil))
	case TruncatedEvent:
		c.truncating = false
		if errors.Is(ev.Err, ErrFenced) && c.flight == nil {
			return c.End(ev.Err)
		}
	case AskEvent:
		return c.ask(ev.Q)
	case LeaveEvent:
		c.forget(ev.Q)
	case ConfirmedEvent:
		return c.confirmed(ev.Err)
	case ConfirmAgainEvent:
		c.confirmLater = false
		return c.confirm(nil)
	case StopEvent:
		c.stopping = true
		var acts []SequencerAction
		if group := append(c.queue, c.abandon()...); len(group) > 0 {
			acts = append(acts, RefuseAction{group})
			c.queue, c.queueBytes = nil, 0
		}
		return c.finish(c.tell(acts, c.asked, errEnded))
	case GiveUpEvent:
		c.gaveUp = true
		if c.waiting {
			return c.End(c.unsettled())
		}
	}
	return nil
}

// launch puts what is queued in flight, unless something is.
func (c *SequencerCore) launch(acts []SequencerAction, now int64) []SequencerAction {
	if c.flight != nil || len(c.queue) == 0 {
		return acts
	}
	n, size, inline := 0, 0, 0
	for n < len(c.queue) && n < c.cfg.EntryCommands {
		next := c.queue[n]
		inline += inlineBytes(next.cmd)
		if n > 0 && (size+len(next.encoded) > c.cfg.EntryBytes || inline > MaxInlineBytes) {
			break
		}
		size += len(next.encoded)
		n++
	}
	f := &flight{id: c.ids(), group: c.queue[:n:n], below: c.asked}
	c.launched += uint64(n)
	c.queue = c.queue[n:]
	c.queueBytes -= size
	c.time = c.entryTime(now)
	f.entry = Entry{Seq: c.next, Term: c.term, Time: c.time, Commands: make([]Command, n)}
	encoded := make([][]byte, n)
	for i, sub := range f.group {
		f.entry.Commands[i], encoded[i] = sub.cmd, sub.encoded
		sub.encoded = nil
	}
	f.body = assembleEntry(f.entry, encoded)
	c.flight = f
	return append(acts, AppendAction{f})
}

// entryTime is the time of the next entry: the clock, but never less than in the entry before.
//
// A clock that leaps ahead is followed, and entry time then stands still until the clock has caught up with it. It is not
// limited, because one agent has nothing to tell a leap by. A new process knows the time of the last entry and not how long
// the log stood still, so it must believe any clock. Later on it could hold the wall clock to the monotonic one and some
// slack, but a machine that slept, and one whose clock was wrong at boot and is now put right, read the same as a leap. Entry
// time would then lag for hours behind the clock it is compared with, and a grace counted from it (ReleasedObject.ReleasedAt)
// would be over when it begins. That is the worse side to err on: a leap costs producers their duplicate windows too early.
// TODO: limit it once a second clock is at hand, the store's own time in Append's answer or that of other agents.
func (c *SequencerCore) entryTime(now int64) int64 { return max(c.time, now) }

func (c *SequencerCore) appended(err error, now int64) []SequencerAction {
	f := c.flight
	switch {
	case err == nil:
	case c.gaveUp:
		return c.End(c.unsettled())
	case errors.Is(err, ErrUnknown):
		d := min(firstRetry<<min(f.tries, 10), lastRetry)
		f.tries++
		c.waiting = true
		return []SequencerAction{WaitAction{d}}
	default:
		return c.End(fmt.Errorf("append entry %d of term %d (%d bytes): %w", f.entry.Seq, c.term, len(f.body), err))
	}
	c.flight = nil
	c.parking.applied = c.launched
	c.next++
	c.sinceEntries++
	c.sinceBytes += f.replayBytes()
	// The next entry is on its way before anybody is answered.
	acts := c.launch([]SequencerAction{ApplyAction{f}}, now)
	acts = c.tell(append(acts, AnswerAction{f}), f.below, nil)
	acts = c.confirm(acts)
	if c.stopping {
		return c.finish(acts)
	}
	acts = c.truncate(acts)
	if c.checkpointDue() {
		acts = c.checkpoint(acts)
	}
	return acts
}

// checkpointDue tells whether replaying what lies beyond the last snapshot costs enough for another one. A large state is not
// written more often than it is worth: only after as many bytes of entries as its last snapshot had, so that snapshots at most
// double what is written, and a replay what is read. Source: ADR 0008.
func (c *SequencerCore) checkpointDue() bool {
	return !c.checkpointing && (c.sinceEntries >= c.cfg.CheckpointEntries || c.sinceBytes >= max(c.cfg.CheckpointBytes, c.snapshotBytes))
}

// ask takes a question. What answers it is whatever begins from now on and succeeds first: the append of a new entry, or a
// check of its own. An append or a check that is under way began too early and may have passed the log's end before the
// question came.
func (c *SequencerCore) ask(q *Question) []SequencerAction {
	if c.stopping {
		q.place = -1
		return []SequencerAction{TellAction{[]*Question{q}, errEnded}}
	}
	q.number, q.place = c.asked, len(c.questions)
	c.asked++
	c.questions = append(c.questions, q)
	return c.confirm(nil)
}

// confirm begins a check for everybody who waits. Not beside an append: it would mostly find that very entry, and when the
// append is settled the next one may answer for nothing.
func (c *SequencerCore) confirm(acts []SequencerAction) []SequencerAction {
	if len(c.questions) == 0 {
		c.confirmTries = 0
		return acts
	}
	if c.stopping || c.flight != nil || c.confirming || c.confirmLater {
		return acts
	}
	c.confirming, c.confirmBelow, c.confirmNext = true, c.asked, c.next
	return append(acts, ConfirmAction{c.term, c.next})
}

// confirmed takes the outcome of a check. If it met the entry of an append that began meanwhile (ErrUnknown), that append answers
// everybody the check was for.
func (c *SequencerCore) confirmed(err error) []SequencerAction {
	c.confirming = false
	switch {
	case errors.Is(err, ErrFenced):
		return c.End(fmt.Errorf("confirm entry %d of term %d: %w", c.next, c.term, err))
	case err == nil:
		c.confirmTries = 0
		return c.confirm(c.tell(nil, c.confirmBelow, nil))
	case c.stopping, c.flight != nil, len(c.questions) == 0, errors.Is(err, ErrUnknown) && c.next > c.confirmNext:
		return c.confirm(nil) // at once, or when the append is settled, or not at all
	}
	d := min(firstRetry<<min(c.confirmTries, 10), lastRetry)
	c.confirmTries++
	c.confirmLater = true
	return []SequencerAction{ConfirmLaterAction{d, err}}
}

// tell answers the questions below a number.
func (c *SequencerCore) tell(acts []SequencerAction, below uint64, err error) []SequencerAction {
	var told []*Question
	for i := 0; i < len(c.questions); {
		if q := c.questions[i]; q.number < below {
			told = append(told, q)
			c.forget(q) // the last one takes its place
			continue
		}
		i++
	}
	if told == nil {
		return acts
	}
	return append(acts, TellAction{told, err})
}

func (c *SequencerCore) forget(q *Question) {
	if q.place < 0 {
		return
	}
	last := len(c.questions) - 1
	c.questions[q.place] = c.questions[last]
	c.questions[q.place].place = q.place
	c.questions[last] = nil
	c.questions = c.questions[:last]
	q.place = -1
}

func (c *SequencerCore) checkpoint(acts []SequencerAction) []SequencerAction {
	c.checkpointing = true
	c.sinceEntries, c.sinceBytes = 0, 0
	return append(acts, CheckpointAction{c.term})
}

// truncate lets the log drop what the last checkpoint holds, but for slots whose bytes are still read where they lie. A failure
// waits for the next checkpoint. A stopping sequencer leaves it to the next term, which begins with what this one left.
func (c *SequencerCore) truncate(acts []SequencerAction) []SequencerAction {
	if c.truncateBelow == 0 || c.truncating || c.stopping {
		return acts
	}
	below := c.truncateBelow
	c.truncateBelow = 0
	if slot, ok := c.view.OldestInline(); ok {
		below = min(below, slot)
	}
	if below == 0 {
		return acts
	}
	c.truncating = true
	return append(acts, TruncateAction{c.term, below})
}

// finish ends a stopping sequencer once nothing is under way, with a last checkpoint so that the next start is quick.
func (c *SequencerCore) finish(acts []SequencerAction) []SequencerAction {
	switch {
	case !c.stopping || c.flight != nil || c.checkpointing:
		return acts
	case c.sinceEntries > 0 && !c.gaveUp:
		return c.checkpoint(acts)
	}
	return append(acts, c.End(nil)...)
}

// End ends the core with err and answers everybody who waits; an entry in flight may still be in the log. It is for a driver that
// can not go on; an end that the core decides itself comes as an EndAction.
func (c *SequencerCore) End(err error) []SequencerAction {
	c.ended = true
	group := append(c.queue, c.abandon()...)
	if c.flight != nil {
		group = append(c.flight.group, group...)
	}
	c.queue, c.flight = nil, nil
	return append(c.tell([]SequencerAction{RefuseAction{group}}, c.asked, errEnded), EndAction{err})
}

func (c *SequencerCore) unsettled() error {
	return fmt.Errorf("stopped with entry %d of term %d unsettled: %w", c.flight.entry.Seq, c.term, ErrUnknown)
}
