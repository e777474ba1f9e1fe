package bucketlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/bargedata/barge/metadata"
)

// Newest implements metadata.Log: two listings, one or two snapshots and the newest slot.
func (l *Log) Newest(ctx context.Context) (metadata.Acquired, error) {
	var err error
	for range baseTries {
		var from base
		var at end
		if from, err = l.loadBase(ctx); err == nil {
			at, err = l.endFrom(ctx, from)
		}
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			break
		}
		l.mu.Lock()
		l.cursor = link{seq: from.seq, prev: from.chain, known: true}
		l.mu.Unlock()
		got := metadata.Acquired{Term: at.term, Next: at.next, SnapshotSeq: from.seq, HasSnapshot: from.has}
		if from.has {
			got.Snapshot = from.body
		}
		return got, nil
	}
	return metadata.Acquired{}, fmt.Errorf("newest of %s: %w", l.cfg.Prefix, err)
}

// endFrom finds the end of the log for one that starts at from. What looks like a hole or a break, and what looks sound, may
// both be a truncation that overtook this call; that is errMoved.
func (l *Log) endFrom(ctx context.Context, from base) (end, error) {
	at, err := l.probe(ctx, from)
	if err == nil {
		at, err = l.closeHole(ctx, at)
	}
	boundary, boundaryErr := l.readBoundary(ctx)
	switch {
	case boundaryErr != nil:
		return end{}, errors.Join(err, boundaryErr)
	case boundary > from.seq:
		return end{}, fmt.Errorf("slots below %d truncated meanwhile: %w", boundary, errMoved)
	}
	return at, err
}
