package replica

import (
	"math"
	"slices"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/peer/peerpb"
)

// serving is what an agent has for those who follow it.
type serving struct {
	ring      ring
	polls     []*poll // that wait, in the order of their coming
	stamp     uint64  // changes with everything that callers want to know at once
	left      bool    // this agent has ended, and sequenced until then
	leavingTo string  // who is to take the log then
	leftAt    int64
	told      map[string]bool // who knows, by peer address
	admitted  map[metadata.SessionID]uint64
}

// maxAdmitted bounds the sessions whose newest stream is remembered: far more than there are agents.
const maxAdmitted = 10_000

// Admit reports whether a commit of another agent's session may be handed to the own sequencer. stream numbers the stream of Submit that
// it came on, in the order in which they were opened here, from 1: what an earlier stream still has in hand must not overtake what
// the agent hands in again on a later one. Nothing may come between Admit and the handing in.
func (c *Core) Admit(stream uint64, session metadata.SessionID) bool {
	s := &c.serving
	if s.admitted == nil || len(s.admitted) > maxAdmitted {
		s.admitted = map[metadata.SessionID]uint64{}
	}
	if stream < s.admitted[session] {
		return false
	}
	s.admitted[session] = stream
	return true
}

// poll is a call of Follow that waits for news.
type poll struct {
	call  uint64
	req   *peerpb.FollowRequest
	until int64
	stamp uint64
}

// polled takes a call of Follow.
func (c *Core) polled(ev PolledEvent) {
	req, s := ev.Request, &c.serving
	c.stats.PollsTaken++
	if c.mode == sequencing && req.GetSelf() != nil {
		c.hearMember(req.GetSelf())
	}
	if req.GetTerm() > c.leader.term { // somebody knows of a newer one
		switch {
		case c.mode == following:
			c.hint()
		case c.now-c.members.checkedAt >= ms(beat):
			c.check()
		}
	}
	wait := min(int64(req.GetWaitMs()), ms(2*beat))
	p := &poll{call: ev.Call, req: req, until: c.now + wait, stamp: s.stamp}
	if wait == 0 || c.mode == over || req.GetTerm() < c.leader.term || len(s.polls) >= c.cfg.Polls || c.news(p) {
		c.do(ReplyAction{p.call, c.reply(req)})
		return
	}
	s.polls = append(s.polls, p)
}

func (c *Core) unpolled(call uint64) {
	c.serving.polls = slices.DeleteFunc(c.serving.polls, func(p *poll) bool { return p.call == call })
}

// news reports whether there is something that p waits for.
func (c *Core) news(p *poll) bool {
	s := &c.serving
	return p.stamp != s.stamp || p.req.GetMembersVersion() < c.members.version || p.req.GetNext() < s.ring.end() || c.leavingNow()
}

// leavingNow reports whether another agent is wanted to take the log from this one.
func (c *Core) leavingNow() bool {
	return c.serving.left || c.mode == sequencing && c.members.stalled && len(c.members.followers) > 0
}

// answerPolls ends the calls whose time is over or that have got something; after every event.
func (c *Core) answerPolls() {
	s := &c.serving
	if len(s.polls) == 0 {
		return
	}
	waiting := s.polls
	s.polls = nil // so that no reply is made of half a list
	kept := waiting[:0]
	for _, p := range waiting {
		if c.mode != over && c.now < p.until && !c.news(p) {
			kept = append(kept, p)
			continue
		}
		c.do(ReplyAction{p.call, c.reply(p.req)})
	}
	clear(waiting[len(kept):])
	s.polls = kept
}

// reply tells all there is to tell to one caller.
func (c *Core) reply(req *peerpb.FollowRequest) *peerpb.FollowResponse {
	l, s := &c.leader, &c.serving
	resp := &peerpb.FollowResponse{
		Term: l.term, Sequencing: c.mode == sequencing, Sequencer: l.addr, End: s.ring.end(), MembersVersion: c.members.version, HeardMs: math.MaxUint32,
	}
	switch {
	case c.mode == sequencing:
		resp.HeardMs = 0
	case l.directAt > 0:
		resp.HeardMs = uint32(min(c.now-l.directAt, math.MaxUint32-1))
	}
	if s.left {
		s.told[req.GetSelf().GetPeer()] = true
	}
	if c.leavingNow() {
		resp.Leaving, resp.Sequencer = true, s.leavingTo
		if c.mode == sequencing {
			resp.Sequencer = c.successor()
		}
	}
	if req.GetMembersVersion() < c.members.version {
		for _, m := range c.members.told {
			resp.Members = append(resp.Members, toWire(m))
		}
	}
	if next := req.GetNext(); next < s.ring.end() {
		entries, ok := s.ring.from(next, replyBytes)
		resp.Entries, resp.First, resp.Truncated = entries, next, !ok
	}
	return resp
}
