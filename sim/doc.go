// Package sim runs a small cluster in one goroutine, breaks it at every step, and holds what it answered against what is there.
//
// A world is made from a seed alone: Run(Config{Seed: 7}) always takes the same steps and returns the same Result, so a failing
// seed is a bug in one line. Nothing of the product is imitated. Agents are the real metadata.SequencerCore over the real
// bucketlog, the real batcher.Core, compactor.Compactor and fetch.Reader. Each call of theirs that may wait runs as a coroutine
// (task) that gives control away before and after every store call and while it sleeps. A seeded scheduler (world.turn) picks who
// goes on. It also moves the clock, lands writes that were given up for lost, damages snapshots, kills agents at any store call,
// pauses them for minutes while a successor takes over, and wakes them again.
//
// There are three kinds of worlds (Kind). In a Single one agents take the log from one another. In a Cluster one to five live at
// once, in up to three zones, each with a replica.Core and, while it sequences, a metadata.SequencerCore: they follow, hand their
// commands on and ask for the end of the log over a network that delays, loses connections and is cut between any two parties, one
// way or both (network.go). Clocks differ by up to an hour and are set, processes sleep for minutes, agents join, drain, die and, in
// some worlds, are of the level before; clients go where members say, and move. They share background work and keep objects for their zones as
// the product does, by what each knows of the others; answers about objects are late, refused or damaged (zone.go). Some clusters begin with a
// lull in which nothing fails. In a Stalled one all is well but that the sequencer dies.
//
// The stack under an agent: objectstore.WithRetry, then the gate (where tasks yield and die), then storetest.Faulty, then the
// witness (which sees every effect in the order in which it happens), then objectstore.Memory. The oracle follows the log from
// behind the faults: it knows the newest durable State at every moment, for the checks that need the truth.
//
// Producers and consumers behave as Kafka's clients do: five batches in flight to a partition, retries of the same bytes in order,
// time-outs, new epochs after a batch was given up. Requests may arrive after their client has hung up, some clients have two
// connections whose batches overtake each other, and some go on in the same epoch when they should not. In most clusters there are groups
// of consumers too: each agent runs a group.Coordinator, whose requests and saves are tasks, and members find it, join, share the
// partitions, commit, leave and die. What they and the store saw goes into a History, and pure functions judge
// it: CheckLog, CheckKafka, CheckStarts, CheckEnds, CheckUnseen, CheckTables, CheckObjects, CheckStates, CheckReads, CheckShares,
// CheckCoordinators, CheckOffsets, CheckMembership. Each says in its comment what it promises to find; sim/mutants breaks
// the product line by line and names the one that must report it.
//
// At the end the faults stop. In a cluster all must come to rest, every View at the end of the log and all agents known to all; each of them reads everything, and
// in half of the clusters they share what background work there is until none is left (upkeep.go), before they leave. Single agents
// are killed. Then a fresh agent drains what is left, and everything is read back: partitions, each
// version of each table, the log from every snapshot, and the whole store by compactor/fsck. What did not come to rest, and
// errors that nothing explains (something "corrupt"), are violations too, by "rest". Two that were told to have
// changed a topic from the same state are one by "changes".
//
//	make sim SEED=7          one world of the kind that the seed chooses, step by step, and its trace hash
//	make sim SEEDS=20000     many worlds on all cores; FROM=n to begin elsewhere
//	make sim SIM_SECONDS=240 as many as fit
//	make mutants             break the product on purpose; MUTANTS=regexp for some of them
package sim
