package record

import (
	"math/rand/v2"
	"testing"
)

func TestJoinedChecksumsEqualThoseOfTheWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, 300_000)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	for _, n := range []int{0, 1, 2, 3, 40, 255, 256, 4096, 65_519, 65_536, 131_071, 299_999} {
		for _, at := range []int{0, 1, 21, len(p) - n} {
			whole := p[:at+min(n, len(p)-at)]
			a, b := whole[:at], whole[at:]
			if got, want := shiftBytes(len(b)).join(Checksum(a), Checksum(b)), Checksum(whole); got != want {
				t.Errorf("%d and %d bytes: %08x, want %08x", len(a), len(b), got, want)
			}
		}
	}
}

// TestObjectChecksumsHoldForBatchesOfEveryLength: whether checksums are joined or made anew does not show.
func TestObjectChecksumsHoldForBatchesOfEveryLength(t *testing.T) {
	w := NewObjectWriter(testHeader, 0)
	var runs [][]byte
	for i, sizes := range [][]int{{100}, {5000, 5000, 5000, 7000, 5000}, {20_000, 20_000, 100, 20_000}, {70_000}, {4096, 6000, 4096, 4096}} {
		var batches []Batch
		var bytes []byte
		for _, n := range sizes {
			b := build(t, None, Record{Value: make([]byte, n)})
			batches, bytes = append(batches, b), append(bytes, b.raw...)
		}
		if err := w.Add(Partition{Index: int32(i)}, batches...); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, bytes)
	}
	body, entries, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := w.Checksum(), Checksum(body); got != want {
		t.Errorf("object: %08x, want %08x", got, want)
	}
	for i, e := range entries {
		if err := VerifyRun(runs[i], e); err != nil {
			t.Errorf("run %d: %v", i, err)
		}
	}
}
