package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

func someTopics(partitions ...int32) *TopicSet {
	var topics []metadata.Topic
	for i, n := range partitions {
		topics = append(topics, metadata.Topic{ID: record.TopicID{byte(i + 1)}, Name: fmt.Sprintf("t%02d", i), Partitions: n})
	}
	return NewTopicSet(topics)
}

// checkAssignment fails unless every partition that has a subscriber is with exactly one of them.
func checkAssignment(t *testing.T, what string, all []subscriber, topics *TopicSet, got assignment) {
	t.Helper()
	owners := map[record.Partition]string{}
	for _, m := range all {
		parts, ok := got[m.id]
		if !ok {
			t.Errorf("%s: nothing is said about %s", what, m.id)
		}
		if !slices.IsSortedFunc(parts, comparePartitions) {
			t.Errorf("%s: the partitions of %s are not sorted", what, m.id)
		}
		for _, p := range parts {
			if !slices.Contains(m.topics, topics.byID[p.Topic]) || p.Index >= topics.byName[topics.byID[p.Topic]].partitions {
				t.Errorf("%s: %s has %v", what, m.id, p)
			}
			if owners[p] != "" {
				t.Errorf("%s: %v is with %s and with %s", what, p, owners[p], m.id)
			}
			owners[p] = m.id
		}
	}
	want := 0
	for _, name := range topics.names {
		if slices.ContainsFunc(all, func(m subscriber) bool { return slices.Contains(m.topics, name) }) {
			want += int(topics.byName[name].partitions)
		}
	}
	if len(owners) != want {
		t.Errorf("%s: %d partitions are dealt out, want %d", what, len(owners), want)
	}
}

// spread is the difference between the most and the least that a member has.
func spread(got assignment) int {
	least, most := 1<<30, 0
	for _, parts := range got {
		least, most = min(least, len(parts)), max(most, len(parts))
	}
	return most - least
}

func remember(all []subscriber, got assignment) {
	for i := range all {
		all[i].had = got[all[i].id]
	}
}

func TestUniformIsEqualAndMovesNoMoreThanItMust(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 300 {
		topics := someTopics(int32(rng.IntN(20)), int32(rng.IntN(5)), 1)
		var all []subscriber
		next := 0
		grow := func(n int) {
			for range n {
				all = append(all, subscriber{id: fmt.Sprintf("m%03d", next), topics: topics.names})
				next++
			}
		}
		grow(1 + rng.IntN(6))
		first := assign(uniformAssignor, slices.Clone(all), topics)
		what := fmt.Sprintf("seed %d round %d", seed, round)
		checkAssignment(t, what, all, topics, first)
		if spread(first) > 1 {
			t.Errorf("%s: loads differ by %d", what, spread(first))
		}
		remember(all, first)
		if again := assign(uniformAssignor, slices.Clone(all), topics); fmt.Sprint(again) != fmt.Sprint(first) {
			t.Errorf("%s: nothing changed, and %v became %v", what, first, again)
		}
		before := len(all)
		grow(1)
		second := assign(uniformAssignor, slices.Clone(all), topics)
		checkAssignment(t, what, all, topics, second)
		if spread(second) > 1 {
			t.Errorf("%s: loads differ by %d after a join", what, spread(second))
		}
		for _, m := range all[:before] {
			for _, p := range second[m.id] {
				if !slices.Contains(m.had, p) && len(m.had) >= len(second[m.id]) {
					t.Errorf("%s: %v moved to %s, which was there before and grew no larger", what, p, m.id)
				}
			}
		}
	}
}

func TestUniformOfDifferentSubscriptions(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 300 {
		topics := someTopics(int32(rng.IntN(12)), int32(rng.IntN(12)), int32(rng.IntN(12)))
		var all []subscriber
		for i := range 1 + rng.IntN(6) {
			m := subscriber{id: fmt.Sprintf("m%d", i)}
			for _, name := range topics.names {
				if rng.IntN(2) == 0 {
					m.topics = append(m.topics, name)
				}
			}
			all = append(all, m)
		}
		what := fmt.Sprintf("seed %d round %d", seed, round)
		for range 2 {
			got := assign(uniformAssignor, slices.Clone(all), topics)
			checkAssignment(t, what, all, topics, got)
			for _, m := range all {
				for _, p := range got[m.id] {
					for _, o := range all {
						if slices.Contains(o.topics, topics.byID[p.Topic]) && len(got[o.id]) < len(got[m.id])-1 && !sameTopics(all) {
							t.Errorf("%s: %s has %d and %s %d, which could have %v", what, m.id, len(got[m.id]), o.id, len(got[o.id]), p)
						}
					}
				}
			}
			remember(all, got)
			all[0].topics = topics.names // and once more with a subscription changed
		}
	}
}

func TestRangesOfTopicsAlikeMeetAtTheSameMember(t *testing.T) {
	topics := someTopics(5, 5, 2)
	all := []subscriber{
		{id: "z", instance: "i1", topics: topics.names}, {id: "b", topics: topics.names}, {id: "a", topics: topics.names},
	}
	got := assign(rangeAssignor, slices.Clone(all), topics)
	checkAssignment(t, "range", all, topics, got)
	var lines []string
	for _, id := range []string{"z", "a", "b"} { // static members come first
		line := id
		for _, p := range got[id] {
			line += fmt.Sprintf(" %d:%d", p.Topic[0], p.Index)
		}
		lines = append(lines, line)
	}
	want := []string{"z 1:0 1:1 2:0 2:1 3:0", "a 1:2 1:3 2:2 2:3 3:1", "b 1:4 2:4"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}

func BenchmarkAssign(b *testing.B) {
	topics := someTopics(10_000, 10)
	for _, kind := range []string{"same", "different"} {
		b.Run(kind, func(b *testing.B) {
			var all []subscriber
			for i := range 500 {
				m := subscriber{id: fmt.Sprintf("m%03d", i), topics: topics.names}
				if kind == "different" && i%2 == 0 {
					m.topics = topics.names[:1]
				}
				all = append(all, m)
			}
			remember(all, assign(uniformAssignor, slices.Clone(all[:499]), topics))
			b.ReportAllocs()
			for b.Loop() {
				assign(uniformAssignor, slices.Clone(all), topics)
			}
		})
	}
}
