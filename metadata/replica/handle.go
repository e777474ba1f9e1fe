package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/peer/peerpb"
)

// HandleFollow answers another agent's Follow, when there is news or its time is over. Errors: ctx's.
func (n *Node) HandleFollow(ctx context.Context, req *peerpb.FollowRequest) (*peerpb.FollowResponse, error) {
	reply := make(chan *peerpb.FollowResponse, 1)
	n.mu.Lock()
	n.lastPolled++
	call := n.lastPolled
	n.replies[call] = reply
	n.stepLocked(PolledEvent{call, req})
	select {
	case resp := <-reply:
		return resp, nil
	case <-ctx.Done():
		n.mu.Lock()
		delete(n.replies, call)
		n.stepLocked(UnpolledEvent{call})
		return nil, ctx.Err()
	}
}

// HandleConfirm answers another agent's Confirm, if this one is the sequencer. Errors: ctx's.
func (n *Node) HandleConfirm(ctx context.Context) (*peerpb.ConfirmResponse, error) {
	own := n.own()
	if own == nil {
		return &peerpb.ConfirmResponse{Code: peerpb.Code_CODE_NOT_SEQUENCER, Message: "this agent does not sequence"}, nil
	}
	if err := own.Confirm(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return &peerpb.ConfirmResponse{Code: peerpb.Code_CODE_UNAVAILABLE, Message: err.Error()}, nil
	}
	return &peerpb.ConfirmResponse{Next: n.parts.View.Applied()}, nil
}

// own is the sequencer of this agent, nil when it has none that is at work.
func (n *Node) own() *metadata.Sequencer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.core.Sequencing() {
		return nil
	}
	return n.sequencer
}

// CommandStream is the far end of a SubmitStream. Send and Receive may run beside each other, each by one goroutine.
type CommandStream interface {
	Receive() (*peerpb.SubmitRequest, error) // io.EOF: the caller has closed the stream
	Send(resp *peerpb.SubmitResponse) error
}

// maxUnanswered bounds the commands of one stream that are with the sequencer; the stream is not read meanwhile.
const maxUnanswered = 10_000

// HandleSubmit hands another agent's commands to the own sequencer, in their order, and sends the answers. It returns when the
// stream has ended and all of it is answered, or nobody listens any more; ctx ends with the stream.
func (n *Node) HandleSubmit(ctx context.Context, stream CommandStream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := &answers{room: make(chan struct{}, maxUnanswered), wake: make(chan struct{}, 1)}
	sent := make(chan error, 1)
	go func() {
		defer cancel()
		sent <- a.sendAll(ctx, stream)
	}()
	number := n.gates.stream()
	err := n.takeCommands(ctx, stream, a, number)
	a.close()
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	return err
}

func (n *Node) takeCommands(ctx context.Context, stream CommandStream, a *answers, number uint64) error {
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive a command: %w", err)
		}
		select {
		case a.room <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		n.takeCommand(ctx, req, a, number)
	}
}

func (n *Node) takeCommand(ctx context.Context, req *peerpb.SubmitRequest, a *answers, number uint64) {
	answer := func(resp *peerpb.SubmitResponse) {
		resp.Id = req.GetId()
		a.put(resp)
	}
	cmd, err := metadata.DecodeCommand(req.GetCommand())
	if err != nil {
		answer(&peerpb.SubmitResponse{Code: peerpb.Code_CODE_INVALID, Message: err.Error()})
		return
	}
	own := n.own()
	if own == nil {
		answer(&peerpb.SubmitResponse{Code: peerpb.Code_CODE_NOT_SEQUENCER, Message: "this agent does not sequence"})
		return
	}
	sub := metadata.EncodedSubmission(cmd, req.GetCommand(), func(r metadata.Result, err error) {
		if err != nil {
			answer(&peerpb.SubmitResponse{Code: peerpb.Code_CODE_UNAVAILABLE, Message: err.Error()})
			return
		}
		// Called right after the View has applied the entry, by who feeds it.
		answer(&peerpb.SubmitResponse{Seq: n.parts.View.Applied() - 1, Result: metadata.EncodeResult(r)})
	})
	commit, ok := cmd.(metadata.CommitObject)
	if !ok {
		own.SubmitEncoded(ctx, sub)
		return
	}
	admit := func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.core.Admit(number, commit.Session)
	}
	if !n.gates.pass(ctx, commit.Session, admit, func() { own.SubmitEncoded(ctx, sub) }) {
		answer(&peerpb.SubmitResponse{Code: peerpb.Code_CODE_UNAVAILABLE, Message: "a later stream of this session has begun"})
	}
}

// answers is what waits to be sent on one stream.
type answers struct {
	room chan struct{} // a token for each command that is not answered
	wake chan struct{}

	mu     sync.Mutex
	queue  []*peerpb.SubmitResponse
	closed bool
}

func (a *answers) put(resp *peerpb.SubmitResponse) {
	a.mu.Lock()
	a.queue = append(a.queue, resp)
	a.mu.Unlock()
	a.signal()
}

func (a *answers) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// close says that no more commands come.
func (a *answers) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.signal()
}

func (a *answers) sendAll(ctx context.Context, stream CommandStream) error {
	for {
		a.mu.Lock()
		queue := a.queue
		a.queue = nil
		over := a.closed && len(queue) == 0 && len(a.room) == 0
		a.mu.Unlock()
		if over {
			return nil
		}
		for _, resp := range queue {
			if err := stream.Send(resp); err != nil {
				return fmt.Errorf("answer a command: %w", err)
			}
			<-a.room
		}
		if len(queue) > 0 {
			continue
		}
		select {
		case <-a.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gates let the commits of one session through one at a time, so that what Core.Admit says still holds when a commit is handed in.
type gates struct {
	mu        sync.Mutex
	streams   uint64
	bySession map[metadata.SessionID]*gate
}

type gate struct {
	turn  chan struct{} // holds one token
	users int           // guarded by gates.mu; without any it goes
}

func (g *gates) stream() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams++
	return g.streams
}

// pass calls submit if admit agrees, one call at a time for each session, and reports whether it did.
func (g *gates) pass(ctx context.Context, session metadata.SessionID, admit func() bool, submit func()) bool {
	g.mu.Lock()
	at := g.bySession[session]
	if at == nil {
		at = &gate{turn: make(chan struct{}, 1)}
		g.bySession[session] = at
	}
	at.users++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		if at.users--; at.users == 0 {
			delete(g.bySession, session)
		}
		g.mu.Unlock()
	}()
	select {
	case at.turn <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-at.turn }()
	if !admit() {
		return false
	}
	submit()
	return true
}
