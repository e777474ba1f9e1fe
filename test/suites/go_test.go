//go:build realworld

package suites

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// goSuite is a test binary of a Go package.
type goSuite struct {
	name   string
	binary string
	dir    string // of the package's source, which some tests read
	env    []string
	args   []string
	limit  time.Duration
}

// tests lists the names of its tests.
func (s goSuite) tests(t *testing.T) []string {
	t.Helper()
	out, err := run(t, time.Minute, s.dir, s.env, s.binary, "-test.list", "^Test")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// exactly makes a pattern of -test.run and -test.skip that matches tests and subtests by their names.
func exactly(names []string) string {
	var all []string
	for _, name := range names {
		var parts []string
		for _, part := range strings.Split(name, "/") {
			parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
		}
		all = append(all, strings.Join(parts, "/"))
	}
	return strings.Join(all, "|")
}

// run runs its tests but the excluded ones; in a full run those come after the others, one by one.
func (s goSuite) run(t *testing.T) {
	t.Helper()
	excluded := exclusions(t, s.name)
	known := s.tests(t)
	if stale := Stale(known, excluded); len(stale) > 0 {
		t.Errorf("exclusions of tests that there are not: %s", strings.Join(stale, ", "))
	}
	var names []string
	for _, e := range excluded {
		names = append(names, e.Test)
	}
	args := s.args
	if len(names) > 0 {
		args = append(args, "-test.skip", exactly(names))
	}
	results, err := s.results(t, s.limit, args...)
	if err != nil {
		t.Error(err)
	}
	if full() {
		for _, name := range names {
			more, err := s.results(t, time.Minute, append(s.args, "-test.run", exactly([]string{name}))...)
			if err != nil {
				t.Logf("excluded %s: %v", name, err)
			}
			for _, r := range more {
				if r.Test == name || strings.HasPrefix(r.Test, name+"/") { // not the parents of a subtest
					results = append(results, r)
				}
			}
		}
	}
	conclude(t, Judge(known, results, excluded))
}

// results runs the binary. A test that was under way at the end of the limit has failed.
func (s goSuite) results(t *testing.T, limit time.Duration, args ...string) ([]Result, error) {
	t.Helper()
	command := append([]string{"tool", "test2json", "-t", s.binary, "-test.v=test2json", "-test.timeout", limit.String()}, args...)
	out, err := run(t, limit+30*time.Second, s.dir, s.env, "go", command...)
	results, decodeErr := goResults(strings.NewReader(out))
	if err == nil {
		err = decodeErr
	}
	if err != nil {
		return results, fmt.Errorf("%s %v: %w; it printed at the end:\n%s", s.name, args, err, out[max(0, len(out)-2000):])
	}
	return results, nil
}

// goResults reads what test2json prints.
func goResults(r io.Reader) ([]Result, error) {
	states := map[string]State{"pass": Passed, "fail": Failed, "skip": Skipped}
	printed := map[string]*strings.Builder{}
	running := map[string]bool{}
	var results []Result
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		var e struct{ Action, Test, Output string }
		if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
			return results, fmt.Errorf("%q: %w", scan.Text(), err)
		}
		if e.Test == "" {
			continue
		}
		if printed[e.Test] == nil {
			printed[e.Test] = &strings.Builder{}
		}
		if e.Action == "output" {
			printed[e.Test].WriteString(e.Output)
		} else if e.Action == "run" {
			running[e.Test] = true
		} else if state, ok := states[e.Action]; ok {
			delete(running, e.Test)
			results = append(results, Result{Test: e.Test, State: state, Output: printed[e.Test].String()})
		}
	}
	for test := range running {
		results = append(results, Result{Test: test, State: Failed, Output: printed[test].String() + "(it did not end)"})
	}
	return results, scan.Err()
}

// buildTests builds the tests of a package into a binary.
func buildTests(t *testing.T, pkg string, flags ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), filepath.Base(pkg)+".test")
	if err := build(".", "the tests of "+pkg, append(append([]string{"go", "test", "-c", "-vet=off", "-o", bin}, flags...), pkg)...); err != nil {
		t.Fatal(err)
	}
	return bin
}

// goList asks the go command about a package or module.
func goList(t *testing.T, format string, args ...string) string {
	t.Helper()
	out, err := run(t, time.Minute, "", nil, "go", append([]string{"list", "-f", format}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

const kgoPackage = "github.com/twmb/franz-go/pkg/kgo"

func kgoSuite(t *testing.T, name string, seeds []string) goSuite {
	t.Helper()
	return goSuite{
		name: name, binary: buildTests(t, kgoPackage), dir: goList(t, "{{.Dir}}", kgoPackage), limit: 8 * time.Minute,
		env: []string{"KGO_SEEDS=" + strings.Join(seeds, ","), "KGO_TEST_RF=1", "KGO_TEST_RECORDS=20000", "KGO_LOG_LEVEL=none"},
	}
}

func TestKgo(t *testing.T) {
	c := startCluster(t, 1, "--flush-interval", "5ms")
	kgoSuite(t, "kgo", c.Addresses()).run(t)
	if err := c.Alive(); err != nil {
		t.Error(err)
	}
}

// Three agents, one of which is stopped and started again every 20 s.
func TestKgoWhileAgentsRestart(t *testing.T) {
	const n = 3
	c := startCluster(t, n, "--flush-interval", "5ms")
	suite := kgoSuite(t, "kgo-restarts", c.Addresses())
	stop := restartEvery(t, c, n, 20*time.Second)
	suite.run(t)
	stop()
	if err := c.Alive(); err != nil {
		t.Error(err)
	}
}

// The tests are those of franz-go's kfake that it has ported from Kafka's. Their files are compiled as a package of this module, against our
// kfake in place of theirs, by an overlay: nothing of them is written into this tree.
func TestKafkaPorted(t *testing.T) {
	const theirs, ours = "github.com/twmb/franz-go/pkg/kfake", "github.com/bargedata/barge/test/suites/kfake"
	module := goList(t, "{{.Dir}}", "-m", theirs)
	sources, err := filepath.Glob(filepath.Join(module, "kafka_tests", "*_test.go"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("no tests in %s: %v", module, err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	dir := t.TempDir()
	for _, from := range sources {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.Base(from))
		if err := os.WriteFile(to, []byte(strings.ReplaceAll(string(text), `"`+theirs+`"`, `"`+ours+`"`)), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(here, "kafkaported", filepath.Base(from))] = to
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	goSuite{
		name: "kafka-ported", binary: buildTests(t, "./kafkaported", "-overlay", file), limit: 5 * time.Minute,
		env: []string{"BARGE_BINARY=" + bargeBinary(t)}, args: []string{"-test.parallel", "4"},
	}.run(t)
}
