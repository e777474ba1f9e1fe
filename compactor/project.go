package compactor

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

const (
	maxFold        = 500 // adds in one Delta version
	commitAttempts = 4   // reloads after losing a version to another writer

	// Table snapshots kept between commits: so many, and of so many files together (about 650 bytes each).
	tableCacheSize  = 64
	tableCacheFiles = 100_000
)

// Fold decides what the next Delta version of a table holds: the pending adds the table does not have yet (its log txn
// tells), at most maxFold, one txn per partition they touch with the exclusive end offset, and the txn of the newest log entry
// folded. upTo is that entry: after the commit, or at once when there are no actions, the log may forget pending adds up to it.
// The adds of one entry are never split over versions. A table that is another topic's, or has lost
// versions, is delta.ErrCorrupt. Pure.
func Fold(table *delta.Snapshot, pending metadata.PendingTable, cfg Config) (actions []delta.Action, upTo uint64, err error) {
	id := pending.Topic.ID
	if table.Version >= 0 && table.Metadata.ID != delta.TableID(id) {
		return nil, 0, fmt.Errorf("%s holds the table %s, not this topic's %s: %w", pending.Topic.TableDir, table.Metadata.ID, delta.TableID(id), delta.ErrCorrupt)
	}
	if table.Version < pending.Version {
		return nil, 0, fmt.Errorf("%s ends at version %d, but version %d was committed: bring its _delta_log back: %w",
			pending.Topic.TableDir, table.Version, pending.Version, delta.ErrCorrupt)
	}
	logApp := delta.LogApp(cfg.Cluster, id)
	var have uint64
	if version, ok := table.Txn(logApp); ok {
		have = uint64(max(version, 0))
		upTo = have
	}
	ends := map[int32]record.Offset{}
	var partitions []int32
	for i, add := range pending.Adds {
		if add.Seq <= have {
			continue
		}
		if len(actions) >= maxFold && add.Seq != pending.Adds[i-1].Seq {
			break
		}
		action, err := delta.ParseAction(add.Add)
		if err != nil {
			return nil, 0, fmt.Errorf("pending add of %s: %w", add.File.Key, err)
		}
		actions = append(actions, action)
		upTo = max(upTo, add.Seq)
		for _, part := range add.File.Parts {
			if _, ok := ends[part.Partition]; !ok {
				partitions = append(partitions, part.Partition)
			}
			ends[part.Partition] = max(ends[part.Partition], part.End)
		}
	}
	if len(actions) == 0 {
		return nil, upTo, nil
	}
	if table.Version < 0 {
		actions = append(delta.NewTableActions(delta.TableConfig{
			ID: delta.TableID(id), Name: pending.Topic.Name, Schema: tableflow.Schema(), NoFence: !cfg.Fence, CreatedTime: pending.Topic.CreatedAt,
		}), actions...)
	}
	for _, p := range partitions {
		app := delta.PartitionApp(cfg.Cluster, record.Partition{Topic: id, Index: p})
		actions = append(actions, delta.Txn{AppID: app, Version: int64(ends[p])})
	}
	return append(actions, delta.Txn{AppID: logApp, Version: int64(upTo)}), upTo, nil
}

// project folds every table's pending adds into its Delta log. A fault delays that table alone.
func (c *Compactor) project(ctx context.Context) error {
	var errs []error
	for _, p := range c.view.PendingTables() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		work := "table " + p.Topic.ID.Hex()
		if !c.retry.ready(work, c.now()) {
			continue
		}
		if err := c.retry.done(work, c.now(), c.projectTable(ctx, p)); err != nil {
			c.failedTableCommits.Add(1)
			errs = append(errs, fmt.Errorf("table of topic %s: %w", p.Topic.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Compactor) projectTable(ctx context.Context, p metadata.PendingTable) error {
	log := delta.NewLog(c.store, p.Topic.TableDir, c.now)
	snap, err := c.snapshot(ctx, log, p)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		actions, upTo, err := Fold(snap, p, c.cfg)
		if err != nil {
			return err
		}
		if len(actions) == 0 {
			return c.projected(ctx, p, snap, upTo)
		}
		next, err := log.Commit(ctx, snap, delta.Commit{TxnID: c.random(), Operation: "WRITE", Actions: actions})
		if err == nil {
			c.tables.put(p.Topic.ID, next)
			c.tableCommits.Add(1)
			if next.Version > 0 && next.Version%delta.CheckpointEvery == 0 {
				if err := log.Checkpoint(ctx, next); err != nil {
					c.logger.WarnContext(ctx, "table checkpoint not written; the next one covers it", "topic", p.Topic.Name, "err", err)
				}
			}
			return c.projected(ctx, p, next, upTo)
		}
		c.tables.drop(p.Topic.ID)
		if !errors.Is(err, delta.ErrVersionExists) || attempt == commitAttempts {
			return fmt.Errorf("commit version %d: %w", snap.Version+1, err)
		}
		if snap, err = c.snapshot(ctx, log, p); err != nil {
			return err
		}
	}
}

func (c *Compactor) snapshot(ctx context.Context, log *delta.Log, p metadata.PendingTable) (*delta.Snapshot, error) {
	if snap := c.tables.get(p.Topic.ID); snap != nil && snap.Version >= p.Version {
		return snap, nil
	}
	snap, err := log.Load(ctx)
	if errors.Is(err, delta.ErrNoTable) {
		return delta.Empty(), nil
	}
	return snap, err
}

func (c *Compactor) projected(ctx context.Context, p metadata.PendingTable, snap *delta.Snapshot, upTo uint64) error {
	res, err := metadata.Ask[metadata.ProjectedResult](ctx, c.log, metadata.Projected{Topic: p.Topic.ID, Version: snap.Version, UpTo: upTo})
	if err != nil {
		return fmt.Errorf("record version %d: %w", snap.Version, err)
	}
	if res.Err != nil && !errors.Is(res.Err, metadata.ErrUnknownTopic) {
		return fmt.Errorf("record version %d: %w", snap.Version, res.Err)
	}
	c.logger.InfoContext(ctx, "projected", "topic", p.Topic.Name, "version", snap.Version, "seq", upTo)
	return nil
}

// tableCache keeps the newest snapshots of a few tables, so that a steady table is not read back for each commit. It is only a
// hint: a stale snapshot loses the put-if-absent and is loaded again. When full it forgets the one longest unused.
type tableCache struct {
	size, files int // bounds
	clock       int64
	snaps       map[record.TopicID]*cachedTable
}

type cachedTable struct {
	snap *delta.Snapshot
	used int64
}

func newTableCache(size, files int) tableCache {
	return tableCache{size: size, files: files, snaps: map[record.TopicID]*cachedTable{}}
}

func (t *tableCache) get(id record.TopicID) *delta.Snapshot {
	e := t.snaps[id]
	if e == nil {
		return nil
	}
	t.clock++
	e.used = t.clock
	return e.snap
}

func (t *tableCache) put(id record.TopicID, snap *delta.Snapshot) {
	t.clock++
	t.snaps[id] = &cachedTable{snap: snap, used: t.clock}
	for t.full() {
		var oldest record.TopicID
		least := int64(math.MaxInt64)
		for k, e := range t.snaps {
			if e.used < least {
				oldest, least = k, e.used
			}
		}
		delete(t.snaps, oldest)
	}
}

func (t *tableCache) full() bool {
	files := 0
	for _, e := range t.snaps {
		files += e.snap.Files()
	}
	return len(t.snaps) > t.size || files > t.files
}

func (t *tableCache) drop(id record.TopicID) { delete(t.snaps, id) }
