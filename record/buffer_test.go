package record

import (
	"sync"
	"testing"
)

func TestBufferClassesHoldWhatIsAskedFor(t *testing.T) {
	previous := -1
	for _, n := range []int{0, 1, 4095, 4096, 4097, 4608, 4609, 8191, 8192, 8193, 64 << 10, 64<<10 + 1, 66_000, 8 << 20, 8<<20 + 70_000, 64<<20 - 1, 64 << 20} {
		class, size := bufferClass(n)
		if size < n || n >= 4096 && size > n+n/8 || class < previous || class >= bufferPoolSize {
			t.Errorf("%d bytes: class %d of %d bytes", n, class, size)
		}
		if again, same := bufferClass(size); again != class || same != size {
			t.Errorf("%d bytes: a buffer of class %d goes back into class %d", n, class, again)
		}
		if BufferCapacity(n) != size {
			t.Errorf("%d bytes: capacity %d, class of %d", n, BufferCapacity(n), size)
		}
		previous = class
	}
	if class, size := bufferClass(64<<20 + 1); class != -1 || size != 64<<20+1 {
		t.Errorf("beyond the largest: class %d of %d", class, size)
	}
}

func TestBuffersAreLentAgainOnlyWhenAllHaveLetGo(t *testing.T) {
	var pool BufferPool
	b := pool.Lend(10_000)
	if len(b.Bytes) != 10_000 {
		t.Fatalf("lent %d bytes", len(b.Bytes))
	}
	b.Hold()
	b.Release()
	for range 100 {
		if other := pool.Lend(10_000); other == b {
			t.Fatal("lent to two")
		}
	}
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("a release too many is not noticed")
		}
	}()
	b.Release()
}

// TestLentBuffersAreNobodyElses: many lend, write, hand on and check.
func TestLentBuffersAreNobodyElses(t *testing.T) {
	var pool BufferPool
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				b := pool.Lend(5000)
				for j := range b.Bytes {
					b.Bytes[j] = byte(w*31 + i)
				}
				b.Hold()
				read := make(chan struct{})
				go func() {
					defer close(read)
					defer b.Release()
					for _, c := range b.Bytes {
						if c != byte(w*31+i) {
							t.Error("read what another wrote")
							return
						}
					}
				}()
				b.Release()
				<-read
			}
		})
	}
	wg.Wait()
}

func TestBuffersBeyondThePoolAreMadeOneByOne(t *testing.T) {
	var pool BufferPool
	b := pool.Lend(64<<20 + 1)
	b.Release()
	own := NewBuffer([]byte("own"))
	own.Hold()
	own.Release()
	own.Release()
}
