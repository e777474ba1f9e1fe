package bucketlog

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/bargedata/barge/metadata"
)

const (
	frameVersion     = 1
	slotHeaderLen    = 96
	snapHeaderLen    = 72
	maxSnapshotBytes = 1 << 30
	maxSlotBytes     = slotHeaderLen + metadata.MaxOwnerBytes + metadata.MaxEntryBytes
)

type slotKind uint8

const (
	kindEntry slotKind = 1
	kindClaim slotKind = 2
)

// hash is the SHA-256 of a whole slot object. Each slot carries that of the one before, so a log that was rolled back,
// mixed with another or edited by hand does not pass for whole.
type hash [sha256.Size]byte

// slot is one slot object.
type slot struct {
	kind  slotKind
	term  uint64
	seq   uint64
	id    [16]byte
	prev  hash   // of slot seq-1, zero for slot 0
	time  int64  // the store's time when slot seq-1 was created, ms since the Unix epoch; 0 when the writer does not know
	owner string // of the term
	body  []byte
}

const (
	slotMagic = "BGSL"
	snapMagic = "BGSN"
)

var crcTable = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // read-only

// encodeSlot lays a slot out as docs/format/bucket-log.md says. The same slot gives the same bytes.
func encodeSlot(s slot) []byte {
	buf := make([]byte, slotHeaderLen, slotHeaderLen+len(s.owner)+len(s.body))
	be := binary.BigEndian
	copy(buf[0:4], slotMagic)
	buf[4] = frameVersion
	buf[5] = byte(s.kind)
	be.PutUint16(buf[6:8], uint16(len(s.owner)))
	be.PutUint64(buf[8:16], s.term)
	be.PutUint64(buf[16:24], s.seq)
	copy(buf[24:40], s.id[:])
	copy(buf[40:72], s.prev[:])
	be.PutUint64(buf[72:80], uint64(s.time))
	be.PutUint32(buf[80:84], uint32(len(s.body)))
	be.PutUint32(buf[84:88], crc32.Checksum(s.body, crcTable))
	// buf[88:92] is reserved, zero.
	be.PutUint32(buf[92:96], crc32.Update(crc32.Checksum(buf[:92], crcTable), crcTable, []byte(s.owner)))
	buf = append(buf, s.owner...)
	return append(buf, s.body...)
}

// decodeSlotHeader reads everything but the body, of which it returns the length. buf may end anywhere after the owner.
// Errors wrap metadata.ErrCorrupt.
func decodeSlotHeader(buf []byte) (s slot, bodyLen int, err error) {
	if len(buf) < slotHeaderLen {
		return slot{}, 0, fmt.Errorf("slot of %d bytes is shorter than its header: %w", len(buf), metadata.ErrCorrupt)
	}
	if string(buf[:4]) != slotMagic {
		return slot{}, 0, fmt.Errorf("slot magic %x: %w", buf[:4], metadata.ErrCorrupt)
	}
	if buf[4] != frameVersion {
		return slot{}, 0, fmt.Errorf("slot version %d, this agent reads %d: %w", buf[4], frameVersion, metadata.ErrCorrupt)
	}
	be := binary.BigEndian
	ownerLen := int(be.Uint16(buf[6:8]))
	size := int64(be.Uint32(buf[80:84]))
	if ownerLen > metadata.MaxOwnerBytes || size > metadata.MaxEntryBytes || len(buf) < slotHeaderLen+ownerLen {
		return slot{}, 0, fmt.Errorf("slot lengths owner %d, body %d: %w", ownerLen, size, metadata.ErrCorrupt)
	}
	owner := buf[slotHeaderLen : slotHeaderLen+ownerLen]
	if got, want := crc32.Update(crc32.Checksum(buf[:92], crcTable), crcTable, owner), be.Uint32(buf[92:96]); got != want {
		return slot{}, 0, fmt.Errorf("slot header CRC %08x, want %08x: %w", got, want, metadata.ErrCorrupt)
	}
	s = slot{
		kind:  slotKind(buf[5]),
		term:  be.Uint64(buf[8:16]),
		seq:   be.Uint64(buf[16:24]),
		id:    [16]byte(buf[24:40]),
		prev:  hash(buf[40:72]),
		time:  int64(be.Uint64(buf[72:80])),
		owner: string(owner),
	}
	if s.kind != kindEntry && (s.kind != kindClaim || size != 0) {
		return slot{}, 0, fmt.Errorf("slot kind %d with %d body bytes: %w", s.kind, size, metadata.ErrCorrupt)
	}
	return s, int(size), nil
}

// decodeSlot reads and verifies a whole slot object that must be slot seq. The body aliases buf.
// Errors wrap metadata.ErrCorrupt.
func decodeSlot(buf []byte, seq uint64) (slot, error) {
	s, size, err := decodeSlotHeader(buf)
	if err != nil {
		return slot{}, err
	}
	body := buf[slotHeaderLen+len(s.owner):]
	if len(body) != size {
		return slot{}, fmt.Errorf("slot body of %d bytes, header says %d: %w", len(body), size, metadata.ErrCorrupt)
	}
	if got, want := crc32.Checksum(body, crcTable), binary.BigEndian.Uint32(buf[84:88]); got != want {
		return slot{}, fmt.Errorf("slot body CRC %08x, want %08x: %w", got, want, metadata.ErrCorrupt)
	}
	if s.seq != seq {
		return slot{}, fmt.Errorf("slot says it is %d, its key %d: %w", s.seq, seq, metadata.ErrCorrupt)
	}
	s.body = body
	return s, nil
}

// snapshot is one snapshot object: the state after all slots below seq.
type snapshot struct {
	term  uint64 // of the sequencer that wrote it: no slot below seq has a higher one
	seq   uint64
	chain hash // of slot seq-1, zero for seq 0
	body  []byte
}

func encodeSnapshot(s snapshot) []byte {
	buf := make([]byte, snapHeaderLen, snapHeaderLen+len(s.body))
	be := binary.BigEndian
	copy(buf[0:4], snapMagic)
	buf[4] = frameVersion
	// buf[5:8] is reserved, zero.
	be.PutUint64(buf[8:16], s.term)
	be.PutUint64(buf[16:24], s.seq)
	copy(buf[24:56], s.chain[:])
	be.PutUint64(buf[56:64], uint64(len(s.body)))
	be.PutUint32(buf[64:68], crc32.Checksum(s.body, crcTable))
	be.PutUint32(buf[68:72], crc32.Checksum(buf[:68], crcTable))
	return append(buf, s.body...)
}

// decodeSnapshot reads and verifies a whole snapshot object that must be of seq. The body aliases buf.
// Errors wrap metadata.ErrCorrupt.
func decodeSnapshot(buf []byte, seq uint64) (snapshot, error) {
	if len(buf) < snapHeaderLen || string(buf[:4]) != snapMagic {
		return snapshot{}, fmt.Errorf("snapshot of %d bytes has no header: %w", len(buf), metadata.ErrCorrupt)
	}
	if buf[4] != frameVersion {
		return snapshot{}, fmt.Errorf("snapshot version %d, this agent reads %d: %w", buf[4], frameVersion, metadata.ErrCorrupt)
	}
	be := binary.BigEndian
	if got, want := crc32.Checksum(buf[:68], crcTable), be.Uint32(buf[68:72]); got != want {
		return snapshot{}, fmt.Errorf("snapshot header CRC %08x, want %08x: %w", got, want, metadata.ErrCorrupt)
	}
	s := snapshot{term: be.Uint64(buf[8:16]), seq: be.Uint64(buf[16:24]), chain: hash(buf[24:56]), body: buf[snapHeaderLen:]}
	if size := be.Uint64(buf[56:64]); size != uint64(len(s.body)) {
		return snapshot{}, fmt.Errorf("snapshot body of %d bytes, header says %d: %w", len(s.body), size, metadata.ErrCorrupt)
	}
	if got, want := crc32.Checksum(s.body, crcTable), be.Uint32(buf[64:68]); got != want {
		return snapshot{}, fmt.Errorf("snapshot body CRC %08x, want %08x: %w", got, want, metadata.ErrCorrupt)
	}
	if s.seq != seq {
		return snapshot{}, fmt.Errorf("snapshot says it is of %d, its key %d: %w", s.seq, seq, metadata.ErrCorrupt)
	}
	return s, nil
}
