package metadata

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// confirmLog counts the checks and lets a test decide their outcome.
type confirmLog struct {
	*MemoryLog
	calls atomic.Int64
	hook  func(ctx context.Context) error // nil, or nil returned: as the log says
}

func (c *confirmLog) Confirm(ctx context.Context, term, next uint64) error {
	c.calls.Add(1)
	if c.hook != nil {
		if err := c.hook(ctx); err != nil {
			return err
		}
	}
	return c.MemoryLog.Confirm(ctx, term, next)
}

func TestConfirmIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		log := &confirmLog{MemoryLog: NewMemoryLog(), hook: func(context.Context) error { <-hold; return nil }}
		r := start(t, log, SequencerConfig{})
		var wg sync.WaitGroup
		var answered atomic.Int32
		ask := func() {
			wg.Go(func() {
				if err := r.Confirm(t.Context()); err != nil {
					t.Error(err)
				}
				answered.Add(1)
			})
		}
		ask()
		synctest.Wait()
		for range 1000 {
			ask()
		}
		synctest.Wait()
		if got := log.calls.Load(); got != 1 {
			t.Fatalf("%d checks at once, want 1", got)
		}
		hold <- struct{}{}
		synctest.Wait()
		if got := answered.Load(); got != 1 {
			t.Fatalf("%d were answered by the first check, want the one that came before it began", got)
		}
		close(hold)
		wg.Wait()
		if got := log.calls.Load(); got != 2 {
			t.Errorf("%d checks, want 2: the first caller's, and one for all who came meanwhile", got)
		}
		before := log.calls.Load()
		time.Sleep(24 * time.Hour)
		if got := log.calls.Load(); got != before {
			t.Errorf("%d checks while nobody asked", got-before)
		}
		if got := r.Stats().Confirms; got != 2 {
			t.Errorf("%d checks in the stats", got)
		}
		r.end()
	})
}

func TestAnAppendBegunAfterTheQuestionAnswersIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &confirmLog{MemoryLog: NewMemoryLog()}
		r := start(t, log, SequencerConfig{})
		hold := make(chan struct{})
		log.SetAppendHook(func(context.Context, uint64) AppendFault { <-hold; return AppendClean })
		r.Submit(OpenSession{}, func(Result, error) {})
		synctest.Wait()
		confirmed := make(chan error, 1)
		go func() { confirmed <- r.Confirm(t.Context()) }()
		synctest.Wait()
		r.Submit(OpenSession{}, func(Result, error) {})
		hold <- struct{}{} // the append that was under way when the question came
		synctest.Wait()
		select {
		case <-confirmed:
			t.Fatal("answered by an append that began before the question")
		default:
		}
		hold <- struct{}{}
		if err := <-confirmed; err != nil {
			t.Error(err)
		}
		if got := log.calls.Load(); got != 0 {
			t.Errorf("%d checks though an append answered", got)
		}
		go func() { confirmed <- r.Confirm(t.Context()) }() // and with nothing under way it takes a check
		if err := <-confirmed; err != nil || log.calls.Load() != 1 {
			t.Errorf("idle: %v after %d checks", err, log.calls.Load())
		}
		log.SetAppendHook(nil)
		r.end()
	})
}

// An append whose first try took effect before the question says nothing about later, however late its answer comes: here the log
// passes to another in between.
func TestARepeatedAppendDoesNotAnswerALaterQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &confirmLog{MemoryLog: NewMemoryLog()}
		r := start(t, log, SequencerConfig{Owner: "agent-a"})
		var faults atomic.Int32
		log.SetAppendHook(func(context.Context, uint64) AppendFault {
			if faults.Add(1) < 5 {
				return AppendUnknownKept
			}
			return AppendClean
		})
		committed := make(chan error, 1)
		r.Submit(OpenSession{}, func(_ Result, err error) { committed <- err })
		synctest.Wait()
		if _, err := log.Acquire(t.Context(), "agent-b", 0); err != nil {
			t.Fatal(err)
		}
		if err := r.Confirm(t.Context()); !errors.Is(err, ErrEnded) {
			t.Errorf("Confirm of a deposed sequencer: %v, want ErrEnded", err)
		}
		if err := <-committed; err != nil {
			t.Errorf("the append that is in the log was answered %v", err)
		}
		if err := <-r.done; !errors.Is(err, ErrFenced) {
			t.Errorf("Run: %v, want ErrFenced", err)
		}
	})
}

// A check that meets an entry of its own term proves nothing; the append that wrote it does.
func TestACheckOvertakenByAnAppendIsAnsweredByIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		log := &confirmLog{MemoryLog: NewMemoryLog(), hook: func(context.Context) error { <-hold; return nil }}
		r := start(t, log, SequencerConfig{})
		confirmed := make(chan error, 2)
		go func() { confirmed <- r.Confirm(t.Context()) }()
		synctest.Wait()
		r.do(OpenSession{})
		synctest.Wait()
		if len(confirmed) != 1 {
			t.Fatal("the append began after the question and did not answer it")
		}
		go func() { confirmed <- r.Confirm(t.Context()) }()
		synctest.Wait()
		began := time.Now()
		close(hold) // the first check now finds the new entry, ErrUnknown, and the next one asks beyond it
		for range 2 {
			if err := <-confirmed; err != nil {
				t.Error(err)
			}
		}
		if got := log.calls.Load(); got != 2 || time.Since(began) > 0 {
			t.Errorf("%d checks in %v, want 2 at once", got, time.Since(began))
		}
		r.end()
	})
}

func TestConfirmOnADeposedSequencerEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemoryLog()
		old := start(t, log, SequencerConfig{Owner: "agent-a"})
		old.do(OpenSession{})
		young := start(t, log, SequencerConfig{Owner: "agent-b"})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := old.Confirm(t.Context()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrEnded) {
					t.Errorf("Confirm: %v, want ErrUnavailable and ErrEnded", err)
				}
			})
		}
		wg.Wait()
		if err := <-old.done; !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "agent-b") {
			t.Errorf("Run: %v, want ErrFenced and the name of the new owner", err)
		}
		if err := old.Confirm(t.Context()); !errors.Is(err, ErrEnded) {
			t.Errorf("Confirm after the end: %v, want ErrEnded", err)
		}
		if err := young.Confirm(t.Context()); err != nil {
			t.Errorf("Confirm of the new owner: %v", err)
		}
		young.end()
	})
}

func TestConfirmAsksAgainUntilTheLogAnswersOrNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		log := &confirmLog{MemoryLog: NewMemoryLog(), hook: func(context.Context) error {
			if away.Load() {
				return errors.New("store is away")
			}
			return nil
		}}
		r := start(t, log, SequencerConfig{})
		impatient, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.Confirm(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Confirm: %v, want its ctx's error", err)
		}
		tries := log.calls.Load()
		if tries < 60 || tries > 70 {
			t.Errorf("%d tries in a minute, want one a second and a few at the start", tries)
		}
		time.Sleep(time.Hour)
		if got := log.calls.Load(); got != tries {
			t.Errorf("%d checks after the last caller had gone", got-tries)
		}
		confirmed := make(chan error, 1)
		go func() { confirmed <- r.Confirm(t.Context()) }()
		time.Sleep(time.Minute)
		if len(confirmed) > 0 {
			t.Fatal("answered though the log does not")
		}
		away.Store(false)
		time.Sleep(2 * lastRetry)
		if len(confirmed) != 1 || <-confirmed != nil {
			t.Fatal("not confirmed after the log came back")
		}
		r.end()
	})
}

func TestStopAnswersThoseWhoWaitForAConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &confirmLog{MemoryLog: NewMemoryLog(), hook: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		r := start(t, log, SequencerConfig{QueueQuestions: 3})
		confirmed := make(chan error, 5)
		for range 5 { // two of them wait for room
			go func() { confirmed <- r.Confirm(t.Context()) }()
		}
		synctest.Wait()
		began := time.Now()
		r.end()
		for range 5 {
			if err := <-confirmed; !errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrEnded) {
				t.Errorf("Confirm: %v, want ErrUnavailable and ErrEnded", err)
			}
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("the stop took %v: a check under way holds nothing up", d)
		}
	})
}

func TestQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		log := &confirmLog{MemoryLog: NewMemoryLog(), hook: func(context.Context) error { <-hold; return nil }}
		r := start(t, log, SequencerConfig{QueueQuestions: 4})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := r.Confirm(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Confirm(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Confirm in front of a full queue: %v", err)
		}
		close(hold)
		wg.Wait()
		r.end()
	})
}
