package bucketlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/logtest"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/storetest"
)

// faultyStore is a store in memory under faults that the test scripts.
func faultyStore() (*storetest.Faulty, *objectstore.Memory, *clock) {
	clock := newClock()
	memory := objectstore.NewMemory(clock.now)
	return storetest.NewFaulty(memory, 1, storetest.FaultConfig{}), memory, clock
}

// wantEntries reads the log from outside and checks how many entries and claims it holds.
func wantEntries(t *testing.T, store Store, entries, claims int) {
	t.Helper()
	got, err := open(t, store, 4712).Read(t.Context(), 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range got {
		if e.Claim {
			claims--
		} else {
			entries--
		}
	}
	if entries != 0 || claims != 0 {
		t.Fatalf("%d entries and %d claims are missing of the log: %+v", entries, claims, got)
	}
}

// TestUnclearAppendIsSettledByRepeating: whatever became of the first write, the repetition of the same call tells the truth,
// and one entry is in the log.
func TestUnclearAppendIsSettledByRepeating(t *testing.T) {
	for _, c := range []struct {
		fault   storetest.Fault
		unknown bool // what the first call answers; else it knows that it succeeded
		land    bool // the write comes in between
	}{
		{storetest.FailBefore, true, false},
		{storetest.FailAfter, true, false},
		{storetest.ConflictBefore, true, false},
		{storetest.ConflictAfter, true, false},
		{storetest.OwnExists, false, false},
		{storetest.OwnMarked, false, false},
		{storetest.Late, true, false},
		{storetest.Late, true, true},
	} {
		t.Run(fmt.Sprint(c.fault, " land=", c.land), func(t *testing.T) {
			store, memory, _ := faultyStore()
			log := open(t, store, 1)
			a := mustAcquire(t, log, "a")
			next := mustFill(t, log, a.Term, a.Next, 1)
			store.Script(objectstore.OpCreate, c.fault)
			err := log.Append(t.Context(), a.Term, next, logtest.ID(next), nil)
			if errors.Is(err, metadata.ErrUnknown) != c.unknown || !c.unknown && err != nil {
				t.Fatalf("append under %s: %v", c.fault, err)
			}
			if c.land {
				store.Land(1)
			}
			if err := log.Append(t.Context(), a.Term, next, logtest.ID(next), nil); err != nil {
				t.Fatalf("repetition: %v", err)
			}
			mustFill(t, log, a.Term, next+1, 2)
			store.Land(1)
			wantEntries(t, memory, 4, 1)
		})
	}
}

// TestUnclearOwnerIsUnknown: the slot was found taken, and the read that would tell by whom got no answer.
func TestUnclearOwnerIsUnknown(t *testing.T) {
	store, memory, _ := faultyStore()
	log := open(t, store, 1)
	a := mustAcquire(t, log, "a")
	store.Script(objectstore.OpCreate, storetest.OwnExists)
	store.Script(objectstore.OpGet, storetest.Truncate)
	if err := log.Append(t.Context(), a.Term, a.Next, logtest.ID(1), nil); !errors.Is(err, metadata.ErrUnknown) {
		t.Fatalf("append: %v, want ErrUnknown", err)
	}
	if err := log.Append(t.Context(), a.Term, a.Next, logtest.ID(1), nil); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, memory, 1, 1)
}

// TestLateAppendMeetsTheNewTerm: a write that was answered with a time-out lands after others have seen its slot empty.
func TestLateAppendMeetsTheNewTerm(t *testing.T) {
	for _, before := range []bool{true, false} { // does it land before the new claim?
		t.Run(fmt.Sprint("before the claim=", before), func(t *testing.T) {
			store, memory, _ := faultyStore()
			old, young := open(t, store, 1), open(t, store, 2)
			a := mustAcquire(t, old, "a")
			next := mustFill(t, old, a.Term, a.Next, 1)
			store.Script(objectstore.OpCreate, storetest.Late)
			if err := old.Append(t.Context(), a.Term, next, logtest.ID(next), nil); !errors.Is(err, metadata.ErrUnknown) {
				t.Fatal(err)
			}
			if got, err := young.Read(t.Context(), next, 100); err != nil || len(got) != 0 {
				t.Fatalf("the slot is not empty: %v, %v", got, err)
			}
			if before {
				store.Land(1)
				if store.Count(storetest.LandedAfterGone) != 1 {
					t.Fatalf("counted %v", store.Counts())
				}
			}
			b := mustAcquire(t, young, "b")
			store.Land(1)
			err := old.Append(t.Context(), a.Term, next, logtest.ID(next), nil)
			if before && err != nil || !before && !errors.Is(err, metadata.ErrFenced) {
				t.Fatalf("repetition: %v", err)
			}
			mustFill(t, young, b.Term, b.Next, 1)
			if err := old.Append(t.Context(), a.Term, next+1, logtest.ID(77), nil); !errors.Is(err, metadata.ErrFenced) {
				t.Fatalf("a further append of the old term: %v", err)
			}
			entries := 2
			if before {
				entries = 3
			}
			wantEntries(t, memory, entries, 2)
		})
	}
}

// TestLateClaimEndsATerm: the agent that claimed is long gone, and still nobody may append below its claim.
func TestLateClaimEndsATerm(t *testing.T) {
	store, memory, _ := faultyStore()
	log := open(t, store, 1)
	a := mustAcquire(t, log, "a")
	next := mustFill(t, log, a.Term, a.Next, 2)
	store.Script(objectstore.OpCreate, storetest.Late, storetest.Late, storetest.Late)
	if _, err := open(t, store, 2).Acquire(t.Context(), "gone", 0); !errors.Is(err, objectstore.ErrUnknown) {
		t.Fatalf("acquire: %v", err)
	}
	if err := log.Confirm(t.Context(), a.Term, next); err != nil {
		t.Fatal(err)
	}
	store.Land(math.MaxInt)
	if err := log.Confirm(t.Context(), a.Term, next); !errors.Is(err, metadata.ErrFenced) {
		t.Fatalf("confirm: %v", err)
	}
	log.tip.fenced = false // as if it had not asked
	if err := log.Append(t.Context(), a.Term, next, logtest.ID(next), nil); !errors.Is(err, metadata.ErrFenced) {
		t.Fatalf("append: %v", err)
	}
	again := mustAcquire(t, log, "a")
	if again.Term != a.Term+2 {
		t.Fatalf("acquired %+v after the claim of term %d", again, a.Term+1)
	}
	wantEntries(t, memory, 2, 3)
}

// TestWriteThatLandsAfterItsSlotWasDeleted: its writer was told so, and no reader is shown it.
func TestWriteThatLandsAfterItsSlotWasDeleted(t *testing.T) {
	store, memory, clock := faultyStore()
	old := open(t, store, 1)
	a := mustAcquire(t, old, "a")
	next := mustFill(t, old, a.Term, a.Next, 2)
	store.Script(objectstore.OpCreate, storetest.Late)
	if err := old.Append(t.Context(), a.Term, next, logtest.ID(next), []byte("late")); !errors.Is(err, metadata.ErrUnknown) {
		t.Fatal(err)
	}
	boundary := cut(t, store, clock)
	if store.Land(1); store.Count(storetest.LandedAfterDelete) != 1 {
		t.Fatalf("counted %v", store.Counts())
	}
	if n := slotsBelow(t, memory, old, boundary); n != 1 {
		t.Fatalf("the test is wrong: %d slots below the boundary", n)
	}
	if err := old.Append(t.Context(), a.Term, next, logtest.ID(next), []byte("late")); !errors.Is(err, metadata.ErrFenced) {
		t.Fatalf("repetition: %v", err)
	}
	reader := open(t, store, 2)
	if got, err := reader.Read(t.Context(), next, 100); !errors.Is(err, metadata.ErrTruncated) {
		t.Fatalf("a reader was shown what does not count: %v, %v", got, err)
	}
	if got := mustAcquire(t, reader, "b"); got.SnapshotSeq < boundary || got.Term <= a.Term+1 {
		t.Fatalf("acquired %+v with boundary %d", got, boundary)
	}
}

// TestDatesThatCannotBeTrustedAreNoExcuse: a writer that was paused for days is fenced in a recycled slot, whatever time the
// store tells with the create, unless that is the time of the last check by chance: within 30 s of it.
func TestDatesThatCannotBeTrustedAreNoExcuse(t *testing.T) {
	for name, dates := range map[string]storetest.FaultConfig{
		"right":            {},
		"none":             {NoDate: 1},
		"an hour behind":   {DateSkew: -time.Hour},
		"an hour ahead":    {DateSkew: time.Hour},
		"23 hours behind":  {DateSkew: -23 * time.Hour},
		"before the check": {DateSkew: -51 * time.Hour},
		"jumping":          {DateJump: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			store, memory, clock := faultyStore()
			old := open(t, store, 1)
			a := mustAcquire(t, old, "a")
			next := mustFill(t, old, a.Term, a.Next, 2)
			boundary := cut(t, memory, clock)
			store.Configure(dates) // another front end of the store, with its own clock
			if err := old.Append(t.Context(), a.Term, next, logtest.ID(1), []byte("too late")); !errors.Is(err, metadata.ErrFenced) {
				t.Fatalf("append: %v", err)
			}
			if n := slotsBelow(t, memory, old, boundary); n != 1 {
				t.Fatalf("the test is wrong: %d slots below the boundary", n)
			}
		})
	}
	t.Run("none ever", func(t *testing.T) { // then nothing is old, and nothing is deleted
		store, memory, clock := faultyStore()
		store.Configure(storetest.FaultConfig{NoDate: 1})
		log := open(t, store, 1)
		a := mustAcquire(t, log, "a")
		next := a.Next
		for range 6 {
			next = mustFill(t, log, a.Term, next, 1)
			clock.move(25 * time.Hour)
			if err := log.Checkpoint(t.Context(), a.Term, next, nil); err != nil {
				t.Fatal(err)
			}
			if err := log.Truncate(t.Context(), a.Term, next); err != nil {
				t.Fatal(err)
			}
		}
		wantEntries(t, memory, 6, 1)
	})
}

// TestStragglingAppendIsHedged: a write that takes seconds costs the hedge's delay, and its echo days later changes nothing.
func TestStragglingAppendIsHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := objectstore.NewMemory(time.Now)
		faulty := storetest.NewFaulty(memory, 1, storetest.FaultConfig{})
		store := objectstore.WithRetry(faulty, objectstore.RetryConfig{}, time.Now, rand.New(rand.NewPCG(1, 1)), slog.New(slog.DiscardHandler))
		log := open(t, store, 1)
		a := mustAcquire(t, log, "a")
		next := a.Next
		for range 5 {
			faulty.Script(objectstore.OpCreate, storetest.Delay)
			began := time.Now()
			next = mustFill(t, log, a.Term, next, 1)
			if took := time.Since(began); took < 350*time.Millisecond || took > 400*time.Millisecond {
				t.Fatalf("took %v, want the hedge delay", took)
			}
		}
		if faulty.InLimbo() != 5 {
			t.Fatalf("%d stragglers are on their way", faulty.InLimbo())
		}
		if faulty.Land(5); faulty.Count(storetest.LandedRefused) != 5 {
			t.Fatalf("counted %v", faulty.Counts())
		}
		// Both attempts take effect or neither does, and the later one meets the earlier one's effect.
		for _, faults := range [][]storetest.Fault{{storetest.FailAfter}, {storetest.StallAfter}, {storetest.ConflictAfter, storetest.FailBefore}, {storetest.OwnMarked}} {
			faulty.Script(objectstore.OpCreate, faults...)
			next = mustFill(t, log, a.Term, next, 1)
		}
		wantEntries(t, memory, 9, 1)
	})
}

// TestAcquireFallsBackOverDamagedSnapshots: bytes damaged on the way are read again; a snapshot that lies damaged is passed
// over for the one before; with none left the log is replayed from its first slot, or said to be damaged when that is gone.
func TestAcquireFallsBackOverDamagedSnapshots(t *testing.T) {
	store, memory, _ := faultyStore()
	log := open(t, store, 1)
	a := mustAcquire(t, log, "a")
	var seqs []uint64
	next := a.Next
	for range 3 {
		next = mustFill(t, log, a.Term, next, 3)
		if err := log.Checkpoint(t.Context(), a.Term, next, fmt.Append(nil, next)); err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, next)
	}
	want := func(what string, has bool, seq uint64) {
		t.Helper()
		got := mustAcquire(t, open(t, store, 2), "b")
		if got.HasSnapshot != has || got.SnapshotSeq != seq || has && string(got.Snapshot) != fmt.Sprint(seq) {
			t.Fatalf("%s: acquired %+v, want the snapshot of %d", what, got, seq)
		}
	}
	store.Script(objectstore.OpGet, storetest.Torn)
	want("torn once", true, seqs[2])
	store.Script(objectstore.OpGet, storetest.Torn, storetest.Torn)
	want("torn twice", true, seqs[1])
	if err := memory.Put(t.Context(), log.snapKey(seqs[2]), []byte("BGSN")); err != nil {
		t.Fatal(err)
	}
	want("newest cut short", true, seqs[1])
	if err := memory.Put(t.Context(), log.snapKey(seqs[1]), encodeSnapshot(snapshot{term: 1, seq: seqs[1], chain: hash{1}, body: []byte("another log's")})); err != nil {
		t.Fatal(err)
	}
	want("second does not chain", true, seqs[0])
	if err := memory.Put(t.Context(), log.snapKey(seqs[0]), nil); err != nil {
		t.Fatal(err)
	}
	want("all damaged", false, 0)
	if err := memory.Put(t.Context(), log.boundaryKey(1), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, store, 2).Acquire(t.Context(), "b", 0); !errors.Is(err, metadata.ErrCorrupt) {
		t.Fatalf("all damaged and slot 0 gone: %v", err)
	}
}

// TestTornReadsAreReadAgain: one damaged answer is not a damaged log.
func TestTornReadsAreReadAgain(t *testing.T) {
	store, memory, _ := faultyStore()
	log, err := New(store, Config{Prefix: "meta/0", ReadAhead: 1}, ids(1), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a := mustAcquire(t, log, "a")
	next := mustFill(t, log, a.Term, a.Next, 5)
	for range 50 {
		store.Script(objectstore.OpGet, storetest.Torn, storetest.NoFault, storetest.NoFault, storetest.Torn)
		got, err := log.Read(t.Context(), 0, 1000)
		if err != nil || uint64(len(got)) != next {
			t.Fatalf("read %d of %d entries: %v", len(got), next, err)
		}
		store.Script(objectstore.OpGetRange, storetest.Torn)
		if h, err := log.Hint(t.Context()); err != nil || h.Next != next || h.Owner != "a" {
			t.Fatalf("hint %+v, %v", h, err)
		}
	}
	store.Script(objectstore.OpCreate, storetest.OwnExists)
	store.Script(objectstore.OpGet, storetest.Torn)
	next = mustFill(t, log, a.Term, next, 1)
	damageNewest(t, memory, "meta/0/log/")
	if got, err := log.Read(t.Context(), next-1, 1000); !errors.Is(err, metadata.ErrCorrupt) {
		t.Fatalf("read of a damaged slot: %v, %v", got, err)
	}
}

// TestForeignHistoryIsFound: entries that are whole, and whose predecessors are not the ones here, stop whoever meets them.
func TestForeignHistoryIsFound(t *testing.T) {
	store, memory, clock := faultyStore()
	log := open(t, store, 1)
	a := mustAcquire(t, log, "a")
	next := mustFill(t, log, a.Term, a.Next, 6)
	other := objectstore.NewMemory(clock.now) // the same log, as a backup would bring it back, and then another life
	stranger := open(t, other, 1)
	b := mustAcquire(t, stranger, "a")
	mustFill(t, stranger, b.Term, b.Next, 2)
	if err := stranger.Append(t.Context(), b.Term, b.Next+2, logtest.ID(99), []byte("another life")); err != nil {
		t.Fatal(err)
	}
	buf, err := other.Get(t.Context(), stranger.slotKey(b.Next+2), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := memory.Put(t.Context(), log.slotKey(a.Next+2), buf); err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, store, 2).Read(t.Context(), a.Next, 1<<20); !errors.Is(err, metadata.ErrCorrupt) {
		t.Fatalf("read gave %d entries, %v", len(got), err)
	}
	// A checkpoint is tied to the slot that follows it: made on this history, it does not serve the other.
	if err := log.Checkpoint(t.Context(), a.Term, next-1, []byte("state")); err != nil {
		t.Fatal(err)
	}
	last, err := log.getBytes(t, next-1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := decodeSlot(last, next-1)
	if err != nil {
		t.Fatal(err)
	}
	s.prev = hash{7}
	if err := memory.Put(t.Context(), log.slotKey(next-1), encodeSlot(s)); err != nil {
		t.Fatal(err)
	}
	if _, err := log.loadSnapshot(t.Context(), next-1); !errors.Is(err, metadata.ErrCorrupt) {
		t.Fatalf("snapshot before a slot of another history: %v", err)
	}
}

func (l *Log) getBytes(t *testing.T, seq uint64) ([]byte, error) {
	t.Helper()
	return l.store.Get(t.Context(), l.slotKey(seq), maxSlotBytes)
}

// TestLateSnapshotsAndBoundariesAreHarmless: both land long after they were given up.
func TestLateSnapshotsAndBoundariesAreHarmless(t *testing.T) {
	store, memory, clock := faultyStore()
	log := open(t, store, 1)
	a := mustAcquire(t, log, "a")
	next := mustFill(t, log, a.Term, a.Next, 3)
	store.Script(objectstore.OpCreate, storetest.Late)
	if err := log.Checkpoint(t.Context(), a.Term, next, []byte("early")); !errors.Is(err, objectstore.ErrUnknown) {
		t.Fatalf("checkpoint: %v", err)
	}
	boundary := cut(t, store, clock)
	store.Land(1) // a snapshot of slots that are gone
	got := mustAcquire(t, open(t, store, 2), "b")
	if got.SnapshotSeq <= boundary {
		t.Fatalf("acquired %+v, boundary %d", got, boundary)
	}
	damaged := objectstore.NewMemory(clock.now) // a copy in which no other snapshot is whole
	objects, err := memory.List(t.Context(), "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		body, err := memory.Get(t.Context(), o.Key, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if seq, ok := number(log.snapPrefix(), o.Key); ok && seq >= boundary {
			body = nil
		}
		if err := damaged.Put(t.Context(), o.Key, body); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := open(t, damaged, 5).Acquire(t.Context(), "x", 0); !errors.Is(err, metadata.ErrCorrupt) {
		t.Fatalf("acquired %+v, %v from a snapshot whose slots are gone", got, err)
	}
	log = open(t, store, 3)
	a = mustAcquire(t, log, "c")
	next = a.Next
	for range 4 {
		clock.move(25 * time.Hour)
		next = mustFill(t, log, a.Term, next, 2)
		if err := log.Checkpoint(t.Context(), a.Term, next, []byte("state")); err != nil {
			t.Fatal(err)
		}
	}
	store.Script(objectstore.OpCreate, storetest.Late)
	if err := log.Truncate(t.Context(), a.Term, next); !errors.Is(err, objectstore.ErrUnknown) {
		t.Fatalf("truncate: %v", err)
	}
	if err := log.Truncate(t.Context(), a.Term, next); err != nil {
		t.Fatal(err)
	}
	raised := log.boundary
	if raised <= boundary {
		t.Fatalf("boundary %d after %d", raised, boundary)
	}
	store.Land(math.MaxInt)
	fresh := open(t, memory, 4)
	if got := mustAcquire(t, fresh, "d"); got.SnapshotSeq < raised || got.Next != next+1 {
		t.Fatalf("acquired %+v, boundary %d, next %d", got, raised, next)
	}
}

// listHook calls before, once, ahead of the first listing of prefix.
type listHook struct {
	objectstore.Store
	prefix string
	before func()
	broken bool // no listing of boundaries is answered after it
}

func (h *listHook) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	if prefix == h.prefix && h.before != nil {
		before := h.before
		h.before = nil
		before()
	} else if h.broken && h.before == nil && strings.HasSuffix(prefix, "/boundary/") {
		return nil, errReset
	}
	return h.Store.List(ctx, prefix, after, limit)
}

// TestTruncationThatOvertakesAStartIsNoDamage: a call that stands still for days between its steps finds its slots gone.
func TestTruncationThatOvertakesAStartIsNoDamage(t *testing.T) {
	for _, prefix := range []string{"meta/0/boundary/", "meta/0/snapshot/", "meta/0/log/"} {
		for _, checkpoints := range []bool{false, true} {
			for name, start := range map[string]func(log *Log) (metadata.Acquired, error){
				"newest":  func(log *Log) (metadata.Acquired, error) { return log.Newest(t.Context()) },
				"acquire": func(log *Log) (metadata.Acquired, error) { return log.Acquire(t.Context(), "slow", 0) },
			} {
				t.Run(fmt.Sprint(name, " ", prefix, " checkpoints=", checkpoints), func(t *testing.T) {
					clock := newClock()
					memory := objectstore.NewMemory(clock.now)
					log := open(t, memory, 1)
					a := mustAcquire(t, log, "a")
					next := mustFill(t, log, a.Term, a.Next, 3)
					if checkpoints {
						if err := log.Checkpoint(t.Context(), a.Term, next-1, []byte("old")); err != nil {
							t.Fatal(err)
						}
					}
					var boundary uint64
					hook := &listHook{Store: memory, prefix: prefix, before: func() { boundary = cut(t, memory, clock) }}
					got, err := start(open(t, hook, 2))
					if err != nil || got.SnapshotSeq < boundary || got.Next <= boundary {
						t.Fatalf("%+v, %v with boundary %d", got, err, boundary)
					}
				})
			}
		}
	}
}

// TestDamageIsNotClaimedWithoutTheBoundary: a hole is damage only where it is known that nobody truncated.
func TestDamageIsNotClaimedWithoutTheBoundary(t *testing.T) {
	for name, start := range map[string]func(log *Log) (metadata.Acquired, error){
		"newest":  func(log *Log) (metadata.Acquired, error) { return log.Newest(t.Context()) },
		"acquire": func(log *Log) (metadata.Acquired, error) { return log.Acquire(t.Context(), "slow", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			clock := newClock()
			memory := objectstore.NewMemory(clock.now)
			log := open(t, memory, 1)
			a := mustAcquire(t, log, "a")
			mustFill(t, log, a.Term, a.Next, 3)
			hook := &listHook{Store: memory, prefix: "meta/0/log/", before: func() { cut(t, memory, clock) }, broken: true}
			slow := open(t, hook, 2)
			if got, err := start(slow); !errors.Is(err, objectstore.ErrUnknown) || errors.Is(err, metadata.ErrCorrupt) {
				t.Fatalf("%+v, %v, want ErrUnknown alone", got, err)
			}
			hook.broken = false
			if got, err := start(slow); err != nil || !got.HasSnapshot {
				t.Fatalf("%+v, %v", got, err)
			}
		})
	}
}

// TestReadAcrossARecycledSlotIsTruncated: a truncation has deleted one slot and not yet the next when an old writer's create
// lands in the first.
func TestReadAcrossARecycledSlotIsTruncated(t *testing.T) {
	store, memory, _ := faultyStore()
	log := open(t, store, 1)
	a := mustAcquire(t, log, "a")
	mustFill(t, log, a.Term, a.Next, 6)
	buf, err := memory.Get(t.Context(), log.slotKey(3), maxSlotBytes)
	if err != nil {
		t.Fatal(err)
	}
	s, err := decodeSlot(buf, 3)
	if err != nil {
		t.Fatal(err)
	}
	s.id, s.body = logtest.ID(4711), []byte("an old writer's")
	if err := errors.Join(memory.Put(t.Context(), log.boundaryKey(5), nil), memory.Put(t.Context(), log.slotKey(3), encodeSlot(s))); err != nil {
		t.Fatal(err)
	}
	reader := open(t, store, 2)
	if got, err := reader.Read(t.Context(), 3, 1<<20); !errors.Is(err, metadata.ErrTruncated) || errors.Is(err, metadata.ErrCorrupt) {
		t.Fatalf("%v, %v, want ErrTruncated alone", got, err)
	}
	store.Script(objectstore.OpList, storetest.FailBefore)
	if got, err := reader.Read(t.Context(), 3, 1<<20); errors.Is(err, metadata.ErrCorrupt) || !errors.Is(err, objectstore.ErrUnknown) {
		t.Fatalf("%v, %v, want ErrUnknown alone", got, err)
	}
	if err := memory.Delete(t.Context(), log.boundaryKey(5)); err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, store, 3).Read(t.Context(), 3, 1<<20); !errors.Is(err, metadata.ErrCorrupt) {
		t.Fatalf("%v, %v, want ErrCorrupt where nothing was truncated", got, err)
	}
}
