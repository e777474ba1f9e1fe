package tableflow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/bargedata/barge/record"
)

// Errors a caller acts on; compare with errors.Is.
var (
	// ErrCorrupt: the bytes are not a whole, undamaged file of this format.
	ErrCorrupt = errors.New("corrupt parquet file")
	// ErrTooLarge: the file asks for more memory than any file written here needs.
	ErrTooLarge = errors.New("parquet file over limits")
)

const (
	tailBytes    = 64 << 10 // what OpenFile reads before it knows anything
	maxGroupRows = 1 << 24
)

// RangeReader reads byte ranges of an object, exactly length bytes or an error (objectstore.Store does).
type RangeReader interface {
	GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error)
}

// File is an open file: its decoded footer and page index, no data. It holds no resources to close, may be cached, and
// is safe for concurrent use.
type File struct {
	src    RangeReader
	key    string
	size   int64
	rows   int64
	groups []rowGroup
}

// rowGroup is what reading needs to know of one row group.
type rowGroup struct {
	rows      int64
	chunks    [numColumns]chunk
	offsetMin []int64 // of each page of colOffset
	offsetMax []int64
}

// chunk is one column of one row group.
type chunk struct {
	zstd    bool
	allNull bool
	dictPos int64
	dictLen int64 // 0: no dictionary
	pages   []page
}

// page is one data page: its bytes with header, and its first row within the row group.
type page struct {
	pos   int64
	len   int64
	first int64
}

// OpenFile reads the footer and the page index of the object key of size bytes: one ranged read of 64 KiB, at
// most two more when they are longer. Errors: ErrCorrupt, ErrTooLarge, or the store's.
func OpenFile(ctx context.Context, src RangeReader, key string, size int64) (*File, error) {
	f := &File{src: src, key: key, size: size}
	if err := f.open(ctx); err != nil {
		return nil, fmt.Errorf("open parquet file %s (%d bytes): %w", key, size, err)
	}
	return f, nil
}

// Key returns the object's key.
func (f *File) Key() string { return f.key }

// Rows returns the number of rows.
func (f *File) Rows() int64 { return f.rows }

// RowGroups returns the number of row groups.
func (f *File) RowGroups() int32 { return int32(len(f.groups)) }

// MemoryBytes estimates the memory the File holds, for caches.
func (f *File) MemoryBytes() int64 {
	n := int64(256 + len(f.key))
	for i := range f.groups {
		g := &f.groups[i]
		n += 64 * numColumns
		n += 16 * int64(len(g.offsetMin))
		for j := range g.chunks {
			n += 24 * int64(len(g.chunks[j].pages))
		}
	}
	return n
}

// tail is the end of the file, as far as it has been read.
type tail struct {
	pos int64
	buf []byte
}

func (t *tail) at(pos, length int64) ([]byte, error) {
	if length < 0 || pos < t.pos || length > t.pos+int64(len(t.buf))-pos {
		return nil, fmt.Errorf("%d bytes at %d lie outside the file's tail: %w", length, pos, ErrCorrupt)
	}
	return t.buf[pos-t.pos : pos-t.pos+length], nil
}

// extend reads what lies between pos and the tail.
func (f *File) extend(ctx context.Context, t *tail, pos int64) error {
	if pos >= t.pos {
		return nil
	}
	if t.pos-pos > 2*maxFooter {
		return fmt.Errorf("page index and footer of %d bytes: %w", f.size-pos, ErrTooLarge)
	}
	more, err := f.src.GetRange(ctx, f.key, pos, t.pos-pos)
	if err != nil {
		return err
	}
	t.pos, t.buf = pos, append(more, t.buf...)
	return nil
}

func (f *File) open(ctx context.Context) error {
	if f.size < 12 {
		return fmt.Errorf("too short: %w", ErrCorrupt)
	}
	n := min(f.size, tailBytes)
	buf, err := f.src.GetRange(ctx, f.key, f.size-n, n)
	if err != nil {
		return err
	}
	t := &tail{pos: f.size - n, buf: buf}
	if string(buf[n-4:]) != magic {
		return fmt.Errorf("no magic number at the end: %w", ErrCorrupt)
	}
	length := int64(binary.LittleEndian.Uint32(buf[n-8:]))
	if length > maxFooter {
		return fmt.Errorf("footer of %d bytes: %w", length, ErrTooLarge)
	}
	start := f.size - 8 - length
	if start < 4 {
		return fmt.Errorf("footer of %d bytes: %w", length, ErrCorrupt)
	}
	if err := f.extend(ctx, t, start); err != nil {
		return err
	}
	footer, err := t.at(start, length)
	if err != nil {
		return err
	}
	var meta format.FileMetaData
	if err := decodeThrift(footer, &meta); err != nil {
		return fmt.Errorf("footer: %w", err)
	}
	if err := checkLayout(&meta); err != nil {
		return err
	}
	first, err := indexStart(&meta, start)
	if err != nil {
		return err
	}
	if err := f.extend(ctx, t, first); err != nil {
		return err
	}
	f.groups = make([]rowGroup, len(meta.RowGroups))
	for i := range meta.RowGroups {
		if err := f.openGroup(&f.groups[i], &meta.RowGroups[i], t, first); err != nil {
			return fmt.Errorf("row group %d: %w", i, err)
		}
		f.rows += f.groups[i].rows
	}
	if f.rows != meta.NumRows {
		return fmt.Errorf("%d rows in row groups, %d in the file: %w", f.rows, meta.NumRows, ErrCorrupt)
	}
	return nil
}

// checkLayout refuses files that are sound but not of this layout.
func checkLayout(meta *format.FileMetaData) error {
	i := slices.IndexFunc(meta.KeyValueMetadata, func(kv format.KeyValue) bool { return kv.Key == layoutKey })
	if i < 0 {
		return fmt.Errorf("no %s in the footer, so not a file of Barge: %w", layoutKey, ErrCorrupt)
	}
	if v := meta.KeyValueMetadata[i].Value; v != layoutValue {
		return fmt.Errorf("%s %q, this version reads %q: %w", layoutKey, v, layoutValue, ErrCorrupt)
	}
	return nil
}

// indexStart finds where the page index begins; it ends where the footer begins.
func indexStart(meta *format.FileMetaData, footer int64) (int64, error) {
	first := footer
	for i := range meta.RowGroups {
		if n := len(meta.RowGroups[i].Columns); n != numColumns {
			return 0, fmt.Errorf("row group %d has %d columns: %w", i, n, ErrCorrupt)
		}
		for j := range meta.RowGroups[i].Columns {
			c := &meta.RowGroups[i].Columns[j]
			if c.OffsetIndexLength <= 0 || (j == colOffset && c.ColumnIndexLength <= 0) {
				return 0, fmt.Errorf("row group %d column %d has no page index: %w", i, j, ErrCorrupt)
			}
			first = min(first, c.OffsetIndexOffset)
			if c.ColumnIndexLength > 0 {
				first = min(first, c.ColumnIndexOffset)
			}
		}
	}
	if first < 4 {
		return 0, fmt.Errorf("page index at %d: %w", first, ErrCorrupt)
	}
	return first, nil
}

// openGroup checks one row group against the layout. Data lies before end.
func (f *File) openGroup(g *rowGroup, meta *format.RowGroup, t *tail, end int64) error {
	if meta.NumRows <= 0 || meta.NumRows > maxGroupRows {
		return fmt.Errorf("%d rows: %w", meta.NumRows, ErrCorrupt)
	}
	g.rows = meta.NumRows
	for i, l := range leaves() {
		if err := g.openChunk(i, l, &meta.Columns[i], t, end); err != nil {
			return fmt.Errorf("column %s: %w", l.path, err)
		}
	}
	c := &meta.Columns[colOffset]
	buf, err := t.at(c.ColumnIndexOffset, int64(c.ColumnIndexLength))
	if err != nil {
		return err
	}
	var index format.ColumnIndex
	if err := decodeThrift(buf, &index); err != nil {
		return fmt.Errorf("column index: %w", err)
	}
	pages := g.chunks[colOffset].pages
	if len(index.MinValues) != len(pages) || len(index.MaxValues) != len(pages) {
		return fmt.Errorf("column index of %d pages for %d: %w", len(index.MinValues), len(pages), ErrCorrupt)
	}
	for i := range pages {
		if len(index.MinValues[i]) != 8 || len(index.MaxValues[i]) != 8 {
			return fmt.Errorf("column index: bad bounds: %w", ErrCorrupt)
		}
		lo, hi := int64(binary.LittleEndian.Uint64(index.MinValues[i])), int64(binary.LittleEndian.Uint64(index.MaxValues[i]))
		if lo < 0 || hi < lo || (i > 0 && lo <= g.offsetMax[i-1]) {
			return fmt.Errorf("column index: offsets do not ascend: %w", ErrCorrupt)
		}
		g.offsetMin, g.offsetMax = append(g.offsetMin, lo), append(g.offsetMax, hi)
	}
	return nil
}

func (g *rowGroup) openChunk(col int, l leaf, meta *format.ColumnChunk, t *tail, end int64) error {
	m := &meta.MetaData
	if strings.Join(m.PathInSchema, ".") != l.path || parquet.Kind(m.Type) != l.kind {
		return fmt.Errorf("found %s instead: %w", strings.Join(m.PathInSchema, "."), ErrCorrupt)
	}
	if m.Codec != format.Zstd && m.Codec != format.Uncompressed {
		return fmt.Errorf("codec %s: %w", m.Codec, ErrCorrupt)
	}
	if l.maxRep == 0 && m.NumValues != g.rows {
		return fmt.Errorf("%d values for %d rows: %w", m.NumValues, g.rows, ErrCorrupt)
	}
	c := &g.chunks[col]
	c.zstd = m.Codec == format.Zstd
	c.allNull = l.maxDef == 1 && m.Statistics.NullCount == g.rows
	buf, err := t.at(meta.OffsetIndexOffset, int64(meta.OffsetIndexLength))
	if err != nil {
		return err
	}
	var index format.OffsetIndex
	if err := decodeThrift(buf, &index); err != nil {
		return fmt.Errorf("offset index: %w", err)
	}
	if len(index.PageLocations) == 0 || index.PageLocations[0].FirstRowIndex != 0 {
		return fmt.Errorf("offset index does not begin with row 0: %w", ErrCorrupt)
	}
	c.pages = make([]page, len(index.PageLocations))
	pos, row := int64(4), int64(-1)
	for i, p := range index.PageLocations {
		next := p.Offset + int64(p.CompressedPageSize)
		if p.CompressedPageSize <= 0 || p.Offset < pos || next > end || p.FirstRowIndex <= row || p.FirstRowIndex >= g.rows {
			return fmt.Errorf("offset index: page %d: %w", i, ErrCorrupt)
		}
		c.pages[i] = page{pos: p.Offset, len: int64(p.CompressedPageSize), first: p.FirstRowIndex}
		pos, row = next, p.FirstRowIndex
	}
	if d := m.DictionaryPageOffset; d != 0 {
		c.dictPos, c.dictLen = d, c.pages[0].pos-d
		if d < 4 || c.dictLen <= 0 {
			return fmt.Errorf("dictionary at %d: %w", d, ErrCorrupt)
		}
	}
	return nil
}

// pageRows is how many rows page i has.
func (g *rowGroup) pageRows(c *chunk, i int) int64 {
	if i+1 < len(c.pages) {
		return c.pages[i+1].first - c.pages[i].first
	}
	return g.rows - c.pages[i].first
}

// pageOf is the page that holds row.
func (c *chunk) pageOf(row int64) int {
	i, found := slices.BinarySearchFunc(c.pages, row, func(p page, row int64) int { return int(p.first - row) })
	if found {
		return i
	}
	return i - 1
}

// seek returns the row to start at so that no row with offset >= from is missed, and whether that row is exact; the
// number of rows when every offset is smaller.
func (g *rowGroup) seek(from record.Offset) (row int64, exact bool) {
	i, _ := slices.BinarySearch(g.offsetMax, int64(from))
	if i == len(g.offsetMax) {
		return g.rows, true
	}
	c := &g.chunks[colOffset]
	first, n := c.pages[i].first, g.pageRows(c, i)
	switch lo, hi := g.offsetMin[i], g.offsetMax[i]; {
	case int64(from) <= lo:
		return first, true
	case hi-lo == n-1: // no gap within the page
		return first + int64(from) - lo, true
	default:
		return first, false
	}
}
