package routing_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/bargedata/barge/routing"
)

func topicID(n int) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], uint64(n)*0x1234567)
	id[15] = byte(n)
	return id
}

func client(n int) string {
	return routing.ClientKey(fmt.Sprintf("app-%d", n), netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}))
}

// Agents of different builds have to tell one client the same: these values never change.
func TestPlacementIsTheSameInEveryBuild(t *testing.T) {
	p := routing.Place(agents(9, "a", "b", "c"), "b", client(1), map[string]int{"b": 3})
	want := [][]int32{{8, 6, 4}, {8, 3, 4}, {2, 6, 4}, {5, 6, 7}, {8, 6, 1}, {5, 3, 4}}
	if got := p.Topic(topicID(1), 6); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("placement %v, want %v", got, want)
	}
}

func TestEveryPartitionHasOneReplicaInEveryZone(t *testing.T) {
	ms := agents(11, "a", "b", "c")
	zoneOf := func(node int32) string {
		m, ok := ms.BySession(uint64(node))
		if !ok {
			t.Fatalf("node %d is nobody", node)
		}
		return m.Zone
	}
	for _, zone := range []string{"a", "b", "c"} {
		p := routing.Place(ms, zone, client(7), map[string]int{zone: 3})
		if p.Zone != zone || p.Miss {
			t.Fatalf("zone %s: placed in %+v", zone, p)
		}
		var racks []string
		for i, nodes := range p.Topic(topicID(3), 50) {
			var these []string
			for _, n := range nodes {
				these = append(these, zoneOf(n))
			}
			if racks == nil {
				racks = these
			}
			if len(nodes) != 3 || these[0] != zone || !slices.Equal(these, racks) {
				t.Errorf("zone %s, partition %d: racks %v, others have %v", zone, i, these, racks)
			}
			for _, other := range []string{"a", "b", "c"} {
				m, ok := p.Replica(topicID(3), int32(i), other)
				if ok != (other != zone) {
					t.Errorf("zone %s, partition %d: replica in %s: %v", zone, i, other, ok)
				}
				if ok && !slices.Contains(nodes[1:], m.NodeID()) {
					t.Errorf("zone %s, partition %d: sent to %d, which is none of its replicas %v", zone, i, m.NodeID(), nodes)
				}
			}
		}
	}
}

// A partition that every client writes to is led by every agent alike.
func TestAHotPartitionIsSpreadOverAgents(t *testing.T) {
	const clients = 5000
	ms := agents(10)
	led := make(map[int32]int)
	for c := range clients {
		led[routing.Place(ms, "", client(c), map[string]int{"": 10}).Topic(topicID(1), 1)[0][0]]++
	}
	for _, m := range ms {
		if n, mean := led[m.NodeID()], clients/10; n < mean*4/5 || n > mean*6/5 {
			t.Errorf("node %d leads it for %d clients, the mean is %d", m.NodeID(), n, mean)
		}
	}
}

func TestOneClientMeetsFewAgentsAndAllClientsMeetAll(t *testing.T) {
	ms := agents(20)
	met := make(map[int32]int)
	for c := range 2000 {
		mine := make(map[int32]bool)
		for topic := range 3 {
			for _, nodes := range routing.Place(ms, "", client(c), map[string]int{"": 20}).Topic(topicID(topic), 8) {
				mine[nodes[0]] = true
				met[nodes[0]]++
			}
		}
		if len(mine) > routing.Subset {
			t.Fatalf("client %d writes to %d agents, want at most %d", c, len(mine), routing.Subset)
		}
	}
	for _, m := range ms {
		if n, mean := met[m.NodeID()], 2000*24/20; n < mean*4/5 || n > mean*6/5 {
			t.Errorf("node %d leads %d, the mean is %d", m.NodeID(), n, mean)
		}
	}
}

func TestNobodyLeadsMuchMoreThanTheMeanOfATopic(t *testing.T) {
	for _, agentCount := range []int{1, 2, 3, 4} {
		for _, partitions := range []int{1, 2, 3, 4, 5, 12, 16, 100, 1000} {
			for topic := range 50 {
				led := make(map[int32]int)
				for _, nodes := range routing.Place(agents(agentCount), "", client(topic), map[string]int{"": agentCount}).Topic(topicID(topic), partitions) {
					led[nodes[0]]++
				}
				bound := (5*partitions + 4*agentCount - 1) / (4 * agentCount)
				for node, n := range led {
					if n > bound {
						t.Errorf("%d of %d partitions are led by node %d of %d, want at most %d", n, partitions, node, agentCount, bound)
					}
				}
			}
		}
	}
}

// An agent's going moves what it led, and little else: a bound that is reached earlier shifts some partitions.
func TestLittleMovesWhenAnAgentGoes(t *testing.T) {
	const partitions = 64
	before := agents(4)
	moved, had := 0, 0
	for topic := range 100 {
		with := routing.Place(before, "", client(1), map[string]int{"": 4}).Topic(topicID(topic), partitions)
		without := routing.Place(before[1:], "", client(1), map[string]int{"": 4}).Topic(topicID(topic), partitions)
		for i := range with {
			if with[i][0] == before[0].NodeID() {
				had++
			}
			if with[i][0] != without[i][0] {
				moved++
			}
		}
	}
	t.Logf("of %d partitions %d were led by who went, %d moved", 100*partitions, had, moved)
	if moved < had || moved > had*5/4 {
		t.Errorf("%d partitions moved, %d were led by the agent that went", moved, had)
	}
}

func TestDrainingAgentsLeadNothing(t *testing.T) {
	ms := slices.Clone(agents(4, "a", "b"))
	ms[0].Draining, ms[1].Draining = true, true
	for _, nodes := range routing.Place(ms, "a", client(1), nil).Topic(topicID(1), 20) {
		if !slices.Equal(nodes, []int32{3, 4}) {
			t.Fatalf("nodes %v, want 3 and 4", nodes)
		}
	}
	ms[2].Draining = true // nobody is left in zone a
	p := routing.Place(ms, "a", client(1), nil)
	if got := p.Topic(topicID(1), 1); !p.Miss || p.Zone != "b" || !slices.Equal(got[0], []int32{4}) {
		t.Errorf("placed in %q (miss %v): %v", p.Zone, p.Miss, got)
	}
}

func TestClientsOfAZoneWithoutAgentsAreSpreadOverAll(t *testing.T) {
	ms := agents(5, "a", "a", "a", "a", "b")
	got := make(map[string]int)
	for c := range 1000 {
		p := routing.Place(ms, "far", client(c), nil)
		if !p.Miss {
			t.Fatal("no miss")
		}
		got[p.Zone]++
		if again := routing.Place(ms, "far", client(c), nil); again.Zone != p.Zone {
			t.Fatalf("client %d: %s, then %s", c, p.Zone, again.Zone)
		}
	}
	if got["b"] < 150 || got["b"] > 250 {
		t.Errorf("zones %v: b has one agent of five", got)
	}
}

func TestRolesSteer(t *testing.T) {
	ms := slices.Clone(agents(4, "a", "a", "a", "b"))
	ms[0].Roles = []string{routing.RoleProduce}
	ms[1].Roles = []string{routing.RoleProduce, routing.RoleFetch}
	ms[2].Roles = []string{routing.RoleFetch}
	ms[3].Roles = []string{routing.RoleCompact}
	leader := func(ms routing.Members) []int32 {
		return routing.Place(ms, "a", client(1), map[string]int{"a": 9}).Topic(topicID(1), 1)[0]
	}
	if got := leader(ms); !slices.Equal(got, []int32{2, 4}) {
		t.Errorf("leader and replicas %v: 2 has both roles, and of b there is but 4", got)
	}
	if got := leader(routing.Members{ms[0], ms[2]}); !slices.Equal(got, []int32{1}) {
		t.Errorf("leader %v: nobody has both roles, 1 has produce", got)
	}
	if got := leader(routing.Members{ms[2], ms[3]}); !slices.Equal(got, []int32{3, 4}) {
		t.Errorf("leader %v: nobody has produce, somebody has to be asked", got)
	}
}

func TestNobodyIsPlacedNowhere(t *testing.T) {
	p := routing.Place(nil, "a", client(1), nil)
	if got := p.Topic(topicID(1), 2); len(got) != 2 || len(got[0]) != 0 {
		t.Errorf("nodes %v", got)
	}
	if m, ok := p.Replica(topicID(1), 0, "a"); ok {
		t.Errorf("replica %+v", m)
	}
}

func BenchmarkTopic(b *testing.B) {
	p := routing.Place(agents(100, "a", "b", "c"), "a", client(1), map[string]int{"a": 33})
	for b.Loop() {
		p.Topic(topicID(1), 10_000)
	}
}
