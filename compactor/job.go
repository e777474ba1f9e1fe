package compactor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

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

// runJob claims, reads, writes and commits one job. Claimed output names are fresh, so a repeat after any failure writes
// other objects and the log decides which of them count.
func (c *Compactor) runJob(ctx context.Context, job Job) error {
	claim := metadata.ClaimJob{Session: c.cfg.Session}
	for _, t := range job.Topics {
		claim.Topics = append(claim.Topics, t.Topic.ID)
		claim.Outputs = append(claim.Outputs, t.Topic.TableDir+"/_data/"+c.random()+".parquet")
	}
	claimed, err := metadata.Ask[metadata.ClaimJobResult](ctx, c.log, claim)
	if err != nil {
		return fmt.Errorf("claim a compaction of %d topics: %w", len(job.Topics), err)
	}
	if errors.Is(claimed.Err, metadata.ErrTopicClaimed) || errors.Is(claimed.Err, metadata.ErrUnknownTopic) {
		return nil // the View moved on since the plan was made; the next plan sees it
	}
	if claimed.Err != nil {
		return fmt.Errorf("claim a compaction of %d topics: %w", len(job.Topics), claimed.Err)
	}
	files, err := c.writeFiles(ctx, job, claim.Outputs)
	if err != nil {
		c.releaseJob(ctx, claimed.Job)
		return fmt.Errorf("compaction job %d: %w", claimed.Job, err)
	}
	replaced, err := metadata.Ask[metadata.ReplaceResult](ctx, c.log, metadata.Replace{Job: claimed.Job, Files: files})
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
	for i, f := range files {
		c.files.Add(1)
		c.rows.Add(f.Rows)
		c.logger.InfoContext(ctx, "compacted", "topic", job.Topics[i].Topic.Name, "object", f.Key, "rows", f.Rows, "bytes", int64(f.Size))
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

// writeFiles writes one Parquet file a topic under the claimed keys. Memory: the span's objects plus one file.
func (c *Compactor) writeFiles(ctx context.Context, job Job, outputs []string) ([]metadata.NewFile, error) {
	bodies, err := c.readObjects(ctx, job.Objects)
	if err != nil {
		return nil, err
	}
	files := make([]metadata.NewFile, 0, len(job.Topics))
	for i, t := range job.Topics {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var out bytes.Buffer
		stats, err := writeTopic(&out, t, bodies, record.Limits{Decompressed: c.cfg.Decompressed})
		if err != nil {
			return nil, fmt.Errorf("write %s for topic %s: %w", outputs[i], t.Topic.Name, err)
		}
		if err := c.store.Put(ctx, outputs[i], out.Bytes()); err != nil {
			return nil, fmt.Errorf("put %s (%d bytes): %w", outputs[i], out.Len(), err)
		}
		f, err := c.newFile(t, outputs[i], stats)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// readObjects gets each object once and verifies it whole: every byte of a run that enters a file has passed its CRC.
func (c *Compactor) readObjects(ctx context.Context, inputs []Input) (map[string][]byte, error) {
	bodies := make([][]byte, len(inputs))
	err := forEach(ctx, c.cfg.ReadAhead, len(inputs), func(ctx context.Context, i int) error {
		key := inputs[i].Key
		body, err := c.store.Get(ctx, key, maxObject)
		if err != nil {
			return fmt.Errorf("get %s: %w", key, err)
		}
		if _, _, err := record.ReadObject(body); err != nil {
			return fmt.Errorf("read %s (%d bytes): %w", key, len(body), err)
		}
		bodies[i] = body
		return nil
	})
	if err != nil {
		return nil, err
	}
	byKey := make(map[string][]byte, len(inputs))
	for i, in := range inputs {
		byKey[in.Key] = bodies[i]
	}
	return byKey, nil
}

// forEach calls do for 0 to n-1, at most parallel at a time, until one fails: by goroutines where parallel is more than 1, and
// otherwise by none.
func forEach(ctx context.Context, parallel, n int, do func(ctx context.Context, i int) error) error {
	if parallel <= 1 {
		for i := range n {
			if err := do(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

func writeTopic(out *bytes.Buffer, t TopicJob, bodies map[string][]byte, limits record.Limits) (tableflow.FileStats, error) {
	w := tableflow.NewWriter(out, tableflow.WriterConfig{})
	for _, part := range t.Parts {
		if err := w.StartPartition(part.Partition); err != nil {
			return tableflow.FileStats{}, err
		}
		for i := range part.Runs {
			if err := writeRun(w, &part.Runs[i], bodies[part.Runs[i].Key], limits); err != nil {
				return tableflow.FileStats{}, fmt.Errorf("partition %d, offsets %d to %d in %s: %w",
					part.Partition, part.Runs[i].Base, part.Runs[i].End, part.Runs[i].Key, err)
			}
		}
	}
	return w.Close()
}

// writeRun appends the rows of one run, whose batches follow one another in the object and in the log.
func writeRun(w *tableflow.Writer, run *metadata.Run, body []byte, limits record.Limits) error {
	end := int64(run.Pos) + int64(run.Len)
	if run.Pos < 0 || end > int64(len(body)) {
		return fmt.Errorf("run lies outside the object's %d bytes: %w", len(body), metadata.ErrCorrupt)
	}
	rest := body[run.Pos:end]
	next := run.Base
	for len(rest) > 0 {
		batch, after, err := record.Split(rest)
		if err != nil {
			return err
		}
		var appendErr error
		err = batch.Each(limits, func(r *record.Record) bool {
			r.Offset += next - batch.BaseOffset()
			appendErr = w.Append(r)
			return appendErr == nil
		})
		if err := errors.Join(err, appendErr); err != nil {
			return fmt.Errorf("batch at offset %d: %w", next, err)
		}
		next += record.Offset(batch.OffsetCount())
		rest = after
	}
	if next != run.End {
		return fmt.Errorf("batches end at offset %d: %w", next, metadata.ErrCorrupt)
	}
	return nil
}

// newFile describes a written file for the log. The parts' bounds are those of the runs, not of the rows: offsets without a
// row (none today, aborted ones later) belong to the part too.
func (c *Compactor) newFile(t TopicJob, key string, stats tableflow.FileStats) (metadata.NewFile, error) {
	f := metadata.NewFile{Topic: t.Topic.ID, Key: key, Size: record.Len(stats.Size), Rows: stats.Rows}
	if len(stats.Parts) != len(t.Parts) {
		return f, fmt.Errorf("file %s has %d parts, want %d: %w", key, len(stats.Parts), len(t.Parts), metadata.ErrCorrupt)
	}
	for i, p := range stats.Parts {
		runs := t.Parts[i].Runs
		f.Parts = append(f.Parts, metadata.FilePart{
			Partition: p.Partition, Base: runs[0].Base, End: runs[len(runs)-1].End,
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
