package sim

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/compactor"
	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

// agent is one process: the real parts, and what drives them. Events of the sequencer's core and of the batcher's core are taken one
// at a time; whatever may wait is a task.
type agent struct {
	w    *world
	n    int
	rng  *rand.Rand // of its ids
	skew int64      // of its clock, milliseconds
	zone string
	old  bool // of the level before clusters

	paused bool // it takes no step at all until it wakes
	wakeAt int64
	gone   bool // killed
	ready  bool // takes requests
	ended  bool // its sequencer has ended

	stopping bool // it was told to stop
	sealed   bool // its session was, by others

	tasks  []*task
	timers []*timer

	store   objectstore.Store
	log     *recordedLog
	view    *metadata.View
	seq     *sequencer // of the agent's term; nil while it has none
	node    *node      // of an agent in a cluster
	serving []*call    // of other agents
	session metadata.SessionID

	batches *batches
	reader  *fetch.Reader
	worker  *compactor.Compactor
	polls   []*poll      // that wait for the reader
	groups  *coordinator // of an agent in a cluster with groups
}

func (a *agent) label() string {
	if a == nil {
		return "the world"
	}
	return fmt.Sprintf("agent %d", a.n)
}

// boot makes an agent whose start is its first task.
func (w *world) boot() {
	w.born++
	a := &agent{w: w, n: w.born, rng: rand.New(rand.NewPCG(w.rng.Uint64(), uint64(w.born))), view: metadata.NewView()}
	if m := w.profile.skew; m > 0 {
		a.skew = w.rng.Int64N(2*m+1) - m
	}
	retries := objectstore.RetryConfig{
		Attempts: w.profile.attempts, HedgeDelay: -1, Budget: 24 * time.Hour, AttemptTimeout: 24 * time.Hour, BaseDelay: 1, MaxDelay: 1,
	}
	gate := &gate{w: w, a: a, inner: w.torn}
	a.store = objectstore.WithRetry(gate, retries, a.now, rand.New(rand.NewPCG(a.rng.Uint64(), 0)), w.discard)
	log, err := bucketlog.New(a.store, bucketlog.Config{Prefix: logShard, SlotLife: slotLife, ReadAhead: 1, KeepSnapshots: 2}, a.id16, w.discard)
	if err != nil {
		w.fault("rest", "bucket log: %v", err)
	}
	a.log = &recordedLog{Log: log, w: w, agent: a.n}
	w.agents = append(w.agents, a)
	w.counts["agents started"]++
	w.note("boot", a.label(), a.skew)
	if w.kind != Single {
		a.zone = zone(w.rng.IntN(w.profile.zones))
		a.old = w.profile.old && !w.calm && w.oracle.view.Level() < metadata.MaxLevel && w.rng.IntN(2) == 0
	}
	if w.kind == Single || a.old {
		w.spawn(a, "start", a.start)
		return
	}
	w.spawn(a, "start", a.enter)
}

func (a *agent) now() time.Time { return time.UnixMilli(a.w.now + a.skew) }

func (a *agent) id16() (id [16]byte) {
	for i := range id {
		id[i] = byte(a.rng.Uint32())
	}
	return id
}

func (a *agent) name() string {
	id := a.id16()
	return hex.EncodeToString(id[:8])
}

// start is what barge.Agent does from taking the log to taking requests.
func (a *agent) start(*task) {
	ctx := a.w.ctx
	start, err := metadata.TakeOver(ctx, a.log, a.view, a.label(), 0, a.w.sleep, a.w.discard)
	if err != nil {
		if corrupt(err) {
			a.w.fault("rest", "%s can not take the log over: %v", a.label(), err)
		}
		a.w.kill(a)
		return
	}
	a.w.saw(a.view, fmt.Sprintf("replay of agent %d from entry %d", a.n, start.SnapshotSeq))
	if start.SnapshotSeq > 0 {
		a.w.counts["starts from a snapshot"]++
	}
	cfg := metadata.SequencerConfig{Owner: a.label(), CheckpointEntries: a.w.profile.checkpoint, EntryCommands: a.w.profile.entryCommands}
	a.seq = &sequencer{a: a, core: metadata.NewSequencerCore(cfg, a.view, a.id16, start), over: a.end}
	for _, s := range a.view.Sessions() {
		if s.Sealed {
			continue
		}
		if _, err := a.Do(ctx, metadata.SealSession{Session: s.ID}); err != nil {
			return
		}
	}
	opened, err := metadata.Ask[metadata.OpenSessionResult](ctx, a, metadata.OpenSession{Agent: metadata.AgentInfo{Address: a.label(), Level: metadata.MaxLevel}})
	if err != nil {
		return
	}
	a.session = opened.Session
	if _, err := a.Do(ctx, metadata.RaiseLevel{Level: metadata.MaxLevel}); err != nil {
		return
	}
	for _, t := range a.w.wanted {
		if _, ok := a.view.Topic(t.name); !ok {
			if _, err := a.Do(ctx, metadata.CreateTopic{ID: a.topicID(), Name: t.name, Partitions: t.partitions, Configs: t.configs}); err != nil {
				return
			}
		}
	}
	if err := a.assemble(); err != nil {
		a.w.fault("rest", "%s: %v", a.label(), err)
		return
	}
	a.ready = true
	a.w.spawn(a, "compactor", a.work)
	a.w.spawn(a, "reader", a.read)
}

func (a *agent) topicID() [16]byte {
	id := a.id16()
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// assemble makes the parts of an agent that has a session.
func (a *agent) assemble() error {
	store := a.log.WithInline(a.store)
	readerConfig := fetch.DefaultConfig()
	readerConfig.PartitionReads = 1
	readerConfig.CatchUp = a.confirm
	readerConfig.Clock = worldClock{a}
	if p := &a.w.profile; a.node != nil {
		readerConfig.Zone = zoneMates{a}
		readerConfig.WholeObjectBytes, readerConfig.CellBytes, readerConfig.OwnerWait = p.whole, p.cell, p.ownerWait
	}
	if !a.w.profile.caches {
		readerConfig.TailBytes, readerConfig.ObjectBytes, readerConfig.FileBytes = 0, 0, 0
	}
	var err error
	if a.reader, err = fetch.New(readerConfig, a.view, seenReads{store, a}, a.open, slog.New(alarm{a})); err != nil {
		return err
	}
	a.handOver()
	return a.serve()
}

// alarm is a log handler that hears of panics in reads, which are no answer to anything.
type alarm struct{ a *agent }

// Enabled implements slog.Handler.
func (h alarm) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

// Handle implements slog.Handler.
func (h alarm) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "panicked") && !h.a.gone {
		r.Attrs(func(at slog.Attr) bool {
			h.a.w.flaw("rest", "%s: read panicked: %s", h.a.label(), at.Value.String())
			return at.Key != "err"
		})
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h alarm) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h alarm) WithGroup(string) slog.Handler { return h }

// serve makes the parts that belong to a session.
func (a *agent) serve() error {
	store := a.log.WithInline(a.store)
	batcherConfig := batcher.Config{
		Session: a.session, Cluster: 1, FlushInterval: flushInterval, FlushBytes: flushBytes,
		InlineBytes: a.w.profile.inline, MaxUploads: a.w.profile.uploads, MaxCommits: a.w.profile.commits,
	}
	if err := batcherConfig.Validate(); err != nil {
		return err
	}
	a.batches = newBatches(a, batcherConfig)
	workConfig := compactor.DefaultConfig()
	workConfig.Session, workConfig.Cluster, workConfig.ReadAhead = a.session, cluster, 1
	workConfig.ReleaseGrace, workConfig.Retention = releaseGrace, retention
	workConfig.Sweep = compactor.SweepTimes{Again: sweepAgain, Last: sweepLast, Open: sweepOpen}
	workConfig.Limits = a.w.profile.limits
	workConfig.Limits.Interval = a.w.profile.interval
	if a.node != nil {
		workConfig.Share = compactor.Spread(a.node.members, a.session)
	}
	a.worker = compactor.New(workConfig, a.view, a, store, a.now, a.name, a.w.discard)
	return a.coordinate()
}

// open opens a Parquet file as fetch.OpenParquet does, but gets it whole: reading ranges of it takes goroutines, which would step on
// each other here.
func (a *agent) open(ctx context.Context, src fetch.RangeGetter, key string, size int64) (fetch.FileReader, error) {
	body, err := src.GetRange(ctx, key, 0, size)
	if err != nil {
		return nil, err
	}
	f, err := tableflow.OpenFile(ctx, inMemory(body), key, size)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// inMemory is one object that has been read.
type inMemory []byte

// GetRange implements tableflow.RangeReader.
func (m inMemory) GetRange(_ context.Context, key string, pos, length int64) ([]byte, error) {
	if pos < 0 || length < 0 || pos+length > int64(len(m)) {
		return nil, fmt.Errorf("get %s (%d bytes at %d of %d): %w", key, length, pos, len(m), io.ErrUnexpectedEOF)
	}
	return slices.Clone(m[pos : pos+length]), nil
}

// after brings fire in d of world time, unless the agent is killed before.
func (a *agent) after(d time.Duration, name string, fire func()) *timer {
	t := &timer{agent: a, at: a.w.now + d.Milliseconds(), name: name, fire: fire}
	a.timers = append(a.timers, t)
	return t
}

// end is what becomes of an agent whose sequencer is over: it answers who waits, and then it exits.
func (a *agent) end(err error) {
	a.w.note("sequencer ended", a.label(), 0)
	if errors.Is(err, metadata.ErrFenced) {
		a.w.counts["agents fenced"]++
	}
	if corrupt(err) {
		a.w.fault("rest", "the sequencer of %s ended: %v", a.label(), err)
	}
	a.ended = true
	a.after(time.Second, "exit", func() { a.w.kill(a) })
}

// stop is how barge.Agent ends when it is told to: no new requests, what waits is written, the session is sealed, a last checkpoint.
func (a *agent) stop() {
	a.ready, a.stopping = false, true
	a.w.counts["agents stopped"]++
	a.w.note("stop", a.label(), 0)
	for _, t := range a.tasks {
		if t.name == "compactor" {
			t.until = math.MaxInt64 // its context has ended; what it does is cut where it stands
		}
	}
	a.w.spawn(a, "stop", func(*task) {
		a.batches.core.Drain(a.now())
		a.batches.act()
		a.w.await(a.batches.core.Idle)
		if _, err := a.Do(a.w.ctx, metadata.SealSession{Session: a.session}); err == nil {
			a.seq.take(metadata.StopEvent{})
		}
	})
}

// submit hands in a command.
func (a *agent) submit(cmd metadata.Command, done func(metadata.Result, error)) {
	if a.node != nil {
		a.node.submit(cmd, done)
		return
	}
	a.seq.submit(cmd, done)
}

// ask puts the question whether the View is complete.
func (a *agent) ask(done func(error)) {
	if a.node != nil {
		a.node.ask(done)
		return
	}
	a.seq.ask(done)
}

// Do implements metadata.Doer for tasks.
func (a *agent) Do(_ context.Context, cmd metadata.Command) (metadata.Result, error) {
	var result metadata.Result
	var err error
	answered := false
	a.submit(cmd, func(r metadata.Result, e error) { result, err, answered = r, e, true }) //nolint:contextcheck // a world has no end from outside
	a.w.await(func() bool { return answered })
	return result, err
}

// confirm is Sequencer.Confirm for tasks.
func (a *agent) confirm(context.Context) error {
	var err error
	answered := false
	a.ask(func(e error) { err, answered = e, true }) //nolint:contextcheck // as above
	a.w.await(func() bool { return answered })
	return err
}

// work is the background work, round after round. Damage that it reports must be lasting: who does not know yet that a topic is deleted finds
// its table gone.
func (a *agent) work(*task) {
	damaged := 0
	for session := a.session; session == a.session && !a.sealed; {
		err := a.worker.Round(a.w.ctx)
		if err != nil {
			a.w.note("round", err.Error(), 0)
		}
		if damaged++; err == nil || !corrupt(err) || a.w.profile.torn > 0 || !a.current() {
			damaged = 0
		}
		if damaged > 0 && a.node == nil || damaged > 2 {
			a.w.flaw("rest", "background work of %s: %v", a.label(), err)
		}
		_ = a.w.sleep(a.w.ctx, a.w.profile.tick)
	}
}

// current tells whether the agent knows of the newest term, or in a cluster of the newest entry.
func (a *agent) current() bool {
	if a.node != nil {
		return a.view.Applied() == a.w.oracle.state.Next()
	}
	return a.seq.core.Term() >= a.w.oracle.term
}

// corrupt tells errors that no fault of this world explains: what is damaged here has a second copy.
func corrupt(err error) bool {
	return errors.Is(err, metadata.ErrCorrupt) || errors.Is(err, delta.ErrCorrupt) || errors.Is(err, fetch.ErrCorrupt)
}

// kill ends an agent wherever its tasks stand.
func (w *world) kill(a *agent) {
	if a.gone {
		return
	}
	a.gone, a.ready = true, false
	w.note("kill", a.label(), 0)
	w.agents = slices.DeleteFunc(w.agents, func(b *agent) bool { return a == b })
	w.graves = append(w.graves, a)
	silent := w.net != nil && w.net.dead[a.address()]
	if a.batches != nil && !silent {
		a.batches.hangUp()
	}
	for _, p := range a.polls {
		if !silent {
			p.lost()
		}
	}
	if w.net != nil {
		w.net.hangUp(a)
	}
	a.polls, a.timers = nil, nil
	w.groupsDue = 0
}

// bury unwinds the tasks of agents that were killed; not from inside one of them.
func (w *world) bury() {
	for _, a := range w.graves {
		for _, t := range a.tasks {
			before := w.running
			w.running = t
			t.stop()
			w.running = before
		}
		a.tasks = nil
	}
	w.graves = nil
}

// recordedLog keeps what a log was asked and answered.
type recordedLog struct {
	*bucketlog.Log
	w     *world
	agent int
}

// Acquire implements metadata.Log.
func (l *recordedLog) Acquire(ctx context.Context, owner string, unless uint64) (metadata.Acquired, error) {
	began := l.w.steps
	l.w.logged(LogCall{Op: LogTry, Agent: l.agent, Began: began})
	got, err := l.Log.Acquire(ctx, owner, unless)
	l.w.logged(LogCall{Op: LogAcquire, Agent: l.agent, Term: got.Term, Seq: got.Next, Began: began, OK: err == nil})
	return got, err
}

// Append implements metadata.Log.
func (l *recordedLog) Append(ctx context.Context, term, seq uint64, id [16]byte, body []byte) error {
	began := l.w.steps
	err := l.Log.Append(ctx, term, seq, id, body)
	l.w.logged(LogCall{
		Op: LogAppend, Agent: l.agent, Term: term, Seq: seq, Holds: holds(term, false, body), Began: began,
		OK: err == nil, Fenced: errors.Is(err, metadata.ErrFenced),
	})
	return err
}

// Confirm implements metadata.Log.
func (l *recordedLog) Confirm(ctx context.Context, term, next uint64) error {
	began := l.w.steps
	err := l.Log.Confirm(ctx, term, next)
	l.w.logged(LogCall{Op: LogConfirm, Agent: l.agent, Term: term, Seq: next, Began: began, OK: err == nil})
	return err
}

// Read implements metadata.Log.
func (l *recordedLog) Read(ctx context.Context, from uint64, maxBytes int) ([]metadata.LogEntry, error) {
	began := l.w.steps
	entries, err := l.Log.Read(ctx, from, maxBytes)
	c := LogCall{Op: LogRead, Agent: l.agent, Began: began, OK: err == nil}
	for _, e := range entries {
		c.Slots = append(c.Slots, LogSlot{Seq: e.Seq, Term: e.Term, Claim: e.Claim, Holds: holds(e.Term, e.Claim, e.Body)})
	}
	l.w.logged(c)
	return entries, err
}

func (w *world) logged(c LogCall) {
	c.Ended = w.steps
	w.hist.Log = append(w.hist.Log, c)
}
