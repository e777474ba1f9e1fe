package bucketlog

import (
	"fmt"
	"slices"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// inspected is a log of 14 slots in two terms, with snapshots before slots 4, 8 and 12.
func inspected(t *testing.T) *objectstore.Memory {
	t.Helper()
	store := objectstore.NewMemory(newClock().now)
	first := open(t, store, 1)
	a := mustAcquire(t, first, "a")
	next := mustFill(t, first, a.Term, a.Next, 7) // 8
	for _, seq := range []uint64{4, 8} {
		if err := first.Checkpoint(t.Context(), a.Term, seq, fmt.Append(nil, seq)); err != nil {
			t.Fatal(err)
		}
	}
	second := open(t, store, 2)
	b := mustAcquire(t, second, "b")
	if b.Next != next+1 {
		t.Fatalf("acquired %+v", b)
	}
	mustFill(t, second, b.Term, b.Next, 5) // 14
	if err := second.Checkpoint(t.Context(), b.Term, 12, fmt.Append(nil, 12)); err != nil {
		t.Fatal(err)
	}
	return store
}

func flip(t *testing.T, store *objectstore.Memory, key string) {
	t.Helper()
	body, err := store.Get(t.Context(), key, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	body = slices.Clone(body)
	body[len(body)-1] ^= 1
	if err := store.Put(t.Context(), key, body); err != nil {
		t.Fatal(err)
	}
}

func TestInspectFindsWhatIsWrong(t *testing.T) {
	type fault struct {
		seq               uint64
		snapshot, missing bool
	}
	log := open(t, objectstore.NewMemory(newClock().now), 9) // for the keys
	all := "s0-3 S4 s4-7 S8 s8-11 S12 s12-13"
	for name, c := range map[string]struct {
		damage   func(store *objectstore.Memory)
		faults   []fault
		visited  string // with all
		newest   string // from the newest usable snapshot on
		base     uint64
		leftover int
		foreign  int
	}{
		"nothing":          {func(*objectstore.Memory) {}, nil, all, "S12 s12-13", 12, 0, 0},
		"a hole":           {func(s *objectstore.Memory) { drop(t, s, log.slotKey(5)) }, []fault{{5, false, true}}, "s0-3 S4 s4 ! s6-7 S8 s8-11 S12 s12-13", "S12 s12-13", 12, 0, 0},
		"three gone":       {func(s *objectstore.Memory) { drop(t, s, log.slotKey(5), log.slotKey(6), log.slotKey(7)) }, []fault{{5, false, true}}, "s0-3 S4 s4 ! S8 s8-11 S12 s12-13", "S12 s12-13", 12, 0, 0},
		"the first gone":   {func(s *objectstore.Memory) { drop(t, s, log.slotKey(0)) }, []fault{{0, false, true}}, "! s1-3 S4 s4-7 S8 s8-11 S12 s12-13", "S12 s12-13", 12, 0, 0},
		"a flipped slot":   {func(s *objectstore.Memory) { flip(t, s, log.slotKey(9)) }, []fault{{9, false, false}}, "s0-3 S4 s4-7 S8 s8 ! s10-11 S12 s12-13", "S12 s12-13", 12, 0, 0},
		"needed slot":      {func(s *objectstore.Memory) { flip(t, s, log.slotKey(12)) }, []fault{{12, false, false}}, "s0-3 S4 s4-7 S8 s8-11 S12 ! s13", "S12 ! s13", 12, 0, 0},
		"slots to the end": {func(s *objectstore.Memory) { drop(t, s, log.slotKey(11), log.slotKey(12), log.slotKey(13)) }, []fault{{11, false, true}}, "s0-3 S4 s4-7 S8 s8-10 ! S12", "S12", 12, 0, 0},
		"newest snapshot":  {func(s *objectstore.Memory) { flip(t, s, log.snapKey(12)) }, []fault{{12, true, false}}, "s0-3 S4 s4-7 S8 s8-13", "S8 s8-13", 8, 0, 0},
		"old snapshot":     {func(s *objectstore.Memory) { flip(t, s, log.snapKey(4)) }, []fault{{4, true, false}}, "s0-7 S8 s8-11 S12 s12-13", "S12 s12-13", 12, 0, 0},
		"another's slot":   {func(s *objectstore.Memory) { swap(t, s, log.slotKey(6)) }, []fault{{7, false, false}}, "s0-3 S4 s4-6 ! s7 S8 s8-11 S12 s12-13", "S12 s12-13", 12, 0, 0},
		"leftovers": {func(s *objectstore.Memory) {
			put(t, s, log.boundaryKey(2), log.boundaryKey(4))
		}, nil, "S4 s4-7 S8 s8-11 S12 s12-13", "S12 s12-13", 12, 5, 0},
		"foreign": {func(s *objectstore.Memory) { put(t, s, "meta/0/log/x", "meta/0/snapshot/12", "meta/0/other") }, nil, all, "S12 s12-13", 12, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			store := inspected(t)
			c.damage(store)
			for _, whole := range []bool{true, false} {
				var seen visits
				handle := open(t, store, 3)
				in, err := handle.Inspect(t.Context(), whole, seen.visitor())
				if err != nil {
					t.Fatal(err)
				}
				if want := map[bool]string{true: c.visited, false: c.newest}[whole]; seen.String() != want {
					t.Errorf("all %v: visited %s, want %s", whole, seen.String(), want)
				}
				var got []fault
				for _, f := range in.Faults {
					got = append(got, fault{f.Seq, f.Snapshot, f.Missing})
				}
				want := c.faults
				if !whole { // older slots and snapshots are not looked at
					want = slices.DeleteFunc(slices.Clone(want), func(f fault) bool { return f.seq < c.base })
				}
				if !slices.Equal(got, want) || in.Base != c.base || !in.HasBase || len(in.Leftover) != c.leftover || len(in.Foreign) != c.foreign {
					t.Errorf("all %v: faults %+v, base %d, leftover %q, foreign %q", whole, got, in.Base, in.Leftover, in.Foreign)
				}
			}
		})
	}
}

func drop(t *testing.T, store *objectstore.Memory, keys ...string) {
	t.Helper()
	if err := store.Delete(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, store *objectstore.Memory, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := store.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// swap puts a slot that is whole but not the one the next slot follows.
func swap(t *testing.T, store *objectstore.Memory, key string) {
	t.Helper()
	body, err := store.Get(t.Context(), key, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	seq, _ := number("meta/0/log/", key)
	s, err := decodeSlot(body, seq)
	if err != nil {
		t.Fatal(err)
	}
	s.body = []byte("another")
	if err := store.Put(t.Context(), key, encodeSlot(s)); err != nil {
		t.Fatal(err)
	}
}

// visits writes down what a visitor hears: s0-3 slots, S4 a snapshot, ! a break.
type visits struct {
	words       []string
	first, next uint64
	open        bool
}

func (v *visits) flush() {
	if !v.open {
		return
	}
	v.open = false
	if v.next == v.first+1 {
		v.words = append(v.words, fmt.Sprintf("s%d", v.first))
		return
	}
	v.words = append(v.words, fmt.Sprintf("s%d-%d", v.first, v.next-1))
}

func (v *visits) String() string {
	v.flush()
	out := ""
	for i, w := range v.words {
		if i > 0 {
			out += " "
		}
		out += w
	}
	return out
}

func (v *visits) visitor() metadata.Visitor {
	return metadata.Visitor{
		Snapshot: func(seq uint64, body []byte) error {
			v.flush()
			if string(body) != fmt.Sprint(seq) {
				return fmt.Errorf("snapshot of %d is %q", seq, body)
			}
			v.words = append(v.words, fmt.Sprintf("S%d", seq))
			return nil
		},
		Entry: func(e metadata.LogEntry) error {
			if !v.open {
				v.open, v.first, v.next = true, e.Seq, e.Seq
			}
			if e.Seq != v.next {
				return fmt.Errorf("slot %d after %d", e.Seq, v.next-1)
			}
			v.next++
			return nil
		},
		Break: func(uint64) error {
			v.flush()
			v.words = append(v.words, "!")
			return nil
		},
	}
}
