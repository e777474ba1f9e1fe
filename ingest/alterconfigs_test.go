package ingest

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
)

// altering is a resource of an IncrementalAlterConfigs request: words like "set retention.ms=5", "del x", "add cleanup.policy=compact",
// "sub cleanup.policy=delete"; "null x" sets without a value.
func altering(kind kmsg.ConfigResourceType, name string, words ...string) kmsg.IncrementalAlterConfigsRequestResource {
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, w := range words {
		verb, rest, _ := strings.Cut(w, " ")
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		key, value, ok := strings.Cut(rest, "=")
		c.Name = key
		if ok {
			c.Value = &value
		}
		c.Op = kmsg.IncrementalAlterConfigOp(map[string]int8{"set": 0, "null": 0, "del": 1, "add": 2, "sub": 3, "odd": 9}[verb])
		r.Configs = append(r.Configs, c)
	}
	return r
}

const aTopic = kmsg.ConfigResourceTypeTopic

func TestIncrementalAlterConfigs(t *testing.T) {
	for version := int16(0); version <= 1; version++ {
		cluster := newFakeCluster(testTopic("a", 1, "retention.ms", "1000"), testTopic("b", 1))
		w := dial(t, startServer(t, cluster).addr)
		for _, c := range []struct {
			resource kmsg.IncrementalAlterConfigsRequestResource
			code     int16
			message  string
			configs  map[string]string // of a, afterwards
		}{
			{altering(aTopic, "a", "set flush.ms=5", "add cleanup.policy=compact"), 0, "", map[string]string{"retention.ms": "1000", "flush.ms": "5", "cleanup.policy": "delete,compact"}},
			{altering(aTopic, "a", "del retention.ms", "sub cleanup.policy=delete"), 0, "", map[string]string{"flush.ms": "5", "cleanup.policy": "compact"}},
			{altering(aTopic, "a"), 0, "", nil},
			{altering(aTopic, "a", "set retention.msec=5", "set flush.ms=6"), 40, `did you mean "retention.ms"?`, nil},
			{altering(aTopic, "a", "set retention.ms=soon"), 40, "want a whole number", nil},
			{altering(aTopic, "a", "add retention.ms=5"), 40, "no list", nil},
			{altering(aTopic, "a", "odd retention.ms=5"), 40, "no operation 9", nil},
			{altering(aTopic, "a", "set flush.ms=6", "del flush.ms"), 42, `"flush.ms" is named twice`, nil},
			{altering(aTopic, "a", "null flush.ms"), 42, "null value not supported for: flush.ms", nil},
			{altering(aTopic, "nowhere", "set flush.ms=6"), 3, "nowhere", nil},
			{altering(aTopic, "bad name", "set flush.ms=6"), 17, "bad name", nil},
			{altering(kmsg.ConfigResourceTypeBroker, "7", "set log.retention.ms=6"), 42, "cannot update these configs dynamically: log.retention.ms", nil},
			{altering(kmsg.ConfigResourceTypeBroker, "", "set log.retention.ms=6"), 42, "cannot update these configs dynamically", nil},
			{altering(kmsg.ConfigResourceTypeBroker, "8", "set log.retention.ms=6"), 42, "expected 7", nil},
			{altering(kmsg.ConfigResourceTypeBroker, "7"), 0, "", nil},
			{altering(kmsg.ConfigResourceTypeGroupConfig, "g", "set x=6"), 42, "type 32", nil},
		} {
			before, _ := cluster.Topic("a")
			for _, validateOnly := range []bool{true, false} {
				req := kmsg.NewPtrIncrementalAlterConfigsRequest()
				req.Version, req.ValidateOnly = version, validateOnly
				req.Resources = append(req.Resources, c.resource)
				got := ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0]
				what := fmt.Sprintf("v%d %+v, validate only %v", version, c.resource, validateOnly)
				if got.ErrorCode != c.code || got.ResourceType != c.resource.ResourceType || got.ResourceName != c.resource.ResourceName {
					t.Errorf("%s: %+v, want code %d", what, got, c.code)
				}
				if c.code == 0 != (got.ErrorMessage == nil) || got.ErrorMessage != nil && !strings.Contains(*got.ErrorMessage, c.message) {
					t.Errorf("%s: %q, want %q", what, *got.ErrorMessage, c.message)
				}
				want := before.Configs
				if c.configs != nil && !validateOnly {
					want = c.configs
				}
				if now, _ := cluster.Topic("a"); !maps.Equal(now.Configs, want) {
					t.Errorf("%s: the topic sets %v, want %v", what, now.Configs, want)
				}
			}
		}
	}
}

func TestResourcesAreAlteredEachForItself(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 1), testTopic("b", 1))
	w := dial(t, startServer(t, cluster).addr)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, altering(aTopic, "a", "set flush.ms=6"), altering(aTopic, "b", "set flush.ms=soon"),
		altering(aTopic, "c", "set flush.ms=6"), altering(aTopic, "c", "set flush.ms=7"))
	resp := ask[*kmsg.IncrementalAlterConfigsResponse](w, req)
	for i, want := range []int16{0, 40, 42, 42} {
		if got := resp.Resources[i].ErrorCode; got != want {
			t.Errorf("resource %d: code %d, want %d", i, got, want)
		}
	}
	if a, _ := cluster.Topic("a"); a.Configs["flush.ms"] != "6" {
		t.Errorf("a sets %v", a.Configs)
	}
}

// AlterConfigs replaces: what it does not name is set no more.
func TestAlterConfigsReplacesWhatIsSet(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 1, "retention.ms", "1000", "flush.ms", "5"))
	w := dial(t, startServer(t, cluster).addr)
	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrAlterConfigsRequest()
		req.Version = version
		r := kmsg.NewAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = aTopic, "a"
		five, bad := "5", "x"
		r.Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: "flush.ms", Value: &five}}
		req.Resources = append(req.Resources, r)
		req.ValidateOnly = version == 0
		if got := ask[*kmsg.AlterConfigsResponse](w, req).Resources[0]; got.ErrorCode != 0 {
			t.Errorf("v%d: %+v", version, got)
		}
		want := map[string]string{"flush.ms": "5"}
		if req.ValidateOnly {
			want = map[string]string{"retention.ms": "1000", "flush.ms": "5"}
		}
		if a, _ := cluster.Topic("a"); !maps.Equal(a.Configs, want) {
			t.Errorf("v%d: a sets %v, want %v", version, a.Configs, want)
		}
		req.ValidateOnly = false
		for value, code := range map[*string]int16{nil: 42, &bad: 40} {
			req.Resources[0].Configs[0].Value = value
			if got := ask[*kmsg.AlterConfigsResponse](w, req).Resources[0]; got.ErrorCode != code || got.ErrorMessage == nil {
				t.Errorf("v%d: %+v, want code %d", version, got, code)
			}
		}
	}
}

// Two that alter a topic at once both have their way: the second works its change out of what the first has left.
func TestAlterationsThatRaceAreAllApplied(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 1))
	raced := 0
	cluster.command = func(cmd metadata.Command) (metadata.Result, error, bool) {
		if alter, ok := cmd.(metadata.AlterTopicConfigs); ok && raced < 3 {
			raced++
			cluster.mu.Lock()
			topic := cluster.topics["a"]
			topic.Configs = maps.Clone(topic.Configs)
			topic.Configs["segment.ms"] = fmt.Sprint(raced)
			cluster.topics["a"] = topic
			cluster.mu.Unlock()
			if maps.Equal(alter.From, topic.Configs) {
				t.Error("nothing was lost")
			}
		}
		return nil, nil, false
	}
	w := dial(t, startServer(t, cluster).addr)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, altering(aTopic, "a", "set flush.ms=6"))
	if got := ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0]; got.ErrorCode != 0 {
		t.Fatalf("%+v", got)
	}
	if a, _ := cluster.Topic("a"); a.Configs["flush.ms"] != "6" || a.Configs["segment.ms"] != "3" {
		t.Errorf("a sets %v, want both changes", a.Configs)
	}
	cluster.command = func(cmd metadata.Command) (metadata.Result, error, bool) {
		if _, ok := cmd.(metadata.AlterTopicConfigs); ok {
			return metadata.AlterTopicConfigsResult{Err: metadata.ErrConflict, Topic: testTopic("a", 1)}, nil, true
		}
		return nil, nil, false
	}
	if got := ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0]; got.ErrorCode != 7 {
		t.Errorf("a race that is always lost: %+v, want a code that clients retry", got)
	}
}

// While an agent of an older release is at work nothing is submitted, for it would not understand it.
func TestTopicsStayAsTheyAreBesideOlderAgents(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 1))
	cluster.level = 3
	cluster.command = func(cmd metadata.Command) (metadata.Result, error, bool) {
		t.Errorf("%T was submitted", cmd)
		return nil, context.Canceled, true
	}
	w := dial(t, startServer(t, cluster).addr)
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	alter.Resources = append(alter.Resources, altering(aTopic, "a", "set flush.ms=6"))
	if got := ask[*kmsg.IncrementalAlterConfigsResponse](w, alter).Resources[0]; got.ErrorCode != 7 || !strings.Contains(*got.ErrorMessage, "older than this one") {
		t.Errorf("%+v", got)
	}
	if got := ask[*kmsg.CreatePartitionsResponse](w, growing("a", 5)).Topics[0]; got.ErrorCode != 7 || !strings.Contains(*got.ErrorMessage, "older than this one") {
		t.Errorf("%+v", got)
	}
}

func growing(topic string, count int32, assignments ...[]int32) *kmsg.CreatePartitionsRequest {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Version, req.TimeoutMillis = 3, 5000
	r := kmsg.NewCreatePartitionsRequestTopic()
	r.Topic, r.Count = topic, count
	for _, replicas := range assignments {
		a := kmsg.NewCreatePartitionsRequestTopicAssignment()
		a.Replicas = replicas
		r.Assignment = append(r.Assignment, a)
	}
	req.Topics = append(req.Topics, r)
	return req
}

func TestCreatePartitions(t *testing.T) {
	for version := int16(0); version <= 3; version++ {
		cluster := newFakeCluster(testTopic("a", 2))
		w := dial(t, startServer(t, cluster).addr)
		for _, c := range []struct {
			req     *kmsg.CreatePartitionsRequest
			code    int16
			message string
			count   int32 // afterwards
		}{
			{growing("a", 3), 0, "", 3},
			{growing("a", 5, []int32{7}, []int32{1, 2}), 0, "", 5},
			{growing("a", 5), 37, "already has 5 partition(s)", 5},
			{growing("a", 4), 37, "currently has 5 partition(s); 4 would not be an increase", 5},
			{growing("a", 0), 37, "currently has 5 partition(s); 0 would not be an increase", 5},
			{growing("a", -1), 37, "-1 would not be an increase", 5},
			{growing("a", 100_001), 37, "at most 100000", 5},
			{growing("a", 10_006), 44, "at most 10000 partitions", 5},
			{growing("a", 8, []int32{7}), 39, "attempted to add 3 additional partition(s), but only 1 assignment(s)", 5},
			{growing("a", 6, []int32{}), 39, "empty replica list", 5},
			{growing("a", 6, []int32{1, 2, 1}), 39, "more than once", 5},
			{growing("nowhere", 5), 3, "nowhere", 5},
			{growing("bad name", 5), 3, "bad name", 5},
		} {
			before, _ := cluster.Topic("a")
			for _, validateOnly := range []bool{true, false} {
				c.req.Version, c.req.ValidateOnly = version, validateOnly
				resp := ask[*kmsg.CreatePartitionsResponse](w, c.req)
				if len(resp.Topics) != 1 {
					t.Fatalf("v%d %+v: %d rows, want one", version, c.req.Topics[0], len(resp.Topics))
				}
				got := resp.Topics[0]
				what := fmt.Sprintf("v%d %+v, validate only %v", version, c.req.Topics[0], validateOnly)
				if got.ErrorCode != c.code || got.Topic != c.req.Topics[0].Topic {
					t.Errorf("%s: %+v, want code %d", what, got, c.code)
				}
				if c.code == 0 != (got.ErrorMessage == nil) || got.ErrorMessage != nil && !strings.Contains(*got.ErrorMessage, c.message) {
					t.Errorf("%s: %q, want %q", what, *got.ErrorMessage, c.message)
				}
				want := c.count
				if validateOnly {
					want = before.Partitions
				}
				if now, _ := cluster.Topic("a"); now.Partitions != want {
					t.Errorf("%s: %d partitions, want %d", what, now.Partitions, want)
				}
			}
		}
	}
	w := dial(t, startServer(t, newFakeCluster(testTopic("a", 2))).addr)
	twice := growing("a", 5)
	twice.Topics = append(twice.Topics, twice.Topics[0])
	for _, got := range ask[*kmsg.CreatePartitionsResponse](w, twice).Topics {
		if got.ErrorCode != 42 {
			t.Errorf("named twice: %+v", got)
		}
	}
}

// Somebody else was faster: the log says how many partitions there are, not this agent's view.
func TestGrowingARacedTopicTellsWhatThereIs(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 2))
	cluster.command = func(metadata.Command) (metadata.Result, error, bool) {
		return metadata.CreatePartitionsResult{Err: metadata.ErrInvalidPartitions, Topic: testTopic("a", 8)}, nil, true
	}
	w := dial(t, startServer(t, cluster).addr)
	if got := ask[*kmsg.CreatePartitionsResponse](w, growing("a", 8)).Topics[0]; got.ErrorCode != 37 || !strings.Contains(*got.ErrorMessage, "already has 8 partition(s)") {
		t.Errorf("%+v", got)
	}
}

// A client that heard of a partition at one agent finds it at another one that has not heard of it yet.
func TestAPartitionAddedElsewhereIsFound(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 2))
	var freshened atomic.Int32
	r := startServer(t, cluster, func(_ *Config, d *Deps) {
		d.Fresh = func(context.Context) error {
			freshened.Add(1)
			cluster.mu.Lock()
			defer cluster.mu.Unlock()
			cluster.topics["a"] = testTopic("a", 5)
			return nil
		}
	})
	w := dial(t, r.addr)
	req := produceOf(9, "a", 4, batchOf(t, 0, "x"))
	if got := ask[*kmsg.ProduceResponse](w, req).Topics[0].Partitions[0]; got.ErrorCode != 0 {
		t.Errorf("produce to a partition added elsewhere: %+v", got)
	}
	req.Topics[0].Partitions[0].Partition = 5
	for range 3 { // one question is enough for a while
		if got := ask[*kmsg.ProduceResponse](w, req).Topics[0].Partitions[0]; got.ErrorCode != 3 {
			t.Errorf("produce to a partition that nobody added: %+v", got)
		}
	}
	if n := freshened.Load(); n != 2 {
		t.Errorf("the view caught up %d times, want 2", n)
	}
}
