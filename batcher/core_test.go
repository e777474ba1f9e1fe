package batcher

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// coreWorld drives a Core from one seeded goroutine: uploads end in any order or fail, commits take effect in the order they
// were handed in but may be lost before or after, calls give up, and in the end the batcher drains or is cut short.
type coreWorld struct {
	t       *testing.T
	rng     *rand.Rand
	cfg     Config
	core    *Core
	now     time.Time
	ledger  *ledger
	bodies  map[string][]byte
	uploads []*Object
	commits []metadata.CommitObject
	armed   uint64
	timer   bool
	retry   bool
	calls   []*Pending
	bytes   [][]byte // of the batch of each call
	given   map[*Pending]bool
}

func (w *coreWorld) perform() {
	for _, a := range w.core.Actions() {
		switch a.Kind {
		case ActionArm:
			w.armed, w.timer = a.Counter, true
		case ActionUpload:
			w.uploads = append(w.uploads, a.Object)
		case ActionCommit:
			w.commits = append(w.commits, a.Commit)
		case ActionRetry:
			if w.retry {
				w.t.Fatal("two retries armed")
			}
			w.retry = true
		case ActionAnswer:
			a.Object.Answer() // panics when a call is answered twice
		}
	}
	s := w.core.Stats()
	if s.Uploading > w.cfg.MaxUploads || s.Committing > w.cfg.MaxCommits || s.BufferedBytes < 0 {
		w.t.Fatalf("stats %+v", s)
	}
	if s.BufferedBytes > w.cfg.BufferBytes && s.Live > 1 {
		w.t.Fatalf("%d bytes buffered in %d objects, at most %d", s.BufferedBytes, s.Live, w.cfg.BufferBytes)
	}
}

func (w *coreWorld) call() {
	n := len(w.calls)
	size := 20
	switch w.rng.IntN(8) {
	case 0:
		size = 1_500
	case 1:
		size = 5_000
	}
	appends := one(w.t, part(1, int32(w.rng.IntN(3))), fmt.Sprintf("call %06d.", n), size)
	p := NewPending(appends)
	if err := w.core.Append(w.now, p); err != nil {
		if !errors.Is(err, ErrClosed) {
			w.t.Fatal(err)
		}
		return
	}
	w.calls = append(w.calls, p)
	w.bytes = append(w.bytes, appends[0].Batch.Bytes())
}

func (w *coreWorld) endUpload(fail bool) {
	if len(w.uploads) == 0 {
		return
	}
	i := w.rng.IntN(len(w.uploads))
	o := w.uploads[i]
	w.uploads = append(w.uploads[:i], w.uploads[i+1:]...)
	built, err := o.Build(w.cfg, [16]byte{1}, "aa")
	if err != nil {
		w.t.Fatal(err)
	}
	if fail {
		err = errors.New("broken")
	}
	if built.Body != nil {
		w.bodies[built.Key] = built.Body.Bytes
	}
	w.core.Uploaded(w.now, o, built, err)
}

func (w *coreWorld) endCommit(fault int) {
	if len(w.commits) == 0 {
		return
	}
	c := w.commits[0]
	w.commits = w.commits[1:]
	switch fault {
	case 0:
		w.core.Committed(w.now, c.Counter, metadata.CommitObjectResult{}, metadata.ErrUnavailable)
	case 1:
		w.ledger.apply(c)
		w.core.Committed(w.now, c.Counter, metadata.CommitObjectResult{}, metadata.ErrUnavailable)
	default:
		w.core.Committed(w.now, c.Counter, w.ledger.apply(c), nil)
	}
}

func (w *coreWorld) run(steps int) {
	seal := w.rng.IntN(6) == 0
	for step := range steps {
		w.now = w.now.Add(time.Millisecond)
		switch w.rng.IntN(10) {
		case 0, 1, 2:
			w.call()
		case 3:
			if w.timer {
				w.timer = false
				w.core.Expire(w.now, w.armed)
			}
		case 4, 5:
			w.endUpload(w.rng.IntN(20) == 0)
		case 6, 7:
			w.endCommit(w.rng.IntN(20))
		case 8:
			if w.retry {
				w.retry = false
				w.core.Retry()
			}
		case 9:
			if n := len(w.calls); n > 0 && w.rng.IntN(10) == 0 {
				if p := w.calls[n-1]; w.core.Cancel(w.now, p) {
					w.given[p] = true
				}
			}
		}
		if seal && step == steps/2 {
			w.ledger.sealed = true
		}
		w.perform()
	}
	w.core.Drain(w.now)
	w.perform()
	if w.rng.IntN(3) == 0 {
		w.core.Halt(w.now)
		for len(w.uploads) > 0 {
			w.endUpload(false)
		}
		w.core.Abort(w.now)
		w.perform()
		for len(w.commits) > 0 { // late answers meet nobody
			w.endCommit(9)
		}
	}
	for range 10_000 {
		if w.core.Idle() {
			break
		}
		w.endUpload(false)
		w.endCommit(9)
		if w.retry {
			w.retry = false
			w.core.Retry()
		}
		w.perform()
	}
	w.perform()
	w.judge()
}

func (w *coreWorld) judge() {
	if !w.core.Idle() || w.core.Stats().BufferedBytes != 0 || w.core.Stats().Live != 0 {
		w.t.Fatalf("does not come to rest: %+v", w.core.Stats())
	}
	held := map[record.Partition]map[record.Offset]string{}
	written := map[string]bool{}
	ends := map[record.Partition]record.Offset{}
	for _, c := range w.ledger.commits {
		for _, run := range c.Runs {
			at := record.Len(run.Pos)
			for _, b := range run.Batches {
				object := c.Inline
				if object == nil {
					object = w.bodies[c.Key]
				}
				bytes := string(object[at : at+b.Len])
				at += b.Len
				if held[run.Partition] == nil {
					held[run.Partition] = map[record.Offset]string{}
				}
				if written[bytes] {
					w.t.Fatal("a batch is in the log twice")
				}
				held[run.Partition][ends[run.Partition]], written[bytes] = bytes, true
				ends[run.Partition]++
			}
		}
	}
	last := map[record.Partition]record.Offset{}
	for i, p := range w.calls {
		if p.refused || w.given[p] {
			if written[string(w.bytes[i])] {
				w.t.Fatalf("call %d was turned away and is in the log", i)
			}
			continue
		}
		select {
		case <-p.done:
		default:
			w.t.Fatalf("call %d was never answered", i)
		}
		got := p.results[0]
		switch {
		case got.Err == nil:
			where := partitionOf(held, string(w.bytes[i]))
			if held[where][got.BaseOffset] != string(w.bytes[i]) {
				w.t.Fatalf("call %d was told offset %d, which holds something else", i, got.BaseOffset)
			}
			if before, ok := last[where]; ok && got.BaseOffset <= before {
				w.t.Fatalf("call %d has offset %d, one before it %d", i, got.BaseOffset, before)
			}
			last[where] = got.BaseOffset
		case errors.Is(got.Err, ErrNotWritten):
			if written[string(w.bytes[i])] {
				w.t.Fatalf("call %d was told it is not written and is in the log", i)
			}
		case !errors.Is(got.Err, ErrOutcomeUnknown):
			w.t.Fatalf("call %d: %v", i, got.Err)
		}
	}
}

func partitionOf(held map[record.Partition]map[record.Offset]string, bytes string) record.Partition {
	for p, log := range held {
		for _, b := range log {
			if b == bytes {
				return p
			}
		}
	}
	return record.Partition{}
}

func TestCoreAnswersEveryCallOnceAndTruly(t *testing.T) {
	var committed, refused, unknown int
	var inline uint64
	for seed := range uint64(300) {
		w := &coreWorld{
			t: t, rng: rand.New(rand.NewPCG(seed, 3)), now: time.UnixMilli(0), ledger: newLedger(), bodies: map[string][]byte{},
			cfg:   Config{Session: 7, FlushBytes: 2_000, BufferBytes: 8_000, MaxUploads: 1 + int(seed%4), MaxCommits: 1 + int(seed%3)}.withDefaults(),
			given: map[*Pending]bool{},
		}
		if seed%2 == 1 {
			w.cfg.InlineBytes = 1_000 // those with small calls only
		}
		w.core = NewCore(w.cfg)
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w.t = t
			w.run(600)
		})
		inline += w.core.Stats().Inline
		for _, p := range w.calls {
			switch {
			case p.refused || w.given[p] || len(p.results) == 0:
			case p.results[0].Err == nil:
				committed++
			case errors.Is(p.results[0].Err, ErrOutcomeUnknown):
				unknown++
			case strings.Contains(p.results[0].Err.Error(), "not written"):
				refused++
			}
		}
	}
	t.Logf("%d calls committed, %d not written, %d unknown; %d objects in their commits", committed, refused, unknown, inline)
	if committed == 0 || refused == 0 || unknown == 0 || inline == 0 {
		t.Fatal("the worlds were too quiet to show anything")
	}
}
