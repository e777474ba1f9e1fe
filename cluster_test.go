package barge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/objectstore"
)

// proxy stands before an agent's peer address, and can be cut.
type proxy struct {
	addr string

	mu     sync.Mutex
	cut    bool
	conns  map[net.Conn]bool
	target string
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), conns: map[net.Conn]bool{}, target: freePort(t)}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	return p
}

// freePort is an address of this machine that nobody listened on a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func (p *proxy) pass(c net.Conn) {
	defer func() { _ = c.Close() }()
	p.mu.Lock()
	target := p.target
	if p.cut {
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	d, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = d.Close() }()
	p.mu.Lock()
	p.conns[c], p.conns[d] = true, true
	p.mu.Unlock()
	go func() {
		_, _ = io.Copy(d, c)
		_ = d.Close()
	}()
	_, _ = io.Copy(c, d)
	p.mu.Lock()
	delete(p.conns, c)
	delete(p.conns, d)
	p.mu.Unlock()
}

// sever ends what goes over the proxy, and lets nothing new through.
func (p *proxy) sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// through makes an agent reachable for others by way of the proxy only.
func (p *proxy) through(c *barge.Config) { c.Peer, c.PeerAdvertise = p.target, p.addr }

func sequencing(t *testing.T, a running) bool {
	t.Helper()
	return strings.Contains(metrics(t, a), "\nbarge_log_sequencing 1\n")
}

func members(t *testing.T, n int, agents ...running) {
	t.Helper()
	for _, a := range agents {
		eventually(t, fmt.Sprintf("%d members", n), func() bool {
			return strings.Contains(metrics(t, a), fmt.Sprintf("\nbarge_cluster_members %d\n", n))
		})
	}
}

// Agents on one store are one cluster: what is produced through any is read through any, also after the one that sequences is gone.
func TestAgentsOnOneStoreAreOneCluster(t *testing.T) {
	t.Parallel()
	store := objectstore.NewMemory(time.Now)
	agents := []running{start(t, store, nil), start(t, store, nil), start(t, store, nil)}
	members(t, 3, agents...)
	for i, a := range agents {
		produce(t, a, "logs", 100*i, 100*(i+1))
	}
	for _, a := range agents {
		consume(t, a, "logs", 300)
	}
	eventually(t, "300 rows in the table", func() bool { return tableRows(t, store, "logs") == 300 })

	first := 0
	for i, a := range agents {
		if sequencing(t, a) {
			first = i
		}
	}
	rest := append(append([]running{}, agents[:first]...), agents[first+1:]...)
	if err := agents[first].stop(); err != nil {
		t.Fatal(err)
	}
	produce(t, rest[0], "logs", 300, 400)
	consume(t, rest[1], "logs", 400)
	members(t, 2, rest...)
}

// An agent that leaves gives its clients away: none of them sees an error, and what they send arrives once and in order.
func TestClientsSeeNoErrorWhenAgentsLeave(t *testing.T) {
	t.Parallel()
	store := objectstore.NewMemory(time.Now)
	agents := []running{start(t, store, nil), start(t, store, nil), start(t, store, nil)}
	members(t, 3, agents...)
	produce(t, agents[0], "logs", 0, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(agents[0].Addr(), agents[1].Addr(), agents[2].Addr()), kgo.DefaultProduceTopic("logs"),
		kgo.ProducerLinger(0), kgo.RecordRetries(20))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	produced, stop := make(chan int, 1), make(chan struct{})
	go func() {
		n := 1
		for {
			select {
			case <-stop:
				produced <- n
				return
			case <-time.After(5 * time.Millisecond):
			}
			began := time.Now()
			if err := client.ProduceSync(context.Background(), kgo.StringRecord(fmt.Sprintf("%06d", n))).FirstErr(); err != nil {
				t.Errorf("record %d: %v", n, err)
			}
			if d := time.Since(began); d > 4*time.Second {
				t.Errorf("record %d took %v", n, d)
			}
			n++
		}
	}()
	for _, a := range agents[:2] { // one of them, or both, sequence when they leave
		time.Sleep(500 * time.Millisecond)
		if err := a.stop(); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	consume(t, agents[2], "logs", <-produced)
}

// A sealed session is an agent that was taken for dead. It goes on in a new session, on the same addresses, and its clients with it.
func TestAnAgentWhoseSessionWasSealedOpensAnother(t *testing.T) {
	t.Parallel()
	store := objectstore.NewMemory(time.Now)
	a, b := start(t, store, nil), start(t, store, nil)
	members(t, 2, a, b)
	produce(t, b, "logs", 0, 10)
	addr := b.Addr()
	if err := b.SealForTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new session", func() bool { return strings.Contains(metrics(t, b), "\nbarge_sessions_reopened_total 1\n") })
	if b.Addr() != addr {
		t.Errorf("the agent moved from %s to %s", addr, b.Addr())
	}
	produce(t, b, "logs", 10, 20)
	consume(t, a, "logs", 20)
	consume(t, b, "logs", 20)
	members(t, 2, a, b)
}

// The refusal of a commit may tell of the sealed session before the agent has looked for itself: that is no reason to end either.
func TestAnAgentAtWorkWhoseSessionWasSealedOpensAnother(t *testing.T) {
	t.Parallel()
	store := objectstore.NewMemory(time.Now)
	a, b := start(t, store, nil), start(t, store, nil)
	members(t, 2, a, b)
	produce(t, b, "logs", 0, 1)
	client := newClient(t, b, kgo.DefaultProduceTopic("logs"), kgo.ProducerLinger(0))
	for round := 1; round <= 3; round++ {
		working, stop := context.WithCancel(t.Context())
		worked := make(chan struct{})
		go func() {
			defer close(worked)
			for working.Err() == nil { // each in a commit of its own
				client.Produce(t.Context(), kgo.StringRecord("work"), func(_ *kgo.Record, err error) {
					if err != nil {
						t.Errorf("produce: %v", err)
					}
				})
				time.Sleep(time.Millisecond)
			}
		}()
		if err := b.SealForTest(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a new session", func() bool {
			return strings.Contains(metrics(t, b), fmt.Sprintf("\nbarge_sessions_reopened_total %d\n", round))
		})
		stop()
		<-worked
		if err := client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		members(t, 2, a, b)
	}
}

// Agents of one cluster know one secret; one that was given another ends at its start, says so, and touches nothing.
func TestAnAgentWithAnotherSecretEnds(t *testing.T) {
	t.Parallel()
	store := objectstore.NewMeter(objectstore.NewMemory(time.Now))
	file := func(name string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(strings.Repeat(name, 32)), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + path
	}
	one := file("one")
	a := start(t, store, func(c *barge.Config) { c.ClusterSecret = one })
	start(t, store, func(c *barge.Config) { c.ClusterSecret = one })
	members(t, 2, a)
	for name, secret := range map[string]string{"another": file("two"), "none": ""} {
		cfg := barge.DefaultConfig()
		cfg.Listen, cfg.HTTP, cfg.ClusterSecret = "127.0.0.1:0", "", secret
		stranger, err := barge.New(cfg, barge.Parts{
			Logger: slog.New(slog.DiscardHandler), Env: func(string) string { return "" }, Now: time.Now, Seed: 9, Store: store,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := stranger.Run(ctx); err == nil || !strings.Contains(err.Error(), "not the secret of the cluster") || !strings.Contains(err.Error(), "--cluster-secret") && !strings.Contains(err.Error(), "the same file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	members(t, 2, a)
}

// Two agents that tell clients the same address would send them to either. The second is told which is the first, and leaves it alone;
// once that is gone, the address is free.
func TestAnAddressThatAnotherAgentHasIsRefused(t *testing.T) {
	t.Parallel()
	store := objectstore.NewMemory(time.Now)
	addr := freePort(t)
	first := start(t, store, func(c *barge.Config) { c.Listen = addr })
	third := start(t, store, nil)
	members(t, 2, first, third)
	cfg := barge.DefaultConfig()
	cfg.Listen, cfg.HTTP, cfg.Advertise = "127.0.0.1:0", "", addr
	second, err := barge.New(cfg, barge.Parts{
		Logger: slog.New(slog.DiscardHandler), Env: func(string) string { return "" }, Now: time.Now, Seed: 9, Store: store,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = second.Run(ctx)
	if !errors.Is(err, barge.ErrAddressTaken) || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), first.HTTPAddr()) || !strings.Contains(err.Error(), "--advertise") {
		t.Errorf("the second agent ended with %v", err)
	}
	members(t, 2, first, third)
	produce(t, first, "logs", 0, 10)
	if strings.Contains(metrics(t, first), "\nbarge_sessions_reopened_total 1\n") {
		t.Error("the first agent's session was sealed")
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	heir := start(t, store, func(c *barge.Config) { c.Listen = addr })
	consume(t, heir, "logs", 10)
}

// The one that sequences loses its followers, and the log to one of them, without hearing of it. It serves on as a follower.
func TestADeposedSequencerGoesOnAsAFollower(t *testing.T) {
	t.Parallel()
	store := objectstore.NewMemory(time.Now)
	p := newProxy(t)
	first := start(t, store, p.through)
	second := start(t, store, nil)
	members(t, 2, first, second)
	if !sequencing(t, first) {
		t.Fatal("the first agent does not sequence")
	}
	p.sever()
	eventually(t, "the second sequences", func() bool { return sequencing(t, second) })
	produce(t, second, "logs", 0, 100)
	consume(t, first, "logs", 100)
	produce(t, first, "logs", 100, 200)
	consume(t, second, "logs", 200)
	if sequencing(t, first) {
		t.Error("two agents sequence")
	}
	if err := first.stop(); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
