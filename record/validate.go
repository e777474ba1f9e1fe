package record

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
)

const (
	// maxRecordHeaders bounds the headers of one record. A header takes 2 bytes on the wire and 40 in memory, so a bomb
	// of empty headers would otherwise unfold twentyfold wherever records are decoded.
	maxRecordHeaders = 1 << 16

	inflateWindow = 32 << 10
)

// Inspection is what a walk over a batch's records learns.
type Inspection struct {
	// MaxTimestamp is the largest timestamp of the records. A header that says otherwise comes from a sloppy client; put
	// it right with StampMaxTimestamp, or lookups by time go astray. Kafka's brokers do the same.
	MaxTimestamp int64
	Decompressed int64 // bytes of records
	// Refused are the records that break a rule of the topic, the first 100 of them. They are none of InspectProduce's errors.
	Refused []RefusedRecord
}

// ProduceRules is what a topic demands of each record, beyond the format's own rules.
type ProduceRules struct {
	Keys                       bool  // no record may be without a key
	MinTimestamp, MaxTimestamp int64 // of a record that has a timestamp, ms; AnyRecord has no bounds
}

// AnyRecord demands nothing.
func AnyRecord() ProduceRules {
	return ProduceRules{MinTimestamp: math.MinInt64, MaxTimestamp: math.MaxInt64}
}

// maxRefused bounds the records of one batch that are named as refused.
const maxRefused = 100

// RefusedRecord is a record that breaks a rule of its topic.
type RefusedRecord struct {
	Index     int32 // in the batch, from 0
	Timestamp int64 // ms
	Early     bool  // the timestamp is below the bounds
	Late      bool  // the timestamp is beyond the bounds; neither: the key is missing
}

// ValidateProduce checks that b is a batch a client may produce, as Kafka's LogValidator does: at least one record, last
// offset delta one less than the count, no control batch, no timestamp type of the server's, a sequence with a producer
// id. Then it walks the records, decompressing as it goes: number, lengths, offset deltas 0..n-1, header counts (at most
// 65536 a record), nothing left over.
// Records are skipped and not kept: whatever the batch claims, memory stays within the codec's window (see inflater).
// Errors: ErrUnknownCodec, ErrTooLarge (decompressed bytes or zstd window over the limit), ErrInvalid (all else).
func (b Batch) ValidateProduce(limits Limits) error {
	_, err := b.InspectProduce(limits, AnyRecord())
	return err
}

// InspectProduce is ValidateProduce with what was learned on the way, also which records break the topic's rules.
func (b Batch) InspectProduce(limits Limits, rules ProduceRules) (Inspection, error) {
	if err := b.checkProduce(); err != nil {
		return Inspection{}, err
	}
	w := walker{batch: b, rules: rules, offsetInOrder: true, learned: Inspection{MaxTimestamp: math.MinInt64}}
	if b.Codec() == None {
		if int64(len(b.payload())) > limits.Decompressed {
			return Inspection{}, fmt.Errorf("record batch: %d bytes of records, limit %d: %w", len(b.payload()), limits.Decompressed, ErrTooLarge)
		}
		w.buf = b.payload()
		err := w.walk()
		return w.learned, err
	}
	src, err := newInflater(b.Codec(), b.payload(), limits.Decompressed)
	if err != nil {
		return Inspection{}, err
	}
	defer src.release()
	window := inflateWindows.Get().(*[inflateWindow]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	defer inflateWindows.Put(window)
	w.src, w.window = src, window[:]
	err = w.walk()
	return w.learned, err
}

//nolint:gochecknoglobals // a pool is not state
var inflateWindows = sync.Pool{New: func() any { return new([inflateWindow]byte) }}

// checkProduce is the part of ValidateProduce that the header decides.
func (b Batch) checkProduce() error {
	count, offsets := b.Records(), b.OffsetCount()
	switch {
	case !b.Codec().Known():
		return fmt.Errorf("record batch: %s: %w", b.Codec(), ErrUnknownCodec)
	case count == 0:
		return fmt.Errorf("record batch without records: %w", ErrInvalid)
	case count != offsets:
		return fmt.Errorf("record batch: %d records in %d offsets: %w", count, offsets, ErrInvalid)
	case b.Control():
		return fmt.Errorf("record batch is a control batch, which clients may not send: %w", ErrInvalid)
	case b.TimestampType() == LogAppendTime:
		return fmt.Errorf("record batch has timestamp type LogAppendTime, which is the server's to set: %w", ErrInvalid)
	case b.ProducerID() < -1:
		return fmt.Errorf("record batch: producer id %d: %w", b.ProducerID(), ErrInvalid)
	case b.ProducerID() >= 0 && (b.ProducerEpoch() < 0 || b.BaseSequence() < 0):
		return fmt.Errorf("record batch: producer id %d with epoch %d and sequence %d: %w",
			b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), ErrInvalid)
	}
	return nil
}

// walker reads the framing of records from a window over their bytes.
type walker struct {
	batch         Batch
	rules         ProduceRules
	offsetInOrder bool // deltas are 0..n-1, not merely ascending

	buf    []byte // the window's bytes; all of them when src is nil
	pos    int
	base   int64     // bytes before the window
	src    io.Reader // fills the window, nil when there is no more
	window []byte

	learned Inspection
}

var errRecordsEnd = fmt.Errorf("records end too early: %w", ErrInvalid)

func (w *walker) walk() error {
	count, last := w.batch.Records(), int64(-1)
	for i := range count {
		delta, err := w.record()
		if err != nil {
			return fmt.Errorf("record %d of %d: %w", i, count, err)
		}
		if delta <= last || delta > int64(w.batch.LastOffsetDelta()) || w.offsetInOrder && delta != int64(i) {
			return fmt.Errorf("record %d of %d: offset delta %d after %d: %w", i, count, delta, last, ErrInvalid)
		}
		last = delta
	}
	w.learned.Decompressed = w.at()
	if w.pos == len(w.buf) {
		if err := w.fill(); errors.Is(err, errRecordsEnd) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return fmt.Errorf("bytes after the last of %d records: %w", count, ErrInvalid)
}

// record walks one record and returns its offset delta.
func (w *walker) record() (offsetDelta int64, err error) {
	size, err := w.varint32(math.MaxInt64)
	if err != nil {
		return 0, err
	}
	if size < 0 {
		return 0, fmt.Errorf("length %d: %w", size, ErrInvalid)
	}
	end := w.at() + size
	if err := w.skip(1, end); err != nil { // attributes, all unused
		return 0, err
	}
	timeDelta, err := w.varint64(end)
	if err != nil {
		return 0, err
	}
	if offsetDelta, err = w.varint32(end); err != nil {
		return 0, err
	}
	key, err := w.field(end, "key")
	if err != nil {
		return 0, err
	}
	if _, err := w.field(end, "value"); err != nil {
		return 0, err
	}
	headers, err := w.varint32(end)
	if err != nil {
		return 0, err
	}
	if headers < 0 || headers > maxRecordHeaders {
		return 0, fmt.Errorf("%d headers: %w", headers, ErrInvalid)
	}
	for range headers {
		if n, err := w.field(end, "header key"); err != nil {
			return 0, err
		} else if n < 0 {
			return 0, fmt.Errorf("header key is null: %w", ErrInvalid)
		}
		if _, err := w.field(end, "header value"); err != nil {
			return 0, err
		}
	}
	if at := w.at(); at != end {
		return 0, fmt.Errorf("length is %d, %d bytes more than its fields: %w", size, end-at, ErrInvalid)
	}
	at := w.batch.BaseTimestamp() + timeDelta
	w.learned.MaxTimestamp = max(w.learned.MaxTimestamp, at)
	if early, late := at < w.rules.MinTimestamp, at > w.rules.MaxTimestamp; key < 0 && w.rules.Keys || at != noTimestamp && (early || late) {
		if len(w.learned.Refused) < maxRefused {
			noKey := key < 0 && w.rules.Keys
			w.learned.Refused = append(w.learned.Refused, RefusedRecord{Index: int32(offsetDelta), Timestamp: at, Early: early && !noKey, Late: late && !noKey})
		}
	}
	return offsetDelta, nil
}

// noTimestamp is what a record has that was given no time.
const noTimestamp = -1

// field walks a length and so many bytes, and returns the length; -1 is null.
func (w *walker) field(end int64, name string) (int64, error) {
	n, err := w.varint32(end)
	if err != nil {
		return 0, err
	}
	if n < -1 {
		return 0, fmt.Errorf("%s of %d bytes: %w", name, n, ErrInvalid)
	}
	if n > 0 {
		err = w.skip(n, end)
	}
	return n, err
}

// at is how many bytes of records lie behind.
func (w *walker) at() int64 { return w.base + int64(w.pos) }

// skip passes n bytes, not beyond end.
func (w *walker) skip(n, end int64) error {
	if n > end-w.at() {
		return fmt.Errorf("field of %d bytes in the %d left of its record: %w", n, end-w.at(), ErrInvalid)
	}
	for n > int64(len(w.buf)-w.pos) {
		n -= int64(len(w.buf) - w.pos)
		w.pos = len(w.buf)
		if err := w.fill(); err != nil {
			return err
		}
	}
	w.pos += int(n)
	return nil
}

// varint32 reads a zigzag varint that fits 32 bits and ends at or before end.
func (w *walker) varint32(end int64) (int64, error) {
	v, err := w.varint64(end)
	if err == nil && v != int64(int32(v)) {
		err = fmt.Errorf("varint %d is beyond 32 bits: %w", v, ErrInvalid)
	}
	return v, err
}

// varint64 reads a zigzag varint that ends at or before end.
func (w *walker) varint64(end int64) (int64, error) {
	var v uint64
	for shift := 0; ; shift += 7 {
		if w.pos == len(w.buf) {
			if err := w.fill(); err != nil {
				return 0, err
			}
		}
		c := w.buf[w.pos]
		w.pos++
		if shift == 63 && c > 1 {
			return 0, fmt.Errorf("varint is beyond 64 bits: %w", ErrInvalid)
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			break
		}
	}
	if w.at() > end {
		return 0, fmt.Errorf("varint beyond the end of its record: %w", ErrInvalid)
	}
	return int64(v>>1) ^ -int64(v&1), nil
}

// fill moves the window on once all of it is behind; errRecordsEnd when nothing follows.
func (w *walker) fill() error {
	for w.src != nil {
		n, err := w.src.Read(w.window)
		if err != nil {
			w.src = nil
			if !errors.Is(err, io.EOF) {
				return err
			}
		}
		if n > 0 {
			w.base += int64(len(w.buf))
			w.buf, w.pos = w.window[:n], 0
			return nil
		}
	}
	return errRecordsEnd
}
