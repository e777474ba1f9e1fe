package fetch

import (
	"context"
	"fmt"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// run returns the verified bytes of a run. cold tells that they are not in the tail; what lends them is held until hold lets go.
// Errors: ErrCorrupt, the store's.
func (r *Reader) run(ctx context.Context, run *metadata.Run, hold *held) (bytes []byte, cold bool, err error) {
	w := want{object: run.Key, size: int64(run.ObjectSize), pos: int64(run.Pos), len: int64(run.Len), lagging: r.lags(run)}
	if w.pos < 0 || w.len <= 0 || w.pos > w.size-w.len {
		return nil, false, fmt.Errorf("run of %d bytes at %d of %s, which has %d: %w", run.Len, run.Pos, run.Key, run.ObjectSize, ErrCorrupt)
	}
	for {
		e, tail, err := r.objects.read(ctx, &w, hold)
		if err != nil {
			return nil, !tail, err
		}
		if bytes, err = e.run(run); err == nil {
			return bytes, !tail, nil
		}
		// The damage may have happened on the way here, perhaps long ago: ask the store once more.
		r.objects.forget(&w)
		if w.store {
			return nil, !tail, err
		}
		w.store = true
	}
}

// lags tells that who reads run is far from the log's end.
func (r *Reader) lags(run *metadata.Run) bool {
	return r.view.EntryTime()-run.CommittedAt > r.cfg.HotAge.Milliseconds()
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
