package compactor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/metadata"
)

// deleteBatch is how many keys go into one delete request and one log entry: S3's own limit.
const deleteBatch = 1000

// DueForDeletion picks the released objects whose grace is over at now (milliseconds), at most deleteBatch of them. The
// grace outlives every fetch that located the object before it was released.
func DueForDeletion(released []metadata.ReleasedObject, now int64, grace time.Duration) []string {
	var keys []string
	for _, r := range released {
		if now-r.ReleasedAt >= grace.Milliseconds() {
			keys = append(keys, r.Key)
			if len(keys) == deleteBatch {
				break
			}
		}
	}
	return keys
}

// deleteReleased removes released objects after their grace, then tells the log. A crash in between repeats the delete,
// which is harmless: the keys are never used again (invariant I3).
func (c *Compactor) deleteReleased(ctx context.Context) error {
	for {
		keys := DueForDeletion(c.view.Released(), c.now().UnixMilli(), c.cfg.ReleaseGrace)
		if len(keys) == 0 {
			return nil
		}
		if err := c.store.Delete(ctx, keys...); err != nil {
			return fmt.Errorf("delete %d released objects from %s: %w", len(keys), keys[0], err)
		}
		res, err := metadata.Ask[metadata.ForgetObjectsResult](ctx, c.log, metadata.ForgetObjects{Keys: keys})
		if err != nil {
			return fmt.Errorf("forget %d deleted objects: %w", len(keys), err)
		}
		if res.Err != nil {
			return fmt.Errorf("forget %d deleted objects: %w", len(keys), res.Err)
		}
		c.objectsDeleted.Add(int64(len(keys)))
		c.logger.InfoContext(ctx, "swept released objects", "count", len(keys), "object", keys[0])
	}
}

// dropTables deletes what deleted topics left in the store, unless barge.table.on.delete=keep says to leave it standing. Paths
// are never given again (ADR 0004), so an agent that does this late, after another took the log, harms nobody.
func (c *Compactor) dropTables(ctx context.Context) error {
	for _, t := range c.view.Tombstones() {
		if t.KeepsTable() {
			if err := c.forgetTopic(ctx, t); err != nil && !errors.Is(err, metadata.ErrStaleInput) { // its last commits are pending
				return err
			}
			continue
		}
		if err := c.dropTable(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (c *Compactor) dropTable(ctx context.Context, t metadata.Topic) error {
	prefix := t.TableDir + "/"
	for {
		objects, err := c.store.List(ctx, prefix, "", deleteBatch)
		if err != nil {
			return fmt.Errorf("list %s of the deleted topic %s: %w", prefix, t.Name, err)
		}
		if len(objects) == 0 {
			break
		}
		keys := make([]string, len(objects))
		for i, o := range objects {
			keys[i] = o.Key
		}
		if err := c.store.Delete(ctx, keys...); err != nil {
			return fmt.Errorf("delete %d objects under %s: %w", len(keys), prefix, err)
		}
	}
	if err := c.forgetTopic(ctx, t); err != nil {
		return err
	}
	c.logger.InfoContext(ctx, "dropped table", "topic", t.Name, "object", prefix)
	return nil
}

func (c *Compactor) forgetTopic(ctx context.Context, t metadata.Topic) error {
	res, err := metadata.Ask[metadata.ForgetTopicResult](ctx, c.log, metadata.ForgetTopic{ID: t.ID})
	if err != nil {
		return fmt.Errorf("forget the deleted topic %s: %w", t.Name, err)
	}
	if res.Err != nil {
		return fmt.Errorf("forget the deleted topic %s: %w", t.Name, res.Err)
	}
	c.tables.drop(t.ID)
	return nil
}
