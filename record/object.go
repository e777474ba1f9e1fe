package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Layout of the WAL object, version 1; numbers are big-endian. docs/format/wal-object.md is the contract.
const (
	objectMagic      = "BARGEWAL"
	objectEndMagic   = "BARGEEND"
	objectVersion    = 1
	objectHeaderLen  = 64
	objectEntryLen   = 60
	objectTrailerLen = 32
	checksumLen      = 4

	walPrefix  = "wal/1/" // the 1 is the shard bitmap
	sortedName = "sorted-"

	headerCRCPos  = 60 // in the header
	trailerCRCPos = 16 // in the trailer: the object's CRC covers all before it
)

// ObjectHeader says who wrote a WAL object.
type ObjectHeader struct {
	ClusterHash uint64   // of the cluster's id, so that a foreign object is told from our own
	Session     uint64   // the writer's session
	Counter     uint64   // the object's place among the session's objects
	PutID       [16]byte // random: tells two writers of one key apart
}

// RunEntry is one run: the stretch of an object that holds one partition's batches, in order.
type RunEntry struct {
	Partition    Partition
	Pos          Pos
	Len          Len
	Batches      int32
	Records      int64
	MaxTimestamp int64  // of the batches' headers, milliseconds
	CRC          uint32 // CRC-32C of the run's bytes
}

// ObjectKey is the key of a WAL object: rand is a short random string that keeps keys of a restarted session apart.
func ObjectKey(session, counter uint64, rand string) string {
	return fmt.Sprintf("%s%016x-%s", SessionPrefix(session), counter, rand)
}

// SortedObjectKey is the key of a WAL object into which the session's compactor has regrouped runs of others. It carries no
// counter, and so never clashes with the objects that the session commits; name is a random string.
func SortedObjectKey(session uint64, name string) string {
	return SessionPrefix(session) + sortedName + name
}

// SessionPrefix is what the keys of all WAL objects of a session begin with, and no others.
func SessionPrefix(session uint64) string { return fmt.Sprintf("%s%016x/", walPrefix, session) }

// ParsedObjectKey is what the key of a WAL object says.
type ParsedObjectKey struct {
	Session uint64
	Counter uint64 // 0 when Sorted
	Sorted  bool   // by SortedObjectKey, not by ObjectKey
}

// ParseObjectKey reads what ObjectKey and SortedObjectKey make; ok is false for every other key.
func ParseObjectKey(key string) (k ParsedObjectKey, ok bool) {
	rest, ok := strings.CutPrefix(key, walPrefix)
	if !ok || len(rest) < 17 || rest[16] != '/' {
		return k, false
	}
	if k.Session, ok = parseHex16(rest[:16]); !ok {
		return k, false
	}
	name := rest[17:]
	if sorted, ok := strings.CutPrefix(name, sortedName); ok {
		k.Sorted = true
		return k, sorted != ""
	}
	if len(name) < 18 || name[16] != '-' {
		return k, false
	}
	k.Counter, ok = parseHex16(name[:16])
	return k, ok
}

// parseHex16 reads 16 digits as %016x prints them.
func parseHex16(s string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil && s == fmt.Sprintf("%016x", n)
}

// ObjectSize is the size of a WAL object with so many runs, whose batches have batchBytes together.
func ObjectSize(runs int, batchBytes int64) int64 {
	return objectHeaderLen + batchBytes + int64(runs)*objectEntryLen + checksumLen + objectTrailerLen
}

func (h ObjectHeader) appendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, objectMagic...)
	dst = binary.BigEndian.AppendUint16(dst, objectVersion)
	dst = append(dst, 0, 0, 0, 0, 0, 0) // flags, none yet; reserved
	dst = binary.BigEndian.AppendUint64(dst, h.ClusterHash)
	dst = binary.BigEndian.AppendUint64(dst, h.Session)
	dst = binary.BigEndian.AppendUint64(dst, h.Counter)
	dst = append(dst, h.PutID[:]...)
	dst = append(dst, 0, 0, 0, 0) // reserved
	return binary.BigEndian.AppendUint32(dst, Checksum(dst[start:]))
}

// readObjectHeader reads the header at the front of p.
func readObjectHeader(p []byte) (ObjectHeader, error) {
	if len(p) < objectHeaderLen {
		return ObjectHeader{}, fmt.Errorf("WAL object header: %d of %d bytes: %w", len(p), objectHeaderLen, ErrTruncated)
	}
	if err := checkObjectVersion("header", p[:8], objectMagic, p[8:12]); err != nil {
		return ObjectHeader{}, err
	}
	if want, got := binary.BigEndian.Uint32(p[headerCRCPos:]), Checksum(p[:headerCRCPos]); want != got {
		return ObjectHeader{}, fmt.Errorf("WAL object header: CRC-32C is %08x, want %08x: %w", got, want, ErrCorrupt)
	}
	h := ObjectHeader{
		ClusterHash: binary.BigEndian.Uint64(p[16:]),
		Session:     binary.BigEndian.Uint64(p[24:]),
		Counter:     binary.BigEndian.Uint64(p[32:]),
	}
	copy(h.PutID[:], p[40:])
	// Reserved bytes must be zero, so that a later version may use them and be noticed.
	if !bytes.Equal(p[:objectHeaderLen], h.appendTo(nil)) {
		return ObjectHeader{}, fmt.Errorf("WAL object header: reserved bytes are set: %w", ErrMagic)
	}
	return h, nil
}

// checkObjectVersion checks the magic and the 4 bytes of version and flags that every end of an object carries.
func checkObjectVersion(what string, magic []byte, want string, version []byte) error {
	if string(magic) != want {
		return fmt.Errorf("WAL object %s: magic %q: %w", what, magic, ErrMagic)
	}
	v, flags := binary.BigEndian.Uint16(version), binary.BigEndian.Uint16(version[2:])
	if v != objectVersion || flags != 0 {
		return fmt.Errorf("WAL object %s: version %d, flags %#x: want version %d, no flags: %w", what, v, flags, objectVersion, ErrMagic)
	}
	return nil
}

func (e RunEntry) appendTo(dst []byte) []byte {
	dst = append(dst, e.Partition.Topic[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.Partition.Index))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Pos))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Len))
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.Batches))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Records))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.MaxTimestamp))
	return binary.BigEndian.AppendUint32(dst, e.CRC)
}

func readRunEntry(p []byte) RunEntry {
	var e RunEntry
	copy(e.Partition.Topic[:], p)
	e.Partition.Index = int32(binary.BigEndian.Uint32(p[16:]))
	e.Pos = Pos(binary.BigEndian.Uint64(p[20:]))
	e.Len = Len(binary.BigEndian.Uint64(p[28:]))
	e.Batches = int32(binary.BigEndian.Uint32(p[36:]))
	e.Records = int64(binary.BigEndian.Uint64(p[40:]))
	e.MaxTimestamp = int64(binary.BigEndian.Uint64(p[48:]))
	e.CRC = binary.BigEndian.Uint32(p[56:])
	return e
}

// add counts a batch in.
func (e *RunEntry) add(b Batch) {
	if e.Batches == 0 || b.MaxTimestamp() > e.MaxTimestamp {
		e.MaxTimestamp = b.MaxTimestamp()
	}
	e.Batches++
	e.Records += int64(b.Records())
	e.Len += b.Len()
}
