package kfake

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// frameBytes is more than any request of the tests has.
const frameBytes = 128 << 20

// gate stands between an agent and its clients: it hands requests and replies on, in order, and lets the controls of the
// cluster see each request first.
type gate struct {
	listener net.Listener
	controls *controls

	mu    sync.Mutex
	agent string // where the agent listens
	open  map[net.Conn]bool
	done  bool
}

func newGate(c *controls) (*gate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("a port for clients: %w", err)
	}
	return &gate{listener: l, controls: c, open: map[net.Conn]bool{}}, nil
}

func (g *gate) address() string { return g.listener.Addr().String() }

// serve accepts clients, for an agent that listens at address, until the gate is closed.
func (g *gate) serve(address string) {
	g.mu.Lock()
	g.agent = address
	g.mu.Unlock()
	go func() {
		for {
			client, err := g.listener.Accept()
			if err != nil {
				return // closed
			}
			go g.pass(client)
		}
	}()
}

func (g *gate) close() {
	_ = g.listener.Close() // nothing to be done about a port
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = true
	for c := range g.open {
		_ = c.Close()
	}
}

// keep notes a connection to be closed with the gate; false when it is closed already.
func (g *gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.done {
		return false
	}
	g.open[c] = true
	return true
}

func (g *gate) drop(c net.Conn) {
	_ = c.Close() // one side or the other has ended the connection
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
}

// pass serves one client. Either side's end ends both.
func (g *gate) pass(client net.Conn) {
	defer g.drop(client)
	server, err := net.Dial("tcp", g.agent)
	if err != nil {
		return
	}
	defer g.drop(server)
	if !g.keep(client) || !g.keep(server) {
		return
	}
	// A reply of nil is the agent's next one. The queue is longer than what an agent takes of one connection.
	replies := make(chan []byte, 1024)
	go func() {
		_ = answer(client, server, replies) // the end of a connection is what tests make
		g.drop(client)
		g.drop(server)
		for range replies { // the other loop must not wait for room
		}
	}()
	_ = g.ask(client, server, replies)
	close(replies)
}

// ask hands the client's requests to the agent.
func (g *gate) ask(client io.Reader, server io.Writer, replies chan<- []byte) error {
	for {
		frame, err := readFrame(client)
		if err != nil {
			return err
		}
		req, correlation, err := parse(frame[4:])
		if err != nil {
			return err
		}
		resp, err := g.controls.run(req)
		if err != nil {
			return err
		}
		if resp != nil {
			replies <- appendReply(resp, correlation)
			continue
		}
		if p, ok := req.(*kmsg.ProduceRequest); !ok || p.Acks != 0 {
			replies <- nil
		}
		if _, err := server.Write(frame); err != nil {
			return fmt.Errorf("a request of %d bytes for the agent: %w", len(frame), err)
		}
	}
}

// answer hands replies to the client, in the order of its requests.
func answer(client io.Writer, server io.Reader, replies <-chan []byte) error {
	for reply := range replies {
		if reply == nil {
			var err error
			if reply, err = readFrame(server); err != nil {
				return err
			}
		}
		if _, err := client.Write(reply); err != nil {
			return fmt.Errorf("a reply of %d bytes for the client: %w", len(reply), err)
		}
	}
	return nil
}

// readFrame reads a frame, its length included.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("the length of a frame: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > frameBytes {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	frame := make([]byte, 4+n)
	copy(frame, head[:])
	if _, err := io.ReadFull(r, frame[4:]); err != nil {
		return nil, fmt.Errorf("a frame of %d bytes: %w", n, err)
	}
	return frame, nil
}

// parse decodes a request. Of a version that kmsg does not know the body is left empty.
func parse(b []byte) (kmsg.Request, int32, error) {
	r := kbin.Reader{Src: b}
	key, version, correlation := r.Int16(), r.Int16(), r.Int32()
	r.NullableString() // client id
	req := kmsg.RequestForKey(key)
	if req == nil || !r.Ok() {
		return nil, 0, fmt.Errorf("a request of API %d that is not one", key)
	}
	if version > req.MaxVersion() {
		req.SetVersion(req.MaxVersion())
		return req, correlation, nil
	}
	req.SetVersion(version)
	if req.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if err := req.ReadFrom(r.Src); err != nil {
		return nil, 0, fmt.Errorf("a request of API %d, version %d: %w", key, version, err)
	}
	return req, correlation, nil
}

// appendReply encodes a reply with its header; ApiVersions has none of the flexible kind.
func appendReply(resp kmsg.Response, correlation int32) []byte {
	b := make([]byte, 4, 256)
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		b = append(b, 0)
	}
	b = resp.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// errSilence ends a connection whose control wants no answer.
var errSilence = errors.New("a control answered with nothing")
