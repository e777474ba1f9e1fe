//go:build realworld

package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// secretFile is a --cluster-secret of one repeated letter.
func secretFile(t *testing.T, letter string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(strings.Repeat(letter, 64)), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}

// firstOf starts an agent of each of two clusters at the same moment on one empty prefix, and returns the id of the one that got it.
func firstOf(t *testing.T, b backend, ids [2]string, more ...string) string {
	t.Helper()
	type process struct {
		*agent
		id string
	}
	var both []process
	for _, id := range ids {
		a := &agent{brokers: freeAddress(t), http: freeAddress(t), log: &bytes.Buffer{}}
		a.cmd = exec.Command(bargeBinary(t), append([]string{"agent", "--store", b.store, "--listen", a.brokers, "--http", a.http, "--cluster-id", id}, more...)...)
		a.cmd.Env, a.cmd.Stdout, a.cmd.Stderr = environment(b.env), a.log, a.log
		both = append(both, process{agent: a, id: id})
	}
	for i := range both {
		both[i].ended = startProcess(t, both[i].cmd, both[i].log)
	}
	var err error
	var loser, winner process
	select {
	case err = <-both[0].ended:
		loser, winner = both[0], both[1]
	case err = <-both[1].ended:
		loser, winner = both[1], both[0]
	case <-time.After(30 * time.Second):
		t.Fatal("two clusters run on one prefix")
	}
	if err == nil || loser.cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("the cluster that came second ended with %v, want exit status 1", err)
	}
	wantMessage(t, loser.log.String(), `"`+ids[0]+`"`, `"`+ids[1]+`"`)
	winner.awaitReady(t)
	winner.stop(t)
	return winner.id
}

// TestStrangersAreRefusedByACluster: of two clusters that begin on one prefix one gets it. An agent of another cluster, with another secret or
// with none, or with the address of an agent at work, ends and says why, beside a cluster under load, which does not notice.
func TestStrangersAreRefusedByACluster(t *testing.T) {
	t.Parallel()
	b := s3Backend(t)
	secret := secretFile(t, "a")
	id := firstOf(t, b, [2]string{"east", "west"}, "--cluster-secret", secret)
	other := map[string]string{"east": "west", "west": "east"}[id]
	args := []string{"--cluster-id", id, "--cluster-secret", secret, "--auto-create-topics", "--flush-interval", "20ms"}
	c := plainAgents(t, b, 3, args...)
	var n numbers
	finish := n.stream(t, c.brokers(), "undisturbed")
	n.more(t)
	last := c.members[2]
	for _, stranger := range []struct {
		what, id, secret, advertise string
		told                        []string
	}{
		{"another cluster", other, secret, "", []string{`"east"`, `"west"`}},
		{"another secret", id, secretFile(t, "b"), "", []string{"not the secret of the cluster", "the same file"}},
		{"no secret", id, "", "", []string{"not the secret of the cluster", "--cluster-secret"}},
		{"an address that is taken", id, secret, last.brokers, []string{last.brokers, last.http, "--advertise"}},
	} {
		flags := []string{"--store", b.store, "--cluster-id", stranger.id, "--advertise", stranger.advertise}
		if stranger.secret != "" {
			flags = append(flags, "--cluster-secret", stranger.secret)
		}
		out, code := refused(t, b, flags...)
		if code != 1 {
			t.Errorf("%s: exit status %d, want 1", stranger.what, code)
		}
		wantMessage(t, out, stranger.told...)
		n.more(t)
	}
	finish()
	for _, m := range c.members {
		if got := fresh(m.mortal).metric(t, "barge_cluster_members"); got != 3 {
			t.Errorf("%s knows %v agents, want 3", m.name, got)
		}
		if got := fresh(m.mortal).metric(t, "barge_sessions_reopened_total"); got != 0 {
			t.Errorf("%s: its session was sealed", m.name)
		}
		servedOnce(t, fresh(m.mortal), "undisturbed", n.acked)
	}
	for _, m := range slices.Backward(c.members) {
		m.stop(t)
	}
	fsck(t, b)
}
