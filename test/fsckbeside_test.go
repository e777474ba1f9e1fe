//go:build realworld

package test

import (
	"strings"
	"testing"
	"time"
)

// fsckLimit is for one check of the small store below, on a machine that is busy otherwise.
const fsckLimit = 30 * time.Second

// TestFsckBesideFiveAgents: while five agents are at work, and while they take over from one that was killed, fsck finds nothing wrong, ends
// in time, and holds nobody up.
func TestFsckBesideFiveAgents(t *testing.T) {
	t.Parallel()
	c := startAgents(t, 5, false, "--inline-bytes", "0", "--release-grace", "1s") // so that objects come and go under it
	l := c.load(t, loadSettings{topic: "beside", partitions: 6, rate: 150, valueBytes: 200, waiting: 3000})
	waitForRows(t, c.b, "beside", 1000)
	check := func(what string, flags ...string) {
		t.Helper()
		before, begun := l.acked(), time.Now()
		for done := false; !done; { // as often as it takes for the log to have moved under it
			out, err := tryBarge(t, c.b, append([]string{"fsck", "--store", c.b.store}, flags...)...)
			if err != nil || !strings.Contains(out, ": clean\n") {
				t.Fatalf("%s: %v\n%s", what, err, out)
			}
			if took := time.Since(begun); took > fsckLimit {
				t.Fatalf("%s: %v", what, took)
			}
			done = l.acked() > before+100
		}
		l.healthy(t)
		t.Logf("%s: clean, %v; %d records were acknowledged meanwhile", what, time.Since(begun).Round(time.Millisecond), l.acked()-before)
	}
	for range 3 {
		check("all of it")
		check("by reference", "--verify", "refs")
	}
	m := c.sequencer(t)
	m.kill(t)
	check("while another agent takes over")
	m.launch(t)
	c.together(t)
	check("all of it, five agents again")
	l.finish(t, 2*time.Minute)
	l.check(t, consumeAll(t, fresh(m.mortal), "beside"))
	for _, m := range c.members {
		m.stop(t)
	}
	fsck(t, c.b)
}
