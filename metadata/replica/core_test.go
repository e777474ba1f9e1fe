package replica_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/replica"
	"github.com/bargedata/barge/peer/peerpb"
)

// find returns the one action of a type.
func find[A replica.Action](t *testing.T, acts []replica.Action) A {
	t.Helper()
	var found A
	n := 0
	for _, act := range acts {
		if a, ok := act.(A); ok {
			found = a
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%d of %T among %+v", n, found, acts)
	}
	return found
}

// followingX is the Core of the agent "me" that follows the sequencer x of term 1, knows the agents y and z as well, and has a call under way to x.
func followingX(t *testing.T) (*replica.Core, uint64) {
	t.Helper()
	view := metadata.NewView()
	view.Apply(metadata.Entry{Term: 1, Commands: []metadata.Command{metadata.OpenSession{Agent: metadata.AgentInfo{Address: "x", Level: metadata.MaxLevel}}}})
	c := replica.NewCore(replica.Config{Owner: metadata.Owner{Kafka: "me", Peer: "me"}}, view, rand.New(rand.NewPCG(1, 1)))
	read := find[replica.ReadAction](t, c.Step(replica.StartEvent{}, 0))
	find[replica.HintAction](t, c.Step(replica.ReadEvent{Call: read.Call}, 0))
	call := find[replica.FollowAction](t, c.Step(replica.HintedEvent{Hint: metadata.Hint{Owner: "x peer=x", Term: 1, Next: 1}}, 0))
	call = find[replica.FollowAction](t, c.Step(replica.FollowedEvent{Call: call.Call, Response: &peerpb.FollowResponse{
		Term: 1, Sequencing: true, Sequencer: "x", End: 1, MembersVersion: 1,
		Members: []*peerpb.Member{{Session: 1, Peer: "x", Kafka: "x"}, {Session: 2, Peer: "y", Kafka: "y"}, {Session: 3, Peer: "z", Kafka: "z"}},
	}}, 5))
	return c, call.Call
}

// A claim that comes too late gives way: others name a newer term than it is to follow. That is not the end of a Core that had the log
// before it could be stopped, either: it looks for who has it now.
func TestLateClaimGivesWay(t *testing.T) {
	for _, acquired := range []bool{false, true} {
		c, call := followingX(t)
		claim := find[replica.AcquireAction](t, c.Step(replica.FollowedEvent{Call: call, Response: &peerpb.FollowResponse{Term: 1, Leaving: true, Sequencer: "me", End: 1}}, 10))
		if claim.Unless != 2 {
			t.Errorf("it takes the log though another one has term %d, and knew of term 1", claim.Unless-1)
		}
		asked := map[string]uint64{}
		for _, act := range c.Step(replica.TickEvent{}, 250) {
			if f, ok := act.(replica.FollowAction); ok {
				asked[f.Addr] = f.Call
				if f.Request.GetNext() != 1<<64-1 {
					t.Errorf("it asks %s for entries while the View is not its own", f.Addr)
				}
			}
		}
		old := &peerpb.FollowResponse{Term: 1, Sequencing: true, Sequencer: "x", End: 1}
		for _, act := range c.Step(replica.FollowedEvent{Call: asked["x"], Response: old}, 260) {
			if _, ok := act.(replica.StopSequencerAction); ok {
				t.Error("it gave way to the term that it takes the log from")
			}
		}
		if asked["x"] == 0 || asked["y"] == 0 {
			t.Fatalf("it asks %v", asked)
		}
		find[replica.StopSequencerAction](t, c.Step(replica.FollowedEvent{Call: asked["y"], Response: &peerpb.FollowResponse{Term: 2, Sequencing: true, Sequencer: "y", End: 3}}, 270))
		if !acquired {
			find[replica.HintAction](t, c.Step(replica.AcquiredEvent{Err: context.Canceled}, 1030))
			continue
		}
		c.Step(replica.AcquiredEvent{Start: metadata.TakenOver{Term: 3, Next: 1}}, 1030)
		acts := c.Step(replica.EndedEvent{}, 1040)
		find[replica.HintAction](t, acts)
		for _, act := range acts {
			if end, ok := act.(replica.EndAction); ok {
				t.Errorf("it ended: %v", end.Err)
			}
		}
	}
}

// Who takes the log over after a silence does not send clients to those that do not answer: neither to the one that was missed, nor to another
// that had died before it and was not missed yet. One of whom it can not know yet is given three seconds and not the time of a member.
func TestTakeOverLeavesOutWhoDoesNotAnswer(t *testing.T) {
	for _, refused := range []bool{false, true} {
		c, call := followingX(t)
		w := silentWorld{core: c, refused: refused, answers: map[uint64]silentAnswer{}}
		w.answers[call] = w.answer("x", 5, 3*time.Second)
		for w.now < 10_000 && w.claimed == 0 {
			w.pass()
		}
		if w.claimed == 0 {
			t.Fatal("it did not claim")
		}
		w.carry(c.Step(replica.AcquiredEvent{Start: metadata.TakenOver{Term: 2, Next: 1}}, w.now))
		want := []string{"z"}
		if refused { // in so short a time it can not know that y does not answer
			want = []string{"y", "z"}
		}
		if got := w.members(); !slices.Equal(got, want) {
			t.Errorf("refused %t: claimed after %d ms, members are %v, want %v", refused, w.claimed, got, want)
		}
		for began := w.now; w.now < began+3250; w.pass() {
			if w.now%500 == 0 {
				c.Step(replica.PolledEvent{Call: uint64(w.now), Request: &peerpb.FollowRequest{Self: &peerpb.Member{Session: 3, Peer: "z", Kafka: "z"}}}, w.now)
			}
		}
		if got := w.members(); !slices.Equal(got, []string{"z"}) {
			t.Errorf("refused %t: 3.25 s after the take-over members are %v", refused, got)
		}
	}
}

// silentWorld is around a Core that misses the sequencer x. y is on a machine that is gone, z answers that it misses x as well.
type silentWorld struct {
	core    *replica.Core
	refused bool // x is a dead process on a living machine
	now     int64
	answers map[uint64]silentAnswer // by call
	claimed int64
}

type silentAnswer struct {
	at int64
	ev replica.FollowedEvent
}

func (w *silentWorld) answer(addr string, call uint64, limit time.Duration) silentAnswer {
	switch {
	case addr == "z":
		return silentAnswer{w.now + 1, replica.FollowedEvent{Call: call, Response: &peerpb.FollowResponse{Term: 1, Sequencer: "x", HeardMs: uint32(w.now), End: 1}}}
	case addr == "x" && w.refused:
		return silentAnswer{w.now + 1, replica.FollowedEvent{Call: call, Err: syscall.ECONNREFUSED}}
	default:
		return silentAnswer{w.now + limit.Milliseconds(), replica.FollowedEvent{Call: call, Err: context.DeadlineExceeded}}
	}
}

// pass lets ten milliseconds pass.
func (w *silentWorld) pass() {
	w.now += 10
	for _, call := range slices.Sorted(maps.Keys(w.answers)) {
		if a := w.answers[call]; a.at <= w.now {
			delete(w.answers, call)
			a.ev.Call = call
			w.carry(w.core.Step(a.ev, w.now))
		}
	}
	if w.now%replica.Tick.Milliseconds() == 0 {
		w.carry(w.core.Step(replica.TickEvent{}, w.now))
	}
}

func (w *silentWorld) carry(acts []replica.Action) {
	for len(acts) > 0 {
		act := acts[0]
		acts = acts[1:]
		switch act := act.(type) {
		case replica.FollowAction:
			w.answers[act.Call] = w.answer(act.Addr, act.Call, act.Timeout)
		case replica.ReadAction:
			acts = append(acts, w.core.Step(replica.ReadEvent{Call: act.Call}, w.now)...)
		case replica.AcquireAction:
			w.claimed = w.now
		}
	}
}

func (w *silentWorld) members() []string {
	var peers []string
	for _, m := range w.core.Members() {
		peers = append(peers, m.Peer)
	}
	return peers
}

// A sequencer that has stood still may have been deposed meanwhile: until the log, asked after it woke, says that its term is the newest, nobody is
// told that it reaches the sequencer, since others may do what it does.
func TestSequencerThatStoodStillAsksTheLogFirst(t *testing.T) {
	c, call := followingX(t)
	find[replica.AcquireAction](t, c.Step(replica.FollowedEvent{Call: call, Response: &peerpb.FollowResponse{Term: 1, Leaving: true, Sequencer: "me", End: 1}}, 10))
	c.Step(replica.AcquiredEvent{Start: metadata.TakenOver{Term: 2, Next: 1}}, 20)
	c.Step(replica.TickEvent{}, 250)
	early := uint64(0) // the newest check from before it fell asleep
	for now := int64(500); now <= 6000; now += 250 {
		for _, act := range c.Step(replica.TickEvent{}, now) {
			if check, ok := act.(replica.CheckAction); ok {
				early = check.Call
			}
		}
	}
	if early == 0 || !c.Reachable(6010) {
		t.Fatalf("awake: reachable %v, check %d", c.Reachable(6010), early)
	}
	if c.Reachable(60_000) {
		t.Error("it is reachable before it has noticed that it slept")
	}
	check := find[replica.CheckAction](t, c.Step(replica.TickEvent{}, 60_000))
	for _, ev := range []replica.CheckedEvent{{Call: early}, {Call: check.Call, Err: metadata.ErrUnavailable}} {
		c.Step(ev, 60_010)
		if c.Reachable(60_010) {
			t.Errorf("it is reachable after %+v", ev)
		}
	}
	again := uint64(0)
	for now := int64(60_250); now <= 61_000; now += 250 {
		for _, act := range c.Step(replica.TickEvent{}, now) {
			if check, ok := act.(replica.CheckAction); ok {
				again = check.Call
			}
		}
	}
	if again == 0 {
		t.Fatal("it does not ask again")
	}
	if c.Step(replica.CheckedEvent{Call: again}, 61_010); !c.Reachable(61_010) {
		t.Error("it is not reachable though the log has said that its term is the newest")
	}
}

// A sequencer whom the log does not answer for seconds may have been deposed, where there are others: it does not count as reachable then, whether an
// append has no outcome or the question whether its term is the newest.
func TestSequencerWithoutAnswersOfTheLogIsNotReachable(t *testing.T) {
	c, call := followingX(t)
	find[replica.AcquireAction](t, c.Step(replica.FollowedEvent{Call: call, Response: &peerpb.FollowResponse{Term: 1, Leaving: true, Sequencer: "me", End: 1}}, 10))
	c.Step(replica.AcquiredEvent{Start: metadata.TakenOver{Term: 2, Next: 1}}, 20)
	asked, first, now := uint64(0), int64(0), int64(250)
	tick := func(stalled time.Duration) {
		for _, act := range c.Step(replica.TickEvent{Stalled: stalled}, now) {
			if check, ok := act.(replica.CheckAction); ok {
				asked = check.Call
				if first == 0 {
					first = now
				}
			}
		}
		now += 250
	}
	for first == 0 || now < first+4000 {
		tick(0)
		if !c.Reachable(now - 250) {
			t.Fatalf("it is not reachable at %d, having asked at %d", now-250, first)
		}
	}
	if tick(0); c.Reachable(now) {
		t.Errorf("it is reachable at %d, having asked at %d", now, first)
	}
	if c.Step(replica.CheckedEvent{Call: asked}, now); !c.Reachable(now) {
		t.Error("it is not reachable though the log has answered")
	}
	if tick(5 * time.Second); c.Reachable(now) {
		t.Error("it is reachable while an append has no outcome")
	}
	if tick(0); !c.Reachable(now) {
		t.Error("it is not reachable though the append has come to its end")
	}
}
