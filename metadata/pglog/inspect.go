package pglog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/bargedata/barge/metadata"
)

// inspectBytes is what Inspect reads at a time.
const inspectBytes = 8 << 20

// Inspect looks at every row of the log and gives its snapshots and entries to v: from the boundary on with all, otherwise from the newest
// usable snapshot on. It only reads and may run beside a writer: what a truncation or a checkpoint takes away meanwhile is no fault,
// and entries appended after the walk has met the end are not seen. Memory: one snapshot and 8 MiB of entries. Errors: the
// database's; damage is no error but a metadata.Fault.
func (l *Log) Inspect(ctx context.Context, all bool, v metadata.Visitor) (*metadata.Inspection, error) {
	in := &inspector{log: l, v: v, out: &metadata.Inspection{}}
	err := in.start(ctx, all)
	for done := false; !done && err == nil; {
		done, err = in.page(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", l.schema, err)
	}
	return in.out, nil
}

type inspector struct {
	log *Log
	v   metadata.Visitor
	out *metadata.Inspection

	snaps []uint64 // to come, ascending
	seq   uint64   // entry to come
	prev  link
	term  uint64
}

func (in *inspector) bulk(ctx context.Context, work func(ctx context.Context, c *pgx.Conn) error) error {
	return in.log.with(ctx, bulkFactor*in.log.cfg.CallTimeout, work)
}

// start finds where readers start and where this walk does.
func (in *inspector) start(ctx context.Context, all bool) error {
	var s shardRow
	var from base
	var heads []snapshotHead
	if err := in.bulk(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		return pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			if s, err = in.log.scanShard(tx.QueryRow(ctx, in.log.sql(`SELECT `+shardColumns+` FROM @.shard WHERE shard = 0`))); err != nil {
				return err
			}
			if heads, err = in.log.snapshotHeads(ctx, tx); err != nil {
				return err
			}
			if from, err = in.log.loadBase(ctx, tx, s, ^uint64(0)); errors.Is(err, metadata.ErrCorrupt) {
				err = nil // the walk tells
			}
			return err
		})
	}); err != nil {
		return err
	}
	in.out.Boundary, in.seq = s.boundary, s.boundary
	in.out.Base, in.out.HasBase = from.seq, from.has
	if from.has && !all {
		in.seq = from.seq
	}
	for _, h := range slices.Backward(heads) {
		if h.seq >= in.seq {
			in.snaps = append(in.snaps, h.seq)
		}
	}
	in.prev = link{seq: in.seq, known: in.seq == 0}
	return nil
}

// page looks at what follows; done at the end of the log.
func (in *inspector) page(ctx context.Context) (done bool, err error) {
	var rows []row
	var s shardRow
	if err := in.bulk(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		if rows, err = in.log.page(ctx, c, in.seq, inspectBytes); err == nil {
			s, err = in.log.end(ctx, c, false)
		}
		return err
	}); err != nil {
		return false, err
	}
	if len(rows) == 0 {
		return in.last(ctx, s)
	}
	for i := range rows {
		if at := uint64(max(rows[i].seq, 0)); at != in.seq {
			if in.seq < s.boundary { // truncated meanwhile
				in.out.Boundary = s.boundary
				return false, in.skip(max(s.boundary, in.seq))
			}
			if err := in.missing(at); err != nil {
				return false, err
			}
		}
		if err := in.take(ctx, &rows[i]); err != nil {
			return false, err
		}
	}
	return false, nil
}

// take looks at one row, which is that of in.seq.
func (in *inspector) take(ctx context.Context, r *row) error {
	if err := in.snapshots(ctx); err != nil {
		return err
	}
	e, sum, err := r.check()
	if err != nil {
		in.damaged(err)
		return in.skip(in.seq + 1)
	}
	switch {
	case in.prev.known && e.prev != in.prev.prev:
		in.damaged(fmt.Errorf("entry %d does not chain to the one before: %w", e.seq, metadata.ErrCorrupt))
		if err := in.v.Break(e.seq); err != nil {
			return err
		}
	case e.term < in.term:
		in.damaged(fmt.Errorf("entry %d has term %d after %d: %w", e.seq, e.term, in.term, metadata.ErrCorrupt))
	}
	in.term = max(in.term, e.term)
	in.out.Slots++
	in.seq++
	in.out.Next = in.seq
	in.prev = link{seq: in.seq, prev: sum, known: true}
	return in.v.Entry(e.public())
}

// last decides what it means that nothing follows: the end, a truncation, or a hole.
func (in *inspector) last(ctx context.Context, s shardRow) (done bool, err error) {
	switch {
	case in.seq < s.boundary:
		in.out.Boundary = s.boundary
		return false, in.skip(s.boundary)
	case in.seq < s.next:
		// Missing, or appended since: then the next look finds it.
		var found bool
		if err := in.bulk(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
			_, found, err = in.log.slot(ctx, c, in.seq)
			return err
		}); err != nil || found {
			return false, err
		}
		return false, in.missing(s.next)
	}
	if in.prev.known && in.seq == s.next && in.prev.prev != s.head {
		in.damagedAt(max(in.seq, 1)-1, fmt.Errorf("the last entry hashes to %x, the log's end says %x: %w", in.prev.prev[:8], s.head[:8], metadata.ErrCorrupt))
	}
	if err := in.snapshots(ctx); err != nil {
		return false, err
	}
	for _, seq := range in.snaps { // beyond the end
		in.out.Faults = append(in.out.Faults, metadata.Fault{
			Key: in.name("snapshot", seq), Seq: seq, Snapshot: true, Err: fmt.Errorf("the log ends at %d: %w", in.seq, metadata.ErrCorrupt),
		})
	}
	in.out.Next = in.seq
	return true, nil
}

func (in *inspector) name(what string, seq uint64) string {
	return fmt.Sprintf("%s.%s %d", in.log.schema, what, seq)
}

func (in *inspector) damaged(err error) { in.damagedAt(in.seq, err) }

func (in *inspector) damagedAt(seq uint64, err error) {
	in.out.Faults = append(in.out.Faults, metadata.Fault{Key: in.name("entry", seq), Seq: seq, Err: err})
}

// missing tells of a hole that ends at next.
func (in *inspector) missing(next uint64) error {
	in.out.Faults = append(in.out.Faults, metadata.Fault{
		Key: in.name("entry", in.seq), Seq: in.seq, Missing: true,
		Err: fmt.Errorf("entries %d to %d are missing though later ones exist: %w", in.seq, next-1, metadata.ErrCorrupt),
	})
	return in.skip(next)
}

// skip goes on at another entry than the next.
func (in *inspector) skip(to uint64) error {
	in.seq, in.out.Next, in.prev.known = to, to, false
	return in.v.Break(to)
}

// snapshots gives those that belong before the entry to come. Those that a jump has left behind are looked at all the same.
func (in *inspector) snapshots(ctx context.Context) error {
	for len(in.snaps) > 0 && in.snaps[0] <= in.seq {
		seq := in.snaps[0]
		in.snaps = in.snaps[1:]
		b, err := in.load(ctx, seq)
		if err == nil && in.prev.known && in.prev.seq == seq && in.prev.prev != b.chain {
			err = fmt.Errorf("snapshot %d does not chain to the entry before it: %w", seq, metadata.ErrCorrupt)
		}
		switch {
		case errors.Is(err, pgx.ErrNoRows): // pruned meanwhile
			continue
		case errors.Is(err, metadata.ErrCorrupt):
			in.out.Faults = append(in.out.Faults, metadata.Fault{Key: in.name("snapshot", seq), Seq: seq, Snapshot: true, Err: err})
			continue
		case err != nil:
			return err
		}
		in.out.Snapshots++
		if seq < in.seq {
			continue
		}
		if !in.prev.known {
			in.prev = link{seq: seq, prev: b.chain, known: true}
		}
		if err := in.v.Snapshot(seq, b.body); err != nil {
			return err
		}
	}
	return nil
}

func (in *inspector) load(ctx context.Context, seq uint64) (b base, err error) {
	err = in.bulk(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			s, err := in.log.scanShard(tx.QueryRow(ctx, in.log.sql(`SELECT `+shardColumns+` FROM @.shard WHERE shard = 0`)))
			if err != nil {
				return err
			}
			heads, err := in.log.snapshotHeads(ctx, tx)
			if err != nil {
				return err
			}
			at := slices.IndexFunc(heads, func(h snapshotHead) bool { return h.seq == seq })
			if at < 0 {
				return pgx.ErrNoRows
			}
			b, err = in.log.loadSnapshot(ctx, tx, heads[at], s)
			return err
		})
	})
	return b, err
}
