package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/bargedata/barge/record"
)

// I9: a state that went through snapshots at random places answers and encodes as one that never did, and so does one that was fed
// with entries as followers get them.
func TestSnapshotAnywhereGivesTheSameStateI9(t *testing.T) {
	altered, grown, cut, retained := 0, 0, 0, 0
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		log := newRandomLog(seed)
		restored, follower := NewState(), NewState()
		for range 400 {
			e := log.entry()
			decoded, err := DecodeEntry(EncodeEntry(e))
			if err != nil {
				t.Fatalf("seed %d entry %d: %v", seed, e.Seq, err)
			}
			sent := EncodeForFollowers(decoded)
			followed, err := DecodeForFollowers(sent)
			if err != nil {
				t.Fatalf("seed %d entry %d for followers: %v", seed, e.Seq, err)
			}
			if _, err := DecodeEntry(sent); err == nil {
				t.Fatalf("seed %d entry %d: what followers get passes for an entry of the log", seed, e.Seq)
			}
			follower.Apply(followed)
			if !bytes.Equal(follower.Encode(), log.state.Encode()) {
				t.Fatalf("seed %d: a follower's state differs after entry %d: %+v", seed, e.Seq, e.Commands)
			}
			frozen, before := restored.freeze(), restored.Encode()
			results := restored.Apply(decoded)
			if len(results) != len(e.Commands) {
				t.Fatalf("seed %d entry %d: %d results for %d commands", seed, e.Seq, len(results), len(e.Commands))
			}
			if !bytes.Equal(frozen.Encode(), before) {
				t.Fatalf("seed %d entry %d: Apply reached into a frozen state", seed, e.Seq)
			}
			if rng.IntN(20) == 0 {
				if restored, err = DecodeState(restored.Encode()); err != nil {
					t.Fatalf("seed %d entry %d: %v", seed, e.Seq, err)
				}
			}
			for _, fault := range stateFaults(restored) {
				t.Fatalf("seed %d entry %d: %s", seed, e.Seq, fault)
			}
			if !bytes.Equal(restored.Encode(), log.state.Encode()) {
				t.Fatalf("seed %d: states differ after entry %d: %+v", seed, e.Seq, e.Commands)
			}
		}
		s := log.state
		if s.lastObject == 0 || len(s.released) == 0 || s.lastJob == 0 || log.deleted == 0 || s.lastKeyVersion == 0 ||
			s.level < 2 || log.forgotten == 0 || log.moved == 0 || log.inlined == 0 || log.held == 0 {
			t.Errorf("seed %d: the random log reached too little: level %d, %d sessions forgotten, %d moves, %d inline objects, %d held back, %d deleted, %d released, job %d",
				seed, s.level, log.forgotten, log.moved, log.inlined, log.held, log.deleted, len(s.released), s.lastJob)
		}
		altered, grown, cut, retained = altered+log.altered, grown+log.grown, cut+log.cut, retained+log.retained
	}
	if altered < 20 || grown < 20 || cut < 20 || retained < 3 {
		t.Errorf("all random logs together reached too little: %d topics altered, %d grown, %d log starts moved, %d by retention", altered, grown, cut, retained)
	}
}

// I5: neither end of a partition's log ever goes back.
func TestBoundsNeverRetreatI5(t *testing.T) {
	log := newRandomLog(99)
	seen := map[record.Partition]Bounds{}
	for range 1500 {
		e := log.entry()
		for id, topic := range log.state.topics {
			for i := range topic.parts {
				p := record.Partition{Topic: id, Index: int32(i)}
				was, is := seen[p], topic.parts[i].bounds()
				if is.HighWatermark < was.HighWatermark || is.LogStart < was.LogStart || is.LastStable < was.LastStable {
					t.Fatalf("entry %d: %s went from %+v to %+v", e.Seq, p, was, is)
				}
				seen[p] = is
			}
		}
	}
}

func TestEntryOutOfOrderIsIgnored(t *testing.T) {
	s := NewState()
	before := s.Encode()
	if r := s.Apply(Entry{Seq: 1, Commands: []Command{OpenSession{}}}); r != nil {
		t.Errorf("entry 1 before entry 0 was answered %v", r)
	}
	if !bytes.Equal(s.Encode(), before) {
		t.Error("entry 1 before entry 0 changed the state")
	}
	s.Apply(Entry{Seq: 0, Time: 50, Term: 3})
	s.Apply(Entry{Seq: 1, Time: 40, Term: 3})
	if s.time != 50 || s.next != 2 {
		t.Errorf("time %d next %d, want entry time to stay at 50 and next 2", s.time, s.next)
	}
}

// testState is a state with topic 1 of some partitions and session 1.
func testState(t testing.TB, partitions int32) *State {
	t.Helper()
	s := NewState()
	for _, r := range s.Apply(Entry{Commands: []Command{CreateTopic{ID: topicNumber(1), Name: "logs", Partitions: partitions}, OpenSession{}}}) {
		if err := errOf(r); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func errOf(r Result) error {
	err, _ := reflect.ValueOf(r).FieldByName("Err").Interface().(error)
	return err
}

// commitOne commits one batch to partition 0 of topic 1 and returns its fate.
func commitOne(s *State, time int64, b CommitBatch) BatchResult {
	b.Len, b.Records = max(b.Len, 1), max(b.Records, 1)
	counter := s.next
	r := s.Apply(Entry{Seq: s.next, Time: time, Commands: []Command{CommitObject{
		Session: 1, Counter: counter, Settled: counter, Key: fmt.Sprint("o", counter), Size: 100,
		Runs: []CommitRun{{Partition: record.Partition{Topic: topicNumber(1)}, Batches: []CommitBatch{b}}},
	}}})[0].(CommitObjectResult)
	if r.Err != nil {
		return BatchResult{Err: r.Err}
	}
	return r.Batches[0][0]
}

func TestOldestProducerGoesWhenAThousandAreKnown(t *testing.T) {
	s := testState(t, 1)
	for id := range int64(maxProducers) {
		commitOne(s, 1, CommitBatch{ProducerID: id})
	}
	// Producer 0 is used again, so 1 is the oldest when one more comes.
	if r := commitOne(s, 2, CommitBatch{ProducerID: 0, BaseSequence: 1}); r.Err != nil {
		t.Fatal(r.Err)
	}
	commitOne(s, 3, CommitBatch{ProducerID: 5000})
	if n := len(s.topics[topicNumber(1)].parts[0].producers.slots); n != maxProducers {
		t.Errorf("%d producers, want %d", n, maxProducers)
	}
	if r := commitOne(s, 3, CommitBatch{ProducerID: 0, BaseSequence: 7}); !errors.Is(r.Err, ErrOutOfOrderSequence) {
		t.Errorf("producer 0 is used and must be known, got %+v", r)
	}
	if r := commitOne(s, 3, CommitBatch{ProducerID: 1, BaseSequence: 70}); r.Err != nil {
		t.Errorf("producer 1 was the oldest and may start anywhere, got %v", r.Err)
	}
	if r := commitOne(s, 3, CommitBatch{ProducerID: 2, BaseSequence: 70}); r.Err != nil {
		t.Errorf("producer 2 went for producer 1, got %v", r.Err)
	}
	if r := commitOne(s, 3, CommitBatch{ProducerID: 4, BaseSequence: 70}); !errors.Is(r.Err, ErrOutOfOrderSequence) {
		t.Errorf("producer 4 must be known, got %+v", r)
	}
}

// The table against a plain model: a map, and a list in the order of use.
func TestProducerTableAgreesWithAPlainModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var table producerTable
	var order []int64
	last := map[int64]int32{}
	at := map[int64]int64{}
	now := int64(0)
	for step := range 20_000 {
		now += rng.Int64N(producerExpiryMs / 400)
		for len(order) > 0 && at[order[0]] <= now-producerExpiryMs {
			delete(last, order[0])
			order = order[1:]
		}
		id := rng.Int64N(1500)
		known, isKnown := last[id]
		gap := rng.Int32N(4) / 3
		b := CommitBatch{ProducerID: id, Records: 1, BaseSequence: known + 1 + gap}
		slot, _, duplicate, err := table.judge(&b, now)
		if (err != nil) != (isKnown && gap > 0) || duplicate || isKnown != (slot != 0) {
			t.Fatalf("step %d: %+v known=%v last=%d: slot %d duplicate=%v err=%v", step, b, isKnown, known, slot, duplicate, err)
		}
		if err != nil {
			continue
		}
		table.appended(slot, &b, record.Offset(step), now)
		if !isKnown && len(order) == maxProducers {
			delete(last, order[0])
			order = order[1:]
		}
		for i := range order {
			if order[i] == id {
				order = append(order[:i], order[i+1:]...)
				break
			}
		}
		order = append(order, id)
		last[id], at[id] = b.BaseSequence, now
		if len(table.slots) != len(order) {
			t.Fatalf("step %d: %d producers, want %d", step, len(table.slots), len(order))
		}
	}
	i := 0
	for slot := table.oldest; slot != 0; slot = table.slots[slot-1].newer {
		if table.slots[slot-1].id != order[i] {
			t.Fatalf("place %d: producer %d, want %d", i, table.slots[slot-1].id, order[i])
		}
		i++
	}
	if i < 100 {
		t.Errorf("only %d producers in the end", i)
	}
}

func TestUnsettledResultsAreBounded(t *testing.T) {
	s := testState(t, 1)
	commit := func(counter, settled uint64) CommitObjectResult {
		return s.Apply(Entry{Seq: s.next, Commands: []Command{CommitObject{
			Session: 1, Counter: counter, Settled: settled, Key: fmt.Sprint("o", counter), Size: 10,
			Runs: []CommitRun{{Partition: record.Partition{Topic: topicNumber(1)}, Batches: []CommitBatch{{Len: 1, Records: 1, ProducerID: -1}}}},
		}}})[0].(CommitObjectResult)
	}
	for counter := range uint64(MaxUnsettled) {
		if r := commit(counter, 0); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if r := commit(MaxUnsettled, 0); !errors.Is(r.Err, ErrOutOfOrderCounter) {
		t.Errorf("a result too many: %v, want ErrOutOfOrderCounter", r.Err)
	}
	if r := commit(0, 0); r.Err != nil || r.Batches[0][0].BaseOffset != 0 {
		t.Errorf("repeat of the first: %+v", r)
	}
	if r := commit(MaxUnsettled, 1); r.Err != nil || r.Batches[0][0].BaseOffset != MaxUnsettled {
		t.Errorf("after one is settled: %+v", r)
	}
}

func TestRefusedCommandsChangeNothing(t *testing.T) {
	s := testState(t, 1)
	before := s.freeze()
	big := make([]byte, MaxAddBytes+1)
	for _, c := range []Command{
		CreateTopic{ID: topicNumber(1), Name: "x", Partitions: 1},
		DeleteTopic{ID: topicNumber(9)},
		ForgetTopic{ID: topicNumber(1)},
		SealSession{Session: 2},
		AllocateProducerIDs{Count: -1},
		ClaimJob{Session: 1, Topics: []record.TopicID{topicNumber(1)}, Outputs: []string{"a", "a"}},
		ClaimJob{Session: 1, Topics: []record.TopicID{topicNumber(1)}, Outputs: make([]string, MaxJobOutputs+1)},
		Replace{Job: 0, Files: []NewFile{{Add: big}}},
		Projected{Topic: topicNumber(1), Version: -2},
		ForgetObjects{Keys: []string{"a"}},
		CommitObject{Session: 1, Counter: 1<<64 - 1, Key: "o"},
		CommitObject{Session: 7, Key: "o"},
		SetKeys{Space: "s", Ops: []KeyOp{{Key: "a", Write: true}, {Key: "b", Check: true, Expect: 1}}},
	} {
		if err := errOf(s.apply(c)); err == nil {
			t.Errorf("%#v was not refused", c)
		}
		if !bytes.Equal(s.Encode(), before.Encode()) {
			t.Fatalf("%#v was refused and changed the state", c)
		}
	}
}
