package ingest

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// listConfigResources answers key 74, versions 0-1 (KIP-1142): what has configs. Version 0 asks for client metrics only, of which
// there are none.
func (s *Server) listConfigResources(req *kmsg.ListConfigResourcesRequest) *kmsg.ListConfigResourcesResponse {
	resp := kmsg.NewPtrListConfigResourcesResponse()
	if req.Version == 0 {
		return resp
	}
	list := func(kind kmsg.ConfigResourceType, name string) {
		r := kmsg.NewListConfigResourcesResponseConfigResource()
		r.Type, r.Name = int8(kind), name
		resp.ConfigResources = append(resp.ConfigResources, r)
	}
	kinds := slices.Compact(slices.Sorted(slices.Values(req.ResourceTypes)))
	if len(kinds) == 0 {
		kinds = []int8{int8(kmsg.ConfigResourceTypeTopic), int8(kmsg.ConfigResourceTypeBroker)}
	}
	for _, kind := range kinds {
		switch kind := kmsg.ConfigResourceType(kind); kind {
		case kmsg.ConfigResourceTypeTopic:
			for _, t := range s.deps.View.Topics() {
				list(kind, t.Name)
			}
		case kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger:
			for _, m := range s.cluster().live {
				list(kind, strconv.Itoa(int(m.NodeID())))
			}
		case kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig: // there are none
		default:
			resp.ConfigResources = nil
			resp.ErrorCode = s.refuse(keyListConfigResources, codeUnsupportedVersion)
			return resp
		}
	}
	return resp
}
