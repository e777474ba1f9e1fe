package metadata

import "github.com/bargedata/barge/record"

// object is a WAL object that runs still refer to.
type object struct {
	key    string // "" when inline
	size   record.Len
	sorted bool // moved here by a Replace
	inline bool // lies in the entry of slot, from pos of its body on
	slot   uint64
	pos    record.Pos

	// Derived, not encoded.
	refs int   // runs that lie in it, and runs of it that are held back
	at   int64 // the oldest of their CommittedAt that there was
}

// name is how readers ask for it.
func (o *object) name() string {
	if o.inline {
		return InlineKey(o.slot, int64(o.pos), int64(o.size))
	}
	return o.key
}

// addObject takes a new object in; its id is above those of all others.
func (s *State) addObject(id uint64, o *object) {
	s.objects[id] = o
	if o.inline {
		s.inline.add(id)
	}
	if !o.sorted {
		s.raw.add(id)
		s.rawBytes += o.size
	}
}

// dropObject lets go of an object that nothing refers to any more. One that lies in an entry goes when the log is
// truncated; others wait to be deleted.
func (s *State) dropObject(id uint64) {
	o := s.objects[id]
	delete(s.objects, id)
	if !o.sorted {
		s.raw.drop(s.objects)
		s.rawBytes -= o.size
	}
	if o.inline {
		s.inline.drop(s.objects)
	} else {
		s.release(o.key)
	}
}

// dropRuns takes the first n runs out of p and lets go of the objects they lay in. Where t keeps runs, its caller calls
// findOldest when it is done with all partitions.
func (s *State) dropRuns(t *topicState, p *partition, n int) {
	for i := range p.runs[:n] {
		s.uncountRun(t, &p.runs[i])
	}
	// A copy, so that the memory of what was cut off goes and frozen states keep theirs.
	p.runs = append([]run(nil), p.runs[n:]...)
	if t.runCount == 0 {
		t.oldest = 0
		delete(s.withRuns, t.ID)
	}
}

// uncountRun is the reverse of countRun, but for what findOldest looks for.
func (s *State) uncountRun(t *topicState, r *run) {
	t.runBytes -= r.len
	t.runCount--
	s.unref(r.object)
}

func (s *State) addRun(t *topicState, p *partition, r run) {
	p.runs = append(p.runs, r)
	s.countRun(t, &r)
}

// countRun brings what is derived from the runs of t, and of the object r lies in, up to date with a new one.
func (s *State) countRun(t *topicState, r *run) {
	if t.runCount == 0 || r.committedAt < t.oldest {
		t.oldest = r.committedAt
	}
	t.runBytes += r.len
	t.runCount++
	s.withRuns[t.ID] = t
	o := s.objects[r.object]
	if o.at == 0 || r.committedAt < o.at {
		o.at = r.committedAt
	}
	o.refs++
}

// findOldest looks for the oldest run anew. Runs are appended in the order of entry time, and one that is moved gets the age
// of the first of those whose place it takes, which is the oldest of them; so the first run of each partition is its oldest.
func (t *topicState) findOldest() {
	t.oldest = 0
	found := false
	for i := range t.parts {
		if runs := t.parts[i].runs; len(runs) > 0 && (!found || runs[0].committedAt < t.oldest) {
			t.oldest, found = runs[0].committedAt, true
		}
	}
}

func (s *State) unref(id uint64) {
	o := s.objects[id]
	o.refs--
	if o.refs == 0 {
		s.dropObject(id)
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
