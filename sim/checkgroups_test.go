package sim

import (
	"testing"

	"github.com/bargedata/barge/group"
	"github.com/bargedata/barge/metadata"
)

// plainGroup is a group whose coordinator, agent 1, dies; agent 2 takes it over, and nobody notices but by the address.
func plainGroup() *GroupHistory {
	shard := group.ShardOf("g")
	write := func(w GroupWrite, agent int, at int64) GroupWrite {
		w.Agent, w.Session, w.Shard, w.Step, w.At = agent, metadata.SessionID(agent), shard, int(at), at
		return w
	}
	call := func(kind GroupRequest, agent int, member string, began, before, after int) *GroupCall {
		return &GroupCall{
			Kind: kind, Agent: agent, Session: metadata.SessionID(agent), Group: "g", Member: member, Generation: 1, Began: began, Ended: began + 5,
			BeganAt: int64(began), EndedAt: int64(began) + 5, Before: before, After: after,
		}
	}
	h := &GroupHistory{Writes: []GroupWrite{
		write(GroupWrite{Claims: true}, 1, 10),
		write(GroupWrite{Group: "g", Generation: 1, Members: []string{"a", "b"}}, 1, 30),
		write(GroupWrite{Commit: 1}, 1, 52),
		write(GroupWrite{Claims: true, Knows: []metadata.SessionID{2}}, 2, 1000),
		write(GroupWrite{Commit: 2}, 2, 1052),
	}}
	h.Calls = []*GroupCall{
		call(GroupJoin, 1, "a", 20, 1, 1), call(GroupSync, 1, "a", 26, 1, 2), call(GroupSync, 1, "b", 27, 1, 2),
		call(GroupCommit, 1, "a", 50, 2, 3), call(GroupFetch, 1, "b", 60, 3, 3),
		call(GroupHeartbeat, 2, "a", 1010, 4, 4), call(GroupCommit, 2, "a", 1050, 4, 5), call(GroupFetch, 2, "a", 1060, 5, 5),
	}
	h.Calls[0].Members = "a b"
	h.Calls[1].Assignment, h.Calls[2].Assignment = "1: x", "1: y"
	h.Calls[3].Partition, h.Calls[3].Commit, h.Calls[3].Offset = part(0), 1, 10
	h.Calls[6].Partition, h.Calls[6].Commit, h.Calls[6].Offset = part(0), 2, 20
	h.Calls[4].Fetched, h.Calls[7].Fetched = []Fetched{{part(0), 1, 10}}, []Fetched{{part(0), 2, 20}}
	return h
}

func judgeGroup(h *GroupHistory) []Violation {
	return append(append(CheckCoordinators(h), CheckOffsets(h)...), CheckMembership(h)...)
}

func TestCheckGroupsFinds(t *testing.T) {
	const sync, commit, beat, late, look = 2, 3, 5, 6, 7 // calls
	again := func(h *GroupHistory, i int) *GroupCall {
		c := *h.Calls[i]
		h.Calls = append(h.Calls, &c)
		return &c
	}
	for _, c := range []struct {
		checker, text string
		breakIt       func(*GroupHistory)
	}{
		{"coordinators", "agent 2 holds the shard", func(h *GroupHistory) { h.Writes[4].Agent, h.Writes[4].Session = 1, 1 }},
		{"coordinators", "which it knows to live", func(h *GroupHistory) { h.Writes[3].Knows = []metadata.SessionID{1, 2} }},
		{"coordinators", "another one holds the group", func(h *GroupHistory) { h.Calls[beat].Foreign = true }},
		{"coordinators", "has assignment 1 by agent 1 and 2 by agent 2", func(h *GroupHistory) {
			s := again(h, sync)
			s.Agent, s.Assignment, s.Before, s.After = 2, "2: x", 4, 4
		}},
		{"coordinators", "with members a b and with a c", func(h *GroupHistory) { again(h, 0).Members = "a c" }},
		{"coordinators", "was saved with members", func(h *GroupHistory) {
			w := h.Writes[1]
			w.Agent, w.Session, w.Members = 2, 2, []string{"a", "b", "c"}
			h.Writes = append(h.Writes, w)
		}},
		{"coordinators", "after generation 2 without it", func(h *GroupHistory) {
			h.Calls[beat].EndedAt += stillReachable + 60_000
			w := h.Writes[1]
			w.Agent, w.Session, w.Generation, w.Members = 2, 2, 2, []string{"b"}
			h.Writes = append(h.Writes, w)
			b := again(h, beat)
			b.Agent, b.Session, b.Before, b.After = 1, 1, 6, 6
		}},
		{"offsets", "is not in the log", func(h *GroupHistory) { h.Writes[4].Commit = 0 }},
		{"offsets", "is not in the log", func(h *GroupHistory) { h.Calls[late].After = 4 }},
		{"offsets", "after commit 2 was told of", func(h *GroupHistory) { h.Calls[look].Fetched = []Fetched{{part(0), 1, 10}} }},
		{"offsets", "after commit 2 was told of", func(h *GroupHistory) { h.Calls[look].Fetched = []Fetched{{part(0), 0, -1}} }},
		{"offsets", "not what the log holds", func(h *GroupHistory) { h.Calls[look].Fetched[0].Offset = 19 }},
		{"offsets", "takes effect in generation 2", func(h *GroupHistory) { h.Writes[1].Generation = 2 }},
		{"offsets", "takes effect in generation 1 of [a b]", func(h *GroupHistory) { h.Calls[late].Member = "c" }},
		{"offsets", "before the group was saved", func(h *GroupHistory) { h.Writes[1].Group = "" }},
		{"offsets", "answered with code 15 and after commit 2", func(h *GroupHistory) {
			w := h.Writes[4]
			w.Commit = 3
			h.Writes = append(h.Writes, w)
			f := again(h, commit)
			f.Commit, f.Code, f.Began, f.Ended, f.Agent, f.Session = 3, 15, 900, 905, 2, 2
		}},
		{"offsets", "lets commit 3 of g take effect after commit 2", func(h *GroupHistory) {
			w := h.Writes[4]
			w.Commit = 3
			h.Writes = append(h.Writes, w)
			f := again(h, late)
			f.Commit, f.Began, f.Ended = 3, 1049, 0
		}},
		{"membership", "before that is durable", func(h *GroupHistory) { h.Calls[sync].After = 1 }},
		{"membership", "before that is durable", func(h *GroupHistory) { h.Writes[1].Members = []string{"a"} }},
		{"membership", "is saved after generation 1", func(h *GroupHistory) {
			w := h.Writes[1]
			w.Agent, w.Session, w.Generation = 2, 2, 0
			h.Writes = append(h.Writes, w)
		}},
		{"membership", "tells a code 25", func(h *GroupHistory) { h.Calls[beat].Code = codeUnknownMember }},
		{"membership", "tells a code 27", func(h *GroupHistory) { h.Calls[beat].Code = codeRebalance }},
	} {
		faulty := plainGroup()
		c.breakIt(faulty)
		expect(t, c.text, judgeGroup(plainGroup()), judgeGroup(faulty), c.checker, c.text)
	}
	// Somebody who joins begins a rebalance: then members are told so.
	h := plainGroup()
	h.Calls[beat].Code = codeRebalance
	j := again(h, 0)
	j.Agent, j.Session, j.Began, j.Ended, j.Code, j.Members = 2, 2, 1005, 0, 0, ""
	if bad := CheckMembership(h); len(bad) > 0 {
		t.Errorf("a rebalance because somebody joins: %v", bad)
	}
}
