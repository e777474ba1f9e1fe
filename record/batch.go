package record

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Places of the fields in a batch's header (record batch format v2, Kafka's DefaultRecordBatch).
const (
	posBaseOffset      = 0
	posLength          = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21 // first byte the CRC covers
	posLastOffsetDelta = 23
	posBaseTimestamp   = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posRecords         = 57

	// BatchHeaderLen is the size of a batch without records, in bytes.
	BatchHeaderLen = 61
	// PatchLen is how many bytes at the front of a batch PatchHeader replaces. The CRC does not cover them.
	PatchLen = 16

	lengthOverhead = 12 // the length field counts what follows it
	magicV2        = 2
)

// Bits of the attributes field.
const (
	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
)

// Batch is one record batch of format v2 whose header has been checked by Parse or Split. It aliases the bytes it was
// made from, which must not change while it is in use. The zero Batch is not valid; only IsZero may be called on it.
type Batch struct{ raw []byte }

// Parse returns the first batch in buf after checking its length, magic, CRC-32C and header. It aliases buf; bytes after
// the batch are ignored (compare Len). Records are not looked at: see ValidateProduce.
// Errors: ErrTruncated, ErrMagic, ErrCorrupt (length or CRC), ErrInvalid (header).
func Parse(buf []byte) (Batch, error) {
	raw, err := frame(buf)
	if err != nil {
		return Batch{}, err
	}
	if want, got := binary.BigEndian.Uint32(raw[posCRC:]), Checksum(raw[posAttributes:]); want != got {
		return Batch{}, fmt.Errorf("record batch of %d bytes: CRC-32C is %08x, header says %08x: %w", len(raw), got, want, ErrCorrupt)
	}
	b := Batch{raw}
	return b, b.checkHeader()
}

// Split returns the first batch in buf and the bytes after it. It checks what Parse checks except the CRC: it is for
// bytes that have been verified as a whole, such as a run of a WAL object. Both results alias buf.
// Errors: ErrTruncated, ErrMagic, ErrCorrupt (length), ErrInvalid (header).
func Split(buf []byte) (b Batch, rest []byte, err error) {
	raw, err := frame(buf)
	if err != nil {
		return Batch{}, buf, err
	}
	b = Batch{raw}
	if err := b.checkHeader(); err != nil {
		return Batch{}, buf, err
	}
	return b, buf[len(raw):], nil
}

// frame cuts the first batch off buf by its length field. The capacity is cut too, so that nothing appends into what follows.
func frame(buf []byte) ([]byte, error) {
	// Magic comes first: message sets of magic 0 and 1 have it at the same place and may be shorter than our header.
	if len(buf) <= posMagic {
		return nil, fmt.Errorf("record batch: %d bytes, want at least %d: %w", len(buf), BatchHeaderLen, ErrTruncated)
	}
	if magic := buf[posMagic]; magic != magicV2 {
		return nil, fmt.Errorf("record batch: magic %d, want 2: %w", int8(magic), ErrMagic)
	}
	n := int64(int32(binary.BigEndian.Uint32(buf[posLength:]))) + lengthOverhead
	if n < BatchHeaderLen {
		return nil, fmt.Errorf("record batch: length field %d, want at least %d: %w", n-lengthOverhead, BatchHeaderLen-lengthOverhead, ErrCorrupt)
	}
	if n > int64(len(buf)) {
		return nil, fmt.Errorf("record batch: %d of %d bytes: %w", len(buf), n, ErrTruncated)
	}
	return buf[:n:n], nil
}

// checkHeader holds for every batch, whoever wrote it: offsets and counts can be added without overflow.
func (b Batch) checkHeader() error {
	delta, count := b.LastOffsetDelta(), b.Records()
	switch {
	case delta < 0 || delta == math.MaxInt32:
		return fmt.Errorf("record batch: last offset delta %d: %w", delta, ErrInvalid)
	case count < 0 || count > delta+1:
		return fmt.Errorf("record batch: %d records in %d offsets: %w", count, int64(delta)+1, ErrInvalid)
	}
	return nil
}

// IsZero reports whether b is the zero Batch.
func (b Batch) IsZero() bool { return b.raw == nil }

// Bytes is the whole batch as it came. It must not be changed.
func (b Batch) Bytes() []byte { return b.raw }

// Len is the size of the whole batch in bytes.
func (b Batch) Len() Len { return Len(len(b.raw)) }

// BaseOffset is the offset of the first record, as the bytes say: of a producer's batch it means nothing.
func (b Batch) BaseOffset() Offset { return Offset(b.i64(posBaseOffset)) }

// LastOffset is the offset of the batch's last place, BaseOffset + LastOffsetDelta.
func (b Batch) LastOffset() Offset { return b.BaseOffset() + Offset(b.LastOffsetDelta()) }

// LeaderEpoch is the partition leader epoch, as the bytes say.
func (b Batch) LeaderEpoch() int32 { return b.i32(posLeaderEpoch) }

// CRC is the header's CRC-32C of everything from the attributes on.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b.raw[posCRC:]) }

// LastOffsetDelta is the distance from the base offset to the last offset, 0 or more. The record there may be missing.
func (b Batch) LastOffsetDelta() int32 { return b.i32(posLastOffsetDelta) }

// OffsetCount is how many offsets the batch takes: LastOffsetDelta + 1.
func (b Batch) OffsetCount() int32 { return b.LastOffsetDelta() + 1 }

// Records is the number of records the header declares, between 0 and OffsetCount.
func (b Batch) Records() int32 { return b.i32(posRecords) }

// Codec is the compression of the records; it may be one that does not exist (see Codec.Known).
func (b Batch) Codec() Codec { return Codec(b.attributes() & attrCodec) }

// TimestampType tells who set the timestamps.
func (b Batch) TimestampType() TimestampType {
	if b.attributes()&attrLogAppendTime != 0 {
		return LogAppendTime
	}
	return CreateTime
}

// Transactional reports whether the batch belongs to a transaction.
func (b Batch) Transactional() bool { return b.attributes()&attrTransactional != 0 }

// Control reports whether the batch holds a transaction marker instead of data.
func (b Batch) Control() bool { return b.attributes()&attrControl != 0 }

// BaseTimestamp is what the records' timestamp deltas count from, in milliseconds.
func (b Batch) BaseTimestamp() int64 { return b.i64(posBaseTimestamp) }

// MaxTimestamp is the largest timestamp of the records in milliseconds, as the header says; -1 for none.
func (b Batch) MaxTimestamp() int64 { return b.i64(posMaxTimestamp) }

// ProducerID is the idempotent producer's id, -1 for none.
func (b Batch) ProducerID() int64 { return b.i64(posProducerID) }

// ProducerEpoch is the idempotent producer's epoch, -1 for none.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b.raw[posProducerEpoch:])) }

// BaseSequence is the idempotent producer's sequence number of the first record, -1 for none.
func (b Batch) BaseSequence() int32 { return b.i32(posBaseSequence) }

func (b Batch) attributes() uint16 { return binary.BigEndian.Uint16(b.raw[posAttributes:]) }

// payload is the records, compressed as Codec says.
func (b Batch) payload() []byte { return b.raw[BatchHeaderLen:] }

func (b Batch) i32(at int) int32 { return int32(binary.BigEndian.Uint32(b.raw[at:])) }

func (b Batch) i64(at int) int64 { return int64(binary.BigEndian.Uint64(b.raw[at:])) }

// PatchHeader appends the first PatchLen bytes of b to dst with another base offset and leader epoch. The CRC does not
// cover them, so these bytes followed by b.Bytes()[PatchLen:] are the batch at its place in the log, its body not copied.
func PatchHeader(dst []byte, b Batch, base Offset, leaderEpoch int32) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(base))
	dst = append(dst, b.raw[posLength:posLeaderEpoch]...)
	return binary.BigEndian.AppendUint32(dst, uint32(leaderEpoch))
}

// StampLogAppendTime turns the batch at the front of buf into one whose timestamps are the server's: type LogAppendTime,
// maximum ms (milliseconds since the epoch), which readers then take for every record. It writes into buf and renews the
// CRC. It errs as Split does; the old CRC is not checked.
func StampLogAppendTime(buf []byte, ms int64) (Batch, error) {
	b, _, err := Split(buf)
	if err != nil {
		return Batch{}, err
	}
	binary.BigEndian.PutUint16(b.raw[posAttributes:], b.attributes()|attrLogAppendTime)
	return b.stampMaxTimestamp(ms), nil
}

// StampMaxTimestamp corrects the largest timestamp in the header of the batch at the front of buf, for a producer that
// got it wrong (see Inspection). It writes into buf and renews the CRC. It errs as Split does; the old CRC is not checked.
func StampMaxTimestamp(buf []byte, ms int64) (Batch, error) {
	b, _, err := Split(buf)
	if err != nil {
		return Batch{}, err
	}
	return b.stampMaxTimestamp(ms), nil
}

func (b Batch) stampMaxTimestamp(ms int64) Batch {
	binary.BigEndian.PutUint64(b.raw[posMaxTimestamp:], uint64(ms))
	binary.BigEndian.PutUint32(b.raw[posCRC:], Checksum(b.raw[posAttributes:]))
	return b
}
