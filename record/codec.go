package record

import "fmt"

// Codec is how a batch's records are compressed. The numbers are Kafka's.
type Codec int8

// The codecs of record batch v2.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// Known reports whether c is one of the five codecs.
func (c Codec) Known() bool { return None <= c && c <= Zstd }

// String is the codec's name as Kafka's configuration writes it.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	default:
		return fmt.Sprintf("codec %d", int8(c))
	}
}

// MarshalText is String, for settings that are written as JSON.
func (c Codec) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseCodec.
func (c *Codec) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCodec(string(text))
	return err
}

// ParseCodec reads a codec's name as String writes it.
func ParseCodec(name string) (Codec, error) {
	for c := None; c <= Zstd; c++ {
		if c.String() == name {
			return c, nil
		}
	}
	return None, fmt.Errorf("compression %q: want none, gzip, snappy, lz4 or zstd: %w", name, ErrUnknownCodec)
}

// Limits bounds what reading a batch may cost.
type Limits struct {
	Decompressed int64 // bytes of records after decompression, per batch
}

// DefaultLimits allows 128 MiB of records in a batch: twice the largest batch the server takes.
func DefaultLimits() Limits { return Limits{Decompressed: 128 << 20} }
