package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// Space is the metadata key space that belongs to this package.
const Space = "groups"

// View is the read side of the metadata that the coordinator needs. It must hold every command of this agent that Doer
// has answered. Safe for concurrent use.
type View interface {
	KeyStore
	Topics
	Sessions() []metadata.Session
}

// KeyStore reads opaque keys.
type KeyStore interface {
	Key(space, key string) (metadata.KeyValue, bool)
	Keys(space, prefix string) []metadata.KeyValue
}

// Topics tells names from ids.
type Topics interface {
	Topics() []metadata.Topic
	Topic(name string) (metadata.Topic, bool)
	TopicByID(id record.TopicID) (metadata.Topic, bool)
}

// Doer makes commands durable: replica.Node, or the sequencer itself.
type Doer interface {
	Do(ctx context.Context, cmd metadata.Command) (metadata.Result, error)
	// Confirm returns nil once the View holds all that was in the log when it was called.
	Confirm(ctx context.Context) error
}

// Coordinator holds the groups of the shards this agent has claimed. It claims a shard when a request for one of its groups
// arrives and this agent is the one that FindCoordinator names, because the holder is gone or there was none; for shards of others
// it answers NOT_COORDINATOR, as it does once another agent has taken a shard in turn. A shard is loaded before a request for
// it goes on; where that is not possible now, JoinGroup, OffsetCommit and OffsetFetch hear COORDINATOR_LOAD_IN_PROGRESS, which
// clients take for a reason to wait, and the others, whose clients do not know it, COORDINATOR_NOT_AVAILABLE.
//
// All methods are safe for concurrent use. They answer COORDINATOR_NOT_AVAILABLE before Run has begun and
// NOT_COORDINATOR after it has ended. Requests are taken over in the order of the calls; commits of one client keep
// their order only when the caller makes them one after another.
type Coordinator struct {
	cfg    Config
	view   View
	doer   Doer
	now    func() time.Time
	log    *slog.Logger
	nonce  uint64 // tells this process from an earlier one of the same owner
	shards [shardCount]shard
	timers *timers
	groups atomic.Int64
	ticket atomic.Uint64

	topicsMu sync.Mutex
	topics   *TopicSet // as of topicsAt
	topicsAt time.Time

	rngMu sync.Mutex
	rng   *rand.Rand

	running atomic.Bool
	leaving atomic.Bool
	started atomic.Pointer[time.Time] // when Begin was called
	saveMu  sync.Mutex
	toSave  []*cell       // each cell at most once, see cell.saving
	saveDue chan struct{} // cap 1: toSave is not empty
}

// New makes a coordinator that does nothing until Run. The rng makes member ids and belongs to the coordinator.
func New(cfg Config, view View, doer Doer, now func() time.Time, rng *rand.Rand, log *slog.Logger) (*Coordinator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("group coordinator: %w", err)
	}
	c := &Coordinator{
		cfg: cfg, view: view, doer: doer, now: now, rng: rng, log: log, nonce: rng.Uint64(), timers: newTimers(),
		saveDue: make(chan struct{}, 1),
	}
	for i := range c.shards {
		c.shards[i].index = i
		c.shards[i].groups = map[string]*cell{}
	}
	return c, nil
}

// Run keeps sessions, rebalances and offset retention on time until ctx ends. On its way out it answers all waiting
// requests with NOT_COORDINATOR, so that clients look for another coordinator at once. It returns nil.
func (c *Coordinator) Run(ctx context.Context) error {
	var work sync.WaitGroup
	c.Begin()
	defer func() {
		c.running.Store(false)
		work.Wait()
		c.End()
	}()

	retention := time.NewTicker(time.Hour)
	defer retention.Stop()
	expiring := make(chan struct{}, 1) // holds a token while a round of retention is under way
	for {
		saves, next := c.Turn()
		for _, save := range saves {
			work.Go(func() { save(ctx) })
		}
		timer := time.NewTimer(min(next, lookEvery)) // a request may claim a shard meanwhile
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-c.timers.earlier:
		case <-c.saveDue:
		case <-retention.C:
			// Beside this loop: a round may write for minutes, and sessions and rebalances do not wait for it.
			select {
			case expiring <- struct{}{}:
				work.Go(func() {
					c.expire(ctx)
					<-expiring
				})
			default: // the round before is still at it
			}
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// tickDue lets time pass for every group that is due and returns how long there is nothing to do.
func (c *Coordinator) tickDue() time.Duration {
	for {
		g, next := c.timers.pop(c.now())
		switch {
		case g != nil:
			g.shard.mu.Lock()
			if !g.gone {
				c.step(g, Tick{})
			}
			g.shard.mu.Unlock()
		case next.IsZero():
			return time.Hour
		default:
			return next.Sub(c.now())
		}
	}
}

// ask hands ev, which carries ticket t, to a group and waits for the answer. The shard is locked on entry and free on
// return. When ctx ends first the request is abandoned.
func (c *Coordinator) ask(ctx context.Context, g *cell, t Ticket, ev Event) Reply {
	w := &waiter{answered: make(chan struct{})}
	g.waiters[t] = w
	c.step(g, ev)
	g.shard.mu.Unlock()
	if c.wait(ctx, w.answered) {
		return w.reply
	}
	g.shard.mu.Lock()
	if _, waits := g.waiters[t]; waits && !g.gone {
		delete(g.waiters, t)
		c.step(g, Abandon{Ticket: t})
	}
	g.shard.mu.Unlock()
	return Reply{Ticket: t, Code: codeCoordinatorUnavailable, Generation: -1}
}

// step folds ev into the group and carries out what comes of it. The shard is locked.
func (c *Coordinator) step(g *cell, ev Event) {
	out := g.state.Step(ev, c.now())
	for _, r := range out.Replies {
		if w, ok := g.waiters[r.Ticket]; ok {
			delete(g.waiters, r.Ticket)
			w.answer(r)
		}
	}
	if out.Save {
		c.save(g)
	}
	c.timers.set(g, g.state.Wake())
	c.tidy(g)
}

// tidy forgets a group that has left nothing behind: no member, no durable record, nothing under way.
func (c *Coordinator) tidy(g *cell) {
	if !g.gone && !g.durable && !g.saving && g.commits == 0 && g.state.Idle() {
		c.forget(g)
	}
}

// save starts making the group durable, or notes that it has to be done again after the save under way.
func (c *Coordinator) save(g *cell) {
	if g.saving {
		g.saveAgain = true
		return
	}
	g.saving = true
	c.saveMu.Lock()
	c.toSave = append(c.toSave, g)
	c.saveMu.Unlock()
	select {
	case c.saveDue <- struct{}{}:
	default:
	}
}

func (c *Coordinator) takeSaves() []*cell {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	all := c.toSave
	c.toSave = nil
	return all
}

func (c *Coordinator) saveLoop(ctx context.Context, g *cell) {
	sh := g.shard
	for {
		if !c.enterToSave(ctx, sh) {
			return // Run has ended, and closes the shard
		}
		if g.gone {
			sh.mu.Unlock()
			return
		}
		g.saveAgain = false
		state := g.state
		rev, value := state.Snapshot()
		claim := sh.claim
		sh.mu.Unlock()

		code := c.write(ctx, sh, claim, []metadata.KeyOp{{Key: sh.groupKey(g.name), Write: true, Value: value}})

		sh.mu.Lock()
		if g.gone {
			sh.mu.Unlock()
			return
		}
		if code == codeNotCoordinator {
			c.lose(sh, claim)
			gone := g.gone
			sh.mu.Unlock()
			if gone {
				return
			}
			continue // the claim is another one: the same again
		}
		g.durable = g.durable || code == codeNone
		if g.state == state { // else the group has become one of the other type, which waits for saves of its own
			c.step(g, Saved{Revision: rev, Code: code})
		}
		again := g.saveAgain
		g.saving = again
		c.tidy(g)
		sh.mu.Unlock()
		if !again {
			return
		}
	}
}

// enterToSave locks the shard when no claim of it is under way and its own is free of doubt, as far as trying can bring that about.
// At the end of ctx it returns false, and the shard is free.
func (c *Coordinator) enterToSave(ctx context.Context, sh *shard) bool {
	tried := false
	for ctx.Err() == nil {
		sh.mu.Lock()
		switch {
		case sh.claiming != nil:
			claiming := sh.claiming
			sh.mu.Unlock()
			c.wait(ctx, claiming)
		case sh.claim != 0 && sh.doubt && !tried:
			tried = true
			c.claim(ctx, sh)
		default:
			return true
		}
	}
	return false
}

// write makes ops durable under the claim. Codes: none; NOT_COORDINATOR when the claim is lost; COORDINATOR_NOT_AVAILABLE
// when the outcome is not known, and the claim is renewed then; and, for the caller that checks keys of its own, INVALID_REQUEST when one of those
// differed and nothing was written.
func (c *Coordinator) write(ctx context.Context, sh *shard, claim uint64, ops []metadata.KeyOp) Code {
	all := append([]metadata.KeyOp{{Key: sh.claimKey(), Check: true, Expect: claim}}, ops...)
	_, conflict, err := c.setKeys(ctx, all)
	switch {
	case err == nil:
		return codeNone
	case errors.Is(err, metadata.ErrConflict) && conflict != sh.claimKey():
		return codeInvalidRequest
	case errors.Is(err, metadata.ErrConflict), errors.Is(err, metadata.ErrFenced):
		return codeNotCoordinator
	default:
		c.log.WarnContext(ctx, "group write failed", "shard", sh.index, "keys", len(ops), "err", err)
		sh.mu.Lock()
		sh.doubt = sh.claim == claim
		sh.mu.Unlock()
		return codeCoordinatorUnavailable
	}
}

// setKeys returns the new version, or the key in conflict beside the error.
func (c *Coordinator) setKeys(ctx context.Context, ops []metadata.KeyOp) (version uint64, conflict string, err error) {
	res, err := c.doer.Do(ctx, metadata.SetKeys{Space: Space, Ops: ops})
	if err != nil {
		return 0, "", fmt.Errorf("set %d keys in %q: %w", len(ops), Space, err)
	}
	r, ok := res.(metadata.SetKeysResult)
	if !ok {
		return 0, "", fmt.Errorf("set %d keys in %q: answered by a %T", len(ops), Space, res)
	}
	return r.Version, r.ConflictKey, r.Err
}

// newMemberID makes an id as Kafka's coordinators do: what the client calls itself, and chance.
func (c *Coordinator) newMemberID(clientID string) string {
	c.rngMu.Lock()
	defer c.rngMu.Unlock()
	if len(clientID) > 128 {
		clientID = clientID[:128]
	}
	return fmt.Sprintf("%s-%016x%016x", clientID, c.rng.Uint64(), c.rng.Uint64())
}
