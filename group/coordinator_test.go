package group

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
)

// testMember does what a consumer does: joins, assigns when it leads, beats every 3 s, joins again when told.
type testMember struct {
	c        *Coordinator
	group    string
	instance *string
	work     int // the leader deals out so many pieces

	mu         sync.Mutex
	id         string
	generation int32
	assigned   string // pieces, while it has an assignment
	joins      int
}

func (m *testMember) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !m.join(ctx) {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(3 * time.Second):
			}
			if code := m.beat(ctx); code != 0 {
				break
			}
		}
	}
}

func (m *testMember) join(ctx context.Context) bool {
	m.mu.Lock()
	id := m.id
	m.assigned = ""
	m.joins++
	m.mu.Unlock()
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID = 9, m.group, id, m.instance
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = 10_000, 30_000, "consumer"
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "deal", Metadata: []byte("all")}}
	resp := m.c.JoinGroup(ctx, req, "test", "127.0.0.1")
	m.mu.Lock()
	m.id, m.generation = resp.MemberID, resp.Generation
	if Code(resp.ErrorCode) == codeUnknownMemberID {
		m.id = ""
	}
	m.mu.Unlock()
	if resp.ErrorCode != 0 {
		return false
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.InstanceID, sync.Generation = 5, m.group, resp.MemberID, m.instance, resp.Generation
	for i, o := range resp.Members {
		var pieces []string
		for p := i; p < m.work; p += len(resp.Members) {
			pieces = append(pieces, fmt.Sprint(p))
		}
		sync.GroupAssignment = append(sync.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{
			MemberID: o.MemberID, MemberAssignment: []byte(strings.Join(pieces, ",")),
		})
	}
	got := m.c.SyncGroup(ctx, sync)
	if got.ErrorCode != 0 {
		return false
	}
	m.mu.Lock()
	m.assigned = string(got.MemberAssignment)
	m.mu.Unlock()
	return true
}

func (m *testMember) beat(ctx context.Context) Code {
	m.mu.Lock()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation, req.InstanceID = 4, m.group, m.id, m.generation, m.instance
	m.mu.Unlock()
	code := Code(m.c.Heartbeat(ctx, req).ErrorCode)
	if code == codeUnknownMemberID {
		m.mu.Lock()
		m.id = ""
		m.mu.Unlock()
	}
	return code
}

// place returns the member's id and generation.
func (m *testMember) place() (id string, generation int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id, m.generation
}

// stateOf returns what the coordinator holds of a group, with the shard locked until done is called.
func stateOf(c *Coordinator, group string) (s *State, done func()) {
	sh := &c.shards[ShardOf(group)]
	sh.mu.Lock()
	return sh.groups[group].state.(*State), sh.mu.Unlock
}

// checkDeal fails unless the members share one generation and every piece has exactly one owner among them.
func checkDeal(t *testing.T, work int, members ...*testMember) int32 {
	t.Helper()
	owned := map[string]int{}
	_, gen := members[0].place()
	for i, m := range members {
		m.mu.Lock()
		if m.generation != gen {
			t.Errorf("member %d is in generation %d, member 0 in %d", i, m.generation, gen)
		}
		for p := range strings.SplitSeq(m.assigned, ",") {
			owned[p]++
		}
		m.mu.Unlock()
	}
	for p := range work {
		if owned[fmt.Sprint(p)] != 1 {
			t.Errorf("generation %d: piece %d has %d owners", gen, p, owned[fmt.Sprint(p)])
		}
	}
	return gen
}

func TestMembersShareTheWorkThroughJoinsLeavesAndSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		var members []*testMember
		var stops []context.CancelFunc
		add := func() {
			m := &testMember{c: c, group: "g", work: 12}
			ctx, cancel := context.WithCancel(t.Context())
			go m.run(ctx)
			members, stops = append(members, m), append(stops, cancel)
		}
		for range 4 {
			add()
		}
		time.Sleep(2 * time.Second)
		if gen := checkDeal(t, 12, members...); gen != 1 {
			t.Errorf("members that came together are in generation %d, want 1", gen)
		}

		// One falls silent: after its session the others share its work.
		stops[1]()
		time.Sleep(20 * time.Second)
		members, stops = slices.Delete(members, 1, 2), slices.Delete(stops, 1, 2)
		checkDeal(t, 12, members...)

		// Two more come one after the other.
		add()
		time.Sleep(5 * time.Second)
		add()
		time.Sleep(10 * time.Second)
		checkDeal(t, 12, members...)

		// The first one says goodbye: nobody waits for its session to end.
		stops[0]()
		leave := kmsg.NewPtrLeaveGroupRequest()
		id, _ := members[0].place()
		leave.Version, leave.Group, leave.Members = 5, "g", []kmsg.LeaveGroupRequestMember{{MemberID: id}}
		if resp := c.LeaveGroup(t.Context(), leave); resp.ErrorCode != 0 || resp.Members[0].ErrorCode != 0 {
			t.Errorf("leave: %+v", resp)
		}
		time.Sleep(5 * time.Second)
		checkDeal(t, 12, members[1:]...)
		for _, stop := range stops {
			stop()
		}
		time.Sleep(time.Minute)
		state, done := stateOf(c, "g")
		defer done()
		if got := state.Phase(); got != Empty {
			t.Errorf("after everybody went the group is %v", got)
		}
	})
}

func TestRestartOfTheAgentKeepsMembersAndOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, stop := start(t, f, "a", nil)
		m := &testMember{c: c, group: "g", work: 3}
		n := &testMember{c: c, group: "g", work: 3}
		for _, m := range []*testMember{m, n} {
			go m.join(t.Context())
		}
		time.Sleep(time.Second)
		for _, m := range []*testMember{m, n} {
			go m.join(t.Context()) // the second step, with the id
		}
		time.Sleep(2 * time.Second)
		gen := checkDeal(t, 3, m, n)
		id, _ := m.place()
		if code := commit(t, c, "g", id, gen, 1, 77); code != 0 {
			t.Fatalf("commit: %d", code)
		}
		stop()
		if code := m.beat(t.Context()); code != codeNotCoordinator {
			t.Errorf("a stopped coordinator answers %d", code)
		}

		c2, _ := start(t, f, "a", nil)
		m.c, n.c = c2, c2
		for range 10 {
			time.Sleep(3 * time.Second)
			if a, b := m.beat(t.Context()), n.beat(t.Context()); a != 0 || b != 0 {
				t.Fatalf("heartbeats after the restart: %d, %d", a, b)
			}
		}
		if got := fetchOffset(t, c2, "g", 1); got != 77 {
			t.Errorf("offset after the restart: %d, want 77", got)
		}
		if code := commit(t, c2, "g", id, gen, 1, 78); code != 0 {
			t.Errorf("commit in the generation of before: %d", code)
		}
	})
}

func TestAssignmentWaitsUntilTheGroupIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", func(cfg *Config) { cfg.InitialDelay = 0 })
		m := &testMember{c: c, group: "g", work: 1}
		m.join(t.Context())
		f.delay = time.Second
		began := time.Now()
		if !m.join(t.Context()) {
			t.Fatal("join failed")
		}
		if d := time.Since(began); d < time.Second {
			t.Errorf("the assignment came after %v, the write takes 1 s", d)
		}
		f.fail = metadata.ErrUnavailable
		if m.join(t.Context()) {
			t.Error("an assignment was handed out although it could not be made durable")
		}
		f.fail = nil
		if !m.join(t.Context()) || m.assigned != "0" {
			t.Errorf("after the outage the member has %q", m.assigned)
		}
	})
}

func TestLostClaimIsNotCoordinatorAndWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		a, _ := start(t, f, "a", nil)
		b, _ := start(t, f, "bb", nil)
		if code := commit(t, a, "g", "", -1, 0, 10); code != 0 {
			t.Fatalf("commit: %d", code)
		}
		if owner, _ := a.Holder("g"); owner != "a" {
			t.Errorf("the shard is held by %q, want a", owner)
		}
		// A member waits at a when b takes the shard.
		waiting := make(chan int16, 1)
		go func() {
			req := kmsg.NewPtrJoinGroupRequest()
			req.Group, req.SessionTimeoutMillis, req.ProtocolType = "g", 10_000, "consumer"
			req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "deal"}}
			waiting <- a.JoinGroup(t.Context(), req, "", "").ErrorCode
		}()
		time.Sleep(50 * time.Millisecond)
		if got := fetchOffset(t, b, "g", 0); got != 10 {
			t.Errorf("b sees offset %d, want 10", got)
		}
		if code := commit(t, a, "g", "", -1, 0, 11); code != int16(codeNotCoordinator) {
			t.Errorf("commit at the deposed coordinator: %d", code)
		}
		if code := <-waiting; code != int16(codeNotCoordinator) {
			t.Errorf("the waiting join got %d, want 16", code)
		}
		if got := fetchOffset(t, b, "g", 0); got != 10 {
			t.Errorf("b sees offset %d after the refused write, want 10", got)
		}
	})
}

func TestCommitOvertakenByAClaimIsRefusedWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		a, _ := start(t, f, "a", nil)
		commit(t, a, "g", "", -1, 0, 10)
		f.gate = func(cmd metadata.SetKeys) {
			// Somebody claims between a's look at the claim and its write.
			f.mu.Lock()
			defer f.mu.Unlock()
			f.seq++
			kv := f.keys[cmd.Ops[0].Key]
			kv.Version = f.seq
			f.keys[cmd.Ops[0].Key] = kv
		}
		if code := commit(t, a, "g", "", -1, 0, 11); code != int16(codeNotCoordinator) {
			t.Errorf("commit: %d, want 16", code)
		}
		f.gate = nil
		if got := fetchOffset(t, a, "g", 0); got != 10 {
			t.Errorf("offset %d, want 10", got)
		}
	})
}

func TestClosedConnectionGivesUpItsJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", func(cfg *Config) { cfg.InitialDelay = time.Minute })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req := kmsg.NewPtrJoinGroupRequest()
		req.Group, req.SessionTimeoutMillis, req.ProtocolType = "g", 10_000, "consumer"
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "deal"}}
		c.JoinGroup(ctx, req, "", "")
		state, done := stateOf(c, "g")
		defer done()
		if n := len(state.members); n != 0 {
			t.Errorf("%d members are left", n)
		}
	})
}

func TestGroupsThatLeaveNothingBehindAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", func(cfg *Config) { cfg.MaxGroups = 3 })
		join := func(group string) int16 {
			req := kmsg.NewPtrJoinGroupRequest()
			req.Version, req.Group, req.SessionTimeoutMillis, req.ProtocolType = 9, group, 10_000, "consumer"
			req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "deal"}}
			return c.JoinGroup(t.Context(), req, "", "").ErrorCode
		}
		for i := range 3 {
			if code := join(fmt.Sprint("g", i)); code != int16(codeMemberIDRequired) {
				t.Fatalf("join: %d", code)
			}
		}
		if code := join("one too many"); code != int16(codePolicyViolation) {
			t.Errorf("the fourth group got %d, want 44", code)
		}
		time.Sleep(11 * time.Second) // the ids lapse
		if n := c.groups.Load(); n != 0 {
			t.Errorf("%d groups are left in memory", n)
		}
		if code := join("now there is room"); code != int16(codeMemberIDRequired) {
			t.Errorf("join: %d", code)
		}
	})
}
