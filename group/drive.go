package group

import (
	"context"
	"time"
)

// A Coordinator is driven in turns: Run does so with goroutines and timers, and a simulation from a single goroutine, whose coroutines
// give control away in Config.Wait. Begin comes first and End last, and nothing else of the driver is called beside them.

// Begin lets requests be taken.
func (c *Coordinator) Begin() {
	now := c.now()
	c.started.Store(&now)
	c.running.Store(true)
}

// Turn lets time pass for every group that is due and drops shards whose claims were replaced. It returns the saves that are to be carried
// out, each of which writes for a while and ends early with its ctx, and after how long the next Turn is due at the latest. After a request
// or a save, one may be due at once.
func (c *Coordinator) Turn() (saves []func(context.Context), next time.Duration) {
	next = c.tickDue()
	if c.look() {
		next = min(next, lookEvery)
	}
	for _, g := range c.takeSaves() {
		saves = append(saves, func(ctx context.Context) { c.saveLoop(ctx, g) })
	}
	return saves, next
}

// End refuses requests from now on and answers all that wait with NOT_COORDINATOR, so that clients look for another coordinator at once.
// It is called when the saves that Turn returned have ended, or are not going on.
func (c *Coordinator) End() {
	c.running.Store(false)
	for i := range c.shards {
		c.close(&c.shards[i])
	}
}

// GiveUp is one round of HandOver: it gives up the shards whose groups are at rest, or all of them, and claims none from now on. It returns
// how many are left.
func (c *Coordinator) GiveUp(all bool) (left int) {
	c.leaving.Store(true)
	for i := range c.shards {
		if !c.giveUp(&c.shards[i], all) {
			left++
		}
	}
	return left
}

// wait stands still until done is closed, and returns true, or until ctx ends.
func (c *Coordinator) wait(ctx context.Context, done <-chan struct{}) bool {
	if c.cfg.Wait != nil {
		return c.cfg.Wait(ctx, done)
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
