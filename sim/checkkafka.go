package sim

import (
	"github.com/bargedata/barge/record"
)

// CheckKafka holds what clients saw against what Kafka promises. Names of faults are those of Jepsen's Kafka tests:
// inconsistent offset (two values at one offset), lost write (told committed and not there, I1), duplicate (an idempotent producer's
// batch twice, another's more often than its open outcomes explain), phantom (told not written and there), reordering of one
// producer's batches, holes between those of one epoch, skipping or non-monotonic poll, gaps, bounds that retreat (I5), and producers refused without cause.
func CheckKafka(h *KafkaHistory) []Violation {
	k := kafkaCheck{h: h, values: map[record.Partition]map[record.Offset]string{}, final: map[record.Partition]*FinalLog{}}
	for i := range h.Final {
		k.final[h.Final[i].Partition] = &h.Final[i]
	}
	k.finals()
	k.polls()
	k.answers()
	k.copies()
	k.bounds()
	k.ids()
	return k.bad
}

type kafkaCheck struct {
	h      *KafkaHistory
	values map[record.Partition]map[record.Offset]string
	final  map[record.Partition]*FinalLog
	bad    []Violation
}

func (k *kafkaCheck) say(format string, args ...any) {
	k.bad = append(k.bad, broken("kafka", format, args...))
}

// saw holds one record against what others saw at its offset.
func (k *kafkaCheck) saw(p record.Partition, s Seen, who string) {
	at := k.values[p]
	if at == nil {
		at = map[record.Offset]string{}
		k.values[p] = at
	}
	if before, ok := at[s.Offset]; ok && before != s.Value {
		k.say("inconsistent offset: %s offset %d is %q and, by %s, %q", p, s.Offset, before, who, s.Value)
	}
	at[s.Offset] = s.Value
}

func (k *kafkaCheck) finals() {
	for i := range k.h.Final {
		f := &k.h.Final[i]
		next := f.LogStart
		for _, s := range f.Records {
			if s.Offset != next {
				k.say("gap: %s goes from offset %d to %d in the end", f.Partition, next-1, s.Offset)
			}
			next = s.Offset + 1
			k.saw(f.Partition, s, "the last read")
		}
		if next != f.LogEnd {
			k.say("gap: %s can be read up to %d in the end, its log ends at %d", f.Partition, next, f.LogEnd)
		}
	}
}

func (k *kafkaCheck) polls() {
	for i := range k.h.Polled {
		p := &k.h.Polled[i]
		if p.OutOfRange && p.From >= p.LogStart {
			k.say("consumer %d was told that %s offset %d is out of range [%d, %d]", p.Consumer, p.Partition, p.From, p.LogStart, p.LogEnd)
		}
		if p.OutOfRange || p.Failed {
			continue
		}
		next := p.From
		for _, s := range p.Records {
			if s.Offset < p.From {
				continue // of the batch that holds From
			}
			if s.Offset != next {
				k.say("skipping poll: %s from %d gave %d where %d was due", p.Partition, p.From, s.Offset, next)
				break
			}
			next++
			k.saw(p.Partition, s, "a poll")
		}
		if next == p.From && p.From < p.LogEnd && p.From >= p.LogStart {
			k.say("empty poll: %s from %d gave nothing though the log ends at %d", p.Partition, p.From, p.LogEnd)
		}
		if next > p.LogEnd {
			k.say("poll of %s gave offset %d beyond the end %d that it told", p.Partition, next-1, p.LogEnd)
		}
	}
}

// answers looks for what producers were told and is not so.
func (k *kafkaCheck) answers() {
	for _, t := range k.h.Told {
		s := &k.h.Sent[t.Sent]
		if t.Unjust {
			k.say("producer %d was refused its next batch (%s): %s", s.Producer, s.Values[0], t.Text)
		}
		f := k.final[s.Partition]
		if t.Outcome != Committed || f == nil {
			continue
		}
		for i, v := range s.Values {
			o := t.Base + record.Offset(i)
			if o < f.LogStart {
				continue
			}
			if got, ok := f.value(o); !ok || got != v {
				k.say("lost write: %s was acknowledged at %s offset %d, which holds %q in the end", v, s.Partition, o, got)
			}
		}
	}
}

func (f *FinalLog) value(o record.Offset) (string, bool) {
	if i := int(o - f.LogStart); i >= 0 && i < len(f.Records) {
		return f.Records[i].Value, true
	}
	return "", false
}

// copies counts how often each batch is in the log, and looks at the order of each producer's batches.
func (k *kafkaCheck) copies() {
	type count struct {
		committed map[record.Offset]bool
		promises  int // attempts that will never be there
	}
	counts := make([]count, len(k.h.Sent))
	for _, t := range k.h.Told {
		c := &counts[t.Sent]
		switch t.Outcome {
		case Committed:
			if c.committed == nil {
				c.committed = map[record.Offset]bool{}
			}
			c.committed[t.Base] = true
		case NotWritten, Refused:
			c.promises++
		case Unknown:
		}
	}
	copies := make([]int, len(k.h.Sent))
	by := map[string]int{}
	for i := range k.h.Sent {
		by[k.h.Sent[i].Values[0]] = i
	}
	for i := range k.h.Final {
		last := map[int]int{} // by producer: the newest of its records so far
		for _, s := range k.h.Final[i].Records {
			at, ok := by[s.Value]
			if !ok {
				continue
			}
			copies[at]++
			b := &k.h.Sent[at]
			if !b.Idempotent {
				continue // a request that was on its way when its client hung up may be written after later ones, as with Kafka
			}
			if before, ok := last[b.Producer]; ok && b.First <= before {
				k.say("reordering: %s stands after a later batch of its producer", s.Value)
			}
			last[b.Producer] = b.First
		}
		k.holes(&k.h.Final[i], by)
	}
	for i := range k.h.Sent {
		s, c := &k.h.Sent[i], &counts[i]
		if k.final[s.Partition] == nil {
			continue
		}
		most := s.Attempts - c.promises
		if s.Idempotent {
			most = min(most, 1)
		}
		switch {
		case copies[i] > most && most == 0:
			k.say("phantom: every attempt to write %s was told not written, and it is there %d times", s.Values[0], copies[i])
		case copies[i] > most:
			k.say("duplicate: %s is there %d times, at most %d are explained", s.Values[0], copies[i], most)
		case s.Idempotent && len(c.committed) > 1:
			k.say("inconsistent offset: %s was acknowledged at %d offsets", s.Values[0], len(c.committed))
		}
	}
}

// holes looks for batches of one epoch of an idempotent producer that stand in the log without one that is due between them.
func (k *kafkaCheck) holes(f *FinalLog, by map[string]int) {
	last := map[int]*Sent{}
	for _, s := range f.Records {
		at, ok := by[s.Value]
		if !ok || !k.h.Sent[at].Idempotent {
			continue
		}
		b := &k.h.Sent[at]
		if a := last[b.Producer]; a != nil && a.Epoch == b.Epoch && b.First > a.First+len(a.Values) {
			k.say("hole: %s follows %s of the same epoch of its producer", s.Value, a.Values[0])
		}
		last[b.Producer] = b
	}
}

// bounds looks for log starts and ends that go back. A look that began after an acknowledgment, or after another look had ended,
// must know it. Looks come in the order in which they ended.
func (k *kafkaCheck) bounds() {
	for i := range k.h.Looked {
		l := &k.h.Looked[i]
		if l.LogStart > l.LogEnd {
			k.say("%s begins at %d and ends at %d", l.Partition, l.LogStart, l.LogEnd)
		}
		for j := range k.h.Looked[:i] {
			e := &k.h.Looked[j]
			if e.Partition == l.Partition && e.Ended < l.Began && (e.LogEnd > l.LogEnd || e.LogStart > l.LogStart) {
				k.say("bounds of %s went back from [%d, %d] to [%d, %d]", l.Partition, e.LogStart, e.LogEnd, l.LogStart, l.LogEnd)
			}
		}
		for _, t := range k.h.Told {
			s := &k.h.Sent[t.Sent]
			if t.Outcome == Committed && t.Step < l.Began && s.Partition == l.Partition && t.Base+record.Offset(len(s.Values)) > l.LogEnd {
				k.say("%s was told to end at %d after %s had been acknowledged at %d", l.Partition, l.LogEnd, s.Values[0], t.Base)
			}
		}
	}
	type place struct {
		agent int
		p     record.Partition
	}
	ends := map[place]record.Offset{}
	for i := range k.h.Polled {
		p := &k.h.Polled[i]
		if p.Failed {
			continue
		}
		at := place{p.Agent, p.Partition}
		if p.LogEnd < ends[at] {
			k.say("agent %d took the end of %s back from %d to %d", p.Agent, p.Partition, ends[at], p.LogEnd)
		}
		ends[at] = p.LogEnd
	}
}

func (k *kafkaCheck) ids() {
	given := map[int64]bool{}
	for _, id := range k.h.IDs {
		if given[id] {
			k.say("producer id %d was given twice", id)
		}
		given[id] = true
	}
}
