package compactor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

const (
	maxObject    = 1 << 30 // bytes; far above what a batcher writes
	releaseLimit = 10 * time.Second
	addLimit     = 4 << 10 // bytes of a Delta add in a log entry
)

// errElsewhere: another agent has the work, or it is gone; the View had not heard of it when the plan was made.
var errElsewhere = errors.New("done elsewhere")

// runJob claims, reads, writes and commits one job. Claimed output names are fresh, so a repeat after any failure writes
// other objects and the log decides which of them count.
func (c *Compactor) runJob(ctx context.Context, job Job) error {
	claim := metadata.ClaimJob{Session: c.cfg.Session, Topics: job.Claims()}
	for _, t := range job.Topics {
		claim.Outputs = append(claim.Outputs, t.Topic.TableDir+"/_data/"+c.random()+".parquet")
	}
	if len(job.Moved) > 0 {
		claim.Outputs = append(claim.Outputs, record.SortedObjectKey(uint64(c.cfg.Session), c.random()))
	}
	claimed, err := metadata.Ask[metadata.ClaimJobResult](ctx, c.log, claim)
	if err != nil {
		return fmt.Errorf("claim a compaction of %d topics: %w", len(claim.Topics), err)
	}
	if errors.Is(claimed.Err, metadata.ErrTopicClaimed) || errors.Is(claimed.Err, metadata.ErrUnknownTopic) {
		return fmt.Errorf("claim a compaction of %d topics: %w: %w", len(claim.Topics), errElsewhere, claimed.Err)
	}
	if claimed.Err != nil {
		return fmt.Errorf("claim a compaction of %d topics: %w", len(claim.Topics), claimed.Err)
	}
	replace, err := c.write(ctx, &job, claim.Outputs)
	if err != nil {
		c.releaseJob(ctx, claimed.Job)
		return fmt.Errorf("compaction job %d: %w", claimed.Job, err)
	}
	replace.Job = claimed.Job
	replaced, err := metadata.Ask[metadata.ReplaceResult](ctx, c.log, replace)
	if err != nil {
		if errors.Is(err, metadata.ErrInvalidCommand) {
			c.releaseJob(ctx, claimed.Job) // never taken in; any other outcome is unknown, and nothing may be undone
		}
		return fmt.Errorf("compaction job %d: replace: %w", claimed.Job, err)
	}
	if replaced.Err != nil {
		c.releaseJob(ctx, claimed.Job)
		return fmt.Errorf("compaction job %d: replace: %w", claimed.Job, replaced.Err)
	}
	for i, f := range replace.Files {
		c.files.Add(1)
		c.rows.Add(f.Rows)
		c.logger.InfoContext(ctx, "compacted", "topic", job.Topics[i].Topic.Name, "object", f.Key, "rows", f.Rows, "bytes", int64(f.Size))
	}
	if m := replace.Moved; m != nil {
		c.objectsMoved.Add(1)
		c.bytesMoved.Add(int64(m.Size))
		c.logger.InfoContext(ctx, "regrouped", "object", m.Key, "objects", len(job.Objects), "runs", len(m.Runs), "bytes", int64(m.Size))
	}
	return nil
}

// releaseJob gives a claim up, also when the agent is stopping, so that the topics can be planned again.
func (c *Compactor) releaseJob(ctx context.Context, job metadata.JobID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
	defer cancel()
	if _, err := c.log.Do(ctx, metadata.ReleaseJob{Job: job}); err != nil {
		c.logger.WarnContext(ctx, "job claim not released", "job", uint64(job), "err", err)
	}
}

// write writes the outputs under the claimed keys: one Parquet file a topic, then the regrouped object. Memory: what the job reads,
// and outputs, which together are no more.
func (c *Compactor) write(ctx context.Context, job *Job, outputs []string) (metadata.Replace, error) {
	var replace metadata.Replace
	in, err := c.read(ctx, job)
	if err != nil {
		return replace, err
	}
	replace.Files = make([]metadata.NewFile, len(job.Topics))
	err = forEach(ctx, c.cfg.ReadAhead, len(job.Topics), func(ctx context.Context, i int) (err error) {
		replace.Files[i], err = c.writeFile(ctx, &job.Topics[i], in, outputs[i])
		return err
	})
	if err != nil {
		return replace, err
	}
	if len(job.Moved) > 0 {
		replace.Moved, err = c.writeMoved(ctx, job.Moved, in, outputs[len(job.Topics)])
	}
	return replace, err
}

func (c *Compactor) writeFile(ctx context.Context, t *TopicJob, in *inputs, key string) (metadata.NewFile, error) {
	if ctx.Err() != nil {
		return metadata.NewFile{}, ctx.Err()
	}
	var out bytes.Buffer
	stats, err := writeTopic(&out, t, in, record.Limits{Decompressed: c.cfg.Decompressed})
	if err != nil {
		return metadata.NewFile{}, fmt.Errorf("write %s for topic %s: %w", key, t.Topic.Name, err)
	}
	if err := c.store.Put(ctx, key, out.Bytes()); err != nil {
		return metadata.NewFile{}, fmt.Errorf("put %s (%d bytes): %w", key, out.Len(), err)
	}
	return c.newFile(t, key, stats)
}

func writeTopic(out *bytes.Buffer, t *TopicJob, in *inputs, limits record.Limits) (tableflow.FileStats, error) {
	w := tableflow.NewWriter(out, tableflow.WriterConfig{})
	for _, part := range t.Parts {
		if err := w.StartPartition(part.Partition); err != nil {
			return tableflow.FileStats{}, err
		}
		for i := range part.Runs {
			if err := writeRun(w, &part.Runs[i], part.Base, in, limits); err != nil {
				return tableflow.FileStats{}, fmt.Errorf("partition %d, offsets %d to %d in %s: %w",
					part.Partition, part.Runs[i].Base, part.Runs[i].End, part.Runs[i].Key, err)
			}
		}
	}
	return w.Close()
}

// writeRun appends the rows of one run from an offset on.
func writeRun(w *tableflow.Writer, run *metadata.Run, from record.Offset, in *inputs, limits record.Limits) error {
	batches, err := in.batches(run)
	if err != nil {
		return err
	}
	next := run.Base
	for _, batch := range batches {
		var appendErr error
		err := batch.Each(limits, func(r *record.Record) bool {
			if r.Offset += next - batch.BaseOffset(); r.Offset >= from {
				appendErr = w.Append(r)
			}
			return appendErr == nil
		})
		if err := errors.Join(err, appendErr); err != nil {
			return fmt.Errorf("batch at offset %d: %w", next, err)
		}
		next += record.Offset(batch.OffsetCount())
	}
	return nil
}

// newFile describes a written file for the log. The parts' bounds are those of the runs, not of the rows: offsets without a
// row (none today, aborted ones later) belong to the part too.
func (c *Compactor) newFile(t *TopicJob, key string, stats tableflow.FileStats) (metadata.NewFile, error) {
	f := metadata.NewFile{Topic: t.Topic.ID, Key: key, Size: record.Len(stats.Size), Rows: stats.Rows}
	if len(stats.Parts) != len(t.Parts) {
		return f, fmt.Errorf("file %s has %d parts, want %d: %w", key, len(stats.Parts), len(t.Parts), metadata.ErrCorrupt)
	}
	for i, p := range stats.Parts {
		runs := t.Parts[i].Runs
		f.Parts = append(f.Parts, metadata.FilePart{
			Partition: p.Partition, Base: t.Parts[i].Base, End: runs[len(runs)-1].End,
			RowGroup: p.RowGroup, RowGroups: p.RowGroups, Rows: p.Rows, MaxTimestamp: p.MaxTimestamp,
		})
	}
	if !t.Topic.TableEnabled() {
		return f, nil
	}
	rel := strings.TrimPrefix(key, t.Topic.TableDir+"/")
	add, err := delta.EncodeAction(delta.NewAdd(rel, stats, c.now().UnixMilli()))
	if err != nil {
		return f, fmt.Errorf("delta add of %s: %w", path.Base(key), err)
	}
	if len(add) > addLimit {
		return f, fmt.Errorf("delta add of %s has %d bytes, more than the %d a log entry takes", key, len(add), addLimit)
	}
	f.Add = add
	return f, nil
}
