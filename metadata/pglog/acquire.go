package pglog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"github.com/bargedata/barge/metadata"
)

// claimStatement takes the next term and puts a claim into the next slot, whoever appends at the same time, unless another owner has
// term $3 or a newer one. Its hash is that of
// entry.sum.
const claimStatement = `
WITH moved AS (
  UPDATE @.shard SET term = term + 1, next = next + 1, owner = $2, prev = head,
    head = sha256(head || int8send(next) || int8send(term + 1) || '\x02'::bytea || $1::bytea || $2::bytea)
  WHERE shard = 0 AND ($3::bigint = 0 OR term < $3 OR owner = $2)
  RETURNING term, next - 1 AS seq, prev, head)
INSERT INTO @.entry (shard, seq, term, kind, id, prev, hash, body)
SELECT 0, seq, term, 2, $1, prev, head, $2 FROM moved
RETURNING ` + entryColumns

// Acquire implements metadata.Log: one statement, and then the newest usable snapshot. It refuses a database that lies behind its
// witness: ErrOlder.
func (l *Log) Acquire(ctx context.Context, owner string, unless uint64) (metadata.Acquired, error) {
	got, err := l.acquire(ctx, owner, unless)
	if err != nil {
		return metadata.Acquired{}, fmt.Errorf("acquire %s: %w", l.schema, err)
	}
	return got, nil
}

func (l *Log) acquire(ctx context.Context, owner string, unless uint64) (metadata.Acquired, error) {
	if len(owner) > metadata.MaxOwnerBytes {
		return metadata.Acquired{}, fmt.Errorf("owner of %d bytes, at most %d", len(owner), metadata.MaxOwnerBytes)
	}
	if err := l.checkWitness(ctx); err != nil {
		return metadata.Acquired{}, err
	}
	id := l.newID()
	var claim entry
	var sum hash
	var from base
	err := l.with(ctx, bulkFactor*l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) error {
		short, cancel := context.WithTimeout(ctx, l.cfg.CallTimeout)
		defer cancel()
		delete(c.PgConn().CustomData(), warned)
		var r row
		err := c.QueryRow(short, l.sql(claimStatement), id[:], []byte(owner), number(unless)).Scan(r.into()...)
		if errors.Is(err, pgx.ErrNoRows) {
			return l.refused(short, c, unless)
		}
		if err == nil {
			err = heard(c)
		}
		if err == nil {
			claim, sum, err = r.check()
		}
		if err == nil {
			_, from, err = l.start(ctx, c, claim.seq+1)
		}
		return err
	})
	if err != nil {
		return metadata.Acquired{}, err
	}
	l.take(tip{term: claim.term, next: claim.seq + 1, head: sum, id: id}, from)
	l.log.LogAttrs(ctx, slog.LevelInfo, "log acquired", slog.String("log", l.schema), slog.String("owner", owner),
		slog.Uint64("term", claim.term), slog.Uint64("next", claim.seq+1), slog.Uint64("snapshot", from.seq))
	return from.acquired(claim.term, claim.seq+1), nil
}

// refused tells why a claim found no row.
func (l *Log) refused(ctx context.Context, c *pgx.Conn, unless uint64) error {
	s, err := l.end(ctx, c, false)
	if err == nil {
		err = fmt.Errorf("%q has term %d, of %d or above, already: %w", s.owner, s.term, unless, metadata.ErrFenced)
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

// Newest implements metadata.Log.
func (l *Log) Newest(ctx context.Context) (metadata.Acquired, error) {
	if err := l.checkWitness(ctx); err != nil {
		return metadata.Acquired{}, fmt.Errorf("newest of %s: %w", l.schema, err)
	}
	var s shardRow
	var from base
	if err := l.with(ctx, bulkFactor*l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) (err error) {
		if s, from, err = l.start(ctx, c, ^uint64(0)); err == nil {
			_, err = l.durable(ctx, c)
		}
		return err
	}); err != nil {
		return metadata.Acquired{}, fmt.Errorf("newest of %s: %w", l.schema, err)
	}
	l.mu.Lock()
	l.cursor = link{seq: from.seq, prev: from.chain, known: true}
	l.mu.Unlock()
	return from.acquired(s.term, s.next), nil
}

// base is where a replay starts: a snapshot, or the beginning.
type base struct {
	seq   uint64
	term  uint64
	chain hash // of entry seq-1
	body  []byte
	has   bool
}

func (b base) acquired(term, next uint64) metadata.Acquired {
	got := metadata.Acquired{Term: term, Next: next, SnapshotSeq: b.seq, HasSnapshot: b.has}
	if b.has {
		got.Snapshot = b.body
	}
	return got
}

// start finds the end of the log and the newest usable snapshot of a slot up to limit, as they were at one moment.
func (l *Log) start(ctx context.Context, c *pgx.Conn, limit uint64) (s shardRow, from base, err error) {
	err = pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		s, err = l.scanShard(tx.QueryRow(ctx, l.sql(`SELECT `+shardColumns+` FROM @.shard WHERE shard = 0`)))
		if err != nil {
			return err
		}
		from, err = l.loadBase(ctx, tx, s, limit)
		return err
	})
	return s, from, err
}

func (l *Log) loadBase(ctx context.Context, tx pgx.Tx, s shardRow, limit uint64) (base, error) {
	heads, err := l.snapshotHeads(ctx, tx)
	if err != nil {
		return base{}, err
	}
	beyond := false
	for _, h := range heads { // newest first
		switch {
		case h.seq > limit:
			beyond = true
			continue
		case h.seq < s.boundary:
			continue
		}
		b, err := l.loadSnapshot(ctx, tx, h, s)
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, metadata.ErrCorrupt) {
			return base{}, err
		}
		l.log.LogAttrs(ctx, slog.LevelWarn, "snapshot unusable, falling back", slog.String("log", l.schema), slog.Uint64("seq", h.seq), slog.Any("err", err))
	}
	switch {
	case beyond && s.boundary > 0:
		return base{}, fmt.Errorf("later terms went on and truncated the log: %w", metadata.ErrFenced)
	case s.boundary > 0:
		return base{}, fmt.Errorf("no usable snapshot among %d, and entries below %d are gone: %w", len(heads), s.boundary, metadata.ErrCorrupt)
	}
	return base{}, nil
}

// snapshotHead is a row of the table snapshot.
type snapshotHead struct {
	seq, term uint64
	chain     hash
	size      int64
	sum       []byte
}

// snapshotHeads lists the snapshots, newest first. A row that makes no sense has size -1.
func (l *Log) snapshotHeads(ctx context.Context, tx pgx.Tx) ([]snapshotHead, error) {
	rows, err := tx.Query(ctx, l.sql(`SELECT seq, term, chain, size, sum FROM @.snapshot WHERE shard = 0 ORDER BY seq DESC`))
	if err != nil {
		return nil, err
	}
	var heads []snapshotHead
	var seq, term, size int64
	var chain, sum []byte
	_, err = pgx.ForEachRow(rows, []any{&seq, &term, &chain, &size, &sum}, func() error {
		h := snapshotHead{seq: uint64(seq), term: uint64(term), size: size, sum: append([]byte(nil), sum...)}
		if seq < 0 || term < 0 || size < 0 || size > maxSnapshotBytes || len(chain) != len(hash{}) {
			h.size = -1
		} else {
			h.chain = hash(chain)
		}
		heads = append(heads, h)
		return nil
	})
	return heads, err
}

// loadSnapshot fetches a snapshot and checks it, also against the entry that follows it, if there is one. s is the log's end in the
// same transaction.
func (l *Log) loadSnapshot(ctx context.Context, tx pgx.Tx, h snapshotHead, s shardRow) (base, error) {
	if h.size < 0 {
		return base{}, fmt.Errorf("snapshot %d: its row makes no sense: %w", h.seq, metadata.ErrCorrupt)
	}
	body := make([]byte, 0, min(h.size, 2*snapshotPartBytes))
	for part := 0; int64(len(body)) < h.size; part++ {
		var piece []byte
		err := tx.QueryRow(ctx, l.sql(`SELECT body FROM @.snapshot_part WHERE shard = 0 AND seq = $1 AND part = $2`), number(h.seq), part).Scan(&piece)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && (len(piece) == 0 || int64(len(body)+len(piece)) > h.size) {
			return base{}, fmt.Errorf("snapshot %d: part %d is missing or has %d bytes, after %d of %d: %w", h.seq, part, len(piece), len(body), h.size, metadata.ErrCorrupt)
		}
		if err != nil {
			return base{}, err
		}
		body = append(body, piece...)
	}
	if sum := sha256.Sum256(body); string(sum[:]) != string(h.sum) {
		return base{}, fmt.Errorf("snapshot %d (%d bytes) hashes to %x, its row says %x: %w", h.seq, h.size, sum[:8], h.sum, metadata.ErrCorrupt)
	}
	var follower []byte
	if h.seq == s.next {
		follower = s.head[:]
	} else if err := tx.QueryRow(ctx, l.sql(`SELECT prev FROM @.entry WHERE shard = 0 AND seq = $1`), number(h.seq)).Scan(&follower); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return base{}, err
	}
	// A follower that is missing, or makes no sense, is no fault of the snapshot's; whoever replays will meet it.
	if len(follower) == len(hash{}) && hash(follower) != h.chain {
		return base{}, fmt.Errorf("snapshot %d does not chain to the entry after it: %w", h.seq, metadata.ErrCorrupt)
	}
	return base{seq: h.seq, term: h.term, chain: h.chain, body: body, has: true}, nil
}
