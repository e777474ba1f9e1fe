package compactor

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

// addFiles gives each topic a pending add, by the commands that a compaction gives; no bytes are read or written.
func (l *lab) addFiles(topics []metadata.Topic) {
	l.t.Helper()
	l.count++
	commit := metadata.CommitObject{Session: l.sess, Counter: l.count, Settled: l.count, Key: fmt.Sprintf("wal/%d", l.count), Size: 1 << 30}
	claim := metadata.ClaimJob{Session: l.sess}
	var files []metadata.NewFile
	for i, tp := range topics {
		p := record.Partition{Topic: tp.ID}
		commit.Runs = append(commit.Runs, metadata.CommitRun{Partition: p, Pos: record.Pos(i), Batches: []metadata.CommitBatch{{
			Len: 1, Records: 1, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1,
		}}})
		key := fmt.Sprintf("%s/_data/%d.parquet", tp.TableDir, l.count)
		claim.Topics, claim.Outputs = append(claim.Topics, tp.ID), append(claim.Outputs, key)
		add, err := delta.EncodeAction(delta.NewAdd(fmt.Sprintf("_data/%d.parquet", l.count), tableflow.FileStats{Rows: 1, Size: 10}, 1))
		if err != nil {
			l.t.Fatal(err)
		}
		end, err := l.view.CompactedEnd(p)
		if err != nil {
			l.t.Fatal(err)
		}
		files = append(files, metadata.NewFile{Topic: tp.ID, Key: key, Size: 10, Rows: 1, Add: add, Parts: []metadata.FilePart{{Base: end, End: end + 1, Rows: 1}}})
	}
	if res := ask[metadata.CommitObjectResult](l, commit); res.Err != nil {
		l.t.Fatal(res.Err)
	}
	claimed := ask[metadata.ClaimJobResult](l, claim)
	if claimed.Err != nil {
		l.t.Fatal(claimed.Err)
	}
	if res := ask[metadata.ReplaceResult](l, metadata.Replace{Job: claimed.Job, Files: files}); res.Err != nil {
		l.t.Fatal(res.Err)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held on to
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Ten thousand tables in steady state: one PUT a version and no read, and a few megabytes to remember them all.
func TestTheCommitterOfTenThousandTablesIsSmallAndReadsNothing(t *testing.T) {
	const tables, versions = 10_000, 2
	l := newLab(t)
	topics := make([]metadata.Topic, tables)
	for i := range topics {
		var id record.TopicID
		copy(id[:], fmt.Sprintf("topic%06d", i))
		res := ask[metadata.CreateTopicResult](l, metadata.CreateTopic{ID: id, Name: fmt.Sprintf("topic%06d", i), Partitions: 1})
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		topics[i] = res.Topic
	}
	meter := objectstore.NewMeter(l.store)
	c := l.compactorOver(meter)
	for version := range versions {
		l.addFiles(topics)
		if version == 0 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			page := l.view.PendingTables(record.TopicID{}, tablePage)
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; len(page) != tablePage || n > 64<<10 {
				t.Errorf("a page of %d of %d tables took %d bytes", len(page), tables, n)
			}
		}
		if err := c.project(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left := l.view.PendingTables(record.TopicID{}, 1); len(left) != 0 {
		t.Fatalf("%s is not projected", left[0].Topic.Name)
	}
	for op, stats := range meter.Snapshot().Ops {
		want := int64(0)
		if objectstore.Op(op) == objectstore.OpCreate {
			want = tables * versions
		}
		if got := stats.Total(); got != want {
			t.Errorf("%d requests of kind %s for %d versions of %d tables, want %d", got, objectstore.Op(op), versions, tables, want)
		}
	}
	with := heap()
	c.heads = newHeadCache(headCacheBytes) // as large as the other, and empty
	if kept := with - heap(); kept > headCacheBytes || kept < tables*100 {
		t.Errorf("the compactor keeps %d bytes for %d tables, want at most %d (and more than nothing)", kept, tables, headCacheBytes)
	}
	runtime.KeepAlive(c)
}

// A head that is stale, or was forgotten, is read again, and nothing enters the table twice (I7).
func TestAStaleHeadIsLoadedAgain(t *testing.T) {
	l := newLab(t)
	topics := []metadata.Topic{l.createTopic("a", nil), l.createTopic("b", nil)}
	first, second := l.compactor(), l.compactor()
	second.heads = newHeadCache(headBytes) // one table: each commit finds the other's head gone
	for i := range 6 {
		l.addFiles(topics)
		c := first
		if i%3 > 0 {
			c = second
		}
		if err := c.project(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, tp := range topics {
			if snap := l.table(tp); snap.Version != int64(i) || snap.Files() != i+1 {
				t.Fatalf("%s: version %d with %d files after %d adds", tp.Name, snap.Version, snap.Files(), i+1)
			}
		}
	}
}

// Checkpoints hold every file although the committer remembers none.
func TestCheckpointsHoldAllFiles(t *testing.T) {
	l := newLab(t)
	topics := []metadata.Topic{l.createTopic("a", nil)}
	c := l.compactor()
	for range delta.CheckpointEvery + 1 {
		l.addFiles(topics)
		if err := c.project(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	log, err := l.store.List(t.Context(), topics[0].TableDir+"/_delta_log/", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	checkpoints := 0
	for _, o := range log {
		if len(o.Key) > 5 && o.Key[len(o.Key)-5:] == ".json" {
			if o.Key < fmt.Sprintf("%s/_delta_log/%020d", topics[0].TableDir, delta.CheckpointEvery) {
				if err := l.store.Delete(t.Context(), o.Key); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		checkpoints++
	}
	if snap := l.table(topics[0]); checkpoints != 2 || snap.Version != delta.CheckpointEvery || snap.Files() != delta.CheckpointEvery+1 {
		t.Errorf("without the first %d versions: version %d with %d files (%d objects of checkpoints)", delta.CheckpointEvery, snap.Version, snap.Files(), checkpoints)
	}
}
