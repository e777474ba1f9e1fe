package metadata

import (
	"encoding/binary"
	"fmt"

	"github.com/bargedata/barge/record"
)

// wireWriter appends the primitives of our encoding to b. Source: docs/format/log-entry.md.
type wireWriter struct{ b []byte }

func (w *wireWriter) byte(v byte)      { w.b = append(w.b, v) }
func (w *wireWriter) uvarint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *wireWriter) varint(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *wireWriter) count(n int)      { w.uvarint(uint64(n)) }

func (w *wireWriter) bool(v bool) {
	if v {
		w.byte(1)
	} else {
		w.byte(0)
	}
}

func (w *wireWriter) string(s string) {
	w.count(len(s))
	w.b = append(w.b, s...)
}

func (w *wireWriter) bytes(p []byte) {
	w.count(len(p))
	w.b = append(w.b, p...)
}

// optBytes tells nil from empty.
func (w *wireWriter) optBytes(p []byte) {
	if p == nil {
		w.byte(0)
		return
	}
	w.byte(1)
	w.bytes(p)
}

func (w *wireWriter) topicID(id record.TopicID) { w.b = append(w.b, id[:]...) }

// wireReader takes the primitives off the front of b. The first fault sticks in err; after it every read answers zero,
// so decoders check err once a loop and once at the end. Memory is bounded by the input: every count is checked against
// the bytes that are left.
type wireReader struct {
	b   []byte
	err error
}

func (r *wireReader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s, %d bytes before the end", ErrCorrupt, what, len(r.b))
	}
	r.b = nil
}

// newer refuses what a later barge has written.
func (r *wireReader) newer(what string, got, known uint64) {
	if r.err == nil {
		r.err = newer(what, got, known)
	}
	r.b = nil
}

func (r *wireReader) byte() byte {
	if len(r.b) == 0 {
		r.fail("byte missing")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *wireReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("bad varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *wireReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("bad varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *wireReader) int32() int32 {
	v := r.varint()
	if int64(int32(v)) != v {
		r.fail("number over 32 bits")
		return 0
	}
	return int32(v)
}

func (r *wireReader) uint32() uint32 {
	v := r.uvarint()
	if v > 1<<32-1 {
		r.fail("number over 32 bits")
		return 0
	}
	return uint32(v)
}

func (r *wireReader) int16() int16 {
	v := r.varint()
	if int64(int16(v)) != v {
		r.fail("number over 16 bits")
		return 0
	}
	return int16(v)
}

// natural reads an unsigned number that must fit in an int64.
func (r *wireReader) natural() int64 {
	v := r.uvarint()
	if v > 1<<63-1 {
		r.fail("number over 63 bits")
		return 0
	}
	return int64(v)
}

// natural32 reads an unsigned number that must fit in an int32.
func (r *wireReader) natural32() int32 {
	v := r.natural()
	if v > 1<<31-1 {
		r.fail("number over 31 bits")
		return 0
	}
	return int32(v)
}

func (r *wireReader) bool() bool {
	switch r.byte() {
	case 0:
		return false
	case 1:
		return true
	}
	r.fail("bad flag")
	return false
}

// count reads a number of things that take at least minBytes each.
func (r *wireReader) count(minBytes int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/minBytes) {
		r.fail("count exceeds the input")
		return 0
	}
	return int(n)
}

func (r *wireReader) take() []byte {
	n := r.count(1)
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *wireReader) string() string { return string(r.take()) }

// bytes returns a copy, never nil.
func (r *wireReader) bytes() []byte { return append([]byte{}, r.take()...) }

func (r *wireReader) optBytes() []byte {
	if !r.bool() {
		return nil
	}
	return r.bytes()
}

func (r *wireReader) topicID() (id record.TopicID) {
	if len(r.b) < len(id) {
		r.fail("topic id cut short")
		return id
	}
	copy(id[:], r.b)
	r.b = r.b[len(id):]
	return id
}

// end reports the first fault, or bytes left over.
func (r *wireReader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("bytes left over")
	}
	return r.err
}
