package barge

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

func logConfig(store objectstore.Store, create bool) LogConfig {
	return LogConfig{
		Metadata: MetadataBucket, Store: store, Cluster: "c", Create: create, IDs: newEntropy(1).id16, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

// TestPlaceOfTheLogIsWrittenDownOnce: by the first agent; who only looks writes nothing; who was told another place is refused.
func TestPlaceOfTheLogIsWrittenDownOnce(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	if _, err := OpenLog(t.Context(), logConfig(store, false)); err != nil {
		t.Fatal(err)
	}
	if there, err := store.List(t.Context(), "", "", 10); err != nil || len(there) != 0 {
		t.Fatalf("a look left %v, %v", there, err)
	}
	for range 2 {
		log, err := OpenLog(t.Context(), logConfig(store, true))
		if err != nil || log.Postgres() || log.Place().N != 1 || log.Place().Prefix != "meta/0" {
			t.Fatalf("%+v, %v", log, err)
		}
	}
	if there, err := store.List(t.Context(), "", "", 10); err != nil || len(there) != 1 {
		t.Fatalf("two agents left %v, %v", there, err)
	}
	moved := metadata.LogPlace{N: 2, Engine: metadata.EnginePostgres, Log: "0a0b", Where: "postgres://db:5432/barge", Since: "2026-11-24T18:00:00Z"}
	body, err := moved.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Create(t.Context(), moved.Key(), body); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLog(t.Context(), logConfig(store, true)); !errors.Is(err, ErrLogPlace) || !strings.Contains(err.Error(), "postgres://db:5432/barge") {
		t.Fatalf("a log that was moved: %v", err)
	}
}

// TestLogInTheBucketIsNotBegunAnewInADatabase: neither when its place is written down nor when it is of before places were.
func TestLogInTheBucketIsNotBegunAnewInADatabase(t *testing.T) {
	for name, key := range map[string]string{"place": metadata.LogPlacePrefix + "00000000000000000001", "old": "meta/0/log/00000000000000000000"} {
		store := objectstore.NewMemory(time.Now)
		if _, err := store.Create(t.Context(), key, []byte(`{"engine":"bucket","prefix":"meta/0"}`)); err != nil {
			t.Fatal(err)
		}
		cfg := logConfig(store, true)
		cfg.Metadata = "postgres://barge:hunter2@127.0.0.1:1/barge" // which nobody asks
		_, err := OpenLog(t.Context(), cfg)
		if !errors.Is(err, ErrLogPlace) || !strings.Contains(err.Error(), "barge metadata copy") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPasswordsStayOutOfWhatIsTold(t *testing.T) {
	for _, raw := range []string{
		"postgres://barge:hunter2@db/barge", "postgres://db/barge?user=barge&password=hunter2", "postgres://barge:hunter2%zz@db/barge", "postgres://barge:hunter2@db:port/barge",
	} {
		cfg := DefaultConfig()
		cfg.Metadata = raw
		told := RedactMetadata(raw) + " "
		if err := cfg.Validate(); err != nil {
			told += err.Error()
		}
		if !strings.Contains(told, "postgres") || strings.Contains(told, "hunter2") {
			t.Errorf("%s is told as %s", raw, told)
		}
	}
	if got := redact("s3://key:hunter2%zz@bucket/x"); strings.Contains(got, "hunter2") {
		t.Errorf("an URL that is none is told as %s", got)
	}
}
