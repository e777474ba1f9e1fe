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

	shift    checksumShift // over shiftLen bytes; batches often have one length
	shiftLen int
	seenLen  int // of the batch before
}

// From where joining checksums costs less than making them, in bytes: with a shift that is there, and with a new one.
const (
	joinedBytes    = 4 << 10
	newJoinedBytes = 32 << 10
)

var errFinished = errors.New("WAL object is finished")

// NewObjectWriter begins an object. sizeHint is its size in bytes; ObjectSize tells it exactly. A wrong hint only costs
// copies.
func NewObjectWriter(h ObjectHeader, sizeHint int) *ObjectWriter {
	return NewObjectWriterIn(make([]byte, 0, max(sizeHint, objectHeaderLen+objectTrailerLen)), h)
}

// NewObjectWriterIn begins an object in the memory of dst, whose content is lost. It is the writer's until Finish, and the
// body's then; an object that does not fit its capacity moves elsewhere.
func NewObjectWriterIn(dst []byte, h ObjectHeader) *ObjectWriter {
	w := &ObjectWriter{body: h.appendTo(dst[:0])}
	w.crc = Checksum(w.body)
	return w
}

// Add appends the next run: batches of p, byte-identical, at least one. Partitions must come in ascending order, each
// once. The batches' own checksums must be right, as Parse checks and VerifyRun implies: those of run and object are
// made of them, so that a byte that changes in memory between the producer's checksum and the store's is found out.
// Errors: ErrInvalid when partitions do not ascend; then nothing was added.
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
		w.checksum(&run, b)
		run.add(b)
	}
	w.runs = append(w.runs, run)
	return nil
}

// checksum takes a batch into the checksums of run and object.
func (w *ObjectWriter) checksum(run *RunEntry, b Batch) {
	covered := len(b.raw) - posAttributes
	if !w.joins(covered) {
		run.CRC = UpdateChecksum(run.CRC, b.raw)
		w.crc = UpdateChecksum(w.crc, b.raw)
		return
	}
	head, rest := b.raw[:posAttributes], b.CRC()
	run.CRC = w.shift.join(UpdateChecksum(run.CRC, head), rest)
	w.crc = w.shift.join(UpdateChecksum(w.crc, head), rest)
}

// joins tells whether the shift over n bytes is there, or worth making.
func (w *ObjectWriter) joins(n int) bool {
	again := n == w.seenLen
	w.seenLen = n
	if n < joinedBytes || n != w.shiftLen && n < newJoinedBytes && !again {
		return false
	}
	if n != w.shiftLen {
		w.shift, w.shiftLen = shiftBytes(n), n
	}
	return true
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
