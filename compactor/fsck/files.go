package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

// held is what a Parquet file really holds.
type held struct {
	rows  int64
	parts []metadata.FilePart // Base is the first row's offset, End that of the last + 1
}

// readFile reads a Parquet file whole. wrong says why it is damaged, "" when it is not.
func (c *checker) readFile(ctx context.Context, key string, size int64) (h held, wrong string, err error) {
	file, err := tableflow.OpenFile(ctx, c.store, key, size)
	if err == nil {
		err = file.Verify(ctx, func(group, partition int32, r *record.Record) error {
			h.note(group, partition, r)
			return nil
		})
	}
	switch {
	case err == nil:
		h.rows = file.Rows()
		return h, "", nil
	case errIsAny(err, tableflow.ErrCorrupt, tableflow.ErrTooLarge, objectstore.ErrNotFound), isShort(err):
		return h, err.Error(), nil
	}
	return h, "", err
}

func (h *held) note(group, partition int32, r *record.Record) {
	n := len(h.parts)
	if n == 0 || h.parts[n-1].Partition != partition || h.parts[n-1].RowGroup+h.parts[n-1].RowGroups < group {
		h.parts = append(h.parts, metadata.FilePart{Partition: partition, Base: r.Offset, RowGroup: group, RowGroups: 1, MaxTimestamp: r.Timestamp})
		n++
	}
	p := &h.parts[n-1]
	p.RowGroups = group - p.RowGroup + 1
	p.End = max(p.End, r.Offset+1)
	p.Rows++
	p.MaxTimestamp = max(p.MaxTimestamp, r.Timestamp)
}

// against holds what a file holds against what the log says of it; "" when they agree.
func (h *held) against(f metadata.File) (wrong string) {
	if h.rows != f.Rows {
		return fmt.Sprintf("holds %d rows, the log says %d", h.rows, f.Rows)
	}
	if len(h.parts) != len(f.Parts) {
		return fmt.Sprintf("holds rows of %d partitions, the log says %d", len(h.parts), len(f.Parts))
	}
	for i := range f.Parts {
		has, says := h.parts[i], &f.Parts[i]
		switch {
		case has.Partition != says.Partition || has.RowGroup != says.RowGroup || has.RowGroups != says.RowGroups || has.Rows != says.Rows:
			return fmt.Sprintf("holds %d rows of partition %d in row groups %d to %d, the log says %d of partition %d in %d to %d", has.Rows, has.Partition,
				has.RowGroup, has.RowGroup+has.RowGroups-1, says.Rows, says.Partition, says.RowGroup, says.RowGroup+says.RowGroups-1)
		case has.Base < says.Base || has.End > says.End:
			return fmt.Sprintf("holds offsets %d to %d, the log says %d to %d", has.Base, has.End-1, says.Base, says.End-1)
		case has.MaxTimestamp != says.MaxTimestamp:
			return fmt.Sprintf("its newest record is of %d ms, the log says %d", has.MaxTimestamp, says.MaxTimestamp)
		}
	}
	return ""
}

// lostFile reports what is lost with a file.
func lostFile(kind Kind, ref *fileRef, wrong string) []Finding {
	found := Finding{
		Severity: Error, Kind: kind, Key: ref.file.Key, Bytes: int64(ref.file.Size), What: wrong, Topic: ref.topic.Name,
		Do: "these records are lost to consumers and to the table unless the file is brought back, byte for byte, from a copy of the store",
	}
	if len(ref.file.Parts) == 0 {
		return []Finding{found}
	}
	list := make([]Finding, len(ref.file.Parts))
	for i, p := range ref.file.Parts {
		list[i] = found.at(ref.topic.Name, p.Partition, p.Base, p.End)
	}
	return list
}

// isShort reports a read past the end of an object: it is shorter than the log says.
func isShort(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }
