package barge

import (
	"errors"
	"time"

	"github.com/bargedata/barge/console"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// Stats is a moment's view of a running agent. Counts are since its start.
type Stats struct {
	ProducedBytes, ProducedRecords, FetchedBytes int64

	WaitingBytes int64 // of producers, taken and not answered

	Objects  int64         // WAL objects committed
	Requests int64         // to the store
	P50, P99 time.Duration // of recent produce requests, from hand-over to acknowledgement
	Tables   []TableStat   // by topic
}

// TableStat is a topic's table as the log knows it.
type TableStat struct {
	Topic   string
	Version int64 // -1: no version yet
	Rows    int64 // compacted, whether or not the newest version shows them yet
}

// Stats looks at the agent; zero before it is ready. Safe for concurrent use.
func (a *Agent) Stats() Stats {
	live := a.live.Load()
	if live == nil {
		return Stats{}
	}
	totals := a.metrics.Totals()
	s := Stats{
		ProducedBytes: totals.ProducedBytes, FetchedBytes: totals.FetchedBytes,
		ProducedRecords: max(0, recordsIn(live.view)-live.recordsBefore), // a deleted topic takes its share along
		P50:             totals.P50, P99: totals.P99,
		WaitingBytes: live.batcher.Stats().BufferedBytes, Objects: int64(live.batcher.Stats().Objects), Requests: live.meter.Snapshot().Total(),
	}
	for _, t := range live.view.Topics() {
		if table := tableOf(live.view, t); table != nil {
			s.Tables = append(s.Tables, TableStat{Topic: t.Name, Version: table.Version, Rows: table.Rows})
		}
	}
	return s
}

func tableOf(view *metadata.View, t metadata.Topic) *console.Table {
	if !t.TableEnabled() {
		return nil
	}
	version, ok := view.TableVersion(t.ID)
	if !ok {
		return nil
	}
	table := &console.Table{Version: version}
	for _, f := range view.Files(t.ID) {
		table.Files++
		table.Rows += f.Rows
		table.Bytes += int64(f.Size)
	}
	return table
}

// sources are the looks the console takes into the agent, from its start on: what is not there yet shows nothing.
func (a *Agent) sources() console.Sources {
	return console.Sources{
		Ready: func() error {
			select {
			case <-a.ready:
			default:
				return errors.New("starting")
			}
			if a.draining.Load() {
				return errors.New("draining")
			}
			return nil
		},
		Metrics: a.metrics,
		Agent: func() console.Agent {
			c := console.Agent{Kafka: a.advertised(), Store: redact(a.cfg.Store), Zone: a.cfg.Zone}
			if live := a.live.Load(); live != nil {
				c.Cluster = live.cluster
			}
			return c
		},
		Topics: func() []console.Topic {
			live := a.live.Load()
			if live == nil {
				return nil
			}
			return consoleTopics(live.view)
		},
		Store: func() objectstore.Usage {
			live := a.live.Load()
			if live == nil {
				return objectstore.Usage{}
			}
			return live.meter.Snapshot()
		},
		Background: func() console.Background {
			live := a.live.Load()
			if live == nil {
				return console.Background{}
			}
			s := live.compactor.Stats()
			return console.Background{
				Jobs: s.Jobs, FailedJobs: s.FailedJobs, Files: s.Files, Rows: s.Rows,
				TableCommits: s.TableCommits, FailedTableCommits: s.FailedTableCommits, ObjectsDeleted: s.ObjectsDeleted,
				ObjectsSwept: s.ObjectsSwept, ObjectsMoved: s.ObjectsMoved, BytesMoved: s.BytesMoved, SessionsForgotten: s.SessionsForgotten,
			}
		},
	}
}

func consoleTopics(view *metadata.View) []console.Topic {
	var topics []console.Topic
	for _, t := range view.Topics() {
		ct := console.Topic{Name: t.Name, Table: tableOf(view, t)}
		for i := range t.Partitions {
			p := record.Partition{Topic: t.ID, Index: i}
			b, err := view.Bounds(p)
			if err != nil {
				break // deleted meanwhile
			}
			end := b.HighWatermark
			if t.TableEnabled() {
				if end, err = view.CompactedEnd(p); err != nil {
					break
				}
			}
			ct.Partitions = append(ct.Partitions, console.Partition{
				Index: i, LogStart: int64(b.LogStart), CompactedEnd: int64(end), HighWatermark: int64(b.HighWatermark),
			})
		}
		topics = append(topics, ct)
	}
	return topics
}

// recordsIn counts the offsets given so far in all topics that live.
func recordsIn(view *metadata.View) (n int64) {
	for _, t := range view.Topics() {
		for i := range t.Partitions {
			if b, err := view.Bounds(record.Partition{Topic: t.ID, Index: i}); err == nil {
				n += int64(b.HighWatermark)
			}
		}
	}
	return n
}
