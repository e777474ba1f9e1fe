package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ObjectWriter lays record batches of many partitions out in one WAL object. It copies every batch once, into a body
// allocated once when the size hint was right. Not safe for concurrent use.
type ObjectWriter struct {
	body     []byte
	runs     []RunEntry
	crc      uint32 // of the body
	finished bool
}

var errFinished = errors.New("WAL object is finished")

// NewObjectWriter begins an object. sizeHint is its size in bytes; ObjectSize tells it exactly. A wrong hint only costs
// copies.
func NewObjectWriter(h ObjectHeader, sizeHint int) *ObjectWriter {
	w := &ObjectWriter{body: make([]byte, 0, max(sizeHint, objectHeaderLen+objectTrailerLen))}
	w.body = h.appendTo(w.body)
	w.crc = Checksum(w.body)
	return w
}

// Add appends the next run: batches of p, byte-identical, at least one. Partitions must come in ascending order, each
// once. Errors: ErrInvalid when they do not; then nothing was added.
func (w *ObjectWriter) Add(p Partition, batches ...Batch) error {
	switch {
	case w.finished:
		return errFinished
	case len(batches) == 0:
		return fmt.Errorf("WAL object: run of %s has no batches: %w", p, ErrInvalid)
	case len(w.runs) > 0 && w.runs[len(w.runs)-1].Partition.Compare(p) >= 0:
		return fmt.Errorf("WAL object: run of %s after %s: %w", p, w.runs[len(w.runs)-1].Partition, ErrInvalid)
	}
	run := RunEntry{Partition: p, Pos: Pos(len(w.body))}
	for _, b := range batches {
		w.body = append(w.body, b.raw...)
		// Twice over the same bytes, while they are in the CPU's cache, costs less than combining two checksums
		// arithmetically for all runs shorter than 16 KiB, and next to nothing for the others.
		run.CRC = UpdateChecksum(run.CRC, b.raw)
		w.crc = UpdateChecksum(w.crc, b.raw)
		run.add(b)
	}
	w.runs = append(w.runs, run)
	return nil
}

// Len is the size of the object so far, in bytes, without its footer.
func (w *ObjectWriter) Len() int { return len(w.body) }

// Finish writes the footer and returns the whole object and its runs. Both belong to the caller; the writer is done.
// Errors: ErrInvalid for an object without runs.
func (w *ObjectWriter) Finish() (body []byte, runs []RunEntry, err error) {
	if w.finished {
		return nil, nil, errFinished
	}
	if len(w.runs) == 0 {
		return nil, nil, fmt.Errorf("WAL object: no runs: %w", ErrInvalid)
	}
	w.finished = true
	footer := len(w.body)
	for _, run := range w.runs {
		w.body = run.appendTo(w.body)
	}
	w.body = binary.BigEndian.AppendUint32(w.body, Checksum(w.body[footer:]))
	footerLen := len(w.body) - footer
	w.body = binary.BigEndian.AppendUint64(w.body, uint64(footer))
	w.body = binary.BigEndian.AppendUint32(w.body, uint32(footerLen))
	w.body = binary.BigEndian.AppendUint32(w.body, uint32(len(w.runs)))
	w.crc = UpdateChecksum(w.crc, w.body[footer:])
	end := len(w.body)
	w.body = binary.BigEndian.AppendUint32(w.body, w.crc)
	w.body = binary.BigEndian.AppendUint16(w.body, objectVersion)
	w.body = append(w.body, 0, 0) // flags, none yet
	w.body = append(w.body, objectEndMagic...)
	w.crc = UpdateChecksum(w.crc, w.body[end:])
	return w.body, w.runs, nil
}

// Checksum is, after Finish, the CRC-32C of the whole body, for a store that takes one with the upload. It was
// made while the batches were copied.
func (w *ObjectWriter) Checksum() uint32 { return w.crc }
