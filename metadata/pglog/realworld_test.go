//go:build realworld

package pglog

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/logtest"
	"github.com/bargedata/barge/metadata/pglog/pgtest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

var idSeed atomic.Uint64

// ids makes ids that no other call in this process makes again.
func ids() func() [16]byte {
	from := idSeed.Add(1) << 32
	var n atomic.Uint64
	return func() [16]byte { return logtest.ID(from + n.Add(1)) }
}

func newCluster() string { id := logtest.ID(idSeed.Add(1)); return hex.EncodeToString(id[:]) }

// open opens a handle and closes it with the test.
func open(t testing.TB, cfg Config) *Log {
	t.Helper()
	cfg.Create = true
	if cfg.Connections == 0 {
		cfg.Connections = 2
	}
	l, err := Open(t.Context(), cfg, ids(), quiet())
	for try := 0; errors.Is(err, metadata.ErrUnknown) && try < 100; try++ { // as an agent that starts in bad weather does
		time.Sleep(10 * time.Millisecond)
		l, err = Open(t.Context(), cfg, ids(), quiet())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// histories checks histories on a server, and closes the handles of one before the next begins.
func histories(t *testing.T, server *pgtest.Server) {
	t.Helper()
	var mu sync.Mutex
	var handles []*Log
	logtest.RunHistories(t, historySeeds(), logtest.DefaultLoad(), func(t *testing.T, _ uint64) logtest.Instance {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		for _, l := range handles {
			l.Close()
		}
		handles = nil
		in := instance(t, server)
		inner := in.Open
		in.Open = func() metadata.Log {
			s := inner()
			mu.Lock()
			defer mu.Unlock()
			handles = append(handles, s.(shaky).Log.(*Log)) //nolint:forcetypeassert // made by instance
			return s
		}
		return in
	})
}

// query runs one statement on the log's own schema.
func (l *Log) query(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := l.pool.Exec(context.WithoutCancel(t.Context()), l.sql(sql), args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// shaky makes one append's outcome unclear.
type shaky struct {
	metadata.Log
	next *atomic.Pointer[bool]
}

func (s shaky) Append(ctx context.Context, term, seq uint64, id [16]byte, body []byte) error {
	effect := s.next.Swap(nil)
	if effect == nil {
		return s.Log.Append(ctx, term, seq, id, body)
	}
	if *effect {
		// As when the answer is lost: another handle of the same term, which has written and never told this one.
		l := s.Log.(*Log) //nolint:forcetypeassert // made below
		twin := &Log{cfg: l.cfg, pool: l.pool, schema: l.schema, newID: l.newID, log: l.log, id: l.id, tip: l.currentTip()}
		if err := twin.Append(ctx, term, seq, id, body); err != nil {
			return err
		}
	}
	return fmt.Errorf("injected: %w", metadata.ErrUnknown)
}

// instance is a fresh log on a server.
func instance(t *testing.T, server *pgtest.Server) logtest.Instance {
	t.Helper()
	cfg := Config{URL: server.URL(), Cluster: newCluster()}
	setup := cfg // by connections that nobody kills, as are those below
	setup.URL += "&application_name=setup"
	open(t, setup).Close()
	schema := &Log{schema: SchemaName(cfg.Cluster)}
	doubt := &atomic.Pointer[bool]{}
	return logtest.Instance{
		Open:  func() metadata.Log { return shaky{open(t, cfg), doubt} },
		Doubt: func(effect bool) { doubt.Store(&effect) },
		DamageNewestSnapshot: func() {
			server.Exec(pgtest.Database, schema.sql(`UPDATE @.snapshot_part SET body = set_byte(body, 0, get_byte(body, 0) # 16) WHERE seq = (SELECT max(seq) FROM @.snapshot)`))
		},
		Age: func() { server.Exec(pgtest.Database, schema.sql(`UPDATE @.entry SET at = at - interval '25 hours'`)) },
	}
}

func TestLogOnPostgreSQLKeepsTheContract(t *testing.T) {
	server := pgtest.Start(t)
	logtest.Run(t, func(t *testing.T) logtest.Instance { t.Helper(); return instance(t, server) })
}

func TestLogOnPostgreSQLIsLinearizable(t *testing.T) {
	server := pgtest.Start(t)
	histories(t, server)
}

// TestLogOnPostgreSQLIsLinearizableWhileConnectionsDie: the server ends connections in the middle of statements, so that appends whose
// answer is lost are in the log or not.
func TestLogOnPostgreSQLIsLinearizableWhileConnectionsDie(t *testing.T) {
	server := pgtest.Start(t)
	ctx, stop := context.WithCancel(t.Context())
	killed := make(chan int)
	go func() { killed <- killConnections(ctx, t, server, 15*time.Millisecond) }()
	histories(t, server)
	stop()
	n := <-killed
	t.Logf("%d connections were ended", n)
	if n < 20 {
		t.Errorf("only %d connections were ended: too few to show anything", n)
	}
}

// killConnections ends one of the agents' connections after the other until ctx ends, and returns how many.
func killConnections(ctx context.Context, t *testing.T, server *pgtest.Server, every time.Duration) (n int) {
	t.Helper()
	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		t.Error(err)
		return 0
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for pause(ctx, every) == nil {
		var killed int
		// Those in the middle of a statement first.
		err := conn.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
			WHERE application_name = 'barge' ORDER BY state <> 'active', random() LIMIT 1) one`).Scan(&killed)
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		n += killed
	}
	return n
}

func historySeeds() uint64 {
	if os.Getenv("BARGE_HISTORIES") != "" {
		var n uint64
		if _, err := fmt.Sscan(os.Getenv("BARGE_HISTORIES"), &n); err == nil {
			return n
		}
	}
	return 30
}

func TestLargeSnapshotComesBackWhole(t *testing.T) {
	server := pgtest.Start(t)
	cfg := Config{URL: server.URL(), Cluster: newCluster()}
	log := open(t, cfg)
	a, err := log.Acquire(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{snapshotPartBytes - 1, snapshotPartBytes, snapshotPartBytes + 1, 5*snapshotPartBytes + 7} {
		body := bytes.Repeat([]byte{1, 2, 3, 5, 7, 11, 13}, size/7+1)[:size]
		if err := log.Append(t.Context(), a.Term, a.Next, logtest.ID(uint64(size)), nil); err != nil {
			t.Fatal(err)
		}
		a.Next++
		if err := log.Checkpoint(t.Context(), a.Term, a.Next, body); err != nil {
			t.Fatal(err)
		}
		got, err := open(t, cfg).Newest(t.Context())
		if err != nil || got.SnapshotSeq != a.Next || !bytes.Equal(got.Snapshot, body) {
			t.Fatalf("snapshot of %d bytes came back as %d of %d: %v", size, len(got.Snapshot), got.SnapshotSeq, err)
		}
	}
	log.query(t, `DELETE FROM @.snapshot_part WHERE seq = $1 AND part = 3`, number(a.Next))
	got, err := log.Newest(t.Context())
	if err != nil || got.SnapshotSeq != a.Next-1 {
		t.Fatalf("with a part missing, newest is %d: %v", got.SnapshotSeq, err)
	}
	// The same checkpoint again heals it.
	if err := log.Checkpoint(t.Context(), a.Term, a.Next, []byte("anew")); err != nil {
		t.Fatal(err)
	}
	if got, err := log.Newest(t.Context()); err != nil || string(got.Snapshot) != "anew" {
		t.Fatalf("newest is %d: %v", got.SnapshotSeq, err)
	}
}
