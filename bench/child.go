package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 45 * time.Second // an agent drains for up to 30 s
)

// Ready is the line that RunStore and RunFloor print when they serve.
type Ready struct {
	Listen  string `json:"listen"`
	Metrics string `json:"metrics"` // URL
}

// child is a process of a run.
type child struct {
	name    string
	cmd     *exec.Cmd
	listen  string
	metrics string // URL
	ended   chan struct{}
	err     error // of Wait, after ended

	mu   sync.Mutex
	last []string // lines it wrote to standard error
}

// keptLines of a child's standard error tell why it ended.
const keptLines = 20

// startServer starts a command of this binary that prints a Ready line.
func (p *processes) startServer(ctx context.Context, name string, args ...string) (*child, error) {
	ready := make(chan Ready, 1)
	return p.start(ctx, name, args, ready, func(c *child, stdout, stderr io.Reader) {
		go c.keep(stderr, nil)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			var r Ready
			if json.Unmarshal(lines.Bytes(), &r) == nil && r.Listen != "" {
				select {
				case ready <- r:
				default:
				}
			}
		}
	})
}

// startAgent starts an agent and learns its addresses from its log.
func (p *processes) startAgent(ctx context.Context, args ...string) (*child, error) {
	ready := make(chan Ready, 1)
	return p.start(ctx, "agent", args, ready, func(c *child, stdout, stderr io.Reader) {
		go func() { _, _ = io.Copy(io.Discard, stdout) }()
		c.keep(stderr, func(line []byte) {
			var event struct{ Msg, Kafka, HTTP string }
			if json.Unmarshal(line, &event) == nil && event.Msg == "ready" {
				select {
				case ready <- Ready{Listen: event.Kafka, Metrics: "http://" + event.HTTP + "/metrics"}:
				default:
				}
			}
		})
	})
}

// processes starts the children of a run.
type processes struct {
	binary  string
	environ []string
	all     []*child
}

func (p *processes) start(ctx context.Context, name string, args []string, ready <-chan Ready, follow func(c *child, stdout, stderr io.Reader)) (*child, error) {
	c := &child{name: name, ended: make(chan struct{})}
	c.cmd = exec.Command(p.binary, args...) //nolint:gosec,noctx // this very binary; stop ends it with its own patience
	c.cmd.Env = p.environ
	stdout, outErr := c.cmd.StdoutPipe()
	stderr, errErr := c.cmd.StderrPipe()
	if err := errors.Join(outErr, errErr); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.all = append(p.all, c)
	go func() {
		follow(c, stdout, stderr)
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case r := <-ready:
		c.listen, c.metrics = r.Listen, r.Metrics
		return c, nil
	case <-c.ended:
		return nil, fmt.Errorf("start %s: it ended at once: %w: %s", name, c.err, c.tail())
	case <-timer.C:
		return nil, fmt.Errorf("start %s: not ready after %v: %s", name, startTimeout, c.tail())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// stop ends a child and waits for it.
func (c *child) stop() error {
	select {
	case <-c.ended:
		return fmt.Errorf("%s ended during the run: %w: %s", c.name, c.err, c.tail())
	default:
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended, which is seen below
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
		_ = c.cmd.Process.Kill()
		<-c.ended
		return fmt.Errorf("%s did not end within %v: %s", c.name, stopTimeout, c.tail())
	}
	if c.err != nil {
		return fmt.Errorf("%s: %w: %s", c.name, c.err, c.tail())
	}
	return nil
}

// stopAll ends all children, the last started first.
func (p *processes) stopAll() error {
	var errs []error
	for i := len(p.all) - 1; i >= 0; i-- {
		errs = append(errs, p.all[i].stop())
	}
	p.all = nil
	return errors.Join(errs...)
}

// stopOne ends one child before the others.
func (p *processes) stopOne(c *child) error {
	for i, other := range p.all {
		if other == c {
			p.all = append(p.all[:i], p.all[i+1:]...)
			break
		}
	}
	return c.stop()
}

// keep reads lines to the end, remembers the last ones, and shows each to see.
func (c *child) keep(r io.Reader, see func(line []byte)) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			if see != nil {
				see([]byte(line))
			}
			c.mu.Lock()
			c.last = append(c.last, strings.TrimSpace(line))
			if len(c.last) > keptLines {
				c.last = c.last[1:]
			}
			c.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// tail is what the child said last.
func (c *child) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.last, "\n")
}

// ownBinary is the program that runs.
func ownBinary() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return path, nil
}
