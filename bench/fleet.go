package bench

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
)

// fleet is some agents on one store.
type fleet struct {
	parts     Parts
	processes processes
	store     string // URL
	agents    []*child
}

// newFleet makes a fleet without agents. end must follow.
func newFleet(parts Parts) (*fleet, error) {
	f := &fleet{parts: parts, processes: processes{binary: parts.Binary}}
	if f.processes.binary == "" {
		var err error
		if f.processes.binary, err = ownBinary(); err != nil {
			return nil, err
		}
	}
	for _, kv := range parts.Environ {
		if !strings.HasPrefix(kv, "BARGE_") && !strings.HasPrefix(kv, "AWS_") {
			f.processes.environ = append(f.processes.environ, kv)
		}
	}
	f.processes.environ = append(f.processes.environ, "AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=benchbench")
	return f, nil
}

// start starts n agents, in the zones by turns.
func (f *fleet) start(ctx context.Context, n, zones int, args ...string) error {
	for i := range n {
		all := []string{"agent", "--store", f.store, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}
		if zones > 0 {
			all = append(all, "--zone", zoneName(i%zones))
		}
		agent, err := f.processes.startAgent(ctx, append(all, args...)...)
		if err != nil {
			return fmt.Errorf("agent %d of %d: %w", i+1, n, err)
		}
		f.agents = append(f.agents, agent)
	}
	return nil
}

func (f *fleet) brokers() []string {
	var all []string
	for _, a := range f.agents {
		all = append(all, a.listen)
	}
	return all
}

// look adds up the counters of all agents, and tells the largest heap and memory among them.
func (f *fleet) look(ctx context.Context) (sum counters, most counters, err error) {
	sum, most = counters{}, counters{}
	for _, a := range f.agents {
		c, err := scrape(ctx, a.metrics)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w: %s", a.listen, err, a.tail())
		}
		for name, v := range c {
			sum[name] += v
			most[name] = max(most[name], v)
		}
	}
	return sum, most, nil
}

func (f *fleet) end() error { return f.processes.stopAll() }

func zoneName(i int) string { return string(rune('a' + i)) }

// Requests are those that all agents made to the store.
type Requests struct {
	Puts    float64 `json:"puts"` // creates too, those that lost a race as well
	Gets    float64 `json:"gets"` // of ranges too
	Lists   float64 `json:"lists"`
	Deletes float64 `json:"deletes"`
}

func requestsOf(c counters) Requests {
	const name = "barge_store_requests_total"
	return Requests{
		Puts: c.sum(name, `op="put"`) + c.sum(name, `op="create"`), Gets: c.sum(name, `op="get`),
		Lists: c.sum(name, `op="list"`), Deletes: c.sum(name, `op="delete"`),
	}
}

// total is how many requests there were.
func (r Requests) total() float64 { return r.Puts + r.Gets + r.Lists + r.Deletes }

// every calls do each d until it fails or ctx ends, and returns its error.
func every(ctx context.Context, d time.Duration, do func() error) error {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := do(); err != nil {
				return cmp.Or(ctx.Err(), err)
			}
		}
	}
}
