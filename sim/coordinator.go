package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/bargedata/barge/group"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/replica"
	"github.com/bargedata/barge/routing"
)

// handOverLimit and handOverStep are how a draining agent gives its groups away, as barge.Agent does.
const (
	handOverLimit = 5 * time.Second
	handOverStep  = 20 * time.Millisecond
)

// coordinator drives a group.Coordinator as its Run does: requests and saves are tasks, turns come by a timer.
type coordinator struct {
	a     *agent
	core  *group.Coordinator
	ctx   context.Context //nolint:containedctx // of the saves: ends with the coordinator
	stop  context.CancelFunc
	timer *timer // of the next turn
	ended bool
}

// coordinate gives an agent of a cluster a coordinator for its session.
func (a *agent) coordinate() error {
	if a.node == nil || len(a.w.groups) == 0 {
		return nil
	}
	c := &coordinator{a: a}
	c.ctx, c.stop = context.WithCancel(a.w.ctx)
	cfg := groupConfig()
	cfg.Owner, cfg.Session, cfg.Cluster, cfg.Wait = a.kafka(), a.session, others{a}, c.wait
	skew := a.skew // a clock that is set does not move what a process measures
	now := func() time.Time { return time.UnixMilli(a.w.now + skew) }
	core, err := group.New(cfg, a.view, groupLog{a}, now, rand.New(rand.NewPCG(a.rng.Uint64(), 2)), a.w.discard)
	if err != nil {
		return err
	}
	c.core = core
	c.core.Begin()
	a.groups = c
	return nil
}

func groupConfig() group.Config {
	return group.DefaultConfig()
}

// wait is how a request stands still.
func (c *coordinator) wait(ctx context.Context, done <-chan struct{}) bool {
	closed := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	c.stir()
	if !closed() {
		c.a.w.await(func() bool { return closed() || ctx.Err() != nil })
	}
	return closed()
}

// stir brings a turn soon, since something has happened.
func (c *coordinator) stir() { c.turnIn(0) }

func (c *coordinator) turnIn(d time.Duration) {
	if c.ended || c.timer != nil && !c.timer.off && c.timer.at <= c.a.w.now+d.Milliseconds() {
		return
	}
	if c.timer != nil {
		c.timer.off = true
	}
	c.timer = c.a.after(d, "groups", c.turn)
}

func (c *coordinator) turn() {
	if c.ended {
		return
	}
	saves, next := c.core.Turn()
	for _, save := range saves {
		c.a.w.spawn(c.a, "save group", func(*task) {
			save(c.ctx)
			c.stir()
		})
	}
	if next < time.Hour {
		c.turnIn(max(next, time.Millisecond))
	}
}

// end ends the coordinator with its session.
func (c *coordinator) end() {
	if c == nil || c.ended {
		return
	}
	c.ended = true
	c.stop()
	c.core.End()
}

// handOver is a draining agent's: it gives its groups away, if there is somebody.
func (c *coordinator) handOver() {
	if c == nil || c.ended || len(c.a.members().Live()) == 0 {
		return
	}
	for began := c.a.w.now; c.core.GiveUp(c.a.w.now-began >= handOverLimit.Milliseconds()) > 0; {
		_ = c.a.w.sleep(c.a.w.ctx, handOverStep)
	}
}

// foreign tells whether the agent's own View says that another agent has claimed the group's shard.
func (c *coordinator) foreign(name string) bool {
	kv, ok := c.a.view.Key(group.Space, claimKey(group.ShardOf(name)))
	if !ok {
		return false
	}
	by := c.a.w.claims[kv.Version]
	return by != (holder{}) && by != holder{c.a.n, c.a.session}
}

func claimKey(shard int) string { return fmt.Sprintf("c/%02x", shard) }

// others is what a coordinator asks about the cluster.
type others struct{ a *agent }

// Members implements group.Cluster.
func (o others) Members() routing.Members { return o.a.node.members() }

// Reachable implements group.Cluster.
func (o others) Reachable() bool { return o.a.node.reachable() }

// groupLog is the metadata log as coordinators use it. Each of their commands carries, in a key that nothing reads, the number under
// which it is noted, so that the oracle can tell whose it was.
type groupLog struct{ a *agent }

const tagPrefix = "sim/"

// commitOf is the key of a commit's number in its request's context.
type commitOf struct{}

// Do implements group.Doer, as replica.Node does.
func (l groupLog) Do(ctx context.Context, cmd metadata.Command) (metadata.Result, error) {
	a := l.a
	set, ok := cmd.(metadata.SetKeys)
	if !ok {
		return nil, fmt.Errorf("a coordinator submits a %T", cmd)
	}
	write := GroupWrite{Agent: a.n, Session: a.session}
	write.Commit, _ = ctx.Value(commitOf{}).(int)
	for _, m := range a.node.members().Live() {
		write.Knows = append(write.Knows, metadata.SessionID(m.Session))
	}
	a.w.groupWrites = append(a.w.groupWrites, write)
	tag := metadata.KeyOp{Key: tagPrefix + strconv.Itoa(a.n), Write: true, Value: strconv.AppendInt(nil, int64(len(a.w.groupWrites)-1), 10)}
	set.Ops = append(set.Ops[:len(set.Ops):len(set.Ops)], tag)
	var result metadata.Result
	var err error
	answered := false
	c, err := replica.NewCommand(set, func(r metadata.Result, e error) { result, err, answered = r, e, true })
	if err != nil {
		return nil, err
	}
	if a.node.ended {
		return nil, fmt.Errorf("%w: %w", metadata.ErrUnavailable, metadata.ErrEnded)
	}
	a.node.take(replica.SubmitEvent{Command: c}) //nolint:contextcheck // a world has no end from outside
	a.w.await(func() bool { return answered || ctx.Err() != nil })
	if !answered {
		a.node.take(replica.WithdrawEvent{Command: c}) //nolint:contextcheck // as above
		return nil, fmt.Errorf("wait for the metadata log: %w", ctx.Err())
	}
	return result, err
}

// Confirm implements group.Doer.
func (l groupLog) Confirm(ctx context.Context) error {
	var err error
	answered := false
	l.a.ask(func(e error) { err, answered = e, true }) //nolint:contextcheck // a world has no end from outside
	l.a.w.await(func() bool { return answered || ctx.Err() != nil })
	if !answered {
		return ctx.Err()
	}
	return err
}
