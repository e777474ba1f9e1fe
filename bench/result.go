package bench

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// gib is what rates of requests and CPU count by; MB/s counts by a million.
const gib = 1 << 30

// Result is what a run found. It is written as JSON; the names carry the units.
type Result struct {
	Scenario string    `json:"scenario"` // produce, or consume
	Time     time.Time `json:"time"`
	Commit   string    `json:"commit"`
	Version  string    `json:"version"`
	Machine  Machine   `json:"machine"`
	Config   Config    `json:"config"`

	// Agent and Floor are the medians of what Blocks hold, field by field, without those that were discarded.
	Agent Measure  `json:"agent"`
	Floor *Measure `json:"floor,omitempty"`
	// CPURatio is the median of the blocks' ratios of CPU for each byte, agent to floor; RateRatio that of MB/s.
	CPURatio  float64  `json:"cpu_ratio_to_floor,omitempty"`
	RateRatio float64  `json:"rate_ratio_to_floor,omitempty"`
	Blocks    []Block  `json:"blocks"`
	Notes     []string `json:"notes,omitempty"`

	// ContentHash is a sum over the records that were written and acknowledged, or read: equal sums, equal sets of records.
	ContentHash string `json:"content_hash"`
	Records     int64  `json:"records"`
}

// Machine is where a run took place.
type Machine struct {
	CPU        string  `json:"cpu"`
	CPUs       int     `json:"cpus"`
	OS         string  `json:"os"`
	Go         string  `json:"go"`
	LoadBefore float64 `json:"load_average_before"` // of one minute
	LoadAfter  float64 `json:"load_average_after"`
}

// Block is the measurements that are compared with each other: of the agent alone, or floor, agent, floor, agent.
type Block struct {
	Agent []Measure `json:"agent"`
	Floor []Measure `json:"floor,omitempty"`
	// CPURatio and RateRatio are agent to floor, of the means of both.
	CPURatio  float64 `json:"cpu_ratio_to_floor,omitempty"`
	RateRatio float64 `json:"rate_ratio_to_floor,omitempty"`
	// FloorSpread is by how much the two measurements of the floor's CPU differ, as a share of the smaller one.
	FloorSpread float64 `json:"floor_spread,omitempty"`
	Discarded   bool    `json:"discarded,omitempty"` // because of FloorSpread: the machine was doing something else
	LoadAverage float64 `json:"load_average"`
}

// maxFloorSpread is from where a block says more about the machine than about what runs on it.
const maxFloorSpread = 0.10

// Measure is one measurement of one process. Bytes are those of record batches, as they are on the wire.
type Measure struct {
	Seconds     float64 `json:"seconds"`
	Bytes       int64   `json:"bytes"`
	Records     int64   `json:"records"`
	Requests    int64   `json:"requests"`
	MBPerSecond float64 `json:"mb_per_second"`
	// ReadMBPerSecond is what all consumers read together, of a consume run.
	ReadMBPerSecond float64 `json:"read_mb_per_second,omitempty"`

	CPUSecondsPerGiB    float64 `json:"cpu_seconds_per_gib"`
	AllocBytesPerRecord float64 `json:"alloc_bytes_per_record"`
	MallocsPerRecord    float64 `json:"mallocs_per_record"`
	GCs                 float64 `json:"gcs"`
	ResidentMB          float64 `json:"resident_mb"` // of the floor: the most it ever had

	PutsPerGiB  float64 `json:"puts_per_gib"` // as the store counts them
	GetsPerGiB  float64 `json:"gets_per_gib"`
	ListsPerGiB float64 `json:"lists_per_gib"`

	P50Millis  float64 `json:"p50_ms"`
	P99Millis  float64 `json:"p99_ms"`
	P999Millis float64 `json:"p999_ms"`

	// LoadCPUSecondsPerGiB is what this process used to make the load, and StoreCPUSecondsPerGiB the store.
	LoadCPUSecondsPerGiB  float64 `json:"load_cpu_seconds_per_gib"`
	StoreCPUSecondsPerGiB float64 `json:"store_cpu_seconds_per_gib"`

	Failed map[string]int64 `json:"failed,omitempty"` // requests by the error they were answered with
}

// grown is by how much the counters of a run's processes grew during a measurement. Nil: not known.
type grown struct {
	served, store, load counters
}

// newMeasure puts a load and the counters beside it together.
func newMeasure(r *loadResult, g grown) Measure {
	m := Measure{
		Seconds: r.took.Seconds(), Bytes: r.bytes, Records: r.records, Requests: r.requests,
		P50Millis: millis(r.latency.quantile(0.5)), P99Millis: millis(r.latency.quantile(0.99)), P999Millis: millis(r.latency.quantile(0.999)),
	}
	if len(r.failed) > 0 {
		m.Failed = r.failed
	}
	if r.bytes == 0 || r.records == 0 || r.took <= 0 {
		return m
	}
	amount, records := float64(r.bytes)/gib, float64(r.records)
	m.MBPerSecond = float64(r.bytes) / 1e6 / r.took.Seconds()
	m.LoadCPUSecondsPerGiB = g.load[counterCPU] / amount
	if g.served != nil {
		m.CPUSecondsPerGiB = g.served[counterCPU] / amount
		m.AllocBytesPerRecord = g.served[counterAllocBytes] / records
		m.MallocsPerRecord = g.served[counterMallocs] / records
		m.GCs = g.served[counterGC]
	}
	if g.store != nil {
		m.StoreCPUSecondsPerGiB = g.store[counterCPU] / amount
		m.PutsPerGiB = g.store[storeRequests("put")] / amount
		m.GetsPerGiB = g.store[storeRequests("get")] / amount
		m.ListsPerGiB = g.store[storeRequests("list")] / amount
	} else if g.served != nil {
		const name = "barge_store_requests_total"
		m.PutsPerGiB = (g.served.sum(name, `op="put"`) + g.served.sum(name, `op="create"`)) / amount
		m.GetsPerGiB = g.served.sum(name, `op="get`) / amount // and get_range
		m.ListsPerGiB = g.served.sum(name, `op="list"`) / amount
	}
	return m
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// judge compares the measurements of a block.
func (b *Block) judge() {
	if len(b.Floor) == 0 {
		return
	}
	cpu := func(m Measure) float64 { return m.CPUSecondsPerGiB }
	rate := func(m Measure) float64 { return m.MBPerSecond }
	b.CPURatio = mean(b.Agent, cpu) / mean(b.Floor, cpu)
	b.RateRatio = mean(b.Agent, rate) / mean(b.Floor, rate)
	least, most := cpu(b.Floor[0]), cpu(b.Floor[0])
	for _, m := range b.Floor {
		least, most = min(least, cpu(m)), max(most, cpu(m))
	}
	b.FloorSpread = (most - least) / least
	b.Discarded = !(b.FloorSpread <= maxFloorSpread) // also when it is not a number
}

// sumUp fills in the medians.
func (r *Result) sumUp() {
	kept := slices.Clone(r.Blocks)
	kept = slices.DeleteFunc(kept, func(b Block) bool { return b.Discarded })
	if len(kept) < len(r.Blocks) {
		r.Notes = append(r.Notes, fmt.Sprintf("%d of %d blocks discarded: their floors differ by more than %.0f %%", len(r.Blocks)-len(kept), len(r.Blocks), 100*maxFloorSpread))
	}
	if len(kept) == 0 {
		r.Notes = append(r.Notes, "no block is left; the medians are of the discarded ones and prove nothing")
		kept = r.Blocks
	}
	var agent, floor []Measure
	var cpu, rate []float64
	for _, b := range kept {
		agent, floor = append(agent, b.Agent...), append(floor, b.Floor...)
		cpu, rate = append(cpu, b.CPURatio), append(rate, b.RateRatio)
	}
	r.Agent = medianMeasure(agent)
	if len(floor) > 0 {
		m := medianMeasure(floor)
		r.Floor, r.CPURatio, r.RateRatio = &m, median(cpu), median(rate)
	}
}

// medianMeasure is the median of each field. Failures are added up.
func medianMeasure(of []Measure) Measure {
	field := func(get func(*Measure) float64) float64 {
		values := make([]float64, len(of))
		for i := range of {
			values[i] = get(&of[i])
		}
		return median(values)
	}
	m := Measure{
		Seconds:               field(func(m *Measure) float64 { return m.Seconds }),
		Bytes:                 int64(field(func(m *Measure) float64 { return float64(m.Bytes) })),
		Records:               int64(field(func(m *Measure) float64 { return float64(m.Records) })),
		Requests:              int64(field(func(m *Measure) float64 { return float64(m.Requests) })),
		MBPerSecond:           field(func(m *Measure) float64 { return m.MBPerSecond }),
		CPUSecondsPerGiB:      field(func(m *Measure) float64 { return m.CPUSecondsPerGiB }),
		AllocBytesPerRecord:   field(func(m *Measure) float64 { return m.AllocBytesPerRecord }),
		MallocsPerRecord:      field(func(m *Measure) float64 { return m.MallocsPerRecord }),
		ReadMBPerSecond:       field(func(m *Measure) float64 { return m.ReadMBPerSecond }),
		GCs:                   field(func(m *Measure) float64 { return m.GCs }),
		ResidentMB:            field(func(m *Measure) float64 { return m.ResidentMB }),
		PutsPerGiB:            field(func(m *Measure) float64 { return m.PutsPerGiB }),
		GetsPerGiB:            field(func(m *Measure) float64 { return m.GetsPerGiB }),
		ListsPerGiB:           field(func(m *Measure) float64 { return m.ListsPerGiB }),
		P50Millis:             field(func(m *Measure) float64 { return m.P50Millis }),
		P99Millis:             field(func(m *Measure) float64 { return m.P99Millis }),
		P999Millis:            field(func(m *Measure) float64 { return m.P999Millis }),
		LoadCPUSecondsPerGiB:  field(func(m *Measure) float64 { return m.LoadCPUSecondsPerGiB }),
		StoreCPUSecondsPerGiB: field(func(m *Measure) float64 { return m.StoreCPUSecondsPerGiB }),
	}
	for i := range of {
		for name, n := range of[i].Failed {
			if m.Failed == nil {
				m.Failed = make(map[string]int64)
			}
			m.Failed[name] += n
		}
	}
	return m
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

func mean(of []Measure, get func(Measure) float64) float64 {
	sum := 0.0
	for _, m := range of {
		sum += get(m)
	}
	return sum / float64(len(of))
}

// WriteSummary writes the result for people.
func (r *Result) WriteSummary(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, batches of %d KiB, %s, codec %s, %d connections with %d in flight\n", r.Scenario, r.Time.Format("2006-01-02 15:04"),
		r.Config.BatchBytes>>10, r.Config.Payload, r.Config.Codec, r.Config.Connections, r.Config.InFlight)
	fmt.Fprintf(&b, "%s, %d CPUs, %s, load average %.1f before and %.1f after\n", r.Machine.CPU, r.Machine.CPUs, r.Machine.Go, r.Machine.LoadBefore, r.Machine.LoadAfter)
	row := func(name string, m *Measure) {
		fmt.Fprintf(&b, "%-6s %7.0f MB/s  %5.2f CPU-s/GiB  %6.1f B and %.3f mallocs a record  %.0f PUT and %.0f GET a GiB  p50 %.0f  p99 %.0f  p99.9 %.0f ms\n",
			name, m.MBPerSecond, m.CPUSecondsPerGiB, m.AllocBytesPerRecord, m.MallocsPerRecord, m.PutsPerGiB, m.GetsPerGiB, m.P50Millis, m.P99Millis, m.P999Millis)
		for name, n := range m.Failed {
			fmt.Fprintf(&b, "       %d requests failed: %s\n", n, name)
		}
	}
	row("agent", &r.Agent)
	if r.Floor != nil {
		row("floor", r.Floor)
		fmt.Fprintf(&b, "CPU %.2f times that of the floor, rate %.2f times (medians of %d blocks)\n", r.CPURatio, r.RateRatio, len(r.Blocks))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ThisMachine describes the machine; LoadBefore is the load of now.
func ThisMachine() Machine {
	m := Machine{CPU: runtime.GOARCH, CPUs: runtime.NumCPU(), OS: runtime.GOOS, Go: runtime.Version(), LoadBefore: loadAverage()}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m // not Linux
	}
	for line := range strings.Lines(string(info)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			m.CPU = strings.Trim(name, " \t\n:")
			break
		}
	}
	return m
}

// loadAverage is that of the last minute; 0 where the system does not tell.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return v
}
