package sim

import (
	"maps"
	"slices"

	"github.com/bargedata/barge/record"
)

// CheckTables holds tables against the logs they are made of: versions are dense; each holds exactly the rows that its progress
// covers, each once (I7), and no progress retreats; the newest one and the files that wait for it hold everything below the
// compacted ends, each offset in one row, and every row is the record of that offset (I10). What was deleted before it was compacted is
// in none, and what was deleted or retained later is in a table all the same. What is above a compacted end lies in
// runs, which CheckKafka has read.
func CheckTables(tables []TableHistory) []Violation {
	var bad []Violation
	for i := range tables {
		bad = append(bad, checkTable(&tables[i])...)
	}
	return bad
}

func checkTable(t *TableHistory) []Violation {
	var bad []Violation
	say := func(format string, args ...any) {
		bad = append(bad, broken("table", "%s: "+format, append([]any{t.Topic}, args...)...))
	}
	var newest TableVersion
	for i, v := range t.Versions {
		if v.Version != int64(i) {
			say("version %d is missing", i)
			return bad
		}
		for p, end := range newest.Ends {
			if v.Ends[p] < end {
				say("version %d puts partition %d back from %d to %d", v.Version, p, end, v.Ends[p])
			}
		}
		if fault := t.covers(v.Files, func(p int32) record.Offset { return v.Ends[p] }); fault != "" {
			say("version %d %s", v.Version, fault)
		}
		newest = v
	}
	files := slices.Concat(newest.Files, t.Pending)
	if fault := t.covers(files, func(p int32) record.Offset { return t.Ends[p] }); fault != "" {
		say("the newest version and %d pending files, compacted up to %v, %s", len(t.Pending), t.Ends, fault)
	}
	return bad
}

// covers tells what is wrong with files that should hold every offset of each partition below its end once.
func (t *TableHistory) covers(files []string, end func(int32) record.Offset) string {
	seen := map[int32]map[record.Offset]bool{}
	for _, key := range files {
		rows, ok := t.Files[key]
		if !ok {
			return "names " + key + ", which can not be read"
		}
		for _, r := range rows {
			at := seen[r.Partition]
			if at == nil {
				at = map[record.Offset]bool{}
				seen[r.Partition] = at
			}
			switch value, ok := t.value(r.Partition, r.Offset); {
			case skipped(t.Moved, r.Partition, r.Offset):
				return text("holds offset %d of partition %d, which was deleted before it was compacted", r.Offset, r.Partition)
			case at[r.Offset]:
				return text("holds offset %d of partition %d twice", r.Offset, r.Partition)
			case r.Offset >= end(r.Partition):
				return text("holds offset %d of partition %d, beyond its progress %d", r.Offset, r.Partition, end(r.Partition))
			case ok && value != r.Value:
				return text("holds %q at offset %d of partition %d, the log holds %q", r.Value, r.Offset, r.Partition, value)
			}
			at[r.Offset] = true
		}
	}
	for _, p := range slices.Sorted(maps.Keys(t.Logs)) {
		from := t.Logs[p].LogStart
		if t.Keeps {
			from = 0
		}
		for o := from; o < end(p); o++ {
			if !seen[p][o] && !skipped(t.Moved, p, o) {
				return text("lacks offset %d of partition %d, its progress is %d", o, p, end(p))
			}
		}
	}
	return ""
}

// value is the record of an offset, as the log has it.
func (t *TableHistory) value(p int32, o record.Offset) (string, bool) {
	l := t.Logs[p]
	if l == nil || len(l.Records) == 0 {
		return "", false
	}
	i := int(o - l.Records[0].Offset)
	if i < 0 || i >= len(l.Records) {
		return "", false
	}
	return l.Records[i].Value, true
}
