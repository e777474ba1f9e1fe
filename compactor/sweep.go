package compactor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// Leftovers picks from a listing of a session's prefix what can never be committed any more and that nobody knows: objects whose
// upload or commit failed, and job outputs that came late. Of a sealed session, whose commits and claims are refused, that is all
// that State does not know. Of an open one it is what its own agent (own) finds of objects below the counter that the next
// commit must have, and of regrouped ones: their claims came before their bytes. Foreign open sessions are left alone, because this
// agent's View may lag behind their claims.
//
// No clock is in it, but an order is: s is read from the View before the listing, and known asks the View after it. An object
// that was committed in between is known then; one that was not is refused by what s says already. Pure but for known.
func Leftovers(s metadata.Session, own bool, listed []objectstore.Object, known func(key string) bool) []string {
	var keys []string
	for _, o := range listed {
		if !s.Sealed {
			k, ok := record.ParseObjectKey(o.Key)
			if !own || !ok || !k.Sorted && k.Counter >= s.NextCounter {
				continue
			}
		}
		if !known(o.Key) {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// SweepTimes say when the prefixes of sessions are listed. What they find does not depend on them: a PUT may land after any
// listing, and the next one finds it.
type SweepTimes struct {
	Again time.Duration // a sealed session is swept at once, again so long after its seal
	Last  time.Duration // ... and for the last time so long after it; then the session is forgotten
	Open  time.Duration // least time between two sweeps of the agent's own, open session; none while it commits nothing
}

// swept is what a compactor remembers of a session: its last whole sweep, of this process.
type swept struct {
	at      int64 // when it began, milliseconds
	counter uint64
}

// nextSweep picks the session whose prefix is to be listed at now (milliseconds), the one that waits longest first, and tells whether it is its last sweep.
// Pure.
func nextSweep(sessions []metadata.Session, own metadata.SessionID, done map[metadata.SessionID]swept, now int64, times SweepTimes) (s metadata.Session, last, ok bool) {
	var since int64
	for _, candidate := range sessions {
		at, due := sweepDue(candidate, own, done, now, times)
		if due && (!ok || at < since) {
			s, since, ok = candidate, at, true
		}
	}
	return s, ok && s.Sealed && now >= s.SealedAt+times.Last.Milliseconds(), ok
}

// sweepDue tells whether a session is to be swept at now, and since when.
func sweepDue(s metadata.Session, own metadata.SessionID, done map[metadata.SessionID]swept, now int64, times SweepTimes) (since int64, due bool) {
	before, was := done[s.ID]
	if !s.Sealed {
		since = max(s.OpenedAt, before.at) + times.Open.Milliseconds()
		return since, s.ID == own && s.NextCounter > before.counter && now >= since
	}
	since = s.SealedAt
	for _, after := range []time.Duration{times.Again, times.Last} {
		if at := s.SealedAt + after.Milliseconds(); now >= at {
			since = at
		}
	}
	return since, !was || before.at < since
}

// sweeper is where the sweep under way stands.
type sweeper struct {
	done    map[metadata.SessionID]swept // of sessions that State still has
	session metadata.SessionID           // under way; 0: none
	began   swept
	last    bool
	after   string // the page before ended here
}

// sweep goes one page of at most one session further, so that a round costs one listing and one deletion at most.
func (c *Compactor) sweep(ctx context.Context) error {
	sessions := c.view.Sessions()
	w := &c.sweeper
	i, found := slices.BinarySearchFunc(sessions, w.session, func(s metadata.Session, id metadata.SessionID) int { return cmp.Compare(s.ID, id) })
	if !found {
		mine := sessions
		if !c.share.mine(sweepWork) {
			mine = slices.DeleteFunc(slices.Clone(sessions), func(s metadata.Session) bool { return s.ID != c.cfg.Session })
		}
		s, last, ok := nextSweep(mine, c.cfg.Session, w.done, c.now().UnixMilli(), c.cfg.Sweep)
		if !ok {
			return nil
		}
		w.forget(sessions)
		w.session, w.last, w.after = s.ID, last, ""
		// A clock that is behind the seal's would have the session swept each round, and others never.
		w.began = swept{at: max(c.now().UnixMilli(), s.SealedAt), counter: s.NextCounter}
		i = slices.IndexFunc(sessions, func(t metadata.Session) bool { return t.ID == s.ID })
	}
	more, err := c.sweepPage(ctx, sessions[i])
	if err != nil || more {
		return err
	}
	if w.last {
		if err := c.forgetSession(ctx, w.session); err != nil {
			return err
		}
	}
	w.done[w.session] = w.began
	w.session = 0
	return nil
}

// forget drops what is remembered of sessions that State has no more.
func (w *sweeper) forget(sessions []metadata.Session) {
	if len(w.done) <= len(sessions) {
		return
	}
	live := make(map[metadata.SessionID]swept, len(sessions))
	for _, s := range sessions {
		if at, ok := w.done[s.ID]; ok {
			live[s.ID] = at
		}
	}
	w.done = live
}

// sweepPage lists one page of the session under way and deletes its leftovers; s was read from the View before.
func (c *Compactor) sweepPage(ctx context.Context, s metadata.Session) (more bool, err error) {
	prefix := record.SessionPrefix(uint64(s.ID))
	listed, err := c.store.List(ctx, prefix, c.sweeper.after, deleteBatch)
	if err != nil {
		return false, fmt.Errorf("list %s of session %d: %w", prefix, s.ID, err)
	}
	if keys := Leftovers(s, s.ID == c.cfg.Session, listed, c.view.KnowsObject); len(keys) > 0 {
		if _, err := c.deleteAll(ctx, keys); err != nil {
			return false, err
		}
		c.objectsSwept.Add(int64(len(keys)))
		c.logger.InfoContext(ctx, "swept objects that were never committed", "session", uint64(s.ID), "count", len(keys), "object", keys[0])
	}
	if len(listed) < deleteBatch {
		return false, nil
	}
	c.sweeper.after = listed[len(listed)-1].Key
	return true, nil
}

// forgetSession lets a session that was swept for the last time leave the state. Before the log's level allows it, the session
// stays, and another process sweeps it once more.
func (c *Compactor) forgetSession(ctx context.Context, id metadata.SessionID) error {
	if c.view.Level() < movesLevel {
		return nil
	}
	res, err := metadata.Ask[metadata.ForgetSessionResult](ctx, c.log, metadata.ForgetSession{Session: id})
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return fmt.Errorf("forget session %d: %w", id, err)
	}
	c.sessionsForgotten.Add(1)
	c.logger.InfoContext(ctx, "forgot a session that was swept for the last time", "session", uint64(id))
	return nil
}
