package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

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
	MaxTimestamp(p record.Partition, seen map[record.Offset]bool) (metadata.Slice, bool, error)
	EntryTime() int64
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

// FileOpener opens the Parquet file key of size bytes, to be read from src. What src gives is shared: it must not be changed.
type FileOpener func(ctx context.Context, src RangeGetter, key string, size int64) (FileReader, error)

// Config bounds a Reader. All sizes are bytes.
type Config struct {
	MaxBytes         int   // of one response beyond its first batch, whatever the request says; Kafka's fetch.max.bytes
	TailBytes        int64 // of recent WAL objects, first in, first out. Answers being sent may hold on to evicted ones
	ObjectBytes      int64 // of what lagging readers read, least recently used goes
	FileBytes        int64 // of open Parquet files' footers, likewise
	SeedBytes        int64 // of objects on their way to their owners; further ones are not handed over
	WholeObjectBytes int64 // a WAL object up to this size is read whole
	CellBytes        int64 // of a larger one, and of Parquet files, this much at a time
	BatchBytes       int   // of a batch rebuilt from Parquet, before the record that would pass it
	StoreReads       int   // at one time, at the log's end; further ones wait
	LaggingReads     int   // at one time, of the store for lagging readers; further ones wait
	PartitionReads   int   // partitions of one fetch read at a time; 1: a fetch starts no goroutine
	Decompressed     int64 // records.Limits of one batch, in lookups by time

	// HotAge is how long before the newest entry a run may have been committed for its readers to count as being at the log's
	// end. Others lag: they have reads and memory of their own.
	HotAge time.Duration
	// OwnerWait is how long the owner of an object may take to answer, beside the time that reading the object takes, before
	// the store is asked in its place.
	OwnerWait time.Duration
	// Zone shares objects with the other agents of the zone. Nil: every object is read from the store.
	Zone Zone
	// Clock bounds what the Reader waits for. Nil: the time package.
	Clock Clock

	// CatchUp brings the View up to the newest log entry, for when an object is missing because compaction has replaced it
	// and the View does not know yet. Nil where the View is never behind.
	CatchUp func(ctx context.Context) error
}

// DefaultConfig returns the defaults: 55 MiB a response, 128 MiB of tail, 64 MiB for lagging readers, 16 MiB of footers; the log's end
// is 10 s long.
func DefaultConfig() Config {
	return Config{
		MaxBytes: 55 << 20, TailBytes: 128 << 20, ObjectBytes: 64 << 20, FileBytes: 16 << 20, SeedBytes: 64 << 20,
		WholeObjectBytes: 16 << 20, CellBytes: 4 << 20, BatchBytes: 1 << 20,
		StoreReads: 16, LaggingReads: 8, PartitionReads: 8, Decompressed: record.DefaultLimits().Decompressed,
		HotAge: 10 * time.Second, OwnerWait: 300 * time.Millisecond,
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
		{"SeedBytes", c.SeedBytes, 0},
		{"WholeObjectBytes", c.WholeObjectBytes, 0},
		{"CellBytes", c.CellBytes, 1},
		{"BatchBytes", int64(c.BatchBytes), 1},
		{"StoreReads", int64(c.StoreReads), 1},
		{"LaggingReads", int64(c.LaggingReads), 1},
		{"PartitionReads", int64(c.PartitionReads), 1},
		{"Decompressed", c.Decompressed, 1},
		{"HotAge", int64(c.HotAge), 0},
		{"OwnerWait", int64(c.OwnerWait), 0},
	} {
		if v.v < v.least || v.v > math.MaxInt64/2 {
			return fmt.Errorf("fetch: %s is %d, want at least %d", v.name, v.v, v.least)
		}
	}
	return nil
}

// Reader answers fetches and lookups by time. Safe for concurrent use. The goroutines of a call end before the call returns; Run
// owns those that hand objects to other agents.
type Reader struct {
	cfg     Config
	view    View
	open    FileOpener
	log     *slog.Logger
	objects *objects
	files   *cache[string, FileReader]
	seeds   *seeds
}

// New makes a Reader. It starts nothing.
func New(cfg Config, view View, store RangeGetter, files FileOpener, log *slog.Logger) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		cfg.Clock = realClock{}
	}
	r := &Reader{cfg: cfg, view: view, open: files, log: log, files: newCache[string, FileReader](cfg.FileBytes, cfg.Clock)}
	r.objects = newObjects(&r.cfg, store)
	r.seeds = newSeeds(cfg.SeedBytes, func() { r.objects.counts.seedsDropped.Add(1) })
	return r, nil
}
