package fsck

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// stretch is a piece of a partition's log and where it lies.
type stretch struct {
	base, end record.Offset
	key       string
}

// partitions checks that files, then runs, cover each partition from its log start to its high watermark, each offset once.
func (c *checker) partitions() {
	for _, t := range c.view.Topics() {
		c.report.Counts.Topics++
		files := make([][]stretch, t.Partitions)
		for _, f := range c.view.Files(t.ID) {
			for _, p := range f.Parts {
				if p.Partition >= 0 && p.Partition < t.Partitions {
					files[p.Partition] = append(files[p.Partition], stretch{p.Base, p.End, f.Key})
				}
			}
		}
		runs := make([][]stretch, t.Partitions)
		for _, pending := range c.view.PendingRuns(t.ID) {
			for _, p := range pending.Partitions {
				for _, r := range p.Runs {
					runs[p.Index] = append(runs[p.Index], stretch{r.Base, r.End, r.Key})
				}
			}
		}
		for i := range t.Partitions {
			c.report.Counts.Partitions++
			p := record.Partition{Topic: t.ID, Index: i}
			bounds, err := c.view.Bounds(p)
			if err != nil {
				continue // cannot be: the View stands still
			}
			compacted, err := c.view.CompactedEnd(p)
			if err != nil {
				continue
			}
			slices.SortFunc(files[i], func(a, b stretch) int { return cmp.Compare(a.base, b.base) })
			c.add(cover(t, i, bounds, compacted, files[i], runs[i])...)
		}
	}
}

// cover tells where the files (by base) and the runs of a partition leave a gap or overlap. Pure.
func cover(t metadata.Topic, partition int32, b metadata.Bounds, compacted record.Offset, files, runs []stretch) []Finding {
	var found []Finding
	report := func(kind Kind, key, what string, base, end record.Offset) {
		found = append(found, Finding{
			Severity: Error, Kind: kind, Key: key, What: what,
			Do: "the state of the log is not sound: keep a copy of the store, and report it",
		}.at(t.Name, partition, base, end))
	}
	// What lies wholly below the start waits for the table, or is part of a file that another partition needs.
	files = slices.DeleteFunc(files, func(s stretch) bool { return s.end <= b.LogStart })
	next := b.LogStart
	if len(files) > 0 {
		next = min(next, files[0].base) // a file may begin below the log start, and so may a run
	} else if len(runs) > 0 {
		next = min(next, runs[0].base)
	}
	walk := func(pieces []stretch, end record.Offset, what string) {
		for _, s := range pieces {
			switch {
			case s.base > next:
				report(OffsetGap, s.key, "nothing covers the offsets before it", next, s.base)
			case s.base < next:
				report(OffsetTwice, s.key, "what lies before it covers offsets of it too", s.base, min(next, s.end))
			}
			next = max(next, s.end)
		}
		if next < end && end > b.LogStart {
			report(OffsetGap, t.TableDir, fmt.Sprintf("%s end at offset %d, not at %d", what, next, end), max(next, b.LogStart), end)
			next = end
		}
	}
	walk(files, compacted, "files")
	walk(runs, b.HighWatermark, "runs")
	if next > b.HighWatermark {
		report(OffsetTwice, t.TableDir, fmt.Sprintf("files and runs reach offset %d, the high watermark is %d", next, b.HighWatermark), b.HighWatermark, next)
	}
	return found
}
