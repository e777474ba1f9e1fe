package metadata

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/bargedata/barge/record"
)

// View is the read side of the log: State as of the last applied entry, safe for concurrent use. Only durable entries are
// ever applied, so nothing it shows can be taken back. What its methods return is shared and must not be changed.
//
// One goroutine (the sequencer, or a follower) feeds it; readers wait for changes with Watch.
type View struct {
	mu      sync.RWMutex
	state   *State
	watches map[record.Partition][]*Watch
}

// NewView returns a View of the empty log.
func NewView() *View {
	return &View{state: NewState(), watches: map[record.Partition][]*Watch{}}
}

// Apply folds a durable entry in, wakes the watches it concerns and returns the results. An entry that is not the next
// one is ignored and answered nil (State.Apply).
func (v *View) Apply(e Entry) []Result {
	v.mu.Lock()
	defer v.mu.Unlock()
	results := v.state.Apply(e)
	if len(v.watches) > 0 {
		for _, p := range v.state.changed {
			v.wake(p)
		}
	}
	return results
}

// install puts a state that lies further on in the place of the present one, and wakes every watch.
func (v *View) install(s *State) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state = s
	for p := range v.watches {
		v.wake(p)
	}
}

// Freeze copies the state for a checkpoint, while the View goes on: seq is its Applied, and encode, called once and from any
// goroutine, gives the bytes that Log.Checkpoint takes. The copying costs about 150 bytes a partition and 120 a producer.
func (v *View) Freeze() (seq uint64, encode func() []byte) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	frozen := v.state.freeze()
	return frozen.next, frozen.Encode
}

// Applied is the seq of the next entry: everything below is in.
func (v *View) Applied() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.state.next
}

// Term is the term of the last entry, 0 before the first.
func (v *View) Term() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.state.term
}

// EntryTime is the time of the last entry, in milliseconds since the Unix epoch; 0 before the first.
func (v *View) EntryTime() int64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.state.time
}

// Topic finds a live topic by name.
func (v *View) Topic(name string) (Topic, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if t := v.state.names[name]; t != nil {
		return t.Topic, true
	}
	return Topic{}, false
}

// TopicByID finds a live topic by id.
func (v *View) TopicByID(id record.TopicID) (Topic, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if t := v.state.topics[id]; t != nil {
		return t.Topic, true
	}
	return Topic{}, false
}

// Clash finds a live topic of another name that is the same once each '.' is a '_': the first by name. Kafka makes no topic beside
// one that clashes with it.
func (v *View) Clash(name string) (first string, found bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	n := v.state.unified[unified(name)]
	if v.state.names[name] != nil {
		n--
	}
	if n <= 0 {
		return "", false
	}
	for other := range v.state.names { // any order: the first by name is looked for
		if other != name && unified(other) == unified(name) && (!found || other < first) {
			first, found = other, true
		}
	}
	return first, found
}

// Topics returns the live topics by name.
func (v *View) Topics() []Topic {
	v.mu.RLock()
	topics := make([]Topic, 0, len(v.state.topics))
	for _, t := range v.state.topics {
		topics = append(topics, t.Topic)
	}
	v.mu.RUnlock()
	slices.SortFunc(topics, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
	return topics
}

// Tombstones returns the topics that are deleted and not forgotten, by id.
func (v *View) Tombstones() []Topic {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var topics []Topic
	for _, t := range sortedTopics(v.state.tombstones) {
		topics = append(topics, t.Topic)
	}
	return topics
}

// Bounds returns a partition's marks, or ErrUnknownTopic.
func (v *View) Bounds(p record.Partition) (Bounds, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, part := v.state.partition(p)
	if part == nil {
		return Bounds{}, fmt.Errorf("bounds of %s: %w", p, ErrUnknownTopic)
	}
	return part.bounds(), nil
}

// Key reads one key of a key space.
func (v *View) Key(space, key string) (KeyValue, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if k := v.state.spaces[space]; k != nil {
		if i, ok := k.find(key); ok {
			return *k.sorted[i], true
		}
	}
	return KeyValue{}, false
}

// Keys reads the keys of a space that begin with prefix, by key. The values are of one moment.
func (v *View) Keys(space, prefix string) []KeyValue {
	v.mu.RLock()
	defer v.mu.RUnlock()
	found := v.state.spaces[space].prefixed(prefix)
	list := make([]KeyValue, len(found))
	for i, kv := range found {
		list[i] = *kv
	}
	return list
}

// Session is one session as readers see it.
type Session struct {
	ID       SessionID
	Agent    AgentInfo
	OpenedAt int64 // entry time, milliseconds
	Sealed   bool
	SealedAt int64 // entry time, milliseconds; valid when Sealed
	// NextCounter is the lowest counter a new object of the session may have.
	NextCounter uint64
}

// Sessions returns every session, open or sealed, by id.
func (v *View) Sessions() []Session {
	v.mu.RLock()
	defer v.mu.RUnlock()
	list := make([]Session, 0, len(v.state.sessions))
	for _, id := range sortedKeys(v.state.sessions) {
		ss := v.state.sessions[id]
		list = append(list, Session{
			ID: id, Agent: ss.agent, OpenedAt: ss.openedAt, Sealed: ss.sealed, SealedAt: ss.sealedAt, NextCounter: ss.nextCounter,
		})
	}
	return list
}

// SessionSealed reports whether a session that was opened is over: sealed, or sealed and forgotten.
func (v *View) SessionSealed(id SessionID) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	ss := v.state.sessions[id]
	return id <= v.state.lastSession && (ss == nil || ss.sealed)
}

// LastSession is the newest session ever opened, sealed and forgotten ones included; 0 before the first.
func (v *View) LastSession() SessionID {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.state.lastSession
}

// Job is one live claim as readers see it.
type Job struct {
	ID      JobID
	Session SessionID
	Topics  []record.TopicID
	Outputs []string
}

// Jobs returns the live claims by id.
func (v *View) Jobs() []Job {
	v.mu.RLock()
	defer v.mu.RUnlock()
	list := make([]Job, 0, len(v.state.jobs))
	for _, id := range sortedKeys(v.state.jobs) {
		j := v.state.jobs[id]
		list = append(list, Job{ID: id, Session: j.session, Topics: j.topics, Outputs: j.outputs})
	}
	return list
}

// KnowsObject reports whether State knows an object key in any role: referred to by runs, released and not forgotten, a
// file, or an output of a live job. A sweeper must leave such keys alone.
func (v *View) KnowsObject(key string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.state.known(key)
}
