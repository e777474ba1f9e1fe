package peer

import (
	"net"
	"sync/atomic"
)

// Traffic counts the bytes that went over connections, TLS and headers included. The zero value is ready; safe for concurrent use.
type Traffic struct {
	sent, received atomic.Int64
}

// Sent is what this agent wrote, in bytes.
func (t *Traffic) Sent() int64 { return t.sent.Load() }

// Received is what this agent read, in bytes.
func (t *Traffic) Received() int64 { return t.received.Load() }

type countedConn struct {
	net.Conn
	traffic *Traffic
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.traffic.received.Add(int64(n))
	return n, err
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.traffic.sent.Add(int64(n))
	return n, err
}

// countedListener counts, and holds the number of its connections down: one too many is closed at once.
type countedListener struct {
	net.Listener
	traffic *Traffic
	open    *atomic.Int64
}

// Accept implements net.Listener.
func (l countedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) > maxConnections {
			l.open.Add(-1)
			_ = c.Close() // the other side sees it, and tries again
			continue
		}
		return &openConn{countedConn: countedConn{Conn: c, traffic: l.traffic}, open: l.open}, nil
	}
}

type openConn struct {
	countedConn
	open   *atomic.Int64
	closed atomic.Bool
}

// Close may be called more than once.
func (c *openConn) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}
