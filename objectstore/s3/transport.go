package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// defaultConnections covers an agent's uploads in flight, their hedges, and its reads.
const defaultConnections = 64

// newTransport makes the connection pool. There is no time-out for response headers: how long an answer may take depends
// on the call, and its context says so.
func newTransport(cfg Config) *http.Transport {
	connections := cfg.Connections
	if connections == 0 {
		connections = defaultConnections
	}
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
		MaxIdleConns:        connections,
		MaxIdleConnsPerHost: connections, // one host: the default of 2 would dial for nearly every request
		IdleConnTimeout:     90 * time.Second,
		WriteBufferSize:     256 << 10,
		ReadBufferSize:      64 << 10,
		DisableCompression:  true, // objects are stored as they are, whatever Content-Encoding claims
		// HTTP/1.1 only (TLSNextProto is set and empty): one connection per upload is what object stores scale by.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
}

// transport catches what minio-go does not hand out: the Date header of the answer, for whoever asked by withDate.
type transport struct{ next http.RoundTripper }

type dateKey struct{}

// withDate asks for the server's time of the answer in *date; it stays zero when the server told none.
func withDate(ctx context.Context, date *time.Time) context.Context {
	return context.WithValue(ctx, dateKey{}, date)
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if date, ok := r.Context().Value(dateKey{}).(*time.Time); ok {
		*date, err = http.ParseTime(response.Header.Get("Date"))
		if err != nil {
			*date = time.Time{} // the contract: zero permits no conclusion
		}
	}
	return response, nil
}

var errReleased = errors.New("the call has returned: its body belongs to the caller again")

// bodyReader lends a body to net/http until release. The transport may go on reading a body after the answer has come
// (an early 412) or the context has ended, and by then the caller may have changed its buffer.
type bodyReader struct {
	mu       sync.Mutex
	body     []byte
	released bool
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.released {
		return 0, errReleased
	}
	if len(b.body) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.body)
	b.body = b.body[n:]
	return n, nil
}

func (b *bodyReader) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.body, b.released = nil, true
}
