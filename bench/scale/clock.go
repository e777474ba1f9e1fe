package scale

import (
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"
)

// cpuTime is what this process has used so far, collecting garbage included.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil { // only on a wrong argument
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// timed is the CPU that do used.
func timed(do func()) time.Duration {
	began := cpuTime()
	do()
	return cpuTime() - began
}

// medianOf is the median CPU of so many calls of do.
func medianOf(n int, do func()) time.Duration {
	times := make([]time.Duration, n)
	for i := range times {
		times[i] = timed(do)
	}
	return median(times)
}

// heapNow is what lives on the heap after a collection.
func heapNow() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// heapAbout is what lies on the heap, garbage included; asking costs little.
func heapAbout() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}
