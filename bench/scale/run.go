package scale

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/bargedata/barge/bench"
	"github.com/bargedata/barge/metadata"
)

// repeats of what is short enough to be measured more than once.
const repeats = 5

func noSleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Run makes the load and measures. It takes a minute or two and as much memory as the cluster's state needs, twice.
func Run(ctx context.Context, cfg Config, parts bench.Parts) (Result, error) {
	r := Result{Scenario: "scale", Time: time.Now().UTC().Truncate(time.Second), Commit: parts.Commit, Version: parts.Version, Machine: bench.ThisMachine(), Config: cfg}
	if err := cfg.Validate(); err != nil {
		return r, err
	}
	err := r.run(ctx)
	r.Machine.LoadAfter = bench.ThisMachine().LoadBefore
	return r, err
}

func (r *Result) run(ctx context.Context) error {
	before := heapNow()
	var c *cluster
	var err error
	took := timed(func() { c, err = newCluster(ctx, r.Config) })
	if err != nil {
		return fmt.Errorf("make %d topics: %w", r.Config.Topics, err)
	}
	heap := heapNow() - before
	r.Empty = Empty{CreateSeconds: took.Seconds(), HeapMB: mega(heap), BytesPerPartition: float64(heap) / float64(r.Config.Partitions)}

	p := newProducing(c, r.route(c))
	workers := newWorkers(c)
	c.sums = sums{}
	virtual, full := c.run(ctx, p, workers)
	if err := errors.Join(c.failed, ctx.Err()); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if full {
		r.Notes = append(r.Notes, fmt.Sprintf("the load ended after %v: the heap was above %d MB", virtual, r.Config.HeapLimit>>20))
	}
	r.loaded(c, p, workers, virtual)
	c.settle(ctx)
	if err := r.answers(ctx, c); err != nil {
		return err
	}
	return r.recover(ctx, c, virtual)
}

// loaded takes down what the load came to.
func (r *Result) loaded(c *cluster, p *producing, workers []*worker, virtual time.Duration) {
	s, sec := &c.sums, virtual.Seconds()
	data := s.batches * p.batch
	backlog := c.view.Backlog()
	runs, files := c.count()
	r.Load = Load{
		Seconds: sec, EntriesPerSecond: float64(s.entries) / sec, BatchesPerSecond: float64(s.batches) / sec,
		LogMBPerSecond: mega(s.entryBytes) / sec, LogMBPerGB: mega(s.entryBytes) / (float64(max(data, 1)) / 1e9),
		LogBytesPerBatch: float64(s.entryBytes) / float64(max(s.batches, 1)), LargestEntryKB: float64(s.largestEntry) / 1e3,
		SequencerCores: float64(s.sequencing) / 1e9 / sec, BatchesPerCPUSecond: float64(s.batches) / (float64(s.sequencing) / 1e9),
		StalledFlushes: p.stalled, WaitingBatches: s.sent - s.batches, BacklogMB: mega(int64(backlog.Bytes)), BacklogObjects: backlog.Objects,
		Runs: runs, Files: files, ReleasedObjects: len(c.view.Released()),
	}
	if backlog.Oldest > 0 {
		r.Load.OldestSeconds = float64(c.millis()-backlog.Oldest) / 1e3
	}
	r.planned(workers, sec, data)
	r.Snapshot.PerMinute = float64(len(s.freezes)) * 60 / sec
}

// planned adds up what the workers did. Cores are those of all of them.
func (r *Result) planned(workers []*worker, seconds float64, data int64) {
	var idle, due []int64
	p := &r.Planner
	read := int64(0)
	for _, w := range workers {
		idle, due = append(idle, w.idleTicks...), append(due, w.dueTicks...)
		p.Cores += float64(w.planning) / 1e9 / seconds
		p.Jobs, p.Failed, p.Files, p.MovedRuns = p.Jobs+w.done, p.Failed+w.failed, p.Files+w.files, p.MovedRuns+w.moved
		p.TableCommits += w.tableCommits
		p.Busy = max(p.Busy, float64(w.worked)/1e6/seconds)
		read += w.readBytes
	}
	p.ReadTimes = float64(read) / float64(max(data, 1))
	p.IdleTickMillis, p.DueTickMillis = millis(time.Duration(median(idle))), millis(time.Duration(median(due)))
	if all := append(idle, due...); len(all) > 0 {
		p.WorstMillis = millis(time.Duration(slices.Max(all)))
	}
}

// count tells how many runs and files the state has.
func (c *cluster) count() (runs, files int64) {
	for _, t := range c.view.Topics() {
		files += int64(len(c.view.Files(t.ID)))
		for _, pt := range c.view.PendingRuns(t.ID) {
			for _, part := range pt.Partitions {
				runs += int64(len(part.Runs))
			}
		}
	}
	return runs, files
}

// recover measures snapshots of the state, then throws it away and makes it again from the log.
func (r *Result) recover(ctx context.Context, c *cluster, virtual time.Duration) error {
	var freezes, encodes []int64
	var body []byte
	for range repeats {
		began := cpuTime()
		_, encode := c.view.Freeze()
		frozen := cpuTime()
		body = encode()
		freezes, encodes = append(freezes, int64(frozen-began)), append(encodes, int64(cpuTime()-frozen))
	}
	r.Snapshot.MB = mega(int64(len(body)))
	r.Snapshot.FreezeMillis, r.Snapshot.EncodeMillis = millis(time.Duration(median(freezes))), millis(time.Duration(median(encodes)))

	with := heapNow()
	batches, entries := c.sums.batches, c.sums.entries
	log, next := c.log, c.view.Applied()
	c.view, c.core = metadata.NewView(), nil
	r.Load.HeapMB = mega(with - heapNow())

	var err error
	r.Snapshot.DecodeMillis = millis(medianOf(3, func() { _, err = metadata.DecodeState(body) }))
	if err != nil {
		return err
	}
	body = nil
	runtime.GC()
	newest, err := log.Newest(ctx)
	if err != nil {
		return err
	}
	took := timed(func() { err = c.takeOver(ctx) })
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if got := c.view.Applied(); got < next {
		return fmt.Errorf("recovered up to entry %d, not %d", got, next)
	}
	r.Recovery = Recovery{CPUSeconds: took.Seconds(), Entries: next - newest.SnapshotSeq}
	snapshot := timed(func() {
		if newest.HasSnapshot {
			_, err = metadata.DecodeState(newest.Snapshot)
		}
	})
	if err != nil {
		return err
	}
	r.Recovery.SnapshotSeconds = snapshot.Seconds()
	replayed, bytes, err := replayCost(ctx, log, newest)
	if err != nil {
		return err
	}
	r.Recovery.MB = mega(int64(len(newest.Snapshot)) + bytes)
	r.follow(replayed, float64(batches)/float64(max(entries, 1))*float64(r.Recovery.Entries), virtual)
	return nil
}

// follow derives what each agent has to do that hears all entries.
func (r *Result) follow(replayed time.Duration, batches float64, _ time.Duration) {
	f := &r.Follower
	f.MBPerSecond = r.Load.LogMBPerSecond
	f.BatchesPerCPUSecond = batches / replayed.Seconds()
	f.Cores = r.Load.BatchesPerSecond / f.BatchesPerCPUSecond
	f.DirectMBPerSecond = f.MBPerSecond * float64(r.Config.Agents-1)
	f.RelayedMBPerSecond = f.MBPerSecond * (float64(r.Config.Zones) - 1 + float64(r.Config.Agents)/float64(r.Config.Zones) - 1)
}

// replayCost is the CPU of decoding the entries after a snapshot and applying them to it, and their bytes.
func replayCost(ctx context.Context, log *metadata.MemoryLog, newest metadata.Acquired) (took time.Duration, bytes int64, err error) {
	state := metadata.NewState()
	if newest.HasSnapshot {
		if state, err = metadata.DecodeState(newest.Snapshot); err != nil {
			return 0, 0, err
		}
	}
	for state.Next() < newest.Next {
		entries, err := log.Read(ctx, state.Next(), 8<<20)
		if err != nil {
			return 0, 0, err
		}
		took += timed(func() {
			for _, le := range entries {
				var e metadata.Entry
				if e, err = metadata.DecodeLogEntry(le); err != nil {
					return
				}
				bytes += int64(len(le.Body))
				state.Apply(e)
			}
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return took, bytes, nil
}

func mega(n int64) float64 { return float64(n) / 1e6 }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
