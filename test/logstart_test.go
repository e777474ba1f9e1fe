//go:build realworld

package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// offsetsAt is what kafka-get-offsets prints of a topic's partition 0: nothing where there is no offset.
func offsetsAt(t *testing.T, a *agent, topic, at string) string {
	t.Helper()
	out := strings.TrimSpace(string(java(t, nil, "GetOffsetShell", "--bootstrap-server", a.brokers, "--topic", topic, "--time", at)))
	offset, ok := strings.CutPrefix(out, topic+":0:")
	if !ok && out != "" {
		t.Fatalf("kafka-get-offsets --time %s printed %q", at, out)
	}
	return offset
}

// Kafka's own tools delete records and look offsets up; a Java consumer whose position is gone goes on from the new start; retention takes
// what is too old as soon as the topic says so; and the table keeps every row.
func TestLogStartsUnderKafkasTools(t *testing.T) {
	b := fileBackend(t)
	args := []string{"--table-commit-interval", "300ms", "--retention-check-interval", "300ms", "--release-grace", "1s", "--flush-interval", "20ms"}
	a := startAgent(t, b, args...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(a.brokers), kgo.DefaultProduceTopic("cut"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	forEver := "-1" // the timestamps are years old
	if _, err := adm.CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": &forEver}, "cut"); err != nil {
		t.Fatal(err)
	}
	const first = 1_600_000_000_000
	var records []*kgo.Record
	for i := range 100 {
		r := &kgo.Record{Value: fmt.Appendf(nil, "record %02d", i), Timestamp: time.UnixMilli(first + 1000*int64(i))}
		if i == 70 { // not the last one
			r.Timestamp = time.UnixMilli(first + 500_000)
		}
		records = append(records, r)
	}
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	waitForRows(t, b, "cut", 100)
	// A group stands at 10, where there will be nothing.
	commit := kadm.Offsets{}
	commit.Add(kadm.Offset{Topic: "cut", Partition: 0, At: 10, LeaderEpoch: -1})
	if err := adm.CommitAllOffsets(ctx, "readers", commit); err != nil {
		t.Fatal(err)
	}

	file := filepath.Join(t.TempDir(), "offsets.json")
	if err := os.WriteFile(file, []byte(`{"version": 1, "partitions": [{"topic": "cut", "partition": 0, "offset": 40}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out := string(java(t, nil, "DeleteRecordsCommand", "--bootstrap-server", a.brokers, "--offset-json-file", file))
	if !strings.Contains(out, "low_watermark: 40") {
		t.Fatalf("kafka-delete-records printed:\n%s", out)
	}
	for at, want := range map[string]string{
		"-2": "40", "earliest": "40", "-1": "100", "-3": "70", "max-timestamp": "70", "-4": "40",
		fmt.Sprint(first): "40", fmt.Sprint(first + 40_000): "40", fmt.Sprint(first + 40_001): "41", fmt.Sprint(first + 99_000): "70",
		fmt.Sprint(first + 500_001): "",
	} {
		if got := offsetsAt(t, a, "cut", at); got != want {
			t.Errorf("kafka-get-offsets --time %s: %q, want %q", at, got, want)
		}
	}
	got := strings.Split(strings.TrimSpace(string(java(t, nil, "consumer.ConsoleConsumer", "--bootstrap-server", a.brokers, "--topic", "cut",
		"--group", "readers", "--from-beginning", "--max-messages", "60", "--timeout-ms", "60000"))), "\n")
	if len(got) != 60 || got[0] != "record 40" || got[59] != "record 99" {
		t.Errorf("the Java consumer read %d lines, from %q to %q; want records 40 to 99", len(got), got[0], got[len(got)-1])
	}
	out = string(java(t, nil, "TransactionsCommand", "--bootstrap-server", a.brokers, "describe-producers", "--topic", "cut", "--partition", "0"))
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 || !slices.Contains(strings.Fields(lines[1]), "99") {
		t.Errorf("kafka-transactions describe-producers printed:\n%s", out)
	}

	// The topic now says that a second is enough.
	second := "1000"
	altered, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &second}}, "cut")
	if err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
	waitFor(t, 30*time.Second, "retention to take all that is old", func() bool { return offsetsAt(t, a, "cut", "-2") == "100" })
	if n := a.metric(t, "barge_compactor_retention_moves_total"); n != 1 {
		t.Errorf("%.0f moves by retention counted, want 1", n)
	}
	if _, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &forEver}}, "cut"); err != nil {
		t.Fatal(err)
	}
	a.stop(t)
	a = startAgentAt(t, b, a.brokers, a.http, args...)
	if err := cl.ProduceSync(ctx, &kgo.Record{Value: []byte("record 100")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	waitForRows(t, b, "cut", 101)
	if start, end := offsetsAt(t, a, "cut", "-2"), offsetsAt(t, a, "cut", "-1"); start != "100" || end != "101" {
		t.Errorf("after a restart the log is [%s, %s], want [100, 101]", start, end)
	}
	a.stop(t)
	for _, engine := range engines {
		rows := readTable(t, b, engine, "cut")
		slices.SortFunc(rows, func(x, y row) int { return int(x.Offset - y.Offset) })
		if len(rows) != 101 || rows[0].Offset != 0 || rows[100].Offset != 100 {
			t.Errorf("%s reads %d rows; want offsets 0 to 100: what leaves the log stays in the table", engine, len(rows))
		}
	}
	barge(t, b, "fsck", "--store", b.store) // its exit status tells of findings
}
