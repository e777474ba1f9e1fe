package sim

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// party is one end of the network: the store, an agent by its number, or a machine on which clients run.
type party int

const theStore party = 0

// machines is how many machines clients run on, one to each zone that there may be.
const machines = 3

func (a *agent) party() party { return party(a.n) }

// machine is the i-th machine of clients.
func machine(i int) party { return party(-1 - i) }

// way is a direction between two parties; each of the two of a pair can be cut alone.
type way struct{ from, to party }

// What a caller hears in the place of an answer.
var (
	errNoAnswer = errors.New("no answer") // in time: cut off, asleep, or slow
	errRefused  = fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	errReset    = errors.New("connection reset")
)

// keepAlive is for how long a connection stands that carries nothing, in milliseconds.
const keepAlive = 10_000

// network is what lies between the parties of a cluster: it delays what is sent, and loses it where the way is cut. What is sent to
// a process that sleeps lies there until it wakes; what is sent to a dead one is refused.
type network struct {
	w     *world
	cuts  map[way]int64   // until when nothing goes this way, world time
	pipes []*pipe         // that stand
	dead  map[string]bool // addresses on machines that are gone: nobody there refuses anything
}

func newNetwork(w *world) *network {
	return &network{w: w, cuts: map[way]int64{}, dead: map[string]bool{}}
}

// open tells whether anything goes this way now. A world without a network has no cuts.
func (n *network) open(from, to party) bool { return n == nil || n.cuts[way{from, to}] <= n.w.now }

// cut stops what goes one way for a while.
func (n *network) cut(from, to party, d time.Duration) {
	w := way{from, to}
	n.cuts[w] = max(n.cuts[w], n.w.now+d.Milliseconds())
}

func (n *network) heal() { clear(n.cuts) }

// delay is how long something is on its way.
func (n *network) delay() time.Duration {
	d := time.Duration(n.w.rng.Int64N(n.w.profile.delay+1)) * time.Millisecond
	if !n.w.mild() && n.w.kind != Stalled && n.w.rng.IntN(200) == 0 {
		d += time.Duration(n.w.rng.IntN(2000)) * time.Millisecond
	}
	return d
}

// call is one request to another agent that has not been answered.
type call struct {
	by      *agent
	settled bool
	limit   *timer
	done    func(answer any, err error)
}

func (c *call) settle(answer any, err error) {
	if c.settled || c.by.gone {
		return
	}
	c.settled, c.limit.off = true, true
	c.done(answer, err)
}

// call asks the agent at a peer address. serve runs there and gives its answer to reply, once, now or later. done hears once, here: the
// answer, or why there is none; never if a dies before.
func (n *network) call(a *agent, address, name string, limit time.Duration, serve func(b *agent, reply func(any)), done func(any, error)) {
	c := &call{by: a, done: done}
	c.limit = a.after(limit, name+" times out", func() { c.settle(nil, errNoAnswer) })
	b := n.w.at(address)
	if b == nil {
		if !n.dead[address] {
			a.after(n.delay(), name+" refused", func() { c.settle(nil, errRefused) })
		}
		return
	}
	if !n.open(a.party(), b.party()) {
		n.w.counts["messages lost"]++
		return
	}
	b.serving = slices.DeleteFunc(b.serving, func(c *call) bool { return c.settled })
	b.serving = append(b.serving, c)
	b.after(n.delay(), name, func() {
		serve(b, func(answer any) {
			if !n.open(b.party(), a.party()) {
				n.w.counts["messages lost"]++
				return
			}
			a.after(n.delay(), name+" answered", func() { c.settle(answer, nil) })
		})
	})
}

// hangUp is what callers see of an agent that dies.
func (n *network) hangUp(b *agent) {
	silent := n.dead[b.address()]
	for _, c := range b.serving {
		if !c.settled && !c.by.gone && !silent {
			c.by.after(n.delay(), "reset", func() { c.settle(nil, errReset) })
		}
	}
	b.serving = nil
	for _, p := range slices.Clone(n.pipes) {
		if (p.by == b || p.to == b) && !silent {
			p.cutShort()
		}
	}
}

// pipe is one connection that carries messages both ways in their order: from the agent that dialed it, and back.
type pipe struct {
	n      *network
	by, to *agent
	number uint64  // at to, among those it was dialed by
	ways   [2]line // there, back
	broken bool
	ended  [2]bool // who has been told
	over   [2]func(error)
}

// line is what is under way in one direction.
type line struct {
	queue []message
}

type message struct {
	sent int64
	fire func()
}

// dial makes a connection to the agent at an address; nil when nobody is there or nothing gets there. over is told, at each end, that it has
// broken, after what came before.
func (n *network) dial(a *agent, address string) *pipe {
	b := n.w.at(address)
	if b == nil || !n.open(a.party(), b.party()) || !n.open(b.party(), a.party()) {
		return nil
	}
	p := &pipe{n: n, by: a, to: b}
	n.pipes = append(n.pipes, p)
	p.listen(a, b, false)
	p.listen(b, a, false)
	return p
}

// listen breaks the connection when an end hears nothing of the other for long.
func (p *pipe) listen(here, there *agent, silent bool) {
	here.after(keepAlive*time.Millisecond/2, "keep alive", func() {
		if p.broken {
			return
		}
		deaf := there.gone || there.paused || !p.n.open(here.party(), there.party()) || !p.n.open(there.party(), here.party())
		if deaf && silent {
			p.cutShort()
			return
		}
		p.listen(here, there, deaf)
	})
}

// there sends a message to the agent that was dialed.
func (p *pipe) there(fire func()) { p.send(0, p.to, fire) }

// back sends a message to the agent that has dialed.
func (p *pipe) back(fire func()) { p.send(1, p.by, fire) }

func (p *pipe) send(dir int, to *agent, fire func()) {
	if p.broken || to.gone {
		return
	}
	l := &p.ways[dir]
	l.queue = append(l.queue, message{p.n.w.now, fire})
	to.after(p.n.delay(), "message", func() { p.arrive(dir) })
}

// arrive delivers the oldest message: one timer is under way for each.
func (p *pipe) arrive(dir int) {
	l := &p.ways[dir]
	if len(l.queue) == 0 {
		return
	}
	from, to := p.by, p.to
	if dir == 1 {
		from, to = to, from
	}
	if !p.n.open(from.party(), to.party()) {
		if p.n.w.now-l.queue[0].sent < keepAlive { // it is sent again and again
			to.after(250*time.Millisecond, "message", func() { p.arrive(dir) })
			return
		}
		p.cutShort()
		return
	}
	m := l.queue[0]
	l.queue = l.queue[1:]
	m.fire()
}

// cutShort breaks the connection. What is under way is lost, or some of it still arrives.
func (p *pipe) cutShort() {
	if p.broken {
		return
	}
	p.broken = true
	p.n.pipes = slices.DeleteFunc(p.n.pipes, func(q *pipe) bool { return p == q })
	for dir, at := range []*agent{p.to, p.by} {
		l := &p.ways[dir]
		if len(l.queue) > 0 {
			l.queue = l.queue[:p.n.w.rng.IntN(len(l.queue)+1)]
		}
		if at.gone {
			continue
		}
		at.after(p.n.delay(), "broken", func() { p.end(dir) })
	}
}

// end tells one end of a broken connection, after what still arrives there.
func (p *pipe) end(dir int) {
	from, to := p.by, p.to
	if dir == 1 {
		from, to = to, from
	}
	l := &p.ways[dir]
	for len(l.queue) > 0 && p.n.open(from.party(), to.party()) {
		m := l.queue[0]
		l.queue = l.queue[1:]
		m.fire()
	}
	l.queue = nil
	if over := p.over[dir]; over != nil && !p.ended[dir] {
		p.ended[dir] = true
		over(errReset)
	}
}
