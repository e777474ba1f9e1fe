//go:build realworld

package test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	root "github.com/bargedata/barge"
)

const mib = 1 << 20

// smallAgent are the settings of an agent with little memory.
var smallAgent = []string{
	"--buffer-bytes", "16MiB", "--flush-bytes", "1MiB", "--cache-bytes", "16MiB", "--max-request-bytes", "8MiB",
	"--flush-interval", "100ms", "--table-commit-interval", "1s", "--release-grace", "2s",
}

// smallAgentCap is the most memory an agent with those settings may have resident.
var smallAgentCap = root.Config{BufferBytes: 16 * mib, CacheBytes: 16 * mib, MaxRequestBytes: 8 * mib}.MemoryBytes()

// resident is how much of a process is in memory at this moment and at most, bytes.
func resident(t *testing.T, pid int) (now, peak int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatalf("the agent's memory: %v", err)
	}
	value := func(name string) int64 {
		for line := range strings.Lines(string(status)) {
			if rest, ok := strings.CutPrefix(line, name+":"); ok {
				kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				return kb << 10
			}
		}
		t.Fatalf("/proc/%d/status has no %s", pid, name)
		return 0
	}
	return value("VmRSS"), value("VmHWM")
}

// stormy is a load on an agent whose store has weather.
type stormy struct {
	*load
	m *mortal
	p *proxy
}

func startStorm(t *testing.T, s loadSettings, args ...string) (*stormy, backend) {
	t.Helper()
	b, p := proxiedBackend(t)
	m := newMortal(t, b, rand.New(rand.NewPCG(1, 1)), append(args, smallAgent...)...)
	m.begin(t)
	barge(t, b, "topic", "create", s.topic, "--brokers", m.brokers, "--partitions", fmt.Sprint(s.partitions))
	l := startLoad(t, m.brokers, s)
	for _, p := range l.producers {
		waitFor(t, time.Minute, p.name+" has records acknowledged", func() bool { l.healthy(t); return p.count() > 0 })
	}
	return &stormy{l, m, p}, b
}

// last lets the weather last for d and returns how many records were acknowledged a second. The agent must live and answer, no
// producer may give up on a record, and memory must stay under its cap.
func (s *stormy) last(t *testing.T, what string, w weather, d time.Duration) float64 {
	t.Helper()
	s.p.set(w)
	before, did := s.acked(), s.p.did()
	begun := time.Now()
	for time.Since(begun) < d {
		time.Sleep(200 * time.Millisecond)
		s.healthy(t)
		s.m.alive(t)
		if now, _ := resident(t, s.m.cmd.Process.Pid); now > smallAgentCap {
			t.Fatalf("%s: the agent has %d MiB in memory, its cap is %d MiB", what, now/mib, smallAgentCap/mib)
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/"} {
		s.m.answers(t, path, http.StatusOK)
	}
	rate := float64(s.acked()-before) / time.Since(begun).Seconds()
	after := s.p.did()
	now, peak := resident(t, s.m.cmd.Process.Pid)
	t.Logf("%-28s %5.1f s: %5.0f records/s acknowledged; %d requests to the store, %d refused, %d answers lost, %d delayed; %d MiB resident, %d at most",
		what, time.Since(begun).Seconds(), rate, after.requests-did.requests, after.refused-did.refused, after.lost-did.lost, after.delayed-did.delayed, now/mib, peak/mib)
	return rate
}

// answers wants a status from the agent's admin address.
func (m *mortal) answers(t *testing.T, path string, status int) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + m.http + path)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != status {
		t.Fatalf("%s is answered %s, want %d", path, resp.Status, status)
	}
}

// end checks in fair weather that everything that was sent is there, in Kafka, in the table, and for the next agent.
func (s *stormy) end(t *testing.T, b backend) {
	t.Helper()
	s.finish(t, 2*time.Minute)
	topic := s.settings.topic
	consumed := consumeAll(t, fresh(s.m), topic)
	s.check(t, consumed)
	checkTable(t, b, topic, consumed, "duckdb")
	if _, peak := resident(t, s.m.cmd.Process.Pid); peak > smallAgentCap {
		t.Errorf("the agent had %d MiB in memory, its cap is %d MiB", peak/mib, smallAgentCap/mib)
	}
	s.m.stop(t)
	another := startAgent(t, b, smallAgent...)
	s.check(t, consumeAll(t, another, topic))
	another.stop(t)
	fsck(t, b)
}

// A store that answers 503 to everything for a minute slows the producers down; they lose nothing and need not be told.
func TestStoreThatAnswers503ForAMinute(t *testing.T) {
	t.Parallel()
	s, b := startStorm(t, loadSettings{topic: "slow", partitions: 4, rate: 150, valueBytes: 5000, waiting: 4000})
	fair := s.last(t, "fair", weather{}, 5*time.Second)
	s.p.set(weather{slowDown: true})
	time.Sleep(time.Second) // what was stored before may still be answered
	if rate := s.last(t, "503 to everything", weather{slowDown: true}, 59*time.Second); rate > 0 {
		t.Errorf("%.0f records a second were acknowledged while the store took nothing", rate)
	}
	begun, before := time.Now(), s.acked()
	s.p.set(weather{})
	waitFor(t, 30*time.Second, "records are acknowledged again", func() bool { return s.acked() > before })
	t.Logf("the first record was acknowledged %v after the weather", time.Since(begun).Round(time.Millisecond))
	time.Sleep(5 * time.Second)
	if rate := s.last(t, "fair again", weather{}, 5*time.Second); rate < fair/2 {
		t.Errorf("%.0f records a second are acknowledged after the weather, %.0f before", rate, fair)
	}
	s.end(t, b)
}

// An agent that is stopped or started while the store answers 503 ends when it is told to and not before; a start waits for the
// store, also one that is cut off in the middle.
func TestStopAndStartInA503(t *testing.T) {
	t.Parallel()
	s, b := startStorm(t, loadSettings{topic: "restart", partitions: 4, rate: 100, valueBytes: 1000, waiting: 2000}, "--drain-timeout", "3s")
	sigterm := func(what string, clean bool) {
		t.Helper()
		begun := time.Now()
		if err := s.m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-s.m.ended:
			t.Logf("%s: it ended %v after SIGTERM: %v", what, time.Since(begun).Round(time.Millisecond), err)
			if clean && err != nil {
				t.Errorf("%s: %v, want exit status 0", what, err)
			}
		case <-time.After(45 * time.Second):
			t.Fatalf("%s: it did not end within 45 s of SIGTERM", what)
		}
	}
	time.Sleep(2 * time.Second)
	s.p.set(weather{slowDown: true})
	time.Sleep(2 * time.Second)
	sigterm("stopped in a 503", false) // what waits cannot be written, and is not acknowledged

	s.m.launch(t)
	time.Sleep(5 * time.Second)
	s.m.alive(t)
	s.m.answers(t, "/livez", http.StatusOK)
	s.m.answers(t, "/metrics", http.StatusOK)
	s.m.answers(t, "/readyz", http.StatusServiceUnavailable)
	sigterm("stopped while it waits for the store", true)

	s.m.launch(t)
	time.Sleep(5 * time.Second)
	s.p.set(weather{slowDown: true, only: "/meta/0/"}) // it finds its cluster and then no log
	d := 20 * time.Second
	if number(t, "BARGE_STORM_SECONDS", 20) > 20 {
		d = 70 * time.Second // the sequencer gives up on the log meanwhile, and is started again
	}
	for begun := time.Now(); time.Since(begun) < d; time.Sleep(200 * time.Millisecond) {
		s.m.alive(t)
		s.healthy(t)
	}
	s.p.set(weather{})
	waitFor(t, 30*time.Second, "the agent is ready", func() bool { return s.m.ready(t) })
	s.end(t, b)
}

// A store that takes effect and loses every tenth answer, and then has stragglers, costs time and nothing else.
func TestStoreThatLosesEveryTenthAnswer(t *testing.T) {
	t.Parallel()
	d := time.Duration(number(t, "BARGE_STORM_SECONDS", 20)) * time.Second
	// Every flush is an object of its own here; in the other tests small ones lie in the log.
	s, b := startStorm(t, loadSettings{topic: "lossy", partitions: 4, rate: 300, valueBytes: 1000, waiting: 5000}, "--inline-bytes", "0")
	fair := s.last(t, "fair", weather{}, 5*time.Second)
	if rate := s.last(t, "every tenth answer lost", weather{loseEvery: 10}, d); rate < fair/10 {
		t.Errorf("%.0f records a second are acknowledged while answers are lost, %.0f before", rate, fair)
	}
	if rate := s.last(t, "every twentieth slow", weather{slowEvery: 20}, d); rate < fair/10 {
		t.Errorf("%.0f records a second are acknowledged while some requests are slow, %.0f before", rate, fair)
	}
	if did := s.p.did(); did.lost == 0 || did.delayed == 0 {
		t.Fatalf("the proxy lost %d answers and delayed %d requests: there was no weather", did.lost, did.delayed)
	}
	s.p.set(weather{})
	s.end(t, b)
}
