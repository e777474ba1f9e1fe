package compactor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow/delta"
)

// Ways for a call of an agent to end. After the crashes it is dead: nothing it calls has any effect.
const (
	crashBefore = iota // nothing has happened
	crashAfter         // it has happened, and nobody heard the answer
	crashLate          // it happens long after the agent's successor has cleaned up; a log command: as crashBefore
	failBefore         // nothing has happened, and the agent lives on
	failAfter          // it has happened, and the agent lives on without an answer
	numWays
)

var errLost = fmt.Errorf("the answer is lost: %w", objectstore.ErrUnknown)

// crasher is the world of an agent whose at-th call of store or log goes wrong. It checks each deletion (I8).
type crasher struct {
	*lab
	at, how int
	calls   int
	late    func() // what is still on its way
	lateKey string
	stats   Stats // of the agent that lived last
}

func (c *crasher) dead() bool { return c.calls >= c.at && c.how <= crashLate }

// call makes a call with an effect, or lets it go wrong.
func (c *crasher) call(key string, do func() error) error {
	if c.dead() {
		return errLost
	}
	if c.calls++; c.calls != c.at {
		return do()
	}
	switch c.how {
	case crashAfter, failAfter:
		_ = do()
	case crashLate:
		c.late, c.lateKey = func() { _ = do() }, key
	}
	return errLost
}

func (c *crasher) Do(ctx context.Context, cmd metadata.Command) (res metadata.Result, err error) {
	if c.dead() {
		return nil, metadata.ErrUnavailable
	}
	if c.calls++; c.calls != c.at {
		return c.lab.Do(ctx, cmd)
	}
	if c.how == crashAfter || c.how == failAfter {
		_, _ = c.lab.Do(ctx, cmd)
	}
	return nil, metadata.ErrUnavailable
}

func (c *crasher) Create(ctx context.Context, key string, body []byte) (at time.Time, err error) {
	body = slices.Clone(body)
	err = c.call(key, func() error {
		at, err = c.store.Create(context.WithoutCancel(ctx), key, body)
		return err
	})
	return at, err
}

func (c *crasher) Put(ctx context.Context, key string, body []byte) error {
	body = slices.Clone(body)
	return c.call(key, func() error { return c.store.Put(context.WithoutCancel(ctx), key, body) })
}

func (c *crasher) Delete(ctx context.Context, keys ...string) error {
	referred := c.referred()
	return c.call("", func() error {
		for _, key := range keys {
			if by := referred[key]; by != "" {
				c.t.Errorf("I8: %s is deleted, %s refers to it", key, by)
			}
		}
		return c.store.Delete(context.WithoutCancel(ctx), keys...)
	})
}

func (c *crasher) Get(ctx context.Context, key string, maxBytes int64) (body []byte, err error) {
	err = c.call("", func() error {
		body, err = inlineStore{c.store, c.inline}.Get(ctx, key, maxBytes)
		return err
	})
	return body, err
}

func (c *crasher) GetRange(ctx context.Context, key string, pos, length int64) (body []byte, err error) {
	err = c.call("", func() error {
		body, err = inlineStore{c.store, c.inline}.GetRange(ctx, key, pos, length)
		return err
	})
	return body, err
}

func (c *crasher) List(ctx context.Context, prefix, after string, limit int) (list []objectstore.Object, err error) {
	err = c.call("", func() error {
		list, err = c.store.List(ctx, prefix, after, limit)
		return err
	})
	return list, err
}

// referred are the objects that runs, files and live table versions refer to.
func (l *lab) referred() map[string]string {
	l.t.Helper()
	by := map[string]string{}
	for _, tp := range l.view.Topics() {
		for _, pt := range l.view.PendingRuns(tp.ID) {
			for _, part := range pt.Partitions {
				for _, r := range part.Runs {
					by[r.Key] = "a run of " + tp.Name
				}
			}
		}
		for _, f := range l.view.Files(tp.ID) {
			by[f.Key] = "a file of " + tp.Name
		}
		snap, err := delta.NewLog(l.store, tp.TableDir, time.Now).Load(l.t.Context())
		if errors.Is(err, delta.ErrNoTable) {
			continue
		}
		if err != nil {
			l.t.Fatal(err)
		}
		for _, add := range snap.Adds() {
			by[tp.TableDir+"/"+add.Path] = "the table of " + tp.Name
		}
	}
	return by
}

// tablesHold tells where a table's newest version is not what the log says: each file that is not pending once, and progress to
// its end (I7).
func (l *lab) tablesHold(note string) {
	l.t.Helper()
	for _, tp := range l.view.Topics() {
		if !tp.TableEnabled() || len(l.view.Files(tp.ID)) == 0 {
			continue
		}
		snap := l.table(tp)
		var want, got []string
		for _, f := range l.view.Files(tp.ID) {
			want = append(want, strings.TrimPrefix(f.Key, tp.TableDir+"/"))
			for _, part := range f.Parts {
				app := delta.PartitionApp("lab", record.Partition{Topic: tp.ID, Index: part.Partition})
				if end, _ := snap.Txn(app); end < int64(part.End) {
					l.t.Errorf("I7: %s: table %s has come to %d in partition %d, its files to %d", note, tp.Name, end, part.Partition, part.End)
				}
			}
		}
		for _, add := range snap.Adds() {
			got = append(got, add.Path)
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			l.t.Errorf("I7: %s: table %s holds %v, the log's files are %v", note, tp.Name, got, want)
		}
	}
}

// lateAfter is the step of a life at whose beginning late writes land: everything has been swept twice.
const lateAfter = 24 * time.Hour

func (c *crasher) land() {
	if c.late != nil {
		c.late()
		c.late = nil
	}
}

// life is the work of a cluster for a day or so: what one agent leaves undone, the next one does.
func (c *crasher) life(from int, agent func() *Compactor) (reached int, ended bool) {
	worker := agent()
	defer func() { c.stats = worker.Stats() }()
	for _, wait := range []time.Duration{0, time.Minute, time.Second, time.Hour, 11 * time.Minute, time.Hour, lateAfter, 11 * time.Minute}[from:] {
		if wait == lateAfter {
			c.land()
		}
		c.clock = c.clock.Add(wait)
		for range 4 {
			if err := worker.Round(c.t.Context()); err != nil && c.calls < c.at {
				c.t.Errorf("round: %v", err)
			}
			if c.dead() {
				return from + reached, false
			}
		}
		reached++
	}
	return from + reached, true
}

// Whatever call of store or log goes wrong, in whatever way, and whether the agent goes on or another one does: every record
// stays readable and enters its table once, nothing that is referred to is deleted, and nothing is left.
func TestAnyCallMayGoWrongI6I7I8(t *testing.T) {
	calls, moved := 0, int64(0)
	for at := 1; ; at++ {
		for how := range numWays {
			note := fmt.Sprintf("call %d, way %d", at, how)
			l := newLab(t)
			a, b := l.createTopic("a", nil), l.createTopic("b", map[string]string{"barge.table.commit.interval.ms": "3600000"})
			gone, plain := l.createTopic("gone", nil), l.createTopic("plain", map[string]string{"barge.table.enable": "false"})
			l.produce(1, gone)
			lost := l.upload(l.sess, 90)
			l.seal()
			l.produce(2, a, b)
			l.produceParts(1, true, record.Partition{Topic: a.ID}, record.Partition{Topic: b.ID, Index: 1})
			l.produce(1, b, plain)
			c := &crasher{lab: l, at: at, how: how}
			cfg := l.compactor().cfg
			agent := func() *Compactor {
				base := l.compactor()
				cfg.Session, cfg.ReadAhead = l.sess, 1
				return New(cfg, l.view, c, c, base.now, base.random, base.logger)
			}
			if res := ask[metadata.DeleteTopicResult](l, metadata.DeleteTopic{ID: gone.ID}); res.Err != nil {
				t.Fatal(res.Err)
			}
			delete(l.sent, record.Partition{Topic: gone.ID})
			step, ended := c.life(0, agent)
			whole := c.calls < at
			if whole {
				calls = c.calls
				s := c.stats
				for what, n := range map[string]int64{
					"files": s.Files - 2, "versions": s.TableCommits - 1, "moved": s.ObjectsMoved, "swept": s.ObjectsSwept, "deleted": s.ObjectsDeleted - 1, "forgotten": s.SessionsForgotten,
				} {
					if n < 1 {
						t.Errorf("a whole life had too little of: %s (%+v)", what, s)
					}
				}
			}
			l.allThere(note)

			// Another agent takes over, and is done with all before what is late lands.
			l.seal()
			c.at = 1 << 30
			second := agent()
			last := New(second.cfg, l.view, c, c, second.now, second.random, second.logger)
			if !ended {
				if _, ok := c.life(step, func() *Compactor { return second }); !ok {
					t.Fatalf("%s: the second agent died, too", note)
				}
				moved += second.Stats().ObjectsMoved
			}
			l.allThere(note + ", finished")
			c.land()
			for range 3 {
				l.clock = l.clock.Add(25 * time.Hour)
				l.rounds(last)
			}
			l.allThere(note + ", a day later")
			l.tablesHold(note)
			l.nothingIsLeft(note, c.lateKey)
			if l.exists(lost) {
				t.Errorf("%s: %s was never committed and is still there", note, lost)
			}
			if t.Failed() {
				return
			}
		}
		if calls > 0 {
			break
		}
	}
	t.Logf("%d calls of store and log, each in %d ways", calls, numWays)
	if moved == 0 {
		t.Error("no successor moved anything")
	}
}

// nothingIsLeft looks for WAL objects and data files that nobody refers to. A Parquet file that landed after its job was swept
// is fsck's to find.
func (l *lab) nothingIsLeft(note, late string) {
	l.t.Helper()
	referred := l.referred()
	for _, prefix := range []string{"wal/", "tables/"} {
		objects, err := l.store.List(l.t.Context(), prefix, "", 1000)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, o := range objects {
			parquet := strings.Contains(o.Key, "/_data/")
			if referred[o.Key] != "" || strings.Contains(o.Key, "/_delta_log/") || parquet && o.Key == late {
				continue
			}
			l.t.Errorf("%s: %s is left, and nothing refers to it", note, o.Key)
		}
	}
	for _, p := range l.view.PendingTables(record.TopicID{}, 10) {
		l.t.Errorf("%s: table %s is not up to date", note, p.Topic.Name)
	}
	if n := len(l.view.Sessions()); n != max(l.agents, 1) {
		l.t.Errorf("%s: %d sessions in the state, want %d living ones", note, n, max(l.agents, 1))
	}
	if n := len(l.view.Jobs()) + len(l.view.Released()) + len(l.view.Tombstones()); n != 0 {
		l.t.Errorf("%s: jobs %v, released %v, tombstones %v", note, l.view.Jobs(), l.view.Released(), l.view.Tombstones())
	}
}

// pausedLog stops before the first command of a kind until between has run.
type pausedLog struct {
	*lab
	before  string
	between func()
}

func (p *pausedLog) Do(ctx context.Context, cmd metadata.Command) (metadata.Result, error) {
	if between := p.between; between != nil && fmt.Sprintf("%T", cmd) == p.before {
		p.between = nil
		between()
	}
	return p.lab.Do(ctx, cmd)
}

// An agent that is paused anywhere in a job, for as long as it takes another to seal its session and do the work, changes nothing
// any more when it goes on (I6, I7), and what it wrote is swept.
func TestAPausedAgentChangesNothingI6I7(t *testing.T) {
	for _, before := range []metadata.Command{metadata.ClaimJob{}, metadata.Replace{}, metadata.Projected{}, metadata.ForgetObjects{}} {
		kind := fmt.Sprintf("%T", before)
		l := newLab(t)
		a, b := l.createTopic("a", nil), l.createTopic("b", map[string]string{"barge.table.commit.interval.ms": "3600000"})
		l.produce(2, a, b)
		l.produce(1, a, b)
		l.clock = l.clock.Add(time.Minute)
		log := &pausedLog{lab: l, before: kind}
		base := l.compactor()
		zombie := New(base.cfg, l.view, log, base.store, base.now, base.random, base.logger)
		var next *Compactor
		paused := false
		log.between = func() {
			paused = true
			l.seal()
			next = l.compactor()
			l.rounds(next)
		}
		for range 3 {
			_ = zombie.Round(t.Context()) // it may fail, and is told so
			l.clock = l.clock.Add(11 * time.Minute)
		}
		if !paused {
			t.Fatalf("%s was never given", kind)
		}
		l.allThere("paused before " + kind)
		for range 3 {
			l.clock = l.clock.Add(25 * time.Hour)
			l.rounds(next)
		}
		l.allThere("paused before " + kind + ", a day later")
		l.tablesHold("paused before " + kind)
		l.nothingIsLeft("paused before "+kind, "")
	}
}
