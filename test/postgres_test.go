//go:build realworld

package test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata/pglog/pgtest"
)

// onPostgres is the same place with its log in a database.
func (b backend) onPostgres(url string) backend {
	b.env = append(slices.Clone(b.env), "BARGE_METADATA="+url)
	return b
}

// tryBarge runs a verb that may fail, and returns what it printed.
func tryBarge(t *testing.T, b backend, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bargeBinary(t), args...)
	cmd.Env = environment(b.env)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestLogMovesToPostgreSQLAndBack: with all that was said in it, objects inside log entries included; whoever starts at the old place is told
// where the log is.
func TestLogMovesToPostgreSQLAndBack(t *testing.T) {
	server := pgtest.Start(t)
	inBucket := fileBackend(t)
	inDatabase := inBucket.onPostgres(server.URL())
	place := "postgres://" + server.Addr + "/" + pgtest.Database
	args := []string{"--auto-create-topics", "--flush-interval", "20ms", "--table-commit-interval", "2s"}
	move := func(from, to string, more ...string) (string, error) {
		out, err := tryBarge(t, inBucket, append([]string{"metadata", "copy", "--store", inBucket.store, "--from", from, "--to", to}, more...)...)
		if strings.Contains(out, "pass") {
			t.Errorf("the password is told: %s", out)
		}
		return out, err
	}
	var n numbers

	a := startAgent(t, inBucket, args...)
	n.produce(t, a, "moving", 300)
	if out, err := move("bucket", server.URL()); err == nil || !strings.Contains(out, "session") || !strings.Contains(out, a.brokers) {
		t.Fatalf("a copy beside an agent at work: %v\n%s", err, out)
	}
	n.produce(t, a, "moving", 100) // it was not disturbed
	a.stop(t)
	out, err := move("bucket", server.URL())
	if err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	wantMessage(t, out, "copied", place)
	if out, err := move("bucket", server.URL()); err != nil || !strings.Contains(out, "already") {
		t.Fatalf("the same copy again: %v\n%s", err, out)
	}
	told, _ := refused(t, inBucket, "--store", inBucket.store)
	wantMessage(t, told, "lies elsewhere", place)

	a = startAgent(t, inDatabase, args...)
	servedOnce(t, a, "moving", n.acked)
	n.produce(t, a, "moving", 300)
	(&numbers{}).produce(t, a, "other", 20)
	a.stop(t)
	if keys := inBucket.objects(t, "meta/witness/"); len(keys) == 0 || len(keys) > 2 {
		t.Errorf("witnesses after a clean stop: %v", keys)
	}
	fsck(t, inDatabase)

	if out, err = move(server.URL(), "bucket"); err != nil {
		t.Fatalf("copy back: %v\n%s", err, out)
	}
	told, _ = refused(t, inDatabase, "--store", inBucket.store)
	wantMessage(t, told, "lies elsewhere", "the bucket", "metadata copy")
	a = startAgent(t, inBucket, args...)
	n.produce(t, a, "moving", 100)
	servedOnce(t, a, "moving", n.acked)
	waitForRows(t, inBucket, "other", 20)
	a.stop(t)
	fsck(t, inBucket)

	// The database holds a log that has ended, which nothing replaces by itself.
	if out, err = move("bucket", server.URL()); err == nil || !strings.Contains(out, "drop the schema barge_") {
		t.Fatalf("copy to a database that is not empty: %v\n%s", err, out)
	}
	a = startAgent(t, inBucket, args...)
	n.produce(t, a, "moving", 1)
	a.stop(t)
}

// TestPostgreSQLFailingOver: the primary is killed under a producer, and the standby takes over; then that one crashes and comes back.
// Nothing that was acknowledged is lost or doubled, and none of three agents ends.
func TestPostgreSQLFailingOver(t *testing.T) {
	primary := pgtest.Start(t)
	standby := primary.StartStandby()
	b := fileBackend(t).onPostgres(pgtest.URL(primary.Addr, standby.Addr))
	var agents []*agent
	var brokers []string
	for range 3 {
		a := startAgent(t, b, "--auto-create-topics", "--flush-interval", "20ms", "--release-grace", "5s")
		agents, brokers = append(agents, a), append(brokers, a.brokers)
	}
	var n numbers
	finish := n.stream(t, strings.Join(brokers, ","), "failing")
	n.more(t)
	began := time.Now()
	primary.Stop(syscall.SIGKILL)
	standby.Promote()
	n.more(t)
	t.Logf("failover: 200 more records %v after the kill", time.Since(began).Round(time.Millisecond))
	for _, how := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		began = time.Now()
		standby.Stop(how)
		time.Sleep(time.Second)
		standby.Start()
		n.more(t)
		t.Logf("crash: 200 more records %v after it", time.Since(began).Round(time.Millisecond))
	}
	finish()
	for _, a := range agents {
		servedOnce(t, a, "failing", n.acked)
	}
	t.Logf("%d records acknowledged", n.count())
	for _, a := range agents {
		a.stop(t)
	}
	fsck(t, b)
}

// TestOlderDatabaseIsRefusedByAgents: after an old copy of its files was brought back, until the loss is accepted.
func TestOlderDatabaseIsRefusedByAgents(t *testing.T) {
	server := pgtest.Start(t)
	b := fileBackend(t).onPostgres(server.URL())
	args := []string{"--auto-create-topics", "--flush-interval", "20ms"}
	var n numbers
	a := startAgent(t, b, args...)
	n.produce(t, a, "old", 50)
	a.stop(t)
	server.Stop(syscall.SIGINT)
	old := server.Copy()
	server.Start()
	a = startAgent(t, b, args...)
	n.produce(t, a, "old", 50)
	a.stop(t)
	server.Stop(syscall.SIGINT)
	server.Restore(old)
	server.Start()

	told, code := refused(t, b, "--store", b.store)
	wantMessage(t, told, "older than the store says", "are missing", "accept-loss")
	if code != 1 || strings.Contains(told, "pass") {
		t.Errorf("status %d, output %s", code, told)
	}
	accept := []string{"metadata", "accept-loss", "--store", b.store}
	if out, err := tryBarge(t, b, accept...); err == nil || !strings.Contains(out, "are missing") || !strings.Contains(out, "--yes") {
		t.Fatalf("accept-loss without --yes: %v\n%s", err, out)
	}
	refused(t, b, "--store", b.store)
	if out, err := tryBarge(t, b, append(accept, "--yes")...); err != nil || !strings.Contains(out, "accepted") {
		t.Fatalf("accept-loss: %v\n%s", err, out)
	}
	a = startAgent(t, b, args...)
	if served := consumeAll(t, a, "old"); len(served) != 50 {
		t.Errorf("%d records are left, want the first 50", len(served))
	}
	a.stop(t)
}

// TestDatabaseOfAnotherStoreIsRefused: both name who they belong to.
func TestDatabaseOfAnotherStoreIsRefused(t *testing.T) {
	first, second := pgtest.Start(t), pgtest.Start(t)
	b := fileBackend(t).onPostgres(first.URL())
	a := startAgent(t, b, "--cluster-id", "mine")
	a.stop(t)
	wrong := b.onPostgres(second.URL())
	told, _ := refused(t, wrong, "--store", b.store)
	wantMessage(t, told, "no metadata log of this cluster", `"mine"`, first.Addr, second.Addr)
	// A store that was emptied, or another one under the same cluster's id.
	other := fileBackend(t).onPostgres(first.URL())
	told, _ = refused(t, other, "--store", other.store, "--cluster-id", "mine")
	wantMessage(t, told, "knows of no log", `"mine"`, first.Addr)
	// Another cluster may have its log in the same database.
	third := fileBackend(t).onPostgres(first.URL())
	c := startAgent(t, third)
	c.stop(t)
	fsck(t, third)
	fsck(t, b)
	if _, err := os.Stat(third.root + "/meta/0"); err == nil {
		t.Error("a log was begun in the bucket beside the one in the database")
	}
}
