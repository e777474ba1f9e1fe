package group

import (
	"slices"
	"time"
)

// prepare begins a rebalance unless one is being prepared, and completes it when nobody is missing.
func (s *State) prepare(now time.Time, out *Output) {
	if s.phase != PreparingRebalance {
		if s.phase == CompletingRebalance {
			s.dropAssignments(codeRebalanceInProgress, out)
		}
		if s.phase == Empty {
			s.delayUntil = now.Add(s.cfg.InitialDelay)
			s.delayLimit = now.Add(max(s.patience(), s.cfg.InitialDelay))
			s.delayGrew = false
			s.wakeBy(s.delayUntil)
		}
		s.phase = PreparingRebalance
		s.syncEnds = time.Time{}
		s.rebalanceEnds = now.Add(s.patience())
		s.wakeBy(s.rebalanceEnds)
	}
	s.tryComplete(now, out)
}

// patience is the longest rebalance timeout of the members.
func (s *State) patience() time.Duration {
	d := time.Duration(0)
	for _, m := range s.members {
		d = max(d, m.rebalance)
	}
	return d
}

// tryComplete ends the preparation when every member has joined and no handed-out id is still expected back.
func (s *State) tryComplete(now time.Time, out *Output) {
	if s.phase == PreparingRebalance && s.joined == len(s.members) && len(s.pending) == 0 && !now.Before(s.delayUntil) {
		s.complete(now, out)
	}
}

// complete begins the next generation with the members that have joined.
func (s *State) complete(now time.Time, out *Output) {
	for _, m := range s.sorted() {
		if m.joining == 0 && m.instance == "" {
			s.remove(m, out)
		}
	}
	// Static members keep their place until their session ends, but somebody who is there has to lead: the oldest member.
	if l := s.members[s.leader]; l == nil || l.joining == 0 {
		all := s.sorted()
		i := slices.IndexFunc(all, func(m *member) bool { return m.joining != 0 })
		if i < 0 && len(all) > 0 {
			s.rebalanceEnds = now.Add(s.patience())
			s.wakeBy(s.rebalanceEnds)
			return
		}
		s.leader = ""
		if i >= 0 {
			s.leader = all[i].id
		}
	}
	s.generation++
	s.assignedRev = 0
	s.delayUntil, s.rebalanceEnds, s.syncEnds = time.Time{}, time.Time{}, time.Time{}
	if len(s.members) == 0 {
		s.phase, s.protocol, s.emptySince = Empty, "", now
		s.save(out)
		return
	}
	s.phase = CompletingRebalance
	s.protocol = s.selectProtocol()
	s.syncEnds = now.Add(s.patience())
	s.wakeBy(s.syncEnds)
	for _, m := range s.sorted() {
		m.assignment = nil
		m.synced = m.joining == 0 // an absent static member: its session, not this generation, decides about it
		if m.joining != 0 {
			m.fresh = false
			s.touch(m, now)
			out.reply(s.joinReply(m, m.joining))
			m.joining = 0
		}
	}
	s.joined = 0
}

// dropAssignments forgets what the leader sent and answers who waits for it.
func (s *State) dropAssignments(code Code, out *Output) {
	s.assignedRev = 0
	for _, m := range s.sorted() {
		m.assignment = nil
		out.refuse(m.syncing, code)
		m.syncing = 0
	}
}

// remove takes m out; what it waits for is answered with UNKNOWN_MEMBER_ID. The caller decides what it means for the
// group.
func (s *State) remove(m *member, out *Output) {
	if m.joining != 0 {
		s.joined--
		out.refuse(m.joining, codeUnknownMemberID)
	}
	out.refuse(m.syncing, codeUnknownMemberID)
	s.dropProtocols(m)
	delete(s.members, m.id)
	if m.instance != "" && s.static[m.instance] == m.id {
		delete(s.static, m.instance)
	}
	if s.leader == m.id {
		s.leader = "" // complete finds another one; until then nobody asks
	}
}

func (s *State) leave(ev Leave, now time.Time, out *Output) {
	r := Reply{Ticket: ev.Ticket, Left: make([]Code, len(ev.Members))}
	changed, lost := false, false
	for i, l := range ev.Members {
		if l.InstanceID != "" && l.MemberID == "" {
			l.MemberID = s.static[l.InstanceID]
		}
		if _, ok := s.pending[l.MemberID]; ok && l.InstanceID == "" {
			delete(s.pending, l.MemberID)
			changed = true
			continue
		}
		m, code := s.lookup(l.MemberID, l.InstanceID)
		r.Left[i] = code
		if code == codeNone {
			s.remove(m, out)
			changed, lost = true, true
		}
	}
	out.reply(r)
	if changed {
		s.changed(lost, now, out)
	}
}

// changed follows the loss of members, or only of ids that were expected back: those hold up a rebalance but do not
// begin one.
func (s *State) changed(lostMember bool, now time.Time, out *Output) {
	switch {
	case s.phase == PreparingRebalance:
		s.tryComplete(now, out)
	case s.phase != Empty && lostMember:
		s.prepare(now, out)
	}
}

// abandon ends the wait of a request whose connection is gone. A member that has never been in a generation goes with
// it: nobody else holds its place, and a rebalance need not wait for it. A known member stays until its session ends.
func (s *State) abandon(t Ticket, now time.Time, out *Output) {
	s.held = slices.DeleteFunc(s.held, func(h heldReply) bool { return h.reply.Ticket == t })
	for _, m := range s.members {
		if m.syncing == t {
			m.syncing = 0
			s.touch(m, now)
			return
		}
		if m.joining != t {
			continue
		}
		m.joining = 0
		s.joined--
		s.touch(m, now)
		if m.fresh && m.instance == "" {
			s.remove(m, out)
			s.changed(true, now, out)
		}
		return
	}
}

// tick does everything that is due and finds the next deadline.
func (s *State) tick(now time.Time, out *Output) {
	lapsed, lost := false, false
	for id, at := range s.pending {
		if !now.Before(at) {
			delete(s.pending, id)
			lapsed = true
		}
	}
	for _, m := range s.sorted() {
		if !m.awaited() && !now.Before(m.deadline) {
			s.remove(m, out)
			lapsed, lost = true, true
		}
	}
	if !s.syncEnds.IsZero() && !now.Before(s.syncEnds) {
		s.syncEnds = time.Time{}
		for _, m := range s.sorted() {
			if !m.synced {
				s.remove(m, out)
				lapsed, lost = true, true
			}
		}
	}
	if lapsed {
		s.changed(lost, now, out)
	}
	if s.phase == PreparingRebalance {
		s.tickRebalance(now, out)
	}
	s.findWake()
}

func (s *State) tickRebalance(now time.Time, out *Output) {
	if !s.delayUntil.IsZero() && !now.Before(s.delayUntil) {
		if s.delayGrew && s.delayUntil.Before(s.delayLimit) {
			s.delayGrew = false
			s.delayUntil = minTime(now.Add(s.cfg.InitialDelay), s.delayLimit)
			return
		}
		s.delayUntil = time.Time{}
		s.tryComplete(now, out)
	}
	if s.phase == PreparingRebalance && !now.Before(s.rebalanceEnds) {
		s.complete(now, out)
	}
}

// findWake looks at every deadline there is.
func (s *State) findWake() {
	s.wake = time.Time{}
	for _, at := range s.pending {
		s.wakeBy(at)
	}
	for _, m := range s.members {
		if !m.awaited() {
			s.wakeBy(m.deadline)
		}
	}
	s.wakeBy(s.syncEnds)
	if s.phase == PreparingRebalance {
		s.wakeBy(s.delayUntil)
		s.wakeBy(s.rebalanceEnds)
	}
}

// awaited reports that a request of the member waits here, which stands in for heartbeats.
func (m *member) awaited() bool { return (m.joining != 0 && !m.fresh) || m.syncing != 0 }

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
