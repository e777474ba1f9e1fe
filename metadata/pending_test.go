package metadata

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/bargedata/barge/record"
)

// viewOf is a View of s.
func viewOf(s *State) *View {
	v := NewView()
	v.install(s)
	return v
}

// I9: what Pending sums up is what the runs add up to, in a state that lived and in one restored from its snapshot.
func TestPendingSumsUpTheRunsI9(t *testing.T) {
	several, claimed := 0, 0
	for seed := range uint64(10) {
		log := newRandomLog(seed)
		for range 300 {
			e := log.entry()
			pending := viewOf(log.state).Pending()
			for _, p := range pending {
				if p.Partitions != nil {
					t.Fatalf("seed %d entry %d: Pending lists the runs of %s", seed, e.Seq, p.Topic.Name)
				}
				if p.Claimed {
					claimed++
				}
			}
			if len(pending) > 1 {
				several++
			}
			if want := sumRuns(log.state); !reflect.DeepEqual(pending, want) {
				t.Fatalf("seed %d entry %d: Pending\n%+v, the runs say\n%+v", seed, e.Seq, pending, want)
			}
			withRuns := viewOf(log.state).PendingRuns(slices.Collect(maps.Keys(log.state.topics))...)
			restored, err := DecodeState(log.state.Encode())
			if err != nil {
				t.Fatal(err)
			}
			rv := viewOf(restored)
			if got := rv.PendingRuns(slices.Collect(maps.Keys(restored.topics))...); !reflect.DeepEqual(got, withRuns) {
				t.Fatalf("seed %d entry %d: restored\n%+v, want\n%+v", seed, e.Seq, got, withRuns)
			}
			if got := rv.Pending(); !reflect.DeepEqual(got, pending) {
				t.Fatalf("seed %d entry %d: restored\n%+v, want\n%+v", seed, e.Seq, got, pending)
			}
			for i := range withRuns {
				withRuns[i].Partitions = nil
			}
			if len(withRuns) != len(pending) || len(pending) > 0 && !reflect.DeepEqual(withRuns, pending) {
				t.Fatalf("seed %d entry %d: PendingRuns sums up to\n%+v, Pending to\n%+v", seed, e.Seq, withRuns, pending)
			}
		}
	}
	if several < 1000 || claimed == 0 {
		t.Errorf("the random logs reached too little: %d times several topics, %d claimed", several, claimed)
	}
}

// sumRuns is Pending the long way.
func sumRuns(s *State) []PendingTopic {
	list := []PendingTopic{}
	for _, t := range sortedTopics(s.topics) {
		pt, n := PendingTopic{Topic: t.Topic, Claimed: t.job != 0}, 0
		for i := range t.parts {
			for _, r := range s.expand(t.parts[i].runs) {
				if n == 0 || r.CommittedAt < pt.Oldest {
					pt.Oldest = r.CommittedAt
				}
				pt.Bytes += r.Len
				n++
			}
		}
		if n > 0 {
			list = append(list, pt)
		}
	}
	return list
}

func TestOldestFollowsTheRunsThatAreLeft(t *testing.T) {
	v := testView(t, 3)
	at := func(ms int64, commands ...Command) {
		t.Helper()
		for _, r := range v.Apply(Entry{Seq: v.Applied(), Time: ms, Commands: commands}) {
			if err := errOf(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	oldest := func(want int64) {
		t.Helper()
		if p := v.Pending(); len(p) != 1 || p[0].Oldest != want {
			t.Errorf("pending %+v, want one that is oldest at %d", p, want)
		}
	}
	compact := func(job JobID, ms int64, parts ...FilePart) {
		t.Helper()
		key := fmt.Sprint("f", job)
		at(ms, ClaimJob{Session: 1, Topics: []record.TopicID{topicNumber(1)}, Outputs: []string{key}})
		at(ms, Replace{Job: job, Files: []NewFile{{Topic: topicNumber(1), Key: key, Parts: parts}}})
	}
	at(100, commitCommand(0, 2))
	at(200, commitCommand(1, 0))
	at(300, commitCommand(2, 2))
	at(400, commitCommand(3, 1))
	oldest(100)
	compact(1, 500, FilePart{Partition: 2, Base: 0, End: 2, RowGroups: 1})
	oldest(200)
	compact(2, 600, FilePart{Partition: 0, Base: 0, End: 2, RowGroups: 1}, FilePart{Partition: 1, Base: 0, End: 2, RowGroups: 1})
	oldest(300)
	compact(3, 700, FilePart{Partition: 2, Base: 2, End: 4, RowGroups: 1})
	if p := v.Pending(); len(p) != 0 {
		t.Errorf("pending %+v after all runs went", p)
	}
	at(800, commitCommand(4, 1))
	oldest(800)
}

func TestPendingRunsOfNamedTopicsOnly(t *testing.T) {
	v := testView(t, 1)
	for i := int64(2); i < 5; i++ {
		v.applyNext(CreateTopic{ID: topicNumber(i), Name: fmt.Sprint("t", i), Partitions: 1})
	}
	for i := int64(1); i < 4; i++ { // topic 4 stays empty
		c := commitCommand(uint64(i), 0)
		c.Runs[0].Partition.Topic = topicNumber(i)
		v.applyNext(c)
	}
	v.applyNext(DeleteTopic{ID: topicNumber(2)})
	got := v.PendingRuns(topicNumber(9), topicNumber(4), topicNumber(3), topicNumber(2), topicNumber(3))
	if len(got) != 1 || got[0].Topic.ID != topicNumber(3) || len(got[0].Partitions) != 1 || len(got[0].Partitions[0].Runs) != 1 {
		t.Errorf("got %+v, want the runs of topic 3 once", got)
	}
	if got := v.PendingRuns(); len(got) != 0 {
		t.Errorf("got %+v for no topic", got)
	}
}

func TestCompactedEnd(t *testing.T) {
	v := testView(t, 2)
	v.applyNext(commitCommand(0, 1))
	v.applyNext(commitCommand(1, 1))
	v.applyNext(ClaimJob{Session: 1, Topics: []record.TopicID{topicNumber(1)}, Outputs: []string{"f"}})
	v.applyNext(Replace{Job: 1, Files: []NewFile{{Topic: topicNumber(1), Key: "f", Parts: []FilePart{{Partition: 1, End: 2, RowGroups: 1}}}}})
	for i, want := range []record.Offset{0, 2} {
		if end, err := v.CompactedEnd(partitionOne(int32(i))); err != nil || end != want {
			t.Errorf("partition %d is compacted to %d, %v, want %d", i, end, err, want)
		}
	}
	for _, p := range []record.Partition{partitionOne(2), partitionOne(-1), {Topic: topicNumber(7)}} {
		if _, err := v.CompactedEnd(p); !errors.Is(err, ErrUnknownTopic) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// BenchmarkPending: the cost must not depend on the number of runs.
func BenchmarkPending(b *testing.B) {
	for _, size := range []struct{ topics, runs int }{{10_000, 24}, {10_000, 240}, {1000, 240}} {
		v := NewView()
		v.applyNext(OpenSession{})
		for i := range size.topics {
			v.applyNext(CreateTopic{ID: topicNumber(int64(i) + 1), Name: fmt.Sprint("t", i), Partitions: 1})
		}
		for n := range size.runs {
			c := CommitObject{Session: 1, Counter: uint64(n), Settled: uint64(n), Key: fmt.Sprint("o", n), Size: 1 << 30}
			for i := range size.topics {
				c.Runs = append(c.Runs, CommitRun{Partition: record.Partition{Topic: topicNumber(int64(i) + 1)}, Batches: []CommitBatch{{Len: 10, Records: 1, ProducerID: -1}}})
			}
			slices.SortFunc(c.Runs, func(x, y CommitRun) int { return x.Partition.Compare(y.Partition) })
			v.applyNext(c)
		}
		b.Run(fmt.Sprintf("topics=%d/runs=%d", size.topics, size.runs), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if len(v.Pending()) != size.topics {
					b.Fatal("topics are missing")
				}
			}
		})
	}
}

func TestPendingTablesComeInPagesById(t *testing.T) {
	s := NewState()
	for i := range 50 {
		id := record.TopicID{byte(i * 37), byte(i)}
		s.withAdds[id] = &topicState{Topic: Topic{ID: id}}
	}
	delete(s.withAdds, record.TopicID{}) // no topic has the zero id
	v, want := viewOf(s), sortedTopics(s.withAdds)
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []record.TopicID
		for after := (record.TopicID{}); ; {
			page := v.PendingTables(after, limit)
			if len(page) > limit {
				t.Fatalf("%d tables in a page of %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			for _, p := range page {
				got = append(got, p.Topic.ID)
			}
			after = got[len(got)-1]
		}
		if !slices.EqualFunc(got, want, func(id record.TopicID, s *topicState) bool { return id == s.ID }) {
			t.Fatalf("pages of %d: %v, want %d topics by id", limit, got, len(want))
		}
	}
}

// I9: the backlog is what the runs say, in a state that lived and in one restored from its snapshot.
func TestBacklogIsWhatTheRunsSayI9(t *testing.T) {
	inline, moved, held := 0, 0, 0
	for seed := range uint64(20) {
		log := newRandomLog(seed)
		for range 300 {
			log.entry()
			restored, err := DecodeState(log.state.Encode())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []*State{log.state, restored} {
				v := viewOf(s)
				runs, at := map[uint64]int{}, map[uint64]int64{}
				for _, tp := range s.topics {
					for i := range tp.parts {
						for _, r := range tp.parts[i].runs {
							if runs[r.object]++; runs[r.object] == 1 || r.committedAt < at[r.object] {
								at[r.object] = r.committedAt
							}
						}
					}
				}
				var want Backlog
				objects := v.BacklogObjects(len(s.objects)+1, false, nil)
				for _, id := range sortedKeys(s.objects) {
					o := s.objects[id]
					if o.sorted {
						moved++
						continue
					}
					if want.Objects == len(objects) {
						t.Fatalf("seed %d: %s is not in the backlog", seed, o.name())
					}
					got := objects[want.Objects]
					// What is held back has a place among Runs and no age.
					if got.Key != o.name() || got.Size != o.size || got.Runs < runs[id] || got.Runs == 0 || runs[id] > 0 && (got.CommittedAt == 0 || got.CommittedAt > at[id]) {
						t.Fatalf("seed %d: object %+v, want %s with %d runs since %d", seed, got, o.name(), runs[id], at[id])
					}
					if got.Runs > runs[id] {
						held++
					}
					want.Objects++
					want.Bytes += o.size
					if want.Oldest == 0 {
						want.Oldest = got.CommittedAt
					}
					if o.inline {
						inline++
						want.Inline++
						if want.OldestInline == 0 {
							want.OldestInline = got.CommittedAt
						}
					}
				}
				if got := v.Backlog(); got != want || len(objects) != want.Objects {
					t.Fatalf("seed %d: backlog %+v of %d objects, want %+v", seed, got, len(objects), want)
				}
				if got := v.BacklogObjects(1, true, nil); len(got) != min(1, want.Inline) {
					t.Fatalf("seed %d: %+v of %d inline objects", seed, got, want.Inline)
				}
			}
		}
	}
	if inline == 0 || moved == 0 || held == 0 {
		t.Errorf("the random logs reached too little: %d inline, %d moved objects, %d with batches held back", inline, moved, held)
	}
}

// RunsIn is PendingRuns without the runs of other objects.
func TestRunsInNamesTheRunsOfTheObjectsAlone(t *testing.T) {
	for seed := range uint64(20) {
		log := newRandomLog(seed)
		for range 300 {
			log.entry()
		}
		v := viewOf(log.state)
		objects := map[string]bool{}
		for i, o := range v.BacklogObjects(100, false, nil) {
			objects[o.Key] = i%2 == 0
		}
		var want []PendingTopic
		for _, pt := range v.PendingRuns(slices.Collect(maps.Keys(log.state.topics))...) {
			parts := pt.Partitions
			pt.Partitions, pt.Bytes, pt.Oldest = nil, 0, 0
			for _, part := range parts {
				part.Runs = slices.DeleteFunc(part.Runs, func(r Run) bool { return r.Sorted || !objects[r.Key] })
				for _, r := range part.Runs {
					if pt.Bytes == 0 || r.CommittedAt < pt.Oldest {
						pt.Oldest = r.CommittedAt
					}
					pt.Bytes += r.Len
				}
				if len(part.Runs) > 0 {
					pt.Partitions = append(pt.Partitions, part)
				}
			}
			if len(pt.Partitions) > 0 {
				want = append(want, pt)
			}
		}
		if got := v.RunsIn(objects); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %+v\nwant %+v", seed, got, want)
		}
	}
}
