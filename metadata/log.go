package metadata

import (
	"context"
	"errors"
	"fmt"
)

// MaxEntryBytes is the largest body Append takes, in bytes.
const MaxEntryBytes = 16 << 20

// ErrEntryTooLarge is Append's answer to a body above MaxEntryBytes. Nothing was written.
var ErrEntryTooLarge = errors.New("log entry too large")

// Log is a fenced log: slots numbered from 0 without gaps, each filled once, by the holder of the newest term. Engines
// know nothing of what a body means. Time and leases are outside: they only decide who calls Acquire.
//
// A handle is safe for concurrent use. Appends of one term are made one at a time by the one sequencer that acquired it;
// Confirm, Read, Checkpoint, Truncate and Hint may run beside. Slices passed in belong to the caller again when the call
// returns; slices handed out belong to the caller. Except where said otherwise an error that is none of the named ones
// (a store that does not answer, ctx ended) changes nothing about the promises here and the call may be repeated.
//
// The contract is the seven points of DESIGN "The metadata log"; logtest holds every engine to it.
type Log interface {
	// Acquire takes a new term, higher than every earlier one. After it returns, no Append of a lower term can succeed.
	// Of callers that race, several may return, each with its own term; only the highest can append. owner is what Hint
	// tells others, at most MaxOwnerBytes. Where unless is not 0, no term is taken once another owner has that one or a newer:
	// who claims because the holder of a term has gone does not mean the one who came after it. The caller loads
	// Acquired.Snapshot, reads [SnapshotSeq, Next) and then appends at Next. ErrFenced: another owner has such a term, or took
	// one while this call was under way, or the log was truncated past what it had found; call again, with another unless,
	// if the other one will not do. ErrCorrupt: no snapshot is
	// usable or a slot is damaged; a human is needed. Any other error: no term was taken that the caller may use, though
	// a claim may still land and end somebody's term; call again.
	Acquire(ctx context.Context, owner string, unless uint64) (Acquired, error)

	// Newest is the start of a reader, with the meaning Acquired has there: the newest usable snapshot, the end of the log at
	// some moment after the call began, and the term of its newest slot, 0 where nobody has acquired yet. It writes
	// nothing and fences nobody, and the log may have grown, or been truncated past SnapshotSeq, by the time it is read.
	// Errors as Acquire's.
	Newest(ctx context.Context) (Acquired, error)

	// Append makes body durable at exactly seq, which must be the next free slot, and returns nil. It is idempotent in
	// (term, seq, id): repeating a call that took effect returns nil and writes nothing.
	//
	// ErrUnknown: the entry may or may not be there, now or later. The caller repeats the same call (same term, seq, id
	// and body) until it gets another answer, appends nothing else, and answers nobody meanwhile.
	// ErrFenced: a newer term owns the log, this term will never append again. The entry may be in the log all the same:
	// from an earlier try that answered ErrUnknown, or from this one, if it stood still between its write and its last
	// check. So clients are told "unknown", never "not written".
	// ErrEntryTooLarge: refused, nothing written by any try. ErrCorrupt: the slot holds what can not be; stop.
	// Any other error is a mistake of the caller (a term never acquired by this handle, a seq that is not next, another
	// id at a seq already written) and leaves the log as it was.
	Append(ctx context.Context, term, seq uint64, id [16]byte, body []byte) error

	// Confirm returns nil when, at some instant after the call began, term was the newest and no slot at next or beyond
	// was filled: everything readable as of next was current then. ErrFenced: a newer term owns the log. ErrUnknown: the
	// slot holds an entry of this very term, written by an Append beside this call; nothing is proved either way, ask
	// again with a later next. Any other error proves nothing as well. A successful Append that began after a question
	// arrived confirms too, so a busy sequencer needs no Confirm.
	Confirm(ctx context.Context, term, next uint64) error

	// Read returns the entries from slot from on, a gap-free prefix of what is there: at least one when there is any
	// beyond from, then as many as fit in maxBytes of bodies together. It may lag behind appends that are under way and
	// be empty; an entry returned never changes or disappears from the order. Entries with Claim set mark where a term began.
	// ErrTruncated: slot from is below the boundary, start from a snapshot. A truncation that happens while a reader stands
	// at the same from may take a handful of empty Reads to show.
	// ErrCorrupt: an entry fails its checks or does not chain to the one before.
	Read(ctx context.Context, from uint64, maxBytes int) ([]LogEntry, error)

	// Checkpoint publishes snapshot as the state after all entries below seq, which the caller has read or appended. The
	// engine keeps the newest few. Publishing the same seq again is no error. ErrFenced when this handle knows the term
	// is over; a checkpoint of a deposed sequencer that does not know it yet is harmless.
	Checkpoint(ctx context.Context, term, seq uint64, snapshot []byte) error

	// Truncate lets the engine drop slots below below. It keeps more where safety asks for it: slots above an older kept
	// snapshot, and slots younger than the engine's minimum life. nil does not mean that anything is gone yet.
	// ErrFenced when this handle knows the term is over.
	Truncate(ctx context.Context, term, below uint64) error

	// Hint tells who owned the newest term and where the log ended a moment ago. Both may be wrong without harm.
	Hint(ctx context.Context) (Hint, error)
}

// MaxOwnerBytes bounds Acquire's owner.
const MaxOwnerBytes = 256

// Acquired is what a new sequencer starts from, and a reader that only follows.
type Acquired struct {
	Term uint64 // never 0 from Acquire
	Next uint64 // the slot of the first Append; everything below is filled
	// SnapshotSeq is the first slot to replay: 0 without a snapshot, and then Snapshot is nil.
	SnapshotSeq uint64
	Snapshot    []byte
	HasSnapshot bool
}

// LogEntry is one filled slot. An engine may use slots for its own claims: Claim is then true, Body is empty and carries
// no commands. A claim takes its place in the numbering, so a State advances past it as past any entry, and nothing else
// changes but the term.
type LogEntry struct {
	Seq   uint64
	Term  uint64 // never lower than that of an earlier slot
	Claim bool
	Body  []byte
}

// Hint is advisory. Owner is "" when nobody has acquired yet.
type Hint struct {
	Owner string
	Term  uint64
	Next  uint64
}

// CheckTerm tells whether a handle may act in term: it holds the term it acquired last, 0 for none, and ended says that it has seen a newer one.
// Errors: ErrFenced - the term is over; any other - a mistake of the caller, who never acquired it here. For engines.
func CheckTerm(term, held uint64, ended bool) error {
	switch {
	case term < held:
		return fmt.Errorf("term %d, this handle holds %d: %w", term, held, ErrFenced)
	case term > held || held == 0:
		return fmt.Errorf("term %d was never acquired by this handle, which holds %d", term, held)
	case ended:
		return fmt.Errorf("term %d has ended: %w", term, ErrFenced)
	}
	return nil
}
