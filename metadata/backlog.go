package metadata

import (
	"slices"

	"github.com/bargedata/barge/record"
)

// objectList finds the oldest of some of the objects. Ids ascend in the order of commits; those of objects that have gone are
// dropped as they come to the front, and all together when they are the most.
type objectList struct {
	ids  []uint64
	live int
}

func (l *objectList) add(id uint64) {
	l.ids = append(l.ids, id)
	l.live++
}

// drop is told that one of the list's objects has left objects.
func (l *objectList) drop(objects map[uint64]*object) {
	l.live--
	n := 0
	for n < len(l.ids) && objects[l.ids[n]] == nil {
		n++
	}
	l.ids = l.ids[n:]
	if len(l.ids) > 2*l.live+64 {
		live := make([]uint64, 0, l.live)
		for _, id := range l.ids {
			if objects[id] != nil {
				live = append(live, id)
			}
		}
		l.ids = live
	}
}

// oldest is the time of the first object that has runs, 0 without one: batches that are held back are no runs yet.
func (l *objectList) oldest(objects map[uint64]*object) int64 {
	for _, id := range l.ids {
		if o := objects[id]; o != nil && o.at > 0 {
			return o.at
		}
	}
	return 0
}

// Backlog sums up the objects that are as agents committed them: no compaction has regrouped or emptied them.
type Backlog struct {
	Objects      int
	Bytes        record.Len
	Oldest       int64 // CommittedAt of the first that has runs, milliseconds; 0: none has
	Inline       int   // those of them that lie in log entries
	OldestInline int64 // as Oldest, of those
}

// BacklogObject is one of them.
type BacklogObject struct {
	Key         string
	Size        record.Len
	Runs        int   // and those whose batches are held back
	CommittedAt int64 // entry time of the oldest run it had, milliseconds; 0: it had none yet
	Inline      bool
}

// Backlog costs the same however large the backlog is.
func (v *View) Backlog() Backlog {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := v.state
	return Backlog{
		Objects: s.raw.live, Bytes: s.rawBytes, Oldest: s.raw.oldest(s.objects),
		Inline: s.inline.live, OldestInline: s.inline.oldest(s.objects),
	}
}

// BacklogObjects returns the first limit objects of the backlog in the order of their commits; inline: only those in log entries;
// wanted, unless nil: only those whose keys it takes. wanted must not call the View.
func (v *View) BacklogObjects(limit int, inline bool, wanted func(key string) bool) []BacklogObject {
	v.mu.RLock()
	defer v.mu.RUnlock()
	list := &v.state.raw
	if inline {
		list = &v.state.inline
	}
	var found []BacklogObject
	for _, id := range list.ids {
		o := v.state.objects[id]
		if o == nil {
			continue
		}
		if len(found) == limit {
			break
		}
		if key := o.name(); wanted == nil || wanted(key) {
			found = append(found, BacklogObject{Key: key, Size: o.size, Runs: o.refs, CommittedAt: o.at, Inline: o.inline})
		}
	}
	return found
}

// RunsIn returns the live topics that have runs in the objects named, by id, with those runs alone: Bytes and Oldest are over
// them, and CompactedEnd says where what is to be compacted of the partition begins, named or not. Each topic is of one moment, but not all of the
// same. It looks at every run there is.
func (v *View) RunsIn(objects map[string]bool) []PendingTopic {
	v.mu.RLock()
	wanted := make(map[uint64]bool, len(objects))
	for _, id := range v.state.raw.ids {
		if o := v.state.objects[id]; o != nil && objects[o.name()] {
			wanted[id] = true
		}
	}
	ids := make([]record.TopicID, 0, len(v.state.withRuns))
	for id := range v.state.withRuns {
		ids = append(ids, id)
	}
	v.mu.RUnlock()
	slices.SortFunc(ids, compareTopics)
	var list []PendingTopic
	for _, id := range ids {
		if pt, ok := v.topicRunsIn(id, wanted); ok {
			list = append(list, pt)
		}
	}
	return list
}

func (v *View) topicRunsIn(id record.TopicID, objects map[uint64]bool) (PendingTopic, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	t := v.state.withRuns[id]
	if t == nil {
		return PendingTopic{}, false
	}
	pt := PendingTopic{Topic: t.Topic, Claimed: t.job != 0}
	var found []run
	for i := range t.parts {
		p := &t.parts[i]
		found = found[:0]
		for k := range p.runs {
			if r := &p.runs[k]; objects[r.object] {
				if pt.Bytes == 0 || r.committedAt < pt.Oldest {
					pt.Oldest = r.committedAt
				}
				pt.Bytes += r.len
				found = append(found, *r)
			}
		}
		if len(found) > 0 {
			pt.Partitions = append(pt.Partitions, PendingPartition{Index: int32(i), CompactedEnd: p.compactedEnd, Runs: v.state.expand(found)})
		}
	}
	return pt, len(pt.Partitions) > 0
}
