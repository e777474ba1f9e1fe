//go:build realworld

package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// logFiles returns the real logs by topic name, or nil with the reason when they are not there.
func logFiles(t *testing.T) map[string][]byte {
	t.Helper()
	dir := os.Getenv("BARGE_TEST_DATA")
	if dir == "" {
		return nil
	}
	f, err := os.Open(filepath.Join(dir, "loghub.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutSuffix(path.Base(h.Name), ".log")
		if !ok {
			continue
		}
		if files[name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) != 10 {
		t.Fatalf("the archive holds %d logs, want ten", len(files))
	}
	return files
}

// generatedLogs are ten topics of log-like lines of our own: odd bytes, carriage returns, long lines, repeated lines.
func generatedLogs() map[string][]byte {
	files := map[string][]byte{}
	for i := range 10 {
		var b bytes.Buffer
		for n := range 400 {
			switch n % 9 {
			case 0:
				fmt.Fprintf(&b, "2026-11-22 07:%02d:%02d node-%d service[%d]: request %d took %d ms\r\n", n%60, i, i, n, n*i, n%37)
			case 1:
				fmt.Fprintf(&b, "the same line %d\n", i)
			case 2:
				b.Write([]byte{0xff, 0xfe, 'x', 0x80, byte(n), 0xc3})
				b.WriteString(strings.ReplaceAll(fmt.Sprintf(" odd bytes %d\n", n), "\x00", ""))
			case 3:
				b.WriteString("\n") // kcat drops blank lines
			case 4:
				fmt.Fprintf(&b, "%s grüße 日本語 🚢 %d\n", strings.Repeat("long ", 500), n)
			default:
				fmt.Fprintf(&b, "{\"level\":\"info\",\"n\":%d,\"topic\":%d}\n", n, i)
			}
		}
		files[fmt.Sprintf("gen%d", i)] = b.Bytes()
	}
	return files
}

// kcatLines are the values kcat -l makes of a file: lines without their newline, blank ones dropped.
func kcatLines(file []byte) map[string]int {
	lines := map[string]int{}
	for line := range strings.SplitSeq(string(file), "\n") {
		if line != "" {
			lines[line]++
		}
	}
	return lines
}

func count(lines map[string]int) (n int64) {
	for _, c := range lines {
		n += int64(c)
	}
	return n
}

func TestLogsThroughEveryClientAndReader(t *testing.T) {
	sources := map[string]map[string][]byte{"generated": generatedLogs()}
	if logs := logFiles(t); logs != nil {
		sources["loghub"] = logs
	} else {
		t.Log("BARGE_TEST_DATA is not set: the real logs are left out, generated ones cover the same ground")
	}
	for _, source := range slices.Sorted(maps.Keys(sources)) {
		for name, start := range map[string]func(*testing.T) backend{"file": fileBackend, "s3": s3Backend} {
			t.Run(source+"/"+name, func(t *testing.T) { logsThrough(t, start(t), sources[source]) })
		}
	}
}

func logsThrough(t *testing.T, b backend, files map[string][]byte) {
	a := startAgent(t, b)
	topics := slices.Sorted(maps.Keys(files))
	for i, topic := range topics {
		barge(t, b, "topic", "create", topic, "--brokers", a.brokers, "--partitions", "4", "--config", "barge.table.commit.interval.ms=500")
		path := filepath.Join(t.TempDir(), topic)
		if err := os.WriteFile(path, files[topic], 0o600); err != nil {
			t.Fatal(err)
		}
		codec := codecs[i%len(codecs)]
		command(t, nil, nil, tool(t, "bin", "kcat"), "-P", "-b", a.brokers, "-t", topic, "-z", codec, "-l", path)
	}
	for _, topic := range topics {
		want := kcatLines(files[topic])
		waitForRows(t, b, topic, count(want))

		consumed := consumeAll(t, a, topic)
		got := map[string]int{}
		for _, m := range consumed {
			got[unbase64(t, m.Value)]++
		}
		sameMultiset(t, topic+" by confluent-kafka", got, want)

		out := java(t, nil, "consumer.ConsoleConsumer", "--bootstrap-server", a.brokers, "--topic", topic, "--from-beginning",
			"--max-messages", fmt.Sprint(count(want)), "--timeout-ms", "60000")
		sameMultiset(t, topic+" by the Java console consumer", javaLines(out), want)

		for _, engine := range engines {
			rows := readTable(t, b, engine, topic)
			got := map[string]int{}
			for _, r := range rows {
				got[rowValue(t, r)]++
			}
			sameMultiset(t, topic+" by "+engine, got, want)
			samePlaces(t, topic+" by "+engine, rows, consumed)
		}
	}
	a.stop(t)
}

// javaLines are the values the console consumer printed: it writes their bytes as they are, a newline after each.
func javaLines(out []byte) map[string]int {
	lines := map[string]int{}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\n"), "\n") {
		lines[line]++
	}
	return lines
}

func unbase64(t testing.TB, s *string) string {
	t.Helper()
	if s == nil {
		return "<null>"
	}
	b, err := base64.StdEncoding.DecodeString(*s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rowValue is the record's value as the table tells it: text, or the raw bytes where they are not UTF-8.
func rowValue(t testing.TB, r row) string {
	t.Helper()
	return rowBytes(t, r, r.Value, r.RawValue)
}

func rowBytes(t testing.TB, r row, text, raw *string) string {
	t.Helper()
	switch {
	case text != nil && raw != nil:
		t.Fatalf("row %d/%d has both text and raw bytes", r.Partition, r.Offset)
	case raw != nil:
		b := unbase64(t, raw)
		if utf8.ValidString(b) {
			t.Fatalf("row %d/%d keeps valid text %q as raw bytes", r.Partition, r.Offset, b)
		}
		return b
	case text != nil:
		return *text
	}
	return "<null>"
}

func sameMultiset(t testing.TB, what string, got, want map[string]int) {
	t.Helper()
	bad := 0
	for line := range want {
		if got[line] != want[line] {
			if bad++; bad <= 3 {
				t.Errorf("%s: %.120q seen %d times, want %d", what, line, got[line], want[line])
			}
		}
	}
	for line := range got {
		if want[line] == 0 {
			if bad++; bad <= 3 {
				t.Errorf("%s: %.120q seen %d times, never produced", what, line, got[line])
			}
		}
	}
	if bad > 0 {
		t.Fatalf("%s: %d values differ", what, bad)
	}
}

// samePlaces wants each (partition, offset) that Kafka served exactly once in the table, with the same timestamp, and none besides.
func samePlaces(t testing.TB, what string, rows []row, consumed []message) {
	t.Helper()
	seen := map[place]row{}
	for _, r := range rows {
		p := place{r.Partition, r.Offset}
		if _, twice := seen[p]; twice {
			t.Fatalf("%s: partition %d offset %d stands in the table twice", what, r.Partition, r.Offset)
		}
		seen[p] = r
	}
	for _, m := range consumed {
		r, ok := seen[place{m.Partition, m.Offset}]
		if !ok {
			t.Fatalf("%s: partition %d offset %d is not in the table", what, m.Partition, m.Offset)
		}
		if r.TimestampUS != m.Timestamp*1000 {
			t.Fatalf("%s: partition %d offset %d has timestamp %d us, Kafka said %d ms", what, m.Partition, m.Offset, r.TimestampUS, m.Timestamp)
		}
	}
	if len(rows) != len(consumed) {
		t.Fatalf("%s: %d rows, Kafka served %d records", what, len(rows), len(consumed))
	}
}
