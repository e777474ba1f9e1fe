package ingest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// chopped is a connection that gives its bytes in pieces of its own choice, and counts.
type chopped struct {
	net.Conn
	rest  []byte
	piece func() int
	reads int
}

func (c *chopped) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	c.reads++
	n := copy(p, c.rest[:min(c.piece(), len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

func TestFramesAreReadWholeHoweverTheyArrive(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var sizes []int
		var all []byte
		for range 1 + rng.IntN(20) {
			n := []int{12, 13, 200, 4095, 4096, 4097, 9000, 70_000}[rng.IntN(8)] + rng.IntN(3)
			sizes = append(sizes, n)
			for range n {
				all = append(all, byte(rng.Uint32()))
			}
		}
		largest := []int{1, 100, 5000, 1 << 20}[rng.IntN(4)]
		conn := &chopped{rest: all, piece: func() int { return 1 + rng.IntN(largest) }}
		r := newFrameReader(conn)
		for _, n := range sizes {
			head, err := r.peek(frameHead)
			if err != nil || !bytes.Equal(head, all[:frameHead]) {
				t.Fatalf("head %x, %v, want %x", head, err, all[:frameHead])
			}
			frame := make([]byte, n, []int{n, n + 1, lendBytes(n), n + 100_000}[rng.IntN(4)])
			if err := r.read(frame); err != nil || !bytes.Equal(frame, all[:n]) {
				t.Fatalf("frame of %d bytes: %v, or other bytes", n, err)
			}
			all = all[n:]
		}
		if _, err := r.peek(1); !errors.Is(err, io.EOF) {
			t.Fatalf("after the last frame: %v", err)
		}
	}
}

func TestAPipelinedProducerCostsOneReadAFrame(t *testing.T) {
	const frames, size = 100, 64_800
	conn := &chopped{rest: make([]byte, frames*size), piece: func() int { return 1 << 20 }}
	r := newFrameReader(conn)
	for range frames {
		if _, err := r.peek(frameHead); err != nil {
			t.Fatal(err)
		}
		if err := r.read(make([]byte, size, lendBytes(size))); err != nil {
			t.Fatal(err)
		}
	}
	if conn.reads > frames+1 {
		t.Errorf("%d reads for %d frames", conn.reads, frames)
	}
}

func TestAConnectionThatEndsInsideAFrameIsToldFromOneThatEndsAfterIt(t *testing.T) {
	for n := range 30 {
		r := newFrameReader(&chopped{rest: make([]byte, n), piece: func() int { return 7 }})
		if err := r.read(make([]byte, 30, 50)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of 30 bytes: %v", n, err)
		}
	}
	r := newFrameReader(&chopped{})
	if _, err := r.peek(1); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
}
