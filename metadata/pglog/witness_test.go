//go:build realworld

package pglog

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/logtest"
	"github.com/bargedata/barge/metadata/pglog/pgtest"
	"github.com/bargedata/barge/objectstore"
)

// settled repeats a call that met a connection of before the server stopped.
func settled(call func() error) error {
	err := call()
	for try := 0; errors.Is(err, metadata.ErrUnknown) && try < 20; try++ {
		err = call()
	}
	return err
}

// TestOlderDatabaseIsRefused: the files of the database are brought back to an older point; whoever would start from it hears so, until the
// newer files are back, or the loss is accepted.
func TestOlderDatabaseIsRefused(t *testing.T) {
	server := pgtest.Start(t)
	store := objectstore.NewMemory(time.Now)
	cfg := Config{URL: server.URL(), Cluster: newCluster(), Witness: store, Create: true}
	log := open(t, cfg)
	a, err := log.Acquire(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	next := a.Next
	fill := func(n int) {
		t.Helper()
		for range n {
			if err := settled(func() error { return log.Append(t.Context(), a.Term, next, logtest.ID(next), bodyOf(next)) }); err != nil {
				t.Fatal(err)
			}
			next++
		}
	}
	fill(5)
	server.Stop(syscall.SIGINT)
	old := server.Copy()
	server.Start()
	fill(5)
	for range 4 {
		fill(1)
		if err := log.witness(t.Context(), log.currentTip()); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := log.witnesses(t.Context()); err != nil || len(all) != keptWitnesses || all[1].Seq != next-1 {
		t.Fatalf("witnesses %+v, %v", all, err)
	}
	server.Stop(syscall.SIGINT)
	newer := server.Copy()
	server.Restore(old)
	server.Start()

	// The agent that is still at work meets it first.
	if err := settled(func() error { return log.Append(t.Context(), a.Term, next, logtest.ID(next), nil) }); !errors.Is(err, metadata.ErrCorrupt) {
		t.Fatalf("append after the database went back: %v", err)
	}
	if err := settled(func() error { return log.Confirm(t.Context(), a.Term, next) }); !errors.Is(err, metadata.ErrCorrupt) {
		t.Fatalf("confirm after the database went back: %v", err)
	}
	other := open(t, cfg)
	_, acquireErr := other.Acquire(t.Context(), "b", 0)
	_, newestErr := other.Newest(t.Context())
	for _, err := range []error{acquireErr, newestErr} {
		if !errors.Is(err, ErrOlder) || !strings.Contains(err.Error(), "entries 6 to at least 14") || !strings.Contains(err.Error(), "accept-loss") {
			t.Fatalf("start from an older database: %v", err)
		}
	}
	if h, err := other.Hint(t.Context()); err != nil || h.Term != a.Term || h.Next != 6 {
		t.Fatalf("a refused start left its mark: %+v, %v", h, err)
	}

	server.Stop(syscall.SIGINT)
	server.Restore(newer)
	server.Start()
	if _, err := open(t, cfg).Newest(t.Context()); err != nil {
		t.Fatalf("with the newer files back: %v", err)
	}

	server.Stop(syscall.SIGINT)
	server.Restore(old)
	server.Start()
	other = open(t, cfg)
	lost, err := other.Lost(t.Context())
	if err != nil || len(lost) != keptWitnesses {
		t.Fatalf("lost: %+v, %v", lost, err)
	}
	if err := other.AcceptLoss(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	b, err := other.Acquire(t.Context(), "b", 0)
	if err != nil || b.Next != 7 {
		t.Fatalf("acquire after the loss was accepted: %+v, %v", b, err)
	}
	// It goes another way from there; a witness of the way it went is refused by its hash.
	for i := range uint64(20) {
		if err := other.Append(t.Context(), b.Term, b.Next+i, logtest.ID(1000+i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Create(t.Context(), lost[1].Witness.Key, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, cfg).Acquire(t.Context(), "c", 0); !errors.Is(err, ErrOlder) || !strings.Contains(err.Error(), "another one") {
		t.Fatalf("acquire of a log that went another way: %v", err)
	}
}

// TestWitnessIsLeftWhileBusyAndAtTheEnd: an idle log writes none.
func TestWitnessIsLeftWhileBusyAndAtTheEnd(t *testing.T) {
	server := pgtest.Start(t)
	store := objectstore.NewMemory(time.Now)
	log := open(t, Config{URL: server.URL(), Cluster: newCluster(), Witness: store})
	run := func() {
		ctx, stop := context.WithCancel(t.Context())
		stop() // one round, at the end
		if err := log.RunWitness(ctx); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if all, err := log.witnesses(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("a log that nobody wrote has witnesses %+v, %v", all, err)
	}
	a, err := log.Acquire(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	run()
	all, err := log.witnesses(t.Context())
	if err != nil || len(all) != 1 || all[0].Seq != a.Next-1 {
		t.Fatalf("witnesses %+v, %v", all, err)
	}
}
