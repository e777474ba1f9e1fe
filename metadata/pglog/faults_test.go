//go:build realworld

package pglog

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/logtest"
	"github.com/bargedata/barge/metadata/pglog/pgtest"
)

// writer appends until ctx ends, repeats what is unclear, and keeps what was acknowledged.
type writer struct {
	log   *Log
	start metadata.Acquired
	acked atomic.Int64 // entries from start.Next on
	asked int          // again, because the outcome was unclear
}

func bodyOf(seq uint64) []byte { b := logtest.ID(seq); return b[:] }

func (w *writer) run(ctx context.Context) error {
	for n := uint64(0); ; n++ {
		seq := w.start.Next + n
		for {
			err := w.log.Append(context.WithoutCancel(ctx), w.start.Term, seq, logtest.ID(seq), bodyOf(seq))
			if err == nil {
				break
			}
			if !errors.Is(err, metadata.ErrUnknown) {
				return err
			}
			w.asked++
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
		w.acked.Store(int64(n + 1))
		select {
		case <-ctx.Done():
			return nil
		default:
		}
	}
}

// check reads all that was acknowledged.
func (w *writer) check(t *testing.T, reader *Log) {
	t.Helper()
	from, end := w.start.Next, w.start.Next+uint64(w.acked.Load())
	for from < end {
		entries, err := reader.Read(t.Context(), from, 1<<20)
		if err != nil || len(entries) == 0 {
			t.Fatalf("read from %d of %d acknowledged: %d entries, %v", from, end, len(entries), err)
		}
		for _, e := range entries {
			if e.Seq != from || string(e.Body) != string(bodyOf(from)) && from < end {
				t.Fatalf("slot %d holds %d: %x", from, e.Seq, e.Body)
			}
			from++
		}
	}
}

// load starts a writer on a fresh log and returns what ends it and checks the log.
func load(t *testing.T, cfg Config) (w *writer, end func()) {
	t.Helper()
	w = &writer{log: open(t, cfg)}
	var err error
	if w.start, err = w.log.Acquire(t.Context(), "writer", 0); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	return w, func() {
		t.Helper()
		stop()
		if err := <-ended; err != nil {
			t.Fatalf("writer: %v", err)
		}
		w.check(t, open(t, cfg))
	}
}

// until waits for the writer to get n more acknowledgements.
func (w *writer) until(t *testing.T, n int64) {
	t.Helper()
	want := w.acked.Load() + n
	for deadline := time.Now().Add(time.Minute); w.acked.Load() < want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d entries acknowledged after a minute, want %d", w.acked.Load(), want)
		}
	}
}

// TestNothingAcknowledgedIsLostWhenTheServerDies (I1, for the log): crashes of the server under load.
func TestNothingAcknowledgedIsLostWhenTheServerDies(t *testing.T) {
	server := pgtest.Start(t)
	w, end := load(t, Config{URL: server.URL(), Cluster: newCluster(), CallTimeout: 3 * time.Second})
	for _, how := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGKILL} {
		w.until(t, 100)
		server.Stop(how)
		server.Start()
	}
	w.until(t, 100)
	end()
	t.Logf("%d entries acknowledged, %d times asked again", w.acked.Load(), w.asked)
	if w.asked == 0 {
		t.Error("no append was in doubt: the crashes showed nothing")
	}
}

// TestNothingAcknowledgedIsLostWhenAStandbyTakesOver: the primary is killed under load, and the synchronous standby becomes the primary.
func TestNothingAcknowledgedIsLostWhenAStandbyTakesOver(t *testing.T) {
	primary := pgtest.Start(t)
	standby := primary.StartStandby()
	cfg := Config{URL: pgtest.URL(primary.Addr, standby.Addr), Cluster: newCluster(), CallTimeout: 3 * time.Second}
	w, end := load(t, cfg)
	w.until(t, 200)
	before := time.Now()
	primary.Stop(syscall.SIGKILL)
	standby.Promote()
	w.until(t, 100)
	t.Logf("%d entries acknowledged, %d times asked again, %v from the kill to 100 more", w.acked.Load(), w.asked, time.Since(before).Round(time.Millisecond))
	end()
	if w.asked == 0 {
		t.Error("no append was in doubt: the failover showed nothing")
	}
	if _, err := open(t, cfg).Acquire(t.Context(), "next", 0); err != nil {
		t.Fatalf("acquire on the promoted standby: %v", err)
	}
}

// TestDeposedServerConfirmsNothing: a primary that lost its standby, and does not know that this one was promoted, answers neither an append
// nor a linearizable read, and what it shows of a commit that nobody else has is not believed.
func TestDeposedServerConfirmsNothing(t *testing.T) {
	primary := pgtest.Start(t)
	standby := primary.StartStandby()
	cluster := newCluster()
	old := Config{URL: primary.URL(), Cluster: cluster, CallTimeout: time.Second}
	log := open(t, old)
	a, err := log.Acquire(t.Context(), "old", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), a.Term, a.Next, logtest.ID(1), nil); err != nil {
		t.Fatal(err)
	}
	next := a.Next + 1
	if err := log.Confirm(t.Context(), a.Term, next); err != nil {
		t.Fatal(err)
	}
	reader, err := Open(t.Context(), Config{URL: old.URL, Cluster: cluster, CallTimeout: 100 * time.Millisecond}, ids(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	standby.Promote()
	young := open(t, Config{URL: standby.URL(), Cluster: cluster})
	b, err := young.Acquire(t.Context(), "young", 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first try's commit is local: its wait was broken off by the timeout
		if err := log.Append(t.Context(), a.Term, next, logtest.ID(2), []byte("lost")); !errors.Is(err, metadata.ErrUnknown) {
			t.Fatalf("append on a deposed server: %v", err)
		}
	}
	if err := log.Confirm(t.Context(), a.Term, next); err == nil {
		t.Fatal("a deposed server confirmed")
	}
	if entries, err := reader.Read(t.Context(), next, 1000); err == nil && len(entries) > 0 {
		t.Fatalf("a reader believes %+v, which only the deposed server has", entries)
	}
	if got, err := reader.Newest(t.Context()); err == nil {
		t.Fatalf("a reader starts from a deposed server at %+v", got)
	}
	if b.Next != next+1 {
		t.Fatalf("the new server's log begins at %d, want %d", b.Next, next+1)
	}
}

// TestCanceledWaitForTheStandbyIsNoSuccess: PostgreSQL answers a commit whose wait for the standby was canceled like any other, but for a
// warning.
func TestCanceledWaitForTheStandbyIsNoSuccess(t *testing.T) {
	server := pgtest.Start(t)
	log := open(t, Config{URL: server.URL(), Cluster: newCluster(), CallTimeout: 20 * time.Second})
	a, err := log.Acquire(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	server.Exec("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
	server.Exec("postgres", "SELECT pg_reload_conf()")
	time.Sleep(500 * time.Millisecond) // for the server's processes to hear of it
	answer := make(chan error, 1)
	go func() { answer <- log.Append(t.Context(), a.Term, a.Next, logtest.ID(1), nil) }()
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for canceled := 0; canceled == 0; time.Sleep(10 * time.Millisecond) {
		if err := conn.QueryRow(t.Context(), `SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&canceled); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-answer; !errors.Is(err, metadata.ErrUnknown) || !strings.Contains(err.Error(), "warned") {
		t.Fatalf("append whose wait was canceled: %v", err)
	}
}

// TestUnsafeSettingsAreRefusedOrMended: a server that forgets what it answered is refused; a user's own weaker commits are not used.
func TestUnsafeSettingsAreRefusedOrMended(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec("postgres", "ALTER ROLE "+pgtest.User+" SET synchronous_commit = off")
	server.Exec("postgres", "ALTER ROLE "+pgtest.User+" SET default_transaction_isolation = 'serializable'")
	log := open(t, Config{URL: server.URL(), Cluster: newCluster()})
	var commit, isolation string
	if err := log.pool.QueryRow(t.Context(), `SELECT current_setting('synchronous_commit'), current_setting('transaction_isolation')`).Scan(&commit, &isolation); err != nil {
		t.Fatal(err)
	}
	if commit != "on" || isolation != "read committed" {
		t.Fatalf("synchronous_commit %s, isolation %s", commit, isolation)
	}
	unsafe := pgtest.Start(t, "fsync=off")
	_, err := Open(t.Context(), Config{URL: unsafe.URL(), Cluster: newCluster(), Create: true}, ids(), quiet())
	if !errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), "fsync") {
		t.Fatalf("a server without fsync: %v", err)
	}
}
