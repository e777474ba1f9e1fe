package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bargedata/barge/peer/peerpb"
)

// agent answers for both parts of an agent; a nil function is a call the test does not expect.
type agent struct {
	follow  func(context.Context, *peerpb.FollowRequest) (*peerpb.FollowResponse, error)
	confirm func(context.Context) (*peerpb.ConfirmResponse, error)
	submit  func(context.Context, Commands) error
	read    func(context.Context, *peerpb.ReadObjectRequest) ([]byte, error)
	seed    func(context.Context, string, []byte) error
}

func (a agent) HandleFollow(ctx context.Context, r *peerpb.FollowRequest) (*peerpb.FollowResponse, error) {
	return a.follow(ctx, r)
}

func (a agent) HandleConfirm(ctx context.Context) (*peerpb.ConfirmResponse, error) {
	return a.confirm(ctx)
}
func (a agent) HandleSubmit(ctx context.Context, c Commands) error { return a.submit(ctx, c) }
func (a agent) HandleRead(ctx context.Context, r *peerpb.ReadObjectRequest) ([]byte, error) {
	return a.read(ctx, r)
}

func (a agent) HandleSeed(ctx context.Context, k string, b []byte) error { return a.seed(ctx, k, b) }

func config(cluster, secret string) Config {
	return Config{Cluster: cluster, Secret: []byte(strings.Repeat(secret, SecretBytes))}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serve runs an agent on a free port, through wrap if there is one, until the test or stop ends it.
func serve(t *testing.T, cfg Config, a agent, wrap func(net.Listener) net.Listener) (addr string, stop func(), log *lockedBuffer) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	if wrap != nil {
		l = wrap(l)
	}
	log = &lockedBuffer{}
	s, err := NewServer(cfg, l, &Traffic{}, a, a, time.Now, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	t.Cleanup(stop)
	return addr, stop, log
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := NewClient(cfg, &Traffic{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCallsCarryWhatTheyAreGiven(t *testing.T) {
	cfg := config("one", "s")
	object := bytes.Repeat([]byte("0123456789abcdef"), 100_000) // some chunks and a piece
	seeded := make(chan []byte, 2)
	var accepted atomic.Int64
	addr, _, _ := serve(t, cfg, agent{
		follow: func(_ context.Context, r *peerpb.FollowRequest) (*peerpb.FollowResponse, error) {
			return &peerpb.FollowResponse{Term: r.GetTerm() + 1, Entries: [][]byte{{1}, {2}}, Members: []*peerpb.Member{r.GetSelf()}}, nil
		},
		confirm: func(context.Context) (*peerpb.ConfirmResponse, error) {
			return &peerpb.ConfirmResponse{Next: 9, Code: peerpb.Code_CODE_NOT_SEQUENCER}, nil
		},
		submit: func(_ context.Context, c Commands) error {
			for {
				r, err := c.Receive()
				if err != nil {
					return err
				}
				if err := c.Send(&peerpb.SubmitResponse{Id: r.GetId(), Result: r.GetCommand()}); err != nil {
					return err
				}
				if r.GetId() == 3 {
					return nil
				}
			}
		},
		read: func(_ context.Context, r *peerpb.ReadObjectRequest) ([]byte, error) {
			return object[r.GetPos() : r.GetPos()+r.GetLength()], nil
		},
		seed: func(_ context.Context, key string, body []byte) error {
			seeded <- append([]byte(key+"="), body...)
			return nil
		},
	}, func(l net.Listener) net.Listener { return countAccepts{l, &accepted} })
	c := newClient(t, cfg)

	f, err := c.Follow(t.Context(), addr, &peerpb.FollowRequest{Self: &peerpb.Member{Session: 7, Zone: "a"}, Term: 4})
	if err != nil || f.GetTerm() != 5 || len(f.GetEntries()) != 2 || f.GetMembers()[0].GetSession() != 7 {
		t.Errorf("Follow: %v, %v", f, err)
	}
	if n, err := c.Confirm(t.Context(), addr); err != nil || n.GetNext() != 9 || n.GetCode() != peerpb.Code_CODE_NOT_SEQUENCER {
		t.Errorf("Confirm: %v, %v", n, err)
	}
	stream, err := c.Submit(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for id := uint64(1); id <= 3; id++ {
		if err := stream.Send(&peerpb.SubmitRequest{Id: id, Command: []byte("command")}); err != nil {
			t.Fatal(err)
		}
		if a, err := stream.Receive(); err != nil || a.GetId() != id || string(a.GetResult()) != "command" {
			t.Fatalf("answer %d: %v, %v", id, a, err)
		}
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after the other side ended the stream: %v, want io.EOF", err)
	}
	got, err := c.ReadObject(t.Context(), addr, &peerpb.ReadObjectRequest{Key: "k", Pos: 5, Length: int64(len(object) - 9)})
	if err != nil || !bytes.Equal(got, object[5:len(object)-4]) {
		t.Errorf("ReadObject: %d bytes, %v", len(got), err)
	}
	if got, err := c.ReadObject(t.Context(), addr, &peerpb.ReadObjectRequest{Key: "k"}); err != nil || len(got) != 0 {
		t.Errorf("ReadObject of nothing: %d bytes, %v", len(got), err)
	}
	for _, body := range [][]byte{object, nil} {
		if err := c.SeedObject(t.Context(), addr, "wal/1", body); err != nil {
			t.Fatal(err)
		}
		if s := <-seeded; !bytes.Equal(s, append([]byte("wal/1="), body...)) {
			t.Errorf("SeedObject handed over %d bytes", len(s))
		}
	}
	if n := accepted.Load(); n != 2 {
		t.Errorf("%d connections for all calls, want one for the log and one for objects", n)
	}
}

type countAccepts struct {
	net.Listener
	n *atomic.Int64
}

func (l countAccepts) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

func TestOnlyAgentsOfTheClusterAreHeard(t *testing.T) {
	heard := func(context.Context, *peerpb.FollowRequest) (*peerpb.FollowResponse, error) {
		t.Error("a stranger was answered")
		return &peerpb.FollowResponse{}, nil
	}
	addr, _, _ := serve(t, config("one", "s"), agent{follow: heard}, nil)
	for _, c := range []struct {
		name string
		cfg  Config
		want error
		text string
	}{
		{"wrong secret", config("one", "t"), ErrWrongSecret, "--cluster-secret differs"},
		{"other cluster", config("two", "s"), ErrOtherCluster, "another cluster: one, and this agent to two"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := newClient(t, c.cfg).Follow(t.Context(), addr, &peerpb.FollowRequest{})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), addr) {
				t.Errorf("Follow: %v, want %q and the address", err, c.text)
			}
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		// A stranger that trusts anybody: the server must ask, since in TLS 1.3 the client is done before it is judged.
		client := newClient(t, config("one", "t"))
		settings := transportOf(t, client)
		settings.InsecureSkipVerify, settings.VerifyConnection, settings.Certificates = true, nil, nil
		if _, err := client.Follow(t.Context(), addr, &peerpb.FollowRequest{}); !errors.Is(err, ErrUnreachable) {
			t.Errorf("Follow: %v, want ErrUnreachable", err)
		}
	})
	t.Run("a certificate of another secret", func(t *testing.T) {
		client := newClient(t, config("one", "t"))
		settings := transportOf(t, client)
		settings.InsecureSkipVerify, settings.VerifyConnection = true, nil
		if _, err := client.Follow(t.Context(), addr, &peerpb.FollowRequest{}); !errors.Is(err, ErrUnreachable) {
			t.Errorf("Follow: %v, want ErrUnreachable", err)
		}
	})
}

func TestAddressesThatAreNoAgents(t *testing.T) {
	cfg := config("one", "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("SSH-2.0-something\r\n"))
			_ = conn.Close()
		}
	}()
	if _, err := newClient(t, cfg).Confirm(t.Context(), l.Addr().String()); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "--peer address") {
		t.Errorf("another service: %v", err)
	}
	_ = l.Close()
	c := newClient(t, cfg)
	if _, err := c.Confirm(t.Context(), l.Addr().String()); !errors.Is(err, ErrUnreachable) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody there: %v, want ErrUnreachable and ECONNREFUSED", err)
	}
	stream, err := c.Submit(t.Context(), l.Addr().String())
	if err == nil {
		defer stream.Close()
		_, err = stream.Receive()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Submit to nobody: %v, want ECONNREFUSED", err)
	}
}

func TestMessagesOverTheCapAreRefused(t *testing.T) {
	cfg := config("one", "s")
	addr, _, _ := serve(t, cfg, agent{
		follow: func(context.Context, *peerpb.FollowRequest) (*peerpb.FollowResponse, error) {
			return &peerpb.FollowResponse{Entries: [][]byte{make([]byte, maxMessageBytes)}}, nil
		},
		read: func(context.Context, *peerpb.ReadObjectRequest) ([]byte, error) {
			return make([]byte, MaxObjectBytes+1), nil
		},
		submit: func(_ context.Context, c Commands) error {
			_, err := c.Receive()
			return err
		},
	}, nil)
	c := newClient(t, cfg)
	if _, err := c.Follow(t.Context(), addr, &peerpb.FollowRequest{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("answer over the cap: %v", err)
	}
	if _, err := c.ReadObject(t.Context(), addr, &peerpb.ReadObjectRequest{Key: "k", Length: 1 << 20}); err == nil || !strings.Contains(err.Error(), "came with") {
		t.Errorf("more than was asked for: %v", err)
	}
	if _, err := c.ReadObject(t.Context(), addr, &peerpb.ReadObjectRequest{Key: "k", Length: MaxObjectBytes + 1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("range over the cap: %v", err)
	}
	if err := c.SeedObject(t.Context(), addr, "k", make([]byte, MaxObjectBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("seed over the cap: %v", err)
	}
	stream, err := c.Submit(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := stream.Send(&peerpb.SubmitRequest{Command: make([]byte, maxMessageBytes+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("command over the cap: %v", err)
	}
}

func TestACallToAnAgentThatHangsEnds(t *testing.T) {
	cfg := config("one", "s")
	addr, _, _ := serve(t, cfg, agent{
		follow: func(ctx context.Context, _ *peerpb.FollowRequest) (*peerpb.FollowResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}, nil)
	start := time.Now()
	_, err := newClient(t, cfg).Follow(t.Context(), addr, &peerpb.FollowRequest{WaitMs: 100})
	if took := time.Since(start); !errors.Is(err, ErrUnreachable) || took < 2*time.Second || took > 5*time.Second {
		t.Errorf("Follow: %v after %v, want ErrUnreachable after about 2.1 s", err, took)
	}
}

// gate lets bytes through until it is shut; then the other side is as silent as a stopped process.
type gate struct {
	net.Listener
	shut chan struct{}
}

func (g gate) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return gatedConn{c, g.shut}, nil
}

type gatedConn struct {
	net.Conn
	shut chan struct{}
}

func (c gatedConn) Write(p []byte) (int, error) {
	select {
	case <-c.shut:
		return len(p), nil // lost on the way
	default:
		return c.Conn.Write(p)
	}
}

func TestStreamsToAnAgentThatFellSilentEnd(t *testing.T) {
	cfg := config("one", "s")
	shut := make(chan struct{})
	addr, _, _ := serve(t, cfg, agent{submit: func(ctx context.Context, c Commands) error {
		r, err := c.Receive()
		if err != nil {
			return err
		}
		if err := c.Send(&peerpb.SubmitResponse{Id: r.GetId()}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}}, func(l net.Listener) net.Listener { return gate{l, shut} })
	stream, err := newClient(t, cfg).Submit(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := stream.Send(&peerpb.SubmitRequest{Id: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); err != nil {
		t.Fatal(err)
	}
	close(shut)
	start := time.Now()
	if _, err := stream.Receive(); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Receive: %v, want ErrUnreachable", err)
	}
	if took := time.Since(start); took > 2*(pingAfter+pingTimeout) {
		t.Errorf("found out after %v, want about %v", took, pingAfter+pingTimeout)
	}
}

func TestAStreamToAnAgentThatDiesEnds(t *testing.T) {
	cfg := config("one", "s")
	got := make(chan struct{})
	addr, stop, _ := serve(t, cfg, agent{submit: func(ctx context.Context, c Commands) error {
		if _, err := c.Receive(); err != nil {
			return err
		}
		close(got)
		<-ctx.Done()
		return ctx.Err()
	}}, nil)
	stream, err := newClient(t, cfg).Submit(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := stream.Send(&peerpb.SubmitRequest{Id: 1}); err != nil {
		t.Fatal(err)
	}
	<-got
	stop()
	if _, err := stream.Receive(); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Receive: %v, want ErrUnreachable: the outcome of the command is unknown", err)
	}
}

func TestCloseEndsAStreamOnBothSides(t *testing.T) {
	cfg := config("one", "s")
	ended := make(chan error, 1)
	addr, _, _ := serve(t, cfg, agent{submit: func(_ context.Context, c Commands) error {
		for {
			r, err := c.Receive()
			if err == nil {
				err = c.Send(&peerpb.SubmitResponse{Id: r.GetId()})
			}
			if err != nil {
				ended <- err
				return err
			}
		}
	}}, nil)
	stream, err := newClient(t, cfg).Submit(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&peerpb.SubmitRequest{Id: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); err != nil {
		t.Fatal(err)
	}
	received := make(chan error, 1)
	go func() {
		_, err := stream.Receive()
		received <- err
	}()
	time.Sleep(100 * time.Millisecond) // it waits by now, most likely; if not, the test proves less
	stream.Close()
	for name, c := range map[string]chan error{"Receive": received, "the other side": ended} {
		select {
		case err := <-c:
			if err == nil {
				t.Errorf("%s goes on", name)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s waits on after Close", name)
		}
	}
}

func TestASlowReaderHoldsUpNobodyElse(t *testing.T) {
	cfg := config("one", "s")
	addr, _, _ := serve(t, cfg, agent{
		confirm: func(context.Context) (*peerpb.ConfirmResponse, error) { return &peerpb.ConfirmResponse{Next: 1}, nil },
		read: func(_ context.Context, r *peerpb.ReadObjectRequest) ([]byte, error) {
			return make([]byte, r.GetLength()), nil
		},
	}, nil)
	c := newClient(t, cfg)
	// One reader takes nothing of an object larger than every window on the way.
	stream, err := c.at(addr).objects.ReadObject(t.Context(), newRequest(&peerpb.ReadObjectRequest{Key: "slow", Length: MaxObjectBytes}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	for range 3 {
		if body, err := c.ReadObject(t.Context(), addr, &peerpb.ReadObjectRequest{Key: "k", Length: 8 << 20}); err != nil || len(body) != 8<<20 {
			t.Fatalf("another object: %d bytes, %v", len(body), err)
		}
		if _, err := c.Confirm(t.Context(), addr); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSeedsBeyondTheBoundAreRefused(t *testing.T) {
	cfg := config("one", "s")
	const seeds = 4
	object := make([]byte, maxSeedBytes/seeds)
	hold, taken := make(chan struct{}), make(chan struct{}, seeds)
	addr, _, _ := serve(t, cfg, agent{seed: func(context.Context, string, []byte) error {
		taken <- struct{}{}
		<-hold
		return nil
	}}, nil)
	c := newClient(t, cfg)
	done := make(chan error, seeds)
	for range seeds {
		go func() { done <- c.SeedObject(t.Context(), addr, "k", object) }()
	}
	for range seeds {
		<-taken
	}
	if err := c.SeedObject(t.Context(), addr, "k", make([]byte, 4<<20)); !errors.Is(err, ErrBusy) {
		t.Errorf("one seed too many: %v, want ErrBusy", err)
	}
	close(hold)
	for range seeds {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestAPanicStaysInItsCall(t *testing.T) {
	cfg := config("one", "s")
	addr, _, log := serve(t, cfg, agent{confirm: func(context.Context) (*peerpb.ConfirmResponse, error) { return &peerpb.ConfirmResponse{}, nil }}, nil)
	c := newClient(t, cfg)
	if _, err := c.Follow(t.Context(), addr, &peerpb.FollowRequest{}); err == nil || !strings.Contains(err.Error(), "its log tells why") || strings.Contains(err.Error(), "nil pointer") {
		t.Errorf("Follow: %v", err)
	}
	if _, err := c.Confirm(t.Context(), addr); err != nil {
		t.Errorf("the next call: %v", err)
	}
	if !strings.Contains(log.String(), "nil pointer") {
		t.Errorf("the log does not tell of the panic: %s", log)
	}
}

func TestAReadThatFailsSaysWhy(t *testing.T) {
	cfg := config("one", "s")
	addr, _, _ := serve(t, cfg, agent{read: func(_ context.Context, r *peerpb.ReadObjectRequest) ([]byte, error) {
		if r.GetKey() == "busy" {
			return nil, ErrBusy
		}
		return nil, ErrNotFound
	}}, nil)
	c := newClient(t, cfg)
	for key, want := range map[string]error{"busy": ErrBusy, "gone": ErrNotFound} {
		if _, err := c.ReadObject(t.Context(), addr, &peerpb.ReadObjectRequest{Key: key, Length: 9}); !errors.Is(err, want) || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v, want %v", key, err, want)
		}
	}
}

func TestTrafficIsCounted(t *testing.T) {
	cfg := config("one", "s")
	addr, _, _ := serve(t, cfg, agent{read: func(context.Context, *peerpb.ReadObjectRequest) ([]byte, error) { return make([]byte, 1<<20), nil }}, nil)
	var traffic Traffic
	c, err := NewClient(cfg, &traffic, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.ReadObject(t.Context(), addr, &peerpb.ReadObjectRequest{Key: "k", Length: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if r, s := traffic.Received(), traffic.Sent(); r < 1<<20 || r > 1<<20+64<<10 || s < 100 || s > 64<<10 {
		t.Errorf("received %d, sent %d bytes for one object of 1 MiB", r, s)
	}
}

func TestShortSecretsAreRefused(t *testing.T) {
	if _, err := NewClient(Config{Cluster: "one", Secret: make([]byte, SecretBytes-1)}, &Traffic{}, nil); err == nil || !strings.Contains(err.Error(), "at least 32") {
		t.Errorf("short secret: %v", err)
	}
	if _, err := NewClient(Config{Secret: make([]byte, SecretBytes)}, &Traffic{}, nil); err == nil {
		t.Error("no cluster: taken")
	}
}
