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
