package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
)

func TestBodiesArriveAsTheyAre(t *testing.T) {
	body := make([]byte, 5<<20+17)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range body {
		body[i] = byte(rng.Uint32())
	}
	for _, secure := range []bool{false, true} {
		r, s := serve(t, secure)
		for _, n := range []int{1, 64 << 10, 1 << 20, len(body)} {
			if err := s.Put(t.Context(), "k", body[:n]); err != nil {
				t.Fatal(err)
			}
			if got := r.requests[len(r.requests)-1].body; !bytes.Equal(got, body[:n]) {
				t.Errorf("https=%v: of %d bytes %d arrived, or others", secure, n, len(got))
			}
		}
	}
}

func TestAKnownChecksumIsSentAsItIs(t *testing.T) {
	r, s := serve(t, false)
	if err := s.Put(objectstore.WithChecksum(t.Context(), 0x01020304), "k", []byte("body")); err != nil {
		t.Fatal(err)
	}
	if got := r.requests[0].header.Get("X-Amz-Checksum-Crc32c"); got != "AQIDBA==" {
		t.Errorf("checksum header %q, want the one of the context", got)
	}
}

// TestAServerThatStopsReadingDoesNotKeepTheBody: an answer before the end of the body, then silence on the connection.
func TestAServerThatStopsReadingDoesNotKeepTheBody(t *testing.T) {
	r, s := serve(t, false)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	r.respond(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(rw, "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n")
		_ = rw.Flush()
		go func() {
			<-over
			_ = c.Close()
		}()
	})
	body := make([]byte, 64<<20)
	begun := time.Now()
	_, err := s.Create(t.Context(), "k", body)
	if !errors.Is(err, objectstore.ErrExists) && !errors.Is(err, objectstore.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the call took %v", took)
	}
	clear(body) // for the race detector

	// Nor does one that never answers.
	r.respond(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-over:
		case <-req.Context().Done():
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, "k", body); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the calls took %v", took)
	}
	clear(body)
}

// TestACallThatHasReturnedReadsItsBodyNoMore: a server that reads slowly, a call that ends in the middle of its body, by
// its context (a canceled hedge, a time-out) or by an early answer, and a caller that writes into the body as soon as the
// call has returned. What the server gets until the connection ends is the body as it was. Over http bodies go to the
// socket as they are lent, over https through the transport's own buffers.
func TestACallThatHasReturnedReadsItsBodyNoMore(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("https=%v/early answer=%v", secure, early), func(t *testing.T) {
				var mu sync.Mutex
				var scribbled, received int
				t.Cleanup(func() { // after the server has ended, which waits for its connections
					if scribbled > 0 || received == 0 {
						t.Errorf("of %d bytes that were received, %d were written after their call had returned", received, scribbled)
					}
				})
				r, s := serve(t, secure)
				r.respond(func(w http.ResponseWriter, req *http.Request) {
					if early {
						full := http.NewResponseController(w)
						_ = full.EnableFullDuplex()
						w.Header().Set("Content-Length", "0")
						w.WriteHeader(http.StatusPreconditionFailed)
						_ = full.Flush()
					}
					b := make([]byte, 256<<10)
					for {
						n, err := req.Body.Read(b)
						bad := bytes.Count(b[:n], []byte{0xee})
						mu.Lock()
						scribbled, received = scribbled+bad, received+n
						mu.Unlock()
						if err != nil {
							return
						}
						time.Sleep(200 * time.Microsecond)
					}
				})
				body := make([]byte, 24<<20)
				for try := range 8 {
					clear(body)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(5+try)*time.Millisecond)
					_, err := s.Create(ctx, "k", body)
					cancel()
					for i := range body { // also for the race detector
						body[i] = 0xee
					}
					if err == nil {
						t.Errorf("24 MiB arrived in %d ms", 5+try)
					}
				}
			})
		}
	}
}
