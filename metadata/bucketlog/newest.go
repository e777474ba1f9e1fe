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
			if at, err = l.probe(ctx, from); err == nil {
				at, err = l.closeHole(ctx, at)
			}
			err = l.overtaken(ctx, from.seq, err)
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
