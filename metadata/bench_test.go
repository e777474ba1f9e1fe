package metadata

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/bargedata/barge/record"
)

// BenchmarkApply commits objects of up to 128 runs with 2 batches each; the state starts anew every 20,000 objects, so
// that memory stays level. Making the command is in the figure.
func BenchmarkApply(b *testing.B) {
	for _, partitions := range []int32{10, 10_000} {
		for _, idempotent := range []bool{false, true} {
			name := fmt.Sprintf("partitions=%d/idempotent=%v", partitions, idempotent)
			b.Run(name, func(b *testing.B) { benchmarkApply(b, partitions, idempotent) })
		}
	}
}

const benchRuns, benchBatches = 128, 2

func benchmarkApply(b *testing.B, partitions int32, idempotent bool) {
	b.Helper()
	b.ReportAllocs()
	runs := min(benchRuns, partitions)
	s := testState(b, partitions)
	counter := uint64(0)
	sequences := make([]int32, partitions)
	entry := Entry{Commands: make([]Command, 1)}
	for b.Loop() {
		if counter%20_000 == 19_999 {
			b.StopTimer()
			s = testState(b, partitions)
			clear(sequences)
			b.StartTimer()
		}
		c := CommitObject{Session: 1, Counter: counter, Settled: counter, Key: fmt.Sprint("o", counter), Size: 1 << 20, Runs: make([]CommitRun, runs)}
		first := int32(counter*uint64(runs)) % partitions
		first = min(max(first, 0), partitions-runs)
		batches := make([]CommitBatch, int(runs)*benchBatches)
		pos := record.Pos(64)
		for i := range c.Runs {
			r := &c.Runs[i]
			r.Partition, r.Pos = partitionOne(first+int32(i)), pos
			r.Batches, batches = batches[:benchBatches:benchBatches], batches[benchBatches:]
			for j := range r.Batches {
				r.Batches[j] = CommitBatch{Len: 1000, Records: 10, MaxTimestamp: int64(counter), ProducerID: -1}
				if idempotent {
					r.Batches[j].ProducerID, r.Batches[j].BaseSequence = 7, sequences[r.Partition.Index]
					sequences[r.Partition.Index] += 10
				}
				pos += 1000
			}
		}
		entry.Seq, entry.Time, entry.Commands[0] = s.next, int64(counter), c
		if r, ok := s.Apply(entry)[0].(CommitObjectResult); !ok || r.Err != nil || r.Batches[0][0].Err != nil {
			b.Fatal(r)
		}
		counter++
	}
	b.ReportMetric(float64(b.N)*float64(runs)*benchBatches/b.Elapsed().Seconds(), "batches/s")
}

func benchState(b *testing.B, partitions int32, objects int) *State {
	b.Helper()
	s := testState(b, partitions)
	for i := range objects {
		c := CommitObject{Session: 1, Counter: uint64(i), Settled: uint64(i), Key: fmt.Sprintf("wal/1/%016x/%016x-abcdef", 1, i), Size: 1 << 20}
		for p := range min(partitions, benchRuns) {
			index := (int32(i)*benchRuns + p) % partitions
			if p > 0 && index == 0 {
				break
			}
			c.Runs = append(c.Runs, CommitRun{Partition: partitionOne(index), Batches: []CommitBatch{{Len: 10, Records: 10, ProducerID: int64(i)}}})
		}
		s.Apply(Entry{Seq: s.next, Time: int64(i), Commands: []Command{c}})
	}
	return s
}

// BenchmarkFreeze is how long a checkpoint keeps Apply waiting; BenchmarkEncodeState what it does beside.
func BenchmarkFreeze(b *testing.B) {
	s := benchState(b, 10_000, 2000)
	b.ReportAllocs()
	for b.Loop() {
		s.freeze()
	}
}

func BenchmarkEncodeState(b *testing.B) {
	s := benchState(b, 10_000, 2000)
	b.SetBytes(int64(len(s.Encode())))
	b.ReportAllocs()
	for b.Loop() {
		s.Encode()
	}
}

func BenchmarkDecodeState(b *testing.B) {
	body := benchState(b, 10_000, 2000).Encode()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeState(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEntry(b *testing.B) {
	e := Entry{Seq: 100_000, Term: 5, Time: 1_790_000_000_000}
	c := CommitObject{Session: 5, Counter: 1000, Settled: 998, Key: "wal/1/0000000000000005/00000000000003e8-abcdef", Size: 8 << 20}
	for p := range int32(benchRuns) {
		run := CommitRun{Partition: partitionOne(p), Pos: record.Pos(64 + p*32768)}
		for j := range int32(4) {
			run.Batches = append(run.Batches, CommitBatch{Len: 8192, Records: 80, MaxTimestamp: 1_790_000_000_000 + int64(p*4+j), ProducerID: 1000, BaseSequence: p*1000 + j*80})
		}
		c.Runs = append(c.Runs, run)
	}
	e.Commands = []Command{c}
	body := EncodeEntry(e)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			EncodeEntry(e)
		}
		b.ReportMetric(float64(len(body))/(4*benchRuns), "B/batch")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeEntry(body); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDo(b *testing.B) {
	view := NewView()
	id := uint64(0)
	ids := func() (out [16]byte) {
		id++
		out[0], out[1], out[2], out[3] = byte(id), byte(id>>8), byte(id>>16), byte(id>>24)
		return out
	}
	seq := NewSequencer(SequencerConfig{}, NewMemoryLog(), view, time.Now, ids, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- seq.Run(ctx) }()
	<-seq.Ready()
	b.SetParallelism(200)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := seq.Do(ctx, AllocateProducerIDs{Count: 1}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(seq.Stats().Commands)/float64(seq.Stats().Entries), "commands/entry")
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

// What the forecast of sequences costs a commit of 500 batches, of as many idempotent producers or of none.
func BenchmarkCoreForecast(b *testing.B) {
	for name, idempotent := range map[string]bool{"idempotent": true, "plain": false} {
		b.Run(name, func(b *testing.B) {
			view := NewView()
			view.state.level = 2
			core := NewSequencerCore(SequencerConfig{}, view, func() [16]byte { return [16]byte{1} }, TakenOver{Term: 1})
			commit := CommitObject{Session: 1, Key: "o", Size: 1 << 20, Runs: []CommitRun{{Partition: record.Partition{Topic: topicNumber(1)}}}}
			for i := range int64(500) {
				c := CommitBatch{Len: 10, Records: 1, ProducerID: -1}
				if idempotent {
					c.ProducerID = i
				}
				commit.Runs[0].Batches = append(commit.Runs[0].Batches, c)
			}
			sub, err := NewSubmission(commit, func(Result, error) {})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				core.enqueue(sub)
				core.parking.applied = core.parking.submitted // and forgotten, so that the producers are new each time
				core.queue, core.queueBytes = core.queue[:0], 0
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/batch")
		})
	}
}

// BenchmarkReplaceMoved regroups one object with runs of 10,000 topics of 100 partitions each, one run a topic, over and over.
func BenchmarkReplaceMoved(b *testing.B) {
	const topics, partitions = 10_000, 100
	s := NewState()
	apply := func(c Command) Result { return s.Apply(Entry{Seq: s.next, Time: 1, Commands: []Command{c}})[0] }
	apply(OpenSession{Agent: AgentInfo{Level: MaxLevel}})
	apply(RaiseLevel{Level: MaxLevel})
	commit := CommitObject{Session: 1, Key: "o", Size: topics * 10}
	claim := ClaimJob{Session: 1}
	for i := range topics {
		id := topicNumber(int64(i + 1))
		apply(CreateTopic{ID: id, Name: fmt.Sprint("t", i), Partitions: partitions})
		commit.Runs = append(commit.Runs, CommitRun{Partition: record.Partition{Topic: id}, Pos: record.Pos(i * 10), Batches: []CommitBatch{{Len: 10, Records: 1, ProducerID: -1}}})
		claim.Topics = append(claim.Topics, id)
	}
	if r, ok := apply(commit).(CommitObjectResult); !ok || r.Err != nil {
		b.Fatal(r)
	}
	moved := MovedObject{Size: commit.Size}
	for i := range commit.Runs {
		r := &commit.Runs[i]
		moved.Runs = append(moved.Runs, MovedRun{Partition: r.Partition, End: 1, Pos: r.Pos, Len: 10})
	}
	n := 0
	for b.Loop() {
		n++
		claim.Outputs = []string{fmt.Sprint("m", n)}
		claimed, _ := apply(claim).(ClaimJobResult)
		moved.Key = claim.Outputs[0]
		m := moved
		if r, ok := apply(Replace{Job: claimed.Job, Moved: &m}).(ReplaceResult); !ok || r.Err != nil {
			b.Fatal(r, claimed)
		}
	}
}
