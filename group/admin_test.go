package group

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
)

// subscription is a consumer's metadata of version 0.
func subscription(topics ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(len(topics)))
	for _, t := range topics {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(t))), t...)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff)
}

func describe(t *testing.T, c *Coordinator, version int16, group string) kmsg.DescribeGroupsResponseGroup {
	t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = version, []string{group}
	return c.DescribeGroups(t.Context(), req).Groups[0]
}

// list returns one line for each group that a coordinator lists.
func list(t *testing.T, c *Coordinator, states, types []string) []string {
	t.Helper()
	req := kmsg.NewPtrListGroupsRequest()
	req.Version, req.StatesFilter, req.TypesFilter = 5, states, types
	resp := c.ListGroups(t.Context(), req)
	if resp.ErrorCode != 0 {
		return []string{fmt.Sprint("code ", resp.ErrorCode)}
	}
	var out []string
	for _, g := range resp.Groups {
		out = append(out, strings.Join([]string{g.Group, g.ProtocolType, g.GroupState, g.GroupType}, " "))
	}
	return out
}

func TestDescribeTellsMembersOfAStableGroupOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		instance := "i-1"
		m := &testMember{c: c, group: "g", work: 2, instance: &instance}
		m.join(t.Context())
		g := describe(t, c, 6, "g")
		if g.ErrorCode != 0 || g.State != "Stable" || g.ProtocolType != "consumer" || g.Protocol != "deal" || len(g.Members) != 1 {
			t.Fatalf("stable group: %+v", g)
		}
		id, _ := m.place()
		d := g.Members[0]
		if d.MemberID != id || d.InstanceID == nil || *d.InstanceID != instance || d.ClientID != "test" || d.ClientHost != "127.0.0.1" ||
			string(d.ProtocolMetadata) != "all" || string(d.MemberAssignment) != "0,1" {
			t.Errorf("member: %+v", d)
		}

		second := &testMember{c: c, group: "g", work: 2}
		go func() {
			second.join(t.Context()) // is given an id
			second.join(t.Context())
		}()
		time.Sleep(time.Second)
		g = describe(t, c, 6, "g")
		if g.State != "PreparingRebalance" || g.Protocol != "" || len(g.Members) != 2 || len(g.Members[0].MemberAssignment) != 0 {
			t.Errorf("during a rebalance: %+v", g)
		}
	})
}

func TestDescribeOfAnUnknownGroupIsDeadAndAnErrorFromVersion6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := start(t, newFakeMetadata(), "a", nil)
		for version := range int16(7) {
			g := describe(t, c, version, "nobody")
			want := codeNone
			if version >= 6 {
				want = codeGroupIDNotFound
			}
			if g.State != "Dead" || Code(g.ErrorCode) != want || (g.ErrorMessage != nil) != (version >= 6) {
				t.Errorf("v%d: %+v", version, g)
			}
		}
		if g := describe(t, c, 6, strings.Repeat("x", 256)); Code(g.ErrorCode) != codeInvalidGroupID {
			t.Errorf("a name of 256 bytes: %+v", g)
		}
	})
}

func TestListFiltersByStateAndType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		stable(t, c, 1)
		commit(t, c, "only offsets", "", -1, 0, 1)
		for _, test := range []struct{ states, types, want []string }{
			{nil, nil, []string{"g consumer Stable classic", "only offsets  Empty classic"}},
			{[]string{"stable"}, nil, []string{"g consumer Stable classic"}},
			{[]string{"Empty", "Dead"}, []string{"Classic"}, []string{"only offsets  Empty classic"}},
			{nil, []string{"share"}, nil},
		} {
			if got := list(t, c, test.states, test.types); !slices.Equal(got, test.want) {
				t.Errorf("states %v types %v: %q, want %q", test.states, test.types, got, test.want)
			}
		}
	})
}

// Whoever asks every agent gets each group once, wherever it is: at its coordinator, or with nobody since that one died or began
// to leave.
func TestAgentsListEveryGroupOnceBetweenThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tn := newFakeMetadata(), newTown(3, 5, 8)
		var agents []*Coordinator
		for _, session := range []metadata.SessionID{3, 5, 8} {
			c, _ := tn.startIn(t, f, session)
			agents = append(agents, c)
		}
		time.Sleep(settling)
		var want []string
		for i := range 40 {
			name := fmt.Sprintf("group-%02d", i)
			want = append(want, name+"  Empty classic")
			for _, c := range agents {
				m, _ := c.Coordinator(t.Context(), name)
				if m.Session == uint64(c.cfg.Session) {
					if code := commit(t, c, name, "", -1, 0, 1); code != 0 {
						t.Fatalf("commit of %s: %d", name, code)
					}
				}
			}
		}
		check := func(when string, agents ...*Coordinator) {
			t.Helper()
			var got []string
			for _, c := range agents {
				got = append(got, list(t, c, nil, nil)...)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %d lines %q", when, len(got), got)
			}
		}
		check("all live", agents...)
		tn.leaves(8)
		check("one died", agents[:2]...)
		tn.drains(5)
		check("one drains", agents[:2]...)
	})
}

func TestListSaysWhenItDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, tn := newFakeMetadata(), newTown(3, 5)
		first, _ := tn.startIn(t, f, 3)
		time.Sleep(settling)
		for i := range 20 {
			commit(t, first, fmt.Sprint("g", i), "", -1, 0, 1)
		}
		tn.cutOff(3, true)
		if got := list(t, first, nil, nil); !slices.Equal(got, []string{"code 15"}) {
			t.Errorf("cut off: %q", got)
		}
		tn.cutOff(3, false)
		f.stale = metadata.ErrUnavailable
		if got := list(t, first, nil, nil); !slices.Equal(got, []string{"code 15"}) {
			t.Errorf("nothing confirmed: %q", got)
		}
		f.stale = nil
		tn.leaves(3)
		second, _ := tn.startIn(t, f, 5)
		if got := list(t, second, nil, nil); !slices.Equal(got, []string{"code 14"}) {
			t.Errorf("just begun, not having heard of the other yet: %q", got)
		}
	})
}

// Kafka lets simple consumers do without a name.
func TestTheEmptyNameIsAGroupOfOffsetsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, stop := start(t, f, "a", nil)
		if code := commit(t, c, "", "", -1, 0, 7); code != 0 {
			t.Fatalf("commit: %d", code)
		}
		stop()
		c, _ = start(t, f, "b", nil)
		want := []string{"  Empty classic"}
		if got := list(t, c, nil, nil); !slices.Equal(got, want) {
			t.Errorf("listed from its key: %q", got)
		}
		if got := fetchOffset(t, c, "", 0); got != 7 {
			t.Errorf("offset %d, want 7", got)
		}
		if got := list(t, c, nil, nil); !slices.Equal(got, want) {
			t.Errorf("listed once loaded: %q", got)
		}
		beat := kmsg.NewPtrHeartbeatRequest()
		if code := c.Heartbeat(t.Context(), beat).ErrorCode; Code(code) != codeInvalidGroupID {
			t.Errorf("heartbeat: %d", code)
		}
		join := kmsg.NewPtrJoinGroupRequest()
		if code := c.JoinGroup(t.Context(), join, "", "").ErrorCode; Code(code) != codeInvalidGroupID {
			t.Errorf("join: %d", code)
		}
		del := kmsg.NewPtrDeleteGroupsRequest()
		del.Groups = []string{""}
		if code := c.DeleteGroups(t.Context(), del).Groups[0].ErrorCode; code != 0 {
			t.Errorf("delete: %d", code)
		}
	})
}

func deleteOffsets(t *testing.T, c *Coordinator, group string, topics ...string) (Code, []int16) {
	t.Helper()
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = group
	for _, name := range topics {
		req.Topics = append(req.Topics, kmsg.OffsetDeleteRequestTopic{
			Topic: name, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}},
		})
	}
	resp := c.OffsetDelete(t.Context(), req)
	var codes []int16
	for _, topic := range resp.Topics {
		codes = append(codes, topic.Partitions[0].ErrorCode)
	}
	return Code(resp.ErrorCode), codes
}

func TestOffsetDeleteSparesWhatIsSubscribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		join := func(group, protocolType string, metadata []byte) {
			req := kmsg.NewPtrJoinGroupRequest()
			req.Version, req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 3, group, 10_000, 30_000
			req.ProtocolType = protocolType
			req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: metadata}}
			resp := c.JoinGroup(t.Context(), req, "test", "127.0.0.1")
			if resp.ErrorCode != 0 {
				t.Fatalf("join %s: %d", group, resp.ErrorCode)
			}
		}
		for _, group := range []string{"g", "opaque", "connect", "idle"} {
			commit(t, c, group, "", -1, 0, 5)
			f.mu.Lock()
			for key, kv := range f.keys { // an offset of the other topic too
				if name, ok := strings.CutPrefix(key, "o/"); ok {
					key = "o/" + strings.Replace(name, "/0100", "/0200", 1)
					f.keys[key] = metadata.KeyValue{Key: key, Value: kv.Value, Version: kv.Version}
				}
			}
			f.mu.Unlock()
		}
		join("g", "consumer", subscription("orders", "gone"))
		join("opaque", "consumer", []byte("what is this"))
		join("connect", "connect", []byte("x"))
		for _, test := range []struct {
			group string
			code  Code
			want  []int16
		}{
			{"g", codeNone, []int16{86, 0, 3}},
			{"opaque", codeNone, []int16{86, 86, 3}},
			{"connect", codeNonEmptyGroup, nil},
			{"idle", codeNone, []int16{0, 0, 3}},
			{"nobody", codeGroupIDNotFound, nil},
			{"", codeGroupIDNotFound, nil},
		} {
			code, got := deleteOffsets(t, c, test.group, "orders", "logs", "nope")
			if code != test.code || !slices.Equal(got, test.want) {
				t.Errorf("%s: code %d %d, want %d %d", test.group, code, got, test.code, test.want)
			}
		}
		for group, want := range map[string]int{"g": 1, "opaque": 2, "connect": 2, "idle": 0} {
			if got := len(f.Keys(Space, c.shards[ShardOf(group)].offsetPrefix(group))); got != want {
				t.Errorf("%s has %d offsets left, want %d", group, got, want)
			}
		}
	})
}

func FuzzSubscription(f *testing.F) {
	f.Add(subscription("orders", "logs"))
	f.Add([]byte{0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		topics := map[string]bool{}
		subscribe(topics, b)
		for name := range topics {
			if len(name) > len(b) {
				t.Errorf("a name of %d bytes out of %d", len(name), len(b))
			}
		}
	})
}
