//go:build realworld

package delta

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unicode/utf8"
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
		if r.Timestamp == 1<<61 {
			misfit = "timestamp does not fit microseconds"
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
