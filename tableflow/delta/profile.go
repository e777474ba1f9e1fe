package delta

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

// Fence is the private writer feature of tables that Barge writes. No other engine knows it, so by the protocol none may
// write to the table: an OPTIMIZE or a VACUUM would destroy files that Kafka consumers replay. Readers do not look at
// writer features.
const Fence = "bargeLog"

// propertyICT switches in-commit timestamps on.
const propertyICT = "delta.enableInCommitTimestamps"

// writerFeatures are those that this package obeys when it writes.
func writerFeatures() []string {
	return []string{"appendOnly", "invariants", "domainMetadata", "inCommitTimestamp", Fence}
}

// TableConfig is what NewTableActions needs to know.
type TableConfig struct {
	ID            string // UUID of the table, e.g. TableID(topic)
	Name          string
	Schema        string // tableflow.Schema()
	CreatedTime   int64  // milliseconds
	NoFence       bool   // leave Fence out
	Configuration map[string]string
}

// NewTableActions returns protocol and metadata for version 0, in the profile "wide": reader version 1, which every
// engine reads, and writer version 7.
func NewTableActions(c TableConfig) []Action {
	features := writerFeatures()
	if c.NoFence {
		features = features[:len(features)-1]
	}
	// Expired files are removed, which appendOnly would forbid.
	config := map[string]string{propertyICT: "true", "delta.appendOnly": "false"}
	maps.Copy(config, c.Configuration)
	return []Action{
		Protocol{MinReaderVersion: 1, MinWriterVersion: 7, WriterFeatures: features},
		Metadata{
			ID: c.ID, Name: c.Name, Format: Format{Provider: "parquet"}, SchemaString: c.Schema,
			Configuration: config, CreatedTime: c.CreatedTime,
		},
	}
}

// TableID renders a topic id as a UUID, the form of table ids.
func TableID(id record.TopicID) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// NewAdd describes a new data file: path is relative to the table and not encoded yet ("_data/x.parquet"), modified is
// in milliseconds.
func NewAdd(path string, stats tableflow.FileStats, modified int64) Add {
	return Add{
		Path: encodePath(path), PartitionValues: map[string]*string{}, Size: stats.Size, ModificationTime: modified,
		DataChange: true, Stats: stats.DeltaStats(),
	}
}

// NewRemove takes the file of a live add out of the table; deleted is in milliseconds.
func NewRemove(a Add, deleted int64, dataChange bool) Remove {
	return Remove{
		Path: a.Path, DeletionTimestamp: deleted, DataChange: dataChange, ExtendedFileMetadata: true,
		PartitionValues: a.PartitionValues, Size: a.Size,
	}
}

// PartitionApp is the application id of one partition's progress: its txn version is the exclusive end offset.
func PartitionApp(cluster string, p record.Partition) string {
	return cluster + "/" + p.Topic.String() + "/" + strconv.Itoa(int(p.Index))
}

// LogApp is the application id whose txn version is the newest metadata log entry folded into the table.
func LogApp(cluster string, topic record.TopicID) string {
	return cluster + "/" + topic.String() + "/log"
}

// encodePath makes a relative path a URI reference.
func encodePath(path string) string {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	if strings.Contains(parts[0], ":") { // or it would read as a scheme
		parts[0] = strings.ReplaceAll(parts[0], ":", "%3A")
	}
	return strings.Join(parts, "/")
}

// fileKey identifies a file whatever way its path was written: commits of old engines name one file as an absolute path
// here and as a URI there.
func fileKey(path string) string {
	if p, err := url.PathUnescape(path); err == nil {
		path = p
	}
	if rest, ok := strings.CutPrefix(path, "file:"); ok {
		path = "/" + strings.TrimLeft(rest, "/")
	}
	return path
}

// readable refuses tables that need reader features, naming them.
func readable(p Protocol, m Metadata) error {
	switch {
	case p.MinReaderVersion >= 3:
		if len(p.ReaderFeatures) > 0 || p.MinReaderVersion > 3 {
			return fmt.Errorf("reader version %d with features %s: %w", p.MinReaderVersion, strings.Join(p.ReaderFeatures, ", "), ErrUnsupported)
		}
	case p.MinReaderVersion == 2:
		if mode := m.Configuration["delta.columnMapping.mode"]; mode != "" && mode != "none" {
			return fmt.Errorf("columnMapping in mode %q: %w", mode, ErrUnsupported)
		}
	}
	return nil
}

// writable refuses tables that ask more of a writer than this package does, naming what.
func writable(p Protocol, m Metadata) error {
	if err := readable(p, m); err != nil {
		return err
	}
	if p.MinWriterVersion != 7 {
		return fmt.Errorf("writer version %d: %w", p.MinWriterVersion, ErrUnsupported)
	}
	for _, f := range p.WriterFeatures {
		if !slices.Contains(writerFeatures(), f) {
			return fmt.Errorf("writer feature %s: %w", f, ErrUnsupported)
		}
	}
	if len(m.PartitionColumns) > 0 {
		return fmt.Errorf("partitioned by %s: %w", strings.Join(m.PartitionColumns, ", "), ErrUnsupported)
	}
	return nil
}
