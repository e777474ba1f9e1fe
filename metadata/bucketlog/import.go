package bucketlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// importWriters is how many slots Import writes side by side.
const importWriters = 8

// errTaken says that a place is not empty.
var errTaken = errors.New("there is something already")

// Import writes a whole log under cfg.Prefix, where there must be nothing and which nobody else may know: it is no append, and races with
// nobody. Entries keep their slots and terms, and chain anew. What an import that failed leaves is never used again.
func Import(ctx context.Context, store Store, cfg Config, log metadata.LogCopy, newID func() [16]byte) error {
	there, err := store.List(ctx, cfg.Prefix+"/", "", 1)
	if err != nil {
		return fmt.Errorf("import to %s: %w", cfg.Prefix, err)
	}
	if len(there) > 0 {
		return fmt.Errorf("import to %s: %s: %w", cfg.Prefix, there[0].Key, errTaken)
	}
	l := &Log{cfg: cfg, store: store, newID: newID}
	im := &importer{log: l, copy: log}
	if err := im.run(ctx); err != nil {
		return fmt.Errorf("import to %s: %w", cfg.Prefix, err)
	}
	return nil
}

type importer struct {
	log  *Log
	copy metadata.LogCopy
	at   time.Time // the store's, before the first slot was written
	prev hash
	snap snapshot
}

func (im *importer) run(ctx context.Context) error {
	// An empty boundary says by the store's clock when this began; one above 0 is needed anyway.
	at, err := im.log.store.Create(ctx, im.log.boundaryKey(im.copy.From), nil)
	if errors.Is(err, objectstore.ErrExists) { // behind retries a create may meet its own first try
		at, err = time.Time{}, nil
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", im.log.boundaryKey(im.copy.From), err)
	}
	im.at = at
	im.snap = snapshot{term: im.copy.Term, seq: im.copy.SnapshotSeq, body: im.copy.Snapshot}
	if err := im.copy.Each(ctx, func(entries []metadata.LogEntry) error { return im.slots(ctx, entries) }); err != nil {
		return err
	}
	if !im.copy.HasSnapshot {
		return nil
	}
	if im.copy.SnapshotSeq == im.copy.Next {
		im.snap.chain = im.prev
	}
	// Last: a log without it is one that nobody can start from, where slots below are gone.
	key := im.log.snapKey(im.snap.seq)
	if _, err := im.log.store.Create(ctx, key, encodeSnapshot(im.snap)); err != nil && !errors.Is(err, objectstore.ErrExists) {
		return fmt.Errorf("create %s (%d bytes): %w", key, len(im.snap.body), err)
	}
	return nil
}

// slots chains entries and writes them, some side by side.
func (im *importer) slots(ctx context.Context, entries []metadata.LogEntry) error {
	frames := make([][]byte, len(entries))
	for i, e := range entries {
		s := slot{kind: kindEntry, term: e.Term, seq: e.Seq, id: im.log.newID(), prev: im.prev, owner: "barge metadata copy", body: e.Body}
		if e.Claim {
			s.kind = kindClaim
		}
		if !im.at.IsZero() {
			s.time = im.at.UnixMilli()
		}
		if e.Seq == im.copy.SnapshotSeq {
			im.snap.chain, im.snap.term = im.prev, e.Term // no entry below has a higher one
		}
		frames[i] = encodeSlot(s)
		im.prev = sha256.Sum256(frames[i])
	}
	errs := make([]error, importWriters)
	var wg sync.WaitGroup
	for w := range importWriters {
		wg.Go(func() {
			for i := w; i < len(entries) && errs[w] == nil; i += importWriters {
				key := im.log.slotKey(entries[i].Seq)
				if _, err := im.log.store.Create(ctx, key, frames[i]); err != nil && !errors.Is(err, objectstore.ErrExists) {
					errs[w] = fmt.Errorf("create %s: %w", key, err)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
