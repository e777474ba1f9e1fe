package replica

import (
	"github.com/bargedata/barge/metadata"
)

// Command is one command on its way through a Core.
type Command struct {
	cmd     metadata.Command
	encoded []byte
	done    func(metadata.Result, error)
	own     func(metadata.Result, error) // instead of done: the Core's own command

	id     uint64
	outlet uint64 // it was handed to, 0: to none
	gone   bool   // answered
	doubt  bool   // it was handed on before, and nobody said what became of it

	settled bool // what follows is known and waits for the View
	result  metadata.Result
	seq     uint64 // entry in which it took effect
}

// NewCommand encodes cmd. done is called once, when an AnswerAction is carried out. Errors: metadata.ErrInvalidCommand; done
// is not called then.
func NewCommand(cmd metadata.Command, done func(metadata.Result, error)) (*Command, error) {
	encoded, err := metadata.EncodeCommand(cmd)
	if err != nil {
		return nil, err
	}
	return &Command{cmd: cmd, encoded: encoded, done: done}, nil
}

// ID is its number among the commands of this Core, from when it was submitted.
func (c *Command) ID() uint64 { return c.id }

// Encoded is what SubmitRequest carries. It must not be changed.
func (c *Command) Encoded() []byte { return c.encoded }

// Submission makes the command ready for the own sequencer. done gets its answer.
func (c *Command) Submission(done func(metadata.Result, error)) *metadata.Submission {
	return metadata.EncodedSubmission(c.cmd, c.encoded, done)
}

// keeps reports whether the command may be handed in again when its outcome is not known: it is idempotent.
func (c *Command) keeps() bool {
	_, ok := c.commit()
	return ok
}

func (c *Command) commit() (commit metadata.CommitObject, ok bool) {
	commit, ok = c.cmd.(metadata.CommitObject)
	return commit, ok
}

// Question is one caller who wants to know that the View holds everything that was in the log at some instant after it asked.
type Question struct {
	done   func(error)
	number uint64 // in the order of arrival
	known  bool   // next is
	next   uint64 // the View must reach
}

// NewQuestion makes a question. done is called at most once: nil says that it is so; ErrAgain that this agent is about to
// sequence, or does not any more, and that the question is to be put again, to its own sequencer if it has one.
func NewQuestion(done func(error)) *Question { return &Question{done: done} }
