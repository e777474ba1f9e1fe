package metadata

import (
	"fmt"
	"slices"

	"github.com/bargedata/barge/record"
)

// What background work sees of the state. Topics without work are not walked.

// Pending returns the live topics that have runs, by id, without the runs: Partitions is nil. Its cost is that of the
// list, however many runs there are, so that a planner may ask often. PendingRuns has the runs.
func (v *View) Pending() []PendingTopic {
	v.mu.RLock()
	list := make([]PendingTopic, 0, len(v.state.withRuns))
	for _, t := range v.state.withRuns {
		list = append(list, v.state.pendingTopic(t))
	}
	v.mu.RUnlock()
	slices.SortFunc(list, func(a, b PendingTopic) int { return compareTopics(a.Topic.ID, b.Topic.ID) })
	return list
}

// PendingRuns returns those of the named topics that live and have runs, by id, each once, with all of their runs. Each
// topic is of one moment, but not all of the same: the lock is free between two, as every run costs time and memory.
func (v *View) PendingRuns(ids ...record.TopicID) []PendingTopic {
	ids = slices.Compact(slices.SortedFunc(slices.Values(ids), compareTopics))
	list := make([]PendingTopic, 0, len(ids))
	for _, id := range ids {
		if pt, ok := v.pendingRuns(id); ok {
			list = append(list, pt)
		}
	}
	return list
}

func (v *View) pendingRuns(id record.TopicID) (PendingTopic, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	t := v.state.withRuns[id]
	if t == nil {
		return PendingTopic{}, false
	}
	pt := v.state.pendingTopic(t)
	for i := range t.parts {
		p := &t.parts[i]
		if len(p.runs) == 0 {
			continue
		}
		pt.Partitions = append(pt.Partitions, PendingPartition{Index: int32(i), CompactedEnd: p.compactedEnd, Runs: v.state.expand(p.runs)})
	}
	return pt, true
}

// pendingTopic sums up a topic that has runs.
func (s *State) pendingTopic(t *topicState) PendingTopic {
	return PendingTopic{Topic: t.Topic, Claimed: t.job != 0, Bytes: t.runBytes, Oldest: t.oldest}
}

// CompactedEnd returns where the files of a partition end and its runs begin, or ErrUnknownTopic.
func (v *View) CompactedEnd(p record.Partition) (record.Offset, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, part := v.state.partition(p)
	if part == nil {
		return 0, fmt.Errorf("compacted end of %s: %w", p, ErrUnknownTopic)
	}
	return part.compactedEnd, nil
}

// PendingTables returns the topics with adds to project whose id is above after, at most limit (at least 1) of them, by id: live ones, and
// deleted ones whose table stays. The zero id begins. Its memory is that of the page, its time that of looking at the topics
// with adds; there are none when all is projected.
func (v *View) PendingTables(after record.TopicID, limit int) []PendingTable {
	v.mu.RLock()
	defer v.mu.RUnlock()
	ids := make([]record.TopicID, 0, min(2*limit, len(v.state.withAdds)))
	for id := range v.state.withAdds { // any order: the lowest ids are kept
		if compareTopics(id, after) <= 0 {
			continue
		}
		if ids = append(ids, id); len(ids) == 2*limit {
			slices.SortFunc(ids, compareTopics)
			ids = ids[:limit]
		}
	}
	slices.SortFunc(ids, compareTopics)
	ids = ids[:min(limit, len(ids))]
	list := make([]PendingTable, len(ids))
	for i, id := range ids {
		t := v.state.withAdds[id]
		list[i] = PendingTable{Topic: t.Topic, Version: t.version, Adds: slices.Clip(t.adds)}
	}
	return list
}

// TableVersion is the version of a topic's table that was last projected, -1 before the first; false for a topic that is
// neither live nor a tombstone.
func (v *View) TableVersion(id record.TopicID) (int64, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	t := v.state.topicOrTombstone(id)
	if t == nil {
		return -1, false
	}
	return t.version, true
}

// TableProgress is TableVersion with the newest log entry whose adds the version holds; 0 where there is no version.
func (v *View) TableProgress(id record.TopicID) (version int64, upTo uint64, ok bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	t := v.state.topicOrTombstone(id)
	if t == nil {
		return -1, 0, false
	}
	return t.version, t.upTo, true
}

// Released returns the objects that may be deleted from the store once their grace has passed, oldest first.
func (v *View) Released() []ReleasedObject {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.Clip(v.state.released)
}

// Files returns the Parquet files of a topic, live or a tombstone, in order of arrival.
func (v *View) Files(id record.TopicID) []File {
	v.mu.RLock()
	defer v.mu.RUnlock()
	t := v.state.topicOrTombstone(id)
	if t == nil {
		return nil
	}
	files := make([]File, len(t.files))
	for i, f := range t.files {
		files[i] = *f
	}
	return files
}
