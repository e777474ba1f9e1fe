package ingest

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Groups (keys 8, 9, 11-14, 42) are the coordinator's: it gets the request as it came, answers in the protocol's structs
// and decides their error codes. Here the codes are only counted.

func (s *Server) joinGroup(ctx context.Context, req *kmsg.JoinGroupRequest, clientID, clientHost string) *kmsg.JoinGroupResponse {
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
