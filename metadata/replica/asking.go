package replica

import "slices"

// asking is the questions of this agent that somebody else answers, and the one call on their behalf.
type asking struct {
	questions []*Question
	next      uint64 // number of the next one
	calling   bool
	call      uint64
	below     uint64 // questions that came before the call
	after     int64  // earliest next try
}

// RoomToAsk reports whether another question may be asked; when not, askers wait.
func (c *Core) RoomToAsk() bool { return c.mode == over || len(c.asking.questions) < c.cfg.Questions }

// ask takes a question. What answers it is a call to the sequencer that begins from now on, or a read of the log.
func (c *Core) ask(q *Question) {
	switch c.mode {
	case over:
		c.do(TellAction{[]*Question{q}, errEnded})
		return
	case sequencing:
		c.do(TellAction{[]*Question{q}, ErrAgain})
		return
	default:
	}
	a := &c.asking
	q.number = a.next
	a.next++
	a.questions = append(a.questions, q)
	c.confirm()
}

func (c *Core) leave(q *Question) {
	a := &c.asking
	a.questions = slices.DeleteFunc(a.questions, func(other *Question) bool { return other == q })
}

// unanswered reports whether somebody waits of whom nothing is known yet.
func (a *asking) unanswered() bool {
	return slices.ContainsFunc(a.questions, func(q *Question) bool { return !q.known })
}

// confirm asks for everybody who waits: the sequencer, or the log itself where that is not to be had.
func (c *Core) confirm() {
	a := &c.asking
	if c.mode != following || a.calling || c.now < a.after || !a.unanswered() {
		return
	}
	if c.direct() {
		a.calling, a.call, a.below = true, c.call(), a.next
		c.do(ConfirmAction{a.call, c.leader.addr})
		return
	}
	if c.now-c.leader.heardAt() >= ms(suspicion) || c.leader.addr == "" || c.leader.via != "" || c.silence.adrift {
		if !c.reading.underway {
			c.read(readAsked)
			a.after = c.now + ms(beat)
		}
	}
}

func (c *Core) confirmed(ev ConfirmedEvent) {
	a := &c.asking
	if !a.calling || a.call != ev.Call {
		return
	}
	a.calling = false
	if c.mode != following {
		return
	}
	if ev.Err != nil {
		a.after = c.now + ms(Tick)
		if c.now-c.leader.directAt >= ms(suspicion) {
			c.read(readAsked) // at once: who asked has waited already
		}
		return
	}
	for _, q := range a.questions {
		if q.number < a.below && !q.known {
			q.known, q.next = true, ev.Next
		}
	}
	c.settleQuestions()
	c.confirm()
}

// answerBelow says that the View held the whole log after the questions below a number came.
func (c *Core) answerBelow(number uint64) {
	for _, q := range c.asking.questions {
		if q.number < number && !q.known {
			q.known, q.next = true, c.view.Applied()
		}
	}
	c.settleQuestions()
}

// settleQuestions answers those for whom the View is far enough.
func (c *Core) settleQuestions() {
	a := &c.asking
	if len(a.questions) == 0 {
		return
	}
	applied := c.view.Applied()
	var now, later []*Question
	for _, q := range a.questions {
		if q.known && q.next <= applied {
			now = append(now, q)
		} else {
			later = append(later, q)
		}
	}
	if now != nil {
		a.questions = later
		c.do(TellAction{now, nil})
	}
}

// tellAgain has the questions put to the own sequencer.
func (c *Core) tellAgain() {
	if a := &c.asking; len(a.questions) > 0 {
		c.do(TellAction{a.questions, ErrAgain})
		a.questions = nil
	}
}

func (c *Core) endQuestions() {
	if a := &c.asking; len(a.questions) > 0 {
		c.do(TellAction{a.questions, errEnded})
		a.questions = nil
	}
}
