package sim

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/bargedata/barge/compactor"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// upkeepLimit is for how long the agents of a cluster may do no background work though there is some, once all is well, in milliseconds: the longest
// back-off after a failure, the longest commit interval, the age at which objects are regrouped, and the grace.
const upkeepLimit = 600_000

// agreed tells whether every agent knows of all that live, and of nobody else.
func (w *world) agreed() bool {
	for _, a := range w.agents {
		if a.node == nil || a.session == 0 {
			return false
		}
		members := a.node.members()
		if len(members.Live()) != len(w.agents) {
			return false
		}
		for _, b := range w.agents {
			if m, ok := members.BySession(uint64(b.session)); !ok || m.Peer != b.address() {
				return false
			}
		}
	}
	return len(w.agents) > 0
}

// noteShares notes who takes which piece of the background work when all know of one another.
func (w *world) noteShares() {
	works := []string{"sweep", "spans/inline"}
	for _, s := range w.oracle.view.Sessions() {
		works = append(works, "spans/"+strconv.FormatUint(uint64(s.ID), 10))
	}
	for _, t := range slices.Concat(w.oracle.view.Topics(), w.oracle.view.Tombstones()) {
		works = append(works, compactor.TopicWork(t.ID, len(w.agents)))
	}
	works = slices.Compact(slices.Sorted(slices.Values(works)))
	shared := make([]Shared, len(works))
	for i, work := range works {
		shared[i] = Shared{Work: work, Step: w.steps}
	}
	for _, a := range w.agents {
		mine, _ := compactor.Spread(a.node.members, a.session)()
		for i := range shared {
			if mine == nil || mine(shared[i].Work) {
				shared[i].Agents = append(shared[i].Agents, a.n)
			}
		}
	}
	w.hist.Shared = append(w.hist.Shared, shared...)
}

// readEverywhere has every agent read every partition to its end.
func (w *world) readEverywhere() {
	for _, a := range slices.Clone(w.agents) {
		for _, t := range w.oracle.view.Topics() {
			for i := range t.Partitions {
				p := record.Partition{Topic: t.ID, Index: i}
				if !w.oracle.live(p) {
					continue // somebody had asked for its deletion
				}
				f := w.readPartition(a, p)
				if w.broken {
					return
				}
				if n := int64(len(f.Records)); n < int64(f.LogEnd-f.LogStart) && w.oracle.live(p) {
					w.flaw("unseen", "%s gives %d records of %s when all is at rest, there are %d", a.label(), n, p, f.LogEnd-f.LogStart)
				}
			}
		}
	}
}

// upkeep leaves the agents alone until they have done all background work, sharing it, with one of them killed first where there are
// some. Each piece must have been somebody's.
func (w *world) upkeep() {
	if w.profile.skew > maxSkew { // graces and intervals are waited for by clocks that differ by hours
		return
	}
	w.mute, w.profile.tick = true, min(w.profile.tick, time.Second)
	defer func() { w.mute = false }()
	if n := len(w.agents); n > 2 && w.rng.IntN(2) == 0 {
		w.kill(w.agents[w.rng.IntN(n)])
	}
	began, last, done := w.now, w.now, 0
	w.until(3*quietSteps, func() bool {
		if n := w.worked(); n > done {
			last, done = w.now, n
		}
		return w.now-last > upkeepLimit || w.idle() && w.swept() && w.agreed()
	})
	if !w.idle() || !w.swept() {
		w.flaw("upkeep", "%d ms after all was at rest, and %d ms after they last did some work, %d agents have left: %s", w.now-began, w.now-last, len(w.agents), w.undone())
		return
	}
	w.counts["upkeep shared to its end"]++
	w.note("upkeep done", "", w.now-began)
}

// worked counts pieces of background work that were done.
func (w *world) worked() (n int) {
	for _, what := range [...]string{"compactions", "objects regrouped", "table versions projected", "objects deleted"} {
		n += w.counts[what]
	}
	return n
}

// undone tells what background work there is.
func (w *world) undone() string {
	v := w.oracle.view
	text := ""
	for _, p := range v.Pending() {
		text += fmt.Sprintf("%d bytes of topic %s, ", p.Bytes, p.Topic.Name)
	}
	for _, key := range w.unswept() {
		text += key + " is not swept, "
	}
	return text + fmt.Sprintf("%d tables with pending files, %d released objects, %d tombstones",
		len(v.PendingTables(record.TopicID{}, 1000)), len(v.Released()), len(v.Tombstones()))
}

func (w *world) swept() bool { return len(w.unswept()) == 0 }

// unswept are the WAL objects that nothing refers to, of sessions that were sealed after the object had been written.
func (w *world) unswept() []string {
	page, err := w.witness.List(w.ctx, "wal/", "", 100_000)
	if err != nil {
		w.fault("rest", "list wal/: %v", err)
	}
	var keys []string
	for _, o := range page {
		k, ok := record.ParseObjectKey(o.Key)
		sealed, is := w.oracle.sealedAt[metadata.SessionID(k.Session)]
		if ok && is && w.witness.written[o.Key].last < sealed && !w.oracle.view.KnowsObject(o.Key) {
			keys = append(keys, o.Key)
		}
	}
	return keys
}
