package delta

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

// An add action travels in a log entry, which takes 4 KiB of it. Text bounds are the only part that producers choose.
func TestAddStaysSmallWhateverTheBounds(t *testing.T) {
	var body bytes.Buffer
	w := tableflow.NewWriter(&body, tableflow.WriterConfig{})
	if err := w.StartPartition(math.MaxInt32); err != nil {
		t.Fatal(err)
	}
	low, high := []byte(strings.Repeat("\x01", 100)), []byte(strings.Repeat("\U0010FFFF", 64))
	for i, text := range [][]byte{low, high, bytes.Repeat(high, 10_000)} {
		r := record.Record{Offset: math.MaxInt64 - 3 + record.Offset(i), Timestamp: math.MaxInt64, Key: text, Value: text}
		if err := w.Append(&r); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	add, err := EncodeAction(NewAdd("_data/"+strings.Repeat("p", 200)+".parquet", stats, math.MaxInt64))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(add))
	if len(add) > 4<<10 {
		t.Errorf("%d bytes: %s", len(add), add)
	}
}
