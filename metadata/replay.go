package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// open takes the log and catches the View up to its end.
func (s *Sequencer) open(ctx context.Context) (*seqCore, error) {
	acquired, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	s.counters.term.Store(acquired.Term)
	began := s.now()
	if err := s.catchUp(ctx, acquired); err != nil {
		return nil, fmt.Errorf("replay metadata log up to %d: %w", acquired.Next, err)
	}
	s.out.InfoContext(ctx, "metadata log acquired", "term", acquired.Term, "next", acquired.Next, "snapshot_seq", acquired.SnapshotSeq,
		"snapshot_bytes", len(acquired.Snapshot), "replay_seconds", s.now().Sub(began).Seconds())
	return &seqCore{
		cfg: s.cfg, ids: s.ids, term: acquired.Term, next: acquired.Next, time: s.view.EntryTime(),
		sinceEntries: acquired.Next - acquired.SnapshotSeq,
	}, nil
}

const acquireTries = 5

// acquire asks again where the log says so; a store that stays away is the caller's to hear about.
func (s *Sequencer) acquire(ctx context.Context) (Acquired, error) {
	for try := 0; ; try++ {
		acquired, err := s.log.Acquire(ctx, s.cfg.Owner)
		if err == nil {
			return acquired, nil
		}
		if errors.Is(err, ErrCorrupt) || ctx.Err() != nil || try+1 == acquireTries {
			return Acquired{}, fmt.Errorf("acquire metadata log: %w", err)
		}
		s.out.WarnContext(ctx, "acquiring the metadata log failed, trying again", "err", err)
		if err := pause(ctx, 100*time.Millisecond<<try); err != nil {
			return Acquired{}, err
		}
	}
}

// catchUp brings the View to acquired.Next. A View that is empty gets the whole at once, so that no reader sees an end
// offset that later "grows" through the past; one that has followed the log gets the entries it lacks.
func (s *Sequencer) catchUp(ctx context.Context, acquired Acquired) error {
	applied := s.view.Applied()
	if applied > 0 && applied >= acquired.SnapshotSeq {
		return s.replay(ctx, applied, acquired.Next, func(e Entry) { s.view.Apply(e) })
	}
	state := NewState()
	if acquired.HasSnapshot {
		var err error
		if state, err = DecodeState(acquired.Snapshot); err != nil {
			return err
		}
		if state.next != acquired.SnapshotSeq {
			return fmt.Errorf("%w: snapshot %d is of entry %d", ErrCorrupt, acquired.SnapshotSeq, state.next)
		}
	}
	if err := s.replay(ctx, state.next, acquired.Next, func(e Entry) { state.Apply(e) }); err != nil {
		return err
	}
	s.view.install(state)
	return nil
}

// replay hands apply the entries [from, to), in order.
func (s *Sequencer) replay(ctx context.Context, from, to uint64, apply func(Entry)) error {
	for empty := 0; from < to; {
		entries, err := s.log.Read(ctx, from, replayBytes)
		if err != nil {
			return err
		}
		if len(entries) == 0 { // Read may lag
			if err := pause(ctx, min(firstRetry<<min(empty, 10), lastRetry)); err != nil {
				return err
			}
			empty++
			continue
		}
		empty = 0
		for i := range entries {
			if from == to {
				return fmt.Errorf("%w: entry %d lies beyond what this term acquired", ErrFenced, from)
			}
			e, err := entries[i].decode(from)
			if err != nil {
				return err
			}
			apply(e)
			from++
		}
	}
	return nil
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
// ErrCorrupt.
func DecodeLogEntry(le LogEntry) (Entry, error) { return le.decode(le.Seq) }

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
