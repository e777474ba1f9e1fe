package scale

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/bench"
)

func small() Config {
	c := DefaultConfig()
	c.Compactors = 2
	c.Agents, c.Topics, c.Partitions, c.Rate, c.Load = 9, 20, 200, 20e6, 100*time.Second
	return c
}

func TestRunMeasuresAWholeLife(t *testing.T) {
	cfg := small()
	r, err := Run(t.Context(), cfg, bench.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	near := func(name string, got, want, share float64) {
		t.Helper()
		if math.Abs(got-want) > share*want {
			t.Errorf("%s: %.3g, want %.3g within %.0f %%", name, got, want, 100*share)
		}
	}
	near("batches a second", r.Load.BatchesPerSecond, float64(cfg.Rate)/float64(cfg.batchBytes()), 0.02)
	near("MB of log a GB", r.Load.LogMBPerGB, r.Load.LogBytesPerBatch/float64(cfg.batchBytes())*1e3, 0.01)
	if r.Load.EntriesPerSecond < 1 || r.Load.EntriesPerSecond > 20.5 {
		t.Errorf("%.1f entries a second, each of which takes 50 ms", r.Load.EntriesPerSecond)
	}
	if r.Load.LogBytesPerBatch < 5 || r.Load.LogBytesPerBatch > 40 {
		t.Errorf("%.1f B of log a batch", r.Load.LogBytesPerBatch)
	}
	if r.Load.Seconds < 99 || r.Load.StalledFlushes != 0 || r.Load.OldestSeconds > 75 {
		t.Errorf("a load that one agent can carry: %+v", r.Load)
	}
	if r.Planner.Files < int64(cfg.Topics) || r.Planner.TableCommits < int64(cfg.Topics) || r.Load.Files == 0 {
		t.Errorf("all topics were due after a minute: %+v, %d files", r.Planner, r.Load.Files)
	}
	if r.Snapshot.MB <= 0 || r.Recovery.Entries == 0 || r.Follower.Cores <= 0 {
		t.Errorf("snapshot %+v, recovery %+v, follower %+v", r.Snapshot, r.Recovery, r.Follower)
	}
	if r.Routing.Leaders != 3 {
		t.Errorf("%d agents lead, want one a zone for 20 MB/s", r.Routing.Leaders)
	}
	if len(r.Answers) != 2 || r.Answers[0].KB < 0.1 || r.Answers[1].KB < 10*r.Answers[0].KB {
		t.Errorf("metadata answers: %+v", r.Answers)
	}
	var text bytes.Buffer
	if err := r.WriteSummary(&text); err != nil || !strings.Contains(text.String(), "9 agents, 20 topics, 200 partitions") {
		t.Errorf("summary: %v\n%s", err, text.String())
	}
}

func TestALogThatIsTooSlowIsSeen(t *testing.T) {
	cfg := small()
	cfg.Load, cfg.Append, cfg.CompactRate, cfg.Everybody = 20*time.Second, 10*time.Second, 0, true
	cfg.Topics, cfg.Partitions, cfg.Rate = 100, 10_000, 100e6
	r, err := Run(t.Context(), cfg, bench.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Load.WaitingBatches == 0 || r.Load.EntriesPerSecond > 0.2 || r.Load.BatchesPerSecond > 0.9*float64(cfg.Rate)/float64(cfg.batchBytes()) {
		t.Errorf("an entry takes 10 s, and yet %.2f a second with %.0f batches", r.Load.EntriesPerSecond, r.Load.BatchesPerSecond)
	}
}

func TestPartitionsMakeTheirRate(t *testing.T) {
	cfg := small()
	c, err := newCluster(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var r Result
	r.Config = cfg
	p := newProducing(c, r.route(c))
	begin, sent := c.now, int64(0)
	for i := range int64(40) {
		for _, a := range p.agents {
			_, n, _ := p.flush(a, begin+(i+1)*250_000, false)
			sent += n * p.batch
		}
	}
	if want := 10 * cfg.Rate; sent < want*99/100 || sent > want*101/100 {
		t.Errorf("%d bytes in 10 s, want %d", sent, want)
	}
}
