package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Names of the counters that every process of a run tells of itself; the agent's are those of Prometheus' Go client.
const (
	counterCPU        = "process_cpu_seconds_total"
	counterAllocBytes = "go_memstats_alloc_bytes_total"
	counterMallocs    = "go_memstats_mallocs_total"
	counterRSS        = "process_resident_memory_bytes"
	counterGC         = "go_gc_duration_seconds_count"
)

// counters are the metrics of a process, by name and labels as Prometheus writes them.
type counters map[string]float64

// sum adds up all series of a name whose labels contain all of with.
func (c counters) sum(name string, with ...string) (total float64) {
	for series, v := range c {
		base, labels, _ := strings.Cut(series, "{")
		if base != name || slices.ContainsFunc(with, func(w string) bool { return !strings.Contains(labels, w) }) {
			continue
		}
		total += v
	}
	return total
}

// since is the growth of every series.
func (c counters) since(earlier counters) counters {
	grown := make(counters, len(c))
	for series, v := range c {
		grown[series] = v - earlier[series]
	}
	return grown
}

// scrape reads the metrics at url.
func scrape(ctx context.Context, url string) (counters, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s answers %s", url, resp.Status)
	}
	out, err := parseCounters(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("metrics at %s: %w", url, err)
	}
	return out, nil
}

// parseCounters reads Prometheus' text format. Lines that hold no number are passed over.
func parseCounters(r io.Reader) (counters, error) {
	out := make(counters)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			out[line[:at]] = v
		}
	}
	return out, lines.Err()
}

// ownCounters are those of this process.
func ownCounters() counters {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/allocs:objects"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(samples)
	out := counters{
		counterAllocBytes: float64(samples[0].Value.Uint64()),
		counterMallocs:    float64(samples[1].Value.Uint64()),
		counterGC:         float64(samples[2].Value.Uint64()),
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err == nil { // it fails only on a wrong argument
		out[counterCPU] = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
		out[counterRSS] = float64(usage.Maxrss) * 1024 // the most it ever had
	}
	return out
}

// serveCounters tells what this process counts, its own counters and those of more.
func serveCounters(more func() map[string]float64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		all := ownCounters()
		if more != nil {
			maps.Copy(all, more())
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		for _, series := range slices.Sorted(maps.Keys(all)) {
			_, _ = fmt.Fprintf(w, "%s %g\n", series, all[series]) // the asker is gone: nobody to tell
		}
	})
}
