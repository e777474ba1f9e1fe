package bench

import (
	"math"
	"time"
)

// What the product is set to, as far as the arithmetic of a run needs it. Source: ADR 0009.
const (
	flushSeconds  = 0.25      // --flush-interval
	flushBytes    = 8 << 20   // --flush-bytes
	inlineBytes   = 960 << 10 // --inline-bytes: smaller objects travel in the log
	writerRate    = 32 << 20  // bytes/s from which on a zone advertises another agent
	dueSeconds    = 60.0      // barge.table.commit.interval.ms
	commitsSecond = 20.0      // compactor.Config.CommitBudget
	commitsSaved  = 60 * commitsSecond
	jobBytes      = 128 << 20         // compactor.Limits.JobBytes
	jobTopics     = 512               // compactor.Limits.JobTopics
	runHeap       = 100.0             // bytes of a run in memory, its share of an object included
	topicHeap     = 1000.0            // of a topic with a table, its head included
	batchOverhead = 61 + 9            // of a record batch of one record, beside the value
	runOverhead   = 48                // of a run in an object's footer
	cacheBytes    = 128 << 20 * 3 / 2 // --cache-bytes, and half as much for what was read
)

// arithmetic is what a run should come to, counted over the whole of it.
type arithmetic struct {
	objects   float64 // that agents write
	inline    bool    // they travel in the log
	moved     float64 // objects with the rest, sorted by topic
	jobs      float64
	commits   float64 // of tables
	ranges    float64 // reads of sorted objects
	lists     float64
	fileBytes float64 // of values in a table's file
	heapMB    float64
}

// arithmetic computes it from the settings.
func (c TopicsConfig) arithmetic(took time.Duration) arithmetic {
	var a arithmetic
	t := took.Seconds()
	zones := float64(max(1, c.Zones))
	leaders := min(float64(c.Agents), zones*math.Ceil(float64(c.Rate)/zones/writerRate))
	records := float64(c.Rate) / float64(c.RecordBytes) // a second
	a.objects = t / flushSeconds * leaders
	// A flush has about one record of each topic that its agent leads and that wrote in the time.
	size := flushSeconds / leaders * (float64(c.Rate) + records*(batchOverhead+runOverhead))
	a.inline = size <= inlineBytes
	// Every topic is due after a minute, and then the budget counts: what was saved up, and half of it each half minute.
	if t > dueSeconds {
		a.commits = commitsSaved + commitsSaved/2*math.Floor((t-dueSeconds)*commitsSecond/(commitsSaved/2))
		a.commits = min(a.commits, float64(c.Topics)*math.Floor(t/dueSeconds))
	}
	// Topics wait for their turn, so that a file holds what came since the one before, or since the beginning.
	turn := max(dueSeconds, float64(c.Topics)/commitsSecond)
	a.fileBytes = float64(c.Rate) / float64(c.Topics) * min(turn, dueSeconds+max(0, t-dueSeconds)/2)
	// What is not due is regrouped each time there is enough of it for a job, and before topics that are due are read.
	regroup := math.Min(jobBytes/float64(c.Rate), 30)
	a.moved = t / regroup
	fileJobs := a.commits / jobTopics * 1.5 // some are cut by bytes
	a.jobs = a.moved + fileJobs
	a.ranges = fileJobs * min(t, turn) / regroup / 2
	a.lists = 3 * (1 + a.entries()/2000)
	runs := records * jobBytes / float64(c.Rate) * 2 // unsorted ones of two jobs
	runs += float64(c.Topics) * min(t, turn) / regroup
	live := runHeap*runs + topicHeap*float64(c.Topics) + min(cacheBytes, float64(c.Rate)*t) + 3*jobBytes
	a.heapMB = 1.5 * live / 1e6 // garbage that waits to be collected
	return a
}

// entries of the log: one a flush, two a job, one for two tables: four are brought up to date at once, and two find an entry open.
func (a arithmetic) entries() float64 { return a.objects + 2*a.jobs + a.commits/2 }

// puts are those of objects, files, tables and log.
func (a arithmetic) puts() float64 {
	n := a.entries() + a.moved + 2*a.commits
	if !a.inline {
		n += a.objects
	}
	return n + a.entries()/2000
}

// gets: every object once, and stretches of sorted ones.
func (a arithmetic) gets() float64 { return a.objects + a.ranges + 2*a.entries()/2000 }
