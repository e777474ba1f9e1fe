package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

// equalSnapshots compares all but what a checkpoint leaves out: dataChange and the timestamps of old removes.
func equalSnapshots(t *testing.T, want, got *Snapshot) {
	t.Helper()
	strip := func(adds []Add) []Add {
		for i := range adds {
			adds[i].DataChange = false
		}
		return adds
	}
	for _, c := range []struct {
		what string
		a, b any
	}{
		{"version", want.Version, got.Version},
		{"protocol", want.Protocol, got.Protocol},
		{"metadata id", want.Metadata.ID, got.Metadata.ID},
		{"schema", want.Metadata.SchemaString, got.Metadata.SchemaString},
		{"configuration", want.Metadata.Configuration, got.Metadata.Configuration},
		{"in-commit timestamp", want.InCommitTimestamp, got.InCommitTimestamp},
		{"adds", strip(want.Adds()), strip(got.Adds())},
		{"txns", want.Txns(), got.Txns()},
		{"domains", want.Domains(), got.Domains()},
	} {
		if !reflect.DeepEqual(c.a, c.b) {
			t.Fatalf("%s: want %v, got %v", c.what, c.a, c.b)
		}
	}
}

func TestLoadGivesWhatWasCommitted(t *testing.T) {
	for _, versions := range []int64{0, 1, 49, 50, 51, 104} {
		f := newFixture(t, TableConfig{Name: "orders"})
		f.commit(t, Commit{TxnID: "domain", Actions: []Action{DomainMetadata{Domain: "barge.topic", Configuration: `{"id":1}`}}})
		f.writeUntil(t, versions)
		got, err := f.log.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		equalSnapshots(t, f.snap, got)
		if versions > 1 {
			p := record.Partition{Topic: f.topic, Index: 2}
			if v, ok := got.Txn(PartitionApp("c1", p)); !ok || v != int64(f.next[2]) {
				t.Fatalf("progress of %s: %d, %v", p, v, ok)
			}
		}
	}
}

func TestLoadNeedsNoCommitsBeforeTheCheckpoint(t *testing.T) {
	f := newFixture(t, TableConfig{})
	f.writeUntil(t, 104)
	for v := range int64(100) {
		if err := f.store.Delete(t.Context(), f.log.commitKey(v), f.log.checkpointKey(v)); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func() error{
		"with the hint": func() error { return nil },
		"hint damaged":  func() error { return f.store.Put(t.Context(), f.log.dir+hintName, []byte("{not json")) },
		"hint stale":    func() error { return f.store.Put(t.Context(), f.log.dir+hintName, []byte(`{"version":3,"size":1}`)) },
		"hint ahead":    func() error { return f.store.Put(t.Context(), f.log.dir+hintName, []byte(`{"version":103,"size":1}`)) },
		"hint missing":  func() error { return f.store.Delete(t.Context(), f.log.dir+hintName) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		got, err := f.log.Load(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		equalSnapshots(t, f.snap, got)
	}
	if err := f.store.Delete(t.Context(), f.log.commitKey(102)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.log.Load(t.Context()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "102") {
		t.Fatalf("with version 102 missing: %v", err)
	}
}

func TestCheckpointRemembersRemovedFilesForAWeek(t *testing.T) {
	f := newFixture(t, TableConfig{})
	f.writeUntil(t, 3)
	adds := f.snap.Adds()
	now := f.log.now().UnixMilli()
	f.commit(t, Commit{TxnID: "remove", Actions: []Action{
		NewRemove(adds[0], now, true), NewRemove(adds[1], now-removeRetention.Milliseconds()-10_000_000, true),
	}})
	if err := f.log.Checkpoint(t.Context(), f.snap); err != nil {
		t.Fatal(err)
	}
	got, err := f.log.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equalSnapshots(t, f.snap, got)
	if r := got.Removes(); len(r) != 1 || r[0].Path != adds[0].Path || r[0].Size != adds[0].Size || r[0].DataChange {
		t.Fatalf("removes %+v", r)
	}
	if got.Files() != 1 || got.Has("_data/1-part.parquet") || !got.Has("_data/3-part.parquet") {
		t.Fatalf("files %v", got.Adds())
	}
}

func TestInCommitTimestampsAscendWhateverTheClockSays(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	at := time.UnixMilli(5000)
	log := NewLog(store, testDir, func() time.Time { return at })
	snap, err := log.Commit(t.Context(), Empty(), Commit{TxnID: "a", Actions: NewTableActions(TableConfig{ID: "x", Schema: "{}"})})
	if err != nil {
		t.Fatal(err)
	}
	for i, ms := range []int64{4000, 5000, 9000} {
		at = time.UnixMilli(ms)
		if snap, err = log.Commit(t.Context(), snap, Commit{TxnID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		if want := []int64{5001, 5002, 9000}[i]; snap.InCommitTimestamp != want {
			t.Fatalf("clock %d: stamp %d, want %d", ms, snap.InCommitTimestamp, want)
		}
	}
	body, err := store.Get(t.Context(), log.commitKey(2), 1<<20)
	if err != nil || !strings.HasPrefix(string(body), `{"commitInfo":{"timestamp":5000,"inCommitTimestamp":5002,`) {
		t.Fatalf("%s %v", body, err)
	}
}

func TestOneOfRacingCommitsWins(t *testing.T) {
	f := newFixture(t, TableConfig{})
	var wg sync.WaitGroup
	errs := make([]error, 8)
	log := NewLog(f.store, testDir, func() time.Time { return time.UnixMilli(1_750_000_100_000) })
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = log.Commit(t.Context(), f.snap, Commit{TxnID: fmt.Sprint(i), Actions: []Action{Txn{AppID: "a", Version: int64(i)}}})
		})
	}
	wg.Wait()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won < 0:
			won = i
		case err == nil:
			t.Fatalf("both %d and %d won", won, i)
		case !errors.Is(err, ErrVersionExists):
			t.Fatal(err)
		}
	}
	next, err := log.Refresh(t.Context(), f.snap)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := next.Txn("a"); v != int64(won) || next.Version != 1 {
		t.Fatalf("version %d holds %d, %d won", next.Version, v, won)
	}
}

// unsure answers creates with ErrUnknown, after doing what it was asked (or not).
type unsure struct {
	*objectstore.Memory
	apply   bool
	answers int // how many creates are answered so
	creates int
}

func (u *unsure) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	u.creates++
	if u.creates > u.answers {
		return u.Memory.Create(ctx, key, body)
	}
	if u.apply {
		if _, err := u.Memory.Create(ctx, key, body); err != nil {
			return time.Time{}, err
		}
	}
	return time.Time{}, fmt.Errorf("time-out: %w", objectstore.ErrUnknown)
}

func TestAmbiguousCommitsAreResolvedByReadingBack(t *testing.T) {
	for name, c := range map[string]struct {
		store unsure
		want  error
	}{
		"done after all":      {unsure{apply: true, answers: 1}, nil},
		"not done, then done": {unsure{answers: 2}, nil},
		"never done":          {unsure{answers: 99}, objectstore.ErrUnknown},
	} {
		f := newFixture(t, TableConfig{})
		store := c.store
		store.Memory = f.store
		log := NewLog(&store, testDir, f.log.now)
		commit := Commit{TxnID: "mine", Actions: []Action{Txn{AppID: "a", Version: 7}}}
		next, err := log.Commit(t.Context(), f.snap, commit)
		if !errors.Is(err, c.want) {
			t.Fatalf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if v, _ := next.Txn("a"); v != 7 || next.Version != 1 {
			t.Fatalf("%s: version %d, progress %d", name, next.Version, v)
		}
		again, err := log.Commit(t.Context(), f.snap, commit) // as after a crash before the answer
		if err != nil || again.Version != 1 {
			t.Fatalf("%s, repeated: %v", name, err)
		}
		if _, err := log.Commit(t.Context(), f.snap, Commit{TxnID: "other"}); !errors.Is(err, ErrVersionExists) {
			t.Fatalf("%s, other commit: %v", name, err)
		}
	}
}

func TestCommitRefusesWhatTheProtocolForbids(t *testing.T) {
	f := newFixture(t, TableConfig{})
	add := Add{Path: "_data/x.parquet"}
	for name, c := range map[string]Commit{
		"no id":             {},
		"file twice":        {TxnID: "a", Actions: []Action{add, NewRemove(add, 1, true)}},
		"txn twice":         {TxnID: "a", Actions: []Action{Txn{AppID: "x"}, Txn{AppID: "x"}}},
		"own commit info":   {TxnID: "a", Actions: []Action{CommitInfo{}}},
		"foreign feature":   {TxnID: "a", Actions: []Action{Protocol{MinReaderVersion: 1, MinWriterVersion: 7, WriterFeatures: []string{"rowTracking"}}}},
		"partition columns": {TxnID: "a", Actions: []Action{Metadata{ID: "x", PartitionColumns: []string{"day"}}}},
	} {
		if _, err := f.log.Commit(t.Context(), f.snap, c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := f.log.Commit(t.Context(), Empty(), Commit{TxnID: "a", Actions: []Action{Txn{AppID: "x"}}}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("version 0 without protocol: %v", err)
	}
	if next, err := f.log.Refresh(t.Context(), f.snap); err != nil || next.Version != 0 {
		t.Fatalf("a refused commit left version %d, %v", next.Version, err)
	}
}

func TestTablesThatNeedReaderFeaturesAreRefusedByName(t *testing.T) {
	meta := `{"metaData":{"id":"x","format":{"provider":"parquet","options":{}},"schemaString":"{}","partitionColumns":[],"configuration":{"delta.columnMapping.mode":"name"}}}`
	for want, protocol := range map[string]string{
		"deletionVectors": `{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}`,
		"columnMapping":   `{"protocol":{"minReaderVersion":2,"minWriterVersion":5}}`,
		"version 4":       `{"protocol":{"minReaderVersion":4,"minWriterVersion":8}}`,
	} {
		store := objectstore.NewMemory(time.Now)
		log := NewLog(store, testDir, time.Now)
		if _, err := store.Create(t.Context(), log.commitKey(0), []byte(protocol+"\n"+meta+"\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := log.Load(t.Context()); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestLoadWithoutTable(t *testing.T) {
	if _, err := NewLog(objectstore.NewMemory(time.Now), testDir, time.Now).Load(t.Context()); !errors.Is(err, ErrNoTable) {
		t.Fatal(err)
	}
}

func TestDamagedCheckpointsAreRefused(t *testing.T) {
	f := newFixture(t, TableConfig{})
	f.writeUntil(t, 5)
	body, err := encodeCheckpoint(checkpointRows(f.snap, 0))
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(body); cut += 37 {
		if err := readCheckpoint(body[:cut], func(Action) {}); err == nil {
			t.Fatalf("cut at %d of %d is accepted", cut, len(body))
		}
	}
	for i := range 3000 {
		b := append([]byte(nil), body...)
		b[f.rng.IntN(len(b))] ^= byte(1 + i%255)
		_ = readCheckpoint(b, func(Action) {}) // an error or not, but no panic
	}
}

// The bytes of a commit: other engines read them, so they change only on purpose.
func TestCommitBytes(t *testing.T) {
	now := func() time.Time { return time.UnixMilli(1_700_000_000_000) }
	store := objectstore.NewMemory(now)
	log := NewLog(store, testDir, now)
	null := (*string)(nil)
	actions := append(NewTableActions(TableConfig{ID: "id", Name: "orders", Schema: `{"type":"struct","fields":[]}`, CreatedTime: 5}),
		Txn{AppID: "c/t/0", Version: 12},
		Add{Path: encodePath("_data/a b%.parquet"), PartitionValues: map[string]*string{}, Size: 3, ModificationTime: 4, DataChange: true, Stats: `{"numRecords":1}`},
		Remove{Path: "x", DeletionTimestamp: 6, PartitionValues: map[string]*string{"p": null}},
		DomainMetadata{Domain: "d", Configuration: "<&>"},
	)
	if _, err := log.Commit(t.Context(), Empty(), Commit{TxnID: "t", Operation: "CREATE TABLE", Actions: actions}); err != nil {
		t.Fatal(err)
	}
	body, err := store.Get(t.Context(), testDir+"/_delta_log/00000000000000000000.json", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"commitInfo":{"timestamp":1700000000000,"inCommitTimestamp":1700000000000,"operation":"CREATE TABLE","operationParameters":{},"isBlindAppend":false,"engineInfo":"Barge","txnId":"t"}}
{"protocol":{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["appendOnly","invariants","domainMetadata","inCommitTimestamp","bargeLog"]}}
{"metaData":{"id":"id","name":"orders","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[]}","partitionColumns":[],"configuration":{"delta.appendOnly":"false","delta.enableInCommitTimestamps":"true"},"createdTime":5}}
{"txn":{"appId":"c/t/0","version":12}}
{"add":{"path":"_data/a%20b%25.parquet","partitionValues":{},"size":3,"modificationTime":4,"dataChange":true,"stats":"{\"numRecords\":1}"}}
{"remove":{"path":"x","deletionTimestamp":6,"dataChange":false,"partitionValues":{"p":null}}}
{"domainMetadata":{"domain":"d","configuration":"<&>","removed":false}}
`
	if string(body) != want {
		t.Fatalf("got\n%s\nwant\n%s", body, want)
	}
}

// The metadata log takes add actions of 4 KiB at most.
func TestAddActionsAreShort(t *testing.T) {
	for _, worst := range []string{"\x00", "\U0010FFFF", "\"", "<", "\u2028", "\\"} {
		text := []byte(strings.Repeat(worst, 200))
		var body bytes.Buffer
		w := tableflow.NewWriter(&body, tableflow.WriterConfig{})
		r := record.Record{Offset: 1 << 62, Timestamp: 1 << 40, Key: text, Value: text, Headers: []record.Header{{Key: "\xff"}}}
		if err := errors.Join(w.StartPartition(1<<30), w.Append(&r)); err != nil {
			t.Fatal(err)
		}
		stats, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		line, err := EncodeAction(NewAdd("_data/"+strings.Repeat("x", 200)+".parquet", stats, 1<<40))
		if err != nil || len(line) > 4096 {
			t.Errorf("%q: %d bytes, %v", worst, len(line), err)
		}
	}
}
