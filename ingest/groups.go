package ingest

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Groups (keys 8, 9, 11-16, 42, 47, 68, 69) are the coordinator's: it gets the request as it came, answers in the protocol's structs
// and decides their error codes. Here the codes are only counted.

// maxRebalance bounds how long a member may hold a rebalance up, as sessions are bounded. Kafka has no bound: consumers
// that set max.poll.interval.ms "for ever" make their group wait for ever for one that has died meanwhile.
const maxRebalance = 30 * time.Minute

// detach cuts a JoinGroup or SyncGroup request loose from its frame, which may be much larger: it will wait for other
// members. It returns about how many bytes the request keeps.
func detach(msg kmsg.Request) (kept int64) {
	const (
		request = 1 << 10
		element = 128 // kmsg's struct and the coordinator's
	)
	kept = request
	switch msg := msg.(type) {
	case *kmsg.JoinGroupRequest:
		msg.UnknownTags = kmsg.Tags{}
		for i := range msg.Protocols {
			p := &msg.Protocols[i]
			p.UnknownTags, p.Metadata = kmsg.Tags{}, bytes.Clone(p.Metadata)
			kept += element + int64(len(p.Name)+len(p.Metadata))
		}
	case *kmsg.SyncGroupRequest:
		msg.UnknownTags = kmsg.Tags{}
		for i := range msg.GroupAssignment {
			a := &msg.GroupAssignment[i]
			a.UnknownTags, a.MemberAssignment = kmsg.Tags{}, bytes.Clone(a.MemberAssignment)
			kept += element + int64(len(a.MemberID)+len(a.MemberAssignment))
		}
	}
	return kept
}

// noRoomToWait answers a JoinGroup or SyncGroup when too much is waiting already: the client tries again.
func (s *Server) noRoomToWait(msg kmsg.Request) kmsg.Response {
	switch msg := msg.(type) {
	case *kmsg.JoinGroupRequest:
		resp := kmsg.NewPtrJoinGroupResponse()
		resp.ErrorCode = s.refuse(keyJoinGroup, codeCoordinatorNotAvailable)
		resp.MemberID, resp.Generation = msg.MemberID, -1
		if msg.Version < 7 {
			resp.Protocol = new(string) // nullable from version 7 on
		}
		return resp
	case *kmsg.SyncGroupRequest:
		resp := kmsg.NewPtrSyncGroupResponse()
		resp.ErrorCode = s.refuse(keySyncGroup, codeCoordinatorNotAvailable)
		resp.MemberAssignment = []byte{}
		return resp
	default:
		return nil
	}
}

func (s *Server) joinGroup(ctx context.Context, req *kmsg.JoinGroupRequest, clientID, clientHost string) *kmsg.JoinGroupResponse {
	req.RebalanceTimeoutMillis = min(req.RebalanceTimeoutMillis, int32(maxRebalance/time.Millisecond))
	resp := s.deps.Groups.JoinGroup(ctx, req, clientID, clientHost)
	s.refuse(keyJoinGroup, code(resp.ErrorCode))
	return resp
}

func (s *Server) syncGroup(ctx context.Context, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	resp := s.deps.Groups.SyncGroup(ctx, req)
	s.refuse(keySyncGroup, code(resp.ErrorCode))
	return resp
}

func (s *Server) heartbeat(ctx context.Context, req *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	resp := s.deps.Groups.Heartbeat(ctx, req)
	s.refuse(keyHeartbeat, code(resp.ErrorCode))
	return resp
}

func (s *Server) leaveGroup(ctx context.Context, req *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	resp := s.deps.Groups.LeaveGroup(ctx, req)
	s.refuse(keyLeaveGroup, code(resp.ErrorCode))
	return resp
}

func (s *Server) offsetCommit(ctx context.Context, req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	resp := s.deps.Groups.OffsetCommit(ctx, req)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			s.refuse(keyOffsetCommit, code(p.ErrorCode))
		}
	}
	return resp
}

func (s *Server) offsetFetch(ctx context.Context, req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	// A group asked for twice is answered once: each answer may hold every offset of the group.
	seen := make(map[string]bool)
	req.Groups = slices.DeleteFunc(req.Groups, func(g kmsg.OffsetFetchRequestGroup) bool {
		again := seen[g.Group]
		seen[g.Group] = true
		return again
	})
	resp := s.deps.Groups.OffsetFetch(ctx, req)
	s.refuse(keyOffsetFetch, code(resp.ErrorCode))
	for _, g := range resp.Groups {
		s.refuse(keyOffsetFetch, code(g.ErrorCode))
	}
	return resp
}

func (s *Server) deleteGroups(ctx context.Context, req *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	resp := s.deps.Groups.DeleteGroups(ctx, req)
	for _, g := range resp.Groups {
		s.refuse(keyDeleteGroups, code(g.ErrorCode))
	}
	return resp
}

// groupOperations is what is allowed on a group while there are no ACLs, as bits: read, delete, describe, describe configs, alter
// configs (KIP-430).
const groupOperations = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11

func (s *Server) describeGroups(ctx context.Context, req *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	req.Groups = distinct(req.Groups)
	resp := s.deps.Groups.DescribeGroups(ctx, req)
	for i := range resp.Groups {
		g := &resp.Groups[i]
		s.refuse(keyDescribeGroups, code(g.ErrorCode))
		if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
			g.AuthorizedOperations = groupOperations
		}
	}
	return resp
}

// distinct drops repetitions: a group asked for twice is told once, each answer may be large.
func distinct(names []string) []string {
	seen := make(map[string]bool)
	return slices.DeleteFunc(names, func(name string) bool {
		again := seen[name]
		seen[name] = true
		return again
	})
}

func (s *Server) consumerHeartbeat(ctx context.Context, req *kmsg.ConsumerGroupHeartbeatRequest, clientID, clientHost string) *kmsg.ConsumerGroupHeartbeatResponse {
	req.RebalanceTimeoutMillis = min(req.RebalanceTimeoutMillis, int32(maxRebalance/time.Millisecond))
	resp := s.deps.Groups.ConsumerGroupHeartbeat(ctx, req, clientID, clientHost)
	s.refuse(keyConsumerHeartbeat, code(resp.ErrorCode))
	return resp
}

func (s *Server) consumerDescribe(ctx context.Context, req *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse {
	req.Groups = distinct(req.Groups)
	resp := s.deps.Groups.ConsumerGroupDescribe(ctx, req)
	for i := range resp.Groups {
		g := &resp.Groups[i]
		s.refuse(keyConsumerDescribe, code(g.ErrorCode))
		if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
			g.AuthorizedOperations = groupOperations
		}
	}
	return resp
}

func (s *Server) listGroups(ctx context.Context, req *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	resp := s.deps.Groups.ListGroups(ctx, req)
	s.refuse(keyListGroups, code(resp.ErrorCode))
	return resp
}

func (s *Server) offsetDelete(ctx context.Context, req *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse {
	resp := s.deps.Groups.OffsetDelete(ctx, req)
	s.refuse(keyOffsetDelete, code(resp.ErrorCode))
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			s.refuse(keyOffsetDelete, code(p.ErrorCode))
		}
	}
	return resp
}
