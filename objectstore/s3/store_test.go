package s3_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/s3"
)

// recorder is a server that keeps what it was sent, and answers as it is told.
type recorder struct {
	mu       sync.Mutex
	requests []recorded
	answer   http.HandlerFunc // nil: 200
}

type recorded struct {
	method, uri string
	header      http.Header
	trailer     http.Header
	encoding    []string
	length      int64
	body        []byte
}

const emptyList = `<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>`

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Query().Get("list-type") == "2" {
		_, _ = io.WriteString(w, emptyList)
		return
	}
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		answer(w, req)
		return
	}
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, recorded{req.Method, req.RequestURI, req.Header, req.Trailer, req.TransferEncoding, req.ContentLength, body})
}

func (r *recorder) respond(h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = h
}

func serve(t *testing.T, secure bool) (*recorder, *s3.Store) {
	t.Helper()
	r := &recorder{}
	server := httptest.NewUnstartedServer(r)
	cfg := s3.Config{Region: "eu-x", Bucket: "bucket", Prefix: "pre/fix", AccessKey: "AK", SecretKey: "SK", Secure: secure}
	if secure {
		server.StartTLS()
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AddCert(server.Certificate())
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	cfg.Endpoint = server.Listener.Addr().String()
	s, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

func TestWritesAreOneUnsignedPutWithAChecksumHeader(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, size := range []int{0, 1, 20 << 20} { // 20 MiB: where the client would start a multipart upload by itself
			t.Run(fmt.Sprintf("https=%v/%d bytes", secure, size), func(t *testing.T) {
				r, s := serve(t, secure)
				body := bytes.Repeat([]byte{7}, size)
				if _, err := s.Create(t.Context(), "a/k=1", body); err != nil {
					t.Fatal(err)
				}
				if err := s.Put(t.Context(), "a/k=2", body); err != nil {
					t.Fatal(err)
				}
				if len(r.requests) != 2 {
					t.Fatalf("%d requests for two writes", len(r.requests))
				}
				for i, req := range r.requests {
					checkWrite(t, req, body)
					if got, want := req.header.Get("If-None-Match"), []string{"*", ""}[i]; got != want {
						t.Errorf("If-None-Match = %q, want %q", got, want)
					}
				}
			})
		}
	}
}

func checkWrite(t *testing.T, req recorded, body []byte) {
	t.Helper()
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	for name, want := range map[string]string{
		"X-Amz-Content-Sha256":         "UNSIGNED-PAYLOAD",
		"X-Amz-Checksum-Crc32c":        base64.StdEncoding.EncodeToString(sum),
		"Content-Md5":                  "",
		"X-Amz-Trailer":                "",
		"X-Amz-Decoded-Content-Length": "",
		"Content-Encoding":             "",
		"X-Amz-Sdk-Checksum-Algorithm": "",
	} {
		if got := req.header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if auth := req.header.Get("Authorization"); !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=AK/") || !strings.Contains(auth, "x-amz-checksum-crc32c") {
		t.Errorf("Authorization = %q, want version 4 with the checksum among the signed headers", auth)
	}
	if req.method != http.MethodPut || !strings.HasPrefix(req.uri, "/bucket/pre/fix/a/k%3D") || len(req.encoding) > 0 || len(req.trailer) > 0 || req.length != int64(len(body)) || !bytes.Equal(req.body, body) {
		t.Errorf("%s %s encoding=%v trailer=%v length=%d, %d bytes equal=%v", req.method, req.uri, req.encoding, req.trailer, req.length, len(req.body), bytes.Equal(req.body, body))
	}
	for name, values := range req.header {
		if strings.Contains(strings.Join(values, " "), "STREAMING") {
			t.Errorf("%s = %q", name, values)
		}
	}
}

func TestCreateReturnsTheServersDate(t *testing.T) {
	r, s := serve(t, false)
	want := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	r.respond(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", want.Format(http.TimeFormat)) })
	if got, err := s.Create(t.Context(), "k", []byte("x")); err != nil || !got.Equal(want) {
		t.Fatalf("got %v, %v, want %v", got, err, want)
	}
	r.respond(func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil })
	if got, err := s.Create(t.Context(), "k", []byte("x")); err != nil || !got.IsZero() {
		t.Fatalf("without a Date: got %v, %v, want the zero time", got, err)
	}
}

func TestAnswersBecomeTheErrorsCallersActOn(t *testing.T) {
	r, s := serve(t, false)
	ctx := t.Context()
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{412, "PreconditionFailed", objectstore.ErrExists},
		{409, "ConditionalRequestConflict", objectstore.ErrUnknown},
		{409, "", objectstore.ErrUnknown},
		{500, "InternalError", objectstore.ErrUnknown},
		{502, "", objectstore.ErrUnknown},
		{503, "SlowDown", objectstore.ErrUnknown},
		{504, "", objectstore.ErrUnknown},
		{429, "TooManyRequests", objectstore.ErrUnknown},
		{400, "RequestTimeout", objectstore.ErrUnknown},
		{400, "BadDigest", objectstore.ErrUnknown},
		{403, "AccessDenied", objectstore.ErrDenied},
		{403, "", objectstore.ErrDenied},
		{401, "", objectstore.ErrDenied},
		{400, "ExpiredToken", objectstore.ErrDenied},
		{404, "NoSuchBucket", objectstore.ErrNoBucket},
		{404, "NoSuchKey", objectstore.ErrNotFound},
		{404, "", objectstore.ErrNotFound},
		{403, "QuotaExceeded", objectstore.ErrFull},
		{507, "", objectstore.ErrFull},
		{400, "InvalidArgument", nil},
		{501, "NotImplemented", nil},
	} {
		requests := 0
		r.respond(func(w http.ResponseWriter, req *http.Request) {
			requests++
			_, _ = io.Copy(io.Discard, req.Body)
			w.WriteHeader(c.status)
			if c.code != "" {
				_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>because</Message></Error>", c.code)
			}
		})
		_, err := s.Create(ctx, "k", []byte("x"))
		checkError(t, fmt.Sprintf("create, %d %s", c.status, c.code), err, c.want)
		checkError(t, fmt.Sprintf("put, %d %s", c.status, c.code), s.Put(ctx, "k", []byte("x")), c.want)
		_, err = s.Get(ctx, "k", 10)
		checkError(t, fmt.Sprintf("get, %d %s", c.status, c.code), err, c.want)
		if requests != 3 {
			t.Errorf("%d %s: %d requests for three calls: the driver must not repeat by itself", c.status, c.code, requests)
		}
	}
}

func checkError(t *testing.T, what string, err, want error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "s3://bucket/pre/fix/k") {
		t.Errorf("%s: %v does not name the object", what, err)
	}
	for _, sentinel := range []error{
		objectstore.ErrExists, objectstore.ErrNotFound, objectstore.ErrUnknown, objectstore.ErrDenied, objectstore.ErrNoBucket, objectstore.ErrFull, io.ErrUnexpectedEOF,
	} {
		if got := errors.Is(err, sentinel); got != (sentinel == want) { //nolint:errorlint // want is a sentinel itself
			t.Errorf("%s: %v: is %q: %v", what, err, sentinel, got)
		}
	}
}

func TestBrokenAnswersAreUnknownAndNotTheObjectsEnd(t *testing.T) {
	r, s := serve(t, false)
	for name, answer := range map[string]http.HandlerFunc{
		"reset": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Header().Set("Content-Range", "bytes 0-99/100")
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 40))
		},
	} {
		r.respond(answer)
		_, err := s.GetRange(t.Context(), "k", 0, 100)
		checkError(t, name+", get range", err, objectstore.ErrUnknown)
		_, err = s.Get(t.Context(), "k", 100)
		checkError(t, name+", get", err, objectstore.ErrUnknown)
	}
	r.respond(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := s.Create(t.Context(), "k", make([]byte, 1<<20))
	checkError(t, "reset, create", err, objectstore.ErrUnknown)
	release := make(chan struct{})
	defer close(release)
	r.respond(func(_ http.ResponseWriter, req *http.Request) { _, _ = io.Copy(io.Discard, req.Body); <-release })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.Create(ctx, "k", []byte("x"))
	checkError(t, "time-out, create", err, objectstore.ErrUnknown)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("time-out: %v is not DeadlineExceeded", err)
	}
}

func TestAServerThatIgnoresRangesIsFoundOut(t *testing.T) {
	r, s := serve(t, false)
	r.respond(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		_, _ = io.WriteString(w, "0123456789")
	})
	if got, err := s.GetRange(t.Context(), "k", 3, 4); err == nil || !strings.Contains(err.Error(), "does not honor ranges") {
		t.Fatalf("got %q, %v", got, err)
	}
}

// TestBodyIsTheCallersAgainAfterAnEarlyAnswer is for the race detector: the server refuses before it has read the body,
// the caller changes its buffer, and the connection may still be sending.
func TestBodyIsTheCallersAgainAfterAnEarlyAnswer(t *testing.T) {
	r, s := serve(t, false)
	r.respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusPreconditionFailed) })
	body := make([]byte, 32<<20)
	for range 3 {
		if _, err := s.Create(t.Context(), "k", body); !errors.Is(err, objectstore.ErrExists) && !errors.Is(err, objectstore.ErrUnknown) {
			t.Fatal(err)
		}
		for i := range body {
			body[i]++
		}
	}
}

func TestManyKeysAreDeletedByTheThousandAndErrorsNameThem(t *testing.T) {
	r, s := serve(t, false)
	var sizes []int
	r.respond(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		n := strings.Count(string(body), "<Key>")
		sizes = append(sizes, n)
		_, _ = io.WriteString(w, "<DeleteResult>")
		if n < 1000 {
			_, _ = io.WriteString(w, "<Error><Key>pre/fix/k2001</Key><Code>AccessDenied</Code><Message>no</Message></Error><Error><Key>pre/fix/k2002</Key><Code>NoSuchKey</Code></Error>")
		}
		_, _ = io.WriteString(w, "</DeleteResult>")
	})
	keys := make([]string, 2100)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	err := s.Delete(t.Context(), keys...)
	if !errors.Is(err, objectstore.ErrDenied) || !strings.Contains(err.Error(), "s3://bucket/pre/fix/k2001") || strings.Contains(err.Error(), "k2002") {
		t.Errorf("got %v, want ErrDenied for k2001 alone", err)
	}
	if fmt.Sprint(sizes) != "[1000 1000 100]" {
		t.Errorf("requests of %v keys", sizes)
	}
}

func TestAnUnorderedListingIsRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<ListBucketResult><Contents><Key>b</Key></Contents><Contents><Key>a</Key></Contents></ListBucketResult>`)
	}))
	defer server.Close()
	cfg := s3.Config{Endpoint: server.Listener.Addr().String(), Bucket: "bucket", AccessKey: "a", SecretKey: "b"}
	s, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.List(t.Context(), "", "", 10); err == nil || !strings.Contains(err.Error(), "key order") {
		t.Fatalf("got %v, %v", got, err)
	}
}
