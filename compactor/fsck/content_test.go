package fsck

import (
	"errors"
	"strings"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// batches builds batches of so many records each.
func batches(t *testing.T, records ...int) (body []byte) {
	t.Helper()
	for _, n := range records {
		b := record.NewBuilder(record.None)
		for i := range n {
			if err := b.Append(&record.Record{Offset: record.Offset(i), Timestamp: 1, Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
		}
		raw, err := b.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		body = append(body, raw...)
	}
	return body
}

func TestRunsHoldTheOffsetsOfTheLog(t *testing.T) {
	body := append([]byte("before"), batches(t, 3, 2)...)
	run := metadata.Run{Base: 10, End: 15, Pos: 6, Len: record.Len(len(body) - 6)}
	if n, err := checkRun(run, body); err != nil || n != 2 {
		t.Errorf("%d batches, %v", n, err)
	}
	for name, c := range map[string]struct {
		change   func(*metadata.Run)
		mismatch bool // whole batches, of other offsets; otherwise damage
	}{
		"one offset more": {func(r *metadata.Run) { r.End++ }, true},
		"one offset less": {func(r *metadata.Run) { r.End-- }, true},
		"bytes cut":       {func(r *metadata.Run) { r.Len-- }, false},
		"past the end":    {func(r *metadata.Run) { r.Len++ }, false},
		"another place":   {func(r *metadata.Run) { r.Pos-- }, false},
	} {
		changed := run
		c.change(&changed)
		if _, err := checkRun(changed, body); err == nil || c.mismatch != errors.Is(err, errRun) {
			t.Errorf("%s: %v, mismatch %v", name, err, c.mismatch)
		}
	}
}

func TestFilesHoldWhatTheLogSays(t *testing.T) {
	part := metadata.FilePart{Partition: 3, Base: 10, End: 20, RowGroup: 0, RowGroups: 2, Rows: 8, MaxTimestamp: 5}
	h := held{rows: 8, parts: []metadata.FilePart{{Partition: 3, Base: 11, End: 19, RowGroup: 0, RowGroups: 2, Rows: 8, MaxTimestamp: 5}}}
	file := func(change func(*metadata.File)) metadata.File {
		f := metadata.File{Rows: 8, Parts: []metadata.FilePart{part}}
		change(&f)
		return f
	}
	for what, change := range map[string]func(*metadata.File){
		"":                func(*metadata.File) {},
		"8 rows, the log": func(f *metadata.File) { f.Rows++ },
		"of 1 partitions": func(f *metadata.File) { f.Parts = append(f.Parts, part) },
		"of partition 3":  func(f *metadata.File) { f.Parts[0].Partition++ },
		"holds 8 rows of": func(f *metadata.File) { f.Parts[0].Rows++ },
		"row groups 0 to": func(f *metadata.File) { f.Parts[0].RowGroups++ },
		"offsets 11 to":   func(f *metadata.File) { f.Parts[0].Base = 12 },
		"to 18, the log":  func(f *metadata.File) { f.Parts[0].End = 18 },
		"newest record":   func(f *metadata.File) { f.Parts[0].MaxTimestamp++ },
	} {
		if wrong := h.against(file(change)); (wrong == "") != (what == "") || !strings.Contains(wrong, what) {
			t.Errorf("%q: %q", what, wrong)
		}
	}
}
