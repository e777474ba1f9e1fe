package metadata

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/record"
)

// running is one sequencer over a log, for the length of a test.
type running struct {
	*Sequencer
	view *View
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, log Log, cfg SequencerConfig) *running {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	ids := func() (id [16]byte) {
		binary.LittleEndian.PutUint64(id[:], rng.Uint64())
		return id
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, view: NewView(), stop: cancel, done: make(chan error, 1)}
	r.Sequencer = NewSequencer(cfg, log, r.view, time.Now, ids, slog.New(slog.DiscardHandler))
	go func() { r.done <- r.Run(ctx) }()
	select {
	case <-r.Ready():
	case err := <-r.done:
		t.Fatalf("sequencer did not get ready: %v", err)
	}
	t.Cleanup(cancel)
	return r
}

// end stops the sequencer as a signal would.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run after a stop: %v", err)
	}
}

func (r *running) do(c Command) Result {
	r.t.Helper()
	res, err := r.Do(r.t.Context(), c)
	if err != nil {
		r.t.Fatalf("%T: %v", c, err)
	}
	if err := errOf(res); err != nil {
		r.t.Fatalf("%T: %v", c, err)
	}
	return res
}

func commitCommand(counter uint64, partition int32) CommitObject {
	return CommitObject{
		Session: 1, Counter: counter, Settled: counter, Key: fmt.Sprint("o", counter), Size: 100,
		Runs: []CommitRun{{
			Partition: record.Partition{Topic: topicNumber(1), Index: partition}, Batches: []CommitBatch{{Len: 10, Records: 2, ProducerID: -1}},
		}},
	}
}

// replayed folds all that is in the log into a fresh state.
func replayed(t *testing.T, log Log) *State {
	t.Helper()
	s := NewState()
	entries, err := log.Read(t.Context(), 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		e, err := DecodeLogEntry(entries[i])
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(e)
	}
	return s
}

// wholeLog keeps all its slots, so that a test can replay it from the first one.
type wholeLog struct{ *MemoryLog }

func (wholeLog) Truncate(context.Context, uint64, uint64) error { return nil }

func TestRestartShowsTheSameState(t *testing.T) {
	log := wholeLog{NewMemoryLog()}
	r := start(t, log, SequencerConfig{CheckpointEntries: 7})
	r.do(CreateTopic{ID: topicNumber(1), Name: "logs", Partitions: 3})
	r.do(OpenSession{})
	for i := range uint64(20) {
		got, err := r.Commit(t.Context(), commitCommand(i, int32(i%3)))
		if err != nil || got.Err != nil {
			t.Fatal(err, got.Err)
		}
		bounds, err := r.view.Bounds(record.Partition{Topic: topicNumber(1), Index: int32(i % 3)})
		if err != nil || bounds.HighWatermark != got.Batches[0][0].BaseOffset+2 {
			t.Fatalf("commit %d answered %+v before the View showed it: %+v, %v", i, got, bounds, err)
		}
	}
	r.end()
	if _, err := r.Do(t.Context(), OpenSession{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Do after the end: %v, want ErrUnavailable", err)
	}
	for round := range 3 {
		again := start(t, log, SequencerConfig{})
		if !bytes.Equal(again.view.state.Encode(), replayed(t, log).Encode()) {
			t.Errorf("restart %d: snapshot and replay give another state than the whole log (I9)", round)
		}
		again.do(AllocateProducerIDs{Count: 3})
		again.end()
	}
	acquired, err := log.Acquire(t.Context(), "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	if acquired.SnapshotSeq != acquired.Next-1 {
		t.Errorf("last snapshot is of %d, the log ended at %d: a clean stop leaves one of its end", acquired.SnapshotSeq, acquired.Next-1)
	}
}

func TestCommandsThatQueueMeanwhileShareOneEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemoryLog()
		r := start(t, log, SequencerConfig{})
		hold := make(chan struct{})
		var appends atomic.Int32
		log.SetAppendHook(func(context.Context, uint64) AppendFault {
			appends.Add(1)
			<-hold
			return AppendClean
		})
		var wg sync.WaitGroup
		var seen sync.Map
		const n = 3000
		for range n {
			wg.Go(func() {
				res, err := r.Do(t.Context(), AllocateProducerIDs{Count: 1})
				if err != nil {
					t.Error(err)
					return
				}
				ids, ok := res.(AllocateProducerIDsResult)
				if _, twice := seen.LoadOrStore(ids.First, true); twice || !ok {
					t.Errorf("%+v was answered twice", res)
				}
			})
		}
		synctest.Wait()
		if got := appends.Load(); got != 1 {
			t.Fatalf("%d appends at once, want 1", got)
		}
		close(hold)
		wg.Wait()
		if got := appends.Load(); got != 2 {
			t.Errorf("%d commands took %d appends, want 2: the first alone and the rest together", n, got)
		}
		if s := r.Stats(); s.Entries != 2 || s.Commands != n {
			t.Errorf("stats %+v", s)
		}
		r.end()
	})
}

func TestSubmitKeepsTheOrderOfOneCaller(t *testing.T) {
	r := start(t, NewMemoryLog(), SequencerConfig{QueueCommands: 50, EntryCommands: 7})
	const n = 5000
	var got []int64
	done := make(chan struct{})
	for i := range n {
		r.Submit(AllocateProducerIDs{Count: 1}, func(res Result, err error) {
			if err != nil {
				t.Error(err)
			} else {
				got = append(got, res.(AllocateProducerIDsResult).First) // always the same goroutine
			}
			if i == n-1 {
				close(done)
			}
		})
	}
	<-done
	for i, first := range got {
		if first != int64(i)+firstProducer {
			t.Fatalf("command %d got %d", i, first)
		}
	}
	r.end()
}

func TestUnknownOutcomeIsAskedAgainAndNobodyAnswered(t *testing.T) {
	for name, fault := range map[string]AppendFault{"lost": AppendUnknownLost, "kept": AppendUnknownKept} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := NewMemoryLog()
				r := start(t, log, SequencerConfig{})
				r.do(CreateTopic{ID: topicNumber(1), Name: "logs", Partitions: 1})
				r.do(OpenSession{})
				before := r.view.Applied()
				var bad atomic.Bool
				bad.Store(true)
				log.SetAppendHook(func(_ context.Context, seq uint64) AppendFault {
					if bad.Load() {
						return fault
					}
					return AppendClean
				})
				var answered atomic.Bool
				go func() {
					res, err := r.Commit(t.Context(), commitCommand(0, 0))
					if err != nil || res.Err != nil || res.Batches[0][0].BaseOffset != 0 {
						t.Errorf("commit: %+v, %v", res, err)
					}
					answered.Store(true)
				}()
				time.Sleep(time.Minute)
				if answered.Load() || r.view.Applied() != before {
					t.Fatal("something was answered or shown while the outcome was not known")
				}
				bad.Store(false)
				time.Sleep(2 * lastRetry)
				if !answered.Load() {
					t.Fatal("not answered after the log came back")
				}
				if b, err := r.view.Bounds(record.Partition{Topic: topicNumber(1)}); err != nil || b.HighWatermark != 2 {
					t.Errorf("bounds %+v, %v: the commit must count once", b, err)
				}
				if r.Stats().Unknowns < 20 {
					t.Errorf("only %d tries in a minute", r.Stats().Unknowns)
				}
				r.end()
			})
		})
	}
}

func TestFencedSequencerStopsAndNamesTheNewOwner(t *testing.T) {
	log := NewMemoryLog()
	old := start(t, log, SequencerConfig{Owner: "agent-a"})
	old.do(OpenSession{})
	young := start(t, log, SequencerConfig{Owner: "agent-b"})
	if _, err := old.Do(t.Context(), OpenSession{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Do on a fenced sequencer: %v, want ErrUnavailable", err)
	}
	if err := <-old.done; !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "agent-b") {
		t.Errorf("Run: %v, want ErrFenced and the name of the new owner", err)
	}
	if res := young.do(OpenSession{}).(OpenSessionResult); res.Session != 2 {
		t.Errorf("session %d, want 2: the new one knows what the old one did, and not what it was refused", res.Session)
	}
	young.end()
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemoryLog()
		r := start(t, log, SequencerConfig{})
		hold := make(chan struct{})
		log.SetAppendHook(func(context.Context, uint64) AppendFault { <-hold; return AppendClean })
		answers := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := r.Do(t.Context(), OpenSession{})
				answers <- err
			}()
			synctest.Wait()
		}
		r.stop()
		if err := <-answers; !errors.Is(err, ErrUnavailable) {
			t.Errorf("what was queued got %v, want ErrUnavailable", err)
		}
		close(hold)
		if err := <-answers; err != nil {
			t.Errorf("what was in flight got %v", err)
		}
		r.end()
	})
}

func TestStopGivesUpOnALogThatDoesNotAnswer(t *testing.T) {
	for name, hook := range map[string]func(context.Context, uint64) AppendFault{
		"unknown": func(context.Context, uint64) AppendFault { return AppendUnknownLost },
		"hanging": func(ctx context.Context, _ uint64) AppendFault { <-ctx.Done(); return AppendClean },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := NewMemoryLog()
				r := start(t, log, SequencerConfig{StopTimeout: 3 * time.Second})
				log.SetAppendHook(hook)
				answer := make(chan error, 1)
				go func() {
					_, err := r.Do(t.Context(), OpenSession{})
					answer <- err
				}()
				time.Sleep(time.Second)
				began := time.Now()
				r.stop()
				if err := <-r.done; !errors.Is(err, ErrUnknown) {
					t.Errorf("Run: %v, want ErrUnknown", err)
				}
				if d := time.Since(began); d < 3*time.Second || d > 5*time.Second {
					t.Errorf("gave up after %v, want 3 s", d)
				}
				if err := <-answer; !errors.Is(err, ErrUnavailable) {
					t.Errorf("Do: %v, want ErrUnavailable", err)
				}
			})
		})
	}
}

func TestFullQueueMakesCallersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemoryLog()
		r := start(t, log, SequencerConfig{QueueCommands: 4})
		hold := make(chan struct{})
		log.SetAppendHook(func(context.Context, uint64) AppendFault { <-hold; return AppendClean })
		var taken, answered atomic.Int32
		for range 10 {
			go func() {
				r.Submit(OpenSession{}, func(Result, error) { answered.Add(1) })
				taken.Add(1)
			}()
		}
		synctest.Wait()
		if got := taken.Load(); got != 5 {
			t.Errorf("%d commands were taken, want one in flight and four in the queue", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Do(ctx, OpenSession{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do in front of a full queue: %v", err)
		}
		close(hold)
		synctest.Wait()
		if answered.Load() != 10 {
			t.Errorf("%d answers, want 10", answered.Load())
		}
		r.end()
	})
}

func TestTooLargeCommandIsRefused(t *testing.T) {
	r := start(t, NewMemoryLog(), SequencerConfig{})
	big := SetKeys{Space: "s", Ops: []KeyOp{{Key: "k", Write: true, Value: make([]byte, maxCommandBytes)}}}
	if _, err := r.Do(t.Context(), big); !errors.Is(err, ErrInvalidCommand) {
		t.Errorf("%v, want ErrInvalidCommand", err)
	}
	big.Ops[0].Value = make([]byte, maxCommandBytes-100)
	r.do(big)
	if _, err := r.Do(t.Context(), nil); !errors.Is(err, ErrInvalidCommand) {
		t.Errorf("nil command: %v, want ErrInvalidCommand", err)
	}
	r.end()
}

// callCounter counts every call that reaches the log.
type callCounter struct {
	Log
	calls atomic.Int64
}

func (c *callCounter) Append(ctx context.Context, term, seq uint64, id [16]byte, body []byte) error {
	c.calls.Add(1)
	return c.Log.Append(ctx, term, seq, id, body)
}

func (c *callCounter) Confirm(ctx context.Context, term, next uint64) error {
	c.calls.Add(1)
	return c.Log.Confirm(ctx, term, next)
}

func (c *callCounter) Read(ctx context.Context, from uint64, maxBytes int) ([]LogEntry, error) {
	c.calls.Add(1)
	return c.Log.Read(ctx, from, maxBytes)
}

func (c *callCounter) Checkpoint(ctx context.Context, term, seq uint64, snapshot []byte) error {
	c.calls.Add(1)
	return c.Log.Checkpoint(ctx, term, seq, snapshot)
}

func (c *callCounter) Hint(ctx context.Context) (Hint, error) {
	c.calls.Add(1)
	return c.Log.Hint(ctx)
}

func TestIdleSequencerAsksTheLogNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &callCounter{Log: NewMemoryLog()}
		r := start(t, log, SequencerConfig{})
		r.do(OpenSession{})
		synctest.Wait()
		before := log.calls.Load()
		time.Sleep(24 * time.Hour)
		if got := log.calls.Load(); got != before {
			t.Errorf("%d calls in an idle day", got-before)
		}
		r.end()
	})
}

func TestEntryTimeNeverGoesBack(t *testing.T) {
	log := NewMemoryLog()
	clock := time.UnixMilli(5_000_000)
	var mu sync.Mutex
	now := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		clock = clock.Add(-time.Second)
		return clock
	}
	view := NewView()
	seq := NewSequencer(SequencerConfig{}, log, view, now, func() (id [16]byte) { return id }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- seq.Run(ctx) }()
	var last int64
	for range 20 {
		if _, err := seq.Do(ctx, OpenSession{}); err != nil {
			t.Fatal(err)
		}
		if at := view.EntryTime(); at < last {
			t.Fatalf("entry time went from %d to %d", last, at)
		}
		last = view.EntryTime()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := seq.Run(t.Context()); err == nil {
		t.Error("Run twice was not refused")
	}
}

func TestDamagedLogStopsTheStart(t *testing.T) {
	log := NewMemoryLog()
	acquired, err := log.Acquire(t.Context(), "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), acquired.Term, acquired.Next, [16]byte{1}, []byte("\x01what is this")); err != nil {
		t.Fatal(err)
	}
	seq := NewSequencer(SequencerConfig{}, log, NewView(), time.Now, nil, slog.New(slog.DiscardHandler))
	if err := seq.Run(t.Context()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "entry 1") {
		t.Errorf("Run: %v, want ErrCorrupt naming entry 1", err)
	}
}

// A level beyond ours stops the start, whether a snapshot tells it or an entry does.
func TestNewerLevelStopsTheStart(t *testing.T) {
	future := Entry{Seq: 1, Term: 1, Commands: []Command{RaiseLevel{Level: MaxLevel + 1}}}
	snapshot := NewState()
	snapshot.Apply(Entry{})
	snapshot.Apply(future)
	for _, bySnapshot := range []bool{false, true} {
		log := NewMemoryLog()
		acquired, err := log.Acquire(t.Context(), "x", 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Append(t.Context(), acquired.Term, acquired.Next, [16]byte{1}, EncodeEntry(future)); err != nil {
			t.Fatal(err)
		}
		if bySnapshot {
			if err := log.Checkpoint(t.Context(), acquired.Term, snapshot.next, snapshot.Encode()); err != nil {
				t.Fatal(err)
			}
		}
		seq := NewSequencer(SequencerConfig{}, log, NewView(), time.Now, nil, slog.New(slog.DiscardHandler))
		err = seq.Run(t.Context())
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "level 5, this one understands up to 4; upgrade barge") {
			t.Errorf("by snapshot %v: Run: %v, want ErrNewer naming both levels and the fix", bySnapshot, err)
		}
	}
}

func TestSnapshotOfAnotherSeqStopsTheStart(t *testing.T) {
	log := NewMemoryLog()
	acquired, err := log.Acquire(t.Context(), "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Checkpoint(t.Context(), acquired.Term, acquired.Next, NewState().Encode()); err != nil {
		t.Fatal(err)
	}
	seq := NewSequencer(SequencerConfig{}, log, NewView(), time.Now, nil, slog.New(slog.DiscardHandler))
	if err := seq.Run(t.Context()); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "snapshot 1") {
		t.Errorf("Run: %v, want ErrCorrupt naming the snapshot", err)
	}
}

func TestWatchFromBeforeTheStartIsWoken(t *testing.T) {
	log := NewMemoryLog()
	first := start(t, log, SequencerConfig{})
	first.do(CreateTopic{ID: topicNumber(1), Name: "logs", Partitions: 1})
	first.end()

	view := NewView()
	w := view.Watch([]record.Partition{partitionOne(0)})
	defer w.Close()
	seq := NewSequencer(SequencerConfig{}, log, view, time.Now, func() (id [16]byte) { return id }, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- seq.Run(ctx) }()
	<-seq.Ready()
	if !hasToken(w) {
		t.Error("no token though the partition appeared with the replay")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
