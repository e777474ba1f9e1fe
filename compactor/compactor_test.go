package compactor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

// lab is a log, a view and a store that a test steps by hand, round by round.
type lab struct {
	t     testing.TB
	mu    sync.Mutex // tables are committed to at once
	view  *metadata.View
	seq   uint64
	clock time.Time
	store *objectstore.Memory
	names atomic.Int64
	// refuse, when set, answers a command instead of the log.
	refuse func(metadata.Command) error
	count  uint64
	lie    int32 // records more than there are, told to the log
	sess   metadata.SessionID

	entries []metadata.Entry // all of the log
	agents  int              // sessions that are open when all is done; 0: one

	uncommitted metadata.CommitObject // the last one that was laid out
	sent        map[record.Partition][]string
	inline      map[string][]byte // objects in log entries
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{
		t: t, view: metadata.NewView(), clock: time.UnixMilli(1_700_000_000_000),
		sent: map[record.Partition][]string{}, inline: map[string][]byte{},
	}
	l.store = objectstore.NewMemory(func() time.Time { return l.clock })
	l.open()
	if res := ask[metadata.RaiseLevelResult](l, metadata.RaiseLevel{Level: metadata.MaxLevel}); res.Err != nil {
		t.Fatal(res.Err)
	}
	return l
}

// open opens a new session.
func (l *lab) open() {
	l.sess = ask[metadata.OpenSessionResult](l, metadata.OpenSession{Agent: metadata.AgentInfo{Level: metadata.MaxLevel}}).Session
}

func (l *lab) Do(_ context.Context, cmd metadata.Command) (metadata.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		if err := l.refuse(cmd); err != nil {
			return nil, err
		}
	}
	return l.must(cmd), nil
}

// ask applies a command and returns its result by type.
func ask[R metadata.Result](l *lab, cmd metadata.Command) R {
	l.t.Helper()
	r, err := metadata.Ask[R](l.t.Context(), l, cmd)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func (l *lab) must(cmd metadata.Command) metadata.Result {
	e := metadata.Entry{Seq: l.seq, Term: 1, Time: l.clock.UnixMilli(), Commands: []metadata.Command{cmd}}
	if c, ok := cmd.(metadata.CommitObject); ok && c.Inline != nil {
		var err error
		if e, err = metadata.DecodeEntry(metadata.EncodeEntry(e)); err != nil { // tells where it lies
			l.t.Fatal(err)
		}
	}
	e.EachInline(func(key string, body []byte) { l.inline[key] = body })
	res := l.view.Apply(e)
	l.entries = append(l.entries, e)
	l.seq++
	return res[0]
}

func (l *lab) compactor() *Compactor {
	cfg := DefaultConfig()
	cfg.Session, cfg.Cluster = l.sess, "lab"
	return New(cfg, l.view, l, inlineStore{l.store, l.inline}, func() time.Time { return l.clock }, func() string {
		return fmt.Sprintf("name%04d", l.names.Add(1))
	}, slog.New(slog.DiscardHandler))
}

func (l *lab) createTopic(name string, configs map[string]string) metadata.Topic {
	res := ask[metadata.CreateTopicResult](l, metadata.CreateTopic{ID: topic(name, nil).ID, Name: name, Partitions: 2, Configs: configs})
	if res.Err != nil {
		l.t.Fatal(res.Err)
	}
	return res.Topic
}

// produce writes one WAL object with a batch of n records for each of the topics' partition 0 and returns its key.
func (l *lab) produce(n int, topics ...metadata.Topic) string {
	l.t.Helper()
	key := l.produceUncommitted(n, topics...)
	l.commitLast()
	return key
}

// commitLast commits what was uploaded last.
func (l *lab) commitLast() {
	l.t.Helper()
	if res := ask[metadata.CommitObjectResult](l, l.uncommitted); res.Err != nil {
		l.t.Fatal(res.Err)
	}
}

// produceUncommitted is produce up to the upload.
func (l *lab) produceUncommitted(n int, topics ...metadata.Topic) string {
	l.t.Helper()
	parts := make([]record.Partition, len(topics))
	for i, t := range topics {
		parts[i].Topic = t.ID
	}
	slices.SortFunc(parts, record.Partition.Compare)
	body := l.layOut(n, parts...)
	if err := l.store.Put(l.t.Context(), l.uncommitted.Key, body); err != nil {
		l.t.Fatal(err)
	}
	return l.uncommitted.Key
}

// layOut makes the next object, with a batch of n records for each partition in order, and its commit.
func (l *lab) layOut(n int, parts ...record.Partition) (body []byte) {
	l.t.Helper()
	l.count++
	w := record.NewObjectWriter(record.ObjectHeader{Session: uint64(l.sess), Counter: l.count}, 0)
	commit := metadata.CommitObject{Session: l.sess, Counter: l.count, Settled: l.count, Key: record.ObjectKey(uint64(l.sess), l.count, "r")}
	for _, p := range parts {
		t, ok := l.view.TopicByID(p.Topic)
		if !ok {
			l.t.Fatalf("no topic %s", p.Topic)
		}
		name := t.Name
		if p.Index > 0 {
			name = fmt.Sprintf("%s/%d", name, p.Index)
		}
		b := record.NewBuilder(record.None)
		for i := range n {
			value := fmt.Sprintf("%s-%d-%d", name, l.count, i)
			l.sent[p] = append(l.sent[p], value)
			r := record.Record{Offset: record.Offset(i), Timestamp: l.clock.UnixMilli(), Value: []byte(value)}
			if err := b.Append(&r); err != nil {
				l.t.Fatal(err)
			}
		}
		raw, err := b.Build(nil)
		if err != nil {
			l.t.Fatal(err)
		}
		batch, err := record.Parse(raw)
		if err != nil {
			l.t.Fatal(err)
		}
		if err := w.Add(p, batch); err != nil {
			l.t.Fatal(err)
		}
		commit.Runs = append(commit.Runs, metadata.CommitRun{Partition: p, Batches: []metadata.CommitBatch{{
			Len: batch.Len(), Records: batch.OffsetCount() + l.lie, MaxTimestamp: batch.MaxTimestamp(), ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1,
		}}})
	}
	body, runs, err := w.Finish()
	if err != nil {
		l.t.Fatal(err)
	}
	for i := range runs {
		commit.Runs[i].Pos = runs[i].Pos
	}
	commit.Size = record.Len(len(body))
	l.uncommitted = commit
	return body
}

// content reads a partition from its files and then its runs, wherever they lie, in offset order.
func (l *lab) content(p record.Partition) (values []string) {
	l.t.Helper()
	next := record.Offset(0)
	take := func(r *record.Record) bool {
		if r.Offset != next {
			l.t.Errorf("%s: offset %d follows %d", p, r.Offset, next-1)
		}
		next++
		values = append(values, string(r.Value))
		return true
	}
	for {
		loc, err := l.view.Locate(p, next, 1<<40)
		if err != nil {
			l.t.Fatal(err)
		}
		if len(loc.Slices) == 0 {
			return values
		}
		for _, s := range loc.Slices {
			if s.File != nil {
				l.fileRecords(s, take)
			} else {
				l.runRecords(s.Run, take)
			}
			if next != s.End {
				l.t.Fatalf("%s: records to %d in a slice to %d", p, next, s.End)
			}
		}
	}
}

func (l *lab) fileRecords(s metadata.Slice, take func(*record.Record) bool) {
	l.t.Helper()
	file, err := tableflow.OpenFile(l.t.Context(), l.store, s.File.Key, int64(s.File.Size))
	if err == nil {
		err = file.Records(l.t.Context(), s.Part.RowGroup, s.Part.RowGroups, s.Part.Base, take)
	}
	if err != nil {
		l.t.Fatalf("I6: %s: %v", s.File.Key, err)
	}
}

func (l *lab) runRecords(run *metadata.Run, take func(*record.Record) bool) {
	l.t.Helper()
	rest, err := l.GetRange(l.t.Context(), run.Key, int64(run.Pos), int64(run.Len))
	if err != nil {
		l.t.Fatalf("I6: %s: %v", run.Key, err)
	}
	for next := run.Base; len(rest) > 0; {
		batch, after, err := splitVerified(rest)
		if err != nil {
			l.t.Fatalf("I6: %s: %v", run.Key, err)
		}
		err = batch.Each(record.DefaultLimits(), func(r *record.Record) bool {
			r.Offset += next - batch.BaseOffset()
			return take(r)
		})
		if err != nil {
			l.t.Fatal(err)
		}
		next += record.Offset(batch.OffsetCount())
		rest = after
	}
}

// GetRange reads an object of the store or of a log entry.
func (l *lab) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	return inlineStore{l.store, l.inline}.GetRange(ctx, key, pos, length)
}

// inlineStore answers for objects that lie in log entries, too.
type inlineStore struct {
	objectstore.Store
	inline map[string][]byte
}

func (s inlineStore) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	if body, ok := s.inline[key]; ok {
		return bytes.Clone(body), nil
	}
	return s.Store.Get(ctx, key, maxBytes)
}

func (s inlineStore) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	if body, ok := s.inline[key]; ok {
		return bytes.Clone(body[pos : pos+length]), nil
	}
	return s.Store.GetRange(ctx, key, pos, length)
}

// allThere tells where a partition does not hold what was produced to it, once and in order.
func (l *lab) allThere(note string) {
	l.t.Helper()
	for p, want := range l.sent {
		if got := l.content(p); !slices.Equal(got, want) {
			t, _ := l.view.TopicByID(p.Topic)
			l.t.Errorf("I6: %s: %s/%d holds %v, want %v", note, t.Name, p.Index, got, want)
		}
	}
}

// values reads partition 0 of a topic from its Parquet files, in offset order.
func (l *lab) values(t metadata.Topic) (values []string) {
	l.t.Helper()
	next := record.Offset(0)
	for _, f := range l.view.Files(t.ID) {
		file, err := tableflow.OpenFile(l.t.Context(), l.store, f.Key, int64(f.Size))
		if err != nil {
			l.t.Fatal(err)
		}
		for _, part := range f.Parts {
			err := file.Records(l.t.Context(), part.RowGroup, part.RowGroups, part.Base, func(r *record.Record) bool {
				if r.Offset != next {
					l.t.Errorf("offset %d follows %d", r.Offset, next-1)
				}
				next++
				values = append(values, string(r.Value))
				return true
			})
			if err != nil {
				l.t.Fatal(err)
			}
		}
	}
	return values
}

func (l *lab) table(t metadata.Topic) *delta.Snapshot {
	l.t.Helper()
	snap, err := delta.NewLog(l.store, t.TableDir, time.Now).Load(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return snap
}

func (l *lab) exists(key string) bool {
	_, err := l.store.Get(l.t.Context(), key, 1<<20)
	return !errors.Is(err, objectstore.ErrNotFound)
}

func TestRoundMovesRunsIntoFilesAndTheTable(t *testing.T) {
	l := newLab(t)
	a, b := l.createTopic("a", nil), l.createTopic("b", map[string]string{"barge.table.enable": "false"})
	first, second := l.produce(3, a, b), l.produce(2, a)
	c := l.compactor()
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := l.view.Files(a.ID); len(files) != 0 {
		t.Fatalf("compacted before the interval passed: %v", files)
	}
	l.clock = l.clock.Add(time.Minute)
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(l.values(a), " "); got != "a-1-0 a-1-1 a-1-2 a-2-0 a-2-1" {
		t.Errorf("topic a holds %s", got)
	}
	if got := strings.Join(l.values(b), " "); got != "b-1-0 b-1-1 b-1-2" {
		t.Errorf("topic b, which has no table, holds %s", got)
	}
	if l.exists(b.TableDir + "/_delta_log/00000000000000000000.json") {
		t.Error("a topic without a table has a Delta log")
	}
	if snap := l.table(a); snap.Version != 0 || snap.Files() != 1 {
		t.Errorf("table at version %d with %d files", snap.Version, snap.Files())
	}
	for _, key := range []string{first, second} {
		if !l.exists(key) {
			t.Errorf("%s was deleted before its grace", key)
		}
	}
	l.clock = l.clock.Add(c.cfg.ReleaseGrace)
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{first, second} {
		if l.exists(key) {
			t.Errorf("%s is still there after its grace", key)
		}
	}
	if n := len(l.view.Released()); n != 0 {
		t.Errorf("%d released objects are still remembered", n)
	}
}

// Whatever command the log fails to answer, a later round ends with each record in the table once.
func TestRoundIsRepeatedSafelyAfterAnyFailure(t *testing.T) {
	for _, failing := range []metadata.Command{metadata.ClaimJob{}, metadata.Replace{}, metadata.Projected{}, metadata.ForgetObjects{}} {
		t.Run(fmt.Sprintf("%T", failing), func(t *testing.T) {
			for _, effect := range []bool{false, true} {
				l := newLab(t)
				a := l.createTopic("a", nil)
				l.produce(3, a)
				l.clock = l.clock.Add(time.Minute)
				failed := false
				l.refuse = func(cmd metadata.Command) error {
					if fmt.Sprintf("%T", cmd) != fmt.Sprintf("%T", failing) || failed {
						return nil
					}
					failed = true
					if effect {
						l.must(cmd)
					}
					return metadata.ErrUnavailable
				}
				for range 3 {
					_ = l.compactor().Round(t.Context())
					l.clock = l.clock.Add(11 * time.Minute)
					// The next one is a new agent's: it seals the session that is gone, whose claims end with it.
					l.must(metadata.SealSession{Session: l.sess})
					l.open()
				}
				if !failed {
					t.Fatal("the command was never given")
				}
				if got := strings.Join(l.values(a), " "); got != "a-1-0 a-1-1 a-1-2" {
					t.Errorf("effect %v: topic holds %s", effect, got)
				}
				if snap := l.table(a); snap.Files() != 1 {
					t.Errorf("effect %v: the table has %d files, want 1", effect, snap.Files())
				}
			}
		})
	}
}

func TestADamagedObjectStopsItsJobAndNothingElse(t *testing.T) {
	l := newLab(t)
	a, b := l.createTopic("a", nil), l.createTopic("b", nil)
	bad := l.produce(3, a)
	l.clock = l.clock.Add(time.Second)
	l.produce(3, b)
	body, err := l.store.Get(t.Context(), bad, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	body[100] ^= 1
	if err := l.store.Put(t.Context(), bad, body); err != nil {
		t.Fatal(err)
	}
	l.clock = l.clock.Add(time.Minute)
	c := l.compactor()
	if err := c.Round(t.Context()); err == nil || !strings.Contains(err.Error(), bad) {
		t.Fatalf("round over a damaged object: %v, want an error naming %s", err, bad)
	}
	if got := strings.Join(l.values(b), " "); got != "b-2-0 b-2-1 b-2-2" {
		t.Errorf("the topic beside the damaged one holds %s", got)
	}
	if len(l.view.Files(a.ID)) != 0 || !l.exists(bad) {
		t.Error("rows of a damaged object entered a file, or the object is gone")
	}
}

// One broken topic is tried ever less often, and the others cost no more reads than without it.
func TestABrokenTopicIsTriedLessAndLess(t *testing.T) {
	l := newLab(t)
	meter := objectstore.NewMeter(l.store)
	broken := l.createTopic("broken", nil)
	var good []metadata.Topic
	for i := range 10 {
		good = append(good, l.createTopic(fmt.Sprintf("good%d", i), nil))
	}
	key := l.produce(1, broken)
	if err := l.store.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	cfg := l.compactor()
	c := New(cfg.cfg, l.view, l, meter, cfg.now, cfg.random, cfg.logger)
	gets := func() int64 { return meter.Snapshot().Ops[objectstore.OpGet].Total() }
	l.clock = l.clock.Add(time.Minute)
	_ = c.Round(t.Context()) // learns of the broken one
	for range 5 {
		for _, tp := range good {
			l.produce(1, tp)
		}
		l.clock = l.clock.Add(2 * time.Minute)
		_ = c.Round(t.Context())
	}
	before := gets()
	for range 10 {
		l.clock = l.clock.Add(time.Second)
		_ = c.Round(t.Context())
	}
	if n := gets() - before; n > 0 {
		t.Errorf("%d objects were read in ten idle seconds because of one broken topic", n)
	}
	for _, tp := range good {
		if got := len(l.values(tp)); got != 5 {
			t.Errorf("%s holds %d records beside a broken topic, want 5", tp.Name, got)
		}
	}
}

// undeletable refuses to delete one key.
type undeletable struct {
	objectstore.Store
	key string
}

func (u undeletable) Delete(ctx context.Context, keys ...string) error {
	if slices.Contains(keys, u.key) {
		return fmt.Errorf("%s is held by a retention lock", u.key)
	}
	return u.Store.Delete(ctx, keys...)
}

func TestAnObjectThatCannotBeDeletedKeepsNoOther(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", nil)
	held, free := l.produce(1, a), l.produce(1, a)
	l.clock = l.clock.Add(time.Minute)
	base := l.compactor()
	c := New(base.cfg, l.view, l, undeletable{l.store, held}, base.now, base.random, base.logger)
	_ = c.Round(t.Context())
	l.clock = l.clock.Add(c.cfg.ReleaseGrace)
	if err := c.Round(t.Context()); err == nil || !strings.Contains(err.Error(), held) {
		t.Errorf("round: %v, want an error naming %s", err, held)
	}
	if l.exists(free) {
		t.Errorf("%s stays because %s cannot be deleted", free, held)
	}
	if got := l.view.Released(); len(got) != 1 || got[0].Key != held {
		t.Errorf("released: %v, want the held object alone", got)
	}
}

// The log says that a run holds more records than its batches do: nothing of it may enter a file under wrong offsets.
func TestARunThatIsNotWhatTheLogSaysEntersNoFile(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", nil)
	l.lie = 1
	key := l.produce(3, a)
	l.clock = l.clock.Add(time.Minute)
	if err := l.compactor().Round(t.Context()); !errors.Is(err, metadata.ErrCorrupt) {
		t.Errorf("round: %v, want ErrCorrupt", err)
	}
	if len(l.view.Files(a.ID)) != 0 || !l.exists(key) {
		t.Error("a file took the run, or its object is gone")
	}
}

func TestDeletedTopicsTableIsDropped(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", nil)
	kept := l.createTopic("kept", map[string]string{"barge.table.on.delete": "keep"})
	l.produce(3, a, kept)
	l.clock = l.clock.Add(time.Minute)
	c := l.compactor()
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.must(metadata.DeleteTopic{ID: a.ID})
	l.must(metadata.DeleteTopic{ID: kept.ID})
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := l.store.List(t.Context(), "tables/", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range left {
		if !strings.HasPrefix(o.Key, "tables/kept/") {
			t.Errorf("%s is left of a deleted topic", o.Key)
		}
	}
	if len(left) == 0 {
		t.Error("the table to be kept is gone")
	}
	again := ask[metadata.CreateTopicResult](l, metadata.CreateTopic{ID: topic("b", nil).ID, Name: "kept", Partitions: 1})
	if again.Err != nil || again.Topic.TableDir != "tables/kept@"+again.Topic.ID.Hex() {
		t.Errorf("a new topic of the kept name got %q (%v)", again.Topic.TableDir, again.Err)
	}
}

// A store whose calls must all come from the goroutine that runs the round.
type oneGoroutine struct {
	objectstore.Store
	t  *testing.T
	id string
}

func goroutine() string {
	buf := make([]byte, 64)
	return strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1]
}

func (o oneGoroutine) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	if got := goroutine(); got != o.id {
		o.t.Errorf("%s is read by goroutine %s, the round runs on %s", key, got, o.id)
	}
	return o.Store.Get(ctx, key, maxBytes)
}

func TestARoundWithoutReadAheadStartsNoGoroutine(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", nil)
	for range 5 {
		l.produce(1, a)
	}
	l.clock = l.clock.Add(time.Minute)
	base := l.compactor()
	base.cfg.ReadAhead = 1
	c := New(base.cfg, l.view, l, oneGoroutine{l.store, t, goroutine()}, base.now, base.random, base.logger)
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(l.values(a)); got != 5 {
		t.Errorf("the topic holds %d records, want 5", got)
	}
}
