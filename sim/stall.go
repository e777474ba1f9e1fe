package sim

import "slices"

// longestStall is what producers must hear something before, after the sequencer has died while all else is well, in milliseconds.
const longestStall = 6000

// A stall is watched until every producer has heard again, and for watchStall at least, so that what comes after the first answer counts.
const watchStall = 7_000

// stallWatch is one death of a sequencer and what producers heard after it.
type stallWatch struct {
	at     int64               // when it comes, or came
	over   bool                // it came
	silent bool                // its machine died: nobody refuses connections there, and who was connected does not learn of it
	cutOff map[*producer]bool  // they talked to a machine that died: each waits for its own time-out, however long that is
	heard  map[*producer]int64 // the last acknowledgment since
	worst  int64
}

// stall kills the sequencer of a cluster that is well, watches for how long producers hear nothing, and does it again when a new agent
// has taken the place of the dead one.
func (w *world) stall() {
	s := w.watch
	switch {
	case s == nil:
		if w.well() {
			w.watch = &stallWatch{at: w.now + w.rng.Int64N(2000), silent: w.rng.IntN(2) == 0, cutOff: map[*producer]bool{}, heard: map[*producer]int64{}}
		}
	case !s.over:
		if a := w.sequencing(); w.now >= s.at && a != nil {
			s.at, s.over = w.now, true
			w.counts["sequencers killed"]++
			w.note("sequencer dies", a.label(), 0)
			if s.silent {
				w.net.dead[a.address()] = true
				for _, p := range w.producers {
					s.cutOff[p] = p.agent == a || p.home == a
				}
			}
			w.kill(a)
		}
	case w.now-s.at > watchStall:
		for _, p := range w.producers {
			if w.concerned(p) {
				if w.now-max(s.heard[p], s.at) >= longestStall {
					w.tell("producer %d has not heard: connected to %s, sent to %s, %d batches open", p.n, p.agent.label(), p.home.label(), len(p.window))
				}
				s.worst = max(s.worst, w.now-max(s.heard[p], s.at))
			}
		}
		w.counts["stalls watched"]++
		w.stalls = append(w.stalls, s.worst)
		w.note("stalled", "", s.worst)
		if s.worst >= longestStall {
			w.flaw("stall", "producers heard nothing for %d ms after their sequencer was killed, less than %d are promised", s.worst, longestStall)
		}
		w.watch = nil
		w.boot()
	}
}

// concerned tells whether a producer should hear again soon.
func (w *world) concerned(p *producer) bool { return !p.over && !w.watch.cutOff[p] }

// heardOf notes an acknowledgment that a producer has heard.
func (w *world) heardOf(p *producer) {
	if s := w.watch; s != nil && s.over && w.concerned(p) {
		s.worst = max(s.worst, w.now-max(s.heard[p], s.at))
		s.heard[p] = w.now
	}
}

// deposed notes that a sequencer has lost its term. While nothing happens to anybody but the one that was killed, nobody may depose
// the next one: whoever misses the dead means the dead one's term.
func (w *world) deposed(a *agent) {
	w.counts["sequencers deposed"]++
	if s := w.watch; s != nil && s.over && !w.calm {
		w.flaw("stall", "%s was deposed %d ms after the sequencer before it was killed", a.label(), w.now-s.at)
	}
}

// well tells whether a cluster serves as it should: all are ready, one sequences, every producer was acknowledged something.
func (w *world) well() bool {
	return len(w.agents) > 1 && len(w.producers) > 0 && w.sequencing() != nil &&
		!slices.ContainsFunc(w.agents, func(a *agent) bool { return !a.ready }) &&
		!slices.ContainsFunc(w.producers, func(p *producer) bool { return !p.over && !p.accepted })
}

// sequencing is the agent that appends to the log, nil if there is none or two believe it.
func (w *world) sequencing() *agent {
	var found *agent
	for _, a := range w.agents {
		if a.seq != nil && !a.seq.ended {
			if found != nil {
				return nil
			}
			found = a
		}
	}
	return found
}
