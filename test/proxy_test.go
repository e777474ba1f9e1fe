//go:build realworld

package test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore/storetest"
)

// weather says what a proxy does to the requests that come while it lasts.
type weather struct {
	slowDown  bool          // answers 503 SlowDown to everything and forwards nothing
	stall     bool          // holds requests until the weather changes, then forwards them
	loseEvery int           // forwards each request; of every so many answers one is lost and its connection reset
	slowEvery int           // of every so many requests one waits before it is forwarded: 2 to 10 s
	limbo     time.Duration // of writes: every third gets no answer and takes effect so much later; until then its key is not there, and who writes it gets 503
	only      string        // of the requests whose path has this in it
	ends      chan struct{} // closed when other weather comes
}

// proxyCounts is what a proxy did since it was started.
type proxyCounts struct {
	requests, refused, lost, delayed, stalled int
	landed, notFound                          int // writes that took effect late; 404s of their keys before that
}

// proxy stands between an agent and its S3 server and makes weather. It changes nothing in what it forwards: the signature
// covers the Host header, which is the proxy's, and the server goes by what it is sent.
type proxy struct {
	target string // host:port
	client *http.Transport

	mu     sync.Mutex
	rng    *rand.Rand
	now    weather
	counts proxyCounts
	away   string // the path of the write in limbo, "" for none
	writes int    // since the last one in limbo
	late   sync.WaitGroup
}

// startProxy puts a proxy before g. It ends with the test.
func startProxy(t *testing.T, g *storetest.VersityGW) (p *proxy, endpoint string) {
	t.Helper()
	p = &proxy{
		target: g.Endpoint, client: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		rng: rand.New(rand.NewPCG(1, 2)), now: weather{ends: make(chan struct{})},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends by Close below
	}()
	t.Cleanup(func() {
		p.set(weather{})
		_ = server.Close() // nobody is left to be cut off
		<-served
		p.late.Wait()
		p.client.CloseIdleConnections()
	})
	return p, l.Addr().String()
}

// proxiedBackend is an S3 backend whose agent goes through the proxy; engines and tests go to the server itself.
func proxiedBackend(t *testing.T) (backend, *proxy) {
	t.Helper()
	g := storetest.StartVersityGW(t)
	b := s3BackendOn(t, g)
	p, endpoint := startProxy(t, g)
	b.store = strings.Replace(b.store, g.Endpoint, endpoint, 1)
	return b, p
}

// set changes the weather for requests from now on, and frees those that stall.
func (p *proxy) set(w weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.ends = make(chan struct{})
	close(p.now.ends)
	p.now = w
}

func (p *proxy) did() proxyCounts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// inLimbo tells whether a write is on its way that nobody has heard of again.
func (p *proxy) inLimbo() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.away != ""
}

// missed counts a 404 of the key in limbo.
func (p *proxy) missed(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away == path {
		p.counts.notFound++
	}
}

// delay lets a write take effect when d is over, if limbo is free for it. busy says that its key is in limbo already.
func (p *proxy) delay(r *http.Request, body []byte, d time.Duration) (taken, busy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away != "" || r.Method != http.MethodPut {
		return false, r.Method == http.MethodPut && p.away == r.URL.Path
	}
	if p.writes++; p.writes < 3 {
		return false, false
	}
	p.away, p.writes = r.URL.Path, 0
	p.late.Go(func() {
		time.Sleep(d)
		answer, err := p.forward(r, body)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.away = ""
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				p.counts.landed++
			}
		}
	})
	return true, false
}

// forward sends a request to the server. One that has reached it takes effect, also when the agent does not wait for it any more.
func (p *proxy) forward(r *http.Request, body []byte) (*http.Response, error) {
	out := r.Clone(context.WithoutCancel(r.Context()))
	out.URL.Scheme, out.URL.Host, out.RequestURI = "http", p.target, ""
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return p.client.RoundTrip(out)
}

// fate decides what happens to a request.
func (p *proxy) fate(path string) (w weather, lose bool, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.requests++
	if w = p.now; !strings.Contains(path, w.only) {
		return weather{}, false, 0
	}
	switch {
	case w.slowDown:
		p.counts.refused++
	case w.stall:
		p.counts.stalled++
	case w.loseEvery > 0 && p.counts.requests%w.loseEvery == 0:
		p.counts.lost++
		lose = true
	case w.slowEvery > 0 && p.counts.requests%w.slowEvery == 0:
		p.counts.delayed++
		delay = 2*time.Second + time.Duration(p.rng.Int64N(int64(8*time.Second)))
	}
	return w, lose, delay
}

const slowDown = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w, lose, delay := p.fate(r.URL.Path)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the agent has given the request up
	}
	switch {
	case w.slowDown:
		busyAnswer(rw)
		return
	case w.stall:
		<-w.ends
	case w.limbo > 0:
		taken, busy := p.delay(r, body, w.limbo)
		if taken {
			reset(rw)
			return
		}
		if busy {
			busyAnswer(rw)
			return
		}
	case delay > 0:
		select {
		case <-time.After(delay):
		case <-w.ends:
		}
	}
	answer, err := p.forward(r, body)
	if err != nil {
		reset(rw)
		return
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil || lose {
		reset(rw)
		return
	}
	if answer.StatusCode == http.StatusNotFound {
		p.missed(r.URL.Path)
	}
	for name, values := range answer.Header {
		rw.Header()[name] = values
	}
	rw.WriteHeader(answer.StatusCode)
	_, _ = rw.Write(content) // as above
}

func busyAnswer(rw http.ResponseWriter) {
	rw.Header().Set("Content-Type", "application/xml")
	rw.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(rw, slowDown) // whether it arrives is the agent's to notice
}

// reset ends the connection of a request as a broken network does.
func reset(rw http.ResponseWriter) {
	hijacker, ok := rw.(http.Hijacker)
	if !ok {
		panic("HTTP/1.1 connections can be hijacked")
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		return // it is broken already
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // close sends RST
	}
	conn.Close()
}
