package s3

import (
	"context"
	"crypto/tls"
	"net/http"
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
		DialContext:         dial,
		TLSHandshakeTimeout: 5 * time.Second,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
		MaxIdleConns:        connections,
		MaxIdleConnsPerHost: connections, // one host: the default of 2 would dial for nearly every request
		IdleConnTimeout:     90 * time.Second,
		WriteBufferSize:     64 << 10, // holds a request with a small body; the rest of a large one passes it by
		ReadBufferSize:      64 << 10,
		DisableCompression:  true, // objects are stored as they are, whatever Content-Encoding claims
		// HTTP/1.1 only (TLSNextProto is set and empty): one connection per upload is what object stores scale by.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
}

// transport hands over what minio-go does not: to the connection the body as it was lent, and to whoever asked by
// withDate the Date header of the answer.
type transport struct{ next http.RoundTripper }

type dateKey struct{}

// withDate asks for the server's time of the answer in *date; it stays zero when the server told none.
func withDate(ctx context.Context, date *time.Time) context.Context {
	return context.WithValue(ctx, dateKey{}, date)
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if lent, ok := r.Context().Value(bodyKey{}).(*lentBody); ok && r.Body != nil {
		bare := *r // a RoundTripper must not change its request
		bare.Body = closer{lent, r.Body}
		r = &bare
	}
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
