//go:build realworld

package test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mortal is an agent that is killed and started again at the same address.
type mortal struct {
	b             backend
	brokers, http string
	args          []string
	rng           *rand.Rand
	log           *os.File // of all its lives
	cmd           *exec.Cmd
	ended         chan error
	start         time.Duration // the last time to readiness
}

func newMortal(t *testing.T, b backend, rng *rand.Rand, args ...string) *mortal {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{b: b, brokers: freeAddress(t), http: freeAddress(t), args: args, rng: rng, log: log, start: 200 * time.Millisecond}
	t.Cleanup(func() {
		if m.cmd != nil {
			_ = m.cmd.Process.Kill() // an error means that it ended by itself
			<-m.ended
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the agents printed (the end of it):\n%s", text[max(0, len(text)-12000):])
		}
		log.Close()
	})
	return m
}

// launch starts the agent's next life and does not wait for it.
func (m *mortal) launch(t *testing.T) {
	t.Helper()
	m.cmd = exec.Command(bargeBinary(t), append([]string{"agent", "--store", m.b.store, "--listen", m.brokers, "--http", m.http}, m.args...)...)
	m.cmd.Env = environment(m.b.env)
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, ended := m.cmd, make(chan error, 1)
	m.ended = ended
	go func() {
		ended <- cmd.Wait()
		close(ended)
	}()
}

// begin starts the agent's next life and waits until it is ready.
func (m *mortal) begin(t *testing.T) {
	t.Helper()
	begun := time.Now()
	m.launch(t)
	waitFor(t, 30*time.Second, "the agent is ready", func() bool { return m.ready(t) })
	m.start = time.Since(begun)
}

// ready tells whether the agent takes requests.
func (m *mortal) ready(t *testing.T) bool {
	t.Helper()
	m.alive(t)
	client := http.Client{Timeout: time.Second} // an agent that starts takes connections and answers later
	resp, err := client.Get("http://" + m.http + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// alive fails the test when the agent has ended by itself.
func (m *mortal) alive(t *testing.T) {
	t.Helper()
	select {
	case err := <-m.ended:
		t.Fatalf("the agent ended by itself: %v", err)
	default:
	}
}

// kill ends the agent's life, unless it drained and has just ended by itself.
func (m *mortal) kill(t *testing.T) {
	t.Helper()
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-m.ended
}

// stop drains the agent and wants exit status 0.
func (m *mortal) stop(t *testing.T) {
	t.Helper()
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-m.ended:
		if err != nil {
			t.Fatalf("the agent did not drain cleanly: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the agent did not end within a minute of SIGTERM")
	}
	m.cmd = nil
}

func (m *mortal) sleep(atMost time.Duration) {
	time.Sleep(time.Duration(m.rng.Int64N(int64(atMost))))
}

// sees waits until a key under prefix has come (or gone), at most for a few seconds; then the moment is any.
func (m *mortal) sees(t *testing.T, prefix string, come bool) bool {
	t.Helper()
	before := m.b.objects(t, prefix)
	for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		now := m.b.objects(t, prefix)
		more, fewer := now, before
		if !come {
			more, fewer = before, now
		}
		if slices.ContainsFunc(more, func(key string) bool { return !slices.Contains(fewer, key) }) {
			m.sleep(3 * time.Millisecond)
			return true
		}
		before = now
	}
	return false
}

// death is a kind of moment to be killed at. wait returns when the moment is there; false means that what it waited for did
// not happen, so that the agent dies at some other moment.
type death struct {
	name   string
	weight int
	early  bool // does not wait for the agent to be ready
	wait   func(*testing.T, *mortal) bool
}

func deaths(topic string) []death {
	comes := func(prefix string, come bool) func(*testing.T, *mortal) bool {
		return func(t *testing.T, m *mortal) bool { return m.sees(t, prefix, come) }
	}
	drain := func(t *testing.T, m *mortal) {
		m.sleep(700 * time.Millisecond)
		if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	return []death{
		{"at any moment", 8, false, func(_ *testing.T, m *mortal) bool { m.sleep(1500 * time.Millisecond); return true }},
		{"while it starts", 4, true, func(_ *testing.T, m *mortal) bool { m.sleep(3 * m.start / 2); return true }},
		{"while it drains", 2, false, func(t *testing.T, m *mortal) bool { drain(t, m); m.sleep(60 * time.Millisecond); return true }},
		{"after the snapshot of a drain", 1, false, func(t *testing.T, m *mortal) bool {
			drain(t, m)
			return m.sees(t, "meta/0/snapshot/", true)
		}},
		{"after a data file came", 2, false, comes("tables/"+topic+"/_data/", true)},
		{"after a table version came", 2, false, comes("tables/"+topic+"/_delta_log/", true)},
		{"after a WAL object came", 1, false, comes("wal/", true)},
		{"after a WAL object went", 2, false, comes("wal/", false)},
	}
}

func (m *mortal) choose(kinds []death) death {
	sum := 0
	for _, d := range kinds {
		sum += d.weight
	}
	at := m.rng.IntN(sum)
	for _, d := range kinds {
		if at -= d.weight; at < 0 {
			return d
		}
	}
	panic("unreachable: the weights add up")
}

// While three client libraries load it, the agent is killed again and again, at moments of every kind, and started on the same
// store. Every acknowledged record is served once and in order, and stands in the table once. The number of kills on each store
// is BARGE_KILLS; where the store has faults of its own it is half of that.
func TestAgentKilledOverAndOverLosesNothing(t *testing.T) {
	kills := number(t, "BARGE_KILLS", 20)
	nothing := func() {}
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		killOverAndOver(t, fileBackend(t), kills, "1s", nothing)
	})
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		killOverAndOver(t, s3Backend(t), kills, "1s", nothing)
	})
	t.Run("s3 that loses and delays", func(t *testing.T) {
		t.Parallel()
		b, p := proxiedBackend(t)
		startAgent(t, b).stop(t)                     // the probe of a new store is long, and longer in bad weather
		p.set(weather{loseEvery: 10, slowEvery: 25}) // what a dead agent had sent arrives when another one is at work
		// The grace outlives every late write: a file that lands after its claim is over and its key was deleted would stay.
		killOverAndOver(t, b, max(1, kills/2), "20s", func() {
			did := p.did()
			t.Logf("%d requests to the store, %d answers lost, %d requests delayed by 2 to 10 s", did.requests, did.lost, did.delayed)
			p.set(weather{})
		})
	})
}

// killOverAndOver calls calm when the last kill is over, before it reads everything back.
func killOverAndOver(t *testing.T, b backend, kills int, grace string, calm func()) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	begun := time.Now()
	args := []string{"--flush-interval", "20ms", "--table-commit-interval", "300ms", "--release-grace", grace}
	m := newMortal(t, b, rand.New(rand.NewPCG(seed, 0)), args...)
	m.begin(t)
	settings := loadSettings{topic: "load", partitions: 4, rate: 250, valueBytes: 100, waiting: 2000}
	barge(t, b, "topic", "create", settings.topic, "--brokers", m.brokers, "--partitions", fmt.Sprint(settings.partitions))
	l := startLoad(t, m.brokers, settings)
	for _, p := range l.producers {
		waitFor(t, time.Minute, p.name+" has records acknowledged", func() bool { l.healthy(t); return p.count() > 0 })
	}
	kinds, died := deaths(settings.topic), map[string]int{}
	for i := range kills {
		l.healthy(t)
		d := m.choose(kinds)
		m.args = args
		if m.rng.IntN(2) == 0 {
			m.args = append(slices.Clip(args), "--inline-bytes", "0") // small flushes are objects of their own
		}
		switch {
		case i == 0:
			d = kinds[0] // it runs already
		case d.early:
			m.launch(t)
		default:
			m.begin(t)
		}
		if d.wait(t, m) {
			died[d.name]++
		} else {
			died["at another moment: it was to be "+d.name]++
		}
		m.kill(t)
	}
	m.begin(t)
	l.finish(t, 2*time.Minute)
	calm()
	for _, name := range slices.Sorted(maps.Keys(died)) {
		t.Logf("%3d x killed %s", died[name], name)
	}

	consumed := consumeAll(t, fresh(m), settings.topic)
	l.check(t, consumed)
	checkTable(t, b, settings.topic, consumed, "duckdb", "deltalake")
	m.stop(t)

	// What is left is only in the store: another agent serves all of it, from the files as well.
	another := startAgentAt(t, b, m.brokers, m.http, args...)
	l.check(t, consumeAll(t, another, settings.topic))
	another.stop(t)
	fsck(t, b)
	t.Logf("%d kills in %v", kills, time.Since(begun).Round(time.Second))
}

// fresh shows the agent as the helpers that read from it take one.
func fresh(m *mortal) *agent { return &agent{brokers: m.brokers, http: m.http} }

// fsck wants nothing missing, damaged or left over in the store of a stopped cluster.
func fsck(t *testing.T, b backend, flags ...string) {
	t.Helper()
	out := string(barge(t, b, append([]string{"fsck", "--store", b.store}, flags...)...)) // its exit status tells of findings
	if !strings.Contains(out, ": clean\n") {
		t.Fatalf("fsck: %s", out)
	}
	t.Logf("fsck: %s", out)
}
