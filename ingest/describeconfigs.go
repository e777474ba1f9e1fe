package ingest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
)

// maxDescribed bounds the resources of one DescribeConfigs request: each is answered with some 40 configs.
const maxDescribed = 2_000

// describeConfigs answers key 32, versions 0-4, for topics and for this broker. All configs are told, with default, source
// and synonyms (from v1) and documentation (v3), or those named.
func (s *Server) describeConfigs(ctx context.Context, req *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	resp := kmsg.NewPtrDescribeConfigsResponse()
	look := s.lookup(ctx)
	for i, r := range req.Resources {
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.ResourceType, r.ResourceName
		var entries []describedConfig
		c, message := codePolicyViolation, fmt.Sprintf("a request may describe at most %d resources", maxDescribed)
		if i < maxDescribed {
			entries, c, message = s.configsOf(look, r)
		}
		if c != codeNone {
			out.ErrorCode, out.ErrorMessage = s.refuse(keyDescribeConfigs, c), &message
		}
		wanted := make(map[string]bool, len(r.ConfigNames))
		for _, name := range r.ConfigNames {
			wanted[name] = true
		}
		out.Configs = make([]kmsg.DescribeConfigsResponseResourceConfig, 0, len(entries))
		for _, e := range entries {
			// Null asks for all, and so does empty: old clients can not say null.
			if len(wanted) == 0 || wanted[e.Name] {
				out.Configs = append(out.Configs, e.encode(req))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// configsOf lists the configs of one resource.
func (s *Server) configsOf(look *lookup, r kmsg.DescribeConfigsRequestResource) (entries []describedConfig, c code, message string) {
	switch r.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if err := metadata.ValidateTopicName(r.ResourceName); err != nil {
			return nil, codeOf(err), messageOf(err)
		}
		topic, err := look.named(r.ResourceName)
		if err != nil {
			return nil, codeOf(err), messageOf(err)
		}
		for _, e := range metadata.DescribeConfigs(topic.Configs) {
			entries = append(entries, describedConfig{ConfigEntry: e, source: sourceOf(e)})
		}
		return entries, codeNone, ""
	case kmsg.ConfigResourceTypeBroker:
		if r.ResourceName == "" {
			return nil, codeNone, "" // the cluster-wide dynamic configs: there are none
		}
		if r.ResourceName != strconv.Itoa(int(s.cfg.NodeID)) {
			return nil, codeInvalidRequest, fmt.Sprintf("broker %q is not this one, %d", r.ResourceName, s.cfg.NodeID)
		}
		return s.brokerConfigs(), codeNone, ""
	default:
		return nil, codeInvalidRequest, "only topics and brokers have configs here"
	}
}

// describedConfig is a config and where its value comes from.
type describedConfig struct {
	metadata.ConfigEntry
	source   kmsg.ConfigSource
	readOnly bool
}

// sourceOf tells where a topic's config comes from.
func sourceOf(e metadata.ConfigEntry) kmsg.ConfigSource {
	if e.IsDefault {
		return kmsg.ConfigSourceDefaultConfig
	}
	return kmsg.ConfigSourceDynamicTopicConfig
}

func (e describedConfig) encode(req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value = e.Name, &e.Value
	out.IsDefault, out.Source = e.IsDefault, e.source
	out.ReadOnly = e.readOnly
	out.ConfigType = kmsg.ConfigType(e.Type)
	if req.IncludeSynonyms {
		if !e.IsDefault {
			out.ConfigSynonyms = append(out.ConfigSynonyms, synonym(e.Name, &e.Value, e.source))
		}
		if e.Synonym != "" {
			out.ConfigSynonyms = append(out.ConfigSynonyms, synonym(e.Synonym, &e.Default, kmsg.ConfigSourceDefaultConfig))
		}
	}
	if req.IncludeDocumentation && e.Doc != "" {
		out.Documentation = &e.Doc
	}
	return out
}

func synonym(name string, value *string, source kmsg.ConfigSource) kmsg.DescribeConfigsResponseResourceConfigConfigSynonym {
	out := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
	out.Name, out.Value, out.Source = name, value, source
	return out
}

// brokerConfigs lists what tools ask a broker for: the settings of this server under Kafka's names, and the defaults of
// topics under those of the broker. All are set when the agent starts.
func (s *Server) brokerConfigs() []describedConfig {
	static := func(name, value, fallback string, typ metadata.ConfigType, doc string) describedConfig {
		e := metadata.ConfigEntry{Name: name, Value: value, Default: fallback, IsDefault: value == fallback, Type: typ, Doc: doc, Synonym: name}
		source := kmsg.ConfigSourceStaticBrokerConfig
		if e.IsDefault {
			source = kmsg.ConfigSourceDefaultConfig
		}
		return describedConfig{ConfigEntry: e, source: source, readOnly: true}
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	defaults := DefaultConfig()
	topicDefaults := metadata.DescribeConfigs(nil)
	retention := ""
	for _, e := range topicDefaults {
		if e.Name == "retention.ms" {
			retention = e.Default // Kafka's broker config of that name has no default, but one in hours
		}
	}
	list := []describedConfig{
		static("advertised.listeners", "PLAINTEXT://"+s.advertised.String(), "", metadata.ConfigString, "Where clients are sent."),
		static("auto.create.topics.enable", strconv.FormatBool(s.cfg.AutoCreateTopics), "false", metadata.ConfigBool, "Whether asking for a topic makes it."),
		static("broker.id", number(int64(s.cfg.NodeID)), "-1", metadata.ConfigInt, "Node id of this agent."),
		static("broker.rack", s.cfg.Zone, "", metadata.ConfigString, "Zone of this agent."),
		static("default.replication.factor", "1", "1", metadata.ConfigInt, "Object storage replicates."),
		static("fetch.max.bytes", number(int64(s.cfg.FetchBytes)), number(int64(defaults.FetchBytes)), metadata.ConfigInt, "Most bytes of a fetch beyond its first batch."),
		static("log.retention.ms", retention, retention, metadata.ConfigLong, "Default retention.ms of topics."),
		static("max.connections", number(int64(s.cfg.MaxConnections)), number(int64(defaults.MaxConnections)), metadata.ConfigInt, "Most client connections."),
		static("max.connections.per.ip", number(int64(s.cfg.MaxConnectionsPerIP)), number(int64(defaults.MaxConnectionsPerIP)), metadata.ConfigInt, "Most client connections from one address."),
		static("num.partitions", number(int64(s.cfg.NumPartitions)), number(int64(defaults.NumPartitions)), metadata.ConfigInt, "Partitions of a topic made without a number."),
		static("socket.request.max.bytes", number(int64(s.cfg.ProduceBytes)), number(int64(defaults.ProduceBytes)), metadata.ConfigInt, "Largest request."),
	}
	for _, e := range topicDefaults {
		if e.Synonym != "" {
			list = append(list, static(e.Synonym, e.Default, e.Default, e.Type, "Default "+e.Name+" of topics."))
		}
	}
	slices.SortFunc(list, func(a, b describedConfig) int { return strings.Compare(a.Name, b.Name) })
	return list
}
