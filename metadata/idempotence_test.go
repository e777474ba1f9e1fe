package metadata

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bargedata/barge/record"
)

// kafkaProducers is Kafka's own bookkeeping of one partition, written down as plainly as it can be: ProducerStateManager,
// ProducerStateEntry and ProducerAppendInfo, without transactions. Two things are Barge's: the bound on producers, and that
// time is the entry's.
type kafkaProducers struct {
	entries []kafkaProducer // least recently appended first
	end     record.Offset
}

type kafkaProducer struct {
	id      int64
	epoch   int16
	batches [][3]int64 // first sequence, last sequence, offset; newest last
	at      int64
}

func (k *kafkaProducers) append(b CommitBatch, now int64) BatchResult {
	k.entries = slices.DeleteFunc(k.entries, func(e kafkaProducer) bool { return now-e.at >= 24*60*60*1000 })
	accept := func() BatchResult {
		k.end += record.Offset(b.Records)
		return BatchResult{BaseOffset: k.end - record.Offset(b.Records)}
	}
	if b.ProducerID < 0 {
		return accept()
	}
	next := func(seq int64) int64 {
		if seq == math.MaxInt32 {
			return 0
		}
		return seq + 1
	}
	first, last := int64(b.BaseSequence), int64(b.BaseSequence)
	for range b.Records - 1 {
		last = next(last)
	}
	e := kafkaProducer{id: b.ProducerID, epoch: b.ProducerEpoch}
	if i := slices.IndexFunc(k.entries, func(e kafkaProducer) bool { return e.id == b.ProducerID }); i >= 0 {
		e = k.entries[i]
		if e.epoch == b.ProducerEpoch {
			for _, w := range e.batches {
				if w[0] == first && w[1] == last {
					return BatchResult{BaseOffset: record.Offset(w[2]), Duplicate: true}
				}
			}
		}
		switch newest := e.batches[len(e.batches)-1]; {
		case b.ProducerEpoch < e.epoch:
			return BatchResult{Err: ErrInvalidProducerEpoch, BaseOffset: -1}
		case b.ProducerEpoch > e.epoch && first != 0, b.ProducerEpoch == e.epoch && first != next(newest[1]):
			return BatchResult{Err: ErrOutOfOrderSequence, BaseOffset: -1}
		case b.ProducerEpoch > e.epoch:
			e.epoch, e.batches = b.ProducerEpoch, nil
		}
		k.entries = slices.Delete(k.entries, i, i+1)
	} else if len(k.entries) == 1000 {
		k.entries = k.entries[1:]
	}
	r := accept()
	e.batches = append(slices.Clone(e.batches), [3]int64{first, last, int64(r.BaseOffset)})
	e.batches = e.batches[max(0, len(e.batches)-5):]
	e.at = now
	k.entries = append(k.entries, e)
	return r
}

// sentBatch is one batch of a history, and when it came.
type sentBatch struct {
	partition int32
	batch     CommitBatch
	time      int64
}

// producerHistory makes batches as clients, good and bad, might send them: in order, again, ahead, behind, over the wrap, in
// newer and older epochs, after a day of silence, and by more producers than a partition remembers.
func producerHistory(rng *rand.Rand, n int) []sentBatch {
	type client struct {
		epoch int16
		next  int32
		sent  []CommitBatch
	}
	clients := map[[2]int64]*client{}
	crowd := int64(1 + rng.IntN(12))
	if rng.IntN(6) == 0 {
		crowd, n = 1200, 4*n // more than a partition remembers
	}
	now, history := int64(1000), make([]sentBatch, 0, n)
	for range n {
		switch rng.IntN(200) {
		case 0:
			if day := int64(24 * 60 * 60 * 1000); crowd < 1000 { // else producers leave by time before they are too many
				now += []int64{day, rng.Int64N(2 * day)}[rng.IntN(2)]
			}
		case 1, 2, 3, 4, 5:
			now += rng.Int64N(60_000)
		}
		p, id := rng.Int32N(2), rng.Int64N(crowd+1)-1
		key := [2]int64{int64(p), id}
		c := clients[key]
		if c == nil {
			c = &client{next: []int32{0, 7, math.MaxInt32 - 10}[rng.IntN(3)]}
			clients[key] = c
		}
		b := CommitBatch{Len: 10, Records: 1 + rng.Int32N(5), ProducerID: id, ProducerEpoch: c.epoch, BaseSequence: c.next}
		switch k := rng.IntN(20); {
		case id < 0:
			b.ProducerEpoch, b.BaseSequence = 0, 0
		case k < 5 && len(c.sent) > 0: // again, mostly what the window holds
			b = c.sent[max(0, len(c.sent)-1-rng.IntN(7))]
		case k == 5:
			b.BaseSequence = lastSequence(b.BaseSequence, 2+rng.Int32N(20)) // ahead
		case k == 6 && c.next > 3:
			b.BaseSequence = c.next - 1 - rng.Int32N(3) // overlaps what is there
		case k == 7 && rng.IntN(3) == 0:
			c.epoch += 1 + int16(rng.IntN(2))
			b.ProducerEpoch, b.BaseSequence = c.epoch, 0
			if rng.IntN(3) == 0 {
				b.BaseSequence = 4
			}
		case k == 8 && c.epoch > 0:
			b.ProducerEpoch = c.epoch - 1
		}
		if id >= 0 {
			c.sent = append(c.sent, b)
			c.next = lastSequence(b.BaseSequence, b.Records+1)
		}
		history = append(history, sentBatch{p, b, now})
	}
	return history
}

// feedHistory commits a history in objects and entries of the sizes that cut gives, and returns the fate of each batch.
// restart says before which entries the state goes through its snapshot, as in an agent that is killed and started again.
func feedHistory(t *testing.T, history []sentBatch, cut func() int, restart func() bool) []BatchResult {
	t.Helper()
	s := testState(t, 2)
	fates := make([]BatchResult, 0, len(history))
	session, counter := SessionID(1), uint64(0)
	for at := 0; at < len(history); {
		if restart() {
			restored, err := DecodeState(s.Encode())
			if err != nil {
				t.Fatal(err)
			}
			s = restored
			e := Entry{Seq: s.next, Time: s.time, Commands: []Command{SealSession{Session: session}, OpenSession{}}}
			session = s.Apply(e)[1].(OpenSessionResult).Session
		}
		e := Entry{Seq: s.next, Time: history[at].time}
		var places [][2][]int // of each command and run: which batches of the history lie there
		for range cut() {
			c := CommitObject{Session: session, Counter: counter, Settled: counter, Key: fmt.Sprint("o", session, "-", counter), Size: 1 << 20}
			var runs [2]CommitRun
			var place [2][]int
			for range cut() {
				if at == len(history) || history[at].time != e.Time {
					break
				}
				h := history[at]
				runs[h.partition].Batches = append(runs[h.partition].Batches, h.batch)
				place[h.partition] = append(place[h.partition], at)
				at++
			}
			for p, run := range runs {
				if run.Partition = (record.Partition{Topic: topicNumber(1), Index: int32(p)}); len(run.Batches) > 0 {
					c.Runs = append(c.Runs, run)
				}
			}
			if len(c.Runs) > 0 {
				e.Commands = append(e.Commands, c)
				places = append(places, place)
				counter++
			}
		}
		fates = append(fates, make([]BatchResult, at-len(fates))...)
		for i, r := range s.Apply(e) {
			res := r.(CommitObjectResult)
			if res.Err != nil {
				t.Fatalf("%+v: %v", e.Commands[i], res.Err)
			}
			run := 0
			for _, place := range places[i] {
				for j, h := range place {
					fates[h] = res.Batches[run][j]
				}
				run += min(len(place), 1)
			}
		}
	}
	for _, fault := range stateFaults(s) {
		t.Fatal(fault)
	}
	return fates
}

// Random histories have the fates that Kafka's rules give them, however they are cut into objects and entries and however
// often the agent is started anew in between. Regressions of others that must not be ours (reference: Kafka's
// ProducerAppendInfo): a sequence that wraps, and a producer that is not known, are accepted; a retry is answered with the
// first offset.
func TestProducersAreJudgedAsKafkaJudgesThem(t *testing.T) {
	fates := map[string]int{}
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 21))
		n := 1500
		if testing.Short() {
			n = 500
		}
		history := producerHistory(rng, n)
		var kafka [2]kafkaProducers
		want := make([]BatchResult, len(history))
		for i, h := range history {
			want[i] = kafka[h.partition].append(h.batch, h.time)
			switch r := want[i]; {
			case r.Duplicate:
				fates["duplicate"]++
			case r.Err != nil:
				fates[r.Err.Error()]++
			case h.batch.BaseSequence > math.MaxInt32-5 && lastSequence(h.batch.BaseSequence, h.batch.Records) < 5:
				fates["over the wrap"]++
			}
		}
		single := feedHistory(t, history, func() int { return 1 }, func() bool { return false })
		grouped := feedHistory(t, history, func() int { return 1 + rng.IntN(6) }, func() bool { return rng.IntN(20) == 0 })
		for i := range history {
			for cut, got := range map[string]BatchResult{"each alone": single[i], "grouped, with restarts": grouped[i]} {
				if got.Err != want[i].Err || got.BaseOffset != want[i].BaseOffset || got.Duplicate != want[i].Duplicate { //nolint:errorlint // the bare sentinels
					t.Fatalf("seed %d, %s, batch %d %+v: %+v, Kafka says %+v", seed, cut, i, history[i], got, want[i])
				}
			}
		}
	}
	for _, fate := range []string{"duplicate", "over the wrap", ErrOutOfOrderSequence.Error(), ErrInvalidProducerEpoch.Error()} {
		if fates[fate] < 50 {
			t.Errorf("only %d batches were %q", fates[fate], fate)
		}
	}
}

// An idempotent producer does what Kafka's clients do: at most five batches without an answer; what was not answered goes out
// again, all of it in order, through another agent.
type retryingProducer struct {
	id       int64
	next     int32
	inFlight []CommitBatch
	acked    []CommitBatch
	offsets  []record.Offset
}

// Agents die at any point: before a commit is in the log, after it, after others of the same producer. Answers get lost. The
// producers retry blindly, as clients do, and agents repeat commits blindly, as the batcher does. In the end every batch
// is in the log once, in order, and the offset that its producer was told is the one it has.
func TestBlindRetriesThroughDyingAgentsWriteEverythingOnceInOrder(t *testing.T) {
	deaths, duplicates, repeats := 0, 0, 0
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 22))
		s := testState(t, 1)
		producers := []*retryingProducer{{id: 1}, {id: 2, next: math.MaxInt32 - 40}, {id: 3, next: math.MaxInt32 - 3}}
		starts := [3]int32{producers[0].next, producers[1].next, producers[2].next}
		var written []CommitBatch // in the order of the log
		session, counter := SessionID(1), uint64(0)
		for step := range 400 {
			p := producers[rng.IntN(3)]
			for len(p.inFlight) < 5 && rng.IntN(3) > 0 {
				b := CommitBatch{Len: 10, Records: 1 + rng.Int32N(4), ProducerID: p.id, BaseSequence: p.next}
				p.inFlight, p.next = append(p.inFlight, b), lastSequence(b.BaseSequence, b.Records+1)
			}
			if len(p.inFlight) == 0 {
				continue
			}
			dies := rng.IntN(4) == 0
			sent := slices.Clone(p.inFlight)
			if dies { // only so many of them got into the log
				sent = sent[:rng.IntN(len(sent)+1)]
			}
			var results []BatchResult
			for len(sent) > 0 { // in one object or several
				n := 1 + rng.IntN(len(sent))
				c := CommitObject{
					Session: session, Counter: counter, Settled: counter, Key: fmt.Sprint("o", session, "-", counter), Size: 1 << 20,
					Runs: []CommitRun{{Partition: record.Partition{Topic: topicNumber(1)}, Batches: sent[:n]}},
				}
				counter++
				sent = sent[n:]
				commit := func() CommitObjectResult {
					return s.Apply(Entry{Seq: s.next, Time: int64(step), Commands: []Command{c}})[0].(CommitObjectResult)
				}
				first := commit()
				for rng.IntN(4) == 0 {
					repeats++
					if again := commit(); again.Err != nil || !slices.Equal(again.Batches[0], first.Batches[0]) {
						t.Fatalf("seed %d step %d: a commit was answered %+v, its repeat %+v", seed, step, first, again)
					}
				}
				for i, r := range first.Batches[0] {
					if r.Err != nil {
						t.Fatalf("seed %d step %d: %+v: %v", seed, step, c.Runs[0].Batches[i], r.Err)
					}
					if r.Duplicate {
						duplicates++
					} else {
						written = append(written, c.Runs[0].Batches[i])
					}
				}
				results = append(results, first.Batches[0]...)
			}
			if dies {
				deaths++
				restored, err := DecodeState(s.Encode())
				if err != nil {
					t.Fatal(err)
				}
				s = restored
				opened := s.Apply(Entry{Seq: s.next, Commands: []Command{SealSession{Session: session}, OpenSession{}}})
				session = opened[1].(OpenSessionResult).Session
				continue
			}
			if rng.IntN(5) == 0 {
				continue // the answer is lost; all of it is sent again
			}
			for _, r := range results {
				p.offsets = append(p.offsets, r.BaseOffset)
			}
			p.acked, p.inFlight = append(p.acked, p.inFlight...), nil
		}
		at := map[CommitBatch]record.Offset{}
		end, want := record.Offset(0), map[int64]int32{1: starts[0], 2: starts[1], 3: starts[2]}
		for _, b := range written {
			if b.BaseSequence != want[b.ProducerID] {
				t.Fatalf("seed %d: %+v is in the log where sequence %d should be", seed, b, want[b.ProducerID])
			}
			want[b.ProducerID] = lastSequence(b.BaseSequence, b.Records+1)
			at[b] = end
			end += record.Offset(b.Records)
		}
		if b := s.topics[topicNumber(1)].parts[0].highWatermark; b != end {
			t.Fatalf("seed %d: high watermark %d after %d records", seed, b, end)
		}
		for _, p := range producers {
			for i, b := range p.acked {
				if at[b] != p.offsets[i] {
					t.Fatalf("seed %d: %+v was acked at %d and lies at %d", seed, b, p.offsets[i], at[b])
				}
			}
		}
	}
	if deaths < 500 || duplicates < 1000 || repeats < 500 {
		t.Errorf("only %d deaths, %d duplicates, %d repeats", deaths, duplicates, repeats)
	}
}

// What a partition remembers is bounded, so a retry may come after its producer was evicted. As in Kafka it is then a producer
// nobody knows, and its batch is taken again: the bound is the producer's loss, not another's.
func TestRetryAfterAnEvictionIsTakenAsNew(t *testing.T) {
	s := testState(t, 1)
	first := commitOne(s, 1, CommitBatch{ProducerID: 7, BaseSequence: 40})
	for id := range int64(maxProducers) {
		if r := commitOne(s, 2, CommitBatch{ProducerID: 100 + id}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	again := commitOne(s, 3, CommitBatch{ProducerID: 7, BaseSequence: 40})
	if first.Err != nil || again.Err != nil || again.Duplicate || again.BaseOffset == first.BaseOffset {
		t.Errorf("first %+v, after the eviction %+v", first, again)
	}
	if r := commitOne(s, 3, CommitBatch{ProducerID: 7, BaseSequence: 42}); !errors.Is(r.Err, ErrOutOfOrderSequence) {
		t.Errorf("it is known again, got %+v", r)
	}
}
