package metadata

import "github.com/bargedata/barge/record"

// object is a WAL object that runs still refer to.
type object struct {
	key         string
	size        record.Len
	committedAt int64 // entry time, milliseconds
	refs        int   // runs that lie in it; derived, not encoded
}

// dropRuns takes the first n runs out of p and lets go of the objects they lay in. Where t keeps runs, its caller calls
// findFirstObject when it is done with all partitions.
func (s *State) dropRuns(t *topicState, p *partition, n int) {
	for i := range p.runs[:n] {
		r := &p.runs[i]
		t.runBytes -= r.len
		t.runCount--
		s.unref(r.object)
	}
	// A copy, so that the memory of what was cut off goes and frozen states keep theirs.
	p.runs = append([]run(nil), p.runs[n:]...)
	if t.runCount == 0 {
		t.firstObject = 0
		delete(s.withRuns, t.ID)
	}
}

func (s *State) addRun(t *topicState, p *partition, r run) {
	p.runs = append(p.runs, r)
	s.countRun(t, &r)
}

// countRun brings what is derived from the runs of t, and of the object r lies in, up to date with a new one.
func (s *State) countRun(t *topicState, r *run) {
	if t.runCount == 0 || r.object < t.firstObject {
		t.firstObject = r.object
	}
	t.runBytes += r.len
	t.runCount++
	s.withRuns[t.ID] = t
	s.objects[r.object].refs++
}

// findFirstObject looks for the oldest object anew. Objects are numbered in the order of their entries, and the runs of a
// partition are in that order too, so the first run of each partition tells.
func (t *topicState) findFirstObject() {
	t.firstObject = 0
	for i := range t.parts {
		if runs := t.parts[i].runs; len(runs) > 0 && (t.firstObject == 0 || runs[0].object < t.firstObject) {
			t.firstObject = runs[0].object
		}
	}
}

func (s *State) unref(id uint64) {
	o := s.objects[id]
	o.refs--
	if o.refs == 0 {
		delete(s.objects, id)
		s.release(o.key)
	}
}

// release queues an object for deletion. Its key stays known until ForgetObjects.
func (s *State) release(key string) {
	s.released = append(s.released, ReleasedObject{Key: key, ReleasedAt: s.time})
}

func (s *State) forgetObjects(c ForgetObjects) Result {
	gone := make(map[string]bool, len(c.Keys))
	for _, key := range c.Keys {
		gone[key] = true
	}
	rest := make([]ReleasedObject, 0, max(0, len(s.released)-len(gone)))
	for _, r := range s.released {
		if !gone[r.Key] {
			rest = append(rest, r)
		}
	}
	if len(rest) != len(s.released)-len(gone) {
		return ForgetObjectsResult{Err: ErrStaleInput}
	}
	s.released = rest
	for key := range gone { // any order: it only takes keys out of a set
		delete(s.keys, key)
	}
	return ForgetObjectsResult{}
}

// known reports whether State knows an object key in any role.
func (s *State) known(key string) bool {
	_, ok := s.keys[key]
	return ok
}
