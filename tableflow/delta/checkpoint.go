package delta

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/bargedata/barge/objectstore"
)

// removeRetention is how long checkpoints remember removed files, the protocol's default: readers of changes look for
// them, and so do vacuums.
const removeRetention = 7 * 24 * time.Hour

// The rows of a classic checkpoint: one action each. What may be NULL is a pointer, a map or a list marked optional: in
// this library an optional field that is no pointer would turn false and 0 into NULL.
type checkpointRow struct {
	Txn      *txnRow      `parquet:"txn,optional"`
	Add      *addRow      `parquet:"add,optional"`
	Remove   *removeRow   `parquet:"remove,optional"`
	Metadata *metadataRow `parquet:"metaData,optional"`
	Protocol *protocolRow `parquet:"protocol,optional"`
	Domain   *domainRow   `parquet:"domainMetadata,optional"`
}

type txnRow struct {
	AppID       string `parquet:"appId"`
	Version     int64  `parquet:"version"`
	LastUpdated *int64 `parquet:"lastUpdated,optional"`
}

type addRow struct {
	Path             string             `parquet:"path"`
	PartitionValues  map[string]*string `parquet:"partitionValues"`
	Size             int64              `parquet:"size"`
	ModificationTime int64              `parquet:"modificationTime"`
	DataChange       bool               `parquet:"dataChange"`
	Stats            *string            `parquet:"stats,optional"`
	Tags             map[string]string  `parquet:"tags,optional"`
}

type removeRow struct {
	Path                 string             `parquet:"path"`
	DeletionTimestamp    *int64             `parquet:"deletionTimestamp,optional"`
	DataChange           bool               `parquet:"dataChange"`
	ExtendedFileMetadata *bool              `parquet:"extendedFileMetadata,optional"`
	PartitionValues      map[string]*string `parquet:"partitionValues,optional"`
	Size                 *int64             `parquet:"size,optional"`
}

type metadataRow struct {
	ID               string            `parquet:"id"`
	Name             *string           `parquet:"name,optional"`
	Description      *string           `parquet:"description,optional"`
	Format           formatRow         `parquet:"format"`
	SchemaString     string            `parquet:"schemaString"`
	PartitionColumns []string          `parquet:"partitionColumns,list"`
	Configuration    map[string]string `parquet:"configuration"`
	CreatedTime      *int64            `parquet:"createdTime,optional"`
}

type formatRow struct {
	Provider string            `parquet:"provider"`
	Options  map[string]string `parquet:"options"`
}

type protocolRow struct {
	MinReaderVersion int32    `parquet:"minReaderVersion"`
	MinWriterVersion int32    `parquet:"minWriterVersion"`
	ReaderFeatures   []string `parquet:"readerFeatures,list,optional"`
	WriterFeatures   []string `parquet:"writerFeatures,list,optional"`
}

type domainRow struct {
	Domain        string `parquet:"domain"`
	Configuration string `parquet:"configuration"`
	Removed       bool   `parquet:"removed"`
}

// Checkpoint writes the classic (V1) checkpoint of s and the hint that names it. A checkpoint that is already there is
// left alone: it says the same. Errors: ErrUnsupported for tables that Commit would refuse, too, because a checkpoint
// must not lose what it does not understand; or the store's, then repeat.
func (l *Log) Checkpoint(ctx context.Context, s *Snapshot) error {
	if err := errors.Join(s.check(), writable(s.Protocol, s.Metadata)); err != nil {
		return fmt.Errorf("checkpoint %s: %w", l.dir, err)
	}
	rows := checkpointRows(s, l.now().Add(-removeRetention).UnixMilli())
	body, err := encodeCheckpoint(rows)
	if err != nil {
		return fmt.Errorf("checkpoint version %d of %s: %w", s.Version, l.dir, err)
	}
	key := l.checkpointKey(s.Version)
	note := hint{Version: s.Version, Size: int64(len(rows)), SizeInBytes: int64(len(body)), NumOfAddFiles: int64(len(s.adds))}
	switch _, err := l.store.Create(ctx, key, body); {
	case errors.Is(err, objectstore.ErrExists):
		note.SizeInBytes = 0 // the one that is there may have another size, and the field is optional
	case err != nil:
		return fmt.Errorf("create %s (%d bytes): %w", key, len(body), err)
	}
	text, err := json.Marshal(note)
	if err != nil {
		return fmt.Errorf("checkpoint hint: %w", err)
	}
	if err := l.store.Put(ctx, l.dir+hintName, text); err != nil {
		return fmt.Errorf("put %s: %w", l.dir+hintName, err)
	}
	return nil
}

// checkpointRows lists what the table is: files removed before the given time are left out.
func checkpointRows(s *Snapshot, forget int64) []checkpointRow {
	rows := []checkpointRow{
		{Protocol: &protocolRow{
			s.Protocol.MinReaderVersion, s.Protocol.MinWriterVersion, s.Protocol.ReaderFeatures, s.Protocol.WriterFeatures,
		}},
		{Metadata: &metadataRow{
			ID: s.Metadata.ID, Name: text(s.Metadata.Name), Description: text(s.Metadata.Description),
			Format:       formatRow{s.Metadata.Format.Provider, s.Metadata.Format.Options},
			SchemaString: s.Metadata.SchemaString, PartitionColumns: s.Metadata.PartitionColumns,
			Configuration: s.Metadata.Configuration, CreatedTime: number(s.Metadata.CreatedTime),
		}},
	}
	for _, t := range s.Txns() {
		rows = append(rows, checkpointRow{Txn: &txnRow{t.AppID, t.Version, number(t.LastUpdated)}})
	}
	for _, d := range s.Domains() {
		rows = append(rows, checkpointRow{Domain: &domainRow{d.Domain, d.Configuration, false}})
	}
	for _, r := range s.Removes() {
		if r.DeletionTimestamp < forget {
			continue
		}
		extended := r.ExtendedFileMetadata
		rows = append(rows, checkpointRow{Remove: &removeRow{
			Path: r.Path, DeletionTimestamp: number(r.DeletionTimestamp), DataChange: false, ExtendedFileMetadata: &extended,
			PartitionValues: r.PartitionValues, Size: number(r.Size),
		}})
	}
	for _, a := range s.Adds() {
		rows = append(rows, checkpointRow{Add: &addRow{
			Path: a.Path, PartitionValues: a.PartitionValues, Size: a.Size, ModificationTime: a.ModificationTime,
			// The protocol: in a checkpoint nothing changes the data.
			DataChange: false, Stats: text(a.Stats), Tags: a.Tags,
		}})
	}
	return rows
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func number(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

func encodeCheckpoint(rows []checkpointRow) ([]byte, error) {
	var body bytes.Buffer
	w := parquet.NewGenericWriter[checkpointRow](&body,
		parquet.Compression(&parquet.Snappy), // what every engine's checkpoint reader has seen
		parquet.DataPageVersion(1),
		// The library would take DELTA_LENGTH_BYTE_ARRAY, which some readers lack.
		parquet.DefaultEncodingFor(parquet.ByteArray, &parquet.Plain),
		parquet.DataPageStatistics(false),
		parquet.CreatedBy("barge", "1", "parquet-go"),
	)
	if _, err := w.Write(rows); err != nil {
		return nil, fmt.Errorf("encode checkpoint: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encode checkpoint: %w", err)
	}
	return body.Bytes(), nil
}
