package group

import (
	"cmp"
	"slices"
	"strings"

	"github.com/bargedata/barge/record"
)

// The assignors of KIP-848 that run here, by Kafka's names. The first is taken when no member names one.
const (
	uniformAssignor = "uniform"
	rangeAssignor   = "range"
)

func assignors() []string { return []string{uniformAssignor, rangeAssignor} }

// subscriber is a member as an assignor sees it.
type subscriber struct {
	id, instance string
	topics       []string           // existing ones, sorted
	had          []record.Partition // of the target before, sorted
}

// assignment is what each member is to have, by member id; every list is sorted.
type assignment map[string][]record.Partition

// assign deals the partitions of the topics out among those who subscribe to them. The answer depends on nothing else.
func assign(assignor string, all []subscriber, topics *TopicSet) assignment {
	slices.SortFunc(all, compareSubscribers)
	var out assignment
	switch {
	case assignor == rangeAssignor:
		out = assignRanges(all, topics)
	case sameTopics(all):
		out = assignEvenly(all, topics)
	default:
		out = assignByLoad(all, topics)
	}
	for _, parts := range out {
		slices.SortFunc(parts, comparePartitions)
	}
	return out
}

// compareSubscribers puts static members first, by instance id, so that a member's place does not depend on the id it has now.
func compareSubscribers(a, b subscriber) int {
	switch {
	case (a.instance == "") != (b.instance == ""):
		return strings.Compare(b.instance, a.instance)
	case a.instance != b.instance:
		return strings.Compare(a.instance, b.instance)
	default:
		return strings.Compare(a.id, b.id)
	}
}

func sameTopics(all []subscriber) bool {
	return !slices.ContainsFunc(all, func(m subscriber) bool { return !slices.Equal(m.topics, all[0].topics) })
}

// assignRanges gives each subscriber of a topic a run of neighboring partitions, as equal as can be, the longer ones first. Topics of
// equally many partitions and subscribers are dealt out alike, so that partitions of one number meet at one member.
func assignRanges(all []subscriber, topics *TopicSet) assignment {
	out := assignment{}
	subscribers := map[string][]string{}
	for _, m := range all {
		out[m.id] = nil
		for _, topic := range m.topics {
			subscribers[topic] = append(subscribers[topic], m.id)
		}
	}
	for topic, ids := range subscribers {
		shape := topics.byName[topic]
		n, next := int32(len(ids)), int32(0)
		for i, id := range ids {
			size := shape.partitions / n
			if int32(i) < shape.partitions%n {
				size++
			}
			for range size {
				out[id] = append(out[id], record.Partition{Topic: shape.id, Index: next})
				next++
			}
		}
	}
	return out
}

// assignEvenly is for members that all subscribe to the same: each gets as many partitions as any other, or one more, and keeps
// as much of what it had as that allows.
func assignEvenly(all []subscriber, topics *TopicSet) assignment {
	out := assignment{}
	if len(all) == 0 {
		return out
	}
	free := map[record.Partition]bool{}
	for _, topic := range all[0].topics {
		shape := topics.byName[topic]
		for i := range shape.partitions {
			free[record.Partition{Topic: shape.id, Index: i}] = true
		}
	}
	least, longer := len(free)/len(all), len(free)%len(all) // so many members get one more
	for _, m := range all {
		var kept []record.Partition
		for _, p := range m.had {
			if free[p] {
				kept = append(kept, p)
			}
		}
		if len(kept) > least && longer > 0 {
			kept = kept[:least+1]
			longer--
		} else {
			kept = kept[:min(len(kept), least)]
		}
		for _, p := range kept {
			delete(free, p)
		}
		out[m.id] = kept
	}
	left := keysOf(free)
	for _, m := range all {
		want := least - len(out[m.id])
		if want >= 0 && longer > 0 {
			want++
			longer--
		}
		if want > 0 {
			out[m.id] = append(out[m.id], left[:want]...)
			left = left[want:]
		}
	}
	return out
}

// balanceRounds bounds how often assignByLoad goes over all topics. Every round brings a move that makes loads more equal; in practice two
// or three rounds find nothing more to move.
const balanceRounds = 20

// assignByLoad is for members with different subscriptions: what they had stays, what is free goes to the subscriber with the fewest
// partitions, and then partitions move to subscribers that have at least two less, while there are any.
func assignByLoad(all []subscriber, topics *TopicSet) assignment {
	load := map[string]int{}
	subscribers := map[string][]string{}
	may := map[string]map[record.TopicID]bool{}
	for _, m := range all {
		load[m.id] = 0
		may[m.id] = map[record.TopicID]bool{}
		for _, topic := range m.topics {
			subscribers[topic] = append(subscribers[topic], m.id)
			may[m.id][topics.byName[topic].id] = true
		}
	}
	owner := map[record.Partition]string{}
	for _, m := range all {
		for _, p := range m.had {
			taken := owner[p] != ""
			if shape := topics.byName[topics.byID[p.Topic]]; !taken && may[m.id][p.Topic] && p.Index < shape.partitions {
				owner[p] = m.id
				load[m.id]++
			}
		}
	}
	names := make([]string, 0, len(subscribers))
	for topic := range subscribers {
		names = append(names, topic)
	}
	// Topics with few subscribers first: the others have more ways to make up for it.
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(subscribers[a]), len(subscribers[b])), strings.Compare(a, b))
	})
	for round := range balanceRounds {
		moved := false
		for _, topic := range names {
			shape := topics.byName[topic]
			to := ""
			for i := range shape.partitions {
				p := record.Partition{Topic: shape.id, Index: i}
				if to == "" { // only a move changes who has least
					to = slices.MinFunc(subscribers[topic], func(a, b string) int { return cmp.Compare(load[a], load[b]) })
				}
				from := owner[p]
				if from != "" && (round == 0 || load[from] < load[to]+2) {
					continue // at first only what is free is dealt out
				}
				if from != "" {
					load[from]--
				}
				owner[p] = to
				load[to]++
				moved, to = true, ""
			}
		}
		if round > 0 && !moved {
			break
		}
	}
	out := assignment{}
	for _, m := range all {
		out[m.id] = nil
	}
	for _, p := range keysOf(owner) {
		out[owner[p]] = append(out[owner[p]], p)
	}
	return out
}
