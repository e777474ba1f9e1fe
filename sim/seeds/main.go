// Command seeds runs simulated clusters: one by its seed, or many on all cores.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/bargedata/barge/sim"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

func run(args []string, out io.Writer) int {
	flags := flag.NewFlagSet("seeds", flag.ContinueOnError)
	flags.SetOutput(out)
	seed := flags.Uint64("seed", 0, "run this world alone and print its trace hash")
	from := flags.Uint64("from", 1, "first seed of many")
	count := flags.Int("count", 1000, "how many seeds; 0: until -for has passed")
	limit := flags.Duration("for", 0, "start no more seeds after this time; 0: no limit")
	steps := flags.Int("steps", 0, "steps of a world before its faults end; 0: 2,500, of a cluster 8,000, or 12,000 where it has groups, of a stall 12,000")
	kindName := flags.String("kind", "mixed", "of the worlds: single, cluster, stall, or mixed, where the seed chooses")
	workers := flags.Int("workers", runtime.NumCPU(), "worlds at a time")
	first := flags.Bool("first", false, "of many: stop at the failed world with the lowest seed")
	trace := flags.Bool("trace", false, "with -seed: print every step")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	kind, err := sim.ParseKind(*kindName)
	if err != nil {
		_, _ = fmt.Fprintln(out, err)
		return 2
	}
	if *seed > 0 {
		cfg := sim.Config{Seed: *seed, Kind: kind, Steps: *steps}
		if *trace {
			cfg.Trace = out
		}
		r := sim.Run(cfg)
		_, _ = fmt.Fprint(out, r.String())
		return status(len(r.Violations))
	}
	if *count == 0 && *limit == 0 {
		_, _ = fmt.Fprintln(out, "-count 0 needs -for: it would never end")
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if *limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, *limit)
		defer cancel()
	}
	total := sim.Many(ctx, sim.Config{Seed: *from, Kind: kind, Steps: *steps}, *count, *workers, time.Now, func(r sim.Result) {
		if *first {
			cancel() // those under way come to their end: the lowest is among them, whichever fails first
			return
		}
		_, _ = fmt.Fprint(out, r.String())
	})
	if *first && len(total.Failed) > 0 {
		_, _ = fmt.Fprint(out, total.Failed[0].String())
	}
	_, _ = fmt.Fprint(out, total.String())
	if total.Seeds == 0 {
		_, _ = fmt.Fprintln(out, "no seed was run")
		return 1
	}
	return status(total.Bad)
}

func status(bad int) int {
	if bad > 0 {
		return 1
	}
	return 0
}
