package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Parts are what a run gets from outside.
type Parts struct {
	Progress        io.Writer // a line for each measurement
	Environ         []string  // of the processes that are started, without BARGE_ variables
	Commit, Version string    // of this build
	Binary          string    // that is started as store, floor and agent; empty: this program
}

// run is one under way.
type run struct {
	cfg       Config
	parts     Parts
	processes processes
	load      *load
	cluster   *cluster

	storeMetrics string // URLs; empty: not known
	agentMetrics string
	storeAddr    string
	brokers      []string
}

// Produce measures how an agent takes what producers send.
func Produce(ctx context.Context, cfg Config, parts Parts) (Result, error) {
	result := newResult("produce", cfg, parts)
	r, err := begin(ctx, cfg, parts)
	if err == nil {
		err = r.produce(ctx, &result)
	}
	err = errors.Join(err, r.end())
	result.Machine.LoadAfter = loadAverage()
	result.sumUp()
	return result, err
}

func newResult(scenario string, cfg Config, parts Parts) Result {
	return Result{Scenario: scenario, Time: time.Now().UTC().Truncate(time.Second), Commit: parts.Commit, Version: parts.Version, Machine: ThisMachine(), Config: cfg}
}

// begin starts what the run needs beside the load. end must follow, whatever the error.
func begin(ctx context.Context, cfg Config, parts Parts) (*run, error) {
	r := &run{cfg: cfg, parts: parts, agentMetrics: cfg.MetricsURL, brokers: cfg.Brokers}
	if err := cfg.Validate(); err != nil {
		return r, err
	}
	var err error
	if r.load, err = newLoad(cfg); err != nil {
		return r, err
	}
	if len(cfg.Brokers) == 0 {
		if err := r.startOwn(ctx); err != nil {
			return r, err
		}
	}
	r.cluster, err = openCluster(r.brokers)
	return r, err
}

func (r *run) end() error {
	if r.cluster != nil {
		r.cluster.close()
	}
	return r.processes.stopAll()
}

// startOwn starts a store and an agent.
func (r *run) startOwn(ctx context.Context) error {
	binary := r.parts.Binary
	if binary == "" {
		var err error
		if binary, err = ownBinary(); err != nil {
			return err
		}
	}
	r.processes = processes{binary: binary}
	for _, kv := range r.parts.Environ {
		if !strings.HasPrefix(kv, "BARGE_") && !strings.HasPrefix(kv, "AWS_") {
			r.processes.environ = append(r.processes.environ, kv)
		}
	}
	r.processes.environ = append(r.processes.environ, "AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=benchbench")
	store, err := r.processes.startServer(ctx, "store", "bench", "store",
		"--keep-bytes", strconv.FormatInt(r.cfg.KeepBytes, 10), "--latency", string(r.cfg.Latency), "--verify="+strconv.FormatBool(r.cfg.Verify))
	if err != nil {
		return err
	}
	r.storeMetrics, r.storeAddr = store.metrics, store.listen
	return r.startAgent(ctx)
}

// startAgent starts an agent on the run's store. It does not compact: that is work of its own, at a time of its own.
func (r *run) startAgent(ctx context.Context) error {
	args := []string{
		"agent", "--store", "s3://bench/x?endpoint=http://" + r.storeAddr + "&region=us-east-1",
		"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--roles", "produce,fetch,coordinate,console",
	}
	agent, err := r.processes.startAgent(ctx, append(args, r.cfg.AgentArgs...)...)
	if err != nil {
		return err
	}
	r.agentMetrics, r.brokers = agent.metrics, []string{agent.listen}
	return nil
}

// produce measures block after block.
func (r *run) produce(ctx context.Context, result *Result) error {
	leaders, err := r.cluster.topic(ctx, r.cfg.Topic, r.cfg.Partitions)
	if err != nil {
		return err
	}
	agent := subject{name: "agent", metrics: r.agentMetrics, routes: routes(leaders, r.cfg.Connections), producers: r.cfg.Idempotent}
	subjects := []subject{agent}
	if r.cfg.Floor {
		floor, err := r.processes.startServer(ctx, "floor", "bench", "floor", "--store", "http://"+r.storeAddr+"/bench/floor")
		if err != nil {
			return err
		}
		same := make([]string, r.cfg.Partitions)
		for i := range same {
			same[i] = floor.listen
		}
		f := subject{name: "floor", metrics: floor.metrics, routes: routes(same, r.cfg.Connections)}
		subjects = []subject{f, agent, f, agent}
	}
	hash := uint64(0)
	if r.cfg.Warmup > 0 {
		for _, s := range subjects[:min(2, len(subjects))] {
			warm, err := r.send(ctx, s, r.cfg.Warmup)
			if err != nil {
				return err
			}
			if s.name == "agent" {
				hash, result.Records = hash+warm.hash, result.Records+warm.records
			}
		}
	}
	for n := range r.cfg.Blocks {
		block := Block{LoadAverage: loadAverage()}
		for i, s := range subjects {
			profiled := n == 0 && i == len(subjects)-1 && r.cfg.Profile != "" && s.metrics != ""
			var profile <-chan error
			if profiled {
				profile = r.profile(ctx)
			}
			m, sent, err := r.measure(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if profiled {
				if err := <-profile; err != nil {
					return err
				}
			}
			r.tell("block %d, %s: %.0f MB/s, %.2f CPU-s/GiB, %.1f B a record\n", n+1, s.name, m.MBPerSecond, m.CPUSecondsPerGiB, m.AllocBytesPerRecord)
			if s.name == "agent" {
				block.Agent = append(block.Agent, m)
				hash, result.Records = hash+sent.hash, result.Records+sent.records
			} else {
				block.Floor = append(block.Floor, m)
			}
		}
		block.judge()
		result.Blocks = append(result.Blocks, block)
	}
	result.ContentHash = fmt.Sprintf("%016x", hash)
	return nil
}

// subject is what a load is sent to.
type subject struct {
	name      string
	metrics   string // URL; empty: not known
	routes    []route
	producers bool
}

// send sends for so long.
func (r *run) send(ctx context.Context, s subject, d time.Duration) (loadResult, error) {
	if s.producers {
		return r.load.run(ctx, s.routes, d, r.cluster.producer)
	}
	return r.load.run(ctx, s.routes, d, nil)
}

// measure sends a measurement's load and reads the counters before and after, when nothing is on its way.
func (r *run) measure(ctx context.Context, s subject) (Measure, loadResult, error) {
	before, err := r.look(ctx, s.metrics)
	if err != nil {
		return Measure{}, loadResult{}, err
	}
	sent, err := r.send(ctx, s, r.cfg.Duration)
	if err != nil {
		return Measure{}, sent, err
	}
	after, err := r.look(ctx, s.metrics)
	if err != nil {
		return Measure{}, sent, err
	}
	m := newMeasure(&sent, after.since(before))
	m.ResidentMB = after.served[counterRSS] / 1e6
	return m, sent, nil
}

// look reads the counters of all processes.
func (r *run) look(ctx context.Context, served string) (g grown, err error) {
	g.load = ownCounters()
	if r.storeMetrics != "" {
		if g.store, err = scrape(ctx, r.storeMetrics); err != nil {
			return g, err
		}
	}
	if served != "" {
		g.served, err = scrape(ctx, served)
	}
	return g, err
}

func (g grown) since(before grown) grown {
	out := grown{load: g.load.since(before.load)}
	if g.served != nil {
		out.served = g.served.since(before.served)
	}
	if g.store != nil {
		out.store = g.store.since(before.store)
	}
	return out
}

// profile takes a CPU profile of the agent for as long as a measurement lasts.
func (r *run) profile(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	seconds := max(1, int(r.cfg.Duration/time.Second))
	url := strings.TrimSuffix(r.agentMetrics, "/metrics") + "/debug/pprof/profile?seconds=" + strconv.Itoa(seconds)
	go func() {
		done <- download(ctx, url, r.cfg.Profile)
	}()
	return done
}

func download(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s answers %s", url, resp.Status)
	}
	f, err := os.Create(path) //nolint:gosec // the user names it
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	_, err = io.Copy(f, resp.Body)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

func (r *run) tell(format string, args ...any) {
	if r.parts.Progress != nil {
		_, _ = fmt.Fprintf(r.parts.Progress, format, args...) // nobody to tell that nobody listens
	}
}
