package record

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Builder makes record batches from records. It is not safe for concurrent use; Reset makes it ready for the next batch
// and keeps its buffer. Batches have no producer (id, epoch and sequence -1) and leader epoch -1: PatchHeader sets that.
type Builder struct {
	codec   Codec
	records []byte
	count   int32
	started bool // a record or SetLastOffset has come
	base    Offset
	last    Offset
	ts      struct {
		base, max int64
		kind      TimestampType
	}
}

// NewBuilder returns a builder for batches compressed with codec, the first at base offset 0.
func NewBuilder(codec Codec) *Builder { return &Builder{codec: codec} }

// Reset begins the next batch, at base.
func (b *Builder) Reset(base Offset) {
	*b = Builder{codec: b.codec, records: b.records[:0], base: base, last: base}
}

// Len is the size of the batch so far without compression, in bytes.
func (b *Builder) Len() int { return BatchHeaderLen + len(b.records) }

// Count is the number of records so far.
func (b *Builder) Count() int { return int(b.count) }

// Fits reports whether r can join the batch begun: one batch has one timestamp type, with LogAppendTime one timestamp,
// and its offsets lie within 31 bits, its bytes too.
func (b *Builder) Fits(r *Record) bool {
	if b.count == 0 {
		return true
	}
	return r.TimestampType == b.ts.kind && (b.ts.kind == CreateTime || r.Timestamp == b.ts.max) &&
		r.Offset-b.base < math.MaxInt32 && int64(b.Len())+maxEncodedLen(r) < math.MaxInt32
}

// Append adds r, whose bytes it copies. Offsets must ascend from the base on and may leave gaps.
// Errors: ErrInvalid when r's offset does not, or r does not fit (see Fits).
func (b *Builder) Append(r *Record) error {
	switch delta := r.Offset - b.base; {
	case delta < 0 || b.started && r.Offset <= b.last:
		return fmt.Errorf("append offset %d to batch of offsets %d to %d: %w", r.Offset, b.base, b.last, ErrInvalid)
	case delta >= math.MaxInt32 || !b.Fits(r) || len(r.Headers) > maxRecordHeaders || maxEncodedLen(r) > math.MaxInt32/2:
		return fmt.Errorf("append offset %d to batch at offset %d: record does not fit: %w", r.Offset, b.base, ErrInvalid)
	}
	if b.count == 0 {
		b.ts.base, b.ts.max, b.ts.kind = r.Timestamp, r.Timestamp, r.TimestampType
	}
	b.ts.max = max(b.ts.max, r.Timestamp)
	b.started, b.last = true, r.Offset
	b.count++
	b.records = appendRecord(b.records, r, r.Offset-b.base, r.Timestamp-b.ts.base)
	return nil
}

// SetLastOffset stretches the batch to o, over offsets without records. An o that is before the last record changes
// nothing. A batch may consist of a gap only.
func (b *Builder) SetLastOffset(o Offset) {
	if o >= b.last {
		b.started, b.last = true, o
	}
}

// Build appends the batch to dst; the builder may be used on only after Reset.
// Errors: ErrInvalid when there is nothing to build, or the last offset is beyond 31 bits from the base; ErrUnknownCodec.
func (b *Builder) Build(dst []byte) ([]byte, error) {
	if !b.started || b.last-b.base >= math.MaxInt32 {
		return dst, fmt.Errorf("build batch of %d records at offsets %d to %d: %w", b.count, b.base, b.last, ErrInvalid)
	}
	attributes := uint16(b.codec)
	if b.ts.kind == LogAppendTime {
		attributes |= attrLogAppendTime
	}
	baseTimestamp, maxTimestamp := b.ts.base, b.ts.max
	if b.count == 0 {
		baseTimestamp, maxTimestamp = -1, -1
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.base))
	dst = append(dst, 0, 0, 0, 0) // length, known at the end
	dst = binary.BigEndian.AppendUint32(dst, math.MaxUint32)
	dst = append(dst, magicV2, 0, 0, 0, 0) // and CRC, likewise
	dst = binary.BigEndian.AppendUint16(dst, attributes)
	dst = binary.BigEndian.AppendUint32(dst, uint32(b.last-b.base))
	dst = binary.BigEndian.AppendUint64(dst, uint64(baseTimestamp))
	dst = binary.BigEndian.AppendUint64(dst, uint64(maxTimestamp))
	dst = binary.BigEndian.AppendUint64(dst, math.MaxUint64) // producer id, epoch and sequence: none
	dst = binary.BigEndian.AppendUint16(dst, math.MaxUint16)
	dst = binary.BigEndian.AppendUint32(dst, math.MaxUint32)
	dst = binary.BigEndian.AppendUint32(dst, uint32(b.count))
	dst, err := appendCompressed(dst, b.codec, b.codec.DefaultLevel(), b.records)
	if err != nil {
		return dst[:start], err
	}
	raw := dst[start:]
	binary.BigEndian.PutUint32(raw[posLength:], uint32(len(raw)-lengthOverhead))
	binary.BigEndian.PutUint32(raw[posCRC:], Checksum(raw[posAttributes:]))
	return dst, nil
}

// appendRecord appends r in the record format of batch v2.
func appendRecord(dst []byte, r *Record, offsetDelta Offset, timestampDelta int64) []byte {
	size := 1 + varintLen(timestampDelta) + varintLen(int64(offsetDelta)) +
		fieldLen(len(r.Key), r.Key == nil) + fieldLen(len(r.Value), r.Value == nil) + varintLen(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		size += fieldLen(len(h.Key), false) + fieldLen(len(h.Value), h.Value == nil)
	}
	dst = binary.AppendVarint(dst, size)
	dst = append(dst, 0) // attributes
	dst = binary.AppendVarint(dst, timestampDelta)
	dst = binary.AppendVarint(dst, int64(offsetDelta))
	dst = appendField(dst, r.Key)
	dst = appendField(dst, r.Value)
	dst = binary.AppendVarint(dst, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		dst = binary.AppendVarint(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendField(dst, h.Value)
	}
	return dst
}

func appendField(dst, p []byte) []byte {
	if p == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(p)))
	return append(dst, p...)
}

func fieldLen(n int, null bool) int64 {
	if null {
		return 1
	}
	return varintLen(int64(n)) + int64(n)
}

// varintLen is the size of v as a zigzag varint.
func varintLen(v int64) int64 {
	n := int64(1)
	for u := uint64(v)<<1 ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// maxEncodedLen is at least the size of r in a batch.
func maxEncodedLen(r *Record) int64 {
	const fixed, perHeader = 5 + 1 + 10 + 5 + 5 + 5 + 5, 5 + 5
	n := int64(fixed) + int64(len(r.Key)) + int64(len(r.Value))
	for i := range r.Headers {
		n += perHeader + int64(len(r.Headers[i].Key)) + int64(len(r.Headers[i].Value))
	}
	return n
}
