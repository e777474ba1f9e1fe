package record

import (
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Encoders hold nothing anybody can observe once reset.
var (
	gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }} //nolint:gochecknoglobals // a pool is not state
	lz4Writers  = sync.Pool{New: func() any { return newLZ4Writer() }}      //nolint:gochecknoglobals // a pool is not state
	zstdWriters = sync.Pool{New: func() any { return newZstdWriter() }}     //nolint:gochecknoglobals // a pool is not state
)

// newLZ4Writer writes frames as Java does: independent blocks of 64 KiB, no checksum (the batch has one).
func newLZ4Writer() *lz4.Writer {
	w := lz4.NewWriter(nil)
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)); err != nil {
		panic(err) // the options are constants: the first test would meet this
	}
	return w
}

func newZstdWriter() *zstd.Encoder {
	w, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), // the batch has a checksum
		// Without it, records that repeat nothing but use few symbols (random hexadecimal, base64) stay uncompressed.
		zstd.WithAllLitEntropyCompression(true),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constants: the first test would meet this
	}
	return w
}

// appendCompressed appends src, compressed, to dst. Errors: ErrUnknownCodec.
func appendCompressed(dst []byte, c Codec, src []byte) ([]byte, error) {
	switch c {
	case None:
		return append(dst, src...), nil
	case Gzip:
		w := gzipWriters.Get().(*gzip.Writer) //nolint:errcheck,forcetypeassert // the pool holds nothing else
		defer gzipWriters.Put(w)
		return appendThrough(w, dst, src)
	case Snappy:
		return appendSnappy(dst, src), nil
	case LZ4:
		w := lz4Writers.Get().(*lz4.Writer) //nolint:errcheck,forcetypeassert // the pool holds nothing else
		defer lz4Writers.Put(w)
		return appendThrough(w, dst, src)
	case Zstd:
		w := zstdWriters.Get().(*zstd.Encoder) //nolint:errcheck,forcetypeassert // the pool holds nothing else
		defer zstdWriters.Put(w)
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
