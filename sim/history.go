package sim

import (
	"crypto/sha256"
	"fmt"

	"github.com/bargedata/barge/record"
)

// History is all that a world did that a checker wants to know. Steps are moments: the number of the scheduler's turn.
type History struct {
	Log     []LogCall
	Kafka   KafkaHistory
	Tables  []TableHistory
	Objects []ObjectEvent
	States  []StateSeen
	Starts  StartHistory
	Reads   []StoreRead
	Shared  []Shared
	Groups  GroupHistory
}

// Violation is one promise that was not kept.
type Violation struct {
	Checker string // log, kafka, starts, table, objects, state, stale, unseen, zone, upkeep, coordinators, offsets, membership, stall, or rest: what should come to rest or not fail at all
	Text    string
}

func (v Violation) String() string { return v.Checker + ": " + v.Text }

func text(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func broken(checker, format string, args ...any) Violation {
	return Violation{Checker: checker, Text: fmt.Sprintf(format, args...)}
}

// Digest stands for what a slot holds: term, kind and body.
type Digest [sha256.Size]byte

// LogOp is one of the operations of metadata.Log.
type LogOp int8

// The operations that CheckLog looks at.
const (
	LogTry LogOp = iota // an acquire that has begun
	LogAcquire
	LogAppend
	LogConfirm
	LogRead
)

// LogCall is one call of the fenced log and its answer.
type LogCall struct {
	Op           LogOp
	Agent        int
	Term         uint64
	Seq          uint64 // of an append; the next of an acquire or a confirm
	Holds        Digest // of an append
	Began, Ended int    // steps; Ended is 0 when no answer was heard
	OK           bool
	Fenced       bool      // of an append: refused, since a newer term owns the log
	Slots        []LogSlot // of a read
}

// LogSlot is what a reader was told about one slot.
type LogSlot struct {
	Seq, Term uint64
	Claim     bool
	Holds     Digest
}

// KafkaHistory is what producers and consumers saw.
type KafkaHistory struct {
	Sent   []Sent
	Told   []Told
	Polled []Polled
	Looked []Looked
	AtRest []AtRest
	IDs    []int64 // producer ids handed out, in order
	Final  []FinalLog
}

// Sent is one record batch as its producer made it; every attempt sends the same bytes.
type Sent struct {
	Producer   int // a producer writes to one partition
	Idempotent bool
	Partition  record.Partition
	First      int      // number of its first record among the producer's
	Epoch      int      // its producer's; sequences of one epoch have no hole in the log
	Values     []string // its records as text
	Attempts   int
}

// Outcome is how one attempt to write a batch was answered.
type Outcome int8

// The outcomes.
const (
	Committed  Outcome = iota
	NotWritten         // a promise: this attempt will never be in the log
	Refused            // by the rules of idempotence or because the topic is gone: the same promise
	Unknown            // nothing is promised
)

// Told is an answer an agent gave, heard or not.
type Told struct {
	Sent    int // index in KafkaHistory.Sent
	Step    int
	Base    record.Offset // Committed
	Outcome Outcome
	Unjust  bool // refused though it was the producer's next batch and its topic is there
	Text    string
}

// Seen is one record as a consumer read it.
type Seen struct {
	Offset record.Offset
	Value  string
}

// Polled is one fetch of one partition and its answer.
type Polled struct {
	Consumer, Agent    int
	Began, Step        int  // when it was asked for, and answered
	Heard              bool // the consumer got the answer
	Partition          record.Partition
	From               record.Offset
	LogStart, LogEnd   record.Offset
	Records            []Seen
	OutOfRange, Failed bool // OutOfRange is said only after the log was confirmed
}

// Looked is an answer to ListOffsets: the bounds after a confirmed look at the log.
type Looked struct {
	Client, Agent    int
	Heard            bool // the client got the answer
	Partition        record.Partition
	Began, Ended     int
	LogStart, LogEnd record.Offset
}

// AtRest is what one agent showed of a partition when the faults were over and all had come to rest.
type AtRest struct {
	Agent, Step      int
	Partition        record.Partition
	LogStart, LogEnd record.Offset
}

// FinalLog is a partition read from its start to its end when all was over.
type FinalLog struct {
	Partition        record.Partition
	LogStart, LogEnd record.Offset
	Records          []Seen
}

// TableHistory is one topic's table when all was over, with the versions it went through.
type TableHistory struct {
	Topic    string
	ID       record.TopicID
	Keeps    bool                // it is a table, and so keeps what has left the log
	Moved    []StartMoved        // of its partitions
	Versions []TableVersion      // as they lie in the log, version 0 first
	Files    map[string][]Row    // every file a version or State names, by key
	Pending  []string            // files in State whose add is not projected
	Ends     []record.Offset     // compacted ends by partition
	Logs     map[int32]*FinalLog // the partitions
}

// TableVersion is one version of a Delta table.
type TableVersion struct {
	Version int64
	Files   []string
	Ends    map[int32]record.Offset // progress by partition: exclusive end offsets
}

// Row is one row of a data file.
type Row struct {
	Partition int32
	Offset    record.Offset
	Value     string
}

// ObjectKind says what an ObjectEvent is about.
type ObjectKind int8

// The kinds.
const (
	Rewritten  ObjectKind = iota // a key was written with other bytes
	Referenced                   // a durable entry refers to the key
	Deleted                      // the key is about to go
	LeftOver                     // the key is there when all is over
	Raised                       // the key is a new boundary of the log
)

// ObjectRole is what the newest durable State says of a key.
type ObjectRole int8

// The roles.
const (
	Strange   ObjectRole = iota // unknown to the State
	Live                        // runs, or a live or kept topic's table, refer to it
	Output                      // of a live job
	Released                    // since ReleasedAt
	Dropped                     // of a deleted topic's table
	Slot                        // of the log, a snapshot or a boundary
	TableOnly                   // not in State, but in the newest version of a live table
)

// ObjectEvent is something that happened to an object.
type ObjectEvent struct {
	Kind ObjectKind
	Key  string
	Step int
	Role ObjectRole

	Exists     bool  // Referenced: the object was there
	Age        int64 // Deleted and Released: milliseconds since its release; Slot: since it was written
	Grace      int64 // the least Age
	MayCommit  bool  // Deleted and Strange: its session may still commit it
	Below, Top uint64
	// Deleted and Slot: the number + 1, and below which slots (the boundary) or snapshots (the second newest) may go. Raised: the
	// boundary, and what it may be at most: the second newest snapshot, or the oldest slot with bytes that are still read.
	Late bool // LeftOver: its write landed after it had been given up for lost
}

// StoreRead is bytes that an agent's reader got from the store while nobody failed.
type StoreRead struct {
	At          int64 // world time
	AtEnd       bool  // after all faults, not before them: two times of quiet
	Zone        string
	Agent, Step int
	Key         string
	Pos, Len    int64
}

// Shared is a piece of background work and the agents that take it, when all know of one another.
type Shared struct {
	Work   string
	Step   int
	Agents []int
}

// StateSeen is the digest of a State as of an entry, however it was arrived at.
type StateSeen struct {
	Seq   uint64 // entries below are in it
	Holds Digest
	From  string // how
}
