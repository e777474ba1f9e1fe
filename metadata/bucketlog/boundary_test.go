package bucketlog

import (
	"errors"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/logtest"
	"github.com/bargedata/barge/objectstore"
)

func mustAcquire(t *testing.T, log *Log, owner string) metadata.Acquired {
	t.Helper()
	got, err := log.Acquire(t.Context(), owner, 0)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func mustFill(t *testing.T, log *Log, term, seq uint64, n int) uint64 {
	t.Helper()
	for range n {
		if err := log.Append(t.Context(), term, seq, logtest.ID(seq), nil); err != nil {
			t.Fatal(err)
		}
		seq++
	}
	return seq
}

// cut has a new handle take the log over, append, publish snapshots and truncate, with days in between.
func cut(t *testing.T, store Store, clock *clock) (boundary uint64) {
	t.Helper()
	log := open(t, store, 4711)
	got := mustAcquire(t, log, "cutter")
	first := mustFill(t, log, got.Term, got.Next, 30)
	second := mustFill(t, log, got.Term, first, 5)
	for _, seq := range []uint64{first, second - 1, second} { // as many as are kept, so that none is left from before
		if err := log.Checkpoint(t.Context(), got.Term, seq, []byte("state")); err != nil {
			t.Fatal(err)
		}
	}
	clock.move(25 * time.Hour)
	next := mustFill(t, log, got.Term, second, 1)
	clock.move(25 * time.Hour)
	mustFill(t, log, got.Term, next, 1)
	if err := log.Truncate(t.Context(), got.Term, second); err != nil {
		t.Fatal(err)
	}
	if log.boundary != first {
		t.Fatalf("boundary %d, want %d", log.boundary, first)
	}
	return first
}

func slotsBelow(t *testing.T, store Store, log *Log, seq uint64) (n int) {
	t.Helper()
	if err := log.list(t.Context(), log.slotPrefix(), "", func(s uint64, _ objectstore.Object) bool {
		if s < seq {
			n++
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWriterPausedForDaysIsFencedInARecycledSlot(t *testing.T) {
	clock := newClock()
	store := objectstore.NewMemory(clock.now)
	old := open(t, store, 1)
	a := mustAcquire(t, old, "a")
	next := mustFill(t, old, a.Term, a.Next, 2)
	boundary := cut(t, store, clock)
	if n := slotsBelow(t, store, old, boundary); n != 0 {
		t.Fatalf("%d slots left below the boundary", n)
	}
	if err := old.Confirm(t.Context(), a.Term, next); !errors.Is(err, metadata.ErrFenced) {
		t.Fatalf("confirm: %v", err)
	}
	old.tip.fenced = false // as if it had not asked
	err := old.Append(t.Context(), a.Term, next, logtest.ID(1), []byte("too late"))
	if !errors.Is(err, metadata.ErrFenced) {
		t.Fatalf("append: %v", err)
	}
	if n := slotsBelow(t, store, old, boundary); n != 1 {
		t.Fatal("the test is wrong: the write below the boundary did not land")
	}
	reader := open(t, store, 2)
	if got, err := reader.Read(t.Context(), next, 100); !errors.Is(err, metadata.ErrTruncated) {
		t.Fatalf("a reader was shown what does not count: %v, %v", got, err)
	}
	if got := mustAcquire(t, old, "a"); got.SnapshotSeq < boundary {
		t.Fatalf("acquired %+v with boundary %d", got, boundary)
	}
}

func TestTakenThenEmptySlotIsFenced(t *testing.T) {
	clock := newClock()
	memory := objectstore.NewMemory(clock.now)
	store := &shaky{Store: memory}
	old := open(t, store, 1)
	a := mustAcquire(t, old, "a")
	next := mustFill(t, old, a.Term, a.Next, 2)
	store.create = func(string) (error, error) {
		store.create = nil
		cut(t, memory, clock)
		return objectstore.ErrExists, nil
	}
	if err := old.Append(t.Context(), a.Term, next, logtest.ID(1), nil); !errors.Is(err, metadata.ErrFenced) {
		t.Fatalf("append: %v", err)
	}
}

func TestClaimBelowTheBoundaryDoesNotCount(t *testing.T) {
	clock := newClock()
	memory := objectstore.NewMemory(clock.now)
	first := open(t, memory, 1)
	a := mustAcquire(t, first, "a")
	mustFill(t, first, a.Term, a.Next, 3)
	store := &shaky{Store: memory}
	store.create = func(string) (error, error) {
		store.create = nil
		cut(t, memory, clock) // while the claim is on its way
		return nil, nil
	}
	slow := open(t, store, 2)
	if got, err := slow.Acquire(t.Context(), "slow", 0); !errors.Is(err, metadata.ErrFenced) {
		t.Fatalf("acquired %+v, %v", got, err)
	}
	got := mustAcquire(t, slow, "slow")
	mustFill(t, slow, got.Term, got.Next, 1)
}

func TestTruncateLeavesYoungSlots(t *testing.T) {
	clock := newClock()
	store := objectstore.NewMemory(clock.now)
	log := open(t, store, 1)
	a := mustAcquire(t, log, "a")
	next, hours := a.Next, 0
	for ; hours < 40; hours++ { // ten slots an hour
		next = mustFill(t, log, a.Term, next, 10)
		clock.move(time.Hour)
	}
	for _, seq := range []uint64{next - 1, next} {
		if err := log.Checkpoint(t.Context(), a.Term, seq, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Truncate(t.Context(), a.Term, next); err != nil {
		t.Fatal(err)
	}
	// The newest create was an hour ago, at hour 39: what was there at hour 15 may go, which is 160 slots.
	if want := a.Next + 160; log.boundary < want-2 || log.boundary > want {
		t.Fatalf("boundary %d after %d hours, want just below %d", log.boundary, hours, want)
	}
	if n := slotsBelow(t, store, log, log.boundary); n != 0 {
		t.Fatalf("%d slots left below the boundary", n)
	}
	if entries, err := log.Read(t.Context(), log.boundary, 1<<20); err != nil || uint64(len(entries)) != next-log.boundary {
		t.Fatalf("%d entries left of %d: %v", len(entries), next-log.boundary, err)
	}
}

// TestTruncateKeepsTheNewestSlot: however old everything is, a claim must find the newest term; see models/truncation.pml.
func TestTruncateKeepsTheNewestSlot(t *testing.T) {
	clock := newClock()
	store := objectstore.NewMemory(clock.now)
	log := open(t, store, 1)
	a := mustAcquire(t, log, "a")
	next := a.Next
	for range 5 {
		clock.move(50 * time.Hour)
		next = mustFill(t, log, a.Term, next, 1)
	}
	for _, seq := range []uint64{next - 1, next, next} {
		if err := log.Checkpoint(t.Context(), a.Term, seq, nil); err != nil {
			t.Fatal(err)
		}
	}
	clock.move(50 * time.Hour)
	if err := log.Truncate(t.Context(), a.Term, next); err != nil {
		t.Fatal(err)
	}
	if log.boundary != next-1 {
		t.Fatalf("boundary %d, want %d: all but the newest slot", log.boundary, next-1)
	}
	if _, _, err := log.getSlot(t.Context(), next-1); err != nil {
		t.Fatalf("the newest slot: %v", err)
	}
	if got := mustAcquire(t, open(t, store, 2), "b"); got.Term != a.Term+1 || got.Next != next+1 {
		t.Fatalf("acquired %+v after term %d and slot %d", got, a.Term, next)
	}
	if got := truncateLimit(100, []uint64{7}); got != 0 {
		t.Fatalf("one snapshot lets slots below %d go", got)
	}
}

func TestBoundaryIsCheckedOnceInThirtySeconds(t *testing.T) {
	clock := newClock()
	store := &shaky{Store: objectstore.NewMemory(clock.now)}
	log := open(t, store, 1)
	a := mustAcquire(t, log, "a")
	store.counts()
	next := mustFill(t, log, a.Term, a.Next, 100)
	if gets, lists := store.counts(); gets != 0 || lists != 0 {
		t.Fatalf("100 appends took %d gets and %d lists beside their creates", gets, lists)
	}
	clock.move(30 * time.Second)
	next = mustFill(t, log, a.Term, next, 1)
	if _, lists := store.counts(); lists != 0 {
		t.Fatal("checked within 30 s")
	}
	clock.move(time.Second)
	next = mustFill(t, log, a.Term, next, 10)
	if _, lists := store.counts(); lists != 1 {
		t.Fatalf("%d checks after 31 s, want 1", lists)
	}
	clock.move(-time.Hour) // another front end of the store, with a wrong clock
	next = mustFill(t, log, a.Term, next, 1)
	if _, lists := store.counts(); lists != 1 {
		t.Fatal("not checked after the store's clock jumped back")
	}
	store.doubt(true)
	if err := log.Append(t.Context(), a.Term, next, logtest.ID(next), nil); !errors.Is(err, metadata.ErrUnknown) {
		t.Fatal(err)
	}
	mustFill(t, log, a.Term, next, 1)
	if _, lists := store.counts(); lists != 1 {
		t.Fatal("not checked after a create of unknown time")
	}
}

func TestNeedsCheck(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_000)
	for _, c := range []struct {
		check, created time.Time
		want           bool
	}{
		{time.Time{}, at, true},
		{at, time.Time{}, true},
		{at, at, false},
		{at, at.Add(30 * time.Second), false},
		{at, at.Add(30*time.Second + 1), true},
		{at, at.Add(-time.Second), false},
		{at, at.Add(-time.Minute), true},
	} {
		if got := needsCheck(c.check, c.created); got != c.want {
			t.Errorf("check %v, created %v: %v, want %v", c.check, c.created, got, c.want)
		}
	}
}

func TestIdleReadsCostOneGet(t *testing.T) {
	clock := newClock()
	store := &shaky{Store: objectstore.NewMemory(clock.now)}
	log := open(t, store, 1)
	a := mustAcquire(t, log, "a")
	store.counts()
	for range 32 {
		if entries, err := log.Read(t.Context(), a.Next, 1000); err != nil || len(entries) != 0 {
			t.Fatal(entries, err)
		}
	}
	if gets, lists := store.counts(); gets != 32 || lists != 2 {
		t.Fatalf("32 empty reads took %d gets and %d lists, want 32 and 2", gets, lists)
	}
}
