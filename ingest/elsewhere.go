package ingest

import (
	"sync"
	"time"

	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// A client is sent elsewhere in two cases only: this agent drains, or a consumer names a zone (client.rack) that this agent
// is not in and another one is. Never because a hash would have it so: agents' lists differ for moments, and clients would
// be sent to and fro.

const (
	// steerRest is how long a consumer that comes back is served here after it was sent to an agent of its zone. It comes
	// back because it could not reach that agent, or when its lease is over (metadata.max.age, five minutes by default);
	// librdkafka takes no further advice within a minute and would get nothing meanwhile.
	steerRest = time.Minute
	// maxSteered bounds the partitions of a connection that are remembered. Those beyond are served here.
	maxSteered = 4_096
)

// Reasons for Observer.Redirected.
const (
	redirectedDraining = "draining"
	redirectedZone     = "zone"
)

// destination is where a client is sent.
type destination struct {
	node int32
	at   endpoint
	rack string
}

// destinations choose for one request.
type destinations struct {
	agents cluster
	place  routing.Placement
}

func (s *Server) destinations(c caller) destinations {
	agents := s.cluster()
	place, _ := s.place(c, agents)
	return destinations{agents, place}
}

func (d destinations) to(node int32) *destination {
	m := routing.Member{}
	for _, a := range d.agents.live {
		if a.NodeID() == node {
			m = a
		}
	}
	return &destination{node: node, at: d.agents.endpoints[node], rack: m.Zone}
}

// Drain makes this agent send clients to others, while there are others: it leaves its own Metadata answers, and answers
// Produce and Fetch with NOT_LEADER_OR_FOLLOWER and where to go instead (KIP-951). What is in flight is finished, what
// came without acks is still taken. Call it when the other agents have learned that this one leaves, or their answers
// send clients back. The listener stays open until Run's context ends.
func (s *Server) Drain() { s.leaving.Store(true) }

// away returns where clients are sent in place of this agent, false while it serves them itself.
func (s *Server) away(c caller) (destinations, bool) {
	if !s.leaving.Load() {
		return destinations{}, false
	}
	d := s.destinations(c)
	for _, m := range d.agents.live {
		if m.NodeID() == s.cfg.NodeID {
			return d, false // nobody else is there
		}
	}
	return d, true
}

// leader is who leads a partition in place of this agent.
func (d destinations) leader(topic record.TopicID, partitions, index int32) *destination {
	return d.to(d.place.Topic(topic, int(partitions))[index][0])
}

// replica answers a consumer in the zone rack with where to read a partition that it asked this agent for (KIP-392), false
// if that is here.
func (s *Server) replica(c *conn, d destinations, rack string, p record.Partition, offset record.Offset) (fetchResult, bool) {
	bounds, err := s.deps.View.Bounds(p)
	if err != nil || offset < bounds.LogStart || offset > bounds.HighWatermark {
		return fetchResult{}, false // something is wrong with the position, and that is told here
	}
	m, ok := d.place.Replica(p.Topic, p.Index, rack)
	if !ok || m.NodeID() == s.cfg.NodeID || !c.steered.admit(p, s.deps.Now()) {
		return fetchResult{}, false
	}
	return fetchResult{
		highWatermark: int64(bounds.HighWatermark), lastStable: int64(bounds.LastStable), logStart: int64(bounds.LogStart),
		to: d.to(m.NodeID()),
	}, true
}

// steered remembers which partitions a connection's client was sent elsewhere for, and when.
type steered struct {
	mu   sync.Mutex
	last map[record.Partition]time.Time
}

// admit reports whether the client may be sent elsewhere for p now, and notes that it is.
func (s *steered) admit(p record.Partition, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.last[p]; ok && now.Sub(at) < steerRest {
		return false
	}
	if s.last == nil {
		s.last = make(map[record.Partition]time.Time)
	}
	if _, known := s.last[p]; !known && len(s.last) == maxSteered {
		for old, at := range s.last {
			if now.Sub(at) >= steerRest {
				delete(s.last, old)
			}
		}
		if len(s.last) == maxSteered {
			return false
		}
	}
	s.last[p] = now
	return true
}

// tagLeader writes a tag section with nothing or the leader a client should go to (KIP-951).
func (e *encoder) tagLeader(tag uint32, d *destination) {
	if d == nil {
		e.tags()
		return
	}
	e.uvarint(1)
	e.uvarint(tag)
	e.uvarint(9) // bytes that follow
	e.i32(d.node)
	e.i32(leaderEpoch)
	e.uvarint(0)
}

// tagEndpoints writes a tag section with nothing or, under tag 0, where the leaders told above are reached (KIP-951).
func (e *encoder) tagEndpoints(told []*destination) {
	if len(told) == 0 {
		e.tags()
		return
	}
	inner := encoder{flexible: true}
	inner.arrayLen(len(told))
	for _, d := range told {
		inner.i32(d.node)
		inner.str(d.at.host)
		inner.i32(d.at.port)
		inner.nullableStr(d.rack)
		inner.tags()
	}
	e.uvarint(1)
	e.uvarint(0)
	e.uvarint(uint32(len(inner.buf)))
	e.buf = append(e.buf, inner.buf...)
}

// addDestination adds d to told unless its node is there.
func addDestination(told []*destination, d *destination) []*destination {
	if d == nil {
		return told
	}
	for _, t := range told {
		if t.node == d.node {
			return told
		}
	}
	return append(told, d)
}
