package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/bargedata/barge/tableflow"
)

// readCheckpoint gives the actions of a checkpoint file to yield. Columns are found by name: engines differ in their
// order, in what they leave out, and in what may be NULL.
func readCheckpoint(body []byte, yield func(Action)) (err error) {
	defer func() {
		if p := recover(); p != nil { // of the Parquet library, on bytes that it does not check
			err = fmt.Errorf("decoding panicked: %v: %w", p, ErrCorrupt)
		}
	}()
	if err := checkFooter(body); err != nil {
		return err
	}
	f, err := parquet.OpenFile(bytes.NewReader(body), int64(len(body)), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	columns := f.Schema().Columns()
	names := make([]string, len(columns))
	for i, path := range columns {
		names[i] = columnName(path)
	}
	buf := make([]parquet.Row, 64)
	for _, group := range f.RowGroups() {
		if err := readRows(group, buf, names, yield); err != nil {
			return err
		}
	}
	return nil
}

// checkFooter bounds what decoding the footer can take.
func checkFooter(body []byte) error {
	n := len(body)
	if n < 12 || string(body[n-4:]) != "PAR1" {
		return fmt.Errorf("no parquet file: %w", ErrCorrupt)
	}
	length := int64(binary.LittleEndian.Uint32(body[n-8:]))
	if length > int64(n-12) {
		return fmt.Errorf("footer of %d bytes in a file of %d: %w", length, n, ErrCorrupt)
	}
	if err := tableflow.CheckThrift(body[int64(n)-8-length : n-8]); err != nil {
		return fmt.Errorf("footer: %w: %w", err, ErrCorrupt)
	}
	return nil
}

func readRows(group parquet.RowGroup, buf []parquet.Row, names []string, yield func(Action)) (err error) {
	rows := group.Rows()
	defer func() { err = errors.Join(err, rows.Close()) }()
	for {
		n, err := rows.ReadRows(buf)
		for _, row := range buf[:n] {
			if a := rowAction(row, names); a != nil {
				yield(a)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", err, ErrCorrupt)
		}
	}
}

// columnName is the path of a leaf without the levels that lists and maps add: "add.partitionValues.key". "" for columns
// that are not needed.
func columnName(path []string) string {
	if len(path) < 2 {
		return ""
	}
	switch path[0] {
	case "txn", "add", "remove", "metaData", "protocol", "domainMetadata":
	default:
		return ""
	}
	if strings.HasSuffix(path[1], "_parsed") || path[1] == "deletionVector" {
		return ""
	}
	name := path[0] + "." + path[1]
	switch last := path[len(path)-1]; {
	case len(path) == 2 || path[1] == "readerFeatures" || path[1] == "writerFeatures" || path[1] == "partitionColumns":
		return name
	case path[1] == "format":
		if len(path) > 3 {
			return name + ".options." + last
		}
		return name + "." + last
	default:
		return name + "." + last
	}
}

// fields are the non-null values of a row by column name.
type fields map[string][]parquet.Value

func rowAction(row parquet.Row, names []string) Action {
	f := make(fields)
	for _, v := range row {
		// A map's value may be NULL where its key is not, so its place in the list counts.
		if name := names[v.Column()]; name != "" && (!v.IsNull() || strings.HasSuffix(name, ".value")) {
			f[name] = append(f[name], v)
		}
	}
	switch {
	case f.has("txn.appId"):
		return Txn{AppID: f.text("txn.appId"), Version: f.number("txn.version"), LastUpdated: f.number("txn.lastUpdated")}
	case f.has("add.path"):
		return Add{
			Path: f.text("add.path"), PartitionValues: f.nullableMap("add.partitionValues"), Size: f.number("add.size"),
			ModificationTime: f.number("add.modificationTime"), DataChange: f.flag("add.dataChange"),
			Stats: f.text("add.stats"), Tags: f.textMap("add.tags"),
		}
	case f.has("remove.path"):
		return Remove{
			Path: f.text("remove.path"), DeletionTimestamp: f.number("remove.deletionTimestamp"),
			DataChange: f.flag("remove.dataChange"), ExtendedFileMetadata: f.flag("remove.extendedFileMetadata"),
			PartitionValues: f.nullableMap("remove.partitionValues"), Size: f.number("remove.size"),
		}
	case f.has("metaData.id") || f.has("metaData.schemaString"):
		return Metadata{
			ID: f.text("metaData.id"), Name: f.text("metaData.name"), Description: f.text("metaData.description"),
			Format:       Format{Provider: f.text("metaData.format.provider"), Options: f.textMap("metaData.format.options")},
			SchemaString: f.text("metaData.schemaString"), PartitionColumns: f.texts("metaData.partitionColumns"),
			Configuration: f.textMap("metaData.configuration"), CreatedTime: f.number("metaData.createdTime"),
		}
	case f.has("protocol.minReaderVersion"):
		return Protocol{
			MinReaderVersion: int32(f.number("protocol.minReaderVersion")), MinWriterVersion: int32(f.number("protocol.minWriterVersion")),
			ReaderFeatures: f.texts("protocol.readerFeatures"), WriterFeatures: f.texts("protocol.writerFeatures"),
		}
	case f.has("domainMetadata.domain"):
		return DomainMetadata{
			Domain: f.text("domainMetadata.domain"), Configuration: f.text("domainMetadata.configuration"),
			Removed: f.flag("domainMetadata.removed"),
		}
	default:
		return nil
	}
}

func (f fields) has(name string) bool { return len(f[name]) > 0 }

func (f fields) text(name string) string {
	if v := f[name]; len(v) > 0 && v[0].Kind() == parquet.ByteArray {
		return string(v[0].ByteArray())
	}
	return ""
}

func (f fields) number(name string) int64 {
	if v := f[name]; len(v) > 0 {
		if v[0].Kind() == parquet.Int32 {
			return int64(v[0].Int32())
		}
		if v[0].Kind() == parquet.Int64 {
			return v[0].Int64()
		}
	}
	return 0
}

func (f fields) flag(name string) bool {
	v := f[name]
	return len(v) > 0 && v[0].Kind() == parquet.Boolean && v[0].Boolean()
}

func (f fields) texts(name string) []string {
	var out []string
	for _, v := range f[name] {
		if v.Kind() == parquet.ByteArray {
			out = append(out, string(v.ByteArray()))
		}
	}
	return out
}

func (f fields) nullableMap(name string) map[string]*string {
	m := make(map[string]*string)
	keys, values := f[name+".key"], f[name+".value"]
	for i := range min(len(keys), len(values)) {
		m[string(keys[i].ByteArray())] = nil
		if v := values[i]; !v.IsNull() && v.Kind() == parquet.ByteArray {
			s := string(v.ByteArray())
			m[string(keys[i].ByteArray())] = &s
		}
	}
	return m
}

func (f fields) textMap(name string) map[string]string {
	var m map[string]string
	for k, v := range f.nullableMap(name) {
		if v != nil {
			if m == nil {
				m = make(map[string]string)
			}
			m[k] = *v
		}
	}
	return m
}
