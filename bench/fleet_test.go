package bench_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/bench"
)

func TestTopicsRunCountsWhatItWrote(t *testing.T) {
	cfg := bench.DefaultTopicsConfig()
	cfg.Topics, cfg.Clients, cfg.Rate, cfg.Duration, cfg.Factor = 50, 2, 100_000, 3*time.Second, 100
	cfg.AgentArgs = []string{"--flush-interval", "50ms"}
	r, err := bench.Topics(t.Context(), cfg, parts())
	if err != nil {
		t.Fatal(err)
	}
	want := int64(3 * 100_000 / 1024)
	if r.Failed != 0 || r.Records < want*8/10 || r.Records > want*11/10 { // the last turn may come late, and catches up
		t.Errorf("%d records and %d failures in three seconds, want about %d", r.Records, r.Failed, want)
	}
	put := slices.IndexFunc(r.Figures, func(f bench.Figure) bool { return f.Name == "PUT a minute" })
	if put < 0 || r.Figures[put].Measured <= 0 || r.Figures[put].Expected <= 0 {
		t.Errorf("figures: %+v", r.Figures)
	}
	if r.HeapMB < 0 || r.CPU < 0 || len(r.Counters) == 0 {
		t.Errorf("%+v", r)
	}
	var text bytes.Buffer
	if err := r.WriteSummary(&text); err != nil || !strings.Contains(text.String(), "50 topics, 1 agents") {
		t.Errorf("summary: %v\n%s", err, text.String())
	}
}

func TestTopicsRunIsOffByItsFactor(t *testing.T) {
	r := bench.TopicsResult{Figures: []bench.Figure{{Name: "fine"}}}
	if r.Off() {
		t.Error("off without a reason")
	}
	if r.Failed = 1; !r.Off() {
		t.Error("a record that was given up is fine")
	}
	r = bench.TopicsResult{Figures: []bench.Figure{{Name: "fine"}, {Name: "wrong", Off: true}}}
	if !r.Off() {
		t.Error("a figure that is off is fine")
	}
}

func TestClusterRunCountsRequestsOfAllAgents(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute: agents find each other, and groups come together")
	}
	cfg := bench.DefaultClusterConfig()
	cfg.Agents, cfg.Zones, cfg.Groups, cfg.Partitions = 2, 2, 2, 4
	cfg.Rate, cfg.ReadRate, cfg.Duration, cfg.Idle, cfg.Settle = 4<<20, 2<<20, 3*time.Second, 2*time.Second, 0
	r, err := bench.Cluster(t.Context(), cfg, parts())
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]bench.Phase{"produce": r.Produce, "one group": r.OneGroup, "groups": r.Groups} {
		if p.FailedRequests != nil || p.GiBIn <= 0 || p.PutsPerGiB <= 0 || p.ExpectedPuts <= 0 || p.CrossZone > 0.01 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	for name, c := range map[string]struct {
		p      bench.Phase
		groups float64
	}{"one group": {r.OneGroup, 1}, "groups": {r.Groups, 2}} {
		if read := c.p.GiBRead / c.p.GiBIn / c.groups; read < 0.9 || read > 1.01 {
			t.Errorf("%s: %.3f of what was written was read by each", name, read)
		}
	}
	if len(r.Judged) != 5 || r.IdleBefore.Requests.Puts != 0 {
		t.Errorf("at rest %+v, judged %+v", r.IdleBefore, r.Judged)
	}
}
