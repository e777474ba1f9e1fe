package ingest

import (
	"sync"
	"time"
)

// rateSeconds is over how long rates are taken.
const rateSeconds = 10

// rate counts bytes in slots of a second. Safe for concurrent use; the zero value is ready.
type rate struct {
	mu    sync.Mutex
	bytes [rateSeconds]int64
	of    [rateSeconds]int64 // the second each slot counts
}

func (r *rate) add(now time.Time, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	second := now.Unix()
	slot := uint64(second) % rateSeconds
	if r.of[slot] != second {
		r.of[slot], r.bytes[slot] = second, 0
	}
	r.bytes[slot] += n
}

// perSecond is the mean over the seconds before this one, which is not over.
func (r *rate) perSecond(now time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum, this := int64(0), now.Unix()
	for slot, second := range r.of {
		if second < this && second >= this-(rateSeconds-1) {
			sum += r.bytes[slot]
		}
	}
	return sum / (rateSeconds - 1)
}

// Rates tells what this agent does at the moment: bytes a second taken in by Produce and given out by Fetch, each over the
// last nine whole seconds, and the connections that are open. Others decide by them how many agents to send clients to.
func (s *Server) Rates() (produce, fetch int64, connections int32) {
	now := s.deps.Now()
	return s.produced.perSecond(now), s.fetched.perSecond(now), int32(s.door.open())
}
