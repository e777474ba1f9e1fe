package metadata

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/record"
)

// The same in the hands of the Sequencer, with its timers.
func TestSequencerHoldsEarlyBatchesForHalfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemoryLog()
		r := start(t, log, SequencerConfig{})
		r.do(CreateTopic{ID: topicNumber(1), Name: "logs", Partitions: 2})
		r.do(OpenSession{Agent: AgentInfo{Level: 2}})
		r.do(RaiseLevel{Level: 2})
		counter, answered := uint64(0), map[int32]*atomic.Int64{}
		began := time.Now()
		commit := func(sequence int32) {
			done := &atomic.Int64{}
			answered[sequence] = done
			r.Submit(CommitObject{
				Session: 1, Counter: counter, Key: record.ObjectKey(1, counter, "x"), Size: 200,
				Runs: []CommitRun{
					{Partition: record.Partition{Topic: topicNumber(1)}, Batches: []CommitBatch{{Len: 10, Records: 1, ProducerID: 5, BaseSequence: sequence}}},
					{Partition: record.Partition{Topic: topicNumber(1), Index: 1}, Pos: 10, Batches: []CommitBatch{{Len: 10, Records: 1, ProducerID: -1}}},
				},
			}, func(res Result, err error) {
				done.Store(int64(time.Since(began)) + 1)
				batches := res.(CommitObjectResult).Batches
				if want := sequence == 9; err != nil || batches[1][0].Err != nil || errors.Is(batches[0][0].Err, ErrOutOfOrderSequence) != want {
					t.Errorf("sequence %d: %+v, %v", sequence, res, err)
				}
			})
			counter++
			synctest.Wait()
		}
		bounds := func(index int32) record.Offset {
			b, err := r.view.Bounds(record.Partition{Topic: topicNumber(1), Index: index})
			if err != nil {
				t.Fatal(err)
			}
			return b.HighWatermark
		}
		commit(0)
		commit(2)
		commit(3)
		if answered[2].Load() != 0 || bounds(0) != 1 || bounds(1) != 3 {
			t.Fatalf("batch 2 was answered, or something else waited for it: ends %d and %d", bounds(0), bounds(1))
		}
		time.Sleep(350 * time.Millisecond)
		commit(1)
		if answered[2].Load() == 0 || answered[3].Load() == 0 || bounds(0) != 4 {
			t.Fatal("the gap is closed and batches wait on")
		}
		time.Sleep(time.Minute)
		began = time.Now()
		commit(9)
		time.Sleep(time.Minute)
		if d := time.Duration(answered[9].Load()); d < 375*time.Millisecond || d > 501*time.Millisecond {
			t.Errorf("batch 9 waited for %v, want half a second at most", d)
		}
		if s := r.Stats(); s.Parked != 3 || s.ParkedInVain != 1 || s.ParkedTooMany != 0 {
			t.Errorf("%+v", s)
		}
		entries := r.Stats().Entries
		time.Sleep(time.Hour)
		if got := r.Stats().Entries; got != entries {
			t.Errorf("%d entries were written while nothing waited", got-entries)
		}
		r.end()
	})
}

// A stop leaves nobody waiting, and the seal by the next agent lets go of what was held back.
func TestStopAndSealLeaveNothingHeldBack(t *testing.T) {
	log := NewMemoryLog()
	r := start(t, log, SequencerConfig{})
	r.do(CreateTopic{ID: topicNumber(1), Name: "logs", Partitions: 1})
	r.do(OpenSession{Agent: AgentInfo{Level: 2}})
	r.do(RaiseLevel{Level: 2})
	batch := func(counter uint64, sequence int32) CommitObject {
		return CommitObject{Session: 1, Counter: counter, Key: record.ObjectKey(1, counter, "x"), Size: 200, Runs: []CommitRun{{
			Partition: record.Partition{Topic: topicNumber(1)}, Batches: []CommitBatch{{Len: 10, Records: 1, ProducerID: 5, BaseSequence: sequence}},
		}}}
	}
	r.do(batch(0, 0))
	answer := make(chan error, 1)
	r.Submit(batch(1, 7), func(_ Result, err error) { answer <- err })
	r.do(AllocateProducerIDs{Count: 1}) // behind it
	r.end()
	if err := <-answer; !errors.Is(err, ErrUnavailable) {
		t.Errorf("answered %v, want ErrUnavailable: its outcome is open", err)
	}
	key := record.ObjectKey(1, 1, "x")
	again := start(t, log, SequencerConfig{})
	if !again.view.KnowsObject(key) || len(again.view.Released()) != 0 {
		t.Fatal("the object was let go before its session ended")
	}
	again.do(SealSession{Session: 1})
	if released := again.view.Released(); len(released) != 1 || released[0].Key != key {
		t.Errorf("released after the seal: %+v", released)
	}
	again.end()
}
