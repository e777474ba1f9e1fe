package metadata

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/bargedata/barge/objectstore"
)

// WithInline returns store, but for Get and GetRange of keys that InlineKey made: these are answered from the body of the
// slot, which body fetches and verifies; objectstore.ErrNotFound when the slot is gone. Engines offer it as a method.
func WithInline(store objectstore.Store, body func(ctx context.Context, slot uint64) ([]byte, error)) objectstore.Store {
	return &inlineStore{Store: store, body: body}
}

type inlineStore struct {
	objectstore.Store
	body func(ctx context.Context, slot uint64) ([]byte, error)
}

// Get implements objectstore.Store.
func (s *inlineStore) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	slot, pos, length, ok := ParseInlineKey(key)
	if !ok {
		return s.Store.Get(ctx, key, maxBytes)
	}
	if length > maxBytes {
		return nil, fmt.Errorf("get %s, at most %d bytes: %w", key, maxBytes, objectstore.ErrTooLarge)
	}
	return s.cut(ctx, key, slot, pos, length)
}

// GetRange implements objectstore.Store.
func (s *inlineStore) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	slot, from, size, ok := ParseInlineKey(key)
	if !ok {
		return s.Store.GetRange(ctx, key, pos, length)
	}
	if pos < 0 || length < 0 || pos > size-length {
		return nil, fmt.Errorf("get %d bytes at %d of %s: %w", length, pos, key, io.ErrUnexpectedEOF)
	}
	if length == 0 {
		return []byte{}, nil
	}
	return s.cut(ctx, key, slot, from+pos, length)
}

// cut returns a copy: what is small must not hold on to all of its slot.
func (s *inlineStore) cut(ctx context.Context, key string, slot uint64, pos, length int64) ([]byte, error) {
	body, err := s.body(ctx, slot)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	if pos > int64(len(body))-length {
		return nil, fmt.Errorf("get %s: its slot has %d bytes: %w", key, len(body), io.ErrUnexpectedEOF)
	}
	return bytes.Clone(body[pos:][:length]), nil
}
