package replica

import (
	"cmp"
	"maps"
	"slices"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/routing"
)

// members is who is alive: of a follower what it was told, of the sequencer what it hears.
type members struct {
	list    routing.Members // as others see it, this agent included; never changed once made
	version uint64          // of what was told: the term in the upper half
	told    routing.Members // by the sequencer; without this agent while that does not know it

	// Of the sequencer.
	heard     map[uint64]heardMember // by session
	followers map[string]int64       // peer address: when it called last
	lastHeard map[uint64]int64       // session: when its agent was heard last, or when it was first missed; in this term
	sealing   map[uint64]bool
	began     int64 // when the term began
	listedAt  int64
	sealedAt  int64 // when sessions were looked through last
	checkedAt int64 // when the log was asked last whether the term still is the newest
	silent    bool  // there were followers, and none is heard
	stalled   bool  // the append under way has had no outcome for long
	raising   bool
}

type heardMember struct {
	routing.Member
	at int64
}

func (m *members) init() {
	m.heard, m.followers, m.lastHeard, m.sealing = map[uint64]heardMember{}, map[string]int64{}, map[uint64]int64{}, map[uint64]bool{}
}

// learn takes what the sequencer says, as a follower.
func (m *members) learn(c *Core, version uint64, list []*peerpb.Member) {
	if version <= m.version {
		return
	}
	m.version = version
	told := make([]routing.Member, 0, len(list))
	for _, w := range list {
		told = append(told, fromWire(w))
	}
	m.told = routing.Sorted(told)
	m.show(c)
}

// show makes the list of what was told and of this agent.
func (m *members) show(c *Core) {
	list := m.told
	if s := c.self; s.Session != 0 {
		list = routing.Sorted(append(slices.Clone(m.told), s))
	}
	m.list = list
}

func (m *members) selfChanged(c *Core) {
	if c.mode == sequencing {
		m.relist(c)
		return
	}
	m.show(c)
}

// shift says that for gap nothing could be heard.
func (m *members) shift(gap int64) {
	for s, h := range m.heard {
		h.at += gap
		m.heard[s] = h
	}
	for a := range m.followers {
		m.followers[a] += gap
	}
	for s := range m.lastHeard {
		m.lastHeard[s] += gap
	}
	m.began += gap
}

// followed reports whether anybody has called lately, who may want entries.
func (m *members) followed(now int64) bool {
	for _, at := range m.followers { // any order: only whether one is there counts
		if now-at < ms(longestOff) {
			return true
		}
	}
	return false
}

// beginToLead takes the members that were known over: their agents have the time of a silence to be heard. But for those that do not answer,
// the sequencer before among them: clients would be sent to them until then, and at each take-over again.
func (c *Core) beginToLead() {
	m := &c.members
	known := m.told
	m.init()
	assumed := c.now - max(0, ms(c.cfg.MemberSilence)-ms(c.cfg.Silence))
	for _, k := range known {
		if k.Session != c.self.Session {
			m.lastHeard[k.Session] = c.now
			if c.source.deaf(k.Peer, c.now) {
				continue
			}
			m.heard[k.Session] = heardMember{k, assumed}
			if k.Peer != "" {
				m.followers[k.Peer] = c.now
			}
		}
	}
	m.began, m.listedAt, m.sealedAt, m.checkedAt, m.silent, m.raising = c.now, c.now, c.now, c.now, false, false
	m.version = c.leader.term << 32
	m.relist(c)
	c.sealSilent()
	c.raiseLevel()
}

// relist publishes who is heard.
func (m *members) relist(c *Core) {
	told := make([]routing.Member, 0, len(m.heard)+1)
	for _, s := range slices.Sorted(maps.Keys(m.heard)) {
		told = append(told, m.heard[s].Member)
	}
	if c.self.Session != 0 {
		told = append(told, c.self)
	}
	m.told = routing.Sorted(told)
	m.version++
	m.listedAt = c.now
	m.show(c)
}

// hearMember takes an agent's sign of life.
func (c *Core) hearMember(w *peerpb.Member) {
	m, member := &c.members, fromWire(w)
	if member.Peer != "" {
		m.followers[member.Peer] = c.now
		m.silent = false
	}
	if member.Session == 0 || member.Session == c.self.Session || c.view.SessionSealed(metadata.SessionID(member.Session)) {
		return // it has none, or will learn that it has none any more
	}
	before, known := m.heard[member.Session]
	m.heard[member.Session] = heardMember{member, c.now}
	m.lastHeard[member.Session] = c.now
	if !known || !sameMember(before.Member, member) {
		m.relist(c)
	}
}

// sameMember reports whether nothing is new that others must know at once.
func sameMember(a, b routing.Member) bool {
	return a.Kafka == b.Kafka && a.Peer == b.Peer && a.HTTP == b.HTTP && a.Zone == b.Zone && a.Draining == b.Draining && slices.Equal(a.Roles, b.Roles)
}

// lead is the sequencer's tick.
func (c *Core) lead() {
	m := &c.members
	gone := 0
	for s, h := range m.heard { // any order: each for itself
		if c.now-h.at >= ms(c.cfg.MemberSilence) || c.view.SessionSealed(metadata.SessionID(s)) {
			delete(m.heard, s)
			gone++
		}
	}
	if gone > 0 || c.now-m.listedAt >= ms(2*beat) && m.ratesMoved() {
		m.relist(c)
	}
	for a, at := range m.followers { // any order
		if c.now-at >= ms(c.cfg.MemberSilence) {
			delete(m.followers, a)
			m.silent = m.silent || len(m.followers) == 0
		}
	}
	if c.doubt > 0 && c.now-m.checkedAt >= ms(beat) {
		c.check()
	}
	if m.silent && c.now-m.checkedAt >= ms(c.cfg.MemberSilence) {
		c.check() // whoever is cut off from all others may have been deposed
		if c.now-m.began > ms(c.cfg.SealAfter) && len(m.lastHeard) == 0 {
			m.silent = false // their sessions are sealed, which no deposed sequencer could have done
		}
	}
	if c.now-m.sealedAt >= ms(beat) {
		m.sealedAt = c.now
		c.sealSilent()
	}
}

// ratesMoved reports whether a rate has become another by a quarter and more, which others want to know at their leisure.
func (m *members) ratesMoved() bool {
	for _, t := range m.told {
		h, ok := m.heard[t.Session]
		if ok && (moved(t.ProduceRate, h.ProduceRate, 64<<10) || moved(t.FetchRate, h.FetchRate, 64<<10) || moved(int64(t.Connections), int64(h.Connections), 0)) {
			return true
		}
	}
	return false
}

func moved(before, after, slack int64) bool {
	return max(before, after)-min(before, after) > max(before, after)/4+slack
}

// check asks the log whether this term still is the newest.
func (c *Core) check() {
	if c.mode == sequencing {
		c.members.checkedAt = c.now
		if c.checking == 0 {
			c.checking = c.now
		}
		c.calls++
		c.do(CheckAction{c.calls})
	}
}

// checked takes what a check has found out; who is deposed hears of it otherwise.
func (c *Core) checked(ev CheckedEvent) {
	if ev.Err == nil && ev.Call >= c.doubt {
		c.doubt, c.checking = 0, 0
	}
}

// unanswered reports whether the log has not answered this agent, which sequences, for long: an append or a check.
func (c *Core) unanswered(now int64) bool {
	return c.members.stalled || c.checking > 0 && now-c.checking >= ms(stalled)
}

// sealSilent ends the sessions of agents that have not been heard for long. Never the own one.
func (c *Core) sealSilent() {
	m := &c.members
	seen := map[uint64]bool{}
	for _, s := range c.view.Sessions() {
		id := uint64(s.ID)
		if s.Sealed || id == c.self.Session {
			continue
		}
		seen[id] = true
		at, known := m.lastHeard[id]
		if !known {
			at = c.now
			m.lastHeard[id] = at
		}
		if m.sealing[id] || c.stopping {
			continue
		}
		// An agent that is too old to follow has ended: the log was taken from it.
		if s.Agent.Level >= manyAgents && c.now-at < ms(c.cfg.SealAfter) {
			continue
		}
		m.sealing[id] = true
		c.tell("sealing the session of an agent that is silent", "session", id, "kafka", s.Agent.Address, "seconds", float64(c.now-at)/1000)
		c.command(metadata.SealSession{Session: s.ID}, func(r metadata.Result, err error) {
			delete(m.sealing, id)
			if res, ok := r.(metadata.SealSessionResult); err == nil && ok && res.Err == nil {
				c.stats.Seals++
				c.raiseLevel()
			}
		})
	}
	for id := range m.lastHeard { // any order: each for itself
		if !seen[id] {
			delete(m.lastHeard, id)
		}
	}
}

// raiseLevel lets the log use what all agents at work understand.
func (c *Core) raiseLevel() {
	m := &c.members
	if m.raising || c.view.Level() >= metadata.MaxLevel {
		return
	}
	open := false
	for _, s := range c.view.Sessions() {
		if s.Sealed {
			continue
		}
		if open = true; s.Agent.Level < metadata.MaxLevel {
			return
		}
	}
	if !open { // a log that nobody has written to, or its agents are yet to come
		return
	}
	m.raising = true
	c.command(metadata.RaiseLevel{Level: metadata.MaxLevel}, func(metadata.Result, error) { m.raising = false })
}

// successor is who is to sequence next.
func (c *Core) successor() string {
	others := c.members.list.Where(func(m routing.Member) bool {
		return m.Session != c.self.Session && m.Peer != "" && m.Peer != c.cfg.Owner.Peer
	})
	waiting := others.Where(func(m routing.Member) bool {
		return slices.ContainsFunc(c.serving.polls, func(p *poll) bool { return p.req.GetSelf().GetPeer() == m.Peer })
	})
	for _, ms := range []routing.Members{waiting.Live(), waiting, others.Live(), others} {
		if next, ok := routing.Pick("sequencer", ms); ok {
			return next.Peer
		}
	}
	addrs := slices.SortedFunc(maps.Keys(c.members.followers), func(a, b string) int { return cmp.Compare(a, b) })
	if len(addrs) > 0 {
		return addrs[0] // it has no session yet
	}
	return ""
}
