package sim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/bargedata/barge/compactor"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/storetest"
	"github.com/bargedata/barge/record"
)

// Settings of every world. Lives and graces are as short as the product allows, so that a world of a few minutes reaches their end.
const (
	cluster       = "sim"
	flushInterval = 50 * time.Millisecond
	flushBytes    = 1500
	slotLife      = time.Minute
	releaseGrace  = time.Minute
	sweepAgain    = 30 * time.Second
	sweepLast     = 10 * time.Minute
	sweepOpen     = 5 * time.Second
	retention     = 10 * time.Second
	maxSkew       = 2000     // milliseconds between two clocks and the store's, at most, either way
	farSkew       = 3600_000 // the same, in some clusters
)

// Config says which world to run.
type Config struct {
	Seed  uint64
	Kind  Kind      // Mixed: the seed chooses
	Steps int       // of the scheduler before the faults end; 0: 2,500, of a cluster 8,000, or 12,000 where it has groups, of a stall 12,000
	Trace io.Writer // gets every step as text; nil: none
}

// Result is what a world came to.
type Result struct {
	Seed       uint64
	Kind       Kind
	Trace      uint64         // hash of every step: equal seeds give equal traces
	Steps      int            // taken
	Faults     map[string]int // by kind
	Counts     map[string]int // what happened
	Stalls     []int64        // milliseconds for which producers heard nothing after their sequencer was killed
	Violations []Violation
}

// profile is what is the same all through one world, drawn from its seed.
type profile struct {
	clusterProfile
	skew           int64 // milliseconds between a clock and the store's, at most, either way
	caches         bool
	attempts       int // of a store call
	uploads        int
	commits        int
	deletions      int // of records, one in so many steps
	changes        int // one in so many steps changes a topic, if it can
	lostCommits    int // one answer to a commit in so many
	slowAnswers    int // one answer of the store in so many
	lateRequests   int // one request of a producer in so many
	entryCommands  int
	checkpoint     uint64
	interval, tick time.Duration
	limits         compactor.Limits
	slowTopics     bool  // some tables have a long commit interval
	inline         int64 // bytes of an object up to which it travels in its commit
	weather        storetest.FaultConfig
	torn           float64 // of reads of data, damaged on their way
	kills, pauses  int     // one in so many steps
	jumps          int
}

// wantedTopic is a topic that agents create where it is missing.
type wantedTopic struct {
	name       string
	partitions int32
	configs    map[string]string
}

// world is one simulated cluster, its clients and its store. One goroutine at a time is at work in it.
type world struct {
	cfg     Config
	kind    Kind
	net     *network        // of a cluster
	ctx     context.Context // a world has no end from outside, only a budget of steps
	rng     *rand.Rand
	profile profile
	now     int64 // milliseconds
	steps   int
	hash    uint64
	discard *slog.Logger

	witness *witness
	faulty  *storetest.Faulty
	torn    *storetest.Faulty // over faulty: damages what is read of WAL objects and data files
	oracle  *oracle

	agents  []*agent // alive, oldest first
	graves  []*agent // killed, not yet unwound
	born    int
	bootAt  int64 // when the next agent starts if none serves, or there are too few
	running *task
	last    *task // that took the step before

	wanted     []wantedTopic
	keptTables map[string]bool
	known      map[record.Partition]bool // has producers and consumers
	producers  []*producer
	consumers  []*consumer
	draining   bool // nothing new is produced
	calm       bool // no faults, no chaos
	lull       bool // none yet, and all know of one another
	resting    bool // none any more, and all is at rest

	quietUntil int64 // clients do nothing before
	mute       bool  // clients do nothing at all
	stalls     []int64
	watch      *stallWatch // in a world of that kind

	startRng  *rand.Rand    // of what moves log starts
	changeRng *rand.Rand    // of what changes topics
	stepped   map[step]bool // changes of topics that somebody was told to have made

	groups      []*consumerGroup  // of a cluster
	groupsDue   int64             // no member has anything to do before
	groupWrites []GroupWrite      // that coordinators have submitted
	claims      map[uint64]holder // who claimed a group's shard, by the claim's version
	commits     int               // of offsets, so far
	assigned    int               // generations, so far

	hist       History
	counts     map[string]int
	violations []Violation
	flaws      map[string]bool // met so far
	broken     bool            // there is no use in going on
}

// Run runs one world to its end and judges it.
func Run(cfg Config) (res Result) {
	w := newWorld(cfg)
	defer func() {
		if r := recover(); r != nil {
			w.fault("rest", "panic: %v\n%s", r, debug.Stack())
		}
		w.stopAll()
		res = Result{Seed: cfg.Seed, Kind: w.kind, Stalls: w.stalls, Trace: w.hash, Steps: w.steps, Faults: w.faults(), Counts: w.counts, Violations: w.violations}
	}()
	for w.steps < w.cfg.Steps && !w.broken {
		w.turn()
	}
	if !w.broken {
		w.finish()
	}
	w.judge()
	return res
}

// faults are the counts of what was injected, by kind.
func (w *world) faults() map[string]int {
	all := w.faulty.Counts()
	for kind, n := range w.torn.Counts() {
		all[kind] += n
	}
	return all
}

func newWorld(cfg Config) *world {
	kind := cfg.kind()
	if cfg.Steps == 0 {
		cfg.Steps = kind.steps()
	}
	w := &world{
		cfg: cfg, kind: kind, ctx: context.Background(), rng: rand.New(rand.NewPCG(cfg.Seed, 0x5eed)), now: 1_700_000_000_000, hash: 14695981039346656037,
		discard: slog.New(slog.DiscardHandler), counts: map[string]int{}, known: map[record.Partition]bool{}, keptTables: map[string]bool{}, claims: map[uint64]holder{}, flaws: map[string]bool{},
	}
	w.profile = w.draw()
	if kind != Single {
		w.drawCluster()
	}
	if kind == Cluster {
		w.drawGroups()
	}
	memory := objectstore.NewMemory(func() time.Time { return time.UnixMilli(w.now) })
	w.witness = &witness{Memory: memory, w: w, written: map[string]writing{}}
	weather, torn := w.profile.weather, w.tornWeather()
	if w.profile.lull > 0 {
		weather, torn = storetest.FaultConfig{Sleep: w.sleep}, storetest.FaultConfig{Sleep: w.sleep}
	}
	w.faulty = storetest.NewFaulty(w.witness, w.rng.Uint64(), weather)
	w.torn = storetest.NewFaulty(w.faulty, w.rng.Uint64(), torn)
	w.oracle = newOracle(w)
	if err := w.oracle.open(); err != nil {
		w.fault("rest", "oracle: %v", err)
	}
	clicks := map[string]string{"barge.table.on.delete": "keep"}
	if w.profile.slowTopics { // its runs are regrouped meanwhile
		clicks["barge.table.commit.interval.ms"] = "120000"
	}
	w.wanted = []wantedTopic{{"orders", 2, nil}, {"clicks", 1, clicks}}
	if w.rng.IntN(3) == 0 {
		w.wanted = append(w.wanted, wantedTopic{"plain", 1, map[string]string{"barge.table.enable": "false"}})
	}
	w.drawLogStarts()
	w.drawChanges()
	if kind == Single {
		w.boot()
	} else {
		w.found()
	}
	return w
}

// drawLimits makes jobs small or large, and regrouping frequent or rare.
func drawLimits(r *rand.Rand) compactor.Limits {
	l := compactor.DefaultLimits()
	l.JobBytes = []record.Len{4 << 10, 64 << 10, 64 << 20}[r.IntN(3)]
	l.RegroupBytes = []record.Len{1, 2 << 10, 16 << 20}[r.IntN(3)]
	l.RegroupAge = time.Duration(r.IntN(60)) * time.Second
	l.InlineAge = time.Duration(5+r.IntN(60)) * time.Second
	l.SmallBytes = []record.Len{1 << 10, 8 << 20}[r.IntN(2)]
	l.JobTopics, l.JobObjects, l.JobMoved, l.FileParts = 1+r.IntN(4), 1+r.IntN(20), 1+r.IntN(20), 1+r.IntN(4)
	return l
}

// draw makes the world's profile: from calm ones, which get far, to such in which little works.
func (w *world) draw() profile {
	r := w.rng
	p := profile{
		skew: []int64{maxSkew, 0, 0}[r.IntN(3)], caches: r.IntN(2) == 0, attempts: 1 + r.IntN(4), uploads: 1 + r.IntN(4), commits: 1 + r.IntN(4), lostCommits: []int{10, 50, 100_000}[r.IntN(3)], slowAnswers: []int{50, 300, 100_000}[r.IntN(3)], lateRequests: []int{8, 40, 100_000}[r.IntN(3)],
		entryCommands: []int{1, 2, 4096}[r.IntN(3)], checkpoint: uint64(10 + r.IntN(30)),
		interval: time.Duration(2+r.IntN(20)) * time.Second, tick: time.Duration(300+r.IntN(700)) * time.Millisecond,
		inline: []int64{0, 500, 1000, 100_000}[r.IntN(4)], limits: drawLimits(r), slowTopics: r.IntN(3) > 0,
		kills: []int{250, 600, 1500, 100_000}[r.IntN(4)], pauses: []int{300, 800, 100_000}[r.IntN(3)], jumps: []int{150, 400, 3000}[r.IntN(3)],
	}
	p.torn = []float64{0, 0, 0.02, 0.1}[r.IntN(4)]
	bad := []float64{0, 0.01, 0.04, 0.1}[r.IntN(4)]
	if r.IntN(8) == 0 {
		bad = 0.25
	}
	p.weather = storetest.FaultConfig{
		FailBefore: bad / 2, FailAfter: bad, Late: bad, ConflictBefore: bad / 4, ConflictAfter: bad / 4, OwnExists: bad / 4, OwnMarked: bad / 4,
		Truncate: bad / 4, Delay: bad / 4, Burst: bad / 20, BurstCalls: 10, Land: 0.05,
		NoDate: []float64{0, 0.1, 1}[r.IntN(3)], Sleep: w.sleep,
	}
	return p
}

// tornWeather is what damages reads.
func (w *world) tornWeather() storetest.FaultConfig {
	return storetest.FaultConfig{Torn: w.profile.torn, Only: isData, Sleep: w.sleep}
}

// isData tells the objects whose readers find damage and read again: WAL objects and data files. A damaged slot or snapshot of the log is
// something else, see damageSnapshot.
func isData(_ objectstore.Op, key string) bool {
	return strings.HasPrefix(key, "wal/") || strings.Contains(key, "/_data/")
}

// note mixes one event into the trace.
func (w *world) note(what, about string, n int64) {
	h := w.hash
	for _, s := range [2]string{what, about} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h *= 1099511628211
	}
	h = (h ^ uint64(n)) * 1099511628211
	h = (h ^ uint64(w.now)) * 1099511628211
	w.hash = h
	if w.cfg.Trace != nil {
		who := ""
		if w.running != nil {
			who = w.running.agent.label() + " " + w.running.name
		}
		_, _ = fmt.Fprintf(w.cfg.Trace, "%6d %9d %-22s %-16s %s %d\n", w.steps, w.now-1_700_000_000_000, who, what, about, n)
	}
}

// tell adds a line to the text of the trace, which is no event.
func (w *world) tell(format string, args ...any) {
	if w.cfg.Trace != nil {
		_, _ = fmt.Fprintf(w.cfg.Trace, "%6d %9d %s\n", w.steps, w.now-1_700_000_000_000, fmt.Sprintf(format, args...))
	}
}

// fault notes a violation that was met on the way and ends the world.
func (w *world) fault(checker, format string, args ...any) {
	w.broken = true
	w.flaw(checker, format, args...)
}

// flaw notes a violation that was met on the way, of each kind the first. The world goes on, so that the checkers hear what comes of it.
func (w *world) flaw(checker, format string, args ...any) {
	v := broken(checker, format, args...)
	w.note("VIOLATION", v.String(), 0)
	if !w.flaws[format] {
		w.flaws[format] = true
		w.violations = append(w.violations, v)
	}
}

// turn is one step of the scheduler.
func (w *world) turn() {
	w.steps++
	w.now += w.rng.Int64N(4)
	w.bury()
	switch {
	case w.kind != Single:
		w.befall()
	case !w.calm:
		w.chaos()
		fallthrough
	default:
		w.succeed()
	}
	w.deleteRecords()
	w.changeTopic()
	if w.rng.IntN(6) == 0 && w.client() {
		return
	}
	if len(w.groups) > 0 && w.rng.IntN(2) == 0 && w.groupTurn() {
		return
	}
	if !w.step() && !w.client() && !w.groupTurn() {
		w.skip()
	}
	if w.steps%64 == 0 {
		for _, p := range w.producers {
			p.lookAtClock()
		}
		if w.net != nil {
			for _, c := range w.consumers {
				c.lookAtClock()
			}
		}
		w.meetTopics()
	}
}

// step lets a task go on or a timer fire; false when there is none.
func (w *world) step() bool {
	var ready []*task
	var timers []*timer
	for _, a := range w.agents {
		if a.paused {
			continue
		}
		rest := a.tasks[:0]
		for _, t := range a.tasks {
			if t.over {
				continue
			}
			rest = append(rest, t)
			if t.ready(w.now) {
				ready = append(ready, t)
			}
		}
		a.tasks = rest
		a.timers = slices.DeleteFunc(a.timers, func(t *timer) bool { return t.off })
		for _, t := range a.timers {
			if t.at <= w.now {
				timers = append(timers, t)
			}
		}
	}
	n := len(ready) + len(timers)
	if n == 0 {
		return false
	}
	if w.last != nil && w.rng.IntN(3) > 0 { // longer strides of one task
		for _, t := range ready {
			if t == w.last {
				w.resume(t)
				return true
			}
		}
	}
	i := w.rng.IntN(n)
	if i < len(ready) {
		w.last = ready[i]
		w.resume(ready[i])
		return true
	}
	t := timers[i-len(ready)]
	t.off = true
	w.note("timer", t.name, int64(t.agent.n))
	t.fire()
	return true
}

// skip moves the clock to where something happens again.
func (w *world) skip() {
	next := w.now + 60_000
	for _, a := range w.agents {
		if a.paused {
			continue
		}
		for _, t := range a.tasks {
			if !t.over && t.until > w.now && (t.waiting == nil || !t.waiting()) {
				next = min(next, t.until)
			}
		}
		for _, t := range a.timers {
			if !t.off {
				next = min(next, t.at)
			}
		}
	}
	if (w.kind != Single || w.serving() == nil) && w.bootAt > w.now {
		next = min(next, w.bootAt)
	}
	if w.kind != Single {
		next = w.wakeUp(next)
	}
	w.now = max(w.now+1, next)
}

// serving is the newest agent that is awake, nil if there is none.
func (w *world) serving() *agent {
	for i := len(w.agents) - 1; i >= 0; i-- {
		if a := w.agents[i]; !a.paused && !a.ended && !a.stopping {
			return w.agents[i]
		}
	}
	return nil
}

// succeed starts an agent some seconds after the last one stopped serving.
func (w *world) succeed() {
	if w.serving() != nil {
		w.bootAt = 0
		return
	}
	if w.bootAt == 0 {
		w.bootAt = w.now + w.rng.Int64N(5000)
	}
	if w.now >= w.bootAt {
		w.bootAt = 0
		w.boot()
	}
}

// chaos is what befalls a cluster.
func (w *world) chaos() {
	r := w.rng
	if r.IntN(w.profile.kills) == 0 && len(w.agents) > 0 {
		w.counts["agents killed"]++
		w.kill(w.agents[r.IntN(len(w.agents))])
	}
	if r.IntN(w.profile.pauses) == 0 && len(w.agents) > 0 {
		a := w.agents[r.IntN(len(w.agents))]
		if !a.paused {
			w.counts["agents paused"]++
		}
		a.paused = true
		w.note("pause", a.label(), 0)
	}
	for _, a := range w.agents {
		if a.paused && r.IntN(250) == 0 {
			a.paused = false
			w.note("wake", a.label(), 0)
		}
	}
	if a := w.serving(); a != nil && a.ready && r.IntN(2*w.profile.kills) == 0 {
		a.stop()
	}
	switch r.IntN(40 * w.profile.jumps / 10) {
	case 0, 1, 2: // a second agent though the first one is well
		if len(w.agents) < 3 {
			w.counts["agents started beside another"]++
			w.boot()
		}
	case 3:
		w.deleteTopic()
	case 4, 5, 6:
		w.damageSnapshot()
	}
	if r.IntN(w.profile.jumps) == 0 {
		w.jump()
	}
	if r.IntN(60) == 0 {
		w.faulty.Land(1 + r.IntN(3))
	}
}

// jump lets time pass in which nobody does anything.
func (w *world) jump() {
	d := time.Duration(1+w.rng.IntN(90)) * time.Second
	switch w.rng.IntN(12) {
	case 0:
		d = time.Duration(1+w.rng.IntN(60)) * time.Minute
	case 1:
		// Days end what producers are known by; nothing that was sent before may be committed after, as with Kafka.
		if w.rng.IntN(3) == 0 {
			d = 25 * time.Hour
			for len(w.agents) > 0 {
				w.kill(w.agents[0])
			}
			for _, p := range w.producers {
				p.giveUp()
				p.bump()
			}
		}
	}
	w.counts["clock jumps"]++
	w.now += d.Milliseconds()
	w.note("jump", d.String(), 0)
}

// deleteTopic has the serving agent delete a topic; agents that start later create it anew.
func (w *world) deleteTopic() {
	a := w.serving()
	if a == nil || !a.ready {
		return
	}
	topics := a.view.Topics()
	if len(topics) == 0 {
		return
	}
	t := topics[w.rng.IntN(len(topics))]
	if t.KeepsTable() {
		w.keptTables[t.TableDir] = true
	}
	w.note("delete topic", t.Name, 0)
	a.submit(metadata.DeleteTopic{ID: t.ID}, func(metadata.Result, error) {
		if !a.gone {
			for _, want := range w.wanted {
				if want.name == t.Name {
					a.submitLater(metadata.CreateTopic{ID: a.topicID(), Name: want.name, Partitions: want.partitions, Configs: want.configs})
				}
			}
		}
	})
}

// submitLater hands a command in after the event that is being taken.
func (a *agent) submitLater(cmd metadata.Command) {
	a.after(0, "submit", func() { a.submit(cmd, func(metadata.Result, error) {}) })
}

// damageSnapshot flips a bit of the newest snapshot, where an older one is there to fall back to.
func (w *world) damageSnapshot() {
	ctx := w.ctx
	seqs := w.oracle.numbers(ctx, "snapshot/")
	if len(seqs) < 2 {
		return
	}
	key := fmt.Sprintf("%ssnapshot/%020d", logPrefix, seqs[len(seqs)-1])
	if w.witness.damaged != "" {
		return // one at a time: two damaged snapshots are more than is promised
	}
	body, err := w.witness.Get(ctx, key, 1<<30)
	if err != nil || len(body) == 0 {
		return
	}
	body[w.rng.IntN(len(body))] ^= 1
	if err := w.witness.Put(ctx, key, body); err == nil {
		w.witness.damaged = key
		w.counts["snapshots damaged"]++
		w.note("damage", key, 0)
	}
}

// meetTopics gives every new partition producers and a consumer.
func (w *world) meetTopics() {
	for _, t := range w.oracle.view.Topics() {
		for i := range t.Partitions {
			p := record.Partition{Topic: t.ID, Index: i}
			if w.known[p] {
				continue
			}
			w.known[p] = true
			w.consumers = append(w.consumers, &consumer{w: w, n: len(w.consumers), partition: p, client: client{machine: len(w.consumers) % machines}})
			for k := range 2 {
				pr := &producer{w: w, client: client{machine: len(w.producers) % machines}, n: len(w.producers), partition: p, idempotent: k == 0 || w.rng.IntN(2) == 0, id: -1, conns: []*conn{{}}}
				pr.careless = pr.idempotent && w.rng.IntN(4) == 0
				if pr.idempotent && w.rng.IntN(3) == 0 {
					pr.conns = append(pr.conns, &conn{})
				}
				if w.rng.IntN(2) == 0 {
					pr.sequence = 1<<31 - 1 - w.rng.Int32N(20) // soon to wrap
				}
				w.producers = append(w.producers, pr)
			}
		}
	}
}

func (w *world) pick() *producer {
	if len(w.producers) == 0 {
		return nil
	}
	return w.producers[w.rng.IntN(len(w.producers))]
}

// client lets one of the clients act; false when the one picked has nothing to do.
func (w *world) client() bool {
	if w.kind != Single {
		return w.act()
	}
	if len(w.agents) == 0 || len(w.producers) == 0 {
		w.meetTopics()
		return false
	}
	a := w.serving()
	if a == nil || w.rng.IntN(60) == 0 {
		a = w.agents[w.rng.IntN(len(w.agents))] // somebody has an old address
	}
	if a.paused || !a.ready {
		return false
	}
	switch r := w.rng.IntN(10); {
	case r < 6:
		return w.pick().produce(a)
	case r < 9:
		return w.consumers[w.rng.IntN(len(w.consumers))].poll(a)
	default:
		p := w.consumers[w.rng.IntN(len(w.consumers))].partition
		if w.oracle.live(p) {
			w.look(a, p)
		}
		return true
	}
}

// saw notes the state of a View.
func (w *world) saw(v *metadata.View, from string) {
	seq, encode := v.Freeze()
	w.sawBytes(seq, encode(), from)
}

func (w *world) sawBytes(seq uint64, body []byte, from string) {
	w.hist.States = append(w.hist.States, StateSeen{Seq: seq, Holds: sha256.Sum256(body), From: from})
}

// holds is the digest of a slot's content.
func holds(term uint64, claim bool, body []byte) Digest {
	h := sha256.New()
	h.Write(fmt.Append(nil, term, claim))
	h.Write(body)
	return Digest(h.Sum(nil))
}

// stopAll unwinds every task that still stands somewhere.
func (w *world) stopAll() {
	w.bury()
	for _, a := range w.agents {
		a.gone = true
		w.graves = append(w.graves, a)
	}
	w.agents = nil
	w.bury()
}

// judge has the checkers look at what happened.
func (w *world) judge() {
	w.violations = append(w.violations, CheckLog(w.hist.Log, w.oracle.state.Next())...)
	w.violations = append(w.violations, CheckKafka(&w.hist.Kafka)...)
	w.violations = append(w.violations, CheckStarts(&w.hist)...)
	w.violations = append(w.violations, CheckEnds(&w.hist.Kafka)...)
	w.violations = append(w.violations, CheckUnseen(&w.hist.Kafka)...)
	w.violations = append(w.violations, CheckTables(w.hist.Tables)...)
	w.violations = append(w.violations, CheckObjects(w.hist.Objects)...)
	w.violations = append(w.violations, CheckStates(w.hist.States)...)
	w.violations = append(w.violations, CheckReads(w.hist.Reads)...)
	w.violations = append(w.violations, CheckShares(w.hist.Shared)...)
	w.violations = append(w.violations, CheckCoordinators(&w.hist.Groups)...)
	w.violations = append(w.violations, CheckOffsets(&w.hist.Groups)...)
	w.violations = append(w.violations, CheckMembership(&w.hist.Groups)...)
}
