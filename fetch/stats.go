package fetch

import "sync/atomic"

// Stats counts what a Reader did since it was made. Each extent that was read for somebody is counted once, by where it came
// from.
type Stats struct {
	Tail   int64 // from memory, as part of the log's end
	Old    int64 // from memory, among what lagging readers had read
	Joined int64 // by waiting for somebody else's read of it
	Owner  int64 // from the agent of the zone that keeps it
	Store  int64 // from the store, at the log's end
	Cold   int64 // from the store, for lagging readers

	OwnerBytes, StoreBytes, ColdBytes int64

	Fallbacks int64 // of reads of the store: those whose owner did not answer

	Served, ServedBytes int64 // to other agents
	Refused             int64 // reads of other agents

	SeedsSent, SeedsDropped, SeedsTaken, SeedsRefused int64 // objects
}

// counts is Stats while it is counted.
type counts struct {
	tail, old, joined, owner, hot, cold               atomic.Int64
	ownerBytes, hotBytes, coldBytes                   atomic.Int64
	fallbacks, served, servedBytes, refused           atomic.Int64
	seedsSent, seedsDropped, seedsTaken, seedsRefused atomic.Int64
}

// store counts one read of the store.
func (c *counts) store(lagging bool, n int) {
	if lagging {
		c.cold.Add(1)
		c.coldBytes.Add(int64(n))
		return
	}
	c.hot.Add(1)
	c.hotBytes.Add(int64(n))
}

// Stats tells what the Reader did. Safe for concurrent use.
func (r *Reader) Stats() Stats {
	c := &r.objects.counts
	return Stats{
		Tail: c.tail.Load(), Old: c.old.Load(), Joined: c.joined.Load(), Owner: c.owner.Load(), Store: c.hot.Load(), Cold: c.cold.Load(),
		OwnerBytes: c.ownerBytes.Load(), StoreBytes: c.hotBytes.Load(), ColdBytes: c.coldBytes.Load(),
		Fallbacks: c.fallbacks.Load(), Served: c.served.Load(), ServedBytes: c.servedBytes.Load(), Refused: c.refused.Load(),
		SeedsSent: c.seedsSent.Load(), SeedsDropped: c.seedsDropped.Load(), SeedsTaken: c.seedsTaken.Load(), SeedsRefused: c.seedsRefused.Load(),
	}
}
