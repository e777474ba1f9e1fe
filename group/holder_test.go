package group

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// town is what agents hear of one another, as a test says.
type town struct {
	mu      sync.Mutex
	members routing.Members
	cut     map[metadata.SessionID]bool
}

func newTown(sessions ...metadata.SessionID) *town {
	tn := &town{cut: map[metadata.SessionID]bool{}}
	for _, s := range sessions {
		tn.members = append(tn.members, routing.Member{Session: uint64(s), Kafka: "agent-" + strconv.FormatUint(uint64(s), 10)})
	}
	return tn
}

// change lets the test edit a session's member, or take it out by returning false.
func (tn *town) change(session metadata.SessionID, edit func(*routing.Member) bool) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	var all routing.Members
	for _, m := range tn.members {
		if m.Session != uint64(session) || edit(&m) {
			all = append(all, m)
		}
	}
	tn.members = all
}

func (tn *town) leaves(session metadata.SessionID) {
	tn.change(session, func(*routing.Member) bool { return false })
}

func (tn *town) drains(session metadata.SessionID) {
	tn.change(session, func(m *routing.Member) bool { m.Draining = true; return true })
}

func (tn *town) cutOff(session metadata.SessionID, yes bool) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	tn.cut[session] = yes
}

type resident struct {
	*town
	session metadata.SessionID
}

func (r resident) Members() routing.Members {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members
}

func (r resident) Reachable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.cut[r.session]
}

// startIn runs the coordinator of one of the town's agents over the fake log.
func (tn *town) startIn(t *testing.T, f *fakeMetadata, session metadata.SessionID) (c *Coordinator, stop func()) {
	t.Helper()
	f.mu.Lock()
	f.sessions = append(f.sessions, metadata.Session{ID: session})
	f.mu.Unlock()
	return start(t, f, "agent-"+strconv.FormatUint(uint64(session), 10), tn.config(session))
}

func (tn *town) config(session metadata.SessionID) func(*Config) {
	return func(cfg *Config) { cfg.Session, cfg.Cluster = session, resident{tn, session} }
}

// named is who FindCoordinator names for group g.
func named(t *testing.T, c *Coordinator) metadata.SessionID {
	t.Helper()
	m, code := c.Coordinator(t.Context(), "g")
	if code != 0 {
		t.Fatalf("FindCoordinator: %d", code)
	}
	return metadata.SessionID(m.Session)
}

// stable makes members of group g that have an assignment.
func stable(t *testing.T, c *Coordinator, n int) []*testMember {
	t.Helper()
	var members []*testMember
	var done sync.WaitGroup
	for range n {
		m := &testMember{c: c, group: "g", work: 6}
		members = append(members, m)
		done.Go(func() {
			for !m.join(t.Context()) {
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	done.Wait()
	checkDeal(t, 6, members...)
	return members
}

func TestTheHolderOrElseThePickedOneCoordinates(t *testing.T) {
	all := newTown(3, 5, 8).members
	first, _ := routing.Pick("group/7", all)
	other := all[0]
	if other.Session == first.Session {
		other = all[1]
	}
	edit := func(session uint64, change func(*routing.Member)) routing.Members {
		ms := slices.Clone(all)
		for i := range ms {
			if ms[i].Session == session {
				change(&ms[i])
			}
		}
		return ms
	}
	drained := edit(other.Session, func(m *routing.Member) { m.Draining = true })
	withoutRole := edit(other.Session, func(m *routing.Member) { m.Roles = []string{routing.RoleFetch} })
	pickedDrains := edit(first.Session, func(m *routing.Member) { m.Draining = true })
	for name, c := range map[string]struct {
		holder  uint64
		members routing.Members
		want    uint64 // 0: nobody; 1: one of the others
	}{
		"no claim":                    {0, all, first.Session},
		"the holder lives":            {other.Session, all, other.Session},
		"the holder is gone":          {4, all, first.Session},
		"the holder drains":           {other.Session, drained, first.Session},
		"the holder gave up the role": {other.Session, withoutRole, first.Session},
		"the picked one drains":       {0, pickedDrains, 1},
		"nobody is there":             {other.Session, nil, 0},
	} {
		m, ok := choose(7, metadata.SessionID(c.holder), c.members)
		switch {
		case ok != (c.want != 0):
			t.Errorf("%s: somebody is named: %v", name, ok)
		case c.want == 1 && (m.Session == first.Session || m.Draining):
			t.Errorf("%s: %d is named", name, m.Session)
		case c.want > 1 && m.Session != c.want:
			t.Errorf("%s: %d is named, want %d", name, m.Session, c.want)
		}
	}
}

// The bytes of both versions of a claim stay readable for good.
func TestClaimBytes(t *testing.T) {
	const v1, v2 = "010468307031e807", "02046830703109e807"
	cl := claim{owner: "h0p1", session: 9, nonce: 1000}
	if got := hex.EncodeToString(cl.encode()); got != v2 {
		t.Errorf("claim is %s, want %s", got, v2)
	}
	for text, want := range map[string]claim{v1: {owner: "h0p1", nonce: 1000}, v2: cl} {
		value, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeClaim(value)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
		for n := range value {
			if _, err := decodeClaim(value[:n]); !errors.Is(err, errCorrupt) {
				t.Errorf("the first %d bytes of %s: %v", n, text, err)
			}
		}
	}
}

func FuzzClaim(f *testing.F) {
	f.Add(claim{owner: "h0p1", session: 9, nonce: 1000}.encode())
	f.Add([]byte{oldClaimVersion, 0, 0})
	f.Fuzz(func(t *testing.T, value []byte) {
		cl, err := decodeClaim(value)
		if err != nil {
			return
		}
		if again, err := decodeClaim(cl.encode()); err != nil || again != cl {
			t.Errorf("%+v comes back as %+v, %v", cl, again, err)
		}
	})
}

func TestOnlyTheAgentThatIsNamedClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tn := newFakeMetadata(), newTown(1, 2, 3)
		agents := map[metadata.SessionID]*Coordinator{}
		for _, s := range []metadata.SessionID{1, 2, 3} {
			agents[s], _ = tn.startIn(t, f, s)
		}
		time.Sleep(settling)
		holder := named(t, agents[1])
		for s, c := range agents {
			if got := named(t, c); got != holder {
				t.Fatalf("agent %d names %d, agent 1 names %d", s, got, holder)
			}
			if code := commit(t, c, "g", "", -1, 0, int64(s)); s != holder && code != int16(codeNotCoordinator) {
				t.Errorf("commit at agent %d: %d, want 16", s, code)
			}
		}
		if got := fetchOffset(t, agents[holder], "g", 0); got != int64(holder) {
			t.Errorf("offset %d, want that of agent %d alone", got, holder)
		}
		claims := len(f.cmds)

		// Its holder dies: all agree on another one, which takes the shard; the dead one, should it come back, does not.
		tn.leaves(holder)
		var heir metadata.SessionID
		for s, c := range agents {
			if s == holder {
				continue
			}
			if got := named(t, c); heir == 0 {
				heir = got
			} else if got != heir {
				t.Errorf("agents name %d and %d", heir, got)
			}
		}
		if code := commit(t, agents[heir], "g", "", -1, 0, 100); code != 0 {
			t.Errorf("commit at the heir: %d", code)
		}
		if got := len(f.cmds) - claims; got != 2 {
			t.Errorf("%d commands, want a claim and a commit", got)
		}
		if code := commit(t, agents[holder], "g", "", -1, 0, 200); code != int16(codeNotCoordinator) {
			t.Errorf("commit at the old holder: %d, want 16", code)
		}
		if code := commit(t, agents[holder], "g", "", -1, 0, 201); code != int16(codeNotCoordinator) {
			t.Errorf("commit at the old holder again: %d, want 16", code)
		}
		if got := fetchOffset(t, agents[heir], "g", 0); got != 100 {
			t.Errorf("offset %d, want 100", got)
		}
	})
}

func TestNobodyCoordinatesWithoutTheRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tn := newFakeMetadata(), newTown(1)
		tn.change(1, func(m *routing.Member) bool { m.Roles = []string{routing.RoleProduce}; return true })
		c, _ := tn.startIn(t, f, 1)
		if _, code := c.Coordinator(t.Context(), "g"); code != int16(codeCoordinatorUnavailable) {
			t.Errorf("FindCoordinator: %d, want 15", code)
		}
		if code := commit(t, c, "g", "", -1, 0, 1); code != int16(codeCoordinatorUnavailable) {
			t.Errorf("commit: %d, want 15", code)
		}
		if len(f.cmds) != 0 {
			t.Errorf("%d commands", len(f.cmds))
		}
	})
}

// A claim of a live session is left alone by an agent that has just started and may not have heard of its holder.
func TestAnAgentThatJustStartedTakesNoShardFromASessionThatMayLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tn := newFakeMetadata(), newTown(1)
		a, _ := tn.startIn(t, f, 1)
		commit(t, a, "g", "", -1, 0, 10)
		tn.leaves(1)
		tn.members = newTown(2).members
		b, _ := tn.startIn(t, f, 2)
		if code := commit(t, b, "g", "", -1, 0, 11); code != int16(codeLoadInProgress) {
			t.Errorf("commit: %d, want 14", code)
		}
		beat := &testMember{c: b, group: "g", id: "somebody", generation: 1}
		if code := beat.beat(t.Context()); code != codeCoordinatorUnavailable {
			t.Errorf("heartbeat: %d, want 15: Apache's client does not know 14 there", code)
		}
		time.Sleep(settling)
		if code := commit(t, b, "g", "", -1, 0, 12); code != 0 {
			t.Errorf("commit after %v: %d", settling, code)
		}

		// A sealed session is gone for certain, and so is an earlier process at the same address.
		for _, how := range []string{"sealed", "same address"} {
			tn.members = newTown(3).members
			f.mu.Lock()
			f.sessions[1].Sealed = how == "sealed"
			f.mu.Unlock()
			c, stop := start(t, f, map[string]string{"sealed": "agent-3", "same address": "agent-2"}[how], tn.config(3))
			if code := commit(t, c, "g", "", -1, 0, 13); code != 0 {
				t.Errorf("%s: commit: %d", how, code)
			}
			stop()
			tn.members = newTown(2).members
			if code := commit(t, b, "g", "", -1, 0, 12); code == 0 {
				t.Errorf("%s: the old holder commits", how)
			}
			commit(t, b, "g", "", -1, 0, 12)
		}
	})
}

func TestACoordinatorThatIsCutOffConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tn := newFakeMetadata(), newTown(1)
		c, _ := tn.startIn(t, f, 1)
		m := stable(t, c, 1)[0]
		tn.cutOff(1, true)
		if code := m.beat(t.Context()); code != codeCoordinatorUnavailable {
			t.Errorf("heartbeat: %d, want 15", code)
		}
		if _, code := c.Coordinator(t.Context(), "g"); code != int16(codeCoordinatorUnavailable) {
			t.Errorf("FindCoordinator: %d, want 15", code)
		}
		tn.cutOff(1, false)
		if code := m.beat(t.Context()); code != 0 {
			t.Errorf("heartbeat after it: %d", code)
		}
	})
}

// lagging is the view of an agent that hears nothing new of keys while it is behind.
type lagging struct {
	*fakeMetadata
	mu     sync.Mutex
	behind map[string]metadata.KeyValue
}

func (l *lagging) stop() {
	l.fakeMetadata.mu.Lock()
	defer l.fakeMetadata.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behind = map[string]metadata.KeyValue{}
	for k, v := range l.keys {
		l.behind[k] = v
	}
}

func (l *lagging) catchUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behind = nil
}

func (l *lagging) Key(space, key string) (metadata.KeyValue, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.behind != nil {
		kv, ok := l.behind[key]
		return kv, ok
	}
	return l.fakeMetadata.Key(space, key)
}

// Two agents believe to hold the shard: the one whose claim is the newer writes, the other one does not, and learns of it.
func TestOfTwoCoordinatorsOneWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tn := newFakeMetadata(), newTown(1, 2)
		f.sessions = []metadata.Session{{ID: 1}, {ID: 2}}
		old := &lagging{fakeMetadata: f}
		holder := metadata.SessionID(1)
		if m, _ := routing.Pick("group/"+strconv.Itoa(ShardOf("g")), tn.members); m.Session == 2 {
			holder = 2
		}
		a, _ := startOn(t, old, f, "agent-a", tn.config(holder))
		b, _ := startOn(t, f, f, "agent-b", tn.config(3-holder))
		members := stable(t, a, 2)
		id, gen := members[0].place()
		if code := commit(t, a, "g", id, gen, 0, 10); code != 0 {
			t.Fatalf("commit: %d", code)
		}
		time.Sleep(settling)

		old.stop()
		tn.leaves(holder) // b hears that a is gone; a still answers, from what it knows
		if code := commit(t, b, "g", id, gen, 0, 20); code != 0 {
			t.Fatalf("commit at the heir, in the generation of before: %d", code)
		}
		if code := members[1].beat(t.Context()); code != 0 {
			t.Fatalf("a does not believe to hold the shard: heartbeat %d", code)
		}
		// Its rebalance goes as far as the write, and no further.
		written := len(f.cmds)
		var done sync.WaitGroup
		newcomer := &testMember{c: a, group: "g", work: 6}
		newcomer.join(t.Context())
		for _, m := range append([]*testMember{newcomer}, members...) {
			done.Go(func() {
				if m.join(t.Context()) || m.assigned != "" {
					t.Error("the old coordinator handed out an assignment")
				}
			})
			time.Sleep(time.Millisecond) // the newcomer asks for the rebalance
		}
		done.Wait()
		if len(f.cmds) == written {
			t.Error("the old coordinator did not try to write")
		}
		if code := commit(t, a, "g", id, gen, 0, 11); code != int16(codeNotCoordinator) {
			t.Errorf("commit at the old coordinator: %d, want 16", code)
		}
		for _, cmd := range f.cmds[written:] {
			if cmd.Ops[0].Expect == f.keys[cmd.Ops[0].Key].Version {
				t.Errorf("a command of the old coordinator took effect: %+v", cmd)
			}
		}
		old.catchUp()
		ctx, stop := context.WithCancel(t.Context())
		if got := fetchOffset(t, b, "g", 0); got != 20 {
			t.Errorf("offset %d, want 20", got)
		}
		for _, m := range members {
			m.c = b
			done.Go(func() { m.run(ctx) })
		}
		time.Sleep(10 * time.Second)
		checkDeal(t, 6, members...)
		stop()
		done.Wait()
	})
}

// A member that waits at a coordinator whose claim was replaced is sent away though nobody asks that coordinator anything.
func TestACoordinatorNoticesThatItsClaimWasReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tn := newFakeMetadata(), newTown(1)
		a, _ := tn.startIn(t, f, 1)
		b, _ := tn.startIn(t, f, 2)
		time.Sleep(settling)
		m := stable(t, a, 1)[0]
		newcomer := &testMember{c: a, group: "g", work: 6}
		newcomer.join(t.Context())
		waiting := make(chan bool, 1)
		go func() { waiting <- newcomer.join(t.Context()) }()
		time.Sleep(time.Second)
		tn.mu.Lock()
		tn.members = newTown(2).members
		tn.mu.Unlock()
		m.c, newcomer.c = b, b
		began := time.Now()
		if code := m.beat(t.Context()); code != 0 {
			t.Errorf("heartbeat at the heir: %d", code)
		}
		if <-waiting {
			t.Error("the join succeeded")
		}
		if d := time.Since(began); d > 2*lookEvery {
			t.Errorf("the member that waited was told after %v", d)
		}
		// It starts over at the heir, where its id is not known, and everybody ends in one generation.
		go func() {
			for !newcomer.join(t.Context()) {
				time.Sleep(10 * time.Millisecond)
			}
		}()
		time.Sleep(3 * time.Second)
		if code := m.beat(t.Context()); code != codeRebalanceInProgress {
			t.Errorf("heartbeat: %d, want 27", code)
		}
		m.join(t.Context())
		time.Sleep(3 * time.Second)
		checkDeal(t, 6, m, newcomer)
	})
}

// A commit without an answer may still be on its way. The one that the client repeats, or the next, is not undone by it.
func TestALateCommitDoesNotUndoALaterOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		m := stable(t, c, 1)[0]
		id, gen := m.place()
		f.limbo = true
		if code := commit(t, c, "g", id, gen, 0, 10); code != int16(codeCoordinatorUnavailable) {
			t.Fatalf("commit: %d, want 15", code)
		}
		if code := commit(t, c, "g", id, gen, 0, 12); code != 0 {
			t.Fatalf("commit again: %d", code)
		}
		if late := f.land(); len(late) != 1 || !errors.Is(late[0].Err, metadata.ErrConflict) {
			t.Errorf("the late commit: %+v", late)
		}
		if got := fetchOffset(t, c, "g", 0); got != 12 {
			t.Errorf("offset %d, want 12", got)
		}
		if code := m.beat(t.Context()); code != 0 {
			t.Errorf("heartbeat: %d, nobody was to notice", code)
		}

		// The renewal itself may come late: then the shard is loaded again, and members are where they were.
		f.limbo = true
		commit(t, c, "g", id, gen, 0, 13)
		f.limbo = true
		if code := commit(t, c, "g", id, gen, 0, 14); code != int16(codeLoadInProgress) {
			t.Errorf("commit while the claim is not renewed: %d, want 14", code)
		}
		f.late = f.late[1:] // the commit never comes, the renewal does
		f.land()
		time.Sleep(2 * lookEvery)
		if code := m.beat(t.Context()); code != 0 {
			t.Errorf("heartbeat: %d", code)
		}
		if code := commit(t, c, "g", id, gen, 0, 15); code != 0 {
			t.Errorf("commit: %d", code)
		}
	})
}

// Writes beside the renewal of a claim are refused or taken in, and the coordinator loses nothing over it.
func TestARenewedClaimKeepsTheGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		members := stable(t, c, 3)
		id, gen := members[0].place()
		f.limbo = true
		commit(t, c, "g", id, gen, 0, 10)
		var done sync.WaitGroup
		for i := range 20 {
			done.Go(func() {
				time.Sleep(time.Duration(i) * 3 * time.Millisecond)
				if code := commit(t, c, "g", id, gen, 1, int64(i)); code != 0 {
					t.Errorf("commit %d: %d", i, code)
				}
			})
		}
		done.Wait()
		for _, m := range members {
			if code := m.beat(t.Context()); code != 0 {
				t.Errorf("heartbeat: %d", code)
			}
		}
	})
}

func TestHandOverWaitsForRebalancesAndMovesMembersAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tn := newFakeMetadata(), newTown(1)
		a, stopA := tn.startIn(t, f, 1)
		members := stable(t, a, 2)
		tn.members = append(tn.members, newTown(2).members...)
		b, _ := tn.startIn(t, f, 2)
		time.Sleep(settling)

		// A third one comes while the agent leaves: the rebalance ends where it began.
		third := &testMember{c: a, group: "g", work: 6}
		third.join(t.Context())
		joined := make(chan bool, 3)
		go func() { joined <- third.join(t.Context()) }()
		time.Sleep(time.Millisecond)
		tn.drains(1)
		over := make(chan time.Duration, 1)
		began := time.Now()
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			a.HandOver(ctx)
			over <- time.Since(began)
		}()
		time.Sleep(time.Second)
		for _, m := range members {
			if code := m.beat(t.Context()); code != codeRebalanceInProgress {
				t.Errorf("heartbeat: %d, want 27", code)
			}
			go func() { joined <- m.join(t.Context()) }()
		}
		for range 3 {
			if !<-joined {
				t.Error("a join failed")
			}
		}
		members = append(members, third)
		gen := checkDeal(t, 6, members...)
		if d := <-over; d < time.Second || d > 2*time.Second {
			t.Errorf("the hand-over took %v", d)
		}
		if code := members[0].beat(t.Context()); code != codeNotCoordinator {
			t.Errorf("heartbeat at the one that leaves: %d, want 16", code)
		}
		stopA()
		tn.leaves(1)
		if got := named(t, b); got != 2 {
			t.Errorf("%d is named", got)
		}
		for _, m := range members {
			m.c = b
			if code := m.beat(t.Context()); code != 0 {
				t.Errorf("heartbeat at the next coordinator: %d", code)
			}
		}
		if now := checkDeal(t, 6, members...); now != gen {
			t.Errorf("generation %d, before %d", now, gen)
		}
	})
}

func TestHandOverEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tn := newFakeMetadata(), newTown(1)
		a, _ := tn.startIn(t, f, 1)
		stable(t, a, 1)
		newcomer := &testMember{c: a, group: "g", work: 6}
		newcomer.join(t.Context())
		waiting := make(chan bool, 1)
		go func() { waiting <- newcomer.join(t.Context()) }() // until the first member joins, which it does not
		time.Sleep(time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		a.HandOver(ctx)
		if <-waiting {
			t.Error("the join succeeded")
		}
	})
}

// follower is an agent's end of the log: commands go to the sequencer, what they do is read from its own view.
type follower struct {
	*metadata.View
	log metadata.Log
	seq *metadata.Sequencer
	mu  sync.Mutex
}

func (f *follower) follow(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := metadata.Follow(ctx, f.log, f.View, func(context.Context, time.Duration) error { return nil })
	return err
}

func (f *follower) Do(ctx context.Context, cmd metadata.Command) (metadata.Result, error) {
	res, err := f.seq.Do(ctx, cmd)
	if err != nil {
		return nil, err
	}
	return res, f.follow(ctx)
}

func (f *follower) Confirm(ctx context.Context) error {
	if err := f.seq.Confirm(ctx); err != nil {
		return err
	}
	return f.follow(ctx)
}

// TestMembersAndOffsetsSurviveTheirCoordinator: an agent dies without a word, another one takes its shard over the real log: the
// same generation, nobody joins again, offsets as they were acknowledged.
func TestMembersAndOffsetsSurviveTheirCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := metadata.NewMemoryLog()
		view, seq, _ := startSequencer(t, log)
		if res, err := seq.Do(t.Context(), metadata.CreateTopic{ID: record.TopicID{7}, Name: "orders", Partitions: 4}); err != nil {
			t.Fatal(res, err)
		}
		tn := newTown(1, 2)
		coordinators := map[metadata.SessionID]*Coordinator{}
		stops := map[metadata.SessionID]context.CancelFunc{}
		for _, s := range []metadata.SessionID{1, 2} {
			opened, err := metadata.Ask[metadata.OpenSessionResult](t.Context(), seq, metadata.OpenSession{})
			if err != nil || opened.Session != s {
				t.Fatal(opened, err)
			}
			var v View = view
			var d Doer = seq
			if s == 2 {
				f := &follower{View: metadata.NewView(), log: log, seq: seq}
				v, d = f, f
			}
			ctx, cancel := context.WithCancel(t.Context())
			cfg := DefaultConfig()
			cfg.Owner = tn.members[s-1].Kafka
			tn.config(s)(&cfg)
			c, err := New(cfg, v, d, time.Now, rand.New(rand.NewPCG(uint64(s), 0)), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			stops[s] = func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			coordinators[s] = c
			defer cancel()
		}
		time.Sleep(settling)
		holder := named(t, coordinators[1])
		heir := 3 - holder
		members := stable(t, coordinators[holder], 3)
		id, gen := members[0].place()
		if code := commit(t, coordinators[holder], "g", id, gen, 2, 41); code != 0 {
			t.Fatalf("commit: %d", code)
		}

		tn.leaves(holder)
		stops[holder]()
		time.Sleep(9 * time.Second) // nearly the members' sessions
		for range 10 {
			for _, m := range members {
				m.c = coordinators[heir]
				if code := m.beat(t.Context()); code != 0 {
					t.Fatalf("heartbeat at the heir: %d", code)
				}
			}
			time.Sleep(3 * time.Second)
		}
		if now := checkDeal(t, 6, members...); now != gen {
			t.Errorf("generation %d, before %d", now, gen)
		}
		for _, m := range members {
			if m.joins != 2 {
				t.Errorf("a member joined %d times, want twice: for its id and for its generation", m.joins)
			}
		}
		if got := fetchOffset(t, coordinators[heir], "g", 2); got != 41 {
			t.Errorf("offset %d, want 41", got)
		}
		if code := commit(t, coordinators[heir], "g", id, gen, 2, 42); code != 0 {
			t.Errorf("commit in the generation of before: %d", code)
		}
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Version, req.Group, req.Members = 5, "g", []kmsg.LeaveGroupRequestMember{{MemberID: id}}
		if resp := coordinators[heir].LeaveGroup(t.Context(), req); resp.ErrorCode != 0 || resp.Members[0].ErrorCode != 0 {
			t.Errorf("leave: %+v", resp)
		}
		stops[heir]()
	})
}

// A coordinator can be driven from one goroutine: coroutines give control away in Config.Wait, and turns are taken by hand.
func TestDrivenFromOneGoroutine(t *testing.T) {
	f := newFakeMetadata()
	f.delay = 0
	cfg := DefaultConfig()
	cfg.Owner = "here"
	now := time.UnixMilli(1_000)
	waits := 0
	var c *Coordinator
	cfg.Wait = func(ctx context.Context, done <-chan struct{}) bool {
		for waits++; ctx.Err() == nil; now = now.Add(10 * time.Millisecond) {
			select {
			case <-done:
				return true
			default:
			}
			saves, next := c.Turn()
			for _, save := range saves {
				save(ctx)
			}
			if next <= 0 {
				t.Fatalf("the next turn is due in %v", next)
			}
		}
		return false
	}
	c, err := New(cfg, f, f, func() time.Time { return now }, rand.New(rand.NewPCG(1, 1)), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "g", "consumer", 6000, 6000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	if r := c.JoinGroup(t.Context(), req, "", ""); r.ErrorCode != int16(codeCoordinatorUnavailable) {
		t.Errorf("before Begin the code is %d", r.ErrorCode)
	}
	c.Begin()
	joined := c.JoinGroup(t.Context(), req, "", "")
	if joined.ErrorCode != 0 || joined.Generation != 1 {
		t.Fatalf("join: code %d, generation %d", joined.ErrorCode, joined.Generation)
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = "g", joined.MemberID, 1
	if r := c.SyncGroup(t.Context(), sync); r.ErrorCode != 0 {
		t.Fatalf("sync: code %d", r.ErrorCode)
	}
	if waits == 0 {
		t.Error("nobody waited")
	}
	if left := c.GiveUp(false); left != 0 {
		t.Errorf("%d shards are left after all groups were at rest", left)
	}
	c.End()
	if r := c.SyncGroup(t.Context(), sync); r.ErrorCode != int16(codeNotCoordinator) {
		t.Errorf("after End the code is %d", r.ErrorCode)
	}
}
