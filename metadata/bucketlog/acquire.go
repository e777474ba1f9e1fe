package bucketlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

const (
	// claimTries bounds how often an unclear claim is written again before the caller hears of it. Waiting between tries
	// is the store decorator's work.
	claimTries = 3
	// baseTries bounds how often Acquire starts over because snapshots were pruned under its hands.
	baseTries = 4
)

// errMoved says that the log moved on while Acquire looked at it.
var errMoved = errors.New("log moved on")

// base is where a replay starts.
type base struct {
	snapshot
	has bool
}

// end is the first free slot and what a claim there must know.
type end struct {
	next  uint64
	term  uint64 // of the newest slot, or of the snapshot if that is higher
	owner string // of the newest slot where that is a claim
	prev  hash   // of slot next-1
	hole  bool   // the listing shows slots beyond next
}

// Acquire implements metadata.Log: load the newest usable snapshot, probe forward from it, put a claim in the first free
// slot; where an entry was faster, take its slot into account and try the next, and where another's claim was, give up.
func (l *Log) Acquire(ctx context.Context, owner string, unless uint64) (metadata.Acquired, error) {
	if len(owner) > metadata.MaxOwnerBytes {
		return metadata.Acquired{}, fmt.Errorf("acquire %s: owner of %d bytes, at most %d", l.cfg.Prefix, len(owner), metadata.MaxOwnerBytes)
	}
	var err error
	for range baseTries {
		var from base
		var at end
		if from, err = l.loadBase(ctx); err == nil {
			at, err = l.probe(ctx, from)
		}
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			break
		}
		var t tip
		if t, err = l.claim(ctx, at, owner, unless); errors.Is(err, metadata.ErrCorrupt) {
			if err = l.overtaken(ctx, from.seq, err); errors.Is(err, errMoved) {
				continue
			}
		}
		if err != nil {
			break
		}
		l.take(t, from)
		l.log.LogAttrs(ctx, slog.LevelInfo, "log acquired", slog.String("log", l.cfg.Prefix), slog.String("owner", owner),
			slog.Uint64("term", t.term), slog.Uint64("next", t.next), slog.Uint64("snapshot", from.seq))
		got := metadata.Acquired{Term: t.term, Next: t.next, SnapshotSeq: from.seq, HasSnapshot: from.has}
		if from.has {
			got.Snapshot = from.body
		}
		return got, nil
	}
	return metadata.Acquired{}, fmt.Errorf("acquire %s: %w", l.cfg.Prefix, err)
}

// overtaken turns err, of a call that began at slot from, into errMoved when slots have been truncated meanwhile: what looks like a
// hole or a break, and what looks sound (a nil err), may both be a truncation that overtook a call paused for a day. Where the
// boundary is not known, err is not known to be damage.
func (l *Log) overtaken(ctx context.Context, from uint64, err error) error {
	boundary, boundaryErr := l.readBoundary(ctx)
	switch {
	case boundaryErr != nil && err != nil:
		return fmt.Errorf("boundary, to explain %q: %w", err.Error(), boundaryErr)
	case boundaryErr != nil:
		return fmt.Errorf("boundary: %w", boundaryErr)
	case boundary > from:
		return fmt.Errorf("slots below %d truncated meanwhile: %w", boundary, errMoved)
	}
	return err
}

// take makes t this handle's tip unless a call beside this one took a higher term.
func (l *Log) take(t tip, from base) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.term > l.tip.term {
		l.tip = t
		l.cursor = link{seq: from.seq, prev: from.chain, known: true}
	}
}

// loadBase finds the newest snapshot that is whole and fits the slot after it.
func (l *Log) loadBase(ctx context.Context) (base, error) {
	boundary, err := l.readBoundary(ctx)
	if err != nil {
		return base{}, err
	}
	seqs, err := l.snapshotSeqs(ctx)
	if err != nil {
		return base{}, err
	}
	pruned := false
	for i := len(seqs) - 1; i >= 0 && seqs[i] >= boundary; i-- {
		snap, err := l.loadSnapshot(ctx, seqs[i])
		switch {
		case err == nil:
			return base{snapshot: snap, has: true}, nil
		case gone(err):
			pruned = true
		case errors.Is(err, metadata.ErrCorrupt):
			l.log.LogAttrs(ctx, slog.LevelWarn, "snapshot unusable, falling back", slog.String("object", l.snapKey(seqs[i])),
				slog.Any("err", err))
		default:
			return base{}, err
		}
	}
	switch {
	case pruned:
		return base{}, fmt.Errorf("snapshots pruned meanwhile: %w", errMoved)
	case boundary > 0:
		return base{}, fmt.Errorf("no usable snapshot among %d, and slots below %d are gone: %w", len(seqs), boundary, metadata.ErrCorrupt)
	}
	return base{}, nil
}

// loadSnapshot fetches the snapshot of seq and holds it against the slot that follows, if there is one.
func (l *Log) loadSnapshot(ctx context.Context, seq uint64) (snapshot, error) {
	key := l.snapKey(seq)
	snap, _, err := verified(key, func() ([]byte, error) { return l.store.Get(ctx, key, snapHeaderLen+maxSnapshotBytes) },
		func(buf []byte) (snapshot, error) { return decodeSnapshot(buf, seq) })
	if err != nil {
		return snapshot{}, err
	}
	follower, _, err := l.getSlot(ctx, seq)
	switch {
	case gone(err):
		return snap, nil
	case errors.Is(err, metadata.ErrCorrupt):
		// A damaged slot is no fault of the snapshot's; whoever replays it will say so.
		return snap, nil
	case err != nil:
		return snapshot{}, err
	case follower.prev != snap.chain:
		return snapshot{}, fmt.Errorf("%s does not chain to slot %d: %w", key, seq, metadata.ErrCorrupt)
	}
	return snap, nil
}

// probe finds the end of the log. The listing only says where to look: the claim that follows is what decides.
func (l *Log) probe(ctx context.Context, from base) (end, error) {
	at := end{next: from.seq, term: from.term, prev: from.chain}
	if err := l.list(ctx, l.slotPrefix(), l.before(from.seq), func(seq uint64, _ objectstore.Object) bool {
		at.hole = seq != at.next
		if !at.hole {
			at.next++
		}
		return !at.hole
	}); err != nil {
		return end{}, err
	}
	if at.next == from.seq {
		return at, nil
	}
	newest, sum, err := l.getSlot(ctx, at.next-1)
	if gone(err) {
		return end{}, fmt.Errorf("slot %d truncated meanwhile: %w", at.next-1, errMoved)
	}
	if err != nil {
		return end{}, err
	}
	at.term, at.owner, at.prev = max(at.term, newest.term), newest.claimant(), sum
	return at, nil
}

// closeHole moves an end before which the listing showed a hole to where there is none. A listing that lags is forgiven; a
// slot that is missing below others is not, and must not be filled.
func (l *Log) closeHole(ctx context.Context, at end) (end, error) {
	for at.hole {
		held, sum, err := l.getSlot(ctx, at.next)
		if gone(err) {
			return end{}, fmt.Errorf("slot %d is missing though later slots exist: %w", at.next, metadata.ErrCorrupt)
		}
		if err != nil {
			return end{}, err
		}
		if at, err = at.past(held, sum); err != nil {
			return end{}, err
		}
		if at.hole, err = l.filledBeyond(ctx, at.next); err != nil {
			return end{}, err
		}
	}
	return at, nil
}

// claim writes a claim into the first free slot from at on and returns the tip behind it.
func (l *Log) claim(ctx context.Context, at end, owner string, unless uint64) (tip, error) {
	id := l.newID()
	tries := 0
	for {
		var err error
		if at, err = l.closeHole(ctx, at); err != nil {
			return tip{}, err
		}
		if unless > 0 && at.term >= unless && at.owner != owner {
			return tip{}, fmt.Errorf("term %d is taken already: %w", at.term, metadata.ErrFenced)
		}
		claim := slot{kind: kindClaim, term: max(at.term, l.currentTip().term) + 1, seq: at.next, id: id, prev: at.prev, owner: owner}
		frame := encodeSlot(claim)
		created, err := l.store.Create(ctx, l.slotKey(at.next), frame)
		switch {
		case err == nil:
			return l.claimed(ctx, claim, sha256.Sum256(frame), created)
		case errors.Is(err, objectstore.ErrExists):
			held, sum, err := l.getSlot(ctx, at.next)
			if gone(err) {
				return tip{}, fmt.Errorf("slot %d was taken and is truncated: %w", at.next, metadata.ErrFenced)
			}
			if err != nil {
				return tip{}, err
			}
			if held.id == id {
				return l.claimed(ctx, held, sum, time.Time{}) // an earlier try of ours that had answered nothing
			}
			if held.kind == kindClaim && held.owner != owner {
				// Whoever was faster appends from now on, as fast as this call could claim: it would run after the end of the
				// log, perhaps for minutes, only to end a term that has just begun.
				return tip{}, fmt.Errorf("%q took term %d meanwhile: %w", held.owner, held.term, metadata.ErrFenced)
			}
			if at, err = at.past(held, sum); err != nil {
				return tip{}, err
			}
			tries = 0
		default:
			if tries++; tries >= claimTries || ctx.Err() != nil {
				return tip{}, fmt.Errorf("claim slot %d: %w", at.next, err)
			}
		}
	}
}

// past moves the end beyond a slot that somebody else filled.
func (at end) past(held slot, sum hash) (end, error) {
	if held.prev != at.prev || held.term < at.term {
		return end{}, fmt.Errorf("slot %d of term %d does not follow slot %d of term %d: %w",
			at.next, held.term, at.next-1, at.term, metadata.ErrCorrupt)
	}
	return end{next: at.next + 1, term: held.term, owner: held.claimant(), prev: sum, hole: at.hole}, nil
}

// claimant is the owner of a claim, "" of an entry.
func (s slot) claimant() string {
	if s.kind != kindClaim {
		return ""
	}
	return s.owner
}

// filledBeyond tells whether the listing shows slots at or after next.
func (l *Log) filledBeyond(ctx context.Context, next uint64) (bool, error) {
	found := false
	err := l.list(ctx, l.slotPrefix(), l.before(next), func(uint64, objectstore.Object) bool {
		found = true
		return false
	})
	return found, err
}

// claimed checks the boundary after a claim was written: one that landed where slots had been deleted does not count.
func (l *Log) claimed(ctx context.Context, claim slot, sum hash, created time.Time) (tip, error) {
	boundary, err := l.readBoundary(ctx)
	if err != nil {
		return tip{}, fmt.Errorf("claim slot %d: boundary: %w", claim.seq, err)
	}
	if claim.seq < boundary {
		return tip{}, fmt.Errorf("claim slot %d below boundary %d: %w", claim.seq, boundary, metadata.ErrFenced)
	}
	return tip{
		term: claim.term, owner: claim.owner, next: claim.seq + 1, hash: sum, id: claim.id, time: created, check: created,
	}, nil
}
