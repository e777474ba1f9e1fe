package record

import (
	"encoding/binary"
	"fmt"
	"math"
)

// minRecordLen is the shortest record: length, attributes, both deltas, null key and value, no headers.
const minRecordLen = 7

// Decode appends all records of b to dst. Offsets count from the batch's base offset, so patch that first when it is not
// yet right; every record of a LogAppendTime batch has the batch's MaxTimestamp. Keys, values and header values alias the
// batch when it is not compressed, and otherwise one buffer that belongs to them; both must not be changed.
// A record takes about 100 bytes beside its own and at least 7 in the batch: use Each where the whole would be too much.
// Errors: ErrUnknownCodec, ErrTooLarge (more than limits.Decompressed bytes), ErrInvalid. On an error dst holds the
// records before it.
func (b Batch) Decode(limits Limits, dst []Record) ([]Record, error) {
	err := b.Each(limits, func(r *Record) bool {
		dst = append(dst, *r)
		return true
	})
	return dst, err
}

// Each calls yield for every record of b, in offset order, until it returns false. What Decode says of records holds
// here; the Record itself is reused between calls, the slices in it are not. Checks come as the walk goes: records
// before a bad one are yielded, and nothing is known of those after a false.
func (b Batch) Each(limits Limits, yield func(*Record) bool) error {
	p, err := inflate(b.Codec(), b.payload(), limits.Decompressed)
	if err != nil {
		return err
	}
	count := b.Records()
	if int64(count)*minRecordLen > int64(len(p)) {
		return fmt.Errorf("%d records in %d bytes: %w", count, len(p), ErrInvalid)
	}
	r, last := Record{TimestampType: b.TimestampType()}, int64(-1)
	for i := range count {
		var delta int64
		if p, delta, err = b.next(p, &r); err != nil {
			return fmt.Errorf("record %d of %d: %w", i, count, err)
		}
		if delta <= last || delta > int64(b.LastOffsetDelta()) {
			return fmt.Errorf("record %d of %d: offset delta %d after %d: %w", i, count, delta, last, ErrInvalid)
		}
		last = delta
		if !yield(&r) {
			return nil
		}
	}
	if len(p) > 0 {
		return fmt.Errorf("%d bytes after the last of %d records: %w", len(p), count, ErrInvalid)
	}
	return nil
}

// next reads the record at the front of p into r and returns what follows it.
func (b Batch) next(p []byte, r *Record) (rest []byte, delta int64, err error) {
	c := reader{p: p}
	size := c.varint32()
	if c.err == nil && (size < 0 || size > int64(len(c.p))) {
		c.fail("length %d in %d bytes", size, len(c.p))
	}
	if c.err != nil {
		return nil, 0, c.err
	}
	rest, c.p = c.p[size:], c.p[:size]
	c.bytes(1) // attributes, all unused
	r.Timestamp = b.BaseTimestamp() + c.varint64()
	if r.TimestampType == LogAppendTime {
		r.Timestamp = b.MaxTimestamp()
	}
	delta = c.varint32()
	r.Offset = b.BaseOffset() + Offset(delta)
	r.Key, r.Value = c.field(), c.field()
	r.Headers = c.headers(r.Headers)
	if c.err == nil && len(c.p) > 0 {
		c.fail("length is %d, %d bytes more than its fields", size, len(c.p))
	}
	return rest, delta, c.err
}

// reader takes fields off the front of p. After an error every method returns zero values.
type reader struct {
	p   []byte
	err error
}

func (c *reader) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrInvalid)
	}
	c.p = nil
}

func (c *reader) bytes(n int64) []byte {
	if n > int64(len(c.p)) {
		c.fail("field of %d bytes in the %d left of its record", n, len(c.p))
		return nil
	}
	b := c.p[:n:n]
	c.p = c.p[n:]
	return b
}

// field is a length and so many bytes; -1 is null.
func (c *reader) field() []byte {
	switch n := c.varint32(); {
	case c.err != nil || n == -1:
		return nil
	case n < -1:
		c.fail("field of %d bytes", n)
		return nil
	default:
		return c.bytes(n)
	}
}

// headers reads a record's headers. Keys that stood at the same place of the previous record are not allocated again.
func (c *reader) headers(previous []Header) []Header {
	n := c.varint32()
	if n < 0 || n > maxRecordHeaders || n > int64(len(c.p)/2) {
		c.fail("%d headers in %d bytes", n, len(c.p))
	}
	if c.err != nil || n == 0 {
		return nil
	}
	headers := make([]Header, n)
	for i := range headers {
		key := c.field()
		if key == nil {
			c.fail("header key is null")
			return nil
		}
		if i < len(previous) && previous[i].Key == string(key) {
			headers[i].Key = previous[i].Key
		} else {
			headers[i].Key = string(key)
		}
		headers[i].Value = c.field()
	}
	return headers
}

func (c *reader) varint32() int64 {
	v := c.varint64()
	if v < math.MinInt32 || v > math.MaxInt32 {
		c.fail("varint %d is beyond 32 bits", v)
		return 0
	}
	return v
}

func (c *reader) varint64() int64 {
	v, n := binary.Varint(c.p)
	if n <= 0 {
		c.fail("varint cut off or beyond 64 bits")
		return 0
	}
	c.p = c.p[n:]
	return v
}
