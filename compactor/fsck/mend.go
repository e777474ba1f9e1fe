package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
	"github.com/bargedata/barge/tableflow/delta"
)

const (
	addsPerVersion = 500     // as the committer does
	maxMendSteps   = 100_000 // of one table: each writes or deletes one object of its log
)

// mend rebuilds what the Delta log of a table lost, step by step, each begun by looking at the whole log again. The bytes of a version that is brought back
// differ from those that were lost; what it says of files and progress does not.
func (r *repairer) mend(ctx context.Context, dir string) error {
	topic, ok := r.refs.dirs[dir]
	if !ok {
		return errors.New("no topic has this table")
	}
	if r.o.Cluster == "" {
		return errors.New("the cluster's id, under which a table keeps its progress, is not known")
	}
	version, upTo, _ := r.view.TableProgress(topic.ID)
	m := &mender{repairer: r, dir: dir, topic: topic, version: version, upTo: upTo, adds: map[string]delta.Action{}, lost: map[string]bool{}}
	for range maxMendSteps {
		more, err := m.step(ctx)
		if err != nil || !more {
			return err
		}
	}
	return fmt.Errorf("not whole after %d steps", maxMendSteps)
}

type mender struct {
	*repairer
	dir     string
	topic   metadata.Topic
	version int64  // last projected
	upTo    uint64 // and the newest log entry folded into it

	adds map[string]delta.Action // made anew, by key
	lost map[string]bool         // files that cannot be named again
}

func (m *mender) log() *delta.Log { return delta.NewLog(m.store, m.dir, m.o.Now) }

// step mends the first thing that is wrong.
func (m *mender) step(ctx context.Context) (more bool, err error) {
	in, err := m.log().Inspect(ctx, true)
	if errors.Is(err, delta.ErrNoTable) {
		in, err = &delta.Inspection{First: -1, Last: -1, Snapshot: delta.Empty()}, nil
		m.belowLogStart()
	}
	if err != nil {
		return false, err
	}
	if in.Snapshot == nil {
		return false, errors.New("what is left of it makes no table")
	}
	for _, f := range in.Faults {
		damaged := f.Kind == delta.FaultCommit && slices.Contains(in.Holes, f.Version)
		if damaged || f.Kind == delta.FaultCheckpoint || f.Kind == delta.FaultCheckpointDiffers {
			return true, m.drop(ctx, []string{f.Key}, "damaged")
		}
	}
	if len(in.Holes) > 0 {
		return true, m.fill(ctx, in)
	}
	done, err := m.append(ctx, in.Snapshot)
	if err != nil || !done {
		return !done, err
	}
	for _, f := range in.Faults {
		if f.Kind == delta.FaultHint {
			if err := m.log().Checkpoint(ctx, in.Snapshot); err != nil {
				return false, err
			}
			m.did("wrote a checkpoint of version %d and _last_checkpoint of %s", in.Snapshot.Version, m.dir)
		}
	}
	return false, nil
}

// belowLogStart says what rebuilding the whole log cannot bring back: rows that have left the Kafka log are known to the table alone.
func (m *mender) belowLogStart() {
	for i := range m.topic.Partitions {
		b, err := m.view.Bounds(record.Partition{Topic: m.topic.ID, Index: i})
		if err == nil && b.LogStart > 0 {
			m.refuse("%s: files that hold offsets below %d of partition %d were named by the lost Delta log alone; they stay under _data/, and no table names them", m.dir, b.LogStart, i)
		}
	}
}

// missing returns the files that the table must hold and does not, in order of arrival.
func (m *mender) missing(table *delta.Snapshot) []metadata.File {
	if !m.topic.TableEnabled() || m.version < 0 {
		return nil
	}
	progress, ok := table.Txn(delta.LogApp(m.cluster(), m.topic.ID))
	waits := map[string]bool{}
	for _, p := range m.refs.pending[m.topic.ID] {
		waits[p.File.Key] = !ok || int64(p.Seq) > progress
	}
	var files []metadata.File
	for _, f := range m.view.Files(m.topic.ID) {
		if !waits[f.Key] && !m.lost[f.Key] && !table.Has(strings.TrimPrefix(f.Key, m.dir+"/")) {
			files = append(files, f)
		}
	}
	return files
}

func (m *mender) cluster() string { return m.o.Cluster }

// fill makes the first missing version again: what no other version names goes there.
func (m *mender) fill(ctx context.Context, in *delta.Inspection) error {
	base := in.Prefix
	files := m.missing(in.Snapshot)
	actions, err := m.actions(ctx, files)
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f metadata.File) bool { return m.lost[f.Key] })
	if base.Version < 0 {
		actions = append(m.tableActions(), actions...)
	}
	// Later versions say how far the partitions they touch have come; the others end where these files do.
	stamp := max(base.InCommitTimestamp+1, m.topic.CreatedAt) // it must lie before the next version's
	log := delta.NewLog(m.store, m.dir, func() time.Time { return time.UnixMilli(stamp) })
	next, err := log.Commit(ctx, base, delta.Commit{TxnID: m.ro.Random(), Operation: "REPAIR", Actions: append(actions, progress(m.cluster(), files)...)})
	if err != nil {
		return err
	}
	m.did("made version %d of %s again, with %d files that no other version names", next.Version, m.dir, len(files))
	return nil
}

// append brings the table to the version, the files and the progress that the metadata log says; done when nothing is left to do.
func (m *mender) append(ctx context.Context, table *delta.Snapshot) (done bool, err error) {
	files := m.missing(table)
	if len(files) > addsPerVersion {
		files = files[:addsPerVersion]
	}
	actions, err := m.actions(ctx, files)
	if err != nil {
		return false, err
	}
	named := len(actions)
	files = slices.DeleteFunc(files, func(f metadata.File) bool { return m.lost[f.Key] })
	txns := m.wrongProgress(table, files)
	if named+len(txns) == 0 && table.Version >= m.version {
		return true, nil
	}
	if table.Version < 0 {
		actions = append(m.tableActions(), actions...)
	}
	next, err := m.log().Commit(ctx, table, delta.Commit{TxnID: m.ro.Random(), Operation: "REPAIR", Actions: append(actions, txns...)})
	if err != nil {
		return false, err
	}
	m.did("made version %d of %s, with %d files", next.Version, m.dir, named)
	return false, nil
}

// wrongProgress returns the txns that the table lacks once it holds files too.
func (m *mender) wrongProgress(table *delta.Snapshot, files []metadata.File) []delta.Action {
	adding := map[string]bool{}
	for _, f := range files {
		adding[f.Key] = true
	}
	var held []metadata.File
	for _, f := range m.view.Files(m.topic.ID) {
		if adding[f.Key] || table.Has(strings.TrimPrefix(f.Key, m.dir+"/")) {
			held = append(held, f)
		}
	}
	var txns []delta.Action
	for _, a := range progress(m.cluster(), held) {
		if txn, ok := a.(delta.Txn); ok {
			if version, has := table.Txn(txn.AppID); !has || version != txn.Version {
				txns = append(txns, txn)
			}
		}
	}
	// The entry that is folded in is told by the last version only: until then a crash must find that something is missing.
	if app := delta.LogApp(m.cluster(), m.topic.ID); m.version >= 0 && len(m.missing(table)) == len(files) {
		if version, has := table.Txn(app); !has || version < int64(m.upTo) {
			txns = append(txns, delta.Txn{AppID: app, Version: int64(m.upTo)})
		}
	}
	return txns
}

// progress is how far files bring their partitions, one txn each.
func progress(cluster string, files []metadata.File) []delta.Action {
	ends := map[record.Partition]record.Offset{}
	for _, f := range files {
		for _, p := range f.Parts {
			id := record.Partition{Topic: f.Topic, Index: p.Partition}
			ends[id] = max(ends[id], p.End)
		}
	}
	var actions []delta.Action
	for _, p := range slices.SortedFunc(maps.Keys(ends), record.Partition.Compare) {
		actions = append(actions, delta.Txn{AppID: delta.PartitionApp(cluster, p), Version: int64(ends[p])})
	}
	return actions
}

func (m *mender) tableActions() []delta.Action {
	return delta.NewTableActions(delta.TableConfig{
		ID: delta.TableID(m.topic.ID), Name: m.topic.Name, Schema: tableflow.Schema(), CreatedTime: m.topic.CreatedAt,
	})
}

// actions makes the adds of files anew. A file that cannot be read cannot be named again: an add of it would make every reader fail.
func (m *mender) actions(ctx context.Context, files []metadata.File) ([]delta.Action, error) {
	var actions []delta.Action
	for _, f := range files {
		if m.adds[f.Key] == nil {
			add, err := m.add(ctx, f)
			switch {
			case errIsAny(err, tableflow.ErrCorrupt, tableflow.ErrTooLarge, io.ErrUnexpectedEOF), damage(err):
				m.lost[f.Key] = true
				m.refuse("%s was not named in its table again: %v", f.Key, err)
				continue
			case err != nil:
				return nil, err
			}
			m.adds[f.Key] = add
		}
		actions = append(actions, m.adds[f.Key])
	}
	return actions, nil
}

// add reads a file and writes its rows to nowhere, for the statistics.
func (m *mender) add(ctx context.Context, f metadata.File) (delta.Action, error) {
	file, err := tableflow.OpenFile(ctx, m.store, f.Key, int64(f.Size))
	if err != nil {
		return nil, err
	}
	w := tableflow.NewWriter(io.Discard, tableflow.WriterConfig{})
	partition, started := int32(0), false
	if err := file.Verify(ctx, func(_, p int32, rec *record.Record) error {
		if !started || p != partition {
			partition, started = p, true
			if err := w.StartPartition(p); err != nil {
				return err
			}
		}
		return w.Append(rec)
	}); err != nil {
		return nil, err
	}
	stats, err := w.Close()
	if err != nil {
		return nil, err
	}
	stats.Size = int64(f.Size)
	return delta.NewAdd(strings.TrimPrefix(f.Key, m.dir+"/"), stats, m.o.Now().UnixMilli()), nil
}
