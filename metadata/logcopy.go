package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Survey is what a log holds that is to be moved elsewhere.
type Survey struct {
	View     *View    // of all entries below End
	Snapshot Acquired // the newest usable snapshot
	End      uint64   // where the log ends: its end, or the entry that moved it
	Term     uint64   // of the newest entry below End
	Moved    bool     // the log has ended already: an earlier move was not finished
}

// From is the first entry that whoever takes the log over needs: for the snapshot, and for objects that lie in entries.
func (s Survey) From() uint64 {
	from := s.Snapshot.SnapshotSeq
	if slot, ok := s.View.OldestInline(); ok {
		from = min(from, slot)
	}
	return from
}

// SurveyLog reads a log from its newest usable snapshot to its end, or to the entry that moved it elsewhere. It writes nothing. Memory: the
// state, the snapshot, 8 MiB of entries. Errors: Log.Newest's and Log.Read's.
func SurveyLog(ctx context.Context, log Log, sleep func(context.Context, time.Duration) error) (Survey, error) {
	for try := 1; ; try++ {
		s, err := surveyLog(ctx, log, sleep)
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, ErrTruncated) || try == followTries {
			return Survey{}, fmt.Errorf("survey of the metadata log: %w", err)
		}
	}
}

func surveyLog(ctx context.Context, log Log, sleep func(context.Context, time.Duration) error) (Survey, error) {
	start, err := log.Newest(ctx)
	if err != nil {
		return Survey{}, err
	}
	state := NewState()
	if start.HasSnapshot {
		if state, err = DecodeState(start.Snapshot); err != nil {
			return Survey{}, err
		}
		if state.next != start.SnapshotSeq {
			return Survey{}, fmt.Errorf("%w: snapshot %d is of entry %d", ErrCorrupt, start.SnapshotSeq, state.next)
		}
	}
	s := Survey{View: NewView(), Snapshot: start, End: start.Next}
	t := takeover{log: log, sleep: sleep}
	errMoved := errors.New("moved")
	_, err = t.replay(ctx, state.next, start.Next, func(e Entry) error {
		if movesLog(e) {
			s.End, s.Moved = e.Seq, true
			return errMoved
		}
		s.Term = e.Term
		state.Apply(e)
		return CheckLevel(state.level)
	})
	if err != nil && !errors.Is(err, errMoved) {
		return Survey{}, err
	}
	if s.Term == 0 { // nothing after the snapshot
		s.Term = start.Term
	}
	s.View.install(state)
	return s, nil
}

// MoveEntry is the entry that ends a log: sessions that are still open end with it, and no agent goes on from there.
func MoveEntry(seq, term uint64, nowMs int64, view *View) Entry {
	e := Entry{Seq: seq, Term: term, Time: max(nowMs, view.EntryTime())}
	for _, s := range view.Sessions() {
		if !s.Sealed {
			e.Commands = append(e.Commands, SealSession{Session: s.ID})
		}
	}
	e.Commands = append(e.Commands, RaiseLevel{Level: LevelMoved})
	return e
}

func movesLog(e Entry) bool {
	for _, c := range e.Commands {
		if c, ok := c.(RaiseLevel); ok && c.Level == LevelMoved {
			return true
		}
	}
	return false
}

// LogCopy is a log as an engine takes it over: entries with their slots and terms, and a snapshot.
type LogCopy struct {
	From, Next  uint64 // the entries [From, Next); those below From are truncated
	Term        uint64 // the newest; the first Acquire in the copy takes a higher one
	Snapshot    []byte
	SnapshotSeq uint64 // within [From, Next]
	HasSnapshot bool
	Origin      string // for people: where it comes from
	// Read gives entries from slot from on, below Next, at least one.
	Read func(ctx context.Context, from uint64) ([]LogEntry, error)
}

// Each gives the entries in their order.
func (c LogCopy) Each(ctx context.Context, take func([]LogEntry) error) error {
	for from := c.From; from < c.Next; {
		entries, err := c.Read(ctx, from)
		if err != nil {
			return err
		}
		for i := range entries {
			if entries[i].Seq != from+uint64(i) {
				return fmt.Errorf("%w: entry %d read for %d", ErrCorrupt, entries[i].Seq, from+uint64(i))
			}
		}
		entries = entries[:min(uint64(len(entries)), c.Next-from)]
		if len(entries) == 0 {
			return fmt.Errorf("%w: entry %d of a log up to %d is not there", ErrCorrupt, from, c.Next)
		}
		if err := take(entries); err != nil {
			return err
		}
		from += uint64(len(entries))
	}
	return nil
}
