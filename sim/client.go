package sim

import (
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// client is what a producer or consumer of a cluster has beside its work: the machine it runs on, and the agent it was sent to.
type client struct {
	machine int
	home    *agent // nil: it has to ask
	until   int64  // it asks nobody before, world time
}

// act lets one of a cluster's clients do what it would do next; false when that is nothing.
func (w *world) act() bool {
	if len(w.producers) == 0 {
		w.meetTopics()
		return false
	}
	if len(w.agents) == 0 || w.mute || w.now < w.quietUntil && !w.calm {
		return false
	}
	switch r := w.rng.IntN(10); {
	case r < 6:
		p := w.pick()
		a := w.homeOf(&p.client, p.partition)
		return a != nil && p.produce(a)
	case r < 9:
		c := w.consumers[w.rng.IntN(len(w.consumers))]
		if w.now < c.restUntil {
			return false
		}
		a := w.homeOf(&c.client, c.partition)
		return a != nil && c.poll(a)
	case w.rng.IntN(4) > 0:
		return false
	default:
		c := w.consumers[w.rng.IntN(len(w.consumers))]
		a := w.homeOf(&c.client, c.partition)
		if a == nil || !w.oracle.live(c.partition) {
			return false
		}
		w.lookFrom(c, a)
		return true
	}
}

// homeOf is the agent that a client talks to about a partition: the one it is connected to, or the one that an agent it can reach names
// as the partition's leader. Nil: none just now.
func (w *world) homeOf(c *client, p record.Partition) *agent {
	if a := c.home; a != nil && !a.gone && a.ready && w.rng.IntN(300) > 0 {
		return a
	}
	c.home = nil
	if w.now < c.until {
		return nil
	}
	asked := w.agents[w.rng.IntN(len(w.agents))]
	if !asked.ready || asked.paused || !w.reaches(c, asked) {
		c.until = w.now + 100 + w.rng.Int64N(1000)
		return nil
	}
	a := asked.leader(p, zone(c.machine%w.profile.zones))
	if a == nil || !a.ready || !w.reaches(c, a) {
		c.until = w.now + 100 + w.rng.Int64N(400)
		return nil
	}
	c.home = a
	return a
}

// reaches tells whether a client can open a connection.
func (w *world) reaches(c *client, a *agent) bool {
	return w.net.open(machine(c.machine), a.party()) && w.net.open(a.party(), machine(c.machine))
}

// leader is the agent that a names as the leader of a partition, as it answers Metadata.
func (a *agent) leader(p record.Partition, zone string) *agent {
	if a.node == nil {
		return a // of the time before clusters
	}
	live := a.members().Live().Where(func(m routing.Member) bool { return m.HasRole(routing.RoleProduce) })
	if in := live.InZone(zone); len(in) > 0 {
		live = in
	}
	m, ok := routing.Pick(p.String(), live)
	if !ok {
		return nil
	}
	for _, b := range a.w.agents {
		if b.kafka() == m.Kafka {
			return b
		}
	}
	return nil
}

// hears tells whether what an agent answers gets to a client.
func (w *world) hears(c *client, a *agent) bool {
	return w.net == nil || w.net.open(a.party(), machine(c.machine))
}

// onTheWay brings a request of a client to an agent: late, as messages are, and not at all when it is cut off for a minute. lost is told then.
func (w *world) onTheWay(c *client, a *agent, d time.Duration, arrived, lost func()) {
	sent := w.now
	var arrive func()
	arrive = func() {
		switch {
		case w.now-sent >= lostOnTheWay:
			lost()
		case !w.net.open(machine(c.machine), a.party()):
			a.after(250*time.Millisecond, "arrive", arrive)
		default:
			arrived()
		}
	}
	a.after(d, "arrive", arrive)
}

// lookFrom has a consumer ask for the bounds of its partition, as ListOffsets does.
func (w *world) lookFrom(c *consumer, a *agent) {
	began, asked := w.steps, w.now
	c.connect(a)
	w.onTheWay(&c.client, a, w.net.delay(), func() {
		if !a.ready {
			return
		}
		a.ask(func(err error) {
			if err != nil || a.gone {
				return
			}
			b, err := a.view.Bounds(c.partition)
			if err != nil {
				return // the topic is gone
			}
			w.counts["ends asked for"]++
			w.hist.Kafka.Looked = append(w.hist.Kafka.Looked, Looked{
				Client: c.n, Agent: a.n, Partition: c.partition, Began: began, Ended: w.steps, LogStart: b.LogStart, LogEnd: b.HighWatermark,
				Heard: w.hears(&c.client, a) && c.agent == a && w.now-asked <= w.profile.patience, // else the client has hung up
			})
		})
	}, func() {})
}

// askIDFrom has a producer ask for its id, as InitProducerId does.
func (p *producer) askIDFrom(a *agent) bool {
	p.asking, p.askedAt = true, p.w.now
	asked := p.askedAt
	p.w.onTheWay(&p.client, a, p.w.net.delay(), func() {
		a.submit(metadata.AllocateProducerIDs{Count: 1}, func(r metadata.Result, err error) {
			got, ok := r.(metadata.AllocateProducerIDsResult)
			if !ok || err != nil || got.Err != nil || a.gone || !p.w.hears(&p.client, a) || !p.asking || p.askedAt != asked {
				return
			}
			p.asking, p.id = false, got.First
			p.w.hist.Kafka.IDs = append(p.w.hist.Kafka.IDs, got.First)
		})
	}, func() {})
	return true
}
