package scale

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bargedata/barge/bench"
)

// Result is what a run found. It is written as JSON; the names carry the units.
type Result struct {
	Scenario string        `json:"scenario"` // scale
	Time     time.Time     `json:"time"`
	Commit   string        `json:"commit"`
	Version  string        `json:"version"`
	Machine  bench.Machine `json:"machine"`
	Config   Config        `json:"config"`

	Empty    Empty    `json:"empty"`
	Load     Load     `json:"load"`
	Planner  Planner  `json:"planner"`
	Snapshot Snapshot `json:"snapshot"`
	Recovery Recovery `json:"recovery"`
	Follower Follower `json:"follower"`
	Routing  Routing  `json:"routing"`
	Answers  []Answer `json:"metadata_answers"`
	Notes    []string `json:"notes,omitempty"`
}

// Empty is the cluster before the first record.
type Empty struct {
	CreateSeconds     float64 `json:"create_topics_cpu_seconds"`
	HeapMB            float64 `json:"heap_mb"`
	BytesPerPartition float64 `json:"heap_bytes_per_partition"`
}

// Load is what the producers' load took. Seconds are virtual unless they are of CPU.
type Load struct {
	Seconds          float64 `json:"seconds"`
	EntriesPerSecond float64 `json:"entries_per_second"`
	BatchesPerSecond float64 `json:"batches_per_second"`
	LogMBPerSecond   float64 `json:"log_mb_per_second"`
	LogMBPerGB       float64 `json:"log_mb_per_gb"`
	LogBytesPerBatch float64 `json:"log_bytes_per_batch"` // everything in the log, by the batches
	LargestEntryKB   float64 `json:"largest_entry_kb"`
	// SequencerCores is the CPU of the sequencer in a second: taking commands in, putting entries together, applying them and
	// answering. BatchesPerCPUSecond is what one core would take.
	SequencerCores      float64 `json:"sequencer_cores"`
	BatchesPerCPUSecond float64 `json:"batches_per_cpu_second"`
	StalledFlushes      int64   `json:"stalled_flushes"` // that waited because the sequencer's queue was full
	WaitingBatches      int64   `json:"waiting_batches"` // at the end, for their entry
	HeapMB              float64 `json:"heap_mb"`         // of the state, at the end
	BacklogMB           float64 `json:"backlog_mb"`      // of data that no job has read yet
	BacklogObjects      int     `json:"backlog_objects"`
	OldestSeconds       float64 `json:"oldest_backlog_seconds"`
	Runs                int64   `json:"runs"`
	Files               int64   `json:"files"`
	ReleasedObjects     int     `json:"released_objects"`
}

// Planner is the background work.
type Planner struct {
	IdleTickMillis float64 `json:"idle_tick_cpu_ms"` // median; nothing was due
	DueTickMillis  float64 `json:"due_tick_cpu_ms"`  // median of ticks that made jobs
	WorstMillis    float64 `json:"worst_tick_cpu_ms"`
	Cores          float64 `json:"cores"` // CPU of planning in a second, of all agents
	Jobs           int64   `json:"jobs"`
	Failed         int64   `json:"failed_jobs"` // another agent's was faster
	Files          int64   `json:"files"`
	MovedRuns      int64   `json:"moved_runs"`
	TableCommits   int64   `json:"table_commits"`
	ReadTimes      float64 `json:"read_per_byte_in"` // bytes read by jobs for each byte produced
	Busy           float64 `json:"busy_share"`       // of the time in which the busiest compactor read and wrote
}

// Snapshot is the state as a checkpoint.
type Snapshot struct {
	MB           float64 `json:"mb"`
	FreezeMillis float64 `json:"freeze_cpu_ms"` // for which nothing is applied
	EncodeMillis float64 `json:"encode_cpu_ms"`
	DecodeMillis float64 `json:"decode_cpu_ms"`
	PerMinute    float64 `json:"per_minute"`
}

// Recovery is a cold start: the newest snapshot and what follows it.
type Recovery struct {
	CPUSeconds      float64 `json:"cpu_seconds"`
	Entries         uint64  `json:"replayed_entries"`
	MB              float64 `json:"read_mb"`
	SnapshotSeconds float64 `json:"snapshot_cpu_seconds"`
}

// Follower is an agent that hears the sequencer's entries.
type Follower struct {
	MBPerSecond         float64 `json:"mb_per_second"` // that each hears
	Cores               float64 `json:"cores"`         // of decoding and applying
	BatchesPerCPUSecond float64 `json:"batches_per_cpu_second"`
	DirectMBPerSecond   float64 `json:"sequencer_sends_mb_per_second_direct"` // to all agents
	RelayedMBPerSecond  float64 `json:"sequencer_sends_mb_per_second_relayed"`
}

// Routing is where clients are sent. Each topic has a producer of its own, in the zones by turns.
type Routing struct {
	Leaders      int     `json:"agents_that_lead"`
	PickNanos    float64 `json:"pick_cpu_ns"`                  // of one key among all agents
	ClientMillis float64 `json:"all_topics_cpu_ms"`            // to place all partitions for one client
	MostOverMean float64 `json:"most_loaded_leader_over_mean"` // by partitions
}

// Answer is one Metadata request over a socket on loopback.
type Answer struct {
	Topics    int     `json:"topics"` // asked for
	CPUMillis float64 `json:"cpu_ms"` // of server and client
	KB        float64 `json:"kb"`
}

// WriteSummary writes the result for people.
func (r *Result) WriteSummary(w io.Writer) error {
	var b strings.Builder
	c := &r.Config
	fmt.Fprintf(&b, "%d agents, %d topics, %d partitions, %.0f MB/s, %s, idempotent %v\n", c.Agents, c.Topics, c.Partitions, float64(c.Rate)/1e6, r.Time.Format("2006-01-02 15:04"), c.Idempotent)
	fmt.Fprintf(&b, "empty      %.0f MB of heap, %.0f B a partition, topics made in %.2f CPU-s\n", r.Empty.HeapMB, r.Empty.BytesPerPartition, r.Empty.CreateSeconds)
	l := &r.Load
	fmt.Fprintf(&b, "log        %.1f entries/s, %.0f batches/s, %.2f MB/s, %.2f MB a GB, %.1f B a batch, largest entry %.0f KB\n",
		l.EntriesPerSecond, l.BatchesPerSecond, l.LogMBPerSecond, l.LogMBPerGB, l.LogBytesPerBatch, l.LargestEntryKB)
	fmt.Fprintf(&b, "sequencer  %.2f cores, %.2f million batches a CPU-s, %d flushes waited, %d batches at the end (%.0f s of load)\n", l.SequencerCores, l.BatchesPerCPUSecond/1e6, l.StalledFlushes, l.WaitingBatches, l.Seconds)
	fmt.Fprintf(&b, "state      %.0f MB of heap, %d runs, %d files, %d objects released; backlog %.0f MB in %d objects, oldest %.0f s\n",
		l.HeapMB, l.Runs, l.Files, l.ReleasedObjects, l.BacklogMB, l.BacklogObjects, l.OldestSeconds)
	p := &r.Planner
	fmt.Fprintf(&b, "planner    idle tick %.2f ms, with jobs %.1f ms, worst %.1f ms, %.3f cores in all; %d jobs (%d in vain), %d files, %d moved runs, %d table commits, reads %.2f B a byte, busy %.2f\n",
		p.IdleTickMillis, p.DueTickMillis, p.WorstMillis, p.Cores, p.Jobs, p.Failed, p.Files, p.MovedRuns, p.TableCommits, p.ReadTimes, p.Busy)
	fmt.Fprintf(&b, "snapshot   %.1f MB, freeze %.1f, encode %.0f, decode %.0f ms, %.1f a minute\n",
		r.Snapshot.MB, r.Snapshot.FreezeMillis, r.Snapshot.EncodeMillis, r.Snapshot.DecodeMillis, r.Snapshot.PerMinute)
	fmt.Fprintf(&b, "recovery   %.2f CPU-s (snapshot %.2f) for %.1f MB with %d entries\n", r.Recovery.CPUSeconds, r.Recovery.SnapshotSeconds, r.Recovery.MB, r.Recovery.Entries)
	f := &r.Follower
	fmt.Fprintf(&b, "follower   %.2f MB/s, %.3f cores, %.2f million batches a CPU-s; sequencer sends %.0f MB/s, with relays %.1f\n",
		f.MBPerSecond, f.Cores, f.BatchesPerCPUSecond/1e6, f.DirectMBPerSecond, f.RelayedMBPerSecond)
	fmt.Fprintf(&b, "routing    %d agents lead, the most loaded %.2f times the mean; %.0f ns a pick, all partitions for a client %.0f ms\n",
		r.Routing.Leaders, r.Routing.MostOverMean, r.Routing.PickNanos, r.Routing.ClientMillis)
	for _, a := range r.Answers {
		fmt.Fprintf(&b, "metadata   %d topics: %.2f ms, %.1f KB\n", a.Topics, a.CPUMillis, a.KB)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
