package ingest

import (
	"context"
	"encoding/binary"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// padded is a frame of req with n bytes after its last field.
func padded(req kmsg.Request, n int) []byte {
	b := append(frameOf(req, 1), make([]byte, n)...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// parkingGroups lets JoinGroup and SyncGroup wait, and tells of each.
type parkingGroups struct {
	noGroups
	parked chan<- kmsg.Request
}

func (g parkingGroups) JoinGroup(ctx context.Context, req *kmsg.JoinGroupRequest, _, _ string) *kmsg.JoinGroupResponse {
	g.parked <- req
	<-ctx.Done()
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.SetVersion(req.Version) // as the coordinator does: the request lives as long as the wait
	return resp
}

func (g parkingGroups) SyncGroup(ctx context.Context, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	g.parked <- req
	<-ctx.Done()
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.SetVersion(req.Version)
	return resp
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC() // what pools let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Long polls and waiting members keep nothing of frames that were padded to their caps, neither in fact nor in the
// budget that everybody's requests are read with.
func TestRequestsThatWaitKeepNothingOfTheirFrames(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	polling, waiting := make(chan struct{}, 100), make(chan kmsg.Request, 100)
	cluster.parked = polling
	r := startServer(t, cluster, func(_ *Config, d *Deps) { d.Groups = parkingGroups{parked: waiting} })
	poll := fetchOf(12, "events", 0, 0)
	poll.MaxWaitMillis = 300_000
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version, join.Protocols = 9, []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("few")}}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.GroupAssignment = 5, []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "me", MemberAssignment: []byte("few")}}
	const conns = 10
	before := heapBytes()
	for range conns {
		w := dial(t, r.addr)
		for _, frame := range [][]byte{padded(poll, 1000<<10), padded(poll, 1000<<10), padded(join, 2000<<10), padded(sync, 8000<<10)} {
			w.raw(frame)
		}
	}
	for range 2 * conns {
		<-polling
		<-waiting
	}
	dial(t, r.addr).ask(kmsg.NewPtrMetadataRequest())
	if n := heapBytes() - before; n > 8<<20 {
		t.Errorf("%d bytes in memory for %d requests that wait", n, 4*conns)
	}
	if n := r.server.control.inUse(); n > 1<<10 {
		t.Errorf("%d bytes of the budget of requests in use", n)
	}
	if n := r.server.parked.inUse(); n < 4*conns<<10 || n > 4*conns*3<<10 {
		t.Errorf("%d bytes counted for %d requests that wait", n, 4*conns)
	}
}

// What is answered waits for its turn to be sent, and not for memory of its frame; what can not begin is not read.
func TestRequestsBehindALongPollHoldNoMemory(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	polling := make(chan struct{}, 100)
	cluster.parked = polling
	r := startServer(t, cluster)
	poll := fetchOf(12, "events", 0, 0)
	poll.MaxWaitMillis = 300_000
	w := dial(t, r.addr)
	w.raw(frameOf(poll, 1))
	<-polling
	w.raw(padded(kmsg.NewPtrMetadataRequest(), 3<<20))
	w.raw(padded(kmsg.NewPtrMetadataRequest(), 3<<20))
	w.raw(frameOf(poll, 1))
	<-polling
	go func() { _, _ = w.conn.Write(padded(poll, 1000<<10)) }() // the third at a time
	time.Sleep(100 * time.Millisecond)
	if n := r.server.control.inUse(); n != 0 {
		t.Errorf("%d bytes held", n)
	}
}

// When too much waits already, large requests may not: a member tries again, a consumer is answered soon. Small ones may.
func TestLargeRequestsDoNotWaitWhenTooMuchWaits(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	waiting := make(chan kmsg.Request, 1)
	r := startServer(t, cluster, func(_ *Config, d *Deps) { d.Groups = parkingGroups{parked: waiting} })
	r.server.parked.force(r.server.parked.capacity)
	defer r.server.parked.release(r.server.parked.capacity)
	large := make([]byte, 10<<10)
	w := dial(t, r.addr)
	for version := int16(0); version <= 9; version++ {
		join := kmsg.NewPtrJoinGroupRequest()
		join.Version, join.Protocols = version, []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: large}}
		if resp := ask[*kmsg.JoinGroupResponse](w, join); resp.ErrorCode != 15 || resp.Generation != -1 {
			t.Errorf("join v%d: code %d, want 15", version, resp.ErrorCode)
		}
	}
	for version := int16(0); version <= 5; version++ {
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Version, sync.GroupAssignment = version, []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "me", MemberAssignment: large}}
		if resp := ask[*kmsg.SyncGroupResponse](w, sync); resp.ErrorCode != 15 {
			t.Errorf("sync v%d: code %d, want 15", version, resp.ErrorCode)
		}
	}
	poll := fetchOf(12, "events", 0, 0)
	poll.MaxWaitMillis = 300_000
	for i := range int32(20) {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition = i + 1
		poll.Topics[0].Partitions = append(poll.Topics[0].Partitions, p)
	}
	start := time.Now()
	if w.ask(poll); time.Since(start) > 10*time.Second {
		t.Error("a large long poll waited")
	}
	join := kmsg.NewPtrJoinGroupRequest()
	w.send(join)
	<-waiting
}

func TestRebalanceTimeoutHasABound(t *testing.T) {
	waiting := make(chan kmsg.Request, 1)
	r := startServer(t, newFakeCluster(), func(_ *Config, d *Deps) { d.Groups = parkingGroups{parked: waiting} })
	w := dial(t, r.addr)
	for asked, want := range map[int32]int32{1<<31 - 1: 30 * 60_000, 60_000: 60_000, -1: -1} {
		join := kmsg.NewPtrJoinGroupRequest()
		join.Version, join.RebalanceTimeoutMillis = 9, asked
		w.send(join)
		if got, ok := (<-waiting).(*kmsg.JoinGroupRequest); !ok || got.RebalanceTimeoutMillis != want {
			t.Errorf("asked for %d ms: %+v, want %d", asked, got, want)
		}
	}
}

// stuckGroups commits to a store that takes nothing.
type stuckGroups struct{ noGroups }

func (stuckGroups) OffsetCommit(ctx context.Context, req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	<-ctx.Done()
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.SetVersion(req.Version)
	return resp
}

func TestCommitThatHangsHoldsHeartbeatsUpForSecondsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		cluster := newFakeCluster()
		cfg := DefaultConfig()
		cfg.ClusterID = "test"
		s, err := New(cfg, Deps{
			View: cluster, Commands: cluster, Batches: cluster, Reader: cluster, Groups: stuckGroups{}, Now: time.Now,
			NewTopicID: func() record.TopicID { return record.TopicID{} }, Log: testLog(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		go newConn(t.Context(), t.Context(), s, ours).serve()
		w := &wire{t: t, conn: theirs}
		commit, beat := kmsg.NewPtrOffsetCommitRequest(), kmsg.NewPtrHeartbeatRequest()
		start := time.Now()
		ids := make(chan int32, 2)
		go func() {
			ids <- w.send(commit)
			ids <- w.send(beat)
		}()
		w.receive(commit, <-ids)
		w.receive(beat, <-ids)
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("the heartbeat was answered after %v, want 10s", took)
		}
		_ = theirs.Close()
		synctest.Wait()
	})
}

// panicking is a reader and a log with a bug.
type panicking struct{ *fakeCluster }

func (panicking) OffsetForTime(context.Context, record.Partition, int64) (record.Offset, int64, error) {
	panic("a bug")
}

func (panicking) Do(context.Context, metadata.Command) (metadata.Result, error) { panic("a bug") }

func TestPanicInPartOfARequestIsAnErrorOfThatPart(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	r := startServer(t, cluster, func(c *Config, d *Deps) {
		c.AutoCreateTopics = true
		d.Reader, d.Commands = panicking{cluster}, panicking{cluster}
	})
	neighbor, w := dial(t, r.addr), dial(t, r.addr)
	neighbor.ask(kmsg.NewPtrApiVersionsRequest())

	if p := ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(5, "events", 1000)).Topics[0].Partitions[0]; p.ErrorCode != 56 || p.Offset != -1 {
		t.Errorf("list offsets: %+v, want code 56", p)
	}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version, create.Topics = 5, []kmsg.CreateTopicsRequestTopic{{Topic: "new", NumPartitions: 1, ReplicationFactor: 1}}
	if got := ask[*kmsg.CreateTopicsResponse](w, create).Topics[0]; got.ErrorCode != -1 {
		t.Errorf("create: code %d, want -1", got.ErrorCode)
	}
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.Version, remove.TopicNames = 5, []string{"events"}
	if got := ask[*kmsg.DeleteTopicsResponse](w, remove).Topics[0]; got.ErrorCode != -1 {
		t.Errorf("delete: code %d, want -1", got.ErrorCode)
	}
	meta := kmsg.NewPtrMetadataRequest()
	meta.Version, meta.AllowAutoTopicCreation = 8, true
	meta.Topics = []kmsg.MetadataRequestTopic{{Topic: new("made")}}
	if got := ask[*kmsg.MetadataResponse](w, meta).Topics[0]; got.ErrorCode != 5 {
		t.Errorf("made on demand: code %d, want 5", got.ErrorCode)
	}
	neighbor.ask(kmsg.NewPtrApiVersionsRequest())
}
