package console

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/batcher"
)

// Metrics counts what an agent does on its hot paths. Its methods are the Observers
// that ingest and batcher ask for. It is safe for
// concurrent use; the zero value is not usable. It owns its registry: two agents in one process do not mix.
type Metrics struct {
	registry *prometheus.Registry

	connections   prometheus.Gauge
	refused       *prometheus.CounterVec
	requests      *prometheus.HistogramVec
	receivedBytes prometheus.Counter
	sentBytes     prometheus.Counter
	fetchedBytes  prometheus.Counter
	errors        *prometheus.CounterVec
	placed        *prometheus.CounterVec
	crossed       *prometheus.CounterVec
	redirected    *prometheus.CounterVec
	produce       prometheus.Histogram
	batches       prometheus.Counter
	producedBytes prometheus.Counter
	objects       *prometheus.CounterVec
	objectBytes   prometheus.Counter
	stages        *prometheus.HistogramVec

	mu       sync.Mutex
	totals   Totals
	ring     ring
	crossers map[crosser]bool // clients that have series of their own
}

// Totals is what a status line shows.
type Totals struct {
	Requests        int64 // Kafka requests answered
	ProduceRequests int64
	ProducedBatches int64
	ProducedBytes   int64         // of record batches, as they came, compressed or not
	FetchedBytes    int64         // of replies to Fetch
	P50, P99        time.Duration // of the last produce requests, from the hand-over of the batches to their fate
}

// latencyBuckets are the bounds of the histograms in seconds: from a memory hit to a store in trouble.
func latencyBuckets() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60}
}

// NewMetrics makes the metrics and their registry.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), crossers: make(map[crosser]bool)}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	m.connections = prometheus.NewGauge(prometheus.GaugeOpts{Name: "barge_kafka_connections", Help: "Open Kafka connections."})
	m.requests = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "barge_kafka_request_seconds", Help: "From the arrival of a Kafka request to its reply.", Buckets: latencyBuckets(),
	}, []string{"api"})
	m.produce = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "barge_produce_seconds", Help: "From the hand-over of a Produce request's batches to their fate.", Buckets: latencyBuckets(),
	})
	m.stages = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "barge_object_seconds", Help: "Time a WAL object spends collecting, uploading and committing.", Buckets: latencyBuckets(),
	}, []string{"stage"})
	m.registry.MustRegister(m.connections, m.requests, m.produce, m.stages)
	m.objects = counters("barge_objects_total", "WAL objects answered, by why they were sealed and how they ended.", "reason", "outcome")
	m.objectBytes = counter("barge_object_bytes_total", "Bytes of batches in committed WAL objects.")
	m.refused = counters("barge_kafka_refused_total", "Connections turned away or closed for a fault of the peer.", "reason")
	m.errors = counters("barge_kafka_errors_total", "Kafka error codes sent.", "api", "error")
	m.placed = counters("barge_kafka_placed_total", "Metadata answers, by how the client's zone fared.", "zone")
	m.redirected = counters("barge_kafka_redirected_total", "Answers that send a client to another agent.", "reason")
	m.crossed = counters("barge_cross_zone_bytes_total", "Bytes to and from clients in another zone than this agent.", "client", "zone", "direction")
	m.receivedBytes = counter("barge_kafka_received_bytes_total", "Bytes of Kafka requests.")
	m.sentBytes = counter("barge_kafka_sent_bytes_total", "Bytes of Kafka replies.")
	m.fetchedBytes = counter("barge_fetched_bytes_total", "Bytes of replies to Fetch.")
	m.batches = counter("barge_produced_batches_total", "Record batches handed to the batcher.")
	m.producedBytes = counter("barge_produced_bytes_total", "Bytes of record batches handed to the batcher.")
	return m
}

// Totals returns the sums so far and the latencies of the last 4096 produce requests.
func (m *Metrics) Totals() Totals {
	m.mu.Lock()
	t, recent := m.totals, m.ring.sorted()
	m.mu.Unlock()
	t.P50, t.P99 = quantile(recent, 0.50), quantile(recent, 0.99)
	return t
}

// Connections tells how many are open.
func (m *Metrics) Connections(open int) { m.connections.Set(float64(open)) }

// Request notes one request answered.
func (m *Metrics) Request(key int16, bytesIn, bytesOut int, took time.Duration) {
	m.requests.WithLabelValues(apiName(key)).Observe(took.Seconds())
	m.receivedBytes.Add(float64(bytesIn))
	m.sentBytes.Add(float64(bytesOut))
	fetched := 0
	if key == int16(kmsg.Fetch) {
		fetched = bytesOut
		m.fetchedBytes.Add(float64(fetched))
	}
	m.mu.Lock()
	m.totals.Requests++
	m.totals.FetchedBytes += int64(fetched)
	m.mu.Unlock()
}

// Produced notes one Produce request whose batches found their fate.
func (m *Metrics) Produced(batches int, bytes int64, took time.Duration) {
	m.produce.Observe(took.Seconds())
	m.batches.Add(float64(batches))
	m.producedBytes.Add(float64(bytes))
	m.mu.Lock()
	m.totals.ProduceRequests++
	m.totals.ProducedBatches += int64(batches)
	m.totals.ProducedBytes += bytes
	m.ring.add(took)
	m.mu.Unlock()
}

// Error counts a Kafka error code sent.
func (m *Metrics) Error(key, code int16) {
	m.errors.WithLabelValues(apiName(key), errorName(code)).Inc()
}

// Placed counts a Metadata answer; the outcome is one of a fixed few.
func (m *Metrics) Placed(outcome string) { m.placed.WithLabelValues(outcome).Inc() }

// Redirected counts an answer that sends a client elsewhere; the reason is one of a fixed few.
func (m *Metrics) Redirected(reason string) { m.redirected.WithLabelValues(reason).Inc() }

const (
	// maxCrossers bounds the clients whose traffic between zones is told one by one. All further ones are told together.
	maxCrossers = 100
	// maxCrosserName cuts what a client calls itself or its zone, in bytes.
	maxCrosserName = 64
	otherCrossers  = "other"
)

// crosser is a client in another zone.
type crosser struct{ client, zone string }

// CrossedZones counts bytes to and from a client in another zone.
func (m *Metrics) CrossedZones(clientID, clientZone string, bytesIn, bytesOut int) {
	who := crosser{label(clientID), label(clientZone)}
	m.mu.Lock()
	if !m.crossers[who] {
		if len(m.crossers) < maxCrossers {
			m.crossers[who] = true
		} else {
			who = crosser{otherCrossers, otherCrossers}
		}
	}
	m.mu.Unlock()
	m.crossed.WithLabelValues(who.client, who.zone, "in").Add(float64(bytesIn))
	m.crossed.WithLabelValues(who.client, who.zone, "out").Add(float64(bytesOut))
}

// label makes a client's own words fit for a label: short, and UTF-8 as the text format wants it.
func label(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxCrosserName)], "?")
}

// Refused counts a connection turned away; the reason is one of a fixed few.
func (m *Metrics) Refused(reason string) { m.refused.WithLabelValues(reason).Inc() }

// Flushed notes the end of one WAL object.
func (m *Metrics) Flushed(f batcher.Flush) {
	outcome := "committed"
	if f.Err != nil {
		outcome = "failed"
	} else {
		m.objectBytes.Add(float64(f.Bytes))
	}
	m.objects.WithLabelValues(f.Reason.String(), outcome).Inc()
	m.stages.WithLabelValues("collect").Observe(f.Wait.Seconds())
	m.stages.WithLabelValues("upload").Observe(f.Upload.Seconds())
	m.stages.WithLabelValues("commit").Observe(f.Commit.Seconds())
}

// apiName bounds the label: whatever number a peer sent, there are no more names than Kafka has APIs.
func apiName(key int16) string {
	if name := kmsg.NameForKey(key); name != "Unknown" {
		return name
	}
	return "other"
}

func errorName(code int16) string {
	if e := kerr.TypedErrorForCode(code); e != nil && e.Code == code {
		return e.Message
	}
	return strconv.Itoa(int(code))
}
