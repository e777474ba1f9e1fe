package metadata

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/bargedata/barge/record"
)

// testView is a View with topic 1 of some partitions and session 1.
func testView(t testing.TB, partitions int32) *View {
	t.Helper()
	v := NewView()
	v.install(testState(t, partitions))
	return v
}

func (v *View) applyNext(commands ...Command) []Result {
	return v.Apply(Entry{Seq: v.Applied(), Commands: commands})
}

func partitionOne(i int32) record.Partition { return record.Partition{Topic: topicNumber(1), Index: i} }

func hasToken(w *Watch) bool {
	select {
	case <-w.C():
		return true
	default:
		return false
	}
}

func TestWatchSeesChangesOfItsPartitionsOnly(t *testing.T) {
	v := testView(t, 3)
	w := v.Watch([]record.Partition{partitionOne(0), partitionOne(2), {Topic: topicNumber(5)}})
	if hasToken(w) {
		t.Error("a token before any change")
	}
	v.applyNext(commitCommand(0, 1))
	if hasToken(w) {
		t.Error("a token for another partition")
	}
	v.applyNext(commitCommand(1, 2))
	v.applyNext(commitCommand(2, 0))
	if !hasToken(w) || hasToken(w) {
		t.Error("want exactly one token after two changes")
	}
	v.applyNext(CreateTopic{ID: topicNumber(5), Name: "new", Partitions: 1})
	if !hasToken(w) {
		t.Error("no token when a partition appears")
	}
	v.applyNext(DeleteTopic{ID: topicNumber(1)})
	if !hasToken(w) {
		t.Error("no token when a partition goes")
	}
	w.Close()
	w.Close()
	v.applyNext(DeleteTopic{ID: topicNumber(5)})
	if hasToken(w) {
		t.Error("a token after Close")
	}
	if len(v.watches) != 0 {
		t.Errorf("%d watches left behind", len(v.watches))
	}
}

func TestWatchWithARepeatedPartitionClosesClean(t *testing.T) {
	v := testView(t, 1)
	other := v.Watch([]record.Partition{partitionOne(0)})
	w := v.Watch([]record.Partition{partitionOne(0), partitionOne(0)})
	w.Close()
	v.applyNext(commitCommand(0, 0))
	if !hasToken(other) || hasToken(w) {
		t.Error("closing one watch must leave the other as it was")
	}
	other.Close()
	if len(v.watches) != 0 {
		t.Errorf("%d watches left behind", len(v.watches))
	}
}

// Readers that look, then wait, reach the end however the commits fall in between: a lost wake-up leaves one blocked,
// which the bubble reports as a deadlock.
func TestNoWakeUpIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := testView(t, 4)
		var wg sync.WaitGroup
		for reader := range 20 {
			p := partitionOne(int32(reader % 4))
			wg.Go(func() {
				w := v.Watch([]record.Partition{p})
				defer w.Close()
				for {
					b, err := v.Bounds(p)
					if err != nil || b.HighWatermark == 2*250 {
						return
					}
					<-w.C()
				}
			})
		}
		for i := range uint64(1000) {
			v.applyNext(commitCommand(i, int32(i%4)))
		}
		wg.Wait()
	})
}

func TestLocateIsBounded(t *testing.T) {
	v := testView(t, 1)
	for i := range uint64(3 * maxSlices) {
		v.applyNext(commitCommand(i, 0))
	}
	loc, err := v.Locate(partitionOne(0), 7, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	if len(loc.Slices) != maxSlices || loc.Slices[0].Base != 6 || loc.HighWatermark != 6*maxSlices {
		t.Errorf("%d slices from %d, bounds %+v", len(loc.Slices), loc.Slices[0].Base, loc.Bounds)
	}
	for i, s := range loc.Slices {
		if i > 0 && s.Base != loc.Slices[i-1].End {
			t.Fatalf("gap before %d", s.Base)
		}
	}
	for maxBytes, want := range map[int64]int{-1: 1, 0: 1, 1: 1, 10: 1, 11: 2, 95: 10} {
		if loc, _ := v.Locate(partitionOne(0), 0, maxBytes); len(loc.Slices) != want {
			t.Errorf("%d bytes: %d slices, want %d", maxBytes, len(loc.Slices), want)
		}
	}
}

// A reader near the end of a long slice has little of it left: what it waits for lies in the slices after it.
func TestLocateCountsOnlyWhatLiesAhead(t *testing.T) {
	slicesFrom := func(v *View, from record.Offset, maxBytes int64) int {
		t.Helper()
		loc, err := v.Locate(partitionOne(0), from, maxBytes)
		if err != nil || len(loc.Slices) == 0 || loc.Slices[0].End <= from {
			t.Fatalf("from %d: %+v, %v", from, loc.Slices, err)
		}
		return len(loc.Slices)
	}
	run := func(counter uint64, bytes record.Len, records int32) CommitObject {
		c := commitCommand(counter, 0)
		c.Size = bytes
		c.Runs[0].Batches = []CommitBatch{{Len: bytes, Records: records, ProducerID: -1}}
		return c
	}
	v := testView(t, 1)
	v.applyNext(run(0, 1_000_000, 1000)) // [0, 1000)
	v.applyNext(run(1, 1_200_000, 1000)) // [1000, 2000)
	v.applyNext(run(2, 1_200_000, 1000)) // [2000, 3000)
	want := func(what string, v *View, from record.Offset, maxBytes int64, slices int) {
		t.Helper()
		if got := slicesFrom(v, from, maxBytes); got != slices {
			t.Errorf("%s: %d bytes from %d: %d slices, want %d", what, maxBytes, from, got, slices)
		}
	}
	want("runs", v, 0, 1_000_000, 1)
	want("runs", v, 1, 1_000_000, 2)
	want("runs", v, 999, 1000, 1) // exactly the last record's share
	want("runs", v, 999, 1001, 2)
	want("runs", v, 999, 200_000, 2)
	want("runs", v, 999, 1_201_000, 2)
	want("runs", v, 999, 1_201_001, 3)
	want("runs", v, 999, 0, 1)

	// The same over a file of [0, 1000) and a run after it.
	v = testView(t, 1)
	v.applyNext(run(0, 1_000_000, 1000))
	v.applyNext(run(1, 1_200_000, 1000))
	claimed := v.applyNext(ClaimJob{Session: 1, Topics: []record.TopicID{topicNumber(1)}, Outputs: []string{"f"}})[0].(ClaimJobResult)
	replaced := v.applyNext(Replace{Job: claimed.Job, Files: []NewFile{{
		Topic: topicNumber(1), Key: "f", Size: 500_000, Rows: 1000, Add: []byte("{}"), Parts: []FilePart{{End: 1000, RowGroups: 1, Rows: 1000}},
	}}})[0]
	if claimed.Err != nil || errOf(replaced) != nil {
		t.Fatal(claimed, replaced)
	}
	want("file", v, 0, 500_000, 1)
	want("file", v, 999, 500, 1)
	want("file", v, 999, 200_000, 2)
}

func TestTopicsByNameAndID(t *testing.T) {
	v := NewView()
	for i, name := range []string{"b", "c", "a"} {
		v.applyNext(CreateTopic{ID: topicNumber(int64(i) + 1), Name: name, Partitions: 2, Configs: map[string]string{"retention.ms": "5"}})
	}
	if got := fmt.Sprint(v.Topics()[0].Name, v.Topics()[1].Name, v.Topics()[2].Name); got != "abc" {
		t.Errorf("topics in the order %s", got)
	}
	byName, ok := v.Topic("c")
	byID, ok2 := v.TopicByID(topicNumber(2))
	if !ok || !ok2 || byName.ID != byID.ID || byName.Configs["retention.ms"] != "5" {
		t.Errorf("by name %+v, by id %+v", byName, byID)
	}
	v.applyNext(DeleteTopic{ID: topicNumber(2)})
	if _, ok := v.Topic("c"); ok {
		t.Error("a deleted topic is there by name")
	}
	if _, ok := v.TopicByID(topicNumber(2)); ok {
		t.Error("a deleted topic is there by id")
	}
	if ts := v.Tombstones(); len(ts) != 1 || ts[0].Name != "c" {
		t.Errorf("tombstones %+v", ts)
	}
}

// Names that Kafka would not let stand side by side. A log of an earlier release may hold some.
func TestClashFindsNamesThatDifferInDotsAlone(t *testing.T) {
	v := NewView()
	create := func(n int64, name string) Command { return CreateTopic{ID: topicNumber(n), Name: name, Partitions: 1} }
	v.Apply(Entry{Commands: []Command{create(1, "a.b"), create(2, "a_b_c"), create(3, "a.b_c"), create(4, "plain")}})
	check := func(v *View, name, want string) {
		t.Helper()
		if other, found := v.Clash(name); found != (want != "") || other != want {
			t.Errorf("%s clashes with %q, want %q", name, other, want)
		}
	}
	restored, err := DecodeState(v.state.Encode())
	if err != nil {
		t.Fatal(err)
	}
	w := NewView()
	w.install(restored)
	for _, v := range []*View{v, w} {
		check(v, "a_b", "a.b")
		check(v, "a.b", "")
		check(v, "a.b.c", "a.b_c")
		check(v, "a.b_c", "a_b_c")
		check(v, "plain", "")
		check(v, "a-b", "")
	}
	v.Apply(Entry{Seq: 1, Commands: []Command{DeleteTopic{ID: topicNumber(1)}, DeleteTopic{ID: topicNumber(2)}}})
	check(v, "a_b", "")
	check(v, "a.b.c", "a.b_c")
	if len(v.state.unified) != 2 {
		t.Errorf("%d names are kept for 2 topics", len(v.state.unified))
	}
}

func TestPartitionBytesCountRunsAndSharesOfFiles(t *testing.T) {
	s := goldenState2(t)
	v := NewView()
	v.install(s)
	for index, want := range []int64{90 + 50 + 50, 70 + 50, 100 + 100} {
		got, err := v.PartitionBytes(record.Partition{Topic: topicNumber(1), Index: int32(index)})
		if err != nil || got != want {
			t.Errorf("partition %d takes %d bytes, %v, want %d", index, got, err, want)
		}
	}
	if _, err := v.PartitionBytes(record.Partition{Topic: topicNumber(1), Index: 99}); !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("%v, want ErrUnknownTopic", err)
	}
}
