package fetch

import (
	"fmt"
	"testing"

	"github.com/bargedata/barge/record"
)

// benchWorld has 8 MiB of one partition in one object, in batches of size bytes.
func benchWorld(b *testing.B, size int) (w *world, key string, body []byte) {
	b.Helper()
	w = newWorld(b, 1)
	var list []record.Batch
	for n := 0; n < 8<<20; n += size {
		list = append(list, w.batch(0, record.None, size/200, 180))
	}
	key, body = w.commit(map[int32][]record.Batch{0: list})
	return w, key, body
}

func benchFetch(b *testing.B, w *world, r *Reader) {
	b.Helper()
	ask := Request{MinBytes: 1, MaxBytes: 50 << 20, Partitions: []PartitionRequest{{w.part(0), 0, 8 << 20}}}
	b.ReportAllocs()
	for b.Loop() {
		p := r.Fetch(b.Context(), ask).Partitions[0]
		if p.Err != nil {
			b.Fatal(p.Err)
		}
		b.SetBytes(int64(p.Size))
	}
}

func BenchmarkFetchTail(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			w, key, body := benchWorld(b, size)
			r := w.reader(nil)
			r.Seed(key, record.NewBuffer(body))
			benchFetch(b, w, r)
		})
	}
}

func BenchmarkFetchObjectUncached(b *testing.B) {
	w, _, _ := benchWorld(b, 16<<10)
	benchFetch(b, w, w.reader(func(c *Config) { c.TailBytes, c.ObjectBytes = 0, 0 }))
}

func BenchmarkFetchParquet(b *testing.B) {
	w, _, _ := benchWorld(b, 16<<10)
	w.groupRows = 0 // the default
	w.compact("tables/t/_data/1", nil, map[int32]record.Offset{0: w.next[0]}, nil)
	benchFetch(b, w, w.reader(nil))
}
