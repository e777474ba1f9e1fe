package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Total sums up many worlds.
type Total struct {
	Seeds, Steps   int
	Faults, Counts map[string]int
	Worlds         map[Kind]int
	Stalls         []int64  // of all worlds, ascending
	Failed         []Result // with violations, by seed; at most maxFailed
	Bad            int      // how many there were
	Took           time.Duration
}

// maxFailed bounds how many failed worlds are kept.
const maxFailed = 20

// Many runs the worlds of cfg's and the following seeds, workers at a time, count of them or, with count 0, until ctx ends. Worlds share nothing, so
// what each comes to does not depend on the others. report, when set, hears of each failed one, one at a time.
func Many(ctx context.Context, cfg Config, count, workers int, now func() time.Time, report func(Result)) Total {
	began := now()
	total := Total{Faults: map[string]int{}, Counts: map[string]int{}, Worlds: map[Kind]int{}}
	from, next := cfg.Seed, cfg.Seed
	var mu sync.Mutex
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil || count > 0 && next-from >= uint64(count) {
			return 0, false
		}
		next++
		return next - 1, true
	}
	add := func(r Result) {
		mu.Lock()
		defer mu.Unlock()
		total.Seeds++
		total.Steps += r.Steps
		total.Worlds[r.Kind]++
		total.Stalls = append(total.Stalls, r.Stalls...)
		for k, n := range r.Faults {
			total.Faults[k] += n
		}
		for k, n := range r.Counts {
			total.Counts[k] += n
		}
		if len(r.Violations) == 0 {
			return
		}
		total.Bad++
		if len(total.Failed) < maxFailed {
			total.Failed = append(total.Failed, r)
		}
		if report != nil {
			report(r)
		}
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { //nolint:contextcheck // a world has no end from outside
			for seed, ok := take(); ok; seed, ok = take() {
				one := cfg
				one.Seed = seed
				add(Run(one))
			}
		})
	}
	wg.Wait()
	slices.SortFunc(total.Failed, func(a, b Result) int { return cmp.Compare(a.Seed, b.Seed) })
	slices.Sort(total.Stalls)
	total.Took = now().Sub(began)
	return total
}

// String tells what the worlds came to.
func (t *Total) String() string {
	kinds := map[string]int{}
	for k, n := range t.Worlds {
		kinds[k.String()] = n
	}
	stalls := ""
	if n := len(t.Stalls); n > 0 {
		stalls = fmt.Sprintf("producers heard nothing after a sequencer's death for, of %d: median %d ms, of 100 at most %d ms in 99, worst %d ms\n", n, t.Stalls[n/2], t.Stalls[n*99/100], t.Stalls[n-1])
	}
	return fmt.Sprintf("%d seeds, %d failed, in %.1f s: %.1f seeds/s, %d steps\nworlds: %s\n%sfaults injected: %s\nwhat happened: %s\n",
		t.Seeds, t.Bad, t.Took.Seconds(), float64(t.Seeds)/max(t.Took.Seconds(), 1e-9), t.Steps, listed(kinds), stalls, listed(t.Faults), listed(t.Counts))
}

// String tells what one world came to.
func (r *Result) String() string {
	var b strings.Builder
	verdict := "ok"
	if len(r.Violations) > 0 {
		verdict = fmt.Sprintf("FAILED, %d violations", len(r.Violations))
	}
	fmt.Fprintf(&b, "seed %d: %s, %s, %d steps, trace %016x\n", r.Seed, verdict, r.Kind, r.Steps, r.Trace)
	for i, v := range r.Violations {
		if i == 10 {
			b.WriteString("  ...\n")
			break
		}
		fmt.Fprintf(&b, "  %s\n", v)
	}
	return b.String()
}

func listed(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}
