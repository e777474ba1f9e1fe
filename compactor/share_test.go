package compactor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// peerAgent is one of several agents on the lab's log: its View holds what it has heard, and with the answer to a command all
// up to that.
type peerAgent struct {
	*lab
	own     *metadata.View
	session metadata.SessionID
	worker  *Compactor
	busy    bool
	before  func(*peerAgent) // called before a command
}

// join opens a session and makes a compactor for it, over a store that checks each deletion.
func (l *lab) join(share Share) *peerAgent {
	l.open()
	l.agents++
	p := &peerAgent{lab: l, own: metadata.NewView(), session: l.sess}
	p.catchUp(len(l.entries))
	base := l.compactor()
	cfg := base.cfg
	cfg.ReadAhead, cfg.Share = 1, share
	store := &crasher{lab: l, at: 1 << 30}
	p.worker = New(cfg, p.own, p, store, base.now, base.random, slog.New(slog.DiscardHandler))
	return p
}

func (p *peerAgent) Do(ctx context.Context, cmd metadata.Command) (metadata.Result, error) {
	if p.before != nil {
		p.before(p)
	}
	res, err := p.lab.Do(ctx, cmd)
	p.catchUp(len(p.entries))
	return res, err
}

// catchUp hears of the first n entries of the log.
func (p *peerAgent) catchUp(n int) {
	for i := int(p.own.Applied()); i < n; i++ {
		p.own.Apply(p.entries[i])
	}
}

// leaves are the errors that err joins and wraps at its ends.
func leaves(err error) []error {
	switch e := err.(type) { //nolint:errorlint // it takes the tree apart
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		var all []error
		for _, err := range e.Unwrap() {
			all = append(all, leaves(err)...)
		}
		return all
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return leaves(inner)
		}
	}
	return []error{err}
}

// Three agents that lag behind the log, as much as it comes, and start rounds in the middle of one another's: each believes that
// all work is its own, or they share it, or change their minds about it. Every record stays readable and enters its table once,
// nothing that is referred to is deleted, nothing is left, and no round fails but for an old View.
func TestAgentsThatLagDoNoDamageI6I7I8(t *testing.T) {
	stale, moved, shared := 0, int64(0), 0
	for seed := range uint64(75) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := newLab(t)
		first := l.sess
		topics := []metadata.Topic{
			l.createTopic("a", nil), l.createTopic("b", map[string]string{"barge.table.commit.interval.ms": "2000"}),
			l.createTopic("c", map[string]string{"barge.table.enable": "false"}), l.createTopic("d", map[string]string{"barge.table.commit.interval.ms": "3600000"}),
		}
		kind := rng.IntN(3)
		heard := func(work string) bool { return rng.IntN(2) == 0 } // changes its mind with every question
		agents := make([]*peerAgent, 3)
		var members routing.Members
		for i := range agents {
			share := []Share{nil, func() (func(string) bool, int) { return heard, 2 }, nil}[kind]
			if kind == 2 {
				share = Spread(func() routing.Members { return members }, l.sess+1)
			}
			agents[i] = l.join(share)
			members = append(members, routing.Member{Session: uint64(agents[i].session)})
		}
		l.must(metadata.SealSession{Session: first})
		note := fmt.Sprintf("seed %d, kind %d", seed, kind)
		round := func(p *peerAgent) {
			p.busy = true
			defer func() { p.busy = false }()
			for _, err := range leaves(p.worker.Round(t.Context())) {
				if !errors.Is(err, metadata.ErrStaleInput) && !errors.Is(err, metadata.ErrStaleClaim) && !errors.Is(err, objectstore.ErrNotFound) {
					t.Errorf("%s: %v", note, err)
				}
				stale++
			}
		}
		meddle := func(p *peerAgent) {
			if rng.IntN(4) != 0 {
				return
			}
			other := agents[rng.IntN(len(agents))]
			if !other.busy {
				round(other)
			}
		}
		for _, p := range agents {
			p.before = meddle
		}
		for range 30 {
			switch rng.IntN(4) {
			case 0, 1:
				l.sess = agents[rng.IntN(len(agents))].session
				var parts []record.Partition
				for _, tp := range topics {
					for index := range int32(2) {
						if rng.IntN(2) == 0 {
							parts = append(parts, record.Partition{Topic: tp.ID, Index: index})
						}
					}
				}
				slices.SortFunc(parts, record.Partition.Compare)
				if len(parts) > 0 {
					l.produceParts(1+rng.IntN(2), rng.IntN(3) == 0, parts...)
				}
			case 2:
				l.clock = l.clock.Add(time.Duration(rng.IntN(90)) * time.Second)
			default:
				p := agents[rng.IntN(len(agents))]
				heardOf := int(p.own.Applied())
				p.catchUp(heardOf + rng.IntN(len(l.entries)-heardOf+1))
				round(p)
			}
			if t.Failed() {
				t.Fatal(note)
			}
		}
		l.allThere(note)
		for _, p := range agents {
			p.before = nil
		}
		for range 12 {
			l.clock = l.clock.Add(11 * time.Minute)
			for range 4 {
				for _, p := range agents {
					p.catchUp(len(l.entries))
					round(p)
				}
			}
		}
		for range 3 {
			l.clock = l.clock.Add(25 * time.Hour)
			for range 12 {
				for _, p := range agents {
					p.catchUp(len(l.entries))
					round(p)
				}
			}
		}
		l.allThere(note + ", in the end")
		l.tablesHold(note)
		l.nothingIsLeft(note, "")
		for _, p := range agents {
			s := p.worker.Stats()
			moved += s.ObjectsMoved
			if s.ObjectsMoved > 0 && kind == 2 {
				shared++
			}
		}
		if t.Failed() {
			t.Fatal(note)
		}
	}
	t.Logf("%d refusals, %d objects moved, by %d agents that shared the work", stale, moved, shared)
	if stale == 0 || moved == 0 || shared < 30 {
		t.Error("too little happened")
	}
}

func TestWorkIsSharedByHash(t *testing.T) {
	members := routing.Members{{Session: 3}, {Session: 5}, {Session: 6, Roles: []string{routing.RoleFetch}}, {Session: 8}, {Session: 9, Draining: true}}
	shares := map[metadata.SessionID]roundShare{}
	for _, m := range members {
		shares[metadata.SessionID(m.Session)] = shareOf(Spread(func() routing.Members { return members }, metadata.SessionID(m.Session)))
	}
	counts := map[metadata.SessionID]int{}
	for i := range 3000 {
		owners := 0
		for session, s := range shares {
			if s.agents != 3 || s.alone() {
				t.Fatalf("agent %d: %d share the work, alone %v", session, s.agents, s.alone())
			}
			if s.mineTopic(record.TopicID{byte(i), byte(i >> 8)}) {
				owners++
				counts[session]++
			}
		}
		if owners != 1 {
			t.Fatalf("topic %d has %d agents", i, owners)
		}
	}
	if counts[6] != 0 || counts[9] != 0 || min(counts[3], counts[5], counts[8]) < 800 {
		t.Errorf("topics of each agent: %v", counts)
	}
	if s := shareOf(Spread(func() routing.Members { return members[:1] }, 3)); !s.alone() || !s.mine(sweepWork) {
		t.Error("the only agent does not do everything")
	}
	if s := shareOf(Spread(func() routing.Members { return members[:1] }, 4)); s.alone() || s.mine(sweepWork) || s.agents != 1 {
		t.Error("an agent without the role, or that nobody knows, does something")
	}
}

// Topics that are neighbors in sorted objects are one agent's, so that it reads few stretches of each, and yet all have about as many topics.
func TestNeighborsAreOneAgents(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ids := make([]record.TopicID, 10_000)
	for i := range ids {
		binary.BigEndian.PutUint64(ids[i][:], rng.Uint64())
	}
	slices.SortFunc(ids, func(a, b record.TopicID) int { return bytes.Compare(a[:], b[:]) })
	for _, agents := range []int{2, 3, 5, 8, 20} {
		var members routing.Members
		for i := range agents {
			members = append(members, routing.Member{Session: uint64(100 + i)})
		}
		stretches, most := 0, 0
		for _, m := range members {
			s := shareOf(Spread(func() routing.Members { return members }, metadata.SessionID(m.Session)))
			mine, before := 0, false
			for _, id := range ids {
				now := s.mineTopic(id)
				if now {
					mine++
				}
				if now && !before {
					stretches++
				}
				before = now
			}
			most = max(most, mine)
		}
		t.Logf("%d agents: %d stretches, one has at most %d topics", agents, stretches, most)
		if stretches > 32*agents || most*agents > 10_000*8/5 {
			t.Errorf("%d agents: %d stretches of 10,000 topics, one has %d topics", agents, stretches, most)
		}
	}
}

// only makes a share of what is named, of two agents.
func only(work ...string) Share {
	return func() (func(string) bool, int) {
		return func(w string) bool { return slices.Contains(work, w) }, 2
	}
}

// One agent moves what lies in the objects of one session, while the topic is claimed by another one's job; that one writes the file
// as soon as the rows are in sorted objects.
func TestObjectsBySessionAndFilesByTopic(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", nil)
	other := l.createTopic("other", map[string]string{"barge.table.commit.interval.ms": "1000"})
	first := l.join(nil)
	second := l.join(nil)
	first.worker.cfg.Share = only(spanWork(uint64(first.session)), TopicWork(other.ID, 2))
	second.worker.cfg.Share = only(spanWork(uint64(second.session)), TopicWork(a.ID, 2), sweepWork)
	round := func(p *peerAgent) Stats {
		t.Helper()
		before := p.worker.Stats()
		p.catchUp(len(l.entries))
		if err := p.worker.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := p.worker.Stats()
		return Stats{Files: s.Files - before.Files, ObjectsMoved: s.ObjectsMoved - before.ObjectsMoved, Jobs: s.Jobs - before.Jobs, TableCommits: s.TableCommits - before.TableCommits}
	}
	for i := range 4 {
		l.sess = []metadata.SessionID{first.session, second.session}[i%2]
		l.produce(1, a)
	}
	l.sess = second.session
	l.produce(1, other)
	l.clock = l.clock.Add(2 * time.Second)
	// A topic that sets an interval gets its file at once, wherever it lies; nothing else is due.
	if s := round(first); s.Files != 1 || s.ObjectsMoved != 0 || s.TableCommits != 1 {
		t.Errorf("the topic that set an interval: %+v", s)
	}
	l.clock = l.clock.Add(time.Minute)

	claim := ask[metadata.ClaimJobResult](l, metadata.ClaimJob{Session: second.session, Topics: []record.TopicID{a.ID}, Outputs: []string{"x"}})
	if s := round(first); s.ObjectsMoved != 1 || s.Files != 0 {
		t.Errorf("the objects of the first session: %+v", s)
	}
	if s := round(first); s.Jobs != 0 {
		t.Errorf("the first agent goes on: %+v", s)
	}
	l.must(metadata.ReleaseJob{Job: claim.Job})
	// The second agent has the topic and the objects that are left: what it reads it need not move.
	if s := round(second); s.Files != 1 || s.ObjectsMoved != 0 || s.TableCommits != 1 {
		t.Errorf("the topic: %+v", s)
	}
	if got := l.values(a); !slices.Equal(got, l.sent[record.Partition{Topic: a.ID}]) {
		t.Errorf("files hold %v", got)
	}
}

// Where a topic's rows lie in objects that are another agent's to regroup, its own agent waits for that.
func TestFilesWaitForObjectsOfOtherAgents(t *testing.T) {
	run := func(base record.Offset, key string, sorted bool) metadata.Run {
		return metadata.Run{Base: base, End: base + 1, Key: key, Sorted: sorted, Len: 10, ObjectSize: 100, CommittedAt: 1}
	}
	pending := func(name string, configs map[string]string, runs ...metadata.Run) metadata.PendingTopic {
		return metadata.PendingTopic{Topic: topic(name, configs), Bytes: 10, Oldest: 1, Partitions: []metadata.PendingPartition{{Runs: runs}}}
	}
	due := []metadata.PendingTopic{
		pending("ready", nil, run(0, "s", true), run(1, "o", false)),
		pending("later", nil, run(0, "o", false), run(1, "s", true)),
		pending("now", map[string]string{"barge.table.commit.interval.ms": "5"}, run(0, "o", false)),
	}
	limits := DefaultLimits()
	ends := func(shared bool) map[string]record.Offset {
		got := map[string]record.Offset{}
		for _, job := range Plan(due, Span{}, shared, limits) {
			for _, tj := range job.Topics {
				runs := tj.Parts[0].Runs
				got[tj.Topic.Name] = runs[len(runs)-1].End
			}
		}
		return got
	}
	if got := fmt.Sprint(ends(true)); got != "map[now:1 ready:1]" {
		t.Errorf("where agents share the work files go up to %s", got)
	}
	if got := fmt.Sprint(ends(false)); got != "map[later:2 now:1 ready:2]" {
		t.Errorf("where one does it all files go up to %s", got)
	}
	limits.Interval = limits.RegroupAge / 2 // sooner than anybody regroups
	if got := fmt.Sprint(ends(true)); got != "map[later:2 now:1 ready:2]" {
		t.Errorf("with a short interval files go up to %s", got)
	}
}

// refusing counts requests.
type refusing struct {
	objectstore.Store
	asked int
}

func (r *refusing) Get(ctx context.Context, key string, most int64) ([]byte, error) {
	r.asked++
	return r.Store.Get(ctx, key, most)
}

func (r *refusing) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	r.asked++
	return r.Store.GetRange(ctx, key, pos, length)
}

func (r *refusing) Put(ctx context.Context, key string, body []byte) error {
	r.asked++
	return r.Store.Put(ctx, key, body)
}

func (r *refusing) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	r.asked++
	return r.Store.Create(ctx, key, body)
}

func (r *refusing) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	r.asked++
	return r.Store.List(ctx, prefix, after, limit)
}

func (r *refusing) Delete(ctx context.Context, keys ...string) error {
	r.asked++
	return r.Store.Delete(ctx, keys...)
}

// A claim that is refused, because the View had not heard of another one's, is no error and no request of the store, and is not
// asked for again at once.
func TestARefusedClaimCostsNothing(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", nil)
	l.produce(1, a)
	late, other := l.join(nil), l.join(nil)
	store := &refusing{Store: late.worker.store}
	late.worker.store = store
	l.clock = l.clock.Add(time.Minute)
	claim := ask[metadata.ClaimJobResult](l, metadata.ClaimJob{Session: other.session, Topics: []record.TopicID{a.ID}, Outputs: []string{"x"}})
	commands := len(l.entries)
	for range 3 {
		if err := late.worker.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.entries) - commands; n != 1 {
		t.Errorf("%d commands, want one claim", n)
	}
	if s := late.worker.Stats(); store.asked != 0 || s.Jobs != 0 || s.FailedJobs != 0 {
		t.Errorf("%d requests of the store, %+v", store.asked, s)
	}
	l.must(metadata.ReleaseJob{Job: claim.Job})
	late.catchUp(len(l.entries))
	l.clock = l.clock.Add(2 * time.Second)
	if err := late.worker.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := late.worker.Stats(); s.Files != 1 {
		t.Errorf("once the topic is free: %+v", s)
	}
}

// Agents that have nothing to do ask the store nothing, however many they are.
func TestIdleAgentsAskTheStoreNothing(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", nil)
	var members routing.Members
	var agents []*peerAgent
	var stores []*refusing
	for range 5 {
		p := l.join(Spread(func() routing.Members { return members }, l.sess+1))
		members = append(members, routing.Member{Session: uint64(p.session)})
		store := &refusing{Store: p.worker.store}
		p.worker.store = store
		agents, stores = append(agents, p), append(stores, store)
	}
	l.sess = agents[0].session
	l.produce(3, a)
	rounds := func(n int, step time.Duration) (asked int) {
		for range n {
			l.clock = l.clock.Add(step)
			for i, p := range agents {
				p.catchUp(len(l.entries))
				before := stores[i].asked
				if err := p.worker.Round(t.Context()); err != nil {
					t.Fatal(err)
				}
				asked += stores[i].asked - before
			}
		}
		return asked
	}
	if rounds(200, time.Minute) == 0 { // files, table, deletion, sweeps
		t.Fatal("nothing was done")
	}
	commands := len(l.entries)
	if n := rounds(100, 30*time.Second); n != 0 || len(l.entries) != commands {
		t.Errorf("%d requests and %d commands while idle", n, len(l.entries)-commands)
	}
}

func TestTheBudgetIsTheClusters(t *testing.T) {
	b := newTokenBucket(20)
	at := time.UnixMilli(0)
	b.refill(at, 4)
	if got := b.grant(); got != 300 {
		t.Errorf("%d commits at the start, want a minute's of a quarter", got)
	}
	b.take(300)
	b.refill(at.Add(30*time.Second), 4)
	if got := b.grant(); got != 150 {
		t.Errorf("%d commits after half a minute, want 150", got)
	}
	b.refill(at.Add(time.Hour), 1)
	if got := b.grant(); got != 1200 {
		t.Errorf("%d commits for one that is alone, want 1200", got)
	}
	b.refill(at.Add(time.Hour), 4)
	if got := b.grant(); got != 300 {
		t.Errorf("%d commits when others have come, want 300", got)
	}
}
