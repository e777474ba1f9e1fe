package fsck

import (
	"maps"
	"slices"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// references is what the log, as one View shows it, says about the store.
type references struct {
	objects  map[string]*objectRef
	files    map[string]*fileRef
	sessions map[metadata.SessionID]metadata.Session
	dirs     map[string]metadata.Topic // of live topics and tombstones, by table path
	pending  map[record.TopicID][]metadata.PendingAdd
	dropping map[string]bool // table paths whose topic is deleted and whose table goes
}

// objectRef is one WAL object that runs lie in.
type objectRef struct {
	key  string
	size record.Len
	runs []runRef // by partition and offset
}

// inline tells an object whose bytes lie in a slot of the log.
func (o *objectRef) inline() bool { return o.runs[0].run.Inline }

type runRef struct {
	partition record.Partition
	topic     string
	run       metadata.Run
}

// fileRef is one Parquet file.
type fileRef struct {
	topic metadata.Topic
	file  metadata.File
}

// pendingPage is how many topics with pending adds are taken from the View at a time.
const pendingPage = 256

func refer(view *metadata.View) *references {
	r := &references{
		objects: map[string]*objectRef{}, files: map[string]*fileRef{}, sessions: map[metadata.SessionID]metadata.Session{},
		dirs: map[string]metadata.Topic{}, dropping: map[string]bool{},
		pending: map[record.TopicID][]metadata.PendingAdd{},
	}
	for page := view.PendingTables(record.TopicID{}, pendingPage); len(page) > 0; page = view.PendingTables(page[len(page)-1].Topic.ID, pendingPage) {
		for _, p := range page {
			r.pending[p.Topic.ID] = p.Adds
		}
	}
	for _, s := range view.Sessions() {
		r.sessions[s.ID] = s
	}
	for _, t := range view.Topics() {
		r.dirs[t.TableDir] = t
		for _, pending := range view.PendingRuns(t.ID) {
			for _, p := range pending.Partitions {
				for _, run := range p.Runs {
					r.addRun(runRef{partition: record.Partition{Topic: t.ID, Index: p.Index}, topic: t.Name, run: run})
				}
			}
		}
		r.addFiles(view, t)
	}
	for _, t := range view.Tombstones() {
		r.dirs[t.TableDir] = t
		if r.dropping[t.TableDir] = !t.KeepsTable(); t.KeepsTable() {
			r.addFiles(view, t)
		}
	}
	return r
}

func (r *references) addRun(run runRef) {
	o := r.objects[run.run.Key]
	if o == nil {
		o = &objectRef{key: run.run.Key, size: run.run.ObjectSize}
		r.objects[o.key] = o
	}
	o.runs = append(o.runs, run)
}

func (r *references) addFiles(view *metadata.View, t metadata.Topic) {
	for _, f := range view.Files(t.ID) {
		r.files[f.Key] = &fileRef{topic: t, file: f}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
