package pglog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bargedata/barge/metadata"
)

const (
	// maxSnapshotBytes is as in bucketlog, so that a log can move either way.
	maxSnapshotBytes = 1 << 30
	// snapshotPartBytes is what one row of a snapshot holds: PostgreSQL's values end at 1 GiB, and both sides keep a whole one in
	// memory several times.
	snapshotPartBytes = 8 << 20
)

// Checkpoint implements metadata.Log, in one transaction. A snapshot of at most 1 GiB.
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
	err := l.with(ctx, bulkFactor*l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { return l.checkpoint(ctx, tx, term, seq, body) })
	})
	if errors.Is(err, metadata.ErrFenced) {
		l.fence(term)
	}
	if err != nil {
		return fmt.Errorf("checkpoint %d (%d bytes): %w", seq, len(body), err)
	}
	l.log.LogAttrs(ctx, slog.LevelInfo, "checkpoint published", slog.String("log", l.schema), slog.Uint64("seq", seq), slog.Int("size", len(body)))
	return nil
}

func (l *Log) checkpoint(ctx context.Context, tx pgx.Tx, term, seq uint64, body []byte) error {
	s, err := l.scanShard(tx.QueryRow(ctx, l.sql(`SELECT `+shardColumns+` FROM @.shard WHERE shard = 0`)))
	if err != nil {
		return err
	}
	if s.term > term {
		return fmt.Errorf("%q owns the log in term %d: %w", s.owner, s.term, metadata.ErrFenced)
	}
	chain, err := l.chainAt(ctx, tx, seq)
	if err != nil {
		return err
	}
	heads, err := l.snapshotHeads(ctx, tx)
	if err != nil {
		return err
	}
	if at := slices.IndexFunc(heads, func(h snapshotHead) bool { return h.seq == seq }); at >= 0 {
		// Equal logs give equal states, so whoever published it published the same; unless it is damaged.
		held, err := l.loadSnapshot(ctx, tx, heads[at], s)
		if err == nil && held.chain == chain {
			return nil
		}
		if err != nil && !errors.Is(err, metadata.ErrCorrupt) {
			return err
		}
		if _, err := tx.Exec(ctx, l.sql(`DELETE FROM @.snapshot WHERE shard = 0 AND seq = $1`), number(seq)); err != nil {
			return err
		}
	}
	if err := l.putSnapshot(ctx, tx, base{seq: seq, term: term, chain: chain, body: body}); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, l.sql(`DELETE FROM @.snapshot WHERE shard = 0 AND seq NOT IN (SELECT seq FROM @.snapshot WHERE shard = 0 ORDER BY seq DESC LIMIT $1)`), l.cfg.KeepSnapshots)
	return err
}

// chainAt is the hash of the entry before slot seq.
func (l *Log) chainAt(ctx context.Context, tx pgx.Tx, seq uint64) (hash, error) {
	if seq == 0 {
		return hash{}, nil
	}
	var sum []byte
	err := tx.QueryRow(ctx, l.sql(`SELECT hash FROM @.entry WHERE shard = 0 AND seq = $1`), number(seq-1)).Scan(&sum)
	if err != nil {
		return hash{}, fmt.Errorf("entry %d: %w", seq-1, err)
	}
	if len(sum) != len(hash{}) {
		return hash{}, fmt.Errorf("entry %d has a hash of %d bytes: %w", seq-1, len(sum), metadata.ErrCorrupt)
	}
	return hash(sum), nil
}

func (l *Log) putSnapshot(ctx context.Context, tx pgx.Tx, b base) error {
	sum := sha256.Sum256(b.body)
	if _, err := tx.Exec(ctx, l.sql(`INSERT INTO @.snapshot (shard, seq, term, chain, size, sum) VALUES (0, $1, $2, $3, $4, $5)`),
		number(b.seq), number(b.term), b.chain[:], len(b.body), sum[:]); err != nil {
		return err
	}
	part := 0
	for piece := range slices.Chunk(b.body, snapshotPartBytes) {
		if _, err := tx.Exec(ctx, l.sql(`INSERT INTO @.snapshot_part (shard, seq, part, body) VALUES (0, $1, $2, $3)`), number(b.seq), part, piece); err != nil {
			return err
		}
		part++
	}
	return nil
}

// deleteBatch is how many entries one statement deletes: a long one would hold back what else the server cleans up.
const deleteBatch = 1000

// Truncate implements metadata.Log. The boundary is raised first; what was not deleted then, because the call was cut short, the next one
// deletes.
func (l *Log) Truncate(ctx context.Context, term, below uint64) error {
	t := l.currentTip()
	if err := t.holds(term); err != nil {
		return fmt.Errorf("truncate below %d: %w", below, err)
	}
	var to uint64
	err := l.with(ctx, bulkFactor*l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) (err error) {
		if to, err = l.raise(ctx, c, term, below); err != nil {
			return err
		}
		for {
			tag, err := c.Exec(ctx, l.sql(`DELETE FROM @.entry WHERE shard = 0 AND seq IN (SELECT seq FROM @.entry WHERE shard = 0 AND seq < $1 ORDER BY seq LIMIT $2)`), number(to), deleteBatch)
			if err != nil || tag.RowsAffected() < deleteBatch {
				return err
			}
		}
	})
	if errors.Is(err, metadata.ErrFenced) {
		l.fence(term)
	}
	if err != nil {
		return fmt.Errorf("truncate below %d: %w", below, err)
	}
	return nil
}

// raise moves the boundary as far as age and snapshots allow and returns where it is.
func (l *Log) raise(ctx context.Context, c *pgx.Conn, term, below uint64) (uint64, error) {
	s, err := l.end(ctx, c, false)
	if err != nil {
		return 0, err
	}
	if s.term > term {
		return 0, fmt.Errorf("%q owns the log in term %d: %w", s.owner, s.term, metadata.ErrFenced)
	}
	var oldest, snapshots int64
	if err := c.QueryRow(ctx, l.sql(`SELECT coalesce(min(seq), 0), count(*) FROM @.snapshot WHERE shard = 0`)).Scan(&oldest, &snapshots); err != nil {
		return 0, err
	}
	limit := truncateLimit(below, uint64(oldest), snapshots)
	if limit <= s.boundary {
		return s.boundary, nil
	}
	// The first entry that is too young: all before it are looked at, and go.
	var young *int64
	err = c.QueryRow(ctx, l.sql(`SELECT seq FROM @.entry WHERE shard = 0 AND seq < $1 AND at > clock_timestamp() - make_interval(secs => $2) ORDER BY seq LIMIT 1`),
		number(limit), l.cfg.EntryLife.Seconds()).Scan(&young)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, err
	}
	to := limit
	if young != nil {
		to = min(to, uint64(*young))
	}
	if to <= s.boundary {
		return s.boundary, nil
	}
	tag, err := c.Exec(ctx, l.sql(`UPDATE @.shard SET boundary = $2 WHERE shard = 0 AND term = $1 AND boundary < $2`), number(term), number(to))
	if err != nil {
		return 0, err
	}
	if tag.RowsAffected() == 0 {
		return 0, fmt.Errorf("term %d ended meanwhile, or the boundary moved: %w", term, errRaced)
	}
	l.log.LogAttrs(ctx, slog.LevelInfo, "log truncated", slog.String("log", l.schema), slog.Uint64("boundary", to))
	return to, nil
}

var errRaced = errors.New("another truncation or term was faster")

// truncateLimit decides how far the snapshots let entries go: every kept snapshot must stay usable, so that a damaged newest one can be
// replaced by an older one and the entries after it. 0 means nothing may go.
func truncateLimit(below, oldest uint64, snapshots int64) uint64 {
	if snapshots < 2 {
		return 0
	}
	return min(below, oldest)
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
