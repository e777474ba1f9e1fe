package ingest

import (
	"errors"
	"io"
	"net"
)

// aheadBytes is how much of a connection is read before it is known what it is.
const aheadBytes = 4 << 10

// frameReader reads frames off a connection with few system calls: a read that ends a large frame takes in the head of
// the next one. Not safe for concurrent use.
type frameReader struct {
	nc       net.Conn
	ahead    []byte // of which from:to is read and not taken
	from, to int
}

func newFrameReader(nc net.Conn) *frameReader {
	return &frameReader{nc: nc, ahead: make([]byte, aheadBytes)}
}

// lendBytes is how much memory a frame of n bytes is read into: a little more, for what comes behind it.
func lendBytes(n int) int { return n + min(n/8, aheadBytes) }

// peek returns the next n bytes, at most aheadBytes, without taking them. The error is the connection's, io.EOF also in
// the middle of them.
func (r *frameReader) peek(n int) ([]byte, error) {
	for r.to-r.from < n {
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
	return r.ahead[r.from:][:n], nil
}

// fill reads at least one byte more.
func (r *frameReader) fill() error {
	if r.from > 0 {
		copy(r.ahead, r.ahead[r.from:r.to])
		r.from, r.to = 0, r.to-r.from
	}
	n, err := r.nc.Read(r.ahead[r.to:])
	if r.to += n; n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// read fills dst. What lies in dst beyond its length, up to its capacity, is lost.
func (r *frameReader) read(dst []byte) error {
	have := copy(dst, r.ahead[r.from:r.to])
	r.from += have
	for have < len(dst) {
		room := dst[have:min(cap(dst), len(dst)+len(r.ahead))]
		if len(room) < len(r.ahead) { // little is missing
			if err := r.fill(); err != nil {
				return cutShort(err)
			}
			n := copy(dst[have:], r.ahead[r.from:r.to])
			r.from, have = r.from+n, have+n
			continue
		}
		n, err := r.nc.Read(room)
		if have += n; err != nil && have < len(dst) {
			return cutShort(err)
		}
	}
	if have > len(dst) {
		r.from, r.to = 0, copy(r.ahead, dst[len(dst):have])
	}
	return nil
}

// cutShort is what the end of the connection means in the middle of a frame.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
