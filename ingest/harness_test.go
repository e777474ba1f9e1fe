package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
)

// counts is an Observer that remembers.
type counts struct {
	nobody
	mu      sync.Mutex
	refused map[string]int
	placed  map[string]int
	sent    map[string]int
	crossed map[string]int // requests by client and zone
	errors  map[int16]int  // by code
}

func (c *counts) Error(_, code int16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errors[code]++
}

func (c *counts) Refused(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[reason]++
}

func (c *counts) Placed(outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.placed[outcome]++
}

func (c *counts) Redirected(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent[reason]++
}

func (c *counts) redirects(reason string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent[reason]
}

func (c *counts) CrossedZones(client, zone string, in, out int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if in > 0 && out > 0 {
		c.crossed[client+" in "+zone]++
	}
}

func (c *counts) refusals(reason string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused[reason]
}

// running is a server at work on loopback.
type running struct {
	server *Server
	addr   string
	counts *counts
	stop   func() // ends Run and waits for it
}

func startServer(tb testing.TB, cluster *fakeCluster, change ...func(*Config, *Deps)) *running {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Listener, cfg.ClusterID, cfg.NodeID, cfg.Zone = ln, "test-cluster", 7, "zone-a"
	var drawing sync.Mutex
	rng := rand.New(rand.NewPCG(1, 2))
	seen := &counts{refused: make(map[string]int), placed: make(map[string]int), sent: make(map[string]int), crossed: make(map[string]int), errors: make(map[int16]int)}
	deps := Deps{
		View: cluster, Commands: cluster, Batches: cluster, Reader: cluster, Groups: noGroups{},
		Now: time.Now, Observer: seen, Log: testLog(tb),
		NewTopicID: func() (id record.TopicID) {
			drawing.Lock()
			defer drawing.Unlock()
			binary.BigEndian.PutUint64(id[:], rng.Uint64())
			binary.BigEndian.PutUint64(id[8:], rng.Uint64())
			return id
		},
	}
	for _, f := range change {
		f(&cfg, &deps)
	}
	s, err := New(cfg, deps)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	r := &running{server: s, addr: ln.Addr().String(), counts: seen}
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				tb.Errorf("Run: %v", err)
			}
			if n := s.memory.inUse() + s.control.inUse() + s.replies.inUse(); n != 0 {
				tb.Errorf("%d bytes are still held after the end", n)
			}
			if n := s.door.open(); n != 0 {
				tb.Errorf("%d connections are still counted after the end", n)
			}
		})
	}
	tb.Cleanup(r.stop)
	return r
}

// wire is a client that says exactly what it is told to.
type wire struct {
	t    *testing.T
	conn net.Conn
	next int32
}

func dial(t *testing.T, addr string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &wire{t: t, conn: conn}
}

// frameOf formats a request as clients do.
func frameOf(req kmsg.Request, correlation int32) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, correlation)
}

// send writes a request and returns its correlation id.
func (w *wire) send(req kmsg.Request) int32 {
	w.t.Helper()
	w.next++
	w.raw(frameOf(req, w.next))
	return w.next
}

func (w *wire) raw(b []byte) {
	w.t.Helper()
	if _, err := w.conn.Write(b); err != nil {
		w.t.Fatalf("write: %v", err)
	}
}

// frame reads one response frame without its size.
func (w *wire) frame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(w.conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(w.conn, b)
	return b, err
}

// receive reads the answer to req, which must have the correlation id given.
func (w *wire) receive(req kmsg.Request, correlation int32) kmsg.Response {
	w.t.Helper()
	b, err := w.frame()
	if err != nil {
		w.t.Fatalf("no answer to %T v%d: %v", req, req.GetVersion(), err)
	}
	if got := int32(binary.BigEndian.Uint32(b)); got != correlation {
		w.t.Fatalf("answer %d came where %d was due", got, correlation)
	}
	b = b[4:]
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && resp.Key() != keyAPIVersions {
		if b[0] != 0 {
			w.t.Fatalf("response header has tags")
		}
		b = b[1:]
	}
	if err := resp.ReadFrom(b); err != nil {
		w.t.Fatalf("answer to %T v%d: %v", req, req.GetVersion(), err)
	}
	return resp
}

func (w *wire) ask(req kmsg.Request) kmsg.Response {
	w.t.Helper()
	return w.receive(req, w.send(req))
}

// closed asserts that the server ends the connection without another word.
func (w *wire) closed() {
	w.t.Helper()
	b, err := w.frame()
	if ne, ok := errors.AsType[net.Error](err); err == nil || ok && ne.Timeout() {
		w.t.Fatalf("want the connection closed, got %x, %v", b, err)
	}
}

// batchOf builds a record batch as a producer sends it.
func batchOf(tb testing.TB, codec record.Codec, values ...string) []byte {
	tb.Helper()
	b := record.NewBuilder(codec)
	b.Reset(0)
	for i, v := range values {
		if err := b.Append(&record.Record{Offset: record.Offset(i), Timestamp: int64(1000 + i), Value: []byte(v)}); err != nil {
			tb.Fatal(err)
		}
	}
	out, err := b.Build(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// produceOf is a Produce request for one partition.
func produceOf(version int16, topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, -1, 10_000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID = topic, testTopic(topic, 1).ID
	rt.Partitions = append(rt.Partitions, p)
	req.Topics = append(req.Topics, rt)
	return req
}

// ask sends req and reads its answer.
func ask[R kmsg.Response](w *wire, req kmsg.Request) R {
	w.t.Helper()
	return receive[R](w, req, w.send(req))
}

// receive reads the answer to req.
func receive[R kmsg.Response](w *wire, req kmsg.Request, correlation int32) R {
	w.t.Helper()
	resp, ok := w.receive(req, correlation).(R)
	if !ok {
		w.t.Fatalf("no answer of the right type to %T", req)
	}
	return resp
}

func testLog(tb testing.TB) *slog.Logger {
	tb.Helper()
	return slog.New(slog.NewTextHandler(tb.Output(), nil))
}
