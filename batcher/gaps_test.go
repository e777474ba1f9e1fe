package batcher

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

func TestGapHoldsUpWhatComesAfterIt(t *testing.T) {
	const top = math.MaxInt32
	at := func(epoch int16, first, records int32) sequenced {
		return sequenced{producer: producer{part(1, 0), 5}, epoch: epoch, first: first, records: records}
	}
	for name, c := range map[string]struct {
		lost     []sequenced
		wait     time.Duration
		next     sequenced
		refused  bool
		followed bool // what comes far after the gap is refused then
	}{
		"the lost one":            {lost: []sequenced{at(1, 10, 5)}, next: at(1, 10, 5)},
		"the next":                {lost: []sequenced{at(1, 10, 5)}, next: at(1, 15, 5), refused: true, followed: true},
		"before":                  {lost: []sequenced{at(1, 10, 5)}, next: at(1, 5, 5), followed: true},
		"before and beyond":       {lost: []sequenced{at(1, 10, 5)}, next: at(1, 5, 6)},
		"the lowest counts":       {lost: []sequenced{at(1, 15, 5), at(1, 10, 5), at(1, 12, 1)}, next: at(1, 12, 1), refused: true, followed: true},
		"newer epoch":             {lost: []sequenced{at(1, 10, 5)}, next: at(2, 0, 1)},
		"older epoch":             {lost: []sequenced{at(1, 10, 5)}, next: at(0, 15, 5), followed: true},
		"older epoch lost":        {lost: []sequenced{at(1, 10, 5), at(0, 3, 5)}, next: at(1, 8, 1), followed: true},
		"newer epoch lost":        {lost: []sequenced{at(0, 3, 5), at(1, 10, 5)}, next: at(1, 8, 1), followed: true},
		"after the wrap":          {lost: []sequenced{at(1, top-1, 2)}, next: at(1, 0, 1), refused: true, followed: true},
		"across the wrap":         {lost: []sequenced{at(1, 0, 2)}, next: at(1, top, 2)},
		"up to the wrap":          {lost: []sequenced{at(1, 0, 2)}, next: at(1, top, 1), followed: true},
		"just in time":            {lost: []sequenced{at(1, 10, 5)}, wait: gapExpiry - 1, next: at(1, 15, 5), refused: true, followed: true},
		"forgotten":               {lost: []sequenced{at(1, 10, 5)}, wait: gapExpiry, next: at(1, 15, 5)},
		"other producer's":        {lost: []sequenced{{producer: producer{part(1, 0), 6}}}, next: at(1, 15, 5)},
		"in another partition":    {lost: []sequenced{{producer: producer{part(1, 1), 5}}}, next: at(1, 15, 5)},
		"in another's, same part": {lost: []sequenced{at(1, 10, 5), {producer: producer{part(1, 0), 6}}}, next: at(1, 11, 5), refused: true, followed: true},
	} {
		t.Run(name, func(t *testing.T) {
			var g gaps
			now := time.UnixMilli(0)
			g.leave(now, c.lost)
			now = now.Add(c.wait)
			if err := g.take(now, &c.next); (err != nil) != c.refused || err != nil && !errors.Is(err, ErrNotWritten) {
				t.Errorf("took it with %v, want refused %v", err, c.refused)
			}
			far := at(1, 1000, 1)
			if err := g.take(now, &far); (err != nil) != c.followed {
				t.Errorf("took what is far behind with %v, want refused %v", err, c.followed)
			}
		})
	}
}

func TestGapsAreBounded(t *testing.T) {
	var g gaps
	now := time.UnixMilli(0)
	of := func(id int) sequenced {
		return sequenced{producer: producer{part(1, 0), int64(id)}, first: 1, records: 1}
	}
	after := func(id int) sequenced {
		return sequenced{producer: producer{part(1, 0), int64(id)}, first: 2, records: 1}
	}
	for id := range maxGaps + 1 {
		g.leave(now, []sequenced{of(id)})
	}
	if len(g.byProducer) != maxGaps || g.order.Len() != maxGaps {
		t.Errorf("%d gaps of %d kept, want %d", g.order.Len(), len(g.byProducer), maxGaps)
	}
	oldest, next := after(0), after(1)
	if g.take(now, &oldest) != nil || g.take(now, &next) == nil {
		t.Error("not the oldest was forgotten")
	}
	g.leave(now.Add(gapExpiry), []sequenced{of(0)})
	if len(g.byProducer) != 1 || g.order.Len() != 1 {
		t.Errorf("%d gaps of %d kept when all but one were old", g.order.Len(), len(g.byProducer))
	}
}

// stateLedger makes commits take effect in a real State, which judges sequences.
type stateLedger struct {
	state   *metadata.State
	session metadata.SessionID
}

func newStateLedger(t *testing.T) *stateLedger {
	t.Helper()
	l := &stateLedger{state: metadata.NewState()}
	opened, _ := l.apply(metadata.OpenSession{}).(metadata.OpenSessionResult)
	if opened.Err != nil || opened.Session == 0 {
		t.Fatalf("open session: %+v", opened)
	}
	l.session = opened.Session
	created, _ := l.apply(metadata.CreateTopic{ID: record.TopicID{1}, Name: "t", Partitions: 4}).(metadata.CreateTopicResult)
	if created.Err != nil {
		t.Fatalf("create topic: %v", created.Err)
	}
	return l
}

func (l *stateLedger) apply(c metadata.Command) metadata.Result {
	return l.state.Apply(metadata.Entry{Seq: l.state.Next(), Term: 1, Time: 1000, Commands: []metadata.Command{c}})[0]
}

func (l *stateLedger) commit(c metadata.CommitObject) metadata.CommitObjectResult {
	result, _ := l.apply(c).(metadata.CommitObjectResult)
	return result
}

// bench drives a Core over a State by hand.
type bench struct {
	*Core
	t       *testing.T
	ledger  *stateLedger
	now     time.Time
	uploads map[uint64]*Object
	commits []metadata.CommitObject
	retry   bool
}

func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	ledger := newStateLedger(t)
	cfg.Session = ledger.session
	return &bench{t: t, Core: NewCore(cfg), ledger: ledger, now: time.UnixMilli(1000), uploads: map[uint64]*Object{}}
}

// do carries out what Core wants, but ends no upload and no commit.
func (b *bench) do() {
	for _, a := range b.Actions() {
		switch a.Kind {
		case ActionArm:
		case ActionUpload:
			b.uploads[a.Object.Counter] = a.Object
		case ActionCommit:
			b.commits = append(b.commits, a.Commit)
		case ActionRetry:
			b.retry = true
		case ActionAnswer:
			a.Object.Answer()
		}
	}
}

// call appends and has the object sealed.
func (b *bench) call(appends ...record.Append) *Pending {
	b.t.Helper()
	p := b.gather(appends...)
	if b.open != nil {
		b.Expire(b.now, b.open.Counter)
	}
	b.do()
	return p
}

func (b *bench) gather(appends ...record.Append) *Pending {
	b.t.Helper()
	p := NewPending(appends)
	if err := b.Append(b.now, p); err != nil {
		b.t.Fatal(err)
	}
	b.do()
	return p
}

// uploaded ends an upload; the commits that it lets through are answered at once.
func (b *bench) uploaded(counter uint64, err error) {
	b.t.Helper()
	o := b.uploads[counter]
	if o == nil {
		b.t.Fatalf("object %d is not uploading", counter)
	}
	delete(b.uploads, counter)
	built, buildErr := o.Build(b.cfg, [16]byte{1}, "aa")
	if buildErr != nil {
		b.t.Fatal(buildErr)
	}
	b.Uploaded(b.now, o, built, err)
	b.do()
	for len(b.commits) > 0 {
		c := b.commits[0]
		b.commits = b.commits[1:]
		b.Committed(b.now, c.Counter, b.ledger.commit(c), nil)
		b.do()
	}
}

// answers checks what the appends of a call were told: an offset, -1 for ErrNotWritten, -2 for nothing yet.
func (b *bench) answers(what string, p *Pending, want ...record.Offset) {
	b.t.Helper()
	select {
	case <-p.Done():
	default:
		if want[0] != -2 {
			b.t.Errorf("%s: not answered", what)
		}
		return
	}
	for i, r := range p.Results() {
		switch {
		case r.Err == nil && r.BaseOffset == want[i]:
		case errors.Is(r.Err, ErrNotWritten) && !errors.Is(r.Err, ErrOutcomeUnknown) && r.BaseOffset == -1 && want[i] == -1:
		default:
			b.t.Errorf("%s, append %d: %+v, want %d", what, i, r, want[i])
		}
	}
}

var errBroken = errors.New("broken")

// TestNewProducersFirstBatchIsNotLostWithItsUpload is what a Java producer did with 5 requests in flight: records 0 and 1
// failed for good, and offset 0 held record 2.
func TestNewProducersFirstBatchIsNotLostWithItsUpload(t *testing.T) {
	b := newBench(t, Config{})
	send := func(first int32) *Pending { return b.call(idempotent(t, part(1, 0), 5, 0, first, 1)) }
	zero, one, two := send(0), send(1), send(2)
	b.uploaded(1, nil)
	b.uploaded(0, errBroken)
	b.answers("0", zero, -1)
	b.answers("1, uploaded", one, -1)
	b.answers("2, uploading: its bytes are still read", two, -2)
	b.uploaded(2, nil)
	b.answers("2", two, -1)
	b.answers("3, sent before the producer heard of it", send(3), -1)
	if s := b.Stats(); s.Live != 0 || s.BufferedBytes != 0 || s.Failed != 3 || s.Objects != 0 {
		t.Errorf("stats %+v", s)
	}
	again := []*Pending{send(0), send(1), send(2), send(3)}
	for n := range uint64(4) {
		b.uploaded(3+n, nil)
	}
	for n, p := range again {
		b.answers("sent again", p, record.Offset(n))
	}
}

// TestBystandersOfALostObjectLoseWhatComesAfterThem: producer 6 is new too, and shares an object with 5, which shares one
// with the first to fail. 7 and the producer without an id have nothing to do with it.
func TestBystandersOfALostObjectLoseWhatComesAfterThem(t *testing.T) {
	b := newBench(t, Config{})
	at := func(id int64, first int32) record.Append { return idempotent(t, part(1, int32(id-5)), id, 0, first, 1) }
	plain := one(t, part(1, 3), "plain", 10)[0]
	first := b.call(at(5, 0))
	second := b.call(at(5, 1), at(6, 0), plain)
	third := b.call(at(6, 1))
	other := b.call(at(7, 0), plain)
	b.uploaded(0, errBroken)
	b.uploaded(3, nil)
	b.answers("other, past what is lost and still uploading", other, 0, 0)
	b.uploaded(1, nil)
	b.uploaded(2, nil)
	b.answers("first", first, -1)
	b.answers("second", second, -1, -1, -1)
	b.answers("third", third, -1)
	mixed := b.call(at(6, 1), at(7, 1), plain)
	b.uploaded(4, nil)
	b.answers("one append refused, the others not", mixed, -1, 1, 1)
	again := b.call(at(6, 0), at(5, 0))
	b.uploaded(5, nil)
	b.answers("again", again, 0, 0)
}

func TestOpenObjectAndThoseThatWaitAreLostToo(t *testing.T) {
	b := newBench(t, Config{FlushBytes: 1000, BufferBytes: 1000, MaxUploads: 1})
	send := func(first int32) *Pending { return b.call(idempotent(t, part(1, 0), 5, 0, first, 1)) }
	zero := send(0)
	open := b.gather(idempotent(t, part(1, 0), 5, 0, 1, 1))
	big := b.gather(idempotent(t, part(1, 0), 5, 0, 2, 40)) // for which there is no room
	if big.admitted == nil {
		t.Fatal("there is room for everything")
	}
	b.uploaded(0, errBroken)
	b.answers("0", zero, -1)
	b.answers("1, in the open object", open, -1)
	b.answers("2, let in afterwards", big, -1)
	if !b.Idle() || b.Stats().BufferedBytes != 0 {
		t.Errorf("stats %+v", b.Stats())
	}
}

func TestLostObjectThatWaitsForASlotIsNotUploaded(t *testing.T) {
	b := newBench(t, Config{FlushBytes: 500, BufferBytes: 2000, MaxUploads: 1})
	zero := b.gather(append(one(t, part(1, 3), "full", 500), idempotent(t, part(1, 0), 5, 0, 0, 1))...)
	sealed := b.gather(idempotent(t, part(1, 0), 5, 0, 1, 20))
	waits := b.gather(one(t, part(1, 3), "waits", 500)...)
	if s := b.Stats(); s.Live != 2 || s.Waiting != 1 {
		t.Fatalf("stats %+v, want one uploading, one sealed, one waiting", s)
	}
	b.uploaded(0, errBroken)
	b.answers("0", zero, -1, -1)
	b.answers("1", sealed, -1)
	b.uploaded(2, nil)
	b.answers("let in", waits, 0)
}

// TestBatchSentAgainBeforeItFailedFillsTheGap: the producer had given up waiting for the first try. What comes after the
// second try is not held up, what came before it is.
func TestBatchSentAgainBeforeItFailedFillsTheGap(t *testing.T) {
	b := newBench(t, Config{})
	send := func(first int32) *Pending { return b.call(idempotent(t, part(1, 0), 5, 0, first, 1)) }
	zero, early, again, next := send(0), send(1), send(0), send(1)
	b.uploaded(0, errBroken)
	late := send(2)
	for n := range uint64(4) {
		b.uploaded(1+n, nil)
	}
	b.answers("first try", zero, -1)
	b.answers("1 before the second try", early, -1)
	b.answers("second try", again, 0)
	b.answers("1 after it", next, 1)
	b.answers("2", late, 2)
}

func TestRefusedCommitLosesWhatComesAfterItToo(t *testing.T) {
	b := newBench(t, Config{MaxCommits: 1})
	zero := b.call(idempotent(t, part(1, 0), 5, 0, 0, 1))
	after := b.call(idempotent(t, part(1, 0), 5, 0, 1, 1))
	o := b.uploads[1]
	delete(b.uploads, 1)
	built, err := o.Build(b.cfg, [16]byte{1}, "aa")
	if err != nil {
		t.Fatal(err)
	}
	b.Uploaded(b.now, o, built, nil)
	b.do()
	first := b.uploads[0]
	if built, err = first.Build(b.cfg, [16]byte{1}, "aa"); err != nil {
		t.Fatal(err)
	}
	b.Uploaded(b.now, first, built, nil)
	b.do()
	b.Committed(b.now, 0, metadata.CommitObjectResult{Err: metadata.ErrInvalidCommand}, nil)
	b.do()
	b.answers("0", zero, -1)
	b.answers("1", after, -1)
}

// javaLike is an idempotent producer of one partition with up to five batches in flight that sends again what failed,
// lowest first, and sometimes what it gave up waiting for.
type javaLike struct {
	id     int64
	at     record.Partition
	start  int32
	acked  int // batches from the first on
	known  map[int]bool
	flying map[int]*Pending
}

func (j *javaLike) sequence(n int) int32 { return int32((int64(j.start) + int64(n)) & math.MaxInt32) }

// javaWorld is a bench with producers; everything on it ends in random order, or fails.
type javaWorld struct {
	*bench
	rng       *rand.Rand
	producers []*javaLike
	written   map[int64]int   // batches by producer
	seen      map[uint64]bool // commits that took effect
	lost      int
	refused   int
}

const javaGoal = 25 // batches of each producer

func newJavaWorld(t *testing.T, seed uint64) *javaWorld {
	t.Helper()
	cfg := Config{MaxUploads: 1 + int(seed%5), MaxCommits: 1 + int(seed%3), FlushBytes: 2000, BufferBytes: 6000}
	w := &javaWorld{bench: newBench(t, cfg), rng: rand.New(rand.NewPCG(seed, 11)), written: map[int64]int{}, seen: map[uint64]bool{}}
	for id := range int64(5) {
		j := &javaLike{id: id, at: part(1, int32(id%2)), known: map[int]bool{}, flying: map[int]*Pending{}}
		if w.rng.IntN(2) == 0 {
			j.start = math.MaxInt32 - 3
		}
		w.producers = append(w.producers, j)
	}
	return w
}

// hear takes in what the producer was answered.
func (w *javaWorld) hear(j *javaLike) {
	for n, p := range j.flying {
		select {
		case <-p.Done():
		default:
			continue
		}
		delete(j.flying, n)
		switch err := p.Results()[0].Err; {
		case err == nil:
			j.known[n] = true
		case errors.Is(err, ErrNotWritten):
			w.refused++
		case !errors.Is(err, metadata.ErrOutOfOrderSequence) || n == j.acked:
			w.t.Fatalf("producer %d: sequence %d, acked up to %d: %v", j.id, j.sequence(n), j.sequence(j.acked), err)
		}
	}
	for j.known[j.acked] {
		j.acked++
	}
}

// send sends the lowest batch that is neither acked nor in flight.
func (w *javaWorld) send(j *javaLike) {
	for n := j.acked; n < min(j.acked+5, javaGoal); n++ {
		if j.flying[n] == nil && !j.known[n] {
			j.flying[n] = w.gather(idempotent(w.t, j.at, j.id, 0, j.sequence(n), 1))
			return
		}
	}
}

func (w *javaWorld) endUpload() {
	counters := slices.Sorted(maps.Keys(w.uploads))
	if len(counters) == 0 {
		return
	}
	o := w.uploads[counters[w.rng.IntN(len(counters))]]
	delete(w.uploads, o.Counter)
	built, err := o.Build(w.cfg, [16]byte{1}, "aa")
	if err != nil {
		w.t.Fatal(err)
	}
	if w.rng.IntN(5) == 0 {
		err = errBroken
		w.lost++
	}
	w.Uploaded(w.now, o, built, err)
}

// endCommit has the next commit take effect; now and then nobody hears of it.
func (w *javaWorld) endCommit() {
	if len(w.commits) == 0 {
		return
	}
	c := w.commits[0]
	w.commits = w.commits[1:]
	result := w.ledger.commit(c)
	for i, run := range c.Runs {
		for k, batch := range run.Batches {
			if r := result.Batches[i][k]; r.Err != nil || r.Duplicate || w.seen[c.Counter] {
				continue
			}
			j := w.producers[batch.ProducerID]
			if want := j.sequence(w.written[j.id]); batch.BaseSequence != want {
				w.t.Fatalf("producer %d: sequence %d is in the log, want %d", j.id, batch.BaseSequence, want)
			}
			w.written[j.id]++
		}
	}
	w.seen[c.Counter] = true
	var err error
	if w.rng.IntN(20) == 0 {
		err = metadata.ErrUnavailable
	}
	w.Committed(w.now, c.Counter, result, err)
}

func (w *javaWorld) step() {
	w.now = w.now.Add(time.Millisecond)
	j := w.producers[w.rng.IntN(len(w.producers))]
	switch w.rng.IntN(8) {
	case 0, 1, 2:
		w.hear(j)
		w.send(j)
	case 3:
		if w.open != nil {
			w.Expire(w.now, w.open.Counter)
		}
	case 4, 5:
		w.endUpload()
	case 6:
		w.endCommit()
	case 7:
		if w.retry {
			w.retry = false
			w.Retry()
		}
		if w.rng.IntN(20) == 0 {
			clear(j.flying) // the connection broke: what was under way may or may not be written
		}
	}
	w.do()
}

// TestIdempotentProducersLoseNothing lets uploads fail at random under producers that State does not know yet. All of them
// get everything in, in order; none is told OUT_OF_ORDER_SEQUENCE for the batch that is its next.
func TestIdempotentProducersLoseNothing(t *testing.T) {
	lost, refused := 0, 0
	for seed := range uint64(300) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w := newJavaWorld(t, seed)
			waits := func(j *javaLike) bool { return j.acked < javaGoal }
			for step := 0; slices.ContainsFunc(w.producers, waits); step++ {
				if step > 100_000 {
					t.Fatalf("no end: %+v", w.Stats())
				}
				w.step()
			}
			lost, refused = lost+w.lost, refused+w.refused
		})
	}
	t.Logf("%d uploads failed, %d batches not written", lost, refused)
}
