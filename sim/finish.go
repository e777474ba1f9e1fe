package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bargedata/barge/compactor/fsck"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/storetest"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

// Bounds on how long the end may take, in steps: beyond, something does not come to rest.
const (
	sweeps     = true
	drainSteps = 30_000
	quietSteps = 60_000
	maxRounds  = 300 // of background work between two moves of the clock
)

// finish ends the faults and brings the cluster to rest: sleepers wake, all agents die, a fresh one settles what clients have open,
// compacts and sweeps until nothing is left to do, and then everything is read back.
func (w *world) finish() {
	w.calm = true
	w.faulty.Configure(storetest.FaultConfig{Sleep: w.sleep})
	w.torn.Configure(storetest.FaultConfig{Sleep: w.sleep})
	w.profile.torn = 0
	w.note("calm", "", 0)
	for _, a := range w.agents {
		a.paused = false
	}
	w.draining = true
	if w.net != nil {
		w.settle()
	} else {
		w.draining = false // as ever
		w.until(drainSteps/10, func() bool { return len(w.agents) <= 1 })
		w.faulty.Land(1 << 20)
		for len(w.agents) > 0 {
			w.kill(w.agents[0])
		}
		w.draining = true
		if !w.until(drainSteps, w.drained) {
			w.flaw("rest", "clients do not come to rest: %s", w.open())
		}
	}
	if w.quiesce(); w.broken {
		return
	}
	w.readBack()
	w.oracle.leftovers(w.ctx)
	w.saw(w.oracle.view, "view from the beginning")
	w.replayAll()
	w.fsck()
	w.splice()
}

// until turns until what is wanted holds; false when it takes too many steps.
func (w *world) until(steps int, wanted func() bool) bool {
	for range steps {
		if w.broken || wanted() {
			return true
		}
		w.turn()
	}
	return wanted()
}

// drained tells whether no client waits for anything.
func (w *world) drained() bool {
	for _, p := range w.producers {
		p.lookAtClock()
		if w.oracle.live(p.partition) && len(p.window) > 0 {
			return false
		}
	}
	return true
}

func (w *world) open() string {
	var open []string
	for _, p := range w.producers {
		for _, b := range p.window {
			open = append(open, w.hist.Kafka.Sent[b.index].Values[0])
		}
	}
	return strings.Join(open, ", ")
}

// quiesce moves the clock past every interval, grace and re-sweep until the background work has nothing left to do.
func (w *world) quiesce() {
	if w.net != nil {
		w.mute, w.profile.tick = true, min(w.profile.tick, time.Second)
	}
	for _, d := range []time.Duration{0, time.Minute, 10 * time.Minute, 2 * time.Hour, 25 * time.Hour, 2 * time.Minute, 2 * time.Minute} {
		w.now += d.Milliseconds()
		w.note("quiesce", d.String(), 0)
		var a *agent
		if !w.until(drainSteps, func() bool { a = w.serving(); return a != nil && a.ready }) {
			w.fault("rest", "no agent comes to serve")
			return
		}
		if a == nil || w.broken {
			return
		}
		start := a.worker.Stats().Rounds
		if !w.until(quietSteps, func() bool {
			n := a.worker.Stats().Rounds
			return n >= start+w.rounds() && (w.idle() || n >= start+maxRounds)
		}) {
			w.flaw("rest", "background work does not come to rest")
			break
		}
		if a.gone || a.ended {
			w.fault("rest", "the last agent ended without a fault")
			return
		}
	}
	if w.idle() {
		return
	}
	if n := len(w.oracle.view.Pending()); n > 0 {
		w.flaw("rest", "%d topics still have runs", n)
	}
	if n := len(w.oracle.view.PendingTables(record.TopicID{}, 1000)); n > 0 {
		w.flaw("rest", "%d tables still have pending files", n)
	}
	if n := len(w.oracle.view.Released()); n > 0 {
		w.flaw("rest", "%d released objects are still there", n)
	}
	if n := len(w.oracle.view.Expired(w.oracle.view.EntryTime(), record.TopicID{}, 1000)); n > 0 {
		w.flaw("rest", "of %d topics something has expired and is still there", n)
	}
	if n := len(w.oracle.view.Tombstones()); n > 0 {
		w.flaw("rest", "%d tombstones are still there", n)
	}
}

// rounds is how many rounds it takes at least until everything has had its turn: a round sweeps one session.
func (w *world) rounds() int64 { return 3 + int64(len(w.oracle.view.Sessions())) }

// idle tells whether the newest State holds no background work.
func (w *world) idle() bool {
	v := w.oracle.view
	return len(v.Expired(v.EntryTime(), record.TopicID{}, 1)) == 0 && len(v.Pending()) == 0 && len(v.PendingTables(record.TopicID{}, 1000)) == 0 && len(v.Released()) == 0 && len(v.Tombstones()) == 0
}

// readBack reads every partition through the last agent's own reader, and every table with the reader of Delta logs.
func (w *world) readBack() {
	a := w.serving()
	logs := map[record.Partition]*FinalLog{}
	for _, t := range w.oracle.view.Topics() {
		for i := range t.Partitions {
			p := record.Partition{Topic: t.ID, Index: i}
			f := w.readPartition(a, p)
			w.hist.Kafka.Final = append(w.hist.Kafka.Final, f)
			logs[p] = &f
		}
	}
	for _, t := range w.oracle.view.Topics() {
		if err := w.readTable(t, logs); err != nil {
			w.flaw("table", "%s can not be read: %v", t.Name, err)
		}
	}
}

func (w *world) readPartition(a *agent, p record.Partition) FinalLog {
	c := &consumer{w: w, n: -1, partition: p}
	bounds, err := w.oracle.view.Bounds(p)
	if err != nil {
		w.fault("rest", "%v", err)
	}
	f := FinalLog{Partition: p, LogStart: bounds.LogStart, LogEnd: bounds.HighWatermark}
	c.position = bounds.LogStart
	for tries := 0; tries < 20; tries++ {
		// The log start may move while this reads: what lies below it is nobody's any more.
		if now, err := w.oracle.view.Bounds(p); err == nil && now.LogStart > f.LogStart {
			f.LogStart, c.position = now.LogStart, max(c.position, now.LogStart)
			f.Records = slices.DeleteFunc(f.Records, func(s Seen) bool { return s.Offset < now.LogStart })
		}
		if c.position >= bounds.HighWatermark || w.broken {
			break
		}
		before := len(w.hist.Kafka.Polled)
		if !w.oracle.live(p) {
			break // somebody had asked for its deletion
		}
		if !c.poll(a) || !w.until(quietSteps, func() bool { return c.asked == nil }) {
			w.fault("rest", "the last read of %s is not answered", p)
			break
		}
		for _, polled := range w.hist.Kafka.Polled[before:] {
			if polled.Consumer == -1 {
				for _, s := range polled.Records {
					if s.Offset >= polled.From {
						f.Records, tries = append(f.Records, s), 0
					}
				}
			}
		}
	}
	return f
}

// readTable reads all versions of a table and all files that they or State name.
func (w *world) readTable(t metadata.Topic, logs map[record.Partition]*FinalLog) error {
	ctx := w.ctx
	h := TableHistory{Topic: t.Name, ID: t.ID, Keeps: t.TableEnabled(), Files: map[string][]Row{}, Logs: map[int32]*FinalLog{}}
	for i := range t.Partitions {
		p := record.Partition{Topic: t.ID, Index: i}
		end, err := w.oracle.view.CompactedEnd(p)
		if err != nil {
			return err
		}
		h.Ends = append(h.Ends, end)
		h.Logs[i] = logs[p]
	}
	for _, m := range w.hist.Starts.Moved {
		if m.Partition.Topic == t.ID {
			h.Moved = append(h.Moved, m)
		}
	}
	named := map[string]bool{}
	if t.TableEnabled() {
		if err := w.readVersions(ctx, t, &h); err != nil {
			return err
		}
		if n := len(h.Versions); n > 0 {
			for _, key := range h.Versions[n-1].Files {
				named[key] = true
			}
		}
	}
	for _, f := range w.oracle.view.Files(t.ID) {
		if !named[f.Key] {
			h.Pending = append(h.Pending, f.Key)
		}
		rows, err := w.rows(ctx, f.Key, int64(f.Size))
		if err != nil {
			return err
		}
		h.Files[f.Key] = rows
	}
	for _, v := range h.Versions {
		for _, key := range v.Files {
			if _, ok := h.Files[key]; ok {
				continue // else it has left the log, and is the table's alone
			}
			page, err := w.witness.List(ctx, key, "", 1)
			if err != nil || len(page) == 0 || page[0].Key != key {
				continue // the checker tells that it can not be read
			}
			rows, err := w.rows(ctx, key, page[0].Size)
			if err != nil {
				return err
			}
			h.Files[key] = rows
		}
	}
	w.hist.Tables = append(w.hist.Tables, h)
	return nil
}

func (w *world) readVersions(ctx context.Context, t metadata.Topic, h *TableHistory) error {
	logDir := t.TableDir + "/_delta_log/"
	page, err := w.witness.List(ctx, logDir, "", 10_000)
	if err != nil {
		return err
	}
	for _, o := range page {
		name := strings.TrimPrefix(o.Key, logDir)
		var version int64
		if n, _ := fmt.Sscanf(name, "%020d.json", &version); n != 1 || !strings.HasSuffix(name, ".json") {
			continue
		}
		v, err := w.readVersion(ctx, t, version)
		if err != nil {
			return err
		}
		h.Versions = append(h.Versions, v)
	}
	return nil
}

func (w *world) readVersion(ctx context.Context, t metadata.Topic, version int64) (TableVersion, error) {
	v := TableVersion{Version: version, Ends: map[int32]record.Offset{}}
	snap, err := delta.NewLog(upTo{w.witness.Memory, version}, t.TableDir, func() time.Time { return time.UnixMilli(w.now) }).Load(ctx)
	if err != nil {
		return v, err
	}
	for _, add := range snap.Adds() {
		v.Files = append(v.Files, t.TableDir+"/"+add.Path)
	}
	for i := range t.Partitions {
		if end, ok := snap.Txn(delta.PartitionApp(cluster, record.Partition{Topic: t.ID, Index: i})); ok {
			v.Ends[i] = record.Offset(end)
		}
	}
	return v, nil
}

func (w *world) rows(ctx context.Context, key string, size int64) ([]Row, error) {
	f, err := tableflow.OpenFile(ctx, w.witness.Memory, key, size)
	if err != nil {
		return nil, err
	}
	head, err := f.Head(ctx, 1<<20)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, len(head))
	for i, r := range head {
		rows[i] = Row{Partition: r.Partition, Offset: r.Record.Offset, Value: render(&r.Record)}
	}
	return rows, nil
}

// tableHolds tells whether the newest version of a table names a file.
func (w *world) tableHolds(ctx context.Context, t metadata.Topic, rel string) bool {
	snap, err := delta.NewLog(w.witness.Memory, t.TableDir, func() time.Time { return time.UnixMilli(w.now) }).Load(ctx)
	return err == nil && snap.Has(rel)
}

// upTo shows a table's log as it was at a version.
type upTo struct {
	*objectstore.Memory
	version int64
}

func (u upTo) later(key string) bool {
	i := strings.LastIndex(key, "/_delta_log/")
	if i < 0 {
		return false
	}
	var version int64
	n, _ := fmt.Sscanf(key[i+len("/_delta_log/"):], "%020d", &version)
	return n != 1 || version > u.version
}

// Get implements delta.Store.
func (u upTo) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	if u.later(key) {
		return nil, fmt.Errorf("get %s: %w", key, objectstore.ErrNotFound)
	}
	return u.Memory.Get(ctx, key, maxBytes)
}

// List implements delta.Store.
func (u upTo) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	page, err := u.Memory.List(ctx, prefix, after, limit)
	return slices.DeleteFunc(page, func(o objectstore.Object) bool { return u.later(o.Key) }), err
}

// replayAll replays the log from every snapshot that is there.
func (w *world) replayAll() {
	ctx := w.ctx
	for _, seq := range w.oracle.numbers(ctx, "snapshot/") {
		if key := fmt.Sprintf("%ssnapshot/%020d", logPrefix, seq); key == w.witness.damaged {
			continue
		}
		copied := objectstore.NewMemory(func() time.Time { return time.UnixMilli(w.now) })
		if err := w.copyLog(ctx, copied, seq); err != nil {
			w.fault("rest", "copy the log: %v", err)
			return
		}
		view := metadata.NewView()
		log, err := openLog(copied, w.discard)
		if err == nil {
			_, err = metadata.Follow(ctx, log, view, func(context.Context, time.Duration) error { return errors.New("lags") })
		}
		if err != nil {
			w.flaw("state", "no replay from the snapshot of entry %d: %v", seq, err)
			return
		}
		w.saw(view, fmt.Sprintf("replay from the snapshot of entry %d", seq))
	}
}

// copyLog copies the log without the snapshots above seq.
func (w *world) copyLog(ctx context.Context, to *objectstore.Memory, seq uint64) error {
	page, err := w.witness.List(ctx, logPrefix, "", 100_000)
	if err != nil {
		return err
	}
	for _, o := range page {
		var n uint64
		if k, _ := fmt.Sscanf(o.Key, logPrefix+"snapshot/%020d", &n); k == 1 && n > seq {
			continue
		}
		body, err := w.witness.Get(ctx, o.Key, 1<<30)
		if err != nil {
			return err
		}
		if err := to.Put(ctx, o.Key, body); err != nil {
			return err
		}
	}
	return nil
}

// splice puts a whole slot of another log in the place of one of ours, in a copy: somebody restored a bucket halfway. Who replays it must
// refuse, since that slot does not follow the one before it.
func (w *world) splice() {
	ctx := w.ctx
	slots := w.oracle.numbers(ctx, "log/")
	if len(slots) < 4 {
		return
	}
	at := slots[len(slots)-2]
	at -= uint64(w.rng.Int64N(int64(len(slots)) / 2))
	from := max(slots[0], w.oracle.newest(ctx, "boundary/"))
	if at < from {
		return
	}
	ours, other := w.copyUpTo(at+1<<40), w.copyUpTo(at)
	foreign, err := openLog(other, w.discard)
	if err != nil {
		w.fault("rest", "%v", err)
		return
	}
	got, err := foreign.Acquire(ctx, "other", 0)
	if err == nil {
		err = foreign.Append(ctx, got.Term, got.Next, [16]byte{1}, nil)
	}
	if err != nil || got.Next <= at {
		return // the copy is of no use: its snapshots are gone
	}
	body, err := other.Get(ctx, slotKey(got.Next), 1<<30)
	if err == nil {
		err = ours.Put(ctx, slotKey(got.Next), body)
	}
	if err != nil {
		w.fault("rest", "splice: %v", err)
		return
	}
	log, err := openLog(ours, w.discard)
	if err != nil {
		w.fault("rest", "%v", err)
		return
	}
	for {
		entries, err := log.Read(ctx, from, 1<<20)
		switch {
		case errors.Is(err, metadata.ErrCorrupt):
			w.counts["foreign slots refused"]++
			return
		case err != nil || len(entries) == 0:
			w.fault("log", "slot %d of another log was read as one of ours (%v)", got.Next, err)
			return
		}
		from += uint64(len(entries))
	}
}

// copyUpTo copies the log below slot end.
func (w *world) copyUpTo(end uint64) *objectstore.Memory {
	to := objectstore.NewMemory(func() time.Time { return time.UnixMilli(w.now) })
	if err := w.copyLog(w.ctx, to, end); err != nil {
		w.fault("rest", "copy the log: %v", err)
	}
	for _, seq := range w.oracle.numbers(w.ctx, "log/") {
		if seq >= end {
			if err := to.Delete(w.ctx, slotKey(seq)); err != nil {
				w.fault("rest", "copy the log: %v", err)
			}
		}
	}
	return to
}

// fsck has the product's own check look at the store that is left.
func (w *world) fsck() {
	report, err := fsck.Check(w.ctx, w.witness, fsck.Options{Cluster: cluster, Full: true, LogPrefix: logShard, Now: func() time.Time { return time.UnixMilli(w.now) }})
	if err != nil {
		w.fault("rest", "fsck: %v", err)
		return
	}
	for _, f := range report.Findings {
		// A commit of a deposed agent may land in a table that was dropped: a Delta log that nobody knows, and files that are gone.
		dropped := strings.HasPrefix(f.Key, "tables/") && !w.oracle.stands(f.Key)
		if f.Key == w.witness.damaged || w.witness.written[f.Key].late || dropped {
			continue
		}
		w.flaw("objects", "fsck: %s", f)
	}
}
