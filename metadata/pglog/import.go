package pglog

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/bargedata/barge/metadata"
)

// ErrNotEmpty says that the database holds a log of this cluster that Import must not replace.
var ErrNotEmpty = errors.New("the database holds a log of this cluster already")

// importTimes is how much longer than a snapshot a whole log may take.
const importTimes = 6

// Import writes a whole log into the schema of cfg.Cluster, in one transaction, and returns the id it has from then on. Entries keep their
// slots and terms, and chain anew. It replaces nothing but an empty log and an earlier import that nothing was appended to, which one
// that was never taken into use is; the log bound, "" for none, stays in any case. Errors: ErrNotEmpty, and Open's.
func Import(ctx context.Context, cfg Config, log metadata.LogCopy, bound string, newID func() [16]byte, logger *slog.Logger) (id string, err error) {
	cfg.Create = true
	l, err := Open(ctx, cfg, newID, logger)
	if err != nil {
		return "", err
	}
	defer l.Close()
	fresh := newID()
	im := &importer{log: l, copy: log, bound: bound, id: hex.EncodeToString(fresh[:])}
	if err := l.with(ctx, importTimes*bulkFactor*l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { return im.run(ctx, tx) })
	}); err != nil {
		return "", fmt.Errorf("import to %s: %w", Place(cfg.URL), err)
	}
	return im.id, nil
}

type importer struct {
	log   *Log
	copy  metadata.LogCopy
	bound string
	id    string
	prev  hash
	snap  base
}

func (im *importer) run(ctx context.Context, tx pgx.Tx) error {
	if err := im.clear(ctx, tx); err != nil {
		return err
	}
	im.snap = base{seq: im.copy.SnapshotSeq, term: im.copy.Term, body: im.copy.Snapshot}
	if err := im.copy.Each(ctx, func(entries []metadata.LogEntry) error { return im.entries(ctx, tx, entries) }); err != nil {
		return err
	}
	if im.copy.HasSnapshot {
		if im.copy.SnapshotSeq == im.copy.Next {
			im.snap.chain = im.prev
		}
		if err := im.log.putSnapshot(ctx, tx, im.snap); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, im.log.sql(`UPDATE @.shard SET term = $1, next = $2, boundary = $3, head = $4, prev = $4, owner = '' WHERE shard = 0`),
		number(im.copy.Term), number(im.copy.Next), number(im.copy.From), im.prev[:]); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, im.log.sql(`UPDATE @.log SET id = $1, origin = $2, copied_to = $3`), im.id, im.copy.Origin, number(im.copy.Next))
	return err
}

// clear makes room, and refuses to where a log is in use.
func (im *importer) clear(ctx context.Context, tx pgx.Tx) error {
	var id string
	var copiedTo int64
	if err := tx.QueryRow(ctx, im.log.sql(`SELECT id, copied_to FROM @.log FOR UPDATE`)).Scan(&id, &copiedTo); err != nil {
		return err
	}
	s, err := im.log.scanShard(tx.QueryRow(ctx, im.log.sql(`SELECT `+shardColumns+` FROM @.shard WHERE shard = 0 FOR UPDATE`)))
	if err != nil {
		return err
	}
	if s.next > 0 && (id == im.bound || s.next != uint64(copiedTo)) {
		return fmt.Errorf("log %s, of %d entries; if it is of no use any more, drop the schema %s: %w", id, s.next, im.log.schema, ErrNotEmpty)
	}
	for _, table := range []string{"entry", "snapshot"} {
		if _, err := tx.Exec(ctx, im.log.sql(`DELETE FROM @.`+table)); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) entries(ctx context.Context, tx pgx.Tx, entries []metadata.LogEntry) error {
	rows := make([][]any, 0, len(entries))
	for _, le := range entries {
		e := entry{seq: le.Seq, term: le.Term, kind: kindEntry, id: im.log.newID(), prev: im.prev, body: le.Body}
		if le.Claim {
			e.kind = kindClaim
		}
		if e.body == nil {
			e.body = []byte{}
		}
		if e.seq == im.copy.SnapshotSeq {
			im.snap.chain, im.snap.term = im.prev, e.term
		}
		sum := e.sum()
		rows = append(rows, []any{0, number(e.seq), number(e.term), int16(e.kind), e.id[:], slices.Clone(e.prev[:]), sum[:], e.body})
		im.prev = sum
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{im.log.schema, "entry"}, []string{"shard", "seq", "term", "kind", "id", "prev", "hash", "body"}, pgx.CopyFromRows(rows))
	return err
}
