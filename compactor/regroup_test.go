package compactor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

func TestRegroupWaitsForBytesOrAge(t *testing.T) {
	lim := DefaultLimits()
	lim.JobBytes, lim.RegroupBytes, lim.RegroupAge, lim.InlineAge = 1000, 100, time.Minute, 5*time.Minute
	const now = 1_000_000
	for name, c := range map[string]struct {
		b    metadata.Backlog
		due  bool
		want Scope
	}{
		"nothing there":            {metadata.Backlog{}, true, ScopeNone},
		"nothing but held back":    {metadata.Backlog{Objects: 2, Bytes: 1000, Inline: 1}, true, ScopeNone},
		"young and small":          {metadata.Backlog{Objects: 3, Bytes: 99, Oldest: now - 59_999}, true, ScopeNone},
		"large":                    {metadata.Backlog{Objects: 3, Bytes: 100, Oldest: now}, true, ScopeAll},
		"large, nothing due":       {metadata.Backlog{Objects: 3, Bytes: 999, Oldest: now}, false, ScopeNone},
		"a whole job, nothing due": {metadata.Backlog{Objects: 3, Bytes: 1000, Oldest: now}, false, ScopeAll},
		"old":                      {metadata.Backlog{Objects: 3, Bytes: 1, Oldest: now - 60_000}, true, ScopeAll},
		"old, nothing due":         {metadata.Backlog{Objects: 3, Bytes: 1, Oldest: now - 86_400_000}, false, ScopeNone},
		"from the future":          {metadata.Backlog{Objects: 3, Bytes: 1, Oldest: now + 1}, true, ScopeAll},
		"young inline":             {metadata.Backlog{Objects: 3, Bytes: 1, Oldest: now - 400_000, Inline: 1, OldestInline: now - 299_999}, false, ScopeNone},
		"old inline":               {metadata.Backlog{Objects: 3, Bytes: 1, Oldest: now - 400_000, Inline: 1, OldestInline: now - 300_000}, false, ScopeInline},
		"old inline and due":       {metadata.Backlog{Objects: 3, Bytes: 1, Oldest: now - 400_000, Inline: 1, OldestInline: now - 300_000}, true, ScopeAll},
	} {
		if got := Regroup(c.b, c.due, now, lim); got != c.want {
			t.Errorf("%s: scope %d, want %d", name, got, c.want)
		}
	}
}

func TestASpanIsCutAtTheBoundsOfAJob(t *testing.T) {
	lim := DefaultLimits()
	lim.JobBytes, lim.JobObjects, lim.JobRuns = 1000, 4, 50
	for name, c := range map[string]struct {
		sizes []record.Len
		runs  int
		want  int
	}{
		"all":                       {[]record.Len{10, 10, 10}, 1, 3},
		"bytes":                     {[]record.Len{500, 500, 1}, 1, 2},
		"the first is always taken": {[]record.Len{5000, 1}, 1, 1},
		"objects":                   {[]record.Len{1, 1, 1, 1, 1}, 1, 4},
		"runs":                      {[]record.Len{1, 1, 1}, 20, 2},
	} {
		var objects []metadata.BacklogObject
		for _, size := range c.sizes {
			objects = append(objects, metadata.BacklogObject{Size: size, Runs: c.runs})
		}
		if got := cutObjects(objects, lim); len(got) != c.want {
			t.Errorf("%s: %d objects, want %d", name, len(got), c.want)
		}
	}
}

// spanOf lists the runs as State would: each topic's, by partition.
func spanOf(topics ...metadata.PendingTopic) Span {
	var span Span
	seen := map[string]bool{}
	for _, p := range topics {
		for _, part := range p.Partitions {
			for _, r := range part.Runs {
				if !seen[r.Key] && !r.Sorted {
					seen[r.Key] = true
					span.Objects = append(span.Objects, metadata.BacklogObject{Key: r.Key, Size: r.ObjectSize, CommittedAt: r.CommittedAt})
				}
			}
		}
		kept := p
		kept.Partitions = nil
		for _, part := range p.Partitions {
			part.Runs = slices.DeleteFunc(slices.Clone(part.Runs), func(r metadata.Run) bool { return r.Sorted })
			if len(part.Runs) > 0 {
				kept.Partitions = append(kept.Partitions, part)
			}
		}
		span.Topics = append(span.Topics, kept)
	}
	slices.SortFunc(span.Objects, func(a, b metadata.BacklogObject) int { return int(a.CommittedAt - b.CommittedAt) })
	slices.SortFunc(span.Topics, func(a, b metadata.PendingTopic) int {
		return record.Partition{Topic: a.Topic.ID}.Compare(record.Partition{Topic: b.Topic.ID})
	})
	return span
}

func sortedRun(key string, pos record.Pos, base, end record.Offset, at int64) metadata.Run {
	return metadata.Run{Key: key, ObjectSize: 1000, Pos: pos, Base: base, End: end, Len: 100, CommittedAt: at, Sorted: true}
}

func part(index int32, runs ...metadata.Run) metadata.PendingPartition {
	return metadata.PendingPartition{Index: index, Runs: runs}
}

// shown renders a job for comparison.
func shown(job Job) string {
	var b strings.Builder
	for _, o := range job.Objects {
		fmt.Fprintf(&b, "%s ", o.Key)
	}
	for _, r := range job.Ranges {
		fmt.Fprintf(&b, "%s[%d+%d] ", r.Key, r.Pos, r.Len)
	}
	for _, t := range job.Topics {
		for _, p := range t.Parts {
			fmt.Fprintf(&b, "| file %s/%d %d-%d ", t.Topic.Name, p.Partition, p.Runs[0].Base, p.Runs[len(p.Runs)-1].End)
		}
	}
	for _, m := range job.Moved {
		fmt.Fprintf(&b, "| move %s/%d %d-%d ", strings.TrimRight(string(m.Partition.Topic[:]), "\x00"), m.Partition.Index, m.Runs[0].Base, m.Runs[len(m.Runs)-1].End)
	}
	return strings.TrimSpace(b.String())
}

func TestASpanBecomesFilesAndOneRegroupedObject(t *testing.T) {
	a := pendingTopic(topic("a", nil), 100, part(0, run("o1", 100, 0, 10, 1), run("o2", 100, 10, 20, 2)))
	b := pendingTopic(topic("b", nil), 100, part(0, run("o1", 100, 0, 5, 1), run("o3", 100, 5, 9, 3)), part(1, run("o2", 100, 0, 4, 2)))
	c := pendingTopic(topic("c", nil), 100, part(0, sortedRun("s", 400, 0, 7, 0), run("o3", 100, 7, 8, 3)))
	d := pendingTopic(topic("d", nil), 100, part(0, sortedRun("s", 500, 0, 7, 0), run("o2", 100, 7, 8, 2), run("later", 100, 8, 9, 9)))
	span := spanOf(a, b, c, pendingTopic(d.Topic, 100, part(0, d.Partitions[0].Runs[:2]...)))
	lim := DefaultLimits()
	for name, tc := range map[string]struct {
		due  []metadata.PendingTopic
		lim  func(*Limits)
		want string
	}{
		"one is due": {
			[]metadata.PendingTopic{a}, nil, "o1 o2 o3 | file a/0 0-20 | move b/0 0-9 | move b/1 0-4 | move c/0 7-8 | move d/0 7-8",
		},
		"all are due": {
			// What follows the span stays where it is.
			[]metadata.PendingTopic{a, b, c, d}, nil, "o1 o2 o3 s[400+200] | file a/0 0-20 | file b/0 0-9 | file b/1 0-4 | file c/0 0-8 | file d/0 0-8",
		},
		"nothing is due": {nil, nil, "o1 o2 o3 | move a/0 0-20 | move b/0 0-9 | move b/1 0-4 | move c/0 7-8 | move d/0 7-8"},
		"no room for sorted runs": {
			[]metadata.PendingTopic{a, c}, func(l *Limits) { l.JobBytes = 399 }, "o1 o2 o3 | file a/0 0-20 | move b/0 0-9 | move b/1 0-4 | move c/0 7-8 | move d/0 7-8",
		},
		"files are bounded": {
			[]metadata.PendingTopic{a, b}, func(l *Limits) { l.JobTopics = 1 }, "o1 o2 o3 | file a/0 0-20 | move b/0 0-9 | move b/1 0-4 | move c/0 7-8 | move d/0 7-8",
		},
		"partitions of a file are bounded": {
			[]metadata.PendingTopic{b}, func(l *Limits) { l.FileParts = 1 }, "o1 o2 o3 | file b/0 0-9 | move a/0 0-20 | move b/1 0-4 | move c/0 7-8 | move d/0 7-8",
		},
		"bytes are bounded": {
			[]metadata.PendingTopic{a}, func(l *Limits) { l.JobBytes = 200 }, "o1 o2 | file a/0 0-20 | move b/0 0-5 | move b/1 0-4 | move d/0 7-8",
		},
		"moved partitions are bounded": {
			[]metadata.PendingTopic{a}, func(l *Limits) { l.JobMoved = 2 }, "o1 | file a/0 0-10 | move b/0 0-5",
		},
	} {
		l := lim
		if tc.lim != nil {
			tc.lim(&l)
		}
		inOrder(tc.due)
		if got := shown(regroupJob(tc.due, span, l)); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, tc.want)
		}
	}
}

func TestAnObjectOfAClaimedTopicIsNotRegrouped(t *testing.T) {
	a := pendingTopic(topic("a", nil), 100, part(0, run("o1", 100, 0, 10, 1), run("o2", 100, 10, 20, 2), run("o3", 100, 20, 30, 3)))
	b := pendingTopic(topic("b", nil), 100, part(0, run("o2", 100, 0, 5, 2)))
	b.Claimed = true
	// The file ends before the object that stays, and what follows it moves as a stretch of its own.
	if got, want := shown(regroupJob([]metadata.PendingTopic{a}, spanOf(a, b), DefaultLimits())), "o1 o3 | file a/0 0-10 | move a/0 20-30"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTopicsShareNoJobAndSortedRunsFindRoom(t *testing.T) {
	lim := DefaultLimits()
	lim.JobBytes = 250
	a := pendingTopic(topic("a", nil), 100, part(0, sortedRun("s", 100, 0, 5, 0), run("o1", 200, 5, 9, 1)))
	b := pendingTopic(topic("b", nil), 100, part(0, sortedRun("s", 200, 0, 5, 0), sortedRun("s2", 100, 5, 6, 1), sortedRun("s3", 0, 6, 7, 2)))
	c := pendingTopic(topic("c", nil), 100, part(0, run("o1", 200, 0, 5, 1)))
	var got []string
	for _, job := range Plan([]metadata.PendingTopic{a, b, c}, Span{}, false, lim) {
		got = append(got, shown(job))
	}
	// c comes with its object; a has no room beside it and comes by its sorted run alone; b takes what a job holds.
	want := []string{"o1 | file c/0 0-5", "s[100+100] | file a/0 0-5", "s[200+100] s2[100+100] | file b/0 0-6"}
	if !slices.Equal(got, want) {
		t.Errorf("jobs %q, want %q", got, want)
	}
}

func TestStretchesAreJoinedOverSmallGaps(t *testing.T) {
	r := func(key string, pos record.Pos, n record.Len) *metadata.Run {
		return &metadata.Run{Key: key, Pos: pos, Len: n, Sorted: true}
	}
	runs := []*metadata.Run{r("b", 0, 10), r("a", 300, 100), r("a", 64, 100), r("a", 189, 111), {Key: "raw"}, r("a", 1000, 10), r("a", 1014, 10)}
	want := []Range{{"a", 64, 336}, {"a", 1000, 10}, {"a", 1014, 10}, {"b", 0, 10}}
	if got := ranges(runs); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	big := []*metadata.Run{r("a", 0, 1<<20), r("a", 1<<20+maxGap, 10), r("a", 2<<20, 10)}
	if got := ranges(big); len(got) != 2 || got[0].Len != 1<<20+maxGap+10 {
		t.Errorf("%v, want a gap of %d joined and a larger one not", got, maxGap)
	}
}

func TestTopicsThatAreSoonDueAreTakenAlong(t *testing.T) {
	p := func(name string, interval string, oldest int64) metadata.PendingTopic {
		configs := map[string]string{}
		if interval != "" {
			configs["barge.table.commit.interval.ms"] = interval
		}
		return pendingTopic(topic(name, configs), 100, part(0, run("o", 1, 0, 1, oldest)))
	}
	names := func(budget int, topics ...metadata.PendingTopic) string {
		var found []string
		for _, p := range Due(topics, 100_000, budget, DefaultLimits()) {
			found = append(found, p.Topic.Name)
		}
		return strings.Join(found, " ")
	}
	due, half, young := p("due", "", 40_000), p("half", "", 70_000), p("young", "", 70_001)
	if got := names(20, due, half, young); got != "due half" {
		t.Errorf("due %q, want what has waited half a minute with what has waited one", got)
	}
	if got := names(20, half, young); got != "" {
		t.Errorf("due %q, though nothing has waited a minute", got)
	}
	if got := names(1, due, half); got != "due" {
		t.Errorf("due %q: the budget is for what is due", got)
	}
	quick := p("quick", "1000", 99_000)
	if got := names(20, quick, half, p("soon", "", 40_500)); got != "quick soon" {
		t.Errorf("due %q: a topic of one second takes others along that lack half a second at most", got)
	}
	large := p("large", "", 99_999)
	large.Bytes = 128 << 20
	if got := names(20, large, half); got != "large" {
		t.Errorf("due %q: what is due by its size takes nobody along", got)
	}
}

// Topics that lie side by side in sorted objects are compacted together, so that their stretches are read with one request.
func TestAShortBudgetIsSpentOnNeighbors(t *testing.T) {
	var pending []metadata.PendingTopic
	for i, oldest := range []int64{10_000, 14_000, 11_000, 15_000, 12_000, 16_000} { // every other one is due
		id := record.TopicID{byte(i + 1)}
		pending = append(pending, metadata.PendingTopic{Topic: metadata.Topic{ID: id, Partitions: 1}, Bytes: 100, Oldest: oldest})
	}
	pick := func(budget int) (ids []byte) {
		for _, p := range Due(pending, 73_000, budget, DefaultLimits()) {
			ids = append(ids, p.Topic.ID[0])
		}
		return ids
	}
	if got := pick(3); !slices.Equal(got, []byte{1, 2, 3}) {
		t.Errorf("topics %v of a budget of three, want neighbors", got)
	}
	if got := pick(0); got != nil {
		t.Errorf("topics %v of an empty budget", got)
	}
	pending[5].Bytes = 128 << 20
	if got := pick(2); !slices.Equal(got, []byte{6, 1}) {
		t.Errorf("topics %v of a budget of two, want first the one that may not wait", got)
	}
}

func TestTheBudgetIsGrantedByTheHalfMinute(t *testing.T) {
	b := newTokenBucket(20)
	at := time.UnixMilli(0)
	grant := func(after time.Duration) int {
		at = at.Add(after)
		b.refill(at, 1)
		return b.grant()
	}
	if got := grant(0); got != 1200 {
		t.Fatalf("%d commits at the start, want a minute's", got)
	}
	b.take(1000)
	if got := grant(time.Second); got != 220 {
		t.Fatalf("%d commits while some are left, want 220", got)
	}
	b.take(220)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{time.Second, 0}, {28 * time.Second, 0}, {time.Second, 600}, {time.Second, 620}, {time.Hour, 1200}} {
		if got := grant(c.after); got != c.want {
			t.Errorf("%d commits %v later, want %d", got, c.after, c.want)
		}
	}
}

// counting notes what is read.
type counting struct {
	objectstore.Store
	whole  map[string]int
	ranges int
}

func (c *counting) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	if strings.HasPrefix(key, "wal/") || strings.HasPrefix(key, "inline/") {
		c.whole[key]++
	}
	return c.Store.Get(ctx, key, maxBytes)
}

func (c *counting) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	c.ranges++
	return c.Store.GetRange(ctx, key, pos, length)
}

// The objects of a minute hold three topics, one of them due: each is read once, and the other two are then read by stretches.
func TestRegroupedTopicsAreReadByStretches(t *testing.T) {
	l := newLab(t)
	hourly := map[string]string{"barge.table.commit.interval.ms": "3600000"}
	a, b, d := l.createTopic("a", nil), l.createTopic("b", hourly), l.createTopic("d", hourly)
	var raw []string
	for range 5 {
		raw = append(raw, l.produce(2, a, b, d))
		l.clock = l.clock.Add(time.Second)
	}
	bytesOf := func(p record.Partition) (batches []string) {
		for _, pt := range l.view.PendingRuns(p.Topic) {
			for _, r := range pt.Partitions[0].Runs {
				body, err := l.GetRange(t.Context(), r.Key, int64(r.Pos), int64(r.Len))
				if err != nil {
					t.Fatal(err)
				}
				batches = append(batches, string(body))
			}
		}
		return batches
	}
	before := strings.Join(bytesOf(record.Partition{Topic: b.ID}), "")
	l.clock = l.clock.Add(time.Minute)
	base := l.compactor()
	store := &counting{Store: l.store, whole: map[string]int{}}
	base.cfg.ReadAhead = 1
	c := New(base.cfg, l.view, l, store, base.now, base.random, base.logger)
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range raw {
		if store.whole[key] != 1 {
			t.Errorf("%s was read %d times, want once", key, store.whole[key])
		}
	}
	if got := l.view.Backlog(); got.Objects != 0 {
		t.Errorf("%d objects still hold runs", got.Objects)
	}
	if n := len(l.view.Released()); n != len(raw) {
		t.Errorf("%d objects released, want %d", n, len(raw))
	}
	l.allThere("after regrouping")
	for _, pt := range l.view.PendingRuns(b.ID, d.ID) {
		if runs := pt.Partitions[0].Runs; len(runs) != 1 || !runs[0].Sorted || pt.Oldest != 1_700_000_000_000 {
			t.Errorf("%s: %d runs since %d, the first sorted: %v; want one run of the old age", pt.Topic.Name, len(runs), pt.Oldest, runs[0].Sorted)
		}
	}
	if after := strings.Join(bytesOf(record.Partition{Topic: b.ID}), ""); after != before {
		t.Error("I6: batches are not byte-identical after they moved")
	}
	s := c.Stats()
	if s.ObjectsMoved != 1 || s.Files != 1 || s.BytesMoved == 0 {
		t.Errorf("%d objects written for moved runs, %d files; want one each", s.ObjectsMoved, s.Files)
	}

	store.whole, store.ranges = map[string]int{}, 0
	l.clock = l.clock.Add(time.Hour)
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(store.whole) != 0 || store.ranges != 1 {
		t.Errorf("read %v whole and %d stretches, want one stretch for two topics that lie side by side", store.whole, store.ranges)
	}
	l.allThere("in files")
	for _, tp := range []metadata.Topic{a, b, d} {
		if got := l.table(tp).Files(); got != 1 {
			t.Errorf("table %s has %d files", tp.Name, got)
		}
	}
}

// Before the log's level allows it nothing moves.
func TestNothingMovesBelowItsLevel(t *testing.T) {
	l := newLab(t)
	l.view, l.seq = metadata.NewView(), 0
	l.open()
	a, b := l.createTopic("a", nil), l.createTopic("b", map[string]string{"barge.table.commit.interval.ms": "3600000"})
	l.produce(1, a, b)
	l.clock = l.clock.Add(time.Hour / 2)
	c := l.compactor()
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.ObjectsMoved != 0 || s.Files != 1 {
		t.Errorf("%d objects moved, %d files; want a file alone", s.ObjectsMoved, s.Files)
	}
}

// Whatever arrives when: every record stays readable at its offset, an object that is regrouped ends without runs, and no record is
// written more often than once raw, once regrouped, and once in a file.
func TestEachRecordMovesOnceAndEntersOneFile(t *testing.T) {
	moves, files := 0, 0
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 7))
		l := newLab(t)
		var parts []record.Partition
		for i := range 2 + rng.IntN(5) {
			configs := map[string]string{}
			if rng.IntN(2) == 0 {
				configs["barge.table.commit.interval.ms"] = fmt.Sprint(1000 * (1 + rng.IntN(600)))
			}
			tp := l.createTopic(fmt.Sprintf("t%d", i), configs)
			parts = append(parts, record.Partition{Topic: tp.ID}, record.Partition{Topic: tp.ID, Index: 1})
		}
		base := l.compactor()
		cfg := base.cfg
		cfg.Limits.JobBytes = record.Len(500 + rng.IntN(5000))
		cfg.Limits.RegroupBytes = record.Len(rng.IntN(1000))
		cfg.Limits.SmallBytes = record.Len(200 + rng.IntN(2000))
		cfg.Limits.JobObjects, cfg.Limits.JobMoved, cfg.Limits.JobTopics = 1+rng.IntN(8), 1+rng.IntN(8), 1+rng.IntN(4)
		cfg.Limits.FileParts = 1 + rng.IntN(3)
		w := newWatcher(l)
		store := &counting{Store: inlineStore{l.store, l.inline}, whole: map[string]int{}}
		cfg.ReadAhead = 1
		c := New(cfg, l.view, w, store, base.now, base.random, base.logger)
		w.read = store.whole
		for range 60 {
			if rng.IntN(4) > 0 {
				var some []record.Partition
				for _, p := range parts {
					if rng.IntN(2) == 0 {
						some = append(some, p)
					}
				}
				if len(some) > 0 {
					l.produceParts(1+rng.IntN(3), rng.IntN(3) == 0, some...)
				}
			}
			l.clock = l.clock.Add(time.Duration(rng.IntN(40_000)) * time.Millisecond)
			if err := c.Round(t.Context()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		l.allThere(fmt.Sprintf("seed %d", seed))
		l.clock = l.clock.Add(time.Hour)
		for range 30 {
			if err := c.Round(t.Context()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if left := l.view.Pending(); len(left) > 0 {
			t.Fatalf("seed %d: %s still has runs long after all was due", seed, left[0].Topic.Name)
		}
		l.allThere(fmt.Sprintf("seed %d, in files", seed))
		for p, sent := range l.sent {
			if got := w.filed[p]; int(got) != len(sent) {
				t.Errorf("seed %d: %s: %d records entered files, want %d", seed, p, got, len(sent))
			}
		}
		moves += w.moves
		files += w.files
	}
	if moves < 100 || files < 100 {
		t.Errorf("%d moved runs and %d files reached too little", moves, files)
	}
}

// watcher checks each Replace as it is logged.
type watcher struct {
	*lab
	moved map[record.Partition]map[record.Offset]bool
	filed map[record.Partition]record.Offset // records in files
	read  map[string]int                     // objects read since the claim
	moves int
	files int
}

func newWatcher(l *lab) *watcher {
	return &watcher{lab: l, moved: map[record.Partition]map[record.Offset]bool{}, filed: map[record.Partition]record.Offset{}}
}

func (w *watcher) Do(ctx context.Context, cmd metadata.Command) (metadata.Result, error) {
	if _, ok := cmd.(metadata.ClaimJob); ok {
		clear(w.read)
	}
	res, err := w.lab.Do(ctx, cmd)
	c, ok := cmd.(metadata.Replace)
	if !ok || err != nil {
		return res, err
	}
	if r, ok := res.(metadata.ReplaceResult); ok && r.Err != nil {
		w.t.Errorf("a planned Replace was refused: %v", r.Err)
	}
	for _, f := range c.Files {
		w.files++
		for _, p := range f.Parts {
			w.filed[record.Partition{Topic: f.Topic, Index: p.Partition}] += p.End - p.Base
		}
	}
	if c.Moved == nil {
		return res, err
	}
	for _, r := range c.Moved.Runs {
		w.moves++
		if w.moved[r.Partition] == nil {
			w.moved[r.Partition] = map[record.Offset]bool{}
		}
		for o := r.Base; o < r.End; o++ {
			if w.moved[r.Partition][o] {
				w.t.Errorf("%s: offset %d moves a second time", r.Partition, o)
			}
			w.moved[r.Partition][o] = true
		}
	}
	for _, o := range w.view.BacklogObjects(1000, false, nil) {
		if w.read[o.Key] > 0 {
			w.t.Errorf("%s was regrouped and still has %d runs", o.Key, o.Runs)
		}
	}
	for key, n := range w.read {
		if n != 1 {
			w.t.Errorf("%s was read %d times in one job", key, n)
		}
	}
	return res, err
}

// produceParts commits an object with n records for each partition, through the store or inside of the entry.
func (l *lab) produceParts(n int, inline bool, parts ...record.Partition) {
	l.t.Helper()
	slices.SortFunc(parts, record.Partition.Compare)
	body := l.layOut(n, parts...)
	if inline {
		l.uncommitted.Key, l.uncommitted.Inline = "", body
	} else if err := l.store.Put(l.t.Context(), l.uncommitted.Key, body); err != nil {
		l.t.Fatal(err)
	}
	l.commitLast()
}

// What lies in log entries is copied out after five minutes, also when no topic is due; what lies in objects stays there.
func TestOldInlineObjectsAreCopiedOut(t *testing.T) {
	l := newLab(t)
	never := map[string]string{"barge.table.commit.interval.ms": "604800000"}
	a, b := l.createTopic("a", never), l.createTopic("b", never)
	pa, pb := record.Partition{Topic: a.ID}, record.Partition{Topic: b.ID}
	l.produceParts(2, true, pa, pb)
	l.produceParts(1, false, pa)
	l.clock = l.clock.Add(time.Minute)
	l.produceParts(3, true, pa)
	c := l.compactor()
	l.clock = l.clock.Add(c.cfg.Limits.InlineAge - time.Minute - time.Millisecond)
	l.rounds(c)
	if got := l.view.Backlog().Inline; got != 2 {
		t.Fatalf("%d objects in log entries before their time, want 2", got)
	}
	l.clock = l.clock.Add(time.Millisecond)
	l.rounds(c)
	if slot, ok := l.view.OldestInline(); ok {
		t.Errorf("slot %d still holds an object that runs refer to", slot)
	}
	if got := l.view.Backlog(); got.Objects != 1 {
		t.Errorf("backlog %+v, want the one object of the store", got)
	}
	l.inline = nil // the log may be truncated now
	l.allThere("copied out")
	if s := c.Stats(); s.ObjectsMoved != 1 || s.Files != 0 {
		t.Errorf("%d objects written, %d files; want one object for all", s.ObjectsMoved, s.Files)
	}
}

// A damaged object keeps no other from being regrouped, and its topic's other runs stay readable.
func TestADamagedObjectIsLeftOutOfTheSpan(t *testing.T) {
	l := newLab(t)
	a, b := l.createTopic("a", nil), l.createTopic("b", map[string]string{"barge.table.commit.interval.ms": "3600000"})
	bad := l.produce(1, a, b)
	good := l.produce(1, a, b)
	if err := l.store.Delete(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	l.clock = l.clock.Add(time.Minute)
	c := l.compactor()
	if err := c.Round(t.Context()); err == nil || !strings.Contains(err.Error(), bad) {
		t.Fatalf("round: %v, want an error naming %s", err, bad)
	}
	other := l.createTopic("other", nil)
	l.produce(1, other, b)
	l.clock = l.clock.Add(firstWait)
	l.produce(1, other, b)
	// The damaged object waits a second longer than regrouping: it failed twice.
	for range 3 {
		l.clock = l.clock.Add(time.Minute)
		_ = c.Round(t.Context())
	}
	for _, o := range l.view.BacklogObjects(10, false, nil) {
		if o.Key == good {
			t.Errorf("%s still has %d runs because %s is gone", good, o.Runs, bad)
		}
	}
	if got := len(l.values(other)); got != 2 {
		t.Errorf("a topic beside the damaged object has %d records in files, want 2", got)
	}
}

// A claim that a failed release left behind does not keep its topics for ever.
func TestClaimsThatAreLeftBehindAreGivenUp(t *testing.T) {
	l := newLab(t)
	a := l.createTopic("a", nil)
	l.produce(1, a)
	if res := ask[metadata.ClaimJobResult](l, metadata.ClaimJob{Session: l.sess, Topics: []record.TopicID{a.ID}, Outputs: []string{"x"}}); res.Err != nil {
		t.Fatal(res.Err)
	}
	l.clock = l.clock.Add(time.Minute)
	if err := l.compactor().Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(l.values(a)); got != 1 {
		t.Errorf("%d records in files, want 1", got)
	}
}

// A sorted object is read by stretches, so each batch is checked by its own CRC.
func TestADamagedStretchEntersNoFile(t *testing.T) {
	l := newLab(t)
	a, b := l.createTopic("a", nil), l.createTopic("b", map[string]string{"barge.table.commit.interval.ms": "3600000"})
	l.produce(3, a, b)
	l.clock = l.clock.Add(time.Minute)
	c := l.compactor()
	if err := c.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	run := l.view.PendingRuns(b.ID)[0].Partitions[0].Runs[0]
	body, err := l.store.Get(t.Context(), run.Key, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	body[int64(run.Pos)+int64(run.Len)-1] ^= 1
	if err := l.store.Put(t.Context(), run.Key, body); err != nil {
		t.Fatal(err)
	}
	l.clock = l.clock.Add(time.Hour)
	if err := c.Round(t.Context()); err == nil || !strings.Contains(err.Error(), run.Key) {
		t.Errorf("round: %v, want an error naming %s", err, run.Key)
	}
	if n := len(l.view.Files(b.ID)); n != 0 {
		t.Errorf("%d files hold rows of a damaged stretch", n)
	}
}

// Small topics, many more than the budget has commits for: a job each half minute takes its share, not one each tick.
func TestTopicsOverTheBudgetShareJobs(t *testing.T) {
	l := newLab(t)
	c := l.compactor()
	c.cfg.CommitBudget = 2
	c.tokens = newTokenBucket(2) // 120 in a minute
	var topics []metadata.Topic
	for i := range 200 {
		topics = append(topics, l.createTopic(fmt.Sprintf("t%03d", i), nil))
	}
	for range 480 {
		if l.clock.Second()%10 == 0 && l.clock.Nanosecond() == 0 {
			l.produce(1, topics...)
		}
		l.clock = l.clock.Add(500 * time.Millisecond)
		if err := c.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.Stats(); s.Files < 400 || s.Jobs > s.Files/20 {
		t.Errorf("%d files by %d jobs in four minutes, want at least 400, 20 to a job", s.Files, s.Jobs)
	}
	l.allThere("over the budget")
}
