package compactor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bargedata/barge/metadata"
)

// deleteBatch is how many keys go into one delete request and one log entry: S3's own limit.
const deleteBatch = 1000

// DueForDeletion picks the released objects whose grace is over at now (milliseconds), at most deleteBatch of them and none of
// except. The grace outlives every fetch that located the object before it was released.
func DueForDeletion(released []metadata.ReleasedObject, now int64, grace time.Duration, except map[string]bool) []string {
	var keys []string
	for _, r := range released {
		if now-r.ReleasedAt >= grace.Milliseconds() && !except[r.Key] {
			keys = append(keys, r.Key)
			if len(keys) == deleteBatch {
				break
			}
		}
	}
	return keys
}

// deleteReleased removes released objects after their grace, then tells the log. A crash in between repeats the delete,
// which is harmless: the keys are never used again (invariant I3). An object that cannot be deleted keeps no other.
func (c *Compactor) deleteReleased(ctx context.Context) error {
	stuck := map[string]bool{}
	var errs []error
	for {
		keys := DueForDeletion(c.view.Released(), c.now().UnixMilli(), c.cfg.ReleaseGrace, stuck)
		if len(keys) == 0 {
			return errors.Join(errs...)
		}
		gone, err := c.deleteAll(ctx, keys)
		if err != nil {
			errs = append(errs, err)
			for _, key := range keys {
				stuck[key] = !slices.Contains(gone, key)
			}
		}
		if len(gone) == 0 {
			return errors.Join(errs...) // the store refuses everything; asking on is no use
		}
		res, err := metadata.Ask[metadata.ForgetObjectsResult](ctx, c.log, metadata.ForgetObjects{Keys: gone})
		if err == nil && errors.Is(res.Err, metadata.ErrStaleInput) {
			return errors.Join(errs...) // another agent deleted them, too, and was first to say so
		}
		if err = errors.Join(err, res.Err); err != nil {
			return errors.Join(append(errs, fmt.Errorf("forget %d deleted objects: %w", len(gone), err))...)
		}
		c.objectsDeleted.Add(int64(len(gone)))
		c.logger.InfoContext(ctx, "swept released objects", "count", len(gone), "object", gone[0])
	}
}

// deleteAll deletes the keys in one request or, where that fails, one by one, and returns those that are gone.
func (c *Compactor) deleteAll(ctx context.Context, keys []string) (gone []string, err error) {
	if err = c.store.Delete(ctx, keys...); err == nil {
		return keys, nil
	}
	err = fmt.Errorf("delete %d objects from %s on: %w", len(keys), keys[0], err)
	if affectsAll(err) {
		return nil, err
	}
	for _, key := range keys {
		if c.store.Delete(ctx, key) == nil {
			gone = append(gone, key)
		}
	}
	return gone, err
}

// dropTables deletes what deleted topics left in the store, unless barge.table.on.delete=keep says to leave it standing. Paths
// are never given again (ADR 0004), so an agent that does this late, after another took the log, harms nobody.
func (c *Compactor) dropTables(ctx context.Context) error {
	var errs []error
	for _, t := range c.view.Tombstones() {
		work := "drop " + t.ID.Hex()
		if ctx.Err() != nil || !c.share.mineTopic(t.ID) || !c.retry.ready(work, c.now()) {
			continue
		}
		end := c.dropTable
		if t.KeepsTable() {
			end = c.forgetTopic
		}
		err := end(ctx, t)
		if errors.Is(err, metadata.ErrStaleInput) {
			err = nil // the last commits of a kept table are pending
		}
		errs = append(errs, c.retry.done(work, c.now(), err))
	}
	return errors.Join(errs...)
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
	c.heads.drop(t.ID)
	return nil
}
