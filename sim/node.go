package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/replica"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/routing"
)

// node drives a replica.Core as replica.Node does: one event at a time, calls of others over the network, and reads of the log in tasks.
type node struct {
	a      *agent
	core   *replica.Core
	events []replica.Event
	busy   bool // events are being taken
	ready  bool
	ended  bool
	err    error // it ended with

	polls   map[uint64]func(*peerpb.FollowResponse) // of others, not answered
	polled  uint64
	outlets map[uint64]*pipe
	streams uint64             // opened by others so far
	cancel  context.CancelFunc // of the take-over under way

	began int64            // its own last term, in world time
	heard map[uint64]int64 // when it was called last in that term by the agent of a session
}

func newNode(a *agent) *node {
	cfg := replica.Config{Owner: metadata.Owner{Kafka: a.kafka(), Peer: a.address()}, RingEntries: a.w.profile.ring}
	return &node{
		a: a, core: replica.NewCore(cfg, a.view, rand.New(rand.NewPCG(a.rng.Uint64(), 1))),
		polls: map[uint64]func(*peerpb.FollowResponse){}, outlets: map[uint64]*pipe{},
	}
}

func (n *node) start() {
	n.take(replica.StartEvent{})
	n.tick()
}

func (n *node) tick() {
	n.a.after(replica.Tick, "tick", func() {
		if n.ended {
			return
		}
		n.tick()
		ev := replica.TickEvent{}
		if s := n.a.seq; s != nil && !s.ended && s.since > 0 {
			ev.Stalled = time.Duration(n.a.w.now-s.since) * time.Millisecond
		}
		n.take(ev)
	})
}

// take hands the core one event; those that come of it are taken after it, in their order.
func (n *node) take(ev replica.Event) {
	n.events = append(n.events, ev)
	if n.busy {
		return
	}
	n.busy = true
	for len(n.events) > 0 && !n.a.gone {
		ev := n.events[0]
		n.events = n.events[1:]
		n.carryOut(n.core.Step(ev, n.a.w.now)) // a clock of its own that nobody sets
	}
	n.busy = false
}

// carryOut does what the core wants done.
func (n *node) carryOut(actions []replica.Action) {
	a, w := n.a, n.a.w
	for _, act := range actions {
		switch act := act.(type) {
		case replica.ReadAction:
			w.spawn(a, "read log", func(*task) { n.take(replica.ReadEvent{Call: act.Call, Err: n.read(act)}) })
		case replica.HintAction:
			w.spawn(a, "hint", func(*task) {
				hint, err := a.log.Hint(w.ctx)
				n.take(replica.HintedEvent{Hint: hint, Err: err})
			})
		case replica.FollowAction:
			n.follow(act)
		case replica.AcquireAction:
			ctx, cancel := context.WithCancel(w.ctx)
			n.cancel = cancel
			w.spawn(a, "acquire", func(*task) { n.acquire(ctx, act.Unless) })
		case replica.CheckAction:
			a.seq.ask(func(err error) { n.take(replica.CheckedEvent{Call: act.Call, Err: err}) })
		case replica.StopSequencerAction:
			if n.cancel != nil {
				n.cancel()
			} else {
				a.seq.take(metadata.StopEvent{})
			}
		case replica.OpenAction:
			n.open(act)
		case replica.SendAction:
			n.send(act)
		case replica.CloseAction:
			if p := n.outlets[act.Outlet]; p != nil {
				delete(n.outlets, act.Outlet)
				p.cutShort()
			}
		case replica.ConfirmAction:
			w.net.call(a, act.Addr, "confirm", confirmLimit, func(b *agent, reply func(any)) { b.node.serveConfirm(reply) }, func(answer any, err error) {
				next, ok := answer.(uint64)
				if err == nil && !ok {
					err = fmt.Errorf("%w: %v", metadata.ErrUnavailable, answer)
				}
				n.take(replica.ConfirmedEvent{Call: act.Call, Next: next, Err: err})
			})
		case replica.AnswerAction:
			act.Answer()
		case replica.TellAction:
			act.Tell()
		case replica.ReplyAction:
			if reply := n.polls[act.Call]; reply != nil {
				delete(n.polls, act.Call)
				reply(act.Response)
			}
		case replica.ReadyAction:
			n.ready = true
		case replica.SealedAction:
			if act.Session == uint64(a.session) {
				a.reopen()
			}
		case replica.LogAction:
			w.note("log", act.Text+fmt.Sprint(act.Args...), 0)
			w.counts[act.Text]++
		case replica.EndAction:
			n.end(act.Err)
		default:
			w.fault("rest", "the replica wants %T, which is not carried out", act)
		}
	}
}

// confirmLimit is for how long another agent is asked where the log ends.
const confirmLimit = 5 * time.Second

// read brings the View along.
func (n *node) read(act replica.ReadAction) error {
	a := n.a
	if act.End {
		_, err := metadata.Follow(a.w.ctx, a.log, a.view, a.w.sleep)
		return err
	}
	return metadata.CatchUp(a.w.ctx, a.log, a.view, a.w.sleep)
}

// acquire takes the log over.
//
//nolint:contextcheck // what comes of it outlives the call
func (n *node) acquire(ctx context.Context, unless uint64) {
	a := n.a
	sleep := func(ctx context.Context, d time.Duration) error {
		_ = a.w.sleep(ctx, d)
		return ctx.Err()
	}
	start, err := metadata.TakeOver(ctx, a.log, a.view, metadata.Owner{Kafka: a.kafka(), Peer: a.address()}.String(), unless, sleep, a.w.discard)
	if err == nil {
		err = ctx.Err()
	}
	n.cancel()
	n.cancel = nil
	if err == nil {
		a.w.counts["terms taken over"]++
		a.w.saw(a.view, fmt.Sprintf("replay of agent %d from entry %d", a.n, start.SnapshotSeq))
		cfg := metadata.SequencerConfig{Owner: a.label(), CheckpointEntries: a.w.profile.checkpoint, EntryCommands: a.w.profile.entryCommands}
		s := &sequencer{a: a, core: metadata.NewSequencerCore(cfg, a.view, a.id16, start)}
		s.applied = func(e metadata.Entry) { n.take(replica.AppliedEvent{Entry: e}) }
		s.over = func(err error) {
			if errors.Is(err, metadata.ErrFenced) {
				a.w.deposed(a)
			}
			n.take(replica.EndedEvent{Err: err})
		}
		a.seq = s
		n.began, n.heard = a.w.now, map[uint64]int64{}
	}
	n.take(replica.AcquiredEvent{Start: start, Err: err})
}

// follow asks another agent for news.
func (n *node) follow(act replica.FollowAction) {
	n.a.w.net.call(n.a, act.Addr, "follow", act.Timeout, func(b *agent, reply func(any)) {
		b.node.poll(act.Request, func(r *peerpb.FollowResponse) { reply(r) })
	}, func(answer any, err error) {
		r, _ := answer.(*peerpb.FollowResponse)
		if n.a.w.cfg.Trace != nil {
			n.a.w.tell("%s followed %s from %d: %d to %d, truncated %t, sequencing %t, %v", n.a.label(), act.Addr, int64(act.Request.GetNext()), len(r.GetEntries()), r.GetEnd(), r.GetTruncated(), r.GetSequencing(), err)
		}
		n.take(replica.FollowedEvent{Call: act.Call, Response: r, Err: err})
	})
}

// poll takes another agent's question for news.
func (n *node) poll(req *peerpb.FollowRequest, reply func(*peerpb.FollowResponse)) {
	n.polled++
	n.polls[n.polled] = reply
	if s := n.a.seq; s != nil && !s.ended {
		n.heard[req.GetSelf().GetSession()] = n.a.w.now
	}
	n.take(replica.PolledEvent{Call: n.polled, Request: req})
}

// open opens a stream of commands to another agent.
func (n *node) open(act replica.OpenAction) {
	broken := func(err error) {
		if n.outlets[act.Outlet] != nil {
			delete(n.outlets, act.Outlet)
			n.take(replica.BrokenEvent{Outlet: act.Outlet, Err: err})
		}
	}
	p := n.a.w.net.dial(n.a, act.Addr)
	if p == nil {
		n.outlets[act.Outlet] = &pipe{n: n.a.w.net, by: n.a, broken: true}
		n.a.after(n.a.w.net.delay(), "not opened", func() { broken(errRefused) })
		return
	}
	n.outlets[act.Outlet] = p
	p.over[1] = broken
	p.to.node.streams++
	p.number = p.to.node.streams
}

// send hands a command on.
func (n *node) send(act replica.SendAction) {
	a, cmd := n.a, act.Command
	if act.Own {
		n.checkSeal(cmd)
		sub := cmd.Submission(func(r metadata.Result, err error) {
			n.take(replica.AnsweredEvent{Outlet: act.Outlet, Command: cmd, Result: r, Err: err})
		})
		a.seq.take(metadata.SubmitEvent{Sub: sub})
		return
	}
	p := n.outlets[act.Outlet]
	if p == nil || p.broken {
		return // it will be told
	}
	id, encoded := cmd.ID(), cmd.Encoded()
	p.there(func() {
		p.to.node.serveCommand(p.number, encoded, func(r *peerpb.SubmitResponse) {
			r.Id = id
			p.back(func() {
				if n.outlets[act.Outlet] == p {
					n.take(replica.ResponseEvent{Outlet: act.Outlet, Response: r})
				}
			})
		})
	})
}

// checkSeal looks for seals that come too early ("sealed"): a sequencer ends the session of another agent after sealAfter without a call
// from it, and as long in its term.
func (n *node) checkSeal(cmd *replica.Command) {
	decoded, err := metadata.DecodeCommand(cmd.Encoded())
	seal, ok := decoded.(metadata.SealSession)
	if err != nil || !ok || seal.Session == n.a.session {
		return
	}
	for _, s := range n.a.view.Sessions() {
		if d := n.a.w.now - max(n.began, n.heard[uint64(s.ID)]); s.ID == seal.Session && s.Agent.Level >= metadata.MaxLevel-1 && d < sealAfter.Milliseconds() {
			n.a.w.flaw("sealed", "%s seals session %d, which it has missed for %d ms", n.a.label(), s.ID, d)
		}
	}
}

// sealAfter is for how long an agent may be silent.
const sealAfter = 20 * time.Second

// serveCommand takes a command of another agent, as replica.Node does with what comes on a stream of Submit.
func (n *node) serveCommand(stream uint64, encoded []byte, reply func(*peerpb.SubmitResponse)) {
	cmd, err := metadata.DecodeCommand(encoded)
	if err != nil {
		reply(&peerpb.SubmitResponse{Code: peerpb.Code_CODE_INVALID, Message: err.Error()})
		return
	}
	s := n.a.seq
	if s == nil || s.ended || !n.core.Sequencing() {
		reply(&peerpb.SubmitResponse{Code: peerpb.Code_CODE_NOT_SEQUENCER})
		return
	}
	if c, ok := cmd.(metadata.CommitObject); ok {
		if !n.core.Admit(stream, c.Session) {
			reply(&peerpb.SubmitResponse{Code: peerpb.Code_CODE_UNAVAILABLE})
			return
		}
	}
	s.submit(cmd, func(r metadata.Result, err error) {
		switch {
		case err != nil:
			reply(&peerpb.SubmitResponse{Code: peerpb.Code_CODE_UNAVAILABLE, Message: err.Error()})
		default:
			reply(&peerpb.SubmitResponse{Seq: n.a.view.Applied() - 1, Result: metadata.EncodeResult(r)})
		}
	})
}

// serveConfirm answers where the log ended after the call came, as far as this agent sequences.
func (n *node) serveConfirm(reply func(any)) {
	s := n.a.seq
	if s == nil || s.ended || !n.core.Sequencing() {
		reply("not the sequencer")
		return
	}
	s.ask(func(err error) {
		if err != nil {
			reply(err.Error())
			return
		}
		reply(n.a.view.Applied())
	})
}

// submit hands in a command of this agent, as replica.Node.Submit does.
func (n *node) submit(cmd metadata.Command, done func(metadata.Result, error)) {
	if n.ended {
		done(nil, fmt.Errorf("%w: %w", metadata.ErrUnavailable, metadata.ErrEnded))
		return
	}
	c, err := replica.NewCommand(cmd, done)
	if err != nil {
		done(nil, err)
		return
	}
	n.take(replica.SubmitEvent{Command: c})
}

// ask puts a question, as replica.Node.Confirm does: again, to the own sequencer, when this agent has become one meanwhile.
func (n *node) ask(done func(error)) {
	switch {
	case n.ended:
		done(metadata.ErrEnded)
	case n.a.seq != nil && !n.a.seq.ended && n.core.Sequencing():
		n.a.seq.ask(func(err error) {
			if errors.Is(err, metadata.ErrEnded) && !n.ended {
				n.a.after(0, "ask again", func() { n.ask(done) })
				return
			}
			done(err)
		})
	default:
		n.take(replica.AskEvent{Question: replica.NewQuestion(func(err error) {
			if errors.Is(err, replica.ErrAgain) && !n.ended {
				n.a.after(0, "ask again", func() { n.ask(done) })
				return
			}
			done(err)
		})})
	}
}

func (n *node) setSelf(m routing.Member) { n.take(replica.SelfEvent{Member: m}) }

func (n *node) reachable() bool { return n.core.Reachable(n.a.w.now) }

func (n *node) members() routing.Members { return n.core.Members() }

func (n *node) stop() { n.take(replica.StopEvent{}) }

// end is what becomes of an agent whose end of the log is over: it exits.
func (n *node) end(err error) {
	n.ended, n.err = true, err
	n.a.w.note("replica ended", fmt.Sprint(err), int64(n.a.n))
	if corrupt(err) {
		n.a.w.fault("rest", "%s: its end of the log is over: %v", n.a.label(), err)
	}
	if errors.Is(err, metadata.ErrNewer) {
		n.a.w.counts["agents too old"]++
	}
	if n.ready && !n.a.stopping {
		n.a.ended, n.a.ready = true, false
		n.a.groups.end()
		n.a.w.counts["agents ended"]++
		n.a.after(time.Second, "exit", func() { n.a.w.kill(n.a) })
	}
}
