//go:build realworld

package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bargedata/barge/objectstore/storetest"
)

// refused runs an agent that must not start, and returns what it printed and its exit status.
func refused(t *testing.T, b backend, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bargeBinary(t), append([]string{"agent", "--listen", "127.0.0.1:0", "--http", ""}, args...)...)
	cmd.Env = environment(b.env)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("agent %v: %v; it should refuse to start\n%s", args, err, out)
	}
	return string(out), exit.ExitCode()
}

func wantMessage(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("the message does not name %q:\n%s", part, out)
		}
	}
}

func TestBadStoresAreRefusedByName(t *testing.T) {
	s3 := s3Backend(t)
	t.Run("no such bucket", func(t *testing.T) {
		out, code := refused(t, s3, "--store", strings.Replace(s3.store, "s3://bucket/", "s3://nosuchbucket/", 1))
		wantMessage(t, out, "nosuchbucket", "does not exist")
		if code != 1 {
			t.Errorf("exit status %d, want 1", code)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		denied := s3
		denied.env = append(append([]string{}, s3.env...), "AWS_SECRET_ACCESS_KEY=wrong")
		out, _ := refused(t, denied, "--store", s3.store)
		wantMessage(t, out, "bucket", "denied", "AWS_SECRET_ACCESS_KEY")
	})
	t.Run("may read and not write", func(t *testing.T) {
		g := storetest.StartVersityGW(t)
		g.CreateBucket(t, "bucket")
		g.CreateUser(t, "reader", "reader-secret")
		g.SetBucketPolicy(t, "bucket", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["reader"]},"Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}]}`)
		b := backend{store: g.URL("bucket", ""), env: []string{"AWS_ACCESS_KEY_ID=reader", "AWS_SECRET_ACCESS_KEY=reader-secret"}}
		out, _ := refused(t, b, "--store", b.store)
		wantMessage(t, out, "bucket", "denied", "cluster.json")
	})
	t.Run("a file where the directory should be", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := refused(t, s3, "--store", "file://"+path)
		wantMessage(t, out, path, "not a directory")
	})
	t.Run("a directory of something else", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "photo.jpg"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := refused(t, s3, "--store", "file://"+dir)
		wantMessage(t, out, dir, "cluster.json")
	})
	t.Run("another cluster", func(t *testing.T) {
		b := fileBackend(t)
		startAgent(t, b, "--cluster-id", "first").stop(t)
		out, code := refused(t, b, "--store", b.store, "--cluster-id", "second")
		wantMessage(t, out, `"first"`, `"second"`)
		if code != 1 {
			t.Errorf("exit status %d, want 1", code)
		}
	})
	t.Run("unknown flag", func(t *testing.T) {
		out, code := refused(t, s3, "--flush-intervall", "1s")
		wantMessage(t, out, "flush-intervall", "flush-interval")
		if code != 2 {
			t.Errorf("exit status %d, want 2", code)
		}
	})
	t.Run("address in use", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		b := fileBackend(t)
		out, _ := refused(t, b, "--store", b.store, "--listen", l.Addr().String())
		wantMessage(t, out, l.Addr().String(), "in use")
	})
}

// client makes a franz-go producer that tells of each failure at once.
func client(t *testing.T, brokers string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.AllowAutoTopicCreation()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestBadFramesCloseOneConnectionOnly(t *testing.T) {
	b := fileBackend(t)
	a := startAgent(t, b, "--auto-create-topics=true")
	frame := func(size int32, body ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(size)), body...)
	}
	for name, bytes := range map[string][]byte{
		"over the cap":       frame(2_000_000_000, 0, 0, 0, 7, 0, 0, 0, 1, 0xff, 0xff),
		"negative length":    frame(-5),
		"shorter than said":  frame(100, 0, 18, 0, 0),
		"no header":          frame(2, 0, 18),
		"unknown key":        frame(10, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff),
		"lying array count":  frame(18, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0, 1, 'a', 0),
		"HTTP by mistake":    []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"a long client name": frame(12, 0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff, 'x', 'y'),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", a.brokers)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(bytes); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("the connection was not closed: %v (%d bytes read)", err, len(got))
			}
		})
	}
	if err := client(t, a.brokers).ProduceSync(t.Context(), &kgo.Record{Topic: "after", Value: []byte("still here")}).FirstErr(); err != nil {
		t.Fatalf("after the bad frames: %v", err)
	}
	a.stop(t)
}

func TestRefusalsCarryKafkasCodes(t *testing.T) {
	b := fileBackend(t)
	a := startAgent(t, b)
	barge(t, b, "topic", "create", "small", "--brokers", a.brokers, "--partitions", "1", "--config", "max.message.bytes=1000")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := client(t, a.brokers, kgo.RecordRetries(1), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.UnknownTopicRetries(0))
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "small", Value: bytes.Repeat([]byte("x"), 5000)}).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("a batch over max.message.bytes: %v", err)
	}
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "missing", Value: []byte("x")}).FirstErr(); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("an unknown topic without auto-creation: %v", err)
	}
	tx := client(t, a.brokers, kgo.TransactionalID("tx"), kgo.RecordRetries(1))
	if _, _, err := tx.ProducerID(ctx); !errors.Is(err, kerr.TransactionalIDAuthorizationFailed) {
		t.Errorf("a transactional id: %v", err)
	}
	out, err := exec.CommandContext(ctx, bargeBinary(t), "topic", "create", "bad name!", "--brokers", a.brokers).CombinedOutput()
	if err == nil {
		t.Error("an illegal topic name was created")
	}
	wantMessage(t, string(out), "bad name!")
	a.stop(t)
}

// tmpfs mounts a file system of a size of its own.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: no small file system can be mounted to be filled; what ENOSPC means to the store is tested in objectstore/file")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount -t tmpfs: %v %s", err, out)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fullDisk is an agent on a disk of 24 MB, and how to give it more.
func fullDisk(t *testing.T, args ...string) (b backend, a *agent, room func()) {
	t.Helper()
	dir := tmpfs(t, "24m")
	b = backend{name: "file", store: "file://" + dir, root: dir, table: func(topic string) string { return "file://" + dir + "/tables/" + topic }}
	a = startAgent(t, b, append(args, "--auto-create-topics=true", "--table-commit-interval", "1h")...)
	return b, a, func() {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "mount", "-o", "remount,size=96m", dir).CombinedOutput(); err != nil {
			t.Fatalf("remount: %v %s", err, out)
		}
	}
}

// largeValue is 400 KiB that begin with a number of six digits.
func largeValue(i int) []byte {
	return append(fmt.Appendf(nil, "%06d ", i), bytes.Repeat([]byte("x"), 400<<10)...)
}

// servedOnce wants every acknowledged number among what the topic serves, once.
func servedOnce(t *testing.T, a *agent, topic string, acked map[string]bool) {
	t.Helper()
	served := map[string]int{}
	for _, m := range consumeAll(t, a, topic) {
		v := unbase64(t, m.Value)
		served[v[:min(6, len(v))]]++
	}
	for v := range acked {
		if served[v] != 1 {
			t.Fatalf("acked record %s is served %d times", v, served[v])
		}
	}
}

// Where flushes are objects of their own, what does not fit was surely not written, and the producer is told so.
func TestFullDiskLosesNothingAcked(t *testing.T) {
	b, a, room := fullDisk(t, "--inline-bytes", "0")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c := client(t, a.brokers, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordDeliveryTimeout(15*time.Second), kgo.DefaultProduceTopic("full"))
	acked := map[string]bool{}
	var failure error
	for i := 0; i < 200 && failure == nil; i++ {
		value := largeValue(i)
		if err := c.ProduceSync(ctx, &kgo.Record{Value: value}).FirstErr(); err != nil {
			failure = err
		} else {
			acked[string(value[:6])] = true
		}
	}
	if failure == nil || len(acked) == 0 {
		t.Fatalf("80 MB went onto 24 MB: %d acked, failure %v", len(acked), failure)
	}
	t.Logf("%d records of 400 KiB acked, then: %v", len(acked), failure)
	wantMessage(t, a.log.String(), "full")

	// The agent still answers, and once there is room it takes records again.
	room()
	if err := client(t, a.brokers, kgo.DefaultProduceTopic("full")).ProduceSync(ctx, &kgo.Record{Value: []byte("after room")}).FirstErr(); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	servedOnce(t, a, "full", acked)
	a.stop(t)
	fsck(t, b)
}

// Where a flush lies in the log, the entry that did not fit is tried until it does: only then is it known what became of it, and
// an idempotent producer waits as long. Once there is room everything goes on by itself.
func TestFullDiskHoldsSmallFlushesUp(t *testing.T) {
	b, a, room := fullDisk(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c := client(t, a.brokers, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DefaultProduceTopic("full"), kgo.MaxBufferedRecords(2)) // together below --inline-bytes
	const records = 100
	var mu sync.Mutex
	acked := map[string]bool{}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acked)
	}
	done := make(chan error, 1)
	go func() {
		for i := range records {
			value := largeValue(i)
			c.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("record %d: %v", i, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				acked[string(value[:6])] = true
			})
		}
		done <- c.Flush(ctx)
	}()
	last, since := -1, time.Now()
	waitFor(t, time.Minute, "the disk is full", func() bool {
		if now := count(); now != last {
			last, since = now, time.Now()
		}
		return last > 0 && time.Since(since) > 8*time.Second
	})
	if last == records {
		t.Fatal("40 MB went onto 24 MB")
	}
	wantMessage(t, a.log.String(), "full")
	if wal := b.objects(t, "wal/"); len(wal) > 0 {
		t.Errorf("flushes are objects: %v", wal)
	}
	t.Logf("%d records of 400 KiB acked, then nothing", last)
	room()
	if err := <-done; err != nil || count() != records {
		t.Fatalf("with room again: %d of %d records acked, %v", count(), records, err)
	}
	servedOnce(t, a, "full", acked)
	a.stop(t)
	fsck(t, b)
}
