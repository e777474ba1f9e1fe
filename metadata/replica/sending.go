package replica

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/peer/peerpb"
)

// sending is the commands of this agent that are not answered, in the order in which they came and take effect, and where they go.
type sending struct {
	pending []*Command // some are gone
	unsent  int        // index of the first that may not have been handed on
	byID    map[uint64]*Command
	settled []*Command // that wait for the View
	count   int
	bytes   int
	lastID  uint64

	outlet  *outlet // nil: there is none
	outlets uint64
	after   int64 // earliest next stream
}

// outlet is where commands go: the own sequencer, or a stream to somebody else's.
type outlet struct {
	number  uint64
	own     bool
	addr    string
	refused int64 // when it said that it does not sequence any more, 0: it did not
}

// Room reports whether another command may be submitted; when not, submitters wait. After the end there is room: to be refused.
func (c *Core) Room() bool {
	s := &c.sending
	return c.mode == over || s.count < c.cfg.PendingCommands && s.bytes < c.cfg.PendingBytes
}

func (c *Core) submit(cmd *Command) {
	s := &c.sending
	if c.mode == over {
		cmd.gone = true
		c.do(AnswerAction{cmd, nil, errEnded})
		return
	}
	s.lastID++
	cmd.id = s.lastID
	s.byID[cmd.id] = cmd
	s.pending = append(s.pending, cmd)
	s.count++
	s.bytes += len(cmd.encoded)
	c.send()
}

// command submits a command of the Core's own; done is called in a later Step.
func (c *Core) command(cmd metadata.Command, done func(metadata.Result, error)) {
	own, err := NewCommand(cmd, nil)
	if err != nil {
		done(nil, err)
		return
	}
	own.own = done
	c.submit(own)
}

func (c *Core) withdraw(cmd *Command) {
	if cmd.id == 0 || cmd.gone || cmd.outlet != 0 || cmd.keeps() {
		return
	}
	c.remove(cmd)
}

// send hands on what has not been.
func (c *Core) send() {
	s := &c.sending
	if s.outlet == nil || s.outlet.refused != 0 {
		return
	}
	for ; s.unsent < len(s.pending); s.unsent++ {
		cmd := s.pending[s.unsent]
		if cmd.gone || cmd.outlet != 0 {
			continue
		}
		cmd.outlet = s.outlet.number
		c.do(SendAction{Outlet: s.outlet.number, Own: s.outlet.own, Command: cmd})
	}
}

// remove takes a command out.
func (c *Core) remove(cmd *Command) {
	s := &c.sending
	cmd.gone = true
	delete(s.byID, cmd.id)
	s.count--
	s.bytes -= len(cmd.encoded)
	n := 0
	for n < len(s.pending) && s.pending[n].gone {
		s.pending[n] = nil
		n++
	}
	s.pending = s.pending[n:]
	s.unsent = max(0, s.unsent-n)
	if len(s.pending) > 2*s.count+1024 {
		s.pending = slices.DeleteFunc(s.pending, func(cmd *Command) bool { return cmd.gone })
		s.unsent = 0
	}
}

// finish answers a command.
func (c *Core) finish(cmd *Command, r metadata.Result, err error) {
	c.remove(cmd)
	if res, ok := r.(metadata.CommitObjectResult); ok && cmd.doubt && errors.Is(res.Err, metadata.ErrSessionSealed) {
		// A seal forgets the results of before: the first time it may have taken effect.
		r, err = nil, fmt.Errorf("%w: %w", metadata.ErrUnavailable, res.Err)
	}
	if cmd.own != nil {
		cmd.own(r, err)
		return
	}
	c.do(AnswerAction{cmd, r, err})
}

// unknown deals with a command of which nobody will say what became of it. One that may be repeated waits for the next outlet.
func (c *Core) unknown(cmd *Command, err error) {
	if cmd.keeps() && c.mode != over {
		cmd.outlet, cmd.doubt = 0, true
		c.sending.unsent = 0
		c.stats.Resent++
		return
	}
	if !errors.Is(err, metadata.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", metadata.ErrUnavailable, err)
	}
	c.finish(cmd, nil, err)
}

// ownOutlet hands commands to the own sequencer from now on.
func (c *Core) ownOutlet() {
	s := &c.sending
	s.outlets++
	s.outlet = &outlet{number: s.outlets, own: true, addr: c.cfg.Owner.Peer}
	c.send()
}

// openOutlet opens a stream to the sequencer once it is heard.
func (c *Core) openOutlet() {
	s := &c.sending
	if o := s.outlet; o != nil && o.refused != 0 && (c.now-o.refused >= ms(settleRefused) || !c.awaits(o)) {
		c.closeOutlet()
	}
	if c.mode != following || s.outlet != nil || c.now < s.after || !c.direct() || c.leader.addr == "" || c.leader.refused > 0 {
		return
	}
	s.outlets++
	s.outlet = &outlet{number: s.outlets, addr: c.leader.addr}
	s.after = c.now + ms(Tick)
	c.do(OpenAction{s.outlet.number, s.outlet.addr})
	c.send()
}

// awaits reports whether answers from o are lacking.
func (c *Core) awaits(o *outlet) bool {
	return slices.ContainsFunc(c.sending.pending, func(cmd *Command) bool { return cmd.outlet == o.number && !cmd.gone && !cmd.settled })
}

// closeOutlet lets go of the stream, if there is one.
func (c *Core) closeOutlet() {
	if o := c.sending.outlet; o != nil && !o.own {
		c.do(CloseAction{o.number})
		c.outletEnded()
	}
}

// outletEnded settles what was handed to the outlet that is no more.
func (c *Core) outletEnded() {
	s := &c.sending
	if s.outlet == nil {
		return
	}
	n := s.outlet.number
	s.outlet = nil
	for _, cmd := range slices.Clone(s.pending) {
		if cmd != nil && cmd.outlet == n && !cmd.gone && !cmd.settled {
			c.unknown(cmd, errors.New("the sequencer has gone"))
		}
	}
}

// endOutlet answers everybody: this agent stops.
func (c *Core) endOutlet() {
	s := &c.sending
	if o := s.outlet; o != nil && !o.own {
		c.do(CloseAction{o.number})
	}
	s.outlet = nil
	for _, cmd := range slices.Clone(s.pending) {
		if cmd != nil && !cmd.gone {
			c.finish(cmd, nil, errEnded)
		}
	}
}

// answered takes what the own sequencer says.
func (c *Core) answered(ev AnsweredEvent) {
	cmd := ev.Command
	if cmd.gone || cmd.outlet != ev.Outlet {
		return
	}
	// A sequencer that goes on says "unknown" only of what the State has forgotten, and then a repeat changes nothing.
	if errors.Is(ev.Err, metadata.ErrUnavailable) && !errors.Is(ev.Err, metadata.ErrOutOfOrderCounter) {
		if cmd.keeps() && c.mode == sequencing {
			cmd.settled = false
			return // outletEnded comes, in order
		}
		c.unknown(cmd, ev.Err)
		return
	}
	c.finish(cmd, ev.Result, ev.Err)
}

// response takes what another agent says.
func (c *Core) response(ev ResponseEvent) {
	o, resp := c.sending.outlet, ev.Response
	if o == nil || o.number != ev.Outlet {
		return
	}
	cmd := c.sending.byID[resp.GetId()]
	if cmd == nil || cmd.outlet != o.number || cmd.settled {
		return
	}
	switch resp.GetCode() {
	case peerpb.Code_CODE_OK:
		r, err := metadata.DecodeResult(resp.GetResult())
		if err != nil {
			c.unknown(cmd, err)
			c.refusedBy(o)
			return
		}
		cmd.settled, cmd.result, cmd.seq = true, r, resp.GetSeq()
		c.sending.settled = append(c.sending.settled, cmd)
		c.settle()
	case peerpb.Code_CODE_INVALID:
		c.finish(cmd, nil, fmt.Errorf("%w: %s", metadata.ErrInvalidCommand, resp.GetMessage()))
	case peerpb.Code_CODE_NOT_SEQUENCER: // nothing was done
		cmd.outlet = 0
		c.sending.unsent = 0
		c.refusedBy(o)
	default:
		c.unknown(cmd, errors.New(resp.GetMessage()))
		c.refusedBy(o)
	}
}

// refusedBy says that nothing more is to be had from o but what is on its way.
func (c *Core) refusedBy(o *outlet) {
	if o.refused == 0 {
		o.refused = c.now
	}
	c.openOutlet()
}

func (c *Core) broken(ev BrokenEvent) {
	if o := c.sending.outlet; o != nil && o.number == ev.Outlet && !o.own {
		c.outletEnded()
	}
}

// settle answers the commands whose entries the View has.
func (c *Core) settle() {
	s := &c.sending
	if len(s.settled) == 0 {
		return
	}
	applied := c.view.Applied()
	later := s.settled[:0]
	var now []*Command
	for _, cmd := range s.settled {
		if cmd.seq < applied {
			now = append(now, cmd)
		} else {
			later = append(later, cmd)
		}
	}
	clear(s.settled[len(later):])
	s.settled = later
	for _, cmd := range now {
		if !cmd.gone {
			c.finish(cmd, cmd.result, nil)
		}
	}
}
