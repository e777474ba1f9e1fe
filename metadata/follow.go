package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// followTries bounds how often Follow starts over because the log was truncated under its hands.
const followTries = 4

// Follow brings view to the end of the log as it was at some moment after the call began, and returns where that was. It only
// reads: it takes no term and appends nothing, so that it may run beside the sequencer. A View that has followed
// before gets the entries it lacks, an empty one the whole at once. Nobody else may feed the View meanwhile. sleep waits, or
// returns ctx's error, while a Read lags. Memory: the snapshot, its state, and 8 MiB of entries.
// Errors: ErrCorrupt - a slot is damaged or missing, or no snapshot is usable; ErrTruncated - the log was truncated faster than it
// could be read, several times; ErrNewer - the log is beyond this barge; or the store's.
func Follow(ctx context.Context, log Log, view *View, sleep func(context.Context, time.Duration) error) (Acquired, error) {
	t := takeover{log: log, view: view, sleep: sleep}
	for try := 1; ; try++ {
		start, err := log.Newest(ctx)
		if err != nil {
			return Acquired{}, fmt.Errorf("follow metadata log: %w", err)
		}
		_, err = t.catchUp(ctx, start)
		if err == nil {
			return start, nil
		}
		if !errors.Is(err, ErrTruncated) || try == followTries {
			return Acquired{}, fmt.Errorf("follow metadata log up to %d: %w", start.Next, err)
		}
	}
}

// CatchUp is Follow for a View that has followed before and wants what is new at little cost: one Read, where that has it all. It
// proves nothing about the end of the log: a Read may lag behind what is being appended, and what is appended meanwhile is not
// chased, since a log that is written about as fast as it can be read would never let go of its reader. A View that is empty, or
// lies before what the log still has, is brought along as by Follow. Errors: Follow's, and those of Log.Read.
func CatchUp(ctx context.Context, log Log, view *View, sleep func(context.Context, time.Duration) error) error {
	for {
		applied := view.Applied()
		entries, err := []LogEntry(nil), ErrTruncated
		if applied > 0 {
			entries, err = log.Read(ctx, applied, replayBytes)
		}
		switch {
		case errors.Is(err, ErrTruncated):
			_, err = Follow(ctx, log, view, sleep)
			return err
		case err != nil:
			return fmt.Errorf("catch up with the metadata log: %w", err)
		case len(entries) == 0:
			return nil
		}
		size := 0
		for i := range entries {
			size += len(entries[i].Body)
			e, err := entries[i].decode(applied + uint64(i))
			if err != nil {
				return fmt.Errorf("catch up with the metadata log: %w", err)
			}
			view.Apply(e)
			if err := CheckLevel(view.Level()); err != nil {
				return err
			}
		}
		if size < replayBytes/2 { // it ended there, and not because so much was enough
			return nil
		}
	}
}
