package ingest

import (
	"math/bits"
	"sync"
)

const (
	minPooledBits = 12 // 4 KiB
	maxPooledBits = 22 // 4 MiB; larger frames are rare and made one by one
)

// frameBuffer is the memory of one Produce frame.
type frameBuffer struct{ bytes []byte }

// framePool lends the memory of Produce frames, in powers of two. The bodies of other requests live on in what was
// decoded from them (a group keeps its members' metadata) and are never lent. Safe for concurrent use.
type framePool struct {
	classes [maxPooledBits - minPooledBits + 1]sync.Pool
}

// capacity is what a frame of n bytes takes in memory.
func (*framePool) capacity(n int) int {
	if class := classOf(n); class >= 0 {
		return 1 << (class + minPooledBits)
	}
	return n
}

// lend returns a buffer with n bytes of unknown content.
func (p *framePool) lend(n int) *frameBuffer {
	class := classOf(n)
	if class < 0 {
		return &frameBuffer{make([]byte, n)}
	}
	if b, ok := p.classes[class].Get().(*frameBuffer); ok {
		b.bytes = b.bytes[:n]
		return b
	}
	return &frameBuffer{make([]byte, n, 1<<(class+minPooledBits))}
}

// giveBack takes a buffer that nobody refers to any more.
func (p *framePool) giveBack(b *frameBuffer) {
	if class := classOf(cap(b.bytes)); class >= 0 && cap(b.bytes) == 1<<(class+minPooledBits) {
		p.classes[class].Put(b)
	}
}

// classOf returns the smallest class that holds n bytes, -1 where there is none.
func classOf(n int) int {
	b := max(bits.Len(uint(max(n, 1)-1)), minPooledBits)
	if b > maxPooledBits {
		return -1
	}
	return b - minPooledBits
}
