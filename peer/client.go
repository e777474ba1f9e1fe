package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/bargedata/barge/peer/peerpb"
)

// Client calls other agents. All methods are safe for concurrent use; addresses are host:port of other agents' --peer-advertise.
// Every error names the address, and is one of this package's errors where the caller may act on it.
type Client struct {
	log, objects *http.Client

	mu     sync.Mutex
	stubs  map[string]stub // by address
	closed func()
}

// stub is what calls one agent.
type stub struct{ log, objects peerpb.PeerClient }

// maxStubs bounds the addresses remembered; a cluster has far fewer, and a stub is made again at no cost.
const maxStubs = 1024

// Dial makes a connection, like net.Dialer.DialContext.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// NewClient makes a client. A nil dial is the network's. What it moves is added to traffic.
func NewClient(cfg Config, traffic *Traffic, dial Dial) (*Client, error) {
	settings, err := identity(cfg)
	if err != nil {
		return nil, err
	}
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := func() *http.Transport {
		return &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				c, err := dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return countedConn{Conn: c, traffic: traffic}, nil
			},
			TLSClientConfig:     settings.Clone(),
			TLSHandshakeTimeout: dialTimeout,
			Protocols:           protocols,
			IdleConnTimeout:     idleTimeout,
			DisableCompression:  true,
			HTTP2: &http.HTTP2Config{
				SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: pingAfter + pingTimeout,
			},
		}
	}
	log, objects := transport(), transport()
	return &Client{
		log: &http.Client{Transport: log}, objects: &http.Client{Transport: objects}, stubs: map[string]stub{},
		closed: func() { log.CloseIdleConnections(); objects.CloseIdleConnections() },
	}, nil
}

// Close lets go of connections that are not in use.
func (c *Client) Close() { c.closed() }

func (c *Client) at(addr string) stub {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.stubs[addr]
	if !ok {
		if len(c.stubs) >= maxStubs {
			clear(c.stubs)
		}
		options := []connect.ClientOption{
			connect.WithReadMaxBytes(maxMessageBytes), connect.WithSendMaxBytes(maxMessageBytes),
			connect.WithAcceptCompression("gzip", nil, nil),
		}
		s = stub{
			log:     peerpb.NewPeerClient(c.log, "https://"+addr, options...),
			objects: peerpb.NewPeerClient(c.objects, "https://"+addr, options...),
		}
		c.stubs[addr] = s
	}
	return s
}

// Follow asks for entries and brings back who is there. It returns at the latest two seconds after the wait that req asks for.
func (c *Client) Follow(ctx context.Context, addr string, req *peerpb.FollowRequest) (*peerpb.FollowResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(req.GetWaitMs())*time.Millisecond+followMargin)
	defer cancel()
	answer, err := c.at(addr).log.Follow(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, callError(ctx, "follow", addr, err)
	}
	return answer.Msg, nil
}

// Confirm asks the sequencer at addr where the log ends. It returns within ten seconds.
func (c *Client) Confirm(ctx context.Context, addr string) (*peerpb.ConfirmResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	answer, err := c.at(addr).log.Confirm(ctx, connect.NewRequest(&peerpb.ConfirmRequest{}))
	if err != nil {
		return nil, callError(ctx, "confirm", addr, err)
	}
	return answer.Msg, nil
}

// Submit opens a stream of commands to the sequencer at addr. It lives until ctx ends, either side ends it, or the other one dies.
// Close it, whatever happened. That nobody answers at addr may come out only with the first Receive.
func (c *Client) Submit(ctx context.Context, addr string) (*SubmitStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &SubmitStream{ctx: ctx, cancel: cancel, addr: addr, stream: c.at(addr).log.Submit(ctx)}
	// net/http does not see the end of ctx while it waits for more of the request's body, so that ends too.
	context.AfterFunc(ctx, func() { _ = s.stream.CloseRequest() })
	if err := s.stream.Send(nil); err != nil { // the headers, so that the other side knows of the stream before a command
		cancel()
		return nil, callError(ctx, "submit", addr, err)
	}
	return s, nil
}

// SubmitStream carries commands one way and answers the other way. One goroutine may send and one receive.
type SubmitStream struct {
	ctx    context.Context //nolint:containedctx // the stream's own life, as net/http has it
	cancel context.CancelFunc
	addr   string
	stream *connect.BidiStreamForClient[peerpb.SubmitRequest, peerpb.SubmitResponse]
}

// Send hands a command over. After an error the outcome of all that is unanswered is unknown; Receive tells why.
func (s *SubmitStream) Send(req *peerpb.SubmitRequest) error {
	if err := s.stream.Send(req); err != nil {
		return callError(s.ctx, "submit", s.addr, err)
	}
	return nil
}

// Receive waits for the next answer. io.EOF: the other side ended the stream.
func (s *SubmitStream) Receive() (*peerpb.SubmitResponse, error) {
	answer, err := s.stream.Receive()
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, callError(s.ctx, "submit", s.addr, err)
	}
	return answer, nil
}

// Close ends the stream at once; a Receive under way returns. May be called more than once, and by any goroutine.
func (s *SubmitStream) Close() { s.cancel() }

// ReadObject reads a range of an object through the agent at addr; the bytes are the caller's. It returns within thirty seconds.
func (c *Client) ReadObject(ctx context.Context, addr string, req *peerpb.ReadObjectRequest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	stream, err := c.at(addr).objects.ReadObject(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, callError(ctx, "read "+req.GetKey(), addr, err)
	}
	defer func() { _ = stream.Close() }() // was only read
	var object collected
	for stream.Receive() {
		if err := object.add(stream.Msg()); err != nil {
			return nil, callError(ctx, "read "+req.GetKey(), addr, err)
		}
	}
	if err := stream.Err(); err != nil {
		return nil, callError(ctx, "read "+req.GetKey(), addr, err)
	}
	_, body, err := object.done()
	if err != nil {
		return nil, callError(ctx, "read "+req.GetKey(), addr, err)
	}
	return body, nil
}

// SeedObject puts an object into the cache of the agent at addr; body is only read. It returns within thirty seconds. ErrBusy: the
// agent takes no more now, and will read the object when it is asked for it.
func (c *Client) SeedObject(ctx context.Context, addr, key string, body []byte) error {
	if len(body) > MaxObjectBytes {
		return callError(ctx, "seed "+key, addr, fmt.Errorf("%w: %d bytes, want at most %d", ErrTooLarge, len(body), MaxObjectBytes))
	}
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	stream := c.at(addr).objects.SeedObject(ctx)
	sendErr := sendChunks(key, body, stream.Send)
	if sendErr != nil && !errors.Is(sendErr, io.EOF) {
		return callError(ctx, "seed "+key, addr, sendErr)
	}
	if _, err := stream.CloseAndReceive(); err != nil { // also tells why the other side ended it
		return callError(ctx, "seed "+key, addr, err)
	}
	if sendErr != nil {
		return callError(ctx, "seed "+key, addr, fmt.Errorf("%w: it ended the call early", ErrUnreachable))
	}
	return nil
}
