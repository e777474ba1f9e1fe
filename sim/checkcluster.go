package sim

import (
	"cmp"
	"slices"

	"github.com/bargedata/barge/record"
)

// CheckEnds looks for stale ends ("stale"): a client that has once been told where a partition ends, by ListOffsets or as the high watermark
// of a fetch, must never be told less, whichever agent it asks; and who asks for the end must be told of everything that was acknowledged
// before, by any agent.
func CheckEnds(h *KafkaHistory) []Violation {
	var bad []Violation
	type told struct {
		client, agent, began, ended int
		partition                   record.Partition
		end                         record.Offset
		asked                       bool // by ListOffsets
	}
	var ends []told
	for i := range h.Looked {
		if l := &h.Looked[i]; l.Heard {
			ends = append(ends, told{l.Client, l.Agent, l.Began, l.Ended, l.Partition, l.LogEnd, true})
		}
	}
	for i := range h.Polled {
		if p := &h.Polled[i]; p.Heard && !p.Failed {
			ends = append(ends, told{p.Consumer, p.Agent, p.Began, p.Step, p.Partition, p.LogEnd, p.OutOfRange})
		}
	}
	slices.SortStableFunc(ends, func(a, b told) int { return cmp.Compare(a.ended, b.ended) })
	type place struct {
		client    int
		partition record.Partition
	}
	acked := map[record.Partition][]Told{}
	for _, t := range h.Told {
		if t.Outcome == Committed {
			p := h.Sent[t.Sent].Partition
			acked[p] = append(acked[p], t)
		}
	}
	known := map[place][]told{} // a client's answers, each with a higher end than those before
	for _, e := range ends {
		at := place{e.client, e.partition}
		before := known[at]
		for i := len(before) - 1; i >= 0; i-- {
			if b := before[i]; b.ended < e.began && b.end > e.end {
				bad = append(bad, broken("stale", "client %d was told by agent %d that %s ends at %d, and later by agent %d that it ends at %d", e.client, b.agent, e.partition, b.end, e.agent, e.end))
				break
			}
		}
		if len(before) == 0 || before[len(before)-1].end < e.end {
			known[at] = append(before, e)
		}
		if !e.asked {
			continue
		}
		for _, t := range acked[e.partition] {
			s := &h.Sent[t.Sent]
			if t.Step < e.began && t.Base+record.Offset(len(s.Values)) > e.end {
				bad = append(bad, broken("stale", "agent %d told that %s ends at %d after %s had been acknowledged at %d", e.agent, e.partition, e.end, s.Values[0], t.Base))
			}
		}
	}
	return bad
}

// CheckUnseen looks for what an agent does not show when all has come to rest ("unseen"): records that were acknowledged, by whomever.
func CheckUnseen(h *KafkaHistory) []Violation {
	var bad []Violation
	for _, r := range h.AtRest {
		for _, t := range h.Told {
			s := &h.Sent[t.Sent]
			if t.Outcome == Committed && t.Step <= r.Step && s.Partition == r.Partition && t.Base+record.Offset(len(s.Values)) > r.LogEnd {
				bad = append(bad, broken("unseen", "agent %d shows %s up to %d when all is at rest, and %s was acknowledged at %d", r.Agent, r.Partition, r.LogEnd, s.Values[0], t.Base))
			}
		}
	}
	return bad
}
