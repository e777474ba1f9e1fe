package bucketlog

import (
	"context"

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
	s, _, err := l.getSlotBytes(ctx, seq)
	return s.body, err
}
