package fetch

import (
	"context"
	"fmt"
	"sync"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// extentKey names bytes of an object that are read and kept together.
type extentKey struct {
	object   string
	pos, len int64
}

// extent is bytes of a WAL object, and which of its runs have been verified. A run's checks touch only its own bytes, so
// damage to one run leaves the others readable.
type extent struct {
	data []byte

	mu       sync.Mutex
	verified map[record.Pos]record.Len
}

// run returns the verified bytes of a run: from the tail, or from the store by the whole object or the run's range.
// cold tells that the bytes are not in the tail; those of the tail may be read until hold lets go. Errors: ErrCorrupt,
// the store's.
func (r *Reader) run(ctx context.Context, run *metadata.Run, hold *held) (bytes []byte, cold bool, err error) {
	if body, ok := r.tail.get(run.Key); ok {
		hold.add(body)
		if bytes, err = cutRange(body.Bytes, 0, run); err != nil {
			return nil, false, err
		}
		return bytes, false, nil // the batcher made it from batches that were checked
	}
	key := extentKey{object: run.Key, pos: int64(run.Pos), len: int64(run.Len)}
	if int64(run.ObjectSize) <= r.cfg.WholeObjectBytes {
		key.pos, key.len = 0, int64(run.ObjectSize)
	}
	for try := 1; ; try++ {
		e, err := r.extent(ctx, key)
		if err != nil {
			return nil, true, err
		}
		if bytes, err = e.run(record.Pos(key.pos), run); err == nil {
			return bytes, true, nil
		}
		// The damage may have happened on the way here, perhaps long ago: ask the store once more.
		r.extents.forget(key)
		if try == 2 {
			return nil, true, err
		}
	}
}

// extent returns bytes of an object, from the cache if they are there.
func (r *Reader) extent(ctx context.Context, key extentKey) (*extent, error) {
	return r.extents.load(ctx, key, func(ctx context.Context) (*extent, int64, error) {
		select {
		case r.reads <- struct{}{}:
			defer func() { <-r.reads }()
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
		data, err := r.store.GetRange(ctx, key.object, key.pos, key.len)
		if err != nil {
			return nil, 0, fmt.Errorf("read %s, %d bytes at %d: %w", key.object, key.len, key.pos, err)
		}
		return &extent{data: data, verified: map[record.Pos]record.Len{}}, key.len, nil
	})
}

// run returns the bytes of a run in an extent that begins at pos, after verifying them once: every batch's CRC, and that
// the batches fill the run and its offsets.
func (e *extent) run(pos record.Pos, run *metadata.Run) ([]byte, error) {
	bytes, err := cutRange(e.data, pos, run)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	done := e.verified[run.Pos] == run.Len
	e.mu.Unlock()
	if done {
		return bytes, nil
	}
	next := run.Base
	for rest := bytes; len(rest) > 0; {
		b, err := record.Parse(rest)
		if err != nil {
			return nil, fmt.Errorf("batch of offset %d at byte %d of %s: %w: %w", next, int64(run.Pos)+int64(len(bytes)-len(rest)), run.Key, ErrCorrupt, err)
		}
		next += record.Offset(b.OffsetCount())
		rest = rest[b.Len():]
	}
	if next != run.End {
		return nil, fmt.Errorf("run at byte %d of %s ends before offset %d, the log says %d: %w", run.Pos, run.Key, next, run.End, ErrCorrupt)
	}
	e.mu.Lock()
	e.verified[run.Pos] = run.Len
	e.mu.Unlock()
	return bytes, nil
}

// cutRange is the bytes of a run in data, which begins at pos of the object.
func cutRange(data []byte, pos record.Pos, run *metadata.Run) ([]byte, error) {
	from := int64(run.Pos - pos)
	if from < 0 || run.Len < 0 || from+int64(run.Len) > int64(len(data)) {
		return nil, fmt.Errorf("run of %d bytes at %d of %s, which has %d: %w", run.Len, run.Pos, run.Key, int64(pos)+int64(len(data)), ErrCorrupt)
	}
	return data[from:][:run.Len], nil
}

// cutRun chooses the batches of a run, whose bytes are verified, that answer a read: from the one that holds from, which
// may begin earlier, as many as fit limit bytes; the first of them always when force is set. full tells that a batch
// did not fit. Errors: ErrCorrupt.
func cutRun(bytes []byte, run *metadata.Run, from record.Offset, limit int64, force bool) (batches []placed, size int64, full bool, err error) {
	base := run.Base
	for rest := bytes; len(rest) > 0; {
		b, after, err := record.Split(rest)
		if err != nil {
			return nil, 0, false, fmt.Errorf("batch of offset %d in %s: %w: %w", base, run.Key, ErrCorrupt, err)
		}
		next := base + record.Offset(b.OffsetCount())
		if next > run.End {
			return nil, 0, false, fmt.Errorf("batch of offsets %d to %d in %s, run ends at %d: %w", base, next-1, run.Key, run.End, ErrCorrupt)
		}
		if next > from {
			if n := int64(b.Len()); size+n > limit && (!force || len(batches) > 0) {
				return batches, size, true, nil
			}
			batches = append(batches, placed{b, base})
			size += int64(b.Len())
		}
		base, rest = next, after
	}
	return batches, size, false, nil
}
