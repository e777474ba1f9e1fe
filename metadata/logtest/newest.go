package logtest

import (
	"context"
	"errors"
	"testing"

	"github.com/bargedata/barge/metadata"
)

func newest(t *testing.T, log metadata.Log) metadata.Acquired {
	t.Helper()
	got, err := log.Newest(t.Context())
	if err != nil {
		t.Fatalf("newest: %v", err)
	}
	if got.HasSnapshot != (got.Snapshot != nil) || got.SnapshotSeq > got.Next {
		t.Fatalf("newest: inconsistent answer %+v", got)
	}
	return got
}

// testNewestOnlyReads: a reader that starts neither ends a term nor fills a slot, however often it starts.
func testNewestOnlyReads(t *testing.T, in Instance) {
	if got := newest(t, in.Open()); got.Term != 0 || got.Next != 0 || got.HasSnapshot {
		t.Fatalf("newest of an empty log: %+v", got)
	}
	log := in.Open()
	a := acquire(t, log, "a")
	next := a.Next
	for range 3 {
		next = fill(t, log, a.Term, next, 2)
		for name, handle := range map[string]metadata.Log{"the writer's": log, "another": in.Open()} {
			got := newest(t, handle)
			if got.Term != a.Term || got.Next != next || got.SnapshotSeq != 0 || got.HasSnapshot {
				t.Fatalf("%s handle: newest is %+v, want term %d, next %d", name, got, a.Term, next)
			}
			if n := uint64(len(readAll(t, handle, got.SnapshotSeq))); n != next {
				t.Fatalf("%s handle: %d entries, want %d", name, n, next)
			}
		}
	}
	if err := log.Confirm(t.Context(), a.Term, next); err != nil {
		t.Fatalf("confirm after readers started: %v", err)
	}
	b := acquire(t, in.Open(), "b")
	if b.Next != next+1 && b.Next != next {
		t.Fatalf("acquired %+v where %d was the end", b, next)
	}
	if got := newest(t, log); got.Term != b.Term || got.Next != b.Next {
		t.Fatalf("newest %+v after %+v", got, b)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := log.Newest(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("newest with an ended context: %v", err)
	}
}

// testNewestSnapshot: a reader falls back to an older snapshot and starts above a truncation, as a sequencer does.
func testNewestSnapshot(t *testing.T, in Instance) {
	log := in.Open()
	a := acquire(t, log, "a")
	first := fill(t, log, a.Term, a.Next, 3)
	checkpoint(t, log, a.Term, first, "first")
	second := fill(t, log, a.Term, first, 3)
	checkpoint(t, log, a.Term, second, "second")
	next := fill(t, log, a.Term, second, 2)
	in.Age()
	next = fill(t, log, a.Term, next, 1)
	if err := log.Truncate(t.Context(), a.Term, second); err != nil {
		t.Fatal(err)
	}
	if got := newest(t, in.Open()); string(got.Snapshot) != "second" || got.SnapshotSeq != second || got.Next != next {
		t.Fatalf("newest %+v, want the snapshot of %d", got, second)
	}
	in.DamageNewestSnapshot()
	reader := in.Open()
	got := newest(t, reader)
	if string(got.Snapshot) != "first" || got.SnapshotSeq != first || got.Next != next || got.Term != a.Term {
		t.Fatalf("newest %+v with the newest snapshot damaged, want the one of %d", got, first)
	}
	if n := uint64(len(readAll(t, reader, got.SnapshotSeq))); n != next-first {
		t.Fatalf("%d entries to replay, want %d", n, next-first)
	}
	fill(t, log, a.Term, next, 1)
}
