package metadata

import "github.com/bargedata/barge/record"

// Bounds are the three marks of a partition: LogStart <= LastStable <= HighWatermark (invariant I5). HighWatermark is the
// next offset to be given. None retreats.
type Bounds struct {
	LogStart, LastStable, HighWatermark record.Offset
}

// Run is one stretch of a partition's log inside one WAL object: batches in order, byte-identical to the wire. Offsets
// of the batches follow from Base by adding each batch's last offset delta + 1.
type Run struct {
	Base, End    record.Offset // [Base, End)
	Key          string        // of the WAL object; InlineKey of one that lies in a log entry
	ObjectSize   record.Len
	Pos          record.Pos
	Len          record.Len
	MaxTimestamp int64 // milliseconds
	CommittedAt  int64 // entry time, milliseconds; a moved run keeps that of the oldest run it took the place of
	Inline       bool  // the object lies in a log entry
	Sorted       bool  // the object is a MovedObject: its runs lie together by topic
}

// File is one Parquet file as the log knows it.
type File struct {
	Topic record.TopicID
	Key   string
	Size  record.Len
	Rows  int64
	Parts []FilePart
}

// Slice is one piece of the answer to "where do records from this offset on lie". Exactly one of Run and File is set.
type Slice struct {
	Base, End record.Offset // [Base, End)
	Run       *Run
	File      *File
	Part      FilePart // with File: the part of this partition
}

// Location answers View.Locate: consecutive slices, the first containing the offset asked for (or starting after it,
// where a gap precedes), none when the offset is the high watermark.
type Location struct {
	Bounds
	Slices []Slice
}

// KeyValue is one key of an opaque key space. Value is shared and must not be changed.
type KeyValue struct {
	Key     string
	Value   []byte
	Version uint64
}

// PendingTopic is what the compaction planner sees of one topic that has runs: everything after the compacted ends.
// Bytes and Oldest are over all of them, whether or not Partitions is filled.
type PendingTopic struct {
	Topic      Topic
	Claimed    bool // a live job has it
	Bytes      record.Len
	Oldest     int64              // smallest CommittedAt of the runs, milliseconds
	Partitions []PendingPartition // those that have runs, by index; nil from View.Pending
}

// PendingPartition is one partition's runs, in offset order. They start at its compacted end, or the first one reaches over it: what lies
// below was deleted, and enters no file.
type PendingPartition struct {
	Index        int32
	CompactedEnd record.Offset
	Runs         []Run
}

// PendingAdd is a file whose Delta add is not projected yet.
type PendingAdd struct {
	Seq  uint64 // log entry that brought the file
	File File
	Add  []byte
}

// PendingTable is what the committer of a table sees.
type PendingTable struct {
	Topic   Topic
	Version int64 // last projected, -1 before the first
	Adds    []PendingAdd
}

// ReleasedObject is an object that no run or file refers to any more.
type ReleasedObject struct {
	Key        string
	ReleasedAt int64 // entry time, milliseconds
}
