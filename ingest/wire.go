package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// errMalformed: a frame does not say what its header promises. The connection is closed, as Kafka does.
var errMalformed = errors.New("malformed request")

const (
	// maxElements bounds the array elements of one request, over all its arrays. kmsg's structs are up to 30 times as
	// large as their smallest form on the wire, so a count that is merely true to the bytes left would still let one
	// frame ask for hundreds of MiB (CVE-2026-111108 is of this class).
	maxElements = 100_000
	// maxTags bounds one tag section. Clients send none or one.
	maxTags = 64
	// maxString is the largest classic string; compact ones could claim more and nothing legitimate does.
	maxString = math.MaxInt16
)

// decoder reads protocol primitives off a frame. After the first fault every read returns zero values, so callers check
// err at the end of a loop body and not after each field. Byte slices alias the frame.
type decoder struct {
	buf      []byte
	flexible bool // compact lengths and tag sections (KIP-482)
	elements int  // read so far, over all arrays
	err      error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errMalformed, what)
		d.buf = nil
	}
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.buf) {
		d.fail("a length goes past the end of the frame")
		return nil
	}
	b := d.buf[:n:n]
	d.buf = d.buf[n:]
	return b
}

func (d *decoder) i8() int8 {
	if b := d.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (d *decoder) i16() int16 {
	if b := d.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (d *decoder) i32() int32 {
	if b := d.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (d *decoder) i64() int64 {
	if b := d.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (d *decoder) uuid() (id [16]byte) {
	copy(id[:], d.take(16))
	return id
}

// uvarint reads an unsigned varint of at most 32 bits.
func (d *decoder) uvarint() uint32 {
	v, n := binary.Uvarint(d.buf)
	if n <= 0 || n > 5 || v > math.MaxUint32 {
		d.fail("a varint is cut off or too long")
		return 0
	}
	d.buf = d.buf[n:]
	return uint32(v)
}

// compactLen reads a length of the flexible versions, which is sent plus one, 0 for null. It returns -1 for null.
func (d *decoder) compactLen() int {
	return int(d.uvarint()) - 1 // int has 64 bits on every platform this runs on; no overflow
}

// rawString reads a string; ok is false for null.
func (d *decoder) rawString() (b []byte, ok bool) {
	var n int
	if d.flexible {
		n = d.compactLen()
	} else {
		n = int(d.i16())
	}
	switch {
	case d.err != nil:
		return nil, false
	case n == -1:
		return nil, false
	case n < 0 || n > maxString:
		d.fail("a string has an impossible length")
		return nil, false
	}
	return d.take(n), d.err == nil
}

// str reads a string that must not be null.
func (d *decoder) str() string {
	b, ok := d.rawString()
	if !ok {
		d.fail("a string is null")
	}
	return string(b)
}

// nullableStr reads a string, nil for null.
func (d *decoder) nullableStr() *string {
	b, ok := d.rawString()
	if !ok {
		return nil
	}
	s := string(b)
	return &s
}

// nullableBytes reads bytes, nil for null. The slice aliases the frame and is never nil otherwise.
func (d *decoder) nullableBytes() []byte {
	var n int
	if d.flexible {
		n = d.compactLen()
	} else {
		n = int(d.i32())
	}
	if n == -1 || d.err != nil {
		return nil
	}
	return d.take(n)
}

// arrayLen reads an array's count: -1 for null. elemMin is the least number of bytes one element takes; a count that
// can not fit into what is left is a lie and never reaches an allocation.
func (d *decoder) arrayLen(elemMin int) int {
	var n int
	if d.flexible {
		n = d.compactLen()
	} else {
		n = int(d.i32())
	}
	switch {
	case d.err != nil:
		return 0
	case n == -1:
		return -1
	case n < 0 || n > len(d.buf)/max(elemMin, 1):
		d.fail("an array claims more elements than the frame holds")
		return 0
	}
	if d.elements += n; d.elements > maxElements {
		d.fail("more array elements than a request may have")
		return 0
	}
	return n
}

// tags skips the tag section of a flexible version. Unknown tags are ignored by contract, and no tag known so far
// matters to this server.
func (d *decoder) tags() {
	if !d.flexible {
		return
	}
	n := d.uvarint()
	if n > maxTags {
		d.fail("more tagged fields than a section may have")
		return
	}
	for range n {
		d.uvarint()
		d.take(int(d.uvarint()))
	}
}

// encoder writes protocol primitives. Responses written by hand use it; kmsg writes the others.
type encoder struct {
	buf      []byte
	flexible bool
}

func (e *encoder) i16(v int16) { e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(v)) }
func (e *encoder) i32(v int32) { e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(v)) }
func (e *encoder) i64(v int64) { e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(v)) }

func (e *encoder) uuid(id [16]byte) { e.buf = append(e.buf, id[:]...) }

func (e *encoder) uvarint(v uint32) { e.buf = binary.AppendUvarint(e.buf, uint64(v)) }

func (e *encoder) str(s string) {
	if e.flexible {
		e.uvarint(uint32(len(s)) + 1)
	} else {
		e.i16(int16(len(s)))
	}
	e.buf = append(e.buf, s...)
}

// nullableStr writes s, null when it is empty: the optional texts of this server's answers.
func (e *encoder) nullableStr(s string) {
	switch {
	case s != "":
		e.str(s[:min(len(s), maxString)])
	case e.flexible:
		e.uvarint(0)
	default:
		e.i16(-1)
	}
}

// bytesLen writes the length of bytes that follow by other means.
func (e *encoder) bytesLen(n int) {
	if e.flexible {
		e.uvarint(uint32(n) + 1)
	} else {
		e.i32(int32(n))
	}
}

// arrayLen writes an array's count, -1 for null.
func (e *encoder) arrayLen(n int) {
	if e.flexible {
		e.uvarint(uint32(n + 1))
	} else {
		e.i32(int32(n))
	}
}

// tags writes an empty tag section where the version has one.
func (e *encoder) tags() {
	if e.flexible {
		e.buf = append(e.buf, 0)
	}
}
