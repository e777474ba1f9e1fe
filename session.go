package barge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/replica"
	"github.com/bargedata/barge/routing"
)

const (
	// drainNotice is how long a draining agent goes on as before: others hear of it within a second, and send clients elsewhere.
	drainNotice = 1500 * time.Millisecond
	// drainMoves is how long it then tells clients where to go before it closes their connections.
	drainMoves = time.Second
	// handOverLimit is for giving the groups of a draining agent away.
	handOverLimit = 5 * time.Second
	// sealLimit is for the last command of a session.
	sealLimit = 10 * time.Second
	// lostLimit is how long an agent that does not hear the sequencer still calls itself ready: longer than a hand-over takes.
	lostLimit = 15 * time.Second
	// selfEvery is how often others are told how busy this agent is.
	selfEvery = 2 * time.Second
)

// sessions works in one session after another, until ctx ends.
func (a *Agent) sessions(ctx context.Context, j *joined) error {
	for first := true; ; first = false {
		session, err := a.openSession(ctx, j.node)
		if err != nil {
			return err
		}
		if err := a.raiseLevel(ctx, j); err != nil {
			return err
		}
		a.session.Store(uint64(session))
		self := routing.Member{
			Session: uint64(session), Kafka: a.advertised(), Peer: a.owner().Peer, HTTP: a.HTTPAddr(), Zone: a.cfg.Zone, Roles: a.cfg.Roles,
		}
		j.node.SetSelf(self)
		if !first {
			a.reopened.Add(1)
			a.log.InfoContext(ctx, "opened a new session", "session", uint64(session))
		}
		p, err := a.build(j, session)
		if err != nil {
			return err
		}
		p.self = self
		a.live.Store(p.live)
		sealed, err := p.run(ctx, a, j)
		if sealed {
			if err != nil {
				a.log.WarnContext(ctx, "a part of the agent ended with its session", "err", err)
			}
			continue
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), sealLimit)
		defer cancel()
		if sealErr := a.seal(last, j.node, session); sealErr != nil {
			a.log.WarnContext(ctx, "session not sealed; the others will", "session", uint64(session), "err", sealErr)
		}
		return err
	}
}

// openSession repeats what has no outcome, as it may while agents take the log from each other: a session opened twice is sealed by
// the sequencer, which never hears of it.
func (a *Agent) openSession(ctx context.Context, node *replica.Node) (metadata.SessionID, error) {
	for {
		opened, err := metadata.Ask[metadata.OpenSessionResult](ctx, node, metadata.OpenSession{Agent: metadata.AgentInfo{
			Address: a.advertised(), HTTP: a.HTTPAddr(), Zone: a.cfg.Zone, Version: a.parts.Version, Roles: a.cfg.Roles,
			Level: metadata.MaxLevel,
		}})
		if err = a.again(ctx, "open a session", err); err == nil && opened.Err != nil {
			err = fmt.Errorf("open a session: %w", opened.Err)
		}
		if !errors.Is(err, errAgain) {
			return opened.Session, err
		}
	}
}

// raiseLevel lets the log use all that this agent understands, unless another one at work does not. The sequencer does so too, later.
func (a *Agent) raiseLevel(ctx context.Context, j *joined) error {
	for j.view.Level() < metadata.MaxLevel {
		raised, err := metadata.Ask[metadata.RaiseLevelResult](ctx, j.node, metadata.RaiseLevel{Level: metadata.MaxLevel})
		if err = a.again(ctx, "raise the level of the log", err); errors.Is(err, errAgain) {
			continue
		}
		if err == nil && raised.Err != nil {
			a.log.WarnContext(ctx, "the log stays below this agent's level", "level", metadata.MaxLevel, "err", raised.Err)
		}
		return err
	}
	return nil
}

// seal ends a session; one that is sealed already stays so.
func (a *Agent) seal(ctx context.Context, node *replica.Node, session metadata.SessionID) error {
	for {
		_, err := node.Do(ctx, metadata.SealSession{Session: session})
		if err = a.again(ctx, "seal a session", err); !errors.Is(err, errAgain) {
			return err
		}
	}
}

// errAgain says that a command should be repeated.
var errAgain = errors.New("outcome unknown")

// again waits a little after a command without an outcome, and returns errAgain.
func (a *Agent) again(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, metadata.ErrUnavailable) || errors.Is(err, metadata.ErrEnded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	a.log.DebugContext(ctx, "no outcome; trying again", "what", what, "err", err)
	if sleepErr := sleep(ctx, 100*time.Millisecond); sleepErr != nil {
		return fmt.Errorf("%s: %w", what, sleepErr)
	}
	return errAgain
}

// tellSelf tells the others how busy this agent is, and watches whether it hears the sequencer, until ctx ends.
func (p *services) tellSelf(ctx context.Context, a *Agent, node *replica.Node) error {
	tick := time.NewTicker(selfEvery)
	defer tick.Stop()
	told := p.self
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		switch lost := a.lost.Load(); {
		case node.Reachable():
			a.lost.Store(0)
		case lost == 0:
			a.lost.Store(a.parts.Now().UnixNano())
		}
		if next := p.member(a.draining.Load()); busyness(next) != busyness(told) {
			told = next
			node.SetSelf(next)
		}
	}
}

// busyness is a member's rates and connections, coarsely: others need not hear of every request.
func busyness(m routing.Member) [3]int {
	coarse := func(n int64) (steps int) {
		for ; n > 0; n = n * 3 / 4 {
			steps++
		}
		return steps
	}
	return [3]int{coarse(m.ProduceRate), coarse(m.FetchRate), coarse(int64(m.Connections))}
}

// member is this agent as others should see it now.
func (p *services) member(draining bool) routing.Member {
	m := p.self
	m.Draining = draining
	m.ProduceRate, m.FetchRate, m.Connections = p.server.Rates()
	return m
}

// giveAway tells the others that this agent is about to stop, and gives them the time to take over. Alone, it has nobody to tell.
func (p *services) giveAway(ctx context.Context, a *Agent, node *replica.Node, broken <-chan struct{}) {
	node.SetSelf(p.member(true))
	others := node.Members().Live()
	if len(others) == 0 {
		return
	}
	a.log.InfoContext(ctx, "giving away what this agent leads", "agents", len(others))
	pause := func(d time.Duration) bool {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case <-broken:
			return false
		}
	}
	if !pause(drainNotice) {
		return
	}
	limited, cancel := context.WithTimeout(ctx, handOverLimit)
	defer cancel()
	p.groups.HandOver(limited)
	p.server.Drain()
	pause(drainMoves)
}
