package sim

import (
	"math/rand/v2"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// drawLogStarts makes log starts move in some worlds: on request, and by retention. It has a source of its own, so that the others stay the
// worlds they were.
func (w *world) drawLogStarts() {
	w.startRng = rand.New(rand.NewPCG(w.cfg.Seed, 0x1095))
	r := w.startRng
	w.profile.deletions = []int{100_000_000, 100_000_000, 150, 600}[r.IntN(4)]
	for i := range w.wanted {
		if w.kind == Stalled || r.IntN(6) > 0 {
			continue
		}
		configs := map[string]string{}
		for k, v := range w.wanted[i].configs {
			configs[k] = v
		}
		if r.IntN(2) == 0 {
			configs["retention.ms"] = []string{"20000", "120000", "1800000"}[r.IntN(3)]
		} else {
			configs["retention.bytes"] = []string{"0", "4000", "20000"}[r.IntN(3)]
		}
		w.wanted[i].configs = configs
	}
}

// deleteRecords has somebody delete records of some partition, as DeleteRecords does.
func (w *world) deleteRecords() {
	r := w.startRng
	if w.calm || w.kind == Stalled || w.steps < w.profile.lull || r.IntN(w.profile.deletions) > 0 || len(w.agents) == 0 {
		return
	}
	a := w.agents[r.IntN(len(w.agents))]
	if a.paused || !a.ready || a.stopping || a.sealed {
		return
	}
	topics := a.view.Topics()
	if len(topics) == 0 {
		return
	}
	t := topics[r.IntN(len(topics))]
	p := record.Partition{Topic: t.ID, Index: r.Int32N(t.Partitions)}
	b, err := a.view.Bounds(p)
	if err != nil {
		w.fault("rest", "%v", err)
		return
	}
	to := b.LogStart + record.Offset(r.Int64N(int64(b.HighWatermark-b.LogStart)/2+2))
	switch r.IntN(8) {
	case 0:
		to = metadata.ToHighWatermark
	case 1:
		to = b.HighWatermark - min(b.HighWatermark, record.Offset(r.IntN(3)))
	}
	w.note("delete records", p.String(), int64(to))
	a.submit(metadata.DeleteRecords{Moves: []metadata.LogStartMove{{Partition: p, To: to}}}, func(res metadata.Result, err error) {
		got, ok := res.(metadata.DeleteRecordsResult)
		if !ok || err != nil || got.Err != nil || got.Moves[0].Err != nil || a.gone {
			return
		}
		w.hist.Starts.Told = append(w.hist.Starts.Told, StartTold{Agent: a.n, Step: w.steps, Partition: p, LogStart: got.Moves[0].LogStart})
	})
}

// marks are what the oracle works out of a partition, entry by entry, beside State.
type marks struct{ start, compacted record.Offset }

func (o *oracle) marksOf(p record.Partition) *marks {
	m := o.marks[p]
	if m == nil {
		m = &marks{}
		o.marks[p] = m
	}
	return m
}

// startMoved notes that a durable entry has moved a log start; wanted is where DeleteRecords wanted it, keep the milliseconds of
// retention, -1 where they are not what did it.
func (o *oracle) startMoved(p record.Partition, to, wanted record.Offset, entryTime, keep int64) {
	m := o.marksOf(p)
	s := StartMoved{
		Partition: p, Step: o.w.steps, From: m.start, To: to, Wanted: wanted, CompactedEnd: m.compacted, EntryTime: entryTime, KeepMillis: keep,
	}
	if to == m.start {
		return
	}
	o.w.hist.Starts.Moved = append(o.w.hist.Starts.Moved, s)
	m.start, m.compacted = to, max(to, m.compacted)
	if keep >= 0 || wanted == retained {
		o.w.counts["log starts moved by retention"]++
	} else {
		o.w.counts["log starts moved on request"]++
	}
}

// keepMillis is what the retention.ms of a topic says here, -1 for nothing.
func keepMillis(t metadata.Topic) int64 {
	switch t.Configs["retention.ms"] {
	case "20000":
		return 20_000
	case "120000":
		return 120_000
	case "1800000":
		return 1_800_000
	}
	return -1
}
