package objectstore_test

import (
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bargedata/barge/objectstore"
)

// FuzzValidKey holds the file driver's safety: a valid key is a clean relative path outside .tmp, and every start of
// it is a valid prefix.
func FuzzValidKey(f *testing.F) {
	for _, key := range []string{
		"cluster.json", "meta/0/00000000000000000000", "tables/t@1/_delta_log/_last_checkpoint", "wal/1/a/b-c", "..", "a/../b", ".tmp/x", ".tmpx", "a//b", "/", "a/", "ä", "a\x00", "...",
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if objectstore.ValidKey(key) != nil {
			return
		}
		if !filepath.IsLocal(key) || path.Clean(key) != key || key == ".tmp" || strings.HasPrefix(key, ".tmp/") || len(key) > objectstore.MaxKeyBytes {
			t.Fatalf("%q is valid but no safe path", key)
		}
		for i := range len(key) + 1 {
			if err := objectstore.ValidPrefix(key[:i]); err != nil {
				t.Fatalf("%q is valid, but its start %q is not: %v", key, key[:i], err)
			}
		}
	})
}
