package fetch

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// NoOffset is the offset, and NoTimestamp the timestamp, of a lookup that found no record; Kafka's numbers.
const (
	NoOffset    record.Offset = -1
	NoTimestamp int64         = -1
)

// searchBytes is how much of the log a search locates at a time.
const searchBytes = 64 << 20

// OffsetForTime returns the first record, by offset, whose timestamp is at least ts (milliseconds), exactly: it reads
// the records. NoOffset and NoTimestamp when there is none.
// Errors: metadata.ErrUnknownTopic, ErrCorrupt, the store's.
func (r *Reader) OffsetForTime(ctx context.Context, p record.Partition, ts int64) (record.Offset, int64, error) {
	var hit find
	err := r.search(ctx, p, func() (metadata.Slice, bool, error) { return r.view.LocateTime(p, ts) }, &hit, func(s metadata.Slice) (bool, error) {
		for {
			if sliceMaxTimestamp(&s) >= ts {
				err := r.scan(ctx, &s, hit.from, func(newest int64) bool { return newest >= ts }, func(rec *record.Record) bool {
					if rec.Timestamp >= ts {
						hit.offset, hit.timestamp, hit.found = rec.Offset, rec.Timestamp, true
					}
					return !hit.found
				})
				if err != nil || hit.found {
					return hit.found, err
				}
			}
			// The slice held no such record after all: those that did lie below the log start, or a header said too much.
			var ok bool
			var err error
			if s, ok, err = r.after(p, s.End, ts); err != nil || !ok {
				return false, err
			}
		}
	})
	return hit.offset, hit.timestamp, err
}

// OffsetOfMaxTimestamp returns the record with the largest timestamp, the first of several. NoOffset and NoTimestamp when
// the partition has no record. Errors: metadata.ErrUnknownTopic, ErrCorrupt, the store's.
func (r *Reader) OffsetOfMaxTimestamp(ctx context.Context, p record.Partition) (record.Offset, int64, error) {
	var hit find
	locate := func() (metadata.Slice, bool, error) { return r.view.MaxTimestamp(p, nil) }
	err := r.search(ctx, p, locate, &hit, func(s metadata.Slice) (bool, error) {
		// Mostly the first slice has it. What a slice claims may lie below the log start, though, or its header said too much: then
		// the next best has its turn, until none claims more than was found, or as much further ahead.
		seen := map[record.Offset]bool{}
		for {
			if top := sliceMaxTimestamp(&s); hit.found && (top < hit.timestamp || top == hit.timestamp && s.Base > hit.offset) {
				return true, nil
			}
			better := func(rec *record.Record) bool {
				return !hit.found || rec.Timestamp > hit.timestamp || rec.Timestamp == hit.timestamp && rec.Offset < hit.offset
			}
			err := r.scan(ctx, &s, hit.from, func(newest int64) bool { return !hit.found || newest >= hit.timestamp }, func(rec *record.Record) bool {
				if better(rec) {
					hit.offset, hit.timestamp, hit.found = rec.Offset, rec.Timestamp, true
				}
				return true
			})
			if err != nil {
				return false, err
			}
			seen[s.Base] = true
			var ok bool
			if s, ok, err = r.view.MaxTimestamp(p, seen); err != nil || !ok {
				return hit.found, err
			}
		}
	})
	return hit.offset, hit.timestamp, err
}

// find is the state of one search.
type find struct {
	from      record.Offset // the log start: records before it are gone
	offset    record.Offset
	timestamp int64
	found     bool
}

// search locates a slice and looks into it, again when its object has gone meanwhile.
func (r *Reader) search(ctx context.Context, p record.Partition, locate func() (metadata.Slice, bool, error), hit *find, look func(metadata.Slice) (bool, error)) error {
	for try := 1; ; try++ {
		*hit = find{offset: NoOffset, timestamp: NoTimestamp}
		bounds, err := r.view.Bounds(p)
		if err != nil {
			return err
		}
		hit.from = bounds.LogStart
		s, ok, err := locate()
		if err != nil || !ok {
			return err
		}
		if _, err = look(s); err == nil {
			return nil
		}
		*hit = find{offset: NoOffset, timestamp: NoTimestamp}
		if !errors.Is(err, objectstore.ErrNotFound) || try == locateTries {
			err = fmt.Errorf("search %s by time: %w", p, err)
			r.report(ctx, metadataAsk{p: p, from: s.Base}, err)
			return err
		}
		if r.cfg.CatchUp != nil {
			if err := r.cfg.CatchUp(ctx); err != nil {
				return fmt.Errorf("catch up with the log: %w", err)
			}
		}
	}
}

// after returns the first slice from an offset on that may hold a record with a timestamp of at least ts.
func (r *Reader) after(p record.Partition, from record.Offset, ts int64) (metadata.Slice, bool, error) {
	for {
		loc, err := r.view.Locate(p, from, searchBytes)
		if err != nil || len(loc.Slices) == 0 {
			return metadata.Slice{}, false, err
		}
		for i := range loc.Slices {
			if sliceMaxTimestamp(&loc.Slices[i]) >= ts {
				return loc.Slices[i], true, nil
			}
		}
		from = loc.Slices[len(loc.Slices)-1].End
	}
}

func sliceMaxTimestamp(s *metadata.Slice) int64 {
	if s.Run != nil {
		return s.Run.MaxTimestamp
	}
	return s.Part.MaxTimestamp
}

// scan yields the records of a slice from an offset on until yield returns false. Batches of a run whose largest timestamp
// want does not want are passed over without decompressing them.
func (r *Reader) scan(ctx context.Context, s *metadata.Slice, from record.Offset, want func(maxTimestamp int64) bool, yield func(*record.Record) bool) error {
	from = max(from, s.Base)
	if s.File != nil {
		err := r.withFile(ctx, s.File, func(f FileReader) error {
			return f.Records(ctx, s.Part.RowGroup, s.Part.RowGroups, from, yield)
		})
		if err != nil {
			return fmt.Errorf("read %s from offset %d: %w", s.File.Key, from, err)
		}
		return nil
	}
	var hold held
	defer hold.release() // what is yielded is looked at and not kept
	bytes, _, err := r.run(ctx, s.Run, &hold)
	if err != nil {
		return err
	}
	batches, _, _, err := cutRun(bytes, s.Run, from, math.MaxInt64, true)
	if err != nil {
		return err
	}
	more := true
	for _, b := range batches {
		if !want(b.batch.MaxTimestamp()) {
			continue
		}
		// The batch's own base offset means nothing; offsets inside it count from where the log has put it.
		shift := b.base - b.batch.BaseOffset()
		err := b.batch.Each(record.Limits{Decompressed: r.cfg.Decompressed}, func(rec *record.Record) bool {
			if rec.Offset += shift; rec.Offset >= from {
				more = yield(rec)
			}
			return more
		})
		if err != nil {
			return fmt.Errorf("batch of offset %d in %s: %w: %w", b.base, s.Run.Key, ErrCorrupt, err)
		}
		if !more || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}
