package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// TopicsConfig is a run with many topics, each with little. Start from DefaultTopicsConfig.
type TopicsConfig struct {
	Topics      int           `json:"topics"` // of one partition
	Agents      int           `json:"agents"`
	Zones       int           `json:"zones"`   // 0: the agents name none
	Clients     int           `json:"clients"` // that write; each has its share of the topics
	Rate        int64         `json:"rate_bytes_per_second"`
	RecordBytes int           `json:"record_bytes"`
	Duration    time.Duration `json:"duration_ns"`
	Factor      float64       `json:"factor"`    // by which a figure may be off the arithmetic
	Directory   string        `json:"directory"` // of the store; empty: one under the system's, removed at the end
	AgentArgs   []string      `json:"agent_args,omitempty"`
}

// DefaultTopicsConfig is 10,000 topics with 10 MB/s in all on one agent.
func DefaultTopicsConfig() TopicsConfig {
	return TopicsConfig{Topics: 10_000, Agents: 1, Clients: 10, Rate: 10e6, RecordBytes: 1 << 10, Duration: 10 * time.Minute, Factor: 1.5}
}

// Validate reports every setting that cannot work.
func (c TopicsConfig) Validate() error {
	var errs []error
	for _, v := range []struct {
		name        string
		v, min, max int64
	}{
		{"topics", int64(c.Topics), 1, 1_000_000},
		{"agents", int64(c.Agents), 1, 100},
		{"zones", int64(c.Zones), 0, 26},
		{"clients", int64(c.Clients), 1, int64(max(c.Topics, 1))},
		{"rate", c.Rate, 1, 1 << 40},
		{"record-bytes", int64(c.RecordBytes), 16, 1 << 20},
		{"duration", int64(c.Duration), int64(time.Second), int64(24 * time.Hour)},
	} {
		if v.v < v.min || v.v > v.max {
			errs = append(errs, fmt.Errorf("%s %d: want %d to %d", v.name, v.v, v.min, v.max))
		}
	}
	if c.Factor < 1 {
		errs = append(errs, fmt.Errorf("factor %g: want at least 1", c.Factor))
	}
	return errors.Join(errs...)
}

// TopicsResult is what a run found, beside what it was to find.
type TopicsResult struct {
	Scenario string       `json:"scenario"` // topics
	Time     time.Time    `json:"time"`
	Commit   string       `json:"commit"`
	Version  string       `json:"version"`
	Machine  Machine      `json:"machine"`
	Config   TopicsConfig `json:"config"`

	CreateSeconds float64 `json:"create_seconds"` // for all topics
	Seconds       float64 `json:"seconds"`
	MBPerSecond   float64 `json:"mb_per_second"` // of values, acknowledged
	Records       int64   `json:"records"`
	Failed        int64   `json:"failed"` // records that were given up
	P50Millis     float64 `json:"p50_ms"` // from when a record was due
	P99Millis     float64 `json:"p99_ms"`

	Figures []Figure `json:"figures"`
	CPU     float64  `json:"cpu_cores"` // of all agents together
	HeapMB  float64  `json:"heap_mb"`   // most that one agent had in use
	// ResidentMB is the most memory that one agent had.
	ResidentMB float64 `json:"resident_mb"`
	// Counters are those of all agents, by how much they grew, that tell why a figure is what it is.
	Counters map[string]float64 `json:"counters"`
	Notes    []string           `json:"notes,omitempty"`
}

// Figure is one number of a run: what the arithmetic says, and what was measured.
type Figure struct {
	Name     string  `json:"name"`
	Expected float64 `json:"expected"`
	Measured float64 `json:"measured"`
	// Most says that there is no lower bound: less is better.
	Most bool `json:"most,omitempty"`
	Off  bool `json:"off,omitempty"` // by more than the factor
}

// Off tells whether a figure is off by more than the factor, or a record was lost.
func (r *TopicsResult) Off() bool {
	off := r.Failed > 0
	for _, f := range r.Figures {
		off = off || f.Off
	}
	return off
}

// WriteSummary writes the result for people.
func (r *TopicsResult) WriteSummary(w io.Writer) error {
	var b strings.Builder
	c := &r.Config
	fmt.Fprintf(&b, "%d topics, %d agents, %.1f of %.1f MB/s for %.0f s, %s, load average %.1f before and %.1f after\n", c.Topics, c.Agents, r.MBPerSecond, float64(c.Rate)/1e6,
		r.Seconds, r.Time.Format("2006-01-02 15:04"), r.Machine.LoadBefore, r.Machine.LoadAfter)
	fmt.Fprintf(&b, "topics made in %.1f s; p50 %.0f, p99 %.0f ms; %d records, %d failed; %.2f cores, heap %.0f MB, resident %.0f MB at most\n",
		r.CreateSeconds, r.P50Millis, r.P99Millis, r.Records, r.Failed, r.CPU, r.HeapMB, r.ResidentMB)
	writeFigures(&b, r.Figures, c.Factor)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeFigures(w io.Writer, figures []Figure, factor float64) {
	_, _ = fmt.Fprintf(w, "%-42s %12s %12s\n", "", "arithmetic", "measured") // into memory
	for _, f := range figures {
		mark := ""
		switch {
		case f.Off:
			mark = fmt.Sprintf("  OFF by more than %.2f", factor)
		case f.Most:
			mark = "  (at most)"
		}
		_, _ = fmt.Fprintf(w, "%-42s %12.2f %12.2f%s\n", f.Name, f.Expected, f.Measured, mark)
	}
}

// judge compares a figure.
func (f *Figure) judge(factor float64) {
	f.Off = f.Measured > f.Expected*factor || !f.Most && f.Measured*factor < f.Expected
}

// Topics measures many topics with little data each: what they cost against what they should. The result may be Off.
func Topics(ctx context.Context, cfg TopicsConfig, parts Parts) (TopicsResult, error) {
	r := TopicsResult{Scenario: "topics", Time: time.Now().UTC().Truncate(time.Second), Commit: parts.Commit, Version: parts.Version, Machine: ThisMachine(), Config: cfg}
	if err := cfg.Validate(); err != nil {
		return r, err
	}
	dir := cfg.Directory
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "barge-bench-"); err != nil {
			return r, fmt.Errorf("make a directory for the store: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }() // best effort: it is the system's place for what nobody needs
	}
	f, err := newFleet(parts)
	if err != nil {
		return r, err
	}
	f.store = "file://" + filepath.ToSlash(dir)
	err = r.run(ctx, f, dir)
	err = errors.Join(err, f.end())
	r.Machine.LoadAfter = loadAverage()
	return r, err
}

func (r *TopicsResult) run(ctx context.Context, f *fleet, dir string) error {
	if err := f.start(ctx, r.Config.Agents, r.Config.Zones, r.Config.AgentArgs...); err != nil {
		return err
	}
	writers, err := newWriters(r.Config, f.brokers())
	if err != nil {
		return err
	}
	defer writers.close()
	began := time.Now()
	if err := writers.createTopics(ctx); err != nil {
		return err
	}
	r.CreateSeconds = time.Since(began).Seconds()
	f.parts.tell("%d topics made in %.1f s\n", r.Config.Topics, r.CreateSeconds)
	before, _, err := f.look(ctx)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() {
		watched <- every(watching, 5*time.Second, func() error {
			_, most, err := f.look(watching)
			if err == nil {
				r.HeapMB = max(r.HeapMB, most["go_memstats_heap_alloc_bytes"]/1e6)
				r.ResidentMB = max(r.ResidentMB, most[counterRSS]/1e6)
			}
			return err
		})
	}()
	began = time.Now()
	err = writers.write(ctx, r.Config.Duration)
	took := time.Since(began)
	stop()
	if err := errors.Join(err, <-watched); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	after, _, err := f.look(ctx)
	if err != nil {
		return err
	}
	r.sum(writers, after.since(before), took)
	return r.files(dir, after.since(before))
}

// sum takes down what was counted.
func (r *TopicsResult) sum(w *writers, g counters, took time.Duration) {
	r.Seconds = took.Seconds()
	r.MBPerSecond = float64(w.bytes) / 1e6 / r.Seconds
	r.Records, r.Failed = w.records, w.failed
	r.P50Millis, r.P99Millis = millis(w.latency.quantile(0.5)), millis(w.latency.quantile(0.99))
	r.CPU = g[counterCPU] / r.Seconds
	requests := requestsOf(g)
	want := r.Config.arithmetic(took)
	minute := took.Minutes()
	for _, f := range []Figure{
		{Name: "MB/s acknowledged", Expected: float64(r.Config.Rate) / 1e6, Measured: r.MBPerSecond},
		{Name: "objects written by agents a minute", Expected: want.objects / minute, Measured: g.sum("barge_objects_total", "committed") / minute},
		{Name: "PUT a minute", Expected: want.puts() / minute, Measured: requests.Puts / minute},
		{Name: "GET a minute", Expected: want.gets() / minute, Measured: requests.Gets / minute, Most: true},
		{Name: "LIST a minute", Expected: want.lists / minute, Measured: requests.Lists / minute, Most: true},
		{Name: "entries of the log a second", Expected: want.entries() / r.Seconds, Measured: g["barge_log_entries_total"] / r.Seconds, Most: true},
		{Name: "table commits a second", Expected: want.commits / r.Seconds, Measured: g["barge_table_commits_total"] / r.Seconds},
		{Name: "heap, MB, of one agent", Expected: want.heapMB, Measured: r.HeapMB, Most: true},
	} {
		f.judge(r.Config.Factor)
		r.Figures = append(r.Figures, f)
	}
	r.Counters = telling(g)
	if n := g["barge_compactor_failed_jobs_total"] + g["barge_table_failed_commits_total"]; n > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%.0f compactions or table commits failed and were tried again", n))
	}
}

// telling picks the counters of background work, log and store.
func telling(g counters) map[string]float64 {
	out := map[string]float64{}
	for name, v := range g {
		if v != 0 && (strings.HasPrefix(name, "barge_compactor_") || strings.HasPrefix(name, "barge_table_") || strings.HasPrefix(name, "barge_log_") ||
			strings.HasPrefix(name, "barge_store_requests_") || strings.HasPrefix(name, "barge_objects_") || strings.HasPrefix(name, "barge_read_")) {
			out[name] = v
		}
	}
	return out
}

// files looks at the tables' files.
func (r *TopicsResult) files(dir string, g counters) error {
	n, size := 0, int64(0)
	err := filepath.WalkDir(filepath.Join(dir, "tables"), func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // no table yet
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".parquet" {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n++
			size += info.Size()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("look at the tables' files: %w", err)
	}
	if rows := g["barge_compactor_rows_total"]; n > 0 && rows > 0 {
		want := r.Config.arithmetic(time.Duration(r.Seconds * float64(time.Second)))
		f := Figure{Name: "rows of a table's file", Expected: want.fileBytes / float64(r.Config.RecordBytes), Measured: rows / float64(n)}
		f.judge(r.Config.Factor)
		r.Figures = append(r.Figures, f)
		r.Notes = append(r.Notes, fmt.Sprintf("%d files of %.1f KB on average, %.2f of the values in them", n, float64(size)/1e3/float64(n), float64(size)/(rows*float64(r.Config.RecordBytes))))
	}
	return nil
}

// tell reports progress.
func (p Parts) tell(format string, args ...any) {
	if p.Progress != nil {
		_, _ = fmt.Fprintf(p.Progress, format, args...) // nobody to tell that nobody listens
	}
}
