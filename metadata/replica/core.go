package replica

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/routing"
)

// ErrAgain is what a Question may be answered with, see NewQuestion.
var ErrAgain = errors.New("ask again")

var errEnded = fmt.Errorf("this agent stops: %w: %w", metadata.ErrUnavailable, metadata.ErrEnded)

// mode is what an agent is for the log.
type mode int

const (
	idle       mode = iota // before StartEvent
	starting               // it reads the log for the first time
	following              //
	claiming               // an AcquireAction is under way
	sequencing             // it has a sequencer of its own
	leaving                // it had one until it was told to stop, and tells those who follow it
	over                   // after EndAction
)

// Core decides what one agent does about the log: whom it follows, when it takes the log over and when it lets go, where its
// commands go, and what it answers others. Events in, actions out, no clock, no goroutine, no I/O, so one goroutine can drive many
// of them deterministically. It feeds the View while it follows, and reads it. It is not safe for concurrent use.
//
// A driver makes a core with NewCore, hands Step a StartEvent, a TickEvent every Tick, and every event that comes of the actions,
// and carries the actions out in their order before the next event. Until EndAction every call that an action asked for is
// answered by one event, however late.
type Core struct {
	cfg  Config
	view *metadata.View
	rng  *rand.Rand

	now      int64 // of the event at hand
	acts     []Action
	mode     mode
	ready    bool
	stopping bool
	ownTerm  uint64 // the last one of this agent
	yielding bool   // the claim has been cut short: somebody else has a newer term than it was to follow
	lastTick int64
	leapt    int64  // when this process was found to have stood still, 0: never
	doubt    uint64 // number of the check by which its term must be found to be the newest still, 0: there is no doubt
	checking int64  // when a check began that has not said yes, 0: there is none
	calls    uint64 // number of the last one given out
	stats    Stats

	self   routing.Member
	sealed uint64 // session of the last SealedAction

	leader  leader
	source  source
	reading reading
	silence silence
	members members
	serving serving
	sending sending
	asking  asking
}

// Stats counts since the start, but for the first block.
type Stats struct {
	Term         uint64 // newest known
	Sequencing   bool
	Leader       string // peer address of the sequencer, as far as known
	Members      int
	Pending      int // commands that are not answered
	PendingBytes int

	TakeOvers  uint64 // terms acquired
	Deposed    uint64 // of these, ended by somebody else's
	LogReads   uint64 // times the log itself was read
	Resent     uint64 // commits handed on again because their outcome was not known
	Seals      uint64 // sessions sealed because their agents were silent
	Leaps      uint64 // times this process was found to have stood still
	PollsTaken uint64 // calls of Follow by others
}

// NewCore makes a core. rng is its own from here on; it feeds view while it follows.
func NewCore(cfg Config, view *metadata.View, rng *rand.Rand) *Core {
	c := &Core{cfg: cfg.withDefaults(), view: view, rng: rng}
	c.self.Peer = cfg.Owner.Peer
	c.source.init()
	c.silence.off = -1
	c.members.init()
	c.serving.ring = ring{maxBytes: c.cfg.RingBytes, maxEntries: c.cfg.RingEntries}
	c.sending.byID = map[uint64]*Command{}
	return c
}

// Sequencing reports whether this agent is the sequencer, as far as it knows.
func (c *Core) Sequencing() bool { return c.mode == sequencing }

// Reachable reports whether commands of this agent find the sequencer: it is heard directly, or is this agent. now is
// as of Step. An agent that has stood still is not the sequencer until the log says that it still is, and one of
// several whom the log has not answered for some seconds may be no more: the others have taken over then.
func (c *Core) Reachable(now int64) bool {
	if c.mode == sequencing {
		return c.doubt == 0 && now-c.lastTick <= ms(leap) && (!c.unanswered(now) || len(c.members.lastHeard) == 0)
	}
	return c.leader.reachedAt > 0 && now-c.leader.reachedAt <= ms(c.cfg.MemberSilence)
}

// Members are the live agents as far as known, this one among them once it has a session. The result is shared.
func (c *Core) Members() routing.Members { return c.members.list }

// Stats returns the counters.
func (c *Core) Stats() Stats {
	s := c.stats
	s.Term, s.Sequencing, s.Members = c.leader.term, c.mode == sequencing, len(c.members.list)
	s.Leader = c.leader.addr
	if s.Sequencing {
		s.Leader = c.cfg.Owner.Peer
	}
	s.Pending, s.PendingBytes = c.sending.count, c.sending.bytes
	return s
}

func ms(d time.Duration) int64 { return d.Milliseconds() }

func (c *Core) do(a Action) { c.acts = append(c.acts, a) }

func (c *Core) tell(text string, args ...any) { c.do(LogAction{text, args}) }

func (c *Core) call() uint64 {
	c.calls++
	return c.calls
}

// Step takes one event and returns what is to be done about it. now is in milliseconds, from a clock that does not go back; where
// it begins does not matter.
func (c *Core) Step(ev Event, now int64) []Action {
	c.now, c.acts = max(c.now, now), nil
	switch ev := ev.(type) {
	case StartEvent:
		c.mode, c.lastTick = starting, c.now
		c.read(readStart)
	case TickEvent:
		c.tick(ev)
	case ReadEvent:
		c.readDone(ev)
	case HintedEvent:
		c.hinted(ev)
	case FollowedEvent:
		c.followed(ev)
	case AcquiredEvent:
		c.acquired(ev)
	case AppliedEvent:
		c.applied(ev.Entry)
	case EndedEvent:
		c.ended(ev.Err)
	case SubmitEvent:
		c.submit(ev.Command)
	case WithdrawEvent:
		c.withdraw(ev.Command)
	case AnsweredEvent:
		c.answered(ev)
	case ResponseEvent:
		c.response(ev)
	case BrokenEvent:
		c.broken(ev)
	case AskEvent:
		c.ask(ev.Question)
	case LeaveEvent:
		c.leave(ev.Question)
	case CheckedEvent:
		c.checked(ev)
	case ConfirmedEvent:
		c.confirmed(ev)
	case PolledEvent:
		c.polled(ev)
		c.leaveIfTold()
	case UnpolledEvent:
		c.unpolled(ev.Call)
	case SelfEvent:
		c.setSelf(ev.Member)
	case StopEvent:
		c.stop()
	}
	c.answerPolls()
	acts := c.acts
	c.acts = nil
	return acts
}

func (c *Core) tick(ev TickEvent) {
	if c.mode == idle || c.mode == over {
		return
	}
	if gap := c.now - c.lastTick; gap > ms(leap) {
		c.stoodStill(gap)
	}
	c.lastTick = c.now
	c.members.stalled = ev.Stalled >= stalled && (c.leapt == 0 || c.now-c.leapt >= ms(stalled))
	switch c.mode {
	case following:
		c.watch()
		c.follow()
		c.openOutlet()
		c.confirm()
	case claiming:
		c.askOthers()
	case sequencing:
		c.lead()
	case leaving:
		c.leaveIfTold()
	default:
	}
	c.checkSelf()
}

// stoodStill makes up for time in which this process stood still: what it did not hear then says nothing about others.
func (c *Core) stoodStill(gap int64) {
	c.leapt = c.now
	c.stats.Leaps++
	c.tell("this process stood still", "seconds", float64(gap)/1000)
	c.leader.since = c.now
	c.members.shift(gap)
	if c.mode == sequencing {
		c.doubt = c.calls + 1
	}
	c.check()
}

// checkSelf finds out that others took this agent for dead.
func (c *Core) checkSelf() {
	if s := c.self.Session; s != 0 && s != c.sealed && c.view.SessionSealed(metadata.SessionID(s)) {
		c.sealed = s
		c.do(SealedAction{s})
	}
}

// claim takes the log over.
func (c *Core) claim(why string) {
	if c.mode != following && c.mode != starting || c.reading.underway {
		return
	}
	c.tell("taking the metadata log over", "why", why, "term", c.leader.term, "applied", c.view.Applied())
	c.silence.claimed(c.now)
	c.closeOutlet()
	c.mode, c.yielding = claiming, false
	c.serving.stamp++
	c.do(AcquireAction{Unless: max(c.leader.term, c.view.Term()) + 1})
}

func (c *Core) acquired(ev AcquiredEvent) {
	if c.mode != claiming {
		return
	}
	err := ev.Err
	switch {
	case err == nil:
		c.sequence(ev.Start)
		return
	case c.stopping:
		c.end(nil)
		return
	case errors.Is(err, metadata.ErrFenced), c.yielding: // somebody else was faster
	case !c.ready, errors.Is(err, metadata.ErrNewer), errors.Is(err, metadata.ErrCorrupt):
		c.end(err)
		return
	}
	c.tell("the metadata log was not taken over", "err", err)
	c.beginToFollow()
}

// beginToFollow looks for a sequencer that is not known.
func (c *Core) beginToFollow() {
	c.mode = following
	c.leader.forget(c.now)
	c.silence.heard()
	c.serving.stamp++
	c.syncRing()
	c.afterApply()
	c.hint()
	c.askOthers()
}

// sequence begins a term of this agent's own.
func (c *Core) sequence(start metadata.TakenOver) {
	c.mode, c.ownTerm, c.doubt, c.checking = sequencing, start.Term, 0, 0
	c.stats.TakeOvers++
	c.leader = leader{term: start.Term, addr: c.cfg.Owner.Peer, since: c.now, reachedAt: c.now}
	c.silence.heard()
	if r := &c.serving.ring; r.end() == start.Next-1 { // only the claim itself is lacking, which holds no commands
		r.add(start.Next-1, metadata.EncodeForFollowers(metadata.Entry{Seq: start.Next - 1, Term: start.Term}))
	}
	c.syncRing()
	c.serving.stamp++
	c.beginToLead()
	c.source.reset()
	c.ownOutlet()
	c.tellAgain()
	c.afterApply()
	c.beReady()
	if c.stopping {
		c.do(StopSequencerAction{})
	}
}

// ended says that the own sequencer is over.
func (c *Core) ended(err error) {
	if c.mode != sequencing {
		return
	}
	c.outletEnded()
	switch {
	case c.stopping && (err == nil || errors.Is(err, metadata.ErrFenced)):
		if err == nil {
			c.giveAway()
			return
		}
		c.end(nil)
	case c.yielding && err == nil: // it had the log when it was told to give way to a term that is newer still
		c.beginToFollow()
	case errors.Is(err, metadata.ErrFenced):
		c.stats.Deposed++
		c.tell("another agent has taken the metadata log; following it", "term", c.leader.term, "err", err)
		c.beginToFollow()
	default:
		c.end(err)
	}
}

func (c *Core) stop() {
	c.stopping = true
	switch c.mode {
	case claiming, sequencing:
		c.do(StopSequencerAction{})
	case over, leaving:
	default:
		c.end(nil)
	}
}

// giveAway names who is to sequence next to all who follow, and then ends.
func (c *Core) giveAway() {
	c.mode = leaving
	s := &c.serving
	s.left, s.leavingTo, s.leftAt, s.told = true, c.successor(), c.now, map[string]bool{}
	s.stamp++
	c.tell("giving the metadata log away", "to", s.leavingTo, "term", c.leader.term)
	c.leaveIfTold()
}

// leaveIfTold ends once all know, or will not ask any more.
func (c *Core) leaveIfTold() {
	if c.mode != leaving {
		return
	}
	c.answerPolls()
	s := &c.serving
	if c.now-s.leftAt < ms(linger) {
		for addr, at := range c.members.followers { // any order: only whether one is there counts
			if !s.told[addr] && s.leftAt-at < ms(leap) {
				return
			}
		}
	}
	c.end(nil)
}

// end answers everybody who waits.
func (c *Core) end(err error) {
	c.mode = over
	c.serving.stamp++
	c.endOutlet()
	c.endQuestions()
	c.do(EndAction{err})
}

func (c *Core) beReady() {
	if !c.ready {
		c.ready = true
		c.do(ReadyAction{})
	}
}

// applied takes what the own sequencer has put in the log and in the View.
func (c *Core) applied(e metadata.Entry) {
	if r := &c.serving.ring; c.members.followed(c.now) {
		r.add(e.Seq, metadata.EncodeForFollowers(e))
	} else {
		r.reset(e.Seq + 1)
	}
	if slices.ContainsFunc(e.Commands, func(cmd metadata.Command) bool { _, opens := cmd.(metadata.OpenSession); return opens }) {
		c.raiseLevel()
	}
}

// syncRing makes the ring end where the View does.
func (c *Core) syncRing() {
	if r := &c.serving.ring; r.end() != c.view.Applied() {
		r.reset(c.view.Applied())
	}
}

// afterApply answers those who waited for the View.
func (c *Core) afterApply() {
	c.settle()
	c.settleQuestions()
}

func (c *Core) setSelf(m routing.Member) {
	m.Peer = c.cfg.Owner.Peer
	c.self = m
	c.members.selfChanged(c)
}
