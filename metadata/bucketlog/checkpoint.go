package bucketlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// Checkpoint implements metadata.Log. A snapshot of at most 1 GiB.
func (l *Log) Checkpoint(ctx context.Context, term, seq uint64, body []byte) error {
	t := l.currentTip()
	if err := t.holds(term); err != nil {
		return fmt.Errorf("checkpoint %d: %w", seq, err)
	}
	if seq > t.next {
		return fmt.Errorf("checkpoint %d: the log ends at %d", seq, t.next)
	}
	if len(body) > maxSnapshotBytes {
		return fmt.Errorf("checkpoint %d: snapshot of %d bytes, at most %d", seq, len(body), maxSnapshotBytes)
	}
	snap := snapshot{term: term, seq: seq, body: body}
	if seq > 0 {
		last, sum, err := l.getSlot(ctx, seq-1)
		if err != nil {
			return fmt.Errorf("checkpoint %d: %w", seq, err)
		}
		if last.term > term {
			l.fence(term)
			return fmt.Errorf("checkpoint %d in term %d: slot %d has term %d: %w", seq, term, seq-1, last.term, metadata.ErrFenced)
		}
		snap.chain = sum
	}
	key := l.snapKey(seq)
	frame := encodeSnapshot(snap)
	_, err := l.store.Create(ctx, key, frame)
	if errors.Is(err, objectstore.ErrExists) {
		// Equal logs give equal states, so whoever published it published the same; unless the object is damaged.
		var held snapshot
		if held, err = l.loadSnapshot(ctx, seq); err == nil && held.chain != snap.chain {
			err = fmt.Errorf("another log's snapshot: %w", metadata.ErrCorrupt)
		}
	}
	if err != nil {
		return fmt.Errorf("checkpoint %s (%d bytes): %w", key, len(frame), err)
	}
	l.log.LogAttrs(ctx, slog.LevelInfo, "checkpoint published", slog.String("object", key), slog.Int("size", len(frame)))
	if err := l.prune(ctx); err != nil {
		l.log.LogAttrs(ctx, slog.LevelWarn, "old snapshots not deleted, the next checkpoint tries again", slog.Any("err", err))
	}
	return nil
}

// prune deletes all but the newest snapshots.
func (l *Log) prune(ctx context.Context) error {
	seqs, err := l.snapshotSeqs(ctx)
	if err != nil {
		return err
	}
	var keys []string
	for _, seq := range seqs[:max(0, len(seqs)-l.cfg.KeepSnapshots)] {
		keys = append(keys, l.snapKey(seq))
	}
	if len(keys) == 0 {
		return nil
	}
	return l.store.Delete(ctx, keys...)
}

// Truncate implements metadata.Log. The boundary is raised durably before anything is deleted: whoever writes below it
// afterwards, however late, finds it when he checks.
func (l *Log) Truncate(ctx context.Context, term, below uint64) error {
	t := l.currentTip()
	if err := t.holds(term); err != nil {
		return fmt.Errorf("truncate below %d: %w", below, err)
	}
	seqs, err := l.snapshotSeqs(ctx)
	if err != nil {
		return fmt.Errorf("truncate below %d: %w", below, err)
	}
	boundary, err := l.readBoundary(ctx)
	if err != nil {
		return fmt.Errorf("truncate below %d: %w", below, err)
	}
	limit := truncateLimit(below, seqs)
	if limit <= boundary || t.time.IsZero() {
		return nil
	}
	to, err := l.oldEnough(ctx, boundary, limit, t.time.Add(-l.cfg.SlotLife))
	if err != nil {
		return fmt.Errorf("truncate below %d: %w", below, err)
	}
	if to <= boundary {
		return nil
	}
	key := l.boundaryKey(to)
	if _, err := l.store.Create(ctx, key, nil); err != nil && !errors.Is(err, objectstore.ErrExists) {
		return fmt.Errorf("truncate: create %s: %w", key, err)
	}
	l.mu.Lock()
	l.boundary = max(l.boundary, to)
	l.mu.Unlock()
	l.log.LogAttrs(ctx, slog.LevelInfo, "log truncated", slog.String("log", l.cfg.Prefix), slog.Uint64("boundary", to))
	if err := l.deleteBelow(ctx, l.slotPrefix(), to); err != nil {
		return fmt.Errorf("truncate below %d: %w", to, err)
	}
	if err := l.deleteBelow(ctx, l.boundaryPrefix(), to); err != nil {
		return fmt.Errorf("truncate below %d: %w", to, err)
	}
	return nil
}

// truncateLimit decides how far the snapshots (oldest first) let slots go: every kept snapshot must stay usable, so that
// a damaged newest one can be replaced by an older one and the slots after it. 0 means nothing may go. Of two snapshots the
// older one is below the log's end, so the newest slot always stays: without it a claim would not meet the newest term
// (models/truncation.pml, TRUNCATE_ALL).
func truncateLimit(below uint64, snapshots []uint64) uint64 {
	if len(snapshots) < 2 {
		return 0
	}
	return min(below, snapshots[0])
}

// oldEnough finds the largest slot number in (low, high] below which every slot was there at deadline already, or low.
// Each slot tells when the one before it was created; those times grow with the numbers, but for small jumps of the
// store's clock, against which a slot's long life is margin enough.
func (l *Log) oldEnough(ctx context.Context, low, high uint64, deadline time.Time) (uint64, error) {
	for low < high {
		mid := low + (high-low+1)/2
		seq, created, err := l.timeAt(ctx, mid, high)
		if err != nil {
			return 0, err
		}
		if created != 0 && created <= deadline.UnixMilli() {
			low = seq
		} else {
			high = mid - 1
		}
	}
	return low, nil
}

// timeProbe bounds how many slots without a time (claims, repeated appends) timeAt steps over.
const timeProbe = 16

// timeAt returns the first slot in [seq, high] that tells a time, and the time; 0 when none near does.
func (l *Log) timeAt(ctx context.Context, seq, high uint64) (uint64, int64, error) {
	for end := min(high, seq+timeProbe); seq <= end; seq++ {
		s, _, err := l.getSlot(ctx, seq)
		if gone(err) {
			break
		}
		if err != nil {
			return 0, 0, err
		}
		if s.time != 0 {
			return seq, s.time, nil
		}
	}
	return seq, 0, nil
}

// deleteBelow deletes the numbered objects under prefix below seq.
func (l *Log) deleteBelow(ctx context.Context, prefix string, below uint64) error {
	for {
		var keys []string
		if err := l.list(ctx, prefix, "", func(seq uint64, o objectstore.Object) bool {
			if seq < below {
				keys = append(keys, o.Key)
			}
			return seq < below && len(keys) < listPage
		}); err != nil {
			return err
		}
		if len(keys) == 0 {
			return nil
		}
		if err := l.store.Delete(ctx, keys...); err != nil {
			return fmt.Errorf("delete %d objects under %s: %w", len(keys), prefix, err)
		}
	}
}
