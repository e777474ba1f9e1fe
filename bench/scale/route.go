package scale

import (
	"strconv"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// route lets each topic's producer ask for the leaders of its partitions, and returns whose each partition is, in the order of
// partitions.
func (r *Result) route(c *cluster) []int32 {
	ms := make([]routing.Member, r.Config.Agents)
	for _, s := range c.view.Sessions() {
		ms[s.ID-1] = routing.Member{Session: uint64(s.ID), Kafka: s.Agent.Address, Zone: s.Agent.Zone, ProduceRate: r.Config.Rate / int64(r.Config.Agents)}
	}
	members := routing.Sorted(ms)
	c.members = members
	counts := routing.Counts(members, nil)
	if r.Config.Everybody {
		for zone := range counts {
			counts[zone] = len(members.InZone(zone))
		}
	}
	leaders := make(map[record.Partition]int32, r.Config.Partitions)
	load := make([]int, len(members))
	for i, t := range c.view.Topics() {
		place := routing.Place(members, zoneName(i%r.Config.Zones), "producer-of-"+t.Name, counts)
		for p, nodes := range place.Topic(t.ID, int(t.Partitions)) {
			leaders[record.Partition{Topic: t.ID, Index: int32(p)}] = nodes[0] - 1 // sessions, and so nodes, are numbered from 1 on
			load[nodes[0]-1]++
		}
	}
	all := c.partitions()
	owners := make([]int32, len(all))
	for i, id := range all {
		owners[i] = leaders[id]
	}
	r.Routing = routingCost(c.view.Topics(), members, counts)
	for _, n := range load {
		if n > 0 {
			r.Routing.Leaders++
		}
		r.Routing.MostOverMean = max(r.Routing.MostOverMean, float64(n))
	}
	r.Routing.MostOverMean *= float64(r.Routing.Leaders) / float64(r.Config.Partitions)
	return owners
}

// routingCost is what choices among so many members take.
func routingCost(topics []metadata.Topic, members routing.Members, counts map[string]int) Routing {
	const picks = 10_000
	pick := medianOf(repeats, func() {
		for i := range picks {
			routing.Pick("wal/"+strconv.Itoa(i), members)
		}
	})
	client := medianOf(repeats, func() {
		place := routing.Place(members, zoneName(0), "consumer", counts)
		for i := range topics {
			place.Topic(topics[i].ID, int(topics[i].Partitions))
		}
	})
	return Routing{PickNanos: float64(pick/time.Nanosecond) / picks, ClientMillis: millis(client)}
}
