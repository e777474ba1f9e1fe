package barge

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}

func TestAgentsOfAClusterComeToOneSecret(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	first, err := clusterSecret(t.Context(), store, "", "c")
	if err != nil {
		t.Fatal(err)
	}
	second, err := clusterSecret(t.Context(), store, "", "c")
	if err != nil || !bytes.Equal(first, second) || len(first) != 32 || bytes.Equal(first, make([]byte, 32)) {
		t.Errorf("two agents have %x and %x, %v", first, second, err)
	}
	if _, err := clusterSecret(t.Context(), store, secretFile(t, strings.Repeat("k", 40)), "c"); !errors.Is(err, errWrongSecret) || !strings.Contains(err.Error(), "leave --cluster-secret out") {
		t.Errorf("a file beside a secret in the store: %v", err)
	}
}

func TestASecretInAFileStaysOutOfTheStore(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	one, other := strings.Repeat("one ", 10), strings.Repeat("two ", 10)
	for _, text := range []string{one, one + "\n"} {
		if got, err := clusterSecret(t.Context(), store, secretFile(t, text), "c"); err != nil || string(got) != strings.TrimSpace(one) {
			t.Errorf("secret %q, %v", got, err)
		}
	}
	if body, err := store.Get(t.Context(), metadata.SecretKey, 4096); err != nil || bytes.Contains(body, []byte("one")) || !bytes.Contains(body, []byte("check")) {
		t.Errorf("the store holds %s, %v", body, err)
	}
	for name, c := range map[string]struct{ source, want string }{
		"another file": {secretFile(t, other), "give all of them the same file"},
		"no file":      {"", "--cluster-secret file:/path"},
	} {
		if _, err := clusterSecret(t.Context(), store, c.source, "c"); !errors.Is(err, errWrongSecret) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := clusterSecret(t.Context(), store, secretFile(t, "short"), "c"); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("a short one: %v", err)
	}
	if _, err := clusterSecret(t.Context(), store, "file:/no/such/file", "c"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// The bytes in the store never change their meaning: agents of two versions must come to one secret.
func TestStoredSecretsKeepTheirMeaning(t *testing.T) {
	check, err := secretCheck([]byte(strings.Repeat("s", 32)), "cluster")
	if err != nil || check != "07d0147267a521de16d86dbe51ffe566e79b4c46d5ee3feb420309ba023e3d73" {
		t.Errorf("check value %s, %v", check, err)
	}
	store := objectstore.NewMemory(time.Now)
	if _, err := store.Create(t.Context(), metadata.SecretKey, []byte(`{"format":1,"secret":"`+strings.Repeat("61", 32)+`"}`)); err != nil {
		t.Fatal(err)
	}
	if got, err := clusterSecret(t.Context(), store, "", "cluster"); err != nil || string(got) != strings.Repeat("a", 32) {
		t.Errorf("secret %q, %v", got, err)
	}
}

func FuzzStoredSecret(f *testing.F) {
	for _, s := range []string{`{"format":1,"check":"ab"}`, `{"format":1,"secret":"6161"}`, `{"format":2}`, `{"format":1,"secret":"zz","check":"1"}`, `null`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := parseSecret(body)
		if err != nil {
			if !errors.Is(err, metadata.ErrCorrupt) && !errors.Is(err, metadata.ErrStoreFormat) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		if (s.Secret == "") == (s.Check == "") || s.Secret != "" && len(s.Secret) < 64 {
			t.Errorf("taken: %+v", s)
		}
	})
}
