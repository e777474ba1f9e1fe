package ingest

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// A topic's compression.type decides how batches are stored, from the moment it is set; producer keeps what comes.
func TestBatchesGetTheCodecOfTheirTopic(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 1))
	w := dial(t, startServer(t, cluster).addr)
	part := record.Partition{Topic: testTopic("a", 1).ID}
	value := strings.Repeat("some text ", 100)
	sent := 0
	for setting, want := range map[string]record.Codec{"producer": record.Snappy, "uncompressed": record.None, "gzip": record.Gzip, "snappy": record.Snappy, "lz4": record.LZ4, "zstd": record.Zstd} {
		alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
		alter.Resources = append(alter.Resources, altering(aTopic, "a", "set compression.type="+setting, "set compression.gzip.level=9"))
		if got := ask[*kmsg.IncrementalAlterConfigsResponse](w, alter).Resources[0]; got.ErrorCode != 0 {
			t.Fatalf("%+v", got)
		}
		if got := ask[*kmsg.ProduceResponse](w, produceOf(9, "a", 0, batchOf(t, record.Snappy, value, value))).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.BaseOffset != int64(2*sent) {
			t.Fatalf("%s: %+v", setting, got)
		}
		sent++
		cluster.mu.Lock()
		stored := cluster.log[part][sent-1].batch
		cluster.mu.Unlock()
		if stored.Codec() != want {
			t.Errorf("%s: stored with %s, want %s", setting, stored.Codec(), want)
		}
	}
	for i, r := range cluster.records(part) {
		if string(r.Value) != value || r.Timestamp != int64(1000+i%2) {
			t.Errorf("record %d came out as %q at %d", i, r.Value, r.Timestamp)
		}
	}
}

// What fits only as it came is refused with the code upon which clients split the batch.
func TestABatchTooLargeUnderItsTopicsCodecIsRefused(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 1, "compression.type", "uncompressed", "max.message.bytes", "500"))
	w := dial(t, startServer(t, cluster).addr)
	batch := batchOf(t, record.Zstd, strings.Repeat("a", 1000))
	if len(batch) > 500 {
		t.Fatalf("the batch has %d bytes as it comes", len(batch))
	}
	got := ask[*kmsg.ProduceResponse](w, produceOf(9, "a", 0, batch)).Topics[0].Partitions[0]
	if got.ErrorCode != 10 || got.ErrorMessage == nil || !strings.Contains(*got.ErrorMessage, "compression.type") {
		t.Errorf("%+v", got)
	}
	var none metadata.Bounds
	if b, err := cluster.Bounds(record.Partition{Topic: testTopic("a", 1).ID}); err != nil || b != none {
		t.Errorf("%+v, %v", b, err)
	}
}
