package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
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
