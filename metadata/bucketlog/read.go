package bucketlog

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// emptyReadsPerCheck is how many empty Reads at one place share a boundary check: a listing costs as much as a write, and
// an idle follower reads all day.
const emptyReadsPerCheck = 16

// fetched is the answer to one slot's Get.
type fetched struct {
	slot slot
	sum  hash
	err  error
}

// Read implements metadata.Log. It costs one GET a slot, up to Config.ReadAhead more at the end of the log, and one LIST; an
// empty one costs a GET.
func (l *Log) Read(ctx context.Context, from uint64, maxBytes int) ([]metadata.LogEntry, error) {
	var out []metadata.LogEntry
	size, window, done := 0, 1, false
	at := l.linkAt(from)
	for !done {
		for _, f := range l.fetch(ctx, from+uint64(len(out)), window) {
			if gone(f.err) {
				done = true
				break
			}
			if f.err == nil {
				f.err = follows(at, f.slot, out)
			}
			if errors.Is(f.err, metadata.ErrCorrupt) {
				f.err = l.overtaken(ctx, from, f.err) // a slot that was deleted and written anew does not chain to one that is left
			}
			if errors.Is(f.err, errMoved) {
				f.err = fmt.Errorf("%w: %w", metadata.ErrTruncated, f.err)
			}
			if f.err != nil {
				return nil, fmt.Errorf("read log from %d: %w", from, f.err)
			}
			if size += len(f.slot.body); len(out) > 0 && size > maxBytes {
				done = true
				break
			}
			out = append(out, metadata.LogEntry{Seq: f.slot.seq, Term: f.slot.term, Claim: f.slot.kind == kindClaim, Body: f.slot.body})
			at = link{seq: f.slot.seq + 1, prev: f.sum, known: true}
		}
		window = nextWindow(window, l.cfg.ReadAhead, len(out), size, maxBytes)
		done = done || size >= maxBytes
	}
	if len(out) == 0 && !l.checkEmpty(from) {
		return nil, nil
	}
	// Begun after the reads: what was found at or above the boundary is in the log for good, and not something that a
	// writer a day behind has just put where slots had been deleted.
	boundary, err := l.readBoundary(ctx)
	if err != nil {
		return nil, fmt.Errorf("read log from %d: boundary: %w", from, err)
	}
	if from < boundary {
		return nil, fmt.Errorf("read log from %d, boundary %d: %w", from, boundary, metadata.ErrTruncated)
	}
	if len(out) > 0 {
		l.mu.Lock()
		l.cursor = at
		l.mu.Unlock()
	}
	return out, nil
}

// nextWindow decides how many slots to fetch next: more each time, but no more than the mean entry so far lets expect to
// fit what is left of maxBytes.
func nextWindow(window, limit, entries, size, maxBytes int) int {
	window = min(4*window, limit)
	if entries == 0 || size == 0 {
		return window
	}
	mean := max(1, size/entries)
	return max(1, min(window, (maxBytes-size)/mean))
}

// follows checks that s takes its place after what was read before it.
func follows(at link, s slot, out []metadata.LogEntry) error {
	if at.known && s.prev != at.prev {
		return fmt.Errorf("slot %d does not chain to the one before: %w", s.seq, metadata.ErrCorrupt)
	}
	if n := len(out); n > 0 && s.term < out[n-1].Term {
		return fmt.Errorf("slot %d has term %d after %d: %w", s.seq, s.term, out[n-1].Term, metadata.ErrCorrupt)
	}
	return nil
}

// linkAt is what this handle knows about the predecessor of slot from.
func (l *Log) linkAt(from uint64) link {
	if from == 0 {
		return link{known: true}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cursor.known && l.cursor.seq == from {
		return l.cursor
	}
	return link{seq: from}
}

// checkEmpty decides whether an empty Read at from asks for the boundary: the first does, then every so many.
func (l *Log) checkEmpty(from uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.empty.from != from {
		l.empty.from, l.empty.count = from, 0
	}
	l.empty.count++
	return l.empty.count%emptyReadsPerCheck == 1
}

// fetch gets count slots from seq on, side by side.
func (l *Log) fetch(ctx context.Context, seq uint64, count int) []fetched {
	out := make([]fetched, count)
	if count == 1 {
		out[0].slot, out[0].sum, out[0].err = l.getSlot(ctx, seq)
		return out
	}
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() { out[i].slot, out[i].sum, out[i].err = l.getSlot(ctx, seq+uint64(i)) })
	}
	wg.Wait()
	return out
}

// Hint implements metadata.Log: one or two listings and the head of the newest slot.
func (l *Log) Hint(ctx context.Context) (metadata.Hint, error) {
	l.mu.Lock()
	start := max(l.tip.next, l.cursor.seq, l.boundary)
	l.mu.Unlock()
	if start == 0 {
		seqs, err := l.snapshotSeqs(ctx)
		if err != nil {
			return metadata.Hint{}, fmt.Errorf("hint: %w", err)
		}
		if len(seqs) > 0 {
			start = seqs[len(seqs)-1]
		}
	}
	start = max(start, 1) - 1 // the slot before is there too, and names its owner when it is the newest
	var newest objectstore.Object
	next := start
	if err := l.list(ctx, l.slotPrefix(), l.before(start), func(seq uint64, o objectstore.Object) bool {
		newest, next = o, seq+1
		return true
	}); err != nil {
		return metadata.Hint{}, fmt.Errorf("hint: %w", err)
	}
	if newest.Key == "" {
		return metadata.Hint{Next: next}, nil
	}
	s, err := l.getSlotHeader(ctx, next-1, newest.Size)
	if err != nil {
		return metadata.Hint{}, fmt.Errorf("hint: %w", err)
	}
	return metadata.Hint{Owner: s.owner, Term: s.term, Next: next}, nil
}
