package metadata

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/bargedata/barge/record"
)

// The core driven by a seeded scheduler: whatever happens, one append at a time, slots without gaps, the same bytes on
// every try, every command answered exactly once, and nothing answered before its entry is in. Questions are answered exactly
// once too, and with a yes only by what began after they were asked.
func TestCoreUnderEveryOrderOfEvents(t *testing.T) {
	submitted, confirmed, truncations := 0, 0, 0
	for seed := range uint64(450) {
		sim := &coreSim{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 9)), nextSlot: 10}
		sim.core = &SequencerCore{
			view: sim,
			cfg: SequencerConfig{
				EntryCommands: 1 + sim.rng.IntN(6), EntryBytes: 40, QueueCommands: 8, QueueBytes: 200, QueueQuestions: 5,
				CheckpointEntries: 1 + sim.rng.Uint64N(9), CheckpointBytes: 500,
			},
			ids:  func() (id [16]byte) { id[0], id[1] = byte(sim.rng.Uint32()), byte(sim.rng.Uint32()); return id },
			term: 3, next: 10, time: 100,
		}
		sim.run()
		submitted += sim.submitted
		confirmed += sim.confirmed
		truncations += sim.truncations
	}
	if confirmed < 4_000 {
		t.Errorf("only %d questions were answered with a yes", confirmed)
	}
	if truncations < 400 {
		t.Errorf("only %d truncations in all", truncations)
	}
	if submitted < 10_000 {
		t.Errorf("only %d commands in all", submitted)
	}
}

type coreSim struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	core *SequencerCore

	nextSlot      uint64
	appending     *flight // call under way
	settled       bool    // the call's entry is in the log
	waiting       bool
	checkpointing bool
	checkpoint    uint64 // newest that succeeded
	truncating    bool
	truncated     uint64 // which checkpoint has been followed by a truncation
	truncations   int
	inline        uint64 // oldest slot with bytes somebody reads, 0: none
	stopped       bool
	over          bool
	submitted     int
	answers       map[*Submission]int
	applied       map[*Submission]bool
	lastTime      int64

	tick         int // counts asking and beginning
	questions    map[*Question]asked
	waitingFor   []*Question
	confirming   bool
	confirmNext  uint64
	confirmBegan int
	appendBegan  int // the first try
	proof        int // when began the last call that succeeded
	confirmLater bool
	confirmed    int
}

type asked struct {
	at      int
	answers int
	left    bool
}

func (s *coreSim) run() {
	s.answers, s.applied, s.questions = map[*Submission]int{}, map[*Submission]bool{}, map[*Question]asked{}
	for step := 0; !s.over; step++ {
		if step > 10_000 {
			s.t.Fatalf("seed %d: no end", s.seed)
		}
		switch k := s.rng.IntN(15); {
		case k < 4 && s.core.Room():
			sub := &Submission{cmd: OpenSession{}, encoded: make([]byte, 1+s.rng.IntN(30))}
			s.answers[sub] = 0
			s.submitted++
			s.step(SubmitEvent{sub})
		case k < 7 && s.appending != nil && !s.waiting:
			s.endAppend()
		case k == 7 && s.waiting:
			s.waiting = false
			s.step(RetryEvent{})
		case k == 8 && s.checkpointing:
			s.endCheckpoint()
		case k == 9 && !s.stopped && step > 200:
			s.stopped = true
			s.step(StopEvent{})
		case k == 9 && s.stopped && s.rng.IntN(20) == 0:
			s.step(GiveUpEvent{})
		case k == 10 && s.core.RoomToAsk():
			q := &Question{}
			s.tick++
			s.questions[q] = asked{at: s.tick}
			s.waitingFor = append(s.waitingFor, q)
			s.step(AskEvent{q})
		case k == 11 && len(s.waitingFor) > 0 && s.rng.IntN(4) == 0:
			q := s.waitingFor[s.rng.IntN(len(s.waitingFor))] // may have been answered already
			a := s.questions[q]
			a.left = true
			s.questions[q] = a
			s.step(LeaveEvent{q})
		case k == 12 && s.confirming:
			s.endConfirm()
		case k == 13 && s.confirmLater:
			s.confirmLater = false
			s.step(ConfirmAgainEvent{})
		case k == 14 && s.truncating && s.rng.IntN(2) == 0:
			s.endTruncation()
		}
		if open := s.open(); !s.over && open > 0 && s.appending == nil && !s.confirming && !s.confirmLater {
			s.t.Fatalf("seed %d: nothing will answer %d questions", s.seed, open)
		}
	}
	for _, a := range s.questions {
		if a.answers != 1 && !a.left || a.answers > 1 {
			s.t.Fatalf("seed %d: a Question was answered %d times", s.seed, a.answers)
		}
	}
	for sub, n := range s.answers {
		if n != 1 {
			s.t.Fatalf("seed %d: a command was answered %d times (%v)", s.seed, n, s.applied[sub])
		}
	}
}

// open counts the questions that somebody waits for.
func (s *coreSim) open() (n int) {
	for _, a := range s.questions {
		if a.answers == 0 && !a.left {
			n++
		}
	}
	return n
}

// OldestInline lets the core have a view in which bytes come and go.
func (s *coreSim) OldestInline() (uint64, bool) { return s.inline, s.inline > 0 }

func (s *coreSim) Level() uint32 { return 1 }

func (s *coreSim) nextSequence(record.Partition, int64) (int16, int32, bool) { return 0, 0, false }

func (s *coreSim) endCheckpoint() {
	s.checkpointing = false
	if s.inline = 0; s.rng.IntN(2) == 0 {
		s.inline = 1 + s.rng.Uint64N(s.nextSlot)
	}
	if s.rng.IntN(2) == 0 {
		s.step(CheckpointedEvent{Seq: s.nextSlot, Err: errors.New("store is away")})
		return
	}
	s.checkpoint = s.nextSlot
	s.step(CheckpointedEvent{Seq: s.checkpoint})
	if !s.over && !s.stopped && !s.truncating {
		s.t.Fatalf("seed %d: checkpoint %d is followed by no truncation", s.seed, s.checkpoint)
	}
}

func (s *coreSim) endTruncation() {
	s.truncating = false
	var err error
	switch s.rng.IntN(60) {
	case 0:
		err = ErrFenced
	default:
		err = []error{nil, errors.New("store is away")}[s.rng.IntN(2)]
	}
	s.step(TruncatedEvent{err})
	if fenced := errors.Is(err, ErrFenced); fenced && s.appending == nil != s.over {
		s.t.Fatalf("seed %d: a truncation was fenced, appending %v, over %v", s.seed, s.appending != nil, s.over)
	}
}

func (s *coreSim) endConfirm() {
	s.confirming = false
	var err error
	switch s.rng.IntN(6) {
	case 0, 1:
		if s.nextSlot > s.confirmNext || s.settled {
			err = ErrUnknown
		}
	case 2:
		err = errors.New("store is away")
	case 3:
		if s.rng.IntN(40) == 0 {
			err = ErrFenced
		}
	}
	if err == nil {
		s.proof = max(s.proof, s.confirmBegan)
	}
	s.step(ConfirmedEvent{err})
}

func (s *coreSim) endAppend() {
	var err error
	switch s.rng.IntN(8) {
	case 0, 1, 2:
		err = ErrUnknown
		s.settled = s.settled || s.rng.IntN(2) == 0
	case 3:
		if s.rng.IntN(40) == 0 {
			err = ErrFenced
		}
	}
	if err == nil {
		s.settled = true
		s.proof = max(s.proof, s.appendBegan)
	}
	s.step(AppendedEvent{err})
}

func (s *coreSim) step(ev SequencerEvent) {
	for _, act := range s.core.Step(ev, s.rng.Int64N(1000)) {
		if s.over {
			s.t.Fatalf("seed %d: %T after the end", s.seed, act)
		}
		switch act := act.(type) {
		case AppendAction:
			f := act.flight
			if s.appending != nil && s.appending != f {
				s.t.Fatalf("seed %d: two appends at once", s.seed)
			}
			if f.entry.Seq != s.nextSlot || f.entry.Time < s.lastTime || len(f.group) > s.core.cfg.EntryCommands {
				s.t.Fatalf("seed %d: entry %d at time %d with %d commands, want %d after %d", s.seed, f.entry.Seq, f.entry.Time, len(f.group), s.nextSlot, s.lastTime)
			}
			if s.appending == nil {
				s.settled = false
				s.tick++
				s.appendBegan = s.tick
			}
			s.appending, s.lastTime = f, f.entry.Time
		case WaitAction:
			s.waiting = true
		case ApplyAction:
			if s.appending != act.flight || !s.settled {
				s.t.Fatalf("seed %d: entry %d applied before it was durable", s.seed, act.flight.entry.Seq)
			}
			s.appending = nil
			s.nextSlot++
			for _, sub := range act.flight.group {
				s.applied[sub] = true
			}
		case AnswerAction:
			for _, sub := range act.flight.group {
				if !s.applied[sub] {
					s.t.Fatalf("seed %d: answered before it was applied", s.seed)
				}
				s.answers[sub]++
			}
		case RefuseAction:
			for _, sub := range act.group {
				s.answers[sub]++
			}
		case CheckpointAction:
			if s.checkpointing {
				s.t.Fatalf("seed %d: two checkpoints at once", s.seed)
			}
			s.checkpointing = true
		case TruncateAction:
			if s.truncating || s.stopped || act.Below > s.checkpoint || s.truncated == s.checkpoint || s.inline > 0 && act.Below > s.inline {
				s.t.Fatalf("seed %d: truncation below %d, last checkpoint %d, last truncated %d, inline %d, under way %v, stopped %v",
					s.seed, act.Below, s.checkpoint, s.truncated, s.inline, s.truncating, s.stopped)
			}
			s.truncating, s.truncated = true, s.checkpoint
			s.truncations++
		case ConfirmAction:
			if s.confirming || s.appending != nil || s.open() == 0 || act.Next != s.nextSlot {
				s.t.Fatalf("seed %d: check of slot %d (next %d) beside another (%v) or an append, or for nobody", s.seed, act.Next, s.nextSlot, s.confirming)
			}
			s.tick++
			s.confirming, s.confirmNext, s.confirmBegan = true, act.Next, s.tick
		case ConfirmLaterAction:
			s.confirmLater = true
		case TellAction:
			for _, q := range act.questions {
				a := s.questions[q]
				if a.answers++; act.err == nil {
					s.confirmed++
				}
				s.questions[q] = a
				if act.err == nil && a.at > s.proof {
					s.t.Fatalf("seed %d: a Question asked at %d was answered by what began at %d", s.seed, a.at, s.proof)
				}
				if a.left {
					s.t.Fatalf("seed %d: somebody who had gone was answered", s.seed)
				}
			}
		case EndAction:
			s.over = true
		}
	}
}

// Entry time follows the clock of a process, over a long stop too, and never goes back.
func TestEntryTimeFollowsTheClockAndNeverGoesBack(t *testing.T) {
	const day = 24 * 60 * 60 * 1000
	core := &SequencerCore{cfg: SequencerConfig{}.withDefaults(), ids: func() (id [16]byte) { return id }, time: 10 * day}
	for _, step := range []struct{ clock, want int64 }{
		{40 * day, 40 * day}, // the agent was off for a month
		{40*day + 5, 40*day + 5},
		{39 * day, 40*day + 5}, // put back
		{40*day + 4, 40*day + 5},
		{42 * day, 42 * day}, // slept, or leapt
		{42 * day, 42 * day},
	} {
		acts := core.Step(SubmitEvent{&Submission{cmd: OpenSession{}}}, step.clock)
		if len(acts) != 1 || core.flight == nil || core.flight.entry.Time != step.want {
			t.Fatalf("clock %d: %+v, want one entry at %d", step.clock, acts, step.want)
		}
		core.Step(AppendedEvent{}, step.clock)
	}
}
