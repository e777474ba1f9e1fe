// Package compactor turns WAL objects into Parquet files and Delta versions, and deletes what nobody refers to any more.
//
// Where many agents do so, they share the work by hash (Share), and claims in the log hold apart those who have not heard the
// same: WAL objects are regrouped by session, files and tables made by topic, the rest swept by one.
//
// Plan decides (pure); Run claims a job in the metadata log, reads each WAL object of its span once, writes one Parquet file
// for each topic that is due and one object with the rest, sorted by topic, and commits them with one Replace entry, the moment of
// truth. The committer then folds pending adds into the topic's Delta log and records that with a Projected entry. Objects
// that lost their last run are deleted after a grace, log starts move where retention wants it, and what was uploaded and never committed when its session can commit it no
// more.
//
// A failed job leaves the log as it was: its claim is given up and the work planned again. A Delta fault delays the table and
// nothing else.
package compactor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

// Levels of the log: from movesLevel on runs may move and sessions be forgotten, from unclaimedLevel on runs move without a claim of
// their topics, from logStartLevel on log starts move.
const (
	movesLevel     = 2
	unclaimedLevel = 3
	logStartLevel  = 4
)

// View is what the compactor reads of the metadata.
type View interface {
	Pending() []metadata.PendingTopic // without runs
	PendingRuns(ids ...record.TopicID) []metadata.PendingTopic
	Backlog() metadata.Backlog
	BacklogObjects(limit int, inline bool, wanted func(key string) bool) []metadata.BacklogObject
	RunsIn(objects map[string]bool) []metadata.PendingTopic
	Jobs() []metadata.Job
	Level() uint32
	PendingTables(after record.TopicID, limit int) []metadata.PendingTable // by id
	Released() []metadata.ReleasedObject
	Tombstones() []metadata.Topic
	Sessions() []metadata.Session // by id
	KnowsObject(key string) bool
	Expired(now int64, after record.TopicID, limit int) []record.TopicID // by id
}

// Config holds the compactor's settings.
type Config struct {
	Session      metadata.SessionID
	Cluster      string        // cluster id, part of the tables' application ids
	Tick         time.Duration // how often the plan is made from memory; nothing is requested when nothing is due
	ReleaseGrace time.Duration // between release and deletion of an object
	Sweep        SweepTimes
	Retention    time.Duration // how often it is looked for what retention lets go
	Limits       Limits
	CommitBudget int   // table commits per second in the whole cluster
	Decompressed int64 // cap on one batch, bytes
	ReadAhead    int   // WAL objects read, files written, and tables committed to, at once; 1: a round starts no goroutine
	Fence        bool  // keep foreign writers off by a private writer feature
	Share        Share // nil: all work is this agent's
}

// DefaultConfig returns the design's settings; Session and Cluster are the caller's to fill in.
func DefaultConfig() Config {
	return Config{
		Tick:         500 * time.Millisecond,
		ReleaseGrace: 10 * time.Minute,
		Sweep:        SweepTimes{Again: time.Hour, Last: 24 * time.Hour, Open: time.Hour},
		Retention:    5 * time.Minute,
		Limits:       DefaultLimits(),
		CommitBudget: 20,
		Decompressed: record.DefaultLimits().Decompressed,
		ReadAhead:    4,
		Fence:        true,
	}
}

// Stats counts what the compactor did since it was made.
type Stats struct {
	Jobs, FailedJobs, Files, Rows, TableCommits, FailedTableCommits, ObjectsDeleted, Rounds int64
	ObjectsSwept                                                                            int64 // that were never committed
	ObjectsMoved, BytesMoved                                                                int64 // regrouped objects written
	SessionsForgotten                                                                       int64
	LogStartsMoved                                                                          int64 // by retention
}

// Compactor runs one agent's background jobs. Make it with New, run it with Run; Stats is safe for concurrent use.
type Compactor struct {
	cfg    Config
	view   View
	log    metadata.Doer
	store  objectstore.Store
	now    func() time.Time
	random func() string // a fresh name for an object or a Delta transaction, never repeated
	logger *slog.Logger

	// Run's goroutine alone touches these.
	heads   headCache
	share   roundShare
	tokens  tokenBucket
	retry   backoffs
	sweeper sweeper
	expired time.Time // when retention was looked at last

	jobs, failedJobs, files, rows, tableCommits, failedTableCommits, objectsDeleted, rounds atomic.Int64
	objectsSwept, objectsMoved, bytesMoved, sessionsForgotten, logStartsMoved               atomic.Int64
}

// New makes a compactor; nothing starts.
func New(cfg Config, view View, log metadata.Doer, store objectstore.Store, now func() time.Time, random func() string, logger *slog.Logger) *Compactor {
	return &Compactor{
		cfg: cfg, view: view, log: log, store: store, now: now, random: random, logger: logger,
		heads:   newHeadCache(headCacheBytes),
		retry:   backoffs{},
		sweeper: sweeper{done: map[metadata.SessionID]swept{}},
		tokens:  newTokenBucket(cfg.CommitBudget),
	}
}

// Stats returns the counters.
func (c *Compactor) Stats() Stats {
	return Stats{
		Jobs: c.jobs.Load(), FailedJobs: c.failedJobs.Load(), Files: c.files.Load(), Rows: c.rows.Load(),
		TableCommits: c.tableCommits.Load(), FailedTableCommits: c.failedTableCommits.Load(),
		ObjectsDeleted: c.objectsDeleted.Load(), Rounds: c.rounds.Load(),
		ObjectsSwept: c.objectsSwept.Load(), ObjectsMoved: c.objectsMoved.Load(), BytesMoved: c.bytesMoved.Load(),
		SessionsForgotten: c.sessionsForgotten.Load(), LogStartsMoved: c.logStartsMoved.Load(),
	}
}

// Run works until ctx ends and returns nil then, or ErrFenced when another agent owns the log.
func (c *Compactor) Run(ctx context.Context) error {
	timer := time.NewTicker(c.cfg.Tick)
	defer timer.Stop()
	for {
		err := c.Round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // the round was cut by the stop that was asked for
		case errors.Is(err, metadata.ErrFenced):
			return err
		case err != nil:
			c.logger.WarnContext(ctx, "background work failed; it is tried again, later each time", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

// Round does everything that is due, once. What fails waits for its next try alone and keeps nothing else from its turn; the
// errors are joined. With Config.ReadAhead 1 it starts no goroutine. Not safe for concurrent use, nor beside Run.
func (c *Compactor) Round(ctx context.Context) error {
	defer c.rounds.Add(1)
	c.share = shareOf(c.cfg.Share)
	errs := []error{c.compact(ctx), c.project(ctx)}
	if c.share.mine(sweepWork) {
		errs = append(errs, c.patiently(ctx, "released objects", c.deleteReleased))
	}
	errs = append(errs, c.patiently(ctx, "sweep", c.sweep), c.patiently(ctx, "retention", c.retain))
	return errors.Join(append(errs, c.dropTables(ctx))...)
}

// patiently does a piece of work unless its last failure was too short a while ago.
func (c *Compactor) patiently(ctx context.Context, work string, do func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !c.retry.ready(work, c.now()) {
		return nil
	}
	return c.retry.done(work, c.now(), do(ctx))
}

// regroupWork names regrouping among the pieces of work that wait after a failure; an object that could not be read is one, too.
const regroupWork = "regroup"

func jobOf(t metadata.Topic) string { return "job " + t.ID.Hex() }

func objectOf(key string) string { return "object " + key }

func (c *Compactor) compact(ctx context.Context) error {
	now := c.now()
	c.tokens.refill(now, c.share.agents)
	if err := c.releaseOwn(ctx); err != nil {
		return err
	}
	pending := c.view.Pending()
	waiting := pending
	if len(c.retry) > 0 || !c.share.alone() {
		waiting = make([]metadata.PendingTopic, 0, len(pending)/c.share.agents+1)
		for _, p := range pending {
			if c.share.mineTopic(p.Topic.ID) && c.retry.ready(jobOf(p.Topic), now) {
				waiting = append(waiting, p)
			}
		}
	}
	budget := c.tokens.grant()
	due := Due(waiting, now.UnixMilli(), budget, c.cfg.Limits)
	// The objects of this agent's sessions hold up topics of others, too.
	somebody := len(due) > 0 || !c.share.alone() && anyDue(pending, now.UnixMilli(), budget, c.cfg.Limits)
	span := c.span(somebody, now)
	ids := make([]record.TopicID, 0, len(due))
	for _, p := range due {
		ids = append(ids, p.Topic.ID)
	}
	for _, id := range dueInSpan(span, c.cfg.Limits) {
		if slices.ContainsFunc(waiting, func(p metadata.PendingTopic) bool { return p.Topic.ID == id }) {
			ids = append(ids, id)
		}
	}
	var errs []error
	for _, job := range Plan(c.view.PendingRuns(ids...), span, !c.share.alone(), c.cfg.Limits) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, c.attempt(ctx, job))
	}
	return errors.Join(errs...)
}

// releaseOwn gives up claims of this session that a job left behind: one whose release failed, or whose Replace was not
// answered. Replace takes effect before its claim is given up or never, so nothing is undone.
func (c *Compactor) releaseOwn(ctx context.Context) error {
	for _, j := range c.view.Jobs() {
		if j.Session != c.cfg.Session {
			continue
		}
		if _, err := c.log.Do(ctx, metadata.ReleaseJob{Job: j.ID}); err != nil {
			return fmt.Errorf("give up job %d: %w", j.ID, err)
		}
	}
	return nil
}

// span collects what this agent is to regroup now, without objects that could not be read a short while ago.
func (c *Compactor) span(due bool, now time.Time) Span {
	level := c.view.Level()
	if level < movesLevel || !c.retry.ready(regroupWork, now) {
		return Span{}
	}
	backlog := c.view.Backlog()
	scope := Regroup(backlog, due, now.UnixMilli(), c.cfg.Limits)
	if scope == ScopeNone {
		return Span{}
	}
	var wanted func(key string) bool
	if !c.share.alone() {
		wanted = c.share.mineObject()
		backlog = summed(c.view.BacklogObjects(c.cfg.Limits.JobObjects, false, wanted))
		if scope = Regroup(backlog, due, now.UnixMilli(), c.cfg.Limits); scope == ScopeNone {
			return Span{}
		}
	}
	objects := c.view.BacklogObjects(c.cfg.Limits.JobObjects, scope == ScopeInline, wanted)
	objects = slices.DeleteFunc(objects, func(o metadata.BacklogObject) bool { return !c.retry.ready(objectOf(o.Key), now) })
	objects = cutObjects(objects, c.cfg.Limits)
	keys := make(map[string]bool, len(objects))
	for _, o := range objects {
		keys[o.Key] = true
	}
	return Span{Objects: objects, Topics: c.view.RunsIn(keys), Unclaimed: level >= unclaimedLevel}
}

// attempt runs a job. When its runs cannot be moved, the files are tried without. When one of several topics cannot be compacted
// (a damaged object, say), the others get their turn alone, at the price of reading shared objects again; a file that would be
// more than readers take is tried with half of the runs; a store that does not answer is not asked for each topic.
func (c *Compactor) attempt(ctx context.Context, job Job) error {
	err := c.runJob(ctx, job)
	now := c.now()
	switch {
	case err == nil:
		c.succeeded(&job)
		return nil
	case errors.Is(err, errElsewhere):
		// No mistake, and nothing was read. The View has moved on by the time of the next plan, or does so soon.
		c.logger.DebugContext(ctx, "compaction left to another agent", "topics", len(job.Topics), "err", err)
		for _, t := range job.Topics {
			c.retry.hold(jobOf(t.Topic), now)
		}
		if len(job.Topics) == 0 {
			c.retry.hold(regroupWork, now)
		}
		return nil
	}
	c.failedJobs.Add(1)
	if in, ok := errors.AsType[*inputError](err); ok && !affectsAll(err) {
		_ = c.retry.done(objectOf(in.key), now, err)
	}
	if len(job.Moved) > 0 {
		_ = c.retry.done(regroupWork, now, err)
	}
	if less, ok := smaller(job); ok && (errors.Is(err, tableflow.ErrTooManyRowGroups) || errors.Is(err, tableflow.ErrTooLarge)) {
		return c.attempt(ctx, less) // what is left out is due again next time
	}
	stale := errors.Is(err, metadata.ErrStaleClaim) || errors.Is(err, metadata.ErrStaleInput) // the plan was made from an old View
	several := len(job.Topics) > 1 || len(job.Topics) == 1 && len(job.Moved) > 0
	if !several || stale || ctx.Err() != nil || affectsAll(err) {
		for _, t := range job.Topics {
			_ = c.retry.done(jobOf(t.Topic), now, err)
		}
		return err
	}
	if len(job.Moved) > 0 {
		return errors.Join(err, c.attempt(ctx, filesJob(job.Topics)))
	}
	errs := []error{err}
	for _, t := range job.Topics {
		errs = append(errs, c.attempt(ctx, filesJob([]TopicJob{t})))
	}
	return errors.Join(errs...)
}

func (c *Compactor) succeeded(job *Job) {
	c.jobs.Add(1)
	for _, t := range job.Topics {
		_ = c.retry.done(jobOf(t.Topic), c.now(), nil)
		if t.Topic.TableEnabled() {
			c.tokens.take(1)
		}
	}
	for _, o := range job.Objects {
		_ = c.retry.done(objectOf(o.Key), c.now(), nil)
	}
	if len(job.Moved) > 0 {
		_ = c.retry.done(regroupWork, c.now(), nil)
	}
}

// affectsAll tells faults of the store or the log as a whole from those of a topic.
func affectsAll(err error) bool {
	for _, whole := range []error{
		metadata.ErrFenced, metadata.ErrUnavailable, metadata.ErrSessionSealed,
		objectstore.ErrUnknown, objectstore.ErrDenied, objectstore.ErrNoBucket, objectstore.ErrFull,
	} {
		if errors.Is(err, whole) {
			return true
		}
	}
	return false
}

// tokenBucket meters table commits by the injected clock, over a minute. Once it is empty it grants nothing before it is half full: topics
// that wait for the budget then share a job each half minute instead of one each a tick.
type tokenBucket struct {
	perSecond, burst, have float64
	last                   time.Time
	shut                   bool
}

// budgetPeriod is how long the budget is saved up for, in seconds.
const budgetPeriod = 60

func newTokenBucket(perSecond int) tokenBucket {
	return tokenBucket{perSecond: float64(perSecond)}
}

// refill adds what the time since the last one is worth. The budget is the cluster's: each of agents has its part of it.
func (b *tokenBucket) refill(now time.Time, agents int) {
	perSecond := b.perSecond / float64(agents)
	b.burst = budgetPeriod * perSecond
	if b.last.IsZero() {
		b.have = b.burst
	} else if d := now.Sub(b.last); d > 0 {
		b.have += d.Seconds() * perSecond
	}
	b.have = min(b.burst, b.have)
	b.last = now
}

// grant is how many commits may be made now.
func (b *tokenBucket) grant() int {
	if b.shut = b.shut && b.have < b.burst/2; b.shut {
		return 0
	}
	return int(b.have)
}

func (b *tokenBucket) take(n int) {
	b.have = max(0, b.have-float64(n))
	b.shut = b.shut || b.have < 1
}
