package ingest

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// rackFetch is a Fetch of a consumer that names its zone.
func rackFetch(version int16, topic string, offset int64, rack string) *kmsg.FetchRequest {
	req := fetchOf(version, topic, 0, offset)
	req.Rack = rack
	return req
}

func partitionOf(resp *kmsg.FetchResponse) kmsg.FetchResponseTopicPartition {
	return resp.Topics[0].Partitions[0]
}

// zoneServer is node 1 of six, with one batch of two records in the topic "events".
func zoneServer(t *testing.T, change ...func(*Config, *Deps)) *running {
	t.Helper()
	six, _ := amongSix(change...)
	events := testTopic("events", 1)
	cluster := newFakeCluster(events)
	elsewhere(t, cluster, events, "a", "b")
	return startServer(t, cluster, six)
}

func TestAConsumerIsSentToTheReplicaOfItsZone(t *testing.T) {
	for _, version := range []int16{11, 12, 17} {
		r := zoneServer(t)
		w := dial(t, r.addr)
		replicas := ask[*kmsg.MetadataResponse](w, metadataOf("events")).Topics[0].Partitions[0].Replicas
		p := partitionOf(ask[*kmsg.FetchResponse](w, rackFetch(version, "events", 0, "zone-c")))
		if !slices.Contains([]int32{5, 6}, p.PreferredReadReplica) || !slices.Contains(replicas, p.PreferredReadReplica) {
			t.Errorf("v%d: sent to %d; the zone has 5 and 6, Metadata told the replicas %v", version, p.PreferredReadReplica, replicas)
		}
		if p.ErrorCode != 0 || len(p.RecordBatches) != 0 || p.HighWatermark != 2 || p.LastStableOffset != 2 || p.LogStartOffset != 0 {
			t.Errorf("v%d: error %d, %d bytes, bounds %d %d %d", version, p.ErrorCode, len(p.RecordBatches), p.LogStartOffset, p.LastStableOffset, p.HighWatermark)
		}
		if n := r.counts.redirects(redirectedZone); n != 1 {
			t.Errorf("v%d: counted %d times", version, n)
		}
	}
}

func TestAConsumerIsServedWhereItIsUnlessItsZoneHasSomebodyBetter(t *testing.T) {
	for name, c := range map[string]struct {
		req    *kmsg.FetchRequest
		change func(ms routing.Members)
	}{
		"too old to be sent":           {rackFetch(10, "events", 0, "zone-c"), nil},
		"no zone":                      {rackFetch(12, "events", 0, ""), nil},
		"the agent's own zone":         {rackFetch(12, "events", 0, "zone-a"), nil},
		"a zone that nobody is in":     {rackFetch(12, "events", 0, "zone-z"), nil},
		"all agents of the zone drain": {rackFetch(12, "events", 0, "zone-c"), func(ms routing.Members) { ms[4].Draining, ms[5].Draining = true, true }},
		"the zone's agents are gone":   {rackFetch(12, "events", 0, "zone-c"), func(ms routing.Members) { ms[4].Zone, ms[5].Zone = "zone-b", "zone-b" }},
	} {
		r := zoneServer(t, func(_ *Config, deps *Deps) {
			ms := sixAgents()
			if c.change != nil {
				c.change(ms)
			}
			deps.Members = func() routing.Members { return ms }
		})
		p := partitionOf(ask[*kmsg.FetchResponse](dial(t, r.addr), c.req))
		if p.ErrorCode != 0 || p.PreferredReadReplica != -1 || len(p.RecordBatches) == 0 {
			t.Errorf("%s: error %d, sent to %d, %d bytes", name, p.ErrorCode, p.PreferredReadReplica, len(p.RecordBatches))
		}
	}
}

// A client.id that names another zone than client.rack does not send a consumer on within its zone.
func TestAConsumerInItsZoneStaysAtItsAgent(t *testing.T) {
	r := zoneServer(t)
	for i := range 20 {
		p := partitionOf(as[*kmsg.FetchResponse](dial(t, r.addr), fmt.Sprintf("app-%d,zone=zone-b", i), rackFetch(12, "events", 0, "zone-a")))
		if p.PreferredReadReplica != -1 || len(p.RecordBatches) == 0 {
			t.Errorf("client %d: sent to %d, %d bytes", i, p.PreferredReadReplica, len(p.RecordBatches))
		}
	}
}

// Who is sent elsewhere for one partition does not wait for another one.
func TestAnAnswerThatSendsElsewhereDoesNotWait(t *testing.T) {
	six, _ := amongSix()
	r := startServer(t, newFakeCluster(testTopic("events", 2)), six)
	w := dial(t, r.addr)
	if p := partitionOf(ask[*kmsg.FetchResponse](w, rackFetch(12, "events", 0, "zone-c"))); p.PreferredReadReplica == -1 {
		t.Fatal("not sent to its zone")
	}
	req := rackFetch(12, "events", 0, "zone-c")
	req.MaxWaitMillis = 60_000 // longer than the test waits
	second := kmsg.NewFetchRequestTopicPartition()
	second.Partition, second.PartitionMaxBytes = 1, 1<<20
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, second)
	parts := ask[*kmsg.FetchResponse](w, req).Topics[0].Partitions
	if parts[0].PreferredReadReplica != -1 || parts[1].PreferredReadReplica == -1 {
		t.Errorf("sent to %d and %d, want the second partition alone sent", parts[0].PreferredReadReplica, parts[1].PreferredReadReplica)
	}
}

func TestAWrongPositionIsToldAndNotSentOn(t *testing.T) {
	p := partitionOf(ask[*kmsg.FetchResponse](dial(t, zoneServer(t).addr), rackFetch(12, "events", 9, "zone-c")))
	if p.ErrorCode != int16(codeOffsetOutOfRange) || p.PreferredReadReplica != -1 {
		t.Errorf("error %d, sent to %d", p.ErrorCode, p.PreferredReadReplica)
	}
}

// A consumer that comes back could not reach the other agent: it is served, and not sent to and fro.
func TestAConsumerThatComesBackIsServed(t *testing.T) {
	var clock fakeClock
	r := zoneServer(t, func(_ *Config, deps *Deps) { deps.Now = clock.now })
	w := dial(t, r.addr)
	req := rackFetch(12, "events", 0, "zone-b")
	for i, want := range []struct {
		after time.Duration
		sent  bool
	}{{0, true}, {0, false}, {steerRest - 1, false}, {1, true}, {time.Second, false}} {
		clock.advance(want.after)
		p := partitionOf(ask[*kmsg.FetchResponse](w, req))
		if sent := p.PreferredReadReplica != -1; sent != want.sent || sent == (len(p.RecordBatches) > 0) {
			t.Errorf("fetch %d: sent to %d, %d bytes; want sent %v", i, p.PreferredReadReplica, len(p.RecordBatches), want.sent)
		}
	}
	if p := partitionOf(ask[*kmsg.FetchResponse](dial(t, r.addr), req)); p.PreferredReadReplica == -1 {
		t.Error("another consumer is not sent to its zone")
	}
}

func TestWhatIsRememberedOfSentConsumersIsBounded(t *testing.T) {
	var s steered
	now := time.Unix(1000, 0)
	for i := range maxSteered {
		if !s.admit(record.Partition{Index: int32(i)}, now) {
			t.Fatalf("partition %d was refused", i)
		}
	}
	if s.admit(record.Partition{Index: -1}, now.Add(steerRest-1)) {
		t.Error("a partition beyond the bound was admitted")
	}
	if !s.admit(record.Partition{Index: -1}, now.Add(steerRest)) || len(s.last) > maxSteered {
		t.Errorf("refused though all others have rested, or %d are kept", len(s.last))
	}
}

func TestADrainingAgentSendsClientsAway(t *testing.T) {
	r := zoneServer(t)
	w := dial(t, r.addr)
	leader := func() int32 {
		return as[*kmsg.MetadataResponse](w, "test", metadataOf("events")).Topics[0].Partitions[0].Leader
	}
	if p := ask[*kmsg.ProduceResponse](w, produceOf(10, "events", 0, batchOf(t, record.None, "c"))).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.CurrentLeader.LeaderID != -1 {
		t.Fatalf("before: error %d, leader %d", p.ErrorCode, p.CurrentLeader.LeaderID)
	}
	r.server.Drain()
	if got := brokerIDs(ask[*kmsg.MetadataResponse](w, metadataOf())); slices.Contains(got, 1) {
		t.Errorf("brokers %v: this agent is among them", got)
	}
	for _, version := range []int16{3, 8, 9, 10, 13} {
		resp := ask[*kmsg.ProduceResponse](w, produceOf(version, "events", 0, batchOf(t, record.None, "d")))
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != int16(codeNotLeaderOrFollower) {
			t.Errorf("Produce v%d: error %d", version, p.ErrorCode)
		}
		told := len(resp.Brokers) == 1 && p.CurrentLeader.LeaderID == resp.Brokers[0].NodeID
		if want := version >= 10; told != want || len(resp.Brokers) > 1 {
			t.Errorf("Produce v%d: leader %+v, brokers %+v", version, p.CurrentLeader, resp.Brokers)
		}
		if told {
			b := resp.Brokers[0]
			if b.NodeID != leader() || fmt.Sprintf("%s:%d", b.Host, b.Port) != fmt.Sprintf("agent-%d:909%d", b.NodeID, b.NodeID) || b.Rack == nil || *b.Rack != "zone-a" || p.CurrentLeader.LeaderEpoch != 0 {
				t.Errorf("Produce v%d: sent to %+v (epoch %d), Metadata says %d", version, b, p.CurrentLeader.LeaderEpoch, leader())
			}
		}
	}
	for _, version := range []int16{4, 11, 12, 15, 16, 17} {
		resp := ask[*kmsg.FetchResponse](w, rackFetch(version, "events", 0, "zone-c"))
		p := partitionOf(resp)
		if p.ErrorCode != int16(codeNotLeaderOrFollower) || len(p.RecordBatches) != 0 || version >= 11 && p.PreferredReadReplica != -1 {
			t.Errorf("Fetch v%d: error %d, %d bytes, preferred %d", version, p.ErrorCode, len(p.RecordBatches), p.PreferredReadReplica)
		}
		told := len(resp.Brokers) == 1 && p.CurrentLeader.LeaderID == resp.Brokers[0].NodeID
		if want := version >= 16; told != want || len(resp.Brokers) > 1 {
			t.Errorf("Fetch v%d: leader %+v, brokers %+v", version, p.CurrentLeader, resp.Brokers)
		}
	}
	if got := r.counts.redirects(redirectedDraining); got != 11 {
		t.Errorf("%d answers were counted, want 11", got)
	}
}

func TestADrainingAgentTakesWhatCameWithoutAcks(t *testing.T) {
	six, _ := amongSix()
	cluster := newFakeCluster(testTopic("events", 1))
	r := startServer(t, cluster, six)
	r.server.Drain()
	w := dial(t, r.addr)
	req := produceOf(10, "events", 0, batchOf(t, record.None, "a"))
	req.Acks = 0
	w.send(req)
	ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(7, "events", tsLatest)) // comes after the produce
	if n := len(cluster.records(record.Partition{Topic: testTopic("events", 1).ID})); n != 1 {
		t.Errorf("%d records are there, want 1", n)
	}
}

// Whoever is alone serves to the end.
func TestTheLastAgentServesWhileItDrains(t *testing.T) {
	r := startServer(t, newFakeCluster(testTopic("events", 1)))
	r.server.Drain()
	w := dial(t, r.addr)
	if p := ask[*kmsg.ProduceResponse](w, produceOf(10, "events", 0, batchOf(t, record.None, "a"))).Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Errorf("Produce: error %d", p.ErrorCode)
	}
	if p := partitionOf(ask[*kmsg.FetchResponse](w, fetchOf(16, "events", 0, 0))); p.ErrorCode != 0 || len(p.RecordBatches) == 0 {
		t.Errorf("Fetch: error %d", p.ErrorCode)
	}
}

// What was handed over before the drain is answered before a later request hears that it should go elsewhere: the order of
// a producer's batches is not lost.
func TestWhatIsInFlightIsAnsweredBeforeTheClientIsSentAway(t *testing.T) {
	six, _ := amongSix()
	cluster := newFakeCluster(testTopic("events", 1))
	handed, commit := make(chan struct{}), make(chan struct{})
	cluster.hold = func(int) { close(handed); <-commit }
	r := startServer(t, cluster, six)
	w := dial(t, r.addr)
	first, second := produceOf(9, "events", 0, batchOf(t, record.None, "a")), produceOf(9, "events", 0, batchOf(t, record.None, "b"))
	a := w.send(first)
	<-handed
	r.server.Drain()
	b := w.send(second)
	close(commit)
	if p := receive[*kmsg.ProduceResponse](w, first, a).Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Errorf("in flight: error %d", p.ErrorCode)
	}
	if p := receive[*kmsg.ProduceResponse](w, second, b).Topics[0].Partitions[0]; p.ErrorCode != int16(codeNotLeaderOrFollower) {
		t.Errorf("after the drain began: error %d", p.ErrorCode)
	}
}

func TestRatesAreOfTheLastSeconds(t *testing.T) {
	var r rate
	now := time.Unix(5000, 0)
	if got := r.perSecond(now); got != 0 {
		t.Errorf("idle: %d", got)
	}
	for i := range 20 {
		r.add(now.Add(time.Duration(i)*time.Second), 900)
	}
	now = now.Add(20 * time.Second)
	if got := r.perSecond(now); got != 900 {
		t.Errorf("900 a second: %d", got)
	}
	r.add(now, 1<<40) // this second is not over
	if got := r.perSecond(now); got != 900 {
		t.Errorf("with the present second: %d", got)
	}
	if got := r.perSecond(now.Add(5 * time.Second)); got <= 900 {
		t.Errorf("a burst 5 s ago: %d", got)
	}
	if got := r.perSecond(now.Add(time.Minute)); got != 0 {
		t.Errorf("a minute later: %d", got)
	}
}

// fakeClock is a clock that moves when it is told to.
type fakeClock struct{ ahead atomic.Int64 }

func (c *fakeClock) now() time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(c.ahead.Load()))
}

func (c *fakeClock) advance(d time.Duration) { c.ahead.Add(int64(d)) }
