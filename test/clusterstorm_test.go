//go:build realworld

package test

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// stormyAgents is a cluster whose one store has weather.
type stormyAgents struct {
	*agents
	*load
	p *proxy
}

// last lets the weather last for d. Every agent must live and answer and keep its memory, and no producer may give up on a record.
func (s *stormyAgents) last(t *testing.T, what string, w weather, d time.Duration) {
	t.Helper()
	s.p.set(w)
	before, did, begun := s.acked(), s.p.did(), time.Now()
	for time.Since(begun) < d {
		time.Sleep(200 * time.Millisecond)
		s.healthy(t)
		s.kept(t, what)
	}
	for _, m := range s.members {
		m.answers(t, "/livez", 200)
		m.answers(t, "/metrics", 200)
	}
	after := s.p.did()
	t.Logf("%-24s %5.1f s: %5.0f records/s acknowledged; %d requests, %d refused, %d answers lost, %d writes landed late, %d times 404 before", what, time.Since(begun).Seconds(),
		float64(s.acked()-before)/time.Since(begun).Seconds(), after.requests-did.requests, after.refused-did.refused, after.lost-did.lost, after.landed-did.landed, after.notFound-did.notFound)
}

// kept wants the memory of every agent under its cap.
func (s *stormyAgents) kept(t *testing.T, what string) {
	t.Helper()
	for _, m := range s.members {
		m.alive(t)
		if now, _ := resident(t, m.cmd.Process.Pid); now > smallAgentCap {
			t.Fatalf("%s: %s has %d MiB in memory, its cap is %d MiB", what, m.name, now/mib, smallAgentCap/mib)
		}
	}
}

// deposed kills the sequencer in the present weather and starts it again, and waits until records are acknowledged as before.
func (s *stormyAgents) deposed(t *testing.T, when func() bool) {
	t.Helper()
	m := s.sequencer(t)
	waitFor(t, 30*time.Second, "the moment to kill the sequencer", when)
	m.kill(t)
	before, begun := s.acked(), time.Now()
	m.launch(t)
	waitFor(t, time.Minute, "records are acknowledged after the sequencer's death", func() bool { s.healthy(t); return s.acked() > before+500 })
	t.Logf("500 more records %v after the sequencer was killed", time.Since(begun).Round(time.Millisecond))
}

// refused wants each agent to answer a producer that gives it 5 s with an error after which it may ask again.
func (s *stormyAgents) refused(t *testing.T, topic string) {
	t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(8)
	for _, m := range s.members {
		w := dialWire(t, m.brokers)
		if _, err := w.conn.Write(produceFrameWithin(t, topic, 0, 1, 3, 5*time.Second)); err != nil {
			t.Fatal(err)
		}
		w.id = 1
		begun := time.Now()
		resp, err := w.receive(req, 20*time.Second)
		if err != nil {
			t.Errorf("%s answers a producer nothing within %v: %v", m.name, time.Since(begun), err)
			continue
		}
		if err := kerr.ErrorForCode(resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode); !errors.Is(err, kerr.RequestTimedOut) {
			t.Errorf("%s answers a producer %v, want REQUEST_TIMED_OUT", m.name, err)
		}
	}
}

// TestAgentsInTheirStoresWeather: three agents on one store, whose answers are lost, whose writes to the log take effect long after they seemed to have
// failed, and which answers 503 to everything for BARGE_OUTAGE_SECONDS; sequencers die meanwhile. Producers are slowed down, and told so where they do not
// wait; all that was acknowledged is there once, and no agent's memory grows beyond its settings.
func TestAgentsInTheirStoresWeather(t *testing.T) {
	t.Parallel()
	b, p := proxiedBackend(t)
	c := plainAgents(t, b, 3, smallAgent...)
	barge(t, b, "topic", "create", "impatient", "--brokers", c.brokers(), "--partitions", "1")
	s := &stormyAgents{c, c.load(t, loadSettings{topic: "weather", partitions: 6, rate: 150, valueBytes: 1000, waiting: 3000}), p}

	p.set(weather{limbo: 1500 * time.Millisecond, only: "/meta/0/log/"})
	s.deposed(t, p.inLimbo)
	s.last(t, "writes that land late", weather{limbo: 1500 * time.Millisecond, only: "/meta/0/log/"}, 8*time.Second)
	if did := p.did(); did.landed < 2 { // whether anybody looks for their keys before is chance
		t.Errorf("%d writes landed late: there was no weather", did.landed)
	}

	p.set(weather{loseEvery: 10})
	s.deposed(t, func() bool { return true })
	s.last(t, "every tenth answer lost", weather{loseEvery: 10}, 5*time.Second)

	p.set(weather{slowDown: true})
	time.Sleep(time.Second) // what was stored before may still be answered
	before := s.acked()
	s.refused(t, "impatient")
	s.last(t, "503 to everything", weather{slowDown: true}, time.Duration(number(t, "BARGE_OUTAGE_SECONDS", 15))*time.Second)
	if n := s.acked() - before; n > 0 {
		t.Errorf("%d records were acknowledged while the store took nothing", n)
	}
	begun := time.Now()
	p.set(weather{})
	waitFor(t, 30*time.Second, "records are acknowledged again", func() bool { return s.acked() > before })
	t.Logf("the first record was acknowledged %v after the 503", time.Since(begun).Round(time.Millisecond))
	s.last(t, "fair", weather{}, 3*time.Second)
	if n := len(consumeAll(t, fresh(c.members[0].mortal), "impatient")); n > 3 {
		t.Errorf("%d records are there of 3 that were refused", n)
	}
	var peaks []int64
	for _, m := range c.members {
		if _, peak := resident(t, m.cmd.Process.Pid); peak > smallAgentCap {
			t.Errorf("%s had %d MiB in memory, its cap is %d MiB", m.name, peak/mib, smallAgentCap/mib)
		} else {
			peaks = append(peaks, peak/mib)
		}
	}
	t.Logf("MiB resident at most, by agent: %d", peaks)
	c.settle(t, s.load)
}
