package metadata

import (
	"slices"

	"github.com/bargedata/barge/record"
)

// job is a live claim.
type job struct {
	id      JobID
	session SessionID
	topics  []record.TopicID
	outputs []string
}

func (s *State) claimJob(c ClaimJob) Result {
	if s.open(c.Session) == nil {
		return ClaimJobResult{Err: ErrSessionSealed}
	}
	if len(c.Outputs) > MaxJobOutputs {
		return ClaimJobResult{Err: ErrInvalidCommand}
	}
	seen := make(map[record.TopicID]struct{}, len(c.Topics))
	for _, id := range c.Topics {
		t := s.topics[id]
		switch {
		case t == nil:
			return ClaimJobResult{Err: ErrUnknownTopic}
		case t.job != 0:
			return ClaimJobResult{Err: ErrTopicClaimed}
		}
		if _, twice := seen[id]; twice {
			return ClaimJobResult{Err: ErrInvalidCommand}
		}
		seen[id] = struct{}{}
	}
	own := make(map[string]struct{}, len(c.Outputs))
	for _, key := range c.Outputs {
		if _, twice := own[key]; twice || key == "" {
			return ClaimJobResult{Err: ErrInvalidCommand}
		}
		if s.known(key) {
			return ClaimJobResult{Err: ErrConflict}
		}
		own[key] = struct{}{}
	}

	s.lastJob++
	j := &job{id: s.lastJob, session: c.Session, topics: c.Topics, outputs: c.Outputs}
	s.jobs[j.id] = j
	for _, id := range c.Topics {
		s.topics[id].job = j.id
	}
	for _, key := range c.Outputs {
		s.keys[key] = struct{}{}
	}
	return ClaimJobResult{Job: j.id}
}

func (s *State) releaseJob(c ReleaseJob) Result {
	if j := s.jobs[c.Job]; j != nil {
		s.endJob(j, nil)
	}
	return ReleaseJobResult{}
}

// endJob frees the job's topics and releases the outputs it did not use.
func (s *State) endJob(j *job, used map[string]bool) {
	delete(s.jobs, j.id)
	for _, id := range j.topics {
		if t := s.topicOrTombstone(id); t != nil && t.job == j.id {
			t.job = 0
		}
	}
	for _, key := range j.outputs {
		if !used[key] {
			s.release(key)
		}
	}
}

func (s *State) replace(c Replace) Result {
	j := s.jobs[c.Job]
	if j == nil {
		return ReplaceResult{Err: ErrStaleClaim}
	}
	named := make(map[string]bool, len(j.outputs))
	for _, key := range j.outputs {
		named[key] = true
	}
	used := make(map[string]bool, len(c.Files))
	if c.Moved != nil && s.level < 2 {
		return ReplaceResult{Err: ErrLevel}
	}
	claimed := make(map[record.TopicID]bool, len(j.topics))
	for _, id := range j.topics {
		claimed[id] = true
	}
	ends := make(map[record.Partition]record.Offset) // compacted ends as they will be
	for i := range c.Files {
		f := &c.Files[i]
		if used[f.Key] || !named[f.Key] {
			return ReplaceResult{Err: ErrInvalidCommand}
		}
		used[f.Key] = true
		if err := s.checkFile(claimed, f, ends); err != nil {
			return ReplaceResult{Err: err}
		}
	}
	var moves []MovedRun
	if m := c.Moved; m != nil {
		if used[m.Key] || !named[m.Key] {
			return ReplaceResult{Err: ErrInvalidCommand}
		}
		var err error
		if moves, err = s.checkMoved(claimed, m, ends, len(c.Files) > 0); err != nil {
			return ReplaceResult{Err: err}
		}
		used[m.Key] = len(moves) > 0
	}
	// Nothing can fail from here on.
	for i := range c.Files {
		s.addFile(&c.Files[i])
	}
	if len(moves) > 0 {
		s.move(c.Moved, moves)
	}
	// Runs that were moved kept their age, so only where runs left for a file another one can be the oldest now.
	for i := range c.Files {
		s.topics[c.Files[i].Topic].findOldest()
	}
	s.endJob(j, used)
	return ReplaceResult{}
}

// checkFile tells why a file may not enter; claimed are the job's topics, ends carries what the files before it in the same
// Replace have covered.
func (s *State) checkFile(claimed map[record.TopicID]bool, f *NewFile, ends map[record.Partition]record.Offset) error {
	t := s.topics[f.Topic]
	switch {
	case !claimed[f.Topic]:
		return ErrStaleClaim
	case t == nil:
		return ErrUnknownTopic
	case len(f.Add) > MaxAddBytes, len(f.Parts) == 0, f.Size < 0, f.Size > maxObjectBytes, f.Rows < 0:
		return ErrInvalidCommand
	}
	for i := range f.Parts {
		fp := &f.Parts[i]
		if i > 0 && f.Parts[i-1].Partition >= fp.Partition || fp.Rows < 0 || fp.RowGroup < 0 || fp.RowGroups < 0 {
			return ErrInvalidCommand
		}
		id := record.Partition{Topic: f.Topic, Index: fp.Partition}
		_, p := s.partition(id)
		if p == nil {
			return ErrUnknownTopic
		}
		end, seen := ends[id]
		if !seen {
			end = p.compactedEnd
		}
		if fp.Base != end || fp.End <= fp.Base || !p.runEndsAt(fp.End) {
			return ErrStaleInput
		}
		ends[id] = fp.End
	}
	return nil
}

// runIndex is the number of runs that end at or before offset.
func (p *partition) runIndex(offset record.Offset) int {
	n, _ := slices.BinarySearchFunc(p.runs, offset, func(r run, offset record.Offset) int {
		if r.end <= offset {
			return -1
		}
		return 1
	})
	return n
}

func (p *partition) runEndsAt(end record.Offset) bool {
	n := p.runIndex(end)
	return n > 0 && p.runs[n-1].end == end
}

func (s *State) addFile(nf *NewFile) {
	t := s.topics[nf.Topic]
	f := &File{Topic: nf.Topic, Key: nf.Key, Size: nf.Size, Rows: nf.Rows, Parts: nf.Parts}
	t.addFile(f)
	if nf.Add != nil {
		t.adds = append(t.adds, PendingAdd{Seq: s.next - 1, File: *f, Add: nf.Add})
		s.withAdds[t.ID] = t
	}
	for i := range f.Parts {
		p := &t.parts[f.Parts[i].Partition]
		p.compactedEnd = f.Parts[i].End
		s.dropRuns(t, p, p.runIndex(p.compactedEnd))
	}
}

// addFile lists f in the topic and, where the topic still has them, in its partitions.
func (t *topicState) addFile(f *File) {
	t.files = append(t.files, f)
	if len(t.parts) == 0 {
		return
	}
	for i := range f.Parts {
		fp := &f.Parts[i]
		p := &t.parts[fp.Partition]
		p.files = append(p.files, fileSpan{base: fp.Base, end: fp.End, file: f, part: int32(i)})
	}
}
