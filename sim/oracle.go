package sim

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

const (
	logShard  = "meta/0"
	logPrefix = logShard + "/"
)

// oracle follows the log from behind the faults: its View is the newest durable State at every moment. A slot at the end of the
// log is durable from the moment it is created, whoever is told.
type oracle struct {
	w     *world
	log   *bucketlog.Log
	view  *metadata.View
	state *metadata.State
	// referenced holds every key that an entry has referred to so far.
	referenced map[string]bool
	marks      map[record.Partition]*marks
	sealedAt   map[metadata.SessionID]int64 // world time
	term       uint64                       // of the newest entry
}

func newOracle(w *world) *oracle {
	return &oracle{w: w, view: metadata.NewView(), state: metadata.NewState(), referenced: map[string]bool{}, marks: map[record.Partition]*marks{}, sealedAt: map[metadata.SessionID]int64{}}
}

// open gives the oracle its own way to the store.
func (o *oracle) open() error {
	log, err := openLog(o.w.witness.Memory, o.w.discard)
	o.log = log
	return err
}

// openLog makes a handle that only reads.
func openLog(store bucketlog.Store, discard *slog.Logger) (*bucketlog.Log, error) {
	return bucketlog.New(store, bucketlog.Config{Prefix: logShard, ReadAhead: 1}, func() [16]byte { return [16]byte{0xff} }, discard)
}

// wrote looks whether a write was the next slot, or a new boundary.
func (o *oracle) wrote(key string) {
	if seq, ok := strings.CutPrefix(key, logPrefix+"boundary/"); ok {
		o.raised(key, seq)
	}
	if key == slotKey(o.state.Next()) {
		o.follow()
	}
}

func slotKey(seq uint64) string { return fmt.Sprintf("%slog/%020d", logPrefix, seq) }

// follow applies what the log holds and the oracle does not.
func (o *oracle) follow() {
	ctx := o.w.ctx
	entries, err := o.log.Read(ctx, o.state.Next(), 1<<20)
	if err != nil {
		o.w.fault("rest", "the log can not be followed at %d: %v", o.state.Next(), err)
		return
	}
	for _, le := range entries {
		e, err := metadata.DecodeLogEntry(le)
		if err != nil {
			o.w.fault("rest", "the log can not be decoded at %d: %v", le.Seq, err)
			return
		}
		again, err := metadata.DecodeLogEntry(le)
		if err != nil {
			o.w.fault("rest", "the log can not be decoded at %d: %v", le.Seq, err)
			return
		}
		o.state.Apply(again)
		o.term = e.Term
		o.judge(e, o.view.Apply(e))
		o.w.hist.States = append(o.w.hist.States, StateSeen{Seq: o.state.Next(), Holds: sha256.Sum256(o.state.Encode()), From: "replay from the beginning"})
	}
}

// judge notes what an entry brought.
func (o *oracle) judge(e metadata.Entry, results []metadata.Result) {
	for i, r := range results {
		switch c := e.Commands[i].(type) {
		case metadata.CommitObject:
			if r, ok := r.(metadata.CommitObjectResult); ok && r.Err == nil && accepted(r) {
				o.refer(c.Key)
				if c.Inline != nil {
					o.w.counts["objects committed inline"]++
				} else {
					o.w.counts["objects committed"]++
				}
			}
		case metadata.Replace:
			if r, ok := r.(metadata.ReplaceResult); ok && r.Err == nil {
				for _, f := range c.Files {
					o.refer(f.Key)
					for _, p := range f.Parts {
						o.marksOf(record.Partition{Topic: f.Topic, Index: p.Partition}).compacted = p.End
					}
				}
				if c.Moved != nil {
					o.refer(c.Moved.Key)
					o.w.counts["objects regrouped"]++
				}
				if len(c.Files) > 0 {
					o.w.counts["compactions"]++
				}
			}
		case metadata.Projected:
			if r, ok := r.(metadata.ProjectedResult); ok && r.Err == nil {
				o.w.counts["table versions projected"]++
			}
		case metadata.DeleteRecords:
			if r, ok := r.(metadata.DeleteRecordsResult); ok && r.Err == nil {
				for j, m := range c.Moves {
					wanted := m.To
					if m.To >= 0 {
						wanted = max(m.To, o.marksOf(m.Partition).start)
					}
					if r.Moves[j].Err == nil {
						o.startMoved(m.Partition, r.Moves[j].LogStart, wanted, e.Time, -1)
					}
				}
			}
		case metadata.ApplyRetention:
			if r, ok := r.(metadata.ApplyRetentionResult); ok && r.Err == nil {
				for _, m := range r.Moved {
					t, _ := o.view.TopicByID(m.Partition.Topic)
					o.startMoved(m.Partition, m.To, retained, o.view.EntryTime(), keepMillis(t))
				}
			}
		case metadata.CommitHeld:
			o.w.counts["batches judged later"] += len(c.Batches)
		case metadata.AlterTopicConfigs, metadata.CreatePartitions:
			o.topicChanged(r)
		case metadata.DeleteTopic:
			o.w.counts["topics deleted"]++
		case metadata.SetKeys:
			if r, ok := r.(metadata.SetKeysResult); ok && r.Err == nil {
				o.setKeys(c, r.Version)
			}
		case metadata.SealSession:
			o.w.counts["sessions sealed"]++
			if _, ok := o.sealedAt[c.Session]; !ok {
				o.sealedAt[c.Session] = o.w.now
			}
		}
	}
}

// accepted tells whether any batch of a commit is in the log by it.
func accepted(r metadata.CommitObjectResult) bool {
	for _, run := range r.Batches {
		for _, b := range run {
			if b.Err == nil && !b.Duplicate || errors.Is(b.Err, metadata.ErrHeld) { // referred to until it is judged
				return true
			}
		}
	}
	return false
}

// refer notes that a durable entry refers to key, for the first time.
func (o *oracle) refer(key string) {
	if key == "" || o.referenced[key] {
		return
	}
	o.referenced[key] = true
	o.w.hist.Objects = append(o.w.hist.Objects, ObjectEvent{Kind: Referenced, Key: key, Step: o.w.steps, Exists: o.w.witness.exists(key)})
}

// deleting notes what the newest durable State says of a key that is about to go.
func (o *oracle) deleting(ctx context.Context, key string) {
	if !o.w.witness.exists(key) {
		return
	}
	e := o.role(ctx, key)
	e.Kind, e.Key, e.Step = Deleted, key, o.w.steps
	o.w.hist.Objects = append(o.w.hist.Objects, e)
	if strings.HasPrefix(key, logPrefix+"log/") {
		o.w.counts["slots truncated"]++
	} else {
		o.w.counts["objects deleted"]++
	}
}

func (o *oracle) role(ctx context.Context, key string) ObjectEvent {
	if rest, ok := strings.CutPrefix(key, logPrefix); ok {
		return o.slotRole(ctx, key, rest)
	}
	if strings.HasPrefix(key, "tables/") && !o.stands(key) {
		return ObjectEvent{Role: Dropped}
	}
	if o.references()[key] {
		return ObjectEvent{Role: Live}
	}
	for _, r := range o.view.Released() {
		if r.Key == key {
			return ObjectEvent{Role: Released, Age: o.w.now - r.ReleasedAt, Grace: releaseGrace.Milliseconds() - 2*max(maxSkew, o.w.profile.skew)}
		}
	}
	if o.output(key) {
		return ObjectEvent{Role: Output}
	}
	for _, t := range o.liveTables() {
		if rel, ok := strings.CutPrefix(key, t.TableDir+"/"); ok && o.w.tableHolds(ctx, t, rel) {
			return ObjectEvent{Role: TableOnly}
		}
	}
	return ObjectEvent{Role: Strange, MayCommit: o.mayCommit(key)}
}

// output tells whether a live job has claimed a key.
func (o *oracle) output(key string) bool {
	return slices.ContainsFunc(o.view.Jobs(), func(j metadata.Job) bool { return slices.Contains(j.Outputs, key) })
}

// references are the keys that runs, and the tables that stand, refer to.
func (o *oracle) references() map[string]bool {
	keys := map[string]bool{}
	tables := o.liveTables()
	ids := make([]record.TopicID, len(tables))
	for i, t := range tables {
		ids[i] = t.ID
		for _, f := range o.view.Files(t.ID) {
			keys[f.Key] = true
		}
	}
	for _, t := range o.view.PendingRuns(ids...) {
		for _, p := range t.Partitions {
			for i := range p.Runs {
				keys[p.Runs[i].Key] = true
			}
		}
	}
	return keys
}

// liveTables are the topics whose table directory must stand: live ones, and tombstones that keep theirs.
func (o *oracle) liveTables() []metadata.Topic {
	topics := o.view.Topics()
	for _, t := range o.view.Tombstones() {
		if t.KeepsTable() {
			topics = append(topics, t)
		}
	}
	return topics
}

// stands tells whether a key lies in a table that must stand.
func (o *oracle) stands(key string) bool {
	for dir := range o.w.keptTables {
		if strings.HasPrefix(key, dir+"/") {
			return true
		}
	}
	return slices.ContainsFunc(o.liveTables(), func(t metadata.Topic) bool { return strings.HasPrefix(key, t.TableDir+"/") })
}

// mayCommit tells whether the session named in a WAL object's key could still commit it.
func (o *oracle) mayCommit(key string) bool {
	var session, counter uint64
	if n, _ := fmt.Sscanf(key, "wal/1/%x/%x-", &session, &counter); n != 2 {
		return false
	}
	for _, s := range o.view.Sessions() {
		if uint64(s.ID) == session {
			return !s.Sealed && counter >= s.NextCounter
		}
	}
	return session > o.lastSession()
}

// sweptForGood tells whether the session named in a WAL object's key has had its last sweep, or may have it now.
func (o *oracle) sweptForGood(key string) bool {
	k, ok := record.ParseObjectKey(key)
	if !ok {
		return false
	}
	for _, s := range o.view.Sessions() {
		if uint64(s.ID) == k.Session {
			return s.Sealed && o.w.now-s.SealedAt >= sweepLast.Milliseconds()-2*max(maxSkew, o.w.profile.skew)
		}
	}
	return true
}

func (o *oracle) lastSession() uint64 {
	var last uint64
	for _, s := range o.view.Sessions() {
		last = max(last, uint64(s.ID))
	}
	return last
}

// raised notes a new boundary and how high it may be. Two snapshots must stay usable: when the newest is damaged, the other one and the slots
// after it are all there is. Older ones may lie around, pruned or landed late.
func (o *oracle) raised(key, digits string) {
	e := ObjectEvent{Kind: Raised, Key: key, Step: o.w.steps}
	var err error
	if e.Below, err = strconv.ParseUint(digits, 10, 64); err != nil {
		o.w.fault("rest", "%s is no boundary", key)
	}
	if seqs := o.numbers(o.w.ctx, "snapshot/"); len(seqs) >= 2 {
		e.Top = seqs[len(seqs)-2]
	}
	if slot, ok := o.view.OldestInline(); ok {
		e.Top = min(e.Top, slot)
	}
	o.w.hist.Objects = append(o.w.hist.Objects, e)
}

// slotRole tells how far the log, its snapshots and its boundaries may be cut.
func (o *oracle) slotRole(ctx context.Context, key, rest string) ObjectEvent {
	kind, digits, _ := strings.Cut(rest, "/")
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return ObjectEvent{Role: Strange}
	}
	e := ObjectEvent{Role: Slot, Age: o.w.now - o.w.witness.written[key].first}
	switch kind {
	case "log":
		e.Below, e.Grace = seq+1, slotLife.Milliseconds()
		e.Top = o.newest(ctx, "boundary/")
	case "snapshot": // two newer ones must stay
		e.Below = seq + 1
		if seqs := o.numbers(ctx, "snapshot/"); len(seqs) >= 2 {
			e.Top = seqs[len(seqs)-2]
		}
	case "boundary":
		e.Below, e.Top = seq+1, o.newest(ctx, "boundary/")
	}
	return e
}

func (o *oracle) newest(ctx context.Context, kind string) uint64 {
	seqs := o.numbers(ctx, kind)
	if len(seqs) == 0 {
		return 0
	}
	return seqs[len(seqs)-1]
}

// numbers lists the numbered objects of a kind, ascending.
func (o *oracle) numbers(ctx context.Context, kind string) []uint64 {
	page, err := o.w.witness.List(ctx, logPrefix+kind, "", 10_000)
	if err != nil {
		o.w.fault("rest", "list %s: %v", kind, err)
	}
	var seqs []uint64
	for _, obj := range page {
		if seq, err := strconv.ParseUint(strings.TrimPrefix(obj.Key, logPrefix+kind), 10, 64); err == nil {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}

// leftovers lists what lies in the store and nothing refers to, whether State knows the key or not: by now nothing is on its way.
func (o *oracle) leftovers(ctx context.Context) {
	if !sweeps {
		return
	}
	refers := o.references()
	for _, prefix := range []string{"wal/", "tables/"} {
		page, err := o.w.witness.List(ctx, prefix, "", 100_000)
		if err != nil {
			o.w.fault("rest", "list %s: %v", prefix, err)
		}
		for _, obj := range page {
			if refers[obj.Key] || o.belongs(ctx, obj) {
				continue
			}
			o.w.hist.Objects = append(o.w.hist.Objects, ObjectEvent{Kind: LeftOver, Key: obj.Key, Step: o.w.steps, Late: o.w.witness.written[obj.Key].late})
		}
	}
}

// belongs tells whether an object is part of a table that stands: its log, or a file of its newest version.
func (o *oracle) belongs(ctx context.Context, obj objectstore.Object) bool {
	for _, t := range o.liveTables() {
		if rel, ok := strings.CutPrefix(obj.Key, t.TableDir+"/"); ok {
			return strings.HasPrefix(rel, "_delta_log/") || o.w.tableHolds(ctx, t, rel)
		}
	}
	// The table of a topic that was deleted with barge.table.on.delete=keep stands for ever, and State has forgotten it.
	for dir := range o.w.keptTables {
		if strings.HasPrefix(obj.Key, dir+"/") {
			return true
		}
	}
	return false
}

// live tells whether a partition exists in the newest durable State.
func (o *oracle) live(p record.Partition) bool {
	t, ok := o.view.TopicByID(p.Topic)
	return ok && p.Index < t.Partitions
}
