package tableflow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// footerHold stands between the library and the stream. At the end it holds back page index and footer, so that
// release can drop the column indexes of byte columns: their pages were written without bounds, which the library
// encodes as the bounds "" and "", and an engine that trusts those skips pages that match.
type footerHold struct {
	w       io.Writer
	written int64
	holding bool
	held    bytes.Buffer
}

// Write passes p on, or keeps it.
func (f *footerHold) Write(p []byte) (int, error) {
	if f.holding {
		return f.held.Write(p)
	}
	n, err := f.w.Write(p)
	f.written += int64(n)
	return n, err
}

func (f *footerHold) hold() { f.holding = true }

// release writes what was held with the column indexes that say something, and the footer changed accordingly.
func (f *footerHold) release(meta *format.FileMetaData) error {
	f.holding = false
	base, held := f.written, f.held.Bytes()
	var head int // an empty file's magic number was held, too
	if base == 0 {
		head = 4
	}
	out := bytes.NewBuffer(make([]byte, 0, len(held)))
	out.Write(held[:head])
	move := func(offset *int64, length int32) error {
		from := *offset - base
		if from < 0 || from+int64(length) > int64(len(held)) {
			return fmt.Errorf("page index at %d (%d bytes) outside the file's tail", *offset, length)
		}
		*offset = base + int64(out.Len())
		out.Write(held[from : from+int64(length)])
		return nil
	}
	for i := range meta.RowGroups {
		for j := range meta.RowGroups[i].Columns {
			c := &meta.RowGroups[i].Columns[j]
			if c.MetaData.Type == format.ByteArray {
				c.ColumnIndexOffset, c.ColumnIndexLength = 0, 0
				continue
			}
			if err := move(&c.ColumnIndexOffset, c.ColumnIndexLength); err != nil {
				return err
			}
		}
	}
	for i := range meta.RowGroups {
		for j := range meta.RowGroups[i].Columns {
			c := &meta.RowGroups[i].Columns[j]
			if err := move(&c.OffsetIndexOffset, c.OffsetIndexLength); err != nil {
				return err
			}
		}
	}
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), meta)
	if err != nil {
		return fmt.Errorf("encode parquet footer: %w", err)
	}
	if err := checkTail(footer, int64(out.Len())); err != nil {
		return err
	}
	out.Write(footer)
	out.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(footer))))
	out.WriteString(magic)
	if _, err := f.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write parquet footer: %w", err)
	}
	return nil
}

// checkTail refuses to write what OpenFile would refuse to read. MaxRowGroups alone does not settle it: row groups of many
// pages have a long page index.
func checkTail(footer []byte, index int64) error {
	if len(footer) > maxFooter || index+int64(len(footer)) > 2*maxFooter {
		return fmt.Errorf("parquet footer of %d bytes and page index of %d: %w", len(footer), index, ErrTooLarge)
	}
	if err := CheckThrift(footer); err != nil {
		return fmt.Errorf("parquet footer of %d bytes: %w", len(footer), err)
	}
	return nil
}

const magic = "PAR1"

func pathOf(dotted string) []string { return strings.Split(dotted, ".") }
