package replica

import (
	"errors"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/routing"
)

// readWhy is what a read of the log is for.
type readWhy int

const (
	readStart  readWhy = iota // the first
	readBehind                // nobody has what is lacking in memory
	readLook                  // the sequencer is silent: what it left
	readLast                  // the sequencer has been silent for long: does the log stand still?
	readAsked                 // questions
)

// reading is the one read of the log that may be under way. It feeds the View, so nothing else does.
type reading struct {
	underway bool
	call     uint64
	why      readWhy
	from     uint64
	asked    uint64 // questions below are answered by it, 0: none
	after    int64  // earliest next one, after a failure
}

// silence is what an agent that does not hear the sequencer knows and intends.
type silence struct {
	off    int64  // back-off of the next claim, -1: not drawn yet
	looked bool   // the log has been read since the sequencer fell silent
	adrift bool   // the log moves though nobody hears who moves it
	wanted string // why to claim as soon as possible, "" if not
	claims int    // of late
	last   int64  // when the last claim began
	asked  int64  // when others were asked
}

// heard says that there is somebody to follow.
func (s *silence) heard() { s.off, s.looked, s.adrift, s.wanted = -1, false, false, "" }

func (s *silence) claimed(now int64) {
	if now-s.last > ms(calm) {
		s.claims = 0
	}
	s.claims++
	s.last = now
	s.heard()
}

// retryAt is when a claim may follow the last one.
func (s *silence) retryAt() int64 {
	if s.claims == 0 {
		return 0
	}
	return s.last + min(ms(time.Second)<<min(s.claims-1, 10), ms(longestOff))
}

// draw chooses the back-off. Agents that miss the sequencer together must not all claim at once: each has its turn, in an order that all who
// know the same members agree on. And agents that depose each other again and again must do it less and less.
func (c *Core) draw() int64 {
	s := &c.silence
	turn, jitter := int64(0), ms(c.cfg.Backoff)/5
	candidates := c.members.list.Where(func(m routing.Member) bool { return m.Peer != c.leader.addr })
	for i, m := range routing.PickN("sequencer", candidates, len(candidates)) {
		if m.Session == c.self.Session {
			turn = int64(min(i, maxTurn))
		}
	}
	if c.self.Draining {
		turn = maxTurn
	}
	if s.claims > 1 && c.now-s.last <= ms(calm) {
		jitter = min(ms(c.cfg.Backoff)<<min(s.claims-1, 10), ms(longestOff))
	}
	return turn*ms(c.cfg.Backoff)*3/5 + c.rng.Int64N(jitter+1)
}

// maxTurn is the last of the turns: who comes later shares it.
const maxTurn = 3

// watch looks after a sequencer that is not heard, at every tick.
func (c *Core) watch() {
	s, l := &c.silence, &c.leader
	if c.claimIfWanted(); c.mode != following {
		return
	}
	if l.addr == "" && !l.dead() {
		c.hint()
	}
	if !c.direct() {
		c.closeOutlet() // what is on its way there may never be answered
	}
	silent := c.now - l.heardAt()
	first, limit := ms(suspicion), ms(c.cfg.Silence)
	switch {
	case l.dead() && (c.source.answerAt == 0 || c.now-c.source.answerAt > ms(2*beat)): // and nobody is there to say otherwise
		first, limit = 0, 0
	case l.dead():
		first, limit = 0, ms(suspicion)
	case l.addr == "":
		first = 0
	}
	if silent >= first || !c.direct() && c.now-s.asked >= ms(beat) {
		s.asked = c.now
		c.askOthers()
	}
	switch {
	case silent < first:
		if !s.adrift {
			s.heard()
		}
	case c.reading.underway:
	case !s.looked:
		c.read(readLook)
	default:
		if s.off < 0 {
			s.off = c.draw()
		}
		if silent >= limit+s.off && c.now >= c.silence.retryAt() {
			c.read(readLast)
		}
	}
}

// read begins to bring the View along from the log itself.
func (c *Core) read(why readWhy) {
	if r := &c.reading; !r.underway && (c.now >= r.after || why == readStart) {
		*r = reading{underway: true, call: c.call(), why: why, from: c.view.Applied()}
		end := why == readStart
		if c.asking.unanswered() { // they cost a little more, and it is done at once
			end, r.asked = true, c.asking.next
		}
		c.stats.LogReads++
		c.do(ReadAction{Call: r.call, End: end})
	}
}

func (c *Core) readDone(ev ReadEvent) {
	r := &c.reading
	if !r.underway || r.call != ev.Call {
		return
	}
	r.underway = false
	if c.mode == over {
		return
	}
	if err := ev.Err; err != nil {
		if c.mode == starting || errors.Is(err, metadata.ErrNewer) || errors.Is(err, metadata.ErrCorrupt) {
			c.end(err)
			return
		}
		c.tell("the metadata log can not be read", "err", err)
		r.after = c.now + ms(beat)
	}
	c.syncRing()
	if c.mode == starting {
		c.started()
		return
	}
	c.newTermSeen()
	if ev.Err == nil {
		c.wasRead()
	}
	c.afterApply()
	c.confirm()
	c.follow()
	if c.mode == following {
		c.watch()
	}
}

// started knows the log: nobody is at work on it, or somebody is, or was when he died.
func (c *Core) started() {
	if !c.openSessions() {
		c.claim("nobody has a session")
		return
	}
	c.leader.term = c.view.Term()
	c.beginToFollow()
}

func (c *Core) openSessions() bool {
	for _, s := range c.view.Sessions() {
		if !s.Sealed {
			return true
		}
	}
	return false
}

// wasRead draws conclusions from a read of the log.
func (c *Core) wasRead() {
	r, s := &c.reading, &c.silence
	moved := c.view.Applied() > r.from
	c.answerBelow(r.asked)
	switch r.why {
	case readStart, readBehind, readAsked:
	case readLook:
		s.looked = true
		if s.adrift && moved {
			c.leader.since, s.looked = c.now, false
		}
	case readLast:
		switch {
		case moved: // by somebody whom nobody hears
			c.leader.since, s.looked, s.adrift, s.off = c.now, false, true, -1
		case c.now-c.leader.heardAt() >= ms(suspicion) || c.leader.dead() || c.leader.addr == "":
			s.wanted = "the sequencer is silent"
		}
	}
}
