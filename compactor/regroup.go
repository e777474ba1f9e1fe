package compactor

import (
	"slices"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// Span is what a job may regroup: objects of the backlog in the order of their commits, and all runs that lie in them.
type Span struct {
	Objects []metadata.BacklogObject
	Topics  []metadata.PendingTopic // View.RunsIn of the objects
	// Unclaimed: the log is of a level at which a move needs no claim, so that topics which other jobs have claimed are no obstacle.
	Unclaimed bool
}

// Scope says which objects of the backlog are to be regrouped.
type Scope int8

// The scopes.
const (
	ScopeNone   Scope = iota
	ScopeAll          // the oldest of all objects
	ScopeInline       // only those that lie in log entries, so that the log can be truncated
)

// Regroup decides what to regroup at now (milliseconds); due tells whether a topic is. Pure.
func Regroup(b metadata.Backlog, due bool, now int64, lim Limits) Scope {
	old := func(at, age int64) bool { return now-at >= age || now < at } // as for topics: a clock may be put back
	switch {
	case b.Oldest == 0:
		return ScopeNone
	case b.Bytes >= lim.JobBytes, due && (b.Bytes >= lim.RegroupBytes || old(b.Oldest, lim.RegroupAge.Milliseconds())):
		return ScopeAll
	case b.OldestInline > 0 && old(b.OldestInline, lim.InlineAge.Milliseconds()):
		return ScopeInline
	}
	return ScopeNone
}

// cutObjects takes objects from the front while they are within the bounds of a job. One always is.
func cutObjects(objects []metadata.BacklogObject, lim Limits) []metadata.BacklogObject {
	bytes, runs := record.Len(0), 0
	for i, o := range objects {
		bytes += o.Size
		runs += o.Runs
		if i > 0 && (i >= lim.JobObjects || bytes > lim.JobBytes || runs > lim.JobRuns) {
			return objects[:i]
		}
	}
	return objects
}

// dueInSpan picks topics that are not due and make up so much of the span that a file of their own is better than to be moved
// first: of Limits.SmallBytes. One that set an interval gets the files it asked for.
func dueInSpan(span Span, lim Limits) []record.TopicID {
	var ids []record.TopicID
	for _, p := range span.Topics {
		if _, explicit := p.Topic.CommitInterval(); !explicit && !p.Claimed && p.Bytes >= lim.SmallBytes {
			ids = append(ids, p.Topic.ID)
		}
	}
	return ids
}

// regroupJob reads the span, writes the files of the due topics that it can complete, and moves all other runs of the span, so
// that its objects can go. Due topics for whose sorted runs there is no room are moved, too; the next job finds all they have in
// stretches. No job: nothing of the span can be regrouped now.
func regroupJob(due []metadata.PendingTopic, span Span, lim Limits) Job {
	chosen, size := cutSpan(span, lim)
	job, done := spanFiles(due, span, chosen, size, lim)
	job.Unclaimed = span.Unclaimed
	for _, p := range span.Topics {
		for _, part := range p.Partitions {
			id := record.Partition{Topic: p.Topic.ID, Index: part.Index}
			end, filed := done[id]
			job.Moved = appendMoved(job.Moved, id, part.Runs, func(r *metadata.Run) bool { return chosen[r.Key] && (!filed || r.Base >= end) })
		}
	}
	for _, o := range span.Objects {
		if chosen[o.Key] {
			job.Objects = append(job.Objects, Input{Key: o.Key, Size: o.Size})
		}
	}
	return job
}

// spanFiles plans the files of due topics that have runs in the chosen objects; done tells where the file of a partition ends.
func spanFiles(due []metadata.PendingTopic, span Span, chosen map[string]bool, size record.Len, lim Limits) (job Job, done map[record.Partition]record.Offset) {
	inSpan := map[record.TopicID]bool{}
	for _, p := range span.Topics {
		inSpan[p.Topic.ID] = slices.ContainsFunc(p.Partitions, func(part metadata.PendingPartition) bool {
			return slices.ContainsFunc(part.Runs, func(r metadata.Run) bool { return chosen[r.Key] })
		})
	}
	done = map[record.Partition]record.Offset{}
	room := lim.JobBytes - size
	var runs []*metadata.Run
	for _, p := range due {
		if len(job.Topics) == lim.JobTopics || !inSpan[p.Topic.ID] {
			continue
		}
		t := TopicJob{Topic: p.Topic, Parts: chooseParts(p.Partitions, func(r *metadata.Run) bool { return r.Sorted || chosen[r.Key] }, lim.FileParts)}
		n := t.sortedBytes()
		if len(t.Parts) == 0 || n > 0 && n > room {
			continue
		}
		room -= n
		job.Topics = append(job.Topics, t)
		for _, part := range t.Parts {
			done[record.Partition{Topic: p.Topic.ID, Index: part.Partition}] = part.Runs[len(part.Runs)-1].End
			for i := range part.Runs {
				runs = append(runs, &part.Runs[i])
			}
		}
	}
	job.Ranges = ranges(runs)
	return job, done
}

// cutSpan chooses the objects of the span to regroup: no more than hold JobMoved partitions together and, where a move needs a
// claim, none that holds runs of a topic which another job has claimed.
func cutSpan(span Span, lim Limits) (chosen map[string]bool, size record.Len) {
	partitions := map[string][]record.Partition{} // of each object
	claimed := map[string]bool{}
	for _, p := range span.Topics {
		for _, part := range p.Partitions {
			for i := range part.Runs {
				key := part.Runs[i].Key
				partitions[key] = append(partitions[key], record.Partition{Topic: p.Topic.ID, Index: part.Index})
				claimed[key] = claimed[key] || p.Claimed && !span.Unclaimed
			}
		}
	}
	chosen = map[string]bool{}
	together := map[record.Partition]bool{}
	for _, o := range span.Objects {
		if claimed[o.Key] || len(partitions[o.Key]) == 0 {
			continue // what lost its runs since the listing needs nobody
		}
		for _, p := range partitions[o.Key] {
			together[p] = true
		}
		if len(chosen) > 0 && (len(together) > lim.JobMoved || size+o.Size > lim.JobBytes) {
			break
		}
		chosen[o.Key] = true
		size += o.Size
	}
	return chosen, size
}

// appendMoved adds the wanted runs of one partition, those that follow one another as one group.
func appendMoved(moved []MovedGroup, id record.Partition, runs []metadata.Run, wanted func(*metadata.Run) bool) []MovedGroup {
	for i := 0; i < len(runs); {
		if !wanted(&runs[i]) {
			i++
			continue
		}
		n := i + 1
		for n < len(runs) && wanted(&runs[n]) && runs[n].Base == runs[n-1].End {
			n++
		}
		moved = append(moved, MovedGroup{Partition: id, Runs: runs[i:n]})
		i = n
	}
	return moved
}
