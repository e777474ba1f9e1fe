package routing_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/bargedata/barge/routing"
)

// agents returns n members with sessions from 1, spread over zones in turn.
func agents(n int, zones ...string) routing.Members {
	var ms []routing.Member
	for i := range n {
		m := routing.Member{Session: uint64(i + 1), Kafka: fmt.Sprintf("agent-%d:9092", i+1)}
		if len(zones) > 0 {
			m.Zone = zones[i%len(zones)]
		}
		ms = append(ms, m)
	}
	return routing.Sorted(ms)
}

func sessions(ms []routing.Member) []uint64 {
	var out []uint64
	for _, m := range ms {
		out = append(out, m.Session)
	}
	return out
}

// Agents of different builds have to choose alike: these values never change.
func TestChoicesAreTheSameInEveryBuild(t *testing.T) {
	ms := agents(9)
	for _, c := range []struct {
		key  string
		want []uint64
	}{
		{"", []uint64{8, 6, 2, 7}},
		{"relay", []uint64{1, 9, 8, 4}},
		{"upkeep/sweep", []uint64{4, 6, 3, 2}},
		{"wal/1/0000000000000001", []uint64{7, 6, 5, 9}},
		{"group/63", []uint64{5, 8, 1, 3}},
	} {
		got := sessions(routing.PickN(c.key, ms, 4))
		if !slices.Equal(got, c.want) {
			t.Errorf("PickN(%q) = %v, want %v", c.key, got, c.want)
		}
		one, ok := routing.Pick(c.key, ms)
		if !ok || one.Session != got[0] {
			t.Errorf("Pick(%q) = %d, %v; PickN puts %d first", c.key, one.Session, ok, got[0])
		}
	}
}

func TestPickOfNobody(t *testing.T) {
	if m, ok := routing.Pick("k", nil); ok {
		t.Errorf("Pick of no members = %+v", m)
	}
	if ms := routing.PickN("k", nil, 3); len(ms) != 0 {
		t.Errorf("PickN of no members = %v", ms)
	}
	if ms := routing.PickN("k", agents(2), 3); len(ms) != 2 {
		t.Errorf("PickN of 3 out of 2 = %v", ms)
	}
}

// Keys differ in a last digit, sessions follow each other: shares are even all the same.
func TestKeysSpreadEvenly(t *testing.T) {
	const keys = 100_000
	for _, n := range []int{2, 3, 5, 10, 100} {
		ms := agents(n)
		got := make(map[uint64]int)
		for i := range keys {
			m, _ := routing.Pick(fmt.Sprintf("wal/7/%08d", i), ms)
			got[m.Session]++
		}
		mean := keys / n
		for _, m := range ms {
			// Five standard deviations of a fair draw are 16 % at 100 members.
			if share := got[m.Session]; share < mean*84/100 || share > mean*116/100 {
				t.Errorf("%d members: session %d has %d of %d keys, the mean is %d", n, m.Session, share, keys, mean)
			}
		}
	}
}

func TestOnlyTheKeysOfWhoComesOrGoesMove(t *testing.T) {
	const keys = 20_000
	ten := agents(10)
	nine := ten.Where(func(m routing.Member) bool { return m.Session != 4 })
	moved := 0
	for i := range keys {
		key := fmt.Sprintf("wal/7/%08d", i)
		with, _ := routing.Pick(key, ten)
		without, _ := routing.Pick(key, nine)
		if with.Session == 4 {
			moved++
			if second := routing.PickN(key, ten, 2)[1]; second.Session != without.Session {
				t.Fatalf("%s: the second choice was %d, it went to %d", key, second.Session, without.Session)
			}
			continue
		}
		if with.Session != without.Session {
			t.Fatalf("%s moved from %d to %d though 4 left", key, with.Session, without.Session)
		}
	}
	if moved < keys/10*9/10 || moved > keys/10*11/10 {
		t.Errorf("%d of %d keys moved, want about a tenth", moved, keys)
	}
}

func TestMembersAreSortedOnce(t *testing.T) {
	ms := routing.Sorted([]routing.Member{
		{Session: 9, Kafka: "a:1"}, {Session: 2, Kafka: "b:1"}, {Session: 9, Kafka: "a:2", Draining: true}, {Session: 5, Kafka: "b:1", Zone: "z", Roles: []string{"fetch"}},
	})
	if got := sessions(ms); !slices.Equal(got, []uint64{2, 5, 9}) {
		t.Fatalf("sessions %v", got)
	}
	if m, ok := ms.BySession(9); !ok || m.Kafka != "a:2" {
		t.Errorf("session 9 = %+v, %v: the last of two counts", m, ok)
	}
	if m, ok := ms.BySession(3); ok {
		t.Errorf("session 3 = %+v", m)
	}
	if m, ok := ms.ByKafka("b:1"); !ok || m.Session != 5 {
		t.Errorf("b:1 = %+v, %v: the newest session counts", m, ok)
	}
	if got := sessions(ms.Live()); !slices.Equal(got, []uint64{2, 5}) {
		t.Errorf("live %v", got)
	}
	if got := sessions(ms.WithRole(routing.RoleProduce)); !slices.Equal(got, []uint64{2, 9}) {
		t.Errorf("with role produce %v: a member without roles has all", got)
	}
	if got := sessions(ms.InZone("z")); !slices.Equal(got, []uint64{5}) {
		t.Errorf("zone z %v", got)
	}
	if got := ms.Zones(); !slices.Equal(got, []string{"", "z"}) {
		t.Errorf("zones %q", got)
	}
	if id := (routing.Member{Session: 1<<40 | 7}).NodeID(); id != 7 {
		t.Errorf("node id %d", id)
	}
}
