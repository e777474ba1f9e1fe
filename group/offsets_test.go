package group

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

func commitRequest(version int16, group, member string, gen int32, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = version, group, member, gen
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// commit commits one offset of topic orders and returns its code.
func commit(t *testing.T, c *Coordinator, group, member string, gen, partition int32, offset int64) int16 {
	t.Helper()
	resp := c.OffsetCommit(t.Context(), commitRequest(9, group, member, gen, "orders", partition, offset))
	return resp.Topics[0].Partitions[0].ErrorCode
}

func fetchOffset(t *testing.T, c *Coordinator, group string, partition int32) int64 {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 8
	req.Groups = []kmsg.OffsetFetchRequestGroup{{
		Group: group, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "orders", Partitions: []int32{partition}}},
	}}
	g := c.OffsetFetch(t.Context(), req).Groups[0]
	if g.ErrorCode != 0 {
		t.Fatalf("fetch of group %s: %d", group, g.ErrorCode)
	}
	return g.Topics[0].Partitions[0].Offset
}

func TestOneCommitIsOneCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		commit(t, c, "g", "", -1, 0, 1)
		before := len(f.cmds)
		req := commitRequest(9, "g", "", -1, "orders", 0, 5)
		for p := range int32(3) {
			part := kmsg.NewOffsetCommitRequestTopicPartition()
			part.Partition, part.Offset = p+1, 6
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, part)
		}
		c.OffsetCommit(t.Context(), req)
		if n := len(f.cmds) - before; n != 1 {
			t.Errorf("%d commands for one commit of 4 offsets", n)
		}
		if n := len(f.cmds[before].Ops); n != 5 {
			t.Errorf("%d operations, want the claim and 4 offsets", n)
		}
	})
}

func TestCommitRefusesEachPartitionForItsOwnReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		long := strings.Repeat("x", 4097)
		ok := long[:4096]
		for name, test := range map[string]struct {
			change func(*kmsg.OffsetCommitRequest)
			want   Code
		}{
			"longest metadata":   {func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Metadata = &ok }, codeNone},
			"metadata too large": {func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Metadata = &long }, codeOffsetMetadataTooLarge},
			"unknown topic":      {func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Topic = "nope" }, codeUnknownTopicOrPartition},
			"unknown partition":  {func(r *kmsg.OffsetCommitRequest) { r.Topics[0].Partitions[0].Partition = 4 }, codeUnknownTopicOrPartition},
			"unknown id":         {func(r *kmsg.OffsetCommitRequest) { r.Version = 10 }, codeUnknownTopicID},
			"known id":           {func(r *kmsg.OffsetCommitRequest) { r.Version, r.Topics[0].TopicID = 10, record.TopicID{1} }, codeNone},
			"no name":            {func(r *kmsg.OffsetCommitRequest) { r.Group = "" }, codeNone},
			"group too long":     {func(r *kmsg.OffsetCommitRequest) { r.Group = long[:256] }, codeInvalidGroupID},
			"member of nothing":  {func(r *kmsg.OffsetCommitRequest) { r.Group, r.MemberID, r.Generation = "new", "m", 3 }, codeGroupIDNotFound},
			"the same before v9": {func(r *kmsg.OffsetCommitRequest) { r.Version, r.Group, r.MemberID, r.Generation = 8, "new", "m", 3 }, codeIllegalGeneration},
			"stranger":           {func(r *kmsg.OffsetCommitRequest) { r.MemberID, r.Generation = "m", 3 }, codeUnknownMemberID},
			"version 0":          {func(r *kmsg.OffsetCommitRequest) { r.Version, r.Generation = 0, 0 }, codeNone},
		} {
			commit(t, c, "g", "", -1, 3, 1)
			req := commitRequest(9, "g", "", -1, "orders", 0, 5)
			test.change(req)
			resp := c.OffsetCommit(t.Context(), req)
			if got := Code(resp.Topics[0].Partitions[0].ErrorCode); got != test.want {
				t.Errorf("%s: code %d, want %d", name, got, test.want)
			}
		}
	})
}

func TestOffsetFetchAnswersEveryVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		req := commitRequest(9, "g/1", "", -1, "orders", 2, 42)
		text := "note"
		req.Topics[0].Partitions[0].Metadata, req.Topics[0].Partitions[0].LeaderEpoch = &text, 0
		c.OffsetCommit(t.Context(), req)
		commit(t, c, "g", "", -1, 0, 7)

		for version := range int16(11) {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Version, req.Group = version, "g/1"
			req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "orders", Partitions: []int32{2, 3}}}
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = "g/1"
			g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "orders", TopicID: record.TopicID{1}, Partitions: []int32{2, 3}}}
			all := kmsg.NewOffsetFetchRequestGroup()
			all.Group = "g"
			none := kmsg.NewOffsetFetchRequestGroup()
			none.Group = "never seen"
			none.Topics = g.Topics
			req.Groups = []kmsg.OffsetFetchRequestGroup{g, all, none}

			// Through the wire, so that what a version can not carry is not compared.
			sent := c.OffsetFetch(t.Context(), req)
			resp := kmsg.NewPtrOffsetFetchResponse()
			resp.SetVersion(version)
			if err := resp.ReadFrom(sent.AppendTo(nil)); err != nil {
				t.Fatalf("version %d: %v", version, err)
			}
			if version >= 8 {
				parts := resp.Groups[0].Topics[0].Partitions
				if parts[0].Offset != 42 || *parts[0].Metadata != "note" || parts[1].Offset != -1 || parts[1].ErrorCode != 0 {
					t.Errorf("version %d: %+v", version, parts)
				}
				if n := len(resp.Groups[1].Topics); n != 1 || resp.Groups[1].Topics[0].Partitions[0].Offset != 7 {
					t.Errorf("version %d, all topics: %+v", version, resp.Groups[1])
				}
				if last := resp.Groups[2]; last.ErrorCode != 0 || last.Topics[0].Partitions[0].Offset != -1 {
					t.Errorf("version %d, unknown group: %+v", version, last)
				}
				continue
			}
			parts := resp.Topics[0].Partitions
			if parts[0].Offset != 42 || *parts[0].Metadata != "note" || parts[1].Offset != -1 || parts[1].ErrorCode != 0 {
				t.Errorf("version %d: %+v", version, parts)
			}
		}

		// A member of a group nobody knows (KIP-848 clients ask so).
		req9 := kmsg.NewPtrOffsetFetchRequest()
		req9.Version = 9
		req9.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "never seen", MemberID: &text, MemberEpoch: 1}}
		if got := c.OffsetFetch(t.Context(), req9).Groups[0].ErrorCode; got != int16(codeGroupIDNotFound) {
			t.Errorf("unknown group with a member: %d, want 69", got)
		}
	})
}

func TestDeleteGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		m := &testMember{c: c, group: "busy", work: 1}
		m.join(t.Context())
		m.join(t.Context())
		commit(t, c, "busy", m.id, m.generation, 0, 9)
		commit(t, c, "idle", "", -1, 0, 7)
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Version, req.Groups = 2, []string{"busy", "idle", "unknown"}
		resp := c.DeleteGroups(t.Context(), req)
		for i, want := range []Code{codeNonEmptyGroup, codeNone, codeGroupIDNotFound} {
			if got := Code(resp.Groups[i].ErrorCode); got != want {
				t.Errorf("group %s: %d, want %d", resp.Groups[i].Group, got, want)
			}
		}
		if got := fetchOffset(t, c, "idle", 0); got != -1 {
			t.Errorf("the deleted group still has offset %d", got)
		}
		if got := fetchOffset(t, c, "busy", 0); got != 9 {
			t.Errorf("the other group has offset %d, want 9", got)
		}
		if keys := f.Keys(Space, "g/"); len(keys) != 1 {
			t.Errorf("keys of groups: %v", keys)
		}
	})
}

func TestOffsetsGoWithTheRetentionOfAnEmptyGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", func(cfg *Config) { cfg.OffsetRetention = 24 * time.Hour })
		m := &testMember{c: c, group: "live", work: 1}
		go m.run(t.Context())
		time.Sleep(2 * time.Second)
		id, gen := m.place()
		commit(t, c, "live", id, gen, 0, 1)
		commit(t, c, "left", "", -1, 0, 2)
		commit(t, c, "left", "", -1, 1, 3)
		time.Sleep(20 * time.Hour)
		commit(t, c, "left", "", -1, 1, 4) // one of them is used again
		time.Sleep(6 * time.Hour)
		if got := fetchOffset(t, c, "left", 0); got != -1 {
			t.Errorf("the old offset is still %d", got)
		}
		if got := fetchOffset(t, c, "left", 1); got != 4 {
			t.Errorf("the newer offset is %d, want 4", got)
		}
		if got := fetchOffset(t, c, "live", 0); got != 1 {
			t.Errorf("the offset of a group with members is %d, want 1", got)
		}
		f.mu.Lock()
		f.topics = f.topics[1:] // orders is deleted
		f.mu.Unlock()
		time.Sleep(24 * time.Hour)
		if keys := f.Keys(Space, "o/"); len(keys) != 0 {
			t.Errorf("offsets left: %v", keys)
		}
		if keys := f.Keys(Space, "g/"); len(keys) != 1 {
			t.Errorf("groups left: %d, want the one with a member", len(keys))
		}
	})
}

func isRemoval(cmd metadata.SetKeys) bool {
	return slices.ContainsFunc(cmd.Ops, func(op metadata.KeyOp) bool { return op.Delete })
}

// A round of retention may take long; sessions and rebalances go on beside it, and it takes few commands.
func TestRetentionHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		var inGate atomic.Bool
		var removals atomic.Int32
		f.gate = func(cmd metadata.SetKeys) {
			if isRemoval(cmd) {
				removals.Add(1)
				inGate.Store(true)
				time.Sleep(2 * time.Minute) // 64 shards: the round takes longer than the hour between rounds
				inGate.Store(false)
			}
		}
		c, stop := start(t, f, "a", func(cfg *Config) { cfg.OffsetRetention = 24 * time.Hour })
		const n = 400
		for i := range n {
			commit(t, c, fmt.Sprint("old-", i), "", -1, 0, 1)
		}
		time.Sleep(25*time.Hour + time.Minute)
		if !inGate.Load() {
			t.Fatal("no round of retention under way")
		}
		m := &testMember{c: c, group: "new", work: 1}
		began := time.Now()
		go m.run(t.Context())
		for {
			if _, gen := m.place(); gen > 0 {
				break
			}
			if time.Since(began) > time.Hour {
				t.Fatal("no generation within an hour")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("a new group waited %v for its first generation", d)
		}
		time.Sleep(3 * time.Hour)
		if keys := f.Keys(Space, "g/"); len(keys) != 1 {
			t.Errorf("%d groups left, want the new one", len(keys))
		}
		if got := removals.Load(); got > shardCount {
			t.Errorf("%d commands to remove %d groups, want one a shard", got, n)
		}

		// A stop waits for the round.
		commit(t, c, "late", "", -1, 0, 1)
		for !inGate.Load() {
			time.Sleep(time.Minute)
		}
		stop()
		if inGate.Load() {
			t.Error("Run returned while a round was under way")
		}
	})
}

// A commit that arrives while its group's old offsets leave keeps its own; the groups that share the command go all the same.
func TestRetentionOfOneGroupDoesNotHangOnAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		removals := 0 // by one goroutine at a time
		f.gate = func(cmd metadata.SetKeys) {
			if !isRemoval(cmd) {
				return
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if removals++; removals == 1 {
				o := committed{offset: 7, leaderEpoch: -1, at: time.Now().UnixMilli()}
				sh := &shard{index: ShardOf("left")}
				key := sh.offsetKey("left", record.Partition{Topic: f.topics[0].ID})
				f.seq++
				f.keys[key] = metadata.KeyValue{Key: key, Value: o.encode(), Version: f.seq}
			}
		}
		c, _ := start(t, f, "a", func(cfg *Config) { cfg.OffsetRetention = 24 * time.Hour })
		commit(t, c, "left", "", -1, 0, 2)
		others := 0
		for i := 0; others < 20; i++ {
			if name := fmt.Sprint("other-", i); ShardOf(name) == ShardOf("left") {
				commit(t, c, name, "", -1, 0, 1)
				others++
			}
		}
		time.Sleep(20 * time.Hour)
		commit(t, c, "left", "", -1, 1, 3)
		time.Sleep(5*time.Hour + time.Minute)
		if got := fetchOffset(t, c, "left", 0); got != 7 {
			t.Errorf("the offset committed meanwhile is %d, want 7", got)
		}
		if keys := f.Keys(Space, "g/"); len(keys) != 1 {
			t.Errorf("%d groups left, want 1", len(keys))
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if removals < 2 || removals > 12 {
			t.Errorf("%d commands, want the one refused and a few by halves", removals)
		}
	})
}

// DESIGN "The metadata log": coordinator reads wait for a Confirm. An agent that was deposed and does not know it must not
// send a consumer back to offsets of long ago.
func TestOffsetsAreReadOnlyFromAConfirmedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		commit(t, c, "g", "", -1, 0, 5)
		read := func(version int16) (Code, int64) {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Version, req.Group = version, "g"
			topic := kmsg.NewOffsetFetchRequestTopic()
			topic.Topic, topic.Partitions = "orders", []int32{0}
			req.Topics = append(req.Topics, topic)
			group := kmsg.NewOffsetFetchRequestGroup()
			group.Group = "g"
			req.Groups = append(req.Groups, group)
			resp := c.OffsetFetch(t.Context(), req)
			switch {
			case version >= 8 && resp.Groups[0].ErrorCode != 0:
				return Code(resp.Groups[0].ErrorCode), -1
			case version >= 8:
				return 0, resp.Groups[0].Topics[0].Partitions[0].Offset
			case resp.ErrorCode != 0:
				return Code(resp.ErrorCode), -1
			}
			p := resp.Topics[0].Partitions[0]
			return Code(p.ErrorCode), p.Offset
		}
		for _, version := range []int16{1, 7, 8} {
			for _, want := range []struct {
				stale  error
				code   Code
				offset int64
			}{
				{nil, codeNone, 5},
				{fmt.Errorf("wait: %w", context.DeadlineExceeded), codeCoordinatorUnavailable, -1},
				{fmt.Errorf("%w: %w", metadata.ErrUnavailable, metadata.ErrEnded), codeNotCoordinator, -1},
			} {
				f.mu.Lock()
				f.stale = want.stale
				f.mu.Unlock()
				if code, offset := read(version); code != want.code || offset != want.offset {
					t.Errorf("version %d, Confirm answers %v: code %d offset %d, want %d and %d", version, want.stale, code, offset, want.code, want.offset)
				}
			}
		}
	})
}

// TestAnswersEncodeInEveryVersion guards against fields that a version may not leave out.
func TestAnswersEncodeInEveryVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeMetadata()
		c, _ := start(t, f, "a", nil)
		roundTrip := func(resp kmsg.Response) {
			t.Helper()
			back := kmsg.ResponseForKey(resp.Key())
			back.SetVersion(resp.GetVersion())
			if err := back.ReadFrom(resp.AppendTo(nil)); err != nil {
				t.Errorf("%T version %d: %v", resp, resp.GetVersion(), err)
			}
		}
		for version := range int16(10) {
			for _, group := range []string{"", "v" + string(rune('0'+version))} { // refused, and answered
				join := kmsg.NewPtrJoinGroupRequest()
				join.Version, join.Group, join.SessionTimeoutMillis, join.ProtocolType = version, group, 10_000, "consumer"
				join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "deal"}}
				resp := c.JoinGroup(t.Context(), join, "", "")
				if Code(resp.ErrorCode) == codeMemberIDRequired {
					roundTrip(resp)
					join.MemberID = resp.MemberID
					resp = c.JoinGroup(t.Context(), join, "", "")
				}
				roundTrip(resp)
				sync := kmsg.NewPtrSyncGroupRequest()
				sync.Version, sync.Group, sync.MemberID, sync.Generation = min(version, 5), group, resp.MemberID, resp.Generation
				got := c.SyncGroup(t.Context(), sync)
				if group != "" && got.ErrorCode != 0 {
					t.Errorf("version %d: sync: %d", version, got.ErrorCode)
				}
				roundTrip(got)
				beat := kmsg.NewPtrHeartbeatRequest()
				beat.Version, beat.Group = min(version, 4), group
				roundTrip(c.Heartbeat(t.Context(), beat))
				leave := kmsg.NewPtrLeaveGroupRequest()
				leave.Version, leave.Group, leave.MemberID = min(version, 5), group, resp.MemberID
				leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: resp.MemberID}}
				left := c.LeaveGroup(t.Context(), leave)
				if group != "" && (left.ErrorCode != 0 || (version >= 3 && left.Members[0].ErrorCode != 0)) {
					t.Errorf("version %d: leave: %+v", version, left)
				}
				roundTrip(left)
				del := kmsg.NewPtrDeleteGroupsRequest()
				del.Version, del.Groups = min(version, 3), []string{group}
				roundTrip(c.DeleteGroups(t.Context(), del))
			}
		}
	})
}
