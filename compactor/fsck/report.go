package fsck

import (
	"fmt"
	"strings"

	"github.com/bargedata/barge/record"
)

// Severity says how bad a finding is.
type Severity string

// The severities. Both make a store unclean.
const (
	Error   Severity = "error"   // something is lost, unreadable, or wrong; or will be when it is needed
	Warning Severity = "warning" // nothing is lost: something is there that should not be, or a spare is damaged
)

// Kind names what is wrong; programs may compare it. The kinds stand in docs/fsck.md.
type Kind string

// The kinds of findings.
const (
	ClusterFile      Kind = "cluster-file"       // cluster.json is missing, damaged or of another cluster
	LogUnusable      Kind = "log-unusable"       // no agent could start from this log
	LogSlot          Kind = "log-slot"           // a slot is missing, damaged, or out of the chain
	LogSnapshot      Kind = "log-snapshot"       // a snapshot is damaged
	LogSnapshotState Kind = "log-snapshot-state" // a snapshot is not the state that the entries give
	LogOlder         Kind = "log-older"          // the store holds what a later state of the log must have known
	ObjectMissing    Kind = "object-missing"     // a WAL object that runs lie in
	ObjectDamaged    Kind = "object-damaged"     // likewise: size, CRC, foreign
	RunMismatch      Kind = "run-mismatch"       // the object is whole, but does not hold what the log says of a run
	FileMissing      Kind = "file-missing"       // a Parquet file
	FileDamaged      Kind = "file-damaged"       // likewise
	FileMismatch     Kind = "file-mismatch"      // whole, but its rows are not what the log says
	OffsetGap        Kind = "offset-gap"         // no file and no run covers a stretch of a partition
	OffsetTwice      Kind = "offset-twice"       // two files or runs cover it
	TableMissing     Kind = "table-missing"      // the log has projected versions, the store has no _delta_log
	TableVersion     Kind = "table-version"      // a version is missing or damaged
	TableCheckpoint  Kind = "table-checkpoint"   // a checkpoint is damaged or differs from its versions
	TableHint        Kind = "table-hint"         // _last_checkpoint is missing or wrong
	TableFiles       Kind = "table-files"        // files of the table are not those of the log
	TableProgress    Kind = "table-progress"     // the table's txns are not the ends of what it holds
	TableUnsettled   Kind = "table-not-checked"  // the table changed faster than it could be read
	Orphan           Kind = "orphan"             // an object that nothing refers to, nor ever will
	Unknown          Kind = "unknown-object"     // an object that no part of Barge writes, or that only a human can judge
	NotChecked       Kind = "not-checked"        // something else keeps this from being judged
)

// Finding is one thing that is wrong.
type Finding struct {
	Severity Severity `json:"severity"`
	Kind     Kind     `json:"kind"`
	Key      string   `json:"key"`
	// Topic, Partition, Base and End name what is lost or in doubt: offsets [Base, End).
	Topic     string         `json:"topic,omitempty"`
	Partition *int32         `json:"partition,omitempty"`
	Base      *record.Offset `json:"base_offset,omitempty"`
	End       *record.Offset `json:"end_offset,omitempty"`
	Bytes     int64          `json:"bytes,omitempty"`
	What      string         `json:"what"`
	Do        string         `json:"do"`
	Repair    bool           `json:"repairable"` // Repair can mend it

	fix fix
}

// id tells findings apart over two looks at the same thing.
func (f *Finding) id() string {
	s := string(f.Kind) + "\x00" + f.Key + "\x00" + f.Topic
	if f.Partition != nil {
		s += fmt.Sprint("\x00", *f.Partition)
	}
	if f.Base != nil {
		s += fmt.Sprint("\x00", *f.Base)
	}
	return s
}

// String is the finding in one line.
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: %s", f.Severity, f.Key, f.What)
	if f.Partition != nil {
		fmt.Fprintf(&b, " (topic %s, partition %d", f.Topic, *f.Partition)
		if f.Base != nil && f.End != nil {
			fmt.Fprintf(&b, ", offsets %d to %d", *f.Base, *f.End-1)
		}
		b.WriteByte(')')
	} else if f.Topic != "" && !strings.Contains(f.Key, f.Topic) {
		fmt.Fprintf(&b, " (topic %s)", f.Topic)
	}
	b.WriteString(": ")
	b.WriteString(f.Do)
	return b.String()
}

// at fills in where in the log of a topic the finding lies.
func (f Finding) at(topic string, partition int32, base, end record.Offset) Finding {
	f.Topic, f.Partition, f.Base, f.End = topic, &partition, &base, &end
	return f
}

// Count is a number of objects and their bytes.
type Count struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (c *Count) add(size int64) {
	c.Objects++
	c.Bytes += size
}

// Counts says what a check went through.
type Counts struct {
	Listed    Count `json:"listed"`  // all objects of the store
	Log       Count `json:"log"`     // under meta/
	Objects   Count `json:"objects"` // WAL objects that runs lie in
	Inline    Count `json:"inline"`  // WAL objects inside log entries
	Files     Count `json:"files"`   // Parquet files of the log or of a table
	TableLogs Count `json:"table_logs"`
	// Waiting objects are explained and go by themselves: released ones in their grace, outputs of live jobs, uploads of open sessions that
	// may still be committed, what the next sweep, truncation or checkpoint takes, tables of topics being deleted.
	Waiting Count `json:"waiting"`

	Slots       int64 `json:"slots"`
	Snapshots   int64 `json:"snapshots"`
	Topics      int64 `json:"topics"`
	Partitions  int64 `json:"partitions"`
	Runs        int64 `json:"runs"`
	Batches     int64 `json:"batches"` // 0 without Full, like Rows
	Rows        int64 `json:"rows"`
	Tables      int64 `json:"tables"`
	Versions    int64 `json:"versions"`
	Checkpoints int64 `json:"checkpoints"`
}

// Report is what a check found.
type Report struct {
	Cluster string `json:"cluster"`
	// Next is the end of the log that the references were judged by.
	Next     uint64    `json:"log_end"`
	Full     bool      `json:"full"`
	Counts   Counts    `json:"counts"`
	Findings []Finding `json:"findings"`
	// Left is how many findings beyond MaxFindings are not listed.
	Left int64 `json:"findings_left_out"`
	// Repaired says what Repair did, one line each, and Refused what it tried in vain.
	Repaired []string `json:"repaired,omitempty"`
	Refused  []string `json:"refused,omitempty"`
}

// Clean reports whether nothing is wrong.
func (r *Report) Clean() bool { return len(r.Findings) == 0 }
