package bench_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bargedata/barge/bench"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/s3"
	"github.com/bargedata/barge/objectstore/storetest"
)

// serveStore opens a Store the way an agent does.
func serveStore(t *testing.T, cfg bench.StoreConfig) *s3.Store {
	t.Helper()
	server := httptest.NewServer(bench.NewStore(cfg))
	t.Cleanup(server.Close)
	c, err := s3.ParseURL("s3://bench/x?endpoint=" + server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c.AccessKey, c.SecretKey = "any", "any"
	store, err := s3.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestStoreKeepsTheContractOfAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objectstore.Store {
		t.Helper()
		return serveStore(t, bench.StoreConfig{KeepBytes: 1 << 30, Verify: true})
	})
}

func TestBodiesOfTheWriteAheadLogAreThrownAway(t *testing.T) {
	store := serveStore(t, bench.StoreConfig{Verify: true})
	for _, key := range []string{"wal/1/a", "meta/0/a"} {
		if err := store.Put(t.Context(), key, []byte("body")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Get(t.Context(), "wal/1/a", 100); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("get of a WAL object: %v, want not found", err)
	}
	if body, err := store.Get(t.Context(), "meta/0/a", 100); err != nil || string(body) != "body" {
		t.Errorf("get of a log entry: %q, %v", body, err)
	}
}

func TestAFullStoreSaysSo(t *testing.T) {
	store := serveStore(t, bench.StoreConfig{KeepBytes: 1 << 20})
	if err := store.Put(t.Context(), "wal/1/a", make([]byte, 700<<10)); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), "wal/1/b", make([]byte, 700<<10)); !errors.Is(err, objectstore.ErrFull) {
		t.Errorf("put beyond what may be kept: %v, want ErrFull", err)
	}
	if err := store.Delete(t.Context(), "wal/1/a"); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), "wal/1/b", make([]byte, 700<<10)); err != nil {
		t.Errorf("put after a deletion: %v", err)
	}
}

func TestDamagedBodiesAreRefused(t *testing.T) {
	server := httptest.NewServer(bench.NewStore(bench.StoreConfig{Verify: true}))
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/bench/wal/1/a", strings.NewReader("damaged"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Checksum-Crc32c", "AAAAAA==")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "BadDigest") {
		t.Errorf("status %d: %s", resp.StatusCode, body)
	}
}
