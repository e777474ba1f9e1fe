package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bargedata/barge/record"
)

const (
	// maxPendingReplies bounds the requests of one connection between reader and writer. librdkafka would pipeline a
	// million.
	maxPendingReplies = 256
	// maxRunningFetches bounds the Fetch requests of one connection at work at a time, each up to Config.FetchBytes.
	// Clients send one.
	maxRunningFetches = 2
	// alwaysParked is the size, bytes, up to which a request may wait however much waits already: that of a member, or of
	// a consumer with a few partitions.
	alwaysParked = 8 << 10
	// frameHead is size, API key, API version and correlation id.
	frameHead = 4 + 2 + 2 + 4
)

// conn is one client connection.
type conn struct {
	s    *Server
	nc   net.Conn
	in   *frameReader
	addr netip.Addr // of the peer
	host string     // the same, for group membership

	draining context.Context // ends when the server is told to stop
	work     context.Context // ends when in-flight work has to be given up
	polls    context.Context // child of work; also ends when no more requests will come or no reply can be sent
	endPolls context.CancelFunc

	memory  *byteBudget
	replies chan *reply
	fetches chan struct{} // tokens
	turns   atomic.Uint64 // fetches so far
	tasks   sync.WaitGroup

	zoned    zoned // reader only
	steered  steered
	caughtUp atomic.Bool // the View has held all that this client can have seen elsewhere
	produces []Pending   // not known to be done; reader only

	waiting   atomic.Int64 // replies reserved and not written
	readClock *time.Timer  // interrupts a read that takes too long
}

// request is one request as read off the wire.
type request struct {
	api         api
	version     int16
	correlation int32
	clientID    string
	body        []byte // after the header; owned by the request
	frameBytes  int
	frame       *record.Buffer // what body lies in, where that is lent: Produce
	held        int64          // bytes taken from the connection's budget and that of its kind
}

func (r request) flexible() bool { return r.version >= r.api.flexible }

// reply is the reserved answer to one request. Whoever carries the request out sets the fields and closes ready.
type reply struct {
	key     int16
	bytesIn int
	client  string // its client.id
	zone    string // of the client, empty if not known
	arrived time.Time
	held    int64 // bytes taken for the request, given back when it is answered, for Produce when the reply is written
	parked  int64 // bytes taken in place of held for a request that waits, given back when it is answered
	sending int64 // bytes taken for the reply, given back when it is written or dropped
	large   int64 // how many of them come out of the budget of large first batches

	ready   chan struct{}
	fate    <-chan struct{} // if not nil, await waits for it
	await   func()          // if not nil, runs in the writer when the reply's turn comes and sets the fields below
	buffers net.Buffers
	over    func() // if not nil, runs when nothing refers to buffers any more
	fault   *fault // close the connection in place of a reply
}

// fault is why a connection is closed.
type fault struct {
	reason string // for Observer.Refused; empty: not the peer's fault, or nothing to say
	err    error
}

func newConn(draining, hard context.Context, s *Server, nc net.Conn) *conn {
	c := &conn{
		s:        s,
		nc:       nc,
		in:       newFrameReader(nc),
		addr:     addressOf(nc),
		host:     "/" + addressOf(nc).String(),
		draining: draining,
		work:     hard,
		memory:   newByteBudget(s.cfg.ConnectionBytes),
		replies:  make(chan *reply, maxPendingReplies),
		fetches:  make(chan struct{}, maxRunningFetches),
	}
	c.polls, c.endPolls = context.WithCancel(hard)
	return c
}

// caller is who sent req.
func (c *conn) caller(req *request) caller {
	return caller{id: req.clientID, addr: c.addr}
}

// longAgo as a deadline interrupts at once, whatever clock is injected.
func longAgo() time.Time { return time.Unix(1, 0) }

// serve runs the connection to its end.
func (c *conn) serve() {
	defer func() { _ = c.nc.Close() }()
	defer c.endPolls()
	c.readClock = time.AfterFunc(time.Hour, func() { _ = c.nc.SetReadDeadline(longAgo()) })
	defer c.readClock.Stop()
	stop := context.AfterFunc(c.draining, func() {
		c.endPolls()
		_ = c.nc.SetReadDeadline(longAgo())
	})
	defer stop()
	// A peer that reads nothing must not outlive the drain.
	stopHard := context.AfterFunc(c.work, func() { _ = c.nc.Close() })
	defer stopHard()

	var writer sync.WaitGroup
	writer.Go(c.write)
	c.read()
	c.endPolls()
	c.tasks.Wait()
	close(c.replies)
	writer.Wait()
}

// read takes requests until the peer is done, at fault, or the server drains.
func (c *conn) read() {
	for {
		req, f := c.next()
		if f != nil {
			c.complain(f)
			return
		}
		if !c.start(&req) {
			return
		}
	}
}

func (c *conn) complain(f *fault) {
	if f.reason == "" {
		return
	}
	c.s.observe.Refused(f.reason)
	c.s.complaints.warn("connection closed", "client", c.host, "reason", f.reason, "err", f.err)
}

// next reads one frame. Its bytes are held in the budgets when it returns without a fault.
func (c *conn) next() (request, *fault) {
	for {
		c.arm(c.s.cfg.IdleTimeout)
		_, err := c.in.peek(1)
		if err == nil {
			break
		}
		if c.draining.Err() == nil && isTimeout(err) && c.waiting.Load() > 0 {
			continue // not idle: it waits for us
		}
		return request{}, &fault{err: err} // the peer left, idled, or we drain: nothing to complain about
	}

	c.arm(c.s.cfg.BodyTimeout)
	head, err := c.in.peek(frameHead)
	if err != nil {
		return request{}, c.cutOff(err)
	}
	size := int64(int32(binary.BigEndian.Uint32(head)))
	req := request{
		version:     int16(binary.BigEndian.Uint16(head[6:])),
		correlation: int32(binary.BigEndian.Uint32(head[8:])),
		frameBytes:  int(size),
	}
	key := int16(binary.BigEndian.Uint16(head[4:]))
	if size < frameHead-4 {
		return request{}, &fault{refusedFrame, fmt.Errorf("frame of %d bytes is shorter than its header", size)}
	}
	a, known := apiOf(key)
	if !known || (req.version < a.serve || req.version > a.max) && key != keyAPIVersions {
		return request{}, &fault{refusedUnsupported, fmt.Errorf("API key %d version %d is not served", key, req.version)}
	}
	req.api = a
	if limit := int64(c.s.cfg.frameCap(key)); size > limit {
		return request{}, &fault{refusedFrame, fmt.Errorf("frame of %d bytes for API key %d, the limit is %d", size, key, limit)}
	}

	c.readClock.Stop() // waiting for memory is our time, not the peer's
	if key == keyFetch {
		// Before its memory is taken: it may wait as long as a long poll.
		select {
		case c.fetches <- struct{}{}:
		case <-c.polls.Done():
			return request{}, &fault{err: c.polls.Err()}
		}
	}
	req.held = 4 + size
	if key == keyProduce {
		req.held = int64(record.BufferCapacity(lendBytes(int(4 + size))))
	}
	if err := c.hold(key, req.held); err != nil {
		c.fetchEnds(key)
		return request{}, &fault{err: err}
	}
	if f := c.body(&req); f != nil {
		c.free(key, req.held)
		c.fetchEnds(key)
		return request{}, f
	}
	return req, nil
}

// fetchEnds gives the token of a Fetch back.
func (c *conn) fetchEnds(key int16) {
	if key == keyFetch {
		<-c.fetches
	}
}

// body reads the frame whose head has been looked at.
func (c *conn) body(req *request) *fault {
	c.arm(c.s.cfg.BodyTimeout + time.Duration(req.frameBytes>>20)*time.Second)
	var frame []byte
	if req.api.key == keyProduce {
		// The bodies of other requests live on in what was decoded from them (a group keeps its members' metadata) and are
		// never lent.
		req.frame = c.s.frames.Lend(lendBytes(4 + req.frameBytes))
		frame = req.frame.Bytes[:4+req.frameBytes]
	} else {
		frame = make([]byte, 4+req.frameBytes)
	}
	if err := c.in.read(frame); err != nil {
		return c.cutOff(err)
	}
	c.readClock.Stop()
	if err := req.parseHeader(frame[frameHead:]); err != nil {
		return &fault{refusedFrame, fmt.Errorf("API key %d version %d: %w", req.api.key, req.version, err)}
	}
	return nil
}

// cutOff tells a peer that stopped in the middle of a frame from a drain.
func (c *conn) cutOff(err error) *fault {
	switch {
	case c.draining.Err() != nil || errors.Is(err, net.ErrClosed):
		return &fault{err: err}
	case isTimeout(err):
		return &fault{refusedStalled, errors.New("a frame did not arrive in time")}
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return &fault{refusedFrame, errors.New("the peer left in the middle of a frame")}
	default:
		return &fault{err: err}
	}
}

// parseHeader reads the rest of the request header: v1 is the client id, v2 adds tags. The client id stays a classic
// string in v2.
func (r *request) parseHeader(rest []byte) error {
	if r.api.key == keyAPIVersions && r.version > r.api.max {
		return nil // a header of unknown shape; the answer does not need it
	}
	d := decoder{buf: rest}
	if id := d.nullableStr(); id != nil {
		r.clientID = *id
	}
	d.flexible = r.flexible()
	d.tags()
	r.body = d.buf
	return d.err
}

// arm gives reads the time d from now on.
func (c *conn) arm(d time.Duration) {
	c.readClock.Stop()
	_ = c.nc.SetReadDeadline(time.Time{}) // fails only on a closed connection, which the read will tell
	if c.draining.Err() != nil {
		_ = c.nc.SetReadDeadline(longAgo()) // the drain's own call may have come before the line above
		return
	}
	c.readClock.Reset(d)
}

// hold takes n bytes for a request, waiting for them.
func (c *conn) hold(key int16, n int64) error {
	if err := c.memory.acquire(c.polls, n); err != nil {
		return err
	}
	if err := c.s.budgetOf(key).acquire(c.polls, n); err != nil {
		c.memory.release(n)
		return err
	}
	return nil
}

// free undoes hold.
func (c *conn) free(key int16, n int64) {
	c.memory.release(n)
	c.s.budgetOf(key).release(n)
}

// park lets a request go on holding n bytes in place of its frame, which must not be referred to any more, while it waits
// for something to happen. What waits has a budget of its own, so that it never keeps others from being read. When that is
// used up, false is returned and nothing has changed.
func (c *conn) park(r *reply, n int64) bool {
	if n <= alwaysParked {
		c.s.parked.force(n)
	} else if !c.s.parked.try(n) {
		return false
	}
	c.memory.force(n)
	c.free(r.key, r.held)
	r.held, r.parked = 0, n
	return true
}

// start reserves the reply to req and carries req out, or begins to. It returns false when the connection has to end.
func (c *conn) start(req *request) (goOn bool) {
	r := &reply{
		key:     req.api.key,
		bytesIn: req.frameBytes,
		client:  req.clientID,
		zone:    c.zone(req),
		arrived: c.s.deps.Now(),
		held:    req.held,
		ready:   make(chan struct{}),
	}
	c.waiting.Add(1)
	c.replies <- r // the writer never stops taking
	switch req.api.key {
	case keyFetch:
		c.tasks.Go(func() {
			defer c.fetchEnds(keyFetch)
			defer close(r.ready)
			c.carryOut(req, r)
		})
		return true
	case keyJoinGroup, keySyncGroup: // park until the group is complete
		c.tasks.Go(func() {
			defer close(r.ready)
			c.carryOut(req, r)
		})
		return true
	case keyListOffsets, keyOffsetForLeaderEpoch, keyInitProducerID, keyDeleteTopics, keyDeleteRecords, keyDescribeProducers:
		// Kafka would carry these out after the Produce requests before them; the answer may depend on it.
		c.awaitProduces()
	}
	defer close(r.ready)
	c.carryOut(req, r)
	return r.fault == nil
}

// carryOut handles req. A panic in a handler closes this connection and no other. What the request held is free then,
// though its reply may have to wait for others: a Produce alone is still at work.
func (c *conn) carryOut(req *request, r *reply) {
	defer func() {
		if r.key != keyProduce {
			req.body = nil
			c.free(r.key, r.held)
			c.memory.release(r.parked)
			c.s.parked.release(r.parked)
			r.held, r.parked = 0, 0
		}
	}()
	defer c.recovered(r)
	c.s.handle(c, req, r)
}

func (c *conn) recovered(r *reply) {
	if v := recover(); v != nil {
		c.s.log.Error("request handler panicked", "key", r.key, "client", c.host, "err", fmt.Sprint(v), "stack", string(debug.Stack()))
		r.fault = &fault{refusedPanic, fmt.Errorf("panic: %v", v)}
	}
}

// awaitProduces returns when the fate of every batch handed to the batcher on this connection is known.
func (c *conn) awaitProduces() {
	for _, p := range c.produces {
		select {
		case <-p.Done():
		case <-c.work.Done():
			return
		}
	}
	c.produces = c.produces[:0]
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
