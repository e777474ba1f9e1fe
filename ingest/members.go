package ingest

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/bargedata/barge/routing"
)

// Coordinators knows who holds which consumer group. *group.Coordinator implements it.
type Coordinators interface {
	// Coordinator returns the agent that requests of a group go to, and a Kafka error code: 0, or COORDINATOR_NOT_AVAILABLE
	// (15), after which clients ask again.
	Coordinator(ctx context.Context, group string) (routing.Member, int16)
}

// caller is what an answer depends on beside the request.
type caller struct {
	id   string     // client.id
	addr netip.Addr // of the peer
}

// cluster is the agents as one answer tells them.
type cluster struct {
	all       routing.Members    // those that clients are not sent to are marked as draining
	live      routing.Members    // the others; never empty
	endpoints map[int32]endpoint // of all
}

// cluster gathers what this agent knows of the others. It leaves itself out while it drains, or has lost the one who orders
// the log, as long as there is anybody else: what it can not serve soon, others can.
func (s *Server) cluster() cluster {
	self := routing.Member{Session: uint64(s.cfg.NodeID), Kafka: s.advertised.String()}
	out := cluster{endpoints: map[int32]endpoint{s.cfg.NodeID: s.advertised}}
	others := 0
	var members []routing.Member
	if s.deps.Members != nil {
		for _, m := range s.deps.Members() {
			if m.NodeID() == s.cfg.NodeID {
				self = m
				continue
			}
			at, err := endpointOf(m.Kafka)
			if err != nil {
				s.complaints.warn("an agent advertises an address that clients can not be told", "address", m.Kafka, "err", err)
				continue
			}
			members = append(members, m)
			out.endpoints[m.NodeID()] = at
			if !m.Draining {
				others++
			}
		}
	}
	self.Zone = s.cfg.Zone
	self.Draining = others > 0 && (self.Draining || s.leaving.Load() || s.deps.Reachable != nil && !s.deps.Reachable())
	out.all = routing.Sorted(append(members, self))
	out.live = out.all.Live()
	return out
}

// controller is this agent, or one that stands in for it where it leaves itself out.
func (c cluster) controller(self int32) int32 {
	for _, m := range c.live {
		if m.NodeID() == self {
			return self
		}
	}
	m, _ := routing.Pick("controller", c.live)
	return m.NodeID()
}

// endpointOf splits what an agent advertises.
func endpointOf(hostport string) (endpoint, error) {
	host, port, err := splitAdvertise(hostport)
	return endpoint{host, port}, err
}

// rackOf is a zone as brokers tell it, nil for none.
func rackOf(zone string) *string {
	if zone == "" {
		return nil
	}
	return &zone
}

// clientZone finds the zone of a client: what its client.id says, else the zone of its address, else unknown, and then the
// zone is this agent's, which is right where names resolve to agents nearby.
func (s *Server) clientZone(c caller, agents routing.Members) (zone string, known bool) {
	populated := func(zone string) bool {
		return slices.ContainsFunc(agents, func(m routing.Member) bool { return m.Zone == zone })
	}
	if zone, named := routing.ZoneOfClientID(c.id, populated); named {
		return zone, true
	}
	if zone, mapped := s.cfg.ClientZones.Zone(c.addr); mapped {
		return zone, true
	}
	return s.cfg.Zone, false
}

// zonedFor is how long a connection's zone is taken for granted: zones that agents are in come and go.
const zonedFor = 10 * time.Second

// zoned is the zone that a connection's client was last found in.
type zoned struct {
	id   string
	zone string
	at   time.Time
}

// zone is where the sender of req is, as it says or its address does; empty if neither does, or this agent has no zone.
func (c *conn) zone(req *request) string {
	if c.s.cfg.Zone == "" {
		return ""
	}
	now := c.s.deps.Now()
	if z := &c.zoned; z.at.IsZero() || z.id != req.clientID || now.Sub(z.at) >= zonedFor {
		var agents routing.Members
		if c.s.deps.Members != nil {
			agents = c.s.deps.Members()
		}
		zone, known := c.s.clientZone(c.caller(req), agents)
		if !known {
			zone = ""
		}
		*z = zoned{id: req.clientID, zone: zone, at: now}
	}
	return c.zoned.zone
}

// Outcomes of looking for agents in a client's zone, for Observer.Placed.
const (
	placedHit     = "hit"     // the client's zone has an agent
	placedMiss    = "miss"    // it has none: the client is sent to another zone
	placedUnaware = "unaware" // nothing tells the client's zone
)

// place chooses leaders and replicas for a client, and tells how its zone fared.
func (s *Server) place(c caller, agents cluster) (p routing.Placement, outcome string) {
	zone, known := s.clientZone(c, agents.live)
	s.placing.Lock()
	s.advertisedCounts = routing.Counts(agents.all, s.advertisedCounts)
	counts := s.advertisedCounts
	s.placing.Unlock()
	p = routing.Place(agents.all, zone, routing.ClientKey(c.id, c.addr), counts)
	switch {
	case !known:
		return p, placedUnaware
	case p.Miss:
		return p, placedMiss
	default:
		return p, placedHit
	}
}
