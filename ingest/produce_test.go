package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// edit returns batch with f applied and the CRC put right.
func edit(batch []byte, f func(b []byte)) []byte {
	b := slices.Clone(batch)
	f(b)
	binary.BigEndian.PutUint32(b[17:], record.Checksum(b[21:]))
	return b
}

func TestProduceJudgesBatches(t *testing.T) {
	good := batchOf(t, record.None, "a", "b")
	bomb := batchOf(t, record.Zstd, strings.Repeat("x", 8<<20))
	cluster := newFakeCluster(testTopic("events", 1), testTopic("small", 1, "max.message.bytes", "70"),
		testTopic("compacted", 1, "cleanup.policy", "compact, delete"), testTopic("timely", 1, "message.timestamp.before.max.ms", "1000"),
		testTopic("stamped", 1, "message.timestamp.before.max.ms", "1000", "message.timestamp.type", "LogAppendTime"))
	r := startServer(t, cluster, func(c *Config, _ *Deps) { c.DecompressedBytes = 4 << 20 })
	w := dial(t, r.addr)
	for _, c := range []struct {
		name      string
		topic     string
		partition int32
		version   int16
		records   []byte
		code      int16
		message   string
		wrong     []int32 // the records that the answer names
		content   bool    // the records are wrong: the log start is told
	}{
		{name: "good", records: good},
		{name: "bad CRC", records: func() []byte { b := slices.Clone(good); b[len(b)-1] ^= 1; return b }(), code: 2, message: "CRC"},
		{name: "old magic", records: edit(good, func(b []byte) { b[16] = 1 }), code: 87, message: "magic"},
		{name: "cut off", records: good[:len(good)-1], code: 87, message: "truncated"},
		{name: "shorter than a header", records: good[:30], code: 87, message: "truncated"},
		{name: "nothing", records: []byte{}, code: 87},
		{name: "null", records: nil, code: 87},
		{name: "two batches", records: append(slices.Clone(good), good...), code: 87, message: "more than one"},
		{name: "unknown codec", records: edit(good, func(b []byte) { b[22] |= 7 }), code: 76},
		{name: "codec that does not fit the bytes", records: edit(good, func(b []byte) { b[22] |= byte(record.Zstd) }), code: 87, content: true},
		{name: "control batch", records: edit(good, func(b []byte) { b[22] |= 0x20 }), code: 87, content: true},
		{name: "transactional batch", records: edit(good, func(b []byte) { b[22] |= 0x10; b[50], b[58] = 1, 0 }), code: 48, message: "transactions"},
		{name: "count that lies", records: edit(good, func(b []byte) { b[60]++; b[26]++ }), code: 87, content: true},
		{name: "bomb", records: bomb, code: 87, message: "too large", content: true},
		{name: "too large for the topic", topic: "small", records: good, code: 10, message: "max.message.bytes"},
		{name: "zstd before v7", version: 6, records: batchOf(t, record.Zstd, "a"), code: 76},
		{name: "zstd from v7", version: 7, records: batchOf(t, record.Zstd, "a")},
		{name: "no key on a compacted topic", topic: "compacted", records: good, code: 87, message: "key", wrong: []int32{0, 1}, content: true},
		{name: "too old", topic: "timely", records: good, code: 32, message: "timestamp", wrong: []int32{0, 1}, content: true},
		{name: "too old where the agent stamps", topic: "stamped", records: good},
		{name: "unknown topic", topic: "nowhere", records: good, code: 3},
		{name: "unknown topic id", topic: "nowhere", version: 13, records: good, code: 100},
		{name: "partition beyond the topic", partition: 1, records: good, code: 3},
		{name: "negative partition", partition: -1, records: good, code: 3},
		{name: "still good", records: good},
	} {
		topic, version := c.topic, c.version
		if topic == "" {
			topic = "events"
		}
		if version == 0 {
			version = 9
		}
		p := ask[*kmsg.ProduceResponse](w, produceOf(version, topic, c.partition, c.records)).Topics[0].Partitions[0]
		message := ""
		if p.ErrorMessage != nil {
			message = *p.ErrorMessage
		}
		if p.ErrorCode != c.code || !strings.Contains(message, c.message) {
			t.Errorf("%s: code %d %q, want %d with %q", c.name, p.ErrorCode, message, c.code, c.message)
		}
		start := int64(-1)
		if c.content || c.code == 0 {
			start = 0
		}
		if p.ErrorCode != 0 && p.BaseOffset != -1 || p.LogStartOffset != start {
			t.Errorf("%s: offset %d, log start %d; want a log start of %d", c.name, p.BaseOffset, p.LogStartOffset, start)
		}
		var wrong []int32
		for _, r := range p.ErrorRecords {
			wrong = append(wrong, r.RelativeOffset)
			if r.ErrorMessage == nil {
				t.Errorf("%s: record %d is refused without a word", c.name, r.RelativeOffset)
			}
		}
		if !slices.Equal(wrong, c.wrong) {
			t.Errorf("%s: records %v are named, want %v", c.name, wrong, c.wrong)
		}
	}
}

func TestProduceRefusesAcksAndTransactions(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	strange := produceOf(9, "events", 0, batchOf(t, record.None, "a"))
	strange.Acks = 2
	if p := ask[*kmsg.ProduceResponse](w, strange).Topics[0].Partitions[0]; p.ErrorCode != 21 {
		t.Errorf("acks=2: code %d, want 21", p.ErrorCode)
	}
	id := "payments"
	txn := produceOf(9, "events", 0, batchOf(t, record.None, "a"))
	txn.TransactionID = &id
	if p := ask[*kmsg.ProduceResponse](w, txn).Topics[0].Partitions[0]; p.ErrorCode != 53 {
		t.Errorf("transactional id: code %d, want 53", p.ErrorCode)
	}
	leader := produceOf(9, "events", 0, batchOf(t, record.None, "a"))
	leader.Acks = 1
	if p := ask[*kmsg.ProduceResponse](w, leader).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != 0 {
		t.Errorf("acks=1: %+v", p)
	}
}

func TestProduceNamingAPartitionTwiceAppendsNeither(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 2))
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	req := produceOf(9, "events", 0, batchOf(t, record.None, "a"))
	for _, index := range []int32{1, 0} {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = index, batchOf(t, record.None, "b")
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	}
	var codes []int16
	for _, p := range ask[*kmsg.ProduceResponse](w, req).Topics[0].Partitions {
		codes = append(codes, p.ErrorCode)
	}
	if want := []int16{42, 0, 42}; !slices.Equal(codes, want) {
		t.Errorf("codes %v, want %v", codes, want)
	}
	if got := cluster.records(record.Partition{Topic: testTopic("events", 2).ID}); len(got) != 0 {
		t.Errorf("%d records appended to the partition named twice", len(got))
	}
}

func TestAcksZeroHasNoReplyAndClosesOnError(t *testing.T) {
	cluster := newFakeCluster(testTopic("events", 1))
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	quiet := produceOf(9, "events", 0, batchOf(t, record.None, "a"))
	quiet.Acks = 0
	w.send(quiet)
	// The next reply on the wire belongs to the next request.
	if p := ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(5, "events", -1)).Topics[0].Partitions[0]; p.Offset != 1 {
		t.Errorf("latest offset %d, want 1", p.Offset)
	}
	bad := produceOf(9, "nowhere", 0, batchOf(t, record.None, "a"))
	bad.Acks = 0
	w.send(bad)
	w.closed()
	if r.counts.refusals(refusedAcksZero) != 1 {
		t.Error("the failure was not counted")
	}
}

func TestLogAppendTimeIsStampedAndTold(t *testing.T) {
	topic := testTopic("stamped", 1, "message.timestamp.type", "LogAppendTime")
	cluster := newFakeCluster(topic)
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	p := ask[*kmsg.ProduceResponse](w, produceOf(9, "stamped", 0, batchOf(t, record.LZ4, "a", "b"))).Topics[0].Partitions[0]
	if p.ErrorCode != 0 || p.LogAppendTime <= 1_600_000_000_000 {
		t.Fatalf("%+v, want a stamp of now", p)
	}
	for _, rec := range cluster.records(record.Partition{Topic: topic.ID}) {
		if rec.Timestamp != p.LogAppendTime || rec.TimestampType != record.LogAppendTime {
			t.Errorf("record at %d: %d %v", rec.Offset, rec.Timestamp, rec.TimestampType)
		}
	}
}

func TestMaxTimestampThatLiesIsCorrected(t *testing.T) {
	topic := testTopic("events", 1)
	cluster := newFakeCluster(topic)
	r := startServer(t, cluster)
	w := dial(t, r.addr)
	lie := edit(batchOf(t, record.None, "a", "b"), func(b []byte) { binary.BigEndian.PutUint64(b[35:], 9_000_000) })
	w.ask(produceOf(9, "events", 0, lie))
	cluster.mu.Lock()
	defer cluster.mu.Unlock()
	if got := cluster.log[record.Partition{Topic: topic.ID}][0].batch.MaxTimestamp(); got != 1001 {
		t.Errorf("max timestamp %d, want that of the records, 1001", got)
	}
}

func TestFateOfABatchBecomesTheRightCode(t *testing.T) {
	topic := testTopic("events", 1)
	for _, c := range []struct {
		fate    error
		version int16
		want    int16
	}{
		{metadata.ErrOutOfOrderSequence, 9, 45},
		{metadata.ErrInvalidProducerEpoch, 9, 47},
		{metadata.ErrUnknownTopic, 9, 3},
		{metadata.ErrUnknownTopic, 13, 100},
		{metadata.ErrUnavailable, 9, 7},
		{metadata.ErrFenced, 9, 7},
		{metadata.ErrSessionSealed, 9, 7},
		{batcher.ErrClosed, 9, 6},
		{batcher.ErrOutcomeUnknown, 9, 7},
		{fmt.Errorf("%w: %w", batcher.ErrNotWritten, objectstore.ErrFull), 9, 56},
		{fmt.Errorf("%w: %w", batcher.ErrNotWritten, objectstore.ErrUnknown), 9, 56},
		{errors.New("something else"), 9, 7}, // nobody said that it was not written
	} {
		cluster := newFakeCluster(topic)
		cluster.fate = func(record.Partition) error { return c.fate }
		r := startServer(t, cluster)
		p := ask[*kmsg.ProduceResponse](dial(t, r.addr), produceOf(c.version, "events", 0, batchOf(t, record.None, "a"))).Topics[0].Partitions[0]
		if p.ErrorCode != c.want {
			t.Errorf("%v: code %d, want %d", c.fate, p.ErrorCode, c.want)
		}
		r.stop()
	}
}

func TestFateThatDoesNotComeIsATimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{deps: Deps{Now: time.Now}, observe: nobody{}}
		for _, c := range []struct{ asked, want time.Duration }{
			{time.Millisecond, minProduceTimeout},
			{30 * time.Second, 30 * time.Second},
		} {
			call := &produceCall{
				req:     produceRequest{timeoutMillis: int32(c.asked.Milliseconds())},
				results: make([]produceResult, 1),
				appends: make([]record.Append, 1), places: []int{0},
				pending: &fakePending{done: make(chan struct{})}, begun: time.Now(),
			}
			s.awaitProduce(t.Context(), call, 9)
			if waited := time.Since(call.begun); waited != c.want || call.results[0].code != codeRequestTimedOut || call.settled {
				t.Errorf("timeout %v: code %d after %v, settled %v; want 7 after %v", c.asked, call.results[0].code, waited, call.settled, c.want)
			}
		}
	})
}
