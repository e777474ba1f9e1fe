package pglog

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/bargedata/barge/metadata"
)

type entryKind int16

const (
	kindEntry entryKind = 1
	kindClaim entryKind = 2
)

// hash is the SHA-256 over an entry and the hash of the one before, so that a log that was rolled back, mixed with another or edited by
// hand does not pass for whole.
type hash [sha256.Size]byte

// entry is one row of the table entry.
type entry struct {
	seq, term uint64
	kind      entryKind
	id        [16]byte
	prev      hash   // of entry seq-1, zero for entry 0
	body      []byte // of a claim: the owner
}

// sum computes what the row's hash must be. The statement of Acquire computes the same on the server. Source: docs/format/postgres-log.md.
func (e entry) sum() hash {
	h := sha256.New()
	var head [sha256.Size + 8 + 8 + 1 + 16]byte
	copy(head[:], e.prev[:])
	binary.BigEndian.PutUint64(head[32:], e.seq)
	binary.BigEndian.PutUint64(head[40:], e.term)
	head[48] = byte(e.kind)
	copy(head[49:], e.id[:])
	_, _ = h.Write(head[:]) // never fails
	_, _ = h.Write(e.body)
	return hash(h.Sum(nil))
}

// row is an entry as the server gave it, not checked yet.
type row struct {
	seq, term      int64
	kind           int16
	id, prev, hash []byte
	body           []byte
}

// into are the places for Scan, in the order of entryColumns.
func (r *row) into() []any { return []any{&r.seq, &r.term, &r.kind, &r.id, &r.prev, &r.hash, &r.body} }

const entryColumns = `seq, term, kind, id, prev, hash, body`

// check returns the entry when all of the row fits together. The error wraps metadata.ErrCorrupt.
func (r *row) check() (entry, hash, error) {
	kind := entryKind(r.kind)
	if r.seq < 0 || r.term <= 0 || kind != kindEntry && kind != kindClaim || len(r.id) != 16 || len(r.prev) != sha256.Size || len(r.hash) != sha256.Size ||
		len(r.body) > metadata.MaxEntryBytes || kind == kindClaim && len(r.body) > metadata.MaxOwnerBytes {
		return entry{}, hash{}, fmt.Errorf("entry %d of term %d, kind %d: id of %d bytes, hashes of %d and %d, body of %d: %w",
			r.seq, r.term, r.kind, len(r.id), len(r.prev), len(r.hash), len(r.body), metadata.ErrCorrupt)
	}
	e := entry{seq: uint64(r.seq), term: uint64(r.term), kind: kind, id: [16]byte(r.id), prev: hash(r.prev), body: r.body}
	sum := e.sum()
	if sum != hash(r.hash) {
		return entry{}, hash{}, fmt.Errorf("entry %d hashes to %x, its row says %x: %w", e.seq, sum[:8], r.hash[:8], metadata.ErrCorrupt)
	}
	return e, sum, nil
}

// public is the entry as callers of the log see it.
func (e entry) public() metadata.LogEntry {
	out := metadata.LogEntry{Seq: e.seq, Term: e.term, Claim: e.kind == kindClaim}
	if !out.Claim {
		out.Body = e.body
	}
	return out
}

// number makes the bigint of a term or slot; those beyond its range do not exist, and the largest one finds nothing.
func number(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
