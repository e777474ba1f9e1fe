package metadata

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/bargedata/barge/record"
)

// parkDriver drives a core by hand over a View of its own: appends end and ticks come when a test says so.
type parkDriver struct {
	t        *testing.T
	cfg      SequencerConfig
	core     *SequencerCore
	view     *View
	appends  []AppendAction // under way: one at most
	ticking  int            // asked for and not yet come
	ended    bool
	endedErr error
	log      strings.Builder
	script   *script
	number   int
	answers  map[int]int
}

func newParkDriver(t *testing.T, cfg SequencerConfig) *parkDriver {
	t.Helper()
	d := &parkDriver{t: t, cfg: cfg, view: NewView(), answers: map[int]int{}}
	d.script = &script{t: t, view: d.view}
	d.restart()
	return d
}

// restart puts a new core in the place of one that was killed: what it had not applied is lost, unless it had been appended.
func (d *parkDriver) restart() {
	id := byte(0)
	start := TakenOver{Term: d.view.state.term + 1, Next: d.view.Applied()}
	d.core = NewSequencerCore(d.cfg, d.view, func() [16]byte { id++; return [16]byte{id} }, start)
	d.appends, d.ticking, d.ended, d.endedErr = nil, 0, false, nil
}

func (d *parkDriver) step(ev SequencerEvent) {
	d.t.Helper()
	for _, act := range d.core.Step(ev, 1000) {
		switch act := act.(type) {
		case AppendAction:
			if len(d.appends) == 1 && d.appends[0].flight != act.flight {
				d.t.Fatal("two appends at once")
			}
			if len(d.appends) == 0 {
				fmt.Fprintf(&d.log, "entry %d:", act.Entry().Seq)
				for _, c := range act.Entry().Commands {
					fmt.Fprintf(&d.log, " %s", briefly(c))
				}
				fmt.Fprintln(&d.log)
				if _, err := DecodeEntry(act.flight.body); err != nil {
					d.t.Fatal(err)
				}
			}
			d.appends = []AppendAction{act}
		case ApplyAction:
			d.appends = nil
			if err := act.Apply(d.view); err != nil {
				d.t.Fatal(err)
			}
			for _, fault := range stateFaults(d.view.state) {
				d.t.Error(fault)
			}
		case AnswerAction:
			act.Answer()
		case RefuseAction:
			act.Refuse()
		case TickAction:
			d.ticking++
			if d.ticking > 1 {
				d.t.Fatal("two ticks at once")
			}
		case CheckpointAction:
			d.step(CheckpointedEvent{Seq: d.view.Applied()})
		case EndAction:
			d.ended, d.endedErr = true, act.Err
		case WaitAction:
			d.step(RetryEvent{})
		case TruncateAction, ConfirmAction, ConfirmLaterAction, TellAction:
			d.t.Fatalf("%T is not expected here", act)
		}
	}
}

// submit hands a command in; its answer is logged under the next number.
func (d *parkDriver) submit(cmd Command, done func(Result, error)) {
	d.t.Helper()
	sub, err := NewSubmission(cmd, done)
	if err != nil {
		d.t.Fatal(err)
	}
	d.step(SubmitEvent{sub})
}

// append ends the append under way; false if none is.
func (d *parkDriver) append(err error) bool {
	d.t.Helper()
	if len(d.appends) == 0 {
		return false
	}
	d.step(AppendedEvent{err})
	return true
}

func (d *parkDriver) tick() bool {
	d.t.Helper()
	if d.ticking == 0 {
		return false
	}
	d.ticking--
	d.step(TickEvent{})
	return true
}

// briefly names a command.
func briefly(c Command) string {
	switch c := c.(type) {
	case CommitObject:
		s := fmt.Sprintf("commit(%d)", c.Counter)
		for _, h := range c.Held {
			s += fmt.Sprintf("-%d.%d", h.Run, h.Batch)
		}
		return s
	case CommitHeld:
		s := fmt.Sprintf("held(%d", c.Counter)
		for _, h := range c.Batches {
			s += fmt.Sprintf("-%d.%d", h.Run, h.Batch)
		}
		return s + ")"
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", c), "metadata.")
}

// TestParkingScripts tells stories about batches that come too early. "submit" hands in commands, whose answers appear as #1,
// #2 and so on; "append" ends one append, "settle" all of them; a tick is an eighth of a second.
func TestParkingScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/parking", func(t *testing.T, path string) {
		t.Helper()
		d := newParkDriver(t, SequencerConfig{ParkedBatches: 5})
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			t.Helper()
			d.t, d.script.t = t, t
			return d.run(td)
		})
		for n, times := range d.answers {
			if times != 1 {
				t.Errorf("#%d was answered %d times", n, times)
			}
		}
	})
}

func (d *parkDriver) run(td *datadriven.TestData) string {
	d.log.Reset()
	switch td.Cmd {
	case "submit":
		for line := range strings.Lines(td.Input) {
			cmd := d.script.parse(strings.TrimSpace(line))
			d.number++
			n := d.number
			d.answers[n] = 0
			d.submit(cmd, func(r Result, err error) {
				d.answers[n]++
				if err != nil {
					fmt.Fprintf(&d.log, "#%d: error: %v\n", n, err)
				} else {
					fmt.Fprintf(&d.log, "#%d: %s\n", n, resultString(r))
				}
			})
		}
	case "append":
		var err error
		if td.HasArg("fenced") {
			err = ErrFenced
		}
		if !d.append(err) {
			fmt.Fprintln(&d.log, "nothing is under way")
		}
	case "settle":
		for d.append(nil) {
		}
	case "tick":
		n := 1
		if td.HasArg("n") {
			td.ScanArgs(d.t, "n", &n)
		}
		for range n {
			if !d.tick() {
				fmt.Fprintln(&d.log, "nobody waits for a tick")
			}
		}
	case "stop":
		d.step(StopEvent{})
	case "crash":
		for n, times := range d.answers { // they never hear anything
			if times == 0 {
				delete(d.answers, n)
			}
		}
		d.restart()
	case "show":
		return d.script.show(td)
	case "stats":
		fmt.Fprintf(&d.log, "%+v, %d wait, %d forecasts\n", d.core.parking.stats, d.core.parking.batches, len(d.core.parking.expected))
	default:
		d.t.Fatalf("%s: unknown directive %q", td.Pos, td.Cmd)
	}
	if d.ended {
		fmt.Fprintf(&d.log, "ended: %v\n", d.endedErr)
	}
	if d.log.Len() == 0 {
		return "nothing\n"
	}
	return d.log.String()
}

// overtaking is a client that is idempotent and has up to five batches under way, over two connections that know nothing of
// each other.
type overtaking struct {
	id     int64
	next   int32
	flying []*flyingBatch          // in the order of their sequences
	conns  [2][]*flyingBatch       // not arrived yet
	at     map[int32]record.Offset // what was answered, by sequence
}

type flyingBatch struct {
	client *overtaking
	batch  CommitBatch
	done   bool
}

// overtakers is a world of such clients around one agent and its sequencer.
type overtakers struct {
	*parkDriver
	rng       *rand.Rand
	clients   []*overtaking
	session   SessionID
	counter   uint64
	unsettled []uint64 // counters without an answer
	refused   int      // batches answered out of order
	life      int      // of the agent
	records   record.Offset
}

// Whatever the order in which an agent gets the batches of its clients, and however appends end, nothing is refused while gaps
// are closed in time: all of it is in the log once, in order. With ticks that come too soon, and with sequencers that are killed,
// some is refused or never answered, and clients send it again; in the end all of it is in the log once, in order, too.
func TestOvertakingBatchesAreWrittenOnceInOrder(t *testing.T) {
	var parked, expired uint64
	refused, lives := 0, 0
	for seed := range uint64(80) {
		rng := rand.New(rand.NewPCG(seed, 23))
		rough := seed%2 == 1
		cfg := SequencerConfig{EntryCommands: 1 + rng.IntN(8)}
		if rough {
			cfg.ParkedBatches = 1 + rng.IntN(9)
		}
		w := &overtakers{parkDriver: newParkDriver(t, cfg), rng: rng}
		w.begin()
		for range 1500 {
			w.move(rough)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		w.finish()
		w.check(seed)
		if !rough && w.refused > 0 {
			t.Fatalf("seed %d: %d batches were refused though every gap was closed", seed, w.refused)
		}
		parked += w.core.parking.stats.parked
		expired += w.core.parking.stats.expired
		refused, lives = refused+w.refused, lives+w.life
	}
	if parked < 4_000 || expired < 120 || refused < 300 || lives < 150 {
		t.Errorf("only %d batches waited, %d in vain, %d batches refused, %d lives", parked, expired, refused, lives)
	}
}

func (w *overtakers) begin() {
	w.submit(CreateTopic{ID: topicNumber(1), Name: "logs", Partitions: 2}, func(Result, error) {})
	w.open()
	w.submit(RaiseLevel{Level: 2}, func(Result, error) {})
	for id := range int64(4) {
		c := &overtaking{id: id, at: map[int32]record.Offset{}, next: []int32{0, 1 << 20, math.MaxInt32 - 200, math.MaxInt32}[id]}
		w.clients = append(w.clients, c)
		w.send(c) // each is known before it has two under way
		w.deliver(c.conns[0], c.conns[1])
		c.conns = [2][]*flyingBatch{}
		for w.append(nil) {
		}
	}
}

func (w *overtakers) open() {
	w.life++
	w.submit(SealSession{Session: w.session}, func(Result, error) {})
	w.submit(OpenSession{Agent: AgentInfo{Level: 2}}, func(r Result, _ error) { w.session = r.(OpenSessionResult).Session })
	for w.append(nil) {
	}
	w.counter, w.unsettled = 0, nil
}

// send lets a client put one more batch on one of its connections.
func (w *overtakers) send(c *overtaking) {
	if len(c.flying) == 5 {
		return
	}
	f := &flyingBatch{client: c, batch: CommitBatch{Len: 10, Records: 1 + w.rng.Int32N(3), ProducerID: c.id, BaseSequence: c.next}}
	c.next = lastSequence(f.batch.BaseSequence, f.batch.Records+1)
	c.flying = append(c.flying, f)
	conn := w.rng.IntN(2)
	c.conns[conn] = append(c.conns[conn], f)
}

// deliver commits batches as one object, in the order of their arrival.
func (w *overtakers) deliver(arrived ...[]*flyingBatch) {
	var runs [2]CommitRun
	var places [2][]*flyingBatch
	for _, list := range arrived {
		for _, f := range list {
			p := f.client.id % 2
			runs[p].Batches = append(runs[p].Batches, f.batch)
			places[p] = append(places[p], f)
		}
	}
	cmd := CommitObject{Session: w.session, Counter: w.counter, Settled: w.counter, Key: fmt.Sprint("o", w.session, "-", w.counter), Size: 1 << 20}
	var where [][]*flyingBatch
	for p := range runs {
		if len(places[p]) > 0 {
			runs[p].Partition = record.Partition{Topic: topicNumber(1), Index: int32(p)}
			cmd.Runs, where = append(cmd.Runs, runs[p]), append(where, places[p])
		}
	}
	if len(cmd.Runs) == 0 {
		return
	}
	if len(w.unsettled) > 0 {
		cmd.Settled = w.unsettled[0]
	}
	w.unsettled = append(w.unsettled, w.counter)
	w.counter++
	life := w.life
	w.submit(cmd, func(r Result, err error) {
		res, _ := r.(CommitObjectResult)
		if life != w.life || err != nil || res.Err != nil {
			w.t.Fatalf("%v, %+v", err, r)
		}
		w.unsettled = slices.DeleteFunc(w.unsettled, func(counter uint64) bool { return counter == cmd.Counter })
		for i, run := range where {
			for j, f := range run {
				w.answered(f, res.Batches[i][j])
			}
		}
	})
}

// answered takes the fate of a batch. One that was refused is sent again, behind the others that were.
func (w *overtakers) answered(f *flyingBatch, b BatchResult) {
	c := f.client
	switch {
	case errors.Is(b.Err, ErrOutOfOrderSequence):
		w.refused++
		c.conns[1] = append(c.conns[1], f)
		slices.SortStableFunc(c.conns[1], func(a, b *flyingBatch) int { return slices.Index(c.flying, a) - slices.Index(c.flying, b) })
		return
	case b.Err != nil:
		w.t.Fatalf("%+v: %v", f.batch, b.Err)
	}
	if at, ok := c.at[f.batch.BaseSequence]; ok && at != b.BaseOffset {
		w.t.Fatalf("%+v was told it lies at %d, and at %d", f.batch, at, b.BaseOffset)
	}
	c.at[f.batch.BaseSequence] = b.BaseOffset
	if !f.done {
		f.done = true
		w.records += record.Offset(f.batch.Records)
	}
	for len(c.flying) > 0 && c.flying[0].done {
		c.flying = c.flying[1:]
	}
}

func (w *overtakers) move(rough bool) {
	c := w.clients[w.rng.IntN(len(w.clients))]
	switch k := w.rng.IntN(20); {
	case k < 8:
		w.send(c)
	case k < 14:
		var lists [][]*flyingBatch
		for range 1 + w.rng.IntN(3) {
			c, conn := w.clients[w.rng.IntN(len(w.clients))], w.rng.IntN(2)
			n := min(1+w.rng.IntN(3), len(c.conns[conn]))
			lists = append(lists, c.conns[conn][:n])
			c.conns[conn] = c.conns[conn][n:]
		}
		w.deliver(lists...)
	case k < 17:
		w.append([]error{nil, nil, nil, ErrUnknown}[w.rng.IntN(4)])
	case (k == 17 || k == 18) && rough:
		w.tick()
	case k == 19 && rough && w.rng.IntN(30) == 0:
		w.die()
	}
}

// die kills the agent and its sequencer. Clients send all they have no answer for again, in order, to the next one.
func (w *overtakers) die() {
	w.restart()
	w.open()
	for _, c := range w.clients {
		c.conns = [2][]*flyingBatch{slices.DeleteFunc(slices.Clone(c.flying), func(f *flyingBatch) bool { return f.done }), nil}
	}
}

// finish delivers all there is until everything is answered.
func (w *overtakers) finish() {
	for range 1000 {
		left := false
		for _, c := range w.clients {
			left = left || len(c.flying) > 0
			for conn := range c.conns {
				list := c.conns[conn]
				c.conns[conn] = nil
				w.deliver(list)
			}
		}
		if !left {
			return
		}
		for w.append(nil) {
		}
		if w.core.parking.batches > 0 {
			w.tick()
		}
	}
	w.t.Fatal("no end")
}

// check holds what clients were told to what the log holds.
func (w *overtakers) check(seed uint64) {
	total := record.Offset(0)
	for p := range w.view.state.topics[topicNumber(1)].parts {
		total += w.view.state.topics[topicNumber(1)].parts[p].highWatermark
	}
	if total != w.records {
		w.t.Fatalf("seed %d: %d records in the log, %d were written", seed, total, w.records)
	}
	for _, c := range w.clients {
		last := record.Offset(-1)
		seq := []int32{0, 1 << 20, math.MaxInt32 - 200, math.MaxInt32}[c.id]
		for range len(c.at) {
			at, ok := c.at[seq]
			if !ok || at <= last {
				w.t.Fatalf("seed %d: producer %d: sequence %d lies at %d (known: %v), the one before at %d", seed, c.id, seq, at, ok, last)
			}
			last = at
			seq = w.following(c, seq)
		}
	}
	if len(w.core.parking.waiting) != 0 || w.core.parking.batches != 0 {
		w.t.Fatalf("seed %d: %+v is left", seed, w.core.parking)
	}
}

// following finds the next batch's sequence, which lies one to three ahead.
func (w *overtakers) following(c *overtaking, seq int32) int32 {
	for n := int32(1); n <= 3; n++ {
		next := lastSequence(seq, n+1)
		if _, ok := c.at[next]; ok {
			return next
		}
	}
	return -1
}
