package metadata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// inlineCommit is commitCommand with the object inside, of so many bytes that tell its counter.
func inlineCommit(counter uint64, size int) CommitObject {
	c := commitCommand(counter, 0)
	c.Key, c.Size, c.Inline = "", record.Len(size), bytes.Repeat([]byte{byte(counter)}, size)
	return c
}

// level2 starts a sequencer on a log of level 2 with session 1 and topic 1.
func level2(t *testing.T, log Log, cfg SequencerConfig) *running {
	t.Helper()
	r := start(t, log, cfg)
	r.do(OpenSession{Agent: AgentInfo{Level: MaxLevel}})
	r.do(RaiseLevel{Level: MaxLevel})
	r.do(CreateTopic{ID: topicNumber(1), Name: "logs", Partitions: 1})
	return r
}

// Objects in entries: at most a mebibyte together, told of before the View shows them, where the View says, and I9: what
// was applied as it was built equals what is read back.
func TestEntriesCarryObjectsI9(t *testing.T) {
	log := wholeLog{NewMemoryLog()}
	gate, held := make(chan struct{}), make(chan struct{})
	kept := map[string][]byte{}
	var r *running
	r = level2(t, log, SequencerConfig{EntryBytes: MaxEntryBytes, OnInline: func(key string, body []byte) {
		if slot, _, _, ok := ParseInlineKey(key); !ok || r.view.Applied() != slot {
			t.Errorf("told of %s when the View is at entry %d", key, r.view.Applied())
		}
		kept[key] = body // on Run's goroutine; read after its end
	}})
	log.SetAppendHook(func(_ context.Context, seq uint64) AppendFault {
		log.SetAppendHook(nil)
		close(held)
		<-gate
		return AppendUnknownKept // and so asked for again
	})
	answers := make(chan error, 10)
	answer := func(res Result, err error) { answers <- errors.Join(err, errOf(res)) }
	r.Submit(AllocateProducerIDs{Count: 1}, answer)
	<-held
	sizes := []int{600 << 10, 400 << 10, 100 << 10, MaxInlineBytes, 64, 1000}
	for i, size := range sizes {
		r.Submit(inlineCommit(uint64(i), size), answer)
	}
	close(gate)
	for range len(sizes) + 1 {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	r.end()

	entries, err := log.Read(t.Context(), 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	var groups []string
	for i := range entries {
		e, err := DecodeLogEntry(entries[i])
		if err != nil {
			t.Fatal(err)
		}
		total, n := 0, 0
		e.EachInline(func(key string, body []byte) {
			total, n = total+len(body), n+1
			if !bytes.Equal(kept[key], body) {
				t.Errorf("%s: %d bytes in the log, the hook was told of %d", key, len(body), len(kept[key]))
			}
		})
		if total > MaxInlineBytes {
			t.Errorf("entry %d holds %d bytes of objects", e.Seq, total)
		}
		if n > 0 {
			groups = append(groups, fmt.Sprint(n))
		}
	}
	if got := fmt.Sprint(groups); got != "[2 1 1 2]" {
		t.Errorf("objects by entry: %s, want [2 1 1 2]", got)
	}
	state := replayed(t, log)
	if !bytes.Equal(state.Encode(), r.view.state.Encode()) {
		t.Error("the entries lead to another state than the sequencer's (I9)")
	}
	store := log.WithInline(objectstore.NewMemory(nil))
	loc, err := r.view.Locate(record.Partition{Topic: topicNumber(1)}, 0, 1<<40)
	if err != nil || len(loc.Slices) != len(sizes) {
		t.Fatalf("%d slices, %v", len(loc.Slices), err)
	}
	for i, sl := range loc.Slices {
		body, err := store.Get(t.Context(), sl.Run.Key, int64(sl.Run.ObjectSize))
		if err != nil || !sl.Run.Inline || len(body) != sizes[i] || body[0] != byte(i) {
			t.Errorf("object %d at %s: %d bytes, %v", i, sl.Run.Key, len(body), err)
		}
	}
}

// Slots with objects that are read where they lie stay, whatever the checkpoints hold, until the objects are copied out.
func TestTruncationKeepsSlotsWithObjects(t *testing.T) {
	log := NewMemoryLog()
	store := log.WithInline(objectstore.NewMemory(nil))
	r := level2(t, log, SequencerConfig{CheckpointEntries: 2})
	r.do(inlineCommit(0, 500))
	slot, ok := r.view.OldestInline()
	if !ok {
		t.Fatal("no inline object")
	}
	counter := uint64(1)
	truncated := func(below uint64) { // commits until the log has gone so far; checkpoint and truncation work beside
		t.Helper()
		for range 10_000 {
			if _, err := log.Read(t.Context(), below-1, 1); errors.Is(err, ErrTruncated) {
				return
			}
			r.do(commitCommand(counter, 0))
			counter++
		}
		t.Fatalf("the log was not truncated up to slot %d", below)
	}
	truncated(slot)
	for end := counter + 50; counter < end; counter++ {
		r.do(commitCommand(counter, 0))
	}
	loc, err := r.view.Locate(record.Partition{Topic: topicNumber(1)}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	inline := loc.Slices[0].Run
	if _, err := store.Get(t.Context(), inline.Key, 1<<20); err != nil || !inline.Inline {
		t.Fatalf("%s: %v", inline.Key, err)
	}
	r.do(ClaimJob{Session: 1, Topics: []record.TopicID{topicNumber(1)}, Outputs: []string{"m"}})
	r.do(Replace{Job: 1, Moved: &MovedObject{Key: "m", Size: 500, Runs: []MovedRun{
		{Partition: record.Partition{Topic: topicNumber(1)}, Base: inline.Base, End: inline.End, Len: inline.Len},
	}}})
	truncated(slot + 1)
	r.end()
}

// The list against what is there, with the oldest object staying for ever: it neither forgets one nor grows with those that go.
func TestInlineListKeepsNoMoreThanItMust(t *testing.T) {
	s := NewState()
	rng := rand.New(rand.NewPCG(5, 5))
	add := func(id uint64) { s.addObject(id, &object{inline: true, slot: id * 2}) }
	add(1)
	live := []uint64{1}
	for id := uint64(2); id < 5000; id++ {
		add(id)
		live = append(live, id)
		for len(live) > 1 && rng.IntN(2000) < len(live) { // up to a thousand or so
			i := 1 + rng.IntN(len(live)-1)
			s.dropObject(live[i])
			live = slices.Delete(live, i, i+1)
		}
		if len(s.released) > 0 {
			t.Fatal("an object in an entry was released")
		}
		if n := len(s.inline.ids); s.inline.live != len(live) || n > 2*len(live)+65 || s.inline.ids[0] != 1 {
			t.Fatalf("object %d: %d places from %d on, %d live counted, %d there", id, n, s.inline.ids[0], s.inline.live, len(live))
		}
	}
	for len(live) > 0 { // now the oldest goes first
		s.dropObject(live[0])
		live = live[1:]
		if len(live) > 0 && s.inline.ids[0] != live[0] {
			t.Fatalf("oldest %d, want %d", s.inline.ids[0], live[0])
		}
	}
	if slot, ok := (&View{state: s}).OldestInline(); ok {
		t.Errorf("oldest in slot %d, all are gone", slot)
	}
}
