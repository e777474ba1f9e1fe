package logtest

import (
	"testing"

	"github.com/bargedata/barge/metadata"
)

func testCheckpoint(t *testing.T, in Instance) {
	log := in.Open()
	a := acquire(t, log, "a")
	next := fill(t, log, a.Term, a.Next, 3)
	checkpoint(t, log, a.Term, next, "early")
	at := fill(t, log, a.Term, next, 2)
	checkpoint(t, log, a.Term, at, "late")
	next = fill(t, log, a.Term, at, 4)
	b := acquire(t, in.Open(), "b")
	if !b.HasSnapshot || string(b.Snapshot) != "late" || b.SnapshotSeq != at || b.Next < next {
		t.Fatalf("acquired %+v, want snapshot %q of %d", b, "late", at)
	}
	if err := log.Checkpoint(t.Context(), b.Term, b.Next+100, nil); err == nil {
		t.Fatal("a checkpoint beyond the log's end was taken")
	}
	young := in.Open()
	c := acquire(t, young, "c")
	checkpoint(t, young, c.Term, c.Next, "") // right after a claim, and empty
	d := acquire(t, in.Open(), "d")
	if !d.HasSnapshot || d.SnapshotSeq != c.Next || len(d.Snapshot) != 0 || d.Next < c.Next || d.Term <= c.Term {
		t.Fatalf("acquired %+v after a checkpoint at the log's end, want snapshot of %d", d, c.Next)
	}
}

func checkpoint(t *testing.T, log metadata.Log, term, seq uint64, state string) {
	t.Helper()
	if err := log.Checkpoint(t.Context(), term, seq, []byte(state)); err != nil {
		t.Fatalf("checkpoint %d: %v", seq, err)
	}
}

func testDamagedSnapshot(t *testing.T, in Instance) {
	log := in.Open()
	a := acquire(t, log, "a")
	first := fill(t, log, a.Term, a.Next, 3)
	checkpoint(t, log, a.Term, first, "first")
	second := fill(t, log, a.Term, first, 3)
	checkpoint(t, log, a.Term, second, "second")
	next := fill(t, log, a.Term, second, 2)
	in.Age()
	next = fill(t, log, a.Term, next, 1) // tells the engine the time
	if err := log.Truncate(t.Context(), a.Term, second); err != nil {
		t.Fatal(err)
	}
	in.DamageNewestSnapshot()
	young := in.Open()
	b := acquire(t, young, "b")
	if !b.HasSnapshot || string(b.Snapshot) != "first" || b.SnapshotSeq != first || b.Next < next {
		t.Fatalf("acquired %+v, want snapshot %q of %d", b, "first", first)
	}
	if n := uint64(len(readAll(t, young, first))); n != b.Next-first {
		t.Fatalf("%d entries to replay, want %d", n, b.Next-first)
	}
	fill(t, young, b.Term, b.Next, 1)
}

func testCheckpointTwice(t *testing.T, in Instance) {
	log := in.Open()
	a := acquire(t, log, "a")
	next := fill(t, log, a.Term, a.Next, 3)
	checkpoint(t, log, a.Term, next, "state")
	checkpoint(t, log, a.Term, next, "state")
	young := in.Open()
	b := acquire(t, young, "b")
	checkpoint(t, young, b.Term, next, "state")
}

// truncateTries is how many appends may pass before a truncation takes place: an engine goes by the store's time, which an
// append whose answer was lost does not tell.
const truncateTries = 20

func testTruncate(t *testing.T, in Instance) {
	log := in.Open()
	a := acquire(t, log, "a")
	first := fill(t, log, a.Term, a.Next, 20)
	checkpoint(t, log, a.Term, first, "first")
	second := fill(t, log, a.Term, first, 20)
	checkpoint(t, log, a.Term, second, "second")
	in.Age()
	next := fill(t, log, a.Term, second, 1)
	reader := in.Open()
	var err error
	for range truncateTries {
		next = fill(t, log, a.Term, next, 1)
		if err := log.Truncate(t.Context(), a.Term, second); err != nil {
			t.Fatal(err)
		}
		if _, err = reader.Read(t.Context(), 0, 1000); err != nil {
			break
		}
	}
	wantErr(t, "read of a truncated slot", err, metadata.ErrTruncated)
	if !in.Vague {
		_, err = reader.Read(t.Context(), first-1, 1000)
		wantErr(t, "read of the last truncated slot", err, metadata.ErrTruncated)
	}
	if n := uint64(len(readAll(t, reader, second))); n != next-second {
		t.Fatalf("%d entries after the truncation, want %d", n, next-second)
	}
	if err := log.Append(t.Context(), a.Term, a.Next, ID(12345), nil); err == nil {
		t.Fatal("an append into a truncated slot was taken")
	}
	fill(t, log, a.Term, next, 1)
	b := acquire(t, in.Open(), "b")
	if string(b.Snapshot) != "second" || b.Next <= next {
		t.Fatalf("acquired %+v after a truncation", b)
	}
}

func testTruncateKeeps(t *testing.T, in Instance) {
	log := in.Open()
	a := acquire(t, log, "a")
	next := fill(t, log, a.Term, a.Next, 5)
	in.Age()
	next = fill(t, log, a.Term, next, 5)
	if err := log.Truncate(t.Context(), a.Term, next); err != nil {
		t.Fatal(err)
	}
	if n := uint64(len(readAll(t, in.Open(), 0))); n != next {
		t.Fatalf("without a snapshot, truncate left %d of %d entries", n, next)
	}
	checkpoint(t, log, a.Term, next-2, "one")
	if err := log.Truncate(t.Context(), a.Term, next); err != nil {
		t.Fatal(err)
	}
	b := acquire(t, in.Open(), "b")
	if b.SnapshotSeq != next-2 {
		t.Fatalf("acquired %+v, want the snapshot of %d", b, next-2)
	}
	if n := uint64(len(readAll(t, in.Open(), b.SnapshotSeq))); n != b.Next-b.SnapshotSeq {
		t.Fatalf("%d entries to replay, want %d", n, b.Next-b.SnapshotSeq)
	}
}
