package fsck_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/compactor/fsck"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow/delta"
)

func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func ids() (id [16]byte) {
	_, _ = rand.Read(id[:])
	return id
}

func repair(t *testing.T, store objectstore.Store, force bool) (fsck.Report, error) {
	t.Helper()
	return fsck.Repair(t.Context(), store, options, fsck.RepairOptions{IDs: ids, Random: random, Force: force})
}

// table is what readers see of a table: files and progress.
func table(t *testing.T, store objectstore.Store, dir string) string {
	t.Helper()
	s, err := delta.NewLog(store, dir, time.Now).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "id %s, schema %s, protocol %+v\n", s.Metadata.ID, s.Metadata.SchemaString, s.Protocol)
	for _, a := range s.Adds() {
		fmt.Fprintf(&b, "%s %d %s\n", a.Path, a.Size, a.Stats)
	}
	for _, txn := range s.Txns() {
		fmt.Fprintf(&b, "%s %d\n", txn.AppID, txn.Version)
	}
	return b.String()
}

// goesOn starts an agent on a store, writes and compacts more, and reads every record of a topic back.
func goesOn(t *testing.T, store objectstore.Store, topic string, before int) {
	t.Helper()
	a := start(t, store, nil)
	a.produce(topic, 100)
	a.compacted(topic, int64(before+100))
	c, err := kgo.NewClient(kgo.SeedBrokers(a.Addr()), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := 0; n < before+100; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", n, before+100, err)
		}
		n += fetches.NumRecords()
	}
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	clean(t, store, "after an agent went on")
}

// What can be rebuilt is as it was, and an agent goes on from it.
func TestRepairMendsWhatTheLogStillTells(t *testing.T) {
	for name, damage := range map[string]func(b bench){
		"table log gone":       func(b bench) { dropTableLog(b) },
		"newest version gone":  func(b bench) { b.drop(b.last("tables/orders/_delta_log/", "*.json")) },
		"version between gone": func(b bench) { b.drop(b.keys("tables/orders/_delta_log/", "*.json")[1]) },
		"version between cut":  func(b bench) { b.truncate(b.keys("tables/orders/_delta_log/", "*.json")[1]) },
		"first version gone":   func(b bench) { b.drop(b.keys("tables/orders/_delta_log/", "*.json")[0]) },
		"all but the newest gone": func(b bench) {
			b.drop(b.keys("tables/orders/_delta_log/", "*.json")[0])
			b.drop(b.keys("tables/orders/_delta_log/", "*.json")[0])
		},
		"checkpoint cut":           func(b bench) { b.truncate(b.checkpointed("tables/orders")) },
		"checkpoint differs":       func(b bench) { otherCheckpoint(b) },
		"hint gone":                func(b bench) { b.checkpointed("tables/orders"); b.drop("tables/orders/_delta_log/_last_checkpoint") },
		"file removed from table":  func(b bench) { removedFromTable(b) },
		"progress rolled back":     func(b bench) { progressBack(b) },
		"newest snapshot cut":      func(b bench) { b.truncate(b.last("meta/0/snapshot/", "*")) },
		"newest snapshot is wrong": wrongSnapshot,
		"orphans": func(b bench) {
			strayUpload(b)
			lateOutput(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bench{stopped(t), t}
			was := table(t, b, "tables/orders")
			damage(b)
			if before := check(t, b, options); before.Clean() {
				t.Fatal("the damage is not found")
			}
			report, err := repair(t, b, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Findings {
				t.Errorf("left: %s", f)
			}
			if len(report.Repaired) == 0 || len(report.Refused) > 0 {
				t.Errorf("repaired %q, refused %q", report.Repaired, report.Refused)
			}
			if is := table(t, b, "tables/orders"); is != was {
				t.Errorf("the table was\n%s\nand is\n%s", was, is)
			}
			again, err := repair(t, b, false)
			if err != nil || len(again.Repaired) > 0 {
				t.Errorf("a second repair did %q, %v", again.Repaired, err)
			}
			goesOn(t, b, "orders", 1600)
		})
	}
}

// wrongSnapshot puts an empty state where the newest snapshot is, whole by its checksums and of the right entry.
func wrongSnapshot(b bench) { replaceState(b, b.last("meta/0/snapshot/", "*")) }

func replaceState(b bench, key string) {
	b.t.Helper()
	body := b.body(key)
	was, err := metadata.DecodeState(body[72:])
	if err != nil {
		b.t.Fatal(err)
	}
	state := metadata.NewState()
	for state.Next() < was.Next() {
		state.Apply(metadata.Entry{Seq: state.Next(), Term: 1, Time: 1})
	}
	b.put(key, reseal(body, state.Encode()))
}

// What is lost is told and stays told: nothing is papered over, and what is whole is not touched.
func TestRepairSaysWhatItCannot(t *testing.T) {
	b := bench{stopped(t), t}
	lost, kept := b.keys("tables/orders/_data/", "*")[0], b.keys("tables/orders/_data/", "*")[1]
	b.drop(lost)
	dropTableLog(b)
	gone := b.drop(b.referred())
	foreign := b.put("notes.txt", []byte("x"))
	report, err := repair(t, b, false)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]fsck.Kind{}
	for _, f := range report.Findings {
		kinds[f.Key] = f.Kind
	}
	if len(kinds) != 3 || kinds[lost] != fsck.FileMissing || kinds[gone] != fsck.ObjectMissing || kinds[foreign] != fsck.Unknown {
		t.Errorf("left %v", report.Findings)
	}
	if len(report.Refused) != 1 || !strings.Contains(report.Refused[0], lost) {
		t.Errorf("refused %q, want the file that is lost", report.Refused)
	}
	if s := table(t, b, "tables/orders"); strings.Contains(s, lost[len("tables/orders/"):]) || !strings.Contains(s, kept[len("tables/orders/"):]) {
		t.Errorf("the table is\n%s", s)
	}
	b.body(foreign)
}

// An agent at work, or one that may be, is not disturbed.
func TestRepairRefusesAStoreInUse(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	a := start(t, store, func(c *barge.Config) { c.TableCommitInterval = time.Hour })
	a.produce("orders", 10)
	waits := record.ObjectKey(1, 99, "abc")
	if err := store.Put(t.Context(), waits, []byte("late")); err != nil {
		t.Fatal(err)
	}
	if _, err := repair(t, store, false); !errors.Is(err, fsck.ErrInUse) || !strings.Contains(err.Error(), a.Addr()) {
		t.Fatalf("%v, want ErrInUse and the agent's address", err)
	}
	if _, err := store.Get(t.Context(), waits, 100); err != nil {
		t.Errorf("a refused repair deleted something: %v", err)
	}
	a.produce("orders", 10) // it was not fenced
	report, err := repair(t, store, true)
	if err != nil || !report.Clean() || len(report.Repaired) < 2 {
		t.Fatalf("forced: %v, repaired %q, left %v", err, report.Repaired, report.Findings)
	}
	if !slices.ContainsFunc(report.Repaired, func(line string) bool { return strings.HasPrefix(line, "sealed session") }) {
		t.Errorf("the agent was taken for dead and its session is not sealed: %q", report.Repaired)
	}
	a.stop() // it follows the repair's term, and goes on in another session
}

// meddled is a store in which something happens when objects under wal/ are first listed.
type meddled struct {
	objectstore.Store
	happens func()
}

func (m *meddled) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	if prefix == "wal/" && m.happens != nil {
		m.happens()
		m.happens = nil
	}
	return m.Store.List(ctx, prefix, after, limit)
}

// An agent that appends during the check is alive, whatever it is taken for.
func TestForcedRepairRefusesALogThatGrows(t *testing.T) {
	b := bench{stopped(t), t}
	dropTableLog(b)
	m := &meddled{Store: b.Memory, happens: func() {
		b.sequenced(func(log *metadata.Sequencer, _ *metadata.View) {
			do[metadata.OpenSessionResult](b, log, metadata.OpenSession{Agent: metadata.AgentInfo{Level: metadata.MaxLevel}})
		})
	}}
	if _, err := repair(t, m, true); !errors.Is(err, fsck.ErrInUse) || !strings.Contains(err.Error(), "during the check") {
		t.Errorf("%v, want ErrInUse", err)
	}
	if len(b.list("tables/orders/_delta_log/")) > 0 {
		t.Error("a refused repair wrote something")
	}
}

// reseal is a snapshot object of another state, with the checksums that belong to it.
func reseal(object []byte, state []byte) []byte {
	head := slices.Clone(object[:72])
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint64(head[56:], uint64(len(state)))
	binary.BigEndian.PutUint32(head[64:], crc32.Checksum(state, table))
	binary.BigEndian.PutUint32(head[68:], crc32.Checksum(head[:68], table))
	return append(head, state...)
}

// An old copy of the log makes what came since look like litter: nothing is deleted then.
func TestRepairLeavesAloneWhatIsNewerThanTheLog(t *testing.T) {
	b := bench{stopped(t), t}
	for _, form := range []string{"meta/0/log/", "meta/0/snapshot/"} {
		keys := b.keys(form, "*")
		for _, key := range keys[len(keys)/2:] {
			b.drop(key)
		}
	}
	before := b.keys("", "*")
	report, err := repair(t, b, true)
	if err != nil {
		t.Fatal(err)
	}
	if after := b.keys("", "*"); !slices.Equal(after, before) {
		t.Errorf("%d objects before, %d after", len(before), len(after))
	}
	older := slices.ContainsFunc(report.Findings, func(f fsck.Finding) bool { return f.Kind == fsck.LogOlder })
	if !older || len(report.Repaired) > 0 || len(report.Refused) != 1 {
		t.Errorf("found %v, repaired %q, refused %q", report.Findings, report.Repaired, report.Refused)
	}
}

// With three snapshots of which the oldest is wrong, those that disagree with it are not deleted.
func TestRepairDoesNotTakeTheWordOfTheOldestSnapshot(t *testing.T) {
	b := bench{stopped(t), t}
	snapshots := b.keys("meta/0/snapshot/", "*")
	seq, err := strconv.ParseUint(snapshots[0][len("meta/0/snapshot/"):], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range b.keys("meta/0/log/", "*") { // as a truncation leaves it
		if key[len("meta/0/log/"):] < snapshots[0][len("meta/0/snapshot/"):] {
			b.drop(key)
		}
	}
	b.put(fmt.Sprintf("meta/0/boundary/%020d", seq), nil)
	clean(t, b, "truncated log")
	replaceState(b, snapshots[0])
	report, err := repair(t, b, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Repaired) > 0 || report.Clean() {
		t.Errorf("found %v, repaired %q", report.Findings, report.Repaired)
	}
	if left := b.keys("meta/0/snapshot/", "*"); len(left) != len(snapshots) {
		t.Errorf("%d snapshots are left of %d", len(left), len(snapshots))
	}
}
