package metadata

import "github.com/bargedata/barge/record"

// Entry is one slot of the log: the commands that one group commit carries, applied in order.
type Entry struct {
	Seq      uint64
	Term     uint64
	Time     int64 // milliseconds since the Unix epoch, never less than in the entry before; the only time State knows
	Commands []Command
}

// Command is one change of State. The concrete types are the structs of this file and no others.
type Command interface{ command() }

// Result is what Apply answers to one command: the ...Result struct that belongs to it. Its Err is nil or one of the
// package's sentinels (wrapped or not).
type Result interface{ result() }

// SessionID numbers the life of one agent process on the log. Never reused; 0 is none.
type SessionID uint64

// AgentInfo is what an agent tells about itself when it opens a session.
type AgentInfo struct {
	Address string // advertised Kafka host:port
	HTTP    string // host:port of the HTTP listener, "" if none
	Zone    string
	Version string
	Roles   []string
	Level   uint32 // highest level the agent understands; 0: it says nothing, and so 1
}

// OpenSession begins a session.
type OpenSession struct{ Agent AgentInfo }

// OpenSessionResult carries the new session's id. Err: ErrLevel (the agent understands less than the log's level).
type OpenSessionResult struct {
	Err     error
	Session SessionID
}

// SealSession ends a session: its later commits are refused. Sealing twice is no error.
type SealSession struct{ Session SessionID }

// SealSessionResult answers SealSession.
type SealSessionResult struct{ Err error }

// ForgetSession says that the objects a sealed session left behind have been swept for the last time: State drops the
// session. Forgetting it again is no error. Its number is never given again, and what it may still try is refused as
// before. Needs level 2.
type ForgetSession struct{ Session SessionID }

// ForgetSessionResult answers ForgetSession. Err: ErrLevel, ErrInvalidCommand (no such session was ever opened),
// ErrStaleInput (it is not sealed).
type ForgetSessionResult struct{ Err error }

// RaiseLevel lets the log use what agents of Level understand. A level never goes down: raising it to what it is, or to
// less, is no error and no change.
type RaiseLevel struct{ Level uint32 }

// RaiseLevelResult answers RaiseLevel. Err: ErrInvalidCommand (an open session understands less).
type RaiseLevelResult struct{ Err error }

// CommitObject gives the batches of one WAL object their offsets. Repeating it (same Session and Counter) returns the
// first result until Settled passes Counter. Commits of one session arrive in counter order.
type CommitObject struct {
	Session SessionID
	Counter uint64
	Settled uint64 // every counter below has been answered and will not be asked for again
	Key     string // of the object; "" with Inline
	Size    record.Len
	Runs    []CommitRun // sorted by partition, each partition once

	// Held names the batches that are not to be judged yet, in order. They are of idempotent producers and come too early; a
	// CommitHeld tells when. The sequencer fills this in, callers leave it empty. Needs level 2.
	Held []HeldBatch

	// Inline holds the object itself where it travels in the log instead of the store: the same bytes as of an object that
	// was uploaded, at most MaxInlineBytes. State keeps where they lie, not the bytes. Needs level 2.
	Inline []byte
	// InlinePos is where Inline begins in the body of the entry. It follows from the entry's encoding and is no part of it:
	// EncodeEntry, DecodeEntry and the Sequencer set it.
	InlinePos record.Pos

	// placed says that the object lies in the entry, inlineLen bytes from InlinePos on, and is left out here
	// (DecodeForFollowers).
	placed    bool
	inlineLen record.Len
}

// inline reports whether the object lies in the entry.
func (c *CommitObject) inline() bool { return c.Inline != nil || c.placed }

// lenInline is how many bytes of the entry the object is.
func (c *CommitObject) lenInline() record.Len {
	if c.placed {
		return c.inlineLen
	}
	return record.Len(len(c.Inline))
}

// HeldBatch names Runs[Run].Batches[Batch] of a CommitObject.
type HeldBatch struct{ Run, Batch int32 }

// CommitRun is the contiguous stretch of one partition's batches in the object.
type CommitRun struct {
	Partition record.Partition
	Pos       record.Pos
	Batches   []CommitBatch
}

// CommitBatch is what order needs to know of one record batch.
type CommitBatch struct {
	Len           record.Len
	Records       int32 // offsets the batch takes: last offset delta + 1
	MaxTimestamp  int64
	ProducerID    int64 // -1: none
	ProducerEpoch int16
	BaseSequence  int32
}

// CommitObjectResult answers CommitObject: Batches[i][j] belongs to Runs[i].Batches[j]. Err is set when the whole object
// was refused: ErrSessionSealed, ErrOutOfOrderCounter (also when MaxUnsettled results wait for Settled), ErrConflict (State
// knows the key already), ErrInvalidCommand, ErrLevel. Batches is kept for repeats: readers must not change it.
type CommitObjectResult struct {
	Err     error
	Batches [][]BatchResult
}

// BatchResult is the fate of one batch. Err nil: it is committed at BaseOffset (a duplicate within the window answers the
// first BaseOffset). Otherwise ErrUnknownTopic, ErrOutOfOrderSequence, ErrInvalidProducerEpoch, and BaseOffset is -1. From a
// Sequencer it may also be ErrSessionSealed: the session was sealed while the batch was held back. ErrHeld: not judged yet.
type BatchResult struct {
	Err            error
	BaseOffset     record.Offset
	LogStartOffset record.Offset
	Duplicate      bool
}

// CommitHeld judges batches that a CommitObject held back, in the order of Held, and gives them their offsets as if they came
// now. The object stays referred to until then. Without it they are judged when the CommitObject is repeated, and dropped when
// the session is sealed or Settled passes Counter. Judging them twice is no error and no change. Needs level 2.
//
// It is answered with a CommitObjectResult: that of the whole object, as it is by now. Err: ErrSessionSealed,
// ErrOutOfOrderCounter (nothing is kept under that counter), ErrLevel.
type CommitHeld struct {
	Session SessionID
	Counter uint64
	Batches []HeldBatch
}

// AllocateProducerIDs hands out Count consecutive producer ids.
type AllocateProducerIDs struct{ Count int32 }

// AllocateProducerIDsResult carries the first of the ids.
type AllocateProducerIDsResult struct {
	Err   error
	First int64
}

// CreateTopic makes a topic. ID comes from the caller (random), so that Apply stays deterministic. Configs are validated
// by ValidateConfigs before; Apply stores them as they are.
type CreateTopic struct {
	ID         record.TopicID
	Name       string
	Partitions int32
	Configs    map[string]string // only those set explicitly
}

// CreateTopicResult carries the topic. Err: ErrTopicExists (Topic is then the one that exists), ErrInvalidTopic.
type CreateTopicResult struct {
	Err   error
	Topic Topic
}

// DeleteTopic removes a topic incarnation: it is gone from reads at once, its objects are swept later.
type DeleteTopic struct{ ID record.TopicID }

// DeleteTopicResult answers DeleteTopic. Err: ErrUnknownTopic.
type DeleteTopicResult struct{ Err error }

// AlterTopicConfigs changes what a topic sets explicitly: To takes the place of From. It is a compare-and-set by value, so that
// whoever worked To out of what has changed meanwhile hears of it and works it out again (ChangeConfigs). The caller has
// validated To; Apply stores it as it is. Needs level 4.
type AlterTopicConfigs struct {
	ID       record.TopicID
	From, To map[string]string
}

// AlterTopicConfigsResult carries the topic as it is now, also with ErrConflict. Err: ErrUnknownTopic, ErrConflict (the topic
// does not set From), ErrLevel.
type AlterTopicConfigsResult struct {
	Err   error
	Topic Topic
}

// CreatePartitions gives a topic so many partitions in all. Records stay where they are, the new partitions are empty. A
// topic never shrinks. Needs level 4.
type CreatePartitions struct {
	ID         record.TopicID
	Partitions int32
}

// CreatePartitionsResult carries the topic as it is now, also with ErrInvalidPartitions. Err: ErrUnknownTopic,
// ErrInvalidPartitions (the topic has as many or more, or MaxPartitions is exceeded), ErrLevel.
type CreatePartitionsResult struct {
	Err   error
	Topic Topic
}

// SetKeys is a multi-key compare-and-set in one opaque key space: all operations take effect or none.
type SetKeys struct {
	Space string
	Ops   []KeyOp
}

// KeyOp is one key's part of SetKeys. The version of a key is the number of the SetKeys command that last wrote it: never
// 0, higher with every write, and different for two commands of one entry, so that no write hides from a later Check.
type KeyOp struct {
	Key    string
	Check  bool   // compare Expect first
	Expect uint64 // 0: the key must not exist
	Write  bool   // false: check only
	Delete bool   // with Write: remove the key
	Value  []byte
}

// SetKeysResult carries the version the written keys now have, 0 when nothing was written. Err: ErrConflict (ConflictKey
// says where).
type SetKeysResult struct {
	Err         error
	Version     uint64
	ConflictKey string
}

// JobID numbers a claimed background job. Never reused.
type JobID uint64

// ClaimJob records that a session starts a job which will write objects under the named keys, so that a dead job's files
// can be swept. A topic is in at most one live compaction claim.
type ClaimJob struct {
	Session SessionID
	Topics  []record.TopicID
	Outputs []string
}

// ClaimJobResult carries the job's id. Err: ErrTopicClaimed, ErrUnknownTopic, ErrSessionSealed, ErrConflict (State knows
// one of the output keys already).
type ClaimJobResult struct {
	Err error
	Job JobID
}

// ReleaseJob gives a claim up without effect. Its outputs become released objects, and so are swept like WAL objects.
type ReleaseJob struct{ Job JobID }

// ReleaseJobResult answers ReleaseJob. Releasing an unknown job is no error.
type ReleaseJobResult struct{ Err error }

// Replace is the moment of truth of a compaction: runs leave, files enter, table commits are pending. All or nothing.
// Refused when the claim is stale or a part does not start at its partition's compacted end, or does not end at the end
// of a run, or a file's topic is gone. WAL objects no run refers to any more become released, with the entry's time, and so
// do outputs of the claim that nothing names. The claim ends. From level 3 on runs move without a claim of their topic, and one
// that is not there any more, or has moved before, is left out; ErrStaleInput when nothing else is left to do.
type Replace struct {
	Job   JobID
	Files []NewFile
	Moved *MovedObject // nil: none. Needs level 2
}

// MovedObject is a WAL object that takes over runs of others: regrouped by topic, or copied out of the log. Its runs keep
// the age of what they replace, and lie after the files of the same Replace.
type MovedObject struct {
	Key  string // one of the claim's outputs
	Size record.Len
	Runs []MovedRun // at least one; sorted by partition and offset, not overlapping
}

// MovedRun takes the place of the runs that cover exactly [Base, End) of its partition: whole runs, one after another. Its
// bytes are theirs, in their order.
type MovedRun struct {
	Partition    record.Partition
	Base, End    record.Offset
	Pos          record.Pos // in the moved object
	Len          record.Len
	MaxTimestamp int64 // milliseconds
}

// NewFile is one Parquet file of one topic.
type NewFile struct {
	Topic record.TopicID
	Key   string
	Size  record.Len
	Rows  int64
	Parts []FilePart // sorted by partition, each partition once
	Add   []byte     // Delta "add" action as JSON (at most 4 KiB), nil for a topic without a table
}

// FilePart is the stretch of one partition's log that a file holds: all offsets in [Base, End) that still exist.
type FilePart struct {
	Partition    int32
	Base, End    record.Offset
	RowGroup     int32 // first row group of the part
	RowGroups    int32 // how many follow one another
	Rows         int64
	MaxTimestamp int64 // milliseconds
}

// ReplaceResult answers Replace. Err: ErrStaleClaim, ErrStaleInput, ErrUnknownTopic, ErrLevel, ErrInvalidCommand (parts or moved
// runs out of order, a moved run of another length than what it replaces or outside its object, a key that the claim does
// not name, an Add over MaxAddBytes).
type ReplaceResult struct{ Err error }

// Projected records that the Delta log of a topic holds Version, folded up to and including log entry UpTo: pending
// adds of entries <= UpTo leave State.
type Projected struct {
	Topic   record.TopicID
	Version int64
	UpTo    uint64
}

// ProjectedResult answers Projected. Err: ErrUnknownTopic, ErrStaleInput (a version went backwards).
type ProjectedResult struct{ Err error }

// ForgetObjects says that released objects have been deleted from the store: State drops them. Keys that are not
// released are refused as a whole with ErrStaleInput.
type ForgetObjects struct{ Keys []string }

// ForgetObjectsResult answers ForgetObjects.
type ForgetObjectsResult struct{ Err error }

// ForgetTopic says that everything a deleted topic left in the store is gone: its tombstone and its table path are free.
// The path of a table that outlives its topic (barge.table.on.delete=keep) is never free again.
type ForgetTopic struct{ ID record.TopicID }

// ForgetTopicResult answers ForgetTopic. Err: ErrUnknownTopic (no such tombstone), ErrStaleInput (a kept table still has
// adds to project).
type ForgetTopicResult struct{ Err error }

func (OpenSession) command()         {}
func (SealSession) command()         {}
func (ForgetSession) command()       {}
func (RaiseLevel) command()          {}
func (CommitObject) command()        {}
func (CommitHeld) command()          {}
func (AllocateProducerIDs) command() {}
func (CreateTopic) command()         {}
func (DeleteTopic) command()         {}
func (AlterTopicConfigs) command()   {}
func (CreatePartitions) command()    {}
func (SetKeys) command()             {}
func (ClaimJob) command()            {}
func (ReleaseJob) command()          {}
func (Replace) command()             {}
func (Projected) command()           {}
func (ForgetObjects) command()       {}
func (ForgetTopic) command()         {}

func (OpenSessionResult) result()         {}
func (SealSessionResult) result()         {}
func (ForgetSessionResult) result()       {}
func (RaiseLevelResult) result()          {}
func (CommitObjectResult) result()        {}
func (AllocateProducerIDsResult) result() {}
func (CreateTopicResult) result()         {}
func (DeleteTopicResult) result()         {}
func (AlterTopicConfigsResult) result()   {}
func (CreatePartitionsResult) result()    {}
func (SetKeysResult) result()             {}
func (ClaimJobResult) result()            {}
func (ReleaseJobResult) result()          {}
func (ReplaceResult) result()             {}
func (ProjectedResult) result()           {}
func (ForgetObjectsResult) result()       {}
func (ForgetTopicResult) result()         {}
