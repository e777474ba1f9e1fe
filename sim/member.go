package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/routing"
)

// What an agent of a cluster waits for, as barge.Agent does.
const (
	leaveAfter = 2 * time.Second  // of telling others that it leaves, so that clients are sent elsewhere
	leaveLimit = 30 * time.Second // of a drain
)

// enter is what barge.Agent does from reading the log to taking requests, in a cluster.
func (a *agent) enter(*task) {
	for {
		a.view = metadata.NewView()
		a.node = newNode(a)
		a.node.start()
		a.w.await(func() bool { return a.node.ready || a.node.ended })
		if a.node.ready {
			break
		}
		if !errors.Is(a.node.err, objectstore.ErrUnknown) {
			a.w.kill(a)
			return
		}
		_ = a.w.sleep(a.w.ctx, time.Second) // the store's weather
	}
	a.w.saw(a.view, fmt.Sprintf("view of agent %d when it was ready", a.n))
	if !a.openSession() {
		return
	}
	for _, t := range a.w.wanted {
		if _, ok := a.view.Topic(t.name); !ok {
			if _, err := a.Do(a.w.ctx, metadata.CreateTopic{ID: a.topicID(), Name: t.name, Partitions: t.partitions, Configs: t.configs}); err != nil {
				a.w.note("topic not created", err.Error(), 0)
			}
		}
	}
	if err := a.assemble(); err != nil {
		a.w.fault("rest", "%s: %v", a.label(), err)
		return
	}
	a.w.spawn(a, "reader", a.read)
	a.resume()
}

// resume takes requests, in a new session if the last one was sealed meanwhile.
func (a *agent) resume() {
	for a.sealed {
		if !a.openSession() {
			return
		}
		if err := a.serve(); err != nil {
			a.w.fault("rest", "%s: %v", a.label(), err)
			return
		}
	}
	a.ready = true
	a.w.note("ready", a.label(), int64(a.session))
	a.w.spawn(a, "compactor", a.work)
}

// openSession opens a session and tells the others who has it; false when the log is beyond this agent.
func (a *agent) openSession() bool {
	ctx := a.w.ctx
	for {
		opened, err := metadata.Ask[metadata.OpenSessionResult](ctx, a, metadata.OpenSession{
			Agent: metadata.AgentInfo{Address: a.kafka(), Zone: a.zone, Level: metadata.MaxLevel},
		})
		if err == nil && opened.Err == nil {
			a.session, a.sealed = opened.Session, false
			break
		}
		if err == nil {
			a.w.flaw("rest", "%s can not open a session: %v", a.label(), opened.Err)
			a.w.kill(a)
			return false
		}
		_ = a.w.sleep(ctx, time.Second)
	}
	a.tell(false)
	a.raise()
	return true
}

// raise raises the log's level as soon as no older agent has a session.
func (a *agent) raise() {
	session := a.session
	a.w.spawn(a, "raise", func(*task) {
		for !a.sealed && a.session == session && a.view.Level() < metadata.MaxLevel {
			if _, err := a.Do(a.w.ctx, metadata.RaiseLevel{Level: metadata.MaxLevel}); err != nil {
				a.w.note("level not raised", err.Error(), 0)
			}
			_ = a.w.sleep(a.w.ctx, 5*time.Second)
		}
	})
}

// tell tells the others about this agent.
func (a *agent) tell(draining bool) {
	a.node.setSelf(routing.Member{Session: uint64(a.session), Kafka: a.kafka(), Peer: a.address(), Zone: a.zone, Draining: draining})
}

// reopen goes on after the agent's session was sealed, by those who had not heard of it for long: connections end, what was not answered
// stays without an answer, and a new session begins.
func (a *agent) reopen() {
	if a.sealed || a.stopping {
		return
	}
	a.sealed = true
	a.groups.end()
	a.w.counts["sessions opened again"]++
	a.w.note("session sealed", a.label(), int64(a.session))
	if !a.ready {
		return // it has not begun, and will open another
	}
	a.ready = false
	a.batches.hangUp()
	a.w.spawn(a, "session", func(*task) { a.resume() })
}

// leave is how an agent of a cluster ends when it is told to: clients are sent elsewhere, what waits is written, the session is sealed,
// and the log is given away if it was the sequencer's.
func (a *agent) leave() {
	a.stopping = true
	a.w.counts["agents drained"]++
	a.w.note("leave", a.label(), 0)
	a.after(leaveLimit, "leaves at last", func() { a.w.kill(a) })
	a.tell(true)
	a.w.spawn(a, "leave", func(*task) {
		_ = a.w.sleep(a.w.ctx, leaveAfter)
		a.groups.handOver()
		a.ready = false
		a.groups.end()
		a.batches.core.Drain(a.now())
		a.batches.act()
		a.w.await(a.batches.core.Idle)
		if _, err := a.Do(a.w.ctx, metadata.SealSession{Session: a.session}); err != nil {
			a.w.note("session not sealed", err.Error(), 0)
		}
		a.node.stop()
		a.w.await(func() bool { return a.node.ended })
		a.w.kill(a)
	})
}

// members are the agents of the cluster as a knows them; none while it is cut off.
func (a *agent) members() routing.Members {
	if !a.node.reachable() {
		return nil
	}
	return a.node.members()
}
