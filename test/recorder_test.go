//go:build realworld

package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// exchange is one request and the answer to it.
type exchange struct {
	req  kmsg.Request
	resp kmsg.Response
}

// recorder stands between clients and one server of the Kafka protocol and notes what they say to each other. It changes
// no byte: the server advertises the recorder's address.
type recorder struct {
	t      *testing.T
	addr   string
	target string

	mu    sync.Mutex
	seen  []exchange
	fault error // the first thing that was not understood
}

const recorderFrame = 64 << 20

// listenRecorder opens the recorder's port; forward begins to serve it.
func listenRecorder(t *testing.T) (*recorder, net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &recorder{t: t, addr: l.Addr().String()}, l
}

// forward serves the port until the test ends.
func (r *recorder) forward(l net.Listener, target string) {
	r.target = target
	var conns sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	conns.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed below
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close() // the client notices
				continue
			}
			mu.Lock()
			open = append(open, client, server)
			mu.Unlock()
			conns.Go(func() { r.connection(client, server) })
		}
	})
	r.t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close() // mostly closed already
		}
		mu.Unlock()
		conns.Wait()
	})
}

// exchanges returns what was noted so far and forgets it.
func (r *recorder) exchanges() []exchange {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault != nil {
		r.t.Fatalf("the recorder of %s: %v", r.target, r.fault)
	}
	seen := r.seen
	r.seen = nil
	return seen
}

// connection copies both ways, frame by frame, until one side closes; then it closes both.
func (r *recorder) connection(client, server net.Conn) {
	var mu sync.Mutex
	waiting := make(map[int32]kmsg.Request) // by correlation id
	var both sync.WaitGroup
	both.Go(func() {
		defer server.(*net.TCPConn).CloseWrite() //nolint:errcheck // it may be closed
		copyFrames(server, client, func(frame []byte) {
			req, id, err := decodeRequest(frame)
			if err != nil {
				r.noteFault(err)
				return
			}
			if p, ok := req.(*kmsg.ProduceRequest); ok && p.Acks == 0 {
				return // never answered
			}
			mu.Lock()
			waiting[id] = req
			mu.Unlock()
		})
	})
	both.Go(func() {
		defer client.(*net.TCPConn).CloseWrite() //nolint:errcheck // it may be closed
		copyFrames(client, server, func(frame []byte) {
			id := int32(binary.BigEndian.Uint32(frame))
			mu.Lock()
			req := waiting[id]
			delete(waiting, id)
			mu.Unlock()
			if req == nil {
				r.noteFault(fmt.Errorf("an answer with correlation id %d, which nobody waits for", id))
				return
			}
			resp, err := decodeResponse(req, frame)
			if err != nil {
				r.noteFault(err)
				return
			}
			r.mu.Lock()
			r.seen = append(r.seen, exchange{req, resp})
			r.mu.Unlock()
		})
	})
	both.Wait()
	_, _ = client.Close(), server.Close()
}

func (r *recorder) noteFault(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault == nil {
		r.fault = err
	}
}

// copyFrames copies frames until one side ends; each is shown before it goes on, so that a request is known before its answer.
func copyFrames(to, from net.Conn, show func([]byte)) {
	for {
		frame, err := readFrame(from)
		if err != nil {
			return // closed, or no frame: the client or the test notices
		}
		show(frame[4:])
		if _, err := to.Write(frame); err != nil {
			return
		}
	}
}

// readFrame reads one frame, its size included.
func readFrame(from io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return nil, err
	}
	n := int32(binary.BigEndian.Uint32(size[:]))
	if n < 4 || n > recorderFrame {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	frame := append(size[:], make([]byte, n)...)
	_, err := io.ReadFull(from, frame[4:])
	return frame, err
}

func decodeRequest(frame []byte) (kmsg.Request, int32, error) {
	r := kbin.Reader{Src: frame}
	key, version, id := r.Int16(), r.Int16(), r.Int32()
	r.NullableString() // client id
	req := kmsg.RequestForKey(key)
	if req == nil || r.Complete() != nil && len(r.Src) == 0 {
		return nil, 0, fmt.Errorf("a request with key %d, %d bytes", key, len(frame))
	}
	req.SetVersion(version)
	if req.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if err := req.ReadFrom(r.Src); err != nil {
		return nil, 0, fmt.Errorf("%s request, version %d: %w", kmsg.NameForKey(key), version, err)
	}
	return req, id, nil
}

func decodeResponse(req kmsg.Request, frame []byte) (kmsg.Response, error) {
	r := kbin.Reader{Src: frame}
	r.Int32()
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if api, ok := resp.(*kmsg.ApiVersionsResponse); ok {
		// A version that the server does not know is answered in the layout of version 0.
		if len(r.Src) >= 2 && binary.BigEndian.Uint16(r.Src) == 35 {
			api.SetVersion(0)
		}
	} else if resp.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if err := resp.ReadFrom(r.Src); err != nil {
		return nil, fmt.Errorf("%s answer, version %d: %w", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return resp, nil
}

// roundTrip sends one request on a connection of its own and returns the answer; nil when the server closes instead. One that
// does neither fails the test.
func roundTrip(t *testing.T, addr, clientID string, req kmsg.Request) kmsg.Response {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))
	if _, err := conn.Write(f.AppendRequest(nil, req, 7)); err != nil {
		t.Fatal(err)
	}
	frame, err := readFrame(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%s gives no answer to %s, version %d: %+v", addr, kmsg.NameForKey(req.Key()), req.GetVersion(), req)
	}
	if err != nil {
		return nil
	}
	resp, err := decodeResponse(req, frame[4:])
	if err != nil {
		t.Fatal(err)
	}
	return resp
}
