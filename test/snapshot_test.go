//go:build realworld

package test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// plainAgents starts n agents on b that nothing stands between.
func plainAgents(t *testing.T, b backend, n int, args ...string) *agents {
	t.Helper()
	c := &agents{b: b}
	for i := range n {
		c.add(t, args...)
		if i == 0 {
			c.members[0].begin(t) // the probe of a new store is long
		} else {
			c.members[i].launch(t)
		}
	}
	c.together(t)
	return c
}

// add makes one more agent, which does not run yet.
func (c *agents) add(t *testing.T, args ...string) *member {
	t.Helper()
	i := len(c.members)
	m := &member{name: fmt.Sprintf("agent %d", i), mortal: newMortal(t, c.b, rand.New(rand.NewPCG(1, uint64(i))), args...)}
	c.members = append(c.members, m)
	return m
}

// together waits until all agents are ready and know each other.
func (c *agents) together(t *testing.T) {
	t.Helper()
	for _, m := range c.members {
		waitFor(t, 30*time.Second, m.name+" is ready and knows the others", func() bool {
			return m.ready(t) && fresh(m.mortal).metric(t, "barge_cluster_members") == float64(len(c.members))
		})
	}
}

// printed is what an agent has logged in all its lives.
func (m *mortal) printed(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(m.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// flip turns one bit in the middle of an object, behind the store's back.
func (b backend) flip(t *testing.T, key string) {
	t.Helper()
	path := filepath.Join(b.root, key)
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 0x10
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // in place, so that what the store notes beside it stays
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, body) {
		t.Fatalf("%s was not changed: %v", path, err)
	}
}

const snapshots = "meta/0/snapshot/"

// TestDamagedSnapshotsArePassedOver: a bit of the newest snapshot of the metadata log is flipped. Who starts, who takes the log over while
// records come, and who is alone on the store after all others were killed, says which object it is and starts from the one before; where all
// snapshots are damaged, from the log's first slot. fsck names each of them, and mends.
func TestDamagedSnapshotsArePassedOver(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]func(*testing.T) backend{"file": fileBackend, "s3": s3Backend} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"--auto-create-topics", "--flush-interval", "20ms", "--table-commit-interval", "500ms", "--release-grace", "2s"}
			c := plainAgents(t, place(t), 2, args...)
			var n numbers
			for len(c.b.objects(t, snapshots)) < 2 { // each agent that leaves with the log leaves one
				n.produce(t, fresh(c.members[0].mortal), "kept", 100)
				m := c.sequencer(t)
				m.stop(t)
				m.launch(t)
				c.together(t)
			}
			keys := c.b.objects(t, snapshots)
			slices.Sort(keys)
			newest := keys[len(keys)-1]
			c.b.flip(t, newest)
			fallsBack := func(m *member, lives int) {
				t.Helper()
				if told := strings.Count(m.printed(t), `"snapshot unusable, falling back","object":"`+newest+`"`); told < lives {
					t.Errorf("%s told %d times that it passed %s over, want %d", m.name, told, newest, lives)
				}
			}

			joins := c.add(t, args...)
			joins.begin(t)
			c.together(t)
			fallsBack(joins, 1)
			servedOnce(t, fresh(joins.mortal), "kept", n.acked)

			finish := n.stream(t, c.brokers(), "kept")
			n.more(t)
			dies := c.sequencer(t)
			dies.kill(t)
			n.more(t)
			takes := slices.IndexFunc(c.members, func(m *member) bool {
				return m != dies && fresh(m.mortal).metric(t, "barge_log_take_overs_total") > 0 && fresh(m.mortal).metric(t, "barge_log_sequencing") == 1
			})
			if takes < 0 {
				t.Fatal("nobody took the log over")
			}
			fallsBack(c.members[takes], 1)
			other := slices.IndexFunc(c.members, func(m *member) bool { return m != dies && m != c.members[takes] })
			for _, m := range []*member{dies, c.members[other]} { // the second is a member still for those who follow
				before := strings.Count(m.printed(t), newest)
				if m != dies {
					m.kill(t)
				}
				begun := time.Now()
				m.begin(t)
				if took := time.Since(begun); took > 4*time.Second {
					t.Errorf("%s started %v after it was killed, at the same address", m.name, took)
				}
				if strings.Count(m.printed(t), newest) == before {
					t.Errorf("%s started over %s and did not name it", m.name, newest)
				}
				wantMessage(t, m.printed(t), "sealed the session of the agent that was at this address before")
				n.more(t)
			}
			finish()
			out, err := tryBarge(t, c.b, "fsck", "--store", c.b.store)
			if err == nil {
				t.Error("fsck ends with status 0")
			}
			wantMessage(t, out, newest, ": 1 findings")

			for _, m := range c.members {
				m.kill(t)
			}
			alone := c.members[0]
			alone.begin(t)
			servedOnce(t, fresh(alone.mortal), "kept", n.acked)
			waitForRows(t, c.b, "kept", int64(n.count()))
			alone.kill(t)

			for _, key := range c.b.objects(t, snapshots) {
				if key != newest {
					c.b.flip(t, key)
				}
			}
			alone.begin(t)
			servedOnce(t, fresh(alone.mortal), "kept", n.acked)
			n.produce(t, fresh(alone.mortal), "kept", 100)
			for _, key := range keys {
				if !strings.Contains(alone.printed(t), key) {
					t.Errorf("%s started over %s and did not name it", alone.name, key)
				}
			}
			alone.stop(t) // and leaves a good one
			out, err = tryBarge(t, c.b, "fsck", "--store", c.b.store)
			if err == nil {
				t.Error("fsck ends with status 0")
			}
			wantMessage(t, out, keys...)
			barge(t, c.b, "fsck", "--store", c.b.store, "--repair", "--force")
			fsck(t, c.b)
			another := startAgent(t, c.b, args...)
			servedOnce(t, another, "kept", n.acked)
			another.stop(t)
		})
	}
}
