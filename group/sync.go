package group

import "time"

func (s *State) sync(ev Sync, now time.Time, out *Output) {
	m, code := s.checkSync(ev)
	if code != codeNone {
		out.refuse(ev.Ticket, code)
		return
	}
	s.touch(m, now)
	m.synced = true
	if s.phase == Stable {
		out.reply(s.syncReply(m, ev.Ticket))
		return
	}
	out.refuse(m.syncing, codeRebalanceInProgress) // the same member asks again: its older request will not be read
	m.syncing = ev.Ticket
	if m.id == s.leader && s.assignedRev == 0 {
		s.assign(ev.Assignments)
		s.assignedRev = s.save(out)
	}
}

func (s *State) checkSync(ev Sync) (*member, Code) {
	m, code := s.lookup(ev.MemberID, ev.InstanceID)
	switch {
	case code != codeNone:
		return nil, code
	case ev.Generation != s.generation:
		return nil, codeIllegalGeneration
	case ev.ProtocolType != nil && *ev.ProtocolType != s.protocolType,
		ev.Protocol != nil && *ev.Protocol != s.protocol:
		return nil, codeInconsistentProtocol
	case s.phase == PreparingRebalance:
		return nil, codeRebalanceInProgress
	default:
		return m, codeNone
	}
}

// assign takes over the leader's word. Whoever it did not name has an empty assignment.
func (s *State) assign(assignments []Assignment) {
	for _, m := range s.members {
		m.assignment = []byte{}
	}
	for _, a := range assignments {
		if m := s.members[a.MemberID]; m != nil {
			m.assignment = a.Bytes
		}
	}
}

func (s *State) syncReply(m *member, t Ticket) Reply {
	return Reply{Ticket: t, ProtocolType: s.protocolType, Protocol: s.protocol, Assignment: m.assignment}
}

func (s *State) heartbeat(ev Heartbeat, now time.Time, out *Output) {
	m, code := s.lookup(ev.MemberID, ev.InstanceID)
	if code == codeNone && ev.Generation != s.generation {
		code = codeIllegalGeneration
	}
	if code != codeNone {
		out.refuse(ev.Ticket, code)
		return
	}
	s.touch(m, now)
	if s.phase == PreparingRebalance {
		code = codeRebalanceInProgress // how a member learns that it has to join again
	}
	out.reply(Reply{Ticket: ev.Ticket, Code: code})
}

// save asks for the group as it is now to be made durable and returns the revision to wait for.
func (s *State) save(out *Output) uint64 {
	s.revision++
	out.Save = true
	return s.revision
}

func (s *State) saved(ev Saved, now time.Time, out *Output) {
	for len(s.held) > 0 && s.held[0].rev <= ev.Revision {
		r := s.held[0].reply
		s.held = s.held[1:]
		if ev.Code != codeNone {
			r = Reply{Ticket: r.Ticket, Code: ev.Code, Generation: -1}
		}
		out.reply(r)
	}
	if s.phase != CompletingRebalance || s.assignedRev == 0 || s.assignedRev > ev.Revision {
		return
	}
	if ev.Code != codeNone {
		s.dropAssignments(ev.Code, out)
		s.prepare(now, out)
		return
	}
	s.phase, s.assignedRev = Stable, 0
	for _, m := range s.sorted() {
		if m.syncing != 0 {
			s.touch(m, now)
			out.reply(s.syncReply(m, m.syncing))
			m.syncing = 0
		}
	}
}
