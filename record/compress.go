package record

import (
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Encoders hold nothing anybody can observe once reset. Each level has a pool of its own.
var (
	gzipWriters [gzip.BestCompression - gzip.DefaultCompression + 1]sync.Pool //nolint:gochecknoglobals // a pool is not state
	lz4Writers  [lz4Levels]sync.Pool                                          //nolint:gochecknoglobals // a pool is not state
	zstdWriters [zstd.SpeedBestCompression + 1]sync.Pool                      //nolint:gochecknoglobals // a pool is not state
)

const (
	lz4Levels  = 10 // 0 is the fast mode, 1 to 9 are slower
	lz4Default = 9  // as Kafka counts, where it means the fast mode
)

// DefaultLevel is the codec's level in Kafka where nobody sets one.
func (c Codec) DefaultLevel() int {
	switch c {
	case Gzip:
		return gzip.DefaultCompression
	case LZ4:
		return lz4Default
	case Zstd:
		return 3
	default:
		return 0
	}
}

func gzipWriter(level int) (*gzip.Writer, *sync.Pool) {
	level = min(max(level, gzip.DefaultCompression), gzip.BestCompression)
	pool := &gzipWriters[level-gzip.DefaultCompression]
	if w, ok := pool.Get().(*gzip.Writer); ok {
		return w, pool
	}
	w, err := gzip.NewWriterLevel(nil, level)
	if err != nil {
		panic(err) // every level of the array is one: a test meets all of them
	}
	return w, pool
}

// lz4Writer writes frames as Java does: independent blocks of 64 KiB, no checksum (the batch has one).
func lz4Writer(level int) (*lz4.Writer, *sync.Pool) {
	if level = min(max(level, 1), lz4Levels-1); level == lz4Default {
		level = 0
	}
	pool := &lz4Writers[level]
	if w, ok := pool.Get().(*lz4.Writer); ok {
		return w, pool
	}
	compression := lz4.Fast
	if level > 0 {
		compression = lz4.Level1 << (level - 1)
	}
	w := lz4.NewWriter(nil)
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.CompressionLevelOption(compression)); err != nil {
		panic(err) // as above
	}
	return w, pool
}

func zstdWriter(level int) (*zstd.Encoder, *sync.Pool) {
	speed := zstd.EncoderLevelFromZstd(level)
	pool := &zstdWriters[speed]
	if w, ok := pool.Get().(*zstd.Encoder); ok {
		return w, pool
	}
	w, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(speed),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),         // the batch has a checksum
		zstd.WithWindowSize(maxZstdWindow), // what every reader of ours and of others takes
		// Without it, records that repeat nothing but use few symbols (random hexadecimal, base64) stay uncompressed.
		zstd.WithAllLitEntropyCompression(true),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constants: the first test would meet this
	}
	return w, pool
}

// appendCompressed appends src, compressed, to dst. Levels are Kafka's; one beyond the codec's is the nearest it has.
// Errors: ErrUnknownCodec.
func appendCompressed(dst []byte, c Codec, level int, src []byte) ([]byte, error) {
	switch c {
	case None:
		return append(dst, src...), nil
	case Gzip:
		w, pool := gzipWriter(level)
		defer pool.Put(w)
		return appendThrough(w, dst, src)
	case Snappy:
		return appendSnappy(dst, src), nil
	case LZ4:
		w, pool := lz4Writer(level)
		defer pool.Put(w)
		return appendThrough(w, dst, src)
	case Zstd:
		w, pool := zstdWriter(level)
		defer pool.Put(w)
		return w.EncodeAll(src, dst), nil
	default:
		return dst, fmt.Errorf("record batch: %s: %w", c, ErrUnknownCodec)
	}
}

type resetWriter interface {
	io.WriteCloser
	Reset(w io.Writer)
}

func appendThrough(w resetWriter, dst, src []byte) ([]byte, error) {
	out := appender{dst}
	w.Reset(&out)
	defer w.Reset(nil)
	if _, err := w.Write(src); err != nil {
		return dst, fmt.Errorf("compress %d bytes: %w", len(src), err)
	}
	if err := w.Close(); err != nil {
		return dst, fmt.Errorf("compress %d bytes: %w", len(src), err)
	}
	return out.buf, nil
}

// appender is an io.Writer that appends.
type appender struct{ buf []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.buf = append(a.buf, p...)
	return len(p), nil
}
