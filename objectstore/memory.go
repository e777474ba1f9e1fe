package objectstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a Store in memory, for tests: atomic, immediate, and gone with the process. It copies bodies in and out.
type Memory struct {
	now func() time.Time

	mu      sync.RWMutex
	objects map[string][]byte
	keys    []string // sorted
}

// NewMemory returns an empty store; now supplies the time Create returns.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, objects: make(map[string][]byte)}
}

// Create implements Store.
func (m *Memory) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	if err := m.write(ctx, key, body, false); err != nil {
		return time.Time{}, fmt.Errorf("create %s (%d bytes): %w", key, len(body), err)
	}
	return m.now(), nil
}

// Put implements Store.
func (m *Memory) Put(ctx context.Context, key string, body []byte) error {
	if err := m.write(ctx, key, body, true); err != nil {
		return fmt.Errorf("put %s (%d bytes): %w", key, len(body), err)
	}
	return nil
}

func (m *Memory) write(ctx context.Context, key string, body []byte, replace bool) error {
	if err := ValidKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	body = bytes.Clone(body)
	m.mu.Lock()
	defer m.mu.Unlock()
	_, taken := m.objects[key]
	if taken && !replace {
		return ErrExists
	}
	if !taken {
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Insert(m.keys, i, key)
	}
	m.objects[key] = body
	return nil
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	body, err := m.read(ctx, key)
	if err == nil && int64(len(body)) > maxBytes {
		err = fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(body), maxBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return append(make([]byte, 0, len(body)), body...), nil
}

// GetRange implements Store.
func (m *Memory) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	if err := CheckRange(key, pos, length); err != nil {
		return nil, err
	}
	if length == 0 {
		return []byte{}, nil
	}
	body, err := m.read(ctx, key)
	if err == nil && pos+length > int64(len(body)) {
		err = fmt.Errorf("object has %d bytes: %w", len(body), io.ErrUnexpectedEOF)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s (%d bytes at %d): %w", key, length, pos, err)
	}
	return bytes.Clone(body[pos : pos+length]), nil
}

func (m *Memory) read(ctx context.Context, key string) ([]byte, error) {
	if err := ValidKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	body, ok := m.objects[key]
	if !ok {
		return nil, ErrNotFound
	}
	return body, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix, after string, limit int) ([]Object, error) {
	if err := CheckList(prefix, limit); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list %q: %w", prefix, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, found := slices.BinarySearch(m.keys, max(prefix, after))
	if found && m.keys[i] == after {
		i++
	}
	var out []Object
	for _, key := range m.keys[i:] {
		if !strings.HasPrefix(key, prefix) || len(out) == limit {
			break
		}
		out = append(out, Object{Key: key, Size: int64(len(m.objects[key]))})
	}
	return out, nil
}

// Delete implements Store.
func (m *Memory) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := ValidKey(key); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %d objects: %w", len(keys), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		if i, found := slices.BinarySearch(m.keys, key); found {
			m.keys = slices.Delete(m.keys, i, i+1)
			delete(m.objects, key)
		}
	}
	return nil
}
