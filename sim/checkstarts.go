package sim

import (
	"strconv"
	"strings"

	"github.com/bargedata/barge/record"
)

// StartHistory is what happened to log starts.
type StartHistory struct {
	Moved []StartMoved
	Told  []StartTold
}

// retained stands for what retention wants.
const retained record.Offset = -2

// StartMoved is a durable entry that has moved a log start.
type StartMoved struct {
	Partition    record.Partition
	Step         int
	From, To     record.Offset
	Wanted       record.Offset // by DeleteRecords; -1: the end; retained: by retention
	CompactedEnd record.Offset // of before
	EntryTime    int64
	KeepMillis   int64 // retention.ms where that alone can have done it, else -1
}

// StartTold is an answer to DeleteRecords.
type StartTold struct {
	Agent, Step int
	Partition   record.Partition
	LogStart    record.Offset
}

// CheckStarts holds what agents say of log starts against the entries that moved them ("starts"): a start goes up, and to where it was
// wanted; retention takes what was compacted and is too old; nobody is told a start that is not there yet, nor that an offset above it is
// out of range; none goes back on an agent, nor for who asks after an answer; and in the end it is where the last entry has put it.
func CheckStarts(h *History) []Violation {
	var bad []Violation
	say := func(format string, args ...any) { bad = append(bad, broken("starts", format, args...)) }
	moves := map[record.Partition][]StartMoved{}
	for _, m := range h.Starts.Moved {
		switch {
		case m.To < m.From:
			say("%s went back from %d to %d", m.Partition, m.From, m.To)
		case m.Wanted >= 0 && m.To != m.Wanted:
			say("%s was to start at %d, and starts at %d", m.Partition, m.Wanted, m.To)
		case m.Wanted == retained && m.To > m.CompactedEnd:
			say("retention took %s to %d, beyond its compacted end %d", m.Partition, m.To, m.CompactedEnd)
		}
		moves[m.Partition] = append(moves[m.Partition], m)
	}
	// newest is where p starts by the entries up to a step.
	newest := func(p record.Partition, step int) record.Offset {
		start := record.Offset(0)
		for _, m := range moves[p] {
			if m.Step <= step {
				start = m.To
			}
		}
		return start
	}
	type place struct {
		agent int
		p     record.Partition
	}
	shown := map[place]record.Offset{}
	for i := range h.Kafka.Polled {
		p := &h.Kafka.Polled[i]
		if p.Failed {
			continue
		}
		start := newest(p.Partition, p.Step)
		switch at := (place{p.Agent, p.Partition}); {
		case p.LogStart > start:
			say("agent %d told that %s starts at %d, and it starts at %d", p.Agent, p.Partition, p.LogStart, start)
		case p.LogStart < shown[at]:
			say("agent %d took the start of %s back from %d to %d", p.Agent, p.Partition, shown[at], p.LogStart)
		case p.OutOfRange && p.From >= start:
			say("consumer %d was told that %s offset %d is out of range, and it starts at %d", p.Consumer, p.Partition, p.From, start)
		default:
			shown[at] = p.LogStart
		}
	}
	for i := range h.Kafka.Looked {
		l := &h.Kafka.Looked[i]
		if start := newest(l.Partition, l.Ended); l.LogStart > start {
			say("agent %d told that %s starts at %d, and it starts at %d", l.Agent, l.Partition, l.LogStart, start)
		}
		for _, t := range h.Starts.Told {
			if t.Partition == l.Partition && t.Step < l.Began && l.LogStart < t.LogStart {
				say("agent %d told that %s starts at %d after agent %d had answered that it starts at %d", l.Agent, l.Partition, l.LogStart, t.Agent, t.LogStart)
			}
		}
	}
	for _, r := range h.Kafka.AtRest {
		if start := newest(r.Partition, r.Step); r.LogStart != start {
			say("agent %d shows that %s starts at %d when all is at rest, and it starts at %d", r.Agent, r.Partition, r.LogStart, start)
		}
	}
	for i := range h.Kafka.Final {
		f := &h.Kafka.Final[i]
		if m := moves[f.Partition]; len(m) > 0 && f.LogStart != m[len(m)-1].To || len(m) == 0 && f.LogStart != 0 {
			say("%s starts at %d in the end, and no entry has put it there last", f.Partition, f.LogStart)
		}
	}
	return append(bad, tooEarly(h)...)
}

// tooEarly finds rows that left their log by retention.ms before they were old enough by the entry's time. The table still has them.
func tooEarly(h *History) []Violation {
	var bad []Violation
	for i := range h.Tables {
		t := &h.Tables[i]
		for _, m := range h.Starts.Moved {
			if m.Partition.Topic != t.ID || m.KeepMillis < 0 {
				continue
			}
			for _, rows := range t.Files {
				for _, r := range rows {
					if r.Partition == m.Partition.Index && r.Offset >= m.From && r.Offset < m.To && m.EntryTime-r.Timestamp() <= m.KeepMillis {
						bad = append(bad, broken("starts", "%s offset %d was retained for %d ms of %d", m.Partition, r.Offset, m.EntryTime-r.Timestamp(), m.KeepMillis))
					}
				}
			}
		}
	}
	return bad
}

// Timestamp is that of the row's record, as its text has it.
func (r *Row) Timestamp() int64 {
	_, rest, _ := strings.Cut(r.Value, " at ")
	digits, _, _ := strings.Cut(rest, " ")
	ms, _ := strconv.ParseInt(digits, 10, 64)
	return ms
}

// skipped tells whether an offset was deleted before it was compacted.
func skipped(moves []StartMoved, p int32, o record.Offset) bool {
	for _, m := range moves {
		if m.Partition.Index == p && o >= m.CompactedEnd && o < m.To {
			return true
		}
	}
	return false
}
