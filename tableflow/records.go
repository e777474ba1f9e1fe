package tableflow

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/record"
)

const (
	firstWindow = 1 << 20   // compressed bytes read ahead at first; doubled with every window
	lastWindow  = 8 << 20   // and at most
	rangeGap    = 128 << 10 // ranges nearer than this are read in one request
	rangeReads  = 4         // requests at a time
	maxInterned = 1024      // header keys kept as strings
	maxKept     = 1 << 20   // bytes of a page buffer that the next scan may use
)

// Row is one row as the table shows it. Its bytes are fresh.
type Row struct {
	Partition int32
	Record    record.Record
	SchemaID  *int32 // nil: none
	Error     string // why the record does not fit its columns, "" when it does
}

// Records yields the records with offset >= from of row groups [rowGroup, rowGroup+rowGroups), in offset order, until
// yield returns false. The record, its slices and its headers are only valid during the call to yield: copy what must
// stay. Memory is bounded by one window of compressed bytes (8 MiB, or a page if that is longer) and one page of each
// column. Errors: ErrCorrupt, ErrTooLarge, or the store's.
func (f *File) Records(ctx context.Context, rowGroup, rowGroups int32, from record.Offset, yield func(*record.Record) bool) error {
	columns := []int{
		colOffset, colTimestamp, colRawKey, colRawValue, colHeaderKey, colHeaderValue, colKey, colValue,
		colTimestampType, colTimestampMs, colRawHeaders,
	}
	return f.scan(ctx, rowGroup, rowGroups, from, columns, func(s *scanner) bool { return yield(&s.rec) })
}

// Head returns the first n rows at most, in file order.
func (f *File) Head(ctx context.Context, n int) ([]Row, error) {
	var rows []Row
	if n <= 0 {
		return nil, nil
	}
	columns := make([]int, numColumns)
	for i := range columns {
		columns[i] = i
	}
	err := f.scan(ctx, 0, f.RowGroups(), 0, columns, func(s *scanner) bool {
		row := Row{Partition: s.partition, Record: clone(&s.rec), Error: s.misfit}
		if s.hasSchema {
			id := s.schemaID
			row.SchemaID = &id
		}
		rows = append(rows, row)
		return len(rows) < n
	})
	return rows, err
}

func clone(r *record.Record) record.Record {
	c := *r
	c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
	for i := range c.Headers {
		c.Headers[i].Value = bytes.Clone(c.Headers[i].Value)
	}
	return c
}

// scanner reads rows of one row group after the other.
type scanner struct {
	file    *File
	columns []int
	window  int64 // compressed bytes to read ahead next
	spans   []span
	scratch *scratch
	zstd    *zstd.Decoder
	cursors [numColumns]cursor
	keys    map[string]string // header keys seen, so that a row needs no new strings

	rec       record.Record
	headers   []record.Header
	partition int32
	schemaID  int32
	hasSchema bool
	misfit    string
}

// span is a piece of the file in memory.
type span struct {
	pos int64
	len int64
	buf []byte
}

func (f *File) scan(ctx context.Context, first, count int32, from record.Offset, columns []int, yield func(*scanner) bool) error {
	if first < 0 || count < 0 || int64(first)+int64(count) > int64(len(f.groups)) {
		return fmt.Errorf("read %s: row groups %d to %d of %d: %w", f.key, first, int64(first)+int64(count), len(f.groups), ErrCorrupt)
	}
	s := &scanner{file: f, columns: columns, window: firstWindow, keys: make(map[string]string)}
	s.borrow()
	defer s.giveBack()
	for i := first; i < first+count; i++ {
		more, err := s.group(ctx, &f.groups[i], from, yield)
		if err != nil {
			return fmt.Errorf("read %s row group %d: %w", f.key, i, err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

// scratch is the memory of a scan, some 3 MB, which a consumer would otherwise pay for with every fetch. Nothing in it can be
// observed after the scan: records are valid only during the call to yield.
type scratch struct {
	zstd    *zstd.Decoder
	headers []record.Header
	pages   [numColumns][]byte
	dicts   [numColumns][]byte
}

var scratches = sync.Pool{New: func() any { return &scratch{zstd: newZstdReader()} }} //nolint:gochecknoglobals // a pool is not state

func (s *scanner) borrow() {
	s.scratch = scratches.Get().(*scratch) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	s.zstd, s.headers = s.scratch.zstd, s.scratch.headers
	for _, col := range s.columns {
		s.cursors[col].buf, s.cursors[col].dictBuf = s.scratch.pages[col], s.scratch.dicts[col]
	}
}

// giveBack leaves the buffers of ordinary pages and rows to the next scan. Those that large values took go.
func (s *scanner) giveBack() {
	for _, col := range s.columns {
		if b := s.cursors[col].buf; cap(b) <= maxKept {
			s.scratch.pages[col] = b[:0]
		}
		if b := s.cursors[col].dictBuf; cap(b) <= maxKept {
			s.scratch.dicts[col] = b[:0]
		}
	}
	if h := s.headers[:cap(s.headers)]; len(h) <= 2*maxHeaders {
		clear(h) // it points into keys and pages
		s.scratch.headers = h[:0]
	}
	scratches.Put(s.scratch)
	s.scratch = nil
}

// group yields the rows of g with offset >= from; false when yield wants no more.
func (s *scanner) group(ctx context.Context, g *rowGroup, from record.Offset, yield func(*scanner) bool) (bool, error) {
	row, exact := g.seek(from)
	if row == g.rows {
		return true, nil
	}
	s.bind(g)
	if !exact {
		var err error
		if row, err = s.findRow(ctx, row, from); err != nil || row == g.rows {
			return err == nil, err
		}
	}
	last, started := record.Offset(-1), false
	for row < g.rows {
		end := s.windowEnd(g, row)
		if err := s.load(ctx, g, row, end, started); err != nil {
			return false, err
		}
		if !started {
			for _, col := range s.columns {
				if err := s.cursors[col].start(row); err != nil {
					return false, err
				}
			}
			started = true
		}
		for ; row < end; row++ {
			if err := s.row(); err != nil {
				return false, err
			}
			if s.rec.Offset <= last {
				return false, fmt.Errorf("offset %d after %d: %w", s.rec.Offset, last, ErrCorrupt)
			}
			last = s.rec.Offset
			if s.rec.Offset >= from && !yield(s) {
				return false, nil
			}
		}
	}
	return true, nil
}

// bind points the cursors at a row group; page buffers are kept.
func (s *scanner) bind(g *rowGroup) {
	s.spans = nil
	all := leaves()
	for _, col := range s.columns {
		old := &s.cursors[col]
		s.cursors[col] = cursor{
			leaf: all[col], group: g, chunk: &g.chunks[col], fetch: s.bytes, zstd: s.zstd, buf: old.buf, dictBuf: old.dictBuf,
		}
	}
}

// findRow finds the first row >= row with offset >= from, where the page index alone can not tell.
func (s *scanner) findRow(ctx context.Context, row int64, from record.Offset) (int64, error) {
	c := &s.cursors[colOffset]
	p := c.chunk.pages[c.chunk.pageOf(row)]
	if err := s.read(ctx, []span{{pos: p.pos, len: p.len}}); err != nil {
		return 0, err
	}
	if err := c.start(row); err != nil {
		return 0, err
	}
	for n := c.rows; n > 0; n-- {
		v, _, err := c.int()
		if err != nil {
			return 0, err
		}
		if v >= int64(from) {
			return row, nil
		}
		row++
	}
	return 0, fmt.Errorf("offset index: no offset from %d on in its page: %w", from, ErrCorrupt)
}

// windowEnd is the row up to which the next window reads: whole pages of the largest column.
func (s *scanner) windowEnd(g *rowGroup, row int64) int64 {
	var lead *chunk
	var most int64
	for _, col := range s.columns {
		c := &g.chunks[col]
		last := c.pages[len(c.pages)-1]
		if size := last.pos + last.len - c.pages[0].pos; lead == nil || size > most {
			lead, most = c, size
		}
	}
	size := int64(0)
	for i := lead.pageOf(row); i < len(lead.pages); i++ {
		if size += lead.pages[i].len; size >= s.window && i+1 < len(lead.pages) {
			s.window = min(2*s.window, lastWindow)
			return lead.pages[i+1].first
		}
	}
	return g.rows
}

// load reads every page that begins in rows [row, end), and at the start also those that row lies in. Pages read before
// have been decoded before, because rows are read one after the other.
func (s *scanner) load(ctx context.Context, g *rowGroup, row, end int64, started bool) error {
	var want []span
	for _, col := range s.columns {
		c := &g.chunks[col]
		if c.allNull {
			continue
		}
		i := c.pageOf(row)
		switch {
		case started && c.pages[i].first < row:
			i++
		case !started && c.dictLen > 0:
			want = append(want, span{pos: c.dictPos, len: c.dictLen})
		}
		for ; i < len(c.pages) && c.pages[i].first < end; i++ {
			want = append(want, span{pos: c.pages[i].pos, len: c.pages[i].len})
		}
	}
	// A dictionary is kept by its cursor only from its first use on, so it stays among the spans.
	return s.read(ctx, want)
}

// read replaces the spans by the wanted ones, near ones joined.
func (s *scanner) read(ctx context.Context, want []span) error {
	keep := s.dictionaries()
	slices.SortFunc(want, func(a, b span) int { return int(min(max(a.pos-b.pos, -1), 1)) })
	s.spans = s.spans[:0]
	for _, w := range want {
		if n := len(s.spans); n > 0 && w.pos-(s.spans[n-1].pos+s.spans[n-1].len) <= rangeGap {
			s.spans[n-1].len = max(s.spans[n-1].len, w.pos+w.len-s.spans[n-1].pos)
			continue
		}
		s.spans = append(s.spans, w)
	}
	if err := s.fill(ctx); err != nil {
		return err
	}
	s.spans = append(s.spans, keep...)
	return nil
}

// fill gets the bytes of the spans: several side by side, one alone without a goroutine.
func (s *scanner) fill(ctx context.Context) error {
	if len(s.spans) == 1 {
		return s.file.get(ctx, &s.spans[0])
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.SetLimit(rangeReads)
	for i := range s.spans {
		tasks.Go(func() error { return s.file.get(ctx, &s.spans[i]) })
	}
	return tasks.Wait()
}

// get reads the bytes of one span.
func (f *File) get(ctx context.Context, p *span) (err error) {
	p.buf, err = f.src.GetRange(ctx, f.key, p.pos, p.len)
	if err == nil && int64(len(p.buf)) != p.len {
		err = fmt.Errorf("store gave %d bytes at %d, not %d: %w", len(p.buf), p.pos, p.len, ErrCorrupt)
	}
	return err
}

// dictionaries copies out the dictionary pages that have been read but not decoded yet.
func (s *scanner) dictionaries() []span {
	var keep []span
	for _, col := range s.columns {
		c := &s.cursors[col]
		if c.chunk.dictLen == 0 || c.dictBytes != nil || c.dictInts != nil {
			continue
		}
		if b, err := s.bytes(c.chunk.dictPos, c.chunk.dictLen); err == nil {
			keep = append(keep, span{pos: c.chunk.dictPos, len: c.chunk.dictLen, buf: bytes.Clone(b)})
		}
	}
	return keep
}

// bytes is the cursors' view of the spans.
func (s *scanner) bytes(pos, length int64) ([]byte, error) {
	for _, p := range s.spans {
		if pos >= p.pos && pos+length <= p.pos+p.len {
			return p.buf[pos-p.pos : pos-p.pos+length], nil
		}
	}
	return nil, fmt.Errorf("%d bytes at %d were not read ahead: %w", length, pos, ErrCorrupt)
}

// row assembles the next row.
func (s *scanner) row() error {
	offset, _, err := s.cursors[colOffset].int()
	if err != nil {
		return err
	}
	s.rec.Offset = record.Offset(offset)
	if err := s.timestamp(); err != nil {
		return err
	}
	if s.rec.Key, err = s.either(colKey, colRawKey); err != nil {
		return err
	}
	if s.rec.Value, err = s.either(colValue, colRawValue); err != nil {
		return err
	}
	if err := s.readHeaders(); err != nil {
		return err
	}
	if s.cursors[colPartition].chunk == nil { // Records leaves the rest out
		return nil
	}
	return s.readMore()
}

func (s *scanner) timestamp() error {
	micros, null, err := s.cursors[colTimestamp].int()
	if err != nil {
		return err
	}
	exact, noExact, err := s.cursors[colTimestampMs].int()
	switch {
	case err != nil:
		return err
	case null == noExact:
		return fmt.Errorf("offset %d has no timestamp, or two: %w", s.rec.Offset, ErrCorrupt)
	case null:
		s.rec.Timestamp = exact
	case micros%1000 != 0:
		return fmt.Errorf("offset %d: timestamp %d µs: %w", s.rec.Offset, micros, ErrCorrupt)
	default:
		s.rec.Timestamp = micros / 1000
	}
	kind, _, err := s.cursors[colTimestampType].int()
	if err != nil {
		return err
	}
	if kind != int64(record.CreateTime) && kind != int64(record.LogAppendTime) {
		return fmt.Errorf("offset %d: timestamp type %d: %w", s.rec.Offset, kind, ErrCorrupt)
	}
	s.rec.TimestampType = record.TimestampType(kind)
	return nil
}

// either takes the bytes from the string column or the raw one; nil when both are null.
func (s *scanner) either(col, rawCol int) ([]byte, error) {
	b, err := s.cursors[col].bytes()
	if err != nil {
		return nil, err
	}
	raw, err := s.cursors[rawCol].bytes()
	switch {
	case err != nil:
		return nil, err
	case b == nil:
		return raw, nil
	case raw != nil:
		return nil, fmt.Errorf("offset %d has two values in one: %w", s.rec.Offset, ErrCorrupt)
	default:
		return b, nil
	}
}

func (s *scanner) readHeaders() error {
	s.headers = s.headers[:0]
	s.rec.Headers = nil
	n, err := s.cursors[colHeaderKey].repeated(func(key []byte, _ byte) error {
		s.headers = append(s.headers, record.Header{Key: s.intern(key)})
		return nil
	})
	if err != nil {
		return err
	}
	i := 0
	m, err := s.cursors[colHeaderValue].repeated(func(value []byte, _ byte) error {
		if i < len(s.headers) {
			s.headers[i].Value = value
		}
		i++
		return nil
	})
	if err != nil {
		return err
	}
	raw, err := s.cursors[colRawHeaders].bytes()
	switch {
	case err != nil:
		return err
	case n != m || (n < 0) != (raw != nil):
		return fmt.Errorf("offset %d: header columns disagree: %w", s.rec.Offset, ErrCorrupt)
	case raw != nil:
		if s.headers, err = parseHeaders(s.headers, raw); err != nil {
			return err
		}
	}
	if len(s.headers) > 0 {
		s.rec.Headers = s.headers
	}
	return nil
}

func (s *scanner) intern(key []byte) string {
	if k, ok := s.keys[string(key)]; ok {
		return k
	}
	k := string(key)
	if len(s.keys) < maxInterned && len(k) <= 256 {
		s.keys[k] = k
	}
	return k
}

// readMore reads the columns that only people look at.
func (s *scanner) readMore() error {
	p, _, err := s.cursors[colPartition].int()
	if err != nil {
		return err
	}
	id, null, err := s.cursors[colSchemaID].int()
	if err != nil {
		return err
	}
	misfit, err := s.cursors[colError].bytes()
	if err != nil {
		return err
	}
	s.partition, s.schemaID, s.hasSchema, s.misfit = int32(p), int32(id), !null, string(misfit)
	return nil
}
