package sim

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/group"
	"github.com/bargedata/barge/record"
)

// The codes that members act on, by Kafka's names.
const (
	codeUnknownTopic           = 3
	codeLoadInProgress         = 14
	codeCoordinatorUnavailable = 15
	codeNotCoordinator         = 16
	codeIllegalGeneration      = 22
	codeUnknownMember          = 25
	codeRebalance              = 27
	codeNeedsID                = 79
	codeFencedInstance         = 82
	codeUnknownTopicID         = 100
)

// Times of members, in milliseconds.
const (
	beatEvery   = 2000
	leastLapse  = 6_000 // of a member's session
	rebalanceIn = 15_000
	groupSteps  = 4000 // more of a world with groups
)

// consumerGroup is one group of consumers.
type consumerGroup struct {
	name    string
	wanted  int  // members
	static  bool // they have instance ids
	lapse   int64
	members []*groupMember
	born    int
}

// groupMember is a consumer as far as its group knows it: it finds the coordinator, joins, gives or takes an assignment, and commits.
type groupMember struct {
	client
	w        *world
	g        *consumerGroup
	n        int
	instance string

	id         string
	generation int32
	joined     bool   // it has heard of its generation
	lead       string // as leader: the ids of the members
	led        string // as leader: the partitions that it has assigned
	stable     bool   // it has its assignment
	owns       []record.Partition
	position   map[record.Partition]int64 // where it is; asked for first
	leaving    bool
	gone       bool
	lastLook   bool // when the faults are over it has asked once more for what it committed

	work, beat, mark   *groupRequest // that wait for their answers; mark is a commit
	nextWork, nextBeat int64
}

// groupRequest is a request on its way.
type groupRequest struct {
	to     *agent
	at     int64
	hung   bool
	cancel context.CancelFunc
}

// drawGroups makes the groups of a cluster.
func (w *world) drawGroups() {
	r := w.rng
	for i := range []int{0, 1, 1, 2}[r.IntN(4)] {
		w.groups = append(w.groups, &consumerGroup{
			name: fmt.Sprintf("readers-%d", i), wanted: 1 + r.IntN(3), static: r.IntN(4) == 0, lapse: leastLapse + r.Int64N(6000),
		})
	}
	w.profile.turnover, w.profile.restless = []int{100, 1000, 100_000}[r.IntN(3)], r.IntN(2) == 0
	if len(w.groups) > 0 && w.cfg.Steps == Cluster.steps() {
		w.cfg.Steps += groupSteps // or other clients would get less far
	}
}

// groupTurn lets one of the members act that have something to do; false when there is none.
func (w *world) groupTurn() bool {
	if len(w.groups) == 0 || w.mute || w.now < w.groupsDue || len(w.agents) == 0 {
		return false
	}
	var due []*groupMember
	w.groupsDue = math.MaxInt64
	for _, g := range w.groups {
		g.members = slices.DeleteFunc(g.members, func(m *groupMember) bool { return m.gone })
		if len(g.members) < g.wanted && !w.calm || len(g.members) == 0 {
			g.join(w)
		}
		for _, m := range g.members {
			if at := m.next(); at <= w.now {
				due = append(due, m)
			} else {
				w.groupsDue = min(w.groupsDue, at)
			}
		}
	}
	if len(due) == 0 {
		return false
	}
	w.groupsDue = w.now
	m := due[w.rng.IntN(len(due))]
	if w.calm || w.rng.IntN(w.profile.turnover) > 0 {
		m.act()
		return true
	}
	switch w.rng.IntN(4) {
	case 0:
		m.die()
	case 1: // it stands still, beats and all
		m.until = w.now + w.rng.Int64N(3*m.g.lapse)
		m.nextBeat, m.nextWork = m.until, m.until
		w.counts["members paused"]++
	default:
		m.leaving = true
	}
	return true
}

func (g *consumerGroup) join(w *world) {
	g.born++
	m := &groupMember{w: w, g: g, n: g.born, client: client{machine: w.rng.IntN(machines)}, nextWork: w.now + w.rng.Int64N(3000)}
	if g.static {
		for i := 0; m.instance == "" || slices.ContainsFunc(g.members, func(o *groupMember) bool { return o.instance == m.instance }); i++ {
			m.instance = fmt.Sprintf("instance-%d", i)
		}
	}
	g.members = append(g.members, m)
	w.counts["members started"]++
}

// next is when the member has something to do.
func (m *groupMember) next() int64 {
	var at int64
	if m.work == nil {
		at = max(m.nextWork, m.until)
	} else {
		at = m.limit(m.work, rebalanceIn+m.g.lapse)
	}
	if m.mark != nil {
		at = min(at, m.limit(m.mark, m.w.profile.patience))
	}
	switch {
	case !m.stable:
	case m.beat == nil:
		at = min(at, max(m.nextBeat, m.until))
	default:
		at = min(at, m.limit(m.beat, m.w.profile.patience))
	}
	return at
}

// limit is when the member gives a request up.
func (m *groupMember) limit(r *groupRequest, patience int64) int64 {
	if r.to.gone {
		return m.w.now
	}
	return r.at + patience
}

// act does what is due.
func (m *groupMember) act() {
	now := m.w.now
	for _, slot := range []**groupRequest{&m.work, &m.beat, &m.mark} {
		patience := m.w.profile.patience
		if slot == &m.work {
			patience = rebalanceIn + m.g.lapse
		}
		if r := *slot; r != nil && m.limit(r, patience) <= now {
			*slot = nil
			m.hangUp(r)
			m.home = nil
			m.until = max(m.until, now+m.w.rng.Int64N(300))
			return
		}
	}
	if m.stable && m.beat == nil && now >= max(m.nextBeat, m.until) {
		m.heartbeat()
		return
	}
	if m.work != nil || now < max(m.nextWork, m.until) {
		return
	}
	switch {
	case m.leaving && m.id == "":
		m.gone = true
	case m.leaving:
		m.leave()
	case !m.joined:
		m.join()
	case !m.stable:
		m.sync()
	case m.position == nil || m.w.draining && !m.lastLook || m.w.rng.IntN(10) == 0:
		m.fetch()
	case m.led != "" && m.led != m.w.partitions():
		m.rejoin() // a leader that finds other partitions wants them assigned
	case m.w.draining || now < m.w.quietUntil && !m.w.profile.restless || len(m.owns) == 0 || m.mark != nil:
		m.nextWork = now + 1000 + m.w.rng.Int64N(1000)
	default:
		m.commit()
	}
}

// die ends the process; nobody is told, but by the connection.
func (m *groupMember) die() {
	m.gone = true
	m.w.counts["members killed"]++
	for _, r := range []*groupRequest{m.work, m.beat, m.mark} {
		if r != nil {
			m.hangUp(r)
		}
	}
	m.work, m.beat, m.mark = nil, nil, nil
}

// hangUp closes the connection of a request; its agent notices soon, or late when the way is cut.
func (m *groupMember) hangUp(r *groupRequest) {
	r.hung = true
	if r.cancel == nil || r.to.gone {
		return
	}
	d := m.w.net.delay()
	if !m.w.reaches(&m.client, r.to) {
		d += 2 * keepAlive * 1_000_000
	}
	r.to.after(d, "hang up", r.cancel)
}

// find is the agent that the member talks to: the one it knows for the coordinator, or the one that another agent names.
func (m *groupMember) find() *agent {
	w := m.w
	if a := m.home; a != nil && !a.gone && a.ready {
		return a
	}
	m.home = nil
	asked := w.agents[w.rng.IntN(len(w.agents))]
	m.until = w.now + 100 + w.rng.Int64N(400)
	if !asked.ready || asked.paused || asked.groups == nil || !w.reaches(&m.client, asked) {
		return nil
	}
	found, code := asked.groups.core.Coordinator(w.ctx, m.g.name)
	if code != 0 {
		return nil
	}
	for _, b := range w.agents {
		if b.kafka() == found.Kafka && b.ready && w.reaches(&m.client, b) {
			m.home, m.until = b, 0
			return b
		}
	}
	return nil
}

// request sends something to the coordinator. serve runs there; done hears the answer, here.
func (m *groupMember) request(slot **groupRequest, call *GroupCall, a *agent, serve func(context.Context, *group.Coordinator, *GroupCall), done func(*GroupCall)) {
	w := m.w
	r := &groupRequest{to: a, at: w.now}
	*slot = r
	call.Group, call.Static, call.Member, call.Generation = m.g.name, m.g.static, m.id, m.generation
	lost := func() {
		if *slot == r {
			*slot, m.home, w.groupsDue = nil, nil, 0
		}
	}
	d := w.net.delay()
	if slot == &m.mark && !w.calm && w.rng.IntN(20) == 0 {
		d += time.Duration(w.rng.IntN(8000)) * time.Millisecond // the member goes on meanwhile, and joins again if it has to
	}
	w.onTheWay(&m.client, a, d, func() {
		c := a.groups
		if !a.ready || c == nil || c.ended {
			lost()
			return
		}
		ctx, cancel := context.WithCancel(w.ctx)
		r.cancel = cancel
		if r.hung {
			a.after(w.net.delay(), "hang up", cancel)
		}
		call.Agent, call.Session, call.Began, call.BeganAt, call.Before = a.n, c.a.session, w.steps, w.now, len(w.hist.Groups.Writes)
		foreign := c.foreign(m.g.name)
		w.hist.Groups.Calls = append(w.hist.Groups.Calls, call)
		w.spawn(a, call.Kind.String(), func(*task) {
			defer cancel()
			serve(ctx, c.core, call)
			call.Ended, call.EndedAt, call.After = w.steps, w.now, len(w.hist.Groups.Writes)
			call.Foreign = foreign && c.foreign(m.g.name)
			w.note(call.Kind.String(), fmt.Sprintf("%s %s %d: %d", call.Group, call.Member, call.Generation, call.Code), call.Offset)
			if call.Code == 0 {
				w.counts["group requests answered"]++
			}
			c.stir()
			a.after(w.net.delay(), "answer", func() {
				if *slot != r || !w.hears(&m.client, a) {
					return
				}
				*slot, w.groupsDue = nil, 0
				if !m.gone {
					done(call)
				}
			})
		})
	}, lost)
}

// heed does what every answer that is no success asks of a member, and tells whether it was one.
func (m *groupMember) heed(code int16) (ok bool) {
	w := m.w
	switch code {
	case 0:
		return true
	case codeLoadInProgress:
		m.nextWork = max(m.nextWork, w.now+100)
	case codeCoordinatorUnavailable, codeNotCoordinator:
		m.home = nil
		m.until = max(m.until, w.now+50+w.rng.Int64N(200))
	case codeRebalance, codeIllegalGeneration:
		m.rejoin()
	case codeUnknownMember:
		m.id = ""
		m.rejoin()
	case codeFencedInstance:
		m.gone = true
	default:
		w.flaw("rest", "a member of a group hears code %d", code)
	}
	return false
}

func (m *groupMember) rejoin() {
	m.joined, m.stable, m.lead, m.led, m.owns, m.position = false, false, "", "", nil, nil
	m.nextWork = min(m.nextWork, m.w.now+m.w.rng.Int64N(200))
}

func (m *groupMember) join() {
	a := m.find()
	if a == nil {
		return
	}
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = 9, m.g.name, m.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(m.g.lapse), rebalanceIn
	if m.instance != "" {
		req.InstanceID = &m.instance
	}
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{byte(m.n)}}}
	m.generation = -1
	var leader string
	var others []string
	var generation int32
	var id string
	m.request(&m.work, &GroupCall{Kind: GroupJoin}, a, func(ctx context.Context, c *group.Coordinator, call *GroupCall) {
		resp := c.JoinGroup(ctx, req, fmt.Sprintf("%s-%d", m.g.name, m.n), "host")
		call.Code, call.Member, call.Generation = resp.ErrorCode, resp.MemberID, resp.Generation
		leader, id, generation = resp.LeaderID, resp.MemberID, resp.Generation
		for _, o := range resp.Members {
			others = append(others, o.MemberID)
		}
		if leader == id && !resp.SkipAssignment {
			call.Members = strings.Join(slices.Sorted(slices.Values(others)), " ")
		}
	}, func(call *GroupCall) {
		if call.Code == codeNeedsID {
			m.id = id
			return
		}
		if !m.heed(call.Code) {
			return
		}
		m.id, m.generation, m.joined = id, generation, true
		m.lead = ""
		if leader == id {
			m.lead = strings.Join(others, " ")
		}
	})
}

// sync asks for the member's assignment; the leader tells everybody's: who leads, a number, and the partitions.
func (m *groupMember) sync() {
	a := m.find()
	if a == nil {
		return
	}
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 5, m.g.name, m.id, m.generation
	kind, protocol := "consumer", "range"
	req.ProtocolType, req.Protocol = &kind, &protocol
	if m.instance != "" {
		req.InstanceID = &m.instance
	}
	if m.lead != "" {
		req.GroupAssignment = m.assign(strings.Fields(m.lead))
	}
	m.request(&m.work, &GroupCall{Kind: GroupSync}, a, func(ctx context.Context, c *group.Coordinator, call *GroupCall) {
		resp := c.SyncGroup(ctx, req)
		call.Code, call.Assignment = resp.ErrorCode, string(resp.MemberAssignment)
	}, func(call *GroupCall) {
		switch call.Code {
		case codeCoordinatorUnavailable, codeNotCoordinator, codeLoadInProgress:
			m.rejoin() // as clients do, which take no chances here
		}
		if !m.heed(call.Code) {
			return
		}
		m.w.counts["assignments learned"]++
		m.stable, m.lastLook, m.nextBeat = true, false, m.w.now+beatEvery
		m.owns = m.w.partitionsOf(call.Assignment)
	})
}

// assign spreads the partitions there are over the members.
func (m *groupMember) assign(members []string) []kmsg.SyncGroupRequestGroupAssignment {
	m.w.assigned++
	m.led = m.w.partitions()
	text := make([]string, len(members))
	for i, p := range strings.Fields(m.led) {
		text[i%len(members)] += " " + p
	}
	var out []kmsg.SyncGroupRequestGroupAssignment
	for i, id := range members {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = id, []byte(fmt.Sprintf("%d:%s", m.w.assigned, text[i]))
		out = append(out, a)
	}
	return out
}

// partitions are all that there are.
func (w *world) partitions() string {
	var all strings.Builder
	for _, t := range w.oracle.view.Topics() {
		for index := range t.Partitions {
			fmt.Fprintf(&all, "%s/%d ", t.ID.Hex(), index)
		}
	}
	return all.String()
}

// partitionsOf reads an assignment.
func (w *world) partitionsOf(assignment string) []record.Partition {
	_, list, _ := strings.Cut(assignment, ":")
	var owned []record.Partition
	for _, t := range w.oracle.view.Topics() {
		for index := range t.Partitions {
			if slices.Contains(strings.Fields(list), fmt.Sprintf("%s/%d", t.ID.Hex(), index)) {
				owned = append(owned, record.Partition{Topic: t.ID, Index: index})
			}
		}
	}
	return owned
}

func (m *groupMember) heartbeat() {
	a := m.find()
	if a == nil {
		return
	}
	m.nextBeat = m.w.now + beatEvery + m.w.rng.Int64N(500)
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 4, m.g.name, m.id, m.generation
	if m.instance != "" {
		req.InstanceID = &m.instance
	}
	m.request(&m.beat, &GroupCall{Kind: GroupHeartbeat}, a, func(ctx context.Context, c *group.Coordinator, call *GroupCall) {
		call.Code = c.Heartbeat(ctx, req).ErrorCode
	}, func(call *GroupCall) {
		if call.Member == m.id && call.Generation == m.generation {
			m.heed(call.Code)
		}
	})
}

// commit moves on in one of the member's partitions.
func (m *groupMember) commit() {
	a := m.find()
	if a == nil {
		return
	}
	w := m.w
	p := m.owns[w.rng.IntN(len(m.owns))]
	m.nextWork = w.now + 300 + w.rng.Int64N(3000)
	m.position[p] += 1 + w.rng.Int64N(10)
	w.commits++
	number, offset := w.commits, m.position[p]
	note := strconv.Itoa(number)
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 10, m.g.name, m.id, m.generation
	if m.instance != "" {
		req.InstanceID = &m.instance
	}
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.TopicID = p.Topic
	part := kmsg.NewOffsetCommitRequestTopicPartition()
	part.Partition, part.Offset, part.Metadata = p.Index, offset, &note
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	m.request(&m.mark, &GroupCall{Kind: GroupCommit, Partition: p, Offset: offset, Commit: number}, a, func(ctx context.Context, c *group.Coordinator, call *GroupCall) {
		resp := c.OffsetCommit(context.WithValue(ctx, commitOf{}, number), req)
		call.Code = resp.Topics[0].Partitions[0].ErrorCode
	}, func(call *GroupCall) {
		switch {
		case call.Code == codeUnknownTopicID || call.Code == codeUnknownTopic:
			m.owns = slices.DeleteFunc(m.owns, func(o record.Partition) bool { return o == p })
		case call.Generation == m.generation && call.Member == m.id && m.heed(call.Code):
			w.counts["offsets committed"]++
		}
	})
}

// fetch asks where the group is: the coordinator, or now and then whomever.
func (m *groupMember) fetch() {
	w := m.w
	a := m.find()
	if w.rng.IntN(8) == 0 {
		a = w.agents[w.rng.IntN(len(w.agents))]
		if !a.ready || a.paused || !w.reaches(&m.client, a) {
			a = nil
		}
	}
	if a == nil {
		return
	}
	m.nextWork = w.now + 200 + w.rng.Int64N(500)
	if len(m.owns) == 0 {
		m.position, m.lastLook = map[record.Partition]int64{}, w.draining
		return
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 10
	in := kmsg.NewOffsetFetchRequestGroup()
	in.Group, in.MemberEpoch = m.g.name, -1
	for _, p := range m.owns {
		topic := kmsg.NewOffsetFetchRequestGroupTopic()
		topic.TopicID, topic.Partitions = p.Topic, []int32{p.Index}
		in.Topics = append(in.Topics, topic)
	}
	req.Groups = append(req.Groups, in)
	m.request(&m.work, &GroupCall{Kind: GroupFetch}, a, func(ctx context.Context, c *group.Coordinator, call *GroupCall) {
		out := c.OffsetFetch(ctx, req).Groups[0]
		call.Code = out.ErrorCode
		for _, t := range out.Topics {
			if got := t.Partitions[0]; got.ErrorCode == 0 {
				f := Fetched{Partition: record.Partition{Topic: t.TopicID, Index: got.Partition}, Offset: got.Offset}
				if got.Metadata != nil {
					f.Commit, _ = strconv.Atoi(*got.Metadata)
				}
				call.Fetched = append(call.Fetched, f)
			}
		}
	}, func(call *GroupCall) {
		if !m.heed(call.Code) || !m.stable || call.Generation != m.generation {
			return
		}
		w.counts["offsets fetched"]++
		if m.position == nil {
			m.position = map[record.Partition]int64{}
		}
		m.lastLook = w.draining
		var known []record.Partition // the others' topics are gone
		for _, f := range call.Fetched {
			m.position[f.Partition] = max(m.position[f.Partition], f.Offset, 0)
			known = append(known, f.Partition)
		}
		m.owns = known
	})
}

func (m *groupMember) leave() {
	a := m.find()
	if a == nil {
		return
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = 5, m.g.name
	who := kmsg.NewLeaveGroupRequestMember()
	who.MemberID = m.id
	req.Members = append(req.Members, who)
	m.request(&m.work, &GroupCall{Kind: GroupLeave}, a, func(ctx context.Context, c *group.Coordinator, call *GroupCall) {
		call.Code = c.LeaveGroup(ctx, req).ErrorCode
	}, func(call *GroupCall) {
		if call.Code == 0 {
			m.w.counts["members left"]++
			m.gone = true
			return
		}
		m.heed(call.Code)
	})
}

// groupsRested tells whether every member has its place in its group's one generation.
func (w *world) groupsRested() bool {
	for _, g := range w.groups {
		for _, m := range g.members {
			if m.gone || !m.stable || !m.lastLook || m.work != nil || m.mark != nil || m.generation != g.members[0].generation {
				return false
			}
		}
	}
	return true
}
