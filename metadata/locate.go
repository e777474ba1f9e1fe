package metadata

import (
	"fmt"
	"slices"
	"sort"

	"github.com/bargedata/barge/record"
)

// maxSlices bounds one Locate, whatever maxBytes says: very small runs cost more to describe than to read.
const maxSlices = 1024

// Locate tells where the records of p from offset from on lie: files first, then runs, in order, until their bytes reach
// maxBytes (a part of a file counts by its share of the rows, the first slice by the share of its offsets that lie ahead), at least
// one where there is any, at most 1,024.
// ErrUnknownTopic; ErrOffsetOutOfRange outside [log start, high watermark], with the bounds set all the same.
func (v *View) Locate(p record.Partition, from record.Offset, maxBytes int64) (Location, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, part := v.state.partition(p)
	if part == nil {
		return Location{}, fmt.Errorf("locate %s: %w", p, ErrUnknownTopic)
	}
	loc := Location{Bounds: part.bounds()}
	if from < part.logStart || from > part.highWatermark {
		return loc, fmt.Errorf("locate %s at %d, log is [%d, %d]: %w", p, from, part.logStart, part.highWatermark, ErrOffsetOutOfRange)
	}
	left := maxBytes
	first := sort.Search(len(part.files), func(i int) bool { return part.files[i].end > from })
	for i := first; i < len(part.files) && len(loc.Slices) < maxSlices && (left > 0 || len(loc.Slices) == 0); i++ {
		f := &part.files[i]
		loc.Slices = append(loc.Slices, f.slice())
		left -= ahead(f.bytes(), f.base, f.end, from)
	}
	if left <= 0 && len(loc.Slices) > 0 {
		return loc, nil
	}
	first = part.runIndex(from)
	n := first
	for n < len(part.runs) && n-first+len(loc.Slices) < maxSlices && (left > 0 || n-first+len(loc.Slices) == 0) {
		left -= ahead(int64(part.runs[n].len), part.runs[n].base, part.runs[n].end, from)
		n++
	}
	runs := v.state.expand(part.runs[first:n])
	loc.Slices = slices.Grow(loc.Slices, len(runs))
	for i := range runs {
		loc.Slices = append(loc.Slices, Slice{Base: runs[i].Base, End: runs[i].End, Run: &runs[i]})
	}
	return loc, nil
}

// LocateTime returns the first slice of p that may hold a record with a timestamp of at least ts, false if there is
// none. ErrUnknownTopic. It looks at every slice up to that one: timestamps have no order.
func (v *View) LocateTime(p record.Partition, ts int64) (Slice, bool, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, part := v.state.partition(p)
	if part == nil {
		return Slice{}, false, fmt.Errorf("locate time %d in %s: %w", ts, p, ErrUnknownTopic)
	}
	for i := range part.files {
		if part.files[i].filePart().MaxTimestamp >= ts {
			return part.files[i].slice(), true, nil
		}
	}
	for i := range part.runs {
		if part.runs[i].maxTime >= ts {
			return v.state.runSlice(part, i), true, nil
		}
	}
	return Slice{}, false, nil
}

// MaxTimestamp returns the first of the slices of p with the largest timestamp, but for those whose base is in seen, which may be nil;
// false when there is none. The record that has the timestamp may lie below the log start. ErrUnknownTopic.
func (v *View) MaxTimestamp(p record.Partition, seen map[record.Offset]bool) (Slice, bool, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, part := v.state.partition(p)
	if part == nil {
		return Slice{}, false, fmt.Errorf("largest timestamp of %s: %w", p, ErrUnknownTopic)
	}
	file, run := -1, -1
	var top int64
	for i := range part.files {
		if ts := part.files[i].filePart().MaxTimestamp; (file < 0 || ts > top) && !seen[part.files[i].base] {
			file, top = i, ts
		}
	}
	for i := range part.runs {
		if ts := part.runs[i].maxTime; (file < 0 && run < 0 || ts > top) && !seen[part.runs[i].base] {
			run, top = i, ts
		}
	}
	switch {
	case run >= 0:
		return v.state.runSlice(part, run), true, nil
	case file >= 0:
		return part.files[file].slice(), true, nil
	}
	return Slice{}, false, nil
}

func (f *fileSpan) slice() Slice {
	return Slice{Base: f.base, End: f.end, File: f.file, Part: f.filePart()}
}

// ahead estimates how many of a slice's bytes lie at from or after it, at least 1. It is rounded down, and that way nobody waits for
// ever: to count too little costs one more slice in an answer, to count too much hides slices from a long poll that waits for
// their bytes. fetch counts the same way what it was given.
func ahead(bytes int64, base, end, from record.Offset) int64 {
	if from > base && end > base {
		bytes = int64(float64(bytes) * float64(max(end-from, 0)) / float64(end-base))
	}
	return max(bytes, 1)
}

// bytes estimates what the part takes of its file, at least 1.
func (f *fileSpan) bytes() int64 {
	share := 1.0
	if f.file.Rows > 0 {
		share = float64(f.filePart().Rows) / float64(f.file.Rows)
	}
	return max(1, int64(float64(f.file.Size)*min(share, 1)))
}

// expand gives runs the form readers see.
func (s *State) expand(runs []run) []Run {
	out := make([]Run, len(runs))
	for i := range runs {
		r := &runs[i]
		o := s.objects[r.object]
		out[i] = Run{
			Base: r.base, End: r.end, Key: o.name(), ObjectSize: o.size, Pos: r.pos, Len: r.len,
			MaxTimestamp: r.maxTime, CommittedAt: r.committedAt, Inline: o.inline, Sorted: o.sorted,
		}
	}
	return out
}

func (s *State) runSlice(p *partition, i int) Slice {
	r := &s.expand(p.runs[i : i+1])[0]
	return Slice{Base: r.Base, End: r.End, Run: r}
}

// PartitionBytes is what the records of p take in the store, in bytes: runs exactly, files by their share of the rows.
// ErrUnknownTopic. It looks at every run and file of the partition.
func (v *View) PartitionBytes(p record.Partition) (int64, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, part := v.state.partition(p)
	if part == nil {
		return 0, fmt.Errorf("size of %s: %w", p, ErrUnknownTopic)
	}
	return part.bytes(), nil
}
