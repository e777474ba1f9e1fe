package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// ClusterConfig is a run of several agents in several zones: what they cost, at work and at rest. Start from DefaultClusterConfig.
type ClusterConfig struct {
	Agents     int `json:"agents"`
	Zones      int `json:"zones"`
	Partitions int `json:"partitions"`
	Groups     int `json:"groups"` // of consumers, beside a measurement with one. Each has a member in every zone

	Rate     int64         `json:"rate_bytes_per_second"`      // of producers, in all zones together
	ReadRate int64         `json:"read_rate_bytes_per_second"` // of producers while groups read
	Duration time.Duration `json:"duration_ns"`                // of each load
	Idle     time.Duration `json:"idle_ns"`                    // of each measurement at rest
	Settle   time.Duration `json:"settle_ns"`                  // after the loads, until all background work is done
	Grace    time.Duration `json:"grace_ns"`                   // --release-grace of the agents

	Latency   Profile  `json:"store_latency"`
	KeepBytes int64    `json:"keep_bytes"` // of WAL objects that the store keeps at most
	AgentArgs []string `json:"agent_args,omitempty"`
}

// DefaultClusterConfig is five agents in three zones. It takes four minutes.
func DefaultClusterConfig() ClusterConfig {
	return ClusterConfig{
		Agents: 5, Zones: 3, Partitions: 24, Groups: 10, Rate: 72 << 20, ReadRate: 12 << 20, Duration: 20 * time.Second,
		Idle: 30 * time.Second, Settle: 110 * time.Second, Grace: 15 * time.Second, Latency: ProfileZero, KeepBytes: 4 << 30,
	}
}

// Validate reports every setting that cannot work.
func (c ClusterConfig) Validate() error {
	var errs []error
	for _, v := range []struct {
		name        string
		v, min, max int64
	}{
		{"agents", int64(c.Agents), 1, 100},
		{"zones", int64(c.Zones), 1, int64(min(max(c.Agents, 1), 26))},
		{"partitions", int64(c.Partitions), int64(c.Zones), 10_000},
		{"groups", int64(c.Groups), 1, 1000},
		{"rate", c.Rate, 1, 1 << 40},
		{"read-rate", c.ReadRate, 1, 1 << 40},
		{"duration", int64(c.Duration), int64(time.Second), int64(time.Hour)},
		{"idle", int64(c.Idle), int64(time.Second), int64(time.Hour)},
		{"settle", int64(c.Settle), 0, int64(time.Hour)},
		{"grace", int64(c.Grace), int64(time.Second), int64(time.Hour)},
		{"keep-bytes", c.KeepBytes, 1 << 20, 64 << 30},
	} {
		if v.v < v.min || v.v > v.max {
			errs = append(errs, fmt.Errorf("%s %d: want %d to %d", v.name, v.v, v.min, v.max))
		}
	}
	return errors.Join(errs...)
}

// ClusterResult is what a run found.
type ClusterResult struct {
	Scenario string        `json:"scenario"` // cluster
	Time     time.Time     `json:"time"`
	Commit   string        `json:"commit"`
	Version  string        `json:"version"`
	Machine  Machine       `json:"machine"`
	Config   ClusterConfig `json:"config"`

	IdleBefore Rest        `json:"idle_before"` // nothing has happened yet
	Produce    Phase       `json:"produce"`
	OneGroup   Phase       `json:"one_group"`
	Groups     Phase       `json:"groups"`
	IdleAfter  Rest        `json:"idle_after"`
	Judged     []Judgement `json:"judged"`
	Notes      []string    `json:"notes,omitempty"`
}

// Rest is what agents do that nobody asks for anything.
type Rest struct {
	Seconds           float64  `json:"seconds"`
	Requests          Requests `json:"requests"`
	RequestsPerSecond float64  `json:"requests_per_second"` // of all agents together
	CPUCores          float64  `json:"cpu_cores"`
}

// Phase is one load.
type Phase struct {
	Seconds        float64            `json:"seconds"`
	GiBIn          float64            `json:"gib_in"`
	GiBRead        float64            `json:"gib_read"`
	PutsPerGiB     float64            `json:"puts_per_gib_in"`
	GetsPerGiB     float64            `json:"gets_per_gib_in"`
	ReadsPerGiB    float64            `json:"reads_per_gib_in"`          // of objects from the store for consumers, of the GETs
	PeerGiB        float64            `json:"peer_bytes_per_gib_in"`     // sent by agents to agents, in GiB
	CrossZone      float64            `json:"cross_zone_per_gib_in"`     // between clients and agents of other zones, in GiB
	ExpectedPuts   float64            `json:"expected_puts_per_gib_in"`  // model: objects, their entries, compaction
	ExpectedReads  float64            `json:"expected_reads_per_gib_in"` // model: once in each zone that did not write it
	MBPerObject    float64            `json:"mb_per_object"`
	P99Millis      float64            `json:"p99_ms"` // of Produce requests
	CPUSecondsGiB  float64            `json:"cpu_seconds_per_gib_in"`
	FailedRequests map[string]int64   `json:"failed,omitempty"`
	Counters       map[string]float64 `json:"counters"`
}

// Judgement is a figure against its aim.
type Judgement struct {
	Name     string  `json:"name"`
	Aim      string  `json:"aim"`
	Measured float64 `json:"measured"`
	Met      bool    `json:"met"`
}

// Met tells whether all aims are met.
func (r *ClusterResult) Met() bool {
	for _, j := range r.Judged {
		if !j.Met {
			return false
		}
	}
	return true
}

// WriteSummary writes the result for people.
func (r *ClusterResult) WriteSummary(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d agents in %d zones, %s, load average %.1f before and %.1f after\n", r.Config.Agents, r.Config.Zones, r.Time.Format("2006-01-02 15:04"), r.Machine.LoadBefore, r.Machine.LoadAfter)
	rest := func(name string, i *Rest) {
		fmt.Fprintf(&b, "%-12s %.2f requests/s (%.0f PUT, %.0f GET, %.0f LIST, %.0f DELETE in %.0f s), %.3f cores\n", name, i.RequestsPerSecond,
			i.Requests.Puts, i.Requests.Gets, i.Requests.Lists, i.Requests.Deletes, i.Seconds, i.CPUCores)
	}
	phase := func(name string, p *Phase) {
		fmt.Fprintf(&b, "%-12s %.2f GiB in, %.2f read in %.0f s; a GiB in: %.0f PUT (model %.0f), %.0f GET, of them %.0f for consumers (model %.0f); objects of %.1f MB; peers %.3f GiB, clients across zones %.3f; %.1f CPU-s, p99 %.0f ms\n",
			name, p.GiBIn, p.GiBRead, p.Seconds, p.PutsPerGiB, p.ExpectedPuts, p.GetsPerGiB, p.ReadsPerGiB, p.ExpectedReads, p.MBPerObject, p.PeerGiB, p.CrossZone, p.CPUSecondsGiB, p.P99Millis)
		for name, n := range p.FailedRequests {
			fmt.Fprintf(&b, "             %d requests failed: %s\n", n, name)
		}
	}
	rest("idle, new", &r.IdleBefore)
	phase("produce", &r.Produce)
	phase("1 group", &r.OneGroup)
	phase(strconv.Itoa(r.Config.Groups)+" groups", &r.Groups)
	rest("idle, after", &r.IdleAfter)
	for _, j := range r.Judged {
		mark := "met"
		if !j.Met {
			mark = "NOT met"
		}
		fmt.Fprintf(&b, "%s: %.3f, aim %s: %s\n", j.Name, j.Measured, j.Aim, mark)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Cluster measures several agents on one store. The aims may not be Met.
func Cluster(ctx context.Context, cfg ClusterConfig, parts Parts) (ClusterResult, error) {
	r := ClusterResult{Scenario: "cluster", Time: time.Now().UTC().Truncate(time.Second), Commit: parts.Commit, Version: parts.Version, Machine: ThisMachine(), Config: cfg}
	if err := cfg.Validate(); err != nil {
		return r, err
	}
	f, err := newFleet(parts)
	if err != nil {
		return r, err
	}
	err = r.run(ctx, f)
	err = errors.Join(err, f.end())
	r.Machine.LoadAfter = loadAverage()
	return r, err
}

const zonesTopic = "bench"

func (r *ClusterResult) run(ctx context.Context, f *fleet) error {
	store, err := f.processes.startServer(ctx, "store", "bench", "store", "--keep-bytes", strconv.FormatInt(r.Config.KeepBytes, 10), "--latency", string(r.Config.Latency))
	if err != nil {
		return err
	}
	f.store = "s3://bench/x?endpoint=http://" + store.listen + "&region=us-east-1"
	args := append([]string{"--release-grace", r.Config.Grace.String()}, r.Config.AgentArgs...)
	if err := f.start(ctx, r.Config.Agents, r.Config.Zones, args...); err != nil {
		return err
	}
	if err := pause(ctx, 10*time.Second); err != nil { // what a start brings about
		return err
	}
	if r.IdleBefore, err = f.rest(ctx, r.Config.Idle); err != nil {
		return err
	}
	loads, err := newZoneLoads(ctx, r.Config, f.brokers())
	if err != nil {
		return err
	}
	defer loads.close()
	for _, p := range []struct {
		phase  *Phase
		rate   int64
		groups int
		name   string
	}{{&r.Produce, r.Config.Rate, 0, "produce"}, {&r.OneGroup, r.Config.ReadRate, 1, "one"}, {&r.Groups, r.Config.ReadRate, r.Config.Groups, "many"}} {
		if *p.phase, err = loads.phase(ctx, f, p.rate, p.groups, p.name); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		f.parts.tell("%s: %.2f GiB in, %.2f GiB read, %.0f PUT and %.0f GET a GiB in\n", p.name, p.phase.GiBIn, p.phase.GiBRead, p.phase.PutsPerGiB, p.phase.GetsPerGiB)
	}
	loads.close()
	if err := pause(ctx, r.Config.Settle); err != nil {
		return err
	}
	if r.IdleAfter, err = f.rest(ctx, r.Config.Idle); err != nil {
		return err
	}
	r.judge()
	return nil
}

func (r *ClusterResult) judge() {
	judge := func(name, aim string, measured float64, met bool) {
		r.Judged = append(r.Judged, Judgement{name, aim, measured, met})
	}
	puts := r.Produce.PutsPerGiB / r.Produce.ExpectedPuts
	judge("PUT a GiB against the model", "0.9 to 1.1", puts, puts >= 0.9 && puts <= 1.1)
	growth := r.Groups.GetsPerGiB / r.OneGroup.GetsPerGiB
	judge(fmt.Sprintf("GET with %d groups over GET with one", r.Config.Groups), "at most 1.05", growth, growth <= 1.05)
	judge("requests a second at rest, new", "below 1", r.IdleBefore.RequestsPerSecond, r.IdleBefore.RequestsPerSecond < 1)
	judge("requests a second at rest, after work", "below 1", r.IdleAfter.RequestsPerSecond, r.IdleAfter.RequestsPerSecond < 1)
	read := r.Groups.GiBRead / (r.Groups.GiBIn * float64(r.Config.Groups))
	judge("read by each group, of what was written", "0.97 to 1.01", read, read >= 0.97 && read <= 1.01) // values, of batches
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rest looks at agents that nobody asks for anything.
func (f *fleet) rest(ctx context.Context, d time.Duration) (Rest, error) {
	before, _, err := f.look(ctx)
	if err != nil {
		return Rest{}, err
	}
	began := time.Now()
	if err := pause(ctx, d); err != nil {
		return Rest{}, err
	}
	after, _, err := f.look(ctx)
	if err != nil {
		return Rest{}, err
	}
	g, seconds := after.since(before), time.Since(began).Seconds()
	requests := requestsOf(g)
	return Rest{Seconds: seconds, Requests: requests, RequestsPerSecond: requests.total() / seconds, CPUCores: g[counterCPU] / seconds}, nil
}

// zoneLoads are producers in every zone, each of which writes to the leaders that its zone is told.
type zoneLoads struct {
	cfg      ClusterConfig
	brokers  []string
	clusters []*cluster
}

func newZoneLoads(ctx context.Context, cfg ClusterConfig, brokers []string) (*zoneLoads, error) {
	z := &zoneLoads{cfg: cfg, brokers: brokers}
	for i := range cfg.Zones {
		c, err := openCluster(brokers, kgo.ClientID(clientID+",zone="+zoneName(i)))
		if err != nil {
			z.close()
			return nil, err
		}
		z.clusters = append(z.clusters, c)
		if _, err := c.topic(ctx, zonesTopic, cfg.Partitions); err != nil {
			z.close()
			return nil, err
		}
	}
	return z, nil
}

func (z *zoneLoads) close() {
	for _, c := range z.clusters {
		c.close()
	}
	z.clusters = nil
}

// phase is one load: producers at a rate, and groups that read what they write.
func (z *zoneLoads) phase(ctx context.Context, f *fleet, rate int64, groups int, name string) (Phase, error) {
	readers, err := startReaders(ctx, z.brokers, groups, z.cfg, name)
	if err != nil {
		return Phase{}, err
	}
	defer readers.close()
	before, _, err := f.look(ctx)
	if err != nil {
		return Phase{}, err
	}
	began := time.Now()
	sent, err := z.send(ctx, rate)
	if err != nil {
		return Phase{}, err
	}
	if err := readers.wait(ctx, sent.records); err != nil {
		return Phase{}, err
	}
	took := time.Since(began)
	after, _, err := f.look(ctx)
	if err != nil {
		return Phase{}, err
	}
	return z.sum(after.since(before), &sent, readers.bytes.Load(), took), nil
}

// send makes the load of all zones.
func (z *zoneLoads) send(ctx context.Context, rate int64) (loadResult, error) {
	sum := loadResult{failed: map[string]int64{}}
	results := make([]loadResult, len(z.clusters))
	g, gctx := errgroup.WithContext(ctx)
	for i, c := range z.clusters {
		cfg := DefaultConfig()
		cfg.Topic, cfg.Partitions, cfg.Seed = zonesTopic, z.cfg.Partitions, uint64(i)+1
		cfg.Rate, cfg.Connections = rate/int64(len(z.clusters)), 8
		g.Go(func() error {
			l, err := newLoadOf(cfg, clientID+",zone="+zoneName(i))
			if err != nil {
				return err
			}
			leaders, err := c.topic(gctx, cfg.Topic, cfg.Partitions)
			if err != nil {
				return err
			}
			results[i], err = l.run(gctx, routes(leaders, cfg.Connections), z.cfg.Duration, nil)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return sum, err
	}
	for i := range results {
		r := &results[i]
		sum.bytes, sum.requests, sum.records = sum.bytes+r.bytes, sum.requests+r.requests, sum.records+r.records
		sum.took = max(sum.took, r.took)
		sum.latency.merge(&r.latency)
		for name, n := range r.failed {
			sum.failed[name] += n
		}
	}
	return sum, nil
}

// sum puts what was counted beside the model.
func (z *zoneLoads) sum(g counters, sent *loadResult, read int64, took time.Duration) Phase {
	gibs := float64(sent.bytes) / gib
	requests := requestsOf(g)
	objects := g.sum("barge_objects_total", "committed")
	p := Phase{
		Seconds: took.Seconds(), GiBIn: gibs, GiBRead: float64(read) / gib,
		PutsPerGiB: requests.Puts / gibs, GetsPerGiB: requests.Gets / gibs,
		ReadsPerGiB: (g["barge_read_store_total"] + g["barge_read_lagging_total"]) / gibs,
		PeerGiB:     g.sum("barge_peer_bytes_total", `sent`) / gib / gibs,
		CrossZone:   g.sum("barge_cross_zone_bytes_total") / gib / gibs,
		P99Millis:   millis(sent.latency.quantile(0.99)), CPUSecondsGiB: g[counterCPU] / gibs,
		Counters: telling(g),
	}
	if objects > 0 {
		p.MBPerObject = float64(sent.bytes) / 1e6 / objects
	}
	if len(sent.failed) > 0 {
		p.FailedRequests = sent.failed
	}
	model := z.cfg.model(float64(sent.bytes) / sent.took.Seconds())
	p.ExpectedPuts, p.ExpectedReads = model.puts, model.reads
	return p
}

// zoneModel is reference/performance.md 2.2, for a GiB.
type zoneModel struct{ puts, reads float64 }

// model: an agent writes an object as soon as it has 8 MiB, or what came in 250 ms; a zone has a writer for each 32 MiB/s. An
// object costs a PUT, its entry one more, or both together one where it travels in the log. A job writes an object or a file for each
// 128 MiB, a table version, and three entries. Other zones read an object once each.
func (c ClusterConfig) model(rate float64) zoneModel {
	zone := rate / float64(c.Zones)
	writers := min(float64((c.Agents+c.Zones-1)/c.Zones), float64(int(zone/writerRate)+1))
	object := min(flushBytes, zone/writers*flushSeconds)
	objects := gib / object
	perObject := 2.0
	if object <= inlineBytes {
		perObject = 1
	}
	const jobs = gib / jobBytes
	return zoneModel{puts: objects*perObject + jobs*5, reads: objects * float64(c.Zones-1)}
}
