package group

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bargedata/barge/record"
)

// Beat is a heartbeat of the consumer protocol: a sign of life, and with the first one of a member and after every change what it
// subscribes to and owns.
type Beat struct {
	Ticket     Ticket
	MemberID   string
	Epoch      int32  // joinEpoch, leaveEpoch, staticLeaveEpoch, or the one the member was last told
	InstanceID string // "": not static
	RackID     *string
	ClientID   string
	Host       string
	Rebalance  time.Duration // negative: as before
	HasNames   bool
	Names      []string // not kept
	Pattern    *string  // "": none any more
	Assignor   *string
	HasOwned   bool
	Owned      []record.Partition
	Topics     *TopicSet // those there are now
}

func (Beat) event() {}

// problem is a refusal with a text for whoever reads the client's log.
type problem struct {
	code Code
	text string
}

func refusal(code Code, format string, args ...any) *problem {
	return &problem{code, fmt.Sprintf(format, args...)}
}

func (s *ConsumerState) beat(ev Beat, now time.Time, out *Output) {
	var answer Reply
	var wrong *problem
	switch ev.Epoch {
	case leaveEpoch, staticLeaveEpoch:
		answer, wrong = s.leave(ev, now)
	default:
		answer, wrong = s.attend(ev, now)
	}
	if wrong != nil {
		out.reply(Reply{Ticket: ev.Ticket, Code: wrong.code, Text: wrong.text, MemberID: ev.MemberID, Generation: -1})
		return
	}
	answer.Ticket = ev.Ticket
	rev := s.revision
	if m := s.members[answer.MemberID]; m != nil {
		rev = m.changed
	}
	if rev > s.saved {
		s.held = append(s.held, heldReply{rev: s.revision, reply: answer})
		return
	}
	out.reply(answer)
}

// leave takes the member out, or lets a static one rest until its session ends.
func (s *ConsumerState) leave(ev Beat, now time.Time) (Reply, *problem) {
	m, wrong := s.find(ev)
	if wrong != nil {
		return Reply{}, wrong
	}
	r := Reply{MemberID: m.id, Generation: ev.Epoch}
	if ev.Epoch == leaveEpoch {
		s.remove(m, now)
		return r, nil
	}
	m.epoch, m.progress = staticLeaveEpoch, settled
	for _, p := range m.giveUp {
		delete(s.owners, p) // it has stopped
	}
	m.giveUp = nil
	s.mark(m)
	return r, nil
}

// find returns the member that a heartbeat other than the first names.
func (s *ConsumerState) find(ev Beat) (*consumer, *problem) {
	if ev.InstanceID != "" {
		id, ok := s.static[ev.InstanceID]
		if !ok {
			return nil, refusal(codeUnknownMemberID, "Instance id %s is unknown.", ev.InstanceID)
		}
		if id != ev.MemberID {
			return nil, refusal(codeFencedInstanceID, "Static member %s with instance id %s was fenced by member %s.", ev.MemberID, ev.InstanceID, id)
		}
	}
	m := s.members[ev.MemberID]
	if m == nil {
		return nil, refusal(codeUnknownMemberID, "Member %s is not a member of group %s.", ev.MemberID, s.name)
	}
	return m, nil
}

// attend handles a member that joins or goes on: it takes over what changed, decides targets anew where need be, and lets the member
// go a step towards its own.
func (s *ConsumerState) attend(ev Beat, now time.Time) (Reply, *problem) {
	e, wrong := s.check(ev)
	if wrong != nil {
		return Reply{}, wrong
	}
	var m *consumer
	if ev.Epoch == joinEpoch {
		m, wrong = s.admit(ev)
	} else if m, wrong = s.find(ev); wrong == nil {
		wrong = m.checkEpoch(ev)
	}
	if wrong != nil {
		return Reply{}, wrong
	}
	m.deadline = now.Add(s.cfg.ConsumerSession)
	s.wakeBy(m.deadline)

	bump := s.update(m, ev, e) || s.epoch == 0
	if s.see(ev.Topics) || bump {
		if hash := s.hashTopics(); hash != s.topicsHash || bump {
			s.topicsHash = hash
			s.epoch++
			s.mark(m)
		}
	}
	if s.epoch > s.targetEpoch {
		s.retarget()
		s.mark(m)
	}
	before := keysOf(m.assigned)
	s.reconcile(m, ev, now)

	r := Reply{MemberID: m.id, Generation: m.epoch}
	after := keysOf(m.assigned)
	full := ev.Rebalance >= 0 && (ev.HasNames || ev.Pattern != nil) && ev.HasOwned
	if ev.Epoch == joinEpoch || full || !slices.Equal(before, after) {
		r.Assigned, r.Partitions = true, after
	}
	return r, nil
}

// check refuses, before anything changes, what can not be taken over. It returns the compiled expression of the heartbeat.
func (s *ConsumerState) check(ev Beat) (*expression, *problem) {
	size := 0
	for _, name := range ev.Names {
		size += len(name)
	}
	if size > s.cfg.MaxMemberBytes {
		return nil, refusal(codeInvalidRequest, "The subscription has %d bytes, at most %d are allowed.", size, s.cfg.MaxMemberBytes)
	}
	known := s.members[ev.MemberID] != nil || ev.InstanceID != "" && s.static[ev.InstanceID] != ""
	if ev.Epoch == joinEpoch && !known && len(s.members) >= s.cfg.MaxMembers {
		return nil, refusal(codeGroupMaxSizeReached, "The consumer group has reached its maximum capacity of %d members.", s.cfg.MaxMembers)
	}
	if size > 0 && s.bytes+size > s.cfg.MaxGroupBytes {
		return nil, refusal(codeGroupMaxSizeReached, "The subscriptions of the group have %d bytes, at most %d are allowed.", s.bytes, s.cfg.MaxGroupBytes)
	}
	if ev.Pattern == nil || *ev.Pattern == "" {
		return nil, nil
	}
	if e := s.expressions[*ev.Pattern]; e != nil {
		return e, nil
	}
	re, err := compileExpression(*ev.Pattern)
	if err != nil {
		return nil, refusal(codeInvalidRegularExpression, "SubscribedTopicRegex `%s` is not a valid regular expression: %v.", printable(*ev.Pattern), err)
	}
	if len(s.expressions) >= maxExpressions {
		return nil, refusal(codeInvalidRegularExpression, "The group has %d different regular expressions already; subscribe with one of them.", maxExpressions)
	}
	return &expression{re: re}, nil
}

// printable keeps a client's pattern readable, and short, in a message.
func printable(pattern string) string {
	return strings.ToValidUTF8(pattern[:min(len(pattern), 128)], "?")
}

// admit returns the member that joins: a new one, one that begins again, or a static one under its new id.
func (s *ConsumerState) admit(ev Beat) (*consumer, *problem) {
	if ev.InstanceID != "" {
		if id, ok := s.static[ev.InstanceID]; ok && id != ev.MemberID {
			old := s.members[id]
			if old.epoch != staticLeaveEpoch {
				return nil, refusal(codeUnreleasedInstanceID, "Static member %s with instance id %s cannot join the group because the instance id is owned by member %s.",
					ev.MemberID, ev.InstanceID, id)
			}
			return s.succeed(old, ev.MemberID), nil
		}
	}
	m := s.members[ev.MemberID]
	if m == nil {
		s.order++
		m = &consumer{id: ev.MemberID, order: s.order, assigned: map[record.Partition]int32{}}
		s.members[m.id] = m
		s.mark(m)
	}
	if ev.InstanceID != "" && m.instance == "" {
		m.instance, s.static[ev.InstanceID] = ev.InstanceID, m.id
		s.mark(m)
	}
	return m, nil
}

// succeed gives the place of a static member that left for a while, with its target and what it had, to the process that bears
// its instance id now. Nobody else notices.
func (s *ConsumerState) succeed(m *consumer, id string) *consumer {
	delete(s.members, m.id)
	m.id, m.epoch, m.previous = id, joinEpoch, joinEpoch
	s.members[id], s.static[m.instance] = m, id
	for p := range m.assigned {
		s.owners[p] = id
	}
	s.mark(m)
	return m
}

// checkEpoch refuses a member that is not where the group knows it to be. One epoch behind is forgiven when it owns nothing beyond
// what it was told then: the answer with the newer epoch may have been lost.
func (m *consumer) checkEpoch(ev Beat) *problem {
	switch {
	case ev.Epoch > m.epoch:
		return refusal(codeFencedMemberEpoch, "The consumer group member has a greater member epoch (%d) than the one known by the group coordinator (%d). "+
			"The member must abandon all its partitions and rejoin.", ev.Epoch, m.epoch)
	case ev.Epoch < m.epoch && (ev.Epoch != m.previous || !ev.HasOwned || !m.holds(ev.Owned)):
		return refusal(codeFencedMemberEpoch, "The consumer group member has a smaller member epoch (%d) than the one known by the group coordinator (%d). "+
			"The member must abandon all its partitions and rejoin.", ev.Epoch, m.epoch)
	default:
		return nil
	}
}

// holds reports that every partition is assigned to m.
func (m *consumer) holds(parts []record.Partition) bool {
	for _, p := range parts {
		if _, ok := m.assigned[p]; !ok {
			return false
		}
	}
	return true
}

// update takes over what the member says of itself now and reports whether its subscription changed.
func (s *ConsumerState) update(m *consumer, ev Beat, e *expression) (subscription bool) {
	was := *m
	m.clientID, m.host = ev.ClientID, ev.Host
	if ev.RackID != nil {
		m.rack = *ev.RackID
	}
	if ev.Rebalance >= 0 {
		m.rebalance = ev.Rebalance
	}
	if ev.Assignor != nil {
		m.assignor = *ev.Assignor
	}
	if ev.HasNames {
		if names := distinctNames(ev.Names); !slices.Equal(names, m.names) {
			s.setNames(m, names)
			subscription = true
		}
	}
	if ev.Pattern != nil && *ev.Pattern != m.pattern {
		s.setPattern(m, strings.Clone(*ev.Pattern), e)
		subscription = true
	}
	if subscription || m.clientID != was.clientID || m.host != was.host || m.rack != was.rack || m.rebalance != was.rebalance || m.assignor != was.assignor {
		s.mark(m)
	}
	return subscription
}

// reconcile lets m go as far towards its target as it can now.
func (s *ConsumerState) reconcile(m *consumer, ev Beat, now time.Time) {
	epoch := m.epoch
	switch m.progress {
	case settled:
		if m.epoch == s.targetEpoch {
			return
		}
	case revoking:
		if !ev.HasOwned || containsAny(ev.Owned, m.giveUp) {
			return
		}
		for _, p := range m.giveUp {
			delete(s.owners, p)
		}
		m.giveUp = nil
		epoch++
		s.mark(m)
	case waiting:
	}
	s.advance(m, epoch, ev, now)
}

// advance is one step: partitions that m is not to have any more come first, and it stays in epoch until it has given them up; then
// it is in the epoch of the target, with those of its partitions that nobody else has yet to give up.
func (s *ConsumerState) advance(m *consumer, epoch int32, ev Beat, now time.Time) {
	target := make(map[record.Partition]bool, len(m.target))
	for _, p := range m.target {
		target[p] = true
	}
	var lose []record.Partition
	for _, p := range keysOf(m.assigned) {
		if !target[p] {
			lose = append(lose, p)
			delete(m.assigned, p)
		}
	}
	if len(lose) > 0 {
		s.mark(m)
		if !ev.HasOwned || containsAny(ev.Owned, lose) {
			m.progress, m.giveUp, m.revokeBy = revoking, lose, now.Add(m.rebalance)
			s.wakeBy(m.revokeBy)
			m.setEpoch(epoch)
			return
		}
		for _, p := range lose {
			delete(s.owners, p)
		}
	}
	next := settled
	for _, p := range m.target {
		if _, has := m.assigned[p]; has {
			continue
		}
		if s.owners[p] != "" {
			next = waiting
			continue
		}
		m.assigned[p] = s.targetEpoch
		s.owners[p] = m.id
		s.mark(m)
	}
	if next != m.progress || m.epoch != s.targetEpoch {
		s.mark(m)
	}
	m.progress = next
	m.setEpoch(s.targetEpoch)
}

func (m *consumer) setEpoch(epoch int32) {
	if epoch != m.epoch {
		m.previous, m.epoch = m.epoch, epoch
	}
}

func containsAny(all, some []record.Partition) bool {
	return slices.ContainsFunc(all, func(p record.Partition) bool {
		_, ok := slices.BinarySearchFunc(some, p, comparePartitions)
		return ok
	})
}

// checkCommit follows KIP-848, and KIP-1251 where the commit is from an epoch before: it counts for partitions that the member has had
// since then, so that a commit on its way while the epoch goes up is not lost.
func (s *ConsumerState) checkCommit(cm commitCheck, _ time.Time) Code {
	if cm.generation < 0 && len(s.members) == 0 {
		return codeNone
	}
	m := s.members[cm.memberID]
	switch {
	case m == nil:
		return codeUnknownMemberID
	case cm.version < 9:
		return codeUnsupportedVersion
	case cm.generation == m.epoch:
		return codeNone
	case cm.generation > m.epoch || cm.generation < 0:
		return codeStaleMemberEpoch
	}
	for _, p := range cm.partitions {
		if since, ok := m.assigned[p]; !ok || since > cm.generation {
			return codeStaleMemberEpoch
		}
	}
	return codeNone
}

func (s *ConsumerState) checkFetch(memberID string, epoch int32) Code {
	if memberID == "" && epoch < 0 {
		return codeNone
	}
	m := s.members[memberID]
	switch {
	case m == nil:
		return codeUnknownMemberID
	case epoch != m.epoch:
		return codeStaleMemberEpoch
	default:
		return codeNone
	}
}

func (s *ConsumerState) subscriptions() (func(topic string) bool, Code) {
	return func(topic string) bool {
		if s.subscribed[topic] > 0 {
			return true
		}
		for _, e := range s.expressions {
			if e.re.MatchString(topic) {
				return true
			}
		}
		return false
	}, codeNone
}
