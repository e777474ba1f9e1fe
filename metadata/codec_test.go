package metadata

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bargedata/barge/record"
)

var update = flag.Bool("update", false, "write the golden files of formats that have none yet")

// everyCommand is one entry with each command, every field set.
func everyCommand() Entry {
	id := record.TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	return Entry{Seq: 300, Term: 7, Time: 1_790_000_000_123, Commands: []Command{
		OpenSession{Agent: AgentInfo{Address: "h:9092", HTTP: "h:8080", Zone: "a", Version: "v1", Roles: []string{"produce", "fetch"}}},
		SealSession{Session: 4},
		CommitObject{Session: 5, Counter: 1000, Settled: 998, Key: "wal/1/x", Size: 8 << 20, Runs: []CommitRun{
			{Partition: record.Partition{Topic: id, Index: 1}, Pos: 64, Batches: []CommitBatch{
				{Len: 16384, Records: 100, MaxTimestamp: 1_790_000_000_000, ProducerID: -1},
				{Len: 500, Records: 3, MaxTimestamp: 1_790_000_000_010, ProducerID: 9, ProducerEpoch: 2, BaseSequence: 2147483647},
			}},
			{Partition: record.Partition{Topic: id, Index: 3}, Pos: 20000, Batches: []CommitBatch{{Len: 70, Records: 1, MaxTimestamp: -1, ProducerID: 9}}},
			{Partition: record.Partition{Topic: record.TopicID{15: 9}, Index: 0}, Pos: 20070, Batches: []CommitBatch{{Len: 70, Records: 1, ProducerID: 0}}},
		}},
		AllocateProducerIDs{Count: 1000},
		CreateTopic{ID: id, Name: "logs", Partitions: 4, Configs: map[string]string{"retention.ms": "-1", "cleanup.policy": "delete"}},
		DeleteTopic{ID: id},
		SetKeys{Space: "groups", Ops: []KeyOp{
			{Key: "g1", Check: true, Expect: 12, Write: true, Value: []byte("state")}, {Key: "g2", Write: true, Value: []byte{}}, {Key: "g3", Write: true, Delete: true},
		}},
		ClaimJob{Session: 5, Topics: []record.TopicID{id}, Outputs: []string{"tables/logs/_data/a.parquet"}},
		ReleaseJob{Job: 2},
		Replace{Job: 3, Files: []NewFile{{Topic: id, Key: "tables/logs/_data/a.parquet", Size: 12345, Rows: 7, Add: []byte(`{"path":"a"}`), Parts: []FilePart{
			{Partition: 1, Base: 5, End: 12, RowGroup: 0, RowGroups: 2, Rows: 7, MaxTimestamp: 1_790_000_000_010},
		}}}},
		Projected{Topic: id, Version: 17, UpTo: 299},
		ForgetObjects{Keys: []string{"wal/1/x", "wal/1/y"}},
		ForgetTopic{ID: id},
	}}
}

// everyCommand2 is one entry with each command that came with level 2, every field set.
func everyCommand2() Entry {
	id := record.TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	return Entry{Seq: 301, Term: 7, Time: 1_790_000_000_124, Commands: []Command{
		OpenSession{Agent: AgentInfo{Address: "h:9092", HTTP: "h:8080", Zone: "a", Version: "v2", Roles: []string{"produce"}, Level: 2}},
		RaiseLevel{Level: 2},
		ForgetSession{Session: 4},
		CommitObject{Session: 5, Counter: 1001, Settled: 1000, Size: 9, Inline: []byte("an object"), Runs: []CommitRun{
			{Partition: record.Partition{Topic: id, Index: 1}, Pos: 2, Batches: []CommitBatch{{Len: 6, Records: 3, MaxTimestamp: 77, ProducerID: -1}}},
		}},
		Replace{Job: 3, Moved: &MovedObject{Key: "wal/1/m", Size: 70_000, Runs: []MovedRun{
			{Partition: record.Partition{Topic: id, Index: 1}, Base: 5, End: 12, Pos: 64, Len: 900, MaxTimestamp: 1_790_000_000_010},
			{Partition: record.Partition{Topic: id, Index: 1}, Base: 20, End: 21, Pos: 964, Len: 80, MaxTimestamp: 1_790_000_000_000},
			{Partition: record.Partition{Topic: id, Index: 3}, Base: 0, End: 9, Pos: 60_000, Len: 80, MaxTimestamp: -1},
			{Partition: record.Partition{Topic: record.TopicID{15: 9}, Index: 0}, Base: 1 << 40, End: 1<<40 + 1, Pos: 1044, Len: 80},
		}}},
		Replace{Job: 4, Files: []NewFile{{Topic: id, Key: "f", Size: 1, Parts: []FilePart{{End: 1}}}}, Moved: &MovedObject{Key: "m"}},
		CommitObject{Session: 5, Counter: 1002, Key: "wal/1/x", Size: 64},
	}}
}

// everyCommand3 is one entry with each command that came with version 3, every field set.
func everyCommand3() Entry {
	id := record.TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	return Entry{Seq: 303, Term: 7, Time: 1_790_000_000_126, Commands: []Command{
		AlterTopicConfigs{ID: id, From: map[string]string{"retention.ms": "-1", "cleanup.policy": "delete"}, To: map[string]string{"retention.ms": "5"}},
		CreatePartitions{ID: id, Partitions: 300},
		ForgetTopic{ID: id},
	}}
}

// logStartCommands is one entry with what moves log starts, every field set.
func logStartCommands() Entry {
	id := record.TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	return Entry{Seq: 304, Term: 7, Time: 1_790_000_000_127, Commands: []Command{
		DeleteRecords{Moves: []LogStartMove{
			{Partition: record.Partition{Topic: id, Index: 3}, To: 1 << 40},
			{Partition: record.Partition{Topic: id, Index: 1}, To: ToHighWatermark},
			{Partition: record.Partition{Topic: record.TopicID{15: 9}}, To: 0},
		}},
		ApplyRetention{Topics: []record.TopicID{id, {15: 9}}},
	}}
}

// goldenStateLogStarts adds to goldenStateHeld log starts that moved: into a run, over a file whose add is pending, to the end.
func goldenStateLogStarts(t testing.TB) *State {
	t.Helper()
	s := goldenStateHeld(t)
	p := func(index int32) record.Partition { return record.Partition{Topic: topicNumber(1), Index: index} }
	for i, c := range []Command{
		SealSession{Session: 3},
		OpenSession{Agent: AgentInfo{Address: "d:1", Level: 4}},
		RaiseLevel{Level: 4},
		CommitObject{Session: 4, Key: "o6", Size: 500, Runs: []CommitRun{{Partition: p(2), Pos: 64, Batches: []CommitBatch{{Len: 30, Records: 9, ProducerID: -1}}}}},
		DeleteRecords{Moves: []LogStartMove{{p(0), 6}, {p(1), ToHighWatermark}, {p(2), 7}}},
	} {
		if err := errOf(s.Apply(Entry{Seq: s.next, Term: 4, Time: int64(300_000 + 1000*i), Commands: []Command{c}})[0]); err != nil {
			t.Fatalf("%#v: %v", c, err)
		}
	}
	for _, fault := range stateFaults(s) {
		t.Error(fault)
	}
	return s
}

// goldenState is a state with something in every section.
func goldenState(t testing.TB) *State {
	t.Helper()
	s := testState(t, 3)
	p0 := record.Partition{Topic: topicNumber(1)}
	for i, c := range []Command{
		CreateTopic{ID: topicNumber(2), Name: "gone", Partitions: 1, Configs: map[string]string{configTableOnDelete: onDeleteKeep}},
		CommitObject{Session: 1, Key: "o0", Size: 500, Runs: []CommitRun{
			{Partition: p0, Pos: 64, Batches: []CommitBatch{{Len: 50, Records: 5, MaxTimestamp: 77, ProducerID: 3, BaseSequence: 9}}},
			{Partition: record.Partition{Topic: topicNumber(1), Index: 8}, Pos: 114, Batches: []CommitBatch{{Len: 50, Records: 5, ProducerID: -1}}},
			{Partition: record.Partition{Topic: topicNumber(2)}, Pos: 164, Batches: []CommitBatch{{Len: 50, Records: 5, ProducerID: -1}}},
		}},
		ClaimJob{Session: 1, Topics: []record.TopicID{topicNumber(1), topicNumber(2)}, Outputs: []string{"f0", "f1"}},
		Replace{Job: 1, Files: []NewFile{{Topic: topicNumber(1), Key: "f0", Size: 90, Rows: 5, Add: []byte("{}"), Parts: []FilePart{{End: 5, RowGroups: 1, Rows: 5}}}}},
		CommitObject{Session: 1, Counter: 1, Key: "o1", Size: 500, Runs: []CommitRun{{Partition: p0, Pos: 64, Batches: []CommitBatch{
			{Len: 50, Records: 2, MaxTimestamp: 78, ProducerID: 3, BaseSequence: 14},
			{Len: 50, Records: 5, MaxTimestamp: 77, ProducerID: 3, BaseSequence: 9},
			{Len: 50, Records: 2, MaxTimestamp: 70, ProducerID: 3, BaseSequence: 99},
			{Len: 50, Records: 2, MaxTimestamp: 70, ProducerID: -1},
		}}}},
		DeleteTopic{ID: topicNumber(2)},
		ForgetTopic{ID: topicNumber(2)},
		CreateTopic{ID: topicNumber(3), Name: "gone", Partitions: 1},
		DeleteTopic{ID: topicNumber(3)},
		OpenSession{Agent: AgentInfo{Address: "b:1"}},
		SealSession{Session: 2},
		ClaimJob{Session: 1, Topics: []record.TopicID{topicNumber(1)}, Outputs: []string{"f2"}},
		SetKeys{Space: "groups", Ops: []KeyOp{{Key: "a", Write: true, Value: []byte("1")}, {Key: "b", Write: true}}},
	} {
		if err := errOf(s.Apply(Entry{Seq: s.next, Term: 2, Time: int64(1000 * i), Commands: []Command{c}})[0]); err != nil {
			t.Fatalf("%#v: %v", c, err)
		}
	}
	return s
}

// goldenState2 adds to goldenState what level 2 brings.
func goldenState2(t testing.TB) *State {
	t.Helper()
	s := goldenState(t)
	runs := func(index int32, lens ...record.Len) []CommitRun {
		r := CommitRun{Partition: record.Partition{Topic: topicNumber(1), Index: index}, Pos: 64}
		for _, n := range lens {
			r.Batches = append(r.Batches, CommitBatch{Len: n, Records: 2, MaxTimestamp: 5, ProducerID: -1})
		}
		return []CommitRun{r}
	}
	for i, c := range []Command{
		SealSession{Session: 1},
		OpenSession{Agent: AgentInfo{Address: "c:1", Level: 2}},
		RaiseLevel{Level: 2},
		ForgetSession{Session: 2},
		CommitObject{Session: 3, Key: "o2", Size: 500, Runs: runs(1, 30)},
		CommitObject{Session: 3, Counter: 1, Key: "o3", Size: 500, Runs: runs(1, 40)},
		CommitObject{Session: 3, Counter: 2, Key: "o4", Size: 500, Runs: runs(1, 50)},
		ClaimJob{Session: 3, Topics: []record.TopicID{topicNumber(1)}, Outputs: []string{"m0"}},
		Replace{Job: 3, Moved: &MovedObject{Key: "m0", Size: 300, Runs: []MovedRun{
			{Partition: record.Partition{Topic: topicNumber(1), Index: 1}, Base: 0, End: 4, Pos: 64, Len: 70, MaxTimestamp: 5},
		}}},
		CommitObject{Session: 3, Counter: 3, Size: 300, Inline: make([]byte, 300), Runs: runs(2, 100, 100)},
	} {
		e := Entry{Seq: s.next, Term: 3, Time: int64(100_000 + 1000*i), Commands: []Command{c}}
		EncodeEntry(e)
		if err := errOf(s.Apply(e)[0]); err != nil {
			t.Fatalf("%#v: %v", c, err)
		}
	}
	return s
}

// heldCommands is one entry with what holds batches back, every field set.
func heldCommands() Entry {
	id := record.TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	runs := []CommitRun{
		{Partition: record.Partition{Topic: id, Index: 1}, Pos: 64, Batches: []CommitBatch{
			{Len: 30, Records: 1, ProducerID: -1}, {Len: 31, Records: 2, MaxTimestamp: 5, ProducerID: 9, ProducerEpoch: 1, BaseSequence: 70},
		}},
		{Partition: record.Partition{Topic: id, Index: 2}, Pos: 125, Batches: []CommitBatch{{Len: 40, Records: 3, ProducerID: 9, BaseSequence: 71}}},
	}
	return Entry{Seq: 302, Term: 7, Time: 1_790_000_000_125, Commands: []Command{
		CommitObject{Session: 5, Counter: 1003, Settled: 1002, Key: "wal/1/h", Size: 165, Runs: runs, Held: []HeldBatch{{0, 1}, {1, 0}}},
		CommitObject{Session: 5, Counter: 1004, Size: 170, Inline: make([]byte, 170), Runs: runs, Held: []HeldBatch{{1, 0}}},
		CommitHeld{Session: 5, Counter: 1003, Batches: []HeldBatch{{0, 1}, {1, 0}}},
	}}
}

// goldenStateHeld adds to goldenState2 batches that are held back.
func goldenStateHeld(t testing.TB) *State {
	t.Helper()
	s := goldenState2(t)
	p := func(index int32) record.Partition { return record.Partition{Topic: topicNumber(1), Index: index} }
	for i, c := range []Command{
		CommitObject{Session: 3, Counter: 4, Key: "o5", Size: 500, Held: []HeldBatch{{0, 1}, {0, 2}, {1, 0}, {2, 0}}, Runs: []CommitRun{
			{Partition: p(0), Pos: 64, Batches: []CommitBatch{
				{Len: 30, Records: 1, MaxTimestamp: 3, ProducerID: -1},
				{Len: 31, Records: 2, MaxTimestamp: 4, ProducerID: 70, ProducerEpoch: 3, BaseSequence: 100},
				{Len: 32, Records: 3, MaxTimestamp: 5, ProducerID: 70, ProducerEpoch: 3, BaseSequence: 102},
			}},
			{Partition: p(1), Pos: 157, Batches: []CommitBatch{{Len: 33, Records: 1, MaxTimestamp: -1, ProducerID: 71, BaseSequence: 2147483647}}},
			{Partition: p(2), Pos: 190, Batches: []CommitBatch{{Len: 40, Records: 1, ProducerID: 72}}},
		}},
		CommitObject{Session: 3, Counter: 5, Size: 200, Inline: make([]byte, 200), Held: []HeldBatch{{0, 0}}, Runs: []CommitRun{
			{Partition: p(2), Pos: 64, Batches: []CommitBatch{{Len: 33, Records: 1, ProducerID: 71, BaseSequence: 6}}},
		}},
		CommitHeld{Session: 3, Counter: 4, Batches: []HeldBatch{{2, 0}}},
	} {
		e := Entry{Seq: s.next, Term: 3, Time: int64(200_000 + 1000*i), Commands: []Command{c}}
		EncodeEntry(e)
		if err := errOf(s.Apply(e)[0]); err != nil {
			t.Fatalf("%#v: %v", c, err)
		}
	}
	for _, fault := range stateFaults(s) {
		t.Error(fault)
	}
	return s
}

// The bytes of a format version never change: when this fails, write a new version beside the old. Snapshots of version 1
// are no longer written.
func TestGoldenBytes(t *testing.T) {
	for name, encode := range map[string]func() []byte{
		"entry-v1.hex":          func() []byte { return EncodeEntry(everyCommand()) },
		"entry-v2.hex":          func() []byte { return EncodeEntry(everyCommand2()) },
		"entry-v3-topics.hex":   func() []byte { return EncodeEntry(everyCommand3()) },
		"entry-v3-logstart.hex": func() []byte { return EncodeEntry(logStartCommands()) },
		// Of version 2 in form, and no older agent reads it: the level is in front.
		"snapshot-v2-logstart.hex": func() []byte { return goldenStateLogStarts(t).Encode() },
		"snapshot-v2.hex":          func() []byte { return goldenState2(t).Encode() },
		// Version 2 as well: what came to it before it was used.
		"entry-v2-held.hex":    func() []byte { return EncodeEntry(heldCommands()) },
		"snapshot-v2-held.hex": func() []byte { return goldenStateHeld(t).Encode() },
	} {
		path := filepath.Join("testdata", "golden", name)
		got := hex.Dump(encode())
		want, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: the bytes changed:\n%s", path, got)
		}
	}
	for _, name := range []string{"snapshot-v2.hex", "snapshot-v2-held.hex", "snapshot-v2-logstart.hex"} {
		golden := unhex(t, filepath.Join("testdata", "golden", name))
		s, err := DecodeState(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.Encode(), golden) {
			t.Errorf("%s does not encode to itself", name)
		}
		for _, fault := range stateFaults(s) {
			t.Errorf("%s: %s", name, fault)
		}
	}
}

// I9: a snapshot of version 1 leads to the state that the entries it stands for lead to today, at level 1.
func TestSnapshotOfVersion1LeadsToTheSameStateI9(t *testing.T) {
	s, err := DecodeState(unhex(t, filepath.Join("testdata", "golden", "snapshot-v1.hex")))
	if err != nil {
		t.Fatal(err)
	}
	if s.level != 1 {
		t.Errorf("level %d, want 1", s.level)
	}
	if want := goldenState(t); !bytes.Equal(s.Encode(), want.Encode()) {
		t.Error("the snapshot leads to another state than its entries")
	}
	for _, fault := range stateFaults(s) {
		t.Error(fault)
	}
}

// I9: applying an entry that was built is applying the one that is read back, also where its objects lie.
func TestInlineObjectsLieWhereTheEntrySaysI9(t *testing.T) {
	e := everyCommand2()
	body := EncodeEntry(e)
	found := 0
	e.EachInline(func(key string, object []byte) {
		found++
		slot, pos, length, ok := ParseInlineKey(key)
		if !ok || slot != e.Seq || !bytes.Equal(body[pos:pos+length], object) || string(object) != "an object" {
			t.Errorf("%s: not the bytes %q", key, object)
		}
	})
	if found != 1 {
		t.Errorf("%d inline objects, want 1", found)
	}
	got, err := DecodeEntry(body)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, e) {
		t.Errorf("got  %+v\nwant %+v", got, e)
	}
}

func TestInlineKeysAreReadStrictly(t *testing.T) {
	if key := InlineKey(1<<64-1, 64, 1<<20); key != "inline/18446744073709551615/64/1048576" {
		t.Error(key)
	}
	for _, key := range []string{"", "inline/", "inline/1/2", "inline/01/2/3", "inline/1/2/3/", "inline/1/-2/3", "inline/1/2/+3", "wal/1/2/3", "inline/1/2/99999999999999999999"} {
		if _, _, _, ok := ParseInlineKey(key); ok {
			t.Errorf("%q was taken for an inline key", key)
		}
	}
}

func unhex(t testing.TB, path string) (b []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if len(line) < 60 {
			continue
		}
		part, err := hex.DecodeString(strings.ReplaceAll(line[10:59], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, part...)
	}
	return b
}

func TestEntryComesBackAsItWas(t *testing.T) {
	want := everyCommand()
	got, err := DecodeEntry(EncodeEntry(want))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	want = everyCommand3()
	if got, err = DecodeEntry(EncodeEntry(want)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: got  %+v\nwant %+v", err, got, want)
	}
	log := newRandomLog(5)
	for range 300 {
		e := log.entry()
		got, err := DecodeEntry(EncodeEntry(e))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("got  %+v\nwant %+v", got, e)
		}
	}
}

func TestCutEntriesAreCorrupt(t *testing.T) {
	for _, e := range []Entry{heldCommands(), everyCommand3(), logStartCommands()} {
		whole := EncodeEntry(e)
		for n := range whole {
			if _, err := DecodeEntry(whole[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%d of %d bytes: %v, want ErrCorrupt", n, len(whole), err)
			}
		}
	}
	b := EncodeEntry(everyCommand())
	for n := range b {
		if _, err := DecodeEntry(b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v, want ErrCorrupt", n, len(b), err)
		}
	}
	if _, err := DecodeEntry(append(b, 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
}

// What a later barge wrote is no damage: the text says what to do about it.
func TestEntriesOfTheFutureAskForANewerBarge(t *testing.T) {
	b := EncodeEntry(everyCommand2())
	b[0] = 4
	_, err := DecodeEntry(b)
	if !errors.Is(err, ErrNewer) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "version 4, this one understands up to 3; upgrade barge") {
		t.Errorf("entry of version 4: %v", err)
	}
	changed := EncodeEntry(everyCommand3())
	changed[0] = 2
	if _, err := DecodeEntry(changed); !errors.Is(err, ErrCorrupt) {
		t.Errorf("commands of version 3 in an entry of version 2: %v, want ErrCorrupt", err)
	}
	b[0] = 1
	if _, err := DecodeEntry(b); !errors.Is(err, ErrCorrupt) {
		t.Errorf("commands of version 2 in an entry of version 1: %v, want ErrCorrupt", err)
	}

	s := goldenState2(t).Encode()
	s[len(snapshotMagic)] = 3
	_, err = DecodeState(sealed(s[:len(s)-4]))
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version 3, this one understands up to 2; upgrade barge") {
		t.Errorf("snapshot of version 3: %v", err)
	}
	s[len(snapshotMagic)], s[len(snapshotMagic)+1] = 2, MaxLevel+1
	_, err = DecodeState(sealed(s[:len(s)-4]))
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "level 5, this one understands up to 4; upgrade barge") {
		t.Errorf("snapshot of level 5: %v", err)
	}
}

func TestDamagedSnapshotsAreCorrupt(t *testing.T) {
	for _, b := range [][]byte{goldenState2(t).Encode(), goldenStateLogStarts(t).Encode(), unhex(t, filepath.Join("testdata", "golden", "snapshot-v1.hex"))} {
		testDamaged(t, b)
	}
}

func testDamaged(t *testing.T, b []byte) {
	t.Helper()
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 0x10
		if _, err := DecodeState(damaged); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d changed: %v, want ErrCorrupt", i, err)
		}
	}
	for n := range b {
		if _, err := DecodeState(sealed(b[:n])); n < len(b)-4 && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v, want ErrCorrupt", n, len(b), err)
		}
	}
}

// Where a topic's oldest run is looked for rests on it.
func TestRunsOfDescendingAgeAreCorrupt(t *testing.T) {
	s := testState(t, 2)
	for i := range uint64(2) {
		s.Apply(Entry{Seq: s.next, Time: int64(1 + i), Commands: []Command{commitCommand(i, 1)}})
	}
	runs := s.topics[topicNumber(1)].parts[1].runs
	runs[0].committedAt, runs[1].committedAt = runs[1].committedAt, runs[0].committedAt
	if _, err := DecodeState(s.Encode()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v, want ErrCorrupt", err)
	}
}

// sealed puts the right checksum behind the body of a snapshot.
func sealed(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli()))
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(EncodeEntry(everyCommand()))
	f.Add(EncodeEntry(everyCommand2()))
	f.Add(EncodeEntry(heldCommands()))
	f.Add(EncodeEntry(everyCommand3()))
	f.Add(EncodeEntry(logStartCommands()))
	f.Add(EncodeEntry(Entry{}))
	log := newRandomLog(1)
	for range 20 {
		f.Add(EncodeEntry(log.entry()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		again, err := DecodeEntry(EncodeEntry(e))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("got  %+v\nwant %+v", again, e)
		}
		// Whatever can be decoded can be applied, to an empty state and to one with something in it.
		for _, s := range []*State{NewState(), goldenState2(t), goldenStateHeld(t), goldenStateLogStarts(t)} {
			if creates(e) {
				continue // partitions cost more memory than bytes, which is bounded but slow here
			}
			e.Seq = s.next
			s.Apply(e)
			if faults := stateFaults(s); len(faults) > 0 {
				t.Fatal(faults)
			}
			if _, err := DecodeState(s.Encode()); err != nil && (s.level <= MaxLevel || !errors.Is(err, ErrNewer)) {
				t.Fatal(err)
			}
		}
	})
}

func creates(e Entry) bool {
	for _, c := range e.Commands {
		switch c := c.(type) {
		case CreateTopic:
			if c.Partitions > 100 {
				return true
			}
		case CreatePartitions:
			if c.Partitions > 100 {
				return true
			}
		}
	}
	return false
}

func FuzzDecodeState(f *testing.F) {
	seed := func(s *State) {
		b := s.Encode()
		f.Add(b[len(snapshotMagic) : len(b)-4])
	}
	seed(NewState())
	seed(goldenState(f))
	seed(goldenState2(f))
	seed(goldenStateHeld(f))
	seed(goldenStateLogStarts(f))
	old := unhex(f, filepath.Join("testdata", "golden", "snapshot-v1.hex"))
	f.Add(old[len(snapshotMagic) : len(old)-4])
	log := newRandomLog(2)
	for range 200 {
		log.entry()
	}
	seed(log.state)
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := DecodeState(sealed(append([]byte(snapshotMagic), body...)))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		b := s.Encode()
		again, err := DecodeState(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Encode(), b) {
			t.Fatal("decode and encode is not stable")
		}
		// What was accepted is safe to go on with.
		log := newRandomLog(3)
		log.state, log.next = again, again.next
		for range 20 {
			log.entry()
		}
	})
}

func Example() {
	view := NewView()
	topic := record.TopicID{15: 1}
	view.Apply(Entry{Seq: 0, Time: 1000, Commands: []Command{
		CreateTopic{ID: topic, Name: "logs", Partitions: 1},
		OpenSession{Agent: AgentInfo{Address: "127.0.0.1:9092"}},
	}})
	p := record.Partition{Topic: topic, Index: 0}
	results := view.Apply(Entry{Seq: 1, Time: 1010, Commands: []Command{CommitObject{
		Session: 1, Counter: 1, Key: "wal/1/a", Size: 4096,
		Runs: []CommitRun{{Partition: p, Pos: 64, Batches: []CommitBatch{{Len: 900, Records: 12, ProducerID: -1}}}},
	}}})
	if committed, ok := results[0].(CommitObjectResult); ok {
		fmt.Println("base offset", committed.Batches[0][0].BaseOffset)
	}
	loc, _ := view.Locate(p, 5, 1<<20)
	fmt.Println("offset 5 lies in", loc.Slices[0].Run.Key, "from byte", loc.Slices[0].Run.Pos)
	// Output:
	// base offset 0
	// offset 5 lies in wal/1/a from byte 64
}
