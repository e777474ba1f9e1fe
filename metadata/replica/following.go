package replica

import (
	"errors"
	"math"
	"slices"
	"syscall"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/routing"
)

// leader is who sequences, as far as is known.
type leader struct {
	term      uint64 // the newest known
	addr      string // peer address of who sequences in it, "" if not known
	since     int64  // when that became known, or was found to be not known
	directAt  int64  // when it answered last, 0: never
	viaAt     int64  // when somebody else had heard it last, 0: never
	via       string // who that was
	reachedAt int64  // when any sequencer answered last
	refused   int    // times in a row that nobody listened at addr
	hinting   bool
	hintAfter int64
}

// forget says that the sequencer of the newest term is not known.
func (l *leader) forget(now int64) {
	*l = leader{term: l.term, since: now, reachedAt: l.reachedAt, hinting: l.hinting, hintAfter: l.hintAfter}
}

// heardAt is when there was a sign of life last.
func (l *leader) heardAt() int64 { return max(l.since, l.directAt, l.viaAt) }

// dead reports whether the process at addr is no more: its host answers and nobody listens.
func (l *leader) dead() bool { return l.refused >= 2 }

// source is the calls of Follow to others.
type source struct {
	calls    map[uint64]followCall
	busy     map[string]int64 // addresses with a call under way: when it began
	next     map[string]int64 // earliest next call
	quick    map[string]int   // answers in a row that came at once and brought no entries
	answered map[string]int64 // when it answered last
	failed   map[string]int64 // since it answered last: when a call failed last
	badRelay int64            // until when the zone's relay is passed over
	answerAt int64            // when an agent other than the sequencer answered last
}

type followCall struct {
	addr  string
	began int64
}

func (s *source) init() {
	s.calls, s.busy = map[uint64]followCall{}, map[string]int64{}
	s.next, s.quick, s.answered, s.failed = map[string]int64{}, map[string]int{}, map[string]int64{}, map[string]int64{}
}

// reset lets go of all that is under way; it still comes to an end.
func (s *source) reset() { s.init() }

// deaf reports whether the agent at addr did not answer when it was called of late.
func (s *source) deaf(addr string, now int64) bool {
	began, busy := s.busy[addr]
	at, failed := s.failed[addr]
	return busy && now-began >= ms(suspicion) || failed && now-at < ms(longestOff)
}

// quickAnswers may follow one another without a pause: news come together.
const quickAnswers = 3

// noEntries as FollowRequest.next asks for none.
const noEntries = math.MaxUint64

// direct reports whether the sequencer itself was heard lately.
func (c *Core) direct() bool {
	return c.leader.directAt > 0 && c.now-c.leader.directAt < ms(c.cfg.Silence)
}

// follow asks for what comes next, and gives a sign of life.
func (c *Core) follow() {
	if c.mode != following || c.leader.addr == "" {
		return
	}
	from := c.sourceAddr()
	c.askFollow(from, true, ms(hold))
	if from != c.leader.addr {
		c.askFollow(c.leader.addr, false, 0)
	} else if relay := c.relay(); relay != "" {
		c.askFollow(relay, false, 0) // it is used once it answers
	}
}

// sourceAddr is whom to ask for entries: the sequencer, or the relay of a zone that it is not in, or whoever still hears it.
func (c *Core) sourceAddr() string {
	l := &c.leader
	if !c.direct() && l.via != "" && c.now-l.viaAt < ms(c.cfg.Silence) && l.directAt+ms(suspicion) < c.now {
		return l.via
	}
	if relay := c.relay(); relay != "" && c.now >= c.source.badRelay {
		if at := c.source.answered[relay]; at > 0 && c.now-max(at, c.source.busy[relay]) < ms(suspicion) {
			return relay
		}
	}
	return l.addr
}

// relay is the agent that tails for this one's zone, "" when this agent is it, or there is no need for one.
func (c *Core) relay() string {
	l := &c.leader
	if c.self.Session == 0 {
		return ""
	}
	at := slices.IndexFunc(c.members.list, func(m routing.Member) bool { return m.Peer == l.addr })
	if at < 0 || c.members.list[at].Zone == c.self.Zone {
		return ""
	}
	relay, ok := routing.Pick("relay", c.members.list.Live().InZone(c.self.Zone))
	if !ok || relay.Session == c.self.Session {
		return ""
	}
	return relay.Peer
}

// askFollow calls Follow at addr, unless a call is under way there or it is too early for another.
func (c *Core) askFollow(addr string, entries bool, wait int64) {
	s := &c.source
	if _, busy := s.busy[addr]; busy || addr == "" || addr == c.cfg.Owner.Peer || c.now < s.next[addr] {
		return
	}
	req := &peerpb.FollowRequest{Self: toWire(c.self), Next: noEntries, MembersVersion: c.members.version, WaitMs: uint32(wait), Term: c.leader.term}
	if entries && !c.reading.underway && c.mode == following {
		req.Next = c.view.Applied()
	}
	n := c.call()
	s.calls[n] = followCall{addr, c.now}
	s.busy[addr] = c.now
	if !entries {
		s.next[addr] = c.now + ms(beat)
	}
	c.do(FollowAction{Call: n, Addr: addr, Request: req, Timeout: callLimit + msDuration(wait)})
}

func (c *Core) followed(ev FollowedEvent) {
	s := &c.source
	call, ok := s.calls[ev.Call]
	if !ok {
		return
	}
	delete(s.calls, ev.Call)
	delete(s.busy, call.addr)
	if c.mode == sequencing || c.mode == over {
		return
	}
	if ev.Err != nil {
		c.notFollowed(call, ev.Err)
		return
	}
	resp := ev.Response
	s.answered[call.addr] = c.now
	delete(s.failed, call.addr)
	if len(resp.GetEntries()) > 0 || c.now-call.began >= ms(hold)/2 {
		delete(s.quick, call.addr)
	} else if s.quick[call.addr]++; s.quick[call.addr] > quickAnswers { // do not turn in circles
		s.next[call.addr] = max(s.next[call.addr], c.now+200)
	}
	if call.addr != c.leader.addr {
		s.answerAt = c.now
	}
	if c.mode == claiming {
		c.giveWay(resp)
		return
	}
	c.hear(call, resp)
	c.take(resp)
	c.openOutlet()
	c.confirm()
	c.follow()
}

// giveWay ends a claim that came too late. Somebody else has a newer term than the one that this agent claims after, so the log refuses the claim,
// which may take long to hear of it where the store is slow or cut off.
func (c *Core) giveWay(resp *peerpb.FollowResponse) {
	if c.yielding || resp.GetTerm() <= c.leader.term || resp.GetLeaving() || resp.GetSequencer() == "" || resp.GetSequencer() == c.cfg.Owner.Peer {
		return
	}
	c.yielding = true
	c.tell("somebody else has taken the metadata log", "sequencer", resp.GetSequencer(), "term", resp.GetTerm())
	c.do(StopSequencerAction{})
}

func (c *Core) notFollowed(call followCall, err error) {
	s, l := &c.source, &c.leader
	s.next[call.addr] = c.now + 200
	s.failed[call.addr] = c.now
	if call.addr != l.addr {
		s.badRelay = c.now + ms(calm)
		if call.addr == l.via {
			l.via = ""
		}
		return
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		l.refused++
	} else {
		l.refused = 0
	}
}

// hear takes from an answer what it says about the sequencer.
func (c *Core) hear(call followCall, resp *peerpb.FollowResponse) {
	l := &c.leader
	term, addr := resp.GetTerm(), resp.GetSequencer()
	switch {
	case term < l.term: // it does not know yet
	case resp.GetLeaving():
		c.succeed(term, addr, call.addr)
	case resp.GetSequencing():
		c.adopt(term, call.addr)
		l.directAt, l.reachedAt, l.refused = c.now, c.now, 0
		c.silence.heard()
		if c.view.Applied() >= resp.GetEnd() && !c.reading.underway {
			c.beReady()
		}
	case addr == "" || addr == c.cfg.Owner.Peer:
	default:
		if term > l.term || l.addr == "" {
			c.adopt(term, addr)
		}
		at := call.began - int64(resp.GetHeardMs())
		if addr == l.addr && resp.GetHeardMs() != math.MaxUint32 && at > l.viaAt {
			l.viaAt, l.via = at, call.addr
		}
		if int64(resp.GetHeardMs()) > ms(suspicion) && call.addr == c.sourceAddr() {
			c.source.badRelay = c.now + ms(calm)
		}
	}
}

// adopt takes the agent at addr for the sequencer.
func (c *Core) adopt(term uint64, addr string) {
	l := &c.leader
	if term == l.term && addr == l.addr || addr == c.cfg.Owner.Peer {
		return
	}
	reached := l.reachedAt
	*l = leader{term: term, addr: addr, since: c.now, reachedAt: reached, hinting: l.hinting, hintAfter: l.hintAfter}
	c.silence.heard()
	delete(c.source.next, addr)
	c.serving.stamp++
	c.closeOutlet()
	c.sending.after = 0
	c.tell("following", "sequencer", addr, "term", term)
}

// succeed deals with a sequencer that gives the log away to the agent at next.
func (c *Core) succeed(term uint64, next, from string) {
	if next == c.cfg.Owner.Peer {
		c.leader.term = term
		if c.now >= c.silence.retryAt() {
			c.silence.wanted = "the sequencer at " + from + " gives it away"
			c.claimIfWanted()
		}
		return
	}
	if next != "" {
		c.adopt(term, next)
	}
}

func (c *Core) claimIfWanted() {
	if why := c.silence.wanted; why != "" && c.mode == following && !c.reading.underway {
		c.silence.wanted = ""
		c.claim(why)
	}
}

// take applies the entries of an answer, and its members.
func (c *Core) take(resp *peerpb.FollowResponse) {
	if c.mode != following {
		return
	}
	if resp.GetTerm() >= c.leader.term {
		c.members.learn(c, resp.GetMembersVersion(), resp.GetMembers())
	}
	if c.reading.underway {
		return
	}
	if resp.GetTruncated() && resp.GetEnd() > c.view.Applied() {
		c.read(readBehind)
		return
	}
	first, applied := resp.GetFirst(), c.view.Applied()
	entries := resp.GetEntries()
	if len(entries) == 0 || first > applied {
		return
	}
	for i, body := range entries {
		seq := first + uint64(i)
		if seq < applied {
			continue
		}
		e, err := metadata.DecodeForFollowers(body)
		if err == nil && e.Seq != seq {
			err = metadata.ErrCorrupt
		}
		if err != nil && !errors.Is(err, metadata.ErrNewer) {
			c.tell("an agent sent an entry that can not be read; reading the log", "seq", seq, "err", err)
			c.read(readBehind)
			break
		}
		if err == nil {
			c.keepInline(e)
			c.view.Apply(e)
			err = metadata.CheckLevel(c.view.Level())
		}
		if err != nil {
			c.end(err)
			return
		}
		c.serving.ring.add(seq, body)
	}
	c.newTermSeen()
	c.afterApply()
	if l := &c.leader; l.directAt == c.now && c.view.Applied() >= resp.GetEnd() {
		c.beReady()
	}
}

// keepInline tells of this agent's own objects in e.
func (c *Core) keepInline(e metadata.Entry) {
	if c.cfg.OnInline == nil {
		return
	}
	e.EachPlaced(func(session metadata.SessionID, counter uint64, key string) {
		if uint64(session) != c.self.Session {
			return
		}
		for _, cmd := range c.sending.pending {
			if commit, ok := cmd.commit(); ok && commit.Session == session && commit.Counter == counter && commit.Inline != nil {
				c.cfg.OnInline(key, commit.Inline)
				return
			}
		}
	})
}

// newTermSeen looks for a new sequencer when the log tells of one.
func (c *Core) newTermSeen() {
	if term := c.view.Term(); term > c.leader.term && c.mode == following {
		c.leader.term = term
		c.leader.forget(c.now)
		c.closeOutlet()
		c.serving.stamp++
		c.hint()
		c.askOthers()
	}
}

// hint asks the log who owns it.
func (c *Core) hint() {
	l := &c.leader
	if l.hinting || c.now < l.hintAfter || c.mode != following {
		return
	}
	l.hinting, l.hintAfter = true, c.now+ms(beat)
	c.do(HintAction{})
}

func (c *Core) hinted(ev HintedEvent) {
	l := &c.leader
	l.hinting = false
	if c.mode != following {
		return
	}
	if ev.Err != nil {
		c.tell("the metadata log does not say who owns it", "err", ev.Err)
		return
	}
	h := ev.Hint
	if h.Term < l.term || h.Term == l.term && l.addr != "" {
		return
	}
	owner := metadata.ParseOwner(h.Owner)
	switch owner.Peer {
	case "": // an agent of before the hand-over, or nobody
		l.term = h.Term
		c.silence.wanted = "its owner " + h.Owner + " takes no calls"
		c.claimIfWanted()
	case c.cfg.Owner.Peer: // this agent's life before this one, which is over
		switch {
		case !c.ready:
			l.term, l.refused = h.Term, 2
		case h.Term > c.ownTerm: // a claim that was given up, and landed: nobody else can append
			l.term = h.Term
			c.silence.wanted = "it has taken the log already"
			c.claimIfWanted()
		}
	default:
		c.adopt(h.Term, owner.Peer)
		c.follow()
	}
}

// askOthers asks whoever else there is who sequences, and for entries.
func (c *Core) askOthers() {
	if c.mode != following && c.mode != claiming {
		return
	}
	var others []string
	for _, m := range c.members.list {
		if m.Peer != "" && m.Peer != c.cfg.Owner.Peer && m.Peer != c.leader.addr && !slices.Contains(others, m.Peer) {
			others = append(others, m.Peer)
		}
	}
	c.rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	for _, addr := range others[:min(len(others), askedAtOnce)] {
		c.askFollow(addr, true, 0)
	}
	c.askFollow(c.leader.addr, true, 0)
}
