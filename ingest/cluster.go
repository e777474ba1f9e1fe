package ingest

import "github.com/twmb/franz-go/pkg/kmsg"

// Coordinator types of FindCoordinator.
const (
	coordinateGroup = 0
	coordinateTxn   = 1
)

// findCoordinator answers key 10, versions 0-6; from v4 for many keys at once (KIP-699). It is always this agent. So it is
// for transactions, which are not served: the client then hears why from InitProducerId, and not that it should retry.
func (s *Server) findCoordinator(self endpoint, req *kmsg.FindCoordinatorRequest) *kmsg.FindCoordinatorResponse {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	known := req.CoordinatorType == coordinateGroup || req.CoordinatorType == coordinateTxn
	message := "only groups and transactions have coordinators here"
	if req.Version < 4 {
		if !known {
			resp.ErrorCode, resp.ErrorMessage = s.refuse(keyFindCoordinator, codeInvalidRequest), &message
			resp.NodeID, resp.Port = -1, -1
			return resp
		}
		resp.NodeID, resp.Host, resp.Port = s.cfg.NodeID, self.host, self.port
		return resp
	}
	for _, key := range req.CoordinatorKeys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key = key
		if known {
			c.NodeID, c.Host, c.Port = s.cfg.NodeID, self.host, self.port
		} else {
			c.ErrorCode, c.ErrorMessage = s.refuse(keyFindCoordinator, codeInvalidRequest), &message
			c.NodeID, c.Port = -1, -1
		}
		resp.Coordinators = append(resp.Coordinators, c)
	}
	return resp
}

// describeCluster answers key 60, versions 0-2, with the broker that Metadata tells.
func (s *Server) describeCluster(self endpoint, req *kmsg.DescribeClusterRequest) *kmsg.DescribeClusterResponse {
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.ClusterID = s.cfg.ClusterID
	resp.ClusterAuthorizedOperations = notAsked
	resp.ControllerID = s.cfg.NodeID
	resp.EndpointType = 1
	if req.Version >= 1 && req.EndpointType != 1 {
		c, message := codeUnsupportedEndpointType, "unknown endpoint type"
		if req.EndpointType == 2 {
			c, message = codeMismatchedEndpointType, "this is a broker endpoint, not a controller's"
		}
		resp.ErrorCode, resp.ErrorMessage = s.refuse(keyDescribeCluster, c), &message
		resp.EndpointType = req.EndpointType
		return resp
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	b := kmsg.NewDescribeClusterResponseBroker()
	b.NodeID, b.Host, b.Port, b.Rack = s.cfg.NodeID, self.host, self.port, s.rack()
	resp.Brokers = []kmsg.DescribeClusterResponseBroker{b}
	return resp
}
