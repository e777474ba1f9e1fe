package tableflow

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	maxPageBytes   = 256 << 20 // raw: a page holds at least one record, and a record may have 128 MiB
	maxHeaderBytes = 1 << 10   // of a page's header
	maxDictValues  = 1 << 20   // the writer stops at dictBytes
	unsizedBytes   = 4 << 10   // a page of more must have its size in its frame
)

// cursor walks over the values of one column of one row group, page by page. Values alias the page at hand: they stay
// valid until the cursor moves to the next page. Pages are decoded here and not by the library, whose reader copies
// every value and trusts the sizes it meets.
type cursor struct {
	leaf  leaf
	group *rowGroup
	chunk *chunk
	fetch func(pos, length int64) ([]byte, error)
	zstd  *zstd.Decoder

	next   int    // page to decode when the one at hand ends
	rows   int64  // rows left in the page at hand
	values int    // values left, with repetition
	buf    []byte // raw page, reused
	rep    levels
	def    levels
	data   []byte // values not read yet, PLAIN
	dict   bool   // values are indexes instead
	index  levels

	dictBuf   []byte
	dictBytes [][]byte // dictionary of a byte column
	dictInts  []int64  // dictionary of an integer column
}

// start puts the cursor before row.
func (c *cursor) start(row int64) error {
	if c.chunk.allNull {
		return nil
	}
	c.next, c.rows = c.chunk.pageOf(row), 0
	if err := c.load(); err != nil {
		return err
	}
	for range row - c.chunk.pages[c.next-1].first {
		if err := c.skip(); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursor) skip() error {
	switch {
	case c.leaf.maxRep > 0:
		_, err := c.repeated(func([]byte, byte) error { return nil })
		return err
	case c.leaf.kind == parquet.ByteArray:
		_, err := c.bytes()
		return err
	default:
		_, _, err := c.int()
		return err
	}
}

func (c *cursor) fail(what string) error {
	return fmt.Errorf("column %s page %d: %s: %w", c.leaf.path, c.next-1, what, ErrCorrupt)
}

// int returns the next row's integer, or null.
func (c *cursor) int() (v int64, null bool, err error) {
	if ok, err := c.row(); !ok {
		return 0, true, err
	}
	if c.dict {
		i, err := c.indexIn(len(c.dictInts))
		if err != nil {
			return 0, false, err
		}
		return c.dictInts[i], false, nil
	}
	v, c.data, err = c.plainInt(c.data)
	return v, false, err
}

func (c *cursor) plainInt(b []byte) (int64, []byte, error) {
	if c.leaf.kind == parquet.Int32 {
		if len(b) < 4 {
			return 0, nil, c.fail("values cut off")
		}
		return int64(int32(binary.LittleEndian.Uint32(b))), b[4:], nil
	}
	if len(b) < 8 {
		return 0, nil, c.fail("values cut off")
	}
	return int64(binary.LittleEndian.Uint64(b)), b[8:], nil
}

// bytes returns the next row's bytes, nil for null.
func (c *cursor) bytes() ([]byte, error) {
	if ok, err := c.row(); !ok {
		return nil, err
	}
	return c.value()
}

// value returns the next non-null value of a byte column.
func (c *cursor) value() (v []byte, err error) {
	if c.dict {
		i, err := c.indexIn(len(c.dictBytes))
		if err != nil {
			return nil, err
		}
		return c.dictBytes[i], nil
	}
	v, c.data, err = c.plainBytes(c.data)
	return v, err
}

func (c *cursor) plainBytes(b []byte) (v, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, c.fail("values cut off")
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if n > uint64(len(b)-4) {
		return nil, nil, c.fail("value longer than its page")
	}
	return b[4 : 4+n : 4+n], b[4+n:], nil
}

func (c *cursor) indexIn(size int) (uint32, error) {
	i, ok := c.index.next()
	if !ok || i >= uint32(size) {
		return 0, c.fail("dictionary index out of range")
	}
	return i, nil
}

// row steps to the next row of a column without repetition and tells whether it has a value.
func (c *cursor) row() (bool, error) {
	if c.chunk.allNull {
		return false, nil
	}
	if c.rows == 0 {
		if err := c.load(); err != nil {
			return false, err
		}
	}
	c.rows--
	if c.leaf.maxDef == 0 {
		return true, nil
	}
	def, ok := c.def.next()
	if !ok {
		return false, c.fail("definition levels cut off")
	}
	return def == 1, nil
}

// repeated gives the values of the next row of a header column to yield, each with its definition level (value is nil
// below the highest), and returns their number: -1 when the list itself is null, 0 when it is empty.
func (c *cursor) repeated(yield func(value []byte, def byte) error) (int, error) {
	if c.rows == 0 {
		if err := c.load(); err != nil {
			return 0, err
		}
	}
	c.rows--
	for n := 0; ; n++ {
		if c.values == 0 {
			if n == 0 {
				return 0, c.fail("fewer rows than expected")
			}
			return n, nil
		}
		rep, ok := c.rep.peek()
		if !ok {
			return 0, c.fail("repetition levels cut off")
		}
		if (rep == 0) != (n == 0) {
			if n > 0 {
				return n, nil // the next row begins
			}
			return 0, c.fail("row begins in the middle")
		}
		c.rep.next()
		c.values--
		def, ok := c.def.next()
		switch {
		case !ok || def > uint32(c.leaf.maxDef):
			return 0, c.fail("definition levels cut off")
		case def < 2 && n > 0:
			return 0, c.fail("null list in the middle of a row")
		case n >= maxHeaders:
			return 0, c.fail("too many headers in a row")
		case def < 2:
			return int(def) - 1, nil
		}
		var value []byte
		if byte(def) == c.leaf.maxDef {
			var err error
			if value, err = c.value(); err != nil {
				return 0, err
			}
		}
		if err := yield(value, byte(def)); err != nil {
			return 0, err
		}
	}
}

// load decodes the next page.
func (c *cursor) load() error {
	if c.next >= len(c.chunk.pages) {
		return c.fail("no more pages")
	}
	if c.next > 0 && c.values > 0 {
		return c.fail("more values than rows")
	}
	p := c.chunk.pages[c.next]
	rows := c.group.pageRows(c.chunk, c.next)
	c.next++
	raw, err := c.fetch(p.pos, p.len)
	if err != nil {
		return err
	}
	h, body, err := c.body(raw, &c.buf)
	if err != nil {
		return err
	}
	d := h.DataPageHeader
	if h.Type != format.DataPage || !d.Valid {
		return c.fail("not a V1 data page")
	}
	if d.V.NumValues < 0 || (c.leaf.maxRep == 0 && int64(d.V.NumValues) != rows) {
		return c.fail("wrong number of values")
	}
	c.rows, c.values = rows, 0
	if c.leaf.maxRep > 0 {
		c.values = int(d.V.NumValues)
		if body, err = c.levels(&c.rep, body, c.leaf.maxRep); err != nil {
			return err
		}
	}
	if c.leaf.maxDef > 0 {
		if body, err = c.levels(&c.def, body, c.leaf.maxDef); err != nil {
			return err
		}
	}
	switch d.V.Encoding {
	case format.Plain:
		c.dict, c.data = false, body
	case format.RLEDictionary:
		if err := c.loadDictionary(); err != nil {
			return err
		}
		c.dict, c.data = true, nil
		if len(body) == 0 { // no values but nulls
			c.index.reset(nil, 0)
			return nil
		}
		if body[0] > 32 {
			return c.fail("dictionary index too wide")
		}
		c.index.reset(body[1:], uint(body[0]))
	default:
		return c.fail("encoding " + d.V.Encoding.String())
	}
	return nil
}

// levels reads the levels at the beginning of a V1 page's body and returns what follows.
func (c *cursor) levels(l *levels, body []byte, highest byte) ([]byte, error) {
	if len(body) < 4 {
		return nil, c.fail("levels cut off")
	}
	n := uint64(binary.LittleEndian.Uint32(body))
	if n > uint64(len(body)-4) {
		return nil, c.fail("levels longer than the page")
	}
	l.reset(body[4:4+n], uint(bits.Len8(highest)))
	return body[4+n:], nil
}

// body checks a page and decompresses it into *buf.
func (c *cursor) body(raw []byte, buf *[]byte) (*format.PageHeader, []byte, error) {
	h, n, err := pageHeader(raw[:min(len(raw), maxHeaderBytes)])
	if err != nil {
		return nil, nil, c.fail(err.Error())
	}
	body := raw[n:]
	if int64(h.CompressedPageSize) != int64(len(body)) {
		return nil, nil, c.fail("page is not as long as its header says")
	}
	if crc32.ChecksumIEEE(body) != uint32(h.CRC) {
		return nil, nil, c.fail("checksum does not match")
	}
	size := int64(h.UncompressedPageSize)
	if size < 0 || size > maxPageBytes {
		return nil, nil, fmt.Errorf("column %s: page of %d bytes: %w", c.leaf.path, size, ErrTooLarge)
	}
	if !c.chunk.zstd {
		return h, body, nil
	}
	// The frame tells its own size, short ones excepted; only when it agrees is memory taken for it.
	var frame zstd.Header
	err = frame.Decode(body)
	if err != nil || (frame.HasFCS && frame.FrameContentSize != uint64(size)) || (!frame.HasFCS && size > unsizedBytes) {
		return nil, nil, c.fail("compressed frame does not match the page's size")
	}
	if int64(cap(*buf)) < size {
		*buf = make([]byte, 0, size+size/4+1)
	}
	out, err := c.zstd.DecodeAll(body, (*buf)[:0])
	if err != nil {
		return nil, nil, c.fail(err.Error())
	}
	*buf = out
	if int64(len(out)) != size {
		return nil, nil, c.fail("page decompresses to another size")
	}
	return h, out, nil
}

// pageHeader decodes the header at the beginning of a page and says how long it is.
func pageHeader(buf []byte) (h *format.PageHeader, n int, err error) {
	defer recovered(&err)
	g := thriftGuard{buf: buf}
	if err := g.structure(0); err != nil {
		return nil, 0, err
	}
	n = len(buf) - len(g.buf)
	h = new(format.PageHeader)
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), buf[:n], h); err != nil {
		return nil, 0, fmt.Errorf("page header: %w", err)
	}
	return h, n, nil
}

// loadDictionary reads the chunk's dictionary, once.
func (c *cursor) loadDictionary() error {
	if c.dictBytes != nil || c.dictInts != nil {
		return nil
	}
	if c.chunk.dictLen == 0 {
		return c.fail("dictionary missing")
	}
	raw, err := c.fetch(c.chunk.dictPos, c.chunk.dictLen)
	if err != nil {
		return err
	}
	h, body, err := c.body(raw, &c.dictBuf)
	if err != nil {
		return err
	}
	d := h.DictionaryPageHeader
	if h.Type != format.DictionaryPage || !d.Valid || d.V.Encoding != format.Plain {
		return c.fail("not a dictionary page")
	}
	width := 4
	if c.leaf.kind == parquet.Int64 {
		width = 8
	}
	if d.V.NumValues < 0 || int64(d.V.NumValues)*int64(width) > int64(len(body)) {
		return c.fail("dictionary cut off")
	}
	if d.V.NumValues > maxDictValues {
		return fmt.Errorf("column %s: dictionary of %d values: %w", c.leaf.path, d.V.NumValues, ErrTooLarge)
	}
	if c.leaf.kind == parquet.ByteArray {
		c.dictBytes = make([][]byte, d.V.NumValues)
		for i := range c.dictBytes {
			if c.dictBytes[i], body, err = c.plainBytes(body); err != nil {
				return err
			}
		}
		return nil
	}
	c.dictInts = make([]int64, d.V.NumValues)
	for i := range c.dictInts {
		if c.dictInts[i], body, err = c.plainInt(body); err != nil {
			return err
		}
	}
	return nil
}

// levels decodes Parquet's hybrid of run-length and bit-packed integers, one at a time.
type levels struct {
	buf    []byte
	width  uint
	run    uint64 // values left in the run at hand
	packed []byte // the bit-packed run at hand, nil in a run of equal values
	bit    uint64 // next bit of packed
	value  uint32 // the run's value
}

func (l *levels) reset(buf []byte, width uint) { *l = levels{buf: buf, width: width} }

// peek returns the value that next will return.
func (l *levels) peek() (uint32, bool) {
	if l.run == 0 && !l.header() {
		return 0, false
	}
	if l.packed == nil {
		return l.value, true
	}
	return l.unpack(), true
}

// next returns the next value; false when there is none.
func (l *levels) next() (uint32, bool) {
	if l.run == 0 && !l.header() {
		return 0, false
	}
	l.run--
	if l.packed == nil {
		return l.value, true
	}
	v := l.unpack()
	l.bit += uint64(l.width)
	return v, true
}

func (l *levels) unpack() uint32 {
	i, shift := l.bit/8, l.bit%8
	var w uint64
	for j := range (uint(shift) + l.width + 7) / 8 {
		w |= uint64(l.packed[i+uint64(j)]) << (8 * j)
	}
	return uint32(w >> shift & (1<<l.width - 1))
}

// header reads the head of the next run that has values.
func (l *levels) header() bool {
	for l.run == 0 {
		h, n := binary.Uvarint(l.buf)
		if n <= 0 {
			return false
		}
		l.buf = l.buf[n:]
		if h&1 == 0 {
			size := int((l.width + 7) / 8)
			if len(l.buf) < size {
				return false
			}
			l.value, l.packed = 0, nil
			for i := range size {
				l.value |= uint32(l.buf[i]) << (8 * i)
			}
			l.buf = l.buf[size:]
			l.run = h >> 1
			continue
		}
		groups := h >> 1 // of eight values
		if groups > 1<<32 || groups*uint64(l.width) > uint64(len(l.buf)) {
			return false
		}
		size := groups * uint64(l.width)
		l.packed, l.bit, l.run = l.buf[:size:size], 0, groups*8
		l.buf = l.buf[size:]
	}
	return true
}
