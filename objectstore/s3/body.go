package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// writePiece is how much of a body is handed to the kernel at a time.
const writePiece = 1 << 20

var errReleased = errors.New("the call has returned: its body belongs to the caller again")

// lentBody lends a body to net/http until release. The transport may go on sending a body after the answer has come (an
// early 412) or the context has ended, and by then the caller may have changed its buffer.
type lentBody struct {
	use  sync.Mutex // held while the bytes are used; taken before mu
	body []byte     // what is not sent yet; guarded by use

	mu       sync.Mutex
	released bool
	conn     net.Conn // that is being written to
}

type bodyKey struct{}

// withBody tells the transport which body the request of this context sends.
func withBody(ctx context.Context, b *lentBody) context.Context {
	return context.WithValue(ctx, bodyKey{}, b)
}

// closer is a lent body in place of another, which is closed for it.
type closer struct {
	*lentBody
	in io.Closer
}

// Close implements io.Closer.
func (c closer) Close() error { return c.in.Close() }

// Read implements io.Reader.
func (b *lentBody) Read(p []byte) (int, error) {
	b.use.Lock()
	defer b.use.Unlock()
	if !b.begin(nil) {
		return 0, errReleased
	}
	if len(b.body) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.body)
	b.body = b.body[n:]
	return n, nil
}

// writeTo sends up to limit bytes straight from the body.
func (b *lentBody) writeTo(conn *net.TCPConn, limit int64) (written int64, err error) {
	b.use.Lock()
	defer b.use.Unlock()
	for err == nil && written < limit && len(b.body) > 0 {
		if !b.begin(conn) {
			return written, errReleased
		}
		var n int
		n, err = conn.Write(b.body[:min(int64(len(b.body)), limit-written, writePiece)])
		written += int64(n)
		b.body = b.body[n:]
		if !b.begin(nil) {
			return written, errReleased // also after a whole write: the deadline stays on the connection
		}
	}
	return written, err
}

// begin notes what is being written to; false when the body is not lent any more.
func (b *lentBody) begin(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn = conn
	return !b.released
}

// release takes the body back. A write under way is interrupted, which ends its connection.
func (b *lentBody) release() {
	b.mu.Lock()
	b.released = true
	if b.conn != nil {
		_ = b.conn.SetWriteDeadline(time.Unix(1, 0)) // fails only on a closed connection, whose write ends by itself
	}
	b.mu.Unlock()
	b.use.Lock()
	defer b.use.Unlock()
	b.body = nil
}

// dial connects; over the connection lent bodies go out without a copy.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		return sendConn{tcp}, nil
	}
	return c, nil
}

// sendConn is a connection that net/http copies bodies into. In between, net/http would copy them through buffers of 32 KiB,
// each with a system call of its own.
type sendConn struct{ *net.TCPConn }

// ReadFrom implements io.ReaderFrom. net/http calls it with the body behind a limit, its length.
func (c sendConn) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return c.TCPConn.ReadFrom(r)
	}
	lent, ok := limited.R.(closer)
	if !ok {
		return c.TCPConn.ReadFrom(r)
	}
	n, err := lent.writeTo(c.TCPConn, limited.N)
	limited.N -= n
	if err != nil {
		return n, fmt.Errorf("send the body: %w", err)
	}
	return n, nil
}
