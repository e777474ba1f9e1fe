package record

// TimestampType tells who set a record's timestamp (attribute bit 3 of a batch).
type TimestampType int8

// The two timestamp types of Kafka.
const (
	CreateTime    TimestampType = 0
	LogAppendTime TimestampType = 1
)

// Header is one record header. Key may be any bytes; Value nil means null, which is not the same as empty.
type Header struct {
	Key   string
	Value []byte
}

// Record is one decoded record. Key and Value nil mean null, which is not the same as empty; headers keep order and
// duplicates. Timestamp is milliseconds since the Unix epoch, -1 when the producer set none. The byte slices alias the
// buffer the record was decoded from unless the decoder's contract says otherwise.
type Record struct {
	Offset        Offset
	Timestamp     int64
	TimestampType TimestampType
	Key           []byte
	Value         []byte
	Headers       []Header
}

// Append is one record batch that a producer wants appended to a partition. The batch has been parsed and validated.
type Append struct {
	Partition Partition
	Batch     Batch
}
