package replica

import (
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/routing"
)

// Event is what a Core is told: one of the ...Event types of this file.
type Event interface{ event() }

// The events. Messages of peerpb are not changed by anybody once they are in one.
type (
	// StartEvent is the first.
	StartEvent struct{}
	// TickEvent comes every Tick until the end. One that is late says that the process stood still.
	TickEvent struct {
		Stalled time.Duration // for how long the append under way of the own sequencer has had no outcome, 0 if none
	}
	// ReadEvent answers a ReadAction. The View is the Core's again.
	ReadEvent struct {
		Call uint64
		Err  error
	}
	// HintedEvent answers a HintAction with what Log.Hint returned.
	HintedEvent struct {
		Hint metadata.Hint
		Err  error
	}
	// FollowedEvent answers a FollowAction: one of Response and Err is set.
	FollowedEvent struct {
		Call     uint64
		Response *peerpb.FollowResponse
		Err      error // syscall.ECONNREFUSED in its chain: nobody listens at the address
	}
	// AcquiredEvent answers an AcquireAction. Err nil: the own sequencer is at work, the View caught up, and AppliedEvents come
	// for what is beyond.
	AcquiredEvent struct {
		Start metadata.TakenOver
		Err   error
	}
	// AppliedEvent says that the own sequencer has appended and applied an entry; before the AnsweredEvents of its commands.
	AppliedEvent struct{ Entry metadata.Entry }
	// EndedEvent says that the own sequencer has ended, after everything it had was answered. Err as of Sequencer.Run.
	EndedEvent struct{ Err error }
	// SubmitEvent brings a command of this agent. Only while Core.Room.
	SubmitEvent struct{ Command *Command }
	// WithdrawEvent says that nobody waits for the command any more. One that has not been handed on yet never will be.
	WithdrawEvent struct{ Command *Command }
	// AnsweredEvent is what the own sequencer answered a command of a SendAction.
	AnsweredEvent struct {
		Outlet  uint64
		Command *Command
		Result  metadata.Result
		Err     error
	}
	// ResponseEvent is what came on the stream of an OpenAction.
	ResponseEvent struct {
		Outlet   uint64
		Response *peerpb.SubmitResponse
	}
	// BrokenEvent says that nothing more will come on the stream of an OpenAction, or that it could not be opened.
	BrokenEvent struct {
		Outlet uint64
		Err    error
	}
	// AskEvent brings a question. Only while Core.RoomToAsk.
	AskEvent struct{ Question *Question }
	// LeaveEvent says that who asked has gone.
	LeaveEvent struct{ Question *Question }
	// ConfirmedEvent answers a ConfirmAction: Next is where the log ended, as of a moment after the call began.
	ConfirmedEvent struct {
		Call uint64
		Next uint64
		Err  error
	}
	// CheckedEvent answers a CheckAction. Err nil: the own term is the newest, as of a moment after the call began.
	CheckedEvent struct {
		Call uint64
		Err  error
	}
	// PolledEvent brings a call of Follow by another agent. A ReplyAction answers it, at once or later.
	PolledEvent struct {
		Call    uint64 // given by the driver
		Request *peerpb.FollowRequest
	}
	// UnpolledEvent says that the caller of a PolledEvent has gone.
	UnpolledEvent struct{ Call uint64 }
	// SelfEvent says what this agent tells others about itself; Peer is Config.Owner.Peer whatever it says.
	SelfEvent struct{ Member routing.Member }
	// StopEvent says: give the log away, and end.
	StopEvent struct{}
)

// Action is what a Core wants done: one of the ...Action types of this file.
type Action interface{ action() }

// The actions, in their order. Those that call somebody are done beside everything else; the others at once.
type (
	// ReadAction wants the View brought along, by metadata.Follow or metadata.CatchUp, and then a ReadEvent. Nobody else feeds
	// the View meanwhile.
	ReadAction struct {
		Call uint64
		End  bool // Follow: to an end that was the end after the call began
	}
	// HintAction wants Log.Hint called and then a HintedEvent.
	HintAction struct{}
	// FollowAction wants Follow called at Addr and then a FollowedEvent.
	FollowAction struct {
		Call    uint64
		Addr    string
		Request *peerpb.FollowRequest
		Timeout time.Duration
	}
	// AcquireAction wants the log taken over for this agent, unless another one has that term or a newer one already, a sequencer started, and then an AcquiredEvent. The sequencer's
	// OnApplied and its end become an AppliedEvent and an EndedEvent.
	AcquireAction struct{ Unless uint64 }
	// CheckAction wants the own sequencer's Confirm called and then a CheckedEvent; a sequencer that is deposed also ends by it.
	CheckAction struct{ Call uint64 }
	// StopSequencerAction wants the own sequencer stopped, or the AcquireAction under way: an EndedEvent or an AcquiredEvent with
	// an error comes of it.
	StopSequencerAction struct{}
	// OpenAction wants a stream of Submit opened at Addr, on which what follows for Outlet is sent.
	OpenAction struct {
		Outlet uint64
		Addr   string
	}
	// SendAction hands a command on, in the order of the actions: to the own sequencer, which an AnsweredEvent answers, or on
	// the stream of an OpenAction, as Command.ID and Command.Encoded.
	SendAction struct {
		Outlet  uint64
		Own     bool
		Command *Command
	}
	// CloseAction wants the stream of an OpenAction closed. Events of it are ignored.
	CloseAction struct{ Outlet uint64 }
	// ConfirmAction wants Confirm called at Addr and then a ConfirmedEvent.
	ConfirmAction struct {
		Call uint64
		Addr string
	}
	// AnswerAction wants Answer called.
	AnswerAction struct {
		command *Command
		result  metadata.Result
		err     error
	}
	// TellAction wants Tell called.
	TellAction struct {
		questions []*Question
		err       error
	}
	// ReplyAction answers a PolledEvent.
	ReplyAction struct {
		Call     uint64
		Response *peerpb.FollowResponse
	}
	// ReadyAction says, once, that the View is caught up and commands are taken.
	ReadyAction struct{}
	// SealedAction says that the session of the last SelfEvent is sealed: whoever did it thought this agent dead.
	SealedAction struct{ Session uint64 }
	// LogAction tells an operator something.
	LogAction struct {
		Text string
		Args []any // as slog takes them
	}
	// EndAction wants no more events but PolledEvents and SubmitEvents, which are answered at once. Err is nil after a StopEvent.
	EndAction struct{ Err error }
)

// Answer gives the command its outcome.
func (a AnswerAction) Answer() { a.command.done(a.result, a.err) }

// Tell answers the questions.
func (a TellAction) Tell() {
	for _, q := range a.questions {
		q.done(a.err)
	}
}

func (StartEvent) event()     {}
func (TickEvent) event()      {}
func (ReadEvent) event()      {}
func (HintedEvent) event()    {}
func (FollowedEvent) event()  {}
func (AcquiredEvent) event()  {}
func (AppliedEvent) event()   {}
func (EndedEvent) event()     {}
func (SubmitEvent) event()    {}
func (WithdrawEvent) event()  {}
func (AnsweredEvent) event()  {}
func (ResponseEvent) event()  {}
func (BrokenEvent) event()    {}
func (AskEvent) event()       {}
func (LeaveEvent) event()     {}
func (ConfirmedEvent) event() {}
func (CheckedEvent) event()   {}
func (PolledEvent) event()    {}
func (UnpolledEvent) event()  {}
func (SelfEvent) event()      {}
func (StopEvent) event()      {}

func (ReadAction) action()          {}
func (HintAction) action()          {}
func (FollowAction) action()        {}
func (AcquireAction) action()       {}
func (CheckAction) action()         {}
func (StopSequencerAction) action() {}
func (OpenAction) action()          {}
func (SendAction) action()          {}
func (CloseAction) action()         {}
func (ConfirmAction) action()       {}
func (AnswerAction) action()        {}
func (TellAction) action()          {}
func (ReplyAction) action()         {}
func (ReadyAction) action()         {}
func (SealedAction) action()        {}
func (LogAction) action()           {}
func (EndAction) action()           {}
