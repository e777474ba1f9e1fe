package barge

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// lentListener is a listener for one session of the agent. Closing it ends its Accept and leaves the port open, where clients that
// come wait for the next session's.
type lentListener struct {
	*net.TCPListener
	closed *atomic.Bool
}

// lend makes the listener ready for another session. One is lent at a time.
func lend(l net.Listener) (net.Listener, error) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("a listener of another kind: %T", l)
	}
	if err := tcp.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("kafka listener: %w", err)
	}
	return lentListener{tcp, new(atomic.Bool)}, nil
}

// Accept returns net.ErrClosed once the listener is given back.
func (l lentListener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil && l.closed.Load() {
		return nil, net.ErrClosed
	}
	return c, err
}

// Close gives it back.
func (l lentListener) Close() error {
	l.closed.Store(true)
	return l.SetDeadline(time.Unix(1, 0)) // long past: whoever accepts returns
}
