package metadata

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bargedata/barge/record"
)

// A batch of an idempotent producer can overtake the one before it: the client had both under way and moved, or opened another
// connection. Kafka refuses such a batch, which costs the client its epoch or its life. So the core holds it back until the
// missing one has come, half a second at most, and commits the rest of its object at once. What it knows of producers is a
// forecast, made when commands are queued: State judges, and a forecast that was wrong costs a refusal that Kafka would have
// made too.
const (
	parkTick  = 125 * time.Millisecond
	parkTicks = 4 // a batch waits for more than three ticks and at most four
	maxStruck = 10_000
	// maxWaiting is how many stretches of one producer wait: clients have at most five batches under way, and may have sent
	// each of them twice.
	maxWaiting = 10
)

// producerAt is an idempotent producer in one partition.
type producerAt struct {
	partition record.Partition
	id        int64
}

// expectation is what a producer must send next once all that is queued has been applied.
type expectation struct {
	epoch  int16
	next   int32
	number uint64 // of the last command that made it so
}

// parking is the part of SequencerCore that knows of gaps.
type parking struct {
	submitted uint64 // number of the newest command
	applied   uint64 // number of the newest command that the View has been given, or is given before the next event
	expected  map[producerAt]expectation
	order     []producerAt // of expected, oldest first, with repeats
	numbers   []uint64     // beside order

	line    []*stretch // that wait, in the order of their coming; some have gone
	waiting map[producerAt][]*stretch
	batches int                  // that wait
	struck  map[producerAt]int16 // who was waited for in vain, and in which epoch
	tick    uint64
	ticking bool
	stats   parkingStats
}

type parkingStats struct{ parked, expired, refused uint64 } // batches

// stretch is held back: batches of one producer that follow one another in one run.
type stretch struct {
	object  *parkedObject
	of      producerAt
	batches []CommitBatch
	places  []HeldBatch
	since   uint64 // tick
	gone    bool
}

// parkedObject is a commit of which something is held back. It is answered once, when all of it is judged.
type parkedObject struct {
	sub      *Submission
	session  SessionID
	counter  uint64
	result   CommitObjectResult
	finished bool
}

// finish answers, the first time.
func (o *parkedObject) finish(r Result, err error) {
	if !o.finished {
		o.finished = true
		o.sub.done(r, err)
	}
}

// first takes the answer to the CommitObject.
func (o *parkedObject) first(r Result, err error) {
	res, ok := r.(CommitObjectResult)
	if err != nil || !ok || res.Err != nil || !res.held() {
		o.finish(r, err)
		return
	}
	o.result = res
}

// later takes the answer to a CommitHeld.
func (o *parkedObject) later(r Result, err error) {
	res, _ := r.(CommitObjectResult)
	switch {
	case err != nil:
		o.finish(nil, err)
	case errors.Is(res.Err, ErrSessionSealed):
		o.finish(o.result.sealed(), nil)
	case res.Err != nil: // somebody settled it, or it never was
		o.finish(nil, fmt.Errorf("%w: held back, and then: %w", ErrUnavailable, res.Err))
	case res.held():
		o.result = res
	default:
		o.finish(res, nil)
	}
}

// held reports whether a batch is not judged yet.
func (r CommitObjectResult) held() bool {
	return slices.ContainsFunc(r.Batches, func(run []BatchResult) bool {
		return slices.ContainsFunc(run, func(b BatchResult) bool { return b.Err == ErrHeld }) //nolint:errorlint // Apply puts the bare sentinel there
	})
}

// sealed is the result when what is held back will never be judged.
func (r CommitObjectResult) sealed() CommitObjectResult {
	r.Batches = slices.Clone(r.Batches)
	for i, run := range r.Batches {
		r.Batches[i] = slices.Clone(run)
		for j := range run {
			if b := &r.Batches[i][j]; b.Err == ErrHeld { //nolint:errorlint // as above
				b.Err = ErrSessionSealed
			}
		}
	}
	return r
}

// timing is what is to be expected of a batch.
type timing int

const (
	inTime timing = iota // it will be accepted
	early                // a batch before it is missing
	late                 // a duplicate, or refused: waiting changes nothing
)

func (e expectation) judge(known bool, b *CommitBatch) timing {
	switch {
	case !known, b.ProducerEpoch > e.epoch && b.BaseSequence == 0:
		return inTime
	case b.ProducerEpoch != e.epoch:
		return late
	case b.BaseSequence == e.next:
		return inTime
	case (b.BaseSequence-e.next)&math.MaxInt32 < 1<<30: // 2^31-1 is followed by 0
		return early
	}
	return late
}

func (e expectation) after(b *CommitBatch, number uint64) expectation {
	return expectation{b.ProducerEpoch, lastSequence(lastSequence(b.BaseSequence, b.Records), 2), number}
}

// expects tells what a producer must send next.
func (c *SequencerCore) expects(p producerAt) (e expectation, known bool) {
	if e, known = c.parking.expected[p]; known {
		return e, true
	}
	e.epoch, e.next, known = c.view.nextSequence(p.partition, p.id)
	return e, known
}

// enqueue queues a command. Of a commit it holds back what comes too early, and queues what this one lets go.
func (c *SequencerCore) enqueue(sub *Submission) {
	c.parking.submitted++
	var lets []producerAt
	if commit, ok := sub.cmd.(CommitObject); ok && commit.Held == nil && c.view.Level() >= 2 {
		c.forgetExpected()
		lets = c.hold(sub, commit)
	}
	c.queue = append(c.queue, sub)
	c.queueBytes += len(sub.encoded)
	for _, p := range lets {
		c.letGo(p)
	}
}

// hold looks at every batch of a commit that is about to be queued. It returns the producers whose held batches may have waited
// for one of them.
func (c *SequencerCore) hold(sub *Submission, commit CommitObject) (lets []producerAt) {
	k := &c.parking
	object := &parkedObject{sub: sub, session: commit.Session, counter: commit.Counter}
	held := map[producerAt]*stretch{} // the last one of each
	var line []*stretch
	for i := range commit.Runs {
		r := &commit.Runs[i]
		for j := range r.Batches {
			b := &r.Batches[j]
			if b.ProducerID < 0 {
				continue
			}
			p := producerAt{r.Partition, b.ProducerID}
			e, known := c.expects(p)
			switch e.judge(known, b) {
			case inTime:
				c.expect(p, e.after(b, k.submitted))
				if len(k.waiting[p]) > 0 || held[p] != nil {
					lets = append(lets, p)
				}
			case early:
				if !c.mayWait(p, b, len(commit.Held)) {
					continue
				}
				last := held[p]
				if last == nil || last.end() != b.BaseSequence {
					last = &stretch{object: object, of: p, since: k.tick}
					line, held[p] = append(line, last), last
				}
				at := HeldBatch{int32(i), int32(j)}
				last.batches, last.places = append(last.batches, *b), append(last.places, at)
				commit.Held = append(commit.Held, at)
			case late:
			}
		}
	}
	if len(line) == 0 {
		return lets
	}
	w := wireWriter{}
	w.byte(tagCommitObjectHeld)
	w.heldBatches(commit.Held)
	if len(w.b)+len(sub.encoded) > maxCommandBytes {
		k.stats.refused += uint64(len(commit.Held))
		return lets
	}
	sub.cmd, sub.encoded, sub.object = commit, append(w.b, sub.encoded...), object
	if k.waiting == nil {
		k.waiting = map[producerAt][]*stretch{}
	}
	for _, s := range line {
		k.waiting[s.of] = append(k.waiting[s.of], s)
	}
	k.line = append(k.line, line...)
	k.batches += len(commit.Held)
	k.stats.parked += uint64(len(commit.Held))
	return lets
}

// mayWait decides whether an early batch is held back, beside others of its object.
func (c *SequencerCore) mayWait(p producerAt, b *CommitBatch, others int) bool {
	k := &c.parking
	if epoch, ok := k.struck[p]; ok && epoch == b.ProducerEpoch {
		return false
	}
	if k.batches+others >= c.cfg.ParkedBatches || len(k.waiting[p]) >= maxWaiting {
		k.stats.refused++
		return false
	}
	return true
}

// end is the sequence that follows a stretch.
func (s *stretch) end() int32 {
	last := &s.batches[len(s.batches)-1]
	return expectation{}.after(last, 0).next
}

// expect notes what a producer must send next.
func (c *SequencerCore) expect(p producerAt, e expectation) {
	k := &c.parking
	if k.expected == nil {
		k.expected = map[producerAt]expectation{}
	}
	k.expected[p] = e
	k.order, k.numbers = append(k.order, p), append(k.numbers, e.number)
	delete(k.struck, p)
}

// forgetExpected drops what the View knows by now. A forecast that was wrong goes with it.
func (c *SequencerCore) forgetExpected() {
	k := &c.parking
	n := 0
	for n < len(k.order) && k.numbers[n] <= k.applied {
		if p := k.order[n]; k.expected[p].number <= k.applied {
			delete(k.expected, p)
		}
		n++
	}
	k.order, k.numbers = k.order[n:], k.numbers[n:]
}

// letGo queues the judging of what a producer has waiting and need not wait for any more. Each may be what another one waits for.
func (c *SequencerCore) letGo(p producerAt) {
	for again := true; again; {
		again = false
		for _, s := range c.parking.waiting[p] {
			if e, known := c.expects(p); e.judge(known, &s.batches[0]) != early {
				c.judgeParked(s)
				again = true
				break // the list is another one now
			}
		}
	}
}

// judgeParked queues the judging of a stretch and takes it from those that wait.
func (c *SequencerCore) judgeParked(s *stretch) {
	k := &c.parking
	s.gone = true
	k.batches -= len(s.batches)
	rest := slices.DeleteFunc(k.waiting[s.of], func(other *stretch) bool { return other == s })
	if k.waiting[s.of] = rest; len(rest) == 0 {
		delete(k.waiting, s.of)
	}
	if s.object.finished {
		return // by a repeat, or because its object was refused
	}
	k.submitted++
	for i := range s.batches {
		if e, known := c.expects(s.of); e.judge(known, &s.batches[i]) == inTime {
			c.expect(s.of, e.after(&s.batches[i], k.submitted))
		}
	}
	cmd := CommitHeld{Session: s.object.session, Counter: s.object.counter, Batches: s.places}
	sub := &Submission{cmd: cmd, encoded: encodeCommand(cmd), held: s}
	c.queue = append(c.queue, sub)
	c.queueBytes += len(sub.encoded)
}

// ticked lets the time pass for what waits.
func (c *SequencerCore) ticked() {
	k := &c.parking
	k.ticking = false
	k.tick++
	c.forgetExpected()
	for len(k.line) > 0 && (k.line[0].gone || k.tick-k.line[0].since >= parkTicks) {
		s := k.line[0]
		k.line = k.line[1:]
		if s.gone {
			continue
		}
		if !s.object.finished {
			k.stats.expired += uint64(len(s.batches))
			c.strike(s)
		}
		c.judgeParked(s)
	}
}

// strike remembers who was waited for in vain, so that a producer whose gaps nobody closes holds objects up once, and not with
// each of its batches. A batch of it in order, or a new epoch, makes up for it.
func (c *SequencerCore) strike(s *stretch) {
	k := &c.parking
	if k.struck == nil || len(k.struck) >= maxStruck {
		k.struck = map[producerAt]int16{}
	}
	k.struck[s.of] = s.batches[0].ProducerEpoch
}

// keepTicking asks for the next tick while something waits.
func (c *SequencerCore) keepTicking(acts []SequencerAction) []SequencerAction {
	if c.parking.batches == 0 || c.parking.ticking || c.stopping {
		return acts
	}
	c.parking.ticking = true
	return append(acts, TickAction{parkTick})
}

// abandon takes the commits of which something still waits. What they hold back stays in the log's state until their session
// is sealed or they are repeated.
func (c *SequencerCore) abandon() (group []*Submission) {
	for _, s := range c.parking.line {
		if !s.gone {
			group = append(group, s.object.sub)
		}
	}
	c.parking.line, c.parking.waiting, c.parking.batches = nil, nil, 0
	return group
}

// parkingView is what the core asks of the View about producers.
type parkingView interface {
	Level() uint32
	// nextSequence tells what an idempotent producer must send next as of the last applied entry; false when it is not known.
	nextSequence(p record.Partition, id int64) (epoch int16, next int32, ok bool)
}
