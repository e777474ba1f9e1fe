package bucketlog

import (
	"context"
	"fmt"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// WithInline returns store, but for objects that lie in this log's entries (metadata.InlineKey): each read of one is a GET of
// its whole slot, whose checksums are verified. Besides the store's, errors: objectstore.ErrNotFound - the slot was truncated;
// metadata.ErrCorrupt.
func (l *Log) WithInline(store objectstore.Store) objectstore.Store {
	return metadata.WithInline(store, l.slotBody)
}

func (l *Log) slotBody(ctx context.Context, seq uint64) ([]byte, error) {
	key := l.slotKey(seq)
	buf, err := l.store.Get(ctx, key, maxSlotBytes)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	s, err := decodeSlot(buf, seq)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return s.body, nil
}
