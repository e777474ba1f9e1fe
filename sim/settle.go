package sim

import (
	"fmt"
	"slices"

	"github.com/bargedata/barge/record"
)

// restLimit is how long a cluster may take to come to rest once its faults are over, in milliseconds: the longest back-off, the time
// after which a dead agent's session is sealed, and what clients wait for.
const restLimit = 180_000

// forgiven is after how long an agent that failed to hand out an object is asked again, in milliseconds, and more.
const forgiven = 1500

// settle lets a cluster come to rest after its faults: every agent serves, clients are answered, every View is the log's end. Then what
// each agent shows is noted, and all leave for a fresh one.
func (w *world) settle() {
	w.net.heal()
	w.faulty.Land(1 << 20)
	for _, a := range slices.Clone(w.agents) {
		if a.old { // one that nobody asks anything does not notice that it was deposed
			w.kill(a)
		}
	}
	began := w.now
	if !w.until(3*drainSteps, func() bool {
		return w.now-began > restLimit || w.drained() && w.groupsRested() && w.atRest() && w.agreed()
	}) || !w.drained() || !w.groupsRested() || !w.atRest() || !w.agreed() {
		w.flaw("rest", "%d ms after the last fault: %s", w.now-began, w.unrest())
		return
	}
	w.note("at rest", "", w.now-began)
	for _, a := range w.agents {
		w.saw(a.view, fmt.Sprintf("view of agent %d when all was at rest", a.n))
		w.showEnds(a)
	}
	w.groups = nil // their members have seen all that they are to see
	w.noteShares()
	rested := w.now
	w.until(drainSteps, func() bool { return w.now-rested > forgiven })
	w.resting = true
	w.readEverywhere()
	w.resting = false
	if w.profile.upkeep && !w.broken {
		w.upkeep()
	}
	before := w.born
	for _, a := range slices.Clone(w.agents) {
		a.leave()
	}
	if !w.until(drainSteps, func() bool { return !slices.ContainsFunc(w.agents, func(a *agent) bool { return a.n <= before }) }) {
		w.flaw("rest", "%d agents do not end though they were told to", len(w.agents))
	}
}

// atRest tells whether every agent serves and shows all that is in the log.
func (w *world) atRest() bool {
	for _, a := range w.agents {
		if !a.ready || a.ended || a.stopping || a.sealed || !a.current() || w.oracle.view.SessionSealed(a.session) {
			return false
		}
	}
	return len(w.agents) > 0
}

// unrest tells what has not come to rest.
func (w *world) unrest() string {
	s := "the log ends at " + fmt.Sprint(w.oracle.state.Next())
	if !w.drained() {
		s += ", clients wait for " + w.open()
	}
	for _, g := range w.groups {
		for _, m := range g.members {
			s += fmt.Sprintf(", member %d of %s has generation %d (joined %t, assigned %t, has asked %t)", m.n, g.name, m.generation, m.joined, m.stable, m.lastLook)
		}
	}
	for _, a := range w.agents {
		s += fmt.Sprintf(", %s has %d", a.label(), a.view.Applied())
		if a.node != nil {
			s += fmt.Sprintf(" and knows %d members", len(a.node.members()))
		}
		if !a.ready {
			s += " and takes no requests"
		}
		if a.node != nil {
			s += fmt.Sprintf(" (%+v)", a.node.core.Stats())
		}
	}
	return s
}

// showEnds notes what an agent shows of every partition.
func (w *world) showEnds(a *agent) {
	for _, t := range w.oracle.view.Topics() {
		for i := range t.Partitions {
			p := record.Partition{Topic: t.ID, Index: i}
			b, err := a.view.Bounds(p)
			if err != nil {
				w.flaw("unseen", "%s does not know %s when all is at rest: %v", a.label(), p, err)
				continue
			}
			w.hist.Kafka.AtRest = append(w.hist.Kafka.AtRest, AtRest{Agent: a.n, Step: w.steps, Partition: p, LogStart: b.LogStart, LogEnd: b.HighWatermark})
		}
	}
}
