package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// VersityGW is a running versitygw, an independent S3 server over a local directory. Its methods end the test on errors.
type VersityGW struct {
	Endpoint  string // host:port, plain http
	Region    string
	AccessKey string // of the root user, whom no policy restrains
	SecretKey string
	Dir       string // of the data: a bucket is a directory in it, an object a file

	program string
}

// URL is the --store URL of a bucket and prefix here; the keys go beside it.
func (g *VersityGW) URL(bucket, prefix string) string {
	return fmt.Sprintf("s3://%s/%s?endpoint=http://%s&region=%s", bucket, prefix, g.Endpoint, g.Region)
}

// StartVersityGW starts $BARGE_TOOLS/bin/versitygw on a free loopback port over a temporary directory and stops it when
// the test ends. A missing program fails the test and names the fix.
func StartVersityGW(tb testing.TB) *VersityGW {
	tb.Helper()
	tools := os.Getenv("BARGE_TOOLS")
	program := filepath.Join(tools, "bin", "versitygw")
	if _, err := os.Stat(program); tools == "" || errors.Is(err, fs.ErrNotExist) {
		tb.Fatalf("versitygw is missing: no %s (BARGE_TOOLS=%q); `make test` or `make tools` builds it", program, tools)
	}
	// Not tb.TempDir: its removal would race with a server that is still writing when a test fails.
	dir, err := os.MkdirTemp("", "barge-versitygw-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("remove versitygw's data: %v", err)
		}
	})
	g := &VersityGW{Region: "us-east-1", AccessKey: "admin", SecretKey: "adminsecret", Dir: filepath.Join(dir, "data"), program: program}
	iam := filepath.Join(dir, "iam")
	if err := errors.Join(os.Mkdir(g.Dir, 0o755), os.Mkdir(iam, 0o755)); err != nil {
		tb.Fatal(err)
	}
	// The port is free when asked for, but another process may take it first.
	for range 3 {
		if g.start(tb, iam) {
			return g
		}
	}
	tb.Fatal("versitygw did not start, see its output above")
	return nil
}

func (g *VersityGW) start(tb testing.TB, iam string) bool {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	g.Endpoint = listener.Addr().String()
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	var output lockedBuffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, g.program, "--quiet", "--keep-alive", "--port", g.Endpoint, "--region", g.Region, "--iam-dir", iam, "--iam-cache-disable",
		"posix", "--data-integrity-etag", g.Dir)
	cmd.Env = []string{"ROOT_ACCESS_KEY=" + g.AccessKey, "ROOT_SECRET_KEY=" + g.SecretKey, "HOME=" + iam}
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		cancel()
		tb.Fatalf("start %s: %v", g.program, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed in the end, so its status says nothing
	}()
	stop := func() {
		cancel()
		<-ended
		if tb.Failed() {
			tb.Logf("versitygw's output:\n%s", output.String())
		}
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		select {
		case <-ended:
			stop()
			tb.Logf("versitygw ended at once:\n%s", output.String())
			return false
		case <-time.After(20 * time.Millisecond):
		}
		if _, err := g.client(tb).ListBuckets(ctx); err == nil {
			tb.Cleanup(stop)
			return true
		}
	}
	stop()
	tb.Logf("versitygw did not answer in time:\n%s", output.String())
	return false
}

func (g *VersityGW) client(tb testing.TB) *minio.Client {
	tb.Helper()
	client, err := minio.New(g.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(g.AccessKey, g.SecretKey, ""), Region: g.Region, BucketLookup: minio.BucketLookupPath, MaxRetries: 1,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return client
}

// CreateBucket makes a bucket.
func (g *VersityGW) CreateBucket(tb testing.TB, bucket string) {
	tb.Helper()
	if err := g.client(tb).MakeBucket(tb.Context(), bucket, minio.MakeBucketOptions{Region: g.Region}); err != nil {
		tb.Fatalf("create bucket %s: %v", bucket, err)
	}
}

// CreateUser makes a user who may do nothing until a policy allows it.
func (g *VersityGW) CreateUser(tb testing.TB, accessKey, secretKey string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), g.program, "admin", "--access", g.AccessKey, "--secret", g.SecretKey, "--endpoint-url", "http://"+g.Endpoint,
		"create-user", "--access", accessKey, "--secret", secretKey, "--role", "user")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("create user %s: %v\n%s", accessKey, err, out)
	}
}

// SetBucketPolicy replaces the bucket's policy by a JSON document.
func (g *VersityGW) SetBucketPolicy(tb testing.TB, bucket, policy string) {
	tb.Helper()
	if err := g.client(tb).SetBucketPolicy(tb.Context(), bucket, policy); err != nil {
		tb.Fatalf("set the policy of %s: %v", bucket, err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
