package tableflow

import (
	"bytes"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// libraryRow is a row as the library's own reader sees it.
type libraryRow struct {
	Partition     int32           `parquet:"_kafka_partition"`
	Offset        int64           `parquet:"_kafka_offset"`
	Timestamp     *int64          `parquet:"_kafka_timestamp,optional"`
	RawKey        *[]byte         `parquet:"_kafka_key,optional"`
	RawValue      *[]byte         `parquet:"_kafka_value,optional"`
	Headers       []libraryHeader `parquet:"_kafka_headers,list,optional"`
	Error         *string         `parquet:"_kafka_error,optional"`
	Key           *string         `parquet:"key,optional"`
	Value         *string         `parquet:"value,optional"`
	TimestampType int32           `parquet:"_kafka_timestamp_type"`
	ValueKind     int32           `parquet:"_kafka_value_kind"`
	TimestampMs   *int64          `parquet:"_kafka_timestamp_ms,optional"`
	RawHeaders    *[]byte         `parquet:"_kafka_headers_raw,optional"`
}

type libraryHeader struct {
	Key   string  `parquet:"key"`
	Value *[]byte `parquet:"value,optional"`
}

func readWithLibrary(t *testing.T, body []byte) []libraryRow {
	t.Helper()
	rows, err := parquet.Read[libraryRow](bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
