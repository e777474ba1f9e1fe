package metadata

import "github.com/bargedata/barge/record"

// Log starts move by DeleteRecords, as far as somebody wants, and by ApplyRetention, as far as files go. What lies wholly
// below a start leaves State. Files of a table stay in the table: below the log start the Delta log is the truth about them.

const (
	// ToHighWatermark in LogStartMove.To stands for the high watermark that the entry finds. Kafka's number.
	ToHighWatermark record.Offset = -1

	maxMoves           = 100_000 // partitions of one DeleteRecords
	maxRetentionTopics = 10_000  // of one ApplyRetention
)

// DeleteRecords moves the log starts of partitions up, to any offset until the high watermark: what lies below can not be read any
// more. A start that is there already, or beyond, is no error and no change. Records that were not compacted never enter a
// file; a start beyond the compacted end takes it along, and with it what the table has got to. Needs level 4.
type DeleteRecords struct{ Moves []LogStartMove }

// LogStartMove says where the log of a partition is to start.
type LogStartMove struct {
	Partition record.Partition
	To        record.Offset
}

// DeleteRecordsResult answers DeleteRecords, move by move. Err: ErrLevel, ErrInvalidCommand (too many moves).
type DeleteRecordsResult struct {
	Err   error
	Moves []LogStartResult
}

// LogStartResult is where a log starts now, -1 with ErrUnknownTopic. Err: ErrUnknownTopic, ErrOffsetOutOfRange (beyond the high
// watermark, or negative).
type LogStartResult struct {
	Err      error
	LogStart record.Offset
}

// ApplyRetention moves the log starts of topics up to where their configs want them at the entry's time: over whole files, from
// the oldest on, never beyond the compacted end. What the configs say in this very entry counts, and nobody's clock but the
// log's. A topic that is gone, and one of which nothing has expired, is no error. Needs level 4.
type ApplyRetention struct{ Topics []record.TopicID }

// ApplyRetentionResult tells which starts moved, and to where. Err: ErrLevel, ErrInvalidCommand (too many topics).
type ApplyRetentionResult struct {
	Err   error
	Moved []LogStartMove
}

func (DeleteRecords) command()  {}
func (ApplyRetention) command() {}

func (DeleteRecordsResult) result()  {}
func (ApplyRetentionResult) result() {}

func (s *State) deleteRecords(c DeleteRecords) Result {
	switch {
	case s.level < 4:
		return DeleteRecordsResult{Err: ErrLevel}
	case len(c.Moves) > maxMoves:
		return DeleteRecordsResult{Err: ErrInvalidCommand}
	}
	results := make([]LogStartResult, len(c.Moves))
	cut := map[record.TopicID]*topicState{}
	for i, m := range c.Moves {
		t, p := s.partition(m.Partition)
		if p == nil {
			results[i] = LogStartResult{Err: ErrUnknownTopic, LogStart: -1}
			continue
		}
		to := m.To
		if to == ToHighWatermark {
			to = p.highWatermark
		}
		switch {
		case to < 0 || to > p.highWatermark:
			results[i].Err = ErrOffsetOutOfRange
		case to > p.logStart:
			s.cut(t, p, m.Partition.Index, to)
			cut[t.ID] = t
		}
		results[i].LogStart = p.logStart
	}
	for _, t := range sortedTopics(cut) {
		t.findOldest()
		s.dropFiles(t)
	}
	return DeleteRecordsResult{Moves: results}
}

func (s *State) applyRetention(c ApplyRetention) Result {
	switch {
	case s.level < 4:
		return ApplyRetentionResult{Err: ErrLevel}
	case len(c.Topics) > maxRetentionTopics:
		return ApplyRetentionResult{Err: ErrInvalidCommand}
	}
	var moved []LogStartMove
	for _, id := range c.Topics {
		t := s.topics[id]
		if t == nil {
			continue
		}
		limits, before := t.retention(), len(moved)
		for i := range t.parts {
			p := &t.parts[i]
			if to := p.expired(s.time, limits); to > p.logStart {
				s.cut(t, p, int32(i), to)
				moved = append(moved, LogStartMove{Partition: record.Partition{Topic: id, Index: int32(i)}, To: to})
			}
		}
		if len(moved) > before {
			s.dropFiles(t)
		}
	}
	return ApplyRetentionResult{Moved: moved}
}

// cut moves the start of p up. Its caller calls dropFiles and, where to may lie beyond the compacted end, findOldest when it is done
// with the topic.
func (s *State) cut(t *topicState, p *partition, index int32, to record.Offset) {
	p.logStart = to
	n := 0
	for n < len(p.files) && p.files[n].end <= to {
		n++
	}
	// A copy, so that the memory of what was cut off goes.
	p.files = append([]fileSpan(nil), p.files[n:]...)
	if to > p.compactedEnd {
		p.compactedEnd = to
		s.dropRuns(t, p, p.runIndex(to))
	}
	// A reader that waits below the start is to hear of it.
	s.changed = append(s.changed, record.Partition{Topic: t.ID, Index: index})
}

// dropFiles lets go of the files of a live topic that hold nothing above the log starts. One whose add is pending stays until it
// is in the table. A file of a table stays in the store, one of no table goes.
func (s *State) dropFiles(t *topicState) {
	pending := make(map[string]struct{}, len(t.adds))
	for i := range t.adds {
		pending[t.adds[i].File.Key] = struct{}{}
	}
	kept := make([]*File, 0, len(t.files))
	for _, f := range t.files {
		_, waits := pending[f.Key]
		switch {
		case waits || t.holds(f):
			kept = append(kept, f)
		case t.TableEnabled():
			delete(s.keys, f.Key)
		default:
			s.release(f.Key)
		}
	}
	t.files = kept
}

// holds reports whether a file has records that the log of a live topic still has.
func (t *topicState) holds(f *File) bool {
	for i := range f.Parts {
		if p := &f.Parts[i]; p.End > t.parts[p.Partition].logStart {
			return true
		}
	}
	return false
}
