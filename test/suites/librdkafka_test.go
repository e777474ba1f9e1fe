//go:build realworld

package suites

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/test/suites/agents"
)

// rdkafka is librdkafka's test-runner. It knows tests by name, and takes the four digits a name begins with.
type rdkafka struct {
	suite string
	dir   string // where it is installed
	work  string // where it runs
	env   []string
}

func newRdkafka(t *testing.T, suite string, brokers []string, env ...string) rdkafka {
	t.Helper()
	r := rdkafka{suite: suite, dir: filepath.Join(tools(t), "librdkafka"), work: filepath.Join(t.TempDir(), "tests")}
	if _, err := os.Stat(filepath.Join(r.dir, "test-runner")); err != nil {
		t.Fatalf("librdkafka's test-runner is missing: run `make tools`: %v", err)
	}
	// Its tests read files by relative paths, and call Kafka's scripts in KAFKA_PATH/bin.
	bin := filepath.Join(r.work, "kafka", "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"interceptor_test": "interceptor_test", "src": "../src"} {
		if err := os.Symlink(filepath.Join(r.dir, from), filepath.Join(r.work, to)); err != nil {
			t.Fatal(err)
		}
	}
	for script, class := range map[string]string{"kafka-topics.sh": "org.apache.kafka.tools.TopicCommand", "kafka-acls.sh": "org.apache.kafka.tools.AclCommand"} {
		text := fmt.Sprintf("#!/bin/sh\nexec java -Xmx128m -XX:TieredStopAtLevel=1 -cp '%s/*' %s \"$@\"\n", filepath.Join(tools(t), "jars"), class)
		if err := os.WriteFile(filepath.Join(bin, script), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	servers := strings.Join(brokers, ",")
	conf := "bootstrap.servers=" + servers + "\ntest.topic.random=true\n"
	if err := os.WriteFile(filepath.Join(r.work, "test.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	r.env = append([]string{
		"LD_LIBRARY_PATH=" + r.dir, "TEST_KAFKA_VERSION=4.0.0", "KAFKA_PATH=" + filepath.Join(r.work, "kafka"), "BROKERS=" + servers, "CI=", "RDKAFKA_GITVER=",
	}, env...)
	return r
}

// rdkafkaResult is a test in the runner's report, which does not tell why one was skipped; what it prints does.
type rdkafkaResult struct {
	State string `json:"state"`
	why   string
}

// left is whether the runner leaves a test out by its own rules: those that need no broker, those that its authors know to fail, and,
// without a word, those for another scenario, that is, way to set up the broker. One that skips itself says why.
func (r rdkafkaResult) left() bool {
	return r.State == "SKIPPED" && (r.why == "" || strings.HasPrefix(r.why, "Filtered due to negative test flags"))
}

// rdkafkaSkipped finds in the runner's summary which test was skipped and why.
var rdkafkaSkipped = regexp.MustCompile(`(?m)^\| (\S+) +\| +SKIPPED \| +\S+ +\| *(.*)$`)

// run runs the tests whose names begin with a number, without those that need no broker (-L), in their quick form (-Q). All tests
// of the suite are in what it returns, with what was printed.
func (r rdkafka) run(t *testing.T, number string, limit time.Duration) (map[string]rdkafkaResult, string, error) {
	t.Helper()
	report := filepath.Join(r.work, "report-"+number+".json")
	out, err := run(t, limit, r.work, append(r.env, "TESTS="+number, "TEST_REPORT="+report), filepath.Join(r.dir, "test-runner"), "-p1", "-L", "-Q")
	out = regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(out, "")
	if err != nil {
		return nil, out, err
	}
	text, err := os.ReadFile(report)
	if err != nil {
		return nil, out, err
	}
	var all struct {
		Tests map[string]rdkafkaResult `json:"tests"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, out, fmt.Errorf("the report of %s: %w", number, err)
	}
	delete(all.Tests, "<MAIN>")
	for _, m := range rdkafkaSkipped.FindAllStringSubmatch(out, -1) {
		all.Tests[m[1]] = rdkafkaResult{State: "SKIPPED", why: m[2]}
	}
	return all.Tests, out, nil
}

// known lists all tests, by asking for one that there is not.
func (r rdkafka) known(t *testing.T) []string {
	t.Helper()
	all, out, err := r.run(t, "none", time.Minute)
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// all runs what is not excluded, some numbers side by side: most of them wait most of the time. A full run tries what is excluded, too.
// With only, other numbers are left alone.
func (r rdkafka) all(t *testing.T, only ...string) {
	t.Helper()
	excluded := exclusions(t, r.suite)
	known := r.known(t)
	if stale := Stale(known, excluded); len(stale) > 0 {
		t.Errorf("exclusions of tests that there are not: %s", strings.Join(stale, ", "))
	}
	var numbers []string
	for _, name := range known {
		if only != nil && !slices.Contains(only, name[:4]) || strings.HasSuffix(name, "_local") || strings.HasSuffix(name, "_mock") && name[:4] != "0139" {
			continue // 0139 is called a mock and wants a broker; the others need none, and the runner leaves them out
		}
		if _, ok := covering(excluded, name); (!ok || full()) && !slices.Contains(numbers, name[:4]) {
			numbers = append(numbers, name[:4])
		}
	}
	var mu sync.Mutex
	var results []Result
	var expected []string
	queue := make(chan string)
	var lanes sync.WaitGroup
	for range 4 {
		lanes.Go(func() {
			for number := range queue {
				tests, out, err := r.run(t, number, 3*time.Minute)
				mu.Lock()
				for _, name := range known {
					if name[:4] != number || tests[name].left() {
						continue
					}
					expected = append(expected, name)
					res := Result{Test: name, State: Failed, Output: out}
					if err != nil {
						res.Output += "\n" + err.Error()
					} else if s := tests[name].State; s == "PASSED" {
						res.State = Passed
					} else if s == "SKIPPED" {
						res.State, res.Output = Skipped, tests[name].why
					}
					results = append(results, res)
				}
				mu.Unlock()
			}
		})
	}
	for _, number := range numbers {
		queue <- number
	}
	close(queue)
	lanes.Wait()
	conclude(t, Judge(expected, results, excluded))
}

// Kafka's default delay of a first rebalance is what some of the tests count on. Their topics have four partitions.
var rdkafkaFlags = []string{"--flush-interval", "5ms", "--group-initial-delay", "3s", "--auto-create-topics"}

func TestLibrdkafka(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, rdkafkaFlags...)
	newRdkafka(t, "librdkafka", c.Addresses()).all(t)
	alive(t, c)
}

// The tests of its scenario noautocreate delete topics and make them again.
func TestLibrdkafkaWithoutTopicsOnDemand(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, "--flush-interval", "5ms", "--group-initial-delay", "3s")
	newRdkafka(t, "librdkafka-manual-topics", c.Addresses(), "TEST_SCENARIO=noautocreate").all(t, "0045", "0107", "0111")
	alive(t, c)
}

func TestLibrdkafkaWithThreeAgents(t *testing.T) {
	if !full() {
		t.Skip("left to full runs: BARGE_SUITES=all")
	}
	c := startCluster(t, 3, rdkafkaFlags...)
	newRdkafka(t, "librdkafka-three", c.Addresses()).all(t)
	alive(t, c)
}

func alive(t *testing.T, c *agents.Cluster) {
	t.Helper()
	if err := c.Alive(); err != nil {
		t.Error(err)
	}
}
