package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// maxZstdWindow is the largest window a zstd frame may ask for: the 8 MiB that RFC 8878 asks every decoder to support,
// and all that levels up to 19 use. The decoder reserves a window as soon as a header claims it.
const maxZstdWindow = 8 << 20

// Decoders are dear to make (a zstd one allocates tables and history) and hold nothing anybody can observe once reset.
var (
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}   //nolint:gochecknoglobals // a pool is not state
	lz4Readers  = sync.Pool{New: func() any { return lz4.NewReader(nil) }} //nolint:gochecknoglobals // a pool is not state
	zstdReaders = sync.Pool{New: func() any { return newZstdReader() }}    //nolint:gochecknoglobals // a pool is not state
)

func newZstdReader() *zstd.Decoder {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1), // decode in the caller's goroutine
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		panic(err) // the options are constants: the first test would meet this
	}
	return d
}

// inflater streams the decompressed records of one payload. Memory while reading: gzip 64 KiB; LZ4 twice the frame's
// block size (8 MiB at most); zstd two windows of at most 8 MiB; snappy as newSnappyReader tells.
// It ends with io.EOF only when the compressed bytes ended too.
type inflater struct {
	codec Codec
	dec   io.Reader
	src   bytes.Reader // what the decoder has not taken yet; unused by snappy
	left  int64        // decompressed bytes still allowed
	limit int64
	close func()
	sized [1]byte
}

// newInflater decompresses src, at most limit bytes of it. The caller calls release when done.
// Errors: ErrUnknownCodec, ErrInvalid, ErrTooLarge.
func newInflater(c Codec, src []byte, limit int64) (*inflater, error) {
	f := &inflater{codec: c, left: limit, limit: limit, close: func() {}}
	f.src.Reset(src)
	switch c {
	case None:
		f.dec = &f.src
	case Gzip:
		r := gzipReaders.Get().(*gzip.Reader) //nolint:errcheck,forcetypeassert // the pool holds nothing else
		if err := r.Reset(&f.src); err != nil {
			gzipReaders.Put(r)
			return nil, f.explain(err)
		}
		r.Multistream(false) // not all clients read past the first member
		f.dec, f.close = r, func() { gzipReaders.Put(r) }
	case Snappy:
		r, err := newSnappyReader(src, limit)
		if err != nil {
			return nil, f.explain(err)
		}
		f.src.Reset(nil)
		f.dec, f.close = r, r.release
	case LZ4:
		if err := checkLZ4Frame(src); err != nil {
			return nil, f.explain(err)
		}
		r := lz4Readers.Get().(*lz4.Reader) //nolint:errcheck,forcetypeassert // the pool holds nothing else
		r.Reset(&f.src)
		f.dec, f.close = r, func() { r.Reset(nil); lz4Readers.Put(r) }
	case Zstd:
		r := zstdReaders.Get().(*zstd.Decoder) //nolint:errcheck,forcetypeassert // the pool holds nothing else
		// The bare interface keeps the decoder from seeing a buffer and decoding all of it at once.
		if err := r.Reset(struct{ io.Reader }{&f.src}); err != nil {
			zstdReaders.Put(r)
			return nil, f.explain(err)
		}
		f.dec, f.close = r, func() {
			if r.Reset(nil) == nil {
				zstdReaders.Put(r)
			}
		}
	default:
		return nil, fmt.Errorf("record batch: %s: %w", c, ErrUnknownCodec)
	}
	return f, nil
}

// release gives the decoder back. Read must not be called after it.
func (f *inflater) release() {
	f.src.Reset(nil) // a pooled decoder may keep pointing here, but not at the batch
	f.close()
}

// Read reads decompressed bytes. Errors other than io.EOF: ErrInvalid, ErrTooLarge.
func (f *inflater) Read(p []byte) (int, error) {
	if f.left == 0 {
		// A stream that ends exactly at the limit is well; one byte more is a bomb.
		p = f.sized[:]
	} else if int64(len(p)) > f.left {
		p = p[:f.left]
	}
	n, err := f.dec.Read(p)
	if f.left == 0 && n > 0 {
		return 0, fmt.Errorf("record batch: %s data passes %d bytes: %w", f.codec, f.limit, ErrTooLarge)
	}
	f.left -= int64(n)
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return n, f.explain(err)
	case f.src.Len() > 0:
		return n, fmt.Errorf("record batch: %d bytes after the %s data: %w", f.src.Len(), f.codec, ErrInvalid)
	}
	return n, io.EOF
}

// explain turns a decoder's error into one of ours. A stream that does not decompress is invalid and not corrupt: the
// batch's CRC held, so the client sent it like that and would send it again.
func (f *inflater) explain(err error) error {
	switch {
	case errors.Is(err, ErrTooLarge) || errors.Is(err, ErrInvalid):
		return fmt.Errorf("record batch: %s data: %w", f.codec, err)
	case errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("record batch: zstd data asks for a window over %d MiB: %w", maxZstdWindow>>20, ErrTooLarge)
	}
	return fmt.Errorf("record batch: %s data: %w: %w", f.codec, ErrInvalid, err)
}

// Bits and fields of the LZ4 frame format 1.5.1.
const (
	lz4Magic            = 0x184D2204
	lz4FlagVersion      = 0xC0 // two bits, 01
	lz4FlagIndependent  = 0x20
	lz4FlagBlockSum     = 0x10
	lz4FlagContentSize  = 0x08
	lz4FlagContentSum   = 0x04
	lz4FlagDictionary   = 0x01
	lz4BlockIsPlain     = 1 << 31
	lz4MinFrame         = 4 + 3 + 4 // magic, descriptor, end mark
	lz4ContentSizeBytes = 8
	lz4ChecksumBytes    = 4
)

// checkLZ4Frame wants one frame that fills src and that every Kafka client can read: Java's reader refuses dependent
// blocks and dictionaries, and ignores whatever follows the first frame. Checksums are left to the decoder.
func checkLZ4Frame(src []byte) error {
	if len(src) < lz4MinFrame || binary.LittleEndian.Uint32(src) != lz4Magic {
		return fmt.Errorf("no LZ4 frame: %w", ErrInvalid)
	}
	flags := src[4]
	switch {
	case flags&lz4FlagVersion != 0x40:
		return fmt.Errorf("LZ4 frame version %d: %w", flags>>6, ErrInvalid)
	case flags&lz4FlagIndependent == 0:
		return fmt.Errorf("LZ4 frame with dependent blocks: %w", ErrInvalid)
	case flags&lz4FlagDictionary != 0:
		return fmt.Errorf("LZ4 frame with a dictionary: %w", ErrInvalid)
	}
	at := 4 + 3
	if flags&lz4FlagContentSize != 0 {
		at += lz4ContentSizeBytes
	}
	for {
		if len(src)-at < 4 {
			return fmt.Errorf("LZ4 frame without an end mark: %w", ErrInvalid)
		}
		size := binary.LittleEndian.Uint32(src[at:])
		at += 4
		if size == 0 {
			break
		}
		n := int(size &^ lz4BlockIsPlain)
		if flags&lz4FlagBlockSum != 0 {
			n += lz4ChecksumBytes
		}
		if n > len(src)-at {
			return fmt.Errorf("LZ4 block of %d bytes in %d: %w", n, len(src)-at, ErrInvalid)
		}
		at += n
	}
	if flags&lz4FlagContentSum != 0 {
		at += lz4ChecksumBytes
	}
	if at != len(src) {
		return fmt.Errorf("LZ4 frame of %d bytes in %d: %w", at, len(src), ErrInvalid)
	}
	return nil
}

// inflate decompresses all of a payload into one buffer of its own, growing it with what arrives and not with what
// headers claim. Uncompressed payloads are returned as they are.
func inflate(c Codec, src []byte, limit int64) ([]byte, error) {
	if c == None {
		if int64(len(src)) > limit {
			return nil, fmt.Errorf("record batch: %d bytes of records, limit %d: %w", len(src), limit, ErrTooLarge)
		}
		return src, nil
	}
	f, err := newInflater(c, src, limit)
	if err != nil {
		return nil, err
	}
	defer f.release()
	buf := make([]byte, 0, min(limit, int64(4*len(src)+512))+1)
	for {
		n, err := f.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(limit+1, int64(2*len(buf))))
			copy(grown, buf)
			buf = grown
		}
	}
}
