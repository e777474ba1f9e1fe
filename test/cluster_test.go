//go:build realworld

package test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata/pglog/pgtest"
	"github.com/bargedata/barge/objectstore/storetest"
)

// member is one agent of a cluster, reached by the others, and reaching its store, over links that can be cut.
type member struct {
	*mortal
	name      string
	peer      *link
	stores    []*link   // to what it keeps things in: the bucket, and the database where there is one
	busyUntil time.Time // something is done to it until then
}

// agents is a cluster of five agents in three zones on one S3 server.
type agents struct {
	b       backend // as engines and tests reach it, past the links
	members []*member
	rng     *rand.Rand
	engine  []string // flags that name where the metadata log lies
}

// startAgents starts n agents, their log in the bucket or in a PostgreSQL. The last of two flags of one name counts.
func startAgents(t *testing.T, n int, postgres bool, more ...string) *agents {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := storetest.StartVersityGW(t)
	c := &agents{b: s3BackendOn(t, g), rng: rand.New(rand.NewPCG(seed, 1))}
	var database *pgtest.Server
	if postgres {
		database = pgtest.Start(t)
		c.engine = []string{"--metadata", database.URL()}
	}
	for i := range n {
		m := &member{name: fmt.Sprintf("agent %d", i), stores: []*link{startLink(t, g.Endpoint)}}
		listen := freeAddress(t)
		m.peer = startLink(t, listen)
		b := c.b
		b.store = strings.Replace(b.store, g.Endpoint, m.stores[0].address, 1)
		args := []string{
			"--zone", string(rune('a' + i%3)), "--peer", listen, "--peer-advertise", m.peer.address,
			"--flush-interval", "50ms", "--table-commit-interval", "500ms", "--release-grace", "5s",
		}
		if postgres {
			m.stores = append(m.stores, startLink(t, database.Addr))
			args = append(args, "--metadata", pgtest.URL(m.stores[1].address))
		}
		args = append(args, more...)
		m.mortal = newMortal(t, b, rand.New(rand.NewPCG(seed, uint64(10+i))), args...)
		c.members = append(c.members, m)
		if i == 0 {
			m.begin(t) // the probe of a new store is long
		}
	}
	for _, m := range c.members[1:] {
		m.launch(t)
	}
	for _, m := range c.members {
		waitFor(t, 30*time.Second, m.name+" is ready", func() bool { return m.ready(t) })
	}
	waitFor(t, 10*time.Second, "all agents know each other", func() bool {
		for _, m := range c.members {
			if fresh(m.mortal).metric(t, "barge_cluster_members") != float64(n) {
				return false
			}
		}
		return true
	})
	return c
}

// brokers is what a client is given: all of them.
func (c *agents) brokers() string {
	var list []string
	for _, m := range c.members {
		list = append(list, m.brokers)
	}
	return strings.Join(list, ",")
}

// load starts three client libraries on a topic of the cluster and waits until each has records acknowledged.
func (c *agents) load(t *testing.T, s loadSettings) *load {
	t.Helper()
	barge(t, c.b, "topic", "create", s.topic, "--brokers", c.brokers(), "--partitions", fmt.Sprint(s.partitions))
	l := startLoad(t, c.brokers(), s)
	for _, p := range l.producers {
		waitFor(t, time.Minute, p.name+" has records acknowledged", func() bool { l.healthy(t); return p.count() > 0 })
	}
	return l
}

// sequencer finds the one agent that says it sequences.
func (c *agents) sequencer(t *testing.T) *member {
	t.Helper()
	var found *member
	waitFor(t, 30*time.Second, "one agent sequences", func() bool {
		found = nil
		for _, m := range c.members {
			if m.answersReady() && fresh(m.mortal).metric(t, "barge_log_sequencing") == 1 {
				if found != nil {
					return false // one of them does not know yet that it was deposed
				}
				found = m
			}
		}
		return found != nil
	})
	return found
}

// answersReady tells whether the agent's admin address answers that it is ready.
func (m *member) answersReady() bool {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get("http://" + m.http + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (m *member) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := m.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// trouble is one thing that happens to one agent; it returns what ends it, after d.
type trouble struct {
	name   string
	weight int
	begin  func(*testing.T, *member) (end func(*testing.T))
	least  time.Duration
	most   time.Duration
}

func troubles() []trouble {
	cut := func(pick func(*member) []*link, mode cutMode) func(*testing.T, *member) func(*testing.T) {
		set := func(m *member, mode cutMode) {
			for _, l := range pick(m) {
				l.set(mode)
			}
		}
		return func(_ *testing.T, m *member) func(*testing.T) {
			set(m, mode)
			return func(*testing.T) { set(m, whole) }
		}
	}
	peer, store := func(m *member) []*link { return []*link{m.peer} }, func(m *member) []*link { return m.stores }
	pause := func(t *testing.T, m *member) func(*testing.T) {
		m.signal(t, syscall.SIGSTOP)
		return func(t *testing.T) { m.signal(t, syscall.SIGCONT) }
	}
	return []trouble{
		{"killed", 5, func(t *testing.T, m *member) func(*testing.T) {
			m.kill(t)
			return func(t *testing.T) { m.launch(t) }
		}, 0, 4 * time.Second},
		{"drained", 2, func(t *testing.T, m *member) func(*testing.T) {
			m.stop(t)
			return func(t *testing.T) { m.launch(t) }
		}, 0, 2 * time.Second},
		{"paused", 3, pause, time.Second, 8 * time.Second},
		{"paused until its session is sealed", 1, pause, 24 * time.Second, 30 * time.Second},
		{"not heard by its peers", 2, cut(peer, silent), time.Second, 10 * time.Second},
		{"refused to its peers", 1, cut(peer, refusing), time.Second, 10 * time.Second},
		{"cut off from its store", 2, cut(store, silent), time.Second, 10 * time.Second},
		{"refused by its store", 1, cut(store, refusing), time.Second, 10 * time.Second},
	}
}

// storm does something to some agent every few seconds for d, to two at most at any moment. In the end all is well again.
func (c *agents) storm(t *testing.T, l *load, d time.Duration) {
	t.Helper()
	kinds, happened := troubles(), map[string]int{}
	sum := 0
	for _, k := range kinds {
		sum += k.weight
	}
	type ending struct {
		m   *member
		at  time.Time
		end func(*testing.T)
	}
	var open []ending
	finish := func(now time.Time) {
		open = slices.DeleteFunc(open, func(e ending) bool {
			if now.Before(e.at) {
				return false
			}
			e.end(t)
			e.m.busyUntil = now.Add(3 * time.Second) // time to come back
			return true
		})
	}
	next := time.Now()
	for begun := time.Now(); time.Since(begun) < d; time.Sleep(50 * time.Millisecond) {
		l.healthy(t)
		now := time.Now()
		finish(now)
		if now.Before(next) || len(open) >= 2 {
			continue
		}
		next = now.Add(500*time.Millisecond + time.Duration(c.rng.Int64N(int64(4*time.Second))))
		m := c.members[c.rng.IntN(len(c.members))]
		if slices.ContainsFunc(open, func(e ending) bool { return e.m == m }) || now.Before(m.busyUntil) {
			continue
		}
		at := c.rng.IntN(sum)
		k := kinds[slices.IndexFunc(kinds, func(k trouble) bool { at -= k.weight; return at < 0 })]
		m.alive(t)
		end := k.begin(t, m)
		happened[k.name]++
		open = append(open, ending{m, time.Now().Add(k.least + time.Duration(c.rng.Int64N(int64(k.most-k.least)))), end})
	}
	finish(time.Now().Add(time.Hour))
	for _, name := range slices.Sorted(maps.Keys(happened)) {
		t.Logf("%3d x %s", happened[name], name)
	}
	for _, m := range c.members {
		waitFor(t, time.Minute, m.name+" is ready again", func() bool { return m.ready(t) })
	}
}

// settle checks that everything that was sent is there, in Kafka through every agent, in the table, and for the next agent.
func (c *agents) settle(t *testing.T, l *load) {
	t.Helper()
	l.finish(t, 2*time.Minute)
	topic := l.settings.topic
	var consumed []message
	for _, m := range c.members {
		consumed = consumeAll(t, fresh(m.mortal), topic)
		l.check(t, consumed)
	}
	checkTable(t, c.b, topic, consumed, "duckdb", "deltalake")
	for _, m := range c.members {
		m.stop(t)
	}
	another := startAgent(t, c.b, c.engine...)
	l.check(t, consumeAll(t, another, topic))
	another.stop(t)
	fsck(t, c.b, c.engine...)
}

// While three client libraries load them, five agents in three zones are killed, drained, paused and cut off from their peers and
// from their store, every few seconds, for BARGE_CLUSTER_SECONDS. Every acknowledged record is served once and in order, by every agent,
// and stands in the table once.
func TestFiveAgentsInAStormLoseNothing(t *testing.T) {
	for _, engine := range []string{"bucket", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			c := startAgents(t, 5, engine == "postgres")
			l := c.load(t, loadSettings{topic: "storm", partitions: 6, rate: 150, valueBytes: 200, waiting: 3000})
			c.storm(t, l, time.Duration(number(t, "BARGE_CLUSTER_SECONDS", 40))*time.Second)
			c.settle(t, l)
		})
	}
}

// The sequencer is killed BARGE_SEQUENCER_KILLS times. How long no producer hears anything is told: the median and the worst.
func TestSequencerDeathStallsBriefly(t *testing.T) {
	c := startAgents(t, 5, false)
	l := c.load(t, loadSettings{topic: "stall", partitions: 6, rate: 100, valueBytes: 200, waiting: 3000})
	var stalls []time.Duration
	for range number(t, "BARGE_SEQUENCER_KILLS", 3) {
		l.healthy(t)
		m := c.sequencer(t)
		before := make([]int, len(l.producers))
		begun := time.Now()
		m.kill(t)
		for i, p := range l.producers {
			before[i] = p.count()
		}
		var longest time.Duration
		// Answers that were on their way still come; a producer is through when 100 more records are acknowledged.
		for i, p := range l.producers {
			waitFor(t, time.Minute, p.name+" has records acknowledged again", func() bool { return p.count() >= before[i]+100 })
			longest = max(longest, time.Since(begun))
		}
		stalls = append(stalls, longest)
		m.launch(t)
		waitFor(t, 30*time.Second, m.name+" is ready again", func() bool { return m.ready(t) })
		time.Sleep(2 * time.Second)
	}
	slices.Sort(stalls)
	t.Logf("%d deaths of the sequencer: every producer had 100 more records acknowledged after %v (median), %v (worst)", len(stalls),
		stalls[len(stalls)/2].Round(10*time.Millisecond), stalls[len(stalls)-1].Round(10*time.Millisecond))
	c.settle(t, l)
}
