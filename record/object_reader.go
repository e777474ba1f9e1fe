package record

import (
	"encoding/binary"
	"fmt"
)

// FooterHint is how many bytes from an object's end hold its footer when it has no more than about a thousand runs: a
// first read for ReadFooter.
const FooterHint = 64 << 10

// ReadObject reads a whole WAL object and verifies all of it: both magics, every checksum, that the runs ascend by
// partition and fill the body without a gap, and that each run's batches are as its entry says. Runs lie at
// body[run.Pos:][:run.Len]. Errors: ErrTruncated, ErrMagic, ErrCorrupt.
func ReadObject(body []byte) (ObjectHeader, []RunEntry, error) {
	h, err := readObjectHeader(body)
	if err != nil {
		return ObjectHeader{}, nil, err
	}
	runs, err := ReadFooter(body, int64(len(body)))
	if err != nil {
		return ObjectHeader{}, nil, err
	}
	for _, run := range runs {
		if err := VerifyRun(body[run.Pos:][:run.Len], run); err != nil {
			return ObjectHeader{}, nil, err
		}
	}
	end := len(body) - objectTrailerLen + trailerCRCPos
	if want, crc := binary.BigEndian.Uint32(body[end:]), Checksum(body[:end]); want != crc {
		return ObjectHeader{}, nil, fmt.Errorf("WAL object: CRC-32C is %08x, trailer says %08x: %w", crc, want, ErrCorrupt)
	}
	return h, runs, nil
}

// ReadFooter reads the runs of a WAL object of size bytes from tail, the object's last bytes: as many as hold the footer,
// FooterHint or all. It verifies the footer's checksum and that the runs ascend by partition and fill the body without a
// gap; the body is not looked at.
// Errors: ErrTruncated when tail does not reach back to the footer's start (read more), ErrMagic, ErrCorrupt.
func ReadFooter(tail []byte, size int64) ([]RunEntry, error) {
	if int64(len(tail)) > size || len(tail) < objectTrailerLen || size < ObjectSize(1, BatchHeaderLen) {
		return nil, fmt.Errorf("WAL object footer: %d bytes of an object of %d: %w", len(tail), size, ErrTruncated)
	}
	t := tail[len(tail)-objectTrailerLen:]
	if err := checkObjectVersion("trailer", t[24:], objectEndMagic, t[20:24]); err != nil {
		return nil, err
	}
	at, n, count := binary.BigEndian.Uint64(t), int64(binary.BigEndian.Uint32(t[8:])), int64(binary.BigEndian.Uint32(t[12:]))
	if count == 0 || n != count*objectEntryLen+checksumLen || at < objectHeaderLen || at != uint64(size-objectTrailerLen-n) {
		return nil, fmt.Errorf("WAL object trailer: %d runs in %d bytes at %d of %d: %w", count, n, at, size, ErrCorrupt)
	}
	from := int64(len(tail)) - objectTrailerLen - n
	if from < 0 {
		return nil, fmt.Errorf("WAL object footer: %d bytes read, %d needed: %w", len(tail), n+objectTrailerLen, ErrTruncated)
	}
	footer := tail[from : from+n-checksumLen]
	if want, got := binary.BigEndian.Uint32(tail[from+n-checksumLen:]), Checksum(footer); want != got {
		return nil, fmt.Errorf("WAL object footer: CRC-32C is %08x, want %08x: %w", got, want, ErrCorrupt)
	}
	runs := make([]RunEntry, 0, count)
	next := Pos(objectHeaderLen)
	for ; len(footer) > 0; footer = footer[objectEntryLen:] {
		run := readRunEntry(footer)
		if run.Pos != next || run.Len < BatchHeaderLen || run.Len > Len(at)-Len(next) {
			return nil, fmt.Errorf("WAL object footer: run of %s is %d bytes at %d, want it at %d: %w", run.Partition, run.Len, run.Pos, next, ErrCorrupt)
		}
		if len(runs) > 0 && runs[len(runs)-1].Partition.Compare(run.Partition) >= 0 {
			return nil, fmt.Errorf("WAL object footer: run of %s after %s: %w", run.Partition, runs[len(runs)-1].Partition, ErrCorrupt)
		}
		next += Pos(run.Len)
		runs = append(runs, run)
	}
	if uint64(next) != at {
		return nil, fmt.Errorf("WAL object footer: runs end at %d, footer begins at %d: %w", next, at, ErrCorrupt)
	}
	return runs, nil
}

// VerifyRun checks the bytes of one run against its entry: the checksum, and that they are whole batches as many, with as
// many records and the largest timestamp, as it says. Errors: ErrCorrupt.
func VerifyRun(run []byte, entry RunEntry) error {
	if got := Checksum(run); got != entry.CRC {
		return fmt.Errorf("WAL object: run of %s at %d: CRC-32C is %08x, want %08x: %w", entry.Partition, entry.Pos, got, entry.CRC, ErrCorrupt)
	}
	found := RunEntry{Partition: entry.Partition, Pos: entry.Pos, CRC: entry.CRC}
	for rest := run; len(rest) > 0; {
		b, after, err := Split(rest)
		if err != nil {
			return fmt.Errorf("WAL object: run of %s at %d, batch %d: %w: %w", entry.Partition, entry.Pos, found.Batches, ErrCorrupt, err)
		}
		found.add(b)
		rest = after
	}
	if found != entry {
		return fmt.Errorf("WAL object: run of %s at %d holds %d batches, %d records: footer says %d, %d: %w",
			entry.Partition, entry.Pos, found.Batches, found.Records, entry.Batches, entry.Records, ErrCorrupt)
	}
	return nil
}
