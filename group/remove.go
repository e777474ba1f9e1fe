package group

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
)

// expireChunk bounds how many keys one command of the retention removes.
const expireChunk = 1000

// DeleteGroups removes groups without members, with their offsets. NON_EMPTY_GROUP when somebody is in it or commits to
// it right now; GROUP_ID_NOT_FOUND when there is no such group.
func (c *Coordinator) DeleteGroups(ctx context.Context, req *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	resp := kmsg.NewPtrDeleteGroupsResponse()
	resp.SetVersion(req.Version)
	for _, name := range req.Groups {
		g := kmsg.NewDeleteGroupsResponseGroup()
		g.Group = name
		g.ErrorCode = int16(c.deleteGroup(ctx, name))
		resp.Groups = append(resp.Groups, g)
	}
	return resp
}

func (c *Coordinator) deleteGroup(ctx context.Context, name string) Code {
	sh, code := c.enter(ctx, name)
	if code != codeNone {
		return code
	}
	g := sh.groups[name]
	switch {
	case g == nil || g.deleting:
		sh.mu.Unlock()
		return codeGroupIDNotFound
	case !g.state.Idle() || g.commits > 0 || g.saving:
		sh.mu.Unlock()
		return codeNonEmptyGroup
	}
	ops := []metadata.KeyOp{{Key: sh.groupKey(name), Write: true, Delete: true}}
	for _, kv := range c.view.Keys(Space, sh.offsetPrefix(name)) {
		ops = append(ops, metadata.KeyOp{Key: kv.Key, Write: true, Delete: true})
	}
	return c.remove(ctx, g, ops)
}

// remove writes ops, which delete the group's keys, and forgets it. The shard is locked on entry and free on return;
// meanwhile nobody enters the group.
func (c *Coordinator) remove(ctx context.Context, g *cell, ops []metadata.KeyOp) Code {
	sh := g.shard
	g.deleting = true
	claim := sh.claim
	sh.mu.Unlock()
	return c.carryOut(ctx, sh, claim, []removal{{g: g, ops: ops, whole: true}})
}

// removal is what leaves a group: some of its offsets, or all there is.
type removal struct {
	g     *cell
	ops   []metadata.KeyOp
	whole bool // g.deleting is set and the group goes
}

// carryOut writes removals of one shard in one command. The shard is free. When a key of one of them was written meanwhile,
// nothing was removed, and each half is tried alone: nobody enters a group that is about to go, so the rest must not wait long
// for the one. It returns the code of the last command.
func (c *Coordinator) carryOut(ctx context.Context, sh *shard, claim uint64, all []removal) Code {
	var ops []metadata.KeyOp
	for _, r := range all {
		ops = append(ops, r.ops...)
	}
	code := c.write(ctx, sh, claim, ops)
	if n := len(all); code == codeInvalidRequest && n > 1 {
		c.carryOut(ctx, sh, claim, all[:n/2])
		return c.carryOut(ctx, sh, claim, all[n/2:])
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, r := range all {
		if !r.whole {
			continue
		}
		r.g.deleting = false
		if code == codeNone {
			c.forget(r.g)
		}
	}
	if code == codeNotCoordinator {
		c.lose(sh, claim)
	}
	return code
}

// expire applies the retention of offsets to the shards held: groups that have been empty for so long lose the offsets
// that are as old, and go with the last of them; offsets of topics that are gone go at once. A command holds as many groups of
// a shard as fit: with one each, an agent full of old groups would be busy for hours.
func (c *Coordinator) expire(ctx context.Context) {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		names := make([]string, 0, len(sh.groups))
		for name, g := range sh.groups {
			if g.durable {
				names = append(names, name)
			}
		}
		claim := sh.claim
		sh.mu.Unlock()
		slices.Sort(names)
		var chunk []removal
		size := 0
		flush := func() {
			if len(chunk) > 0 {
				c.carryOut(ctx, sh, claim, chunk)
				chunk, size = nil, 0
			}
		}
		for _, name := range names {
			if ctx.Err() != nil {
				break
			}
			r := c.removalOf(sh, claim, name)
			if size+len(r.ops) > expireChunk {
				flush()
			}
			if len(r.ops) > 0 {
				chunk, size = append(chunk, r), size+len(r.ops)
			}
		}
		flush() // at the end of ctx too: it gives back the groups marked as going
		if ctx.Err() != nil {
			return
		}
	}
}

// removalOf decides what leaves a group now, and marks it when it goes as a whole.
func (c *Coordinator) removalOf(sh *shard, claim uint64, name string) removal {
	before := c.now().Add(-c.cfg.OffsetRetention)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	g := sh.groups[name]
	if g == nil || g.deleting || g.saving || g.commits > 0 || sh.claim != claim {
		return removal{} // in use, so it can wait for the next round
	}
	r := removal{g: g}
	old := c.cfg.OffsetRetention > 0 && g.state.Idle() && g.state.EmptySince().Before(before)
	left := 0
	for _, kv := range c.view.Keys(Space, sh.offsetPrefix(name)) {
		if c.expired(sh, name, kv, old, before) && len(r.ops) < expireChunk-1 { // one more for the group itself
			// The version keeps a commit that arrives right now.
			r.ops = append(r.ops, metadata.KeyOp{Key: kv.Key, Check: true, Expect: kv.Version, Write: true, Delete: true})
		} else {
			left++
		}
	}
	if old && left == 0 {
		r.whole, g.deleting = true, true
		r.ops = append(r.ops, metadata.KeyOp{Key: sh.groupKey(name), Write: true, Delete: true})
	}
	return r
}

func (c *Coordinator) expired(sh *shard, name string, kv metadata.KeyValue, old bool, before time.Time) bool {
	at, err := parseOffsetKey(strings.TrimPrefix(kv.Key, sh.offsetPrefix(name)))
	if err != nil {
		return false
	}
	if _, ok := c.view.TopicByID(at.Topic); !ok {
		return true
	}
	o, err := decodeCommitted(kv.Value)
	return err == nil && old && time.UnixMilli(o.at).Before(before)
}
