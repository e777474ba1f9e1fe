package metadata

import (
	"errors"
	"fmt"
	"time"
)

// seqCore decides what the sequencer does: events in, actions out, no clock, no goroutine, no I/O. The shell (Sequencer)
// and a simulator drive it alike. It appends one entry at a time and puts everything that queued meanwhile in the next.
type seqCore struct {
	cfg  SequencerConfig
	ids  func() [16]byte
	term uint64
	next uint64 // slot of the next new entry
	time int64  // of the last entry, milliseconds

	queue      []*submission
	queueBytes int
	flight     *flight // the one append under way, nil if none
	waiting    bool    // flight is between two tries

	questions    []*question // not answered yet
	asked        uint64      // how many have come so far: the number of the next one
	confirming   bool        // a check is under way, for the questions below confirmBelow
	confirmBelow uint64
	confirmNext  uint64 // what it asks about
	confirmTries int    // that have failed since the last success
	confirmLater bool   // a check failed and is made again after a wait

	sinceEntries  uint64 // beyond the last checkpoint
	sinceBytes    int64
	checkpointing bool

	stopping bool
	gaveUp   bool // stopping took too long
	ended    bool
}

// submission is one command on its way.
type submission struct {
	cmd     Command
	encoded []byte
	done    func(Result, error)
}

// question is one caller of Confirm.
type question struct {
	number uint64 // in the order of arrival
	place  int    // in seqCore.questions, -1 when it is no longer there
	done   func(error)
}

// flight is one entry from its making until its commands are answered.
type flight struct {
	entry   Entry
	id      [16]byte
	body    []byte
	group   []*submission
	below   uint64 // questions with a lower number came before the first try, so that its success answers them
	tries   int
	results []Result // set by the shell when it carries out actApply
}

// Events.
type (
	evSubmit       struct{ sub *submission }
	evAppended     struct{ err error }
	evRetry        struct{}
	evCheckpointed struct{ err error }
	evAsk          struct{ q *question }
	evLeave        struct{ q *question } // who asked has gone; the question may have been answered meanwhile
	evConfirmed    struct{ err error }
	evConfirmAgain struct{}
	evStop         struct{} // take nothing more, finish what is in flight
	evGiveUp       struct{} // finishing took too long
)

// Actions, to be carried out in their order.
type (
	actAppend     struct{ flight *flight }  // then evAppended
	actWait       struct{ d time.Duration } // then evRetry
	actApply      struct{ flight *flight }
	actAnswer     struct{ flight *flight }
	actRefuse     struct{ group []*submission } // with ErrUnavailable
	actCheckpoint struct{}                      // then evCheckpointed
	actConfirm    struct{ next uint64 }         // then evConfirmed
	actEnd        struct{ err error }           // no more events

	actConfirmLater struct { // then evConfirmAgain
		d   time.Duration
		err error // of the check that failed
	}
	actTell struct {
		questions []*question
		err       error // nil: confirmed
	}
)

const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
)

// room reports whether another command may be submitted.
func (c *seqCore) room() bool {
	return !c.stopping && len(c.queue) < c.cfg.QueueCommands && c.queueBytes < c.cfg.QueueBytes
}

// roomToAsk reports whether another question may be asked.
func (c *seqCore) roomToAsk() bool { return !c.stopping && len(c.questions) < c.cfg.QueueQuestions }

// step takes one event; now is milliseconds since the Unix epoch.
func (c *seqCore) step(ev any, now int64) []any {
	if c.ended {
		return nil
	}
	switch ev := ev.(type) {
	case evSubmit:
		if c.stopping {
			return []any{actRefuse{[]*submission{ev.sub}}}
		}
		c.queue = append(c.queue, ev.sub)
		c.queueBytes += len(ev.sub.encoded)
		return c.launch(nil, now)
	case evAppended:
		return c.appended(ev.err, now)
	case evRetry:
		c.waiting = false
		return []any{actAppend{c.flight}}
	case evCheckpointed:
		c.checkpointing = false
		if errors.Is(ev.err, ErrFenced) && c.flight == nil {
			return c.end(ev.err)
		}
		return c.finish(nil)
	case evAsk:
		return c.ask(ev.q)
	case evLeave:
		c.forget(ev.q)
	case evConfirmed:
		return c.confirmed(ev.err)
	case evConfirmAgain:
		c.confirmLater = false
		return c.confirm(nil)
	case evStop:
		c.stopping = true
		var acts []any
		if len(c.queue) > 0 {
			acts = append(acts, actRefuse{c.queue})
			c.queue, c.queueBytes = nil, 0
		}
		return c.finish(c.tell(acts, c.asked, errEnded))
	case evGiveUp:
		c.gaveUp = true
		if c.waiting {
			return c.end(c.unsettled())
		}
	}
	return nil
}

// launch puts what is queued in flight, unless something is.
func (c *seqCore) launch(acts []any, now int64) []any {
	if c.flight != nil || len(c.queue) == 0 {
		return acts
	}
	n, size := 0, 0
	for n < len(c.queue) && n < c.cfg.EntryCommands {
		if size += len(c.queue[n].encoded); n > 0 && size > c.cfg.EntryBytes {
			size -= len(c.queue[n].encoded)
			break
		}
		n++
	}
	f := &flight{id: c.ids(), group: c.queue[:n:n], below: c.asked}
	c.queue = c.queue[n:]
	c.queueBytes -= size
	c.time = c.entryTime(now)
	f.entry = Entry{Seq: c.next, Term: c.term, Time: c.time, Commands: make([]Command, n)}
	w := wireWriter{b: make([]byte, 0, size+entryHeaderBytes)}
	w.entryHeader(c.next, c.term, c.time, n)
	for i, sub := range f.group {
		f.entry.Commands[i] = sub.cmd
		w.b = append(w.b, sub.encoded...)
		sub.encoded = nil
	}
	f.body = w.b
	c.flight = f
	return append(acts, actAppend{f})
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
func (c *seqCore) entryTime(now int64) int64 { return max(c.time, now) }

func (c *seqCore) appended(err error, now int64) []any {
	f := c.flight
	switch {
	case err == nil:
	case c.gaveUp:
		return c.end(c.unsettled())
	case errors.Is(err, ErrUnknown):
		d := min(firstRetry<<min(f.tries, 10), lastRetry)
		f.tries++
		c.waiting = true
		return []any{actWait{d}}
	default:
		return c.end(fmt.Errorf("append entry %d of term %d (%d bytes): %w", f.entry.Seq, c.term, len(f.body), err))
	}
	c.flight = nil
	c.next++
	c.sinceEntries++
	c.sinceBytes += int64(len(f.body))
	// The next entry is on its way before anybody is answered.
	acts := c.launch([]any{actApply{f}}, now)
	acts = c.tell(append(acts, actAnswer{f}), f.below, nil)
	acts = c.confirm(acts)
	if c.stopping {
		return c.finish(acts)
	}
	if !c.checkpointing && (c.sinceEntries >= c.cfg.CheckpointEntries || c.sinceBytes >= c.cfg.CheckpointBytes) {
		acts = c.checkpoint(acts)
	}
	return acts
}

// ask takes a question. What answers it is whatever begins from now on and succeeds first: the append of a new entry, or a
// check of its own. An append or a check that is under way began too early and may have passed the log's end before the
// question came.
func (c *seqCore) ask(q *question) []any {
	if c.stopping {
		q.place = -1
		return []any{actTell{[]*question{q}, errEnded}}
	}
	q.number, q.place = c.asked, len(c.questions)
	c.asked++
	c.questions = append(c.questions, q)
	return c.confirm(nil)
}

// confirm begins a check for everybody who waits. Not beside an append: it would mostly find that very entry, and when the
// append is settled the next one may answer for nothing.
func (c *seqCore) confirm(acts []any) []any {
	if len(c.questions) == 0 {
		c.confirmTries = 0
		return acts
	}
	if c.stopping || c.flight != nil || c.confirming || c.confirmLater {
		return acts
	}
	c.confirming, c.confirmBelow, c.confirmNext = true, c.asked, c.next
	return append(acts, actConfirm{c.next})
}

// confirmed takes the outcome of a check. If it met the entry of an append that began meanwhile (ErrUnknown), that append answers
// everybody the check was for.
func (c *seqCore) confirmed(err error) []any {
	c.confirming = false
	switch {
	case errors.Is(err, ErrFenced):
		return c.end(fmt.Errorf("confirm entry %d of term %d: %w", c.next, c.term, err))
	case err == nil:
		c.confirmTries = 0
		return c.confirm(c.tell(nil, c.confirmBelow, nil))
	case c.stopping, c.flight != nil, len(c.questions) == 0, errors.Is(err, ErrUnknown) && c.next > c.confirmNext:
		return c.confirm(nil) // at once, or when the append is settled, or not at all
	}
	d := min(firstRetry<<min(c.confirmTries, 10), lastRetry)
	c.confirmTries++
	c.confirmLater = true
	return []any{actConfirmLater{d, err}}
}

// tell answers the questions below a number.
func (c *seqCore) tell(acts []any, below uint64, err error) []any {
	var told []*question
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
	return append(acts, actTell{told, err})
}

func (c *seqCore) forget(q *question) {
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

func (c *seqCore) checkpoint(acts []any) []any {
	c.checkpointing = true
	c.sinceEntries, c.sinceBytes = 0, 0
	return append(acts, actCheckpoint{})
}

// finish ends a stopping sequencer once nothing is under way, with a last checkpoint so that the next start is quick.
func (c *seqCore) finish(acts []any) []any {
	switch {
	case !c.stopping || c.flight != nil || c.checkpointing:
		return acts
	case c.sinceEntries > 0 && !c.gaveUp:
		return c.checkpoint(acts)
	}
	return append(acts, c.end(nil)...)
}

// end answers everybody who waits; an entry in flight may still be in the log.
func (c *seqCore) end(err error) []any {
	c.ended = true
	group := c.queue
	if c.flight != nil {
		group = append(c.flight.group, c.queue...)
	}
	c.queue, c.flight = nil, nil
	return append(c.tell([]any{actRefuse{group}}, c.asked, errEnded), actEnd{err})
}

func (c *seqCore) unsettled() error {
	return fmt.Errorf("stopped with entry %d of term %d unsettled: %w", c.flight.entry.Seq, c.term, ErrUnknown)
}
