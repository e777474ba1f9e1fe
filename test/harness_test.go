//go:build realworld

package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore/storetest"
)

// tool returns the path of an installed tool; a missing one fails the test by its name.
func tool(t testing.TB, path ...string) string {
	t.Helper()
	root := os.Getenv("BARGE_TOOLS")
	if root == "" {
		t.Fatal("BARGE_TOOLS is not set: run the tests through `make test`, which installs the real clients and readers")
	}
	full := filepath.Join(append([]string{root}, path...)...)
	if _, err := os.Stat(full); err != nil {
		t.Fatalf("%s is missing: run `make tools`", filepath.Join(path...))
	}
	return full
}

var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "barge-bin")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "barge")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/bargedata/barge/cmd/barge").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build ./cmd/barge: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := buildOnce(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

func bargeBinary(t testing.TB) string {
	t.Helper()
	bin, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// backend is a place for a cluster: what the agent and the table engines are told, and a look at its objects from outside.
type backend struct {
	name  string
	store string                    // --store
	table func(topic string) string // URL for engines
	env   []string
	root  string // the objects as files
}

func fileBackend(t *testing.T) backend {
	dir := t.TempDir()
	return backend{
		name: "file", store: "file://" + dir, root: dir,
		table: func(topic string) string { return "file://" + dir + "/tables/" + topic },
	}
}

// s3Backend starts a versitygw; its bucket is a folder, so a test can look at the objects.
func s3Backend(t *testing.T) backend {
	t.Helper()
	return s3BackendOn(t, storetest.StartVersityGW(t))
}

func s3BackendOn(t *testing.T, g *storetest.VersityGW) backend {
	t.Helper()
	g.CreateBucket(t, "bucket")
	return backend{
		name: "s3", store: g.URL("bucket", "cluster"), root: filepath.Join(g.Dir, "bucket", "cluster"),
		table: func(topic string) string { return "s3://bucket/cluster/tables/" + topic },
		env: []string{
			"AWS_ACCESS_KEY_ID=" + g.AccessKey, "AWS_SECRET_ACCESS_KEY=" + g.SecretKey, "AWS_REGION=" + g.Region,
			"AWS_ENDPOINT_URL=http://" + g.Endpoint, "AWS_ALLOW_HTTP=true",
		},
	}
}

// objects lists the keys under a prefix, as they lie in the store.
func (b backend) objects(t testing.TB, prefix string) []string {
	t.Helper()
	var keys []string
	err := filepath.WalkDir(b.root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil // deleted while we look
			}
			return err
		}
		key := strings.TrimPrefix(path, b.root+"/")
		if !d.IsDir() && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// environment is the caller's without BARGE_ variables, which are settings to the binary and would change what a test runs.
func environment(more []string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "BARGE_") })
	return append(env, more...)
}

// startProcess starts a server; the channel tells how it ended.
func startProcess(t testing.TB, cmd *exec.Cmd, log *bytes.Buffer) <-chan error {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	ended, gone := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- cmd.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it ended by itself
		<-gone
		if t.Failed() {
			text := log.String()
			t.Logf("%s printed (the end of it):\n%s", filepath.Base(cmd.Path), text[max(0, len(text)-6000):])
		}
	})
	return ended
}

// agent is one running `barge agent`.
type agent struct {
	brokers, http string
	cmd           *exec.Cmd
	log           *bytes.Buffer
	ended         <-chan error
}

func startAgent(t testing.TB, b backend, args ...string) *agent {
	t.Helper()
	return startAgentAt(t, b, freeAddress(t), freeAddress(t), args...)
}

func startAgentAt(t testing.TB, b backend, brokers, admin string, args ...string) *agent {
	t.Helper()
	a := &agent{brokers: brokers, http: admin, log: &bytes.Buffer{}}
	a.cmd = exec.Command(bargeBinary(t), append([]string{"agent", "--store", b.store, "--listen", a.brokers, "--http", a.http}, args...)...)
	a.cmd.Env = environment(b.env)
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	a.ended = startProcess(t, a.cmd, a.log)
	a.awaitReady(t)
	return a
}

func (a *agent) awaitReady(t testing.TB) {
	t.Helper()
	waitFor(t, 30*time.Second, "the agent is ready", func() bool {
		select {
		case err := <-a.ended:
			t.Fatalf("the agent ended: %v", err)
		default:
		}
		resp, err := http.Get("http://" + a.http + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// stop drains the agent as a service manager does and wants exit status 0.
func (a *agent) stop(t testing.TB) {
	t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-a.ended:
		if err != nil {
			t.Fatalf("the agent did not drain cleanly: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the agent did not end within a minute of SIGTERM")
	}
}

func (a *agent) kill(t testing.TB) {
	t.Helper()
	if err := a.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-a.ended
}

// metric returns the sum of a metric's series; name may go on with the labels of one: name{api="Produce"}.
func (a *agent) metric(t testing.TB, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + a.http + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var sum float64
	found := false
	for scan := bufio.NewScanner(resp.Body); scan.Scan(); {
		line := scan.Text()
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err != nil {
			t.Fatalf("metric line %q: %v", line, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		t.Fatalf("no metric %s", name)
	}
	return sum
}

func waitFor(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// command runs a program to its end and returns its standard output.
func command(t testing.TB, env []string, stdin io.Reader, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environment(env)
	cmd.Stdin = stdin
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		said, tail := out.String(), errs.String()
		t.Fatalf("%s %s: %v\n%s\n%s", filepath.Base(name), strings.Join(args, " "), err, said[max(0, len(said)-3000):], tail[max(0, len(tail)-3000):])
	}
	return out.Bytes()
}

func barge(t testing.TB, b backend, args ...string) []byte {
	t.Helper()
	return command(t, b.env, nil, bargeBinary(t), args...)
}

func python(t testing.TB, env []string, stdin io.Reader, script string, args ...string) []byte {
	t.Helper()
	return command(t, env, stdin, tool(t, "venv", "bin", "python"), append([]string{filepath.Join("py", script)}, args...)...)
}

func java(t testing.TB, stdin io.Reader, class string, args ...string) []byte {
	t.Helper()
	tool(t, "jars")
	jars := filepath.Join(os.Getenv("BARGE_TOOLS"), "jars", "*")
	return command(t, nil, stdin, "java", append([]string{"-Xmx256m", "-cp", jars, "org.apache.kafka.tools." + class}, args...)...)
}

// message is one record as a consumer saw it; values are base64 so that null and empty differ.
type message struct {
	Partition     int32        `json:"partition"`
	Offset        int64        `json:"offset"`
	Timestamp     int64        `json:"timestamp"`
	TimestampType int          `json:"timestamp_type"`
	Key           *string      `json:"key"`
	Value         *string      `json:"value"`
	Headers       [][2]*string `json:"headers"`
}

// row is one row as a table engine saw it.
type row struct {
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	TimestampUS int64        `json:"timestamp_us"`
	Key         *string      `json:"key"`
	Value       *string      `json:"value"`
	RawKey      *string      `json:"raw_key"`
	RawValue    *string      `json:"raw_value"`
	Headers     [][2]*string `json:"headers"`
	Error       *string      `json:"error"`
}

func decodeLines[T any](t testing.TB, out []byte) []T {
	t.Helper()
	var all []T
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var v T
		if err := dec.Decode(&v); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("driver output: %v", err)
		}
		all = append(all, v)
	}
}

func consumeAll(t testing.TB, a *agent, topic string) []message {
	t.Helper()
	all := decodeLines[message](t, python(t, nil, nil, "consume.py", a.brokers, topic))
	slices.SortFunc(all, func(x, y message) int {
		if x.Partition != y.Partition {
			return int(x.Partition - y.Partition)
		}
		return int(x.Offset - y.Offset)
	})
	return all
}

func readTable(t testing.TB, b backend, engine, topic string) []row {
	t.Helper()
	return decodeLines[row](t, python(t, b.env, nil, "table.py", engine, b.table(topic)))
}

var engines = []string{"duckdb", "polars", "deltalake"}

// tableRows is the number of rows the table tells itself, by `barge table list`.
func tableRows(t testing.TB, b backend, topic string) int64 {
	t.Helper()
	var tables []struct {
		Topic string `json:"topic"`
		Rows  int64  `json:"rows"`
	}
	if err := json.Unmarshal(barge(t, b, "table", "list", "--store", b.store, "-o", "json"), &tables); err != nil {
		t.Fatal(err)
	}
	for _, tb := range tables {
		if tb.Topic == topic {
			return tb.Rows
		}
	}
	return -1
}

func waitForRows(t testing.TB, b backend, topic string, want int64) {
	t.Helper()
	var got int64
	defer func() {
		if t.Failed() {
			t.Logf("table %s had %d rows, want %d", topic, got, want)
		}
	}()
	waitFor(t, time.Minute, fmt.Sprintf("table %s has %d rows", topic, want), func() bool {
		got = tableRows(t, b, topic)
		return got >= want
	})
}
