// Package agents runs clusters of `barge agent` for outside test suites: processes of a binary on a directory of their own,
// each of which can be restarted where it was.
package agents

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTime = 60 * time.Second
	stopTime  = 60 * time.Second
)

// Cluster is agents on one directory. Its methods are for one goroutine at a time.
type Cluster struct {
	binary, dir string
	flags       []string
	agents      []*agent
}

type agent struct {
	flags   []string // with which it is started again
	address string   // where it listens
	process *process
}

// process is one life of an agent.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	said  *tail
}

// New makes a cluster without agents. All agents get the flags.
func New(binary string, flags ...string) (*Cluster, error) {
	if binary == "" {
		return nil, errors.New("no binary named")
	}
	dir, err := os.MkdirTemp("", "barge-suite")
	if err != nil {
		return nil, fmt.Errorf("a directory for the cluster: %w", err)
	}
	return &Cluster{binary: binary, dir: dir, flags: flags}, nil
}

// Start starts one more agent, waits until it takes requests, and returns the address it listens at.
func (c *Cluster) Start(flags ...string) (string, error) {
	a := &agent{flags: flags, address: "127.0.0.1:0"}
	c.agents = append(c.agents, a)
	if err := c.start(a); err != nil {
		return "", err
	}
	return a.address, nil
}

func (c *Cluster) start(a *agent) error {
	args := []string{"agent", "--store", "file://" + c.dir, "--listen", a.address, "--http", ""}
	cmd := exec.Command(c.binary, slices.Concat(args, c.flags, a.flags)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "BARGE_") })
	out, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.binary, err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{}), said: &tail{}}
	a.process = p
	go func() {
		_ = cmd.Wait() // how it ended is in what it printed
		_ = w.Close()
		close(p.ended)
	}()
	listens := make(chan string, 1)
	go p.read(out, listens)
	select {
	case a.address = <-listens: // after a restart it is the one it had
		return nil
	case <-p.ended:
		return fmt.Errorf("an agent ended while it started; it printed:\n%s", p.said)
	case <-time.After(startTime):
		return fmt.Errorf("an agent did not listen after %v; it printed:\n%s", startTime, p.said)
	}
}

// read keeps the end of what the agent prints and sends the address that it says it listens at.
func (p *process) read(out io.Reader, listens chan<- string) {
	scan := bufio.NewScanner(out)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		p.said.add(scan.Text())
		var line struct{ Msg, Address string }
		if json.Unmarshal(scan.Bytes(), &line) != nil || line.Msg != "kafka listener open" {
			continue
		}
		select {
		case listens <- line.Address:
		default: // it opened its listener again
		}
	}
	_, _ = io.Copy(io.Discard, out) // a line too long must not stop the agent
}

// Addresses returns where the agents listen.
func (c *Cluster) Addresses() []string {
	var all []string
	for _, a := range c.agents {
		all = append(all, a.address)
	}
	return all
}

// Restart drains an agent as a service manager does, by SIGTERM, or kills it, and starts it again where it was.
func (c *Cluster) Restart(i int, kill bool) error {
	a := c.agents[i]
	sig := syscall.SIGTERM
	if kill {
		sig = syscall.SIGKILL
	}
	if err := a.process.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%v to the agent at %s, which printed:\n%s\n%w", sig, a.address, a.process.said, err)
	}
	select {
	case <-a.process.ended:
	case <-time.After(stopTime):
		return fmt.Errorf("the agent at %s did not end %v after %v; it printed:\n%s", a.address, stopTime, sig, a.process.said)
	}
	if code := a.process.cmd.ProcessState.ExitCode(); !kill && code != 0 {
		return fmt.Errorf("the agent at %s drained with status %d; it printed:\n%s", a.address, code, a.process.said)
	}
	return c.start(a)
}

// Said returns the last lines that each agent printed.
func (c *Cluster) Said() string {
	var all strings.Builder
	for _, a := range c.agents {
		if a.process != nil {
			fmt.Fprintf(&all, "agent at %s:\n%s\n", a.address, a.process.said)
		}
	}
	return all.String()
}

// Alive fails when an agent has ended by itself.
func (c *Cluster) Alive() error {
	for _, a := range c.agents {
		select {
		case <-a.process.ended:
			return fmt.Errorf("the agent at %s ended by itself; it printed:\n%s", a.address, a.process.said)
		default:
		}
	}
	return nil
}

// Close kills the agents and deletes what they kept.
func (c *Cluster) Close() error {
	for _, a := range c.agents {
		if a.process == nil {
			continue
		}
		_ = a.process.cmd.Process.Kill() // an error means that it has ended
		select {
		case <-a.process.ended:
		case <-time.After(stopTime):
			return fmt.Errorf("the agent at %s outlives being killed by %v", a.address, stopTime)
		}
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("delete %s: %w", filepath.Base(c.dir), err)
	}
	return nil
}

// tail keeps the last lines of what an agent printed. Safe for concurrent use.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) add(line string) {
	const kept = 25
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines[max(0, len(t.lines)-kept+1):], line)
}

// String returns the lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
