//go:build realworld

package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wire is one Kafka connection without the patience and the retries of a client: what is asked on it is answered by that agent, or not.
type wire struct {
	conn net.Conn
	id   int32
}

func dialWire(t *testing.T, addr string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &wire{conn: conn}
}

// send writes a request, whose version is set, and does not wait.
func (w *wire) send(t *testing.T, req kmsg.Request) {
	t.Helper()
	w.id++
	if _, err := w.conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, w.id)); err != nil {
		t.Fatalf("send %T: %v", req, err)
	}
}

// errNoAnswer says that a connection ended, or that time was over, before there was an answer.
var errNoAnswer = errors.New("no answer")

// receive reads the answer to the request that was sent last.
func (w *wire) receive(req kmsg.Request, limit time.Duration) (kmsg.Response, error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(w.conn, head[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := io.ReadFull(w.conn, body); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	if got := int32(binary.BigEndian.Uint32(head[4:])); got != w.id {
		return nil, fmt.Errorf("the answer is to request %d, want %d", got, w.id)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() {
		body = body[1:] // no tags in its header
	}
	return resp, resp.ReadFrom(body)
}

// ask sends a request and wants its answer.
func (w *wire) ask(t *testing.T, req kmsg.Request) kmsg.Response {
	t.Helper()
	w.send(t, req)
	resp, err := w.receive(req, 30*time.Second)
	if err != nil {
		t.Fatalf("%T: %v", req, err)
	}
	return resp
}
