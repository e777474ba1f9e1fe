package fetch

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

const (
	// recordOverhead is more than a record's lengths and deltas take in a batch, headers not counted.
	recordOverhead = 40
	// A record that takes more than largeRecord bytes in a batch goes out compressed, in a batch of its own: it may have
	// come as a few bytes of one that decompressed to 128 MiB, and librdkafka refuses responses over 100,000,000 bytes.
	largeRecord = 8 << 20
	// largeCodec is one that every Fetch version allows, unlike zstd. LZ4 is faster, but what a producer's zstd brought under
	// 64 MiB it would leave beyond 100 MB.
	largeCodec = record.Gzip
)

// OpenParquet is the FileOpener of the files that tableflow writes.
func OpenParquet(ctx context.Context, src RangeGetter, key string, size int64) (FileReader, error) {
	f, err := tableflow.OpenFile(ctx, src, key, size)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// file returns an open file, from the cache if it is there. With store it is opened anew, and nothing of it comes from elsewhere.
func (r *Reader) file(ctx context.Context, f *metadata.File, store bool) (FileReader, error) {
	open := func(ctx context.Context) (FileReader, int64, error) {
		opened, err := r.open(ctx, &source{objects: r.objects, size: int64(f.Size), store: store}, f.Key, int64(f.Size))
		if err != nil {
			return nil, 0, fmt.Errorf("open %s: %w", f.Key, err)
		}
		return opened, opened.MemoryBytes(), nil
	}
	if store {
		opened, _, err := open(ctx)
		return opened, err
	}
	return r.files.load(ctx, f.Key, open)
}

// withFile calls read with an open file; once more, with bytes fresh from the store, when those at hand turn out to be damaged: it
// may have happened on the way here.
func (r *Reader) withFile(ctx context.Context, f *metadata.File, read func(FileReader) error) error {
	opened, err := r.file(ctx, f, false)
	if err == nil {
		err = read(opened)
	}
	if !errors.Is(err, tableflow.ErrCorrupt) && !errors.Is(err, tableflow.ErrTooLarge) { // a damaged length may ask for anything
		return err
	}
	r.files.forget(f.Key)
	r.objects.forgetFile(f.Key, int64(f.Size))
	if opened, err = r.file(ctx, f, true); err != nil {
		return err
	}
	return read(opened)
}

// readFile builds batches from the rows of a slice that lies in a Parquet file, from an offset on, as cutRun cuts them
// from a run.
func (r *Reader) readFile(ctx context.Context, s *metadata.Slice, from record.Offset, limit int64, force bool) (batches []placed, size int64, full bool, err error) {
	var re *rebuild
	err = r.withFile(ctx, s.File, func(f FileReader) error {
		re = newRebuild(max(from, s.Base), s.End, r.cfg.BatchBytes, limit, force)
		return f.Records(ctx, s.Part.RowGroup, s.Part.RowGroups, re.next, re.add)
	})
	if err != nil {
		return nil, 0, false, fmt.Errorf("read %s from offset %d: %w", s.File.Key, from, err)
	}
	if err := re.finish(); err != nil {
		return nil, 0, false, fmt.Errorf("rebuild batches of %s from offset %d: %w", s.File.Key, from, err)
	}
	return re.batches, re.size, re.full, nil
}

// rebuild makes batches of a slice's records: of up to target bytes each, all together up to limit, except that the first
// record goes out whatever its size when force is set. They are not compressed, large records excepted. Together the
// batches cover the offsets from the first asked for to that of the record that did not fit, or to the slice's end: where
// the log has gaps, a batch's last offset is stretched over them.
type rebuild struct {
	builder *record.Builder // of the batch at hand: plain or large
	plain   *record.Builder
	next    record.Offset // first offset that no batch covers
	end     record.Offset // of the slice
	target  int64
	limit   int64
	force   bool

	batches []placed
	size    int64
	full    bool
	err     error
}

func newRebuild(from, end record.Offset, target int, limit int64, force bool) *rebuild {
	plain := record.NewBuilder(record.None)
	plain.Reset(from)
	return &rebuild{builder: plain, plain: plain, next: from, end: end, target: int64(target), limit: limit, force: force}
}

// add takes the next record; false means that no more are wanted.
func (re *rebuild) add(rec *record.Record) bool {
	if rec.Offset < re.next || rec.Offset >= re.end {
		// Records from an offset on, of one part: whatever else comes says that file and log disagree.
		re.err = fmt.Errorf("record of offset %d in [%d, %d): %w", rec.Offset, re.next, re.end, ErrCorrupt)
		return false
	}
	if re.builder.Count() == 0 && rec.Offset-re.next >= math.MaxInt32 {
		re.next = rec.Offset // a gap no batch can span
		re.builder.Reset(rec.Offset)
	}
	n := recordLen(rec)
	if re.builder.Count() > 0 && !re.joins(rec, n) && !re.flush(rec.Offset) {
		return false
	}
	if re.builder.Count() == 0 && re.size+record.BatchHeaderLen+n > re.limit && (!re.force || re.size > 0) {
		re.full = true
		return false
	}
	if n > largeRecord {
		re.builder = record.NewBuilder(largeCodec)
		re.builder.Reset(re.next)
	}
	if err := re.builder.Append(rec); err != nil {
		re.err = err
		return false
	}
	return true
}

// joins tells whether rec, of up to n bytes, goes into the batch at hand.
func (re *rebuild) joins(rec *record.Record, n int64) bool {
	size := int64(re.builder.Len()) + n
	return n <= largeRecord && re.builder == re.plain && size <= re.target && re.size+size <= re.limit && re.builder.Fits(rec)
}

// flush ends the batch at hand so that the next one begins at offset next.
func (re *rebuild) flush(next record.Offset) bool {
	re.builder.SetLastOffset(min(next, re.next+math.MaxInt32) - 1) // what no batch can span, the next read takes up
	size := re.builder.Len()
	if re.builder != re.plain {
		size /= 8 // and grows; what is left over stays with the response
	}
	raw, err := re.builder.Build(make([]byte, 0, size))
	if err != nil {
		re.err = err
		return false
	}
	b, _, err := record.Split(raw)
	if err != nil {
		re.err = err
		return false
	}
	re.batches = append(re.batches, placed{b, re.next})
	re.size += int64(b.Len())
	re.next = next
	re.builder = re.plain
	re.builder.Reset(next)
	return true
}

// finish ends the last batch. Without it what add built is not complete.
func (re *rebuild) finish() error {
	switch {
	case re.err != nil:
		return re.err
	case re.full && re.builder.Count() == 0 || re.next >= re.end:
		return nil
	}
	// Not stopped: the slice has been read to its end, and its last gap belongs to the last batch. Rows that are gone
	// leave a batch without records, which moves consumers on.
	if re.builder.Count() == 0 && re.size+record.BatchHeaderLen > re.limit && (!re.force || re.size > 0) {
		re.full = true
		return nil
	}
	re.flush(re.end)
	return re.err
}

// recordLen is about what rec takes in a batch, and not less.
func recordLen(rec *record.Record) int64 {
	n := recordOverhead + int64(len(rec.Key)) + int64(len(rec.Value))
	for i := range rec.Headers {
		n += 10 + int64(len(rec.Headers[i].Key)) + int64(len(rec.Headers[i].Value))
	}
	return n
}
