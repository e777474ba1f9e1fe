package group

import (
	"bytes"
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// JoinGroup answers when the next generation of the group begins, or at once when the request is refused. Nothing of req
// is kept. When ctx ends first a new member is forgotten, and the answer is not worth sending.
func (c *Coordinator) JoinGroup(ctx context.Context, req *kmsg.JoinGroupRequest, clientID, clientHost string) *kmsg.JoinGroupResponse {
	r := c.joinGroup(ctx, req, clientID, clientHost)
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.SetVersion(req.Version)
	resp.ErrorCode, resp.Generation = int16(r.Code), r.Generation
	resp.LeaderID, resp.MemberID, resp.SkipAssignment = r.Leader, r.MemberID, r.Skip
	if r.Code == codeNone || req.Version < 7 {
		resp.Protocol = &r.Protocol // nullable from version 7 on
	}
	if r.Code == codeNone {
		resp.ProtocolType = &r.ProtocolType
	}
	for _, m := range r.Members {
		member := kmsg.NewJoinGroupResponseMember()
		member.MemberID, member.ProtocolMetadata = m.ID, m.Metadata
		if m.InstanceID != "" {
			member.InstanceID = &m.InstanceID
		}
		resp.Members = append(resp.Members, member)
	}
	return resp
}

func (c *Coordinator) joinGroup(ctx context.Context, req *kmsg.JoinGroupRequest, clientID, clientHost string) Reply {
	refuse := func(code Code) Reply { return Reply{Code: code, MemberID: req.MemberID, Generation: -1} }
	if req.Group == "" {
		return refuse(codeInvalidGroupID)
	}
	sh, code := c.enter(ctx, req.Group)
	if code != codeNone {
		return refuse(code)
	}
	if sh.groups[req.Group] == nil && req.MemberID != "" {
		sh.mu.Unlock()
		return refuse(codeUnknownMemberID)
	}
	g, code := c.cellFor(sh, req.Group)
	if code != codeNone {
		sh.mu.Unlock()
		return refuse(code)
	}
	if _, classic := g.state.(*State); !classic && g.state.Idle() {
		s := NewState(req.Group, c.cfg, c.now())
		s.generation = g.state.round()
		g.state = s
	}
	ev := Join{
		Ticket: Ticket(c.ticket.Add(1)), MemberID: req.MemberID, InstanceID: str(req.InstanceID),
		ClientID: clientID, Host: clientHost,
		Session:      time.Duration(req.SessionTimeoutMillis) * time.Millisecond,
		Rebalance:    time.Duration(req.RebalanceTimeoutMillis) * time.Millisecond,
		ProtocolType: req.ProtocolType, NeedID: req.Version >= 4, MaySkip: req.Version >= 9,
	}
	if ev.InstanceID != "" {
		clientID = ev.InstanceID
	}
	ev.NewID = c.newMemberID(clientID)
	for _, p := range req.Protocols {
		// A copy: the metadata outlives the request, whose frame may be much larger.
		ev.Protocols = append(ev.Protocols, Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	return c.ask(ctx, g, ev.Ticket, ev)
}

// SyncGroup answers when the leader's assignments of the generation are durable. Nothing of req is kept.
func (c *Coordinator) SyncGroup(ctx context.Context, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	ev := Sync{
		MemberID: req.MemberID, InstanceID: str(req.InstanceID), Generation: req.Generation,
		ProtocolType: req.ProtocolType, Protocol: req.Protocol,
	}
	for _, a := range req.GroupAssignment {
		ev.Assignments = append(ev.Assignments, Assignment{MemberID: a.MemberID, Bytes: bytes.Clone(a.MemberAssignment)})
	}
	r := c.askKnown(ctx, req.Group, codeUnknownMemberID, func(t Ticket) Event {
		ev.Ticket = t
		return ev
	})
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.SetVersion(req.Version)
	resp.ErrorCode, resp.MemberAssignment = int16(r.Code), r.Assignment
	if resp.MemberAssignment == nil {
		resp.MemberAssignment = []byte{}
	}
	if r.Code == codeNone {
		resp.ProtocolType, resp.Protocol = &r.ProtocolType, &r.Protocol
	}
	return resp
}

// Heartbeat is a member's sign of life; REBALANCE_IN_PROGRESS tells it to join again.
func (c *Coordinator) Heartbeat(ctx context.Context, req *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	r := c.askKnown(ctx, req.Group, codeUnknownMemberID, func(t Ticket) Event {
		return Heartbeat{Ticket: t, MemberID: req.MemberID, InstanceID: str(req.InstanceID), Generation: req.Generation}
	})
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.SetVersion(req.Version)
	resp.ErrorCode = int16(r.Code)
	return resp
}

// LeaveGroup takes one member out (to version 2), or several, each with its own code (from version 3).
func (c *Coordinator) LeaveGroup(ctx context.Context, req *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	leavers := make([]Leaver, 0, len(req.Members))
	for _, m := range req.Members {
		leavers = append(leavers, Leaver{MemberID: m.MemberID, InstanceID: str(m.InstanceID)})
	}
	if req.Version < 3 {
		leavers = []Leaver{{MemberID: req.MemberID}}
	}
	unknown := codeUnknownMemberID
	if req.Version >= 3 {
		unknown = codeNone // the members say it one by one
	}
	r := c.askKnown(ctx, req.Group, unknown, func(t Ticket) Event { return Leave{Ticket: t, Members: leavers} })
	resp := kmsg.NewPtrLeaveGroupResponse()
	resp.SetVersion(req.Version)
	resp.ErrorCode = int16(r.Code)
	if req.Version < 3 {
		if r.Code == codeNone && len(r.Left) == 1 {
			resp.ErrorCode = int16(r.Left[0])
		}
		return resp
	}
	if r.Code != codeNone {
		return resp
	}
	for i, m := range req.Members {
		member := kmsg.NewLeaveGroupResponseMember()
		member.MemberID, member.InstanceID = m.MemberID, m.InstanceID
		member.ErrorCode = int16(codeUnknownMemberID)
		if i < len(r.Left) {
			member.ErrorCode = int16(r.Left[i])
		}
		resp.Members = append(resp.Members, member)
	}
	return resp
}

// askKnown is for requests that make sense only in a group that exists; otherwise the code is unknown.
func (c *Coordinator) askKnown(ctx context.Context, group string, unknown Code, ev func(Ticket) Event) Reply {
	if group == "" {
		return Reply{Code: codeInvalidGroupID}
	}
	sh, code := c.enter(ctx, group)
	if code == codeLoadInProgress {
		code = codeCoordinatorUnavailable // Apache's own client dies of the other one in an answer to a heartbeat
	}
	if code != codeNone {
		return Reply{Code: code}
	}
	g := sh.groups[group]
	if g == nil || g.deleting {
		sh.mu.Unlock()
		return Reply{Code: unknown}
	}
	t := Ticket(c.ticket.Add(1))
	return c.ask(ctx, g, t, ev(t))
}

func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
