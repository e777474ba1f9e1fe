package compactor

import (
	"context"
	"fmt"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// writeMoved lays the moved runs out in one object, by partition and offset, batches byte-identical.
func (c *Compactor) writeMoved(ctx context.Context, groups []MovedGroup, in *inputs, key string) (*metadata.MovedObject, error) {
	header := record.ObjectHeader{ClusterHash: metadata.Cluster{ID: c.cfg.Cluster}.Hash(), Session: uint64(c.cfg.Session)}
	copy(header.PutID[:], c.random())
	total := int64(0)
	for _, g := range groups {
		for i := range g.Runs {
			total += int64(g.Runs[i].Len)
		}
	}
	w := record.NewObjectWriter(header, int(record.ObjectSize(len(groups), total)))
	moved := &metadata.MovedObject{Key: key}
	for len(groups) > 0 {
		id, pos := groups[0].Partition, record.Pos(w.Len())
		var batches []record.Batch
		for len(groups) > 0 && groups[0].Partition == id {
			m, more, err := moveGroup(groups[0], in, pos)
			if err != nil {
				return nil, fmt.Errorf("regroup %s: %w", id, err)
			}
			moved.Runs = append(moved.Runs, m)
			batches = append(batches, more...)
			pos += record.Pos(m.Len)
			groups = groups[1:]
		}
		if err := w.Add(id, batches...); err != nil {
			return nil, fmt.Errorf("regroup %s: %w", id, err)
		}
	}
	body, _, err := w.Finish()
	if err != nil {
		return nil, fmt.Errorf("regroup into %s: %w", key, err)
	}
	moved.Size = record.Len(len(body))
	if err := c.store.Put(ctx, key, body); err != nil {
		return nil, fmt.Errorf("put %s (%d bytes): %w", key, len(body), err)
	}
	return moved, nil
}

// moveGroup collects the batches of a group that will lie at pos.
func moveGroup(g MovedGroup, in *inputs, pos record.Pos) (metadata.MovedRun, []record.Batch, error) {
	first, last := &g.Runs[0], &g.Runs[len(g.Runs)-1]
	m := metadata.MovedRun{Partition: g.Partition, Base: first.Base, End: last.End, Pos: pos, MaxTimestamp: first.MaxTimestamp}
	var all []record.Batch
	for i := range g.Runs {
		run := &g.Runs[i]
		batches, err := in.batches(run)
		if err != nil {
			return m, nil, fmt.Errorf("offsets %d to %d in %s: %w", run.Base, run.End, run.Key, err)
		}
		all = append(all, batches...)
		m.Len += run.Len
		m.MaxTimestamp = max(m.MaxTimestamp, run.MaxTimestamp)
	}
	return m, all, nil
}
