package barge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/metadata/pglog"
	"github.com/bargedata/barge/objectstore"
)

// MetadataBucket is the --metadata of a log that lies beside the data.
const MetadataBucket = "bucket"

// isPostgres tells a --metadata that names a database.
func isPostgres(rawURL string) bool {
	return strings.HasPrefix(rawURL, "postgres://") || strings.HasPrefix(rawURL, "postgresql://")
}

// CheckMetadata tells what is wrong with a --metadata, without its password.
func CheckMetadata(rawURL string) error {
	switch {
	case rawURL == MetadataBucket:
		return nil
	case isPostgres(rawURL):
		return pglog.ParseURL(rawURL)
	}
	return errors.New(`want "bucket" or postgres://user:password@host:port/database`)
}

// RedactMetadata is a --metadata as people may read it: without user and password.
func RedactMetadata(rawURL string) string {
	if rawURL == MetadataBucket {
		return rawURL
	}
	return pglog.Place(rawURL)
}

// LogConfig says which metadata log to open.
type LogConfig struct {
	Metadata string            // "bucket" or postgres://user:password@host:port/database
	Store    objectstore.Store // of the data, behind retries
	Cluster  string            // its id
	// Create makes a log for a cluster that has none, and migrates a database's schema: an agent's way. Without it nothing is written.
	Create bool
	IDs    func() [16]byte // that no call anywhere makes again
	Now    func() time.Time
	Logger *slog.Logger
}

// engine is what both engines are.
type engine interface {
	metadata.Log
	Inspect(ctx context.Context, all bool, v metadata.Visitor) (*metadata.Inspection, error)
	WithInline(store objectstore.Store) objectstore.Store
}

// OpenedLog is a cluster's metadata log, in whatever engine. Close it.
type OpenedLog struct {
	engine

	place metadata.LogPlace
	pg    *pglog.Log // nil for a log in the bucket
}

// OpenLog opens the metadata log of a cluster, and holds it against what the store says of its place: a log is never begun a second time,
// and never taken from a place that it was moved from. Errors: pglog's; metadata.ErrUnknown and objectstore.ErrUnknown - database
// or store do not answer, try again; ErrLogPlace.
func OpenLog(ctx context.Context, cfg LogConfig) (*OpenedLog, error) {
	place, err := metadata.ReadLogPlace(ctx, cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("place of the metadata log: %w", err)
	}
	if isPostgres(cfg.Metadata) {
		return openPostgres(ctx, cfg, place)
	}
	return openBucket(ctx, cfg, place)
}

// ErrLogPlace says that the cluster's log lies elsewhere; the text says where.
var ErrLogPlace = errors.New("the metadata log of this cluster lies elsewhere")

func elsewhere(cfg LogConfig, place metadata.LogPlace, do string) error {
	return fmt.Errorf("%w: in %s since %s, and --metadata says %s: %s", ErrLogPlace, place, place.Since, RedactMetadata(cfg.Metadata), do)
}

func openBucket(ctx context.Context, cfg LogConfig, place metadata.LogPlace) (*OpenedLog, error) {
	if place.N == 0 && cfg.Create {
		var err error
		if place, err = settlePlace(ctx, cfg, place); err != nil {
			return nil, err
		}
	}
	if place.Engine != metadata.EngineBucket {
		return nil, elsewhere(cfg, place, "give it the URL of that database")
	}
	log, err := bucketlog.New(cfg.Store, bucketlog.Config{Prefix: place.Prefix}, cfg.IDs, cfg.Logger)
	if err != nil {
		return nil, err
	}
	return &OpenedLog{engine: log, place: place}, nil
}

func openPostgres(ctx context.Context, cfg LogConfig, place metadata.LogPlace) (*OpenedLog, error) {
	fresh := place.N == 0
	if fresh {
		// A cluster of before places were written down.
		old, err := cfg.Store.List(ctx, metadata.FirstLogPrefix+"/", "", 1)
		if err != nil {
			return nil, fmt.Errorf("look for a log in the store: %w", err)
		}
		if len(old) > 0 {
			return nil, elsewhere(cfg, place, "start with --metadata bucket, or move it with `barge metadata copy`")
		}
	} else if place.Engine != metadata.EnginePostgres {
		return nil, elsewhere(cfg, place, "start with --metadata bucket, or move it with `barge metadata copy`")
	}
	log, err := pglog.Open(ctx, pglog.Config{
		URL: cfg.Metadata, Cluster: cfg.Cluster, Create: fresh && cfg.Create, Migrate: cfg.Create, Witness: cfg.Store,
	}, cfg.IDs, cfg.Logger)
	if err != nil && !fresh && errors.Is(err, pglog.ErrNoLog) {
		return nil, fmt.Errorf("%w: the log of cluster %q is %s: name that database", err, cfg.Cluster, place)
	}
	if err != nil {
		return nil, fmt.Errorf("metadata log: %w", err)
	}
	if err := bind(ctx, cfg, &place, log); err != nil {
		log.Close()
		return nil, err
	}
	return &OpenedLog{engine: log, place: place, pg: log}, nil
}

// bind holds store and database against each other; a fresh pair is bound to each other.
func bind(ctx context.Context, cfg LogConfig, place *metadata.LogPlace, log *pglog.Log) error {
	if place.N == 0 {
		hint, err := log.Hint(ctx)
		if err != nil {
			return fmt.Errorf("metadata log: %w", err)
		}
		switch {
		case hint.Next > 0 && log.Copied():
			return fmt.Errorf("metadata log: %s holds a copy of a log that was not finished: run `barge metadata copy` again: %w", RedactMetadata(cfg.Metadata), ErrLogPlace)
		case hint.Next > 0:
			return fmt.Errorf("metadata log: %s holds the log %s of cluster %q with %d entries, and the store knows of no log: it is the store of another time, or lost what it held: %w",
				RedactMetadata(cfg.Metadata), log.ID(), cfg.Cluster, hint.Next, pglog.ErrMismatch)
		case !cfg.Create:
			return nil
		}
		if *place, err = settlePlace(ctx, cfg, metadata.LogPlace{Engine: metadata.EnginePostgres, Log: log.ID(), Where: RedactMetadata(cfg.Metadata)}); err != nil {
			return err
		}
	}
	if place.Engine != metadata.EnginePostgres {
		return elsewhere(cfg, *place, "another agent was first; start with --metadata bucket")
	}
	if place.Log != log.ID() {
		return fmt.Errorf("metadata log: the store is bound to the log %s (at first at %s), and %s holds the log %s of the same cluster: name the right database: %w",
			place.Log, place.Where, RedactMetadata(cfg.Metadata), log.ID(), pglog.ErrMismatch)
	}
	return nil
}

// settlePlace writes the first place down. Of agents that start together one decides.
func settlePlace(ctx context.Context, cfg LogConfig, place metadata.LogPlace) (metadata.LogPlace, error) {
	place.N, place.Since = 1, cfg.Now().UTC().Format(time.RFC3339)
	body, err := place.Encode()
	if err != nil {
		return metadata.LogPlace{}, err
	}
	if _, err = cfg.Store.Create(ctx, place.Key(), body); errors.Is(err, objectstore.ErrExists) {
		return metadata.ReadLogPlace(ctx, cfg.Store)
	}
	if err != nil {
		return metadata.LogPlace{}, fmt.Errorf("create %s: %w", place.Key(), err)
	}
	return place, nil
}

// Postgres tells a log in a database: objects do not travel in it, and the store's create-if-absent need not be raced.
func (l *OpenedLog) Postgres() bool { return l.pg != nil }

// Place is where the log lies.
func (l *OpenedLog) Place() metadata.LogPlace { return l.place }

// Run does what the engine does beside appends until ctx ends: for a log in a database, it leaves witnesses in the store while there are
// appends, and a last one. End it after whoever appends.
func (l *OpenedLog) Run(ctx context.Context) error {
	if l.pg == nil {
		<-ctx.Done()
		return nil
	}
	return l.pg.RunWitness(ctx)
}

// Lost tells what a database has lost that the store knows of, and AcceptLoss goes on without it: see pglog.
func (l *OpenedLog) Lost(ctx context.Context) ([]pglog.Loss, error) {
	if l.pg == nil {
		return nil, nil
	}
	return l.pg.Lost(ctx)
}

// AcceptLoss lets agents start although what Lost told is lost.
func (l *OpenedLog) AcceptLoss(ctx context.Context, lost []pglog.Loss) error {
	if l.pg == nil {
		return nil
	}
	return l.pg.AcceptLoss(ctx, lost)
}

// Close ends connections. Nothing may be asked of the log afterwards.
func (l *OpenedLog) Close() {
	if l.pg != nil {
		l.pg.Close()
	}
}
