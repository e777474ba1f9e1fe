package sim

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

// regressions are seeds that found something once, with what it was. A change to the world moves what a seed does, so each bug also has
// a test of its own where it was; the seeds stay because they cost little and wander near.
func regressions() []uint64 {
	return []uint64{
		56,   // a late writer in a dropped table's log
		165,  // more jobs than rounds at the end
		3294, // a snapshot that landed late, below the boundary
		253,  // a slot written late below the boundary, and deleted with the others
		6572, // a request that arrived when the batcher had forgotten that the batch before it was not written
	}
}

func TestOneSeedIsOneTrace(t *testing.T) {
	for _, kind := range []Kind{Single, Cluster, Stalled} {
		for seed := range uint64(3) {
			var first, second bytes.Buffer
			cfg := Config{Seed: seed + 1, Kind: kind}
			cfg.Trace = &first
			a := Run(cfg)
			cfg.Trace = &second
			b := Run(cfg)
			if a.Trace != b.Trace || a.Steps != b.Steps || !bytes.Equal(first.Bytes(), second.Bytes()) {
				t.Errorf("%s, seed %d took %d steps to %016x and then %d steps to %016x", kind, seed+1, a.Steps, a.Trace, b.Steps, b.Trace)
			}
			if c := Run(Config{Seed: seed + 100, Kind: kind}); c.Trace == a.Trace {
				t.Errorf("%s, seeds %d and %d have the same trace", kind, seed+1, seed+100)
			}
		}
	}
}

// A seed alone chooses the kind of its world.
func TestSeedsMixTheKinds(t *testing.T) {
	kinds := map[Kind]int{}
	for seed := range uint64(80) {
		cfg := Config{Seed: seed}
		kinds[cfg.kind()]++
	}
	if kinds[Single] != 20 || kinds[Cluster] != 50 || kinds[Stalled] != 10 {
		t.Errorf("of 80 seeds: %v", kinds)
	}
	for _, k := range []Kind{Mixed, Single, Cluster, Stalled} {
		if got, err := ParseKind(k.String()); err != nil || got != k {
			t.Errorf("%s is read as %s, %v", k, got, err)
		}
	}
	if _, err := ParseKind("round"); err == nil {
		t.Error("there is a kind of worlds named round")
	}
}

func TestRegressionSeedsAreClean(t *testing.T) {
	for _, seed := range regressions() {
		if r := Run(Config{Seed: seed, Kind: Single}); len(r.Violations) > 0 {
			t.Errorf("seed %d: %v", seed, r.Violations)
		}
	}
}

// Worlds are clean, and each kind of fault and event is met, so that a clean run says something.
func TestWorldsAreClean(t *testing.T) {
	for _, c := range []struct {
		kind         Kind
		seeds, short int
		faults       []string
		events       []string
	}{
		{
			Single, 400, 80,
			[]string{"fail_before", "fail_after", "late", "landed", "conflict_before", "conflict_after", "own_exists", "own_exists_marked", "truncate", "torn", "delay", "unavailable", "no_date"},
			[]string{
				"agents fenced", "agents killed", "agents paused", "agents stopped", "agents started beside another", "answers lost", "batches acknowledged", "batches given up", "commits answered to nobody",
				"batches not written", "batches of unknown outcome", "compactions", "objects regrouped", "objects deleted", "objects committed", "objects committed inline", "foreign slots refused", "records polled", "sessions sealed", "snapshots damaged",
				"starts from a snapshot", "table versions projected", "topics deleted", "topics altered", "topics grown", "slots truncated", "slow answers", "batches judged later", "requests on their way",
			},
		},
		{
			Cluster, 300, 60,
			[]string{"fail_before", "fail_after", "late", "landed", "conflict_before", "conflict_after", "own_exists", "own_exists_marked", "truncate", "torn", "delay", "unavailable", "no_date"},
			[]string{
				"agents fenced", "agents killed", "agents paused", "agents drained", "answers lost", "batches acknowledged", "batches given up", "batches not written", "batches of unknown outcome", "batches judged later",
				"clocks set", "compactions", "connections reset", "cuts", "ends asked for", "messages lost", "objects committed", "objects committed inline", "objects deleted", "objects regrouped", "records polled",
				"assignments learned", "group shards claimed", "groups saved", "members killed", "members left", "members paused", "offsets committed", "offsets fetched",
				"sequencers deposed", "sessions opened again", "sessions sealed", "snapshots damaged", "store calls cut off", "table versions projected", "terms taken over", "topics deleted", "topics altered", "topics grown", "slots truncated",
				"objects read from their keepers", "objects handed to their keepers", "keepers that were too slow", "answers about objects gone wrong", "reads while nobody failed", "upkeep shared to its end",
			},
		},
		{
			Stalled, 60, 12, nil,
			[]string{"sequencers killed", "stalls watched", "batches acknowledged", "terms taken over", "sessions sealed"},
		},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			seeds := c.seeds
			if testing.Short() {
				seeds = c.short
			}
			total := Many(t.Context(), Config{Seed: 1, Kind: c.kind}, seeds, runtime.GOMAXPROCS(0), time.Now, func(r Result) {
				t.Errorf("seed %d: %v", r.Seed, r.Violations)
			})
			t.Log(total.String())
			for _, fault := range c.faults {
				if total.Faults[fault] == 0 {
					t.Errorf("no world met the fault %s", fault)
				}
			}
			for _, event := range c.events {
				if total.Counts[event] == 0 {
					t.Errorf("no world saw: %s", event)
				}
			}
		})
	}
}
