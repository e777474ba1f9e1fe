package group

import (
	"context"
	"fmt"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/routing"
)

const (
	// lookEvery is how often a coordinator looks, in memory, whether its claims are still its own.
	lookEvery = 500 * time.Millisecond
	// settling is how long after its start an agent leaves shards alone whose holder has not been sealed: it may not have heard
	// of all members yet. Those it does not hear of within this time are gone.
	settling = 5 * time.Second
	// handOverStep is how often HandOver looks for shards at rest.
	handOverStep = 20 * time.Millisecond
)

// Cluster is what the coordinator asks about the agents of the cluster: replica.Node. Safe for concurrent use, never blocking.
type Cluster interface {
	// Members are the live agents as this one last heard, itself among them.
	Members() routing.Members
	// Reachable is false when this agent is cut off from the one that orders the log, so that what it knows may be old.
	Reachable() bool
}

// choose names who coordinates a shard: the holder of its claim while that is a live agent with the role and not about to
// leave, and otherwise the one that the rendezvous hash picks. Agents that know the same members and the same claim agree.
func choose(shard int, holder metadata.SessionID, members routing.Members) (routing.Member, bool) {
	able := members.Live().WithRole(routing.RoleCoordinate)
	if m, ok := able.BySession(uint64(holder)); ok && holder != 0 {
		return m, true
	}
	return routing.Pick(fmt.Sprintf("group/%d", shard), able)
}

// claimed returns the newest claim of a shard that the View holds, the zero one before the first.
func (c *Coordinator) claimed(sh *shard) (cl claim, version uint64) {
	kv, ok := c.view.Key(Space, sh.claimKey())
	if !ok {
		return claim{}, 0
	}
	cl, err := decodeClaim(kv.Value)
	if err != nil {
		c.log.Error("group claim not read", "shard", sh.index, "err", err)
		cl = claim{}
	}
	return cl, kv.Version
}

// Holder returns the owner named in the newest claim of the group's shard, as this agent's View knows it.
func (c *Coordinator) Holder(group string) (owner string, held bool) {
	cl, version := c.claimed(&c.shards[ShardOf(group)])
	return cl.owner, version != 0 && cl.owner != ""
}

// Coordinator names the agent that coordinates a group, for FindCoordinator, and a Kafka error code: 0, or COORDINATOR_NOT_AVAILABLE
// when there is none, or when this agent is cut off. It answers from memory and does not ask the log: an answer that is out of
// date leads to an agent that says NOT_COORDINATOR and claims nothing, and the client asks again.
func (c *Coordinator) Coordinator(_ context.Context, group string) (routing.Member, int16) {
	if c.cfg.Cluster == nil {
		return routing.Member{Session: uint64(c.cfg.Session), Kafka: c.cfg.Owner}, int16(codeNone)
	}
	sh := &c.shards[ShardOf(group)]
	cl, _ := c.claimed(sh)
	m, ok := choose(sh.index, cl.session, c.cfg.Cluster.Members())
	if !ok || !c.cfg.Cluster.Reachable() {
		return routing.Member{}, int16(codeCoordinatorUnavailable)
	}
	return m, int16(codeNone)
}

// mayClaim says whether this agent is to claim a shard it does not hold: code none, or what the client hears instead.
func (c *Coordinator) mayClaim(sh *shard) Code {
	switch {
	case c.leaving.Load():
		return codeNotCoordinator
	case c.cfg.Cluster == nil || !c.running.Load():
		return codeNone // claim has the answer
	case !c.cfg.Cluster.Reachable():
		return codeCoordinatorUnavailable
	}
	cl, _ := c.claimed(sh)
	m, ok := choose(sh.index, cl.session, c.cfg.Cluster.Members())
	switch {
	case !ok:
		return codeCoordinatorUnavailable
	case m.Session != uint64(c.cfg.Session):
		return codeNotCoordinator
	case c.unsettled(cl):
		return codeLoadInProgress
	default:
		return codeNone
	}
}

// unsettled reports that a claim's holder may live although this agent, which has just begun, has not heard of it. An owner with
// our own address was an earlier process here: nobody else listens there now.
func (c *Coordinator) unsettled(cl claim) bool {
	return cl.session != c.cfg.Session && cl.owner != c.cfg.Owner && c.open(cl.session) && c.now().Sub(*c.started.Load()) < settling
}

// open reports that a session has not been sealed.
func (c *Coordinator) open(id metadata.SessionID) bool {
	for _, s := range c.view.Sessions() {
		if s.ID == id {
			return !s.Sealed
		}
	}
	return false
}

// cutOff reports that this agent is not to answer from what it holds: another one may have taken over from it. Because
// a member's session is longer than Reachable takes to notice, nobody's place is given away while it is confirmed here.
func (c *Coordinator) cutOff() bool { return c.cfg.Cluster != nil && !c.cfg.Cluster.Reachable() }

// look drops shards whose claims were replaced, so that members which wait here look for the new coordinator at once. It tells whether any
// shard is held.
func (c *Coordinator) look() (held bool) {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		if sh.claim != 0 && sh.claiming == nil && !c.stillOurs(sh) {
			c.drop(sh)
		}
		held = held || sh.claim != 0
		sh.mu.Unlock()
	}
	return held
}

// HandOver gives up all shards for good, each as soon as its groups are at rest: no rebalance under way, nothing being
// written. It returns when none is left; at the end of ctx it gives up the rest as they are. Whoever waits hears
// NOT_COORDINATOR and finds the next coordinator, where members are in the generation they were in. Call it once the other
// agents know that this one is leaving: those that do not yet still name it.
func (c *Coordinator) HandOver(ctx context.Context) {
	tick := time.NewTicker(handOverStep)
	defer tick.Stop()
	for c.GiveUp(ctx.Err() != nil) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// giveUp closes a shard if its groups are at rest, or in any case.
func (c *Coordinator) giveUp(sh *shard, anyway bool) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !anyway && !sh.atRest() {
		return false
	}
	c.shut(sh)
	return true
}

// atRest reports that the durable record of the shard is all there is to it. The shard is locked.
func (sh *shard) atRest() bool {
	if sh.claiming != nil {
		return false
	}
	for _, g := range sh.groups {
		if !g.state.atRest() || g.saving || g.commits > 0 || g.deleting {
			return false
		}
	}
	return true
}
