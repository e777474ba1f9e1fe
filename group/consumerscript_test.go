package group

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// TestConsumerStories runs the scripts of testdata/consumers against one ConsumerState each, as TestStories does. Partitions are
// written topic:0+1. Saves succeed at once unless the script says "saves manual".
func TestConsumerStories(t *testing.T) {
	datadriven.Walk(t, "testdata/consumers", func(t *testing.T, path string) {
		t.Helper()
		s := newConsumerStory()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			out := s.run(t, d)
			s.checkOwners(t, d)
			return out
		})
	})
}

type consumerStory struct {
	cfg    Config
	start  time.Time
	now    time.Time
	state  *ConsumerState
	topics []metadata.Topic
	set    *TopicSet
	manual bool
	out    strings.Builder
}

func newConsumerStory() *consumerStory {
	start := time.UnixMilli(1_700_000_000_000)
	s := &consumerStory{cfg: DefaultConfig(), start: start, now: start}
	s.state = NewConsumerState("g", s.cfg, 0, start)
	s.set = NewTopicSet(nil)
	return s
}

func (s *consumerStory) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	s.out.Reset()
	a := args{t, d}
	switch d.Cmd {
	case "config":
		s.cfg.MaxMembers = a.num("members", s.cfg.MaxMembers)
		s.cfg.MaxMemberBytes = a.num("memberbytes", s.cfg.MaxMemberBytes)
		s.cfg.MaxGroupBytes = a.num("groupbytes", s.cfg.MaxGroupBytes)
		s.cfg.MaxSavedBytes = a.num("savedbytes", s.cfg.MaxSavedBytes)
		s.state = NewConsumerState("g", s.cfg, int32(a.num("round", 0)), s.now)
	case "topics":
		s.topics = nil
		for _, c := range d.CmdArgs {
			n, incarnation, _ := strings.Cut(c.Vals[0], "/")
			parts, err := strconv.Atoi(n)
			if err != nil {
				t.Fatalf("%s: %v", d.Pos, err)
			}
			id := record.TopicID{}
			copy(id[:], c.Key+"/"+incarnation)
			s.topics = append(s.topics, metadata.Topic{ID: id, Name: c.Key, Partitions: int32(parts)})
		}
		s.set = NewTopicSet(s.topics)
	case "saves":
		s.manual = d.HasArg("manual")
	case "join", "beat", "leave", "rest":
		s.step(s.beat(t, d, a))
	case "classic":
		s.step(Join{Ticket: 1, MemberID: "x"})
		s.step(Sync{Ticket: 2, MemberID: "x"})
		s.step(Heartbeat{Ticket: 3, MemberID: "x"})
		s.step(Leave{Ticket: 4, Members: []Leaver{{MemberID: "x"}}})
	case "saved":
		s.step(Saved{Revision: uint64(a.num("rev", int(s.state.revision))), Code: Code(a.num("code", 0))})
	case "abandon":
		s.step(Abandon{Ticket: Ticket(a.num("t", 0))})
	case "commit":
		cm := commitCheck{memberID: a.str("m", ""), generation: int32(a.num("epoch", -1)), version: int16(a.num("v", 9))}
		cm.partitions, _ = s.partitions(t, d, "of")
		fmt.Fprintf(&s.out, "code=%d\n", s.state.checkCommit(cm, s.now))
	case "fetch":
		fmt.Fprintf(&s.out, "code=%d\n", s.state.checkFetch(a.str("m", ""), int32(a.num("epoch", -1))))
	case "subscribed":
		is, code := s.state.subscriptions()
		fmt.Fprintf(&s.out, "%v code=%d\n", is(a.str("topic", "")), code)
	case "advance":
		elapse(t, s.state, &s.now, a.dur("by", "1s"), s.step)
	case "restart":
		_, b := s.state.Snapshot()
		r, err := RestoreConsumerState("g", b, s.cfg, s.now)
		if err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
		}
		if _, again := r.Snapshot(); string(again) != string(b) {
			t.Errorf("%s: restored group is saved as %x, was %x", d.Pos, again, b)
		}
		s.state = r
		s.describe()
	case "state":
		s.describe()
	default:
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	}
	if s.out.Len() == 0 {
		return "ok\n"
	}
	return s.out.String()
}

// beat reads a heartbeat. A join is a full one by default; others tell only what the script says.
func (s *consumerStory) beat(t *testing.T, d *datadriven.TestData, a args) Beat {
	t.Helper()
	ev := Beat{
		Ticket: Ticket(a.num("t", 1)), MemberID: a.str("m", ""), InstanceID: a.str("instance", ""), ClientID: a.str("client", "c"), Host: "h",
		Epoch: int32(a.num("epoch", 0)), Rebalance: -1, Topics: s.set,
	}
	switch d.Cmd {
	case "join":
		ev.Rebalance, ev.HasOwned = a.dur("rebalance", "60s"), true
	case "leave":
		ev.Epoch = leaveEpoch
	case "rest":
		ev.Epoch = staticLeaveEpoch
	default:
		if a.str("rebalance", "") != "" {
			ev.Rebalance = a.dur("rebalance", "")
		}
	}
	if d.HasArg("topics") {
		ev.HasNames, ev.Names = true, a.list("topics")
	}
	for key, field := range map[string]**string{"regex": &ev.Pattern, "assignor": &ev.Assignor, "rack": &ev.RackID} {
		if d.HasArg(key) {
			text := a.str(key, "")
			*field = &text
		}
	}
	if d.Input != "" { // a pattern that can not be an argument
		ev.Pattern = &d.Input
	}
	if d.HasArg("owned") {
		ev.Owned, ev.HasOwned = s.partitions(t, d, "owned")
	}
	return ev
}

func (s *consumerStory) partitions(t *testing.T, d *datadriven.TestData, key string) (out []record.Partition, given bool) {
	t.Helper()
	for _, word := range (args{t, d}).list(key) {
		name, numbers, _ := strings.Cut(word, ":")
		for n := range strings.SplitSeq(numbers, "+") {
			i, err := strconv.Atoi(n)
			if err != nil {
				t.Fatalf("%s: %v", d.Pos, err)
			}
			out = append(out, record.Partition{Topic: s.set.byName[name].id, Index: int32(i)})
		}
	}
	return out, d.HasArg(key)
}

func (s *consumerStory) step(ev Event) {
	o := s.state.Step(ev, s.now)
	for _, r := range o.Replies {
		fmt.Fprintf(&s.out, "%v t%d", s.now.Sub(s.start), r.Ticket)
		if r.Code != codeNone {
			fmt.Fprintf(&s.out, " code=%d %s", r.Code, r.Text)
		} else {
			fmt.Fprintf(&s.out, " %s epoch=%d", r.MemberID, r.Generation)
			if r.Assigned {
				fmt.Fprintf(&s.out, " assigned=(%s)", s.text(r.Partitions))
			}
		}
		if r.Left != nil {
			fmt.Fprintf(&s.out, " left=%d", r.Left)
		}
		s.out.WriteByte('\n')
	}
	if !o.Save {
		return
	}
	if s.manual {
		fmt.Fprintf(&s.out, "%v save\n", s.now.Sub(s.start))
		return
	}
	s.step(Saved{Revision: s.state.revision})
}

func (s *consumerStory) text(parts []record.Partition) string {
	var words []string
	byTopic(parts, func(id record.TopicID, indexes []int32) {
		name := s.set.byID[id]
		if name == "" {
			name = "gone"
		}
		var numbers []string
		for _, i := range indexes {
			numbers = append(numbers, fmt.Sprint(i))
		}
		words = append(words, name+":"+strings.Join(numbers, "+"))
	})
	slices.Sort(words)
	return strings.Join(words, " ")
}

func (s *consumerStory) describe() {
	fmt.Fprintf(&s.out, "%v %s epoch=%d target=%d assignor=%s\n", s.now.Sub(s.start), s.state.phase(), s.state.epoch, s.state.targetEpoch, s.state.preferred())
	for _, m := range s.state.sorted() {
		fmt.Fprintf(&s.out, "%s", m.id)
		if m.instance != "" {
			fmt.Fprintf(&s.out, "/%s", m.instance)
		}
		fmt.Fprintf(&s.out, " epoch=%d was=%d %s has=(%s) gives=(%s) target=(%s)\n", m.epoch, m.previous,
			[]string{"settled", "revoking", "waiting"}[m.progress], s.text(keysOf(m.assigned)), s.text(m.giveUp), s.text(m.target))
	}
}

// checkOwners holds what every step must keep: a partition has one owner, and the index of owners is right.
func (s *consumerStory) checkOwners(t *testing.T, d *datadriven.TestData) {
	t.Helper()
	owners := map[record.Partition]string{}
	for _, m := range s.state.sorted() {
		for _, p := range append(keysOf(m.assigned), m.giveUp...) {
			if other := owners[p]; other != "" {
				t.Errorf("%s: %v belongs to %s and to %s", d.Pos, p, other, m.id)
			}
			owners[p] = m.id
		}
	}
	if len(owners) != len(s.state.owners) {
		t.Errorf("%s: %d partitions have owners, the index knows %d", d.Pos, len(owners), len(s.state.owners))
	}
	for p, id := range owners {
		if s.state.owners[p] != id {
			t.Errorf("%s: %v belongs to %s, the index says %q", d.Pos, p, id, s.state.owners[p])
		}
	}
}
