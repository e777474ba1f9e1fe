package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

func named(names ...string) (topics []kmsg.MetadataRequestTopic) {
	topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		topics = append(topics, t)
	}
	return topics
}

func TestMetadataInEveryVersion(t *testing.T) {
	r := startServer(t, newFakeCluster(testTopic("a", 2), testTopic("b", 1)))
	w := dial(t, r.addr)
	for version := int16(0); version <= 13; version++ {
		all := kmsg.NewPtrMetadataRequest()
		all.Version = version // topics nil: null, or in v0 empty
		resp := ask[*kmsg.MetadataResponse](w, all)
		if len(resp.Topics) != 2 || *resp.Topics[0].Topic != "a" || len(resp.Topics[0].Partitions) != 2 {
			t.Fatalf("v%d, all: %+v", version, resp.Topics)
		}
		p := resp.Topics[0].Partitions[1]
		if p.Partition != 1 || p.Leader != 7 || len(p.Replicas) != 1 || len(p.ISR) != 1 || version >= 7 && p.LeaderEpoch != 0 {
			t.Errorf("v%d: partition %+v", version, p)
		}
		if b := resp.Brokers[0]; len(resp.Brokers) != 1 || b.NodeID != 7 || b.Port == 0 || version >= 1 && *b.Rack != "zone-a" {
			t.Errorf("v%d: brokers %+v", version, resp.Brokers)
		}
		if version >= 1 && resp.ControllerID != 7 || version >= 2 && *resp.ClusterID != "test-cluster" {
			t.Errorf("v%d: controller %d, cluster %v", version, resp.ControllerID, resp.ClusterID)
		}
		if version >= 10 && resp.Topics[0].TopicID != testTopic("a", 1).ID {
			t.Errorf("v%d: id %v", version, resp.Topics[0].TopicID)
		}
		if version >= 8 && resp.Topics[0].AuthorizedOperations != notAsked {
			t.Errorf("v%d: operations told unasked", version)
		}
		if version >= 1 {
			none := kmsg.NewPtrMetadataRequest()
			none.Version, none.Topics = version, named()
			if resp := ask[*kmsg.MetadataResponse](w, none); len(resp.Topics) != 0 || len(resp.Brokers) != 1 {
				t.Errorf("v%d, none: %d topics", version, len(resp.Topics))
			}
		}
	}
}

func TestMetadataByID(t *testing.T) {
	r := startServer(t, newFakeCluster(testTopic("a", 1)))
	w := dial(t, r.addr)
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for _, id := range [][16]byte{testTopic("a", 1).ID, {1, 2, 3}} {
		topic := kmsg.NewMetadataRequestTopic()
		topic.TopicID = id
		req.Topics = append(req.Topics, topic)
	}
	resp := ask[*kmsg.MetadataResponse](w, req)
	if got := resp.Topics[0]; got.ErrorCode != 0 || *got.Topic != "a" {
		t.Errorf("known id: %+v", got)
	}
	if got := resp.Topics[1]; got.ErrorCode != 100 || got.Topic != nil || got.TopicID != [16]byte{1, 2, 3} {
		t.Errorf("unknown id: %+v", got)
	}
	req.Version = 11 // ids are not for asking yet
	if got := ask[*kmsg.MetadataResponse](w, req).Topics[0]; got.ErrorCode != 42 {
		t.Errorf("id in v11: code %d, want 42", got.ErrorCode)
	}
}

func TestMetadataMakesTopicsOnlyWhereBothSidesAllowIt(t *testing.T) {
	for _, c := range []struct {
		server, client bool
		version        int16
		want           int16
	}{
		{true, true, 12, 0},
		{true, false, 12, 3},
		{false, true, 12, 3},
		{true, false, 3, 0}, // could not say no
	} {
		cluster := newFakeCluster()
		r := startServer(t, cluster, func(cfg *Config, _ *Deps) { cfg.AutoCreateTopics, cfg.NumPartitions = c.server, 6 })
		w := dial(t, r.addr)
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.AllowAutoTopicCreation = c.version, c.client
		req.Topics = named("fresh", "bad name", "fresh", "..", "")
		resp := ask[*kmsg.MetadataResponse](w, req)
		if len(resp.Topics) != 4 {
			t.Fatalf("%+v: %d answers for 4 topics, one of them named twice", c, len(resp.Topics))
		}
		for i, want := range []int16{c.want, 17, 17, 17} {
			if got := resp.Topics[i].ErrorCode; got != want {
				t.Errorf("%+v: topic %d has code %d, want %d", c, i, got, want)
			}
		}
		if c.want == 0 && len(resp.Topics[0].Partitions) != 6 {
			t.Errorf("%+v: %d partitions, want 6", c, len(resp.Topics[0].Partitions))
		}
		r.stop()
	}
}

func TestAutoCreationLostToAnotherAgentIsNoError(t *testing.T) {
	cluster := newFakeCluster()
	there := testTopic("fresh", 3)
	cluster.command = func(metadata.Command) (metadata.Result, error, bool) {
		return metadata.CreateTopicResult{Err: metadata.ErrTopicExists, Topic: there}, nil, true
	}
	r := startServer(t, cluster, func(cfg *Config, _ *Deps) { cfg.AutoCreateTopics = true })
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation, req.Topics = 12, true, named("fresh")
	if got := ask[*kmsg.MetadataResponse](dial(t, r.addr), req).Topics[0]; got.ErrorCode != 0 || got.TopicID != there.ID || len(got.Partitions) != 3 {
		t.Errorf("%+v", got)
	}
}

func newTopic(name string, partitions int32, replication int16) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replication
	return t
}

func withConfig(t kmsg.CreateTopicsRequestTopic, name string, value *string) kmsg.CreateTopicsRequestTopic {
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	c.Name, c.Value = name, value
	t.Configs = append(t.Configs, c)
	return t
}

func withAssignment(t kmsg.CreateTopicsRequestTopic, partitions ...[]int32) kmsg.CreateTopicsRequestTopic {
	for i, replicas := range partitions {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(i), replicas
		t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	}
	return t
}

func TestCreateTopicsJudgesEachTopic(t *testing.T) {
	retention, nonsense := "1000", "soon"
	gap := withAssignment(newTopic("gap", -1, -1), []int32{1}, []int32{1})
	gap.ReplicaAssignment[1].Partition = 2
	for version := int16(0); version <= 7; version++ {
		cluster := newFakeCluster(testTopic("there", 1))
		r := startServer(t, cluster)
		w := dial(t, r.addr)
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version = version
		var want []int16
		add := func(t kmsg.CreateTopicsRequestTopic, code int16) {
			req.Topics, want = append(req.Topics, t), append(want, code)
		}
		add(newTopic("plain", 3, 3), 0)
		add(newTopic("defaults", -1, -1), 0)
		add(withConfig(newTopic("configured", 1, 1), "retention.ms", &retention), 0)
		add(withAssignment(newTopic("assigned", -1, -1), []int32{1, 2}, []int32{2, 3}), 0)
		add(newTopic("there", 1, 1), 36)
		add(newTopic("bad/name", 1, 1), 17)
		add(newTopic("no-partitions", 0, 1), 37)
		add(newTopic("negative", -2, 1), 37)
		add(newTopic("no-replicas", 1, 0), 38)
		add(withConfig(newTopic("bad-config", 1, 1), "retention.ms", &nonsense), 40)
		add(withConfig(newTopic("unknown-config", 1, 1), "no.such.config", &retention), 40)
		add(withConfig(newTopic("null-config", 1, 1), "retention.ms", nil), 40)
		add(withAssignment(newTopic("both", 1, 1), []int32{1}), 42)
		add(gap, 39)
		add(newTopic("twice", 1, 1), 42)
		add(newTopic("twice", 1, 1), 42)
		resp := ask[*kmsg.CreateTopicsResponse](w, req)
		for i, got := range resp.Topics {
			if got.ErrorCode != want[i] || got.Topic != req.Topics[i].Topic {
				t.Errorf("v%d %s: code %d, want %d", version, req.Topics[i].Topic, got.ErrorCode, want[i])
			}
			if version >= 1 && (got.ErrorMessage != nil) != (want[i] != 0) {
				t.Errorf("v%d %s: message %v", version, got.Topic, got.ErrorMessage)
			}
		}
		if version >= 5 {
			if got := resp.Topics[0]; got.NumPartitions != 3 || got.ReplicationFactor != 3 || len(got.Configs) == 0 {
				t.Errorf("v%d: told %d partitions, factor %d, %d configs", version, got.NumPartitions, got.ReplicationFactor, len(got.Configs))
			}
			if got := resp.Topics[3]; got.NumPartitions != 2 || got.ReplicationFactor != 2 {
				t.Errorf("v%d assigned: %d partitions, factor %d", version, got.NumPartitions, got.ReplicationFactor)
			}
		}
		made, ok := cluster.Topic("configured")
		if !ok || made.Configs["retention.ms"] != retention {
			t.Errorf("v%d: configured topic is %+v", version, made)
		}
		if version >= 7 && resp.Topics[2].TopicID != made.ID {
			t.Errorf("v%d: told id %v, made %v", version, resp.Topics[2].TopicID, made.ID)
		}
		if len(cluster.Topics()) != 5 {
			t.Errorf("v%d: %d topics, want 5", version, len(cluster.Topics()))
		}
		r.stop()
	}
}

func TestCreateTopicsValidateOnlyMakesNothing(t *testing.T) {
	cluster := newFakeCluster()
	r := startServer(t, cluster)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.ValidateOnly = 5, true
	req.Topics = append(req.Topics, newTopic("maybe", 2, 1), newTopic("bad name", 2, 1))
	resp := ask[*kmsg.CreateTopicsResponse](dial(t, r.addr), req)
	if resp.Topics[0].ErrorCode != 0 || resp.Topics[0].NumPartitions != 2 || resp.Topics[1].ErrorCode != 17 {
		t.Errorf("%+v", resp.Topics)
	}
	if len(cluster.Topics()) != 0 {
		t.Error("a topic was made")
	}
}

func TestDeleteTopicsByNameAndID(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 1), testTopic("b", 1), testTopic("c", 1))
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	byName := kmsg.NewPtrDeleteTopicsRequest()
	byName.Version, byName.TopicNames = 3, []string{"a", "nowhere", "c", "c"}
	deleted := ask[*kmsg.DeleteTopicsResponse](w, byName)
	for i, want := range []int16{0, 3, 42, 42} {
		if got := deleted.Topics[i].ErrorCode; got != want {
			t.Errorf("%s: code %d, want %d", byName.TopicNames[i], got, want)
		}
	}
	byID := kmsg.NewPtrDeleteTopicsRequest()
	byID.Version = 6
	name := "c"
	byID.Topics = []kmsg.DeleteTopicsRequestTopic{
		{TopicID: testTopic("b", 1).ID},
		{TopicID: [16]byte{9}},
		{},
		{Topic: &name, TopicID: testTopic("c", 1).ID},
		{Topic: &name},
	}
	resp := ask[*kmsg.DeleteTopicsResponse](w, byID)
	for i, want := range []int16{0, 100, 42, 42, 0} {
		if got := resp.Topics[i].ErrorCode; got != want {
			t.Errorf("topic %d: code %d, want %d", i, got, want)
		}
	}
	if got := resp.Topics[0]; got.Topic == nil || *got.Topic != "b" {
		t.Errorf("deleted by id: %+v", got)
	}
	if left := cluster.Topics(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

func TestUnknownOutcomeOfACommandIsATimeOut(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 1))
	cluster.command = func(metadata.Command) (metadata.Result, error, bool) { return nil, metadata.ErrUnavailable, true }
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version, create.Topics = 5, append(create.Topics, newTopic("b", 1, 1))
	if got := ask[*kmsg.CreateTopicsResponse](w, create).Topics[0].ErrorCode; got != 7 {
		t.Errorf("create: code %d, want 7", got)
	}
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"a"}
	if got := ask[*kmsg.DeleteTopicsResponse](w, del).Topics[0].ErrorCode; got != 7 {
		t.Errorf("delete: code %d, want 7", got)
	}
	if got := ask[*kmsg.InitProducerIDResponse](w, kmsg.NewPtrInitProducerIDRequest()).ErrorCode; got != 7 {
		t.Errorf("producer id: code %d, want 7", got)
	}
}

func TestInitProducerIDGivesEachIDOnce(t *testing.T) {
	cluster := newFakeCluster()
	r := startServer(t, cluster)
	var mu sync.Mutex
	seen := make(map[int64]bool)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range idBlock / 3 {
				id, err := r.server.ids.next(context.Background())
				mu.Lock()
				if err != nil || seen[id] {
					t.Errorf("id %d: seen %v, %v", id, seen[id], err)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(cluster.commits) != 2 {
		t.Errorf("%d leases for %d ids, want 2", len(cluster.commits), len(seen))
	}
}

func TestInitProducerIDRules(t *testing.T) {
	r := startServer(t, newFakeCluster())
	w := dial(t, r.addr)
	txn, empty := "payments", ""
	for _, c := range []struct {
		name    string
		version int16
		txn     *string
		id      int64
		epoch   int16
		code    int16
		same    bool // the id is kept
		next    int16
	}{
		{name: "idempotent", version: 0, id: -1, epoch: -1},
		{name: "idempotent v5", version: 5, id: -1, epoch: -1},
		{name: "transactional", version: 4, txn: &txn, id: -1, epoch: -1, code: 53, next: -1},
		{name: "empty transactional id", version: 4, txn: &empty, id: -1, epoch: -1, code: 42, next: -1},
		{name: "bump", version: 3, id: 44, epoch: 5, same: true, next: 6},
		{name: "exhausted", version: 4, id: 44, epoch: 32766},
		{name: "id without epoch", version: 3, id: 44, epoch: -1, code: 42, next: -1},
		{name: "epoch without id", version: 3, id: -1, epoch: 0, code: 42, next: -1},
	} {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = c.version, c.txn, c.id, c.epoch
		resp := ask[*kmsg.InitProducerIDResponse](w, req)
		if resp.ErrorCode != c.code || resp.ProducerEpoch != c.next || c.same != (resp.ProducerID == 44) {
			t.Errorf("%s: code %d id %d epoch %d", c.name, resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch)
		}
	}
}

func TestDescribeConfigsTellsEveryConfigWithItsSource(t *testing.T) {
	r := startServer(t, newFakeCluster(testTopic("a", 1, "retention.ms", "1000")))
	w := dial(t, r.addr)
	resource := func(kind kmsg.ConfigResourceType, name string, only ...string) kmsg.DescribeConfigsRequestResource {
		d := kmsg.NewDescribeConfigsRequestResource()
		d.ResourceType, d.ResourceName, d.ConfigNames = kind, name, only
		return d
	}
	for version := int16(0); version <= 4; version++ {
		req := kmsg.NewPtrDescribeConfigsRequest()
		req.Version, req.IncludeSynonyms, req.IncludeDocumentation = version, true, true
		req.Resources = append(req.Resources,
			resource(kmsg.ConfigResourceTypeTopic, "a"),
			resource(kmsg.ConfigResourceTypeTopic, "a", "retention.ms", "no.such"),
			resource(kmsg.ConfigResourceTypeBroker, "7"),
			resource(kmsg.ConfigResourceTypeBroker, "8"),
			resource(kmsg.ConfigResourceTypeTopic, "nowhere"),
			resource(kmsg.ConfigResourceTypeTopic, "bad name"),
			resource(kmsg.ConfigResourceTypeBrokerLogger, "7"))
		resp := ask[*kmsg.DescribeConfigsResponse](w, req)
		for i, want := range []int16{0, 0, 0, 42, 3, 17, 42} {
			if got := resp.Resources[i].ErrorCode; got != want {
				t.Errorf("v%d resource %d: code %d, want %d", version, i, got, want)
			}
		}
		if got, want := len(resp.Resources[0].Configs), len(metadata.DescribeConfigs(nil)); got != want {
			t.Errorf("v%d: %d configs, want %d", version, got, want)
		}
		only := resp.Resources[1].Configs
		if len(only) != 1 || only[0].Name != "retention.ms" || *only[0].Value != "1000" || only[0].IsDefault {
			t.Fatalf("v%d: %+v", version, only)
		}
		if version >= 1 && (only[0].Source != kmsg.ConfigSourceDynamicTopicConfig || len(only[0].ConfigSynonyms) != 1 || only[0].ConfigSynonyms[0].Name != "retention.ms") {
			t.Errorf("v%d: source %v, synonyms %+v", version, only[0].Source, only[0].ConfigSynonyms)
		}
		if version >= 3 && (only[0].ConfigType != kmsg.ConfigTypeLong || only[0].Documentation == nil) {
			t.Errorf("v%d: type %v, documentation %v", version, only[0].ConfigType, only[0].Documentation)
		}
	}
}

func TestFindCoordinatorIsAlwaysThisAgent(t *testing.T) {
	r := startServer(t, newFakeCluster())
	w := dial(t, r.addr)
	for version := int16(0); version <= 6; version++ {
		for kind := int8(0); kind <= 2; kind++ {
			if version == 0 && kind > 0 {
				continue
			}
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.Version, req.CoordinatorKey, req.CoordinatorType, req.CoordinatorKeys = version, "g", kind, []string{"g", "h"}
			resp := ask[*kmsg.FindCoordinatorResponse](w, req)
			node, code := resp.NodeID, resp.ErrorCode
			if version >= 4 {
				if len(resp.Coordinators) != 2 || resp.Coordinators[1].Key != "h" {
					t.Fatalf("v%d: %+v", version, resp.Coordinators)
				}
				node, code = resp.Coordinators[0].NodeID, resp.Coordinators[0].ErrorCode
			}
			if ok := kind < 2; ok && (node != 7 || code != 0) || !ok && (node != -1 || code != 42) {
				t.Errorf("v%d type %d: node %d, code %d", version, kind, node, code)
			}
		}
	}
}

func TestDescribeClusterTellsTheBrokerOfMetadata(t *testing.T) {
	r := startServer(t, newFakeCluster())
	w := dial(t, r.addr)
	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.EndpointType = version, 1
		resp := ask[*kmsg.DescribeClusterResponse](w, req)
		if resp.ErrorCode != 0 || resp.ClusterID != "test-cluster" || resp.ControllerID != 7 || len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 7 {
			t.Errorf("v%d: %+v", version, resp)
		}
		if version >= 1 {
			req.EndpointType = 2
			if resp := ask[*kmsg.DescribeClusterResponse](w, req); resp.ErrorCode != 114 {
				t.Errorf("v%d controllers: code %d, want 114", version, resp.ErrorCode)
			}
		}
	}
}

func TestGroupRequestsReachTheCoordinator(t *testing.T) {
	r := startServer(t, newFakeCluster())
	w := dial(t, r.addr)
	for _, a := range apis() {
		switch a.key {
		case keyJoinGroup, keySyncGroup, keyHeartbeat, keyLeaveGroup, keyListGroups, keyOffsetDelete, keyConsumerHeartbeat:
		default:
			continue
		}
		for version := a.min; version <= a.max; version++ {
			req := kmsg.RequestForKey(a.key)
			req.SetVersion(version)
			var got int16
			switch resp := w.ask(req).(type) {
			case *kmsg.JoinGroupResponse:
				got = resp.ErrorCode
			case *kmsg.SyncGroupResponse:
				got = resp.ErrorCode
			case *kmsg.HeartbeatResponse:
				got = resp.ErrorCode
			case *kmsg.ListGroupsResponse:
				got = resp.ErrorCode
			case *kmsg.OffsetDeleteResponse:
				got = resp.ErrorCode
			case *kmsg.ConsumerGroupHeartbeatResponse:
				got = resp.ErrorCode
			case *kmsg.LeaveGroupResponse:
				got = resp.ErrorCode
			}
			if got != groupsReached {
				t.Errorf("key %d v%d: code %d", a.key, version, got)
			}
		}
	}
}

// Ends of partitions are told only after the View has caught up, and offsets beyond them refused only then.
func TestEndsWaitForAFreshView(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	var mu sync.Mutex
	var calls int
	var stale error
	r := startServer(t, cluster, func(_ *Config, d *Deps) {
		d.Fresh = func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			calls++
			if stale == nil && calls == 1 { // the View catches up with what others appended
				b, _ := record.Parse(batchOf(t, record.None, "a", "b", "c"))
				p, err := cluster.Append(context.Background(), []record.Append{{Partition: record.Partition{Topic: testTopic("events", 1).ID}, Batch: b}})
				if err != nil {
					return err
				}
				<-p.Done()
			}
			return stale
		}
	})
	w := dial(t, r.addr)
	if p := ask[*kmsg.FetchResponse](w, fetchOf(12, "events", 0, 2)).Topics[0].Partitions[0]; p.ErrorCode != 0 || len(p.RecordBatches) == 0 {
		t.Errorf("fetch beyond the end known: code %d, %d bytes", p.ErrorCode, len(p.RecordBatches))
	}
	mu.Lock()
	stale = fmt.Errorf("confirm: %w", metadata.ErrUnavailable)
	mu.Unlock()
	if p := ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(5, "events", -1)).Topics[0].Partitions[0]; p.ErrorCode != 7 || p.Offset != -1 {
		t.Errorf("latest of a stale view: code %d offset %d, want 7 and none", p.ErrorCode, p.Offset)
	}
	if p := ask[*kmsg.FetchResponse](w, fetchOf(12, "events", 0, 99)).Topics[0].Partitions[0]; p.ErrorCode == 1 || p.ErrorCode == 0 {
		t.Errorf("out of range of a stale view: code %d", p.ErrorCode)
	}
}

func TestEveryErrorOfTheCommandsHasACode(t *testing.T) {
	for _, err := range []error{
		metadata.ErrUnknownTopic, metadata.ErrTopicExists, metadata.ErrInvalidTopic, metadata.ErrInvalidPartitions,
		metadata.ErrInvalidConfig, metadata.ErrOutOfOrderSequence, metadata.ErrInvalidProducerEpoch, metadata.ErrSessionSealed,
		metadata.ErrOutOfOrderCounter, metadata.ErrOffsetOutOfRange, metadata.ErrFenced, metadata.ErrUnavailable,
		record.ErrTruncated, record.ErrMagic, record.ErrCorrupt, record.ErrInvalid, record.ErrUnknownCodec, record.ErrTooLarge,
	} {
		if c := codeOf(fmt.Errorf("wrapped: %w", err)); c == codeUnknownServerError || c == codeNone {
			t.Errorf("%v has code %d", err, c)
		}
	}
	if c := codeOf(errors.New("a bug")); c != codeUnknownServerError {
		t.Errorf("unknown error has code %d", c)
	}
}

// Nobody can connect to every address of a machine: a server that has no other one to tell does not start.
func TestListenerOnEveryAddressNeedsOneToTell(t *testing.T) {
	var deps Deps
	startServer(t, newFakeCluster(), func(_ *Config, d *Deps) { deps = *d })
	cfg := DefaultConfig()
	cfg.Listen, cfg.ClusterID = "0.0.0.0:0", "c"
	s, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "advertised address") {
		t.Errorf("it runs, or ends with %v", err)
	}
}

func TestAdvertisedAddressIsTold(t *testing.T) {
	r := startServer(t, newFakeCluster(), func(c *Config, _ *Deps) { c.Advertise = "broker.example:9999" })
	resp := ask[*kmsg.FindCoordinatorResponse](dial(t, r.addr), kmsg.NewPtrFindCoordinatorRequest())
	if resp.Host != "broker.example" || resp.Port != 9999 {
		t.Errorf("told %s:%d", resp.Host, resp.Port)
	}
}

func TestConfigFaultsAreAllTold(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Advertise, cfg.NumPartitions, cfg.MemoryBytes = "no-port", 0, 1
	_, err := New(cfg, Deps{})
	for _, want := range []string{"advertise", "cluster id", "NumPartitions", "MemoryBytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}
