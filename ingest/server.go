package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// View answers what the cluster looks like. *metadata.View implements it.
type View interface {
	Topic(name string) (metadata.Topic, bool)
	TopicByID(id record.TopicID) (metadata.Topic, bool)
	Topics() []metadata.Topic // by name
	Bounds(p record.Partition) (metadata.Bounds, error)
	Producers(p record.Partition) ([]metadata.ActiveProducer, error)
	PartitionBytes(p record.Partition) (int64, error) // that a partition takes in the store
	Clash(name string) (other string, found bool)     // a topic that differs from name in '.' and '_' alone
	Level() uint32                                    // of the log
}

// Commands changes the cluster. *metadata.Sequencer implements it.
type Commands interface {
	// Do makes cmd durable and visible in the View. A refusal is in the result; an error means the outcome is unknown.
	Do(ctx context.Context, cmd metadata.Command) (metadata.Result, error)
}

// Pending is the fate of one Append. *batcher.Pending implements it.
type Pending interface {
	Done() <-chan struct{}
	Results() []batcher.Result // one for each batch appended; valid after Done
}

// Appender takes batches towards the log. FromBatcher makes one of a *batcher.Batcher.
type Appender interface {
	// Append blocks while the buffer is full. Calls of one goroutine are committed in order. The batches' bytes must not
	// change until the Pending is done.
	Append(ctx context.Context, appends []record.Append) (Pending, error)
}

// FromBatcher makes an Appender of b.
func FromBatcher(b *batcher.Batcher) Appender { return fromBatcher{b} }

type fromBatcher struct{ b *batcher.Batcher }

// Append implements Appender.
func (f fromBatcher) Append(ctx context.Context, appends []record.Append) (Pending, error) {
	p, err := f.b.Append(ctx, appends)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Fetcher reads the log. *fetch.Reader implements it.
type Fetcher interface {
	Fetch(ctx context.Context, req fetch.Request) fetch.Response
	OffsetForTime(ctx context.Context, p record.Partition, ts int64) (record.Offset, int64, error)
	OffsetOfMaxTimestamp(ctx context.Context, p record.Partition) (record.Offset, int64, error)
}

// Coordinator runs consumer groups. *group.Coordinator implements it. Requests arrive as decoded,
// their byte fields owned by the coordinator; answers are never nil.
type Coordinator interface {
	JoinGroup(ctx context.Context, req *kmsg.JoinGroupRequest, clientID, clientHost string) *kmsg.JoinGroupResponse
	SyncGroup(ctx context.Context, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse
	Heartbeat(ctx context.Context, req *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse
	LeaveGroup(ctx context.Context, req *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse
	OffsetCommit(ctx context.Context, req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse
	OffsetFetch(ctx context.Context, req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse
	DeleteGroups(ctx context.Context, req *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse
	DescribeGroups(ctx context.Context, req *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse
	ListGroups(ctx context.Context, req *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse
	ConsumerGroupHeartbeat(ctx context.Context, req *kmsg.ConsumerGroupHeartbeatRequest, clientID, clientHost string) *kmsg.ConsumerGroupHeartbeatResponse
	ConsumerGroupDescribe(ctx context.Context, req *kmsg.ConsumerGroupDescribeRequest) *kmsg.ConsumerGroupDescribeResponse
	OffsetDelete(ctx context.Context, req *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse
}

// Deps are the parts a Server works with. Those that may be nil say so.
type Deps struct {
	View     View
	Commands Commands
	Batches  Appender
	Reader   Fetcher
	Groups   Coordinator

	// Members are the agents of the cluster as this one knows them, itself included or not. It must not block. Nil where
	// there is but this one.
	Members func() routing.Members
	// Reachable tells whether this agent has heard lately from the one that orders the log, or is it. While it has not, it
	// sends clients to the others. Nil: always.
	Reachable func() bool
	// Coordinators knows who holds which group. Nil: this agent holds all.
	Coordinators Coordinators

	// Fresh returns once the View holds all that was in the log when it was called. Ends of partitions are told, and
	// offsets beyond them refused, only after it: an end that seems to go back makes clients reset (KIP-320). Nil where
	// the View is never behind and cannot be deposed.
	Fresh func(ctx context.Context) error

	Now        func() time.Time
	NewTopicID func() record.TopicID // random; called from several goroutines
	Observer   Observer
	Log        *slog.Logger
}

// Server speaks the Kafka protocol. Make it with New; Run it once.
type Server struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	observe Observer
	layouts map[int16][]field

	memory     *byteBudget // Produce requests
	replies    *byteBudget // all replies
	large      *byteBudget // first batches of replies that find no room in replies
	control    *byteBudget // all other requests
	parked     *byteBudget // of those, the ones that wait for something to happen
	door       *doorman
	validators chan struct{} // tokens: batches being decompressed at a time
	ids        *idBlocks
	complaints *logGate
	frames     record.BufferPool // of Produce requests

	advertised endpoint // set by Run before it accepts
	leaving    atomic.Bool

	doubts            doubts
	produced, fetched rate

	placing          sync.Mutex
	advertisedCounts map[string]int // agents of each zone that lead, as last told
}

// endpoint is where clients are told to find this broker.
type endpoint struct {
	host string
	port int32
}

func (e endpoint) String() string { return net.JoinHostPort(e.host, strconv.Itoa(int(e.port))) }

// New checks cfg and deps. It starts nothing.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("kafka listener: %w", err)
	}
	if deps.View == nil || deps.Commands == nil || deps.Batches == nil || deps.Reader == nil || deps.Groups == nil ||
		deps.Now == nil || deps.NewTopicID == nil || deps.Log == nil {
		return nil, errors.New("kafka listener: a part is missing")
	}
	if deps.Observer == nil {
		deps.Observer = nobody{}
	}
	if deps.Fresh == nil {
		deps.Fresh = func(context.Context) error { return nil }
	}
	s := &Server{
		cfg:        cfg,
		deps:       deps,
		log:        deps.Log,
		observe:    deps.Observer,
		layouts:    make(map[int16][]field),
		memory:     newByteBudget(cfg.MemoryBytes),
		replies:    newByteBudget(cfg.ReplyBytes),
		large:      newByteBudget(largestBatch),
		control:    newByteBudget(max(cfg.MemoryBytes/8, 8<<20)),
		parked:     newByteBudget(max(cfg.MemoryBytes/8, 8<<20)),
		door:       newDoorman(cfg.MaxConnections, cfg.MaxConnectionsPerIP),
		validators: make(chan struct{}, runtime.GOMAXPROCS(0)),
		ids:        newIDBlocks(deps.Commands),
		complaints: &logGate{now: deps.Now, log: deps.Log},
	}
	for _, a := range apis() {
		if layout, ok := schemaOf(a.key); ok {
			s.layouts[a.key] = layout
		}
	}
	return s, nil
}

// Run listens and serves until ctx ends. Then it accepts nothing more, reads nothing more, lets long polls end, answers
// what is in flight within Config.DrainTimeout, and returns nil once every connection's goroutines have ended. Any other
// error is the listener's.
func (s *Server) Run(ctx context.Context) error {
	ln, err := s.listen(ctx)
	if err != nil {
		return err
	}
	stopClosing := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stopClosing()
	defer func() { _ = ln.Close() }()
	s.log.InfoContext(ctx, "kafka listener open", "address", ln.Addr().String(), "advertised", s.advertised.String(),
		"node", s.cfg.NodeID, "version", s.cfg.BrokerVersion)

	// Work outlives ctx: what has been taken is answered. hard ends it when the drain takes too long.
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var conns sync.WaitGroup
	err = s.accept(ctx, ln, func(nc net.Conn, ip netip.Addr) {
		conns.Go(func() {
			defer s.leave(ip)
			newConn(ctx, hard, s, nc).serve() //nolint:contextcheck // a connection carries the contexts of its requests
		})
	})
	if err != nil {
		cancel() // the listener broke: nobody told the connections to end
	}
	deadline := time.AfterFunc(s.cfg.DrainTimeout, cancel)
	defer deadline.Stop()
	conns.Wait()
	s.log.InfoContext(ctx, "kafka listener closed")
	return err
}

func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	ln := s.cfg.Listener
	if ln == nil {
		// Half-open peers are found within two minutes.
		lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 30 * time.Second, Count: 3}}
		var err error
		if ln, err = lc.Listen(ctx, "tcp", s.cfg.Listen); err != nil {
			return nil, fmt.Errorf("kafka listener: %w", err)
		}
	}
	advertise := s.cfg.Advertise
	if advertise == "" {
		advertise = ln.Addr().String()
	}
	host, port, err := splitAdvertise(advertise)
	if err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("kafka listener: advertised address %q: %w", advertise, err)
	}
	s.advertised = endpoint{host, port}
	return ln, nil
}

// accept hands every admitted connection to serve until the listener is closed by ctx's end.
func (s *Server) accept(ctx context.Context, ln net.Listener, serve func(net.Conn, netip.Addr)) error {
	pause := time.Duration(0)
	for {
		nc, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("kafka listener: %w", err)
		case err != nil:
			// Out of descriptors, most often: it passes when connections close.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.complaints.warn("accept failed", "err", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		ip := addressOf(nc)
		if refusal := s.door.enter(ip); refusal != "" {
			s.observe.Refused(refusal)
			s.complaints.warn("connection refused", "client", ip.String(), "reason", refusal)
			_ = nc.Close()
			continue
		}
		s.observe.Connections(s.door.open())
		serve(nc, ip)
	}
}

// budgetOf returns the budget that a request is paid from. Producers that wait for a slow store may use theirs up; that
// must not hold back heartbeats, or groups would fall apart on top of it.
func (s *Server) budgetOf(key int16) *byteBudget {
	if key == keyProduce {
		return s.memory
	}
	return s.control
}

func (s *Server) leave(ip netip.Addr) {
	s.door.leave(ip)
	s.observe.Connections(s.door.open())
}

// addressOf returns the peer's address, the zero one where the transport has none.
func addressOf(nc net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// logGate lets one complaint about peers through each second, so that a peer can not fill the log.
type logGate struct {
	now func() time.Time
	log *slog.Logger

	mu         sync.Mutex
	last       time.Time
	suppressed int
}

func (g *logGate) warn(msg string, args ...any) {
	g.mu.Lock()
	now := g.now()
	if !g.last.IsZero() && now.Sub(g.last) < time.Second {
		g.suppressed++
		g.mu.Unlock()
		return
	}
	suppressed := g.suppressed
	g.last, g.suppressed = now, 0
	g.mu.Unlock()
	if suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	g.log.Warn(msg, args...) //nolint:sloglint // every caller passes a constant
}
