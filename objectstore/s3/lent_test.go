package s3

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// tcpPair is both ends of a connection over loopback.
func tcpPair(t *testing.T) (ours, theirs *net.TCPConn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if ours, err = net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	if theirs, err = ln.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

// TestReleaseEndsAWriteUnderWay: the peer reads slowly or not at all, and the body is the caller's when release returns.
func TestReleaseEndsAWriteUnderWay(t *testing.T) {
	for try := range 8 {
		ours, theirs := tcpPair(t)
		body := make([]byte, 64<<20)
		lent := &lentBody{body: body}
		ended := make(chan error, 1)
		go func() {
			_, err := lent.writeTo(ours, int64(len(body)))
			ended <- err
		}()
		got := make(chan []byte, 1)
		begun := make(chan struct{})
		go func() {
			first := make([]byte, 1+try*500_000)
			n, _ := io.ReadFull(theirs, first)
			close(begun)
			time.Sleep(time.Duration(try%3) * time.Millisecond) // does not read for a while
			rest, _ := io.ReadAll(theirs)
			got <- append(first[:n], rest...)
		}()
		<-begun
		lent.release()
		for i := range body {
			body[i] = 0xee
		}
		if err := <-ended; err == nil {
			t.Error("a write that was interrupted says that it was whole: its connection would be used again")
		}
		_ = ours.Close()
		if received := <-got; bytes.IndexByte(received, 0xee) >= 0 {
			t.Errorf("of %d bytes some were written after release", len(received))
		}
		if n, err := lent.Read(make([]byte, 10)); n != 0 || !errors.Is(err, errReleased) {
			t.Errorf("read after release: %d, %v", n, err)
		}
		if n, err := lent.writeTo(ours, 10); n != 0 || err != nil {
			t.Errorf("write after release: %d, %v", n, err) // nothing is left; net/http misses the bytes itself
		}
	}
}
