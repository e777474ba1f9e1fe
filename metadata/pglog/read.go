package pglog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// readEntries bounds the entries of one Read.
const readEntries = 1000

// readStatement gives entries from $1 on, as many as fit in $2 bytes and the first one in any case. The lengths of large bodies are
// known without reading them.
const readStatement = `
SELECT ` + entryColumns + ` FROM (
  SELECT *, sum(octet_length(body)) OVER (ORDER BY seq) AS total FROM (
    SELECT * FROM @.entry WHERE shard = 0 AND seq >= $1 ORDER BY seq LIMIT $3) page) e
WHERE total <= $2 OR seq = $1 ORDER BY seq`

// Read implements metadata.Log, at most 1,000 entries at a time. It costs two statements and, when it found something, a small write.
func (l *Log) Read(ctx context.Context, from uint64, maxBytes int) ([]metadata.LogEntry, error) {
	var out []metadata.LogEntry
	at := l.linkAt(from)
	err := l.with(ctx, bulkFactor*l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) error {
		entries, err := l.page(ctx, c, from, maxBytes)
		if err != nil {
			return err
		}
		// The boundary after the entries: what is missing from their beginning was truncated before it was read.
		s, err := l.end(ctx, c, len(entries) > 0)
		if err != nil {
			return err
		}
		if from < s.boundary {
			return fmt.Errorf("boundary %d: %w", s.boundary, metadata.ErrTruncated)
		}
		if len(entries) == 0 && from < s.next {
			// Appended since, or missing; the next Read tells.
			if entries, err = l.page(ctx, c, from, 0); err == nil && len(entries) == 0 {
				return fmt.Errorf("entry %d is missing though the log ends at %d: %w", from, s.next, metadata.ErrCorrupt)
			}
			return err
		}
		out, at, err = chain(from, at, entries)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read log from %d: %w", from, err)
	}
	if len(out) > 0 {
		l.mu.Lock()
		l.cursor = at
		l.mu.Unlock()
	}
	return out, nil
}

func (l *Log) page(ctx context.Context, c *pgx.Conn, from uint64, maxBytes int) ([]row, error) {
	rows, err := c.Query(ctx, l.sql(readStatement), number(from), maxBytes, readEntries)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (row, error) {
		var e row
		return e, r.Scan(e.into()...)
	})
}

// end is the log's end: as it is, or once all that was read is durable.
func (l *Log) end(ctx context.Context, c *pgx.Conn, durable bool) (shardRow, error) {
	if durable {
		return l.durable(ctx, c)
	}
	return l.scanShard(c.QueryRow(ctx, l.sql(`SELECT `+shardColumns+` FROM @.shard WHERE shard = 0`)))
}

// chain checks that rows are the entries from slot from on, each following the one before.
func chain(from uint64, at link, rows []row) ([]metadata.LogEntry, link, error) {
	var out []metadata.LogEntry
	for i := range rows {
		e, sum, err := rows[i].check()
		if err != nil {
			return nil, at, err
		}
		switch {
		case e.seq != from+uint64(i):
			return nil, at, fmt.Errorf("entry %d is missing though %d is there: %w", from+uint64(i), e.seq, metadata.ErrCorrupt)
		case at.known && e.prev != at.prev:
			return nil, at, fmt.Errorf("entry %d does not chain to the one before: %w", e.seq, metadata.ErrCorrupt)
		case i > 0 && e.term < out[i-1].Term:
			return nil, at, fmt.Errorf("entry %d has term %d after %d: %w", e.seq, e.term, out[i-1].Term, metadata.ErrCorrupt)
		}
		out = append(out, e.public())
		at = link{seq: e.seq + 1, prev: sum, known: true}
	}
	return out, at, nil
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

// Hint implements metadata.Log: one row.
func (l *Log) Hint(ctx context.Context) (metadata.Hint, error) {
	var s shardRow
	if err := l.with(ctx, l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) (err error) {
		s, err = l.end(ctx, c, false)
		return err
	}); err != nil {
		return metadata.Hint{}, fmt.Errorf("hint: %w", err)
	}
	return metadata.Hint{Owner: s.owner, Term: s.term, Next: s.next}, nil
}

// WithInline returns store, but for objects that lie in this log's entries (metadata.InlineKey): those that `barge metadata copy` brought
// from a bucket, as nothing puts objects into a log in a database. Besides the store's, errors: objectstore.ErrNotFound - the
// entry was truncated; metadata.ErrCorrupt; metadata.ErrUnknown.
func (l *Log) WithInline(store objectstore.Store) objectstore.Store {
	return metadata.WithInline(store, l.slotBody)
}

func (l *Log) slotBody(ctx context.Context, seq uint64) ([]byte, error) {
	var r row
	err := l.with(ctx, bulkFactor*l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, l.sql(`SELECT `+entryColumns+` FROM @.entry WHERE shard = 0 AND seq = $1`), number(seq)).Scan(r.into()...)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("slot %d: %w", seq, objectstore.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("slot %d: %w: %w", seq, objectstore.ErrUnknown, err)
	}
	e, _, err := r.check()
	return e.public().Body, err
}
