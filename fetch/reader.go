package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// ErrCorrupt means that stored bytes are not what the metadata log says they are. The object and place are in the text. The next
// read asks the store again.
var ErrCorrupt = errors.New("stored records are corrupt")

// View is what reading needs of metadata.View.
type View interface {
	Bounds(p record.Partition) (metadata.Bounds, error)
	Locate(p record.Partition, from record.Offset, maxBytes int64) (metadata.Location, error)
	LocateTime(p record.Partition, ts int64) (metadata.Slice, bool, error)
	MaxTimestamp(p record.Partition) (metadata.Slice, bool, error)
	Watch(parts []record.Partition) *metadata.Watch
}

// RangeGetter reads exactly length bytes of an object; objectstore.ErrNotFound when there is none of that key.
type RangeGetter interface {
	GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error)
}

// FileReader is an open Parquet file; *tableflow.File is one. The record is only valid during the call to yield.
type FileReader interface {
	Records(ctx context.Context, rowGroup, rowGroups int32, from record.Offset, yield func(*record.Record) bool) error
	MemoryBytes() int64
}

// FileOpener opens the Parquet file key of size bytes.
type FileOpener func(ctx context.Context, key string, size int64) (FileReader, error)

// Config bounds a Reader. All sizes are bytes.
type Config struct {
	MaxBytes         int   // of one response beyond its first batch, whatever the request says; Kafka's fetch.max.bytes
	TailBytes        int64 // of recent WAL objects, first in, first out. Answers being sent may hold on to evicted ones
	ObjectBytes      int64 // of WAL objects and ranges that were read from the store, least recently used goes
	FileBytes        int64 // of open Parquet files' footers, likewise
	WholeObjectBytes int64 // a WAL object up to this size is read whole, a larger one by the run
	BatchBytes       int   // of a batch rebuilt from Parquet, before the record that would pass it
	StoreReads       int   // at one time, of WAL objects; further ones wait
	PartitionReads   int   // partitions of one fetch read at a time; 1: a fetch starts no goroutine
	Decompressed     int64 // records.Limits of one batch, in lookups by time

	// CatchUp brings the View up to the newest log entry, for when an object is missing because compaction has replaced it
	// and the View does not know yet. Nil where the View is never behind.
	CatchUp func(ctx context.Context) error
}

// DefaultConfig returns the defaults: 55 MiB a response, 128 MiB of tail, 64 MiB of objects, 16 MiB of footers.
func DefaultConfig() Config {
	return Config{
		MaxBytes: 55 << 20, TailBytes: 128 << 20, ObjectBytes: 64 << 20, FileBytes: 16 << 20,
		WholeObjectBytes: 16 << 20, BatchBytes: 1 << 20, StoreReads: 16, PartitionReads: 8, Decompressed: record.DefaultLimits().Decompressed,
	}
}

// Validate reports the first setting that makes no sense.
func (c Config) Validate() error {
	for _, v := range []struct {
		name     string
		v, least int64
	}{
		{"MaxBytes", int64(c.MaxBytes), 1},
		{"TailBytes", c.TailBytes, 0},
		{"ObjectBytes", c.ObjectBytes, 0},
		{"FileBytes", c.FileBytes, 0},
		{"WholeObjectBytes", c.WholeObjectBytes, 0},
		{"BatchBytes", int64(c.BatchBytes), 1},
		{"StoreReads", int64(c.StoreReads), 1},
		{"PartitionReads", int64(c.PartitionReads), 1},
		{"Decompressed", c.Decompressed, 1},
	} {
		if v.v < v.least || v.v > math.MaxInt64/2 {
			return fmt.Errorf("fetch: %s is %d, want at least %d", v.name, v.v, v.least)
		}
	}
	return nil
}

// Reader answers fetches and lookups by time. Safe for concurrent use. It has no goroutines of its own: those of a call
// end before the call returns.
type Reader struct {
	cfg     Config
	view    View
	store   RangeGetter
	open    FileOpener
	log     *slog.Logger
	tail    *tail
	extents *cache[extentKey, *extent]
	files   *cache[string, FileReader]
	reads   chan struct{} // tokens for reads of WAL objects
	turn    atomic.Uint64 // counts fetches, for rotation
}

// New makes a Reader. It starts nothing.
func New(cfg Config, view View, store RangeGetter, files FileOpener, log *slog.Logger) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Reader{
		cfg: cfg, view: view, store: store, open: files, log: log,
		tail:    newTail(cfg.TailBytes),
		extents: newCache[extentKey, *extent](cfg.ObjectBytes),
		files:   newCache[string, FileReader](cfg.FileBytes),
		reads:   make(chan struct{}, cfg.StoreReads),
	}, nil
}

// Seed puts a WAL object that was uploaded and is about to be committed into the tail, so that consumers at the end of the log cost no reads.
// body must not be changed afterwards; it is held while it is in the tail. The oldest objects make room; one larger than
// the tail is not kept.
func (r *Reader) Seed(key string, body *record.Buffer) { r.tail.add(key, body) }
