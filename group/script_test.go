package group

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestStories runs the scripts of testdata against one State each. Time stands still but for "advance". Every line of
// output is an answer ("3s t4 ...") or "save" when the step wants the group saved.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		t.Helper()
		s := newStory()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			return s.run(t, d)
		})
	})
}

type story struct {
	cfg   Config
	start time.Time
	now   time.Time
	state *State
	ids   int
	out   strings.Builder
}

func newStory() *story {
	cfg := DefaultConfig()
	cfg.InitialDelay = 0
	start := time.UnixMilli(1_700_000_000_000)
	return &story{cfg: cfg, start: start, now: start, state: NewState("g", cfg, start)}
}

// args reads "key=value" words; a value may hold several, separated by commas.
type args struct {
	t *testing.T
	d *datadriven.TestData
}

func (a args) str(key, def string) string {
	for _, c := range a.d.CmdArgs {
		if c.Key == key {
			return strings.Join(c.Vals, ",")
		}
	}
	return def
}

func (a args) list(key string) []string {
	if v := a.str(key, ""); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

func (a args) num(key string, def int) int {
	n := def
	if v := a.str(key, ""); v != "" {
		if _, err := fmt.Sscan(v, &n); err != nil {
			a.t.Fatalf("%s: %s=%s: %v", a.d.Pos, key, v, err)
		}
	}
	return n
}

func (a args) dur(key, def string) time.Duration {
	v, err := time.ParseDuration(a.str(key, def))
	if err != nil {
		a.t.Fatalf("%s: %v", a.d.Pos, err)
	}
	return v
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	s.out.Reset()
	a := args{t, d}
	ticket := Ticket(a.num("t", 0))
	switch d.Cmd {
	case "config":
		s.cfg.InitialDelay = a.dur("delay", "0s")
		s.cfg.MaxMembers = a.num("members", s.cfg.MaxMembers)
		s.cfg.MaxMemberBytes = a.num("memberbytes", s.cfg.MaxMemberBytes)
		s.cfg.MaxGroupBytes = a.num("groupbytes", s.cfg.MaxGroupBytes)
		s.cfg.MaxSavedBytes = a.num("savedbytes", s.cfg.MaxSavedBytes)
		s.state = NewState("g", s.cfg, s.now)
	case "join":
		s.ids++
		ev := Join{
			Ticket: ticket, MemberID: a.str("member", ""), NewID: fmt.Sprintf("m%d", s.ids), InstanceID: a.str("instance", ""),
			Session: a.dur("session", "10s"), Rebalance: a.dur("rebalance", "60s"), ProtocolType: a.str("type", "consumer"),
			NeedID: a.num("v", 4) >= 4, MaySkip: a.num("v", 4) >= 9,
		}
		if ev.MemberID != "" {
			s.ids--
		}
		for _, p := range strings.Split(a.str("protocols", "range:x"), ",") {
			name, meta, _ := strings.Cut(p, ":")
			ev.Protocols = append(ev.Protocols, Protocol{Name: name, Metadata: []byte(meta)})
		}
		s.step(ev)
	case "sync":
		ev := Sync{Ticket: ticket, MemberID: a.str("member", ""), InstanceID: a.str("instance", ""), Generation: int32(a.num("gen", 0))}
		if v := a.str("protocol", ""); v != "" {
			ev.Protocol = &v
		}
		if v := a.str("type", ""); v != "" {
			ev.ProtocolType = &v
		}
		for _, p := range a.list("assign") {
			id, b, _ := strings.Cut(p, ":")
			ev.Assignments = append(ev.Assignments, Assignment{MemberID: id, Bytes: []byte(b)})
		}
		s.step(ev)
	case "heartbeat":
		s.step(Heartbeat{Ticket: ticket, MemberID: a.str("member", ""), InstanceID: a.str("instance", ""), Generation: int32(a.num("gen", 0))})
	case "leave":
		ev := Leave{Ticket: ticket}
		for _, m := range a.list("members") {
			id, instance, _ := strings.Cut(m, "/")
			ev.Members = append(ev.Members, Leaver{MemberID: id, InstanceID: instance})
		}
		s.step(ev)
	case "abandon":
		s.step(Abandon{Ticket: ticket})
	case "saved":
		rev := uint64(a.num("rev", int(s.state.revision)))
		s.step(Saved{Revision: rev, Code: Code(a.num("code", 0))})
	case "commit":
		code := s.state.CheckCommit(a.str("member", ""), a.str("instance", ""), int32(a.num("gen", -1)), s.now)
		fmt.Fprintf(&s.out, "code=%d\n", code)
	case "advance":
		elapse(t, s.state, &s.now, a.dur("by", "1s"), s.step)
	case "restart":
		_, b := s.state.Snapshot()
		r, err := RestoreState("g", b, s.cfg, s.now)
		if err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
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

// elapse lets time pass for a group: it ticks whenever the group wants to wake.
func elapse(t *testing.T, m machine, now *time.Time, by time.Duration, step func(Event)) {
	t.Helper()
	end := now.Add(by)
	for n := 0; ; n++ {
		w := m.Wake()
		if w.IsZero() || w.After(end) {
			break
		}
		if n > 1000 {
			t.Fatal("the group ticks without end")
		}
		if w.After(*now) {
			*now = w
		}
		step(Tick{})
	}
	*now = end
}

func (s *story) step(ev Event) {
	o := s.state.Step(ev, s.now)
	slices.SortStableFunc(o.Replies, func(a, b Reply) int { return int(a.Ticket) - int(b.Ticket) })
	for _, r := range o.Replies {
		fmt.Fprintf(&s.out, "%v t%d code=%d", s.now.Sub(s.start), r.Ticket, r.Code)
		if r.MemberID != "" {
			fmt.Fprintf(&s.out, " member=%s gen=%d", r.MemberID, r.Generation)
		}
		if r.Leader != "" {
			fmt.Fprintf(&s.out, " %s/%s leader=%s", r.ProtocolType, r.Protocol, r.Leader)
		}
		if r.Skip {
			s.out.WriteString(" skip")
		}
		for _, m := range r.Members {
			fmt.Fprintf(&s.out, " [%s %s %s]", m.ID, m.InstanceID, m.Metadata)
		}
		if r.Assignment != nil {
			fmt.Fprintf(&s.out, " assignment=%q", r.Assignment)
		}
		if r.Left != nil {
			fmt.Fprintf(&s.out, " left=%d", r.Left)
		}
		s.out.WriteByte('\n')
	}
	if o.Save {
		fmt.Fprintf(&s.out, "%v save %d\n", s.now.Sub(s.start), s.state.revision)
	}
}

func (s *story) describe() {
	fmt.Fprintf(&s.out, "%v %s gen=%d protocol=%s leader=%s", s.now.Sub(s.start), s.state.phase, s.state.generation, s.state.protocol, s.state.leader)
	for _, m := range s.state.sorted() {
		fmt.Fprintf(&s.out, " [%s %s joining=%d syncing=%d %q]", m.id, m.instance, m.joining, m.syncing, m.assignment)
	}
	if len(s.state.pending) > 0 {
		fmt.Fprintf(&s.out, " pending=%d", len(s.state.pending))
	}
	s.out.WriteByte('\n')
}
