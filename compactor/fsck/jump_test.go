package fsck_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/compactor/fsck"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/tableflow/delta"
)

// jumping is a store that is at one moment of its life until so many calls were made, and at a later one from then on.
type jumping struct {
	calls, at int
	now       fsck.Store
	later     fsck.Store
}

func (j *jumping) step() fsck.Store {
	if j.calls == j.at {
		j.now = j.later
	}
	j.calls++
	return j.now
}

func (j *jumping) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	return j.step().Get(ctx, key, maxBytes)
}

func (j *jumping) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	return j.step().GetRange(ctx, key, pos, length)
}

func (j *jumping) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	return j.step().List(ctx, prefix, after, limit)
}

// Whatever an agent does between any two requests of a check (it compacts, commits versions of tables, deletes what it released, takes
// a snapshot and prunes old ones), nothing is reported.
func TestCheckIsCleanWheneverTheStoreMovesOn(t *testing.T) {
	store := objectstore.NewMemory(time.Now)
	var moments []*objectstore.Memory
	for round := range 6 {
		compacts := round%2 == 1
		a := start(t, store, func(c *barge.Config) {
			c.ReleaseGrace = 0
			if !compacts {
				c.TableCommitInterval = time.Hour
			}
			if round == 2 || round == 4 {
				c.InlineBytes = 0
			}
		})
		a.produce("orders", 60)
		a.produce(fmt.Sprintf("topic%d", round/2), 40)
		if compacts {
			a.compacted("orders", int64(60*(round+1)))
			a.compacted(fmt.Sprintf("topic%d", round/2), 80)
		}
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		moments = append(moments, bucket(t, store))
	}
	// A topic is deleted, and its table dropped.
	a := start(t, store, nil)
	a.remove("topic0")
	moments = append(moments, bucket(t, store))
	b := bench{store, t}
	for end := time.Now().Add(20 * time.Second); len(b.list("tables/topic0/")) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the table was not dropped within 20 s")
		}
	}
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	moments = append(moments, bucket(t, store))
	step := 1
	if testing.Short() {
		step = 5
	}
	jumps := 0
	for _, m := range []struct{ from, to int }{{0, 1}, {1, 2}, {2, 5}, {3, 5}, {0, 5}, {5, 7}, {6, 7}} {
		for _, full := range []bool{true, false} {
			o := options
			o.Full = full
			for at, more := 0, true; more; at += step {
				j := &jumping{at: at, now: moments[m.from], later: moments[m.to]}
				for _, f := range check(t, j, o).Findings {
					t.Errorf("moment %d to %d before call %d, full %v: %s", m.from, m.to, at, full, f)
				}
				more = j.calls > at
				jumps++
			}
		}
	}
	t.Logf("%d jumps", jumps)
}

// late is a store in which a key is not there when it is first asked for.
type late struct {
	fsck.Store
	key   string
	asked bool
}

func (l *late) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	if key == l.key && !l.asked {
		l.asked = true
		return nil, fmt.Errorf("get %s: %w", key, objectstore.ErrNotFound)
	}
	return l.Store.Get(ctx, key, maxBytes)
}

// A checkpoint is there a moment before the hint that names it.
func TestCheckpointMayWaitForItsHint(t *testing.T) {
	b := bench{stopped(t), t}
	b.checkpointed("tables/orders")
	l := &late{Store: b, key: "tables/orders/_delta_log/_last_checkpoint"}
	if report := check(t, l, options); !l.asked || !report.Clean() {
		t.Errorf("asked %v, found %v", l.asked, report.Findings)
	}
}

// noTables is a store that takes no version of a table.
type noTables struct{ objectstore.Store }

func (s noTables) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	if strings.Contains(key, "/_delta_log/") {
		return time.Time{}, fmt.Errorf("create %s: %w", key, objectstore.ErrDenied)
	}
	return s.Store.Create(ctx, key, body)
}

// Files whose adds wait for their table are explained; a table that holds one without saying so would get it twice.
func TestAddsThatWaitAreExplained(t *testing.T) {
	b := bench{objectstore.NewMemory(time.Now), t}
	a := start(t, b, nil)
	a.produce("orders", 100)
	a.compacted("orders", 100)
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	a = start(t, noTables{b}, nil)
	a.produce("orders", 100)
	a.compacted("orders", 200) // which the log counts; its table has the version that it had
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	clean(t, b, "with adds that wait")
	var added string
	b.commit("tables/orders", func(s *delta.Snapshot) []delta.Action {
		for _, key := range b.keys("tables/orders/_data/", "*") {
			rel := strings.TrimPrefix(key, "tables/orders/")
			if s.Has(rel) {
				continue
			}
			added = key
			return []delta.Action{delta.Add{Path: rel, Size: int64(len(b.body(key))), DataChange: true, Stats: "{}"}}
		}
		t.Fatal("the table holds every file")
		return nil
	})
	want{fsck.TableFiles, fsck.Error, "its progress says that it does not", true, "orders"}.in(t, check(t, b, options), added)
}
