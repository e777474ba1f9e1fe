package cli

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/bargedata/barge/tableflow"
)

// jsonRecord is a record as the JSON outputs show it. Bytes that are not UTF-8 stand in the field with _base64 instead.
type jsonRecord struct {
	Topic       string       `json:"topic,omitempty"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Timestamp   int64        `json:"timestamp"` // milliseconds since 1970
	Key         *string      `json:"key"`
	KeyBase64   string       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 string       `json:"value_base64,omitempty"`
	Headers     []jsonHeader `json:"headers,omitempty"`
	SchemaID    *int32       `json:"schema_id,omitempty"`
	Error       string       `json:"error,omitempty"`
}

type jsonHeader struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 string  `json:"value_base64,omitempty"`
}

// jsonText returns bytes as a JSON string, or as base64 when they are no text; null stays null.
func jsonText(b []byte) (text *string, encoded string) {
	switch {
	case b == nil:
		return nil, ""
	case utf8.Valid(b):
		s := string(b)
		return &s, ""
	default:
		return nil, base64.StdEncoding.EncodeToString(b)
	}
}

func newJSONRow(r tableflow.Row) jsonRecord {
	j := jsonRecord{Partition: r.Partition, Offset: int64(r.Record.Offset), Timestamp: r.Record.Timestamp, SchemaID: r.SchemaID, Error: r.Error}
	j.Key, j.KeyBase64 = jsonText(r.Record.Key)
	j.Value, j.ValueBase64 = jsonText(r.Record.Value)
	for _, h := range r.Record.Headers {
		jh := jsonHeader{Key: h.Key}
		jh.Value, jh.ValueBase64 = jsonText(h.Value)
		j.Headers = append(j.Headers, jh)
	}
	return j
}

// printRows shows rows of a table.
func (a *app) printRows(rows []tableflow.Row, asJSON bool) error {
	if asJSON {
		all := make([]jsonRecord, len(rows))
		for i, r := range rows {
			all[i] = newJSONRow(r)
		}
		return a.writeJSON(all)
	}
	valueRunes := 1 << 20
	if isTerminal(a.stdout) {
		valueRunes = 100
	}
	var cells [][]string
	for _, r := range rows {
		key, value := "null", "null"
		if r.Record.Key != nil {
			key = cell(r.Record.Key, 40)
		}
		if r.Record.Value != nil {
			value = cell(r.Record.Value, valueRunes)
		}
		cells = append(cells, []string{
			strconv.Itoa(int(r.Partition)), strconv.FormatInt(int64(r.Record.Offset), 10), rowTime(r.Record.Timestamp), key, value,
		})
	}
	return a.writeTable([]string{"PARTITION", "OFFSET", "TIMESTAMP", "KEY", "VALUE"}, cells)
}

func rowTime(ms int64) string {
	if ms < 0 || ms > 253402300799999 { // none, or beyond the year 9999
		return strconv.FormatInt(ms, 10)
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// encodeLine returns v as one line of JSON.
func encodeLine(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(b, '\n'), err
}
