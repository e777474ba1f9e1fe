package console

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bargedata/barge/objectstore"
)

// collector reads the Sources at each scrape. Series are sums over topics, so that their number does not grow with the cluster.
type collector struct {
	src     Sources
	version string
}

// Describe sends nothing: the names depend on what the sources offer, so the registry checks them as they come.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, value float64, labels ...Label) {
		names, values := make([]string, len(labels)), make([]string, len(labels))
		for i, l := range labels {
			names[i], values[i] = l.Name, l.Value
		}
		desc := prometheus.NewDesc(name, help, names, nil)
		metric, err := prometheus.NewConstMetric(desc, kind, value, values...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(desc, err)
		}
		out <- metric
	}
	gauge := func(name, help string, value float64, labels ...Label) {
		send(prometheus.GaugeValue, name, help, value, labels...)
	}
	counter := func(name, help string, value float64, labels ...Label) {
		send(prometheus.CounterValue, name, help, value, labels...)
	}

	gauge("barge_build_info", "Always 1; the label tells the version.", 1, Label{"version", c.version})
	ready := 1.0
	if c.src.Ready != nil && c.src.Ready() != nil {
		ready = 0
	}
	gauge("barge_ready", "1 while the agent takes requests.", ready)
	if c.src.Topics != nil {
		sum := sumTopics(c.src.Topics())
		gauge("barge_topics", "Topics of the cluster.", float64(sum.topics))
		gauge("barge_partitions", "Partitions of all topics.", float64(sum.partitions))
		gauge("barge_log_records", "Offsets between log start and high watermark of all partitions.", float64(sum.records))
		gauge("barge_table_lag_records", "Offsets not yet in a Parquet file.", float64(sum.lag))
		gauge("barge_tables", "Topics with a Delta table.", float64(sum.tables))
	}
	if c.src.Store != nil {
		collectStore(c.src.Store(), counter)
	}
	if c.src.Background != nil {
		b := c.src.Background()
		counter("barge_compactor_jobs_total", "Compaction jobs done.", float64(b.Jobs))
		counter("barge_compactor_failed_jobs_total", "Compaction jobs that failed.", float64(b.FailedJobs))
		counter("barge_compactor_files_total", "Parquet files written.", float64(b.Files))
		counter("barge_compactor_rows_total", "Rows written to Parquet files.", float64(b.Rows))
		counter("barge_table_commits_total", "Versions added to Delta tables.", float64(b.TableCommits))
		counter("barge_table_failed_commits_total", "Commits to Delta tables that failed.", float64(b.FailedTableCommits))
		counter("barge_compactor_deleted_objects_total", "Objects deleted after their grace.", float64(b.ObjectsDeleted))
		counter("barge_compactor_swept_objects_total", "Objects deleted that were never committed.", float64(b.ObjectsSwept))
		counter("barge_compactor_regrouped_objects_total", "Objects written for records of topics that were not due.", float64(b.ObjectsMoved))
		counter("barge_compactor_regrouped_bytes_total", "Bytes of those objects.", float64(b.BytesMoved))
		counter("barge_compactor_forgotten_sessions_total", "Sessions that left the state after their last sweep.", float64(b.SessionsForgotten))
		counter("barge_compactor_retention_moves_total", "Log starts of partitions that retention moved up.", float64(b.LogStartsMoved))
	}
	if c.src.More != nil {
		for _, v := range c.src.More() {
			if v.Counter {
				counter(v.Name, v.Help, v.Value, v.Labels...)
			} else {
				gauge(v.Name, v.Help, v.Value, v.Labels...)
			}
		}
	}
}

func collectStore(u objectstore.Usage, counter func(name, help string, value float64, labels ...Label)) {
	for op := range objectstore.NumOps {
		ops, label := u.Ops[op], Label{"op", op.String()}
		for outcome := range objectstore.NumOutcomes {
			if n := ops.Requests[outcome]; n > 0 || outcome == objectstore.OutcomeOK {
				counter("barge_store_requests_total", "Requests to the object store, as it bills them.", float64(n), label, Label{"outcome", outcome.String()})
			}
		}
		counter("barge_store_sent_bytes_total", "Bytes of bodies sent to the object store.", float64(ops.BytesOut), label)
		counter("barge_store_received_bytes_total", "Bytes of bodies received from the object store.", float64(ops.BytesIn), label)
		counter("barge_store_seconds_total", "Time calls to the object store took, summed.", ops.Latency.Seconds(), label)
		counter("barge_store_calls_total", "Calls to the object store.", float64(ops.Calls), label)
	}
}

// topicSums is what all topics are together.
type topicSums struct {
	topics, partitions, tables int
	records, lag               int64
}

func sumTopics(topics []Topic) topicSums {
	s := topicSums{topics: len(topics)}
	for _, t := range topics {
		s.partitions += len(t.Partitions)
		if t.Table != nil && t.Table.Version >= 0 {
			s.tables++
		}
		for _, p := range t.Partitions {
			s.records += p.HighWatermark - p.LogStart
			s.lag += p.HighWatermark - max(p.CompactedEnd, p.LogStart)
		}
	}
	return s
}
