package tableflow

import (
	"flag"
	"os"
	"testing"

	"github.com/bargedata/barge/record"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file anew: only before its layout has been released")

const goldenFile = "testdata/layout-1.parquet"

func goldenRows() []rows {
	return []rows{
		{0, []record.Record{
			{Offset: 0, Timestamp: 1_700_000_000_000, Key: []byte("k"), Value: []byte(`{"a":1}`), Headers: []record.Header{{Key: "h", Value: []byte("v")}, {Key: "h"}}},
			{Offset: 1, Timestamp: -1, TimestampType: record.LogAppendTime},
			{Offset: 5, Timestamp: 1 << 62, Key: []byte{}, Value: []byte{}},
		}},
		{3, []record.Record{
			{Offset: 8, Timestamp: 2, Key: []byte{0xff}, Value: []byte{0xc3, 0x28}, Headers: []record.Header{{Key: "\xff", Value: []byte{}}}},
			{Offset: 9, Timestamp: 3, Key: []byte("nul\x00"), Value: []byte("Grüße")},
		}},
	}
}

// Files of layout 1 stay readable, whatever the writer of the day does.
func TestGoldenFileIsRead(t *testing.T) {
	if *rewrite {
		body, _ := writeFile(t, WriterConfig{RowGroupRows: 2}, goldenRows()...)
		if err := os.WriteFile(goldenFile, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	body, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := openFile(t, body)
	want := goldenRows()
	if d := diff(want[0].records, readPart(t, f, Part{RowGroup: 0, RowGroups: 2}, 0)); d != "" {
		t.Error(d)
	}
	if d := diff(want[1].records, readPart(t, f, Part{RowGroup: 2, RowGroups: 1}, 0)); d != "" {
		t.Error(d)
	}
}
