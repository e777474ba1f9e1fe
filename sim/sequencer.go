package sim

import (
	"fmt"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// sequencer drives a metadata.SequencerCore as metadata.Sequencer does: one event at a time, and whatever may wait in a task.
type sequencer struct {
	a      *agent
	core   *metadata.SequencerCore
	events []metadata.SequencerEvent
	busy   bool // events are being taken
	ended  bool
	since  int64 // when the append under way began, 0 if none is

	applied func(metadata.Entry) // hears of every entry that the View has been given, before anybody is answered; nil: nobody does
	over    func(error)          // hears once that the core has ended, after who waited has been answered
}

// take hands the core one event; those that come of it are taken after it, in their order.
func (s *sequencer) take(ev metadata.SequencerEvent) {
	s.events = append(s.events, ev)
	if s.busy {
		return
	}
	s.busy = true
	for len(s.events) > 0 && !s.a.gone {
		ev := s.events[0]
		s.events = s.events[1:]
		s.carryOut(s.core.Step(ev, s.a.now().UnixMilli()))
	}
	s.busy = false
}

// carryOut does what the core wants done.
func (s *sequencer) carryOut(actions []metadata.SequencerAction) {
	a := s.a
	for _, act := range actions {
		switch act := act.(type) {
		case metadata.AppendAction:
			if s.since == 0 {
				s.since = a.w.now
			}
			a.w.spawn(a, "append", func(*task) {
				err := act.Append(a.w.ctx, a.log)
				if err == nil {
					s.since = 0
				}
				s.take(metadata.AppendedEvent{Err: err})
			})
		case metadata.WaitAction:
			a.after(act.D, "append again", func() { s.take(metadata.RetryEvent{}) })
		case metadata.TickAction:
			a.after(act.D, "tick", func() { s.take(metadata.TickEvent{}) })
		case metadata.ApplyAction:
			a.seed(act.Entry())
			if err := act.Apply(a.view); err != nil {
				a.w.fault("rest", "%s: %v", a.label(), err)
				return
			}
			if s.applied != nil {
				s.applied(act.Entry())
			}
		case metadata.AnswerAction:
			act.Answer()
		case metadata.RefuseAction:
			act.Refuse()
		case metadata.CheckpointAction:
			seq, encode := a.view.Freeze()
			body := encode()
			a.w.sawBytes(seq, body, fmt.Sprintf("checkpoint of agent %d", a.n))
			a.w.spawn(a, "checkpoint", func(*task) {
				s.take(metadata.CheckpointedEvent{Seq: seq, Bytes: int64(len(body)), Err: a.log.Checkpoint(a.w.ctx, act.Term, seq, body)})
			})
		case metadata.TruncateAction:
			a.w.spawn(a, "truncate", func(*task) { s.take(metadata.TruncatedEvent{Err: a.log.Truncate(a.w.ctx, act.Term, act.Below)}) })
		case metadata.ConfirmAction:
			a.w.spawn(a, "confirm", func(*task) { s.take(metadata.ConfirmedEvent{Err: a.log.Confirm(a.w.ctx, act.Term, act.Next)}) })
		case metadata.ConfirmLaterAction:
			a.after(act.D, "confirm again", func() { s.take(metadata.ConfirmAgainEvent{}) })
		case metadata.TellAction:
			act.Tell()
		case metadata.EndAction:
			s.ended = true
			s.over(act.Err)
		default:
			a.w.fault("rest", "the sequencer wants %T, which is not carried out", act)
		}
	}
}

// seed puts objects that lie in an entry where readers at the end of the log find them.
func (a *agent) seed(e metadata.Entry) {
	if a.reader != nil {
		e.EachInline(func(key string, body []byte) { a.reader.Seed(key, record.NewBuffer(body)) })
		a.handOver()
	}
}

// submit hands in a command as Sequencer.Submit does.
func (s *sequencer) submit(cmd metadata.Command, done func(metadata.Result, error)) {
	if s.ended {
		done(nil, fmt.Errorf("%w: %w", metadata.ErrUnavailable, metadata.ErrEnded))
		return
	}
	sub, err := metadata.NewSubmission(cmd, done)
	if err != nil {
		done(nil, err)
		return
	}
	s.take(metadata.SubmitEvent{Sub: sub})
}

// ask puts the question whether the term is still the newest and the View complete.
func (s *sequencer) ask(done func(error)) {
	if s.ended {
		done(metadata.ErrEnded)
		return
	}
	s.take(metadata.AskEvent{Q: metadata.NewQuestion(done)})
}
