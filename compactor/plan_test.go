package compactor

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

func topic(name string, configs map[string]string) metadata.Topic {
	var id record.TopicID
	copy(id[:], name)
	return metadata.Topic{ID: id, Name: name, Partitions: 2, Configs: configs}
}

func run(key string, size record.Len, base, end record.Offset, at int64) metadata.Run {
	return metadata.Run{Key: key, ObjectSize: size, Base: base, End: end, Len: 100, CommittedAt: at}
}

func pendingTopic(t metadata.Topic, bytes record.Len, parts ...metadata.PendingPartition) metadata.PendingTopic {
	p := metadata.PendingTopic{Topic: t, Bytes: bytes, Partitions: parts, Oldest: 1 << 62}
	for _, part := range parts {
		for _, r := range part.Runs {
			p.Oldest = min(p.Oldest, r.CommittedAt)
		}
	}
	return p
}

func plan(pending []metadata.PendingTopic, now int64, budget int, lim Limits) []Job {
	return Plan(Due(pending, now, budget, lim), Span{}, false, lim)
}

func TestAClockThatWasPutBackStopsNoTable(t *testing.T) {
	p := pendingTopic(topic("a", nil), 100, metadata.PendingPartition{Runs: []metadata.Run{run("wal/a", 1000, 0, 10, 1<<40)}})
	if jobs := plan([]metadata.PendingTopic{p}, 1000, 20, DefaultLimits()); len(jobs) != 1 {
		t.Fatalf("a topic with runs from the future is not planned: %v", jobs)
	}
}

func TestAFileHoldsABoundedNumberOfPartitionsTheOldestFirst(t *testing.T) {
	lim := DefaultLimits()
	lim.FileParts = 3
	var parts []metadata.PendingPartition
	for i := range int32(8) {
		// Partition 7 has waited longest.
		parts = append(parts, metadata.PendingPartition{Index: i, Runs: []metadata.Run{run("wal/a", 1000, 0, 10, int64(100-i))}})
	}
	jobs := plan([]metadata.PendingTopic{pendingTopic(topic("wide", nil), 100, parts...)}, 1<<40, 20, lim)
	if len(jobs) != 1 || len(jobs[0].Topics) != 1 || len(jobs[0].Topics[0].Parts) != 3 {
		t.Fatalf("jobs %+v, want one file of three partitions", jobs)
	}
	for i, part := range jobs[0].Topics[0].Parts {
		if part.Partition != int32(5+i) {
			t.Errorf("part %d is partition %d, want %d", i, part.Partition, 5+i)
		}
	}
}

func TestTopicIsDueByIntervalOrBytes(t *testing.T) {
	part := metadata.PendingPartition{Runs: []metadata.Run{run("wal/a", 1000, 0, 10, 1000)}}
	young := pendingTopic(topic("young", nil), 100, part)
	big := pendingTopic(topic("big", map[string]string{"barge.table.commit.bytes": "100"}), 100, part)
	quick := pendingTopic(topic("quick", map[string]string{"barge.table.commit.interval.ms": "500"}), 100, part)
	jobs := plan([]metadata.PendingTopic{young, big, quick}, 1500, 20, DefaultLimits())
	if len(jobs) != 1 || len(jobs[0].Topics) != 2 || jobs[0].Topics[0].Topic.Name != "big" || jobs[0].Topics[1].Topic.Name != "quick" {
		t.Fatalf("jobs = %+v, want one job of big and quick", jobs)
	}
	if len(jobs[0].Objects) != 1 {
		t.Fatalf("objects = %v, want the shared object once", jobs[0].Objects)
	}
	if jobs := plan([]metadata.PendingTopic{young}, 61_000, 20, DefaultLimits()); len(jobs) != 1 {
		t.Fatalf("a topic whose oldest run waited 60 s is not planned: %+v", jobs)
	}
}

func TestClaimedTopicIsLeftAlone(t *testing.T) {
	p := pendingTopic(topic("a", nil), 100, metadata.PendingPartition{Runs: []metadata.Run{run("wal/a", 1000, 0, 10, 0)}})
	p.Claimed = true
	if jobs := plan([]metadata.PendingTopic{p}, 1<<40, 20, DefaultLimits()); len(jobs) != 0 {
		t.Fatalf("planned a claimed topic: %+v", jobs)
	}
}

func TestOverBudgetSmallTopicsWaitAtMostFifteenMinutes(t *testing.T) {
	part := metadata.PendingPartition{Runs: []metadata.Run{run("wal/a", 1000, 0, 10, 0)}}
	small := pendingTopic(topic("small", nil), 100, part)
	own := pendingTopic(topic("own", map[string]string{"barge.table.commit.interval.ms": "1000"}), 100, part)
	large := pendingTopic(topic("large", nil), 9<<20, part)
	all := []metadata.PendingTopic{small, own, large}
	names := func(now int64) string {
		s := ""
		for _, j := range plan(all, now, 0, DefaultLimits()) {
			for _, tj := range j.Topics {
				s += tj.Topic.Name + " "
			}
		}
		return s
	}
	if got := names(60_000); got != "large own " {
		t.Fatalf("over budget at 60 s planned %q, want large and own", got)
	}
	if got := names(16 * 60_000); got != "large own small " {
		t.Fatalf("over budget at 16 min planned %q, want all", got)
	}
}

// Whatever the sizes and ties, each part is an unbroken run of whole runs from the compacted end, no topic is planned twice,
// and something is planned when something is due.
func TestPlannedPartsHaveNoHoles(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var pending []metadata.PendingTopic
		for ti := range 1 + rng.IntN(4) {
			tp := topic(fmt.Sprintf("t%d", ti), map[string]string{"barge.table.commit.interval.ms": "0"})
			var parts []metadata.PendingPartition
			for pi := range 2 {
				var runs []metadata.Run
				at, off := int64(0), record.Offset(0)
				for range 1 + rng.IntN(6) {
					at += int64(rng.IntN(2))
					next := off + 1 + record.Offset(rng.IntN(9))
					// Keys of one time are unordered on purpose.
					runs = append(runs, run(fmt.Sprintf("wal/%d-%d", at, rng.IntN(3)), record.Len(1+rng.IntN(300)), off, next, at))
					off = next
				}
				parts = append(parts, metadata.PendingPartition{Index: int32(pi), Runs: runs})
			}
			pending = append(pending, pendingTopic(tp, 1000, parts...))
		}
		lim := DefaultLimits()
		lim.JobBytes = 300
		jobs := plan(pending, 1<<40, 20, lim)
		if len(jobs) == 0 {
			t.Fatalf("seed %d: nothing planned although all topics are due", seed)
		}
		seen := map[string]bool{}
		for _, j := range jobs {
			inputs := map[string]bool{}
			for _, in := range j.Objects {
				inputs[in.Key] = true
			}
			for _, tj := range j.Topics {
				if seen[tj.Topic.Name] {
					t.Fatalf("seed %d: topic %s planned twice", seed, tj.Topic.Name)
				}
				seen[tj.Topic.Name] = true
				for _, pj := range tj.Parts {
					next := record.Offset(0)
					for _, r := range pj.Runs {
						if r.Base != next || !inputs[r.Key] {
							t.Fatalf("seed %d: %s/%d: run %+v after %d, inputs %v", seed, tj.Topic.Name, pj.Partition, r, next, j.Objects)
						}
						next = r.End
					}
				}
			}
		}
	}
}

func TestSmallerHalvesRunsThenPartitions(t *testing.T) {
	runs := []metadata.Run{run("wal/a", 1, 0, 1, 1), run("wal/b", 1, 1, 2, 2), run("wal/c", 1, 2, 3, 3)}
	job := Job{
		Objects: []Input{{Key: "wal/a"}, {Key: "wal/b"}, {Key: "wal/c"}},
		Topics:  []TopicJob{{Topic: topic("a", nil), Parts: []PartJob{{Partition: 0, Runs: runs}, {Partition: 1, Runs: runs[:1]}}}},
	}
	once, ok := smaller(job)
	if !ok || len(once.Objects) != 1 || len(once.Topics[0].Parts) != 2 || len(once.Topics[0].Parts[0].Runs) != 1 {
		t.Fatalf("half of three runs: %+v, %v; want one run of each partition and its object", once, ok)
	}
	twice, ok := smaller(once)
	if !ok || len(twice.Topics[0].Parts) != 1 {
		t.Fatalf("half of two partitions: %+v, %v", twice, ok)
	}
	if _, ok := smaller(twice); ok {
		t.Error("a single run was halved")
	}
	job.Topics = append(job.Topics, job.Topics[0])
	if _, ok := smaller(job); ok {
		t.Error("a job of two topics was halved; they are first tried alone")
	}
}
