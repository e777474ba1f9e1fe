package record

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	minPooledBits  = 12 // 4 KiB
	maxPooledBits  = 26 // 64 MiB; larger ones are rare and made one by one
	poolStepBits   = 3  // classes in a doubling: at most an eighth of a buffer is not asked for
	bufferPoolSize = (maxPooledBits-minPooledBits)<<poolStepBits + 1
)

// Buffer is memory that several may hold at once, and that is lent again when the last has let go. Bytes is theirs to
// read; only the first holder writes, before anybody else holds it. Who forgets to let go does no harm: the memory goes
// to the garbage collector in place of the pool. Who reads after letting go reads what others write.
type Buffer struct {
	Bytes []byte

	pool    *BufferPool // nil: not lent by one
	holders atomic.Int32
}

// NewBuffer makes a Buffer of memory that is in no pool, held once.
func NewBuffer(b []byte) *Buffer {
	buffer := &Buffer{Bytes: b}
	buffer.holders.Store(1)
	return buffer
}

// Hold adds a holder. The caller, or somebody it keeps from letting go, must be one already.
func (b *Buffer) Hold() { b.holders.Add(1) }

// Release lets go; the caller must not touch Bytes any more. Safe for concurrent use. It panics when there are more
// releases than holders, because some memory has been read by two who believed it theirs.
func (b *Buffer) Release() {
	switch n := b.holders.Add(-1); {
	case n < 0:
		panic("record: a Buffer was released more often than held")
	case n == 0 && b.pool != nil:
		b.pool.takeBack(b)
	}
}

// BufferPool lends memory again and again, so that bytes that pass through need not be cleared and collected each time.
// What it keeps is bounded by the garbage collector, which empties it when it lies idle. The zero value is ready. Safe
// for concurrent use.
type BufferPool struct {
	classes [bufferPoolSize]sync.Pool // of *Buffer, by capacity
}

// Lend returns a Buffer of n bytes with unknown content, held once.
func (p *BufferPool) Lend(n int) *Buffer {
	class, size := bufferClass(n)
	if class < 0 {
		return NewBuffer(make([]byte, n))
	}
	b, ok := p.classes[class].Get().(*Buffer)
	if !ok {
		b = &Buffer{Bytes: make([]byte, size), pool: p}
	}
	b.Bytes = b.Bytes[:n]
	b.holders.Store(1)
	return b
}

func (p *BufferPool) takeBack(b *Buffer) {
	if class, size := bufferClass(cap(b.Bytes)); class >= 0 && size == cap(b.Bytes) {
		p.classes[class].Put(b)
	}
}

// BufferCapacity is what a Buffer of n bytes takes in memory.
func BufferCapacity(n int) int {
	_, size := bufferClass(n)
	return size
}

// bufferClass returns the smallest class that holds n bytes, and its capacity; -1 and n where there is none.
func bufferClass(n int) (class, size int) {
	if n > 1<<maxPooledBits {
		return -1, n
	}
	n = max(n, 1<<minPooledBits)
	doubling := bits.Len(uint(n-1)) - 1 // of which n is at most the double
	doubling = max(doubling, minPooledBits)
	step := 1 << (doubling - poolStepBits)
	steps := max((n-1<<doubling+step-1)/step, 0)
	return (doubling-minPooledBits)<<poolStepBits + steps, 1<<doubling + steps*step
}
