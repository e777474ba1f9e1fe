// Package group coordinates consumer groups and keeps their committed offsets.
//
// A group is a pure state machine: Step takes an event and the time and says who is answered and whether the group must be
// saved first. It knows nothing of connections, stores or clocks, so that scripts can tell its stories (testdata) and a
// simulation can drive it. State is a group of the classic protocol; what its members subscribe to and are assigned stays
// opaque: Kafka Connect and schema registries use the same protocol with other bytes. ConsumerState is a group of the
// consumer protocol (KIP-848), which assigns partitions here (assignor.go) and moves each member to its own by heartbeats. A
// group is of one type at a time and changes it only while it has no members; generations and epochs go up all the same.
//
// Coordinator is the shell: it holds the groups of the shards this agent has claimed, answers kmsg requests, runs the
// timers and makes groups and offsets durable. A first call:
//
//	c, err := group.New(group.DefaultConfig(), view, sequencer, time.Now, rng, log)
//	go c.Run(ctx)
//	resp := c.JoinGroup(ctx, req, "client-1", "10.0.0.7") // waits until the group has a generation
//
// Durable state lives in the metadata key space "groups": one claim key a shard (hash of the group modulo 64), one key a
// group, one key an offset. The claim names the agent that holds the shard; while that agent lives, everybody sends clients
// there, and afterwards to the one that a rendezvous hash picks, which then claims the shard (holder.go). Every write is one
// multi-key compare-and-set that also checks the version of the shard's claim, so that an agent which lost the shard can
// not write any more: it answers NOT_COORDINATOR and forgets the shard. A group is saved when a rebalance completes, before
// any member learns its assignment; the next coordinator therefore finds members, generation and assignments as the
// members know them, and nobody has to rejoin.
//
// Failures are Kafka error codes in the answers, never Go errors. Sources: Kafka protocol (join, sync, heartbeat, leave,
// offset commit, fetch and delete, describe, list), KIP-62, KIP-345, KIP-394, KIP-496, KIP-800, KIP-814, KIP-848, KIP-1251.
package group
