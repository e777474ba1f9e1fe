package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/peer/peerpb"
)

// confirmLimit is for a call of Confirm at another agent, which asks the log.
const confirmLimit = 5 * time.Second

// carryOut does what the Core wants done; mu is held, so nothing here waits.
//
//nolint:contextcheck,nolintlint // contextcheck reads this where it is called: what it starts is Run's work and ends with Run, whoever's event it came of
func (n *Node) carryOut(act Action) {
	switch act := act.(type) {
	case ReadAction:
		n.work.Go(func() { n.step(ReadEvent{act.Call, n.read(act.End)}) })
	case HintAction:
		n.work.Go(func() {
			hint, err := n.parts.Log.Hint(n.ctx)
			n.step(HintedEvent{hint, err})
		})
	case FollowAction:
		n.work.Go(func() {
			ctx, cancel := context.WithTimeout(n.ctx, act.Timeout)
			defer cancel()
			resp, err := n.parts.Transport.Follow(ctx, act.Addr, act.Request)
			n.step(FollowedEvent{act.Call, resp, err})
		})
	case ConfirmAction:
		n.work.Go(func() {
			next, err := n.confirmAt(act.Addr)
			n.step(ConfirmedEvent{act.Call, next, err})
		})
	case AcquireAction:
		n.acquire(act.Unless)
	case CheckAction:
		if own := n.sequencer; own != nil {
			n.work.Go(func() {
				ctx, cancel := context.WithTimeout(n.ctx, confirmLimit)
				defer cancel()
				err := own.Confirm(ctx)
				if err != nil {
					n.parts.Logger.DebugContext(ctx, "the log does not say whether this term is the newest", "err", err)
				}
				n.step(CheckedEvent{act.Call, err})
			})
		}
	case StopSequencerAction:
		n.stopOwn()
	case OpenAction:
		n.openLane(act.Outlet, act.Addr)
	case SendAction:
		n.send(act)
	case CloseAction:
		if l := n.lanes[act.Outlet]; l != nil {
			delete(n.lanes, act.Outlet)
			l.close()
		}
	case AnswerAction:
		n.after = append(n.after, act.Answer)
	case TellAction:
		n.after = append(n.after, act.Tell)
	case ReplyAction:
		if reply := n.replies[act.Call]; reply != nil {
			delete(n.replies, act.Call)
			reply <- act.Response // has room for one
		}
	case ReadyAction:
		close(n.ready)
	case SealedAction:
		select {
		case <-n.sealed: // of an earlier session
		default:
		}
		n.sealed <- act.Session
	case LogAction:
		n.parts.Logger.Info(act.Text, act.Args...) //nolint:sloglint // the texts are constants of Core
	case EndAction:
		n.err = act.Err
		close(n.ended)
	}
}

// read brings the View along.
func (n *Node) read(end bool) error {
	if end {
		_, err := metadata.Follow(n.ctx, n.parts.Log, n.parts.View, pause)
		return err
	}
	return metadata.CatchUp(n.ctx, n.parts.Log, n.parts.View, pause)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *Node) confirmAt(addr string) (uint64, error) {
	ctx, cancel := context.WithTimeout(n.ctx, confirmLimit)
	defer cancel()
	resp, err := n.parts.Transport.Confirm(ctx, addr)
	if err != nil {
		return 0, err
	}
	if code := resp.GetCode(); code != peerpb.Code_CODE_OK {
		return 0, fmt.Errorf("%s does not confirm the end of the metadata log (%s): %s", addr, code, resp.GetMessage())
	}
	return resp.GetNext(), nil
}

// acquire starts a sequencer, which takes the log over.
func (n *Node) acquire(unless uint64) {
	cfg := n.parts.Sequencer
	cfg.Owner, cfg.Unless = n.cfg.Owner.String(), unless
	cfg.OnApplied = func(e metadata.Entry) { n.step(AppliedEvent{e}) }
	own := metadata.NewSequencer(cfg, n.parts.Log, n.parts.View, n.parts.Now, n.parts.IDs, n.parts.Logger)
	ctx, cancel := context.WithCancel(n.ctx)
	n.sequencer, n.stopOwn = own, cancel
	n.work.Go(func() {
		defer cancel()
		ended := make(chan error, 1)
		n.work.Go(func() { ended <- own.Run(ctx) })
		var err error
		select {
		case <-own.Ready():
			n.step(AcquiredEvent{Start: own.Start()})
			err = <-ended
		case err = <-ended:
			select {
			case <-own.Ready(): // and over at once
				n.step(AcquiredEvent{Start: own.Start()})
			default:
				if err == nil {
					err = context.Canceled
				}
				n.forgetOwn(own)
				n.step(AcquiredEvent{Err: err})
				return
			}
		}
		n.forgetOwn(own)
		n.step(EndedEvent{err})
	})
}

// forgetOwn keeps the counters of a sequencer that has ended.
func (n *Node) forgetOwn(own *metadata.Sequencer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sequencer == own {
		n.last, n.sequencer = addStats(n.last, own.Stats()), nil
	}
}

// lane carries commands to one outlet, in order, from a goroutine that may wait.
type lane struct {
	node   *Node
	outlet uint64
	queue  []*Command // guarded by node.mu
	wake   chan struct{}
	ctx    context.Context //nolint:containedctx // of its goroutines
	cancel context.CancelFunc
}

func (n *Node) newLane(outlet uint64) *lane {
	ctx, cancel := context.WithCancel(n.ctx)
	l := &lane{node: n, outlet: outlet, wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel}
	for number, old := range n.lanes { // there is one at a time: the Core has settled what the others held
		delete(n.lanes, number)
		old.close()
	}
	n.lanes[outlet] = l
	return l
}

func (l *lane) close() { l.cancel() }

// put queues a command; node.mu is held. What queues is bounded by what the Core lets be pending.
func (l *lane) put(c *Command) {
	l.queue = append(l.queue, c)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// next waits for commands.
func (l *lane) next() ([]*Command, bool) {
	for {
		l.node.mu.Lock()
		queue := l.queue
		l.queue = nil
		l.node.mu.Unlock()
		if len(queue) > 0 {
			return queue, true
		}
		select {
		case <-l.wake:
		case <-l.ctx.Done():
			return nil, false
		}
	}
}

// send hands a command to its lane; the own sequencer gets one when the first command comes.
func (n *Node) send(act SendAction) {
	l := n.lanes[act.Outlet]
	if l == nil && act.Own {
		l = n.newLane(act.Outlet)
		own := n.sequencer
		n.work.Go(func() { l.toOwn(own) })
	}
	if l != nil {
		l.put(act.Command)
	}
}

// toOwn hands commands to the own sequencer, which may have ended.
func (l *lane) toOwn(own *metadata.Sequencer) {
	for {
		queue, ok := l.next()
		if !ok {
			return
		}
		for _, c := range queue {
			answer := func(r metadata.Result, err error) {
				l.node.step(AnsweredEvent{Outlet: l.outlet, Command: c, Result: r, Err: err})
			}
			if own == nil {
				answer(nil, metadata.ErrUnavailable)
				continue
			}
			own.SubmitEncoded(l.ctx, c.Submission(answer))
		}
	}
}

// openLane opens a stream to another agent.
func (n *Node) openLane(outlet uint64, addr string) {
	l := n.newLane(outlet)
	n.work.Go(func() {
		defer l.cancel()
		err := l.toOther(addr)
		n.mu.Lock()
		delete(n.lanes, outlet)
		n.stepLocked(BrokenEvent{outlet, err})
	})
}

func (l *lane) toOther(addr string) error {
	stream, err := l.node.parts.Transport.Submit(l.ctx, addr)
	if err != nil {
		return err
	}
	received := make(chan error, 1)
	l.node.work.Go(func() {
		defer l.cancel()
		for {
			resp, err := stream.Receive()
			if err != nil {
				received <- err
				return
			}
			l.node.step(ResponseEvent{l.outlet, resp})
		}
	})
	stop := context.AfterFunc(l.ctx, stream.Close)
	defer stop()
	err = l.sendAll(stream)
	stream.Close()
	return errors.Join(err, <-received)
}

func (l *lane) sendAll(stream SubmitStream) error {
	for {
		queue, ok := l.next()
		if !ok {
			return nil
		}
		for _, c := range queue {
			if err := stream.Send(&peerpb.SubmitRequest{Id: c.ID(), Command: c.Encoded()}); err != nil {
				return fmt.Errorf("send a command: %w", err)
			}
		}
	}
}
