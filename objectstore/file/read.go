package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/bargedata/barge/objectstore"
)

// Get implements objectstore.Store.
func (s *Store) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	body, err := s.get(ctx, key, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", s.path(key), err)
	}
	return body, nil
}

func (s *Store) get(ctx context.Context, key string, maxBytes int64) (body []byte, err error) {
	f, size, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if size > maxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", objectstore.ErrTooLarge, size, maxBytes)
	}
	return readAt(f, 0, size)
}

// GetRange implements objectstore.Store.
func (s *Store) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	if err := objectstore.CheckRange(key, pos, length); err != nil {
		return nil, err
	}
	if length == 0 {
		return []byte{}, nil
	}
	body, err := s.getRange(ctx, key, pos, length)
	if err != nil {
		return nil, fmt.Errorf("get %s (%d bytes at %d): %w", s.path(key), length, pos, err)
	}
	return body, nil
}

func (s *Store) getRange(ctx context.Context, key string, pos, length int64) (body []byte, err error) {
	f, size, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if pos+length > size { // before the allocation: length may be a liar's
		return nil, fmt.Errorf("object has %d bytes: %w", size, io.ErrUnexpectedEOF)
	}
	return readAt(f, pos, length)
}

func readAt(f *os.File, pos, length int64) ([]byte, error) {
	body := make([]byte, length)
	n, err := f.ReadAt(body, pos)
	if n == len(body) {
		return body, nil // ReadAt may add io.EOF when the object ends here
	}
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("object shrank to %d bytes: %w", pos+int64(n), io.ErrUnexpectedEOF)
	}
	return nil, classify(err)
}

func (s *Store) open(ctx context.Context, key string) (*os.File, int64, error) {
	if err := objectstore.ValidKey(key); err != nil {
		return nil, 0, err
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(s.path(key))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		if rootErr := s.rootExists(); rootErr != nil {
			return nil, 0, rootErr
		}
		return nil, 0, objectstore.ErrNotFound
	}
	if err != nil {
		return nil, 0, classify(err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(classify(err), f.Close())
	}
	if !info.Mode().IsRegular() { // a directory of other objects
		return nil, 0, errors.Join(objectstore.ErrNotFound, f.Close())
	}
	return f, info.Size(), nil
}
