package replica

import (
	"fmt"
	"slices"
	"testing"
)

func TestRingKeepsTheNewestWithoutAGap(t *testing.T) {
	r := ring{maxBytes: 10, maxEntries: 3}
	r.reset(5)
	for seq := uint64(5); seq < 9; seq++ {
		r.add(seq, fmt.Appendf(nil, "%02d", seq))
	}
	taken, ok := r.from(6, 100)
	if _, gone := r.from(5, 100); gone || !ok || len(taken) != 3 || r.first != 6 || r.end() != 9 || r.bytes != 6 {
		t.Fatalf("%q, %v: %+v", taken, ok, r)
	}
	if two, ok := r.from(7, 4); !ok || len(two) != 2 {
		t.Errorf("two that fit: %q, %v", two, ok)
	}
	if one, ok := r.from(7, 1); !ok || len(one) != 1 || string(one[0]) != "07" {
		t.Errorf("one that does not fit: %q, %v", one, ok)
	}
	if none, ok := r.from(9, 1); !ok || len(none) != 0 {
		t.Errorf("at the end: %q, %v", none, ok)
	}
	if _, ok := r.from(10, 1); ok {
		t.Error("beyond the end")
	}
	r.add(9, []byte("0000009")) // takes the room of two
	if string(taken[0]) != "06" {
		t.Errorf("what was taken changed: %q", taken)
	}
	if r.first != 8 || r.bytes != 9 {
		t.Errorf("bounded by bytes: %+v", r)
	}
	for seq := uint64(10); seq < 50; seq++ { // an answer on its way keeps what it has
		taken, _ := r.from(r.first, 100)
		r.add(seq, fmt.Appendf(nil, "%05d", seq))
		if slices.ContainsFunc(taken, func(e []byte) bool { return e == nil }) {
			t.Fatalf("entry %d took away what an answer holds", seq)
		}
	}
	r.reset(9)
	r.add(9, []byte("0000009"))
	r.add(20, []byte("20")) // after a gap
	if _, ok := r.from(9, 1); ok || r.first != 20 || r.end() != 21 || r.bytes != 2 {
		t.Errorf("after a gap: %+v", r)
	}
	r.add(21, []byte("larger than all of it"))
	if _, ok := r.from(21, 1); ok || r.end() != 22 {
		t.Errorf("one that does not fit at all: %+v", r)
	}
}
