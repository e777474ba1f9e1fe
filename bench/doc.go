// Package bench measures agents: load on the Kafka side, a store that throws away on the other, and between them the
// agent as a process of its own, whose CPU, memory and requests are counted.
//
// A run is a Config and gives a Result:
//
//	result, err := bench.Run(ctx, bench.DefaultConfig(), parts)
//
// Four processes take part: this one makes the load, a child is the store (RunStore), a child is the agent, and with
// Config.Floor a child is the floor (RunFloor): the least that a server of this kind can do, against which the agent is
// held. Nothing runs longer or sends more than Config says.
//
// Load is made of record batches that are built once (frames.go): a client that builds batches as it goes uses more CPU
// than the agent. How to run it and what the numbers mean stands in docs/benchmarks.md.
package bench
