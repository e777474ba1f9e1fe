package metadata

import (
	"cmp"
	"maps"
	"slices"

	"github.com/bargedata/barge/record"
)

// State is everything the log says, folded up to an entry. Apply is its only writer: pure (no clock, no chance, no I/O),
// deterministic (equal logs give states that encode to equal bytes, invariant I9) and total (a command that makes no
// sense is answered with an error and changes nothing). Not safe for concurrent use: View adds that.
//
// Slices inside are appended to and cut from the front but never overwritten, so that freeze can share them.
type State struct {
	shard uint32
	next  uint64 // seq of the entry to apply next
	term  uint64 // of the last entry
	time  int64  // of the last entry, milliseconds
	level uint32 // what the log may use; every open session understands it

	topics     map[record.TopicID]*topicState // live
	names      map[string]*topicState         // live, by name
	tombstones map[record.TopicID]*topicState // deleted, not forgotten
	usedDirs   map[string]struct{}            // plain table paths of forgotten topics, never given again

	sessions    map[SessionID]*session
	lastSession SessionID
	jobs        map[JobID]*job
	lastJob     JobID

	objects    map[uint64]*object // WAL objects that runs refer to
	lastObject uint64
	released   []ReleasedObject    // by time of release
	keys       map[string]struct{} // every object key known in any role: referred to, released, file, output of a live job

	spaces         map[string]*keySpace
	lastKeyVersion uint64
	nextProducerID int64

	// Derived, not encoded.
	withRuns map[record.TopicID]*topicState // live topics that have runs
	withAdds map[record.TopicID]*topicState // topics, live or deleted, that have adds to project
	inline   objectList                     // the objects that lie in entries
	raw      objectList                     // the objects that are not sorted, these among them
	rawBytes record.Len                     // of raw
	unified  map[string]int                 // how many live topics have a name that is this one once each '.' is a '_'
	changed  []record.Partition             // whose end or existence the last Apply changed
}

// Bounds on what one command may bring. Apply answers ErrInvalidCommand (or the error named) beyond them.
const (
	MaxPartitions  = 100_000 // of one topic; ErrInvalidPartitions
	MaxAddBytes    = 4 << 10 // of one Delta add action
	MaxUnsettled   = 1024    // results kept for one session; ErrOutOfOrderCounter
	MaxJobOutputs  = 100_000
	MaxInlineBytes = 1 << 20 // of objects in one entry together
	firstProducer  = 1       // so that a forgotten field does not look like somebody's id
	maxObjectBytes = 1 << 40
)

// shardOf tells which metadata shard orders a partition. There is one to begin with; commands and object keys already
// say so, and a State answers for its own shard only.
func shardOf(record.TopicID, int32) uint32 { return 0 }

// NewState returns the state before the first entry.
func NewState() *State {
	return &State{
		level:          1,
		topics:         map[record.TopicID]*topicState{},
		names:          map[string]*topicState{},
		tombstones:     map[record.TopicID]*topicState{},
		usedDirs:       map[string]struct{}{},
		sessions:       map[SessionID]*session{},
		jobs:           map[JobID]*job{},
		objects:        map[uint64]*object{},
		keys:           map[string]struct{}{},
		spaces:         map[string]*keySpace{},
		nextProducerID: firstProducer,
		withRuns:       map[record.TopicID]*topicState{},
		withAdds:       map[record.TopicID]*topicState{},
		unified:        map[string]int{},
	}
}

// Next is the seq of the entry that State expects: everything below has been applied.
func (s *State) Next() uint64 { return s.next }

// Apply folds e into the state and returns one result a command, in order. e.Seq must be Next: any other entry is
// ignored and answered nil. Slices and maps of the commands are kept, the caller must not change them afterwards.
func (s *State) Apply(e Entry) []Result {
	s.changed = s.changed[:0]
	if e.Seq != s.next {
		return nil
	}
	s.next++
	s.term = max(s.term, e.Term)
	s.time = max(s.time, e.Time)
	if len(e.Commands) == 0 {
		return nil
	}
	results := make([]Result, len(e.Commands))
	for i, c := range e.Commands {
		results[i] = s.apply(c)
	}
	return results
}

func (s *State) apply(c Command) Result {
	switch c := c.(type) {
	case CommitObject:
		return s.commitObject(c)
	case CommitHeld:
		return s.commitHeld(c)
	case OpenSession:
		return s.openSession(c)
	case SealSession:
		return s.sealSession(c)
	case ForgetSession:
		return s.forgetSession(c)
	case RaiseLevel:
		return s.raiseLevel(c)
	case AllocateProducerIDs:
		return s.allocateProducerIDs(c)
	case CreateTopic:
		return s.createTopic(c)
	case DeleteTopic:
		return s.deleteTopic(c)
	case AlterTopicConfigs:
		return s.alterTopicConfigs(c)
	case CreatePartitions:
		return s.createPartitions(c)
	case ForgetTopic:
		return s.forgetTopic(c)
	case DeleteRecords:
		return s.deleteRecords(c)
	case ApplyRetention:
		return s.applyRetention(c)
	case SetKeys:
		return s.setKeys(c)
	case ClaimJob:
		return s.claimJob(c)
	case ReleaseJob:
		return s.releaseJob(c)
	case Replace:
		return s.replace(c)
	case Projected:
		return s.projected(c)
	case ForgetObjects:
		return s.forgetObjects(c)
	}
	return nil // Command is sealed: only nil gets here
}

func (s *State) allocateProducerIDs(c AllocateProducerIDs) Result {
	if c.Count < 1 || s.nextProducerID > 1<<62 {
		return AllocateProducerIDsResult{Err: ErrInvalidCommand, First: -1}
	}
	first := s.nextProducerID
	s.nextProducerID += int64(c.Count)
	return AllocateProducerIDsResult{First: first}
}

// partition finds a live partition of this shard, nil if there is none.
func (s *State) partition(p record.Partition) (*topicState, *partition) {
	t := s.topics[p.Topic]
	if t == nil || p.Index < 0 || int(p.Index) >= len(t.parts) || shardOf(p.Topic, p.Index) != s.shard {
		return nil, nil
	}
	return t, &t.parts[p.Index]
}

// sortedKeys is how a map may be walked where order can reach the state.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func sortedTopics(m map[record.TopicID]*topicState) []*topicState {
	return slices.SortedFunc(maps.Values(m), func(a, b *topicState) int { return compareTopics(a.ID, b.ID) })
}

func compareTopics(a, b record.TopicID) int {
	return record.Partition{Topic: a}.Compare(record.Partition{Topic: b})
}
