package group

import (
	"context"
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

	code := c.write(ctx, sh, claim, ops)

	sh.mu.Lock()
	defer sh.mu.Unlock()
	g.deleting = false
	switch {
	case g.gone:
	case code == codeNone:
		c.forget(g)
	case code == codeNotCoordinator:
		c.drop(sh)
	}
	return code
}

// expire applies the retention of offsets to the shards held: groups that have been empty for so long lose the offsets
// that are as old, and go with the last of them; offsets of topics that are gone go at once.
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
		for _, name := range names {
			if ctx.Err() != nil {
				return
			}
			c.expireGroup(ctx, sh, claim, name)
		}
	}
}

func (c *Coordinator) expireGroup(ctx context.Context, sh *shard, claim uint64, name string) {
	before := c.now().Add(-c.cfg.OffsetRetention)
	sh.mu.Lock()
	g := sh.groups[name]
	if g == nil || g.deleting || g.saving || g.commits > 0 || sh.claim != claim {
		sh.mu.Unlock() // in use, so it can wait for the next round
		return
	}
	old := c.cfg.OffsetRetention > 0 && g.state.Idle() && g.state.EmptySince().Before(before)
	var ops []metadata.KeyOp
	left := 0
	for _, kv := range c.view.Keys(Space, sh.offsetPrefix(name)) {
		if c.expired(sh, name, kv, old, before) && len(ops) < expireChunk {
			// The version keeps a commit that arrives right now.
			ops = append(ops, metadata.KeyOp{Key: kv.Key, Check: true, Expect: kv.Version, Write: true, Delete: true})
		} else {
			left++
		}
	}
	if old && left == 0 {
		c.remove(ctx, g, append(ops, metadata.KeyOp{Key: sh.groupKey(name), Write: true, Delete: true}))
		return
	}
	sh.mu.Unlock()
	if len(ops) > 0 {
		c.write(ctx, sh, claim, ops)
	}
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
