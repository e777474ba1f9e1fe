package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// laggard is an agent whose View is behind: it shows what it had when it last caught up. Commands and batches reach the
// cluster, as they do through a follower.
type laggard struct {
	*fakeCluster              // what the View shows
	cluster      *fakeCluster // what is true
	asked        atomic.Int32 // times it was made to catch up
	cut          atomic.Bool  // the one who orders the log can not be reached
}

func newLaggard(cluster *fakeCluster) *laggard {
	l := &laggard{fakeCluster: newFakeCluster(), cluster: cluster}
	l.follow()
	return l
}

// follow brings the View up to now.
func (l *laggard) follow() {
	l.cluster.mu.Lock()
	topics, log := maps.Clone(l.cluster.topics), maps.Clone(l.cluster.log)
	l.cluster.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics, l.log = topics, log
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *laggard) fresh(context.Context) error {
	l.asked.Add(1)
	if l.cut.Load() {
		return fmt.Errorf("confirm: %w", metadata.ErrUnavailable)
	}
	l.follow()
	return nil
}

func (l *laggard) Do(ctx context.Context, cmd metadata.Command) (metadata.Result, error) {
	res, err := l.cluster.Do(ctx, cmd)
	l.follow()
	return res, err
}

func (l *laggard) start(t *testing.T) *wire {
	t.Helper()
	r := startServer(t, l.fakeCluster, func(_ *Config, d *Deps) {
		d.Commands, d.Batches, d.Fresh = l, l.cluster, l.fresh
	})
	return dial(t, r.addr)
}

// elsewhere appends to the cluster through another agent.
func elsewhere(t *testing.T, cluster *fakeCluster, topic metadata.Topic, values ...string) {
	t.Helper()
	b, err := record.Parse(batchOf(t, record.None, values...))
	if err != nil {
		t.Fatal(err)
	}
	p, err := cluster.Append(t.Context(), []record.Append{{Partition: record.Partition{Topic: topic.ID}, Batch: b}})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
}

func idOf(t metadata.Topic) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	rt := kmsg.NewMetadataRequestTopic()
	rt.TopicID = t.ID
	req.Topics = append(req.Topics, rt)
	return req
}

// A topic that another agent has made a moment ago exists in every answer of this one.
func TestATopicMadeElsewhereExists(t *testing.T) {
	made := testTopic("made", 1)
	for name, code := range map[string]func(w *wire) int16{
		"Metadata": func(w *wire) int16 { return ask[*kmsg.MetadataResponse](w, metadataOf("made")).Topics[0].ErrorCode },
		"Metadata by id": func(w *wire) int16 {
			return ask[*kmsg.MetadataResponse](w, idOf(made)).Topics[0].ErrorCode
		},
		"Produce v9": func(w *wire) int16 {
			return ask[*kmsg.ProduceResponse](w, produceOf(9, "made", 0, batchOf(t, record.None, "a"))).Topics[0].Partitions[0].ErrorCode
		},
		"Produce v13": func(w *wire) int16 {
			return ask[*kmsg.ProduceResponse](w, produceOf(13, "made", 0, batchOf(t, record.None, "a"))).Topics[0].Partitions[0].ErrorCode
		},
		"Fetch v12": func(w *wire) int16 {
			return ask[*kmsg.FetchResponse](w, fetchOf(12, "made", 0, 0)).Topics[0].Partitions[0].ErrorCode
		},
		"Fetch v13": func(w *wire) int16 {
			return ask[*kmsg.FetchResponse](w, fetchOf(13, "made", 0, 0)).Topics[0].Partitions[0].ErrorCode
		},
		"ListOffsets": func(w *wire) int16 {
			return ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(7, "made", tsEarliest)).Topics[0].Partitions[0].ErrorCode
		},
		"OffsetForLeaderEpoch": func(w *wire) int16 {
			return ask[*kmsg.OffsetForLeaderEpochResponse](w, epochOf("made")).Topics[0].Partitions[0].ErrorCode
		},
		"DeleteRecords": func(w *wire) int16 {
			return ask[*kmsg.DeleteRecordsResponse](w, recordsUpTo("made", 0)).Topics[0].Partitions[0].ErrorCode
		},
		"DeleteTopics": func(w *wire) int16 {
			return ask[*kmsg.DeleteTopicsResponse](w, deletionOf("made")).Topics[0].ErrorCode
		},
		"DescribeConfigs": func(w *wire) int16 {
			req := kmsg.NewPtrDescribeConfigsRequest()
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "made"
			req.Resources = append(req.Resources, r)
			return ask[*kmsg.DescribeConfigsResponse](w, req).Resources[0].ErrorCode
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := newFakeCluster()
			l := newLaggard(cluster)
			w := l.start(t)
			cluster.mu.Lock()
			cluster.topics["made"] = made
			cluster.mu.Unlock()
			if got := code(w); got != 0 {
				t.Errorf("error %d", got)
			}
			if n := l.asked.Load(); n != 1 {
				t.Errorf("the View was made to catch up %d times, want once", n)
			}
		})
		t.Run(name+" while the log can not be asked", func(t *testing.T) {
			l := newLaggard(newFakeCluster())
			l.cut.Store(true)
			if got := code(l.start(t)); got == 0 || got == int16(codeUnknownTopicOrPartition) || got == int16(codeUnknownTopicID) {
				t.Errorf("error %d: whether the topic exists is not known", got)
			}
		})
	}
}

func epochOf(topic string) *kmsg.OffsetForLeaderEpochRequest {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.Version = 4
	rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, kmsg.NewOffsetForLeaderEpochRequestTopicPartition())
	req.Topics = append(req.Topics, rt)
	return req
}

func deletionOf(topic string) *kmsg.DeleteTopicsRequest {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	rt := kmsg.NewDeleteTopicsRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	return req
}

// What was acked through another agent is in every end that this one tells, and no position up to it is out of range.
func TestEndsHoldWhatWasAckedElsewhere(t *testing.T) {
	events := testTopic("events", 1)
	cluster := newFakeCluster(events)
	l := newLaggard(cluster)
	w := l.start(t)
	elsewhere(t, cluster, events, "a", "b", "c")
	if got := ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(7, "events", tsLatest)).Topics[0].Partitions[0].Offset; got != 3 {
		t.Errorf("ListOffsets: the end is %d, want 3", got)
	}
	elsewhere(t, cluster, events, "d")
	if got := ask[*kmsg.OffsetForLeaderEpochResponse](w, epochOf("events")).Topics[0].Partitions[0].EndOffset; got != 4 {
		t.Errorf("OffsetForLeaderEpoch: the end is %d, want 4", got)
	}
	elsewhere(t, cluster, events, "e", "f")
	req := fetchOf(12, "events", 0, 5)
	req.MaxWaitMillis, req.MinBytes = 0, 1
	if p := ask[*kmsg.FetchResponse](w, req).Topics[0].Partitions[0]; p.ErrorCode != 0 || len(p.RecordBatches) == 0 || p.HighWatermark != 6 {
		t.Errorf("Fetch at 5: error %d, %d bytes, end %d; want the batch that holds it", p.ErrorCode, len(p.RecordBatches), p.HighWatermark)
	}
	if p := ask[*kmsg.FetchResponse](w, fetchOf(12, "events", 0, 7)).Topics[0].Partitions[0]; p.ErrorCode != int16(codeOffsetOutOfRange) {
		t.Errorf("Fetch beyond the end: error %d, want OFFSET_OUT_OF_RANGE", p.ErrorCode)
	}
	l.cut.Store(true)
	if p := ask[*kmsg.FetchResponse](w, fetchOf(12, "events", 0, 7)).Topics[0].Partitions[0]; p.ErrorCode != int16(codeKafkaStorageError) {
		t.Errorf("Fetch beyond the end that is known: error %d, want one after which the client comes again", p.ErrorCode)
	}
	if p := ask[*kmsg.ListOffsetsResponse](w, listOffsetsOf(7, "events", tsLatest)).Topics[0].Partitions[0]; p.ErrorCode == 0 {
		t.Errorf("ListOffsets tells %d though the log can not be asked", p.Offset)
	}
}

// A consumer that comes from another agent is told no lower end than there, and one that stays costs nothing more.
func TestEndsDoNotGoBackForAConsumerThatMoves(t *testing.T) {
	events := testTopic("events", 1)
	cluster := newFakeCluster(events)
	l := newLaggard(cluster)
	w := l.start(t)
	elsewhere(t, cluster, events, "a", "b", "c")
	elsewhere(t, cluster, events, "d")
	l.cut.Store(true)
	if p := ask[*kmsg.FetchResponse](w, fetchOf(12, "events", 0, 0)).Topics[0].Partitions[0]; p.ErrorCode != int16(codeKafkaStorageError) {
		t.Errorf("error %d, end %d: what the consumer has seen is not known", p.ErrorCode, p.HighWatermark)
	}
	l.cut.Store(false)
	for range 3 {
		if p := ask[*kmsg.FetchResponse](w, fetchOf(12, "events", 0, 0)).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.HighWatermark != 4 {
			t.Errorf("error %d, end %d, want 4", p.ErrorCode, p.HighWatermark)
		}
	}
	if n := l.asked.Load(); n != 2 {
		t.Errorf("the View was made to catch up %d times, want twice", n)
	}
}

// A consumer at the end of the log that asks an agent whose View is behind waits there for more, as it would anywhere.
func TestAPositionAheadOfTheViewIsWaitedAt(t *testing.T) {
	events := testTopic("events", 1)
	cluster := newFakeCluster(events)
	l := newLaggard(cluster)
	parked := make(chan struct{}, 4)
	l.parked = parked
	w := l.start(t)
	ask[*kmsg.FetchResponse](w, fetchOf(12, "events", 0, 0)) // the first of a connection catches up anyhow
	<-parked
	elsewhere(t, cluster, events, "a", "b")
	req := fetchOf(12, "events", 0, 2)
	req.MaxWaitMillis, req.MinBytes = 10_000, 1
	id := w.send(req)
	<-parked // it waits, after it has caught up
	if n := l.asked.Load(); n != 2 {
		t.Errorf("the View was made to catch up %d times before the wait, want once more", n)
	}
	elsewhere(t, cluster, events, "c")
	l.follow()
	if p := receive[*kmsg.FetchResponse](w, req, id).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.HighWatermark != 3 || len(p.RecordBatches) == 0 {
		t.Errorf("error %d, end %d, %d bytes", p.ErrorCode, p.HighWatermark, len(p.RecordBatches))
	}
}

// A topic that was deleted elsewhere does not stand in the way of its successor.
func TestATopicDeletedElsewhereCanBeMadeAgain(t *testing.T) {
	cluster := newFakeCluster(testTopic("again", 1))
	l := newLaggard(cluster)
	w := l.start(t)
	for _, validate := range []bool{true, false} {
		cluster.mu.Lock()
		delete(cluster.topics, "again")
		cluster.mu.Unlock()
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.ValidateOnly = 7, validate
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = "again", 1, 1
		req.Topics = append(req.Topics, rt)
		if got := ask[*kmsg.CreateTopicsResponse](w, req).Topics[0]; got.ErrorCode != 0 {
			t.Errorf("validate only %v: error %d", validate, got.ErrorCode)
		}
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.ValidateOnly = 7, true
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = "new", 1, 1
	req.Topics = append(req.Topics, rt)
	cluster.mu.Lock()
	cluster.topics["new"] = testTopic("new", 1)
	cluster.mu.Unlock()
	if got := ask[*kmsg.CreateTopicsResponse](w, req).Topics[0]; got.ErrorCode != int16(codeTopicAlreadyExists) {
		t.Errorf("a topic made elsewhere, validate only: error %d", got.ErrorCode)
	}
}

func TestARequestMakesTheViewCatchUpOnce(t *testing.T) {
	l := newLaggard(newFakeCluster(testTopic("a", 1), testTopic("b", 1)))
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	for _, name := range []string{"a", "b"} {
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, 1, 1
		req.Topics = append(req.Topics, rt)
	}
	for _, got := range ask[*kmsg.CreateTopicsResponse](l.start(t), req).Topics {
		if got.ErrorCode != int16(codeTopicAlreadyExists) {
			t.Errorf("%s: error %d", got.Topic, got.ErrorCode)
		}
	}
	if n := l.asked.Load(); n != 1 {
		t.Errorf("the View was made to catch up %d times, want once", n)
	}
}

// Names that nobody has heard of can not be used to keep the log busy.
func TestNonsenseNamesCostLittle(t *testing.T) {
	l := newLaggard(newFakeCluster())
	w := l.start(t)
	for range 50 {
		if got := ask[*kmsg.MetadataResponse](w, metadataOf("nobody")).Topics[0].ErrorCode; got != int16(codeUnknownTopicOrPartition) {
			t.Fatalf("error %d", got)
		}
	}
	if n := l.asked.Load(); n != 1 {
		t.Errorf("one name was asked about %d times, want once", n)
	}
	for i := range 200 {
		ask[*kmsg.MetadataResponse](w, metadataOf(fmt.Sprintf("nobody-%d", i), "bad name"))
	}
	if n := l.asked.Load(); n < doubtBurst || n > doubtBurst+10 {
		t.Errorf("%d questions were asked, want about %d", n, doubtBurst)
	}
}

func TestDoubtsAreBounded(t *testing.T) {
	var d doubts
	now := time.Unix(1000, 0)
	for i := range doubtBurst {
		if !d.admit(fmt.Sprint(i), now) {
			t.Fatalf("doubt %d of a burst was refused", i)
		}
	}
	if d.admit("one more", now) {
		t.Error("a doubt beyond the burst was admitted")
	}
	if now = now.Add(doubtInterval); !d.admit("later", now) || d.admit("and more", now) {
		t.Error("want one doubt for each interval")
	}
	now = now.Add(time.Hour)
	d.absent("gone", now)
	if d.admit("gone", now.Add(doubtMemory-1)) || !d.admit("gone", now.Add(doubtMemory)) {
		t.Error("a name that does not exist is doubted again after its memory, and not before")
	}
	for i := range 5 * doubtNames {
		d.absent(fmt.Sprint(i), now)
	}
	if len(d.known) > doubtNames {
		t.Errorf("%d names are remembered", len(d.known))
	}
	if now = now.Add(-time.Hour); !d.admit("the clock went back", now) {
		t.Error("refused after the clock went back")
	}
}

func TestALookupDoesNotTellFailureFromAbsence(t *testing.T) {
	err := fmt.Errorf("x: %w", context.DeadlineExceeded)
	if c := missingCode(err, codeUnknownTopicID); c != codeLeaderNotAvailable {
		t.Errorf("code %d", c)
	}
	if c := missingCode(errors.Join(metadata.ErrUnknownTopic), codeUnknownTopicID); c != codeUnknownTopicID {
		t.Errorf("code %d", c)
	}
}
