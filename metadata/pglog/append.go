package pglog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/bargedata/barge/metadata"
)

// Append implements metadata.Log. It is one statement, and one answer of the server after its commit is durable.
func (l *Log) Append(ctx context.Context, term, seq uint64, id [16]byte, body []byte) error {
	if len(body) > metadata.MaxEntryBytes {
		return fmt.Errorf("append slot %d (%d bytes): %w", seq, len(body), metadata.ErrEntryTooLarge)
	}
	t := l.currentTip()
	if t.term == term && seq+1 == t.next && id == t.id {
		return nil // a repeat of the last success, whatever happened since
	}
	if t.term == term && seq < t.next {
		return l.appended(ctx, term, seq, id)
	}
	if err := t.holds(term); err != nil {
		return fmt.Errorf("append slot %d: %w", seq, err)
	}
	if seq > t.next {
		return fmt.Errorf("append slot %d: the next slot is %d", seq, t.next)
	}
	return l.write(ctx, t, id, body)
}

const appendStatement = `
WITH moved AS (
  UPDATE @.shard SET next = next + 1, head = $5, prev = head
  WHERE shard = 0 AND term = $1 AND next = $2 AND head = $4
  RETURNING 1)
INSERT INTO @.entry (shard, seq, term, kind, id, prev, hash, body)
SELECT 0, $2::bigint, $1::bigint, 1, $3, $4, $5, $6 FROM moved`

// write puts an entry into slot t.next and moves the tip past it. Whatever goes wrong on the way leaves the outcome unknown.
func (l *Log) write(ctx context.Context, t tip, id [16]byte, body []byte) error {
	e := entry{seq: t.next, term: t.term, kind: kindEntry, id: id, prev: t.head, body: body}
	if e.body == nil {
		e.body = []byte{}
	}
	sum := e.sum()
	var verdict error // what is known for certain
	err := l.with(ctx, l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) error {
		delete(c.PgConn().CustomData(), warned)
		tag, err := c.Exec(ctx, l.sql(appendStatement), number(e.term), number(e.seq), id[:], e.prev[:], sum[:], e.body)
		if err != nil {
			return err
		}
		if err := heard(c); err != nil {
			return err
		}
		if tag.RowsAffected() == 1 {
			return nil
		}
		verdict, err = l.settle(ctx, c, e, sum)
		return err
	})
	switch {
	case errors.Is(err, metadata.ErrCorrupt):
		return fmt.Errorf("append slot %d: %w", e.seq, err)
	case err != nil:
		return fmt.Errorf("append slot %d (%d bytes): %w", e.seq, len(body), inDoubt(err))
	case verdict != nil:
		if errors.Is(verdict, metadata.ErrFenced) {
			l.fence(e.term)
		}
		return fmt.Errorf("append slot %d in term %d: %w", e.seq, e.term, verdict)
	}
	l.advance(t, tip{term: e.term, next: e.seq + 1, head: sum, id: id})
	return nil
}

// inDoubt is err as metadata.ErrUnknown.
func inDoubt(err error) error {
	if errors.Is(err, metadata.ErrUnknown) {
		return err
	}
	return fmt.Errorf("%w: %w", metadata.ErrUnknown, err)
}

// heard is an error when the server warned during the last statement: a commit whose wait for the standby was canceled is answered as
// if all were well, but for a warning.
func heard(c *pgx.Conn) error {
	if text, ok := c.PgConn().CustomData()[warned]; ok {
		delete(c.PgConn().CustomData(), warned)
		return fmt.Errorf("the server warned: %v", text)
	}
	return nil
}

// shardRow is the row of the shard.
type shardRow struct {
	term, next, boundary uint64
	head                 hash
	owner                string
}

const shardColumns = `term, next, boundary, head, owner`

func (l *Log) scanShard(r pgx.Row) (shardRow, error) {
	var term, next, boundary int64
	var head, owner []byte
	if err := r.Scan(&term, &next, &boundary, &head, &owner); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			return shardRow{}, fmt.Errorf("schema %s has no row for the log's end: %w", l.schema, metadata.ErrCorrupt)
		}
		return shardRow{}, err
	}
	if term < 0 || next < 0 || boundary < 0 || boundary > next || len(head) != len(hash{}) {
		return shardRow{}, fmt.Errorf("schema %s: the log's end is term %d, next %d, boundary %d: %w", l.schema, term, next, boundary, metadata.ErrCorrupt)
	}
	return shardRow{term: uint64(term), next: uint64(next), boundary: uint64(boundary), head: hash(head), owner: string(owner)}, nil
}

// durable asks for the shard's row and returns when all that was committed before is durable.
func (l *Log) durable(ctx context.Context, c *pgx.Conn) (shardRow, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.CallTimeout)
	defer cancel()
	delete(c.PgConn().CustomData(), warned)
	s, err := l.scanShard(c.QueryRow(ctx, l.sql(`WITH t AS (UPDATE @.touch SET n = n + 1 WHERE shard = 0) SELECT `+shardColumns+` FROM @.shard WHERE shard = 0`)))
	if err != nil {
		return shardRow{}, err
	}
	return s, heard(c)
}

// settle finds out what became of e, which did not get its slot: verdict nil when it is there, from an earlier try.
func (l *Log) settle(ctx context.Context, c *pgx.Conn, e entry, sum hash) (verdict, err error) {
	s, err := l.durable(ctx, c)
	if err != nil {
		return nil, err
	}
	held, found, err := l.slot(ctx, c, e.seq)
	switch {
	case err != nil:
		return nil, err
	case found && held.hash == sum:
		return nil, nil
	case s.term > e.term:
		return fmt.Errorf("%q owns the log in term %d: %w", s.owner, s.term, metadata.ErrFenced), nil
	case s.term < e.term || s.next < e.seq:
		return fmt.Errorf("the database is at term %d, slot %d: it has gone back in time, as after an old copy of it was brought back: %w",
			s.term, s.next, metadata.ErrCorrupt), nil
	case found:
		return fmt.Errorf("id %x: the slot holds term %d id %x, which no rule allows: %w", e.id, held.term, held.id, metadata.ErrCorrupt), nil
	default:
		return fmt.Errorf("the log's end hashes to %x where this term left %x: %w", s.head[:8], e.prev[:8], metadata.ErrCorrupt), nil
	}
}

// slotHead is what tells whose a slot is.
type slotHead struct {
	term uint64
	kind entryKind
	id   [16]byte
	hash hash
}

func (l *Log) slot(ctx context.Context, c *pgx.Conn, seq uint64) (slotHead, bool, error) {
	var term int64
	var kind int16
	var id, sum []byte
	err := c.QueryRow(ctx, l.sql(`SELECT term, kind, id, hash FROM @.entry WHERE shard = 0 AND seq = $1`), number(seq)).Scan(&term, &kind, &id, &sum)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return slotHead{}, false, nil
	case err != nil:
		return slotHead{}, false, err
	case len(id) != 16 || len(sum) != len(hash{}):
		return slotHead{}, false, fmt.Errorf("slot %d: id of %d bytes, hash of %d: %w", seq, len(id), len(sum), metadata.ErrCorrupt)
	}
	return slotHead{term: uint64(term), kind: entryKind(kind), id: [16]byte(id), hash: hash(sum)}, true, nil
}

// appended answers the repeat of an append that lies behind the tip.
func (l *Log) appended(ctx context.Context, term, seq uint64, id [16]byte) error {
	var held slotHead
	var found bool
	err := l.with(ctx, l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) (err error) {
		if _, err = l.durable(ctx, c); err == nil {
			held, found, err = l.slot(ctx, c, seq)
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("append slot %d: %w", seq, inDoubt(err))
	case !found: // only truncation deletes, so this caller is a day behind
		return fmt.Errorf("append slot %d, truncated since: %w", seq, metadata.ErrFenced)
	case held.term != term || held.id != id || held.kind != kindEntry:
		return fmt.Errorf("append slot %d: it is filled with id %x of term %d", seq, held.id, held.term)
	}
	return nil
}

// Confirm implements metadata.Log. It writes, so that a server that was deposed and does not know it can not answer.
func (l *Log) Confirm(ctx context.Context, term, next uint64) error {
	t := l.currentTip()
	if err := t.holds(term); err != nil {
		return fmt.Errorf("confirm slot %d: %w", next, err)
	}
	if next > t.next {
		return fmt.Errorf("confirm slot %d: the next slot is %d", next, t.next)
	}
	var s shardRow
	if err := l.with(ctx, l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) (err error) {
		s, err = l.durable(ctx, c)
		return err
	}); err != nil {
		return fmt.Errorf("confirm slot %d: %w", next, err)
	}
	switch {
	case s.term > term:
		l.fence(term)
		return fmt.Errorf("confirm term %d: %q owns the log in term %d: %w", term, s.owner, s.term, metadata.ErrFenced)
	case s.term < term || s.next < next:
		return fmt.Errorf("confirm term %d at slot %d: the database is at term %d, slot %d, it has gone back in time: %w", term, next, s.term, s.next, metadata.ErrCorrupt)
	case s.next > next:
		return fmt.Errorf("confirm slot %d: filled by this term meanwhile: %w", next, metadata.ErrUnknown)
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

// holds checks that term is the one this handle acquired last and has not seen ended.
func (t tip) holds(term uint64) error { return metadata.CheckTerm(term, t.term, t.fenced) }

func (l *Log) currentTip() tip {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tip
}

// fence remembers that term has ended, so that later calls need not ask the database.
func (l *Log) fence(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tip.term == term {
		l.tip.fenced = true
	}
}
