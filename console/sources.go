package console

import "github.com/bargedata/barge/objectstore"

// Sources are the looks into an agent that a Server needs. All functions are called from many goroutines, on each request
// anew, and must be quick: they copy what is in memory and ask no store. A nil function shows nothing.
type Sources struct {
	Ready      func() error // nil when the agent takes requests, otherwise the reason; no function: always ready
	Metrics    *Metrics     // nil: an empty one
	Agent      func() Agent
	Topics     func() []Topic // sorted by name
	Store      func() objectstore.Usage
	Background func() Background
	More       func() []Value // further metrics
}

// Agent is who answers.
type Agent struct {
	Cluster, Kafka, Store, Zone string // Store without secrets

	Sequencing bool   // this agent orders the metadata log
	Sequencer  string // peer address of the agent that does
	Term       uint64 // of the metadata log
	Members    []Member
}

// Member is a live agent of the cluster, by session.
type Member struct {
	Session                uint64
	Kafka, Peer, Zone      string
	Roles                  []string // none: all
	Draining               bool
	ProduceRate, FetchRate int64 // bytes a second
	Connections            int32
}

// Topic is one topic as the page and the metrics show it.
type Topic struct {
	Name       string
	Partitions []Partition
	Table      *Table // nil: switched off
}

// Partition holds the offsets of one partition: LogStart <= CompactedEnd <= HighWatermark.
type Partition struct {
	Index                                 int32
	LogStart, CompactedEnd, HighWatermark int64
}

// Table is the state of a topic's Delta table; Version is -1 before the first. Rows, Files and Bytes are of the files the log
// knows.
type Table struct {
	Version, Rows, Files, Bytes int64
}

// Background counts what the compactor did since the agent started.
type Background struct {
	Jobs, FailedJobs, Files, Rows, TableCommits, FailedTableCommits, ObjectsDeleted int64
	ObjectsSwept, ObjectsMoved, BytesMoved, SessionsForgotten, LogStartsMoved       int64
}

// Value is one metric that Sources.More adds. A counter's name ends in _total.
type Value struct {
	Name, Help string // Name starts with barge_
	Counter    bool
	Value      float64
	Labels     []Label
}

// Label is one label of a Value.
type Label struct{ Name, Value string }
