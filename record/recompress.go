package record

import (
	"encoding/binary"
	"fmt"
)

// Recompress returns b with its records compressed by codec at a level of Kafka's (Codec.DefaultLevel; one beyond the codec's is
// the nearest it has). All else is as it was: offsets, timestamps, producer, sequence. The result has bytes of its own, also
// where b has that codec already. It decompresses all of b, at most limits.Decompressed bytes.
// Errors: ErrUnknownCodec, ErrTooLarge, ErrInvalid.
func Recompress(b Batch, codec Codec, level int, limits Limits) (Batch, error) {
	records, err := inflate(b.Codec(), b.payload(), limits.Decompressed)
	if err != nil {
		return Batch{}, err
	}
	raw := make([]byte, BatchHeaderLen, BatchHeaderLen+len(b.payload())+512)
	copy(raw, b.raw)
	if raw, err = appendCompressed(raw, codec, level, records); err != nil {
		return Batch{}, fmt.Errorf("compress %d bytes with %s: %w", len(records), codec, err)
	}
	binary.BigEndian.PutUint16(raw[posAttributes:], b.attributes()&^attrCodec|uint16(codec))
	binary.BigEndian.PutUint32(raw[posLength:], uint32(len(raw)-lengthOverhead))
	binary.BigEndian.PutUint32(raw[posCRC:], Checksum(raw[posAttributes:]))
	return Batch{raw}, nil
}
