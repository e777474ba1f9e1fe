package delta

import (
	"errors"
	"fmt"
	"testing"

	"github.com/bargedata/barge/objectstore"
)

// The head that appends carry along is the one that is read back, and readers see what Commit would have written.
func TestAppendedVersionsGiveTheHeadThatIsLoaded(t *testing.T) {
	const app = "c1/log"
	f := newFixture(t, TableConfig{Name: "orders"})
	head := f.snap.Head(app)
	if head.Progress != -1 || head.Version != 0 {
		t.Fatalf("head of a new table %+v", head)
	}
	for v := int64(1); v <= 2*CheckpointEvery+3; v++ {
		var err error
		head, err = f.log.Append(t.Context(), head, Commit{TxnID: fmt.Sprint(v), Operation: "WRITE", Actions: []Action{
			Add{Path: fmt.Sprintf("_data/%d.parquet", v), Size: 1, DataChange: true}, Txn{AppID: app, Version: 10 * v}, Txn{AppID: "other", Version: v},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if head.Version != v || head.Progress != 10*v {
			t.Fatalf("head %+v after version %d", head, v)
		}
		snap, err := f.log.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := f.log.LoadHead(t.Context(), app)
		if err != nil {
			t.Fatal(err)
		}
		if loaded != head || snap.Head(app) != head || snap.Files() != int(v) {
			t.Fatalf("version %d: head %+v, LoadHead %+v, Load %+v with %d files", v, head, loaded, snap.Head(app), snap.Files())
		}
		if v%CheckpointEvery == 0 {
			if err := f.log.Checkpoint(t.Context(), snap); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAppendOfVersionZeroMakesTheTable(t *testing.T) {
	store := objectstore.NewMemory(stepClock())
	log := NewLog(store, testDir, stepClock())
	head, err := log.Append(t.Context(), EmptyHead("a"), Commit{TxnID: "one", Actions: append(
		NewTableActions(TableConfig{ID: "x", Schema: "{}"}), Txn{AppID: "a", Version: 3})})
	if err != nil || head.Version != 0 || head.Progress != 3 || head.TableID != "x" {
		t.Fatalf("%+v, %v", head, err)
	}
	if _, err := log.Append(t.Context(), EmptyHead("a"), Commit{TxnID: "two", Actions: NewTableActions(TableConfig{ID: "x", Schema: "{}"})}); !errors.Is(err, ErrVersionExists) {
		t.Errorf("a second version 0: %v", err)
	}
}

func TestAppendRefusesWhatIsNoAppend(t *testing.T) {
	f := newFixture(t, TableConfig{})
	for name, a := range map[string]Action{
		"remove": Remove{Path: "x"}, "same rows": Add{Path: "x"}, "metadata": Metadata{ID: "x"}, "protocol": Protocol{MinReaderVersion: 1},
	} {
		if _, err := f.log.Append(t.Context(), f.snap.Head("a"), Commit{TxnID: "t", Actions: []Action{a}}); !errors.Is(err, errNotAppend) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if next, err := f.log.Refresh(t.Context(), f.snap); err != nil || next.Version != 0 {
		t.Fatalf("a refused append left version %d, %v", next.Version, err)
	}
}

func TestAmbiguousAppendsAreResolvedByReadingBack(t *testing.T) {
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
		next, err := log.Append(t.Context(), f.snap.Head("a"), commit)
		if !errors.Is(err, c.want) {
			t.Fatalf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		loaded, err := f.log.LoadHead(t.Context(), "a")
		if err != nil || next != loaded || next.Progress != 7 {
			t.Fatalf("%s: head %+v, loaded %+v, %v", name, next, loaded, err)
		}
		again, err := log.Append(t.Context(), f.snap.Head("a"), commit) // as after a crash before the answer
		if err != nil || again != next {
			t.Fatalf("%s, repeated: %+v, %v", name, again, err)
		}
	}
}

func TestLoadHeadRefusesTablesThatCommitWouldRefuse(t *testing.T) {
	f := newFixture(t, TableConfig{})
	meta := `{"metaData":{"id":"x","format":{"provider":"parquet","options":{}},"schemaString":"{}","partitionColumns":[],"configuration":{}}}`
	protocol := `{"protocol":{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["rowTracking"]}}`
	if _, err := f.store.Create(t.Context(), f.log.commitKey(1), []byte(protocol+"\n"+meta+"\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.log.LoadHead(t.Context(), "a"); !errors.Is(err, ErrUnsupported) {
		t.Errorf("%v, want ErrUnsupported", err)
	}
}
