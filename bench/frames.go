package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/bargedata/barge/record"
)

// distinctBytes is about how many bytes of different batches a run sends over and over: more than a CPU keeps near itself.
const distinctBytes = 4 << 20

// builtBatch is a record batch that is sent as it is.
type builtBatch struct {
	raw     []byte
	records int
	hash    uint64 // contentHash of its records, summed
}

// buildBatches makes the batches of a run. Equal configurations make equal batches.
func buildBatches(c Config) ([]builtBatch, error) {
	rng := rand.New(rand.NewPCG(c.Seed, 0x62656e6368))
	b := record.NewBuilder(c.Codec)
	batches := make([]builtBatch, 0, min(max(distinctBytes/c.BatchBytes, 4), 256))
	for range cap(batches) {
		built := builtBatch{}
		b.Reset(0)
		for {
			r := record.Record{Offset: record.Offset(built.records), Timestamp: 1_767_225_600_000 + int64(built.records), Value: c.Payload.value(rng, c.RecordBytes)}
			if err := b.Append(&r); err != nil {
				return nil, fmt.Errorf("build a batch: %w", err)
			}
			built.records++
			built.hash += contentHash(r.Key, r.Value)
			if b.Len()+c.RecordBytes+recordOverhead > c.BatchBytes {
				break
			}
		}
		raw, err := b.Build(nil)
		if err != nil {
			return nil, fmt.Errorf("build a batch: %w", err)
		}
		built.raw = raw
		batches = append(batches, built)
	}
	return batches, nil
}

// recordOverhead is what the format takes for a record beside its value, at most, in batches of our kind.
const recordOverhead = 16

// contentHash tells a record's key and value from others; sums of it tell sets of records apart, in whatever order and
// batches they come.
func contentHash(key, value []byte) uint64 {
	h := uint64(record.Checksum(value))<<32 | uint64(record.Checksum(key)^uint32(len(value)))
	h ^= h >> 31 // the finalizer of SplitMix64: sums of plain checksums would cancel out
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

const (
	produceVersion = 9 // the first flexible one; names topics
	produceTimeout = 30_000
	clientID       = "barge-bench"

	frameCorrelationAt = 8
	batchProducerAt    = 43 // of a record batch: producer id, epoch, base sequence
	batchCRCAt         = 17
	batchCRCFrom       = 21
)

// produceFrame is a Produce request for one partition around a batch: what comes before it and what after. Only the
// correlation id and the partition differ between requests with batches of one length.
type produceFrame struct {
	head, tail  []byte
	partitionAt int
	errorAt     int // of the reply's error code
	batchLen    int
}

// newProduceFrame makes the frame for batches of so many bytes.
func newProduceFrame(topic, clientID string, batchLen int) produceFrame {
	f := produceFrame{tail: []byte{0, 0, 0}, batchLen: batchLen} // tags of partition, topic and request
	h := make([]byte, 4, 128)
	h = binary.BigEndian.AppendUint16(h, 0) // Produce
	h = binary.BigEndian.AppendUint16(h, produceVersion)
	h = append(h, 0, 0, 0, 0) // correlation id
	h = binary.BigEndian.AppendUint16(h, uint16(len(clientID)))
	h = append(h, clientID...)
	h = append(h, 0) // tags
	h = append(h, 0) // no transactional id
	h = binary.BigEndian.AppendUint16(h, 0xffff)
	h = binary.BigEndian.AppendUint32(h, produceTimeout)
	h = append(h, 2) // one topic
	h = binary.AppendUvarint(h, uint64(len(topic))+1)
	h = append(h, topic...)
	h = append(h, 2) // one partition
	f.partitionAt = len(h)
	h = append(h, 0, 0, 0, 0)
	h = binary.AppendUvarint(h, uint64(batchLen)+1)
	binary.BigEndian.PutUint32(h, uint32(len(h)+batchLen+len(f.tail)-4))
	f.head = h
	nameLen := len(binary.AppendUvarint(nil, uint64(len(topic))+1)) + len(topic)
	f.errorAt = 4 + 1 + 1 + nameLen + 1 + 4 // correlation id, tags, topics, name, partitions, index
	return f
}

// patch writes the head of one request into dst, which has room for it, and returns it.
func (f *produceFrame) patch(dst []byte, correlation, partition int32) []byte {
	dst = append(dst[:0], f.head...)
	binary.BigEndian.PutUint32(dst[frameCorrelationAt:], uint32(correlation))
	binary.BigEndian.PutUint32(dst[f.partitionAt:], uint32(partition))
	return dst
}

// reply reads the answer to one request, without its size, and returns its error code.
func (f *produceFrame) reply(body []byte, correlation int32) (int16, error) {
	if len(body) < f.errorAt+2 {
		return 0, fmt.Errorf("reply of %d bytes to a Produce request", len(body))
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != correlation {
		return 0, fmt.Errorf("reply %d where %d was due", got, correlation)
	}
	return int16(binary.BigEndian.Uint16(body[f.errorAt:])), nil
}

// sequenceBatch copies a batch into dst as one of an idempotent producer.
func sequenceBatch(dst, raw []byte, producer int64, epoch int16, sequence int32) []byte {
	dst = append(dst[:0], raw...)
	binary.BigEndian.PutUint64(dst[batchProducerAt:], uint64(producer))
	binary.BigEndian.PutUint16(dst[batchProducerAt+8:], uint16(epoch))
	binary.BigEndian.PutUint32(dst[batchProducerAt+10:], uint32(sequence))
	binary.BigEndian.PutUint32(dst[batchCRCAt:], record.Checksum(dst[batchCRCFrom:]))
	return dst
}
