package pglog

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/bargedata/barge/metadata"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// migration is one step of the schema. What is in a file that was ever released does not change.
type migration struct {
	version int
	sql     string
	sum     string
}

// migrations lists the steps, the first one version 1.
func migrations() ([]migration, error) {
	names, err := fs.Glob(schemaFiles, "schema/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []migration
	for _, name := range names {
		body, err := schemaFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(body)
		all = append(all, migration{version: len(all) + 1, sql: string(body), sum: hex.EncodeToString(sum[:])})
	}
	return all, nil
}

// SchemaName is the PostgreSQL schema that holds the log of a cluster: its id where that is 32 hexadecimal digits, as ids are that
// nobody chose, and otherwise a hash of it. Should two ids ever meet, the log says whose it is.
func SchemaName(cluster string) string {
	if b, err := hex.DecodeString(cluster); err == nil && len(b) == 16 && hex.EncodeToString(b) == cluster {
		return "barge_" + cluster
	}
	sum := sha256.Sum256([]byte(cluster))
	return "barge_" + hex.EncodeToString(sum[:16])
}

// migrate brings the schema to this barge's version, or only looks whether it has it. Agents that start together take turns.
func (l *Log) migrate(ctx context.Context, c *pgx.Conn) error {
	steps, err := migrations()
	if err != nil {
		return err
	}
	err = l.checkVersion(ctx, c, steps)
	missing, older := errors.Is(err, ErrNoLog) && l.cfg.Create, errors.Is(err, errOlderSchema) && (l.cfg.Create || l.cfg.Migrate)
	if !missing && !older {
		return err // the usual start writes nothing
	}
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, l.schema); err != nil {
			return err
		}
		for _, ddl := range []string{
			`CREATE SCHEMA IF NOT EXISTS ` + pgx.Identifier{l.schema}.Sanitize(),
			`CREATE TABLE IF NOT EXISTS @.migration (version integer PRIMARY KEY, sum text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())`,
		} {
			if _, err := tx.Exec(ctx, l.sql(ddl)); err != nil {
				return err
			}
		}
		done, err := l.applied(ctx, tx, steps)
		if err != nil {
			return err
		}
		for _, step := range steps[done:] {
			if err := l.apply(ctx, tx, step); err != nil {
				return fmt.Errorf("migrate schema %s to version %d: %w", l.schema, step.version, err)
			}
			l.log.InfoContext(ctx, "schema of the metadata log migrated", "schema", l.schema, "version", step.version)
		}
		return l.born(ctx, tx)
	})
}

func (l *Log) apply(ctx context.Context, tx pgx.Tx, step migration) error {
	// Several statements in one go need the simple protocol.
	if _, err := tx.Exec(ctx, l.sql(step.sql), pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, l.sql(`INSERT INTO @.migration (version, sum) VALUES ($1, $2)`), step.version, step.sum)
	return err
}

// born gives a new log its identity and its first, empty shard.
func (l *Log) born(ctx context.Context, tx pgx.Tx) error {
	id := l.newID()
	if _, err := tx.Exec(ctx, l.sql(`INSERT INTO @.log (cluster, id) VALUES ($1, $2) ON CONFLICT DO NOTHING`), l.cfg.Cluster, hex.EncodeToString(id[:])); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, l.sql(`INSERT INTO @.shard (shard, head, prev) VALUES (0, $1, $1) ON CONFLICT DO NOTHING`), make([]byte, sha256.Size)); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, l.sql(`INSERT INTO @.touch (shard) VALUES (0) ON CONFLICT DO NOTHING`))
	return err
}

var errOlderSchema = errors.New("the schema of the metadata log is older than this barge: start an agent, which migrates it")

// undefinedTable is the SQLSTATE of a table that is not there; undefinedSchema of a schema.
const (
	undefinedTable  = "42P01"
	undefinedSchema = "3F000"
)

// checkVersion is nil when the schema is there and of this barge's version. Errors: ErrNoLog, errOlderSchema, metadata.ErrNewer.
func (l *Log) checkVersion(ctx context.Context, c *pgx.Conn, steps []migration) error {
	done, err := l.applied(ctx, c, steps)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == undefinedTable || pg.Code == undefinedSchema) {
		return fmt.Errorf("there is no schema %s: %w", l.schema, ErrNoLog)
	}
	if err == nil && done < len(steps) {
		return fmt.Errorf("%w (schema %s: version %d, this barge's %d)", errOlderSchema, l.schema, done, len(steps))
	}
	return err
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// applied tells how many steps have been taken, and refuses those that this barge does not know, or knows otherwise.
func (l *Log) applied(ctx context.Context, q querier, steps []migration) (int, error) {
	rows, err := q.Query(ctx, l.sql(`SELECT version, sum FROM @.migration ORDER BY version`))
	if err != nil {
		return 0, err
	}
	done, newest := 0, 0
	var version int
	var sum string
	var wrong error
	if _, err := pgx.ForEachRow(rows, []any{&version, &sum}, func() error {
		newest = max(newest, version)
		switch {
		case version > len(steps):
			return nil
		case version != done+1 || steps[done].sum != sum:
			wrong = fmt.Errorf("schema %s: version %d is not what this barge has under that number (%s): was it changed by hand?: %w", l.schema, version, sum, metadata.ErrCorrupt)
		}
		done++
		return nil
	}); err != nil {
		return 0, err
	}
	if newest > len(steps) {
		return 0, fmt.Errorf("schema %s is of version %d, this barge knows up to %d: upgrade barge: %w", l.schema, newest, len(steps), metadata.ErrNewer)
	}
	return done, wrong
}
