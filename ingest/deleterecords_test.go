package ingest

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

func recordsUpTo(topic string, offsets ...int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version = 2
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = topic
	for i, offset := range offsets {
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = int32(i), offset
		rt.Partitions = append(rt.Partitions, p)
	}
	req.Topics = append(req.Topics, rt)
	return req
}

func TestDeleteRecordsJudgesEachPartition(t *testing.T) {
	for version := int16(0); version <= 2; version++ {
		cluster := newFakeCluster(testTopic("events", 5), testTopic("compacted", 1, "cleanup.policy", "compact"),
			testTopic("both", 1, "cleanup.policy", "compact,delete"), testTopic("neither", 1, "cleanup.policy", ""))
		w := dial(t, startServer(t, cluster).addr)
		for p := range int32(5) {
			ask[*kmsg.ProduceResponse](w, produceOf(9, "events", p, batchOf(t, record.None, "a", "b", "c")))
		}
		req := recordsUpTo("events", 2, -1, 4, -2, 0, 1)
		req.Version = version
		for _, topic := range []string{"nowhere", "bad/name", "compacted", "both", "neither"} {
			req.Topics = append(req.Topics, recordsUpTo(topic, 0).Topics...)
		}
		twice := recordsUpTo("events", 3, 1)
		twice.Topics[0].Partitions[1].Partition = 0
		resp := ask[*kmsg.DeleteRecordsResponse](w, req)
		want := [][]struct {
			code int16
			low  int64
		}{{{0, 2}, {0, 3}, {1, -1}, {1, -1}, {0, 0}, {3, -1}}, {{3, -1}}, {{3, -1}}, {{44, -1}}, {{0, 0}}, {{0, 0}}}
		for i, topic := range resp.Topics {
			for j, p := range topic.Partitions {
				if w := want[i][j]; p.ErrorCode != w.code || p.LowWatermark != w.low || p.Partition != int32(j) {
					t.Errorf("v%d %s/%d: code %d, low watermark %d, want %d and %d", version, topic.Topic, p.Partition, p.ErrorCode, p.LowWatermark, w.code, w.low)
				}
			}
		}
		for _, p := range ask[*kmsg.DeleteRecordsResponse](w, twice).Topics[0].Partitions {
			if p.ErrorCode != 42 {
				t.Errorf("v%d: a partition named twice: code %d, want 42", version, p.ErrorCode)
			}
		}
		// A start never goes back, and the answer tells where it is.
		if p := ask[*kmsg.DeleteRecordsResponse](w, recordsUpTo("events", 1)).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.LowWatermark != 2 {
			t.Errorf("v%d: below the start: code %d, low watermark %d, want 0 and 2", version, p.ErrorCode, p.LowWatermark)
		}
		for _, ts := range []int64{tsEarliest, tsEarliestLocal} {
			if p := ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(8, "events", ts)).Topics[0].Partitions[0]; p.Offset != 2 {
				t.Errorf("v%d: ListOffsets of %d is %d, want 2", version, ts, p.Offset)
			}
		}
		if p := ask[*kmsg.FetchResponse](w, fetchOf(12, "events", 0, 1)).Topics[0].Partitions[0]; p.ErrorCode != 1 || len(p.RecordBatches) > 0 {
			t.Errorf("v%d: Fetch below the start: code %d, %d bytes, want 1 and none", version, p.ErrorCode, len(p.RecordBatches))
		}
		if p := ask[*kmsg.FetchResponse](w, fetchOf(12, "events", 0, 2)).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.LogStartOffset != 2 || len(p.RecordBatches) == 0 {
			t.Errorf("v%d: Fetch at the start: code %d, log start %d, %d bytes", version, p.ErrorCode, p.LogStartOffset, len(p.RecordBatches))
		}
	}
}

// The end that -1 means is that after the Produce requests before it.
func TestDeleteRecordsComesAfterTheProducesBeforeIt(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	release := make(chan struct{})
	cluster.hold = func(int) { <-release }
	w := dial(t, startServer(t, cluster).addr)
	produce, deletion := produceOf(9, "events", 0, batchOf(t, record.None, "a", "b")), recordsUpTo("events", -1)
	first, second := w.send(produce), w.send(deletion)
	time.Sleep(50 * time.Millisecond) // long enough for a deletion that does not wait
	close(release)
	w.receive(produce, first)
	resp, ok := w.receive(deletion, second).(*kmsg.DeleteRecordsResponse)
	if !ok {
		t.Fatal("another answer")
	}
	if got := resp.Topics[0].Partitions[0].LowWatermark; got != 2 {
		t.Errorf("low watermark %d, want 2", got)
	}
}

// What the log refuses as a whole, every partition hears, and the outcome that is not known is none of them.
func TestDeleteRecordsTellsWhyNothingWasDeleted(t *testing.T) {
	for want, res := range map[int16]struct {
		result metadata.Result
		err    error
	}{
		7:  {metadata.DeleteRecordsResult{Err: metadata.ErrLevel}, nil},
		-1: {metadata.DeleteRecordsResult{}, nil},
		42: {metadata.DeleteRecordsResult{Err: metadata.ErrInvalidCommand}, nil},
	} {
		cluster := newFakeCluster(testTopic("events", 2))
		cluster.command = func(metadata.Command) (metadata.Result, error, bool) { return res.result, res.err, true }
		w := dial(t, startServer(t, cluster).addr)
		for _, p := range ask[*kmsg.DeleteRecordsResponse](w, recordsUpTo("events", 0, 0)).Topics[0].Partitions {
			if p.ErrorCode != want || p.LowWatermark != -1 {
				t.Errorf("%+v: code %d, low watermark %d, want %d and -1", res.result, p.ErrorCode, p.LowWatermark, want)
			}
		}
	}
}

func TestDescribeProducers(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 3))
	cluster.producers = []metadata.ActiveProducer{{ID: 7, Epoch: 2, LastSequence: 41, LastAt: 1_700_000_000_000}, {ID: 9, LastSequence: 3, LastAt: 5}}
	w := dial(t, startServer(t, cluster).addr)
	of := func(topic string, partitions ...int32) *kmsg.DescribeProducersRequest {
		req := kmsg.NewPtrDescribeProducersRequest()
		rt := kmsg.NewDescribeProducersRequestTopic()
		rt.Topic, rt.Partitions = topic, partitions
		req.Topics = append(req.Topics, rt)
		return req
	}
	resp := ask[*kmsg.DescribeProducersResponse](w, of("events", 0, 3, 1))
	for i, want := range []int16{0, 3, 0} {
		p := resp.Topics[0].Partitions[i]
		if p.ErrorCode != want || (p.ErrorMessage != nil) != (want != 0) {
			t.Errorf("partition %d: code %d, message %v, want %d", p.Partition, p.ErrorCode, p.ErrorMessage, want)
		}
	}
	got := resp.Topics[0].Partitions[2].ActiveProducers
	if len(got) != 2 || got[0].ProducerID != 7 || got[0].ProducerEpoch != 2 || got[0].LastSequence != 41 || got[0].LastTimestamp != 1_700_000_000_000 ||
		got[0].CoordinatorEpoch != -1 || got[0].CurrentTxnStartOffset != -1 {
		t.Errorf("%+v", got)
	}
	if p := ask[*kmsg.DescribeProducersResponse](w, of("nowhere", 0)).Topics[0].Partitions[0]; p.ErrorCode != 3 {
		t.Errorf("no such topic: code %d, want 3", p.ErrorCode)
	}
	// 100 times the most that a partition knows.
	cluster.mu.Lock()
	cluster.producers = make([]metadata.ActiveProducer, 1000)
	cluster.mu.Unlock()
	many := of("events")
	for range 101 {
		many.Topics[0].Partitions = append(many.Topics[0].Partitions, 0)
	}
	parts := ask[*kmsg.DescribeProducersResponse](w, many).Topics[0].Partitions
	if parts[99].ErrorCode != 0 || parts[100].ErrorCode != 44 {
		t.Errorf("codes %d and %d at the bound, want 0 and 44", parts[99].ErrorCode, parts[100].ErrorCode)
	}
}
