package metadata

import (
	"fmt"

	"github.com/bargedata/barge/record"
)

// ActiveProducer is what a partition knows of an idempotent producer.
type ActiveProducer struct {
	ID           int64
	Epoch        int16
	LastSequence int32
	LastAt       int64 // entry time of its last append, milliseconds
}

// Producers returns the idempotent producers that a partition knows, the one unused longest first, without those whose
// state has expired. ErrUnknownTopic.
func (v *View) Producers(p record.Partition) ([]ActiveProducer, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, part := v.state.partition(p)
	if part == nil {
		return nil, fmt.Errorf("producers of %s: %w", p, ErrUnknownTopic)
	}
	t := &part.producers
	list := make([]ActiveProducer, 0, len(t.slots))
	for slot := t.oldest; slot != 0; slot = t.slots[slot-1].newer {
		if pr := &t.slots[slot-1]; pr.lastAt > v.state.time-producerExpiryMs {
			list = append(list, ActiveProducer{ID: pr.id, Epoch: pr.epoch, LastSequence: pr.window[pr.n-1].last, LastAt: pr.lastAt})
		}
	}
	return list, nil
}
