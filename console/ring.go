package console

import (
	"math"
	"slices"
	"time"
)

// ringSize is how many of the last observations quantiles are taken from: enough for a 99th percentile that does not jump.
const ringSize = 4096

// ring keeps the last observations. Its memory is fixed from the first of them on.
type ring struct {
	values []time.Duration
	next   int
}

func (r *ring) add(d time.Duration) {
	if len(r.values) < ringSize {
		if r.values == nil {
			r.values = make([]time.Duration, 0, ringSize)
		}
		r.values = append(r.values, d)
		return
	}
	r.values[r.next] = d
	r.next = (r.next + 1) % ringSize
}

func (r *ring) sorted() []time.Duration {
	s := slices.Clone(r.values)
	slices.Sort(s)
	return s
}

// quantile is the smallest observation that at least the share q of all do not exceed; 0 when there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
