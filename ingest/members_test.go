package ingest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/routing"
)

// sixAgents are nodes 1 to 6, two in each of three zones. Tests run as node 1, in zone-a.
func sixAgents() routing.Members {
	var ms []routing.Member
	for i := range 6 {
		ms = append(ms, routing.Member{
			Session: uint64(i + 1), Kafka: fmt.Sprintf("agent-%d:909%d", i+1, i+1),
			Zone: []string{"zone-a", "zone-b", "zone-c"}[i/2],
		})
	}
	return routing.Sorted(ms)
}

// among makes the server node 1 of the agents that members holds.
func among(members *atomic.Pointer[routing.Members]) func(*Config, *Deps) {
	return func(cfg *Config, deps *Deps) {
		cfg.NodeID, cfg.Zone = 1, "zone-a"
		deps.Members = func() routing.Members { return *members.Load() }
	}
}

func amongSix(change ...func(*Config, *Deps)) (func(*Config, *Deps), *atomic.Pointer[routing.Members]) {
	var members atomic.Pointer[routing.Members]
	six := sixAgents()
	members.Store(&six)
	return func(cfg *Config, deps *Deps) {
		among(&members)(cfg, deps)
		for _, f := range change {
			f(cfg, deps)
		}
	}, &members
}

// replace stores a copy of the members with one of them changed.
func replace(members *atomic.Pointer[routing.Members], node int32, change func(*routing.Member)) {
	ms := slices.Clone(*members.Load())
	for i := range ms {
		if ms[i].NodeID() == node {
			change(&ms[i])
		}
	}
	members.Store(&ms)
}

func metadataOf(topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return req
}

// as sends req under a client id.
func as[R kmsg.Response](w *wire, id string, req kmsg.Request) R {
	w.t.Helper()
	w.next++
	w.raw(kmsg.NewRequestFormatter(kmsg.FormatterClientID(id)).AppendRequest(nil, req, w.next))
	return receive[R](w, req, w.next)
}

func brokerIDs(resp *kmsg.MetadataResponse) []int32 {
	var ids []int32
	for _, b := range resp.Brokers {
		ids = append(ids, b.NodeID)
	}
	return ids
}

// leadersOf are the nodes that lead something, sorted.
func leadersOf(resp *kmsg.MetadataResponse) []int32 {
	var ids []int32
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			ids = append(ids, p.Leader)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func TestMetadataTellsAllAgentsAndOneReplicaInEachZone(t *testing.T) {
	six, _ := amongSix()
	r := startServer(t, newFakeCluster(testTopic("events", 12)), six)
	resp := as[*kmsg.MetadataResponse](dial(t, r.addr), "app,zone=zone-b", metadataOf("events"))
	if got := brokerIDs(resp); !slices.Equal(got, []int32{1, 2, 3, 4, 5, 6}) {
		t.Fatalf("brokers %v", got)
	}
	zones := make(map[int32]string)
	for _, b := range resp.Brokers {
		zones[b.NodeID] = *b.Rack
		at := fmt.Sprintf("%s:%d", b.Host, b.Port)
		want := fmt.Sprintf("agent-%d:909%d", b.NodeID, b.NodeID)
		if b.NodeID == 1 {
			want = r.addr // this agent is where the client has found it
		}
		if at != want {
			t.Errorf("node %d is at %s, want %s", b.NodeID, at, want)
		}
	}
	if resp.ControllerID != 1 {
		t.Errorf("controller %d, want the agent that answers", resp.ControllerID)
	}
	for _, p := range resp.Topics[0].Partitions {
		var racks []string
		for _, n := range p.Replicas {
			racks = append(racks, zones[n])
		}
		if p.Leader != p.Replicas[0] || p.LeaderEpoch != 0 || !slices.Equal(p.ISR, p.Replicas) || len(p.OfflineReplicas) != 0 ||
			!slices.Equal(racks, []string{"zone-b", "zone-c", "zone-a"}) {
			t.Errorf("partition %d: leader %d epoch %d, replicas %v in %v, in sync %v", p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, racks, p.ISR)
		}
	}
}

func TestAClientsZoneDecidesWhoLeads(t *testing.T) {
	six, _ := amongSix(func(cfg *Config, _ *Deps) {
		m, err := routing.ParseZoneMap("zone-c@127.0.0.0/8")
		if err != nil {
			t.Fatal(err)
		}
		cfg.ClientZones = m
	})
	r := startServer(t, newFakeCluster(testTopic("events", 12)), six)
	bare, _ := amongSix()
	unmapped := startServer(t, newFakeCluster(testTopic("events", 12)), bare)
	for _, c := range []struct {
		r       *running
		id      string
		zone    []int32 // its agents
		outcome string
	}{
		{r, "app,zone=zone-b", []int32{3, 4}, placedHit},
		{r, "app", []int32{5, 6}, placedHit}, // by its address
		{r, "ws_az=zone-a-0", []int32{1, 2}, placedHit},
		{r, "az=zone-z", []int32{1, 2, 3, 4, 5, 6}, placedMiss},
		{unmapped, "app", []int32{1, 2}, placedUnaware}, // this agent's
	} {
		before := c.r.counts.of(c.outcome)
		resp := as[*kmsg.MetadataResponse](dial(t, c.r.addr), c.id, metadataOf("events"))
		for _, n := range leadersOf(resp) {
			if !slices.Contains(c.zone, n) {
				t.Errorf("%q: node %d leads, want one of %v", c.id, n, c.zone)
			}
		}
		if got := c.r.counts.of(c.outcome); got != before+1 {
			t.Errorf("%q: %d answers were counted as %s, want one", c.id, got-before, c.outcome)
		}
	}
}

func (c *counts) of(outcome string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.placed[outcome]
}

func TestFewAgentsLeadWhileThereIsLittleLoad(t *testing.T) {
	six, members := amongSix()
	r := startServer(t, newFakeCluster(testTopic("events", 100)), six)
	w := dial(t, r.addr)
	idle := leadersOf(as[*kmsg.MetadataResponse](w, "app", metadataOf("events")))
	if len(idle) != 1 {
		t.Fatalf("%v lead an idle cluster", idle)
	}
	replace(members, 2, func(m *routing.Member) { m.ProduceRate = 40 << 20 })
	if got := leadersOf(as[*kmsg.MetadataResponse](w, "app", metadataOf("events"))); !slices.Equal(got, []int32{1, 2}) {
		t.Errorf("%v lead at 40 MiB/s", got)
	}
	replace(members, 2, func(m *routing.Member) { m.ProduceRate = 28 << 20 })
	if got := leadersOf(as[*kmsg.MetadataResponse](w, "app", metadataOf("events"))); !slices.Equal(got, []int32{1, 2}) {
		t.Errorf("%v lead at 28 MiB/s after more", got)
	}
	replace(members, 2, func(m *routing.Member) { m.ProduceRate = 20 << 20 })
	if got := leadersOf(as[*kmsg.MetadataResponse](w, "app", metadataOf("events"))); !slices.Equal(got, idle) {
		t.Errorf("%v lead at 20 MiB/s, want %v again", got, idle)
	}
}

func TestAnAgentThatCanNotServeSoonLeavesItselfOut(t *testing.T) {
	var reachable atomic.Bool
	reachable.Store(true)
	six, members := amongSix(func(_ *Config, deps *Deps) { deps.Reachable = reachable.Load })
	r := startServer(t, newFakeCluster(testTopic("events", 50)), six)
	w := dial(t, r.addr)
	in := func(want bool) {
		t.Helper()
		resp := as[*kmsg.MetadataResponse](w, "app,zone=zone-a", metadataOf("events"))
		if got := slices.Contains(brokerIDs(resp), 1); got != want {
			t.Errorf("brokers %v: this agent is among them: %v, want %v", brokerIDs(resp), got, want)
		}
		for _, n := range append(leadersOf(resp), resp.ControllerID) {
			if !slices.Contains(brokerIDs(resp), n) {
				t.Errorf("node %d is named and not told: brokers %v", n, brokerIDs(resp))
			}
		}
		cluster := ask[*kmsg.DescribeClusterResponse](w, kmsg.NewPtrDescribeClusterRequest())
		var ids []int32
		for _, b := range cluster.Brokers {
			ids = append(ids, b.NodeID)
		}
		if !slices.Equal(ids, brokerIDs(resp)) || cluster.ControllerID != resp.ControllerID {
			t.Errorf("DescribeCluster tells %v, controller %d; Metadata %v, %d", ids, cluster.ControllerID, brokerIDs(resp), resp.ControllerID)
		}
	}
	in(true)
	reachable.Store(false)
	in(false)
	reachable.Store(true)
	in(true)
	replace(members, 1, func(m *routing.Member) { m.Draining = true })
	in(false)
	for n := int32(2); n <= 6; n++ {
		replace(members, n, func(m *routing.Member) { m.Draining = true })
	}
	in(true) // whoever else there is leaves as well
	alone := (*members.Load())[:1]
	members.Store(&alone)
	in(true)
	nobody := routing.Members{}
	members.Store(&nobody)
	in(true) // before the first list has come
}

func TestDrainingAgentsAreNotTold(t *testing.T) {
	six, members := amongSix()
	r := startServer(t, newFakeCluster(testTopic("events", 50)), six)
	replace(members, 3, func(m *routing.Member) { m.Draining = true })
	replace(members, 5, func(m *routing.Member) { m.Kafka = "no port" })
	resp := as[*kmsg.MetadataResponse](dial(t, r.addr), "zone=zone-b", metadataOf("events"))
	if got := brokerIDs(resp); !slices.Equal(got, []int32{1, 2, 4, 6}) {
		t.Errorf("brokers %v", got)
	}
	if got := leadersOf(resp); !slices.Equal(got, []int32{4}) {
		t.Errorf("leaders %v", got)
	}
}

// holders answers for groups by name.
type holders map[string]routing.Member

func (h holders) Coordinator(_ context.Context, group string) (routing.Member, int16) {
	m, ok := h[group]
	if !ok {
		return routing.Member{}, int16(codeCoordinatorNotAvailable)
	}
	return m, 0
}

func TestFindCoordinatorTellsWhoHoldsTheGroup(t *testing.T) {
	six, _ := amongSix(func(_ *Config, deps *Deps) {
		ms := sixAgents()
		deps.Coordinators = holders{"mine": ms[0], "theirs": ms[4], "lost": {Session: 9, Kafka: "?"}}
	})
	r := startServer(t, newFakeCluster(), six)
	w := dial(t, r.addr)
	want := map[string]string{"mine": "1@" + r.addr, "theirs": "5@agent-5:9095", "lost": "15", "nobody": "15"}
	for _, version := range []int16{0, 3, 4, 6} {
		for key, where := range want {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.Version, req.CoordinatorKey, req.CoordinatorKeys = version, key, []string{key}
			resp := ask[*kmsg.FindCoordinatorResponse](w, req)
			got := kmsg.FindCoordinatorResponseCoordinator{NodeID: resp.NodeID, Host: resp.Host, Port: resp.Port, ErrorCode: resp.ErrorCode}
			if version >= 4 {
				got = resp.Coordinators[0]
			}
			told := fmt.Sprintf("%d@%s:%d", got.NodeID, got.Host, got.Port)
			if got.ErrorCode != 0 {
				told = fmt.Sprint(got.ErrorCode)
			}
			if told != where {
				t.Errorf("v%d %s: %s, want %s", version, key, told, where)
			}
		}
	}
	txn := kmsg.NewPtrFindCoordinatorRequest()
	txn.Version, txn.CoordinatorType, txn.CoordinatorKey = 3, coordinateTxn, "t"
	if resp := ask[*kmsg.FindCoordinatorResponse](w, txn); resp.NodeID != 1 || !strings.HasPrefix(r.addr, resp.Host) {
		t.Errorf("transactions: %+v, want this agent", resp)
	}
}

func TestBytesThatCrossZonesAreCountedByClient(t *testing.T) {
	six, _ := amongSix()
	r := startServer(t, newFakeCluster(testTopic("events", 1)), six)
	w := dial(t, r.addr)
	for _, id := range []string{"near,zone=zone-a", "nowhere", "far,zone=zone-b", "far,zone=zone-b", "lost,az=zone-z"} {
		as[*kmsg.MetadataResponse](w, id, metadataOf("events"))
	}
	as[*kmsg.FetchResponse](w, "reader", rackFetch(12, "events", 0, "zone-c"))
	as[*kmsg.FetchResponse](w, "near,zone=zone-a", rackFetch(12, "events", 0, "zone-c")) // its client.id says better
	r.counts.mu.Lock()
	defer r.counts.mu.Unlock()
	want := map[string]int{"far,zone=zone-b in zone-b": 2, "lost,az=zone-z in zone-z": 1, "reader in zone-c": 1}
	if !maps.Equal(r.counts.crossed, want) {
		t.Errorf("counted %v, want %v", r.counts.crossed, want)
	}
}
