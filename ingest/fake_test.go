package ingest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// fakeCluster is everything behind the front door, in memory: topics, batches in order, reads. It judges nothing, so
// what the tests see judged was judged by this package.
type fakeCluster struct {
	mu      sync.Mutex
	topics  map[string]metadata.Topic
	log     map[record.Partition][]stored
	starts  map[record.Partition]record.Offset
	nextID  int64
	grown   chan struct{} // closed and replaced at each change
	calls   int           // of Append
	commits []metadata.Command
	turns   []uint64 // of Fetch
	level   uint32   // of the log

	producers []metadata.ActiveProducer // of every partition

	// hold, if set, is asked before each Append's batches get their offsets; the Append is committed when it returns.
	hold func(call int)
	// parked, if set, is told of each Fetch that has to wait.
	parked chan<- struct{}
	// fate, if set, replaces the result of every batch.
	fate func(p record.Partition) error
	// command, if set, may answer a command in place of the cluster.
	command func(metadata.Command) (metadata.Result, error, bool)
}

type stored struct {
	base  record.Offset
	batch record.Batch
}

func newFakeCluster(topics ...metadata.Topic) *fakeCluster {
	f := &fakeCluster{
		topics: make(map[string]metadata.Topic), log: make(map[record.Partition][]stored), starts: make(map[record.Partition]record.Offset), grown: make(chan struct{}),
		nextID: 1000, level: 4,
	}
	for _, t := range topics {
		f.topics[t.Name] = t
	}
	return f
}

func testTopic(name string, partitions int32, configs ...string) metadata.Topic {
	t := metadata.Topic{Name: name, Partitions: partitions, Configs: map[string]string{}}
	copy(t.ID[:], name+strings.Repeat("-", 16))
	for i := 0; i+1 < len(configs); i += 2 {
		t.Configs[configs[i]] = configs[i+1]
	}
	return t
}

func (f *fakeCluster) Topic(name string) (metadata.Topic, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.topics[name]
	return t, ok
}

func (f *fakeCluster) TopicByID(id record.TopicID) (metadata.Topic, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.topics {
		if t.ID == id {
			return t, true
		}
	}
	return metadata.Topic{}, false
}

func (f *fakeCluster) Topics() []metadata.Topic {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []metadata.Topic
	for _, t := range f.topics {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b metadata.Topic) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (f *fakeCluster) Bounds(p record.Partition) (metadata.Bounds, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bounds(p), nil
}

func (f *fakeCluster) PartitionBytes(p record.Partition) (size int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.log[p] {
		size += int64(s.batch.Len())
	}
	return size, nil
}

func (f *fakeCluster) Level() uint32 { return f.level }

func (f *fakeCluster) Clash(name string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for other := range f.topics {
		if other != name && strings.ReplaceAll(other, ".", "_") == strings.ReplaceAll(name, ".", "_") {
			return other, true
		}
	}
	return "", false
}

func (f *fakeCluster) bounds(p record.Partition) metadata.Bounds {
	var end record.Offset
	if l := f.log[p]; len(l) > 0 {
		last := l[len(l)-1]
		end = last.base + record.Offset(last.batch.OffsetCount())
	}
	return metadata.Bounds{LogStart: f.starts[p], LastStable: end, HighWatermark: end}
}

func (f *fakeCluster) Producers(record.Partition) ([]metadata.ActiveProducer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.producers, nil
}

func (f *fakeCluster) Do(_ context.Context, cmd metadata.Command) (metadata.Result, error) {
	if f.command != nil {
		if res, err, ok := f.command(cmd); ok {
			return res, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commits = append(f.commits, cmd)
	switch cmd := cmd.(type) {
	case metadata.CreateTopic:
		if t, ok := f.topics[cmd.Name]; ok {
			return metadata.CreateTopicResult{Err: metadata.ErrTopicExists, Topic: t}, nil
		}
		t := metadata.Topic{ID: cmd.ID, Name: cmd.Name, Partitions: cmd.Partitions, Configs: cmd.Configs}
		f.topics[cmd.Name] = t
		return metadata.CreateTopicResult{Topic: t}, nil
	case metadata.DeleteTopic:
		for name, t := range f.topics {
			if t.ID == cmd.ID {
				delete(f.topics, name)
				return metadata.DeleteTopicResult{}, nil
			}
		}
		return metadata.DeleteTopicResult{Err: metadata.ErrUnknownTopic}, nil
	case metadata.AlterTopicConfigs:
		for name, t := range f.topics {
			if t.ID != cmd.ID {
				continue
			}
			if !maps.Equal(t.Configs, cmd.From) {
				return metadata.AlterTopicConfigsResult{Err: metadata.ErrConflict, Topic: t}, nil
			}
			t.Configs = cmd.To
			f.topics[name] = t
			return metadata.AlterTopicConfigsResult{Topic: t}, nil
		}
		return metadata.AlterTopicConfigsResult{Err: metadata.ErrUnknownTopic}, nil
	case metadata.CreatePartitions:
		for name, t := range f.topics {
			if t.ID != cmd.ID {
				continue
			}
			if cmd.Partitions <= t.Partitions {
				return metadata.CreatePartitionsResult{Err: metadata.ErrInvalidPartitions, Topic: t}, nil
			}
			t.Partitions = cmd.Partitions
			f.topics[name] = t
			return metadata.CreatePartitionsResult{Topic: t}, nil
		}
		return metadata.CreatePartitionsResult{Err: metadata.ErrUnknownTopic}, nil
	case metadata.DeleteRecords:
		res := metadata.DeleteRecordsResult{}
		for _, m := range cmd.Moves {
			b, to := f.bounds(m.Partition), m.To
			if to == metadata.ToHighWatermark {
				to = b.HighWatermark
			}
			if to > b.HighWatermark {
				res.Moves = append(res.Moves, metadata.LogStartResult{Err: metadata.ErrOffsetOutOfRange, LogStart: b.LogStart})
				continue
			}
			f.starts[m.Partition] = max(to, b.LogStart)
			res.Moves = append(res.Moves, metadata.LogStartResult{LogStart: f.starts[m.Partition]})
		}
		return res, nil
	case metadata.AllocateProducerIDs:
		first := f.nextID
		f.nextID += int64(cmd.Count)
		return metadata.AllocateProducerIDsResult{First: first}, nil
	default:
		return nil, fmt.Errorf("fake cluster: %T", cmd)
	}
}

type fakePending struct {
	done    chan struct{}
	results []batcher.Result
}

func (p *fakePending) Done() <-chan struct{}     { return p.done }
func (p *fakePending) Results() []batcher.Result { return p.results }

func (f *fakeCluster) Append(_ context.Context, appends []record.Append) (Pending, error) {
	p := &fakePending{done: make(chan struct{})}
	f.mu.Lock()
	call := f.calls
	f.calls++
	f.mu.Unlock()
	go func() {
		if f.hold != nil {
			f.hold(call)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, a := range appends {
			if f.fate != nil {
				if err := f.fate(a.Partition); err != nil {
					p.results = append(p.results, batcher.Result{Err: err})
					continue
				}
			}
			b, err := record.Parse(slices.Clone(a.Batch.Bytes()))
			if err != nil {
				panic(err) // what reaches the batcher is right
			}
			base := f.bounds(a.Partition).HighWatermark
			f.log[a.Partition] = append(f.log[a.Partition], stored{base, b})
			p.results = append(p.results, batcher.Result{BaseOffset: base})
		}
		close(f.grown)
		f.grown = make(chan struct{})
		close(p.done)
	}()
	return p, nil
}

func (f *fakeCluster) Fetch(ctx context.Context, req fetch.Request) fetch.Response {
	clock := time.NewTimer(req.MaxWait)
	defer clock.Stop()
	f.mu.Lock()
	f.turns = append(f.turns, req.Turn)
	f.mu.Unlock()
	for {
		f.mu.Lock()
		resp, size := f.read(req)
		grown := f.grown
		f.mu.Unlock()
		failed := slices.ContainsFunc(resp.Partitions, func(p fetch.PartitionResponse) bool { return p.Err != nil })
		if size >= req.MinBytes && size > 0 || req.MaxWait == 0 || failed {
			return resp
		}
		if f.parked != nil {
			f.parked <- struct{}{}
		}
		select {
		case <-grown:
		case <-clock.C:
			return resp
		case <-ctx.Done():
			return resp
		}
	}
}

func (f *fakeCluster) read(req fetch.Request) (resp fetch.Response, size int) {
	for _, p := range req.Partitions {
		out := fetch.PartitionResponse{Bounds: f.bounds(p.Partition)}
		if p.Offset > out.Bounds.HighWatermark || p.Offset < out.Bounds.LogStart {
			out.Err = metadata.ErrOffsetOutOfRange
		}
		for _, s := range f.log[p.Partition] {
			if s.base+record.Offset(s.batch.OffsetCount()) <= p.Offset || size > 0 && size+int(s.batch.Len()) > req.MaxBytes {
				continue
			}
			out.Chunks = append(out.Chunks, record.PatchHeader(nil, s.batch, s.base, 0), s.batch.Bytes()[record.PatchLen:])
			out.Size += int(s.batch.Len())
			size += int(s.batch.Len())
		}
		resp.Partitions = append(resp.Partitions, out)
	}
	return resp, size
}

func (f *fakeCluster) records(p record.Partition) (out []record.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.log[p] {
		records, err := s.batch.Decode(record.DefaultLimits(), nil)
		if err != nil {
			panic(err)
		}
		for _, r := range records {
			r.Offset += s.base - s.batch.BaseOffset()
			out = append(out, r)
		}
	}
	return out
}

func (f *fakeCluster) OffsetForTime(_ context.Context, p record.Partition, ts int64) (record.Offset, int64, error) {
	for _, r := range f.records(p) {
		if r.Timestamp >= ts {
			return r.Offset, r.Timestamp, nil
		}
	}
	return -1, -1, nil
}

func (f *fakeCluster) OffsetOfMaxTimestamp(_ context.Context, p record.Partition) (record.Offset, int64, error) {
	offset, ts := record.Offset(-1), int64(-1)
	for _, r := range f.records(p) {
		if r.Timestamp > ts {
			offset, ts = r.Offset, r.Timestamp
		}
	}
	return offset, ts, nil
}

// noGroups answers every group request with a code that tells it was reached.
type noGroups struct{}

const groupsReached = 15

func (noGroups) JoinGroup(ctx context.Context, req *kmsg.JoinGroupRequest, _, _ string) *kmsg.JoinGroupResponse {
	if req.Group == "panic in the coordinator" {
		panic("a bug")
	}
	if req.Group == "park" {
		<-ctx.Done()
	}
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.ErrorCode = groupsReached
	return resp
}

func (noGroups) SyncGroup(context.Context, *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ErrorCode = groupsReached
	return resp
}

func (noGroups) Heartbeat(context.Context, *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.ErrorCode = groupsReached
	return resp
}

func (noGroups) LeaveGroup(context.Context, *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	resp := kmsg.NewPtrLeaveGroupResponse()
	resp.ErrorCode = groupsReached
	return resp
}

func (noGroups) OffsetCommit(context.Context, *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	return kmsg.NewPtrOffsetCommitResponse()
}

func (noGroups) OffsetFetch(context.Context, *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	resp := kmsg.NewPtrOffsetFetchResponse()
	resp.ErrorCode = groupsReached
	return resp
}

func (noGroups) DeleteGroups(context.Context, *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	return kmsg.NewPtrDeleteGroupsResponse()
}

func (noGroups) DescribeGroups(context.Context, *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	return kmsg.NewPtrDescribeGroupsResponse()
}

func (noGroups) ListGroups(context.Context, *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	resp := kmsg.NewPtrListGroupsResponse()
	resp.ErrorCode = groupsReached
	return resp
}

func (noGroups) ConsumerGroupHeartbeat(context.Context, *kmsg.ConsumerGroupHeartbeatRequest, string, string) *kmsg.ConsumerGroupHeartbeatResponse {
	resp := kmsg.NewPtrConsumerGroupHeartbeatResponse()
	resp.ErrorCode = groupsReached
	return resp
}

func (noGroups) ConsumerGroupDescribe(context.Context, *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse {
	return kmsg.NewPtrConsumerGroupDescribeResponse()
}

func (noGroups) OffsetDelete(context.Context, *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse {
	resp := kmsg.NewPtrOffsetDeleteResponse()
	resp.ErrorCode = groupsReached
	return resp
}
