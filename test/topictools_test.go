//go:build realworld

package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// kafkaConfigs runs kafka-configs, which lives in the broker's package.
func kafkaConfigs(t *testing.T, a *agent, args ...string) string {
	t.Helper()
	tool(t, "jars")
	jars := filepath.Join(os.Getenv("BARGE_TOOLS"), "jars", "*")
	return string(command(t, nil, nil, "java", append([]string{"-Xmx256m", "-cp", jars, "kafka.admin.ConfigCommand", "--bootstrap-server", a.brokers}, args...)...))
}

// Kafka's own tools make, describe, alter and grow a topic, and a client that is at work meanwhile goes on with what they changed.
func TestTopicsUnderKafkasTools(t *testing.T) {
	a := startAgent(t, fileBackend(t), "--flush-interval", "20ms")
	topics := func(args ...string) string {
		t.Helper()
		return string(java(t, nil, "TopicCommand", append([]string{"--bootstrap-server", a.brokers}, args...)...))
	}
	wants := func(what, out string, patterns ...string) {
		t.Helper()
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(out) {
				t.Errorf("%s printed no %q:\n%s", what, p, out)
			}
		}
	}
	topics("--create", "--topic", "tools", "--partitions", "2", "--config", "retention.ms=86400000")
	wants("kafka-topics --describe", topics("--describe", "--topic", "tools"), `PartitionCount: 2`, `Configs: retention.ms=86400000`, `Partition: 1\s+Leader: \d+`)

	cl, err := kgo.NewClient(kgo.SeedBrokers(a.brokers), kgo.DefaultProduceTopic("tools"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(8<<20), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	send := func(partition int32, size int) error {
		return cl.ProduceSync(ctx, &kgo.Record{Partition: partition, Key: []byte("k"), Value: []byte(strings.Repeat("x", size))}).FirstErr()
	}
	if err := send(1, 10); err != nil {
		t.Fatal(err)
	}
	if err := send(1, 4<<20); err == nil {
		t.Error("4 MiB were taken by a topic of 1 MiB")
	}

	out := kafkaConfigs(t, a, "--alter", "--entity-type", "topics", "--entity-name", "tools", "--add-config", "max.message.bytes=8388608,cleanup.policy=[compact,delete]", "--delete-config", "retention.ms")
	wants("kafka-configs --alter", out, `Completed updating config for topic tools`)
	out = kafkaConfigs(t, a, "--describe", "--entity-type", "topics", "--entity-name", "tools")
	wants("kafka-configs --describe", out, `max.message.bytes=8388608 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:max.message.bytes=8388608, DEFAULT_CONFIG:message.max.bytes=1048588\}`,
		`cleanup.policy=compact,delete `)
	if strings.Contains(out, "retention.ms=") {
		t.Errorf("retention.ms is still set:\n%s", out)
	}
	wants("kafka-configs --describe --all", kafkaConfigs(t, a, "--describe", "--all", "--entity-type", "topics", "--entity-name", "tools"),
		`retention.ms=604800000 `, `segment.bytes=1073741824 sensitive=false synonyms=\{DEFAULT_CONFIG:log.segment.bytes=1073741824\}`, `barge.table.enable=true `)
	if err := send(1, 4<<20); err != nil {
		t.Errorf("4 MiB after the topic was told to take 8: %v", err)
	}
	err = cl.ProduceSync(ctx, &kgo.Record{Partition: 1, Value: []byte("without a key")}).FirstErr()
	if err == nil || !strings.Contains(err.Error(), "INVALID_RECORD") {
		t.Errorf("a record without a key to a topic that is compacted by now: %v, want INVALID_RECORD", err)
	}

	topics("--alter", "--topic", "tools", "--partitions", "2500")
	out = topics("--describe", "--topic", "tools") // in two pages
	wants("kafka-topics --describe", out, `PartitionCount: 2500`)
	for _, p := range []int{0, 1, 1999, 2000, 2499} {
		wants("kafka-topics --describe", out, fmt.Sprintf(`Partition: %d\s`, p))
	}
	waitFor(t, 30*time.Second, "the client to hear of the new partitions", func() bool { return send(2499, 10) == nil })
	wants("kafka-get-offsets", string(java(t, nil, "GetOffsetShell", "--bootstrap-server", a.brokers, "--topic", "tools")), `tools:1:2`, `tools:2499:[1-9]`)

	out = string(java(t, nil, "LogDirsCommand", "--bootstrap-server", a.brokers, "--describe", "--topic-list", "tools"))
	wants("kafka-log-dirs", out, `"logDir":"object-store"`, `"partition":"tools-1","size":4\d{6},`)
	wants("kafka-reassign-partitions", string(java(t, nil, "reassign.ReassignPartitionsCommand", "--bootstrap-server", a.brokers, "--list")), `No partition reassignments found`)
	wants("kafka-configs of brokers", kafkaConfigs(t, a, "--describe", "--all", "--entity-type", "brokers", "--entity-name", "1"), `auto.create.topics.enable=`, `log.retention.ms=604800000`)
}
