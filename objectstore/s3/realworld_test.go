//go:build realworld

package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/s3"
	"github.com/bargedata/barge/objectstore/storetest"
)

func config(tb testing.TB, g *storetest.VersityGW, bucket, prefix string) s3.Config {
	tb.Helper()
	cfg, err := s3.ParseURL(g.URL(bucket, prefix))
	if err != nil {
		tb.Fatal(err)
	}
	cfg.AccessKey, cfg.SecretKey = g.AccessKey, g.SecretKey
	return cfg
}

func open(tb testing.TB, cfg s3.Config) *s3.Store {
	tb.Helper()
	s, err := s3.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestConformanceOnVersityGW(t *testing.T) {
	g := storetest.StartVersityGW(t)
	var n atomic.Int32
	for _, prefix := range []string{"", "some/prefix"} {
		t.Run("prefix="+prefix, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) objectstore.Store {
				t.Helper()
				bucket := fmt.Sprintf("bucket-%d", n.Add(1))
				g.CreateBucket(t, bucket)
				return open(t, config(t, g, bucket, prefix))
			})
		})
	}
}

func TestConformanceOfTheWholeStackOnVersityGW(t *testing.T) {
	g := storetest.StartVersityGW(t)
	var n atomic.Int32
	storetest.Run(t, func(t *testing.T) objectstore.Store {
		t.Helper()
		bucket := fmt.Sprintf("stack-%d", n.Add(1))
		g.CreateBucket(t, bucket)
		meter := objectstore.NewTimedMeter(open(t, config(t, g, bucket, "p")), time.Now)
		// No hedges: on a busy machine they would turn the suite's plain ErrExists into ErrMaybeOurs.
		cfg := objectstore.RetryConfig{HedgeDelay: -1}
		return objectstore.WithRetry(meter, cfg, time.Now, rand.New(rand.NewPCG(1, 1)), slog.New(slog.DiscardHandler))
	})
}

func TestVersityGWPassesTheProbe(t *testing.T) {
	g := storetest.StartVersityGW(t)
	g.CreateBucket(t, "probe")
	a, b := open(t, config(t, g, "probe", "p")), open(t, config(t, g, "probe", "p"))
	if err := objectstore.Probe(t.Context(), []objectstore.Store{a, b}, "meta/probe/", "r1"); err != nil {
		t.Fatal(err)
	}
	left, err := a.List(t.Context(), "", "", 10)
	if err != nil || len(left) != 0 {
		t.Fatalf("the probe left %v, %v", left, err)
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	g := storetest.StartVersityGW(t)
	g.CreateBucket(t, "there")
	wrongSecret, wrongAccess := config(t, g, "there", ""), config(t, g, "there", "")
	wrongSecret.SecretKey, wrongAccess.AccessKey = "wrong", "nobody"
	closed := config(t, g, "there", "")
	closed.Endpoint = "127.0.0.1:1"
	tls := config(t, g, "there", "")
	tls.Secure = true
	for _, c := range []struct {
		name string
		cfg  s3.Config
		want error
		text string
	}{
		{"no bucket", config(t, g, "missing-bucket", "x"), objectstore.ErrNoBucket, "create the bucket first"},
		{"wrong secret", wrongSecret, objectstore.ErrDenied, "check the access key"},
		{"wrong access key", wrongAccess, objectstore.ErrDenied, "InvalidAccessKeyId"},
		{"nobody listens", closed, objectstore.ErrUnknown, "connection refused"},
		{"https asked of http", tls, nil, "speaks http"},
	} {
		_, err := s3.Open(t.Context(), c.cfg)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v and %q", c.name, err, c.want, c.text)
		}
		t.Logf("%s: %v", c.name, err)
	}
}

func TestReadOnlyPolicyDeniesWrites(t *testing.T) {
	g := storetest.StartVersityGW(t)
	g.CreateBucket(t, "guarded")
	g.CreateUser(t, "reader", "readersecret")
	g.SetBucketPolicy(t, "guarded", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["reader"]},
		"Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::guarded","arn:aws:s3:::guarded/*"]}]}`)
	if err := open(t, config(t, g, "guarded", "")).Put(t.Context(), "a/b", []byte("root's")); err != nil {
		t.Fatal(err)
	}
	cfg := config(t, g, "guarded", "")
	cfg.AccessKey, cfg.SecretKey = "reader", "readersecret"
	s := open(t, cfg)
	if got, err := s.Get(t.Context(), "a/b", 100); err != nil || string(got) != "root's" {
		t.Fatalf("get: %q, %v", got, err)
	}
	_, err := s.Create(t.Context(), "a/c", []byte("x"))
	for what, err := range map[string]error{
		"create": err, "put": s.Put(t.Context(), "a/d", []byte("x")), "delete": s.Delete(t.Context(), "a/b"), "delete of two": s.Delete(t.Context(), "a/b", "a/c"),
	} {
		if !errors.Is(err, objectstore.ErrDenied) || !strings.Contains(err.Error(), "guarded/a/") {
			t.Errorf("%s: got %v, want ErrDenied and the key", what, err)
		}
	}
	if err := objectstore.Probe(t.Context(), []objectstore.Store{s}, "meta/probe/", "r"); !errors.Is(err, objectstore.ErrDenied) {
		t.Errorf("probe: %v, want ErrDenied", err)
	}
}

func TestBucketRemovedMeanwhile(t *testing.T) {
	g := storetest.StartVersityGW(t)
	g.CreateBucket(t, "gone")
	s := open(t, config(t, g, "gone", ""))
	if err := os.RemoveAll(filepath.Join(g.Dir, "gone")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Create(t.Context(), "k", []byte("x"))
	if !errors.Is(err, objectstore.ErrNoBucket) {
		t.Fatalf("create in a bucket removed meanwhile: %v", err)
	}
	if _, err = s.Get(t.Context(), "k", 10); !errors.Is(err, objectstore.ErrNoBucket) {
		t.Fatalf("get from a bucket removed meanwhile: %v", err)
	}
}

// damage flips the body's first byte after the checksum has been computed.
type damage struct{ on atomic.Bool }

func (d *damage) RoundTrip(r *http.Request) (*http.Response, error) {
	if d.on.Load() && r.Method == http.MethodPut {
		r = r.Clone(r.Context())
		var b bytes.Buffer
		if _, err := b.ReadFrom(r.Body); err != nil {
			return nil, err
		}
		b.Bytes()[0] ^= 1
		r.Body = readCloser{&b}
	}
	return http.DefaultTransport.RoundTrip(r)
}

type readCloser struct{ *bytes.Buffer }

func (readCloser) Close() error { return nil }

func TestServerRefusesABodyDamagedOnTheWay(t *testing.T) {
	g := storetest.StartVersityGW(t)
	g.CreateBucket(t, "crc")
	d := &damage{}
	cfg := config(t, g, "crc", "")
	cfg.Transport = d
	s := open(t, cfg)
	d.on.Store(true)
	_, err := s.Create(t.Context(), "k", []byte("precious"))
	if !errors.Is(err, objectstore.ErrUnknown) {
		t.Fatalf("create: %v, want an error worth a retry", err)
	}
	d.on.Store(false)
	if _, err := s.Create(t.Context(), "k", []byte("precious")); err != nil {
		t.Fatalf("the damaged body was stored: %v", err)
	}
}
