package routing

import (
	"cmp"
	"slices"
)

// What an agent does for clients and for the cluster. Roles steer who is sent where; whoever is asked all the same serves.
const (
	RoleProduce    = "produce"    // leads partitions
	RoleFetch      = "fetch"      // leads partitions, and is a replica that consumers of its zone are sent to
	RoleCoordinate = "coordinate" // holds consumer groups
	RoleCompact    = "compact"    // does background work
	RoleConsole    = "console"    // shows the console
)

// Member is a live agent as the cluster knows it. The rates are soft: some seconds old, and zero until told.
type Member struct {
	Session     uint64 // of the agent on the metadata log; unique, and never used again
	Kafka       string // host:port that clients reach
	Peer        string // host:port that agents reach
	HTTP        string // host:port of the console, empty for none
	Zone        string // empty for none
	Roles       []string
	Draining    bool  // about to leave: new work goes elsewhere
	ProduceRate int64 // bytes/s taken in by Produce, over the last 10 s
	FetchRate   int64 // bytes/s given out by Fetch, over the last 10 s
	Connections int32 // of clients
}

// NodeID is the broker id that clients know the agent by.
func (m Member) NodeID() int32 { return int32(m.Session & 0x7fffffff) }

// HasRole reports whether the agent has the role. One that names no roles has all.
func (m Member) HasRole(role string) bool {
	return len(m.Roles) == 0 || slices.Contains(m.Roles, role)
}

// Members are agents in the order of their sessions, each once.
type Members []Member

// Sorted makes Members of ms. Of several with one session the last counts. It does not keep ms, but shares their Roles.
func Sorted(ms []Member) Members {
	all := slices.Clone(ms)
	slices.SortStableFunc(all, func(a, b Member) int { return cmp.Compare(a.Session, b.Session) })
	kept := all[:0]
	for _, m := range all {
		if n := len(kept); n > 0 && kept[n-1].Session == m.Session {
			kept[n-1] = m
			continue
		}
		kept = append(kept, m)
	}
	return kept
}

// Where returns the members for which keep holds.
func (ms Members) Where(keep func(Member) bool) Members {
	var out Members
	for _, m := range ms {
		if keep(m) {
			out = append(out, m)
		}
	}
	return out
}

// Live returns the members that are not draining.
func (ms Members) Live() Members { return ms.Where(func(m Member) bool { return !m.Draining }) }

// InZone returns the members of a zone; the empty zone is that of agents without one.
func (ms Members) InZone(zone string) Members {
	return ms.Where(func(m Member) bool { return m.Zone == zone })
}

// WithRole returns the members that have the role.
func (ms Members) WithRole(role string) Members {
	return ms.Where(func(m Member) bool { return m.HasRole(role) })
}

// Keepers returns the members that keep objects for the agents of a zone: those of it that serve consumers and stay.
func (ms Members) Keepers(zone string) Members { return ms.Live().InZone(zone).WithRole(RoleFetch) }

// Zones returns the zones that have a member, sorted, the empty one included.
func (ms Members) Zones() []string {
	var zones []string
	for _, m := range ms {
		zones = append(zones, m.Zone)
	}
	slices.Sort(zones)
	return slices.Compact(zones)
}

// BySession finds the agent of a session.
func (ms Members) BySession(session uint64) (Member, bool) {
	i, ok := slices.BinarySearchFunc(ms, session, func(m Member, s uint64) int { return cmp.Compare(m.Session, s) })
	if !ok {
		return Member{}, false
	}
	return ms[i], true
}

// ByKafka finds the agent that clients reach at addr, the one with the newest session where several say so: an agent that
// came back at once is still known by its earlier session for a while.
func (ms Members) ByKafka(addr string) (Member, bool) {
	for i := len(ms) - 1; i >= 0; i-- {
		if ms[i].Kafka == addr {
			return ms[i], true
		}
	}
	return Member{}, false
}
