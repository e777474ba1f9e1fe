package sim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// gate is where the tasks of one agent stand still: before and after each call of the store. An agent that is killed there has
// either not asked yet, or does not hear the answer.
type gate struct {
	w     *world
	a     *agent
	inner objectstore.Store
}

// stop is before a call: the error of one that never gets to the store.
func (g *gate) stop(op objectstore.Op, key string) error {
	g.w.note(op.String(), key, 0)
	g.w.running.pause()
	g.latency(key)
	if err := g.reach(g.a.party(), theStore); err != nil {
		return err
	}
	g.w.witness.calling = key
	return nil
}

// reach waits in vain where the way is cut.
func (g *gate) reach(from, to party) error {
	if g.w.net.open(from, to) {
		return nil
	}
	g.w.counts["store calls cut off"]++
	_ = g.w.sleep(g.w.ctx, time.Duration(500+g.w.rng.IntN(4000))*time.Millisecond)
	return fmt.Errorf("%w: %w", objectstore.ErrUnknown, errNoAnswer)
}

// latency is half of what a call takes. Slots of the log are read eight at a time by real agents, and here one after the other.
func (g *gate) latency(key string) {
	d := g.w.profile.storeDelay
	if strings.HasPrefix(key, logPrefix+"log/") && g.w.running.name == "read log" {
		d /= 8
	}
	if d == 0 {
		return
	}
	d = (d + g.w.rng.Int64N(d)) / 4
	if g.w.rng.IntN(100) == 0 {
		d *= 10
	}
	_ = g.w.sleep(g.w.ctx, time.Duration(d)*time.Millisecond)
}

// Create implements objectstore.Store.
func (g *gate) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	if err := g.stop(objectstore.OpCreate, key); err != nil {
		return time.Time{}, err
	}
	at, err := g.inner.Create(ctx, key, body)
	if lost := g.answered(key, err); lost != nil {
		return time.Time{}, lost
	}
	return at, err
}

// Put implements objectstore.Store.
func (g *gate) Put(ctx context.Context, key string, body []byte) error {
	if err := g.stop(objectstore.OpPut, key); err != nil {
		return err
	}
	err := g.inner.Put(ctx, key, body)
	if lost := g.answered(key, err); lost != nil {
		return lost
	}
	return err
}

// Get implements objectstore.Store.
func (g *gate) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	if err := g.stop(objectstore.OpGet, key); err != nil {
		return nil, err
	}
	body, err := g.inner.Get(ctx, key, maxBytes)
	if lost := g.answered(key, err); lost != nil {
		return nil, lost
	}
	return body, err
}

// GetRange implements objectstore.Store.
func (g *gate) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	if err := g.stop(objectstore.OpGetRange, key); err != nil {
		return nil, err
	}
	body, err := g.inner.GetRange(ctx, key, pos, length)
	if lost := g.answered(key, err); lost != nil {
		return nil, lost
	}
	return body, err
}

// List implements objectstore.Store.
func (g *gate) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	if err := g.stop(objectstore.OpList, prefix); err != nil {
		return nil, err
	}
	page, err := g.inner.List(ctx, prefix, after, limit)
	if lost := g.answered(prefix, err); lost != nil {
		return nil, lost
	}
	return page, err
}

// Delete implements objectstore.Store. Others act between two keys of one call, as they may with a store.
func (g *gate) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := g.stop(objectstore.OpDelete, key); err != nil {
			return err
		}
		if err := g.inner.Delete(ctx, key); err != nil {
			if lost := g.answered(key, err); lost != nil {
				return lost
			}
			return err
		}
	}
	return g.answered("", nil)
}

// answered is after a call: the error of one whose answer does not get back.
func (g *gate) answered(key string, err error) error {
	g.w.witness.calling = ""
	if err != nil {
		g.w.note("failed", err.Error(), 0)
	}
	if !g.w.mild() && g.w.rng.IntN(g.w.profile.slowAnswers) == 0 {
		_ = g.w.sleep(g.w.ctx, time.Duration(g.w.rng.IntN(4000))*time.Millisecond)
		g.w.counts["slow answers"]++
	}
	g.latency(key)
	if lost := g.reach(theStore, g.a.party()); lost != nil {
		return lost
	}
	g.w.running.pause()
	return nil
}

// witness sits right above the memory and sees every effect when it happens, those that land late too.
type witness struct {
	*objectstore.Memory
	w       *world
	written map[string]writing // every key that was ever written
	calling string             // the key of the call under way; what else is written lands late
	damaged string             // a snapshot that was damaged, while it is there
}

// writing is the last write of a key.
type writing struct {
	sum   [sha256.Size]byte
	first int64 // world time of the key's first write
	last  int64 // and of its last one
	late  bool
}

// Create implements objectstore.Store.
func (s *witness) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	at, err := s.Memory.Create(ctx, key, body)
	if err == nil {
		s.wrote(key, body)
	}
	return at, err
}

// Put implements objectstore.Store.
func (s *witness) Put(ctx context.Context, key string, body []byte) error {
	err := s.Memory.Put(ctx, key, body)
	if err == nil {
		s.wrote(key, body)
	}
	return err
}

// Delete implements objectstore.Store.
func (s *witness) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		s.w.oracle.deleting(ctx, key)
		s.w.note("gone", key, 0)
		if key == s.damaged {
			s.damaged = ""
		}
		if err := s.Memory.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// wrote notes a write that has had its effect.
func (s *witness) wrote(key string, body []byte) {
	sum := sha256.Sum256(body)
	before, again := s.written[key]
	first := s.w.now
	if again {
		first = before.first
	}
	// An output is claimed before it is written. One of no live job is written by somebody who was deposed meanwhile. So is a WAL
	// object of a session that was swept for the last time.
	late := key != s.calling || strings.HasPrefix(key, "tables/") && !s.w.oracle.output(key) || s.w.oracle.sweptForGood(key)
	s.written[key] = writing{sum: sum, first: first, last: s.w.now, late: late}
	s.w.note("wrote", key, int64(len(body)))
	if again && before.sum != sum && !s.mayChange(key) {
		s.w.hist.Objects = append(s.w.hist.Objects, ObjectEvent{Kind: Rewritten, Key: key, Step: s.w.steps})
	}
	s.w.oracle.wrote(key)
}

// mayChange tells keys to which invariant I3 does not apply: Delta's hint (ADR 0003); slots and snapshots, which a writer of days
// ago may write where they were truncated, and what that does to the log is CheckLog's matter; and the log of a table that was
// dropped, where a writer of the past may do the same, and nobody looks any more.
func (s *witness) mayChange(key string) bool {
	if strings.HasSuffix(key, "/_last_checkpoint") || strings.HasPrefix(key, logPrefix) {
		return true
	}
	dir, _, ok := strings.Cut(key, "/_delta_log/")
	return ok && !slices.ContainsFunc(s.w.oracle.liveTables(), func(t metadata.Topic) bool { return t.TableDir == dir })
}

func (s *witness) exists(key string) bool {
	page, err := s.List(s.w.ctx, key, "", 1)
	return err == nil && len(page) == 1 && page[0].Key == key
}
