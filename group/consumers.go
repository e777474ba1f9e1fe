package group

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/bargedata/barge/record"
)

// Epochs with a meaning of their own in a heartbeat (KIP-848).
const (
	joinEpoch        = 0
	leaveEpoch       = -1
	staticLeaveEpoch = -2 // a static member leaves and will come back
)

// progress is where a member stands on its way to its target.
type progress uint8

// The ways a member can stand, Kafka's names in parentheses.
const (
	settled  progress = iota // has what it was last to have (STABLE)
	revoking                 // has to give partitions up before it goes on (UNREVOKED_PARTITIONS)
	waiting                  // partitions it is to have are still with others (UNRELEASED_PARTITIONS)
)

// consumer is one member of a group of the consumer protocol.
type consumer struct {
	id, instance, rack string // instance "": not static
	clientID, host     string
	rebalance          time.Duration
	names              []string // subscribed by name; sorted, distinct
	pattern            string   // subscribed by regular expression; "": none
	assignor           string   // "": whichever

	epoch, previous int32
	progress        progress
	assigned        map[record.Partition]int32 // with the epoch in which the member got each
	giveUp          []record.Partition         // sorted; what it must stop reading, still its own
	target          []record.Partition         // sorted; what it is to have

	order    uint64    // of its first heartbeat
	changed  uint64    // the revision with its last change: no answer before that one is durable
	deadline time.Time // of the session
	revokeBy time.Time // while revoking
}

// ConsumerState is one group of the consumer protocol (KIP-848): members say in heartbeats what they subscribe to and own, the group
// decides who is to have what, and each member walks to its target on its own: it gives up what it is not to have, then takes
// what it is to have as others give that up. Like State it is pure: Step takes an event and the time, and a member is told
// nothing that is not durable. Not safe for concurrent use.
type ConsumerState struct {
	cfg  Config
	name string

	epoch       int32  // goes up with every change of members, subscriptions or topics
	targetEpoch int32  // the epoch that the members' targets are for
	topicsHash  uint64 // of the topics subscribed to, as of epoch
	members     map[string]*consumer
	static      map[string]string           // instance -> member id
	owners      map[record.Partition]string // who has a partition, or has yet to give it up -> member id
	subscribed  map[string]int              // topic name -> how many members name it
	expressions map[string]*expression
	topics      *TopicSet // last seen; nil: none yet
	bytes       int       // sum of the members'
	order       uint64

	wake       time.Time // no deadline lies before; zero: there is none
	retryAt    time.Time // a save failed: ask for another one then; zero: none is due
	emptySince time.Time

	revision uint64 // of the newest change
	asked    uint64 // up to which a save was asked for
	saved    uint64 // up to which all is durable
	held     []heldReply
}

// NewConsumerState returns an empty group. Its first epoch is the one after round, 0 for a group that is new.
func NewConsumerState(name string, cfg Config, round int32, now time.Time) *ConsumerState {
	return &ConsumerState{
		cfg: cfg, name: name, epoch: round, targetEpoch: round, emptySince: now,
		members: map[string]*consumer{}, static: map[string]string{}, owners: map[record.Partition]string{},
		subscribed: map[string]int{}, expressions: map[string]*expression{},
	}
}

// Idle reports that the group has no members.
func (s *ConsumerState) Idle() bool { return len(s.members) == 0 }

// EmptySince returns when the group last became empty; it means something while it is Idle.
func (s *ConsumerState) EmptySince() time.Time { return s.emptySince }

// Wake returns when Step wants a Tick at the latest, or zero. It may be too early, never too late.
func (s *ConsumerState) Wake() time.Time { return s.wake }

func (s *ConsumerState) atRest() bool { return len(s.held) == 0 }
func (s *ConsumerState) round() int32 { return s.epoch }

// phase is Kafka's name of the state.
func (s *ConsumerState) phase() string {
	switch {
	case len(s.members) == 0:
		return "Empty"
	case s.epoch > s.targetEpoch:
		return "Assigning"
	}
	for _, m := range s.members {
		if m.progress != settled || m.epoch != s.targetEpoch {
			return "Reconciling"
		}
	}
	return "Stable"
}

// Step folds one event into the group at time now and says what is to be done. It never blocks and reads nothing but its
// arguments; now must not go back.
func (s *ConsumerState) Step(ev Event, now time.Time) Output {
	var out Output
	switch ev := ev.(type) {
	case Beat:
		s.beat(ev, now, &out)
	case Saved:
		s.durable(ev, now, &out)
		return out
	case Abandon:
		s.held = slices.DeleteFunc(s.held, func(h heldReply) bool { return h.reply.Ticket == ev.Ticket })
	case Tick:
		s.tick(now)
	case Join:
		out.reply(Reply{Ticket: ev.Ticket, Code: codeInconsistentProtocol, MemberID: ev.MemberID, Generation: -1})
	case Sync:
		out.refuse(ev.Ticket, codeUnknownMemberID)
	case Heartbeat:
		out.refuse(ev.Ticket, codeUnknownMemberID)
	case Leave:
		r := Reply{Ticket: ev.Ticket}
		for range ev.Members {
			r.Left = append(r.Left, codeUnknownMemberID)
		}
		out.reply(r)
	}
	if s.revision > s.asked {
		s.asked, s.retryAt, out.Save = s.revision, time.Time{}, true
	}
	return out
}

// durable answers what waited for a save. After a failure nobody is told anything; the next heartbeat, or a Tick when there is
// none, asks for another save.
func (s *ConsumerState) durable(ev Saved, now time.Time, out *Output) {
	if ev.Code == codeNone {
		s.saved = max(s.saved, ev.Revision)
	} else {
		s.asked = s.saved
		s.retryAt = now.Add(time.Second)
		s.wakeBy(s.retryAt)
	}
	for len(s.held) > 0 && s.held[0].rev <= ev.Revision {
		r := s.held[0].reply
		s.held = s.held[1:]
		if ev.Code != codeNone {
			r = Reply{Ticket: r.Ticket, Code: ev.Code, Generation: -1}
		}
		out.reply(r)
	}
}

// tick takes out members whose time is over and finds the next deadline.
func (s *ConsumerState) tick(now time.Time) {
	for _, m := range s.sorted() {
		late := m.progress == revoking && !now.Before(m.revokeBy)
		if late || !now.Before(m.deadline) {
			s.remove(m, now)
		}
	}
	s.wake = s.retryAt
	for _, m := range s.members {
		s.wakeBy(m.deadline)
		if m.progress == revoking {
			s.wakeBy(m.revokeBy)
		}
	}
}

// remove takes m out. The others get its partitions with the next heartbeat of anybody.
func (s *ConsumerState) remove(m *consumer, now time.Time) {
	s.disown(m)
	s.setNames(m, nil)
	s.setPattern(m, "", nil)
	delete(s.members, m.id)
	if m.instance != "" && s.static[m.instance] == m.id {
		delete(s.static, m.instance)
	}
	s.epoch++
	s.topicsHash = s.hashTopics()
	s.revision++
	if len(s.members) == 0 {
		s.emptySince = now
	}
}

// disown frees every partition of m.
func (s *ConsumerState) disown(m *consumer) {
	for p := range m.assigned {
		delete(s.owners, p)
	}
	for _, p := range m.giveUp {
		delete(s.owners, p)
	}
}

// mark notes a change of m, which has to be durable before m is answered.
func (s *ConsumerState) mark(m *consumer) {
	s.revision++
	m.changed = s.revision
}

func (s *ConsumerState) wakeBy(t time.Time) {
	if !t.IsZero() && (s.wake.IsZero() || t.Before(s.wake)) {
		s.wake = t
	}
}

// sorted returns the members in the order in which they came.
func (s *ConsumerState) sorted() []*consumer {
	out := make([]*consumer, 0, len(s.members))
	for _, m := range s.members {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *consumer) int { return cmp.Compare(a.order, b.order) })
	return out
}

// setNames gives m its subscription by names (sorted, distinct) and keeps the counts right.
func (s *ConsumerState) setNames(m *consumer, names []string) {
	for _, name := range m.names {
		s.bytes -= len(name)
		if s.subscribed[name]--; s.subscribed[name] == 0 {
			delete(s.subscribed, name)
		}
	}
	for _, name := range names {
		s.bytes += len(name)
		s.subscribed[name]++
	}
	m.names = names
}

// setPattern gives m its regular expression; e is what it compiles to, used when no other member has the same one.
func (s *ConsumerState) setPattern(m *consumer, pattern string, e *expression) {
	if old := s.expressions[m.pattern]; old != nil && m.pattern != pattern {
		s.bytes -= len(m.pattern)
		if old.members--; old.members == 0 {
			delete(s.expressions, m.pattern)
		}
	}
	if pattern != "" && m.pattern != pattern {
		s.bytes += len(pattern)
		if s.expressions[pattern] == nil {
			s.expressions[pattern] = e
			if s.topics != nil {
				e.match(s.topics)
			}
		}
		s.expressions[pattern].members++
	}
	m.pattern = pattern
}

// see takes over what topics there are and reports whether they differ from those seen before.
func (s *ConsumerState) see(topics *TopicSet) bool {
	if topics == nil || topics == s.topics {
		return false
	}
	s.topics = topics
	for _, e := range s.expressions {
		e.match(topics)
	}
	return true
}

// topicNames returns every topic that somebody subscribes to and that exists, sorted.
func (s *ConsumerState) topicNames() []string {
	all := map[string]bool{}
	for name := range s.subscribed {
		all[name] = true
	}
	for _, e := range s.expressions {
		for _, name := range e.matches {
			all[name] = true
		}
	}
	var out []string
	for name := range all {
		if _, ok := s.topics.byName[name]; ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// hashTopics is a fingerprint of the topics subscribed to: it differs when a target may have to. 0 before topics were seen.
func (s *ConsumerState) hashTopics() uint64 {
	if s.topics == nil {
		return 0
	}
	h := fnv.New64a()
	for _, name := range s.topicNames() {
		shape := s.topics.byName[name]
		_, _ = h.Write(append(append([]byte(name), 0), shape.id[:]...)) // a hash's Write does not fail
		n := shape.partitions
		_, _ = h.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	return h.Sum64()
}

// topicsOf returns the existing topics of m's subscription, sorted.
func (s *ConsumerState) topicsOf(m *consumer) []string {
	var out []string
	for _, name := range m.names {
		if _, ok := s.topics.byName[name]; ok {
			out = append(out, name)
		}
	}
	if e := s.expressions[m.pattern]; e != nil {
		out = append(out, e.matches...)
		slices.Sort(out)
		out = slices.Compact(out)
	}
	return out
}

// preferred is the assignor that most members name, by Kafka's order where equally many do.
func (s *ConsumerState) preferred() string {
	votes := map[string]int{}
	for _, m := range s.members {
		votes[m.assignor]++
	}
	best := ""
	for _, name := range assignors() {
		if votes[name] > votes[best] || best == "" && votes[name] > 0 {
			best = name
		}
	}
	if best == "" {
		return assignors()[0]
	}
	return best
}

// retarget decides anew who is to have what.
func (s *ConsumerState) retarget() {
	all := make([]subscriber, 0, len(s.members))
	for _, m := range s.sorted() {
		all = append(all, subscriber{id: m.id, instance: m.instance, topics: s.topicsOf(m), had: m.target})
	}
	for id, parts := range assign(s.preferred(), all, s.topics) {
		s.members[id].target = parts
	}
	s.targetEpoch = s.epoch
	s.revision++
}

// distinctNames returns the names sorted, each once.
func distinctNames(names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, strings.Clone(name))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
