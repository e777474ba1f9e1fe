package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// TakenOver is where a new term begins.
type TakenOver struct {
	Term        uint64 // never 0
	Next        uint64 // slot of the first append; the View holds everything below
	SnapshotSeq uint64 // below which the newest usable snapshot holds all, 0 without one
}

const acquireTries = 5

// TakeOver acquires log for owner, unless as in Log.Acquire, and catches view up to its end, in the caller's goroutine. A View that is empty, or lies
// before the newest snapshot, gets the whole at once; one that has followed the log gets the entries it lacks. sleep waits,
// or returns ctx's error: Acquire is tried five times where its error allows that, 100 ms apart and doubling, and a lagging
// Read until it does not lag any more.
//
// Errors: those of Log.Acquire and Log.Read, ErrCorrupt among them; ErrFenced - somebody took the log meanwhile; ErrNewer - the log
// is beyond this barge.
func TakeOver(
	ctx context.Context, log Log, view *View, owner string, unless uint64, sleep func(context.Context, time.Duration) error, out *slog.Logger,
) (TakenOver, error) {
	t := takeover{log: log, view: view, sleep: sleep, out: out}
	acquired, err := t.acquire(ctx, owner, unless)
	if err != nil {
		return TakenOver{}, err
	}
	beyond, err := t.catchUp(ctx, acquired)
	if err == nil && beyond {
		err = fmt.Errorf("%w: entry %d lies beyond what this term acquired", ErrFenced, acquired.Next)
	}
	if err != nil {
		return TakenOver{}, fmt.Errorf("replay metadata log up to %d: %w", acquired.Next, err)
	}
	return TakenOver{Term: acquired.Term, Next: acquired.Next, SnapshotSeq: acquired.SnapshotSeq}, nil
}

type takeover struct {
	log   Log
	view  *View
	sleep func(context.Context, time.Duration) error
	out   *slog.Logger
}

// acquire asks again where the log says so; a store that stays away is the caller's to hear about.
func (t *takeover) acquire(ctx context.Context, owner string, unless uint64) (Acquired, error) {
	for try := 0; ; try++ {
		acquired, err := t.log.Acquire(ctx, owner, unless)
		if err == nil {
			return acquired, nil
		}
		if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFenced) || ctx.Err() != nil || try+1 == acquireTries {
			return Acquired{}, fmt.Errorf("acquire metadata log: %w", err)
		}
		t.out.WarnContext(ctx, "acquiring the metadata log failed, trying again", "err", err)
		if err := t.sleep(ctx, 100*time.Millisecond<<try); err != nil {
			return Acquired{}, err
		}
	}
}

// catchUp brings the View to acquired.Next, and tells whether it saw entries beyond. A View that is empty gets the whole at
// once, so that no reader sees an end offset that later "grows" through the past; one that has followed the log gets the
// entries it lacks.
func (t *takeover) catchUp(ctx context.Context, acquired Acquired) (beyond bool, err error) {
	applied := t.view.Applied()
	if applied > 0 && applied >= acquired.SnapshotSeq {
		return t.replay(ctx, applied, acquired.Next, func(e Entry) error {
			t.view.Apply(e)
			return CheckLevel(t.view.Level())
		})
	}
	state := NewState()
	if acquired.HasSnapshot {
		if state, err = DecodeState(acquired.Snapshot); err != nil {
			return false, err
		}
		if state.next != acquired.SnapshotSeq {
			return false, fmt.Errorf("%w: snapshot %d is of entry %d", ErrCorrupt, acquired.SnapshotSeq, state.next)
		}
	}
	if beyond, err = t.replay(ctx, state.next, acquired.Next, func(e Entry) error {
		state.Apply(e)
		return CheckLevel(state.level)
	}); err != nil {
		return false, err
	}
	t.view.install(state)
	return beyond, nil
}

// replay hands apply the entries [from, to), in order, and tells whether it saw entries beyond.
func (t *takeover) replay(ctx context.Context, from, to uint64, apply func(Entry) error) (beyond bool, err error) {
	for empty := 0; from < to; {
		entries, err := t.log.Read(ctx, from, replayBytes)
		if err != nil {
			return false, err
		}
		if len(entries) == 0 { // Read may lag
			if err := t.sleep(ctx, min(firstRetry<<min(empty, 10), lastRetry)); err != nil {
				return false, err
			}
			empty++
			continue
		}
		empty = 0
		for i := range entries {
			if from == to {
				return true, nil
			}
			e, err := entries[i].decode(from)
			if err != nil {
				return false, err
			}
			if err := apply(e); err != nil {
				return false, err
			}
			from++
		}
	}
	return false, nil
}

// decode turns slot want of the log into the entry it holds; a claim is an entry without commands.
func (le *LogEntry) decode(want uint64) (Entry, error) {
	e := Entry{Seq: le.Seq, Term: le.Term}
	if !le.Claim {
		var err error
		if e, err = DecodeEntry(le.Body); err != nil {
			return Entry{}, fmt.Errorf("entry %d: %w", le.Seq, err)
		}
	}
	if le.Seq != want || e.Seq != le.Seq || e.Term != le.Term {
		return Entry{}, fmt.Errorf("%w: entry %d of term %d in slot %d of term %d, read for %d", ErrCorrupt, e.Seq, e.Term, le.Seq, le.Term, want)
	}
	return e, nil
}

// DecodeLogEntry turns what Log.Read returned into the entry a State applies; a claim is an entry without commands. Errors:
// ErrCorrupt, ErrNewer.
func DecodeLogEntry(le LogEntry) (Entry, error) { return le.decode(le.Seq) }
