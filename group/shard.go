package group

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// shardCount is part of the durable layout: a group's shard is its hash modulo this.
const shardCount = 64

// claimTries bounds how often a claim is tried again after somebody else was faster.
const claimTries = 4

// shard is one part of all groups, claimed as a whole. The mutex guards everything below it and the cells of the shard;
// it is free during every wait and every write. Order of locks: shard.mu, then saveMu or timers.mu.
type shard struct {
	index int

	mu       sync.Mutex
	closed   bool
	claim    uint64        // version of our claim, 0: not ours
	doubt    bool          // a write under the claim has an unknown outcome: the claim is renewed before the next one
	claiming chan struct{} // open while a claim is under way
	groups   map[string]*cell
}

// cell is one group in memory.
type cell struct {
	shard     *shard
	name      string
	state     machine
	waiters   map[Ticket]*waiter
	durable   bool // its key exists
	saving    bool
	saveAgain bool
	commits   int  // offset commits under way
	deleting  bool // its keys are being removed
	gone      bool // no longer in shard.groups

	due  time.Time // guarded by timers.mu, as is slot
	slot int
}

// waiter is one request that waits for its reply.
type waiter struct {
	reply    Reply
	answered chan struct{} // closed once reply is there
}

func (w *waiter) answer(r Reply) {
	w.reply = r
	close(w.answered)
}

// ShardOf returns the shard of a group, 0 to 63. The hash is FNV-1a, 32 bits, of the name.
func ShardOf(group string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(group)) // a hash's Write does not fail
	return int(h.Sum32() % shardCount)
}

// Keys in Space: the claim c/<shard>, groups g/<shard>/<name>, offsets o/<shard>/<name>/<topic id>/<partition>. The
// shard is two hexadecimal digits, the topic id 32, the partition decimal; names are escaped as URL path segments.
func (sh *shard) claimKey() string { return fmt.Sprintf("c/%02x", sh.index) }

func (sh *shard) groupsPrefix() string { return fmt.Sprintf("g/%02x/", sh.index) }

func (sh *shard) groupKey(name string) string { return sh.groupsPrefix() + url.PathEscape(name) }

func (sh *shard) offsetPrefix(name string) string {
	return fmt.Sprintf("o/%02x/%s/", sh.index, url.PathEscape(name))
}

func (sh *shard) offsetKey(name string, p record.Partition) string {
	return sh.offsetPrefix(name) + p.Topic.Hex() + "/" + strconv.Itoa(int(p.Index))
}

// parseOffsetKey reads the end of an offset key, after its prefix.
func parseOffsetKey(rest string) (record.Partition, error) {
	id, index, _ := strings.Cut(rest, "/")
	var p record.Partition
	n, err := strconv.ParseInt(index, 10, 32)
	if err != nil {
		return p, fmt.Errorf("%w: offset key %q", errCorrupt, rest)
	}
	p.Index = int32(n)
	if len(id) != 2*len(p.Topic) {
		return p, fmt.Errorf("%w: offset key %q", errCorrupt, rest)
	}
	for i := range p.Topic {
		b, err := strconv.ParseUint(id[2*i:2*i+2], 16, 8)
		if err != nil {
			return p, fmt.Errorf("%w: offset key %q", errCorrupt, rest)
		}
		p.Topic[i] = byte(b)
	}
	return p, nil
}

// enter returns the group's shard, claimed and locked, or a code and nothing locked. The empty name is one for offsets, as in Kafka,
// but no group that somebody could be a member of.
func (c *Coordinator) enter(ctx context.Context, group string) (*shard, Code) {
	if len(group) > 255 {
		return nil, codeInvalidGroupID
	}
	sh := &c.shards[ShardOf(group)]
	for range claimTries {
		sh.mu.Lock()
		switch {
		case sh.closed:
			sh.mu.Unlock()
			return nil, codeNotCoordinator
		case sh.claiming != nil:
			claiming := sh.claiming
			sh.mu.Unlock()
			if !c.wait(ctx, claiming) {
				return nil, codeCoordinatorUnavailable
			}
		case sh.claim != 0 && !sh.doubt:
			if c.cutOff() {
				sh.mu.Unlock()
				return nil, codeCoordinatorUnavailable
			}
			if c.stillOurs(sh) {
				return sh, codeNone
			}
			c.drop(sh)
			sh.mu.Unlock()
			return nil, codeNotCoordinator
		default:
			if sh.claim == 0 {
				if code := c.mayClaim(sh); code != codeNone {
					sh.mu.Unlock()
					return nil, code
				}
			}
			if code := c.claim(ctx, sh); code != codeNone {
				return nil, code
			}
		}
	}
	return nil, codeNotCoordinator
}

// claim takes the shard for this agent and loads its groups; one that is ours already is renewed instead, after a write whose
// outcome is not known: should that one come late, it names a claim that is no more, and does not undo what was written
// meanwhile. The shard is locked on entry, no claim being under way, and free on return.
func (c *Coordinator) claim(ctx context.Context, sh *shard) Code {
	sh.claiming = make(chan struct{})
	ours := sh.claim
	sh.mu.Unlock()
	running := c.running.Load()
	var version uint64
	err := metadata.ErrUnavailable
	if running {
		expect := ours
		if ours == 0 {
			_, expect = c.claimed(sh)
		}
		value := claim{owner: c.cfg.Owner, session: c.cfg.Session, nonce: c.nonce}.encode()
		version, _, err = c.setKeys(ctx, []metadata.KeyOp{{Key: sh.claimKey(), Check: true, Expect: expect, Write: true, Value: value}})
	}

	sh.mu.Lock()
	defer sh.mu.Unlock()
	close(sh.claiming)
	sh.claiming = nil
	switch {
	case errors.Is(err, metadata.ErrConflict):
		c.drop(sh)
		return codeNone // enter looks again
	case err != nil && running:
		c.log.WarnContext(ctx, "group shard not claimed", "shard", sh.index, "err", err)
		return codeLoadInProgress
	case err != nil:
		return codeCoordinatorUnavailable
	case sh.closed:
		return codeNotCoordinator
	}
	sh.claim, sh.doubt = version, false
	if ours != 0 {
		return codeNone // and what is in memory stays
	}
	c.load(ctx, sh)
	c.log.InfoContext(ctx, "group shard claimed", "shard", sh.index, "groups", len(sh.groups), "version", version)
	return codeNone
}

// load reads the groups of a shard just claimed: every earlier write is in the View, later ones of others are refused.
func (c *Coordinator) load(ctx context.Context, sh *shard) {
	prefix := sh.groupsPrefix()
	for _, kv := range c.view.Keys(Space, prefix) {
		name, state, err := c.restore(prefix, kv)
		if state == nil {
			c.log.ErrorContext(ctx, "group not loaded", "key", kv.Key, "err", err)
			continue
		}
		if err != nil {
			c.log.ErrorContext(ctx, "group membership not restored", "group", name, "err", err)
		}
		g := c.addCell(sh, name, state)
		g.durable = true
		c.timers.set(g, state.Wake())
	}
}

// restore reads a group's key, which begins with prefix. An error beside a state tells that the value could not be read and the
// group begins anew: its offsets stand in keys of their own; only membership is lost, which costs a rebalance.
func (c *Coordinator) restore(prefix string, kv metadata.KeyValue) (name string, state machine, err error) {
	name, err = url.PathUnescape(strings.TrimPrefix(kv.Key, prefix))
	if err != nil {
		return "", nil, fmt.Errorf("group key %q: %w", kv.Key, err)
	}
	if len(kv.Value) > 0 && kv.Value[0] == consumersVersion {
		state, err = RestoreConsumerState(name, kv.Value, c.cfg, c.now())
	} else {
		state, err = RestoreState(name, kv.Value, c.cfg, c.now())
	}
	if err != nil {
		state = NewState(name, c.cfg, c.now())
	}
	return name, state, err
}

func (c *Coordinator) addCell(sh *shard, name string, state machine) *cell {
	g := &cell{shard: sh, name: name, state: state, waiters: map[Ticket]*waiter{}}
	sh.groups[name] = g
	c.groups.Add(1)
	return g
}

// cellFor returns the group, made if need be. The shard is locked.
func (c *Coordinator) cellFor(sh *shard, name string) (*cell, Code) {
	g := sh.groups[name]
	switch {
	case g == nil && c.groups.Load() >= int64(c.cfg.MaxGroups):
		return nil, codePolicyViolation
	case g == nil:
		return c.addCell(sh, name, NewState(name, c.cfg, c.now())), codeNone
	case g.deleting:
		return nil, codeCoordinatorUnavailable
	default:
		return g, codeNone
	}
}

// forget takes a group out of memory; who still waits is told to look for the coordinator again.
func (c *Coordinator) forget(g *cell) {
	if g.gone {
		return
	}
	g.gone = true
	delete(g.shard.groups, g.name)
	c.groups.Add(-1)
	c.timers.set(g, time.Time{})
	for t, w := range g.waiters {
		w.answer(Reply{Ticket: t, Code: codeNotCoordinator, Generation: -1})
	}
	clear(g.waiters)
}

// drop forgets a shard whose claim is lost. The shard is locked.
func (c *Coordinator) drop(sh *shard) {
	if sh.claim == 0 {
		return
	}
	c.log.Warn("group shard lost", "shard", sh.index, "groups", len(sh.groups))
	sh.claim, sh.doubt = 0, false
	for _, g := range sh.groups {
		c.forget(g)
	}
}

// stillOurs reports that the View knows no newer claim. The shard is locked and claimed.
func (c *Coordinator) stillOurs(sh *shard) bool {
	kv, ok := c.view.Key(Space, sh.claimKey())
	return ok && kv.Version == sh.claim
}

// lose drops the shard because a write under claim was refused, unless the claim has been renewed since, or is being renewed:
// whether that works tells who holds the shard.
func (c *Coordinator) lose(sh *shard, claim uint64) {
	if sh.claim == claim && sh.claiming == nil {
		c.drop(sh)
	}
}

// close ends a shard for good.
func (c *Coordinator) close(sh *shard) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c.shut(sh)
}

func (c *Coordinator) shut(sh *shard) {
	sh.closed, sh.claim, sh.doubt = true, 0, false
	for _, g := range sh.groups {
		c.forget(g)
	}
}
