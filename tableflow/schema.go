package tableflow

import (
	"reflect"

	"github.com/parquet-go/parquet-go"
)

// Schema returns the Delta schema string (JSON) of a topic without schema: the visible columns of every file, in order.
func Schema() string { return deltaSchema }

// deltaSchema is hand-written, because its bytes go into version 0 of every table and must never change by accident.
const deltaSchema = `{"type":"struct","fields":[` +
	`{"name":"_kafka_partition","type":"integer","nullable":true,"metadata":{}},` +
	`{"name":"_kafka_offset","type":"long","nullable":true,"metadata":{}},` +
	`{"name":"_kafka_timestamp","type":"timestamp","nullable":true,"metadata":{}},` +
	`{"name":"_kafka_key","type":"binary","nullable":true,"metadata":{}},` +
	`{"name":"_kafka_value","type":"binary","nullable":true,"metadata":{}},` +
	`{"name":"_kafka_headers","type":{"type":"array","elementType":{"type":"struct","fields":[` +
	`{"name":"key","type":"string","nullable":true,"metadata":{}},` +
	`{"name":"value","type":"binary","nullable":true,"metadata":{}}]},"containsNull":true},"nullable":true,"metadata":{}},` +
	`{"name":"_kafka_schema_id","type":"integer","nullable":true,"metadata":{}},` +
	`{"name":"_kafka_error","type":"string","nullable":true,"metadata":{}},` +
	`{"name":"key","type":"string","nullable":true,"metadata":{}},` +
	`{"name":"value","type":"string","nullable":true,"metadata":{}}]}`

// The leaf columns of a file, in file order. Kafka's columns come first and adjacent, so that one range covers them.
const (
	colPartition = iota
	colOffset
	colTimestamp
	colRawKey
	colRawValue
	colHeaderKey
	colHeaderValue
	colSchemaID
	colError
	colKey
	colValue
	colTimestampType // from here on hidden: not in the Delta schema
	colValueKind
	colTimestampMs
	colRawHeaders
	numColumns
)

// What _kafka_value_kind says about where a row's value lies. Typed columns will add kinds.
const (
	kindNull   = 0 // a tombstone
	kindString = 1 // in the column value
	kindRaw    = 2 // in the column _kafka_value
)

// File metadata that tells readers of this package how to take the rows: a file of another layout is refused.
const (
	layoutKey   = "barge.layout"
	layoutValue = "1"
)

// leaf describes one leaf column to writer and reader alike.
type leaf struct {
	path   string // dotted, as in the file
	kind   parquet.Kind
	maxRep byte
	maxDef byte
}

func leaves() [numColumns]leaf {
	return [numColumns]leaf{
		colPartition:     {"_kafka_partition", parquet.Int32, 0, 0},
		colOffset:        {"_kafka_offset", parquet.Int64, 0, 0},
		colTimestamp:     {"_kafka_timestamp", parquet.Int64, 0, 1},
		colRawKey:        {"_kafka_key", parquet.ByteArray, 0, 1},
		colRawValue:      {"_kafka_value", parquet.ByteArray, 0, 1},
		colHeaderKey:     {"_kafka_headers.list.element.key", parquet.ByteArray, 1, 2},
		colHeaderValue:   {"_kafka_headers.list.element.value", parquet.ByteArray, 1, 3},
		colSchemaID:      {"_kafka_schema_id", parquet.Int32, 0, 1},
		colError:         {"_kafka_error", parquet.ByteArray, 0, 1},
		colKey:           {"key", parquet.ByteArray, 0, 1},
		colValue:         {"value", parquet.ByteArray, 0, 1},
		colTimestampType: {"_kafka_timestamp_type", parquet.Int32, 0, 0},
		colValueKind:     {"_kafka_value_kind", parquet.Int32, 0, 0},
		colTimestampMs:   {"_kafka_timestamp_ms", parquet.Int64, 0, 1},
		colRawHeaders:    {"_kafka_headers_raw", parquet.ByteArray, 0, 1},
	}
}

// fileSchema is the Parquet schema. Field ids are fixed for good: Iceberg metadata will refer to the same files. Ids
// from 1001 on belong to user columns.
func fileSchema() *parquet.Schema {
	int32s := func() parquet.Node { return parquet.Encoded(parquet.Leaf(parquet.Int32Type), &parquet.Plain) }
	int64s := func() parquet.Node { return parquet.Encoded(parquet.Leaf(parquet.Int64Type), &parquet.Plain) }
	binary := func() parquet.Node { return parquet.Encoded(parquet.Leaf(parquet.ByteArrayType), &parquet.Plain) }
	text := func() parquet.Node { return parquet.Encoded(parquet.String(), &parquet.Plain) }
	dict := func(n parquet.Node) parquet.Node { return parquet.Encoded(n, &parquet.RLEDictionary) }
	opt := parquet.Optional
	id := parquet.FieldID

	element := group(
		field{"key", id(dict(parquet.String()), 8)},
		field{"value", id(opt(binary()), 9)},
	)
	headers := list{group(field{"list", parquet.Repeated(group(field{"element", id(element, 7)}))})}
	return parquet.NewSchema("barge", group(
		field{"_kafka_partition", id(dict(int32s()), 1)},
		field{"_kafka_offset", id(int64s(), 2)},
		field{"_kafka_timestamp", id(opt(parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.Plain)), 3)},
		field{"_kafka_key", id(opt(binary()), 4)},
		field{"_kafka_value", id(opt(binary()), 5)},
		field{"_kafka_headers", id(opt(headers), 6)},
		field{"_kafka_schema_id", id(opt(int32s()), 10)},
		field{"_kafka_error", id(opt(text()), 11)},
		field{"key", id(opt(dict(parquet.String())), 1001)},
		field{"value", id(opt(text()), 1002)},
		field{"_kafka_timestamp_type", id(dict(int32s()), 12)},
		field{"_kafka_value_kind", id(dict(int32s()), 13)},
		field{"_kafka_timestamp_ms", id(opt(int64s()), 14)},
		field{"_kafka_headers_raw", id(opt(binary()), 15)},
	))
}

// field is a named node of an ordered group.
type field struct {
	name string
	parquet.Node
}

// Name returns the column name.
func (f field) Name() string { return f.name }

// Value is the library's way from Go structs to columns. Rows are written value by value here, so nobody calls it.
func (f field) Value(reflect.Value) reflect.Value { return reflect.Value{} }

// orderedGroup is a group whose fields keep their order. The library's own Group is a map and sorts by name.
type orderedGroup struct {
	parquet.Group
	fields []parquet.Field
}

func group(fields ...field) orderedGroup {
	g := orderedGroup{Group: make(parquet.Group, len(fields)), fields: make([]parquet.Field, len(fields))}
	for i, f := range fields {
		g.Group[f.name], g.fields[i] = f, f
	}
	return g
}

// Fields returns the fields in their order.
func (g orderedGroup) Fields() []parquet.Field { return g.fields }

// list marks a group as LIST.
type list struct{ orderedGroup }

// Type is the LIST type.
func (list) Type() parquet.Type { return parquet.List(parquet.String()).Type() }
