package group

import (
	"cmp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Phase is where a group stands between two generations.
type Phase int8

// The phases of a group, by Kafka's names.
const (
	Empty               Phase = iota // no members; offsets may exist
	PreparingRebalance               // members are asked to join; Join waits
	CompletingRebalance              // a generation is out; Sync waits for the leader's assignment and for its save
	Stable                           // every member may have its assignment
)

// String is Kafka's name of the phase.
func (p Phase) String() string {
	switch p {
	case Empty:
		return "Empty"
	case PreparingRebalance:
		return "PreparingRebalance"
	case CompletingRebalance:
		return "CompletingRebalance"
	case Stable:
		return "Stable"
	default:
		return "Unknown"
	}
}

// Ticket names one request that waits for its Reply. 0 is none.
type Ticket uint64

// Protocol is one assignment strategy a member offers, with bytes only the members understand.
type Protocol struct {
	Name     string
	Metadata []byte
}

// member is one member of a group.
type member struct {
	id, instance   string // instance "": not static
	clientID, host string
	session        time.Duration
	rebalance      time.Duration
	protocols      []Protocol
	bytes          int // of protocols
	assignment     []byte

	order    uint64    // of its first join; makes choices among members deterministic
	deadline time.Time // of the session; not looked at while a request of the member waits
	joining  Ticket
	syncing  Ticket
	synced   bool // has asked for the assignment of this generation
	fresh    bool // has not been in a generation yet
}

// State is one classic group. It is not safe for concurrent use; the Coordinator guards it. Make one with NewState or
// RestoreState.
type State struct {
	cfg  Config
	name string

	phase        Phase
	generation   int32
	protocolType string
	protocol     string
	leader       string
	members      map[string]*member
	static       map[string]string    // instance -> member id
	pending      map[string]time.Time // ids handed out with MEMBER_ID_REQUIRED -> when they lapse
	supporters   map[string]int       // protocol name -> how many members offer it
	bytes        int                  // sum of the members' bytes
	joined       int                  // members whose Join waits
	order        uint64

	delayUntil    time.Time // initial delay: the rebalance does not complete before
	delayGrew     bool      // a member came during the delay: wait once more
	delayLimit    time.Time // but never beyond
	rebalanceEnds time.Time // PreparingRebalance: who has not joined by then is out
	syncEnds      time.Time // who has not synced by then is out; zero: nobody is awaited
	wake          time.Time // no deadline lies before; zero: there is none

	revision    uint64 // of what Save last asked to save
	assignedRev uint64 // CompletingRebalance: the revision that holds the leader's assignment, 0 before it came
	held        []heldReply
	emptySince  time.Time
}

// heldReply is a Join answer of a returning static member that waits for a save.
type heldReply struct {
	rev   uint64
	reply Reply
}

// NewState returns an empty group that has never had a generation.
func NewState(name string, cfg Config, now time.Time) *State {
	return &State{
		cfg: cfg, name: name, emptySince: now,
		members: map[string]*member{}, static: map[string]string{}, pending: map[string]time.Time{}, supporters: map[string]int{},
	}
}

// Phase returns where the group stands.
func (s *State) Phase() Phase { return s.phase }

// Generation returns the newest generation, 0 before the first.
func (s *State) Generation() int32 { return s.generation }

// MemberIDs returns the ids of the members in the order of their first join.
func (s *State) MemberIDs() []string {
	var ids []string
	for _, m := range s.sorted() {
		ids = append(ids, m.id)
	}
	return ids
}

// Idle reports that the group has no members and that nobody is about to become one.
func (s *State) Idle() bool { return s.phase == Empty && len(s.members) == 0 && len(s.pending) == 0 }

// EmptySince returns when the group last became empty; it means something only in phase Empty.
func (s *State) EmptySince() time.Time { return s.emptySince }

// Wake returns when Step wants a Tick at the latest, or zero when there is nothing to wait for. It may be earlier than
// the next deadline, never later: heartbeats move deadlines without moving it, so that a heartbeat costs no search.
func (s *State) Wake() time.Time { return s.wake }

// Waiting returns the tickets of all requests that wait for an answer, ascending.
func (s *State) Waiting() []Ticket {
	var out []Ticket
	for _, m := range s.members {
		if m.joining != 0 {
			out = append(out, m.joining)
		}
		if m.syncing != 0 {
			out = append(out, m.syncing)
		}
	}
	for _, h := range s.held {
		out = append(out, h.reply.Ticket)
	}
	slices.Sort(out)
	return out
}

func (s *State) atRest() bool { return s.phase == Empty || s.phase == Stable }
func (s *State) round() int32 { return s.generation }

// describeConsumers reports that this is no group of the consumer protocol.
func (s *State) describeConsumers(*kmsg.ConsumerGroupDescribeResponseGroup) bool { return false }

// checkFetch lets everybody read, as Kafka does: only the consumer protocol has epochs to compare.
func (s *State) checkFetch(string, int32) Code { return codeNone }

func (s *State) checkCommit(cm commitCheck, now time.Time) Code {
	return s.CheckCommit(cm.memberID, cm.instance, cm.generation, now)
}

// CheckCommit says whether an offset commit may be stored, and takes it as a sign of life of the member. A negative
// generation is a simple consumer or a tool, which may commit only while the group has no members.
func (s *State) CheckCommit(memberID, instance string, generation int32, now time.Time) Code {
	if generation < 0 && s.phase == Empty {
		return codeNone
	}
	if generation < 0 && memberID == "" && instance == "" {
		return codeUnknownMemberID
	}
	m, code := s.lookup(memberID, instance)
	if code != codeNone {
		return code
	}
	if generation != s.generation {
		return codeIllegalGeneration
	}
	s.touch(m, now)
	if s.phase == CompletingRebalance {
		// The generation is new and the member has no assignment in it yet: what it commits belongs to the one before.
		return codeRebalanceInProgress
	}
	return codeNone
}

// lookup finds a member the way every request but Join names it.
func (s *State) lookup(memberID, instance string) (*member, Code) {
	if instance != "" {
		id, ok := s.static[instance]
		if !ok {
			return nil, codeUnknownMemberID
		}
		if id != memberID {
			return nil, codeFencedInstanceID
		}
	}
	m := s.members[memberID]
	if m == nil {
		return nil, codeUnknownMemberID
	}
	return m, codeNone
}

// touch begins a new session of m.
func (s *State) touch(m *member, now time.Time) {
	m.deadline = now.Add(m.session)
	s.wakeBy(m.deadline)
}

// wakeBy makes sure that Wake is not after t.
func (s *State) wakeBy(t time.Time) {
	if t.IsZero() {
		return
	}
	if s.wake.IsZero() || t.Before(s.wake) {
		s.wake = t
	}
}

// sorted returns the members in the order of their first join.
func (s *State) sorted() []*member {
	out := make([]*member, 0, len(s.members))
	for _, m := range s.members {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *member) int { return cmp.Compare(a.order, b.order) })
	return out
}

// setProtocols gives m its protocols and keeps the counts right.
func (s *State) setProtocols(m *member, protocols []Protocol) {
	s.dropProtocols(m)
	m.protocols, m.bytes = protocols, protocolBytes(protocols)
	s.bytes += m.bytes
	for i, p := range protocols {
		if indexProtocol(protocols[:i], p.Name) < 0 {
			s.supporters[p.Name]++
		}
	}
}

// dropProtocols takes m's protocols out of the counts.
func (s *State) dropProtocols(m *member) {
	for i, p := range m.protocols {
		if indexProtocol(m.protocols[:i], p.Name) >= 0 {
			continue
		}
		if s.supporters[p.Name]--; s.supporters[p.Name] == 0 {
			delete(s.supporters, p.Name)
		}
	}
	s.bytes -= m.bytes
	m.protocols, m.bytes = nil, 0
}

// selectProtocol returns the protocol that most members prefer among those all of them offer; the leader's order
// decides a tie. "" when they share none.
func (s *State) selectProtocol() string {
	votes := map[string]int{}
	for _, m := range s.members {
		for _, p := range m.protocols {
			if s.supporters[p.Name] == len(s.members) {
				votes[p.Name]++
				break
			}
		}
	}
	best := ""
	first := s.members[s.leader]
	if first == nil {
		return ""
	}
	for _, p := range first.protocols {
		if votes[p.Name] > votes[best] {
			best = p.Name
		}
	}
	return best
}

func protocolBytes(protocols []Protocol) int {
	n := 0
	for _, p := range protocols {
		n += len(p.Name) + len(p.Metadata)
	}
	return n
}

func indexProtocol(protocols []Protocol, name string) int {
	return slices.IndexFunc(protocols, func(p Protocol) bool { return p.Name == name })
}

func sameProtocols(a, b []Protocol) bool {
	return slices.EqualFunc(a, b, func(x, y Protocol) bool { return x.Name == y.Name && string(x.Metadata) == string(y.Metadata) })
}

func (m *member) metadata(protocol string) []byte {
	if i := indexProtocol(m.protocols, protocol); i >= 0 {
		return m.protocols[i].Metadata
	}
	return nil
}
