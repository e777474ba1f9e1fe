//go:build realworld

package test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// servers starts Apache Kafka and one agent, side by side and each with the settings of the other.
func servers(t *testing.T, kafkaAddr, ourAddr string) (kafka, ours string) {
	t.Helper()
	done := make(chan string, 1)
	go func() { done <- startKafka(t, kafkaAddr) }()
	a := startAgent(t, fileBackend(t), "--flush-interval", "20ms", "--advertise", ourAddr)
	return <-done, a.brokers
}

// versionsOf are the versions that a server advertises.
func versionsOf(t *testing.T, addr string) map[int16][2]int16 {
	t.Helper()
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version = 3
	req.ClientSoftwareName, req.ClientSoftwareVersion = "compare", "1.0"
	resp, ok := roundTrip(t, addr, "compare", req).(*kmsg.ApiVersionsResponse)
	if !ok || resp.ErrorCode != 0 {
		t.Fatalf("%s answers ApiVersions with %+v", addr, resp)
	}
	out := make(map[int16][2]int16)
	for _, k := range resp.ApiKeys {
		out[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
	}
	return out
}

// brokerID is the id of the only broker.
func brokerID(t *testing.T, addr string) string {
	t.Helper()
	req := metadataOf()
	req.Version = 9
	resp := roundTrip(t, addr, "compare", req).(*kmsg.MetadataResponse)
	if len(resp.Brokers) != 1 {
		t.Fatalf("%s has %d brokers, want one", addr, len(resp.Brokers))
	}
	return strconv.Itoa(int(resp.Brokers[0].NodeID))
}

// topicIDs are the ids of topics, for the versions of requests that name topics by them.
func topicIDs(t *testing.T, addr string) map[string][16]byte {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 10
	ids := make(map[string][16]byte)
	for _, topic := range roundTrip(t, addr, "compare", req).(*kmsg.MetadataResponse).Topics {
		ids[*topic.Topic] = topic.TopicID
	}
	return ids
}

// nameByID puts the ids of topics into a request of a version that goes by them.
func nameByID(req kmsg.Request, ids map[string][16]byte) {
	id := func(name string) [16]byte {
		if id, ok := ids[name]; ok {
			return id
		}
		return [16]byte{9, 9, 9}
	}
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		for i := range r.Topics {
			r.Topics[i].TopicID = id(r.Topics[i].Topic)
		}
	case *kmsg.FetchRequest:
		for i := range r.Topics {
			r.Topics[i].TopicID = id(r.Topics[i].Topic)
		}
	case *kmsg.OffsetCommitRequest:
		for i := range r.Topics {
			r.Topics[i].TopicID = id(r.Topics[i].Topic)
		}
	case *kmsg.OffsetFetchRequest:
		for g := range r.Groups {
			for i := range r.Groups[g].Topics {
				r.Groups[g].Topics[i].TopicID = id(r.Groups[g].Topics[i].Topic)
			}
		}
	}
}

// rawSetup makes the topics that the cases speak of.
func rawSetup(t *testing.T, addr string) {
	t.Helper()
	req := createOf(rawTopic, nil)
	req.Version = 7
	req.Topics[0].NumPartitions = 4
	for name, config := range map[string][2]string{
		"small": {"max.message.bytes", "500"}, "timely": {"message.timestamp.after.max.ms", "1000"}, "compacted": {"cleanup.policy", "compact"},
		"stamped": {"message.timestamp.type", "LogAppendTime"}, "altered": {"retention.bytes", "1000000"}, "grow": {"retention.bytes", "1000000"},
	} {
		r := createOf(name, createConfig(config[0], config[1]))
		r.Topics[0].NumPartitions = 1
		req.Topics = append(req.Topics, r.Topics...)
	}
	resp := roundTrip(t, addr, "compare", req).(*kmsg.CreateTopicsResponse)
	for _, topic := range resp.Topics {
		if topic.ErrorCode != 0 {
			t.Fatalf("%s creates %s: error %d", addr, topic.Topic, topic.ErrorCode)
		}
	}
	// Kafka answers before every part of it has heard of the topics.
	waitFor(t, 30*time.Second, "every topic has a leader", func() bool {
		m := metadataOf(rawTopic, "small", "timely", "compacted", "stamped", "altered", "grow")
		m.Version = 9
		for _, topic := range roundTrip(t, addr, "compare", m).(*kmsg.MetadataResponse).Topics {
			if topic.ErrorCode != 0 || slices.ContainsFunc(topic.Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.ErrorCode != 0 }) {
				return false
			}
		}
		return true
	})
}

// awaitCoordinators waits until groups and producers have coordinators: Kafka makes the topics that it keeps them in when it is
// first asked.
func awaitCoordinators(t *testing.T, addr string) {
	t.Helper()
	waitFor(t, 30*time.Second, "groups have a coordinator", func() bool {
		r := coordinatorOf(0, "simple")
		r.Version = 4
		c := roundTrip(t, addr, "compare", r).(*kmsg.FindCoordinatorResponse)
		if c.Coordinators[0].ErrorCode != 0 {
			return false
		}
		h := kmsg.NewPtrHeartbeatRequest()
		h.Group, h.MemberID = "simple", "nobody"
		code := roundTrip(t, addr, "compare", h).(*kmsg.HeartbeatResponse).ErrorCode
		if code == 14 || code == 15 || code == 16 {
			return false
		}
		return roundTrip(t, addr, "compare", producerOf(nil)).(*kmsg.InitProducerIDResponse).ErrorCode == 0
	})
}

// rawAnswers sends every case at every version that both servers know, and returns what was answered, by "API case" and path.
func rawAnswers(t *testing.T, addr string, versions map[int16][2]int16) map[string]map[string][]string {
	t.Helper()
	rawSetup(t, addr)
	awaitCoordinators(t, addr)
	out := make(map[string]map[string][]string)
	ids := topicIDs(t, addr)
	for _, c := range rawCases(brokerID(t, addr)) {
		key := c.build(0).Key()
		both, ok := versions[key]
		if !ok {
			continue
		}
		for v := max(both[0], c.from); v <= both[1]; v++ {
			req := c.build(v)
			req.SetVersion(v)
			nameByID(req, ids)
			resp := roundTrip(t, addr, "compare", req)
			what := apiName(key) + " " + c.name
			if out[what] == nil {
				out[what] = make(map[string][]string)
			}
			if resp == nil {
				out[what]["the connection"] = append(out[what]["the connection"], fmt.Sprintf("v%d closed", v))
				continue
			}
			for path, value := range leavesOf(resp) {
				out[what][path] = append(out[what][path], fmt.Sprintf("v%d %s", v, value))
			}
		}
	}
	return out
}

// inBoth are the versions that two servers share.
func inBoth(a, b map[int16][2]int16) map[int16][2]int16 {
	out := make(map[int16][2]int16)
	for key, x := range a {
		if y, ok := b[key]; ok && max(x[0], y[0]) <= min(x[1], y[1]) {
			out[key] = [2]int16{max(x[0], y[0]), min(x[1], y[1])}
		}
	}
	return out
}

// report fails the test with the differences that no rule allows, and with the rules that allow nothing.
func report(t *testing.T, rules []*rule, kafka, ours map[string]map[string][]string) {
	t.Helper()
	var all []string
	for what := range kafka {
		all = append(all, differences(rules, what, kafka[what], ours[what])...)
	}
	for what := range ours {
		if kafka[what] == nil {
			all = append(all, differences(rules, what, nil, ours[what])...)
		}
	}
	slices.Sort(all)
	if len(all) > 0 {
		t.Errorf("%d differences that no rule allows:\n%s", len(all), strings.Join(all, "\n"))
	}
	if u := unused(rules); len(u) > 0 {
		t.Errorf("%d rules that allow nothing:\n%s", len(u), strings.Join(u, "\n"))
	}
}

// The same requests, many of them wrong in one thing, get the same answers from Apache Kafka and from barge, at every version
// that both know; what differs is listed with its reason.
func TestAnswersAreKafkas(t *testing.T) {
	t.Parallel()
	kafkaAddr, ourAddr := freeAddress(t), freeAddress(t)
	kafka, ours := servers(t, kafkaAddr, ourAddr)
	both := inBoth(versionsOf(t, kafka), versionsOf(t, ours))
	if len(both) < 15 {
		t.Fatalf("the servers have %d APIs in common", len(both))
	}
	k, b := rawAnswers(t, kafka, both), rawAnswers(t, ours, both)
	t.Logf("%d cases of %d APIs", len(b), len(both))
	report(t, readRules(t, filepath.Join("compare", "answers.txt")), k, b)
}
