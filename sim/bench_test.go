package sim

import "testing"

// BenchmarkWorld is what a seed costs: some 45 ms of a core, most of it Parquet.
func BenchmarkWorld(b *testing.B) {
	seed := uint64(0)
	for b.Loop() {
		seed++
		if r := Run(Config{Seed: seed}); len(r.Violations) > 0 {
			b.Fatalf("seed %d: %v", seed, r.Violations)
		}
	}
}
