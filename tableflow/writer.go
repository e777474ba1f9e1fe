package tableflow

import (
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"github.com/bargedata/barge/record"
)

// Errors a caller acts on; compare with errors.Is.
var (
	// ErrOrder: partitions or offsets do not ascend, a fault of the caller.
	ErrOrder = errors.New("rows out of order")
	// ErrTooManyRowGroups: a file of more row groups could not be opened again. Write fewer rows or partitions into one.
	ErrTooManyRowGroups = errors.New("too many row groups in one file")
)

// MaxRowGroups is how many row groups a file may have. OpenFile bounds what a footer costs, and a row group takes some
// 80 thrift structs and 3 KiB of it.
const MaxRowGroups = 4096

// WriterConfig bounds the pieces of a file. Zero values mean the defaults.
type WriterConfig struct {
	RowGroupRows  int   // rows per row group at most; default 100,000
	RowGroupBytes int64 // raw bytes, overhead of rows and headers included, after which a row group ends; default 64 MiB
	PageBytes     int   // raw bytes after which a page ends; default 256 KiB
}

const (
	batchRows  = 1024      // rows collected before they go to the column writers
	batchBytes = 64 << 10  // bytes collected before
	dictBytes  = 512 << 10 // a column's dictionary at most, then PLAIN
	rowBytes   = 64        // what a row costs beside its byte strings and headers, for RowGroupBytes
	maxHeaders = 1 << 16   // of a row in columns; a reader needs a bound that a few run-length bytes can not exceed

	// What a header costs beside its byte strings: two values on their way to the column writers. Without it rows of 65,536
	// empty headers, 25 bytes each on the wire, would count as nothing.
	headerBytes = 48
	// What a header costs in each of its two columns' pages: levels, and an index or a length. Reading from a row on decodes
	// the levels of all headers before it in its page, so they must end a page as bytes do.
	headerPageBytes = 16
)

// Writer writes one Parquet file of one topic to a stream. It keeps at most one row group in memory. Not safe for
// concurrent use. After an error every later call returns it.
type Writer struct {
	cfg WriterConfig
	out *footerHold
	pw  *parquet.GenericWriter[any]
	err error

	cols  [numColumns]column
	arena []byte // copies of the batch's byte strings; never grows, so that values can point into it
	batch int    // rows collected
	cost  int    // of these rows, in bytes: byte strings and headers

	partition  int32
	started    bool
	closed     bool
	last       record.Offset // of the partition, with part.Rows > 0
	part       Part
	groupRows  int   // of the row group at hand
	groupBytes int64 // likewise, raw
	groups     int32 // row groups ended
	stats      FileStats
	bounds     struct {
		partition, offset, timestamp longBounds
		err, key, value              textBounds
	}
}

// column is one column's part of the batch at hand.
type column struct {
	values []parquet.Value
	raw    int   // bytes written since the last page ended, where the library's own count is of indexes or levels
	nulls  int64 // rows of the file
}

// NewWriter makes a Writer; nothing is written before the first row group ends.
func NewWriter(w io.Writer, cfg WriterConfig) *Writer {
	if cfg.RowGroupRows <= 0 {
		cfg.RowGroupRows = 100_000
	}
	if cfg.RowGroupBytes <= 0 {
		cfg.RowGroupBytes = 64 << 20
	}
	if cfg.PageBytes <= 0 {
		cfg.PageBytes = 256 << 10
	}
	out := &footerHold{w: w}
	codec, err := newZstdCodec()
	opts := []parquet.WriterOption{
		fileSchema(),
		parquet.Compression(codec),
		parquet.DataPageVersion(1),
		parquet.PageBufferSize(cfg.PageBytes),
		parquet.WriteBufferSize(0),
		// Bounds in page headers would be whole values, 10 MiB ones too; the page index has them for numbers.
		parquet.DataPageStatistics(false),
		parquet.DictionaryMaxBytes(dictBytes),
		parquet.KeyValueMetadata(layoutKey, layoutValue),
		parquet.CreatedBy("barge", "1", "parquet-go"),
	}
	for _, l := range leaves() {
		if l.kind == parquet.ByteArray {
			opts = append(opts, parquet.SkipPageBounds(pathOf(l.path)...))
		}
	}
	wr := &Writer{cfg: cfg, out: out, pw: parquet.NewGenericWriter[any](out, opts...), err: err}
	wr.arena = make([]byte, 0, batchBytes)
	for i := range wr.cols {
		wr.cols[i].values = make([]parquet.Value, 0, batchRows)
	}
	return wr
}

// StartPartition ends the current row group and says which partition the next rows belong to. Partitions ascend;
// ErrOrder otherwise. A partition without rows leaves no trace.
func (w *Writer) StartPartition(partition int32) error {
	if w.err != nil {
		return w.err
	}
	if w.started && partition <= w.partition {
		return w.fail(fmt.Errorf("partition %d after %d: %w", partition, w.partition, ErrOrder))
	}
	if err := w.endPart(); err != nil {
		return w.fail(err)
	}
	w.started, w.partition = true, partition
	return nil
}

// Append adds one row. Offsets ascend within a partition (gaps are fine); ErrOrder otherwise. ErrTooManyRowGroups when the
// row would begin a row group beyond MaxRowGroups. The record's bytes are the caller's again on return.
func (w *Writer) Append(r *record.Record) error {
	switch {
	case w.err != nil:
		return w.err
	case !w.started:
		return w.fail(fmt.Errorf("row before the first partition: %w", ErrOrder))
	case w.part.Rows > 0 && r.Offset <= w.last:
		return w.fail(fmt.Errorf("partition %d: offset %d after %d: %w", w.partition, r.Offset, w.last, ErrOrder))
	}
	if w.groupRows >= w.cfg.RowGroupRows || (w.groupRows > 0 && w.groupBytes >= w.cfg.RowGroupBytes) {
		if err := w.endGroup(); err != nil {
			return w.fail(err)
		}
	}
	if w.groupRows == 0 && w.groups >= MaxRowGroups {
		return w.fail(fmt.Errorf("partition %d: offset %d: %d row groups written: %w", w.partition, r.Offset, w.groups, ErrTooManyRowGroups))
	}
	size := payloadBytes(r)
	cost := size + headerBytes*len(r.Headers)
	if w.batch >= batchRows || (w.batch > 0 && w.cost+cost > batchBytes) {
		if err := w.flushBatch(); err != nil {
			return w.fail(err)
		}
	}
	// A record that does not fit the arena is not copied: its bytes are still the caller's, so it goes out at once.
	alias := size > cap(w.arena)
	w.addRow(r, alias)
	w.account(r, size, cost)
	if alias {
		if err := w.flushBatch(); err != nil {
			return w.fail(err)
		}
	}
	return nil
}

// Close ends the file and tells what it holds. The stream is not closed. A file without rows is legal.
func (w *Writer) Close() (FileStats, error) {
	if w.err != nil {
		return FileStats{}, w.err
	}
	if w.closed {
		return w.stats, nil
	}
	if err := w.endPart(); err != nil {
		return FileStats{}, w.fail(err)
	}
	w.out.hold()
	if err := w.pw.Close(); err != nil {
		return FileStats{}, w.fail(fmt.Errorf("close parquet file: %w", err))
	}
	if err := w.out.release(w.pw.File().Metadata()); err != nil {
		return FileStats{}, w.fail(err)
	}
	w.closed = true
	w.stats.Size = w.out.written
	w.stats.Columns = w.columnStats()
	return w.stats, nil
}

func (w *Writer) fail(err error) error {
	w.err = err
	return err
}

// payloadBytes is how much of the arena the record takes at most. The raw form of headers needs no more than 10 bytes a
// length beside the bytes; it is made outside the arena, so only the plain bytes count.
func payloadBytes(r *record.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// account notes the row in the part, the row group and the file.
func (w *Writer) account(r *record.Record, size, cost int) {
	if w.part.Rows == 0 {
		w.part = Part{Partition: w.partition, Base: r.Offset, RowGroup: w.groups, MaxTimestamp: math.MinInt64}
	}
	w.part.Rows++
	w.part.Last = r.Offset
	w.part.MaxTimestamp = max(w.part.MaxTimestamp, r.Timestamp)
	w.last = r.Offset
	w.groupRows++
	w.groupBytes += int64(cost) + rowBytes
	w.stats.Rows++
	w.stats.RawBytes += int64(size)
	w.bounds.offset.add(int64(r.Offset))
	w.batch++
	w.cost += cost
}

// addRow puts one value per column (per header, in the header columns) into the batch.
func (w *Writer) addRow(r *record.Record, alias bool) {
	misfit := ""
	w.put(colPartition, parquet.Int32Value(w.partition), 0)
	w.put(colOffset, parquet.Int64Value(int64(r.Offset)), 0)

	if r.Timestamp < firstMilli || r.Timestamp > lastMilli {
		misfit = "timestamp outside the years 1 to 9999"
		w.null(colTimestamp)
		w.put(colTimestampMs, parquet.Int64Value(r.Timestamp), 1)
	} else {
		w.bounds.timestamp.add(r.Timestamp)
		w.put(colTimestamp, parquet.Int64Value(r.Timestamp*1000), 1)
		w.null(colTimestampMs)
	}

	w.text(colKey, colRawKey, r.Key, alias, &w.bounds.key)
	kind := w.text(colValue, colRawValue, r.Value, alias, &w.bounds.value)
	w.put(colValueKind, parquet.Int32Value(kind), 0)
	w.put(colTimestampType, parquet.Int32Value(int32(r.TimestampType)), 0)

	if problem := headerProblem(r.Headers); problem != "" {
		misfit = problem
		w.null(colHeaderKey)
		w.null(colHeaderValue)
		w.put(colRawHeaders, parquet.ByteArrayValue(appendHeaders(nil, r.Headers)), 1)
	} else {
		w.headers(r.Headers, alias)
		w.null(colRawHeaders)
	}

	w.null(colSchemaID)
	if misfit == "" {
		w.null(colError)
		return
	}
	w.stats.Misfits++
	w.bounds.err.add([]byte(misfit))
	w.put(colError, parquet.ByteArrayValue([]byte(misfit)), 1)
}

// text puts bytes into the string column if they are valid UTF-8 that a bound can cover, and into the raw one otherwise,
// and says which.
func (w *Writer) text(col, rawCol int, b []byte, alias bool, bounds *textBounds) (kind int32) {
	switch {
	case b == nil:
		w.null(col)
		w.null(rawCol)
		return kindNull
	case utf8.Valid(b) && !unbounded(b):
		bounds.add(b)
		w.put(col, w.bytes(b, alias), 1)
		w.null(rawCol)
		w.cols[col].raw += len(b)
		return kindString
	default:
		w.null(col)
		w.put(rawCol, w.bytes(b, alias), 1)
		return kindRaw
	}
}

func (w *Writer) headers(hs []record.Header, alias bool) {
	if len(hs) == 0 {
		w.put(colHeaderKey, parquet.Value{}, 1)
		w.put(colHeaderValue, parquet.Value{}, 1)
		return
	}
	keys, values := &w.cols[colHeaderKey], &w.cols[colHeaderValue]
	for i := range hs {
		rep := min(i, 1)
		key := w.string(hs[i].Key, alias)
		keys.values = append(keys.values, key.Level(rep, 2, colHeaderKey))
		keys.raw += len(hs[i].Key) + headerPageBytes
		values.raw += len(hs[i].Value) + headerPageBytes
		if hs[i].Value == nil {
			values.values = append(values.values, parquet.Value{}.Level(rep, 2, colHeaderValue))
			continue
		}
		values.values = append(values.values, w.bytes(hs[i].Value, alias).Level(rep, 3, colHeaderValue))
	}
}

func (w *Writer) put(col int, v parquet.Value, def int) {
	c := &w.cols[col]
	c.values = append(c.values, v.Level(0, def, col))
}

func (w *Writer) null(col int) {
	c := &w.cols[col]
	c.nulls++
	c.values = append(c.values, parquet.Value{}.Level(0, 0, col))
}

// bytes makes a value of b, copied into the arena unless alias. Append made sure that it fits.
func (w *Writer) bytes(b []byte, alias bool) parquet.Value {
	if alias {
		return parquet.ByteArrayValue(b)
	}
	n := len(w.arena)
	w.arena = append(w.arena, b...)
	return parquet.ByteArrayValue(w.arena[n:])
}

func (w *Writer) string(s string, alias bool) parquet.Value {
	if alias {
		return parquet.ByteArrayValue([]byte(s))
	}
	n := len(w.arena)
	w.arena = append(w.arena, s...)
	return parquet.ByteArrayValue(w.arena[n:])
}

// flushBatch hands the batch to the column writers, which end pages at their size.
func (w *Writer) flushBatch() error {
	if w.batch == 0 {
		return nil
	}
	for i, cw := range w.pw.ColumnWriters() {
		c := &w.cols[i]
		if _, err := cw.WriteRowValues(c.values); err != nil {
			return fmt.Errorf("write parquet column %d: %w", i, err)
		}
		c.values = c.values[:0]
		// The writer counts a dictionary column's indexes, not its bytes. Ending the page by bytes keeps the dictionary
		// within dictBytes and a page: it is checked when a page ends.
		if c.raw >= w.cfg.PageBytes {
			c.raw = 0
			if err := cw.Flush(); err != nil {
				return fmt.Errorf("write parquet column %d: %w", i, err)
			}
		}
	}
	w.batch, w.cost = 0, 0
	w.arena = w.arena[:0]
	return nil
}

func (w *Writer) endGroup() error {
	if err := w.flushBatch(); err != nil {
		return err
	}
	if w.groupRows == 0 {
		return nil
	}
	if err := w.pw.Flush(); err != nil {
		return fmt.Errorf("write row group %d: %w", w.groups, err)
	}
	for i := range w.cols {
		w.cols[i].raw = 0
	}
	w.groups++
	w.groupRows, w.groupBytes = 0, 0
	return nil
}

func (w *Writer) endPart() error {
	if err := w.endGroup(); err != nil {
		return err
	}
	if w.part.Rows > 0 {
		w.part.RowGroups = w.groups - w.part.RowGroup
		w.stats.Parts = append(w.stats.Parts, w.part)
		w.bounds.partition.add(int64(w.part.Partition))
		w.part = Part{}
	}
	return nil
}

func (w *Writer) columnStats() []ColumnStats {
	names := leaves()
	stats := make([]ColumnStats, 0, colTimestampType)
	for i := range colTimestampType {
		if i == colHeaderValue { // the list counts once
			continue
		}
		s := ColumnStats{Name: pathOf(names[i].path)[0], NullCount: w.cols[i].nulls}
		switch i {
		case colPartition:
			s.Min, s.Max = w.bounds.partition.literals()
		case colOffset:
			s.Min, s.Max = w.bounds.offset.literals()
		case colTimestamp:
			s.Min, s.Max = w.bounds.timestamp.timestamps()
		case colError:
			s.Min, s.Max = w.bounds.err.literals()
		case colKey:
			s.Min, s.Max = w.bounds.key.literals()
		case colValue:
			s.Min, s.Max = w.bounds.value.literals()
		}
		stats = append(stats, s)
	}
	return stats
}
