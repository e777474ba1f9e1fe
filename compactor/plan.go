package compactor

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// Limits bound what Plan puts into one job and how many tables it lets commit.
type Limits struct {
	JobBytes    record.Len    // what a job may read: objects whole, sorted ones by the stretch; what one entry committed always fits
	JobTopics   int           // files a job may write
	JobObjects  int           // objects a job may regroup
	JobRuns     int           // runs of theirs to look at, while planning; one object always fits
	JobMoved    int           // partitions that a regrouped object may hold; one object's always fit
	FileParts   int           // partitions in one file: each has row groups of its own, and a footer must stay readable
	SmallBytes  record.Len    // a topic below this waits while the cluster is over its budget of table commits
	MaxDeferral time.Duration // ... but never longer than this after it was due
	Interval    time.Duration // commit interval of topics that set none; 0: the topic default

	// A job regroups the rest of the objects it reads when there are RegroupBytes of them or the oldest is of RegroupAge: below
	// that, another read of them costs less than one more object. Without a topic that is due, objects are regrouped when there are
	// JobBytes of them, and those inside of log entries after InlineAge, because the log is not truncated before.
	RegroupBytes          record.Len
	RegroupAge, InlineAge time.Duration
}

// DefaultLimits keep a job's memory near 128 MiB of input and about as much output, and its Replace well below a log entry.
func DefaultLimits() Limits {
	return Limits{
		JobBytes: 128 << 20, JobTopics: 512, JobObjects: 1024, JobRuns: 1 << 18, JobMoved: 1 << 14, FileParts: 1000,
		SmallBytes: 8 << 20, MaxDeferral: 15 * time.Minute,
		RegroupBytes: 64 << 20, RegroupAge: time.Minute, InlineAge: 5 * time.Minute,
	}
}

// Job is one claimable piece of compaction: a span of WAL objects, each read once, the topics whose runs become one Parquet file
// each, and the runs that move into one object sorted by topic.
type Job struct {
	Objects   []Input      // read whole, in the order of their commits
	Ranges    []Range      // of sorted objects
	Topics    []TopicJob   // files
	Moved     []MovedGroup // by partition and offset
	Unclaimed bool         // what moves needs no claim of its topic
}

// Input is one WAL object a job reads.
type Input struct {
	Key  string
	Size record.Len
}

// Range is a stretch of an object a job reads.
type Range struct {
	Key string
	Pos record.Pos
	Len record.Len
}

// MovedGroup is a stretch of a partition that moves: whole runs, one after another, none of them sorted.
type MovedGroup struct {
	Partition record.Partition
	Runs      []metadata.Run
}

// TopicJob is one file to write.
type TopicJob struct {
	Topic metadata.Topic
	Parts []PartJob // by partition
}

// PartJob is the stretch of one partition that goes into the file: whole runs, but for what lies below Base, the compacted end. Records
// of the first run may: they have been deleted.
type PartJob struct {
	Partition int32
	Base      record.Offset
	Runs      []metadata.Run
}

// Due picks the topics to compact at time now (milliseconds). A topic is due when its pending bytes reach
// barge.table.commit.bytes or its oldest run has waited barge.table.commit.interval.ms. Topics that would be due soon are taken
// along, early by at most half of the longest interval that has passed: so topics fall into step, and share jobs and
// objects from then on. budget is how many table commits the cluster may still make now: due topics under Limits.SmallBytes
// without an interval of their own wait when it is used up, at most Limits.MaxDeferral, and nobody is taken along; what there is of
// it goes to neighbors. Topics a live
// job has are left out. Pure and deterministic; pending needs no runs here.
func Due(pending []metadata.PendingTopic, now int64, budget int, lim Limits) []metadata.PendingTopic {
	var due, early []metadata.PendingTopic
	longest := time.Duration(0)
	for _, p := range pending {
		if p.Claimed || p.Bytes == 0 {
			continue
		}
		if interval, _ := commitInterval(p.Topic, lim); now-p.Oldest >= interval.Milliseconds() {
			longest = max(longest, interval)
		}
	}
	for _, p := range pending {
		switch interval, _ := commitInterval(p.Topic, lim); {
		case p.Claimed || p.Bytes == 0:
		case isDue(p, now, lim):
			due = append(due, p)
		case now-p.Oldest >= (interval - longest/2).Milliseconds():
			early = append(early, p)
		}
	}
	if len(due) == 0 {
		return nil
	}
	// Those that may wait share what the budget leaves by age and id, due or not: were the due ones first, the few that became due
	// since the last plan would lie apart in sorted objects, and each of their stretches would be a request.
	var kept, patient []metadata.PendingTopic
	for _, p := range due {
		if mayWait(p, now, lim) {
			patient = append(patient, p)
			continue
		}
		kept = append(kept, p)
		if p.Topic.TableEnabled() {
			budget--
		}
	}
	patient = append(patient, early...)
	inOrder(patient)
	for _, p := range patient {
		if budget <= 0 {
			break
		}
		if p.Topic.TableEnabled() {
			budget--
		}
		kept = append(kept, p)
	}
	return kept
}

// anyDue tells whether some topic is due, as Due sees it: also one that a live job has, since it is due for a reason.
func anyDue(pending []metadata.PendingTopic, now int64, budget int, lim Limits) bool {
	return slices.ContainsFunc(pending, func(p metadata.PendingTopic) bool {
		return p.Bytes > 0 && isDue(p, now, lim) && (budget > 0 || !mayWait(p, now, lim))
	})
}

// inOrder sorts the oldest first, by the minute, then by topic id: topics that are neighbors in sorted objects go together, and
// their stretches are read with one request.
func inOrder(topics []metadata.PendingTopic) {
	slices.SortStableFunc(topics, func(a, b metadata.PendingTopic) int {
		return cmp.Or(cmp.Compare(a.Oldest/60_000, b.Oldest/60_000), record.Partition{Topic: a.Topic.ID}.Compare(record.Partition{Topic: b.Topic.ID}))
	})
}

// Plan makes jobs of the topics that are due, with all of their runs, and of the objects to regroup. The first one regroups
// the span, where there is one. The jobs share no topic; what a job leaves of a topic is due again afterwards. Where agents
// share the work, others may be about to regroup the objects outside of the span: what lies there is left to them, but
// for topics that set an interval, or have one below Limits.RegroupAge: that is how long it may take. Pure and deterministic.
func Plan(due []metadata.PendingTopic, span Span, shared bool, lim Limits) []Job {
	due = slices.Clone(due)
	inOrder(due)
	var jobs []Job
	if job := regroupJob(due, span, lim); len(job.Objects) > 0 {
		jobs = append(jobs, job)
		taken := map[record.TopicID]bool{}
		for i := range job.Topics {
			taken[job.Topics[i].Topic.ID] = true
		}
		for i := range job.Moved { // what moves is found where it was no more
			taken[job.Moved[i].Partition.Topic] = true
		}
		due = slices.DeleteFunc(due, func(p metadata.PendingTopic) bool { return taken[p.Topic.ID] })
	}
	var patient []metadata.PendingTopic
	if shared {
		due = slices.DeleteFunc(due, func(p metadata.PendingTopic) bool {
			interval, explicit := commitInterval(p.Topic, lim)
			waits := !explicit && interval >= lim.RegroupAge
			if waits {
				patient = append(patient, p)
			}
			return waits
		})
	}
	jobs = appendJobs(jobs, due, lim, nextJob)
	return appendJobs(jobs, patient, lim, sortedJob)
}

// appendJobs makes jobs of the topics until next finds none.
func appendJobs(jobs []Job, due []metadata.PendingTopic, lim Limits, next func([]metadata.PendingTopic, Limits) (Job, []metadata.PendingTopic)) []Job {
	for len(due) > 0 {
		job, rest := next(due, lim)
		if len(job.Topics) == 0 {
			break
		}
		jobs = append(jobs, job)
		due = rest
	}
	return jobs
}

// Claims are the topics that the job claims, each once: those of the files and, where a move needs a claim, of what moves.
func (j *Job) Claims() []record.TopicID {
	seen := make(map[record.TopicID]bool, len(j.Topics))
	var ids []record.TopicID
	note := func(id record.TopicID) {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	for i := range j.Topics {
		note(j.Topics[i].Topic.ID)
	}
	for i := range j.Moved {
		if !j.Unclaimed {
			note(j.Moved[i].Partition.Topic)
		}
	}
	return ids
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

// nextJob takes the due topics that have runs in the same span of objects. The rest of these objects stays what it is.
func nextJob(due []metadata.PendingTopic, lim Limits) (Job, []metadata.PendingTopic) {
	span, size := chooseSpan(due, lim)
	room := lim.JobBytes - size
	var topics []TopicJob
	var rest []metadata.PendingTopic
	for _, p := range due {
		t := TopicJob{Topic: p.Topic}
		if len(topics) < lim.JobTopics {
			t.Parts = chooseParts(p.Partitions, func(r *metadata.Run) bool { return r.Sorted || span[r.Key] }, lim.FileParts)
		}
		if n := t.sortedBytes(); len(t.Parts) > 0 && (n == 0 || n <= room) {
			room -= n
			topics = append(topics, t)
			continue
		}
		rest = append(rest, p)
	}
	if len(topics) == 0 {
		return sortedJob(due, lim)
	}
	return filesJob(topics), rest
}

// sortedJob takes due topics by what they have in sorted objects alone, where there is no room for more.
func sortedJob(due []metadata.PendingTopic, lim Limits) (Job, []metadata.PendingTopic) {
	room := lim.JobBytes
	var topics []TopicJob
	var rest []metadata.PendingTopic
	for _, p := range due {
		t := TopicJob{Topic: p.Topic}
		if len(topics) < lim.JobTopics {
			t.Parts = chooseParts(p.Partitions, func(r *metadata.Run) bool { return r.Sorted }, lim.FileParts)
		}
		if len(topics) == 0 && t.sortedBytes() > room {
			t.Parts = cutByAge(t.Parts, room)
		}
		if n := t.sortedBytes(); len(t.Parts) > 0 && (len(topics) == 0 || n <= room) {
			room -= n
			topics = append(topics, t)
			continue
		}
		rest = append(rest, p)
	}
	return filesJob(topics), rest
}

// sortedBytes is what the topic reads of sorted objects.
func (t *TopicJob) sortedBytes() record.Len {
	n := record.Len(0)
	for _, part := range t.Parts {
		for i := range part.Runs {
			if part.Runs[i].Sorted {
				n += part.Runs[i].Len
			}
		}
	}
	return n
}

// cutByAge keeps the oldest runs up to so many bytes, and those of the oldest entry time whatever their size. Runs of a partition do not
// get younger, so each part keeps its front.
func cutByAge(parts []PartJob, most record.Len) []PartJob {
	bytes := map[int64]record.Len{}
	for _, part := range parts {
		for i := range part.Runs {
			bytes[part.Runs[i].CommittedAt] += part.Runs[i].Len
		}
	}
	times := slices.Sorted(maps.Keys(bytes))
	last, total := times[0], bytes[times[0]]
	for _, at := range times[1:] {
		if total += bytes[at]; total > most {
			break
		}
		last = at
	}
	var kept []PartJob
	for _, part := range parts {
		n := 0
		for n < len(part.Runs) && part.Runs[n].CommittedAt <= last {
			n++
		}
		if n > 0 {
			kept = append(kept, PartJob{Partition: part.Partition, Base: part.Base, Runs: part.Runs[:n]})
		}
	}
	return kept
}

// chooseParts takes the partitions whose runs begin with usable ones, those that waited longest where there are more than one
// file holds. A part must start at the compacted end and have no hole, also where two objects of one entry time sort
// otherwise than they were committed.
func chooseParts(partitions []metadata.PendingPartition, usable func(*metadata.Run) bool, most int) []PartJob {
	var parts []PartJob
	for _, part := range partitions {
		n := 0
		for n < len(part.Runs) && usable(&part.Runs[n]) {
			n++
		}
		if n > 0 {
			parts = append(parts, PartJob{Partition: part.Index, Base: part.CompactedEnd, Runs: part.Runs[:n]})
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

// chooseSpan returns the unsorted objects of the due topics in commit order, cut at JobBytes, and their size. All objects of the
// oldest entry time are in it whatever their size: their order among themselves is not known here, and one of them begins the unsorted runs of
// some partition, so a job always makes progress.
func chooseSpan(due []metadata.PendingTopic, lim Limits) (span map[string]bool, size record.Len) {
	var runs []*metadata.Run
	for _, p := range due {
		for _, part := range p.Partitions {
			for i := range part.Runs {
				runs = append(runs, &part.Runs[i])
			}
		}
	}
	objects := unsortedObjects(runs)
	span = make(map[string]bool, len(objects))
	for _, r := range objects {
		if len(span) > 0 && size+r.ObjectSize > lim.JobBytes && r.CommittedAt != objects[0].CommittedAt {
			break
		}
		size += r.ObjectSize
		span[r.Key] = true
	}
	return span, size
}

// unsortedObjects returns a run of each unsorted object, by time of commit and key.
func unsortedObjects(runs []*metadata.Run) []*metadata.Run {
	byKey := map[string]*metadata.Run{}
	for _, r := range runs {
		if !r.Sorted {
			byKey[r.Key] = r
		}
	}
	return slices.SortedFunc(maps.Values(byKey), func(a, b *metadata.Run) int {
		return cmp.Or(cmp.Compare(a.CommittedAt, b.CommittedAt), cmp.Compare(a.Key, b.Key))
	})
}

// filesJob is the job that writes these files and moves nothing, with what it has to read.
func filesJob(topics []TopicJob) Job {
	job := Job{Topics: topics}
	var runs []*metadata.Run
	for _, t := range topics {
		for _, part := range t.Parts {
			for i := range part.Runs {
				runs = append(runs, &part.Runs[i])
			}
		}
	}
	for _, r := range unsortedObjects(runs) {
		job.Objects = append(job.Objects, Input{Key: r.Key, Size: r.ObjectSize})
	}
	job.Ranges = ranges(runs)
	return job
}

// maxGap is how far apart two stretches of an object may lie that are read with one request, in bytes.
const maxGap = 64 << 10

// ranges are the stretches of sorted objects that hold the runs, by key and position. Stretches are joined over small gaps, of a
// quarter of what is wanted at most.
func ranges(runs []*metadata.Run) []Range {
	sorted := slices.DeleteFunc(slices.Clone(runs), func(r *metadata.Run) bool { return !r.Sorted })
	slices.SortFunc(sorted, func(a, b *metadata.Run) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Pos, b.Pos)) })
	var found []Range
	for _, r := range sorted {
		if n := len(found); n > 0 && found[n-1].Key == r.Key {
			last := &found[n-1]
			gap := record.Len(r.Pos-last.Pos) - last.Len
			if gap <= min(maxGap, last.Len/4) {
				last.Len += gap + r.Len
				continue
			}
		}
		found = append(found, Range{Key: r.Key, Pos: r.Pos, Len: r.Len})
	}
	return found
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
			half.Parts = append(half.Parts, PartJob{Partition: part.Partition, Base: part.Base, Runs: part.Runs[:min(len(part.Runs), longest/2)]})
		}
	case len(t.Parts) > 1:
		half.Parts = t.Parts[:len(t.Parts)/2]
	default:
		return Job{}, false
	}
	return filesJob([]TopicJob{half}), true
}
