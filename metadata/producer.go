package metadata

import (
	"math"

	"github.com/bargedata/barge/record"
)

const (
	producerWindow   = 5    // batches a producer may have in flight, hence repeat
	maxProducers     = 1000 // of one partition; the one unused longest goes
	producerExpiryMs = 24 * 60 * 60 * 1000
	indexFrom        = 9 // producers from which on a map beats a scan
)

// producerTable holds what one partition knows of its idempotent producers, least recently appended first. The zero
// value is empty. Slots are one flat slice, linked by number: 0 is none, n is slots[n-1].
type producerTable struct {
	slots          []producer
	index          map[int64]int32 // by producer id, only from indexFrom slots on
	oldest, newest int32
}

type producer struct {
	id           int64
	lastAt       int64 // entry time of its last append, milliseconds
	older, newer int32
	epoch        int16
	n            int8 // batches in window
	window       [producerWindow]sequenceRange
}

// sequenceRange is one appended batch: sequences first..last (wrapping) at base.
type sequenceRange struct {
	first, last int32
	base        record.Offset
}

// lastSequence is the sequence of a batch's last record: base + records - 1, where 2^31-1 is followed by 0.
func lastSequence(base, records int32) int32 {
	last := int64(base) + int64(records) - 1
	if last > math.MaxInt32 {
		last -= math.MaxInt32 + 1
	}
	return int32(last)
}

// judge decides a batch by Kafka's rules (ProducerAppendInfo, ProducerStateEntry): an old epoch is refused; an exact
// repeat of one of the last five batches is a duplicate at its first offset; a new epoch starts at 0; the next sequence
// is accepted; a producer that is not known may start anywhere; everything else is out of order. slot is the producer's,
// 0 for a new one, to be handed to appended.
func (t *producerTable) judge(b *CommitBatch, now int64) (slot int32, base record.Offset, duplicate bool, err error) {
	for t.oldest != 0 && t.slots[t.oldest-1].lastAt <= now-producerExpiryMs {
		t.remove(t.oldest)
	}
	slot = t.find(b.ProducerID)
	if slot == 0 {
		return 0, -1, false, nil
	}
	p := &t.slots[slot-1]
	switch {
	case b.ProducerEpoch < p.epoch:
		return slot, -1, false, ErrInvalidProducerEpoch
	case b.ProducerEpoch > p.epoch:
		if b.BaseSequence != 0 {
			return slot, -1, false, ErrOutOfOrderSequence
		}
		return slot, -1, false, nil
	}
	last := lastSequence(b.BaseSequence, b.Records)
	for i := range p.window[:p.n] {
		if w := &p.window[i]; w.first == b.BaseSequence && w.last == last {
			return slot, w.base, true, nil
		}
	}
	if newest := p.window[p.n-1].last; b.BaseSequence != lastSequence(newest, 2) {
		return slot, -1, false, ErrOutOfOrderSequence
	}
	return slot, -1, false, nil
}

// appended remembers an accepted batch.
func (t *producerTable) appended(slot int32, b *CommitBatch, base record.Offset, now int64) {
	if slot == 0 {
		slot = t.insert(b.ProducerID)
	} else {
		t.unlink(slot)
		t.linkNewest(slot)
	}
	p := &t.slots[slot-1]
	if p.epoch != b.ProducerEpoch {
		p.epoch, p.n = b.ProducerEpoch, 0
	}
	if p.n == producerWindow {
		copy(p.window[:], p.window[1:])
		p.n--
	}
	p.window[p.n] = sequenceRange{first: b.BaseSequence, last: lastSequence(b.BaseSequence, b.Records), base: base}
	p.n++
	p.lastAt = now
}

func (t *producerTable) find(id int64) int32 {
	if t.index != nil {
		return t.index[id]
	}
	for i := range t.slots {
		if t.slots[i].id == id {
			return int32(i + 1)
		}
	}
	return 0
}

// insert makes room for a producer, as the newest.
func (t *producerTable) insert(id int64) int32 {
	if len(t.slots) >= maxProducers {
		t.remove(t.oldest)
	}
	t.slots = append(t.slots, producer{id: id})
	slot := int32(len(t.slots))
	switch {
	case t.index != nil:
		t.index[id] = slot
	case len(t.slots) >= indexFrom:
		t.index = make(map[int64]int32, 2*indexFrom)
		for i := range t.slots {
			t.index[t.slots[i].id] = int32(i + 1)
		}
	}
	t.linkNewest(slot)
	return slot
}

// remove takes a producer out; the last slot moves into the hole.
func (t *producerTable) remove(slot int32) {
	t.unlink(slot)
	delete(t.index, t.slots[slot-1].id)
	last := int32(len(t.slots))
	if slot != last {
		moved := &t.slots[slot-1]
		*moved = t.slots[last-1]
		if t.index != nil {
			t.index[moved.id] = slot
		}
		if moved.older == 0 {
			t.oldest = slot
		} else {
			t.slots[moved.older-1].newer = slot
		}
		if moved.newer == 0 {
			t.newest = slot
		} else {
			t.slots[moved.newer-1].older = slot
		}
	}
	t.slots = t.slots[:last-1]
}

func (t *producerTable) linkNewest(slot int32) {
	p := &t.slots[slot-1]
	p.older, p.newer = t.newest, 0
	if t.newest == 0 {
		t.oldest = slot
	} else {
		t.slots[t.newest-1].newer = slot
	}
	t.newest = slot
}

func (t *producerTable) unlink(slot int32) {
	p := &t.slots[slot-1]
	if p.older == 0 {
		t.oldest = p.newer
	} else {
		t.slots[p.older-1].newer = p.newer
	}
	if p.newer == 0 {
		t.newest = p.older
	} else {
		t.slots[p.newer-1].older = p.older
	}
}
