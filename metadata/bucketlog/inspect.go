package bucketlog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// Inspect looks at every object of the log and gives its snapshots and slots to v: from the boundary on with all, otherwise from the
// newest usable snapshot on. It only reads and may run beside a writer: what a truncation or a checkpoint takes away meanwhile is no
// fault, and slots appended after the walk has met the end are not seen. Memory: one snapshot, Config.ReadAhead slots,
// and the names above. Errors: the store's; damage is no error but a metadata.Fault.
func (l *Log) Inspect(ctx context.Context, all bool, v metadata.Visitor) (*metadata.Inspection, error) {
	in := &inspector{log: l, all: all, v: v, out: &metadata.Inspection{}}
	err := in.survey(ctx)
	if err == nil {
		err = in.start(ctx)
	}
	if err == nil {
		err = in.walk(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", l.cfg.Prefix, err)
	}
	return in.out, nil
}

type inspector struct {
	log *Log
	all bool
	v   metadata.Visitor
	out *metadata.Inspection

	snaps []uint64 // to come, ascending
	seq   uint64   // slot to come
	prev  link
	term  uint64
}

// survey counts the objects and tells which of them belong to the log.
func (in *inspector) survey(ctx context.Context) error {
	boundary, err := in.log.readBoundary(ctx)
	if err != nil {
		return err
	}
	in.out.Boundary = boundary
	prefix := in.log.cfg.Prefix + "/"
	for after := ""; ; {
		page, err := in.log.store.List(ctx, prefix, after, listPage)
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		for _, o := range page {
			after = o.Key
			in.note(o)
		}
		if len(page) < listPage {
			break
		}
	}
	// Snapshots below the boundary are of no use, and of the others the newest few are kept.
	for len(in.snaps) > 0 && (in.snaps[0] < boundary || len(in.snaps) > in.log.cfg.KeepSnapshots) {
		in.leftover(in.log.snapKey(in.snaps[0]))
		in.snaps = in.snaps[1:]
	}
	return nil
}

func (in *inspector) note(o objectstore.Object) {
	in.out.Objects++
	in.out.Bytes += o.Size
	l := in.log
	if seq, ok := number(l.slotPrefix(), o.Key); ok {
		if seq < in.out.Boundary {
			in.leftover(o.Key)
		}
		return
	}
	if seq, ok := number(l.snapPrefix(), o.Key); ok {
		in.snaps = append(in.snaps, seq)
		return
	}
	if seq, ok := number(l.boundaryPrefix(), o.Key); ok {
		if seq < in.out.Boundary {
			in.leftover(o.Key)
		}
		return
	}
	if len(in.out.Foreign) < metadata.MaxInspected {
		in.out.Foreign = append(in.out.Foreign, o.Key)
	}
}

func (in *inspector) leftover(key string) {
	if len(in.out.Leftover) < metadata.MaxInspected {
		in.out.Leftover = append(in.out.Leftover, key)
	}
}

// start finds where readers start and where this walk does.
func (in *inspector) start(ctx context.Context) error {
	in.seq = in.out.Boundary
	for i, seq := range slices.Backward(in.snaps) {
		_, err := in.log.loadSnapshot(ctx, seq)
		switch {
		case err == nil:
			in.out.Base, in.out.HasBase = seq, true
			if !in.all {
				in.seq, in.snaps = seq, in.snaps[i:]
			}
		case gone(err), errors.Is(err, metadata.ErrCorrupt):
			continue // pruned meanwhile, or damaged, which the walk tells
		default:
			return err
		}
		break
	}
	in.prev = link{seq: in.seq, known: in.seq == 0}
	return nil
}

func (in *inspector) fault(f metadata.Fault) { in.out.Faults = append(in.out.Faults, f) }

func (in *inspector) walk(ctx context.Context) error {
	window := 1
	for {
		for i, f := range in.log.fetch(ctx, in.seq, window) {
			done, err := in.take(ctx, f)
			if err != nil || done {
				return err
			}
			if f.err != nil {
				window = 1
				break // in.seq may have jumped
			}
			if i == window-1 {
				window = min(4*window, in.log.cfg.ReadAhead)
			}
		}
	}
}

// take looks at one slot; done at the end of the log.
func (in *inspector) take(ctx context.Context, f fetched) (done bool, err error) {
	if err := in.snapshots(ctx); err != nil {
		return false, err
	}
	switch {
	case gone(f.err):
		return in.missing(ctx)
	case errors.Is(f.err, metadata.ErrCorrupt), errors.Is(f.err, objectstore.ErrTooLarge):
		in.damaged(f.err)
		return false, in.skip(in.seq + 1)
	case f.err != nil:
		return false, f.err
	}
	s := f.slot
	switch {
	case in.prev.known && in.prev.seq == s.seq && s.prev != in.prev.prev:
		in.damaged(fmt.Errorf("slot %d does not chain to the one before: %w", s.seq, metadata.ErrCorrupt))
		if err := in.v.Break(s.seq); err != nil {
			return false, err
		}
	case s.term < in.term:
		in.damaged(fmt.Errorf("slot %d has term %d after %d: %w", s.seq, s.term, in.term, metadata.ErrCorrupt))
	}
	in.term = max(in.term, s.term)
	in.out.Slots++
	in.seq++
	in.out.Next = in.seq
	in.prev = link{seq: in.seq, prev: f.sum, known: true}
	return false, in.v.Entry(metadata.LogEntry{Seq: s.seq, Term: s.term, Claim: s.kind == kindClaim, Body: s.body})
}

func (in *inspector) damaged(err error) {
	in.fault(metadata.Fault{Key: in.log.slotKey(in.seq), Seq: in.seq, Err: err})
}

// skip goes on at another slot than the next.
func (in *inspector) skip(to uint64) error {
	in.seq, in.out.Next, in.prev.known = to, to, false
	return in.v.Break(to)
}

// missing decides what a slot that is not there means: the end, a truncation, or a hole.
func (in *inspector) missing(ctx context.Context) (done bool, err error) {
	boundary, err := in.log.readBoundary(ctx)
	if err != nil {
		return false, err
	}
	if in.seq < boundary {
		in.out.Boundary = boundary
		return false, in.skip(boundary)
	}
	// A snapshot of a later slot proves as much as a later slot does.
	next, beyond := uint64(0), false
	if n := len(in.snaps); n > 0 && in.snaps[n-1] > in.seq {
		next, beyond = in.snaps[n-1], true
	}
	if err := in.log.list(ctx, in.log.slotPrefix(), in.log.before(in.seq), func(seq uint64, _ objectstore.Object) bool {
		next, beyond = seq, true
		return false
	}); err != nil {
		return false, err
	}
	switch {
	case !beyond:
		in.out.Next = in.seq
		return true, nil
	case next == in.seq: // appended just now
		return false, nil
	}
	in.fault(metadata.Fault{
		Key: in.log.slotKey(in.seq), Seq: in.seq, Missing: true,
		Err: fmt.Errorf("slots %d to %d are missing though later ones exist: %w", in.seq, next-1, metadata.ErrCorrupt),
	})
	return false, in.skip(next)
}

// snapshots gives those that belong before the slot to come. Those that a jump has left behind are looked at all the same.
func (in *inspector) snapshots(ctx context.Context) error {
	for len(in.snaps) > 0 && in.snaps[0] <= in.seq {
		seq := in.snaps[0]
		in.snaps = in.snaps[1:]
		key := in.log.snapKey(seq)
		snap, err := in.log.loadSnapshot(ctx, seq)
		if err == nil && in.prev.known && in.prev.seq == seq && in.prev.prev != snap.chain {
			err = fmt.Errorf("%s does not chain to slot %d: %w", key, seq, metadata.ErrCorrupt)
		}
		switch {
		case gone(err): // pruned meanwhile
			continue
		case errors.Is(err, metadata.ErrCorrupt), errors.Is(err, objectstore.ErrTooLarge):
			in.fault(metadata.Fault{Key: key, Seq: seq, Snapshot: true, Err: err})
			continue
		case err != nil:
			return err
		}
		in.out.Snapshots++
		if seq < in.seq {
			continue
		}
		if !in.prev.known {
			in.prev = link{seq: seq, prev: snap.chain, known: true}
		}
		if err := in.v.Snapshot(seq, snap.body); err != nil {
			return err
		}
	}
	return nil
}
