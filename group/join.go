package group

import "time"

// newMemberPatience is how long a member that has never been in a generation may wait for one (KAFKA-7610): its Join
// stands in for heartbeats, and a client that died meanwhile must not stay for ever.
const newMemberPatience = 5 * time.Minute

// Step folds one event into the group at time now and says what is to be done. It never blocks and reads nothing but
// its arguments; now must not go back.
func (s *State) Step(ev Event, now time.Time) Output {
	var out Output
	switch ev := ev.(type) {
	case Join:
		s.join(ev, now, &out)
	case Sync:
		s.sync(ev, now, &out)
	case Heartbeat:
		s.heartbeat(ev, now, &out)
	case Leave:
		s.leave(ev, now, &out)
	case Abandon:
		s.abandon(ev.Ticket, now, &out)
	case Saved:
		s.saved(ev, now, &out)
	case Tick:
		s.tick(now, &out)
	case Beat:
		out.reply(Reply{
			Ticket: ev.Ticket, Code: codeInconsistentProtocol, Generation: -1,
			Text: "Group " + s.name + " has members of the classic protocol.",
		})
	}
	return out
}

func (s *State) join(ev Join, now time.Time, out *Output) {
	if code := s.checkJoin(ev); code != codeNone {
		out.reply(Reply{Ticket: ev.Ticket, Code: code, MemberID: ev.MemberID, Generation: -1})
		return
	}
	if ev.Rebalance <= 0 {
		ev.Rebalance = ev.Session
	}
	if ev.MemberID == "" {
		s.joinNew(ev, now, out)
		return
	}
	if _, ok := s.pending[ev.MemberID]; ok && ev.InstanceID == "" {
		delete(s.pending, ev.MemberID)
		s.add(ev, ev.MemberID, now, out)
		return
	}
	m, code := s.lookup(ev.MemberID, ev.InstanceID)
	if code != codeNone {
		out.reply(Reply{Ticket: ev.Ticket, Code: code, MemberID: ev.MemberID, Generation: -1})
		return
	}
	s.rejoin(m, ev, now, out)
}

// checkJoin decides what needs no look at the member itself.
func (s *State) checkJoin(ev Join) Code {
	if ev.Session < s.cfg.MinSession || ev.Session > s.cfg.MaxSession {
		return codeInvalidSessionTimeout
	}
	n := protocolBytes(ev.Protocols)
	if n > s.cfg.MaxMemberBytes {
		return codeInvalidRequest
	}
	if ev.ProtocolType == "" || len(ev.Protocols) == 0 {
		return codeInconsistentProtocol
	}
	if len(s.members) > 0 {
		if ev.ProtocolType != s.protocolType || !s.shares(ev.Protocols) {
			return codeInconsistentProtocol
		}
	}
	has := s.members[ev.MemberID]
	if id, ok := s.static[ev.InstanceID]; ok && has == nil && ev.InstanceID != "" {
		has = s.members[id]
	}
	if has != nil {
		n -= has.bytes
	}
	if s.bytes+n > s.cfg.MaxGroupBytes {
		return codeGroupMaxSizeReached
	}
	_, asked := s.pending[ev.MemberID]
	if has == nil && !asked && len(s.members)+len(s.pending) >= s.cfg.MaxMembers {
		return codeGroupMaxSizeReached
	}
	return codeNone
}

// shares reports whether all members offer one of the protocols.
func (s *State) shares(protocols []Protocol) bool {
	for _, p := range protocols {
		if s.supporters[p.Name] == len(s.members) {
			return true
		}
	}
	return false
}

func (s *State) joinNew(ev Join, now time.Time, out *Output) {
	if ev.InstanceID != "" {
		if id, ok := s.static[ev.InstanceID]; ok {
			s.replaceStatic(s.members[id], ev, now, out)
			return
		}
	} else if ev.NeedID {
		// KIP-394: only a client that comes back with the id becomes a member, so clients that give up while they wait
		// leave nobody behind.
		s.pending[ev.NewID] = now.Add(ev.Session)
		s.wakeBy(s.pending[ev.NewID])
		out.reply(Reply{Ticket: ev.Ticket, Code: codeMemberIDRequired, MemberID: ev.NewID, Generation: -1})
		return
	}
	s.add(ev, ev.NewID, now, out)
}

// add makes a new member, whose Join waits for the next generation.
func (s *State) add(ev Join, id string, now time.Time, out *Output) {
	if len(s.members) == 0 {
		s.protocolType = ev.ProtocolType
	}
	s.order++
	m := &member{
		id: id, instance: ev.InstanceID, clientID: ev.ClientID, host: ev.Host, session: ev.Session, rebalance: ev.Rebalance,
		order: s.order, joining: ev.Ticket, fresh: true, deadline: now.Add(newMemberPatience),
	}
	s.members[id] = m
	s.joined++
	s.setProtocols(m, ev.Protocols)
	if ev.InstanceID != "" {
		s.static[ev.InstanceID] = id
	}
	s.delayGrew = true
	s.wakeBy(m.deadline)
	s.prepare(now, out)
}

// rejoin handles a member that is known: a client in a rebalance, one whose subscription changed, or one that did not
// hear the answer to its last Join.
func (s *State) rejoin(m *member, ev Join, now time.Time, out *Output) {
	same := sameProtocols(m.protocols, ev.Protocols)
	heard := s.phase == CompletingRebalance || (s.phase == Stable && m.id != s.leader)
	if heard && same {
		s.touch(m, now)
		out.reply(s.joinReply(m, ev.Ticket))
		return
	}
	// A leader that joins again in a stable group wants a rebalance: for instance its topics got more partitions.
	s.update(m, ev, now, out)
	s.prepare(now, out)
}

// update takes over what a known member says of itself now; its Join waits.
func (s *State) update(m *member, ev Join, now time.Time, out *Output) {
	if m.joining == 0 {
		s.joined++
	} else {
		out.refuse(m.joining, codeRebalanceInProgress)
	}
	m.joining = ev.Ticket
	m.clientID, m.host, m.session, m.rebalance = ev.ClientID, ev.Host, ev.Session, ev.Rebalance
	s.setProtocols(m, ev.Protocols)
	s.touch(m, now)
}

// replaceStatic gives the place of static member m to the process that now bears its instance id (KIP-345). In a stable
// group whose protocol stays the same nobody else notices.
func (s *State) replaceStatic(m *member, ev Join, now time.Time, out *Output) {
	oldLeader := s.leader
	if m.joining != 0 {
		out.refuse(m.joining, codeFencedInstanceID)
		m.joining = 0
		s.joined--
	}
	out.refuse(m.syncing, codeFencedInstanceID)
	m.syncing = 0
	delete(s.members, m.id)
	if s.leader == m.id {
		s.leader = ev.NewID
	}
	m.id = ev.NewID
	s.members[m.id], s.static[m.instance] = m, m.id
	m.clientID, m.host, m.session, m.rebalance = ev.ClientID, ev.Host, ev.Session, ev.Rebalance
	s.setProtocols(m, ev.Protocols)
	s.touch(m, now)

	if s.phase == Stable && s.selectProtocol() == s.protocol {
		// Until the new id is durable, a restarted agent would not know the member it has answered.
		r := s.joinReply(m, ev.Ticket)
		if m.id == s.leader {
			if ev.MaySkip {
				r.Skip = true // KIP-814
			} else {
				// An old client that reads itself as leader would assign anew; under its old id it follows.
				r.Leader, r.Members = oldLeader, nil
			}
		}
		s.held = append(s.held, heldReply{rev: s.save(out), reply: r})
		return
	}
	m.joining = ev.Ticket
	s.joined++
	s.prepare(now, out)
}

// joinReply tells m its place in the current generation; the leader also gets everybody's metadata.
func (s *State) joinReply(m *member, t Ticket) Reply {
	r := Reply{
		Ticket: t, MemberID: m.id, Generation: s.generation,
		ProtocolType: s.protocolType, Protocol: s.protocol, Leader: s.leader,
	}
	if m.id == s.leader {
		for _, o := range s.sorted() {
			r.Members = append(r.Members, JoinedMember{ID: o.id, InstanceID: o.instance, Metadata: o.metadata(s.protocol)})
		}
	}
	return r
}
