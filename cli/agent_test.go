package cli_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/cli"
)

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestVerbsWorkOnAnAgentAndItsStore(t *testing.T) {
	store := "file://" + t.TempDir()
	kafka, admin := freeAddress(t), freeAddress(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log lockedBuffer
	done := make(chan int, 1)
	go func() {
		done <- cli.Main(ctx, []string{
			"barge", "agent", "--store", store, "--listen", kafka, "--http", admin, "--flush-interval", "10ms",
			"--table-commit-interval", "200ms", "--auto-create-topics",
		}, nil, &log, &log, nil)
	}()
	eventually(t, "the agent is ready", func() bool {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	must(t, barge(t, strings.NewReader("a\t1\n2\n\n"), "produce", "lines", "--brokers", kafka, "--partition", "0", "--key-separator", "\t"))
	if got := must(t, barge(t, nil, "consume", "lines", "--brokers", kafka, "--exit-at-end")).out; got != "1\n2\n\n" {
		t.Errorf("consumed %q", got)
	}
	var tables []struct {
		Topic         string
		Version, Rows int64
		Files         int
		Bytes         int64
	}
	eventually(t, "the table has three rows", func() bool {
		if err := json.Unmarshal([]byte(must(t, barge(t, nil, "table", "list", "--store", store, "-o", "json")).out), &tables); err != nil {
			t.Fatal(err)
		}
		return len(tables) == 1 && tables[0].Rows == 3
	})
	if tb := tables[0]; tb.Topic != "lines" || tb.Version < 0 || tb.Files < 1 || tb.Bytes < 100 {
		t.Errorf("table list: %+v", tb)
	}
	head := must(t, barge(t, nil, "table", "head", "lines", "-n", "2", "--store", store)).out
	if !regexp.MustCompile(`^PARTITION\tOFFSET\tTIMESTAMP\tKEY\tVALUE\n0\t0\t20[^\t]*Z\ta\t1\n0\t1\t20[^\t]*Z\tnull\t2\n$`).MatchString(head) {
		t.Errorf("table head: %q", head)
	}
	if out := must(t, barge(t, nil, "table", "describe", "lines", "--store", store)).out; !strings.Contains(out, "_kafka_offset\tlong\n") || !strings.Contains(out, "3 rows") {
		t.Errorf("table describe: %s", out)
	}
	if r := barge(t, nil, "table", "head", "linse", "--store", store); r.code != 1 || !strings.Contains(r.err, "did you mean lines?") {
		t.Errorf("a topic without table: status %d, %s", r.code, r.err)
	}
	if out := must(t, barge(t, nil, "fsck", "--store", store)).out; !strings.Contains(out, "1 topics") || !strings.HasSuffix(out, ": clean\n") {
		t.Errorf("fsck beside the agent: %s", out)
	}
	if r := barge(t, nil, "fsck", "--store", store, "--repair"); r.code != 1 || !strings.Contains(r.err, "stop that agent") || !strings.Contains(r.err, "--force") {
		t.Errorf("repair beside the agent: status %d, %s", r.code, r.err)
	}
	taken := barge(t, nil, "agent", "--store", store, "--listen", kafka, "--http", "")
	if taken.code != 1 || !strings.Contains(taken.err, kafka) || !strings.Contains(taken.err, "in use") {
		t.Errorf("address in use: status %d, %s", taken.code, taken.err)
	}
	stop()
	if code := <-done; code != 0 {
		t.Errorf("the drained agent ended with status %d", code)
	}
	first, _, _ := strings.Cut(log.String(), "\n")
	if !json.Valid([]byte(first)) {
		t.Errorf("the log is not JSON: %s", first)
	}
	damageAndRepair(t, store)
}

// damageAndRepair takes the newest version and a data file out of a stopped agent's table: the one can be rebuilt, the other is lost.
func damageAndRepair(t *testing.T, store string) {
	t.Helper()
	dir := filepath.Join(strings.TrimPrefix(store, "file://"), "tables", "lines")
	remove := func(form string) string {
		names, err := filepath.Glob(filepath.Join(dir, form))
		if err != nil || len(names) == 0 {
			t.Fatalf("nothing like %s: %v", form, err)
		}
		if err := os.Remove(names[len(names)-1]); err != nil {
			t.Fatal(err)
		}
		return filepath.Base(names[len(names)-1])
	}
	remove("_delta_log/*.json")
	r := barge(t, nil, "fsck", "--store", store)
	if r.code != 1 || r.err != "" || !strings.Contains(r.out, "error: tables/lines/_delta_log") || !strings.Contains(r.out, "--repair mends it") {
		t.Errorf("fsck of a damaged table: status %d, %s%s", r.code, r.out, r.err)
	}
	out := must(t, barge(t, nil, "fsck", "--store", store, "--repair")).out
	if !strings.Contains(out, "repaired: made version") || !strings.HasSuffix(out, ": clean\n") || tableRows(t, store, "lines") != 3 {
		t.Errorf("repair: %s", out)
	}
	file := remove("_data/*.parquet")
	r = barge(t, nil, "fsck", "--store", store, "--repair", "-o", "json")
	var report struct {
		Findings []struct {
			Kind, Key, Topic string
			Partition        *int32
			End              int64 `json:"end_offset"`
		}
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	if f := report.Findings; r.code != 1 || len(f) != 1 || f[0].Kind != "file-missing" || filepath.Base(f[0].Key) != file || f[0].Topic != "lines" || f[0].Partition == nil || f[0].End == 0 {
		t.Errorf("fsck of a lost file: status %d, %s", r.code, r.out)
	}
}

// tableRows is what `barge table list` says of one table, 0 when there is none.
func tableRows(t *testing.T, store, topic string) int64 {
	t.Helper()
	r := barge(t, nil, "table", "list", "--store", store, "-o", "json")
	if r.code != 0 {
		return 0 // no store yet
	}
	var tables []struct {
		Topic string
		Rows  int64
	}
	if err := json.Unmarshal([]byte(r.out), &tables); err != nil {
		t.Fatal(err)
	}
	for _, tb := range tables {
		if tb.Topic == topic {
			return tb.Rows
		}
	}
	return 0
}

func TestTheDemoFillsATableAndGoesOnWithItsData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my data")
	// demo runs until the table has more rows than before, and returns what was printed.
	demo := func(before int64) (string, int64) {
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		var out, errs lockedBuffer
		done := make(chan int, 1)
		go func() {
			done <- cli.Main(ctx, []string{
				"/opt/barge/bin/barge", "demo", "--data-dir", dir, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--rate", "200kB/s",
				"--table-commit-interval", "200ms", "--flush-interval", "20ms",
			}, nil, &out, &errs, nil)
		}()
		rows := int64(0)
		eventually(t, "the table has new rows", func() bool {
			rows = tableRows(t, "file://"+dir, "logs")
			return rows > before
		})
		interrupt()
		if code := <-done; code != 0 || errs.String() != "" {
			t.Fatalf("exit status %d, stderr %q", code, errs.String())
		}
		return out.String(), rows
	}
	first, rows := demo(0)
	rest := first
	for _, part := range []string{
		"barge ", "\ndata in " + dir, "\nKafka on 127.0.0.1:", "\noverview on http://127.0.0.1:", "\nproduce   echo ", "\nconsume   kcat -C ",
		"\nDuckDB    duckdb -c \"INSTALL delta; LOAD delta; ", "\nPolars    python3 -c \"", "\ndraining", " records, ", "\ntable logs: version ",
		"\ngo on with the same data: /opt/barge/bin/barge demo --data-dir \"" + dir + "\"\n",
	} {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			t.Fatalf("%q is missing, or out of order, in:\n%s", part, first)
		}
		rest = after
	}
	demo(rows)
}

func TestTheDemoTakesTheNextPortAndSaysSo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:9092")
	if err == nil {
		defer l.Close() // otherwise somebody has it already, which does as well
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &lockedBuffer{}
	done := make(chan int, 1)
	go func() {
		done <- cli.Main(ctx, []string{"barge", "demo", "--data-dir", t.TempDir(), "--rate", "10kB"}, nil, out, io.Discard, nil)
	}()
	eventually(t, "the demo runs", func() bool { return strings.Contains(out.String(), "Polars") })
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit status %d", code)
	}
	m := regexp.MustCompile(`127\.0\.0\.1:9092 is taken, so --listen is (127\.0\.0\.1:\d+)\n`).FindStringSubmatch(out.String())
	if m == nil || !strings.Contains(out.String(), "Kafka on "+m[1]+"\n") {
		t.Errorf("printed:\n%s", out.String())
	}
}
