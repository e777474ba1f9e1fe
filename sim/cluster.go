package sim

import (
	"fmt"
	"time"
)

// Kind says what befalls a world.
type Kind int8

// The kinds.
const (
	Mixed   Kind = iota // the seed chooses one of the others
	Single              // one agent at a time serves, others take the log from it
	Cluster             // up to five agents in up to three zones serve together
	Stalled             // a cluster that is well, but that its sequencer is killed
)

func (k Kind) String() string { return [...]string{"mixed", "single", "cluster", "stall"}[k] }

// ParseKind reads what String gives.
func ParseKind(s string) (Kind, error) {
	for k := Mixed; k <= Stalled; k++ {
		if k.String() == s {
			return k, nil
		}
	}
	return Mixed, fmt.Errorf("there are no worlds of kind %q: mixed, single, cluster, stall", s)
}

// kind is the kind of the world: of eight seeds two give single agents, and one a stall.
func (c *Config) kind() Kind {
	if c.Kind != Mixed {
		return c.Kind
	}
	switch {
	case c.Seed%4 == 0:
		return Single
	case c.Seed%8 == 7:
		return Stalled
	}
	return Cluster
}

func (k Kind) steps() int {
	return [...]int{Mixed: 0, Single: 2500, Cluster: 8000, Stalled: 12_000}[k]
}

const (
	mostAgents = 5
	mostZones  = 3
)

// clusterProfile is what a cluster draws from its seed beside the rest. Chances are one in so many steps.
type clusterProfile struct {
	agents, zones int
	delay         int64 // of a message, milliseconds at most
	storeDelay    int64 // of a call of the store, milliseconds at most; 0: steps alone take time
	patience      int64 // of a client for an answer, milliseconds
	old           bool  // the first agents are of the level before
	joins, drains int
	cuts, resets  int
	naps, quiets  int
	clocks        int
	ring          int // entries that an agent keeps for others

	strange     int           // one answer about an object in so many goes wrong between two agents
	whole, cell int64         // bytes of an object up to which it is read whole, and by which it is read else
	ownerWait   time.Duration // for who keeps an object
	lull        int           // steps at the beginning in which nothing goes wrong
	upkeep      bool          // in the end the agents do all background work before they leave
	turnover    int           // a member of a group leaves, dies or stands still, one turn of theirs in so many
	restless    bool          // members commit also while other clients do nothing
}

func zone(i int) string { return string(rune('a' + i)) }

// drawCluster draws what befalls a cluster.
func (w *world) drawCluster() {
	r, p := w.rng, &w.profile
	p.clusterProfile = clusterProfile{
		agents: 1 + r.IntN(mostAgents), zones: 1 + r.IntN(mostZones), delay: []int64{2, 20, 200}[r.IntN(3)],
		storeDelay: []int64{0, 0, 60}[r.IntN(3)], patience: []int64{3_000, 30_000}[r.IntN(2)], old: r.IntN(4) == 0,
		joins: []int{200, 600}[r.IntN(2)], drains: []int{1000, 3000, 100_000}[r.IntN(3)],
		cuts: []int{150, 500, 2000, 100_000}[r.IntN(4)], resets: []int{300, 100_000}[r.IntN(2)],
		naps: []int{400, 1500, 100_000}[r.IntN(3)], quiets: []int{300, 800}[r.IntN(2)], clocks: []int{1500, 100_000}[r.IntN(2)],
	}
	p.ring = []int{3, 50, 1000}[r.IntN(3)]
	p.kills = []int{800, 2000, 100_000}[r.IntN(3)]
	p.jumps = []int{2000, 100_000}[r.IntN(2)]
	p.lostCommits = 100_000 // messages are lost by themselves
	p.tick = time.Duration(1+r.IntN(5)) * time.Second
	p.skew = []int64{0, maxSkew, farSkew}[r.IntN(3)]
	p.strange = []int{20, 200, 100_000}[r.IntN(3)]
	p.whole, p.cell, p.ownerWait = 16<<20, 4<<20, 300*time.Millisecond
	if p.caches {
		switch r.IntN(6) {
		case 0:
			p.cell = 500 // others ask for parts of what its keeper reads whole
		case 1:
			p.whole, p.cell = 700, 1000
		}
	}
	p.upkeep = r.IntN(2) == 0
	if w.kind != Stalled {
		w.drawLull()
		return
	}
	p.agents, p.old, p.storeDelay, p.delay, p.patience = 2+r.IntN(mostAgents-1), false, 60, 5, 30_000
	// As the product has them: with fewer, a producer waits for the backlog of its agent, which is no stall of the log.
	p.commits, p.uploads, p.entryCommands = 16, 8, 4096
	p.ring = 1000 // with fewer those who fall behind read slot after slot, which here is one call at a time
	p.lateRequests, p.slowAnswers, p.torn, p.tick = 100_000, 100_000, 0, 20*time.Second
	p.skew = []int64{0, maxSkew, farSkew}[r.IntN(3)]
	p.weather.FailBefore, p.weather.FailAfter, p.weather.Late, p.weather.Truncate, p.weather.Delay, p.weather.Burst = 0, 0, 0, 0, 0, 0
	p.weather.ConflictBefore, p.weather.ConflictAfter, p.weather.OwnExists, p.weather.OwnMarked = 0, 0, 0, 0
}

// drawLull has some clusters begin without faults, with all their agents.
func (w *world) drawLull() {
	p := &w.profile
	if w.rng.IntN(4) > 0 {
		return
	}
	p.lull, p.old, p.storeDelay, p.delay = 2500, false, 0, min(p.delay, 20)
	p.ownerWait = 5 * time.Second // by steps alone an answer may take longer than a second here
}

// mild tells whether nothing is to go wrong: before the faults, and after them.
func (w *world) mild() bool { return w.calm || w.steps < w.profile.lull }

// found makes the network and the first agents.
func (w *world) found() {
	w.net = newNetwork(w)
	n := 1
	if w.kind == Stalled || w.profile.lull > 0 {
		n = w.profile.agents
	}
	for range n {
		w.boot()
	}
}

// at finds the living agent at a peer address.
func (w *world) at(address string) *agent {
	for _, a := range w.agents {
		if a.address() == address {
			return a
		}
	}
	return nil
}

// address is where other agents reach it: none where nothing of its kind listens.
func (a *agent) address() string {
	if a.old {
		return ""
	}
	return fmt.Sprintf("peer %d", a.n)
}

// kafka is the address that clients know it by.
func (a *agent) kafka() string { return fmt.Sprintf("agent-%d", a.n) }

// befall is what befalls a cluster in one step, joins included.
func (w *world) befall() {
	w.wakeSleepers()
	switch {
	case w.calm:
	case w.kind == Stalled:
		w.stall()
	case w.steps < w.profile.lull:
		w.lull = w.lull || w.well() && w.agreed()
	default:
		if w.steps == w.profile.lull {
			w.lull = false
			w.note("lull over", "", 0)
			w.faulty.Configure(w.profile.weather)
			w.torn.Configure(w.tornWeather())
		}
		w.strike()
	}
	w.join()
}

// join starts an agent some time after there were too few.
func (w *world) join() {
	wanted := w.profile.agents
	if w.calm || w.kind == Stalled {
		wanted = 1
	}
	if len(w.agents) >= wanted {
		w.bootAt = 0
		return
	}
	if w.bootAt == 0 {
		w.bootAt = w.now + w.rng.Int64N(5000)
		if len(w.agents) > 0 {
			w.bootAt += w.rng.Int64N(int64(w.profile.joins) * 50)
		}
	}
	if w.now >= w.bootAt {
		w.bootAt = 0
		w.boot()
	}
}

// wakeSleepers ends the pauses whose time has come.
func (w *world) wakeSleepers() {
	for _, a := range w.agents {
		if a.paused && a.wakeAt <= w.now {
			a.paused = false
			w.note("wake", a.label(), 0)
		}
	}
}

// wakeUp is the earlier of next and the moment when something of a cluster's own happens.
func (w *world) wakeUp(next int64) int64 {
	for _, a := range w.agents {
		if a.paused {
			next = min(next, max(a.wakeAt, w.now+1))
		}
	}
	if len(w.groups) > 0 && !w.mute && w.groupsDue > w.now {
		next = min(next, w.groupsDue)
	}
	if w.quietUntil > w.now {
		return min(next, w.quietUntil)
	}
	for _, p := range w.producers {
		if p.until > w.now {
			next = min(next, p.until)
		}
	}
	for _, c := range w.consumers {
		if c.until > w.now {
			next = min(next, c.until)
		}
	}
	return next
}

// strike is chaos.
func (w *world) strike() {
	r, p := w.rng, &w.profile
	if n := len(w.agents); n > 0 {
		a := w.agents[r.IntN(n)]
		switch {
		case r.IntN(p.kills) == 0:
			w.counts["agents killed"]++
			w.kill(a)
		case r.IntN(p.naps) == 0 && !a.paused:
			w.nap(a)
		case r.IntN(p.drains) == 0 && a.node != nil && a.ready && !a.paused && !a.stopping:
			a.leave()
		case r.IntN(p.clocks) == 0 && p.skew > 0:
			a.skew = r.Int64N(2*p.skew+1) - p.skew
			w.counts["clocks set"]++
			w.note("clock", a.label(), a.skew)
		}
	}
	if r.IntN(p.cuts) == 0 {
		w.cutSomething()
	}
	if r.IntN(p.resets) == 0 && len(w.net.pipes) > 0 {
		w.counts["connections reset"]++
		w.net.pipes[r.IntN(len(w.net.pipes))].cutShort()
	}
	if r.IntN(p.quiets) == 0 {
		w.quietUntil = w.now + []int64{2_000, 10_000, 40_000}[r.IntN(3)]
		w.note("quiet", "", w.quietUntil-w.now)
	}
	if r.IntN(p.jumps) == 0 {
		w.jump()
	}
	switch r.IntN(2000) {
	case 0:
		w.deleteTopic()
	case 1, 2, 3:
		w.damageSnapshot()
	}
	if r.IntN(60) == 0 {
		w.faulty.Land(1 + r.IntN(3))
	}
}

// nap puts a process to sleep, from a moment to minutes.
func (w *world) nap(a *agent) {
	a.paused, a.wakeAt = true, w.now+100+w.rng.Int64N([]int64{4_000, 30_000, 600_000}[w.rng.IntN(3)])
	w.counts["agents paused"]++
	w.note("pause", a.label(), a.wakeAt-w.now)
}

// cutSomething cuts a party off from another, or from all, one way or both, for up to two minutes.
func (w *world) cutSomething() {
	r := w.rng
	parties := []party{theStore}
	for _, a := range w.agents {
		parties = append(parties, a.party(), a.party()) // more often than others
	}
	for i := range machines {
		parties = append(parties, machine(i))
	}
	from := parties[r.IntN(len(parties))]
	to := []party{parties[r.IntN(len(parties))]}
	if r.IntN(4) == 0 {
		to = parties
	}
	d := time.Duration(100+r.Int64N([]int64{2_000, 10_000, 120_000}[r.IntN(3)])) * time.Millisecond
	there, back := true, true
	switch r.IntN(4) {
	case 0:
		there = false
	case 1:
		back = false
	}
	for _, p := range to {
		if p == from || from == theStore && r.IntN(2) == 0 { // seldom from everybody
			continue
		}
		if there {
			w.net.cut(from, p, d)
		}
		if back {
			w.net.cut(p, from, d)
		}
	}
	w.counts["cuts"]++
	w.note("cut", fmt.Sprint(from, to, there, back), d.Milliseconds())
}
