package ingest

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
)

func TestAPIVersionsAnswersEveryVersion(t *testing.T) {
	r := startServer(t, newFakeCluster())
	w := dial(t, r.addr)
	for version := int16(0); version <= 5; version++ {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version = version
		req.ClientSoftwareName, req.ClientSoftwareVersion = "a-client", "1.2.3"
		resp := ask[*kmsg.ApiVersionsResponse](w, req)
		if resp.ErrorCode != 0 || len(resp.ApiKeys) != len(advertised()) {
			t.Fatalf("v%d: code %d, %d keys", version, resp.ErrorCode, len(resp.ApiKeys))
		}
		if !slices.IsSortedFunc(resp.ApiKeys, func(a, b kmsg.ApiVersionsResponseApiKey) int { return int(a.ApiKey - b.ApiKey) }) {
			t.Errorf("v%d: keys out of order", version)
		}
	}
}

// KIP-511: a client that asks with a newer version than ours gets the list in a form it can read.
func TestAPIVersionsBeyondOursIsAnsweredInVersionZero(t *testing.T) {
	r := startServer(t, newFakeCluster())
	w := dial(t, r.addr)
	// Version 99 with a body nobody knows.
	frame := binary.BigEndian.AppendUint32(nil, 12)
	frame = append(frame, 0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff)
	w.raw(frame)
	v0 := kmsg.NewPtrApiVersionsRequest()
	resp := receive[*kmsg.ApiVersionsResponse](w, v0, 5)
	if resp.ErrorCode != 35 || len(resp.ApiKeys) != len(advertised()) {
		t.Errorf("code %d with %d keys, want 35 with %d", resp.ErrorCode, len(resp.ApiKeys), len(advertised()))
	}
	// The connection goes on.
	if resp := ask[*kmsg.ApiVersionsResponse](w, v0); resp.ErrorCode != 0 {
		t.Errorf("code %d afterwards", resp.ErrorCode)
	}
}

func TestAPIVersionsJudgesTheClient(t *testing.T) {
	r := startServer(t, newFakeCluster())
	w := dial(t, r.addr)
	ours, other := "test-cluster", "another"
	for _, c := range []struct {
		name     string
		version  int16
		software string
		cluster  *string
		node     int32
		want     int16
	}{
		{"plain", 3, "kgo", nil, -1, 0},
		{"empty name", 3, "", nil, -1, 42},
		{"space in name", 4, "a client", nil, -1, 42},
		{"dash at the end", 3, "kgo-", nil, -1, 42},
		{"right cluster, any node", 5, "kgo", &ours, 12345, 0},
		{"wrong cluster", 5, "kgo", &other, 7, 129},
		{"cluster without node", 5, "kgo", &ours, -1, 42},
		{"node without cluster", 5, "kgo", nil, 7, 42},
	} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = c.version, c.software, "1"
		req.ClusterID, req.NodeID = c.cluster, c.node
		if resp := ask[*kmsg.ApiVersionsResponse](w, req); resp.ErrorCode != c.want {
			t.Errorf("%s: code %d, want %d", c.name, resp.ErrorCode, c.want)
		}
	}
}

func TestProduceAndFetchInEveryVersion(t *testing.T) {
	topic := testTopic("events", 1)
	cluster := newFakeCluster(topic)
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	next := int64(0)
	for version := int16(3); version <= 13; version++ {
		resp := ask[*kmsg.ProduceResponse](w, produceOf(version, "events", 0, batchOf(t, record.None, "a", "b")))
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.BaseOffset != next || p.LogAppendTime != -1 {
			t.Fatalf("produce v%d: %+v, want offset %d", version, p, next)
		}
		next += 2
	}
	for version := int16(4); version <= 17; version++ {
		req := fetchOf(version, topic.Name, 0, 3)
		resp := ask[*kmsg.FetchResponse](w, req)
		p := resp.Topics[0].Partitions[0]
		if resp.ErrorCode != 0 || resp.SessionID != 0 || p.ErrorCode != 0 || p.HighWatermark != next {
			t.Fatalf("fetch v%d: %+v", version, resp)
		}
		first, _, err := record.Split(p.RecordBatches)
		if err != nil || first.BaseOffset() != 2 || first.LeaderEpoch() != 0 {
			t.Fatalf("fetch v%d: first batch at %d, %v; want the one that holds offset 3, at 2", version, first.BaseOffset(), err)
		}
	}
}

func fetchOf(version int16, topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = version, 10, 1, 1<<20, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic, ft.TopicID = topic, testTopic(topic, 1).ID
	ft.Partitions = append(ft.Partitions, p)
	req.Topics = append(req.Topics, ft)
	return req
}

// The point of pipelining: a slow commit holds back the replies behind it, not the work.
func TestPipelinedRequestsOverlapAndRepliesKeepTheirOrder(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 3))
	var mu sync.Mutex
	begun := make(map[int]bool)
	allBegun := make(chan struct{})
	cluster.hold = func(call int) {
		mu.Lock()
		begun[call] = true
		if len(begun) == 3 {
			close(allBegun)
		}
		mu.Unlock()
		if call == 0 {
			<-allBegun // the first is done last
			time.Sleep(20 * time.Millisecond)
		}
	}
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	var produces []*kmsg.ProduceRequest
	var ids []int32
	for i := range 3 {
		req := produceOf(9, "events", int32(i), batchOf(t, record.None, "v"))
		produces, ids = append(produces, req), append(ids, w.send(req))
	}
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version = 12
	metadataID := w.send(metadata)
	for i, req := range produces {
		p := receive[*kmsg.ProduceResponse](w, req, ids[i]).Topics[0].Partitions[0]
		if p.Partition != int32(i) || p.ErrorCode != 0 {
			t.Errorf("reply %d: partition %d, code %d", i, p.Partition, p.ErrorCode)
		}
	}
	w.receive(metadata, metadataID)
}

// What depends on the batches before it sees them, as with a broker that takes one request at a time.
func TestListOffsetsSeesThePipelinedProduceBeforeIt(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	cluster.hold = func(int) { time.Sleep(50 * time.Millisecond) }
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	produce := produceOf(9, "events", 0, batchOf(t, record.None, "a", "b", "c"))
	list := listOffsetsOf(5, "events", -1)
	produceID, listID := w.send(produce), w.send(list)
	w.receive(produce, produceID)
	if got := receive[*kmsg.ListOffsetsResponse](w, list, listID).Topics[0].Partitions[0].Offset; got != 3 {
		t.Errorf("latest offset %d, want 3", got)
	}
}

func listOffsetsOf(version int16, topic string, ts int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version = version
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.MaxNumOffsets = ts, 10
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic = topic
	lt.Partitions = append(lt.Partitions, p)
	req.Topics = append(req.Topics, lt)
	return req
}

// A parked fetch holds back later replies and nothing else: the produce behind it is committed, which ends the wait.
func TestLongPollIsEndedByAProduceBehindIt(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	fetch := fetchOf(12, "events", 0, 0)
	fetch.MaxWaitMillis = 60_000
	produce := produceOf(9, "events", 0, batchOf(t, record.Zstd, "v"))
	fetchID, produceID := w.send(fetch), w.send(produce)
	if p := receive[*kmsg.FetchResponse](w, fetch, fetchID).Topics[0].Partitions[0]; len(p.RecordBatches) == 0 {
		t.Error("the fetch came back empty")
	}
	w.receive(produce, produceID)
}

// TestEveryConnectionsFetchesTakeTheirOwnTurns: a count that all share could fall into step with one consumer, which would be
// served the same partitions first each time.
func TestEveryConnectionsFetchesTakeTheirOwnTurns(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 2))
	r := startServer(t, cluster)
	one, other := dial(t, r.addr), dial(t, r.addr)
	for range 3 {
		ask[*kmsg.FetchResponse](one, fetchOf(11, "events", 0, 0))
		ask[*kmsg.FetchResponse](other, fetchOf(11, "events", 1, 0))
		ask[*kmsg.FetchResponse](one, fetchOf(11, "events", 1, 0))
	}
	cluster.mu.Lock()
	defer cluster.mu.Unlock()
	if want := []uint64{1, 1, 2, 3, 2, 4, 5, 3, 6}; !slices.Equal(cluster.turns, want) {
		t.Errorf("turns %v, want %v", cluster.turns, want)
	}
}

func TestFetchAnswersEveryPartitionAskedFor(t *testing.T) {
	topic := testTopic("events", 2)
	r := startServer(t, newFakeCluster(topic))
	w := dial(t, r.addr)
	req := fetchOf(11, "events", 0, 0)
	for _, p := range []struct {
		index  int32
		offset int64
		epoch  int32
	}{{1, 0, 0}, {2, 0, 0}, {1, 0, 0}, {-1, 0, 0}} {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.CurrentLeaderEpoch = p.index, p.offset, p.epoch
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, rp)
	}
	nowhere := kmsg.NewFetchRequestTopic()
	nowhere.Topic = "nowhere"
	nowhere.Partitions = []kmsg.FetchRequestTopicPartition{kmsg.NewFetchRequestTopicPartition()}
	req.Topics = append(req.Topics, nowhere)
	resp := ask[*kmsg.FetchResponse](w, req)
	var codes []int16
	for _, ft := range resp.Topics {
		for _, p := range ft.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	if want := []int16{0, 0, 3, 42, 3, 3}; !slices.Equal(codes, want) {
		t.Errorf("codes %v, want %v", codes, want)
	}

	beyond := fetchOf(13, "events", 0, 5)
	if p := ask[*kmsg.FetchResponse](w, beyond).Topics[0].Partitions[0]; p.ErrorCode != 1 || p.HighWatermark != -1 {
		t.Errorf("beyond the end: code %d, high watermark %d; want 1 and -1, as Kafka answers", p.ErrorCode, p.HighWatermark)
	}
	session := fetchOf(13, "events", 0, 0)
	session.SessionID = 17
	if resp := ask[*kmsg.FetchResponse](w, session); resp.ErrorCode != 70 || len(resp.Topics) != 0 {
		t.Errorf("a session we never gave: code %d, want 70", resp.ErrorCode)
	}
	stranger := fetchOf(13, "nowhere", 0, 0)
	if p := ask[*kmsg.FetchResponse](w, stranger).Topics[0].Partitions[0]; p.ErrorCode != 100 {
		t.Errorf("unknown topic id: code %d, want 100", p.ErrorCode)
	}
}

func TestListOffsetsByVersionAndTimestamp(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	w.ask(produceOf(9, "events", 0, batchOf(t, record.Gzip, "a", "b", "c"))) // timestamps 1000, 1001, 1002
	for _, c := range []struct {
		version        int16
		ts             int64
		code           int16
		offset, millis int64
	}{
		{1, -1, 0, 3, -1},
		{11, -1, 0, 3, -1},
		{1, -2, 0, 0, -1},
		{4, 1001, 0, 1, 1001},
		{4, 5000, 0, -1, -1},
		{7, -3, 0, 2, 1002},
		{6, -3, 35, -1, -1},
		{8, -4, 0, 0, -1},
		{9, -5, 0, -1, -1},
		{11, -6, 0, -1, -1},
		{11, -7, 35, -1, -1},
	} {
		p := ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(c.version, "events", c.ts)).Topics[0].Partitions[0]
		if p.ErrorCode != c.code || p.Offset != c.offset || p.Timestamp != c.millis {
			t.Errorf("v%d at %d: code %d offset %d timestamp %d; want %d %d %d", c.version, c.ts, p.ErrorCode, p.Offset, p.Timestamp, c.code, c.offset, c.millis)
		}
	}
	old := ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(0, "events", -1)).Topics[0].Partitions[0]
	if !slices.Equal(old.OldStyleOffsets, []int64{3, 0}) {
		t.Errorf("v0: %v, want [3 0]", old.OldStyleOffsets)
	}
	if p := ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(5, "nowhere", -1)).Topics[0].Partitions[0]; p.ErrorCode != 3 {
		t.Errorf("unknown topic: code %d, want 3", p.ErrorCode)
	}
}

func TestOffsetForLeaderEpochEndsAtTheHighWatermark(t *testing.T) {
	r := startServer(t, newFakeCluster(testTopic("events", 1)))
	w := dial(t, r.addr)
	w.ask(produceOf(9, "events", 0, batchOf(t, record.None, "a", "b")))
	for _, c := range []struct {
		current, epoch int32
		code           int16
		gotEpoch       int32
		end            int64
	}{
		{-1, 0, 0, 0, 2},
		{0, 0, 0, 0, 2},
		{0, 1, 0, -1, -1},
		{5, 0, 75, -1, -1},
	} {
		for version := int16(2); version <= 4; version++ {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.Version = version
			p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			p.CurrentLeaderEpoch, p.LeaderEpoch = c.current, c.epoch
			rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
			rt.Topic, rt.Partitions = "events", append(rt.Partitions, p)
			req.Topics = append(req.Topics, rt)
			got := ask[*kmsg.OffsetForLeaderEpochResponse](w, req).Topics[0].Partitions[0]
			if got.ErrorCode != c.code || got.LeaderEpoch != c.gotEpoch || got.EndOffset != c.end {
				t.Errorf("v%d epoch %d/%d: %+v", version, c.current, c.epoch, got)
			}
		}
	}
}

func TestDrainAnswersWhatIsInFlight(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	release := make(chan struct{})
	appended := make(chan struct{}, 1)
	cluster.hold = func(int) { appended <- struct{}{}; <-release }
	parked := make(chan struct{}, 1)
	cluster.parked = parked
	r := startServer(t, cluster)
	producer, poller := dial(t, r.addr), dial(t, r.addr)
	produce := produceOf(9, "events", 0, batchOf(t, record.None, "v"))
	produceID := producer.send(produce)
	poll := fetchOf(12, "events", 0, 0)
	poll.MaxWaitMillis = 60_000
	pollID := poller.send(poll)
	<-appended
	<-parked
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	poller.receive(poll, pollID) // long polls end at once
	select {
	case <-stopped:
		t.Fatal("stopped before the batch's fate was known")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if p := receive[*kmsg.ProduceResponse](producer, produce, produceID).Topics[0].Partitions[0]; p.ErrorCode != 0 {
		t.Errorf("code %d", p.ErrorCode)
	}
	producer.closed()
	poller.closed()
	<-stopped
}

func TestDrainIsBounded(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	cluster.hold = func(int) { select {} } // a store that never answers
	r := startServer(t, cluster, func(c *Config, _ *Deps) { c.DrainTimeout = 50 * time.Millisecond })
	w := dial(t, r.addr)
	w.send(produceOf(9, "events", 0, batchOf(t, record.None, "v")))
	idle := dial(t, r.addr)
	idle.ask(kmsg.NewPtrApiVersionsRequest())
	r.stop()
	idle.closed()
}

func TestConnectionsBeyondTheLimitAreClosed(t *testing.T) {
	r := startServer(t, newFakeCluster(), func(c *Config, _ *Deps) { c.MaxConnectionsPerIP = 2 })
	first, second := dial(t, r.addr), dial(t, r.addr)
	first.ask(kmsg.NewPtrApiVersionsRequest())
	second.ask(kmsg.NewPtrApiVersionsRequest())
	dial(t, r.addr).closed()
	if r.counts.refusals(refusedConnectionsPerIP) != 1 {
		t.Error("the refusal was not counted")
	}
	// A place that becomes free is taken again.
	_ = first.conn.Close()
	deadline := time.Now().Add(5 * time.Second)
	for r.server.door.open() == 2 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	dial(t, r.addr).ask(kmsg.NewPtrApiVersionsRequest())
}

func TestSlowFrameAndIdleConnectionAreClosed(t *testing.T) {
	r := startServer(t, newFakeCluster(), func(c *Config, _ *Deps) {
		c.BodyTimeout, c.IdleTimeout = 30*time.Millisecond, 60*time.Millisecond
	})
	slow := dial(t, r.addr)
	slow.raw(frameOf(kmsg.NewPtrApiVersionsRequest(), 1)[:9])
	slow.closed()
	if r.counts.refusals(refusedStalled) != 1 {
		t.Error("the slow frame was not counted")
	}
	dial(t, r.addr).closed() // idle
	// A connection that waits for us is not idle.
	parked := dial(t, r.addr)
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group = "park"
	parked.send(join)
	time.Sleep(150 * time.Millisecond)
	if r.server.door.open() != 1 {
		t.Error("a connection with a request in flight was closed as idle")
	}
}
