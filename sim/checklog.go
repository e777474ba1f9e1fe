package sim

// CheckLog holds the calls of the fenced log against its contract (metadata.Log): a slot holds one thing, whoever is told; an
// append is acknowledged only in the newest term, after everything before it; Acquire knows all that was acknowledged before it
// and ends every lower term (I4), and nobody else does; Confirm is true of some instant inside the call; and what was acknowledged is there in the end. end
// is the slot after the last one in the end. It takes one pass over the calls, which are in the order in which they ended.
func CheckLog(calls []LogCall, end uint64) []Violation {
	var bad []Violation
	holds := map[uint64]Digest{}
	saw := func(seq uint64, d Digest, who int) {
		if before, ok := holds[seq]; ok && before != d {
			bad = append(bad, broken("log", "agent %d was told another content of slot %d than others", who, seq))
		}
		holds[seq] = d
	}
	var tries []acquiring             // so far
	acquired := map[uint64]*LogCall{} // by term
	acked := map[uint64]*LogCall{}    // by slot
	for i := range calls {
		c := &calls[i]
		switch c.Op {
		case LogTry:
			tries = append(tries, acquiring{agent: c.Agent, began: c.Began})
		case LogAcquire:
			for k := range tries {
				if t := &tries[k]; t.agent == c.Agent && t.began == c.Began {
					t.ended, t.over = c.Ended, true
					if c.OK {
						t.term = c.Term
					}
				}
			}
			if !c.OK {
				continue
			}
			if before := acquired[c.Term]; before != nil {
				bad = append(bad, broken("log", "term %d was given to agents %d and %d", c.Term, before.Agent, c.Agent))
			}
			acquired[c.Term] = c
			for _, a := range calls[:i] {
				switch {
				case a.Op == LogAppend && a.OK && a.Ended < c.Began && a.Seq >= c.Seq:
					bad = append(bad, broken("log", "term %d begins at slot %d, but slot %d was acknowledged before", c.Term, c.Seq, a.Seq))
				case a.Op == LogAcquire && a.OK && a.Ended < c.Began && a.Term >= c.Term:
					bad = append(bad, broken("log", "term %d was given after term %d", c.Term, a.Term))
				}
			}
		case LogAppend:
			if c.Fenced && !rivals(tries, acquired, c) {
				bad = append(bad, broken("log", "agent %d was fenced out of slot %d of term %d, and nobody has tried to take the log since", c.Agent, c.Seq, c.Term))
			}
			if !c.OK {
				continue
			}
			saw(c.Seq, c.Holds, c.Agent)
			if before := acked[c.Seq]; before != nil && before.Term != c.Term {
				bad = append(bad, broken("log", "slot %d was acknowledged to terms %d and %d", c.Seq, before.Term, c.Term))
			}
			acked[c.Seq] = c
			if c.Seq >= end {
				bad = append(bad, broken("log", "slot %d was acknowledged, but the log ends at %d", c.Seq, end))
			}
		case LogRead:
			for _, s := range c.Slots {
				saw(s.Seq, s.Holds, c.Agent)
			}
		case LogConfirm:
			if !c.OK {
				continue
			}
			for _, a := range calls[:i] {
				switch {
				case a.Op == LogAppend && a.OK && a.Ended < c.Began && a.Seq >= c.Seq:
					bad = append(bad, broken("log", "slot %d was confirmed to be free after it had been acknowledged", a.Seq))
				case a.Op == LogAcquire && a.OK && a.Ended < c.Began && a.Term > c.Term:
					bad = append(bad, broken("log", "term %d was confirmed after term %d had been given", c.Term, a.Term))
				}
			}
		}
	}
	for _, c := range acked {
		for term, a := range acquired {
			if term > c.Term && c.Seq+1 >= a.Seq {
				bad = append(bad, broken("log", "slot %d was acknowledged to term %d, though term %d begins at %d", c.Seq, c.Term, term, a.Seq))
			}
		}
	}
	return bad
}

// acquiring is one call of Acquire as far as it is known.
type acquiring struct {
	agent, began, ended int
	over                bool
	term                uint64 // it was given, 0 if none
}

// rivals tells whether somebody may have ended the term of c: an acquire that was given a higher one, or none as far as is known, and did not end
// before that of c's term began.
func rivals(tries []acquiring, acquired map[uint64]*LogCall, c *LogCall) bool {
	began := 0
	if a := acquired[c.Term]; a != nil {
		began = a.Began
	}
	for _, t := range tries {
		if (t.term == 0 || t.term > c.Term) && (!t.over || t.ended >= began) {
			return true
		}
	}
	return false
}
