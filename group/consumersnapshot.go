package group

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bargedata/barge/record"
)

// consumersVersion marks the durable value of a group of the consumer protocol.
//
//	group   2: epoch, target epoch, fingerprint of the topics (8 bytes, big-endian), empty since (ms), count of members, then of each:
//	           id, instance, rack, client id, host, rebalance (ms), names (count, each), pattern, assignor, progress (byte), epoch,
//	           previous epoch, assigned partitions with epochs, partitions to give up, target
//
// Partitions are a count of topics, then of each the id (16 bytes), a count, and of each the number less the one before, with an epoch
// where epochs belong.
const consumersVersion = 2

// Snapshot returns the revision reached and the durable form of the group. One that would not fit Config.MaxSavedBytes is written
// without members.
func (s *ConsumerState) Snapshot() (uint64, []byte) {
	b := []byte{consumersVersion}
	b = binary.AppendUvarint(b, uint64(s.epoch))
	b = binary.AppendUvarint(b, uint64(s.targetEpoch))
	b = binary.BigEndian.AppendUint64(b, s.topicsHash)
	b = binary.AppendVarint(b, s.emptySince.UnixMilli())
	head := len(b)
	b = binary.AppendUvarint(b, uint64(len(s.members)))
	for _, m := range s.sorted() {
		b = m.append(b)
		if len(b) > s.cfg.MaxSavedBytes {
			return s.revision, binary.AppendUvarint(b[:head], 0)
		}
	}
	return s.revision, b
}

func (m *consumer) append(b []byte) []byte {
	for _, text := range []string{m.id, m.instance, m.rack, m.clientID, m.host} {
		b = appendString(b, text)
	}
	b = binary.AppendUvarint(b, uint64(m.rebalance.Milliseconds()))
	b = binary.AppendUvarint(b, uint64(len(m.names)))
	for _, name := range m.names {
		b = appendString(b, name)
	}
	b = appendString(b, m.pattern)
	b = appendString(b, m.assignor)
	b = append(b, byte(m.progress))
	b = binary.AppendVarint(b, int64(m.epoch))
	b = binary.AppendVarint(b, int64(m.previous))
	b = appendPartitions(b, keysOf(m.assigned), m.assigned)
	b = appendPartitions(b, m.giveUp, nil)
	return appendPartitions(b, m.target, nil)
}

// appendPartitions writes sorted partitions, each with its epoch unless epochs is nil.
func appendPartitions(b []byte, parts []record.Partition, epochs map[record.Partition]int32) []byte {
	topics := uint64(0)
	for i, p := range parts {
		if i == 0 || p.Topic != parts[i-1].Topic {
			topics++
		}
	}
	b = binary.AppendUvarint(b, topics)
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n].Topic == parts[0].Topic {
			n++
		}
		b = append(b, parts[0].Topic[:]...)
		b = binary.AppendUvarint(b, uint64(n))
		last := int32(0)
		for _, p := range parts[:n] {
			b = binary.AppendUvarint(b, uint64(p.Index-last))
			last = p.Index
			if epochs != nil {
				b = binary.AppendUvarint(b, uint64(epochs[p]))
			}
		}
		parts = parts[n:]
	}
	return b
}

// RestoreConsumerState reads what Snapshot wrote. Members are where they were, and have a whole session, from now on, to show
// themselves; who has to give partitions up has its whole rebalance timeout.
func RestoreConsumerState(name string, value []byte, cfg Config, now time.Time) (*ConsumerState, error) {
	s := NewConsumerState(name, cfg, 0, now)
	d := decoder{b: value}
	d.version(consumersVersion)
	s.epoch, s.targetEpoch = int32(d.uvarint()), int32(d.uvarint())
	if b := d.take(8); d.err == nil {
		s.topicsHash = binary.BigEndian.Uint64(b)
	}
	s.emptySince = time.UnixMilli(d.varint())
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		s.restoreMember(&d, now)
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("group %q: %w", name, err)
	}
	return s, nil
}

func (s *ConsumerState) restoreMember(d *decoder, now time.Time) {
	m := &consumer{id: d.str(), instance: d.str(), rack: d.str(), clientID: d.str(), host: d.str()}
	m.rebalance = time.Duration(d.uvarint()) * time.Millisecond
	var names []string
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		names = append(names, d.str())
	}
	pattern := d.str()
	m.assignor = d.str()
	if b := d.take(1); d.err == nil {
		m.progress = progress(b[0])
	}
	m.epoch, m.previous = int32(d.varint()), int32(d.varint())
	m.assigned = map[record.Partition]int32{}
	d.partitions(func(p record.Partition, epoch int32) { m.assigned[p] = epoch }, true)
	d.partitions(func(p record.Partition, _ int32) { m.giveUp = append(m.giveUp, p) }, false)
	d.partitions(func(p record.Partition, _ int32) { m.target = append(m.target, p) }, false)
	if d.err != nil {
		return
	}
	if m.progress > waiting || s.members[m.id] != nil {
		d.fail("member")
		return
	}
	var e *expression
	if pattern != "" {
		re, err := compileExpression(pattern)
		if err != nil {
			d.fail("regular expression")
			return
		}
		e = &expression{re: re}
	}
	s.order++
	m.order = s.order
	s.members[m.id] = m
	if m.instance != "" {
		s.static[m.instance] = m.id
	}
	s.setNames(m, names)
	s.setPattern(m, pattern, e)
	for p := range m.assigned {
		s.owners[p] = m.id
	}
	for _, p := range m.giveUp {
		s.owners[p] = m.id
	}
	m.deadline = now.Add(s.cfg.ConsumerSession)
	s.wakeBy(m.deadline)
	if m.progress == revoking {
		m.revokeBy = now.Add(m.rebalance)
		s.wakeBy(m.revokeBy)
	}
}

// take returns the next n bytes.
func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail("length")
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

// partitions reads what appendPartitions wrote.
func (d *decoder) partitions(add func(record.Partition, int32), epochs bool) {
	for topics := d.uvarint(); topics > 0 && d.err == nil; topics-- {
		var p record.Partition
		copy(p.Topic[:], d.take(len(p.Topic)))
		last := int64(0)
		for n := d.uvarint(); n > 0 && d.err == nil; n-- {
			last += int64(d.uvarint())
			if last < 0 || last > 1<<31-1 {
				d.fail("partition")
				return
			}
			p.Index = int32(last)
			epoch := int32(0)
			if epochs {
				epoch = int32(d.uvarint())
			}
			if d.err == nil {
				add(p, epoch)
			}
		}
	}
}
