package group

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// testConsumer does what a client of the consumer protocol does: joins, beats as often as it is told, gives up what it is not to
// have, tells what it owns when that changed, and begins anew when it is fenced.
type testConsumer struct {
	c      *Coordinator
	group  string
	id     string
	topics []string

	mu     sync.Mutex
	epoch  int32
	owned  []record.Partition
	full   bool // the next heartbeat tells everything
	tell   bool // what it owns changed
	fenced int
	beats  int
}

func (m *testConsumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := m.beat(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// beat sends one heartbeat and returns when the next one is due.
func (m *testConsumer) beat(ctx context.Context) time.Duration {
	m.mu.Lock()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch = 1, m.group, m.id, m.epoch
	if m.epoch == 0 || m.full {
		req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 60_000, m.topics
	}
	if m.epoch == 0 || m.full || m.tell {
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		byTopic(m.owned, func(id record.TopicID, indexes []int32) {
			req.Topics = append(req.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: id, Partitions: indexes})
		})
	}
	m.full, m.tell = false, false
	m.beats++
	c := m.c
	m.mu.Unlock()
	resp := c.ConsumerGroupHeartbeat(ctx, req, "test", "/127.0.0.1")
	m.mu.Lock()
	defer m.mu.Unlock()
	switch Code(resp.ErrorCode) {
	case codeNone:
	case codeUnknownMemberID, codeFencedMemberEpoch:
		m.epoch, m.owned = 0, nil
		m.fenced++
		return 0
	default:
		m.full = true // the client does not know what the coordinator has heard
		return 100 * time.Millisecond
	}
	m.epoch = resp.MemberEpoch
	if resp.Assignment == nil {
		return time.Duration(resp.HeartbeatIntervalMillis) * time.Millisecond
	}
	var owned []record.Partition
	for _, t := range resp.Assignment.Topics {
		for _, i := range t.Partitions {
			owned = append(owned, record.Partition{Topic: t.TopicID, Index: i})
		}
	}
	slices.SortFunc(owned, comparePartitions)
	if !slices.Equal(owned, m.owned) {
		m.owned, m.tell = owned, true
		return time.Millisecond // says so at once
	}
	return time.Duration(resp.HeartbeatIntervalMillis) * time.Millisecond
}

func (m *testConsumer) place() (epoch int32, owned []record.Partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch, m.owned
}

// startConsumers runs consumers of one group until the test's end or until they are stopped one by one.
func startConsumers(t *testing.T, c *Coordinator, n int, topics ...string) (all []*testConsumer, stops []context.CancelFunc) {
	t.Helper()
	for i := range n {
		m := &testConsumer{c: c, group: "g", id: fmt.Sprintf("member-%d", i), topics: topics}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.run(ctx)
		}()
		stop := func() { cancel(); <-done }
		t.Cleanup(stop)
		all, stops = append(all, m), append(stops, stop)
	}
	return all, stops
}

// checkShared fails unless the consumers have all partitions between them, each once, in one epoch.
func checkShared(t *testing.T, when string, partitions int, all ...*testConsumer) (epoch int32) {
	t.Helper()
	owners := map[record.Partition]int{}
	epoch, _ = all[0].place()
	for i, m := range all {
		e, owned := m.place()
		if e != epoch {
			t.Errorf("%s: member %d is in epoch %d, member 0 in %d", when, i, e, epoch)
		}
		for _, p := range owned {
			owners[p]++
		}
	}
	for p, n := range owners {
		if n != 1 {
			t.Errorf("%s: %v has %d owners", when, p, n)
		}
	}
	if len(owners) != partitions {
		t.Errorf("%s: %d partitions are owned, want %d", when, len(owners), partitions)
	}
	return epoch
}

func describeConsumers(t *testing.T, c *Coordinator, group string) kmsg.ConsumerGroupDescribeResponseGroup {
	t.Helper()
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Version, req.Groups = 1, []string{group}
	return c.ConsumerGroupDescribe(t.Context(), req).Groups[0]
}

func TestConsumersShareTopicsThroughJoinsSilenceAndNewPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		all, stops := startConsumers(t, c, 3, "orders", "later")
		time.Sleep(30 * time.Second)
		checkShared(t, "three", 4, all...)
		if g := describeConsumers(t, c, "g"); g.State != "Stable" || len(g.Members) != 3 {
			t.Errorf("described: %+v", g)
		}

		stops[2]()
		time.Sleep(time.Minute)
		checkShared(t, "one went silent", 4, all[:2]...)

		f.mu.Lock()
		f.topics[0].Partitions = 6
		f.topics = append(f.topics, metadata.Topic{ID: record.TopicID{9}, Name: "later", Partitions: 2})
		f.mu.Unlock()
		time.Sleep(20 * time.Second)
		checkShared(t, "more partitions and a topic", 8, all[:2]...)

		for _, m := range all[:2] {
			if m.fenced != 0 {
				t.Errorf("%s was fenced %d times", m.id, m.fenced)
			}
		}
	})
}

// A coordinator's death, or its loss of a shard, costs members nothing: the next one finds everybody where they are.
func TestConsumersSurviveTheirCoordinatorWithoutARebalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, stop := start(t, f, "a", nil)
		all, _ := startConsumers(t, c, 3, "orders", "logs")
		time.Sleep(30 * time.Second)
		epoch := checkShared(t, "before", 8, all...)
		var owned [][]record.Partition
		for _, m := range all {
			_, o := m.place()
			owned = append(owned, o)
		}
		stop()
		next, _ := start(t, f, "b", nil)
		for _, m := range all {
			m.mu.Lock()
			m.c = next
			m.mu.Unlock()
		}
		time.Sleep(2 * time.Minute)
		if got := checkShared(t, "after", 8, all...); got != epoch {
			t.Errorf("epoch %d, was %d", got, epoch)
		}
		for i, m := range all {
			if _, o := m.place(); !slices.Equal(o, owned[i]) || m.fenced != 0 {
				t.Errorf("%s owns %v, owned %v; fenced %d times", m.id, o, owned[i], m.fenced)
			}
		}
	})
}

// The same in the middle of a rebalance, with every answer of the old coordinator lost from some moment on.
func TestConsumersSurviveTheirCoordinatorDuringARebalance(t *testing.T) {
	for after := range 12 {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeMetadata()
			c, stop := start(t, f, "a", nil)
			all, _ := startConsumers(t, c, 2, "orders", "logs")
			time.Sleep(20 * time.Second)
			third := &testConsumer{c: c, group: "g", id: "late", topics: []string{"orders", "logs"}}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go third.run(ctx)
			time.Sleep(time.Duration(after) * 500 * time.Millisecond)
			stop()
			next, _ := start(t, f, "b", nil)
			all = append(all, third)
			for _, m := range all {
				m.mu.Lock()
				m.c = next
				m.mu.Unlock()
			}
			time.Sleep(time.Minute)
			checkShared(t, fmt.Sprintf("after %d half seconds", after), 8, all...)
			for _, m := range all {
				if m.fenced != 0 {
					t.Errorf("%s was fenced %d times", m.id, m.fenced)
				}
			}
			cancel()
		})
	}
}

func TestAGroupChangesItsTypeOnlyWhileItIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		classic := stable(t, c, 1)[0]
		consumer := &testConsumer{c: c, group: "g", id: "m", topics: []string{"orders"}}
		join := func() *kmsg.ConsumerGroupHeartbeatResponse {
			req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
			req.Version, req.Group, req.MemberID, req.RebalanceTimeoutMillis = 1, "g", "m", 1000
			req.SubscribedTopicNames, req.Topics = []string{"orders"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
			return c.ConsumerGroupHeartbeat(t.Context(), req, "", "")
		}
		if resp := join(); Code(resp.ErrorCode) != codeInconsistentProtocol || resp.ErrorMessage == nil {
			t.Errorf("a consumer among classic members: %+v", resp)
		}
		if g := describeConsumers(t, c, "g"); Code(g.ErrorCode) != codeGroupIDNotFound || !strings.Contains(*g.ErrorMessage, "not a consumer group") {
			t.Errorf("classic group described as one of consumers: %+v", g)
		}
		time.Sleep(time.Minute) // the classic member's session ends
		if resp := join(); resp.ErrorCode != 0 || resp.MemberEpoch != 3 {
			t.Errorf("a consumer of the emptied group, whose generations were 2: %+v", resp)
		}
		if got := list(t, c, nil, nil); !slices.Equal(got, []string{"g consumer Stable consumer"}) {
			t.Errorf("listed: %q", got)
		}
		if g := describe(t, c, 6, "g"); Code(g.ErrorCode) != codeGroupIDNotFound || g.State != "Dead" {
			t.Errorf("described as a classic group: %+v", g)
		}
		if classic.join(t.Context()) {
			t.Error("a classic member joined among consumers")
		}
		consumer.epoch = 3
		consumer.beat(t.Context())
		time.Sleep(time.Minute) // and now the consumer's
		classic.id = ""
		classic.join(t.Context())
		if !classic.join(t.Context()) {
			t.Error("a classic member could not join the emptied group")
		}
		if _, gen := classic.place(); gen <= 4 {
			t.Errorf("generation %d goes back behind the epochs", gen)
		}
	})
}

func TestHeartbeatsThatMakeNoSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		empty, other := "", "sticky"
		for name, test := range map[string]struct {
			change func(*kmsg.ConsumerGroupHeartbeatRequest)
			want   Code
		}{
			"fine":                 {func(*kmsg.ConsumerGroupHeartbeatRequest) {}, codeNone},
			"no group":             {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" }, codeInvalidRequest},
			"no member":            {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = "" }, codeInvalidRequest},
			"no member, version 0": {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID, r.Version = "", 0 }, codeNone},
			"empty instance":       {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = &empty }, codeInvalidRequest},
			"empty rack":           {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = &empty }, codeInvalidRequest},
			"no rebalance timeout": {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 }, codeInvalidRequest},
			"owned not told":       {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Topics = nil }, codeInvalidRequest},
			"owns something already": {func(r *kmsg.ConsumerGroupHeartbeatRequest) {
				r.Topics = make([]kmsg.ConsumerGroupHeartbeatRequestTopic, 1)
			}, codeInvalidRequest},
			"no subscription":        {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil }, codeInvalidRequest},
			"static leave of nobody": {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -2 }, codeInvalidRequest},
			"epoch -3":               {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -3 }, codeInvalidRequest},
			"another assignor":       {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = &other }, codeUnsupportedAssignor},
			"unknown group":          {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group, r.MemberEpoch = "nobody", 3 }, codeGroupIDNotFound},
			"leaves an unknown one":  {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group, r.MemberEpoch = "nobody", -1 }, codeGroupIDNotFound},
			"offsets only":           {func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group, r.MemberEpoch = "offsets", 3 }, codeUnknownMemberID},
		} {
			commit(t, c, "offsets", "", -1, 0, 1)
			req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
			req.Version, req.Group, req.MemberID, req.RebalanceTimeoutMillis = 1, "g", "m", 1000
			req.SubscribedTopicNames, req.Topics = []string{"orders"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
			test.change(req)
			resp := c.ConsumerGroupHeartbeat(t.Context(), req, "", "")
			if got := Code(resp.ErrorCode); got != test.want || (got == codeInvalidRequest) != (resp.ErrorMessage != nil) && test.want == codeInvalidRequest {
				t.Errorf("%s: code %d, want %d", name, got, test.want)
			}
		}
	})
}

func TestConsumersCommitAndFetchWithTheirEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		all, _ := startConsumers(t, c, 1, "orders")
		time.Sleep(time.Second)
		epoch, _ := all[0].place()
		for _, test := range []struct {
			member string
			epoch  int32
			want   Code
		}{{all[0].id, epoch, codeNone}, {all[0].id, epoch + 1, codeStaleMemberEpoch}, {"nobody", epoch, codeUnknownMemberID}, {"", -1, codeUnknownMemberID}} {
			if code := commit(t, c, "g", test.member, test.epoch, 0, 7); Code(code) != test.want {
				t.Errorf("commit of %q in epoch %d: %d, want %d", test.member, test.epoch, code, test.want)
			}
			if test.member == "" {
				continue
			}
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Version = 9
			req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", MemberID: &test.member, MemberEpoch: test.epoch}}
			if got := c.OffsetFetch(t.Context(), req).Groups[0].ErrorCode; Code(got) != test.want {
				t.Errorf("fetch of %q in epoch %d: %d, want %d", test.member, test.epoch, got, test.want)
			}
		}
		if code, codes := deleteOffsets(t, c, "g", "orders", "logs"); code != codeNone || !slices.Equal(codes, []int16{86, 0}) {
			t.Errorf("delete offsets: %d %d", code, codes)
		}
		del := kmsg.NewPtrDeleteGroupsRequest()
		del.Groups = []string{"g"}
		if code := c.DeleteGroups(t.Context(), del).Groups[0].ErrorCode; Code(code) != codeNonEmptyGroup {
			t.Errorf("delete group: %d", code)
		}
	})
}

func TestNobodyIsToldWhatTheLogHasNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		commit(t, c, "g", "", -1, 0, 1) // the shard is claimed
		f.mu.Lock()
		f.fail = metadata.ErrUnavailable
		f.mu.Unlock()
		all, _ := startConsumers(t, c, 2, "orders")
		time.Sleep(10 * time.Second)
		for _, m := range all {
			if epoch, owned := m.place(); epoch != 0 || len(owned) != 0 {
				t.Errorf("%s was told epoch %d and %v", m.id, epoch, owned)
			}
		}
		f.mu.Lock()
		f.fail = nil
		f.mu.Unlock()
		time.Sleep(20 * time.Second)
		checkShared(t, "the log is back", 4, all...)
	})
}
