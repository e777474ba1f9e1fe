// Package scale finds out how large one metadata shard gets: it drives the real metadata.SequencerCore, State and View, the
// compactor's planner and the routing of clients with the load of a hundred agents and up to a million partitions, in one
// process and in virtual time. Nothing is uploaded and no record exists: only what the log says of them does.
//
// What is measured is CPU of this process, bytes and heap; how long an append takes and how fast a compactor reads are
// settings. So the rates that come out are those of a cluster in which this process is the sequencer.
package scale
