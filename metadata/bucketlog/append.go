package bucketlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// verdict is what an occupied slot means to the one who wanted it.
type verdict int

const (
	own        verdict = iota // holds what we wanted to write
	overtaken                 // a newer term has it
	impossible                // neither: one append at a time and a claim before it leave no third way
)

// judge decides who owns a taken slot that term wanted for the entry id. Ids decide, not the answer of the write: a
// repeated or hedged write meets its own effect.
func judge(held slot, term uint64, id [16]byte) verdict {
	switch {
	case held.term == term && held.id == id:
		return own
	case held.term > term:
		return overtaken
	default:
		return impossible
	}
}

// needsCheck decides whether a create at store time created must be followed by a boundary check, the last good one having
// begun at or after store time check. Either being unknown means yes, and so does a store clock that jumped back.
func needsCheck(check, created time.Time) bool {
	return check.IsZero() || created.IsZero() || created.Sub(check).Abs() > boundaryFresh
}

// Append implements metadata.Log.
func (l *Log) Append(ctx context.Context, term, seq uint64, id [16]byte, body []byte) error {
	if len(body) > metadata.MaxEntryBytes {
		return fmt.Errorf("append slot %d (%d bytes): %w", seq, len(body), metadata.ErrEntryTooLarge)
	}
	t := l.currentTip()
	if t.term == term && seq+1 == t.next && id == t.id {
		return nil // a repeat of the last success, whatever happened since
	}
	if err := t.holds(term); err != nil {
		return fmt.Errorf("append slot %d: %w", seq, err)
	}
	switch {
	case seq > t.next:
		return fmt.Errorf("append slot %d: the next slot is %d", seq, t.next)
	case seq < t.next:
		return l.appended(ctx, term, seq, id)
	}
	return l.write(ctx, t, id, body)
}

// write creates slot t.next and moves the tip past it.
func (l *Log) write(ctx context.Context, t tip, id [16]byte, body []byte) error {
	key := l.slotKey(t.next)
	entry := slot{kind: kindEntry, term: t.term, seq: t.next, id: id, prev: t.hash, owner: t.owner, body: body}
	if !t.time.IsZero() {
		entry.time = t.time.UnixMilli()
	}
	frame := encodeSlot(entry)
	created, err := l.store.Create(ctx, key, frame)
	switch {
	case err == nil:
	case errors.Is(err, objectstore.ErrExists):
		created = time.Time{} // whenever that was
		if err := l.settle(ctx, t.term, t.next, id); err != nil {
			return err
		}
	default:
		return fmt.Errorf("create %s (%d bytes): %w: %w", key, len(frame), metadata.ErrUnknown, err)
	}
	check := t.check
	if needsCheck(check, created) {
		boundary, err := l.readBoundary(ctx)
		if err != nil {
			return fmt.Errorf("append slot %d: boundary: %w: %w", t.next, metadata.ErrUnknown, err)
		}
		if t.next < boundary {
			l.fence(t.term)
			return fmt.Errorf("append slot %d below boundary %d: %w", t.next, boundary, metadata.ErrFenced)
		}
		if !created.IsZero() {
			check = created
		}
	}
	l.advance(t, tip{
		term: t.term, owner: t.owner, next: t.next + 1, hash: sha256.Sum256(frame), id: id, time: created, check: check,
	})
	return nil
}

// settle finds out whose entry is in a slot that was taken: nil when it is ours.
func (l *Log) settle(ctx context.Context, term, seq uint64, id [16]byte) error {
	held, _, err := l.getSlot(ctx, seq)
	switch {
	case gone(err): // taken, then empty: only truncation deletes, so this term is a day behind
		l.fence(term)
		return fmt.Errorf("append slot %d, truncated since: %w", seq, metadata.ErrFenced)
	case errors.Is(err, metadata.ErrCorrupt):
		return fmt.Errorf("append: %w", err)
	case err != nil:
		return fmt.Errorf("append slot %d: %w: %w", seq, metadata.ErrUnknown, err)
	}
	switch judge(held, term, id) {
	case own:
		return nil
	case overtaken:
		l.fence(term)
		return fmt.Errorf("append slot %d in term %d: taken by %q in term %d: %w", seq, term, held.owner, held.term, metadata.ErrFenced)
	default:
		return fmt.Errorf("append slot %d in term %d id %x: holds term %d id %x, which no rule allows: %w",
			seq, term, id, held.term, held.id, metadata.ErrCorrupt)
	}
}

// appended answers the repeat of an append that lies behind the tip.
func (l *Log) appended(ctx context.Context, term, seq uint64, id [16]byte) error {
	held, _, err := l.getSlot(ctx, seq)
	switch {
	case gone(err):
		return fmt.Errorf("append slot %d, truncated since: %w", seq, metadata.ErrFenced)
	case err != nil:
		return fmt.Errorf("append slot %d: %w", seq, err)
	case judge(held, term, id) != own:
		return fmt.Errorf("append slot %d: it is filled with id %x of term %d", seq, held.id, held.term)
	}
	return nil
}

// advance moves the tip from one state to the next, unless somebody else has moved it meanwhile.
func (l *Log) advance(from, to tip) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tip.term == from.term && l.tip.next == from.next {
		to.fenced = l.tip.fenced
		l.tip = to
	}
}

// Confirm implements metadata.Log.
func (l *Log) Confirm(ctx context.Context, term, next uint64) error {
	t := l.currentTip()
	if err := t.holds(term); err != nil {
		return fmt.Errorf("confirm slot %d: %w", next, err)
	}
	if next > t.next {
		return fmt.Errorf("confirm slot %d: the next slot is %d", next, t.next)
	}
	held, _, err := l.getSlot(ctx, next)
	switch {
	case err == nil && held.term > term:
		l.fence(term)
		return fmt.Errorf("confirm term %d: %q holds slot %d in term %d: %w", term, held.owner, next, held.term, metadata.ErrFenced)
	case err == nil:
		return fmt.Errorf("confirm slot %d: filled by this term meanwhile: %w", next, metadata.ErrUnknown)
	case !gone(err):
		return fmt.Errorf("confirm slot %d: %w", next, err)
	}
	// Empty now; but a slot that a newer term filled a day ago may have been deleted again.
	boundary, err := l.readBoundary(ctx)
	if err != nil {
		return fmt.Errorf("confirm slot %d: boundary: %w", next, err)
	}
	if next < boundary {
		l.fence(term)
		return fmt.Errorf("confirm slot %d below boundary %d: %w", next, boundary, metadata.ErrFenced)
	}
	return nil
}
