package metadata

import (
	"context"
	"fmt"
	"time"
)

// Submission is one command on its way through a SequencerCore.
type Submission struct {
	cmd     Command
	encoded []byte
	done    func(Result, error)

	object *parkedObject // of a CommitObject of which something is held back
	held   *stretch      // of the CommitHeld that the core itself queued, which has no done
}

// NewSubmission encodes cmd. done is called once, when an AnswerAction or a RefuseAction is carried out. ErrInvalidCommand:
// there is none, or it is larger than an entry can be; done is not called then.
func NewSubmission(cmd Command, done func(Result, error)) (*Submission, error) {
	encoded, err := EncodeCommand(cmd)
	if err != nil {
		return nil, err
	}
	return &Submission{cmd: cmd, encoded: encoded, done: done}, nil
}

// EncodedSubmission is NewSubmission for a command that EncodeCommand has rendered; it only reads encoded.
func EncodedSubmission(cmd Command, encoded []byte, done func(Result, error)) *Submission {
	return &Submission{cmd: cmd, encoded: encoded, done: done}
}

// Question is one caller who wants to know that the term is still the newest and the View complete.
type Question struct {
	number uint64 // in the order of arrival
	place  int    // in SequencerCore.questions, -1 when it is no longer there
	done   func(error)
}

// NewQuestion makes a question. done is called at most once, when a TellAction is carried out: nil says that at some instant
// after the AskEvent all of it was so.
func NewQuestion(done func(error)) *Question { return &Question{done: done} }

// SequencerEvent is what a SequencerCore is told: one of the ...Event types of this file.
type SequencerEvent interface{ sequencerEvent() }

// The events.
type (
	// SubmitEvent brings a command. Only while SequencerCore.Room.
	SubmitEvent struct{ Sub *Submission }
	// AppendedEvent answers an AppendAction with what Log.Append returned.
	AppendedEvent struct{ Err error }
	// RetryEvent says that the time of a WaitAction has passed.
	RetryEvent struct{}
	// TickEvent says that the time of a TickAction has passed.
	TickEvent struct{}
	// CheckpointedEvent answers a CheckpointAction with what Log.Checkpoint returned.
	CheckpointedEvent struct {
		Seq   uint64 // below which the snapshot holds all
		Bytes int64  // of the snapshot
		Err   error
	}
	// TruncatedEvent answers a TruncateAction with what Log.Truncate returned.
	TruncatedEvent struct{ Err error }
	// AskEvent brings a question. Only while SequencerCore.RoomToAsk.
	AskEvent struct{ Q *Question }
	// LeaveEvent says that who asked has gone; the question may have been answered meanwhile.
	LeaveEvent struct{ Q *Question }
	// ConfirmedEvent answers a ConfirmAction with what Log.Confirm returned.
	ConfirmedEvent struct{ Err error }
	// ConfirmAgainEvent says that the time of a ConfirmLaterAction has passed.
	ConfirmAgainEvent struct{}
	// StopEvent says: take nothing more, finish what is in flight, leave a checkpoint.
	StopEvent struct{}
	// GiveUpEvent says that finishing took too long. Calls under way have been canceled and their events still come.
	GiveUpEvent struct{}
)

// SequencerAction is what a SequencerCore wants done: one of the ...Action types of this file.
type SequencerAction interface{ sequencerAction() }

// The actions. Those that call the log do so beside everything else; the others are done before the next action.
type (
	// AppendAction wants Append called and then an AppendedEvent. One is under way at a time.
	AppendAction struct{ flight *flight }
	// WaitAction wants a RetryEvent after D. The outcome of the append is not known and is asked for again.
	WaitAction struct{ D time.Duration }
	// ApplyAction wants Apply called. Its entry is durable.
	ApplyAction struct{ flight *flight }
	// AnswerAction wants Answer called. The entry has been applied.
	AnswerAction struct{ flight *flight }
	// RefuseAction wants Refuse called.
	RefuseAction struct{ group []*Submission }
	// TickAction wants a TickEvent after D: something is held back and its time must pass. One is under way at a time.
	TickAction struct{ D time.Duration }
	// CheckpointAction wants View.Freeze called, then what it gave encoded and published with Log.Checkpoint and Term, and then
	// a CheckpointedEvent. One is under way at a time.
	CheckpointAction struct{ Term uint64 }
	// TruncateAction wants Log.Truncate called with its fields and then a TruncatedEvent. One is under way at a time; what it
	// has not done when the core ends may be canceled.
	TruncateAction struct{ Term, Below uint64 }
	// ConfirmAction wants Log.Confirm called with its fields and then a ConfirmedEvent. One is under way at a time.
	ConfirmAction struct{ Term, Next uint64 }
	// ConfirmLaterAction wants a ConfirmAgainEvent after D. Err is of the check that failed.
	ConfirmLaterAction struct {
		D   time.Duration
		Err error
	}
	// TellAction wants Tell called.
	TellAction struct {
		questions []*Question
		err       error // nil: confirmed
	}
	// EndAction wants no more events. Err is nil after a StopEvent, ErrFenced (wrapped) when a newer term owns the log.
	EndAction struct{ Err error }
)

// flight is one entry from its making until its commands are answered.
type flight struct {
	entry   Entry
	id      [16]byte
	body    []byte
	group   []*Submission
	below   uint64 // questions with a lower number came before the first try, so that its success answers them
	tries   int
	results []Result // of ApplyAction.Apply
}

// inlineShare is the part of an inline object that counts towards the next checkpoint: a replay reads it and does nothing with it.
const inlineShare = 4

// replayBytes is what the entry adds to the cost of a replay.
func (f *flight) replayBytes() int64 {
	inline := 0
	for _, c := range f.entry.Commands {
		inline += inlineBytes(c)
	}
	return int64(len(f.body) - inline + inline/inlineShare)
}

// Entry is what is to be appended.
func (a AppendAction) Entry() Entry { return a.flight.entry }

// Append calls log.Append, with the same arguments each time it is asked for the same entry.
func (a AppendAction) Append(ctx context.Context, log Log) error {
	return log.Append(ctx, a.flight.entry.Term, a.flight.entry.Seq, a.flight.id, a.flight.body)
}

// Entry is what is to be applied.
func (a ApplyAction) Entry() Entry { return a.flight.entry }

// Bytes is the encoded size of the entry.
func (a ApplyAction) Bytes() int { return len(a.flight.body) }

// Apply feeds view. It fails, with ErrCorrupt, only when somebody else feeds it too: a mistake that must end this sequencer,
// though the entry is durable. The driver then calls Refuse, leaves the actions after this one out, and carries out what
// SequencerCore.End returns.
func (a ApplyAction) Apply(view *View) error {
	a.flight.results = view.Apply(a.flight.entry)
	if len(a.flight.results) != len(a.flight.group) {
		return fmt.Errorf("view at entry %d was given entry %d: %w", view.Applied(), a.flight.entry.Seq, ErrCorrupt)
	}
	return nil
}

// Refuse answers the commands of the entry with ErrUnavailable: their outcome is not known.
func (a ApplyAction) Refuse() { refuse(a.flight.group) }

// Answer gives the commands of the entry their results.
func (a AnswerAction) Answer() {
	for i, sub := range a.flight.group {
		sub.answer(a.flight.results[i], nil)
	}
}

// Refuse answers commands with ErrUnavailable: they may be in the log or not.
func (a RefuseAction) Refuse() { refuse(a.group) }

func refuse(group []*Submission) {
	for _, sub := range group {
		sub.answer(nil, fmt.Errorf("sequencer stops: %w", ErrUnavailable))
	}
}

// answer hands a command its outcome; that of what is held back comes in parts.
func (s *Submission) answer(r Result, err error) {
	switch {
	case s.held != nil:
		s.held.object.later(r, err)
	case s.object != nil:
		s.object.first(r, err)
	default:
		s.done(r, err)
	}
}

// Tell answers the questions.
func (a TellAction) Tell() {
	for _, q := range a.questions {
		q.done(a.err)
	}
}

func (SubmitEvent) sequencerEvent()       {}
func (AppendedEvent) sequencerEvent()     {}
func (RetryEvent) sequencerEvent()        {}
func (TickEvent) sequencerEvent()         {}
func (CheckpointedEvent) sequencerEvent() {}
func (TruncatedEvent) sequencerEvent()    {}
func (AskEvent) sequencerEvent()          {}
func (LeaveEvent) sequencerEvent()        {}
func (ConfirmedEvent) sequencerEvent()    {}
func (ConfirmAgainEvent) sequencerEvent() {}
func (StopEvent) sequencerEvent()         {}
func (GiveUpEvent) sequencerEvent()       {}

func (AppendAction) sequencerAction()       {}
func (WaitAction) sequencerAction()         {}
func (ApplyAction) sequencerAction()        {}
func (AnswerAction) sequencerAction()       {}
func (RefuseAction) sequencerAction()       {}
func (TickAction) sequencerAction()         {}
func (CheckpointAction) sequencerAction()   {}
func (TruncateAction) sequencerAction()     {}
func (ConfirmAction) sequencerAction()      {}
func (ConfirmLaterAction) sequencerAction() {}
func (TellAction) sequencerAction()         {}
func (EndAction) sequencerAction()          {}
