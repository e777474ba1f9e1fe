package replica_test

import (
	"context"
	"math/rand/v2"
	"testing"

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

// A claim that comes too late gives way: others name a newer term while it still looks for the end of the log. It is not the end of a Core that
// had the log before it could be stopped, either: it takes the log again, since the other one is fenced.
func TestLateClaimGivesWay(t *testing.T) {
	for _, acquired := range []bool{false, true} {
		view := metadata.NewView()
		view.Apply(metadata.Entry{Term: 1, Commands: []metadata.Command{metadata.OpenSession{Agent: metadata.AgentInfo{Address: "x", Level: metadata.MaxLevel}}}})
		c := replica.NewCore(replica.Config{Owner: metadata.Owner{Kafka: "me", Peer: "me"}}, view, rand.New(rand.NewPCG(1, 1)))
		read := find[replica.ReadAction](t, c.Step(replica.StartEvent{}, 0))
		find[replica.HintAction](t, c.Step(replica.ReadEvent{Call: read.Call}, 0))
		call := find[replica.FollowAction](t, c.Step(replica.HintedEvent{Hint: metadata.Hint{Owner: "x peer=x", Term: 1, Next: 1}}, 0))
		call = find[replica.FollowAction](t, c.Step(replica.FollowedEvent{Call: call.Call, Response: &peerpb.FollowResponse{
			Term: 1, Sequencing: true, Sequencer: "x", End: 1, MembersVersion: 1, Members: []*peerpb.Member{{Session: 1, Peer: "x"}, {Session: 2, Peer: "y"}},
		}}, 5))
		find[replica.AcquireAction](t, c.Step(replica.FollowedEvent{Call: call.Call, Response: &peerpb.FollowResponse{Term: 1, Leaving: true, Sequencer: "me", End: 1}}, 10))
		asked := map[string]uint64{}
		for _, act := range c.Step(replica.TickEvent{}, 1000) {
			if f, ok := act.(replica.FollowAction); ok {
				asked[f.Addr] = f.Call
				if f.Request.GetNext() != 1<<64-1 {
					t.Errorf("it asks %s for entries while the View is not its own", f.Addr)
				}
			}
		}
		old := &peerpb.FollowResponse{Term: 1, Sequencing: true, Sequencer: "x", End: 1}
		for _, act := range c.Step(replica.FollowedEvent{Call: asked["x"], Response: old}, 1010) {
			if _, ok := act.(replica.StopSequencerAction); ok {
				t.Error("it gave way to the term that it takes the log from")
			}
		}
		if asked["x"] == 0 || asked["y"] == 0 {
			t.Fatalf("it asks %v", asked)
		}
		find[replica.StopSequencerAction](t, c.Step(replica.FollowedEvent{Call: asked["y"], Response: &peerpb.FollowResponse{Term: 2, Sequencing: true, Sequencer: "y", End: 3}}, 1120))
		if !acquired {
			find[replica.HintAction](t, c.Step(replica.AcquiredEvent{Err: context.Canceled}, 1030))
			continue
		}
		c.Step(replica.AcquiredEvent{Start: metadata.TakenOver{Term: 3, Next: 1}}, 1030)
		acts := c.Step(replica.EndedEvent{}, 1040)
		find[replica.AcquireAction](t, acts)
		for _, act := range acts {
			if end, ok := act.(replica.EndAction); ok {
				t.Errorf("it ended: %v", end.Err)
			}
		}
	}
}
