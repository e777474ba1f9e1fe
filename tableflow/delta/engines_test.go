//go:build realworld

package delta

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

// python is the interpreter that has the engines.
func python(t *testing.T) string {
	t.Helper()
	tools := os.Getenv("BARGE_TOOLS")
	if tools == "" {
		t.Fatal("BARGE_TOOLS is not set: it names the folder with venv/bin/python (deltalake, polars, duckdb)")
	}
	path := filepath.Join(tools, "venv", "bin", "python")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no Python for the engines: %v", err)
	}
	return path
}

// The engines that users have must read what we write, odd rows included, from a checkpoint and the commits after it.
func TestEnginesReadTheTable(t *testing.T) {
	interpreter := python(t)
	for name, config := range map[string]TableConfig{"fenced": {Name: "orders"}, "unfenced": {NoFence: true}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, config)
			f.writeUntil(t, 119)
			for v := range int64(100) {
				if err := f.store.Delete(t.Context(), f.log.commitKey(v)); err != nil {
					t.Fatal(err)
				}
			}
			table := f.dump(t)
			expected := filepath.Join(t.TempDir(), "expected.jsonl")
			f.writeExpected(t, expected)
			out, err := exec.CommandContext(t.Context(), interpreter, "testdata/read_table.py", table, expected, fmt.Sprint(f.snap.Version)).CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A value that no bound can cover must not hide its file's other rows: delta-rs skips a file that lacks a bound which other
// files have.
func TestEnginesFindRowsBesideValuesWithoutBounds(t *testing.T) {
	f := newFixture(t, TableConfig{Name: "orders"})
	june := time.Date(2025, 6, 15, 0, 0, 0, 0, time.UTC).UnixMilli()
	top := strings.Repeat("\U0010FFFF", 40)
	for i, recs := range [][]record.Record{
		{{Timestamp: june, Key: []byte("plain"), Value: []byte("v")}, {Timestamp: june + 1, Key: []byte("other"), Value: []byte("w")}},
		{{Timestamp: june, Key: []byte("plain"), Value: []byte("v")}, {Timestamp: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()}},
		{{Timestamp: june, Key: []byte("plain"), Value: []byte("v")}, {Timestamp: time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC).UnixMilli()}},
		{{Timestamp: june, Key: []byte("plain"), Value: []byte("v")}, {Timestamp: june, Key: []byte(top), Value: []byte(top + "tail")}},
		{{Timestamp: june, Key: []byte("plain"), Value: []byte("v")}, {Timestamp: june, Key: []byte(top + top), Value: bytes.Repeat([]byte(top), 10_000)}},
		{{Timestamp: 1 << 60}},
	} {
		var body bytes.Buffer
		w := tableflow.NewWriter(&body, tableflow.WriterConfig{})
		if err := w.StartPartition(int32(i)); err != nil {
			t.Fatal(err)
		}
		for j := range recs {
			recs[j].Offset = record.Offset(j)
			if err := w.Append(&recs[j]); err != nil {
				t.Fatal(err)
			}
		}
		stats, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("_data/%d.parquet", i)
		if _, err := f.store.Create(t.Context(), testDir+"/"+path, body.Bytes()); err != nil {
			t.Fatal(err)
		}
		f.commit(t, Commit{TxnID: fmt.Sprintf("file-%d", i), Operation: "WRITE", Actions: []Action{NewAdd(path, stats, 1_750_000_000_000)}})
	}
	cases, err := json.Marshal([][]any{
		{"_kafka_timestamp", "=", "2025-06-15 00:00:00+00:00", 7},
		{"_kafka_timestamp", ">=", "2025-06-15 00:00:00+00:00", 8},
		{"_kafka_timestamp", "<=", "2025-06-15 00:00:00+00:00", 7},
		{"_kafka_timestamp", "is null", nil, 3},
		{"_kafka_error", "=", "timestamp outside the years 1 to 9999", 3},
		{"_kafka_error", "is null", nil, 8},
		{"key", "=", "plain", 5},
		{"key", ">=", "plain", 6},
		{"key", "=", top, 1},
		{"value", "=", top + "tail", 1},
		{"value", ">=", "v", 7},
		{"value", "<=", "v", 5},
		{"value", "is null", nil, 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), python(t), "testdata/filter_table.py", f.dump(t), string(cases)).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// Engines write checkpoints of tables that they may not write to otherwise. Loading must give the same table.
func TestCheckpointOfAnotherEngineIsRead(t *testing.T) {
	f := newFixture(t, TableConfig{Name: "orders"})
	f.commit(t, Commit{TxnID: "domain", Actions: []Action{DomainMetadata{Domain: "barge.topic", Configuration: `{"id":1}`}}})
	f.writeUntil(t, 7)
	f.commit(t, Commit{TxnID: "remove", Actions: []Action{NewRemove(f.snap.Adds()[0], f.log.now().UnixMilli(), true)}})
	table := f.dump(t)
	cmd := exec.CommandContext(t.Context(), python(t), "-c", "import deltalake, sys; deltalake.DeltaTable(sys.argv[1]).create_checkpoint()", table)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{hintName, filepath.Base(f.log.checkpointKey(f.snap.Version))} {
		body, err := os.ReadFile(filepath.Join(table, "_delta_log", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.store.Put(t.Context(), f.log.dir+name, body); err != nil {
			t.Fatal(err)
		}
	}
	for v := range f.snap.Version {
		if err := f.store.Delete(t.Context(), f.log.commitKey(v)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.log.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equalSnapshots(t, f.snap, got)
}

func (f *fixture) writeExpected(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	enc := json.NewEncoder(file)
	split := func(b []byte) (raw, text any) {
		switch {
		case b == nil:
			return nil, nil
		case utf8.Valid(b):
			return nil, string(b)
		default:
			return hex.EncodeToString(b), nil
		}
	}
	for _, e := range f.expect {
		r := e.record
		rawKey, key := split(r.Key)
		rawValue, value := split(r.Value)
		var micros, misfit any
		if r.Timestamp > time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC).UnixMilli() {
			misfit = "timestamp outside the years 1 to 9999"
		} else {
			micros = r.Timestamp * 1000
		}
		headers := any([]any{})
		if len(r.Headers) > 0 {
			var list []any
			for i, h := range r.Headers {
				if !utf8.ValidString(h.Key) {
					misfit = fmt.Sprintf("key of header %d is not UTF-8", i)
					list = nil
					break
				}
				var v any
				if h.Value != nil {
					v = hex.EncodeToString(h.Value)
				}
				list = append(list, []any{h.Key, v})
			}
			headers = nil
			if list != nil {
				headers = list
			}
		}
		if err := enc.Encode([]any{e.partition, r.Offset, micros, rawKey, rawValue, headers, nil, misfit, key, value}); err != nil {
			t.Fatal(err)
		}
	}
}
