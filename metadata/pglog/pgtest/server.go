// Package pgtest runs real PostgreSQL servers for tests: on loopback, over a directory of their own, as a user that is not root.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The one user and database of a server.
const (
	User     = "barge"
	Password = "pass%word" // one that must be encoded in an URL
	Database = "barge"
)

// Server is a PostgreSQL server. Its methods end the test on errors; they are not safe for concurrent use.
type Server struct {
	Addr string // host:port on loopback
	Dir  string // of the data

	tb       testing.TB
	root     string // holds Dir and copies of it
	settings []string
	output   *lockedBuffer
	cmd      *exec.Cmd
	ended    chan struct{}
}

// URL is the --metadata URL of the server.
func (s *Server) URL() string { return URL(s.Addr) }

// URL is the URL of servers at the addresses, or of proxies before them.
func URL(addrs ...string) string {
	hosts := ""
	for i, a := range addrs {
		if i > 0 {
			hosts += ","
		}
		hosts += a
	}
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", url.UserPassword(User, Password), hosts, Database)
}

// Program finds a program of PostgreSQL: in $BARGE_TOOLS/bin, where the set-up of `make test` puts links, or on PATH. A missing one
// fails the test by its name.
func Program(tb testing.TB, name string) string {
	tb.Helper()
	if tools := os.Getenv("BARGE_TOOLS"); tools != "" {
		path := filepath.Join(tools, "bin", name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		tb.Fatalf("%s is missing: PostgreSQL's programs are neither in $BARGE_TOOLS/bin nor on PATH; `make test` or `make tools` installs them", name)
	}
	return path
}

// Start makes a new server with settings beside the defaults ("name=value") and ends and removes it with the test. Everything that makes
// commits last is on.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s := place(tb, settings)
	password := filepath.Join(s.root, "password")
	if err := os.WriteFile(password, []byte(Password+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	s.give(password)
	s.run("initdb", "-D", s.Dir, "-U", User, "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync")
	s.Start()
	s.Exec("postgres", "CREATE DATABASE "+Database)
	return s
}

// place makes the directory of a server, owned by who will run it.
func place(tb testing.TB, settings []string) *Server {
	tb.Helper()
	// Not tb.TempDir, which only root may enter.
	root, err := os.MkdirTemp("", "barge-postgres-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			tb.Errorf("remove PostgreSQL's data: %v", err)
		}
	})
	s := &Server{tb: tb, root: root, Dir: filepath.Join(root, "data"), settings: settings, output: &lockedBuffer{}}
	s.give(root)
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.Addr = listener.Addr().String()
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		s.Stop(syscall.SIGQUIT)
		if tb.Failed() {
			tb.Logf("PostgreSQL at %s:\n%s", s.Addr, s.output)
		}
	})
	return s
}

// owner is who runs the server: PostgreSQL refuses root.
func owner(tb testing.TB) *syscall.Credential {
	tb.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		tb.Fatalf("PostgreSQL refuses to run as root, and there is no user postgres, which Debian's package makes: %v", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err, gidErr); err != nil {
		tb.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// give hands a path to the owner.
func (s *Server) give(path string) {
	s.tb.Helper()
	if who := owner(s.tb); who != nil {
		if err := os.Chown(path, int(who.Uid), int(who.Gid)); err != nil {
			s.tb.Fatal(err)
		}
	}
}

func (s *Server) command(program string, args ...string) *exec.Cmd {
	s.tb.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(s.tb.Context()), Program(s.tb, program), args...)
	cmd.Dir = s.root
	cmd.Env = append(os.Environ(), "PGPASSWORD="+Password, "HOME="+s.root, "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner(s.tb), Setpgid: true}
	return cmd
}

// run runs one of PostgreSQL's programs to its end.
func (s *Server) run(program string, args ...string) {
	s.tb.Helper()
	if out, err := s.command(program, args...).CombinedOutput(); err != nil {
		s.tb.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// startPatience is for how long a server may take to answer: after a crash it replays its log, and what is left of a killed one holds its
// memory for a while.
const startPatience = 60 * time.Second

// Start starts the server on its directory and waits until it answers.
func (s *Server) Start() {
	s.tb.Helper()
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		s.tb.Fatal(err)
	}
	args := []string{
		"-D", s.Dir, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=" + s.root,
		"-c", "fsync=on", "-c", "full_page_writes=on", "-c", "shared_buffers=32MB", "-c", "max_connections=200", "-c", "wal_level=replica", "-c", "logging_collector=off",
	}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	deadline := time.Now().Add(startPatience)
	for {
		s.cmd = s.command("postgres", args...)
		s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
		if err := s.cmd.Start(); err != nil {
			s.tb.Fatalf("start postgres: %v", err)
		}
		ended := make(chan struct{})
		s.ended = ended
		go func(cmd *exec.Cmd) {
			defer close(ended)
			_ = cmd.Wait() // it is stopped in the end, so its status says nothing
		}(s.cmd)
		if s.answers(deadline) {
			return
		}
		if time.Now().After(deadline) {
			s.Stop(syscall.SIGQUIT)
			s.tb.Fatalf("PostgreSQL at %s did not start:\n%s", s.Addr, s.output)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// answers waits until the server takes a connection; false when it ended, or at the deadline.
func (s *Server) answers(deadline time.Time) bool {
	for time.Now().Before(deadline) {
		select {
		case <-s.ended:
			return false
		case <-time.After(30 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		conn, err := s.connect(ctx, "postgres")
		if err == nil {
			_ = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return true
		}
	}
	return false
}

func (s *Server) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(URL(s.Addr))
	if err != nil {
		return nil, err
	}
	cfg.Database = database
	return pgx.ConnectConfig(ctx, cfg)
}

// Exec runs one statement; database is "postgres" or Database.
func (s *Server) Exec(database, sql string) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.tb.Context()), 30*time.Second)
	defer cancel()
	conn, err := s.connect(ctx, database)
	if err != nil {
		s.tb.Fatalf("connect to PostgreSQL at %s: %v", s.Addr, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		s.tb.Fatalf("%s: %v", sql, err)
	}
}

// Stop ends the server: SIGINT lets it finish, SIGQUIT is PostgreSQL's immediate shutdown, which ends every process at once and leaves the
// next start to recover, SIGKILL kills the first process and leaves the others to notice. It returns when the first process has ended.
func (s *Server) Stop(how syscall.Signal) {
	s.tb.Helper()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.tb.Errorf("stop PostgreSQL: %v", err)
	}
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		s.tb.Errorf("PostgreSQL at %s did not stop", s.Addr)
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	s.cmd = nil
}

// Copy copies the data of a stopped server, as a backup of the files does, and returns where to.
func (s *Server) Copy() string {
	s.tb.Helper()
	to, err := os.MkdirTemp(s.root, "copy-")
	if err != nil {
		s.tb.Fatal(err)
	}
	s.copyTree(s.Dir, filepath.Join(to, "data"))
	return filepath.Join(to, "data")
}

// Restore puts a copy in the place of the data of a stopped server.
func (s *Server) Restore(from string) {
	s.tb.Helper()
	if err := os.RemoveAll(s.Dir); err != nil {
		s.tb.Fatal(err)
	}
	s.copyTree(from, s.Dir)
}

func (s *Server) copyTree(from, to string) {
	s.tb.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		s.tb.Fatal(err)
	}
	if err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		s.give(path)
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	}); err != nil {
		s.tb.Fatal(err)
	}
}

// StandbyName is what a standby calls itself to its primary.
const StandbyName = "barge_standby"

// StartStandby makes a streaming standby of a running server, and makes the server wait for it with every commit.
func (s *Server) StartStandby() *Server {
	s.tb.Helper()
	standby := place(s.tb, []string{"hot_standby=on", "primary_conninfo=" + fmt.Sprintf("host=127.0.0.1 port=%s user=%s password=%s application_name=%s", port(s.Addr), User, Password, StandbyName)})
	standby.run("pg_basebackup", "-D", standby.Dir, "-h", "127.0.0.1", "-p", port(s.Addr), "-U", User, "-X", "stream", "-c", "fast", "--no-sync", "-R")
	standby.Start()
	s.Exec("postgres", "ALTER SYSTEM SET synchronous_standby_names = '"+StandbyName+"'")
	s.Exec("postgres", "SELECT pg_reload_conf()")
	s.Exec("postgres", "CREATE TABLE synced ()") // returns when the standby has it
	return standby
}

// Promote makes a primary of a standby.
func (s *Server) Promote() {
	s.tb.Helper()
	s.Exec("postgres", "SELECT pg_promote(true, 30)")
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
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
