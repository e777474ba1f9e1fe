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
	for seed := range uint64(3) {
		var first, second bytes.Buffer
		a := Run(Config{Seed: seed + 1, Trace: &first})
		b := Run(Config{Seed: seed + 1, Trace: &second})
		if a.Trace != b.Trace || a.Steps != b.Steps || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("seed %d took %d steps to %016x and then %d steps to %016x", seed+1, a.Steps, a.Trace, b.Steps, b.Trace)
		}
		if c := Run(Config{Seed: seed + 100}); c.Trace == a.Trace {
			t.Errorf("seeds %d and %d have the same trace", seed+1, seed+100)
		}
	}
}

func TestRegressionSeedsAreClean(t *testing.T) {
	for _, seed := range regressions() {
		if r := Run(Config{Seed: seed}); len(r.Violations) > 0 {
			t.Errorf("seed %d: %v", seed, r.Violations)
		}
	}
}

// Worlds are clean, and each kind of fault and event is met, so that a clean run says something.
func TestWorldsAreClean(t *testing.T) {
	seeds := 400
	if testing.Short() {
		seeds = 80
	}
	total := Many(t.Context(), 1, seeds, 0, runtime.GOMAXPROCS(0), time.Now, func(r Result) {
		t.Errorf("seed %d: %v", r.Seed, r.Violations)
	})
	t.Log(total.String())
	for _, fault := range []string{"fail_before", "fail_after", "late", "landed", "conflict_before", "conflict_after", "own_exists", "own_exists_marked", "truncate", "torn", "delay", "unavailable", "no_date"} {
		if total.Faults[fault] == 0 {
			t.Errorf("no world met the fault %s", fault)
		}
	}
	for _, event := range []string{
		"agents fenced", "agents killed", "agents paused", "agents stopped", "agents started beside another", "answers lost", "batches acknowledged", "batches given up", "commits answered to nobody",
		"batches not written", "batches of unknown outcome", "compactions", "objects regrouped", "objects deleted", "objects committed", "objects committed inline", "foreign slots refused", "records polled", "sessions sealed", "snapshots damaged",
		"starts from a snapshot", "table versions projected", "topics deleted", "slots truncated", "slow answers", "batches judged later", "requests on their way",
	} {
		if total.Counts[event] == 0 {
			t.Errorf("no world saw: %s", event)
		}
	}
}
