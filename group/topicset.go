package group

import (
	"slices"
	"strings"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// TopicSet is the topics there are, as consumer groups see them: names, ids and how many partitions. It never changes; two sets
// are the same topics when they are the same pointer.
type TopicSet struct {
	names  []string // sorted
	byName map[string]topicShape
	byID   map[record.TopicID]string
}

type topicShape struct {
	id         record.TopicID
	partitions int32
}

// NewTopicSet returns the set of these topics.
func NewTopicSet(topics []metadata.Topic) *TopicSet {
	s := &TopicSet{byName: make(map[string]topicShape, len(topics)), byID: make(map[record.TopicID]string, len(topics))}
	for _, t := range topics {
		s.names = append(s.names, t.Name)
		s.byName[t.Name] = topicShape{t.ID, t.Partitions}
		s.byID[t.ID] = t.Name
	}
	slices.Sort(s.names)
	return s
}

// holds reports whether these topics are the ones in the set.
func (s *TopicSet) holds(topics []metadata.Topic) bool {
	if len(topics) != len(s.names) {
		return false
	}
	for _, t := range topics {
		if s.byName[t.Name] != (topicShape{t.ID, t.Partitions}) {
			return false
		}
	}
	return true
}

// comparePartitions orders partitions by topic id, then by number.
func comparePartitions(a, b record.Partition) int {
	if c := strings.Compare(string(a.Topic[:]), string(b.Topic[:])); c != 0 {
		return c
	}
	return int(a.Index) - int(b.Index)
}

// keysOf returns the partitions of a map, in order.
func keysOf[V any](m map[record.Partition]V) []record.Partition {
	out := make([]record.Partition, 0, len(m))
	for p := range m {
		out = append(out, p)
	}
	slices.SortFunc(out, comparePartitions)
	return out
}
