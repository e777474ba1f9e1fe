package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
)

// Snappy comes to us in two shapes. librdkafka and older Go clients send one raw block. Java sends the framing of its
// snappy library ("xerial"): a 16-byte header, then blocks with a 4-byte big-endian length each.
const (
	xerialMagic     = "\x82SNAPPY\x00"
	xerialHeaderLen = 16
	xerialBlock     = 32 << 10 // what Java writes per block

	// snappyWhole is the largest block decoded in one step, by the library's assembler.
	snappyWhole = 1 << 20
	// snappyWindow is the least history kept when a larger block is decoded piece by piece: what encoders that split
	// their input at 64 KiB refer back to.
	snappyWindow = 64 << 10
)

//nolint:gochecknoglobals // a pool is not state
var snappyBuffers = sync.Pool{New: func() any { return new([snappyWhole]byte) }}

// snappyReader decodes raw or framed snappy as a stream. Its buffer is 1 MiB, unless a block larger than that refers
// back further than 64 KiB: then it is twice that distance, at most the block's decoded size. Snappy's densest element
// makes 64 bytes of 3, so even that is under 22 times the bytes received, and within the limit.
type snappyReader struct {
	rest   []byte // blocks not begun
	framed bool
	block  []byte // elements of the current block not begun
	left   int    // bytes the current block has still to give

	buf    []byte // decoded bytes; those before read are history
	read   int
	window int // how much history a slide keeps

	literal int // bytes of a literal at the front of block still to copy
	copying int // bytes of a back reference still to copy, from distance
	dist    int

	limit  int64 // decoded bytes still allowed by headers
	pooled *[snappyWhole]byte
}

func newSnappyReader(src []byte, limit int64) (*snappyReader, error) {
	r := &snappyReader{rest: src, limit: limit}
	if bytes.HasPrefix(src, []byte(xerialMagic)) {
		if len(src) < xerialHeaderLen {
			return nil, fmt.Errorf("framing of %d bytes: %w", len(src), ErrInvalid)
		}
		r.framed, r.rest = true, src[xerialHeaderLen:]
	} else if len(src) == 0 {
		return nil, fmt.Errorf("no block: %w", ErrInvalid)
	}
	return r, nil
}

func (r *snappyReader) release() {
	if r.pooled != nil {
		snappyBuffers.Put(r.pooled)
		r.pooled, r.buf = nil, nil
	}
}

// Read gives decoded bytes. Errors: io.EOF, ErrInvalid, ErrTooLarge.
func (r *snappyReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.read == len(r.buf) {
		if r.left > 0 {
			r.decode()
			continue
		}
		if len(r.rest) == 0 {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.read:])
	r.read += n
	return n, nil
}

// next begins a block. It walks the block's elements first, so that decode meets no surprise and the buffer need not be
// larger than the block's own references reach.
func (r *snappyReader) next() error {
	block := r.rest
	if r.framed {
		if len(block) < 4 {
			return fmt.Errorf("framing cut off: %w", ErrInvalid)
		}
		n := int64(binary.BigEndian.Uint32(block))
		block = block[4:]
		if n > int64(len(block)) {
			return fmt.Errorf("block of %d bytes in %d: %w", n, len(block), ErrInvalid)
		}
		block = block[:n]
		r.rest = r.rest[4+n:]
	} else {
		r.rest = nil
	}
	size, used := binary.Uvarint(block)
	switch {
	case used <= 0:
		return fmt.Errorf("block without a length: %w", ErrInvalid)
	case size > uint64(r.limit):
		return fmt.Errorf("block of %d decoded bytes: %w", size, ErrTooLarge)
	}
	r.limit -= int64(size)
	reach, err := walkSnappy(block[used:], int(size))
	if err != nil {
		return err
	}
	if size <= snappyWhole {
		r.room(snappyWhole)
		if _, err := s2.Decode(r.buf[:size], block); err != nil {
			return errors.Join(err, ErrInvalid)
		}
		r.buf, r.read = r.buf[:size], 0
		return nil
	}
	r.window = max(reach, snappyWindow)
	r.room(int(min(size, uint64(2*r.window))))
	r.buf, r.read = r.buf[:0], 0
	r.block, r.left, r.literal, r.copying = block[used:], int(size), 0, 0
	return nil
}

// room makes buf hold at least n bytes.
func (r *snappyReader) room(n int) {
	if n <= cap(r.buf) {
		return
	}
	r.release()
	if n <= snappyWhole {
		r.pooled = snappyBuffers.Get().(*[snappyWhole]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
		r.buf = r.pooled[:]
		return
	}
	r.buf = make([]byte, n)
}

// decode fills the buffer with the next stretch of the current block, after moving the history to its front.
func (r *snappyReader) decode() {
	if len(r.buf) == cap(r.buf) {
		kept := copy(r.buf, r.buf[len(r.buf)-r.window:])
		r.buf, r.read = r.buf[:kept], kept
	}
	for r.left > 0 && len(r.buf) < cap(r.buf) {
		room := cap(r.buf) - len(r.buf)
		switch {
		case r.literal > 0:
			n := min(r.literal, room)
			r.buf = append(r.buf, r.block[:n]...)
			r.block, r.literal, r.left = r.block[n:], r.literal-n, r.left-n
		case r.copying > 0:
			// A reference may reach into the bytes it makes: copy no more than the distance at a time.
			n := min(r.copying, room, r.dist)
			from := len(r.buf) - r.dist
			r.buf = append(r.buf, r.buf[from:from+n]...)
			r.copying, r.left = r.copying-n, r.left-n
		default:
			e := snappyElement(r.block)
			r.block = r.block[e.header:]
			if e.dist == 0 {
				r.literal = e.length
			} else {
				r.copying, r.dist = e.length, e.dist
			}
		}
	}
}

// element is one tag of a snappy block: a literal of length bytes that follow its header, or (dist > 0) a copy.
type element struct{ header, length, dist int }

// snappyElement reads the tag at the front of a block; header is 0 when it is cut off.
func snappyElement(p []byte) element {
	if len(p) == 0 {
		return element{}
	}
	tag := int(p[0])
	switch tag & 3 {
	case 0:
		n := tag >> 2
		if n < 60 {
			return element{header: 1, length: n + 1}
		}
		extra := n - 59
		if len(p) < 1+extra {
			return element{}
		}
		n = 0
		for i := extra; i > 0; i-- {
			n = n<<8 | int(p[i])
		}
		return element{header: 1 + extra, length: n + 1}
	case 1:
		if len(p) < 2 {
			return element{}
		}
		return element{header: 2, length: 4 + tag>>2&7, dist: tag>>5<<8 | int(p[1])}
	case 2:
		if len(p) < 3 {
			return element{}
		}
		return element{header: 3, length: 1 + tag>>2, dist: int(binary.LittleEndian.Uint16(p[1:]))}
	default:
		if len(p) < 5 {
			return element{}
		}
		return element{header: 5, length: 1 + tag>>2, dist: int(binary.LittleEndian.Uint32(p[1:]))}
	}
}

// walkSnappy checks that a block's elements give exactly size bytes and refer only to bytes already given. It returns
// the largest distance of a reference. A distance of 0 is an extension that the library's decoder takes and others do not.
func walkSnappy(p []byte, size int) (reach int, err error) {
	made := 0
	for len(p) > 0 {
		e := snappyElement(p)
		isCopy := p[0]&3 != 0
		switch {
		case e.header == 0:
			return 0, fmt.Errorf("block cut off: %w", ErrInvalid)
		case e.length > size-made:
			return 0, fmt.Errorf("block gives more than its %d bytes: %w", size, ErrInvalid)
		case isCopy && (e.dist == 0 || e.dist > made):
			return 0, fmt.Errorf("block refers %d bytes back after %d: %w", e.dist, made, ErrInvalid)
		case !isCopy && e.length > len(p)-e.header:
			return 0, fmt.Errorf("literal of %d bytes in %d: %w", e.length, len(p)-e.header, ErrInvalid)
		}
		p = p[e.header:]
		if !isCopy {
			p = p[e.length:]
		}
		reach = max(reach, e.dist)
		made += e.length
	}
	if made != size {
		return 0, fmt.Errorf("block gives %d of its %d bytes: %w", made, size, ErrInvalid)
	}
	return reach, nil
}

// appendSnappy compresses src as Java does, in framed blocks: all readers know it, and can read it piece by piece.
func appendSnappy(dst, src []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = binary.BigEndian.AppendUint32(dst, 1) // version
	dst = binary.BigEndian.AppendUint32(dst, 1) // oldest version that can read it
	var scratch [xerialBlock + xerialBlock/4]byte
	for len(src) > 0 {
		n := min(len(src), xerialBlock)
		block := s2.EncodeSnappy(scratch[:], src[:n])
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = append(dst, block...)
		src = src[n:]
	}
	return dst
}
