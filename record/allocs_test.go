package record

import "testing"

// TestTheWayToTheObjectAllocatesNothing: not for a batch, that is; every record of every producer goes through it.
func TestTheWayToTheObjectAllocatesNothing(t *testing.T) {
	records := benchRecords(64 << 10)
	batch := build(t, None, records...)
	if n := testing.AllocsPerRun(100, func() {
		b, err := Parse(batch.raw)
		if err == nil {
			_, err = b.InspectProduce(DefaultLimits(), AnyRecord())
		}
		if err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("parse and inspect allocate %v times", n)
	}
	const batches = 64
	memory := make([]byte, 0, ObjectSize(batches, batches*int64(batch.Len())))
	if n := testing.AllocsPerRun(20, func() {
		w := NewObjectWriterIn(memory, ObjectHeader{})
		for i := range batches {
			if err := w.Add(Partition{Index: int32(i)}, batch); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := w.Finish(); err != nil {
			t.Fatal(err)
		}
	}); n > 10 { // the writer, and its list of runs as it grows
		t.Errorf("an object of %d batches allocates %v times", batches, n)
	}
	var pool BufferPool
	pool.Lend(64 << 10).Release()
	if n := testing.AllocsPerRun(100, func() { pool.Lend(64 << 10).Release() }); n > 0.1 { // the collector may empty the pool
		t.Errorf("lending allocates %v times", n)
	}
}
