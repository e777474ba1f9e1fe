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

// flight is one entry from its making until its commands are answered.
type flight struct {
	entry   Entry
	id      [16]byte
	body    []byte
	group   []*submission
	tries   int
	results []Result // set by the shell when it carries out actApply
}

// Events.
type (
	evSubmit       struct{ sub *submission }
	evAppended     struct{ err error }
	evRetry        struct{}
	evCheckpointed struct{ err error }
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
	actEnd        struct{ err error }           // no more events
)

const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
)

// room reports whether another command may be submitted.
func (c *seqCore) room() bool {
	return !c.stopping && len(c.queue) < c.cfg.QueueCommands && c.queueBytes < c.cfg.QueueBytes
}

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
	case evStop:
		c.stopping = true
		var acts []any
		if len(c.queue) > 0 {
			acts = append(acts, actRefuse{c.queue})
			c.queue, c.queueBytes = nil, 0
		}
		return c.finish(acts)
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
	f := &flight{id: c.ids(), group: c.queue[:n:n]}
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
	acts = append(acts, actAnswer{f})
	if c.stopping {
		return c.finish(acts)
	}
	if !c.checkpointing && (c.sinceEntries >= c.cfg.CheckpointEntries || c.sinceBytes >= c.cfg.CheckpointBytes) {
		acts = c.checkpoint(acts)
	}
	return acts
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
	return []any{actRefuse{group}, actEnd{err}}
}

func (c *seqCore) unsettled() error {
	return fmt.Errorf("stopped with entry %d of term %d unsettled: %w", c.flight.entry.Seq, c.term, ErrUnknown)
}
