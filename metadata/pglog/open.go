package pglog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/bargedata/barge/metadata"
)

// Config holds a log's settings. Zero values of all but URL and Cluster mean the defaults.
type Config struct {
	// URL is postgres://user:password@host:port,host2:port2/database?options. Of several hosts the one that takes writes is used.
	URL string
	// Cluster is the id of the cluster. It names the PostgreSQL schema, and the log found there must say the same id.
	Cluster string
	// Create makes a log where there is none. Migrate brings the schema of one that is there to this barge's version, and so does
	// Create. Without them either is an error, and nothing is written.
	Create, Migrate bool
	// EntryLife is how long an entry lives at least before Truncate may delete it, by the server's clock. No safety rests on it:
	// it is for readers that lag, and for whoever has to look at what happened yesterday. Default 24 h.
	EntryLife time.Duration
	// KeepSnapshots is how many snapshots stay, at least 2. Default 3.
	KeepSnapshots int
	// Connections is how many connections a handle opens at most, 2 to 4. Default 4.
	Connections int
	// CallTimeout bounds one short statement; an append without an answer for so long is asked again on another connection.
	// Loading and storing snapshots may take bulkFactor times as long. Default 10 s.
	CallTimeout time.Duration
	// Witness is where the newest entry's hash is put beside the data, nil for nowhere: see RunWitness.
	Witness WitnessStore
}

// bulkFactor is how much longer than a short statement a snapshot may take.
const bulkFactor = 60

// ErrSetting says that the database cannot keep acknowledged entries the way it is set up; the text says what to set.
var ErrSetting = errors.New("unsafe setting of the database")

// ErrMismatch says that the database holds the log of another cluster, or another log than was asked for; the text names both.
var ErrMismatch = errors.New("the database does not belong to this cluster")

// ErrNoLog says that the database holds no log of this cluster.
var ErrNoLog = errors.New("no metadata log of this cluster")

// Log is a metadata.Log in PostgreSQL. Safe for concurrent use.
type Log struct {
	cfg    Config
	pool   *pgxpool.Pool
	schema string // quoted by sql
	newID  func() [16]byte
	log    *slog.Logger
	id     string // of the log
	origin string

	mu     sync.Mutex // guards what follows; never held during a statement
	tip    tip
	cursor link // where the last Read ended
}

// tip is what the holder of a term knows about the end of the log. It changes only when an append has succeeded.
type tip struct {
	term   uint64 // 0: none acquired
	next   uint64
	head   hash     // of slot next-1
	id     [16]byte // of slot next-1
	fenced bool
}

// link says which hash slot seq must name as its predecessor's.
type link struct {
	seq   uint64
	prev  hash
	known bool
}

var _ metadata.Log = (*Log)(nil)

// ParseURL checks a URL without connecting. The error does not repeat it: it holds a password.
func ParseURL(rawURL string) error {
	_, err := parse(rawURL)
	return err
}

// Place is where rawURL points, as people may read it in a log: hosts and database, no user and no password.
func Place(rawURL string) string {
	cfg, err := parse(rawURL)
	if err != nil {
		return "postgres"
	}
	hosts := []string{fmt.Sprintf("%s:%d", cfg.ConnConfig.Host, cfg.ConnConfig.Port)}
	for _, f := range cfg.ConnConfig.Fallbacks { // with and without TLS are two of one host
		if host := fmt.Sprintf("%s:%d", f.Host, f.Port); host != hosts[len(hosts)-1] {
			hosts = append(hosts, host)
		}
	}
	return "postgres://" + strings.Join(hosts, ",") + "/" + cfg.ConnConfig.Database
}

func parse(rawURL string) (*pgxpool.Config, error) {
	if !strings.HasPrefix(rawURL, "postgres://") && !strings.HasPrefix(rawURL, "postgresql://") {
		return nil, errors.New("want postgres://user:password@host:port/database")
	}
	cfg, err := pgxpool.ParseConfig(rawURL)
	if err != nil {
		// pgx hides the password where it can; an URL that cannot be read is not one where it can.
		return nil, errors.New("want postgres://user:password@host:port/database?options, with special characters of the password percent-encoded")
	}
	return cfg, nil
}

// Open connects and returns a handle on the cluster's log; with Config.Create it makes it first. newID makes ids
// that no other call anywhere makes again; fencing rests on it, so its source must be truly random outside simulations. The pool of
// connections has goroutines of its own until Close.
//
// Errors: ErrSetting, ErrMismatch, ErrNoLog, metadata.ErrNewer; metadata.ErrUnknown - the server does not answer, try again; or what the
// server says is wrong with user, password or database.
func Open(ctx context.Context, cfg Config, newID func() [16]byte, log *slog.Logger) (*Log, error) {
	cfg.EntryLife = cmp.Or(cfg.EntryLife, 24*time.Hour)
	cfg.KeepSnapshots = cmp.Or(cfg.KeepSnapshots, 3)
	cfg.Connections = cmp.Or(cfg.Connections, 4)
	cfg.CallTimeout = cmp.Or(cfg.CallTimeout, 10*time.Second)
	if cfg.Cluster == "" || cfg.EntryLife < 0 || cfg.KeepSnapshots < 2 || cfg.Connections < 2 || cfg.Connections > 4 || cfg.CallTimeout < time.Millisecond {
		return nil, fmt.Errorf("postgres log: cluster %q (not empty), entry life %v, keep %d snapshots (at least 2), %d connections (2 to 4), call timeout %v",
			cfg.Cluster, cfg.EntryLife, cfg.KeepSnapshots, cfg.Connections, cfg.CallTimeout)
	}
	poolConfig, err := parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("postgres log: %w", err)
	}
	prepare(poolConfig, cfg)
	pool, err := pgxpool.NewWithConfig(ctx, poolConfig)
	if err != nil {
		return nil, fmt.Errorf("postgres log: %w", err)
	}
	l := &Log{cfg: cfg, pool: pool, schema: SchemaName(cfg.Cluster), newID: newID, log: log}
	if err := l.open(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("%s: %w", Place(cfg.URL), err)
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) error {
	return l.with(ctx, 2*l.cfg.CallTimeout, func(ctx context.Context, c *pgx.Conn) error {
		if err := l.migrate(ctx, c); err != nil {
			return err
		}
		var cluster string
		err := c.QueryRow(ctx, l.sql(`SELECT cluster, id, origin FROM @.log`)).Scan(&cluster, &l.id, &l.origin)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("schema %s holds no log: %w", l.schema, ErrNoLog)
		case err != nil:
			return err
		case cluster != l.cfg.Cluster:
			return fmt.Errorf("schema %s holds the log of the cluster %q, this one is %q: %w", l.schema, cluster, l.cfg.Cluster, ErrMismatch)
		}
		return nil
	})
}

// prepare makes the settings of the connections: few, to the server that takes writes, and with commits that last.
func prepare(pc *pgxpool.Config, cfg Config) {
	pc.MaxConns, pc.MinConns = int32(cfg.Connections), 0
	pc.MaxConnIdleTime = 5 * time.Minute
	c := pc.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	params := map[string]string{
		"application_name":                    "barge",
		"default_transaction_isolation":       "read committed",
		"idle_in_transaction_session_timeout": "60s", // an agent that is stopped by a signal must not hold locks
	}
	for name, value := range params {
		if _, set := c.RuntimeParams[name]; !set || name == "default_transaction_isolation" {
			c.RuntimeParams[name] = value
		}
	}
	c.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			conn.CustomData()[warned] = n.Message
		}
	}
	pc.AfterConnect = checkSettings
}

// warned is where a connection keeps the text of the last warning.
const warned = "warning"

// checkSettings refuses a server that would forget what it has answered, and turns on for this connection what can be.
func checkSettings(ctx context.Context, c *pgx.Conn) error {
	var commit, fsync, pages string
	if err := c.QueryRow(ctx, `SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes')`).
		Scan(&commit, &fsync, &pages); err != nil {
		return err
	}
	if fsync != "on" {
		return fmt.Errorf("fsync is %s: a crash of the server would lose acknowledged records: set it to on: %w", fsync, ErrSetting)
	}
	if pages != "on" {
		return fmt.Errorf("full_page_writes is %s: a crash of the server may tear pages of the log: set it to on: %w", pages, ErrSetting)
	}
	if commit == "on" || commit == "remote_apply" {
		return nil
	}
	// A user's or a database's own default; ours is stronger.
	_, err := c.Exec(ctx, `SET synchronous_commit = on`)
	return err
}

// Close ends the connections. Calls under way get errors.
func (l *Log) Close() { l.pool.Close() }

// ID tells this log from every other, another one of the same cluster included: 32 hexadecimal digits.
func (l *Log) ID() string { return l.id }

// Copied tells a log that began as the copy of another one.
func (l *Log) Copied() bool { return l.origin != "" }

// sql puts the schema's name in place of the @ of "@.table".
func (l *Log) sql(query string) string {
	return strings.ReplaceAll(query, "@.", pgx.Identifier{l.schema}.Sanitize()+".")
}

// with runs work on one connection, within limit. What work learns by reading, and then settles, it must do on one connection: another
// one may lead to another server.
func (l *Log) with(ctx context.Context, limit time.Duration, work func(ctx context.Context, c *pgx.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return unclear(err)
	}
	defer conn.Release()
	if err = work(ctx, conn.Conn()); err == nil {
		return nil
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == readOnlyTransaction {
		// The server became a standby under a connection that goes through a proxy: the next one finds the primary.
		_ = conn.Conn().Close(ctx)
	}
	return unclear(err)
}

// readOnlyTransaction is the SQLSTATE of a write on a standby.
const readOnlyTransaction = "25006"

// unclear adds metadata.ErrUnknown to errors that pass by themselves. What the server says about the statement, the user or the database
// does not.
func unclear(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code[:2] {
		case "28", "3D", "42", "22", "23", "0A": // authorization, no such database, no such thing, bad value, constraint, not built
			return err
		}
		return fmt.Errorf("%w: %w", metadata.ErrUnknown, err)
	}
	for _, known := range []error{
		ErrSetting, ErrMismatch, ErrNoLog, ErrOlder, metadata.ErrCorrupt, metadata.ErrFenced, metadata.ErrTruncated, metadata.ErrNewer, metadata.ErrUnknown,
		context.Canceled,
	} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", metadata.ErrUnknown, err)
}
