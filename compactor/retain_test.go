package compactor

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

// later lets d pass and does a round.
func (l *lab) later(c *Compactor, d time.Duration) {
	l.t.Helper()
	l.clock = l.clock.Add(d)
	if err := c.Round(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) deleteRecords(t metadata.Topic, to record.Offset) {
	l.t.Helper()
	res := ask[metadata.DeleteRecordsResult](l, metadata.DeleteRecords{Moves: []metadata.LogStartMove{{Partition: record.Partition{Topic: t.ID}, To: to}}})
	if res.Err != nil || res.Moves[0].Err != nil || res.Moves[0].LogStart != to {
		l.t.Fatalf("%+v, want the log to start at %d", res, to)
	}
}

func (l *lab) start(t metadata.Topic) record.Offset {
	l.t.Helper()
	b, err := l.view.Bounds(record.Partition{Topic: t.ID})
	if err != nil {
		l.t.Fatal(err)
	}
	return b.LogStart
}

// rows are the offsets of partition 0 that the topic's table holds, by file.
func (l *lab) rows(t metadata.Topic) (offsets []int64) {
	l.t.Helper()
	for _, add := range l.table(t).Adds() {
		file, err := tableflow.OpenFile(l.t.Context(), l.store, t.TableDir+"/"+add.Path, add.Size)
		if err != nil {
			l.t.Fatalf("the table names a file that can not be read: %v", err)
		}
		head, err := file.Head(l.t.Context(), 1<<20)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, r := range head {
			if r.Partition == 0 {
				offsets = append(offsets, int64(r.Record.Offset))
			}
		}
	}
	return offsets
}

func upTo(from, to int64) (offsets []int64) {
	for o := from; o < to; o++ {
		offsets = append(offsets, o)
	}
	return offsets
}

// The log start moves over whole files that are too old, the log forgets them, and the table keeps them.
func TestRetentionMovesTheLogStartAndTheTableKeepsTheRows(t *testing.T) {
	l := newLab(t)
	logs := l.createTopic("logs", map[string]string{"retention.ms": "3600000"})
	kept := l.createTopic("kept", map[string]string{"retention.ms": "3600000", "cleanup.policy": "compact"})
	c := l.compactor()
	l.produce(5, logs, kept)
	l.later(c, 2*time.Minute)
	l.clock = l.clock.Add(30 * time.Minute)
	l.produce(3, logs, kept)
	l.later(c, 2*time.Minute)
	old := l.view.Files(logs.ID)[0].Key
	for range 5 { // to the end of the hour
		if l.later(c, 5*time.Minute); l.start(logs) != 0 {
			t.Fatalf("the log starts at %d before the hour is over", l.start(logs))
		}
	}
	l.later(c, 6*time.Minute)
	if got := l.start(logs); got != 5 {
		t.Fatalf("the log starts at %d, want 5", got)
	}
	if got := l.start(kept); got != 0 {
		t.Errorf("a topic that is only compacted starts at %d", got)
	}
	if files := l.view.Files(logs.ID); len(files) != 1 || files[0].Key == old || l.view.KnowsObject(old) {
		t.Errorf("the log still knows %s", old)
	}
	l.produce(1, logs) // nothing is old enough to be forgotten by the grace, which must not take the file either
	l.later(c, time.Hour)
	if got, want := l.rows(logs), upTo(0, 9); !slices.Equal(got, want) || !l.exists(old) {
		t.Errorf("I7: the table holds offsets %v, want %v; the file is there: %v", got, want, l.exists(old))
	}
	if got := c.Stats().LogStartsMoved; got != 2 {
		t.Errorf("%d moves counted, want 2", got)
	}
}

// A changed config takes effect at the next look, in both directions; nothing is asked of the log while nothing expires.
func TestRetentionFollowsTheConfigsOfTheEntry(t *testing.T) {
	l := newLab(t)
	logs := l.createTopic("logs", map[string]string{"retention.ms": "-1"})
	c := l.compactor()
	l.produce(5, logs)
	l.later(c, 2*time.Minute)
	l.refuse = func(cmd metadata.Command) error {
		if _, ok := cmd.(metadata.ApplyRetention); ok {
			t.Error("the log was asked, though all is to be kept for ever")
		}
		return nil
	}
	l.later(c, 48*time.Hour)
	alter := func(from, to string) {
		t.Helper()
		res := ask[metadata.AlterTopicConfigsResult](l, metadata.AlterTopicConfigs{
			ID: logs.ID, From: map[string]string{"retention.ms": from}, To: map[string]string{"retention.ms": to},
		})
		if res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	// Between proposal and entry somebody raises the retention: nothing goes.
	alter("-1", "1000")
	raised := false
	l.refuse = func(cmd metadata.Command) error {
		if _, ok := cmd.(metadata.ApplyRetention); ok && !raised {
			raised = true
			l.must(metadata.AlterTopicConfigs{ID: logs.ID, From: map[string]string{"retention.ms": "1000"}, To: map[string]string{"retention.ms": "-1"}})
		}
		return nil
	}
	if l.later(c, 6*time.Minute); !raised || l.start(logs) != 0 {
		t.Fatalf("proposed: %v; the log starts at %d, though the entry found no limit", raised, l.start(logs))
	}
	alter("-1", "1000")
	if l.later(c, 6*time.Minute); l.start(logs) != 5 {
		t.Errorf("the log starts at %d, want 5", l.start(logs))
	}
}

// An agent whose clock runs ahead deletes nothing early: the entry's time decides.
func TestRetentionDoesNotBelieveAnAgentsClock(t *testing.T) {
	l := newLab(t)
	logs := l.createTopic("logs", map[string]string{"retention.ms": "3600000"})
	c := l.compactor()
	l.produce(5, logs)
	l.later(c, 2*time.Minute)
	asked := 0
	l.refuse = func(cmd metadata.Command) error {
		if _, ok := cmd.(metadata.ApplyRetention); ok {
			asked++
		}
		return nil
	}
	ahead := l.compactor()
	ahead.now = func() time.Time { return l.clock.Add(2 * time.Hour) }
	if l.later(ahead, time.Minute); asked != 0 {
		t.Error("asked as soon as it had started")
	}
	if l.later(ahead, firstRetention); asked != 1 || l.start(logs) != 0 {
		t.Errorf("asked %d times, the log starts at %d; want to be asked once and nothing to go", asked, l.start(logs))
	}
	if l.later(ahead, time.Minute); asked != 1 {
		t.Errorf("asked again %d times within the interval", asked-1)
	}
}

// Others' topics are left to them.
func TestRetentionIsShared(t *testing.T) {
	l := newLab(t)
	mine := l.createTopic("mine", map[string]string{"retention.ms": "1000"})
	other := l.createTopic("theirs", map[string]string{"retention.ms": "1000"}) // its id is no neighbor
	c := l.compactor()
	l.produce(5, mine, other)
	l.clock = l.clock.Add(2 * time.Minute)
	c.cfg.Retention = 0
	c.share = shareOf(nil)
	if err := c.compact(t.Context()); err != nil { // makes the files of both
		t.Fatal(err)
	}
	c.share = roundShare{agents: 2, ask: func(work string) bool { return work == TopicWork(mine.ID, 2) }}
	if err := c.retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.start(mine) != 5 || l.start(other) != 0 {
		t.Errorf("the logs start at %d and %d, want 5 and 0", l.start(mine), l.start(other))
	}
}

// A topic without a table: what leaves the log leaves the store, after the grace.
func TestFilesOfNoTableAreDeletedAfterTheGrace(t *testing.T) {
	l := newLab(t)
	plain := l.createTopic("plain", map[string]string{"barge.table.enable": "false", "retention.bytes": "0"})
	c := l.compactor()
	l.produce(5, plain)
	l.later(c, 2*time.Minute)
	l.later(c, firstRetention)
	if l.start(plain) != 5 {
		t.Fatalf("the log starts at %d, want 5", l.start(plain))
	}
	released := l.view.Released()
	key := released[len(released)-1].Key
	if l.later(c, 9*time.Minute); !l.exists(key) {
		t.Error("deleted within the grace")
	}
	if l.later(c, 2*time.Minute); l.exists(key) || l.view.KnowsObject(key) {
		t.Errorf("%s is there: %v, known: %v", key, l.exists(key), l.view.KnowsObject(key))
	}
}

// What was deleted before it was compacted never enters a file, up to the record (I7), wherever the start falls.
func TestDeletedRecordsNeverEnterATable(t *testing.T) {
	for to := record.Offset(0); to <= 12; to++ {
		l := newLab(t)
		logs := l.createTopic("logs", nil)
		c := l.compactor()
		l.produce(4, logs)
		l.produce(4, logs)
		l.produce(4, logs)
		l.deleteRecords(logs, to)
		l.later(c, 2*time.Minute)
		l.produce(2, logs)
		l.later(c, 2*time.Minute)
		if got, want := l.rows(logs), upTo(int64(to), 14); !slices.Equal(got, want) {
			t.Errorf("I7: start %d: the table holds offsets %v, want %v", to, got, want)
		}
		if pending := l.view.Pending(); len(pending) > 0 {
			t.Errorf("start %d: %d topics still have runs", to, len(pending))
		}
	}
}

// The same where runs were regrouped before and after the deletion.
func TestDeletedRecordsNeverEnterATableWhenRunsMove(t *testing.T) {
	l := newLab(t)
	logs := l.createTopic("logs", map[string]string{"barge.table.commit.interval.ms": "36000000"})
	hasty := l.createTopic("hasty", nil)
	c := l.compactor()
	c.cfg.Limits.RegroupBytes = 1
	for range 3 {
		l.produce(4, logs, hasty)
	}
	l.deleteRecords(logs, 3)
	l.later(c, 2*time.Minute) // regroups all of logs, one run
	if runs := l.view.PendingRuns(logs.ID)[0].Partitions[0].Runs; len(runs) != 1 || !runs[0].Sorted || runs[0].Base != 0 {
		t.Fatalf("%+v: want one sorted run from offset 0", runs)
	}
	l.deleteRecords(logs, 6)
	l.later(c, 11*time.Hour)
	if got, want := l.rows(logs), upTo(6, 12); !slices.Equal(got, want) {
		t.Errorf("I7: the table holds offsets %v, want %v", got, want)
	}
}

// Records are deleted while a job writes the file that would hold them: it does not enter, and a later one holds the rest.
func TestRecordsDeletedDuringACompaction(t *testing.T) {
	for _, to := range []record.Offset{3, 8, 10} {
		l := newLab(t)
		logs := l.createTopic("logs", nil)
		c := l.compactor()
		l.produce(8, logs)
		deleted := false
		l.refuse = func(cmd metadata.Command) error {
			if _, ok := cmd.(metadata.Replace); ok && !deleted {
				deleted = true
				l.refuse = nil
				l.must(metadata.DeleteRecords{Moves: []metadata.LogStartMove{{Partition: record.Partition{Topic: logs.ID}, To: min(to, 8)}}})
			}
			return nil
		}
		l.clock = l.clock.Add(2 * time.Minute)
		_ = c.Round(context.WithoutCancel(t.Context())) // its job is stale
		l.produce(4, logs)
		l.later(c, 2*time.Minute)
		l.later(c, 2*time.Minute)
		if got, want := l.rows(logs), upTo(int64(min(to, 8)), 12); !deleted || !slices.Equal(got, want) {
			t.Errorf("I7: start %d: the table holds offsets %v, want %v", to, got, want)
		}
	}
}

// A file that the log has let go while its add was pending still enters the table, once.
func TestAFileThatLeftTheLogStillEntersTheTable(t *testing.T) {
	l := newLab(t)
	logs := l.createTopic("logs", nil)
	c := l.compactor()
	l.produce(5, logs)
	l.clock = l.clock.Add(2 * time.Minute)
	c.share = shareOf(nil)
	if err := c.compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.deleteRecords(logs, 5)
	l.later(c, time.Minute)
	l.later(c, time.Hour)
	if got, want := l.rows(logs), upTo(0, 5); !slices.Equal(got, want) {
		t.Errorf("the table holds offsets %v, want %v: they were compacted before they were deleted", got, want)
	}
	if files := l.view.Files(logs.ID); len(files) > 0 {
		t.Errorf("the log keeps %d files for nothing", len(files))
	}
}
