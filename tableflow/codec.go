package tableflow

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// newZstdReader makes a decoder for DecodeAll, which takes no goroutine and needs no Close.
func newZstdReader() *zstd.Decoder {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPageBytes), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // the options are constants: the first test would meet this
	}
	return r
}

// zstdCodec compresses pages at the fastest level, but entropy-codes literals even where no match was found: without
// that, hexadecimal ids and other match-free text stay at 8 bits a byte, 40 % more on typed columns.
type zstdCodec struct{ enc *zstd.Encoder }

func newZstdCodec() (*zstdCodec, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithAllLitEntropyCompression(true),
		zstd.WithEncoderConcurrency(1),
		zstd.WithZeroFrames(true),
		zstd.WithEncoderCRC(false), // the page has its own
	)
	if err != nil {
		return nil, fmt.Errorf("make zstd encoder: %w", err)
	}
	return &zstdCodec{enc}, nil
}

// String names the codec for the library.
func (c *zstdCodec) String() string { return "ZSTD" }

// CompressionCodec is the codec's number in the format.
func (c *zstdCodec) CompressionCodec() format.CompressionCodec { return format.Zstd }

// Encode compresses src into dst's memory where it fits.
func (c *zstdCodec) Encode(dst, src []byte) ([]byte, error) {
	return c.enc.EncodeAll(src, dst[:0]), nil
}

// Decode is never called: files are read by this package's own page reader.
func (c *zstdCodec) Decode([]byte, []byte) ([]byte, error) {
	return nil, fmt.Errorf("decode in a writer: %w", ErrCorrupt)
}
