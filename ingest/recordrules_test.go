package ingest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
)

// Records are refused by the name of each that is to blame; the batch is refused as a whole. KIP-467.
func TestRecordsToBlameAreNamed(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	cluster := newFakeCluster(testTopic("timely", 1, "message.timestamp.before.max.ms", "1000"), testTopic("any", 1, "message.timestamp.after.max.ms", "9223372036854775807"),
		testTopic("keyed", 1, "cleanup.policy", "compact"), testTopic("stamped", 1, "message.timestamp.before.max.ms", "0", "message.timestamp.type", "LogAppendTime"))
	w := dial(t, startServer(t, cluster, func(_ *Config, d *Deps) { d.Now = func() time.Time { return now } }).addr)
	batch := func(codec record.Codec, keys bool, ages ...int64) []byte { // ms before now; 1<<40 is no timestamp
		b := record.NewBuilder(codec)
		b.Reset(0)
		for i, age := range ages {
			r := record.Record{Offset: record.Offset(i), Timestamp: now.UnixMilli() - age, Value: []byte("v")}
			if age == 1<<40 {
				r.Timestamp = -1
			}
			if keys || i%2 == 0 {
				r.Key = []byte("k")
			}
			if err := b.Append(&r); err != nil {
				t.Fatal(err)
			}
		}
		raw, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	many := make([]int64, 3000)
	for i := range many {
		many[i] = 5000
	}
	for _, c := range []struct {
		topic   string
		records []byte
		code    int16
		blamed  string // the first ones
		n       int
		text    string
	}{
		{"timely", batch(record.None, true, 0, 1000, -3_600_000), 0, "", 0, ""},
		{"timely", batch(record.None, true, 1<<40, 1<<40), 0, "", 0, ""},
		{"timely", batch(record.Zstd, true, 0, 1001, 0, -3_600_001), 32, "1 3 ", 2, "timestamp 1699999998999 is before 1699999999000, the earliest by message.timestamp.before.max.ms"},
		{"timely", batch(record.LZ4, true, many...), 32, "0 1 2 ", 100, "is before"},
		{"any", batch(record.None, true, -1<<50, 1<<45), 0, "", 0, ""},
		{"keyed", batch(record.None, true, 0, 0), 0, "", 0, ""},
		{"keyed", batch(record.Gzip, false, 0, 0, 0, 0), 87, "1 3 ", 2, "has no key"},
		{"keyed", batch(record.None, false, 0, 0, -3_600_001), 32, "1 2 ", 2, "has no key"},
		{"stamped", batch(record.None, true, 1<<45, -1<<45), 0, "", 0, ""},
	} {
		for _, version := range []int16{3, 5, 8, 9, 12} {
			if c.topic == "timely" && version < 7 && c.code == 32 && c.n == 2 {
				continue // zstd
			}
			p := ask[*kmsg.ProduceResponse](w, produceOf(version, c.topic, 0, c.records)).Topics[0].Partitions[0]
			what := fmt.Sprintf("v%d %s, want %d %s", version, c.topic, c.code, c.blamed)
			if p.ErrorCode != c.code {
				t.Errorf("%s: code %d", what, p.ErrorCode)
			}
			if c.code == 0 {
				if len(p.ErrorRecords) != 0 || p.ErrorMessage != nil {
					t.Errorf("%s: %+v", what, p)
				}
				continue
			}
			if version >= 5 && p.LogStartOffset != 0 || p.BaseOffset != -1 {
				t.Errorf("%s: base %d, log start %d", what, p.BaseOffset, p.LogStartOffset)
			}
			if version < 8 {
				continue
			}
			blamed := ""
			for _, r := range p.ErrorRecords[:min(3, len(p.ErrorRecords))] {
				blamed += fmt.Sprint(r.RelativeOffset, " ")
			}
			if blamed != c.blamed || len(p.ErrorRecords) != c.n || !strings.Contains(*p.ErrorRecords[0].ErrorMessage, c.text) || p.ErrorMessage == nil {
				t.Errorf("%s: blames %s of %d: %+v", what, blamed, len(p.ErrorRecords), p.ErrorRecords[0])
			}
		}
	}
}
