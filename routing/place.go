package routing

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Subset is among how many agents of a zone one client's partitions are spread. Fewer make for fewer connections and larger
// requests; another client has other ones, so that a partition everybody writes to is spread all the same.
const Subset = 4

// A member leads at most boundNum/boundDen times the mean of a client's partitions of one topic, rounded up.
const boundNum, boundDen = 5, 4

// ClientKey is what a client's choices hang on: its client.id and its address without the port, so that all connections of
// a client, and it again after a restart, are answered alike.
func ClientKey(id string, addr netip.Addr) string { return id + "\x00" + addr.String() }

// Placement says who leads the partitions for one client, and who is a replica of them.
type Placement struct {
	Zone string // that the leaders are in
	Miss bool   // nobody who could lead is in the zone asked for: Zone is another one

	client uint64     // hash of the client's key
	near   []Member   // leaders
	far    [][]Member // replicas, one list for each other zone, in an order that depends only on Zone
}

// Place chooses for the client that key (ClientKey) stands for and that is in zone. counts says how many agents each zone
// advertises (Counts). Draining members are not chosen. A zone without an agent is stood in for by one that the client's
// key draws, zones with more agents more often. Of nobody there is no placement: all that it answers is empty.
func Place(ms Members, zone, key string, counts map[string]int) Placement {
	live := ms.Live()
	p := Placement{Zone: zone, client: hashOf(key)}
	if len(live.InZone(zone)) == 0 {
		p.Miss = true
		drawn, ok := Pick(key, fit(live, RoleProduce, RoleFetch))
		if !ok {
			return p
		}
		p.Zone = drawn.Zone
	}
	p.near = PickN(key, Advertised(live, p.Zone, counts[p.Zone]), Subset)
	for _, z := range after(live.Zones(), p.Zone) {
		p.far = append(p.far, PickN(key, fit(live.InZone(z), RoleFetch), Subset))
	}
	return p
}

// after returns the other zones, beginning with the one that follows zone: racks are listed in the same order for every
// partition that a client sees.
func after(zones []string, zone string) []string {
	i, _ := slices.BinarySearch(zones, zone)
	turned := slices.Concat(zones[i:], zones[:i])
	return slices.DeleteFunc(turned, func(z string) bool { return z == zone })
}

// Topic returns the nodes of each of a topic's partitions: the leader first, then one agent of every other zone. Every
// partition has the same set of zones, which keeps rack-aware assignors of consumers (KIP-881) out of play: each client
// sees its own zone as the leaders'.
//
// Leaders are chosen partition by partition, and one that already has 1.25 times the mean of this topic is passed over. The
// client has a say in each choice: were it by partition alone, all clients would prefer the same agents for a partition
// that all of them write to, and the last in its order would lead it for nobody.
func (p Placement) Topic(id [16]byte, partitions int) [][]int32 {
	if len(p.near) == 0 || partitions <= 0 {
		return make([][]int32, max(partitions, 0))
	}
	width := 1 + len(p.far)
	all := make([]int32, 0, partitions*width)
	out := make([][]int32, partitions)
	bound := (boundNum*partitions + boundDen*len(p.near) - 1) / (boundDen * len(p.near))
	led := make([]int, len(p.near))
	topic := p.topicHash(id)
	for i := range partitions {
		key := partitionHash(topic, int32(i))
		begin := len(all)
		at := bestBelow(key, p.near, led, bound)
		led[at]++
		all = append(all, p.near[at].NodeID())
		for _, zone := range p.far {
			m, _ := pick(key, zone)
			all = append(all, m.NodeID())
		}
		out[i] = all[begin:len(all):len(all)]
	}
	return out
}

// bestBelow is the member with the highest score among those that lead fewer than bound.
func bestBelow(key uint64, ms []Member, led []int, bound int) int {
	best, at := uint64(0), -1
	for i := range ms {
		if led[i] >= bound {
			continue
		}
		if s := score(key, ms[i].Session); at < 0 || s > best {
			best, at = s, i
		}
	}
	return at
}

// Replica returns the replica of a partition in a zone other than the leaders', as Topic lists it; false if that zone has
// nobody. Consumers of that zone are sent to it (KIP-392).
func (p Placement) Replica(id [16]byte, partition int32, zone string) (Member, bool) {
	for _, ms := range p.far {
		if ms[0].Zone == zone { // no list in far is empty
			return pick(partitionHash(p.topicHash(id), partition), ms)
		}
	}
	return Member{}, false
}

func (p Placement) topicHash(id [16]byte) uint64 {
	return mix(p.client ^ binary.BigEndian.Uint64(id[:8]) ^ mix(binary.BigEndian.Uint64(id[8:])))
}

func partitionHash(topic uint64, partition int32) uint64 {
	return mix(topic + uint64(uint32(partition))*0x9e3779b97f4a7c15)
}

// fit returns the members that have all the roles, or as many of them from the front as anybody has: whoever is asked
// serves, and somebody has to be asked.
func fit(ms Members, roles ...string) Members {
	for ; len(roles) > 0; roles = roles[:len(roles)-1] {
		able := ms.Where(func(m Member) bool {
			return !slices.ContainsFunc(roles, func(r string) bool { return !m.HasRole(r) })
		})
		if len(able) > 0 {
			return able
		}
	}
	return ms
}
