package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/objectstore"
)

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = "127.0.0.1:8080"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func handler(t *testing.T, src Sources, profiles bool) http.Handler {
	t.Helper()
	h, err := New(Config{Version: "v1.2.3"}, src).Handler(profiles)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// busySources are those of an agent that did a bit of everything.
func busySources() Sources {
	m := NewMetrics()
	m.Connections(3)
	m.Request(0, 100, 50, 20*time.Millisecond)
	m.Request(1, 10, 5000, time.Millisecond)
	m.Request(32000, 1, 1, time.Millisecond)
	m.Produced(2, 1000, 150*time.Millisecond)
	m.Error(0, 6)
	m.Error(0, 12345)
	m.Refused("bad_frame")
	m.Flushed(batcher.Flush{Reason: batcher.FlushSize, Bytes: 700, Wait: time.Millisecond})
	m.Flushed(batcher.Flush{Err: errors.New("no room")})
	return Sources{
		Metrics: m,
		Agent:   func() Agent { return Agent{Cluster: "c1", Kafka: "127.0.0.1:9092", Store: "file:///data"} },
		Topics: func() []Topic {
			return []Topic{
				{Name: "<script>alert(1)</script>", Partitions: []Partition{{Index: 0, LogStart: 5, CompactedEnd: 8, HighWatermark: 10}}, Table: &Table{Version: 4, Rows: 8}},
				{Name: "fresh", Partitions: []Partition{{HighWatermark: 7}}, Table: &Table{Version: -1}},
			}
		},
		Store: func() objectstore.Usage {
			var u objectstore.Usage
			u.Ops[objectstore.OpCreate].Requests[objectstore.OutcomeOK] = 9
			u.Ops[objectstore.OpCreate].BytesOut = 4096
			return u
		},
		Background: func() Background { return Background{Jobs: 2, Rows: 8} },
		More: func() []Value {
			return []Value{{Name: "barge_more", Help: "A gauge of the assembly.", Value: 1, Labels: []Label{{"a", "b"}}}}
		},
	}
}

func TestReadyzTellsTheReason(t *testing.T) {
	var reason atomic.Pointer[string]
	h := handler(t, Sources{Ready: func() error {
		if r := reason.Load(); r != nil {
			return errors.New(*r)
		}
		return nil
	}}, false)
	if w := get(t, h, "/readyz"); w.Code != http.StatusOK {
		t.Errorf("ready: %d", w.Code)
	}
	text := "draining"
	reason.Store(&text)
	if w := get(t, h, "/readyz"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "draining") {
		t.Errorf("draining: %d %s", w.Code, w.Body)
	}
	if w := get(t, h, "/livez"); w.Code != http.StatusOK {
		t.Errorf("livez while draining: %d", w.Code)
	}
	if body := get(t, h, "/metrics").Body.String(); !strings.Contains(body, "\nbarge_ready 0\n") {
		t.Error("barge_ready does not say 0")
	}
}

func TestMetricsCountWhatHappened(t *testing.T) {
	body := get(t, handler(t, busySources(), false), "/metrics").Body.String()
	for _, want := range []string{
		`barge_build_info{version="v1.2.3"} 1`,
		`barge_kafka_connections 3`,
		`barge_kafka_request_seconds_count{api="Produce"} 1`,
		`barge_kafka_request_seconds_count{api="other"} 1`,
		`barge_fetched_bytes_total 5000`,
		`barge_produced_bytes_total 1000`,
		`barge_kafka_errors_total{api="Produce",error="NOT_LEADER_FOR_PARTITION"} 1`,
		`barge_kafka_errors_total{api="Produce",error="12345"} 1`,
		`barge_kafka_refused_total{reason="bad_frame"} 1`,
		`barge_objects_total{outcome="committed",reason="size"} 1`,
		`barge_objects_total{outcome="failed",reason="time"} 1`,
		`barge_object_bytes_total 700`,
		`barge_store_requests_total{op="create",outcome="ok"} 9`,
		`barge_store_sent_bytes_total{op="create"} 4096`,
		`barge_topics 2`, `barge_tables 1`, `barge_log_records 12`, `barge_table_lag_records 9`,
		`barge_compactor_rows_total 8`,
		`barge_more{a="b"} 1`,
		`barge_ready 1`,
	} {
		if !strings.Contains(body, "\n"+want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

func TestMetricNamesFollowTheCustoms(t *testing.T) {
	body := get(t, handler(t, busySources(), false), "/metrics").Body.String()
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for line := range strings.Lines(body) {
		name, ok := strings.CutPrefix(line, "# HELP ")
		if ok && !strings.HasPrefix(name, "barge_") && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("foreign metric %s", name)
		}
	}
}

func TestTwoAgentsInOneProcessDoNotMix(t *testing.T) {
	a, b := NewMetrics(), NewMetrics()
	a.Produced(1, 10, time.Second)
	if got := b.Totals(); got != (Totals{}) {
		t.Errorf("the other's totals are %+v", got)
	}
	_, _ = handler(t, Sources{Metrics: a}, false), handler(t, Sources{Metrics: b}, false)
}

func TestThePageEscapesNames(t *testing.T) {
	w := get(t, handler(t, busySources(), false), "/")
	body := w.Body.String()
	if w.Code != http.StatusOK || strings.Contains(body, "<script>") || !strings.Contains(body, "&lt;script&gt;alert(1)") {
		t.Errorf("%d %s", w.Code, body)
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("policy %q", csp)
	}
	if w := get(t, handler(t, Sources{}, false), "/"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "No topics yet") {
		t.Errorf("an empty agent: %d", w.Code)
	}
	if w := get(t, handler(t, Sources{}, false), "/nothing"); w.Code != http.StatusNotFound {
		t.Errorf("unknown path: %d", w.Code)
	}
}

func TestThePageShowsSomeOfManyTopics(t *testing.T) {
	topics := make([]Topic, pageTopics+7)
	w := get(t, handler(t, Sources{Topics: func() []Topic { return topics }}, false), "/")
	if !strings.Contains(w.Body.String(), "and 7 more topics") {
		t.Error("the topics left out are not counted")
	}
}

func TestThePageShowsTheAgentsOfTheCluster(t *testing.T) {
	agent := Agent{Term: 7, Sequencer: "10.0.0.9:9093", Members: []Member{
		{Session: 41, Kafka: "10.0.0.8:9092", Peer: "10.0.0.8:9093", Zone: "a<b>", Roles: []string{"produce", "fetch"}},
		{Session: 42, Kafka: "10.0.0.9:9092", Draining: true},
	}}
	body := get(t, handler(t, Sources{Agent: func() Agent { return agent }}, false), "/").Body.String()
	for _, want := range []string{"term 7, ordered by 10.0.0.9:9093", "2 agents", "10.0.0.8:9093", "a&lt;b&gt;", "produce, fetch", "<td>all</td>", "<td>draining</td>"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	agent.Sequencing = true
	if body := get(t, handler(t, Sources{Agent: func() Agent { return agent }}, false), "/").Body.String(); !strings.Contains(body, "ordered by this agent") {
		t.Error("the page does not say that this agent sequences")
	}
}

func TestAnAgentMayShowNoPage(t *testing.T) {
	h, err := New(Config{NoPage: true}, Sources{}).Handler(false)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/": http.StatusNotFound, "/readyz": http.StatusOK, "/metrics": http.StatusOK} {
		if w := get(t, h, path); w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

func TestProfilesAreForThisHostOnly(t *testing.T) {
	if w := get(t, handler(t, Sources{}, false), "/debug/pprof/"); w.Code != http.StatusNotFound {
		t.Errorf("profiles beside a public address: %d", w.Code)
	}
	h := handler(t, Sources{}, true)
	for host, want := range map[string]int{
		"127.0.0.1:8080": http.StatusOK, "localhost": http.StatusOK, "[::1]:8080": http.StatusOK, "evil.example:8080": http.StatusForbidden, "10.0.0.1": http.StatusForbidden,
	} {
		r := httptest.NewRequest(http.MethodGet, "/debug/pprof/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %s: %d, want %d", host, w.Code, want)
		}
	}
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "0.0.0.0:1": false, "[::]:1": false, "10.1.2.3:1": false} {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if isLoopback(a) != want {
			t.Errorf("isLoopback(%s) = %v", addr, !want)
		}
	}
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(Config{Listener: l, Version: "v9"}, Sources{}).Run(ctx) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/version")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var v map[string]string
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || v["version"] != "v9" {
		t.Errorf("version %v, %v", v, err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the address is still open")
	}
	err = New(Config{Listen: "256.0.0.1:x"}, Sources{}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--http") {
		t.Errorf("an address that cannot be: %v", err)
	}
}

func TestQuantilesAreOfTheLastRequests(t *testing.T) {
	m := NewMetrics()
	if got := m.Totals(); got.P50 != 0 || got.P99 != 0 {
		t.Errorf("of nothing: %+v", got)
	}
	for range ringSize {
		m.Produced(1, 1, time.Hour) // pushed out below
	}
	for i := range ringSize {
		m.Produced(1, 1, time.Duration(i+1)*time.Millisecond)
	}
	got := m.Totals()
	if got.P50 != ringSize/2*time.Millisecond || got.P99 != 4056*time.Millisecond || got.ProduceRequests != 2*ringSize {
		t.Errorf("%+v", got)
	}
	var r ring
	r.add(3)
	if s := r.sorted(); !slices.Equal(s, []time.Duration{3}) || quantile(s, 0.5) != 3 || quantile(s, 0.99) != 3 || quantile(s, 0) != 3 {
		t.Errorf("quantiles of one: %v", s)
	}
}
