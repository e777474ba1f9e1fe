package bench_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/bench"
)

// tiny is a run of a few MB.
func tiny() bench.Config {
	c := bench.DefaultConfig()
	c.Partitions, c.Connections, c.InFlight = 4, 2, 16
	c.Duration, c.Warmup, c.TotalBytes = 10*time.Second, 0, 4<<20
	c.Verify = true
	c.AgentArgs = []string{"--flush-interval", "20ms"}
	return c
}

func parts() bench.Parts {
	return bench.Parts{Environ: append(os.Environ(), childVariable+"=1"), Commit: "c0ffee", Version: "test"}
}

// checkMeasure holds a measurement of written bytes against what must be true of it on any machine.
func checkMeasure(t *testing.T, m bench.Measure) {
	t.Helper()
	if m.Failed != nil {
		t.Errorf("requests failed: %v", m.Failed)
	}
	if m.Bytes < 3<<20 || m.Bytes > 4<<20 || m.Requests < 48 || m.Requests > 65 {
		t.Errorf("%d bytes in %d requests, want close to 4 MiB in batches of 64 KiB", m.Bytes, m.Requests)
	}
	if perRecord := float64(m.Bytes) / float64(m.Records); perRecord < 1024 || perRecord > 1024+24 {
		t.Errorf("%.1f bytes a record, want a little more than the value's 1024", perRecord)
	}
	for name, v := range map[string]float64{
		"seconds": m.Seconds, "MB/s": m.MBPerSecond, "allocated": m.AllocBytesPerRecord,
		"mallocs": m.MallocsPerRecord, "resident": m.ResidentMB, "PUTs": m.PutsPerGiB, "p50": m.P50Millis, "load's CPU": m.LoadCPUSecondsPerGiB,
	} {
		if !(v > 0) || math.IsInf(v, 0) {
			t.Errorf("%s is %v", name, v)
		}
	}
	// The system tells the agent's CPU in hundredths of a second, of which this may take none.
	if !(m.CPUSecondsPerGiB >= 0) || m.CPUSecondsPerGiB > 1000 {
		t.Errorf("%v CPU-s/GiB", m.CPUSecondsPerGiB)
	}
	if m.P50Millis > m.P99Millis || m.P99Millis > m.P999Millis || m.P999Millis > 1000*m.Seconds {
		t.Errorf("latencies %v, %v, %v ms in %v s", m.P50Millis, m.P99Millis, m.P999Millis, m.Seconds)
	}
}

func TestProduceRunHoldsTheAgentAgainstTheFloor(t *testing.T) {
	cfg := tiny()
	cfg.Floor = true
	result, err := bench.Produce(t.Context(), cfg, parts())
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Blocks) != 1 || len(result.Blocks[0].Agent) != 2 || len(result.Blocks[0].Floor) != 2 {
		t.Fatalf("blocks %+v, want one of floor, agent, floor, agent", result.Blocks)
	}
	var records int64
	for _, m := range result.Blocks[0].Agent {
		checkMeasure(t, m)
		records += m.Records
	}
	for _, m := range result.Blocks[0].Floor {
		checkMeasure(t, m)
	}
	if result.Records != records || len(result.ContentHash) != 16 {
		t.Errorf("%d records with hash %q, the blocks have %d", result.Records, result.ContentHash, records)
	}
	if result.Floor == nil || !(result.Floor.CPUSecondsPerGiB > 0) || !(result.CPURatio >= 0) || !(result.RateRatio > 0) {
		t.Errorf("floor %+v, ratios %v and %v", result.Floor, result.CPURatio, result.RateRatio)
	}
	// What a WAL object costs is known: one PUT for the object and one for the log entry that commits it.
	if puts := result.Agent.PutsPerGiB * float64(result.Agent.Bytes) / (1 << 30); puts < 2 || puts > 200 {
		t.Errorf("%.1f PUTs for %d bytes", puts, result.Agent.Bytes)
	}
	if result.Agent.GetsPerGiB != 0 {
		t.Errorf("%.1f GETs a GiB while nobody reads", result.Agent.GetsPerGiB)
	}

	text, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	var back bench.Result
	for _, name := range []string{
		`"scenario":"produce"`, `"commit":"c0ffee"`, `"codec":"none"`, `"cpu_seconds_per_gib":`, `"alloc_bytes_per_record":`, `"puts_per_gib":`,
		`"p50_ms":`, `"p99_ms":`, `"p999_ms":`, `"cpu_ratio_to_floor":`, `"load_average_before":`,
	} {
		if !bytes.Contains(text, []byte(name)) {
			t.Errorf("the result has no %s: %s", name, text)
		}
	}
	if err := json.Unmarshal(text, &back); err != nil || back.Agent.CPUSecondsPerGiB != result.Agent.CPUSecondsPerGiB {
		t.Errorf("read back: %v, %+v", err, back.Agent)
	}
	var summary strings.Builder
	if err := result.WriteSummary(&summary); err != nil || !strings.Contains(summary.String(), "times that of the floor") {
		t.Errorf("summary %v: %s", err, summary.String())
	}
}

func TestIdempotentProducersAreServed(t *testing.T) {
	cfg := tiny()
	cfg.Idempotent = true
	cfg.InFlight = 5 // what brokers remember of a producer
	result, err := bench.Produce(t.Context(), cfg, parts())
	if err != nil {
		t.Fatal(err)
	}
	checkMeasure(t, result.Agent)
}

func TestWhatIsReadIsWhatWasWritten(t *testing.T) {
	cfg := tiny()
	cfg.KeepBytes, cfg.Consumers = 64<<20, 3
	result, err := bench.Consume(t.Context(), cfg, parts()) // which compares hashes
	if err != nil {
		t.Fatal(err)
	}
	m := result.Agent
	if m.Bytes < 3<<20 || m.GetsPerGiB == 0 || m.PutsPerGiB != 0 || !(m.ReadMBPerSecond > 0) {
		t.Errorf("%d bytes, %v GETs and %v PUTs a GiB, %v MB/s: want the topic read from the store", m.Bytes, m.GetsPerGiB, m.PutsPerGiB, m.ReadMBPerSecond)
	}
}

func TestTailIsReadByEveryConsumer(t *testing.T) {
	cfg := tiny()
	cfg.KeepBytes, cfg.Consumers, cfg.Tail = 64<<20, 2, true
	result, err := bench.Consume(t.Context(), cfg, parts()) // which compares hashes
	if err != nil {
		t.Fatal(err)
	}
	m := result.Agent
	// Asking for the ends of partitions takes a look at the log.
	if gets := m.GetsPerGiB * float64(m.Bytes) / (1 << 30); result.Records != 2*m.Records || gets > 4 {
		t.Errorf("%d records read of %d written, %.0f GETs: want all of them twice, from memory", result.Records, m.Records, gets)
	}
}

func TestAnAgentThatCannotStartIsQuoted(t *testing.T) {
	cfg := tiny()
	cfg.AgentArgs = []string{"--flush-interval", "never"}
	_, err := bench.Produce(t.Context(), cfg, parts())
	if err == nil || !strings.Contains(err.Error(), "--flush-interval") {
		t.Errorf("got %v, want the agent's own words", err)
	}
}

// TestMemoryThatIsUsedAgainNeverShowsInAnswers: objects leave the tail while consumers read them, and their memory is
// written to again. The consumers check every batch's CRC and every record's hash.
func TestMemoryThatIsUsedAgainNeverShowsInAnswers(t *testing.T) {
	cfg := tiny()
	cfg.KeepBytes, cfg.TotalBytes, cfg.Consumers, cfg.Tail, cfg.Payload = 256<<20, 48<<20, 3, true, bench.PayloadRandom
	cfg.AgentArgs = []string{"--inline-bytes", "0", "--flush-bytes", "128KiB", "--cache-bytes", "400KiB"}
	result, err := bench.Consume(t.Context(), cfg, parts()) // which compares hashes
	if err != nil {
		t.Fatal(err)
	}
	if want := 3 * result.Agent.Records; result.Records != want || result.Agent.Bytes < 40<<20 {
		t.Errorf("%d records read, want %d", result.Records, want)
	}
}
