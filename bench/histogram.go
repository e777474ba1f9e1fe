package bench

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are three percent wide. The zero value is empty. Not safe for concurrent use.
type histogram struct {
	counts [64 * histogramSteps]uint32
	n      uint64
}

const (
	histogramBits  = 5
	histogramSteps = 1 << histogramBits // in a doubling
)

func histogramBucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < histogramSteps {
		return int(v)
	}
	shift := bits.Len64(v) - histogramBits - 1
	return shift*histogramSteps + int(v>>shift)
}

// histogramValue is the middle of a bucket.
func histogramValue(bucket int) time.Duration {
	if bucket < 2*histogramSteps {
		return time.Duration(bucket)
	}
	shift := bucket/histogramSteps - 1
	low := uint64(bucket-shift*histogramSteps) << shift
	return time.Duration(low + 1<<shift/2)
}

func (h *histogram) add(d time.Duration) {
	h.counts[histogramBucket(d)]++
	h.n++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.n += other.n
}

// quantile is the duration that the share q of all is not above; 0 of an empty histogram.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.n))
	seen := uint64(0)
	for i, n := range h.counts {
		if seen += uint64(n); n > 0 && seen > rank {
			return histogramValue(i)
		}
	}
	for i := len(h.counts) - 1; i >= 0; i-- {
		if h.counts[i] > 0 {
			return histogramValue(i)
		}
	}
	return 0
}
