package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/record"
)

// Config says what load is made, and for how long. Sizes are bytes. Start from DefaultConfig.
type Config struct {
	// Brokers are the agents of a cluster that runs already. Empty: an agent and a store are started for the run.
	Brokers []string `json:"brokers,omitempty"`
	// MetricsURL is where an agent of Brokers tells its metrics, such as http://127.0.0.1:8080/metrics. Empty: nothing is
	// known of its CPU, memory and requests.
	MetricsURL string `json:"metrics_url,omitempty"`

	Topic       string `json:"topic"` // made when it is missing
	Partitions  int    `json:"partitions"`
	Connections int    `json:"connections"` // each sends to all partitions of one broker in turn
	InFlight    int    `json:"in_flight"`   // requests of one connection that wait for their answer

	BatchBytes  int          `json:"batch_bytes"`  // of a record batch before it is compressed
	RecordBytes int          `json:"record_bytes"` // of a record's value
	Codec       record.Codec `json:"codec"`
	Payload     Payload      `json:"payload"`
	Idempotent  bool         `json:"idempotent"` // a producer id for each connection, sequences and checksums made as it goes
	Seed        uint64       `json:"seed"`

	Duration   time.Duration `json:"duration_ns"`           // of one measurement
	Warmup     time.Duration `json:"warmup_ns"`             // of load before the first, not measured
	TotalBytes int64         `json:"total_bytes"`           // a measurement ends when so much was sent
	Rate       int64         `json:"rate_bytes_per_second"` // bytes a second over all connections; 0: as fast as it goes. Latencies then count from when a request was due

	Blocks int  `json:"blocks"` // measurements, or with Floor blocks of floor, agent, floor, agent
	Floor  bool `json:"floor"`  // hold the agent against the floor

	Latency   Profile  `json:"store_latency"`        // of the store that is started
	KeepBytes int64    `json:"keep_bytes"`           // of WAL objects that the store keeps; 0: none. Reading needs them
	Verify    bool     `json:"store_verifies"`       // the store checks bodies against their checksum header, as S3 does
	AgentArgs []string `json:"agent_args,omitempty"` // further flags for the agent that is started
	Profile   string   `json:"-"`                    // file for a CPU profile of the agent that is started, over its first measurement

	Consumers int  `json:"consumers"` // of a consume run: connections that read
	Tail      bool `json:"tail"`      // of a consume run: read what is being written, not what lies there
}

// DefaultConfig is the load of the house's target: batches of 64 KiB in plain text, records of 1 KiB, logs.
func DefaultConfig() Config {
	return Config{
		Topic: "bench", Partitions: 16, Connections: 16, InFlight: 32,
		BatchBytes: 64 << 10, RecordBytes: 1 << 10, Codec: record.None, Payload: PayloadLogs, Seed: 1,
		Duration: 4 * time.Second, Warmup: time.Second, TotalBytes: 16 << 30, Blocks: 1, Latency: ProfileZero, Consumers: 4,
	}
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var errs []error
	for _, v := range []struct {
		name        string
		v, min, max int64
	}{
		{"partitions", int64(c.Partitions), 1, 100_000},
		{"connections", int64(c.Connections), 1, 10_000},
		{"in-flight", int64(c.InFlight), 1, 10_000},
		{"batch-bytes", int64(c.BatchBytes), 256, 64 << 20},
		{"record-bytes", int64(c.RecordBytes), 1, int64(c.BatchBytes)},
		{"duration", int64(c.Duration), int64(10 * time.Millisecond), int64(time.Hour)},
		{"warmup", int64(c.Warmup), 0, int64(time.Hour)},
		{"total-bytes", c.TotalBytes, 1, 1 << 50},
		{"rate", c.Rate, 0, 1 << 50},
		{"blocks", int64(c.Blocks), 1, 100},
		{"keep-bytes", c.KeepBytes, 0, 64 << 30},
		{"consumers", int64(c.Consumers), 1, 10_000},
	} {
		if v.v < v.min || v.v > v.max {
			errs = append(errs, fmt.Errorf("%s %d: want %d to %d", v.name, v.v, v.min, v.max))
		}
	}
	if c.Topic == "" {
		errs = append(errs, errors.New("no topic"))
	}
	if !c.Codec.Known() {
		errs = append(errs, fmt.Errorf("codec %s is not known", c.Codec))
	}
	if c.Floor && len(c.Brokers) > 0 {
		errs = append(errs, errors.New("the floor needs the same store as the agent: leave brokers out"))
	}
	if c.Floor && c.Idempotent {
		errs = append(errs, errors.New("the floor knows no producers: leave idempotent out"))
	}
	return errors.Join(errs...)
}
