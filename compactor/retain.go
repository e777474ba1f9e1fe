package compactor

import (
	"context"
	"fmt"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// retentionTopics is how many topics go into one entry of the log.
const retentionTopics = 500

// firstRetention is how long after its start an agent looks at retention first; Kafka's log.initial.task.delay.ms.
const firstRetention = 30 * time.Second

// retain proposes the topics of this agent's share of which something has expired. What goes is decided by the entry: by its
// time and by the configs the topics have then, so that neither this agent's clock nor an old View deletes anything.
func (c *Compactor) retain(ctx context.Context) error {
	now := c.now()
	if c.expired.IsZero() { // after a long pause somebody may want to change the configs first
		c.expired = now.Add(min(firstRetention, c.cfg.Retention) - c.cfg.Retention)
	}
	if since := now.Sub(c.expired); c.view.Level() < logStartLevel || since >= 0 && since < c.cfg.Retention {
		return nil
	}
	var after record.TopicID
	for {
		page := c.view.Expired(now.UnixMilli(), after, retentionTopics)
		if len(page) == 0 {
			c.expired = now
			return nil
		}
		after = page[len(page)-1]
		var mine []record.TopicID
		for _, id := range page {
			if c.share.mineTopic(id) {
				mine = append(mine, id)
			}
		}
		if len(mine) == 0 {
			continue
		}
		res, err := metadata.Ask[metadata.ApplyRetentionResult](ctx, c.log, metadata.ApplyRetention{Topics: mine})
		if err == nil {
			err = res.Err
		}
		if err != nil {
			return fmt.Errorf("apply the retention of %d topics: %w", len(mine), err)
		}
		c.logStartsMoved.Add(int64(len(res.Moved)))
		for _, m := range res.Moved {
			c.logger.InfoContext(ctx, "retention moved the log start", "topic", m.Partition.Topic.String(), "partition", m.Partition.Index, "offset", int64(m.To))
		}
	}
}
