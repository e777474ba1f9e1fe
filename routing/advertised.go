package routing

// What one advertised agent is meant for. An agent seals an object every quarter of a second or 8 MiB, whatever comes first:
// at ProduceBytes a second its objects are full, and a further agent would only split them in two. The other two keep one
// agent from being all consumers' and all connections' because producers do little. All are far from what an agent can do,
// since clients learn of more agents only when they refresh their metadata. Source: ADR 0007.
const (
	ProduceBytes  = 32 << 20  // a second
	FetchBytes    = 256 << 20 // a second
	ConnectionsOf = 4_096
)

// Counts returns how many agents each zone advertises, given how many it did before (nil at first). A zone grows as soon
// as its load asks for it and shrinks when a third more than its load would fit into fewer, so that a load at a bound does
// not move leaders to and fro. Draining members count with what they still do: it is about to go to the others.
func Counts(ms Members, before map[string]int) map[string]int {
	type load struct{ produce, fetch, connections int64 }
	loads := make(map[string]load)
	for _, m := range ms {
		l := loads[m.Zone]
		l.produce += max(m.ProduceRate, 0)
		l.fetch += max(m.FetchRate, 0)
		l.connections += int64(max(m.Connections, 0))
		loads[m.Zone] = l
	}
	counts := make(map[string]int, len(loads))
	for zone, l := range loads {
		fits := func(num, den int64) int {
			return int(max(1,
				ceilDiv(l.produce*num, ProduceBytes*den),
				ceilDiv(l.fetch*num, FetchBytes*den),
				ceilDiv(l.connections*num, ConnectionsOf*den)))
		}
		counts[zone] = min(max(before[zone], fits(1, 1)), fits(4, 3))
	}
	return counts
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

// Advertised returns the agents of a zone that lead partitions: the count of them that is asked for (at least one), of
// those with both roles, produce and fetch, or of those with the first if nobody has both. More of them means the ones
// there were and some others.
func Advertised(ms Members, zone string, count int) Members {
	able := fit(ms.Live().InZone(zone), RoleProduce, RoleFetch)
	return Sorted(PickN("produce/"+zone, able, max(count, 1)))
}
