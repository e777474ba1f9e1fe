package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/routing"
)

// Transport is how a Node calls others; addr is the peer address of one. Messages are not changed by anybody.
type Transport interface {
	// Follow returns syscall.ECONNREFUSED in the error's chain when nobody listens at addr.
	Follow(ctx context.Context, addr string, req *peerpb.FollowRequest) (*peerpb.FollowResponse, error)
	Confirm(ctx context.Context, addr string) (*peerpb.ConfirmResponse, error)
	// Submit opens a stream of commands, which ends with ctx.
	Submit(ctx context.Context, addr string) (SubmitStream, error)
}

// SubmitStream is the near end of a stream of commands. Send and Receive may run beside each other, each by one goroutine.
type SubmitStream interface {
	Send(req *peerpb.SubmitRequest) error
	Receive() (*peerpb.SubmitResponse, error)
	Close() // both return soon
}

// Parts are what a Node gets from outside.
type Parts struct {
	Log       metadata.Log
	View      *metadata.View // empty, or brought along by metadata.Follow; fed by the Node alone
	Transport Transport
	Now       func() time.Time
	IDs       func() [16]byte // makes the random identity of an append; called by one goroutine at a time
	Rand      *rand.Rand      // the Node's from here on
	Logger    *slog.Logger

	// Sequencer are the settings of the sequencer it runs at times. Owner and OnApplied are the Node's to set; OnInline is called for
	// this agent's own objects also while another one sequences.
	Sequencer metadata.SequencerConfig
}

// Node is one agent's end of the shared metadata log: it drives a Core, and runs the sequencer where this agent is it. All methods
// but Run are safe for concurrent use at any time; before it is ready commands wait, after Run has ended they get
// metadata.ErrUnavailable with metadata.ErrEnded.
type Node struct {
	cfg   Config
	parts Parts
	began time.Time

	ready   chan struct{}
	ended   chan struct{} // the Core is over
	sealed  chan uint64
	started atomic.Bool
	members atomic.Pointer[routing.Members]
	gates   gates

	mu     sync.Mutex // guards what follows; never held while waiting
	core   *Core
	events []Event // that came while one was being taken
	busy   bool
	after  []func() // callbacks of others, to be called without mu
	room   chan struct{}
	err    error // valid when ended is closed

	ctx        context.Context //nolint:containedctx // of the work that Run owns, set by it
	work       sync.WaitGroup
	sequencer  *metadata.Sequencer // the present one, nil when there is none
	stopOwn    context.CancelFunc
	last       metadata.SequencerStats // of those before
	lanes      map[uint64]*lane
	replies    map[uint64]chan *peerpb.FollowResponse
	lastPolled uint64
}

// New makes a Node. Nothing starts before Run. cfg.Owner.Peer is where the peer server of this agent is reached.
func New(cfg Config, parts Parts) *Node {
	cfg = cfg.withDefaults()
	cfg.OnInline = parts.Sequencer.OnInline
	return &Node{
		cfg: cfg, parts: parts, began: parts.Now(),
		ready: make(chan struct{}), ended: make(chan struct{}), sealed: make(chan uint64, 1), gates: gates{bySession: map[metadata.SessionID]*gate{}},
		core: NewCore(cfg, parts.View, parts.Rand), room: make(chan struct{}),
		lanes: map[uint64]*lane{}, replies: map[uint64]chan *peerpb.FollowResponse{},
	}
}

// Ready is closed once the View is caught up and commands are taken.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// SelfSealed gets the number of this agent's session when the View shows that others have sealed it: they took the agent for dead.
// It holds one; SetSelf with another session starts anew.
func (n *Node) SelfSealed() <-chan uint64 { return n.sealed }

// Members returns the live agents as this one knows them, itself among them once SetSelf has told its session. It never waits;
// the result is shared and must not be changed.
func (n *Node) Members() routing.Members {
	if m := n.members.Load(); m != nil {
		return *m
	}
	return nil
}

// Reachable reports whether the sequencer is this agent or has answered it in the last five seconds.
func (n *Node) Reachable() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.Reachable(n.clock())
}

// Sequencing reports whether this agent is the sequencer, as far as it knows.
func (n *Node) Sequencing() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.Sequencing()
}

// SetSelf says what others are told about this agent; call it when the session is opened, and again when something changes. The
// peer address is that of Config.Owner.
func (n *Node) SetSelf(m routing.Member) { n.step(SelfEvent{m}) }

// NodeStats are a Node's counters.
type NodeStats struct {
	Stats
	Sequencer metadata.SequencerStats // over all terms of this agent
}

// Stats returns the counters.
func (n *Node) Stats() NodeStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := NodeStats{Stats: n.core.Stats(), Sequencer: n.last}
	if n.sequencer != nil {
		s.Sequencer = addStats(s.Sequencer, n.sequencer.Stats())
	}
	return s
}

func addStats(a, b metadata.SequencerStats) metadata.SequencerStats {
	return metadata.SequencerStats{
		Term: max(a.Term, b.Term), Entries: a.Entries + b.Entries, Commands: a.Commands + b.Commands, EntryBytes: a.EntryBytes + b.EntryBytes,
		Unknowns: a.Unknowns + b.Unknowns, Confirms: a.Confirms + b.Confirms, Checkpoints: a.Checkpoints + b.Checkpoints,
		CheckpointFailures: a.CheckpointFailures + b.CheckpointFailures, Truncations: a.Truncations + b.Truncations,
		TruncationFailures: a.TruncationFailures + b.TruncationFailures, Parked: a.Parked + b.Parked, ParkedInVain: a.ParkedInVain + b.ParkedInVain,
		ParkedTooMany: a.ParkedTooMany + b.ParkedTooMany,
	}
}

// Do makes cmd durable, wherever the sequencer is, and returns its result once the own View has applied it. A refusal is in the
// Result's Err, not in the error. Errors: ErrUnavailable - the outcome is not known, the command may still take effect; with ErrEnded,
// this Node has ended; ErrInvalidCommand - nothing happened; ctx's error - as ErrUnavailable. A CommitObject gets ErrUnavailable only
// with ErrEnded: it is handed on again until its outcome is known. The caller must not change what cmd refers to afterwards.
func (n *Node) Do(ctx context.Context, cmd metadata.Command) (metadata.Result, error) {
	type answer struct {
		result metadata.Result
		err    error
	}
	answers := make(chan answer, 1)
	c, err := NewCommand(cmd, func(r metadata.Result, err error) { answers <- answer{r, err} })
	if err != nil {
		return nil, err
	}
	if err := n.submit(ctx, c); err != nil {
		return nil, err
	}
	select {
	case a := <-answers:
		return a.result, a.err
	case <-ctx.Done():
		n.step(WithdrawEvent{c})
		return nil, fmt.Errorf("wait for the metadata log: %w", ctx.Err())
	}
}

// Commit is Do for a CommitObject.
func (n *Node) Commit(ctx context.Context, c metadata.CommitObject) (metadata.CommitObjectResult, error) {
	return metadata.Ask[metadata.CommitObjectResult](ctx, n, c)
}

// Submit is Do without the waiting: done is called once, with what Do would return. Commands submitted by one goroutine take
// effect in that order. Submit itself waits only while too many are pending. done must return at once, and must not call Submit or Do.
func (n *Node) Submit(cmd metadata.Command, done func(metadata.Result, error)) {
	c, err := NewCommand(cmd, done)
	if err != nil {
		done(nil, err)
		return
	}
	if err := n.submit(context.Background(), c); err != nil {
		done(nil, err)
	}
}

// submit waits for room.
func (n *Node) submit(ctx context.Context, c *Command) error {
	for {
		n.mu.Lock()
		if n.core.Room() {
			n.stepLocked(SubmitEvent{c})
			return nil
		}
		room := n.room
		n.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("wait for room in the metadata queue: %w", ctx.Err())
		}
	}
}

// Confirm returns nil once the View holds everything that was in the log at some instant after the call began; until then it
// waits. Callers share what it takes: a check of the log's end by the sequencer, or a read of the log where the sequencer is not
// heard. Errors: ErrUnavailable with ErrEnded - this Node has ended; ctx's error - nothing is known.
func (n *Node) Confirm(ctx context.Context) error {
	for {
		n.mu.Lock()
		own := n.sequencer
		if !n.core.Sequencing() {
			own = nil
		}
		n.mu.Unlock()
		var err error
		if own != nil {
			if err = own.Confirm(ctx); errors.Is(err, metadata.ErrEnded) {
				err = n.awaitChange(ctx, own)
			}
		} else {
			err = n.confirmElsewhere(ctx)
		}
		if !errors.Is(err, ErrAgain) {
			return err
		}
	}
}

// awaitChange waits until own, which has ended, is no longer taken for the sequencer.
func (n *Node) awaitChange(ctx context.Context, own *metadata.Sequencer) error {
	for {
		n.mu.Lock()
		changed, room := n.sequencer != own || !n.core.Sequencing(), n.room
		n.mu.Unlock()
		if changed {
			return ErrAgain
		}
		select {
		case <-room:
		case <-n.ended:
			return ErrAgain
		case <-ctx.Done():
			return fmt.Errorf("wait for the metadata log to confirm its end: %w", ctx.Err())
		}
	}
}

func (n *Node) confirmElsewhere(ctx context.Context) error {
	answers := make(chan error, 1)
	q := NewQuestion(func(err error) { answers <- err })
	for {
		n.mu.Lock()
		if n.core.RoomToAsk() {
			n.stepLocked(AskEvent{q})
			break
		}
		room := n.room
		n.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("ask the metadata log: %w", ctx.Err())
		}
	}
	select {
	case err := <-answers:
		return err
	case <-ctx.Done():
		n.step(LeaveEvent{q})
		return fmt.Errorf("wait for the metadata log to confirm its end: %w", ctx.Err())
	}
}

// Run catches up, follows or sequences until ctx ends, and then gives the log away: an own sequencer finishes the append in flight,
// refuses the rest and writes a checkpoint, and those who follow are told. It returns nil then, or what it could not go on for:
// ErrNewer, ErrCorrupt, or at the start what kept it from reading or taking the log. Another agent that takes the log is no reason:
// Run goes on. Handle… answer also afterwards. It can run once.
func (n *Node) Run(ctx context.Context) error {
	if n.started.Swap(true) {
		return errors.New("replica: Run called twice")
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.mu.Lock()
	n.ctx = work
	n.stepLocked(StartEvent{})
	ticker := time.NewTicker(Tick)
	defer ticker.Stop()
	stop := ctx.Done()
	for {
		select {
		case <-ticker.C:
			n.step(TickEvent{Stalled: n.stalled()})
			continue
		case <-stop:
			stop = nil
			n.step(StopEvent{})
			continue
		case <-n.ended:
		}
		break
	}
	cancel()
	n.work.Wait()
	return n.err
}

func (n *Node) stalled() time.Duration {
	n.mu.Lock()
	own := n.sequencer
	n.mu.Unlock()
	if own == nil {
		return 0
	}
	return own.Stalled()
}

func (n *Node) clock() int64 { return n.parts.Now().Sub(n.began).Milliseconds() }

// step hands the Core one event.
func (n *Node) step(ev Event) {
	n.mu.Lock()
	n.stepLocked(ev)
}

// stepLocked is step for a caller that holds mu, and gives it back. Events that come of carrying out an event are taken after it.
func (n *Node) stepLocked(ev Event) {
	n.events = append(n.events, ev)
	if n.busy {
		n.mu.Unlock()
		return
	}
	n.busy = true
	for len(n.events) > 0 {
		ev := n.events[0]
		n.events = n.events[1:]
		for _, act := range n.core.Step(ev, n.clock()) {
			n.carryOut(act)
		}
	}
	n.busy = false
	if list := n.core.Members(); n.members.Load() == nil || !same(*n.members.Load(), list) {
		n.members.Store(&list)
	}
	if n.core.Room() && n.core.RoomToAsk() {
		close(n.room)
		n.room = make(chan struct{})
	}
	after := n.after
	n.after = nil
	n.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// same reports whether two lists are one: lists are never changed once made.
func same(a, b routing.Members) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
