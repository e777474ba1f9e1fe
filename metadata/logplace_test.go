package metadata

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
)

func TestNewestLogPlaceHolds(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	p, err := ReadLogPlace(t.Context(), store)
	if err != nil || p.N != 0 || p.Engine != EngineBucket || p.Prefix != "meta/0" {
		t.Fatalf("an empty store's place: %+v, %v", p, err)
	}
	places := []LogPlace{
		{N: 1, Engine: EngineBucket, Prefix: "meta/0", Since: "2026-11-24T00:00:00Z"},
		{N: 2, Engine: EnginePostgres, Log: "0a", Where: "postgres://db:5432/barge"},
		{N: 10, Engine: EngineBucket, Prefix: "meta/0.9f3c"},
	}
	for _, want := range places {
		body, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Create(t.Context(), want.Key(), body); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadLogPlace(t.Context(), store); err != nil || got != want {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for body, want := range map[string]error{
		`{"engine":"bucket","prefix":"wal/1"}`: ErrCorrupt, `{"engine":"bucket"}`: ErrCorrupt, `{"engine":"postgres"}`: ErrCorrupt, `{`: ErrCorrupt,
		`{"engine":"etcd","prefix":"x"}`: ErrNewer, `{"engine":"bucket","prefix":"meta/0.../x"}`: ErrCorrupt,
	} {
		if _, err := ParseLogPlace(LogPlacePrefix+"00000000000000000003", []byte(body)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", body, err, want)
		}
	}
}

func FuzzLogPlace(f *testing.F) {
	f.Add(LogPlacePrefix+"00000000000000000001", []byte(`{"engine":"bucket","prefix":"meta/0","since":""}`))
	f.Fuzz(func(t *testing.T, key string, body []byte) {
		p, err := ParseLogPlace(key, body)
		if err != nil {
			return
		}
		if p.Key() != key || p.Engine == EngineBucket && !strings.HasPrefix(p.Prefix, "meta/0") {
			t.Fatalf("%q %q parses to %+v", key, body, p)
		}
	})
}

func TestMovedLogIsNoNewerOne(t *testing.T) {
	if err := CheckLevel(LevelMoved); !errors.Is(err, ErrMoved) || !errors.Is(err, ErrNewer) || strings.Contains(err.Error(), "upgrade") {
		t.Errorf("level of a moved log: %v", err)
	}
	if err := CheckLevel(MaxLevel + 1); !errors.Is(err, ErrNewer) || errors.Is(err, ErrMoved) {
		t.Errorf("level of a later log: %v", err)
	}
}
