package delta

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

const testDir = "tables/orders"

// stepClock is a clock that moves a second with every look.
func stepClock() func() time.Time {
	at := time.UnixMilli(1_750_000_000_000)
	return func() time.Time {
		at = at.Add(time.Second)
		return at
	}
}

// fixture is a table on a memory store, with the rows that it must hold.
type fixture struct {
	store  *objectstore.Memory
	log    *Log
	snap   *Snapshot
	topic  record.TopicID
	rng    *rand.Rand
	next   [3]record.Offset // of each partition
	large  bool             // a value of 10 MiB has been written
	expect []expectedRow
}

// expectedRow is a row as read_table.py compares it.
type expectedRow struct {
	partition int32
	record    record.Record
}

func newFixture(t *testing.T, config TableConfig) *fixture {
	t.Helper()
	now := stepClock()
	store := objectstore.NewMemory(now)
	f := &fixture{store: store, log: NewLog(store, testDir, now), snap: Empty(), rng: rand.New(rand.NewPCG(3, 4))}
	copy(f.topic[:], "sixteen bytes id")
	config.ID, config.Schema, config.CreatedTime = TableID(f.topic), tableflow.Schema(), now().UnixMilli()
	f.commit(t, Commit{TxnID: "create", Operation: "CREATE TABLE", Actions: NewTableActions(config)})
	return f
}

func (f *fixture) commit(t *testing.T, c Commit) {
	t.Helper()
	next, err := f.log.Commit(t.Context(), f.snap, c)
	if err != nil {
		t.Fatal(err)
	}
	f.snap = next
}

// write adds one file with rows records for each partition, and the progress.
func (f *fixture) write(t *testing.T, rows int) {
	t.Helper()
	var body bytes.Buffer
	w := tableflow.NewWriter(&body, tableflow.WriterConfig{RowGroupRows: 5, PageBytes: 256})
	actions := []Action{Txn{AppID: LogApp("c1", f.topic), Version: f.snap.Version + 1000}}
	for p := range f.next {
		if err := w.StartPartition(int32(p)); err != nil {
			t.Fatal(err)
		}
		for range rows {
			r := f.record(f.next[p])
			if err := w.Append(&r); err != nil {
				t.Fatal(err)
			}
			f.expect = append(f.expect, expectedRow{int32(p), r})
			f.next[p] += record.Offset(1 + f.rng.IntN(2))
		}
		actions = append(actions, Txn{AppID: PartitionApp("c1", record.Partition{Topic: f.topic, Index: int32(p)}), Version: int64(f.next[p])})
	}
	stats, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("_data/%d-part.parquet", f.snap.Version+1)
	if _, err := f.store.Create(t.Context(), testDir+"/"+path, body.Bytes()); err != nil {
		t.Fatal(err)
	}
	actions = append(actions, NewAdd(path, stats, 1_750_000_000_000))
	f.commit(t, Commit{TxnID: fmt.Sprintf("txn-%d", f.snap.Version+1), Operation: "WRITE", Actions: actions})
}

// record makes an odd one.
func (f *fixture) record(offset record.Offset) record.Record {
	r := record.Record{Offset: offset, Timestamp: 1_750_000_000_000 + int64(offset)*7, Key: []byte(fmt.Sprintf("key-%d", f.rng.IntN(50))), Value: fmt.Appendf(nil, `{"n":%d}`, offset)}
	switch f.rng.IntN(14) {
	case 0:
		r.Key, r.Value = nil, nil
	case 1:
		r.Key, r.Value = []byte{}, []byte{}
	case 2:
		r.Key, r.Value = []byte{0xff, 0}, []byte("\xc3\x28")
	case 3:
		r.Key, r.Value = []byte("nul\x00key"), []byte("\x00")
	case 4:
		r.Timestamp = -1
	case 5:
		r.Timestamp = 1 << 61 // does not fit microseconds
	case 6:
		r.Headers = []record.Header{{Key: "a", Value: nil}, {Key: "a", Value: []byte{}}, {Key: "", Value: []byte{0xff}}}
	case 7:
		r.Headers = []record.Header{{Key: "\xff", Value: []byte("x")}}
	case 8:
		r.Key = []byte("\U0010FFFF\U0010FFFF \u2028 <&> \\ \" ' 🚢 long long long long long long")
		r.Value = bytes.Repeat([]byte("wörd "), 200)
	case 9:
		r.Timestamp = 200_000_000_000_000 // year 8307
	}
	if !f.large && f.snap.Version == 60 {
		f.large = true
		r.Value = bytes.Repeat([]byte("0123456789"), 1<<20)
	}
	return r
}

// dump writes every object to a directory and returns the table's path in it.
func (f *fixture) dump(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	objects, err := f.store.List(t.Context(), "", "", 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		body, err := f.store.Get(context.Background(), o.Key, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(o.Key))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, filepath.FromSlash(testDir))
}

// writeUntil commits up to version, with checkpoints on the way.
func (f *fixture) writeUntil(t *testing.T, version int64) {
	t.Helper()
	for f.snap.Version < version {
		f.write(t, 4)
		if f.snap.Version%CheckpointEvery == 0 {
			if err := f.log.Checkpoint(t.Context(), f.snap); err != nil {
				t.Fatal(err)
			}
		}
	}
}
