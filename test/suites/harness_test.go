//go:build realworld

package suites

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/test/suites/agents"
)

// full is whether everything is run that can be, not only a share for every change.
func full() bool { return os.Getenv("BARGE_SUITES") == "all" }

// tools returns the directory of installed tools.
func tools(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("BARGE_TOOLS")
	if !filepath.IsAbs(dir) {
		t.Fatalf("BARGE_TOOLS is %q, not an absolute path: run the tests through `make test`, or `make tools` and set it to the .tools directory", dir)
	}
	return dir
}

var buildOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "barge-suites")
	if err != nil {
		return "", err
	}
	return dir, build(dir, "barge", "go", "build", "-o", filepath.Join(dir, "barge"), "github.com/bargedata/barge/cmd/barge")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := buildOnce(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func build(dir, what string, command ...string) error {
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", what, dir, err, out)
	}
	return nil
}

func bargeBinary(t *testing.T) string {
	t.Helper()
	dir, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "barge")
}

// exclusions returns those of a suite that hold for this run.
func exclusions(t *testing.T, suite string) []Exclusion {
	t.Helper()
	text, err := os.ReadFile("exclusions.txt")
	if err != nil {
		t.Fatal(err)
	}
	all, err := ParseExclusions(string(text))
	if err != nil {
		t.Fatalf("exclusions.txt: %v", err)
	}
	return Of(all, suite, full())
}

// startCluster starts so many agents.
func startCluster(t *testing.T, n int, flags ...string) *agents.Cluster {
	t.Helper()
	c, err := agents.New(bargeBinary(t), flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Said())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	for range n {
		if _, err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// restartEvery restarts one agent after another until it is stopped; it drains and kills them in turn.
func restartEvery(t *testing.T, c *agents.Cluster, n int, every time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		restarts := 0
		defer func() { t.Logf("%d restarts", restarts) }()
		for {
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-time.After(every):
			}
			if err := c.Restart(restarts%n, restarts%2 == 1); err != nil {
				ended <- err
				return
			}
			restarts++
		}
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// conclude tells what a run came to, with a subtest for each test that is bad.
func conclude(t *testing.T, r Report) {
	t.Helper()
	for _, bad := range r.Bad {
		t.Run(bad.Test, func(t *testing.T) {
			t.Errorf("%s; the end of what it printed:\n%s", bad.State, bad.Output[max(0, len(bad.Output)-6000):])
		})
	}
	if len(r.Missing) > 0 {
		t.Errorf("no result of %s", strings.Join(r.Missing, ", "))
	}
	for _, name := range r.Needless {
		t.Logf("needless exclusion: %s passed", name)
	}
	var classes []string
	for class, n := range r.Excluded {
		classes = append(classes, fmt.Sprintf("%d %s", n, class))
	}
	slices.Sort(classes)
	t.Logf("%d passed, %d bad, excluded: %s", r.Passed, len(r.Bad), strings.Join(classes, ", "))
}

// run runs a program of a suite to its end, or to its limit, and returns all it printed. An exit status that tells of failed tests is no error.
func run(t *testing.T, limit time.Duration, dir string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "BARGE_") }), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return string(out), fmt.Errorf("%s was not done after %v", filepath.Base(name), limit)
	case errors.As(err, &exit):
		return string(out), nil
	}
	return string(out), err
}
