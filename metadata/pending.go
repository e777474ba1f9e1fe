package metadata

import (
	"slices"

	"github.com/bargedata/barge/record"
)

// What background work sees of the state. Topics without work are not walked.

// Pending returns the live topics that have runs, by id, with all of those.
func (v *View) Pending() []PendingTopic {
	v.mu.RLock()
	defer v.mu.RUnlock()
	list := make([]PendingTopic, 0, len(v.state.withRuns))
	for _, t := range sortedTopics(v.state.withRuns) {
		pt := PendingTopic{Topic: t.Topic, Claimed: t.job != 0, Bytes: t.runBytes}
		for i := range t.parts {
			p := &t.parts[i]
			if len(p.runs) == 0 {
				continue
			}
			runs := v.state.expand(p.runs)
			// Runs of a partition are in the order of their entries, and entry time does not go back.
			if at := runs[0].CommittedAt; len(pt.Partitions) == 0 || at < pt.Oldest {
				pt.Oldest = at
			}
			pt.Partitions = append(pt.Partitions, PendingPartition{Index: int32(i), CompactedEnd: p.compactedEnd, Runs: runs})
		}
		list = append(list, pt)
	}
	return list
}

// PendingTables returns the topics with adds to project, by id: live ones, and deleted ones whose table stays.
func (v *View) PendingTables() []PendingTable {
	v.mu.RLock()
	defer v.mu.RUnlock()
	list := make([]PendingTable, 0, len(v.state.withAdds))
	for _, t := range sortedTopics(v.state.withAdds) {
		list = append(list, PendingTable{Topic: t.Topic, Version: t.version, Adds: slices.Clip(t.adds)})
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
