package group

import (
	"fmt"
	"testing"
	"time"
)

// fullGroup is a stable group of the most members allowed.
func fullGroup(tb testing.TB, now time.Time) *State {
	tb.Helper()
	cfg := DefaultConfig()
	s := NewState("g", cfg, now)
	for i := range cfg.MaxMembers {
		id := fmt.Sprintf("m%04d", i)
		s.Step(Join{
			Ticket: Ticket(i + 1), NewID: id, Session: 10 * time.Second, Rebalance: time.Minute, ProtocolType: "consumer",
			Protocols: []Protocol{{Name: "range", Metadata: []byte(id)}},
		}, now)
	}
	for range 10 {
		now = now.Add(cfg.InitialDelay)
		s.Step(Tick{}, now)
	}
	for i := range cfg.MaxMembers {
		s.Step(Sync{Ticket: Ticket(i + 1), MemberID: fmt.Sprintf("m%04d", i), Generation: 1}, now)
	}
	s.Step(Saved{Revision: s.revision}, now)
	if s.Phase() != Stable || s.Generation() != 1 || len(s.members) != cfg.MaxMembers {
		tb.Fatalf("%v generation %d with %d members", s.Phase(), s.Generation(), len(s.members))
	}
	return s
}

// Work that grows with the square of the members would hold the shard for seconds when all clients of a large group
// stop at once (2.8 s before leaders were chosen late). It takes some milliseconds.
func TestLargestGroupCanEndAtOnce(t *testing.T) {
	start := time.UnixMilli(0)
	s := fullGroup(t, start)
	began := time.Now()
	s.Step(Tick{}, start.Add(time.Hour))
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("taking out %d members took %v", DefaultConfig().MaxMembers, took)
	}
	if s.Phase() != Empty {
		t.Errorf("phase %v", s.Phase())
	}
}

func BenchmarkHeartbeatInTheLargestGroup(b *testing.B) {
	now := time.UnixMilli(0)
	s := fullGroup(b, now)
	b.ReportAllocs()
	for b.Loop() {
		s.Step(Heartbeat{Ticket: 1, MemberID: "m2500", Generation: 1}, now)
	}
}
