package scale

import (
	"errors"
	"fmt"
	"time"
)

// Config is one run. Start from DefaultConfig.
type Config struct {
	Agents     int   `json:"agents"`
	Zones      int   `json:"zones"`
	Topics     int   `json:"topics"`
	Partitions int   `json:"partitions"`            // in all topics together
	Rate       int64 `json:"rate_bytes_per_second"` // of all producers together
	Idempotent bool  `json:"idempotent"`            // one idempotent producer for each partition

	Load          time.Duration `json:"load_ns"` // of virtual time
	FlushInterval time.Duration `json:"flush_interval_ns"`
	FlushBytes    int64         `json:"flush_bytes"`
	Append        time.Duration `json:"append_ns"`                     // what the store takes for an entry of the log
	CompactRate   int64         `json:"compact_rate_bytes_per_second"` // what each compactor reads and writes; 0: nothing is compacted
	Compactors    int           `json:"compactors"`                    // agents that compact

	HeapLimit int64 `json:"heap_limit_bytes"` // the load ends early above it
	Everybody bool  `json:"everybody_leads"`  // all agents of a zone lead partitions, and not as many as its load asks for
}

// DefaultConfig is 100 agents of three zones with 10,000 partitions and 1 GB/s.
func DefaultConfig() Config {
	return Config{
		Agents: 100, Zones: 3, Topics: 1000, Partitions: 10_000, Rate: 1e9, Idempotent: true,
		Load: 2 * time.Minute, FlushInterval: 250 * time.Millisecond, FlushBytes: 8 << 20,
		Append: 50 * time.Millisecond, CompactRate: 200e6, Compactors: 100, HeapLimit: 4 << 30,
	}
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	for _, v := range []struct {
		name        string
		v, min, max int64
	}{
		{"agents", int64(c.Agents), 1, 10_000},
		{"zones", int64(c.Zones), 1, int64(max(c.Agents, 1))},
		{"topics", int64(c.Topics), 1, 1_000_000},
		{"partitions", int64(c.Partitions), int64(c.Topics), 10_000_000},
		{"rate", c.Rate, 1, 1e12},
		{"load", int64(c.Load), int64(time.Second), int64(time.Hour)},
		{"flush-interval", int64(c.FlushInterval), int64(time.Millisecond), int64(time.Minute)},
		{"flush-bytes", c.FlushBytes, 1 << 10, 64 << 20},
		{"append", int64(c.Append), int64(time.Millisecond), int64(time.Minute)},
		{"compactors", int64(c.Compactors), 1, int64(max(c.Agents, 1))},
		{"compact-rate", c.CompactRate, 0, 1e12},
		{"heap-limit", c.HeapLimit, 64 << 20, 1 << 40},
	} {
		if v.v < v.min || v.v > v.max {
			errs = append(errs, fmt.Errorf("%s %d: want %d to %d", v.name, v.v, v.min, v.max))
		}
	}
	return errors.Join(errs...)
}

// The batches of a partition hold a tenth of a second of what it gets, within these bounds.
const (
	minBatch = 512
	maxBatch = 16 << 10
)

// batchBytes is the size of every batch of the run.
func (c Config) batchBytes() int64 {
	return min(max(c.Rate/int64(c.Partitions)/10, minBatch), maxBatch)
}
