package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/bargedata/barge/compactor"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// worker is an agent that compacts: the real planner, and in the place of its jobs what they would tell the log. A job
// takes the time of reading and writing its bytes; what it does to the state it does at its beginning.
type worker struct {
	c       *cluster
	session metadata.SessionID
	mine    func(work string) bool // its share of the work; nil: all
	share   float64                // of the budget of table commits
	limits  compactor.Limits
	add     []byte
	names   int

	planned  int64             // when it last planned
	release  metadata.JobID    // of a job that came to nothing, 0: none
	jobs     []compactor.Job   // planned; the first one is under way when there is a replace
	replace  *metadata.Replace // of it
	waiting  bool              // for the log
	busy     int64             // until then, microseconds
	tokens   float64
	refilled int64

	// What came of it.
	idleTicks, dueTicks []int64 // CPU of planning, nanoseconds: with nothing to do, and with jobs
	done, files, moved  int64
	failed              int64 // jobs that another one was faster than
	readBytes           int64 // of WAL objects, sorted ones included
	tableCommits        int64
	planning            int64 // CPU, nanoseconds
	worked              int64 // virtual time of reading and writing, microseconds
}

const (
	commitBudget = 20 // table commits per second, as compactor.DefaultConfig has it
	budgetSaved  = 60 // seconds
	releaseGrace = 10 * time.Minute
	addBytes     = 600 // of a Delta add action with statistics
)

// newWorkers makes the agents that compact, which are the first so many. Their share is what compactor.Spread gives them.
func newWorkers(c *cluster) []*worker {
	if c.cfg.CompactRate == 0 {
		return nil
	}
	add := bytes.Repeat([]byte{'x'}, addBytes)
	able := c.members[:c.cfg.Compactors]
	workers := make([]*worker, c.cfg.Compactors)
	for i := range workers {
		w := &worker{c: c, session: metadata.SessionID(i + 1), share: 1 / float64(len(workers)), limits: compactor.DefaultLimits(), add: add, refilled: c.now}
		w.mine, _ = compactor.Spread(func() routing.Members { return able }, w.session)()
		w.tokens = commitBudget * budgetSaved * w.share
		w.planned = c.now + int64(i)*tick.Microseconds()/int64(len(workers))
		workers[i] = w
	}
	return workers
}

// due is when the worker has something to do: the end of a job, or the next tick.
func (w *worker) due() int64 {
	switch {
	case w.waiting:
		return math.MaxInt64 // the log's answer comes first
	case len(w.jobs) > 0 || w.release != 0:
		return w.busy
	}
	return max(w.planned+tick.Microseconds(), w.busy)
}

// work does what is due: ends a job, begins the next one, or plans.
func (w *worker) work(ctx context.Context) {
	switch {
	case w.release != 0:
		w.giveUp(ctx)
	case w.replace != nil:
		w.end(ctx)
	case len(w.jobs) > 0:
		w.begin(ctx, w.jobs[0])
	default:
		w.round(ctx)
	}
}

// round is a tick of the compactor.
func (w *worker) round(ctx context.Context) {
	now := w.c.now
	w.tokens = min(commitBudget*budgetSaved*w.share, w.tokens+commitBudget*w.share*float64(now-w.refilled)/1e6)
	w.refilled, w.planned = now, now
	took := timed(func() { w.jobs = w.plan() })
	w.planning += int64(took)
	if len(w.jobs) == 0 {
		w.idleTicks = append(w.idleTicks, int64(took))
	} else {
		w.dueTicks = append(w.dueTicks, int64(took))
	}
	before := cpuTime()
	w.project(ctx)
	if w.has("sweep") {
		w.forget(ctx)
	}
	w.c.sums.sequencing += int64(cpuTime() - before)
}

// has tells whether a piece of work is this agent's.
func (w *worker) has(work string) bool { return w.mine == nil || w.mine(work) }

func (w *worker) hasTopic(id record.TopicID) bool {
	return w.has(compactor.TopicWork(id, w.c.cfg.Compactors))
}

// hasObjects is has for objects of the backlog, by their keys.
func (w *worker) hasObjects() func(key string) bool {
	if w.mine == nil {
		return nil
	}
	sessions := map[uint64]bool{}
	return func(key string) bool {
		k, _ := record.ParseObjectKey(key)
		mine, known := sessions[k.Session]
		if !known {
			mine = w.mine("spans/" + strconv.FormatUint(k.Session, 10))
			sessions[k.Session] = mine
		}
		return mine
	}
}

// plan is what compactor.Round does before its first job.
func (w *worker) plan() []compactor.Job {
	view, now := w.c.view, w.c.millis()
	pending := view.Pending()
	waiting := slices.DeleteFunc(slices.Clone(pending), func(p metadata.PendingTopic) bool { return !w.hasTopic(p.Topic.ID) })
	due := compactor.Due(waiting, now, int(w.tokens), w.limits)
	somebody := len(due) > 0 || w.mine != nil && len(compactor.Due(pending, now, int(w.tokens), w.limits)) > 0
	var span compactor.Span
	if scope := compactor.Regroup(view.Backlog(), somebody, now, w.limits); scope != compactor.ScopeNone {
		span.Objects = w.objects(view.BacklogObjects(w.limits.JobObjects, scope == compactor.ScopeInline, w.hasObjects()), somebody, now)
		keys := map[string]bool{}
		for _, o := range span.Objects {
			keys[o.Key] = true
		}
		if len(keys) > 0 {
			span.Topics, span.Unclaimed = view.RunsIn(keys), view.Level() >= 3
		}
	}
	ids := make([]record.TopicID, 0, len(due))
	for _, p := range due {
		ids = append(ids, p.Topic.ID)
	}
	for _, p := range span.Topics {
		if p.Bytes >= w.limits.SmallBytes && w.hasTopic(p.Topic.ID) {
			ids = append(ids, p.Topic.ID)
		}
	}
	return compactor.Plan(view.PendingRuns(ids...), span, w.mine != nil, w.limits)
}

// objects cuts a span to what one job may regroup; none, if that is not worth a job yet.
func (w *worker) objects(all []metadata.BacklogObject, due bool, now int64) []metadata.BacklogObject {
	backlog, runs := metadata.Backlog{}, 0
	for i, o := range all {
		if i > 0 && (backlog.Bytes+o.Size > w.limits.JobBytes || runs+o.Runs > w.limits.JobRuns) {
			all = all[:i]
			backlog.Bytes = w.limits.JobBytes // there is more than one job's
			break
		}
		backlog.Bytes += o.Size
		runs += o.Runs
	}
	if len(all) > 0 {
		backlog.Oldest = all[0].CommittedAt
	}
	if w.mine != nil && compactor.Regroup(backlog, due, now, w.limits) == compactor.ScopeNone {
		return nil
	}
	return all
}

// begin claims a job. Its replace is due when its bytes have been read and written.
func (w *worker) begin(ctx context.Context, job compactor.Job) {
	claim := metadata.ClaimJob{Session: w.session, Topics: job.Claims()}
	for _, t := range job.Topics {
		claim.Outputs = append(claim.Outputs, t.Topic.TableDir+"/_data/"+w.name()+".parquet")
	}
	if len(job.Moved) > 0 {
		claim.Outputs = append(claim.Outputs, record.SortedObjectKey(uint64(w.session), w.name()))
	}
	w.submit(ctx, claim, func(r metadata.Result) error {
		res, _ := r.(metadata.ClaimJobResult)
		if errors.Is(res.Err, metadata.ErrTopicClaimed) {
			w.jobs = w.jobs[1:]
			w.failed++
			return nil
		}
		if res.Err != nil {
			return fmt.Errorf("claim: %w", res.Err)
		}
		w.claimed(job, claim.Outputs, res.Job)
		return nil
	})
}

// claimed prepares what the end of a job says.
func (w *worker) claimed(job compactor.Job, outputs []string, id metadata.JobID) {
	w.replace = &metadata.Replace{Job: id}
	bytes := int64(0)
	for i := range job.Topics {
		f, n := w.file(&job.Topics[i], outputs[i])
		w.replace.Files = append(w.replace.Files, f)
		bytes += n
	}
	if len(job.Moved) > 0 {
		var n int64
		w.replace.Moved, n = w.move(job.Moved, outputs[len(job.Topics)])
		bytes += n
	}
	read := int64(0)
	for _, o := range job.Objects {
		read += int64(o.Size)
	}
	for _, r := range job.Ranges {
		read += int64(r.Len)
	}
	w.done++
	w.files += int64(len(w.replace.Files))
	w.moved += int64(len(job.Moved))
	w.readBytes += read
	w.tokens = max(0, w.tokens-float64(len(w.replace.Files)))
	took := 1e6 * (read + bytes) / w.c.cfg.CompactRate
	w.busy = w.c.now + took
	w.worked += took
}

// end says that a job is done.
func (w *worker) end(ctx context.Context) {
	w.submit(ctx, *w.replace, func(r metadata.Result) error {
		res, _ := r.(metadata.ReplaceResult)
		if errors.Is(res.Err, metadata.ErrStaleInput) {
			w.release = w.replace.Job
			w.failed++
		} else if res.Err != nil {
			return fmt.Errorf("replace: %w", res.Err)
		}
		w.jobs, w.replace = w.jobs[1:], nil
		return nil
	})
}

// giveUp releases the claim of a job that came to nothing.
func (w *worker) giveUp(ctx context.Context) {
	w.submit(ctx, metadata.ReleaseJob{Job: w.release}, func(metadata.Result) error {
		w.release = 0
		return nil
	})
}

// submit waits for the answer before anything else is done. Encoding a command is the work of the agent that compacts, and so
// no part of the sequencer's.
func (w *worker) submit(ctx context.Context, cmd metadata.Command, check func(metadata.Result) error) {
	if !w.c.core.Room() {
		w.busy = w.c.now + 10_000
		return
	}
	w.waiting = true
	w.c.submit(ctx, cmd, func(r metadata.Result) error {
		w.waiting = false
		return check(r)
	})
}

func (w *worker) name() string {
	w.names++
	return fmt.Sprintf("%08x%024x", w.session, w.names)
}

// file is the Parquet file of a topic: two bytes in three of what it was.
func (w *worker) file(t *compactor.TopicJob, key string) (metadata.NewFile, int64) {
	f := metadata.NewFile{Topic: t.Topic.ID, Key: key, Add: w.add}
	bytes := int64(0)
	for i, part := range t.Parts {
		fp := metadata.FilePart{Partition: part.Partition, Base: part.Base, End: part.Runs[len(part.Runs)-1].End, RowGroup: int32(i), RowGroups: 1}
		fp.Rows = int64(fp.End - fp.Base)
		for _, r := range part.Runs {
			bytes += int64(r.Len)
			fp.MaxTimestamp = max(fp.MaxTimestamp, r.MaxTimestamp)
		}
		f.Rows += fp.Rows
		f.Parts = append(f.Parts, fp)
	}
	f.Size = record.Len(bytes * 2 / 3)
	return f, bytes
}

// move is the object that takes the rest.
func (w *worker) move(groups []compactor.MovedGroup, key string) (*metadata.MovedObject, int64) {
	m := &metadata.MovedObject{Key: key}
	pos := record.Pos(64)
	bytes := int64(0)
	for _, g := range groups {
		first, last := g.Runs[0], g.Runs[len(g.Runs)-1]
		r := metadata.MovedRun{Partition: g.Partition, Base: first.Base, End: last.End, Pos: pos}
		for i := range g.Runs {
			r.Len += g.Runs[i].Len
			r.MaxTimestamp = max(r.MaxTimestamp, g.Runs[i].MaxTimestamp)
		}
		pos += record.Pos(r.Len)
		bytes += int64(r.Len)
		m.Runs = append(m.Runs, r)
	}
	m.Size = record.Len(pos) + record.Len(48*len(m.Runs))
	return m, bytes
}

// project says of every table that its adds are in its next version.
func (w *worker) project(ctx context.Context) {
	var after record.TopicID
	for {
		page := w.c.view.PendingTables(after, 64)
		if len(page) == 0 {
			return
		}
		for _, p := range page {
			if !w.c.core.Room() {
				return // the next round goes on
			}
			after = p.Topic.ID
			if !w.has(after.Hex()) {
				continue
			}
			w.tableCommits++
			w.c.submit(ctx, metadata.Projected{Topic: p.Topic.ID, Version: p.Version + 1, UpTo: p.Adds[len(p.Adds)-1].Seq}, func(r metadata.Result) error {
				if res, _ := r.(metadata.ProjectedResult); !errors.Is(res.Err, metadata.ErrStaleInput) {
					return res.Err
				}
				return nil // said in the round before, and not answered yet
			})
		}
	}
}

// forget says of objects whose grace is over that they are deleted.
func (w *worker) forget(ctx context.Context) {
	keys := compactor.DueForDeletion(w.c.view.Released(), w.c.millis(), releaseGrace, nil)
	if len(keys) == 0 || !w.c.core.Room() {
		return
	}
	w.c.submit(ctx, metadata.ForgetObjects{Keys: slices.Clone(keys)}, nil)
}
