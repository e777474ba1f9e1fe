package barge

import (
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/console"
	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/replica"
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
			if since := a.lost.Load(); since != 0 && a.parts.Now().Sub(time.Unix(0, since)) > lostLimit {
				return fmt.Errorf("the agent that sequences has not been heard for more than %v", lostLimit)
			}
			return nil
		},
		Metrics: a.metrics,
		Agent: func() console.Agent {
			c := console.Agent{Kafka: a.advertised(), Store: redact(a.cfg.Store), Zone: a.cfg.Zone}
			if live := a.live.Load(); live != nil {
				log := live.node.Stats()
				c.Cluster, c.Sequencing, c.Sequencer, c.Term = live.cluster, log.Sequencing, log.Leader, log.Term
				for _, m := range live.node.Members() {
					c.Members = append(c.Members, console.Member{
						Session: m.Session, Kafka: m.Kafka, Peer: m.Peer, Zone: m.Zone, Roles: m.Roles, Draining: m.Draining,
						ProduceRate: m.ProduceRate, FetchRate: m.FetchRate, Connections: m.Connections,
					})
				}
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
				ObjectsSwept: s.ObjectsSwept, ObjectsMoved: s.ObjectsMoved, BytesMoved: s.BytesMoved, SessionsForgotten: s.SessionsForgotten, LogStartsMoved: s.LogStartsMoved,
			}
		},
		More: func() []console.Value {
			live := a.live.Load()
			if live == nil {
				return nil
			}
			return append(a.clusterValues(live.node.Stats()), readerValues(live.reader.Stats())...)
		},
	}
}

// clusterValues tells of this agent among the others, and of the log.
func (a *Agent) clusterValues(s replica.NodeStats) []console.Value {
	gauge := func(name, help string, value float64) console.Value {
		return console.Value{Name: name, Help: help, Value: value}
	}
	counter := func(name, help string, value uint64) console.Value {
		return console.Value{Name: name, Help: help, Counter: true, Value: float64(value)}
	}
	traffic := func(direction string, bytes int64) console.Value {
		v := counter("barge_peer_bytes_total", "Bytes on connections between agents.", uint64(bytes))
		v.Labels = []console.Label{{Name: "direction", Value: direction}}
		return v
	}
	sequencing := 0.0
	if s.Sequencing {
		sequencing = 1
	}
	return append([]console.Value{
		gauge("barge_log_sequencing", "Whether this agent sequences the metadata log.", sequencing),
		gauge("barge_log_term", "Newest term of the metadata log that this agent knows.", float64(s.Term)),
		gauge("barge_cluster_members", "Live agents of the cluster, as this one knows them.", float64(s.Members)),
		gauge("barge_log_pending_commands", "Commands that wait for the sequencer's answer.", float64(s.Pending)),
		gauge("barge_log_pending_bytes", "Bytes of those commands.", float64(s.PendingBytes)),
		counter("barge_log_take_overs_total", "Terms of the metadata log that this agent took.", s.TakeOvers),
		counter("barge_log_deposed_total", "Of these, terms that another agent ended.", s.Deposed),
		counter("barge_log_reads_total", "Times the log itself was read, in place of hearing of it.", s.LogReads),
		counter("barge_log_resent_commits_total", "Commits handed on again, because their outcome was not known.", s.Resent),
		counter("barge_sessions_sealed_total", "Sessions of silent agents that this one sealed.", s.Seals),
		counter("barge_sessions_reopened_total", "Sessions this agent opened in place of one that others had sealed.", uint64(a.reopened.Load())),
		counter("barge_process_leaps_total", "Times this process was found to have stood still.", s.Leaps),
		traffic("sent", a.traffic.Sent()),
		traffic("received", a.traffic.Received()),
	}, sequencerValues(s.Sequencer)...)
}

func sequencerValues(s metadata.SequencerStats) []console.Value {
	counter := func(name, help string, value uint64) console.Value {
		return console.Value{Name: name, Help: help, Counter: true, Value: float64(value)}
	}
	return []console.Value{
		counter("barge_log_entries_total", "Entries appended to the metadata log.", s.Entries),
		counter("barge_log_commands_total", "Commands in those entries.", s.Commands),
		counter("barge_log_entry_bytes_total", "Bytes of those entries.", s.EntryBytes),
		counter("barge_log_unknown_appends_total", "Appends whose outcome had to be asked for again.", s.Unknowns),
		counter("barge_log_checkpoints_total", "Snapshots of the state written.", s.Checkpoints),
		counter("barge_log_failed_checkpoints_total", "Snapshots that could not be written.", s.CheckpointFailures),
		counter("barge_log_truncations_total", "Truncations of the metadata log asked for.", s.Truncations),
		counter("barge_log_failed_truncations_total", "Truncations that failed.", s.TruncationFailures),
		counter("barge_early_batches_total", "Batches that waited for an earlier one of their producer.", s.Parked),
		counter("barge_early_batches_in_vain_total", "Of those, batches whose earlier one did not come in time.", s.ParkedInVain),
		counter("barge_early_batches_refused_total", "Batches that did not wait, because too many did.", s.ParkedTooMany),
	}
}

func readerValues(s fetch.Stats) []console.Value {
	counter := func(name, help string, value int64) console.Value {
		return console.Value{Name: name, Help: help, Counter: true, Value: float64(value)}
	}
	return []console.Value{
		counter("barge_read_tail_total", "Reads of objects answered from memory of the log's end.", s.Tail),
		counter("barge_read_kept_total", "Reads of objects answered from memory of what lagging readers read.", s.Old),
		counter("barge_read_joined_total", "Reads of objects that waited for another read of the same.", s.Joined),
		counter("barge_read_owner_total", "Reads of objects answered by the agent of the zone that keeps them.", s.Owner),
		counter("barge_read_owner_bytes_total", "Bytes of those.", s.OwnerBytes),
		counter("barge_read_store_total", "Reads of the store at the log's end.", s.Store),
		counter("barge_read_store_bytes_total", "Bytes of those.", s.StoreBytes),
		counter("barge_read_lagging_total", "Reads of the store for lagging readers.", s.Cold),
		counter("barge_read_lagging_bytes_total", "Bytes of those.", s.ColdBytes),
		counter("barge_read_fallbacks_total", "Reads whose owner did not answer, so that the store was asked.", s.Fallbacks),
		counter("barge_read_served_total", "Reads answered to other agents of the zone.", s.Served),
		counter("barge_read_served_bytes_total", "Bytes of those.", s.ServedBytes),
		counter("barge_read_refused_total", "Reads of other agents that were refused.", s.Refused),
		counter("barge_seeds_sent_total", "Objects handed to the agent that keeps them.", s.SeedsSent),
		counter("barge_seeds_dropped_total", "Objects that were to be handed over and were not.", s.SeedsDropped),
		counter("barge_seeds_taken_total", "Objects taken over from the agents that made them.", s.SeedsTaken),
		counter("barge_seeds_refused_total", "Objects that were not taken over, because they were damaged or too large.", s.SeedsRefused),
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
