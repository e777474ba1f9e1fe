package fsck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow/delta"
)

const (
	tablesPrefix = "tables/"
	dataDir      = "/_data/"
	logDir       = "/_delta_log/"
	// looks bounds how often a table is looked at again because it changed, or to see whether what was wrong still is.
	looks = 6
)

// tablesArea checks every table path: those of topics, and whatever else lies under tables/.
func (c *checker) tablesArea(ctx context.Context) error {
	dirs := map[string]bool{}
	for dir := range c.refs.dirs {
		dirs[dir] = true
	}
	for after := ""; ; {
		page, err := c.store.List(ctx, tablesPrefix, after, 1)
		if err != nil {
			return fmt.Errorf("list the tables: %w", err)
		}
		if len(page) == 0 {
			break
		}
		name, _, ok := strings.Cut(strings.TrimPrefix(page[0].Key, tablesPrefix), "/")
		if !ok {
			c.unknown(page[0].Key, page[0].Size)
			after = page[0].Key
			continue
		}
		dirs[tablesPrefix+name] = true
		after = tablesPrefix + name + "0" // the byte after the slash
	}
	for _, dir := range sortedKeys(dirs) {
		c.o.Progress(dir)
		if err := c.table(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// table looks at one table path until two looks, each judged by a View newer than itself, find the same.
func (c *checker) table(ctx context.Context, dir string) error {
	verified := map[string]*held{} // files that passed, so that a second look does not read them again
	var before []Finding
	for n := 1; ; n++ {
		t := tableLook{checker: c, dir: dir, verified: verified}
		if err := t.look(ctx); err != nil {
			return err
		}
		settled := len(t.found) == 0 || n > 1 && subset(t.found, before)
		if !settled && n < looks {
			before = t.found
			continue
		}
		if !settled {
			t.found = []Finding{{
				Severity: Warning, Kind: TableUnsettled, Key: dir, What: fmt.Sprintf("looked different in each of %d looks", looks),
				Do: "check again while less is written",
			}}
		}
		c.count(&t.counts)
		c.add(t.found...)
		return nil
	}
}

func subset(found, before []Finding) bool {
	ids := map[string]bool{}
	for i := range before {
		ids[before[i].id()] = true
	}
	for i := range found {
		if !ids[found[i].id()] {
			return false
		}
	}
	return true
}

func (c *checker) count(n *Counts) {
	t := &c.report.Counts
	for _, p := range []struct{ to, from *Count }{{&t.Listed, &n.Listed}, {&t.Files, &n.Files}, {&t.TableLogs, &n.TableLogs}, {&t.Waiting, &n.Waiting}} {
		p.to.Objects += p.from.Objects
		p.to.Bytes += p.from.Bytes
	}
	t.Rows += n.Rows
	t.Tables += n.Tables
	t.Versions += n.Versions
	t.Checkpoints += n.Checkpoints
}

// tableLook is one look at a table path.
type tableLook struct {
	*checker
	dir      string
	verified map[string]*held
	counts   Counts
	found    []Finding

	log    *delta.Inspection // nil: no _delta_log
	listed map[string]int64  // data files by key
	topic  metadata.Topic
	owned  bool // dir is that of topic
	live   bool // and the topic is not deleted

	progress int64 // the newest log entry folded into the table
	projects bool  // the table names it
}

// look reads the Delta log, lists the path, and then judges both by the newest View.
func (t *tableLook) look(ctx context.Context) error {
	if err := t.observe(ctx); err != nil {
		return err
	}
	if err := t.refresh(ctx); err != nil {
		return err
	}
	t.topic, t.owned = t.refs.dirs[t.dir]
	if t.owned && t.refs.dropping[t.dir] {
		t.counts.Waiting.Objects += t.counts.Listed.Objects
		t.counts.Waiting.Bytes += t.counts.Listed.Bytes
		t.counts.TableLogs = Count{}
		return nil
	}
	if t.owned {
		_, t.live = t.view.TopicByID(t.topic.ID)
	}
	t.deltaFaults()
	t.readProgress()
	files := t.stateFiles()
	if err := t.checkFiles(ctx, files); err != nil {
		return err
	}
	extra, err := t.deltaOnly(ctx, files)
	if err != nil {
		return err
	}
	t.tableHolds(files, extra)
	return t.strays(ctx, files)
}

// observe reads what the store holds, the Delta log first: its files are there before it names them.
func (t *tableLook) observe(ctx context.Context) error {
	log := delta.NewLog(t.store, t.dir, t.o.Now)
	var err error
	t.log, err = log.Inspect(ctx, t.o.Full)
	switch {
	case errors.Is(err, delta.ErrNoTable):
		t.log = nil
	case errors.Is(err, delta.ErrUnsupported):
		t.log = nil
		t.found = append(t.found, Finding{
			Severity: Error, Kind: NotChecked, Key: t.dir + "/_delta_log", What: err.Error(), Do: "upgrade barge, or undo what another writer did to the table",
		})
	case err != nil:
		return err
	default:
		t.counts.Tables++
		t.counts.Versions += int64(t.log.Commits)
		t.counts.Checkpoints += int64(t.log.Checkpoints)
	}
	t.listed = map[string]int64{}
	if err := t.each(ctx, t.dir+"/", "", func(o objectstore.Object) bool {
		t.counts.Listed.add(o.Size)
		switch {
		case strings.HasPrefix(o.Key, t.dir+dataDir):
			t.listed[o.Key] = o.Size
		case strings.HasPrefix(o.Key, t.dir+logDir):
			t.counts.TableLogs.add(o.Size)
		default:
			t.unknown(o.Key, o.Size)
		}
		return true
	}); err != nil {
		return err
	}
	return t.follow(ctx, log)
}

// follow reads the versions that were made while the older ones were read, so that a table of many versions comes to rest.
func (t *tableLook) follow(ctx context.Context, log *delta.Log) error {
	if t.log == nil || t.log.Snapshot == nil || len(t.log.Holes) > 0 || t.log.Snapshot.Version < t.log.Last {
		return nil
	}
	s, err := log.Refresh(ctx, t.log.Snapshot)
	if errIsAny(err, delta.ErrCorrupt, delta.ErrUnsupported, objectstore.ErrTooLarge) {
		return nil // the next look finds it
	}
	if err != nil {
		return err
	}
	t.counts.Versions += s.Version - t.log.Last
	t.log.Snapshot, t.log.Last = s, s.Version
	return nil
}

// deltaFaults reports what is wrong with the table's log itself.
func (t *tableLook) deltaFaults() {
	if t.log == nil {
		if version, _, ok := t.view.TableProgress(t.topic.ID); t.owned && ok && version >= 0 {
			t.problem(Error, TableMissing, t.dir+"/_delta_log", fmt.Sprintf("missing, though version %d was committed", version), "")
		}
		return
	}
	holes := map[int64]bool{}
	for _, v := range t.log.Holes {
		holes[v] = true
	}
	for _, f := range t.log.Faults {
		switch f.Kind {
		case delta.FaultCommitMissing, delta.FaultCommit:
			if holes[f.Version] || t.log.Snapshot == nil {
				t.problem(Error, TableVersion, f.Key, f.Err.Error(), "readers cannot open the table")
			} else {
				t.found = append(t.found, Finding{
					Severity: Warning, Kind: TableVersion, Key: f.Key, What: f.Err.Error(), Topic: t.topic.Name,
					Do: "readers start from a newer checkpoint; only versions before it cannot be read any more",
				})
			}
		case delta.FaultCheckpoint, delta.FaultCheckpointDiffers:
			t.problem(Warning, TableCheckpoint, f.Key, f.Err.Error(), "readers that start from it fail")
		case delta.FaultHint:
			t.problem(Warning, TableHint, f.Key, f.Err.Error(), "readers take longer to open the table")
		}
	}
	version, _, _ := t.view.TableProgress(t.topic.ID)
	if t.owned && version > t.log.Last {
		t.problem(Error, TableVersion, fmt.Sprintf("%s%s%020d.json", t.dir, logDir, t.log.Last+1),
			fmt.Sprintf("versions %d to %d were committed and are missing", t.log.Last+1, version), "the table gets no new rows")
	}
	if t.owned && t.log.Snapshot != nil && t.log.Snapshot.Metadata.ID != "" && t.log.Snapshot.Metadata.ID != delta.TableID(t.topic.ID) {
		t.found = append(t.found, Finding{
			Severity: Error, Kind: TableFiles, Key: t.dir + "/_delta_log", Topic: t.topic.Name,
			What: fmt.Sprintf("is of the table %s, not of this topic's %s", t.log.Snapshot.Metadata.ID, delta.TableID(t.topic.ID)),
			Do:   "bring the topic's own _delta_log back from a copy of the store",
		})
	}
}

// problem reports what rebuilding the table's log from the metadata log mends, if the topic is still known.
func (t *tableLook) problem(s Severity, kind Kind, key, what, harm string) {
	f := Finding{Severity: s, Kind: kind, Key: key, What: what, Topic: t.topic.Name}
	if !t.owned {
		f.Do = "the topic is deleted and its table kept, so only the table itself knows its files: bring the object back from a copy of the store"
	} else {
		f.Do = "--repair mends it from the metadata log"
		f.fix = fix{mend: t.dir}
	}
	if harm != "" {
		f.Do = harm + "; " + f.Do
	}
	t.found = append(t.found, f)
}

// readProgress finds the newest log entry that the table holds.
func (t *tableLook) readProgress() {
	if t.log == nil || t.log.Snapshot == nil {
		return
	}
	t.progress, t.projects = t.log.Snapshot.Txn(delta.LogApp(t.report.Cluster, t.topic.ID))
}

// stateFile is a file of the log, and whether the table must hold it.
type stateFile struct {
	metadata.File
	inTable bool // projected, or pending and folded
	waits   bool // pending and not folded: the table must not hold it
	gone    bool // missing or damaged, which is reported
}

func (t *tableLook) stateFiles() map[string]*stateFile {
	files := map[string]*stateFile{}
	if !t.owned {
		return files
	}
	version, _, _ := t.view.TableProgress(t.topic.ID)
	for _, f := range t.view.Files(t.topic.ID) {
		files[f.Key] = &stateFile{File: f, inTable: t.topic.TableEnabled() && version >= 0}
	}
	for _, p := range t.refs.pending[t.topic.ID] {
		if f := files[p.File.Key]; f != nil {
			f.inTable = t.projects && int64(p.Seq) <= t.progress
			f.waits = !f.inTable
		}
	}
	return files
}

// checkFiles checks the files of the log: there, of the right size and, with Full, whole and as the log says.
func (t *tableLook) checkFiles(ctx context.Context, files map[string]*stateFile) error {
	for _, key := range sortedKeys(files) {
		f := files[key]
		ref := &fileRef{topic: t.topic, file: f.File}
		size, ok := t.listed[key]
		if !ok { // or it came after the listing
			var err error
			if size, ok, err = t.exists(ctx, key); err != nil {
				return err
			}
		}
		t.counts.Files.add(int64(f.Size))
		switch {
		case !ok:
			f.gone = true
			t.lost(FileMissing, ref, "missing")
			continue
		case size != int64(f.Size):
			f.gone = true
			t.lost(FileDamaged, ref, fmt.Sprintf("has %d bytes, the log says %d", size, f.Size))
			continue
		case !t.o.Full:
			continue
		}
		h, wrong, err := t.read(ctx, key, size)
		if err != nil {
			return err
		}
		if wrong != "" {
			f.gone = true
			t.lost(FileDamaged, ref, wrong)
			continue
		}
		t.counts.Rows += h.rows
		if wrong := h.against(f.File); wrong != "" {
			t.lost(FileMismatch, ref, wrong)
		}
	}
	return nil
}

// read reads a file that has not passed before.
func (t *tableLook) read(ctx context.Context, key string, size int64) (*held, string, error) {
	if h := t.verified[key]; h != nil {
		return h, "", nil
	}
	h, wrong, err := t.readFile(ctx, key, size)
	if err == nil && wrong == "" {
		t.verified[key] = &h
	}
	return &h, wrong, err
}

func (t *tableLook) lost(kind Kind, ref *fileRef, wrong string) {
	t.found = append(t.found, lostFile(kind, ref, wrong)...)
}

// tableOnly is a live file of the table that the log does not have any more.
type tableOnly struct {
	key  string
	add  delta.Add
	held *held // nil when it was not read
}

// deltaOnly checks the live files of the table that the log does not know: of those below the log start the table is the only truth.
func (t *tableLook) deltaOnly(ctx context.Context, files map[string]*stateFile) ([]tableOnly, error) {
	if t.log == nil || t.log.Snapshot == nil {
		return nil, nil
	}
	var extra []tableOnly
	for _, add := range t.log.Snapshot.Adds() {
		key, err := t.keyOf(add.Path)
		if err != nil {
			t.found = append(t.found, Finding{
				Severity: Error, Kind: TableFiles, Key: t.dir + "/_delta_log", Topic: t.topic.Name, What: err.Error(), Do: "another writer changed the table: bring it back from a copy of the store",
			})
			continue
		}
		if files[key] != nil {
			continue
		}
		x := tableOnly{key: key, add: add}
		ref := &fileRef{topic: t.topic, file: metadata.File{Key: key, Size: record.Len(add.Size)}}
		if ref.topic.Name == "" {
			ref.topic.Name = strings.TrimPrefix(t.dir, tablesPrefix)
		}
		t.counts.Files.add(add.Size)
		size, ok := t.listed[key]
		switch {
		case !ok:
			t.lost(FileMissing, ref, "missing, and only the table knew it: "+describe(add))
		case size != add.Size:
			t.lost(FileDamaged, ref, fmt.Sprintf("has %d bytes, the table says %d: %s", size, add.Size, describe(add)))
		case t.o.Full:
			h, wrong, err := t.read(ctx, key, size)
			switch {
			case err != nil:
				return nil, err
			case wrong != "":
				t.lost(FileDamaged, ref, wrong+": "+describe(add))
			default:
				t.counts.Rows += h.rows
				x.held = h
			}
		}
		extra = append(extra, x)
	}
	return extra, nil
}

// describe is what a table says of a file that only it knows.
func describe(add delta.Add) string {
	if len(add.Stats) > 400 {
		return "its statistics are " + add.Stats[:400] + "…"
	}
	return "its statistics are " + add.Stats
}

// keyOf is the key of a path that an add names.
func (t *tableLook) keyOf(path string) (string, error) {
	rel, err := url.PathUnescape(path)
	if err != nil || objectstore.ValidKey(t.dir+"/"+rel) != nil {
		return "", fmt.Errorf("names the file %.100q, which lies outside of it", path)
	}
	return t.dir + "/" + rel, nil
}

// tableHolds compares what the table holds with what the log says it must.
func (t *tableLook) tableHolds(files map[string]*stateFile, extra []tableOnly) {
	version, _, _ := t.view.TableProgress(t.topic.ID)
	if t.log == nil || t.log.Snapshot == nil || len(t.log.Holes) > 0 || version > t.log.Last || t.report.Cluster == "" {
		return // reported, and mended, as a whole; and the table's progress stands under the cluster's id
	}
	table := t.log.Snapshot
	ends, unsure := map[int32]record.Offset{}, map[int32]bool{}
	pieces := map[int32][]stretch{}
	for _, key := range sortedKeys(files) {
		f := files[key]
		has := table.Has(strings.TrimPrefix(key, t.dir+"/"))
		switch {
		case f.inTable && !has && f.gone: // it cannot be named again; how far the table has come is not told apart from that
			for _, p := range f.Parts {
				unsure[p.Partition] = true
			}
			continue
		case f.inTable && !has:
			for _, p := range f.Parts {
				t.rebuilt(TableFiles, key, "the log has projected it, and the table does not hold it", &p)
				ends[p.Partition] = max(ends[p.Partition], p.End)
			}
			continue
		case f.waits && has:
			for _, p := range f.Parts {
				t.found = append(t.found, Finding{
					Severity: Error, Kind: TableFiles, Key: key, What: "the table holds it, and its progress says that it does not",
					Do: "the next commit would add it again: keep a copy of the store, and report it",
				}.at(t.topic.Name, p.Partition, p.Base, p.End))
			}
			continue
		case !has:
			continue
		}
		for _, p := range f.Parts {
			ends[p.Partition] = max(ends[p.Partition], p.End)
			pieces[p.Partition] = append(pieces[p.Partition], stretch{p.Base, p.End, key})
		}
	}
	for _, x := range extra {
		if x.held == nil {
			continue
		}
		for _, p := range x.held.parts {
			pieces[p.Partition] = append(pieces[p.Partition], stretch{p.Base, p.End, x.key})
			bounds, err := t.view.Bounds(record.Partition{Topic: t.topic.ID, Index: p.Partition})
			if t.live && err == nil && p.End > bounds.LogStart {
				t.found = append(t.found, Finding{
					Severity: Error, Kind: TableFiles, Key: x.key, What: fmt.Sprintf("the table holds it, and the log, which starts at offset %d, does not know it", bounds.LogStart),
					Do: "another writer added it, or the log was rolled back: keep a copy of the store, and report it",
				}.at(t.topic.Name, p.Partition, p.Base, p.End))
			}
		}
	}
	for p := range unsure {
		delete(ends, p)
	}
	t.twice(pieces)
	t.checkProgress(ends)
}

// rebuilt reports what rebuilding the table's log mends.
func (t *tableLook) rebuilt(kind Kind, key, what string, p *metadata.FilePart) {
	f := Finding{Severity: Error, Kind: kind, Key: key, What: what, Do: "--repair mends the table from the metadata log", fix: fix{mend: t.dir}}
	t.found = append(t.found, f.at(t.topic.Name, p.Partition, p.Base, p.End))
}

// twice reports offsets that two live files of the table hold.
func (t *tableLook) twice(pieces map[int32][]stretch) {
	for _, p := range slices.Sorted(maps.Keys(pieces)) {
		list := pieces[p]
		slices.SortFunc(list, func(a, b stretch) int { return cmp.Compare(a.base, b.base) })
		for i := 1; i < len(list); i++ {
			if list[i].base < list[i-1].end {
				t.found = append(t.found, Finding{
					Severity: Error, Kind: OffsetTwice, Key: list[i].key, What: "the table holds offsets of it a second time, in " + list[i-1].key,
					Do: "readers of the table see rows twice: keep a copy of the store, and report it",
				}.at(t.topic.Name, p, list[i].base, min(list[i-1].end, list[i].end)))
			}
		}
	}
}

// checkProgress holds the table's txns against the ends of what it holds.
func (t *tableLook) checkProgress(ends map[int32]record.Offset) {
	if !t.owned {
		return
	}
	table := t.log.Snapshot
	key := fmt.Sprintf("%s%s%020d.json", t.dir, logDir, table.Version)
	for _, p := range slices.Sorted(maps.Keys(ends)) {
		version, ok := table.Txn(delta.PartitionApp(t.report.Cluster, record.Partition{Topic: t.topic.ID, Index: p}))
		if !ok || record.Offset(version) != ends[p] {
			t.rebuilt(TableProgress, key, fmt.Sprintf("progress of the partition is %d (known: %v), and the table's files end at %d", version, ok, ends[p]),
				&metadata.FilePart{Partition: p, Base: min(ends[p], record.Offset(version)), End: max(ends[p], record.Offset(version))})
		}
	}
	version, upTo, _ := t.view.TableProgress(t.topic.ID)
	switch {
	case version >= 0 && (!t.projects || t.progress < int64(upTo)):
		t.problem(Error, TableProgress, key, fmt.Sprintf("holds the log up to entry %d (known: %v), and up to %d was projected", t.progress, t.projects, upTo), "")
	case t.projects && t.progress >= int64(t.view.Applied()):
		t.found = append(t.found, olderLog(key, 0, fmt.Sprintf("holds entry %d of the log, which ends at %d", t.progress, t.view.Applied())))
	}
}

// strays finds data files that neither the log nor the table knows.
func (t *tableLook) strays(ctx context.Context, files map[string]*stateFile) error {
	named := map[string]bool{}
	if t.log != nil && t.log.Snapshot != nil {
		for _, add := range t.log.Snapshot.Adds() {
			if key, err := t.keyOf(add.Path); err == nil {
				named[key] = true
			}
		}
		for _, r := range t.log.Snapshot.Removes() {
			if key, err := t.keyOf(r.Path); err == nil && !named[key] {
				named[key] = true
				if size, ok := t.listed[key]; ok {
					t.counts.Waiting.add(size)
				}
			}
		}
	}
	for _, key := range sortedKeys(t.listed) {
		if files[key] != nil || named[key] {
			continue
		}
		if t.view.KnowsObject(key) {
			t.counts.Waiting.add(t.listed[key])
			continue
		}
		size, ok, err := t.exists(ctx, key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := t.stray(ctx, key, size); err != nil {
			return err
		}
	}
	return nil
}

// stray reports a data file that nobody knows. Where everything that could name it can be read, it is an orphan: outputs are claimed in
// the log before they are written, so its claim is over.
func (t *tableLook) stray(ctx context.Context, key string, size int64) error {
	found := Finding{
		Severity: Warning, Kind: Unknown, Key: key, Bytes: size, Topic: t.topic.Name, What: "nothing that can be read names it",
		Do: "it may be a file of the table that only a lost part of the Delta log named: keep it until that is brought back",
	}
	orphan := Finding{
		Severity: Warning, Kind: Orphan, Key: key, Bytes: size, Topic: t.topic.Name,
		What: "neither the log nor the table refers to it, and the claim that named it is over", Do: "it takes up room and nothing else; --repair deletes it",
	}
	if !t.o.Full {
		if t.explained() {
			found = orphan // which Repair, as it reads everything, judges anew
		}
		t.found = append(t.found, found)
		return nil
	}
	h, wrong, err := t.read(ctx, key, size)
	switch {
	case err != nil:
		return err
	case wrong != "":
		found.What += ", and it is no whole file: " + wrong
		t.found = append(t.found, found)
		return nil
	}
	for _, p := range h.parts {
		b, err := t.view.Bounds(record.Partition{Topic: t.topic.ID, Index: p.Partition})
		if err == nil && p.End > b.HighWatermark {
			t.found = append(t.found, olderLog(key, size, fmt.Sprintf("holds offsets up to %d, and the log ends at %d", p.End-1, b.HighWatermark)).
				at(t.topic.Name, p.Partition, p.Base, p.End))
			return nil
		}
	}
	if t.explained() {
		orphan.fix = fix{drop: key}
		t.found = append(t.found, orphan)
		return nil
	}
	for _, p := range h.parts {
		t.found = append(t.found, found.at(t.topic.Name, p.Partition, p.Base, p.End))
	}
	return nil
}

// explained tells whether everything that could name a data file has been read. Rows below the log start are the table's alone: where
// there are such rows, a file may have been named by a Delta log that was lost and has been rebuilt since.
func (t *tableLook) explained() bool {
	whole := t.log != nil && t.log.Snapshot != nil && len(t.log.Holes) == 0
	version, _, _ := t.view.TableProgress(t.topic.ID)
	if !t.owned || !whole && (t.log != nil || version >= 0) {
		return false
	}
	for i := range t.topic.Partitions {
		b, err := t.view.Bounds(record.Partition{Topic: t.topic.ID, Index: i})
		if err != nil || b.LogStart > 0 {
			return false
		}
	}
	return true
}
