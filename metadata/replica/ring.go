package replica

import "slices"

// ring holds the newest entries, as followers get them, without a gap.
type ring struct {
	first      uint64 // place of entries[0]
	entries    [][]byte
	bytes      int
	maxBytes   int
	maxEntries int
}

// end is the place of the next entry.
func (r *ring) end() uint64 { return r.first + uint64(len(r.entries)) }

// reset forgets everything; the next entry is next.
func (r *ring) reset(next uint64) { r.first, r.entries, r.bytes = next, nil, 0 }

// add takes an entry in. One that is not the next makes a new beginning. The oldest go to make room.
func (r *ring) add(seq uint64, entry []byte) {
	if seq != r.end() {
		r.reset(seq)
	}
	r.entries = append(r.entries, entry)
	r.bytes += len(entry)
	for len(r.entries) > 0 && (r.bytes > r.maxBytes || len(r.entries) > r.maxEntries) {
		r.bytes -= len(r.entries[0])
		r.entries[0] = nil
		r.entries = r.entries[1:]
		r.first++
	}
}

// from returns the entries from next on, as many as fit in maxBytes but at least one, nil where next is the end. ok is false
// when next is not there any more.
func (r *ring) from(next uint64, maxBytes int) (entries [][]byte, ok bool) {
	if next < r.first || next > r.end() {
		return nil, false
	}
	rest := r.entries[next-r.first:]
	n, size := 0, 0
	for n < len(rest) && (n == 0 || size+len(rest[n]) <= maxBytes) {
		size += len(rest[n])
		n++
	}
	return slices.Clone(rest[:n]), true // a copy: add takes entries out while the answer is on its way
}
