package record

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// Offset is the place of a record in a partition's log. It is never a place inside an object: that is Pos.
type Offset int64

// Pos is a place inside an object, in bytes from its start; the size of something inside an object is a Len.
type Pos int64

// Len is the size of something inside an object, in bytes.
type Len int64

// TopicID is the 16-byte identity of a topic's incarnation (KIP-516): a topic deleted and created again has another one.
type TopicID [16]byte

// IsZero reports whether the id is the all-zero one, which no topic has.
func (id TopicID) IsZero() bool { return id == TopicID{} }

// String renders the id as Kafka's tools do: URL-safe base64 without padding.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// Hex renders the id as 32 lower-case hexadecimal digits, the form used in object keys.
func (id TopicID) Hex() string { return hex.EncodeToString(id[:]) }

// Partition names one Kafka partition of one topic incarnation. It is comparable and ordered by Compare.
type Partition struct {
	Topic TopicID
	Index int32
}

// Compare orders partitions by topic id, then index: the order of runs in a WAL object.
func (p Partition) Compare(q Partition) int {
	for i := range p.Topic {
		if p.Topic[i] != q.Topic[i] {
			return int(p.Topic[i]) - int(q.Topic[i])
		}
	}
	return int(p.Index) - int(q.Index)
}

// String is for logs and errors: topic id, slash, index.
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Index) }
