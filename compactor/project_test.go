package compactor

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

func pendingAdd(t *testing.T, seq uint64, name string, part int32, base, end record.Offset) metadata.PendingAdd {
	t.Helper()
	add, err := delta.EncodeAction(delta.NewAdd("_data/"+name, tableflow.FileStats{Rows: int64(end - base), Size: 10}, 1))
	if err != nil {
		t.Fatal(err)
	}
	return metadata.PendingAdd{Seq: seq, Add: add, File: metadata.File{
		Key: "tables/a/_data/" + name, Rows: int64(end - base), Parts: []metadata.FilePart{{Partition: part, Base: base, End: end}},
	}}
}

func headOf(snap *delta.Snapshot, p metadata.PendingTable) delta.Head {
	return snap.Head(delta.LogApp("c", p.Topic.ID))
}

func commitFold(t *testing.T, log *delta.Log, snap *delta.Snapshot, p metadata.PendingTable, txn string) (*delta.Snapshot, uint64) {
	t.Helper()
	actions, upTo, err := Fold(headOf(snap, p), p, Config{Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if len(actions) == 0 {
		return snap, upTo
	}
	next, err := log.Commit(t.Context(), snap, delta.Commit{TxnID: txn, Operation: "WRITE", Actions: actions})
	if err != nil {
		t.Fatal(err)
	}
	return next, upTo
}

// The version was committed and the agent died before the log knew: what is pending again must not enter the table twice (I7).
func TestFoldSkipsWhatTheTableHolds(t *testing.T) {
	log := delta.NewLog(objectstore.NewMemory(time.Now), "tables/a", time.Now)
	p := metadata.PendingTable{Topic: topic("a", nil), Version: -1, Adds: []metadata.PendingAdd{
		pendingAdd(t, 7, "x", 0, 0, 10), pendingAdd(t, 7, "y", 1, 0, 5), pendingAdd(t, 9, "z", 0, 10, 12),
	}}
	snap, upTo := commitFold(t, log, delta.Empty(), p, "one")
	if snap.Version != 0 || snap.Files() != 3 || upTo != 9 {
		t.Fatalf("version %d with %d files up to %d, want version 0, 3 files, 9", snap.Version, snap.Files(), upTo)
	}
	for part, end := range map[int32]int64{0: 12, 1: 5} {
		app := delta.PartitionApp("c", record.Partition{Topic: p.Topic.ID, Index: part})
		if got, ok := snap.Txn(app); !ok || got != end {
			t.Errorf("progress of partition %d is %d (%v), want %d", part, got, ok, end)
		}
	}

	again, upTo := commitFold(t, log, snap, p, "two")
	if again != snap || upTo != 9 {
		t.Fatalf("a replay made version %d up to %d, want nothing new up to 9", again.Version, upTo)
	}
	p.Version = 0
	p.Adds = append(p.Adds, pendingAdd(t, 11, "new", 1, 5, 6))
	more, upTo := commitFold(t, log, snap, p, "three")
	if more.Version != 1 || more.Files() != 4 || upTo != 11 {
		t.Fatalf("version %d with %d files up to %d, want version 1, 4 files, 11", more.Version, more.Files(), upTo)
	}
}

func TestFoldNeverSplitsALogEntryOverVersions(t *testing.T) {
	p := metadata.PendingTable{Topic: topic("a", nil), Version: -1}
	for i := range maxFold + 10 {
		p.Adds = append(p.Adds, pendingAdd(t, uint64(1+i/100), fmt.Sprint(i), 0, record.Offset(i), record.Offset(i+1)))
	}
	actions, upTo, err := Fold(headOf(delta.Empty(), p), p, Config{Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	adds := 0
	for _, a := range actions {
		if _, ok := a.(delta.Add); ok {
			adds++
		}
	}
	if adds != 500 || upTo != 5 {
		t.Fatalf("%d adds up to entry %d, want the 500 of entries 1 to 5", adds, upTo)
	}
}

func TestReleasedObjectsWaitForTheirGrace(t *testing.T) {
	released := []metadata.ReleasedObject{{Key: "wal/a", ReleasedAt: 1000}, {Key: "wal/b", ReleasedAt: 5000}}
	if got := DueForDeletion(released, 10_999, 10*time.Second, nil); len(got) != 0 {
		t.Errorf("deleted %v within the grace", got)
	}
	if got := DueForDeletion(released, 11_000, 10*time.Second, nil); len(got) != 1 || got[0] != "wal/a" {
		t.Errorf("due %v, want wal/a alone", got)
	}
}

func TestHeadCacheForgetsTheLongestUnused(t *testing.T) {
	c := newHeadCache(2 * headBytes)
	a, b, d := topic("a", nil).ID, topic("b", nil).ID, topic("d", nil).ID
	known := func(id record.TopicID) bool { return c.get(id).App != "" }
	c.put(a, delta.EmptyHead("a"))
	c.put(b, delta.EmptyHead("b"))
	known(a)
	c.put(d, delta.EmptyHead("d"))
	if known(b) || !known(a) || !known(d) {
		t.Error("want b forgotten, a and d kept")
	}
	c.put(a, delta.Head{})
	if known(a) || c.recent.Len() != 1 {
		t.Error("a head that is unknown now is still there")
	}
}

func TestFoldRefusesATableThatIsNotWhatTheLogSays(t *testing.T) {
	log := delta.NewLog(objectstore.NewMemory(time.Now), "tables/a", time.Now)
	p := metadata.PendingTable{Topic: topic("a", nil), Version: -1, Adds: []metadata.PendingAdd{pendingAdd(t, 7, "x", 0, 0, 10)}}
	snap, _ := commitFold(t, log, delta.Empty(), p, "one")
	p.Adds = append(p.Adds, pendingAdd(t, 9, "y", 0, 10, 20))

	lost := p
	lost.Version = 3
	if _, _, err := Fold(headOf(snap, lost), lost, Config{Cluster: "c"}); !errors.Is(err, delta.ErrCorrupt) {
		t.Errorf("a table that lost its versions 1 to 3: %v", err)
	}
	if _, _, err := Fold(headOf(delta.Empty(), lost), lost, Config{Cluster: "c"}); !errors.Is(err, delta.ErrCorrupt) {
		t.Errorf("a table whose log is gone: %v", err)
	}
	other := p
	other.Topic.ID[15] = 9
	if _, _, err := Fold(headOf(snap, p), other, Config{Cluster: "c"}); !errors.Is(err, delta.ErrCorrupt) {
		t.Errorf("another topic's table: %v", err)
	}
}
