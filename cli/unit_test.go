package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/objectstore"
)

func TestSizesHaveUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "8MiB": 8 << 20, "256MB": 256e6, "64 KiB": 64 << 10, "1.5GiB": 3 << 29, "2mb": 2e6, "7b": 7, "1TiB": 1 << 40,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "8M", "8 MiBB", "1e6", "9999999TiB", "9223372036854775808", "1.2.3MB", "0x10", "NaN", "99999999999999999999.5GB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestFormattedSizesReadBackExactly(t *testing.T) {
	for _, n := range []int64{0, 1, 1000, 1024, 4097, 8 << 20, 256e6, 100 << 20, 1 << 40, 1<<40 + 1} {
		if got, err := parseSize(formatSize(n)); err != nil || got != n {
			t.Errorf("parseSize(formatSize(%d)) = %d, %v", n, got, err)
		}
	}
}

func TestFormattedDurationsReadBackExactly(t *testing.T) {
	for want, d := range map[string]time.Duration{"250ms": 250 * time.Millisecond, "10m": 10 * time.Minute, "1h": time.Hour, "1h30m": 90 * time.Minute, "1m30s": 90 * time.Second, "0s": 0, "20m": 20 * time.Minute, "10h": 10 * time.Hour} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) = %q, want %q", d, got, want)
		}
		if got, err := parseDuration(want); err != nil || got != d {
			t.Errorf("parseDuration(%q) = %v, %v", want, got, err)
		}
	}
	if _, err := parseDuration("10"); err == nil {
		t.Error("a duration without unit was taken")
	}
}

func TestHumanNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.00 kB", 39_600_000: "39.6 MB", 999_600: "1.00 MB", 123_456_789: "123 MB"} {
		if got := humanSize(n); got != want {
			t.Errorf("humanSize(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := humanCount(n); got != want {
			t.Errorf("humanCount(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestSuggestionsAreNearOrNone(t *testing.T) {
	known := []string{"flush-interval", "flush-bytes", "listen", "http"}
	for written, want := range map[string]string{
		"flush-intervall": ": did you mean flush-interval?", "flsuh-bytes": ": did you mean flush-bytes?", "LISTEN": ": did you mean listen?",
		"flush-int": ": did you mean flush-interval?", "compression": "", "x": "",
	} {
		if got := didYouMean(written, known, ""); got != want {
			t.Errorf("didYouMean(%q) = %q, want %q", written, got, want)
		}
	}
}

func TestEqualSeedsMakeEqualLines(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_000)
	lines := func(seed uint64) []byte {
		g := newGenerator(seed)
		var all []byte
		for i := range 20_000 {
			r := g.next(at.Add(time.Duration(i) * time.Millisecond))
			all = append(append(append(all, r.TraceParent...), r.Value...), '\n')
		}
		return all
	}
	first := lines(7)
	if !bytes.Equal(first, lines(7)) {
		t.Error("the same seed made other lines")
	}
	if bytes.Equal(first, lines(8)) {
		t.Error("another seed made the same lines")
	}
}

func TestGeneratedLogsLookLikeLogs(t *testing.T) {
	g := newGenerator(1)
	severities, services, traces := map[string]int{}, map[string]int{}, map[string]int{}
	low, high := 10.0, 0.0
	const n = 100_000
	for range n {
		r := g.next(time.UnixMilli(1_800_000_000_000))
		var line struct {
			Timestamp time.Time         `json:"timestamp"`
			Severity  string            `json:"severity_text"`
			Number    int               `json:"severity_number"`
			TraceID   string            `json:"trace_id"`
			SpanID    string            `json:"span_id"`
			Resource  map[string]string `json:"resource"`
		}
		if err := json.Unmarshal(r.Value, &line); err != nil {
			t.Fatalf("%s: %v", r.Value, err)
		}
		if len(line.TraceID) != 32 || len(line.SpanID) != 16 || line.Number < 1 || line.Number > 24 || line.TraceID != r.TraceID {
			t.Fatalf("%s", r.Value)
		}
		severities[line.Severity]++
		services[line.Resource["service.name"]]++
		traces[line.TraceID]++
		low, high = min(low, g.burstFactor()), max(high, g.burstFactor())
	}
	if e := severities["ERROR"]; e < n/500 || e > n/20 {
		t.Errorf("%d errors among %d lines", e, n)
	}
	if len(severities) != 4 || severities["INFO"] < n/2 {
		t.Errorf("severities %v", severities)
	}
	if len(services) != len(g.services) {
		t.Errorf("lines of %d services, want %d", len(services), len(g.services))
	}
	if len(traces) > n/2 || len(traces) < n/20 {
		t.Errorf("%d traces for %d lines", len(traces), n)
	}
	if high/low < 2 {
		t.Errorf("no bursts: between %.1f and %.1f of the rate", low, high)
	}
}

func BenchmarkGenerator(b *testing.B) {
	g := newGenerator(1)
	at := time.UnixMilli(1_800_000_000_000)
	total := int64(0)
	for b.Loop() {
		total += int64(len(g.next(at).Value))
	}
	b.SetBytes(total / int64(b.N))
}

func TestFormatsAreKcats(t *testing.T) {
	r := &kgo.Record{
		Topic: "t", Partition: 3, Offset: 42, Timestamp: time.UnixMilli(1234), Key: []byte("k"), Value: []byte{},
		Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}},
	}
	for format, want := range map[string]string{
		`%t %p %o %k %s %h %T\n`: "t 3 42 k  a=1,b=NULL 1234\n", `%K/%S`: "1/0", `100%%\t\\`: "100%\t\\", `\0`: "\x00", "": "", `x\`: `x\`,
	} {
		f, err := parseFormat(format)
		if err != nil {
			t.Errorf("%q: %v", format, err)
		} else if got := string(f(nil, r)); got != want {
			t.Errorf("%q gives %q, want %q", format, got, want)
		}
	}
	r.Value = nil
	if f, _ := parseFormat("%S"); string(f(nil, r)) != "-1" {
		t.Error("null and empty look the same")
	}
	for _, format := range []string{"%", "%x", `\q`} {
		if _, err := parseFormat(format); err == nil {
			t.Errorf("%q was taken", format)
		}
	}
}

func TestJSONKeepsNullEmptyAndBytesApart(t *testing.T) {
	r := &kgo.Record{Topic: "t", Timestamp: time.UnixMilli(5), Value: []byte{0xff, 0xfe}, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{}}}}
	want := `{"topic":"t","partition":0,"offset":0,"timestamp":5,"key":null,"value":null,"value_base64":"//4=","headers":[{"key":"h","value":""}]}` + "\n"
	if got := string(formatJSONL(nil, r)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// endless gives zeros for ever, as a disk image by mistake would.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestLinesAreCutAtNewlinesOnly(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	r := bufio.NewReaderSize(strings.NewReader("a\r\n\n"+long+"\nlast"), 4096)
	var got []string
	for {
		line, err := readLine(r)
		got = append(got, string(line))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"a\r\n", "\n", long + "\n", "last"}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %d lines: %.60q", len(got), got)
	}
	if _, err := readLine(bufio.NewReader(endless{})); err == nil || !strings.Contains(err.Error(), "64MiB") {
		t.Errorf("a line without end: %v", err)
	}
}

func TestQuotedTextPassesAShell(t *testing.T) {
	for _, text := range []string{"plain", `it's "quoted" $HOME \n` + "`id`", "", "two words"} {
		for _, quoted := range []string{shellQuote(text), shellWord(text)} {
			out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quoted).Output()
			if err != nil || string(out) != text {
				t.Errorf("%s gives %q, %v, want %q", quoted, out, err, text)
			}
		}
	}
}

func TestCellsShowNoControlCharacters(t *testing.T) {
	if got := cell([]byte("a\tb\x1b[31mc\u009bd\xff"), 40); strings.ContainsFunc(got, unicode.IsControl) || !utf8.ValidString(got) {
		t.Errorf("%q", got)
	}
	if got := cell([]byte(strings.Repeat("ü", 50)), 10); got != strings.Repeat("ü", 9)+"…" {
		t.Errorf("%q", got)
	}
}

func TestStatusLineOfAFileIsNotRewritten(t *testing.T) {
	var out bytes.Buffer
	l := newStatusLine(&out, 5*time.Second)
	start := time.Unix(100, 0)
	for i := range 11 {
		l.show(start.Add(time.Duration(i)*time.Second), "line")
	}
	if got := out.String(); got != "line\nline\nline\n" {
		t.Errorf("%q", got)
	}
}

func TestStatusLineOfATerminalStaysBelowTheLogs(t *testing.T) {
	var out bytes.Buffer
	l := &statusLine{out: &out, terminal: true}
	l.show(time.Unix(1, 0), "one")
	if _, err := l.Write([]byte("log\n")); err != nil {
		t.Fatal(err)
	}
	l.end()
	if got := out.String(); got != "\r\x1b[Kone\r\x1b[Klog\none\n" {
		t.Errorf("%q", got)
	}
}

func TestStatusTellsRateLatencyAndTable(t *testing.T) {
	s := barge.Stats{Objects: 1234, Requests: 56789, P50: 130 * time.Millisecond, P99: 270 * time.Millisecond, Tables: []barge.TableStat{{Topic: "other", Version: 9}}}
	if got, want := statusText(2.06e6, s), "2.1 MB/s, 1,234 objects, 56,789 requests, p50/p99 130/270 ms, no table yet"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	s.Tables = append(s.Tables, barge.TableStat{Topic: demoTopic, Version: 5, Rows: 88325})
	if got, want := statusText(0, s), "0.0 MB/s, 1,234 objects, 56,789 requests, p50/p99 130/270 ms, table v5 88,325 rows"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTheNextFreePortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, err := freeAddress(t.Context(), l.Addr().String())
	if err != nil || got == l.Addr().String() {
		t.Errorf("got %s, %v beside the taken %s", got, err, l.Addr())
	}
}

func TestEveryTableIsListedOnce(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	want := []string{"logs", "logs-2", "logs-2-x", "logs-20", "logs.x", "logs0", "logs@abc", "z"}
	for _, name := range want {
		for _, key := range []string{"/_data/a.parquet", "/_delta_log/00000000000000000000.json"} {
			if err := store.Put(t.Context(), tablesPrefix+name+key, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, key := range []string{"tables/stray", "wal/1/x", "zzz"} {
		if err := store.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	got, err := tableNames(t.Context(), store)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}
