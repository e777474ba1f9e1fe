//go:build realworld

package test

import (
	"net"
	"sync"
	"testing"
	"time"
)

// link is a TCP proxy before one address. It can be cut, as a network between two machines can.
type link struct {
	address string // to connect to
	target  string // host:port behind it

	mu    sync.Mutex
	conns map[net.Conn]bool
	mode  cutMode
	heals chan struct{} // closed when the cut is over
	over  bool
}

// cutMode says how a link is broken.
type cutMode int

const (
	whole    cutMode = iota
	silent           // nothing passes and nothing is refused: what was sent arrives after the cut
	refusing         // connections are reset, new ones too
)

// startLink puts a link before target. It ends with the test.
func startLink(t *testing.T, target string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{address: listener.Addr().String(), target: target, conns: map[net.Conn]bool{}, heals: make(chan struct{})}
	close(l.heals)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed below
			}
			all.Go(func() { l.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		l.set(whole)
		l.mu.Lock()
		l.over = true
		l.mu.Unlock()
		l.reset()
		all.Wait()
	})
	return l
}

// set cuts the link or heals it.
func (l *link) set(mode cutMode) {
	l.mu.Lock()
	if l.mode == silent && mode != silent {
		close(l.heals)
	}
	if mode == silent && l.mode != silent {
		l.heals = make(chan struct{})
	}
	l.mode = mode
	l.mu.Unlock()
	if mode == refusing {
		l.reset()
	}
}

// reset breaks all connections, as a machine that has forgotten them does.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // close sends RST
		}
		conn.Close()
	}
}

// hold registers a connection, or closes it when the link does not take any.
func (l *link) hold(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over || l.mode == refusing {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		conn.Close()
		return false
	}
	l.conns[conn] = true
	return true
}

func (l *link) drop(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	conn.Close()
}

// healed is closed while the link lets bytes pass.
func (l *link) healed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heals
}

func (l *link) serve(in net.Conn) {
	if !l.hold(in) {
		return
	}
	defer l.drop(in)
	<-l.healed()
	out, err := net.DialTimeout("tcp", l.target, 5*time.Second)
	if err != nil || !l.hold(out) {
		return
	}
	defer l.drop(out)
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			<-l.healed()
			if n > 0 {
				if _, err := to.Write(buf[:n]); err != nil {
					break
				}
			}
			if err != nil {
				break
			}
		}
		to.Close()
		from.Close()
	}
	both.Go(func() { pass(out, in) })
	both.Go(func() { pass(in, out) })
	both.Wait()
}
