package replica_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/replica"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

var errCut = errors.New("cut off")

// cluster is several Nodes over one log, with a network that can be cut. For synctest bubbles.
type cluster struct {
	t   *testing.T
	log metadata.Log
	cfg replica.Config // of agents started from now on, but for Owner

	mu    sync.Mutex
	nodes map[string]*node // by peer address
	cuts  map[[2]string]bool
	calls map[string]int // of Follow that asked for entries, "from>to"
}

type node struct {
	*replica.Node
	c      *cluster
	name   string
	view   *metadata.View
	log    *gatedLog
	cancel context.CancelFunc
	done   chan error
	dead   bool
	sess   uint64
}

// gatedLog is one agent's way to the log, which can be shut; it counts what goes through.
type gatedLog struct {
	metadata.Log
	mu    sync.Mutex
	shut  bool
	calls int
	wait  chan struct{} // closed when it is opened again
}

func (g *gatedLog) pass(ctx context.Context) error {
	g.mu.Lock()
	g.calls++
	shut, wait := g.shut, g.wait
	g.mu.Unlock()
	if !shut {
		return nil
	}
	select {
	case <-wait:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gatedLog) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls
}

func (g *gatedLog) close(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if shut && !g.shut {
		g.wait = make(chan struct{})
	}
	if !shut && g.shut {
		close(g.wait)
	}
	g.shut = shut
}

func (g *gatedLog) Acquire(ctx context.Context, owner string, unless uint64) (metadata.Acquired, error) {
	if err := g.pass(ctx); err != nil {
		return metadata.Acquired{}, err
	}
	return g.Log.Acquire(ctx, owner, unless)
}

func (g *gatedLog) Newest(ctx context.Context) (metadata.Acquired, error) {
	if err := g.pass(ctx); err != nil {
		return metadata.Acquired{}, err
	}
	return g.Log.Newest(ctx)
}

func (g *gatedLog) Append(ctx context.Context, term, seq uint64, id [16]byte, body []byte) error {
	if err := g.pass(ctx); err != nil {
		return fmt.Errorf("%w: %w", metadata.ErrUnknown, err)
	}
	time.Sleep(5 * time.Millisecond)
	return g.Log.Append(ctx, term, seq, id, body)
}

func (g *gatedLog) Confirm(ctx context.Context, term, next uint64) error {
	if err := g.pass(ctx); err != nil {
		return err
	}
	return g.Log.Confirm(ctx, term, next)
}

func (g *gatedLog) Read(ctx context.Context, from uint64, maxBytes int) ([]metadata.LogEntry, error) {
	if err := g.pass(ctx); err != nil {
		return nil, err
	}
	return g.Log.Read(ctx, from, maxBytes)
}

func (g *gatedLog) Hint(ctx context.Context) (metadata.Hint, error) {
	if err := g.pass(ctx); err != nil {
		return metadata.Hint{}, err
	}
	return g.Log.Hint(ctx)
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return &cluster{t: t, log: metadata.NewMemoryLog(), nodes: map[string]*node{}, cuts: map[[2]string]bool{}, calls: map[string]int{}}
}

// start starts an agent, named like its zone and a number ("a1"); opened says whether it opens a session as soon as it can.
func (c *cluster) start(name string, opened bool) *node {
	c.t.Helper()
	seed := rand.NewPCG(uint64(len(name)), uint64(name[0])<<8|uint64(name[len(name)-1]))
	rng := rand.New(seed)
	n := &node{c: c, name: name, view: metadata.NewView(), log: &gatedLog{Log: c.log}, done: make(chan error, 1)}
	ids := func() (id [16]byte) {
		for i := range id {
			id[i] = byte(rng.Uint32())
		}
		return id
	}
	cfg := c.cfg
	cfg.Owner = metadata.Owner{Kafka: name + ":9092", Peer: name}
	n.Node = replica.New(cfg, replica.Parts{
		Log: n.log, View: n.view, Transport: &wire{c, name}, Now: time.Now, IDs: ids, Rand: rand.New(rand.NewPCG(1, uint64(name[len(name)-1]))), Logger: testLogger(c.t, name),
	})
	c.mu.Lock()
	c.nodes[name] = n
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(c.t.Context())
	n.cancel = cancel
	go func() { n.done <- n.Run(ctx) }()
	if opened {
		select {
		case <-n.Ready():
		case err := <-n.done:
			c.t.Fatalf("%s ended: %v", name, err)
		case <-time.After(time.Minute):
			c.t.Fatalf("%s is not ready after a minute", name)
		}
		n.open()
	}
	return n
}

func testLogger(t *testing.T, name string) *slog.Logger {
	t.Helper()
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})).With("agent", name)
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(p[:len(p)-1]))
	return len(p), nil
}

// open opens a session and tells it.
func (n *node) open() {
	n.c.t.Helper()
	for {
		opened, err := metadata.Ask[metadata.OpenSessionResult](n.c.t.Context(), n, metadata.OpenSession{Agent: metadata.AgentInfo{Address: n.name + ":9092", Level: metadata.MaxLevel}})
		if errors.Is(err, metadata.ErrUnavailable) && !errors.Is(err, metadata.ErrEnded) {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if err != nil || opened.Err != nil {
			n.c.t.Fatalf("%s opens a session: %v, %v", n.name, err, opened.Err)
		}
		n.sess = uint64(opened.Session)
		break
	}
	n.SetSelf(routing.Member{Session: n.sess, Kafka: n.name + ":9092", Zone: n.name[:1]})
}

// kill ends an agent without a word: nothing it sends arrives, and nobody listens where it was.
func (n *node) kill() {
	n.c.mu.Lock()
	n.dead = true
	n.c.mu.Unlock()
	n.log.close(true)
	n.cancel()
}

// stop ends an agent as it should.
func (n *node) stop() {
	n.c.t.Helper()
	n.cancel()
	if err := <-n.done; err != nil {
		n.c.t.Errorf("%s: %v", n.name, err)
	}
	n.c.mu.Lock()
	n.dead = true
	n.c.mu.Unlock()
}

// asked is how often one agent asked another for entries since the last call for the two.
func (c *cluster) asked(from, to string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.calls[from+">"+to]
	delete(c.calls, from+">"+to)
	return n
}

func (c *cluster) cut(a, b string, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts[[2]string{a, b}], c.cuts[[2]string{b, a}] = yes, yes
}

// reach finds the node at addr, as from is connected. A cut swallows what is sent.
func (c *cluster) reach(ctx context.Context, from, addr string) (*node, error) {
	c.mu.Lock()
	n, me, cut := c.nodes[addr], c.nodes[from], c.cuts[[2]string{from, addr}]
	dead, meDead := n == nil || n.dead, me.dead
	c.mu.Unlock()
	switch {
	case cut || meDead:
		<-ctx.Done()
		return nil, fmt.Errorf("%s to %s: %w", from, addr, errCut)
	case dead:
		return nil, fmt.Errorf("%s to %s: %w", from, addr, syscall.ECONNREFUSED)
	}
	time.Sleep(time.Millisecond)
	return n, nil
}

// wire is the Transport of the agent named from.
type wire struct {
	c    *cluster
	from string
}

func (w *wire) Follow(ctx context.Context, addr string, req *peerpb.FollowRequest) (*peerpb.FollowResponse, error) {
	n, err := w.c.reach(ctx, w.from, addr)
	if err != nil {
		return nil, err
	}
	if req.GetNext() != 1<<64-1 {
		w.c.mu.Lock()
		w.c.calls[w.from+">"+addr]++
		w.c.mu.Unlock()
	}
	resp, err := n.HandleFollow(ctx, req)
	if err != nil {
		return nil, err
	}
	if _, err := w.c.reach(ctx, w.from, addr); err != nil && !resp.GetLeaving() {
		return nil, err
	}
	return resp, nil
}

func (w *wire) Confirm(ctx context.Context, addr string) (*peerpb.ConfirmResponse, error) {
	n, err := w.c.reach(ctx, w.from, addr)
	if err != nil {
		return nil, err
	}
	resp, err := n.HandleConfirm(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := w.c.reach(ctx, w.from, addr); err != nil {
		return nil, err
	}
	return resp, nil
}

// stream is both ends of one in memory.
type stream struct {
	w      *wire
	addr   string
	ctx    context.Context
	cancel context.CancelFunc
	there  chan *peerpb.SubmitRequest
	back   chan *peerpb.SubmitResponse
	over   chan struct{}
}

func (w *wire) Submit(ctx context.Context, addr string) (replica.SubmitStream, error) {
	n, err := w.c.reach(ctx, w.from, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(w.c.t.Context())
	s := &stream{w: w, addr: addr, ctx: ctx, cancel: cancel, there: make(chan *peerpb.SubmitRequest, 16), back: make(chan *peerpb.SubmitResponse, 16), over: make(chan struct{})}
	go func() {
		_ = n.HandleSubmit(ctx, farEnd{s})
		close(s.over)
	}()
	return s, nil
}

func (s *stream) Send(req *peerpb.SubmitRequest) error {
	if _, err := s.w.c.reach(s.ctx, s.w.from, s.addr); err != nil {
		return err
	}
	select {
	case s.there <- req:
		return nil
	case <-s.over:
		return io.ErrClosedPipe
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *stream) Receive() (*peerpb.SubmitResponse, error) {
	for {
		select {
		case resp := <-s.back:
			if _, err := s.w.c.reach(s.ctx, s.w.from, s.addr); err != nil {
				return nil, err
			}
			return resp, nil
		case <-s.over:
			return nil, io.EOF
		case <-s.ctx.Done():
			return nil, s.ctx.Err()
		case <-time.After(100 * time.Millisecond):
			s.w.c.mu.Lock()
			n := s.w.c.nodes[s.addr]
			dead := n.dead
			s.w.c.mu.Unlock()
			if dead {
				return nil, io.ErrUnexpectedEOF
			}
		}
	}
}

func (s *stream) Close() { s.cancel() }

type farEnd struct{ *stream }

func (s farEnd) Receive() (*peerpb.SubmitRequest, error) {
	select {
	case req := <-s.there:
		return req, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s farEnd) Send(resp *peerpb.SubmitResponse) error {
	select {
	case s.back <- resp:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// leader finds the one agent that is heard to sequence by itself; it waits for it.
func (c *cluster) leader(among ...*node) *node {
	c.t.Helper()
	for range 1000 {
		for _, n := range among {
			if n.Sequencing() {
				return n
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatal("nobody sequences")
	return nil
}

var topicID = record.TopicID{15: 1}

// topic makes the topic that producers write to.
func (n *node) topic() {
	n.c.t.Helper()
	if r, err := metadata.Ask[metadata.CreateTopicResult](n.c.t.Context(), n, metadata.CreateTopic{ID: topicID, Name: "logs", Partitions: 4}); err != nil || r.Err != nil {
		n.c.t.Fatalf("create the topic: %v, %v", err, r.Err)
	}
}

// commitOf makes the counter-th commit of a session: one batch of one record in the partition.
func commitOf(session, counter uint64, partition int32) metadata.CommitObject {
	return metadata.CommitObject{
		Session: metadata.SessionID(session), Counter: counter, Settled: counter - min(counter, 500), Key: fmt.Sprintf("wal/%d/%d", session, counter), Size: 100,
		Runs: []metadata.CommitRun{{Partition: record.Partition{Topic: topicID, Index: partition}, Pos: 10, Batches: []metadata.CommitBatch{{Len: 10, Records: 1, ProducerID: -1}}}},
	}
}

func (n *node) end(partition int32) record.Offset {
	b, err := n.view.Bounds(record.Partition{Topic: topicID, Index: partition})
	if err != nil {
		return -1
	}
	return b.HighWatermark
}
