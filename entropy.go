package barge

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"sync"

	"github.com/bargedata/barge/record"
)

// entropy is the agent's one source of randomness, safe for concurrent use.
type entropy struct {
	mu  sync.Mutex
	src *rand.ChaCha8
}

func newEntropy(seed uint64) *entropy {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return &entropy{src: rand.NewChaCha8(key)}
}

func (e *entropy) uint64() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.src.Uint64()
}

func (e *entropy) id16() (id [16]byte) {
	binary.LittleEndian.PutUint64(id[:8], e.uint64())
	binary.LittleEndian.PutUint64(id[8:], e.uint64())
	return id
}

func (e *entropy) id() string {
	id := e.id16()
	return hex.EncodeToString(id[:])
}

func (e *entropy) topicID() record.TopicID {
	id := record.TopicID(e.id16())
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // a random UUID, as Kafka's topic ids are
	return id
}

// rand makes a source of its own for a part that wants one.
func (e *entropy) rand() *rand.Rand { return rand.New(rand.NewPCG(e.uint64(), e.uint64())) }
