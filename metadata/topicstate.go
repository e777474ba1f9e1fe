package metadata

import (
	"maps"
	"slices"
	"strings"

	"github.com/bargedata/barge/record"
)

// topicState is one topic incarnation inside State, live or a tombstone.
type topicState struct {
	Topic
	parts   []partition // empty in a tombstone
	files   []*File     // in order of arrival, those the log has records of, and those of adds; immutable once here
	adds    []PendingAdd
	version int64  // of the table, last projected; -1 before the first
	upTo    uint64 // newest log entry folded into version
	job     JobID  // live claim, 0 if none

	// Derived, not encoded.
	runBytes record.Len
	runCount int
	oldest   int64 // smallest committedAt of the runs; 0 without runs
}

// partition is the log of one Kafka partition: files over [logStart, compactedEnd), then runs up to highWatermark. The first file, or
// where there is none the first run, may begin below the log start.
type partition struct {
	logStart, compactedEnd, highWatermark record.Offset

	files     []fileSpan // by base
	runs      []run      // by base, and so by committedAt: none is older than the one before it
	producers producerTable
}

// run is the flat, small form of Run: what many of lie in memory.
type run struct {
	base, end record.Offset
	object    uint64
	pos       record.Pos
	len       record.Len
	maxTime   int64
	// committedAt is the time of the entry that gave the records their offsets, of the oldest where runs were put together.
	committedAt int64
}

// fileSpan is one part of a file in its partition's list.
type fileSpan struct {
	base, end record.Offset
	file      *File
	part      int32 // index in file.Parts
}

func (f *fileSpan) filePart() FilePart { return f.file.Parts[f.part] }

func (p *partition) bounds() Bounds {
	return Bounds{LogStart: p.logStart, LastStable: p.highWatermark, HighWatermark: p.highWatermark}
}

// newTopicState gives every partition a place; t.Partitions has been checked.
func newTopicState(t Topic) *topicState {
	return &topicState{Topic: t, parts: make([]partition, t.Partitions), version: -1}
}

func (s *State) createTopic(c CreateTopic) Result {
	if t := s.names[c.Name]; t != nil {
		return CreateTopicResult{Err: ErrTopicExists, Topic: t.Topic}
	}
	switch {
	case ValidateTopicName(c.Name) != nil, c.ID.IsZero(), s.topics[c.ID] != nil, s.tombstones[c.ID] != nil:
		return CreateTopicResult{Err: ErrInvalidTopic}
	case c.Partitions < 1 || c.Partitions > MaxPartitions:
		return CreateTopicResult{Err: ErrInvalidPartitions}
	}
	t := newTopicState(Topic{
		ID: c.ID, Name: c.Name, Partitions: c.Partitions, Configs: maps.Clone(c.Configs),
		TableDir: s.tableDir(c.Name, c.ID), CreatedAt: s.time,
	})
	s.enlist(t)
	s.existenceChanged(t)
	return CreateTopicResult{Topic: t.Topic}
}

// enlist makes t a live topic.
func (s *State) enlist(t *topicState) {
	s.topics[t.ID] = t
	s.names[t.Name] = t
	s.unified[unified(t.Name)]++
}

// unified is the name under which Kafka keeps the metrics of a topic.
func unified(name string) string { return strings.ReplaceAll(name, ".", "_") }

// maxDirName is how long the last segment of a table path may be: what file systems take.
const maxDirName = 255

// tableDir is the plain path, or one with the id where an earlier topic of the name ever had the plain one: a key is never
// written with other bytes (I3), so a path is never given twice. Source: ADR 0004.
func (s *State) tableDir(name string, id record.TopicID) string {
	dir := plainDir(name)
	_, used := s.usedDirs[dir]
	for _, t := range s.tombstones { // any order: only whether one is there counts
		used = used || t.TableDir == dir
	}
	if !used {
		return dir
	}
	suffix := "@" + id.Hex()
	return plainDir(name[:min(len(name), maxDirName-len(suffix))]) + suffix
}

func (s *State) deleteTopic(c DeleteTopic) Result {
	t := s.topics[c.ID]
	if t == nil {
		return DeleteTopicResult{Err: ErrUnknownTopic}
	}
	s.existenceChanged(t)
	for i := range t.parts {
		s.dropRuns(t, &t.parts[i], len(t.parts[i].runs))
	}
	delete(s.topics, t.ID)
	delete(s.names, t.Name)
	if name := unified(t.Name); s.unified[name] > 1 {
		s.unified[name]--
	} else {
		delete(s.unified, name)
	}
	t.parts = nil
	if !t.KeepsTable() {
		t.adds = nil
		delete(s.withAdds, t.ID)
	}
	s.tombstones[t.ID] = t
	return DeleteTopicResult{}
}

func (s *State) alterTopicConfigs(c AlterTopicConfigs) Result {
	t := s.topics[c.ID]
	switch {
	case s.level < 4:
		return AlterTopicConfigsResult{Err: ErrLevel}
	case t == nil:
		return AlterTopicConfigsResult{Err: ErrUnknownTopic}
	case !maps.Equal(t.Configs, c.From):
		return AlterTopicConfigsResult{Err: ErrConflict, Topic: t.Topic}
	}
	t.Configs = maps.Clone(c.To) // a new one: readers have the old
	return AlterTopicConfigsResult{Topic: t.Topic}
}

func (s *State) createPartitions(c CreatePartitions) Result {
	t := s.topics[c.ID]
	switch {
	case s.level < 4:
		return CreatePartitionsResult{Err: ErrLevel}
	case t == nil:
		return CreatePartitionsResult{Err: ErrUnknownTopic}
	case c.Partitions <= t.Partitions || c.Partitions > MaxPartitions:
		return CreatePartitionsResult{Err: ErrInvalidPartitions, Topic: t.Topic}
	}
	first := t.Partitions
	t.Partitions = c.Partitions
	t.parts = append(t.parts, make([]partition, c.Partitions-first)...)
	for i := first; i < t.Partitions; i++ {
		s.changed = append(s.changed, record.Partition{Topic: t.ID, Index: i})
	}
	return CreatePartitionsResult{Topic: t.Topic}
}

func (s *State) existenceChanged(t *topicState) {
	for i := range t.parts {
		s.changed = append(s.changed, record.Partition{Topic: t.ID, Index: int32(i)})
	}
}

func plainDir(name string) string { return "tables/" + name }

func (s *State) forgetTopic(c ForgetTopic) Result {
	t := s.tombstones[c.ID]
	switch {
	case t == nil:
		return ForgetTopicResult{Err: ErrUnknownTopic}
	case len(t.adds) > 0:
		return ForgetTopicResult{Err: ErrStaleInput}
	case t.TableDir == plainDir(t.Name):
		s.usedDirs[t.TableDir] = struct{}{}
	}
	for _, f := range t.files {
		delete(s.keys, f.Key)
	}
	delete(s.tombstones, t.ID)
	return ForgetTopicResult{}
}

// topicOrTombstone finds a topic whose table may still have to be brought up to date.
func (s *State) topicOrTombstone(id record.TopicID) *topicState {
	if t := s.topics[id]; t != nil {
		return t
	}
	return s.tombstones[id]
}

func (s *State) projected(c Projected) Result {
	t := s.topicOrTombstone(c.Topic)
	switch {
	case t == nil:
		return ProjectedResult{Err: ErrUnknownTopic}
	case c.Version < t.version, c.UpTo < t.upTo, c.UpTo >= s.next-1:
		return ProjectedResult{Err: ErrStaleInput} // this entry may bring adds that nobody has seen yet
	case c.Version == t.version && c.UpTo != t.upTo:
		return ProjectedResult{Err: ErrStaleInput} // one version, one progress
	}
	t.version, t.upTo = c.Version, c.UpTo
	n := 0
	for n < len(t.adds) && t.adds[n].Seq <= c.UpTo {
		n++
	}
	done := t.adds[:n]
	t.adds = append([]PendingAdd(nil), t.adds[n:]...)
	if len(t.adds) == 0 {
		delete(s.withAdds, t.ID)
	}
	if len(t.parts) > 0 && slices.ContainsFunc(done, func(a PendingAdd) bool { return !t.holds(&a.File) }) {
		s.dropFiles(t) // they waited for the table alone
	}
	return ProjectedResult{}
}
