//go:build realworld

package test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	stillTopic = "still"
	stillHalf  = 10 // records before the pause, and as many during it
)

// sleeper is an agent that is about to be stopped, with connections on which it is asked meanwhile what others know better.
type sleeper struct {
	*member
	group                                 string // which it coordinates
	ends, fetch, offset, produce, cluster *wire
}

func endsRequest(topic string) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(5)
	req.ReplicaID = -1
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1, CurrentLeaderEpoch: -1}}}}
	return req
}

func fetchRequest(topic string, from int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(11)
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = -1, 500, 1, 1<<20, -1
	req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{{
		CurrentLeaderEpoch: -1, FetchOffset: from, LogStartOffset: -1, PartitionMaxBytes: 1 << 20,
	}}}}
	return req
}

func offsetRequest(group, topic string) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.SetVersion(5)
	req.Group, req.Topics = group, []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: []int32{0}}}
	return req
}

// commitOffset commits for a group without members and returns the answer's code.
func commitOffset(t *testing.T, w *wire, group, topic string, offset int64) error {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.SetVersion(7)
	req.Group, req.Generation = group, -1
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: offset, LeaderEpoch: -1}}}}
	return kerr.ErrorForCode(w.ask(t, req).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
}

// coordinatedBy finds a group whose coordinator an agent is, as it says itself.
func coordinatedBy(t *testing.T, m *member) string {
	t.Helper()
	w := dialWire(t, m.brokers)
	for i := range 1000 {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.SetVersion(2)
		req.CoordinatorKey = fmt.Sprint("readers-", i)
		resp := w.ask(t, req).(*kmsg.FindCoordinatorResponse)
		if resp.ErrorCode == 0 && net.JoinHostPort(resp.Host, strconv.Itoa(int(resp.Port))) == m.brokers {
			return req.CoordinatorKey
		}
	}
	t.Fatalf("%s coordinates none of 1000 groups", m.name)
	return ""
}

// sendStill produces numbered records to the topic that nothing else writes, by way of an agent, and wants them acknowledged.
func sendStill(t *testing.T, m *member, from, to int) {
	t.Helper()
	c := client(t, m.brokers, kgo.DefaultProduceTopic(stillTopic), kgo.RecordDeliveryTimeout(time.Minute))
	for i := from; i < to; i++ {
		if err := c.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprintf("still %d", i))).FirstErr(); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	c.Close()
}

// befallAsleep opens the connections, each used once, so that the agent has taken them.
func befallAsleep(t *testing.T, m *member) *sleeper {
	t.Helper()
	s := &sleeper{member: m, group: coordinatedBy(t, m)}
	for _, w := range []**wire{&s.ends, &s.fetch, &s.offset, &s.produce, &s.cluster} {
		*w = dialWire(t, m.brokers)
		if at := (*w).ask(t, endsRequest(stillTopic)).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset; at != stillHalf {
			t.Fatalf("%s: the log ends at %d, want %d", m.name, at, stillHalf)
		}
	}
	if err := commitOffset(t, s.offset, s.group, stillTopic, stillHalf/2); err != nil {
		t.Fatalf("%s: commit for %s: %v", m.name, s.group, err)
	}
	return s
}

// asked sends what the agent finds waiting when it wakes up. What it is asked for was acknowledged by others before.
func (s *sleeper) asked(t *testing.T) {
	t.Helper()
	s.ends.send(t, endsRequest(stillTopic))
	s.fetch.send(t, fetchRequest(stillTopic, 2*stillHalf-1))
	s.offset.send(t, offsetRequest(s.group, stillTopic))
	if _, err := s.produce.conn.Write(produceFrame(t, stillTopic, 0, s.produce.id+1, 3)); err != nil {
		t.Fatal(err)
	}
}

// answered holds what the agent said after it woke up against what was known by then: no answer and an error that sends the client
// elsewhere are right, an answer by what it knew before is not. It returns the offset that a record sent meanwhile was told, -1 for none.
func (s *sleeper) answered(t *testing.T) (told int64) {
	t.Helper()
	var said []string
	judge := func(what string, err error, code int16, right bool, saw int64) {
		t.Helper()
		kafka := kerr.ErrorForCode(code)
		switch {
		case errors.Is(err, errNoAnswer):
			said = append(said, what+": none")
		case err != nil:
			t.Errorf("%s, %s: %v", s.name, what, err)
		case kafka != nil && (!kerr.IsRetriable(kafka) || errors.Is(kafka, kerr.OffsetOutOfRange)):
			t.Errorf("%s, %s: %v, which no client takes for a reason to ask again", s.name, what, kafka)
		case kafka != nil:
			said = append(said, fmt.Sprintf("%s: %v", what, kafka))
		case !right:
			t.Errorf("%s, %s: it says %d, which was true before it slept", s.name, what, saw)
		default:
			said = append(said, fmt.Sprintf("%s: %d", what, saw))
		}
	}
	const limit = 40 * time.Second
	req := endsRequest(stillTopic)
	resp, err := s.ends.receive(req, limit)
	ends := kmsg.NewListOffsetsResponseTopicPartition()
	if err == nil {
		ends = resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	}
	judge("the end", err, ends.ErrorCode, ends.Offset >= 2*stillHalf, ends.Offset)

	from := fetchRequest(stillTopic, 2*stillHalf-1)
	resp, err = s.fetch.receive(from, limit)
	part := kmsg.NewFetchResponseTopicPartition()
	if err == nil {
		part = resp.(*kmsg.FetchResponse).Topics[0].Partitions[0]
	}
	judge("a fetch near the end", err, part.ErrorCode, part.HighWatermark >= 2*stillHalf, part.HighWatermark)

	of := offsetRequest(s.group, stillTopic)
	resp, err = s.offset.receive(of, limit)
	offset := kmsg.NewOffsetFetchResponseTopicPartition()
	if err == nil {
		if got := resp.(*kmsg.OffsetFetchResponse); got.ErrorCode != 0 {
			offset.ErrorCode = got.ErrorCode
		} else {
			offset = got.Topics[0].Partitions[0]
		}
	}
	judge("the group's offset", err, offset.ErrorCode, offset.Offset == 2*stillHalf, offset.Offset)

	s.produce.id++
	in := kmsg.NewPtrProduceRequest()
	in.SetVersion(8)
	resp, err = s.produce.receive(in, limit)
	told = -1
	var code int16
	if err == nil {
		if got := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]; got.ErrorCode == 0 {
			told = got.BaseOffset
		} else {
			code = got.ErrorCode
		}
	}
	judge("a record", err, code, told >= 2*stillHalf, told)
	t.Logf("%s, asked in its sleep: %v", s.name, said)
	return told
}

// Of three agents two stand still for BARGE_PAUSE_SECONDS, the sequencer among them, and wake up: neither answers by what it knew, each
// finds its session sealed, opens another on the same addresses and serves as before. Their clients, and those of the third, lose nothing.
func TestAgentsThatSleptForLongServeAgain(t *testing.T) {
	t.Parallel()
	pause := time.Duration(number(t, "BARGE_PAUSE_SECONDS", 45)) * time.Second
	c := startAgents(t, 3, false)
	barge(t, c.b, "topic", "create", stillTopic, "--brokers", c.brokers(), "--partitions", "1")
	l := c.load(t, loadSettings{topic: "asleep", partitions: 6, rate: 100, valueBytes: 200, waiting: 3000})
	first := c.sequencer(t)
	sendStill(t, first, 0, stillHalf)
	at := slices.Index(c.members, first)
	awake := c.members[(at+2)%3]
	sleepers := []*sleeper{befallAsleep(t, first), befallAsleep(t, c.members[(at+1)%3])}

	begun := time.Now()
	for _, s := range sleepers {
		s.signal(t, syscall.SIGSTOP)
	}
	waitFor(t, 30*time.Second, "the third agent is alone", func() bool {
		return fresh(awake.mortal).metric(t, "barge_cluster_members") == 1 && fresh(awake.mortal).metric(t, "barge_log_sequencing") == 1
	})
	sendStill(t, awake, stillHalf, 2*stillHalf)
	w := dialWire(t, awake.brokers)
	for _, s := range sleepers {
		waitFor(t, 30*time.Second, "the third agent coordinates "+s.group, func() bool { return commitOffset(t, w, s.group, stillTopic, 2*stillHalf) == nil })
		s.asked(t)
	}
	t.Logf("the third agent does all the work %v after the others stood still", time.Since(begun).Round(time.Millisecond))
	for before := l.acked(); time.Since(begun) < pause; time.Sleep(200 * time.Millisecond) {
		l.healthy(t)
		awake.alive(t)
		if now := l.acked(); time.Since(begun) > 30*time.Second && now == before {
			t.Fatal("no record was acknowledged while two agents slept")
		}
	}
	waitFor(t, 30*time.Second, "the sessions of both are sealed", func() bool { return fresh(awake.mortal).metric(t, "barge_sessions_sealed_total") == 2 })

	woke := time.Now()
	for _, s := range sleepers {
		s.signal(t, syscall.SIGCONT)
	}
	var told []int64
	for _, s := range sleepers {
		if o := s.answered(t); o >= 0 {
			told = append(told, o)
		}
	}
	for _, m := range c.members {
		waitFor(t, 30*time.Second, m.name+" is ready and knows the others", func() bool {
			return m.ready(t) && fresh(m.mortal).metric(t, "barge_cluster_members") == 3
		})
	}
	t.Logf("three agents again %v after the two woke up", time.Since(woke).Round(time.Millisecond))
	for _, s := range sleepers {
		a := fresh(s.mortal)
		if n := a.metric(t, "barge_sessions_reopened_total"); n != 1 {
			t.Errorf("%s opened %v sessions in place of sealed ones, want 1", s.name, n)
		}
		if n := a.metric(t, "barge_process_leaps_total"); n < 1 {
			t.Errorf("%s did not find that it had stood still", s.name)
		}
	}
	for i, s := range sleepers { // who knows only an agent that slept is served by it
		sendStill(t, s.member, (2+i)*stillHalf, (3+i)*stillHalf)
	}
	for _, m := range c.members {
		checkStill(t, m, told)
	}
	c.settle(t, l)
}

// checkStill wants each record of the quiet topic once and in order, and those that agents were sent in their sleep at most once, where it
// was told.
func checkStill(t *testing.T, m *member, told []int64) {
	t.Helper()
	next, strays := 0, map[int64]bool{}
	for _, got := range consumeAll(t, fresh(m.mortal), stillTopic) {
		switch value := unbase64(t, got.Value); value {
		case fmt.Sprintf("still %d", next):
			next++
		case "xxx":
			strays[got.Offset] = true
		default:
			t.Errorf("%s serves %q at offset %d, want record %d", m.name, value, got.Offset, next)
		}
	}
	if next != 4*stillHalf || len(strays) > 2 {
		t.Errorf("%s serves %d records and %d that were sent to sleepers, want %d and at most 2", m.name, next, len(strays), 4*stillHalf)
	}
	for _, o := range told {
		if !strays[o] {
			t.Errorf("%s: a record was acknowledged at offset %d, which holds another", m.name, o)
		}
	}
}
