package fsck_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/compactor/fsck"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

// bench is a store that a test damages.
type bench struct {
	*objectstore.Memory
	t *testing.T
}

// keys lists the keys of a form, as path.Match has it for what follows the last slash.
func (b bench) keys(dir, form string) []string {
	b.t.Helper()
	objects, err := b.List(b.t.Context(), dir, "", 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	var keys []string
	for _, o := range objects {
		if ok, _ := path.Match(form, o.Key[strings.LastIndexByte(o.Key, '/')+1:]); ok {
			keys = append(keys, o.Key)
		}
	}
	if len(keys) == 0 {
		b.t.Fatalf("nothing like %s under %s", form, dir)
	}
	return keys
}

func (b bench) last(dir, form string) string {
	b.t.Helper()
	keys := b.keys(dir, form)
	return keys[len(keys)-1]
}

func (b bench) body(key string) []byte {
	b.t.Helper()
	body, err := b.Get(b.t.Context(), key, 1<<30)
	if err != nil {
		b.t.Fatal(err)
	}
	return body
}

func (b bench) put(key string, body []byte) string {
	b.t.Helper()
	if err := b.Put(b.t.Context(), key, body); err != nil {
		b.t.Fatal(err)
	}
	return key
}

func (b bench) drop(key string) string {
	b.t.Helper()
	if err := b.Delete(b.t.Context(), key); err != nil {
		b.t.Fatal(err)
	}
	return key
}

// flip turns one bit at a place between 0 and 1 of the object.
func (b bench) flip(key string, at float64) string {
	b.t.Helper()
	body := b.body(key)
	body[int(at*float64(len(body)))] ^= 0x10
	return b.put(key, body)
}

func (b bench) truncate(key string) string {
	b.t.Helper()
	body := b.body(key)
	return b.put(key, body[:len(body)/2])
}

// referred returns a WAL object that runs lie in: the newest, of the agent that compacted nothing.
func (b bench) referred() string {
	b.t.Helper()
	return b.last("wal/", "*")
}

// checkpointed writes a checkpoint of the newest version.
func (b bench) checkpointed(dir string) string {
	b.t.Helper()
	log := delta.NewLog(b.Memory, dir, time.Now)
	s, err := log.Load(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := log.Checkpoint(b.t.Context(), s); err != nil {
		b.t.Fatal(err)
	}
	return fmt.Sprintf("%s/_delta_log/%020d.checkpoint.parquet", dir, s.Version)
}

// want is a finding as a test expects it.
type want struct {
	kind     fsck.Kind
	severity fsck.Severity
	what     string // part of the text
	refs     bool   // also without Full
	topic    string // with offsets
}

// Each kind of damage gives its finding, names the key, and nothing else is reported.
func TestDamageIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(b bench) (key string)
		want   want
	}{
		"cluster.json gone":    {func(b bench) string { return b.drop("cluster.json") }, want{fsck.ClusterFile, fsck.Error, "missing", true, ""}},
		"cluster.json edited":  {func(b bench) string { return b.put("cluster.json", []byte("{}")) }, want{fsck.ClusterFile, fsck.Error, "changed by hand", true, ""}},
		"WAL object gone":      {func(b bench) string { return b.drop(b.referred()) }, want{fsck.ObjectMissing, fsck.Error, "missing", true, "logs orders"}},
		"WAL object cut":       {func(b bench) string { return b.truncate(b.referred()) }, want{fsck.ObjectDamaged, fsck.Error, "the log says", true, "logs orders"}},
		"bit in a batch":       {func(b bench) string { return b.flip(b.referred(), 0.4) }, want{fsck.ObjectDamaged, fsck.Error, "CRC-32C", false, "logs orders"}},
		"bit in a trailer":     {func(b bench) string { return b.flip(b.referred(), 0.999) }, want{fsck.ObjectDamaged, fsck.Error, "trailer", false, ""}},
		"file gone":            {func(b bench) string { return b.drop(b.last("tables/orders/_data/", "*")) }, want{fsck.FileMissing, fsck.Error, "missing", true, "orders"}},
		"file cut":             {func(b bench) string { return b.truncate(b.last("tables/orders/_data/", "*")) }, want{fsck.FileDamaged, fsck.Error, "the log says", true, "orders"}},
		"bit in a page":        {func(b bench) string { return b.flip(b.last("tables/logs/_data/", "*"), 0.1) }, want{fsck.FileDamaged, fsck.Error, "checksum", false, "logs"}},
		"table log gone":       {dropTableLog, want{fsck.TableMissing, fsck.Error, "was committed", true, ""}},
		"newest version gone":  {func(b bench) string { return b.drop(b.last("tables/orders/_delta_log/", "*.json")) }, want{fsck.TableVersion, fsck.Error, "are missing", true, ""}},
		"version between gone": {func(b bench) string { return b.drop(b.keys("tables/orders/_delta_log/", "*.json")[1]) }, want{fsck.TableVersion, fsck.Error, "version 1 is missing", true, ""}},
		"version edited":       {func(b bench) string { return b.truncate(b.keys("tables/orders/_delta_log/", "*.json")[1]) }, want{fsck.TableVersion, fsck.Error, "corrupt", true, ""}},
		"first version gone":   {func(b bench) string { return b.drop(b.keys("tables/orders/_delta_log/", "*.json")[0]) }, want{fsck.TableVersion, fsck.Error, "version 0 is missing", true, ""}},
		"version below checkpoint": {func(b bench) string {
			b.checkpointed("tables/orders")
			return b.drop(b.keys("tables/orders/_delta_log/", "*.json")[1])
		}, want{fsck.TableVersion, fsck.Warning, "version 1 is missing", true, ""}},
		"checkpoint damaged": {func(b bench) string { return b.truncate(b.checkpointed("tables/orders")) }, want{fsck.TableCheckpoint, fsck.Warning, "no parquet", false, ""}},
		"checkpoint differs": {otherCheckpoint, want{fsck.TableCheckpoint, fsck.Warning, "not as in the commits", false, ""}},
		"hint gone": {func(b bench) string {
			b.checkpointed("tables/orders")
			return b.drop("tables/orders/_delta_log/_last_checkpoint")
		}, want{fsck.TableHint, fsck.Warning, "there are checkpoints", true, ""}},
		"file removed from table": {removedFromTable, want{fsck.TableFiles, fsck.Error, "does not hold it", true, "orders"}},
		"progress rolled back":    {progressBack, want{fsck.TableProgress, fsck.Error, "progress of the partition", true, "orders"}},
		"newest snapshot cut":     {func(b bench) string { return b.truncate(b.last("meta/0/snapshot/", "*")) }, want{fsck.LogSnapshot, fsck.Warning, "snapshot", true, ""}},
		"old snapshot cut":        {func(b bench) string { return b.truncate(b.keys("meta/0/snapshot/", "*")[0]) }, want{fsck.LogSnapshot, fsck.Warning, "snapshot", false, ""}},
		"old slot gone":           {func(b bench) string { return b.drop(b.keys("meta/0/log/", "*")[3]) }, want{fsck.LogSlot, fsck.Warning, "missing", false, ""}},
		"old slot flipped":        {func(b bench) string { return b.flip(b.keys("meta/0/log/", "*")[3], 0.9) }, want{fsck.LogSlot, fsck.Warning, "CRC", false, ""}},
		"stray upload":            {strayUpload, want{fsck.Orphan, fsck.Warning, "over and forgotten", true, ""}},
		"late output":             {lateOutput, want{fsck.Orphan, fsck.Warning, "the claim that named it is over", true, ""}},
		"late half":               {func(b bench) string { return b.truncate(lateOutput(b)) }, want{fsck.Unknown, fsck.Warning, "no whole file", false, ""}},
		"log older than objects":  {func(b bench) string { return b.put(record.ObjectKey(999, 7, "abc"), []byte("acked")) }, want{fsck.LogOlder, fsck.Error, "of session 999", true, ""}},
		"file of other rows":      {otherRows, want{fsck.FileMismatch, fsck.Error, "the log says", false, "logs"}},
		"log older than files":    {newerFile, want{fsck.LogOlder, fsck.Error, "holds offsets up to 100000", false, "orders"}},
		"foreign table":           {func(b bench) string { return b.put("tables/other/_data/x.parquet", []byte("x")) }, want{fsck.Unknown, fsck.Warning, "names it", true, ""}},
		"foreign object":          {func(b bench) string { return b.put("readme.txt", []byte("x")) }, want{fsck.Unknown, fsck.Warning, "such a key", true, ""}},
		"foreign in wal":          {func(b bench) string { return b.put("wal/note", []byte("x")) }, want{fsck.Unknown, fsck.Warning, "such a key", true, ""}},
		"foreign in meta":         {func(b bench) string { return b.put("meta/0/other", []byte("x")) }, want{fsck.Unknown, fsck.Warning, "such a key", true, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bench{stopped(t), t}
			key := c.damage(b)
			for _, full := range []bool{true, false} {
				o := options
				o.Full = full
				report := check(t, b, o)
				if !full && !c.want.refs {
					continue
				}
				c.want.in(t, report, key)
			}
		})
	}
}

func (w want) in(t *testing.T, report fsck.Report, key string) {
	t.Helper()
	if report.Clean() {
		t.Errorf("full %v: nothing found at %s", report.Full, key)
	}
	var topics []string
	for _, f := range report.Findings {
		if f.Kind != w.kind || f.Severity != w.severity || f.Key != key || !strings.Contains(f.What, w.what) || f.Do == "" {
			t.Errorf("full %v: want %s %s at %s, %q; found %s %s", report.Full, w.severity, w.kind, key, w.what, f.Kind, f)
		}
		if f.Base != nil {
			if *f.End <= *f.Base || f.Partition == nil {
				t.Errorf("finding of no offsets: %+v", f)
			}
			topics = append(topics, f.Topic)
		}
	}
	slices.Sort(topics)
	if got := strings.Join(slices.Compact(topics), " "); w.topic == "" && got != "" || !strings.Contains(w.topic, got) || (got == "") != (w.topic == "") {
		t.Errorf("full %v: offsets lost of topics %q, want some of %q", report.Full, got, w.topic)
	}
}

func dropTableLog(b bench) string {
	for _, key := range b.keys("tables/orders/_delta_log/", "*") {
		b.drop(key)
	}
	return "tables/orders/_delta_log"
}

// otherCheckpoint puts the checkpoint of a table that lacks a file where one of the real table would be.
func otherCheckpoint(b bench) string {
	key := b.checkpointed("tables/orders")
	b.drop(key)
	other := bench{bucket(b.t, b.Memory), b.t}
	log := delta.NewLog(other.Memory, "tables/orders", time.Now)
	newest := other.drop(other.last("tables/orders/_delta_log/", "*.json"))
	other.drop("tables/orders/_delta_log/_last_checkpoint")
	s, err := log.Load(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if s, err = log.Commit(b.t.Context(), s, delta.Commit{TxnID: "x", Operation: "TEST"}); err != nil {
		b.t.Fatal(err)
	}
	if want := strings.TrimSuffix(newest, ".json"); !strings.HasPrefix(key, want) {
		b.t.Fatalf("%s is not of %s", key, newest)
	}
	if err := log.Checkpoint(b.t.Context(), s); err != nil {
		b.t.Fatal(err)
	}
	return b.put(key, other.body(key))
}

// commit makes one more version of a table behind the agent's back.
func (b bench) commit(dir string, actions func(s *delta.Snapshot) []delta.Action) *delta.Snapshot {
	b.t.Helper()
	log := delta.NewLog(b.Memory, dir, time.Now)
	s, err := log.Load(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if s, err = log.Commit(b.t.Context(), s, delta.Commit{TxnID: "x", Operation: "TEST", Actions: actions(s)}); err != nil {
		b.t.Fatal(err)
	}
	return s
}

func removedFromTable(b bench) (key string) {
	b.commit("tables/orders", func(s *delta.Snapshot) []delta.Action {
		add := s.Adds()[0]
		key = "tables/orders/" + add.Path
		return []delta.Action{delta.NewRemove(add, 1, true)}
	})
	return key
}

func progressBack(b bench) string {
	s := b.commit("tables/orders", func(s *delta.Snapshot) []delta.Action {
		for _, txn := range s.Txns() {
			if !strings.HasSuffix(txn.AppID, "/log") {
				return []delta.Action{delta.Txn{AppID: txn.AppID, Version: txn.Version - 1}}
			}
		}
		b.t.Fatal("the table has no progress")
		return nil
	})
	return fmt.Sprintf("tables/orders/_delta_log/%020d.json", s.Version)
}

// sequenced gives work the log of a stopped cluster.
func (b bench) sequenced(work func(log *metadata.Sequencer, view *metadata.View)) {
	b.t.Helper()
	log, err := bucketlog.New(b.Memory, bucketlog.Config{Prefix: "meta/0"}, ids, slog.New(slog.DiscardHandler))
	if err != nil {
		b.t.Fatal(err)
	}
	view := metadata.NewView()
	sequencer := metadata.NewSequencer(metadata.SequencerConfig{}, log, view, time.Now, ids, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- sequencer.Run(ctx) }()
	select {
	case <-sequencer.Ready():
		work(sequencer, view)
	case err := <-done:
		b.t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		b.t.Fatal(err)
	}
}

func do[R metadata.Result](b bench, log *metadata.Sequencer, cmd metadata.Command) R {
	b.t.Helper()
	res, err := metadata.Ask[R](b.t.Context(), log, cmd)
	if err != nil {
		b.t.Fatal(err)
	}
	return res
}

// strayUpload is an object of a session that is sealed, swept and forgotten.
func strayUpload(b bench) string {
	b.t.Helper()
	b.sequenced(func(log *metadata.Sequencer, _ *metadata.View) {
		if res := do[metadata.ForgetSessionResult](b, log, metadata.ForgetSession{Session: 1}); res.Err != nil {
			b.t.Fatal(res.Err)
		}
	})
	return b.put(record.ObjectKey(1, 99, "abc"), []byte("late"))
}

// otherRows has the log take in a file that holds other rows than it is told.
func otherRows(b bench) string {
	b.t.Helper()
	key := "tables/logs/_data/other.parquet"
	body := b.body(b.last("tables/logs/_data/", "*"))
	b.put(key, body)
	b.sequenced(func(log *metadata.Sequencer, view *metadata.View) {
		topic, _ := view.Topic("logs")
		session := do[metadata.OpenSessionResult](b, log, metadata.OpenSession{Agent: metadata.AgentInfo{Level: metadata.MaxLevel}})
		claim := do[metadata.ClaimJobResult](b, log, metadata.ClaimJob{Session: session.Session, Topics: []record.TopicID{topic.ID}, Outputs: []string{key}})
		part := view.PendingRuns(topic.ID)[0].Partitions[0]
		end := part.Runs[len(part.Runs)-1].End
		res := do[metadata.ReplaceResult](b, log, metadata.Replace{Job: claim.Job, Files: []metadata.NewFile{{
			Topic: topic.ID, Key: key, Size: record.Len(len(body)), Rows: int64(end - part.CompactedEnd),
			Parts: []metadata.FilePart{{Partition: part.Index, Base: part.CompactedEnd, End: end, RowGroups: 1, Rows: int64(end - part.CompactedEnd)}},
			Add:   []byte(`{"add":{"path":"_data/other.parquet"}}`),
		}}})
		if err := errors.Join(session.Err, claim.Err, res.Err); err != nil {
			b.t.Fatal(err)
		}
		do[metadata.SealSessionResult](b, log, metadata.SealSession{Session: session.Session})
	})
	return key
}

// lateOutput is a whole file that no claim names any more.
func lateOutput(b bench) string {
	b.t.Helper()
	return b.put("tables/orders/_data/late.parquet", b.body(b.last("tables/orders/_data/", "*")))
}

// newerFile is a file of rows that a later state of the log must have taken in.
func newerFile(b bench) string {
	b.t.Helper()
	var body bytes.Buffer
	w := tableflow.NewWriter(&body, tableflow.WriterConfig{})
	err := errors.Join(w.StartPartition(1), w.Append(&record.Record{Offset: 100_000, Timestamp: 1, Value: []byte("acked")}))
	if _, closeErr := w.Close(); err != nil || closeErr != nil {
		b.t.Fatal(err, closeErr)
	}
	return b.put("tables/orders/_data/newer.parquet", body.Bytes())
}
