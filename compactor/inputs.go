package compactor

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// inputError is a fault of one input: its object cannot be read, or is damaged.
type inputError struct {
	key string
	err error
}

func (e *inputError) Error() string { return e.err.Error() }
func (e *inputError) Unwrap() error { return e.err }

// inputs are the bytes a job has read. Whole objects have been verified; of stretches each run is, when it is asked for.
type inputs struct {
	whole  map[string][]byte
	ranges map[string][]rangeBody // of an object, by position
}

type rangeBody struct {
	pos  record.Pos
	body []byte
}

// read gets each object and each stretch once.
func (c *Compactor) read(ctx context.Context, job *Job) (*inputs, error) {
	whole, stretches := make([][]byte, len(job.Objects)), make([][]byte, len(job.Ranges))
	err := forEach(ctx, c.cfg.ReadAhead, len(whole)+len(stretches), func(ctx context.Context, i int) (err error) {
		if i < len(whole) {
			whole[i], err = c.readObject(ctx, job.Objects[i].Key)
			return err
		}
		i -= len(whole)
		r := job.Ranges[i]
		if stretches[i], err = c.store.GetRange(ctx, r.Key, int64(r.Pos), int64(r.Len)); err != nil {
			return &inputError{r.Key, fmt.Errorf("get %d bytes at %d of %s: %w", r.Len, r.Pos, r.Key, err)}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	in := &inputs{whole: make(map[string][]byte, len(whole)), ranges: map[string][]rangeBody{}}
	for i, o := range job.Objects {
		in.whole[o.Key] = whole[i]
	}
	for i, r := range job.Ranges {
		in.ranges[r.Key] = append(in.ranges[r.Key], rangeBody{r.Pos, stretches[i]})
	}
	return in, nil
}

// readObject verifies every byte: what leaves an object has passed its CRC.
func (c *Compactor) readObject(ctx context.Context, key string) ([]byte, error) {
	body, err := c.store.Get(ctx, key, maxObject)
	if err != nil {
		return nil, &inputError{key, fmt.Errorf("get %s: %w", key, err)}
	}
	if _, _, err := record.ReadObject(body); err != nil {
		return nil, &inputError{key, fmt.Errorf("read %s (%d bytes): %w", key, len(body), err)}
	}
	return body, nil
}

// batches returns the batches of a run, which follow one another in the object and in the log. They alias the input. An
// inputError tells that they are not what the log says.
func (in *inputs) batches(run *metadata.Run) ([]record.Batch, error) {
	bytes, split, err := in.bytes(run)
	if err != nil {
		return nil, &inputError{run.Key, err}
	}
	var batches []record.Batch
	next := run.Base
	for len(bytes) > 0 {
		batch, rest, err := split(bytes)
		if err != nil {
			return nil, &inputError{run.Key, fmt.Errorf("batch at offset %d: %w", next, err)}
		}
		batches = append(batches, batch)
		next += record.Offset(batch.OffsetCount())
		bytes = rest
	}
	if next != run.End {
		return nil, &inputError{run.Key, fmt.Errorf("batches end at offset %d: %w", next, metadata.ErrCorrupt)}
	}
	return batches, nil
}

// bytes finds the run, and how to split it: whole objects have been verified, stretches have not.
func (in *inputs) bytes(run *metadata.Run) (bytes []byte, split func([]byte) (record.Batch, []byte, error), err error) {
	body, pos, split := in.whole[run.Key], record.Pos(0), record.Split
	if run.Sorted {
		split = splitVerified
		stretches := in.ranges[run.Key]
		i, found := slices.BinarySearchFunc(stretches, run.Pos, func(r rangeBody, pos record.Pos) int { return cmp.Compare(r.pos, pos) })
		if !found {
			i-- // the one that begins before
		}
		if i < 0 {
			return nil, nil, fmt.Errorf("run was not read: %w", metadata.ErrCorrupt)
		}
		body, pos = stretches[i].body, stretches[i].pos
	}
	from, to := int64(run.Pos-pos), int64(run.Pos-pos)+int64(run.Len)
	if from < 0 || to > int64(len(body)) {
		return nil, nil, fmt.Errorf("run lies outside the %d bytes at %d: %w", len(body), pos, metadata.ErrCorrupt)
	}
	return body[from:to], split, nil
}

// splitVerified is record.Split that also checks the CRC.
func splitVerified(buf []byte) (record.Batch, []byte, error) {
	b, rest, err := record.Split(buf)
	if err != nil {
		return b, rest, err
	}
	if _, err := record.Parse(b.Bytes()); err != nil {
		return b, rest, err
	}
	return b, rest, nil
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
