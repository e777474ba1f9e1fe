package cli

import (
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"time"
)

// service is one of the services whose logs the demo makes up.
type service struct {
	name, version string
	hosts         int
	weight        int // share of the lines
	routes        []string
}

// services is a shop, as demos have it: a few services that get most of the traffic and some that get little.
func services() []service {
	return []service{
		{"frontend", "2.14.0", 6, 34, []string{"GET /", "GET /product/{id}", "GET /cart", "POST /cart", "POST /cart/checkout"}},
		{"catalog", "1.9.3", 4, 22, []string{"GET /products", "GET /products/{id}", "GET /search"}},
		{"cart", "1.4.1", 3, 14, []string{"GET /cart/{user}", "PUT /cart/{user}", "DELETE /cart/{user}"}},
		{"checkout", "3.0.2", 3, 10, []string{"POST /orders", "GET /orders/{id}"}},
		{"payment", "2.2.7", 2, 7, []string{"POST /charge", "POST /refund"}},
		{"shipping", "1.1.0", 2, 6, []string{"POST /quote", "POST /shipments"}},
		{"recommendation", "0.8.5", 2, 5, []string{"GET /recommendations"}},
		{"mailer", "1.0.9", 1, 2, []string{"POST /confirmations"}},
	}
}

// logRecord is one made-up log line.
type logRecord struct {
	TraceID     string
	TraceParent string // W3C trace context
	Value       []byte // JSON in the shape of OpenTelemetry's log data model
}

// generator makes log lines: requests that cross several services under one trace id, mostly quiet, in bursts now and then, with
// more errors while a service is in trouble. Equal seeds and equal times make equal lines. It is not safe for concurrent use.
type generator struct {
	rng      *rand.Rand
	services []service
	total    int // of the weights

	trace     [16]byte
	traceLeft int // lines of the current trace still to come
	troubled  int // index of the service in trouble, -1 for none
	mood      int // lines until the mood changes
	burst     float64
}

func newGenerator(seed uint64) *generator {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0x6f74656c)), services: services(), troubled: -1, burst: 1}
	for _, s := range g.services {
		g.total += s.weight
	}
	return g
}

// burstFactor is by how much the traffic of now differs from the average, between a half and three.
func (g *generator) burstFactor() float64 { return g.burst }

// next makes the line of a moment.
func (g *generator) next(at time.Time) logRecord {
	if g.mood--; g.mood < 0 {
		g.changeMood()
	}
	if g.traceLeft--; g.traceLeft < 0 {
		g.traceLeft = g.rng.IntN(8)
		for i := range g.trace {
			g.trace[i] = byte(g.rng.Uint32())
		}
	}
	i := g.pick()
	s := g.services[i]
	var span [8]byte
	for j := range span {
		span[j] = byte(g.rng.Uint32())
	}
	trace, spanID := hex.EncodeToString(g.trace[:]), hex.EncodeToString(span[:])
	return logRecord{
		TraceID: trace, TraceParent: "00-" + trace + "-" + spanID + "-01",
		Value: g.line(s, i == g.troubled, at, trace, spanID),
	}
}

func (g *generator) changeMood() {
	g.mood = 2000 + g.rng.IntN(8000)
	g.troubled, g.burst = -1, 0.5+g.rng.Float64()
	switch g.rng.IntN(5) {
	case 0:
		g.troubled = g.rng.IntN(len(g.services))
	case 1:
		g.burst = 2 + g.rng.Float64()
	}
}

func (g *generator) pick() int {
	n := g.rng.IntN(g.total)
	for i, s := range g.services {
		if n -= s.weight; n < 0 {
			return i
		}
	}
	return 0
}

// severity is a level of OpenTelemetry's log data model.
type severity struct {
	text   string
	number int
}

func (g *generator) severity(troubled bool) severity {
	n := g.rng.IntN(1000)
	if troubled {
		n = n * 6 / 10 // errors are as frequent as warnings are otherwise
	}
	switch {
	case n < 6:
		return severity{"ERROR", 17}
	case n < 40:
		return severity{"WARN", 13}
	case n < 200:
		return severity{"DEBUG", 5}
	default:
		return severity{"INFO", 9}
	}
}

func (g *generator) line(s service, troubled bool, at time.Time, trace, span string) []byte {
	level := g.severity(troubled)
	route := s.routes[g.rng.IntN(len(s.routes))]
	// Latencies have a long tail, longer in trouble.
	ms := 2 + g.rng.ExpFloat64()*18
	if troubled {
		ms *= 12
	}
	status, body := 200, "request served"
	switch level.text {
	case "ERROR":
		status, body = 500+3*g.rng.IntN(2), "upstream call failed: deadline exceeded after 3 attempts"
	case "WARN":
		status, body = 200+229*g.rng.IntN(2), "slow request, retry scheduled"
	case "DEBUG":
		body = "cache lookup " + strconv.Itoa(g.rng.IntN(100_000))
	}
	b := make([]byte, 0, 512)
	b = append(b, `{"timestamp":"`...)
	b = at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = append(b, `","severity_text":"`...)
	b = append(b, level.text...)
	b = append(b, `","severity_number":`...)
	b = strconv.AppendInt(b, int64(level.number), 10)
	b = append(b, `,"body":"`...)
	b = append(b, body...)
	b = append(b, `","trace_id":"`...)
	b = append(b, trace...)
	b = append(b, `","span_id":"`...)
	b = append(b, span...)
	b = append(b, `","resource":{"service.name":"`...)
	b = append(b, s.name...)
	b = append(b, `","service.version":"`...)
	b = append(b, s.version...)
	b = append(b, `","host.name":"`...)
	b = append(b, s.name...)
	b = append(b, '-')
	b = strconv.AppendInt(b, int64(g.rng.IntN(s.hosts)), 10)
	b = append(b, `"},"attributes":{"http.route":"`...)
	b = append(b, route...)
	b = append(b, `","http.response.status_code":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"duration_ms":`...)
	b = strconv.AppendFloat(b, ms, 'f', 2, 64)
	b = append(b, `,"user.id":"u`...)
	b = strconv.AppendInt(b, int64(g.rng.IntN(50_000)), 10)
	b = append(b, `","client.address":"10.`...)
	b = strconv.AppendInt(b, int64(g.rng.IntN(256)), 10)
	b = append(b, '.')
	b = strconv.AppendInt(b, int64(g.rng.IntN(256)), 10)
	b = append(b, '.')
	b = strconv.AppendInt(b, int64(g.rng.IntN(256)), 10)
	return append(b, `"}}`...)
}
