package ingest

import "github.com/twmb/franz-go/pkg/kmsg"

// apiVersions answers key 18, versions 0-5. v3 brings the client's name and version (KIP-511), v5 the cluster and node it
// believes to be talking to (KIP-1242).
//
// Of the features only group.version is announced, which the consumer protocol (KIP-848) belongs to; transaction.version would switch
// clients to a protocol not served yet. The epoch is the same on every agent and for ever: a client takes features over only when the
// epoch is above the one it knows, and with epochs that differ it would keep what the first agent it met told it.
func (s *Server) apiVersions(req *kmsg.ApiVersionsRequest) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	switch {
	case req.Version >= 3 && (!validSoftware(req.ClientSoftwareName) || !validSoftware(req.ClientSoftwareVersion)):
		resp.ErrorCode = s.refuse(keyAPIVersions, codeInvalidRequest)
		return resp
	case req.Version >= 5 && (req.ClusterID == nil) != (req.NodeID < 0):
		resp.ErrorCode = s.refuse(keyAPIVersions, codeInvalidRequest)
		return resp
	case req.Version >= 5 && req.ClusterID != nil && *req.ClusterID != s.cfg.ClusterID:
		// The node id is not compared: agents are interchangeable and may stand behind one address.
		resp.ErrorCode = s.refuse(keyAPIVersions, codeRebootstrapRequired)
		return resp
	}
	resp.ApiKeys = advertised()
	feature := kmsg.NewApiVersionsResponseSupportedFeature()
	feature.Name, feature.MinVersion, feature.MaxVersion = groupVersionFeature, 1, 1 // from 0, Java clients before 4.0 do not read it
	resp.SupportedFeatures = append(resp.SupportedFeatures, feature)
	final := kmsg.NewApiVersionsResponseFinalizedFeature()
	final.Name, final.MaxVersionLevel, final.MinVersionLevel = groupVersionFeature, 1, 1
	resp.FinalizedFeatures = append(resp.FinalizedFeatures, final)
	resp.FinalizedFeaturesEpoch = featuresEpoch
	return resp
}

const (
	groupVersionFeature = "group.version"
	featuresEpoch       = 1 // one higher with the build that changes what is announced
)

// unsupportedVersion is the answer to an ApiVersions request newer than ours: version 0, error 35, and still the list,
// from which the client learns the version to ask with.
func (s *Server) unsupportedVersion() *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = s.refuse(keyAPIVersions, codeUnsupportedVersion)
	resp.ApiKeys = advertised()
	return resp
}

func advertised() []kmsg.ApiVersionsResponseApiKey {
	rows := apis()
	keys := make([]kmsg.ApiVersionsResponseApiKey, 0, len(rows))
	for _, a := range rows {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = a.key, a.min, a.max
		keys = append(keys, k)
	}
	return keys
}

// validSoftware holds a client's name or version against Kafka's pattern: letters, digits, dashes and dots, with a letter
// or digit at both ends.
func validSoftware(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		alnum := 'a' <= s[i] && s[i] <= 'z' || 'A' <= s[i] && s[i] <= 'Z' || '0' <= s[i] && s[i] <= '9'
		inside := i > 0 && i < len(s)-1
		if !alnum && (!inside || s[i] != '-' && s[i] != '.') {
			return false
		}
	}
	return true
}
