package ingest

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Coordinator types of FindCoordinator.
const (
	coordinateGroup = 0
	coordinateTxn   = 1
)

// findCoordinator answers key 10, versions 0-6; from v4 for many keys at once (KIP-699).
func (s *Server) findCoordinator(ctx context.Context, req *kmsg.FindCoordinatorRequest) *kmsg.FindCoordinatorResponse {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	if req.Version < 4 {
		found := s.coordinator(ctx, req.CoordinatorType, req.CoordinatorKey)
		resp.ErrorCode, resp.ErrorMessage = found.ErrorCode, found.ErrorMessage
		if found.ErrorCode == int16(codeNone) {
			resp.ErrorMessage = kmsg.StringPtr("NONE")
		}
		resp.NodeID, resp.Host, resp.Port = found.NodeID, found.Host, found.Port
		return resp
	}
	for _, key := range req.CoordinatorKeys {
		resp.Coordinators = append(resp.Coordinators, s.coordinator(ctx, req.CoordinatorType, key))
	}
	return resp
}

// coordinator finds the coordinator of one key. That of transactions, which are not served, is always this agent: the
// client then hears why from InitProducerId, and not that it should retry. A group is sent to the agent that holds it, and
// never to another one for want of it.
func (s *Server) coordinator(ctx context.Context, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.NewFindCoordinatorResponseCoordinator()
	out.Key = key
	out.NodeID, out.Port = -1, -1
	refuse := func(code code, message string) kmsg.FindCoordinatorResponseCoordinator {
		out.ErrorCode, out.ErrorMessage = s.refuse(keyFindCoordinator, code), &message
		return out
	}
	node, at := s.cfg.NodeID, s.advertised
	switch {
	case kind == coordinateTxn:
	case kind != coordinateGroup:
		return refuse(codeInvalidRequest, "only groups and transactions have coordinators here")
	case s.deps.Coordinators != nil:
		m, status := s.deps.Coordinators.Coordinator(ctx, key)
		if status != int16(codeNone) {
			return refuse(code(status), "no agent holds the group at the moment")
		}
		if node = m.NodeID(); node != s.cfg.NodeID {
			var err error
			if at, err = endpointOf(m.Kafka); err != nil {
				return refuse(codeCoordinatorNotAvailable, "the agent that holds the group advertises no address that clients can be told")
			}
		}
	}
	out.NodeID, out.Host, out.Port = node, at.host, at.port
	out.ErrorMessage = kmsg.StringPtr("") // and not null, as Kafka has it
	return out
}

// describeCluster answers key 60, versions 0-2, with the brokers that Metadata tells.
func (s *Server) describeCluster(req *kmsg.DescribeClusterRequest) *kmsg.DescribeClusterResponse {
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.ClusterAuthorizedOperations = notAsked
	resp.EndpointType = 1
	if req.Version >= 1 && req.EndpointType != 1 {
		c, message := codeUnsupportedEndpointType, "unknown endpoint type"
		if req.EndpointType == 2 {
			c, message = codeMismatchedEndpointType, "this is a broker endpoint, not a controller's"
		}
		resp.ErrorCode, resp.ErrorMessage = s.refuse(keyDescribeCluster, c), &message
		resp.ControllerID = -1
		return resp
	}
	agents := s.cluster()
	resp.ClusterID = s.cfg.ClusterID
	resp.ControllerID = agents.controller(s.cfg.NodeID)
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	for _, m := range agents.live {
		b := kmsg.NewDescribeClusterResponseBroker()
		at := agents.endpoints[m.NodeID()]
		b.NodeID, b.Host, b.Port, b.Rack = m.NodeID(), at.host, at.port, rackOf(m.Zone)
		resp.Brokers = append(resp.Brokers, b)
	}
	return resp
}
