package compactor

import (
	"cmp"
	"slices"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// Limits bound what Plan puts into one job and how many tables it lets commit.
type Limits struct {
	JobBytes    record.Len    // WAL objects a job may read, whole objects counted; one object always fits
	JobTopics   int           // files a job may write
	FileParts   int           // partitions in one file: each has row groups of its own, and a footer must stay readable
	SmallBytes  record.Len    // a topic below this waits while the cluster is over its budget of table commits
	MaxDeferral time.Duration // ... but never longer than this after it was due
	Interval    time.Duration // commit interval of topics that set none; 0: the topic default
}

// DefaultLimits keep a job's memory near 128 MiB of input and about as much output.
func DefaultLimits() Limits {
	return Limits{JobBytes: 128 << 20, JobTopics: 2048, FileParts: 1000, SmallBytes: 8 << 20, MaxDeferral: 15 * time.Minute}
}

// Job is one claimable piece of compaction: a span of WAL objects, each read once, and the topics whose runs in that span
// become one Parquet file each.
type Job struct {
	Objects []Input // in the order of their commits
	Topics  []TopicJob
}

// Input is one WAL object a job reads.
type Input struct {
	Key  string
	Size record.Len
}

// TopicJob is one file to write.
type TopicJob struct {
	Topic metadata.Topic
	Parts []PartJob // by partition
}

// PartJob is the stretch of one partition that goes into the file: whole runs from the compacted end on.
type PartJob struct {
	Partition int32
	Runs      []metadata.Run
}

// Due picks the topics to compact at time now (milliseconds), the oldest first. A topic is due when its pending bytes reach
// barge.table.commit.bytes or its oldest run has waited barge.table.commit.interval.ms. budget is how many table commits the
// cluster may still make now: due topics under Limits.SmallBytes without an interval of their own wait when it is used up, at
// most Limits.MaxDeferral. Topics a live job has are left out. Pure and deterministic; pending needs no runs here.
func Due(pending []metadata.PendingTopic, now int64, budget int, lim Limits) []metadata.PendingTopic {
	var due []metadata.PendingTopic
	for _, p := range pending {
		if !p.Claimed && p.Bytes > 0 && isDue(p, now, lim) {
			due = append(due, p)
		}
	}
	sortByAge(due)
	kept := due[:0]
	for _, p := range due {
		if budget <= 0 && mayWait(p, now, lim) {
			continue
		}
		if p.Topic.TableEnabled() {
			budget--
		}
		kept = append(kept, p)
	}
	return kept
}

func sortByAge(topics []metadata.PendingTopic) {
	slices.SortStableFunc(topics, func(a, b metadata.PendingTopic) int {
		return cmp.Or(cmp.Compare(a.Oldest, b.Oldest), cmp.Compare(a.Topic.Name, b.Topic.Name))
	})
}

// Plan makes jobs of the topics that are due, with their runs: each a span of objects and all topics that have runs in it. The jobs
// share no topic; what a job leaves of a topic is due again afterwards. Pure and deterministic.
func Plan(due []metadata.PendingTopic, lim Limits) []Job {
	due = slices.Clone(due)
	sortByAge(due)
	var jobs []Job
	for len(due) > 0 {
		job, rest := nextJob(due, lim)
		if len(job.Topics) == 0 {
			break
		}
		jobs = append(jobs, job)
		due = rest
	}
	return jobs
}

func isDue(p metadata.PendingTopic, now int64, lim Limits) bool {
	interval, _ := commitInterval(p.Topic, lim)
	// A clock that was put back must not stop tables until it has caught up.
	return int64(p.Bytes) >= p.Topic.CommitBytes() || now-p.Oldest >= interval.Milliseconds() || now < p.Oldest
}

func commitInterval(t metadata.Topic, lim Limits) (d time.Duration, explicit bool) {
	d, explicit = t.CommitInterval()
	if !explicit && lim.Interval > 0 {
		d = lim.Interval
	}
	return d, explicit
}

func mayWait(p metadata.PendingTopic, now int64, lim Limits) bool {
	interval, explicit := commitInterval(p.Topic, lim)
	if explicit || p.Bytes >= lim.SmallBytes {
		return false
	}
	return now-p.Oldest < interval.Milliseconds()+lim.MaxDeferral.Milliseconds()
}

// nextJob takes the first due topic and all others that have runs in the same span of objects.
func nextJob(due []metadata.PendingTopic, lim Limits) (Job, []metadata.PendingTopic) {
	span := chooseSpan(due, lim)
	chosen := make(map[string]bool, len(span))
	for _, in := range span {
		chosen[in.Key] = true
	}
	var job Job
	var rest []metadata.PendingTopic
	used := map[string]bool{}
	for _, p := range due {
		t := TopicJob{Topic: p.Topic}
		if len(job.Topics) < lim.JobTopics {
			t.Parts = chooseParts(p.Partitions, chosen, lim.FileParts)
		}
		if len(t.Parts) == 0 {
			rest = append(rest, p)
			continue
		}
		for _, part := range t.Parts {
			for i := range part.Runs {
				used[part.Runs[i].Key] = true
			}
		}
		job.Topics = append(job.Topics, t)
	}
	for _, in := range span {
		if used[in.Key] {
			job.Objects = append(job.Objects, in)
		}
	}
	return job, rest
}

// chooseParts takes the partitions with runs in the span, those that waited longest where there are more than one file holds.
func chooseParts(partitions []metadata.PendingPartition, chosen map[string]bool, most int) []PartJob {
	var parts []PartJob
	for _, part := range partitions {
		if runs := leadingRuns(part.Runs, chosen); len(runs) > 0 {
			parts = append(parts, PartJob{Partition: part.Index, Runs: runs})
		}
	}
	if len(parts) <= most {
		return parts
	}
	slices.SortStableFunc(parts, func(a, b PartJob) int { return cmp.Compare(a.Runs[0].CommittedAt, b.Runs[0].CommittedAt) })
	parts = parts[:most]
	slices.SortFunc(parts, func(a, b PartJob) int { return cmp.Compare(a.Partition, b.Partition) })
	return parts
}

// chooseSpan returns the objects of the due topics in commit order, cut at JobBytes. All objects of the oldest entry time are
// in it whatever their size: their order among themselves is not known here, and one of them begins some partition's part,
// so a job always makes progress.
func chooseSpan(due []metadata.PendingTopic, lim Limits) []Input {
	type object struct {
		in Input
		at int64
	}
	byKey := map[string]object{}
	for _, p := range due {
		for _, part := range p.Partitions {
			for i := range part.Runs {
				r := &part.Runs[i]
				byKey[r.Key] = object{Input{Key: r.Key, Size: r.ObjectSize}, r.CommittedAt}
			}
		}
	}
	objects := make([]object, 0, len(byKey))
	for _, o := range byKey {
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(a, b object) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.in.Key, b.in.Key))
	})
	var span []Input
	var total record.Len
	for _, o := range objects {
		if len(span) > 0 && total+o.in.Size > lim.JobBytes && o.at != objects[0].at {
			break
		}
		total += o.in.Size
		span = append(span, o.in)
	}
	return span
}

// leadingRuns keeps runs while their object is in the span: a part must start at the compacted end and have no hole, also
// where two objects of one entry time sort otherwise than they were committed.
func leadingRuns(runs []metadata.Run, chosen map[string]bool) []metadata.Run {
	for i := range runs {
		if !chosen[runs[i].Key] {
			return runs[:i]
		}
	}
	return runs
}

// onlyTopic is the part of a job that one of its topics needs.
func onlyTopic(job Job, t TopicJob) Job {
	needed := map[string]bool{}
	for _, part := range t.Parts {
		for i := range part.Runs {
			needed[part.Runs[i].Key] = true
		}
	}
	one := Job{Topics: []TopicJob{t}}
	for _, in := range job.Objects {
		if needed[in.Key] {
			one.Objects = append(one.Objects, in)
		}
	}
	return one
}

// smaller is a job of about half as much of its one topic: fewer runs of each partition or, where there is one of each, fewer
// partitions. There is none for several topics or a single run.
func smaller(job Job) (Job, bool) {
	if len(job.Topics) != 1 {
		return Job{}, false
	}
	t := job.Topics[0]
	longest := 0
	for _, part := range t.Parts {
		longest = max(longest, len(part.Runs))
	}
	half := TopicJob{Topic: t.Topic}
	switch {
	case longest > 1:
		for _, part := range t.Parts {
			half.Parts = append(half.Parts, PartJob{Partition: part.Partition, Runs: part.Runs[:min(len(part.Runs), longest/2)]})
		}
	case len(t.Parts) > 1:
		half.Parts = t.Parts[:len(t.Parts)/2]
	default:
		return Job{}, false
	}
	return onlyTopic(job, half), true
}
