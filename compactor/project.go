package compactor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

const (
	maxFold        = 500 // adds in one Delta version
	commitAttempts = 4   // reloads after losing a version to another writer
	tablePage      = 64  // tables looked at together
)

// Fold decides what the next Delta version of a table holds: the pending adds the table does not have yet (its progress, that of delta.LogApp,
// tells), at most maxFold, one txn per partition they touch with the exclusive end offset, and the txn of the newest log entry
// folded. upTo is that entry: after the commit, or at once when there are no actions, the log may forget pending adds up to it.
// The adds of one entry are never split over versions. A table that is another topic's, or has lost
// versions, is delta.ErrCorrupt. Pure.
func Fold(table delta.Head, pending metadata.PendingTable, cfg Config) (actions []delta.Action, upTo uint64, err error) {
	id := pending.Topic.ID
	if table.Version >= 0 && table.TableID != delta.TableID(id) {
		return nil, 0, fmt.Errorf("%s holds the table %s, not this topic's %s: %w", pending.Topic.TableDir, table.TableID, delta.TableID(id), delta.ErrCorrupt)
	}
	if table.Version < pending.Version {
		return nil, 0, fmt.Errorf("%s ends at version %d, but version %d was committed: bring its _delta_log back: %w",
			pending.Topic.TableDir, table.Version, pending.Version, delta.ErrCorrupt)
	}
	have := uint64(max(table.Progress, 0))
	upTo = have
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
	return append(actions, delta.Txn{AppID: table.App, Version: int64(upTo)}), upTo, nil
}

// project folds every table's pending adds into its Delta log, page by page, Config.ReadAhead tables at once. A fault delays that
// table alone.
func (c *Compactor) project(ctx context.Context) error {
	var errs []error
	var after record.TopicID
	for {
		page := c.view.PendingTables(after, tablePage)
		if len(page) == 0 {
			return errors.Join(errs...)
		}
		after = page[len(page)-1].Topic.ID
		page = slices.DeleteFunc(page, func(p metadata.PendingTable) bool {
			return !c.share.mineTopic(p.Topic.ID) || !c.retry.ready(tableOf(p.Topic), c.now())
		})
		if err := c.projectPage(ctx, page); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func tableOf(t metadata.Topic) string { return "table " + t.ID.Hex() }

func (c *Compactor) projectPage(ctx context.Context, page []metadata.PendingTable) error {
	heads, errs := make([]delta.Head, len(page)), make([]error, len(page))
	for i, p := range page {
		heads[i] = c.heads.get(p.Topic.ID)
	}
	_ = forEach(ctx, c.cfg.ReadAhead, len(page), func(ctx context.Context, i int) error {
		if errs[i] = ctx.Err(); errs[i] == nil {
			heads[i], errs[i] = c.projectTable(ctx, page[i], heads[i])
		}
		return nil
	})
	for i, p := range page {
		c.heads.put(p.Topic.ID, heads[i])
		if errs[i] = c.retry.done(tableOf(p.Topic), c.now(), errs[i]); errs[i] != nil {
			c.failedTableCommits.Add(1)
			errs[i] = fmt.Errorf("table of topic %s: %w", p.Topic.Name, errs[i])
		}
	}
	return errors.Join(errs...)
}

// projectTable makes one version at most. It takes the head that is remembered and returns what is to be; the zero head is none.
func (c *Compactor) projectTable(ctx context.Context, p metadata.PendingTable, head delta.Head) (delta.Head, error) {
	log := delta.NewLog(c.store, p.Topic.TableDir, c.now)
	app := delta.LogApp(c.cfg.Cluster, p.Topic.ID)
	switch {
	case head.App != "" && head.Version >= p.Version:
	case p.Version < 0:
		head = delta.EmptyHead(app) // a table that is there all the same refuses version 0, and is loaded then
	default:
		var err error
		if head, err = c.loadHead(ctx, log, app); err != nil {
			return delta.Head{}, err
		}
	}
	for attempt := 1; ; attempt++ {
		actions, upTo, err := Fold(head, p, c.cfg)
		if err != nil {
			return delta.Head{}, err
		}
		if len(actions) == 0 {
			return head, c.projected(ctx, p, head, upTo)
		}
		next, err := log.Append(ctx, head, delta.Commit{TxnID: c.random(), Operation: "WRITE", Actions: actions})
		if err == nil {
			c.tableCommits.Add(1)
			if next.Version > 0 && next.Version%delta.CheckpointEvery == 0 {
				c.checkpoint(ctx, log, p.Topic)
			}
			return next, c.projected(ctx, p, next, upTo)
		}
		if !errors.Is(err, delta.ErrVersionExists) || attempt == commitAttempts {
			return delta.Head{}, fmt.Errorf("commit version %d: %w", head.Version+1, err)
		}
		if head, err = c.loadHead(ctx, log, app); err != nil {
			return delta.Head{}, err
		}
	}
}

func (c *Compactor) loadHead(ctx context.Context, log *delta.Log, app string) (delta.Head, error) {
	head, err := log.LoadHead(ctx, app)
	if errors.Is(err, delta.ErrNoTable) {
		return delta.EmptyHead(app), nil
	}
	return head, err
}

// checkpoint reads the whole table, which is not kept between commits, for one checkpoint. One that fails is covered by the next.
func (c *Compactor) checkpoint(ctx context.Context, log *delta.Log, t metadata.Topic) {
	snap, err := log.Load(ctx)
	if err == nil {
		err = log.Checkpoint(ctx, snap)
	}
	if err != nil {
		c.logger.WarnContext(ctx, "table checkpoint not written; the next one covers it", "topic", t.Name, "err", err)
	}
}

func (c *Compactor) projected(ctx context.Context, p metadata.PendingTable, head delta.Head, upTo uint64) error {
	res, err := metadata.Ask[metadata.ProjectedResult](ctx, c.log, metadata.Projected{Topic: p.Topic.ID, Version: head.Version, UpTo: upTo})
	if err != nil {
		return fmt.Errorf("record version %d: %w", head.Version, err)
	}
	if res.Err != nil && !errors.Is(res.Err, metadata.ErrUnknownTopic) {
		return fmt.Errorf("record version %d: %w", head.Version, res.Err)
	}
	c.logger.InfoContext(ctx, "projected", "topic", p.Topic.Name, "version", head.Version, "seq", upTo)
	return nil
}
