package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"

	"github.com/bargedata/barge/peer/peerpb"
)

// Log answers for the metadata log. Its methods are called concurrently; their contexts end with the call or the server.
type Log interface {
	HandleFollow(ctx context.Context, req *peerpb.FollowRequest) (*peerpb.FollowResponse, error)
	HandleConfirm(ctx context.Context) (*peerpb.ConfirmResponse, error)
	// HandleSubmit takes one stream of commands; the stream ends when it returns.
	HandleSubmit(ctx context.Context, commands Commands) error
}

// Commands is a stream of commands from another agent.
type Commands interface {
	Receive() (*peerpb.SubmitRequest, error) // io.EOF: there are no more
	Send(answer *peerpb.SubmitResponse) error
}

// Objects answers for the objects that this agent keeps for its zone. Its methods are called concurrently.
type Objects interface {
	// HandleRead returns a range of an object. The bytes are only read, and must not change afterwards. ErrNotFound and ErrBusy
	// are known as such by the caller.
	HandleRead(ctx context.Context, req *peerpb.ReadObjectRequest) ([]byte, error)
	// HandleSeed takes an object over; body is the callee's.
	HandleSeed(ctx context.Context, key string, body []byte) error
}

// Server answers other agents. Make it with NewServer, run it once with Run.
type Server struct {
	listener net.Listener
	tls      *tls.Config
	log      Log
	objects  Objects
	now      func() time.Time
	logger   *slog.Logger
	traffic  *Traffic
	reads    *semaphore.Weighted
	seeds    *semaphore.Weighted
	open     atomic.Int64 // connections
}

// NewServer makes a server on a listener, which it closes at the end of Run. What it moves is added to traffic.
func NewServer(cfg Config, listener net.Listener, traffic *Traffic, log Log, objects Objects, now func() time.Time, logger *slog.Logger) (*Server, error) {
	settings, err := identity(cfg)
	if err != nil {
		return nil, err
	}
	return &Server{
		listener: listener, tls: settings, log: log, objects: objects, now: now, logger: logger, traffic: traffic,
		reads: semaphore.NewWeighted(maxReadBytes), seeds: semaphore.NewWeighted(maxSeedBytes),
	}, nil
}

// lastAnswers is how long calls under way may go on once the server is told to end: they may tell that its agent leaves.
const lastAnswers = 300 * time.Millisecond

// Run answers until ctx ends. New calls are refused from then on; what is under way a moment later breaks off.
func (s *Server) Run(ctx context.Context) error {
	calls, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	server := &http.Server{
		Handler:           s.handler(),
		TLSConfig:         s.tls,
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: 16 << 20, // one stream that is not read leaves room for the others
			MaxReceiveBufferPerStream:     1 << 20,
			SendPingTimeout:               pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: pingAfter + pingTimeout,
		},
		ErrorLog:    slog.NewLogLogger(quiet{s.logger.Handler()}, slog.LevelInfo),
		BaseContext: func(net.Listener) context.Context { return calls },
	}
	ended := make(chan error, 1)
	go func() {
		ended <- server.ServeTLS(countedListener{Listener: s.listener, traffic: s.traffic, open: &s.open}, "", "")
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("peer listener %s: %w", s.listener.Addr(), err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
	defer cancel()
	if server.Shutdown(last) != nil {
		stop()
		_ = server.Close() // the other ends see their streams break
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("peer listener %s: %w", s.listener.Addr(), err)
	}
	return nil
}

// quiet keeps the complaints of net/http about single connections apart: other agents hear why they were refused themselves, and
// anybody who knocks at the port could fill the log.
type quiet struct{ slog.Handler }

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if !strings.Contains(r.Message, "TLS handshake error") {
		r.Level = slog.LevelWarn
	} else {
		r.Level = slog.LevelDebug
	}
	if !q.Enabled(ctx, r.Level) {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

func (s *Server) handler() http.Handler {
	path, calls := peerpb.NewPeerHandler(service{s},
		connect.WithReadMaxBytes(maxMessageBytes), connect.WithSendMaxBytes(maxMessageBytes),
		connect.WithCompression("gzip", nil, nil), // objects are compressed already, and entries too small
		connect.WithRecover(func(ctx context.Context, spec connect.Spec, _ http.Header, cause any) error {
			s.logger.ErrorContext(ctx, "a call of another agent panicked", "call", spec.Procedure, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			return connect.NewError(connect.CodeInternal, errors.New("the agent failed on this call; its log tells why"))
		}),
	)
	mux := http.NewServeMux()
	mux.Handle(path, withDeadlines(calls, s.now))
	return mux
}

// service is the server as the generated code sees it.
type service struct{ *Server }

// Follow answers peerpb's call of that name.
func (s service) Follow(ctx context.Context, req *connect.Request[peerpb.FollowRequest]) (*connect.Response[peerpb.FollowResponse], error) {
	wait := time.Duration(req.Msg.GetWaitMs())*time.Millisecond + followMargin
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answer, err := s.log.HandleFollow(ctx, req.Msg)
	if err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(answer), nil
}

// Confirm answers peerpb's call of that name.
func (s service) Confirm(ctx context.Context, _ *connect.Request[peerpb.ConfirmRequest]) (*connect.Response[peerpb.ConfirmResponse], error) {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	answer, err := s.log.HandleConfirm(ctx)
	if err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(answer), nil
}

// Submit answers peerpb's call of that name.
func (s service) Submit(ctx context.Context, stream *connect.BidiStream[peerpb.SubmitRequest, peerpb.SubmitResponse]) error {
	return failed(s.log.HandleSubmit(ctx, stream))
}

// ReadObject answers peerpb's call of that name.
func (s service) ReadObject(ctx context.Context, req *connect.Request[peerpb.ReadObjectRequest], stream *connect.ServerStream[peerpb.ObjectChunk]) error {
	if req.Msg.GetLength() > MaxObjectBytes {
		return failed(fmt.Errorf("%w: %d bytes asked for, want at most %d", ErrTooLarge, req.Msg.GetLength(), MaxObjectBytes))
	}
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	weight := max(req.Msg.GetLength(), minReadBytes)
	if err := s.reads.Acquire(ctx, weight); err != nil {
		return failed(ErrBusy)
	}
	defer s.reads.Release(weight)
	body, err := s.objects.HandleRead(ctx, req.Msg)
	if err != nil {
		return failed(err)
	}
	if int64(len(body)) > weight {
		return failed(fmt.Errorf("a read of %d bytes came with %d", req.Msg.GetLength(), len(body)))
	}
	return failed(sendChunks(req.Msg.GetKey(), body, stream.Send))
}

// SeedObject answers peerpb's call of that name.
func (s service) SeedObject(ctx context.Context, stream *connect.ClientStream[peerpb.ObjectChunk]) (*connect.Response[peerpb.SeedObjectResponse], error) {
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	var c collected
	var held int64
	defer func() { s.seeds.Release(held) }()
	for stream.Receive() {
		if err := c.add(stream.Msg()); err != nil {
			return nil, failed(err)
		}
		if held == 0 {
			if !s.seeds.TryAcquire(c.size) {
				return nil, failed(ErrBusy)
			}
			held = c.size
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	key, body, err := c.done()
	if err != nil {
		return nil, failed(err)
	}
	if err := s.objects.HandleSeed(ctx, key, body); err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(&peerpb.SeedObjectResponse{}), nil
}

// failed gives an error the code by which the caller's classify knows it.
func failed(err error) error {
	_, coded := errors.AsType[*connect.Error](err)
	switch {
	case err == nil, coded:
		return err
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, ErrTooLarge):
		return connect.NewError(connect.CodeResourceExhausted, err)
	case errors.Is(err, ErrNotFound):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, ErrBusy):
		return connect.NewError(connect.CodeAborted, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeUnavailable, err)
	default:
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
}
