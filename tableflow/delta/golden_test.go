package delta

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
)

// goldenTables unpacks the logs of the Delta project's golden tables into a store and returns the tables' names.
func goldenTables(t *testing.T) (*objectstore.Memory, []string) {
	t.Helper()
	dir := os.Getenv("BARGE_TEST_DATA")
	if dir == "" {
		t.Skip("BARGE_TEST_DATA is not set: the golden tables of the Delta project are not read; own tables cover the same ground")
	}
	file, err := os.Open(dir + "/delta-golden-tables.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	store := objectstore.NewMemory(time.Now)
	var names []string
	for r := tar.NewReader(unzip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return store, names
		}
		if err != nil {
			t.Fatal(err)
		}
		table, inside, ok := strings.Cut(strings.TrimPrefix(h.Name, "golden/"), "/_delta_log/")
		if !ok || h.Typeflag != tar.TypeReg || strings.HasPrefix(path.Base(inside), ".") {
			continue
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Put(t.Context(), "golden/"+table+"/_delta_log/"+inside, body); err != nil {
			t.Logf("skipped %s: %v", h.Name, err)
			continue
		}
		if !slices.Contains(names, table) {
			names = append(names, table)
		}
	}
}

// Tables of other engines: what our profile allows is read, the rest is refused by the name of what it needs.
func TestGoldenTables(t *testing.T) {
	store, names := goldenTables(t)
	// Made broken on purpose, by their names and by their content: no protocol, no metadata, a missing version.
	broken := []string{
		"data-reader-absolute-paths-escaped-chars", "deltalog-state-reconstruction-from-checkpoint-missing-metadata",
		"deltalog-state-reconstruction-from-checkpoint-missing-protocol", "deltalog-state-reconstruction-without-metadata",
		"deltalog-state-reconstruction-without-protocol", "versions-not-contiguous",
	}
	read, refused := 0, 0
	for _, name := range names {
		log := NewLog(store, "golden/"+name, time.Now)
		s, err := log.Load(t.Context())
		switch {
		case errors.Is(err, ErrUnsupported):
			refused++
			t.Logf("refused %-50s %v", name, err)
			continue
		case err != nil:
			if !slices.Contains(broken, name) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		read++
		// The independent count: every commit from version 0 on, where they are all there, by plain text.
		version, files, whole := replay(t, store, log)
		if version != s.Version {
			t.Errorf("%s: version %d, the log ends at %d", name, s.Version, version)
		}
		if whole && files != s.Files() {
			t.Errorf("%s: %d files, the commits say %d", name, s.Files(), files)
		}
	}
	t.Logf("%d tables: %d read, %d refused by name, %d broken", len(names), read, refused, len(names)-read-refused)
	if read < 40 {
		t.Errorf("only %d tables read", read)
	}
}

// replay counts live files from the JSON commits alone, by path; whole tells whether version 0 is there.
func replay(t *testing.T, store *objectstore.Memory, log *Log) (version int64, files int, whole bool) {
	t.Helper()
	objects, err := store.List(t.Context(), log.dir, "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	live := make(map[string]bool)
	for _, o := range objects {
		var v int64
		name := strings.TrimPrefix(o.Key, log.dir)
		if _, err := fmt.Sscanf(name, "%020d.", &v); err != nil {
			continue
		}
		if strings.HasSuffix(name, ".checkpoint.parquet") {
			version = max(version, v)
		}
		if name != fmt.Sprintf("%020d.json", v) {
			continue
		}
		version = max(version, v)
		whole = whole || v == 0
		body, err := store.Get(t.Context(), o.Key, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for text := range bytes.Lines(body) {
			key := func(prefix string) (string, bool) {
				if !bytes.HasPrefix(text, []byte(prefix)) {
					return "", false
				}
				_, rest, ok := strings.Cut(string(text), `"path":"`)
				p, _, _ := strings.Cut(rest, `"`)
				return fileKey(p), ok
			}
			if p, ok := key(`{"add":`); ok {
				live[p] = true
			}
			if p, ok := key(`{"remove":`); ok {
				delete(live, p)
			}
		}
	}
	return version, len(live), whole
}
