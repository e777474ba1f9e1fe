package metadata

import (
	"maps"
	"slices"

	"github.com/bargedata/barge/record"
)

// freeze returns a copy that Encode may read while s goes on: lists that are only appended to or cut from the front are
// shared, what changes in place is copied flat. It takes about 150 bytes of copying a partition and 120 a producer, and no
// encoding. The copy is for Encode alone.
func (s *State) freeze() *State {
	// Jobs never change; of an object only refs does, which is not encoded.
	f := &State{
		shard: s.shard, next: s.next, term: s.term, time: s.time, level: s.level,
		topics:     freezeTopics(s.topics),
		tombstones: freezeTopics(s.tombstones),
		usedDirs:   maps.Clone(s.usedDirs),
		sessions:   make(map[SessionID]*session, len(s.sessions)), lastSession: s.lastSession,
		jobs: maps.Clone(s.jobs), lastJob: s.lastJob,
		objects: maps.Clone(s.objects), lastObject: s.lastObject,
		released: s.released,
		spaces:   make(map[string]*keySpace, len(s.spaces)), lastKeyVersion: s.lastKeyVersion,
		nextProducerID: s.nextProducerID,
	}
	for id, ss := range s.sessions {
		f.sessions[id] = new(*ss)
	}
	for name, space := range s.spaces {
		f.spaces[name] = &keySpace{sorted: slices.Clone(space.sorted)}
	}
	return f
}

func freezeTopics(topics map[record.TopicID]*topicState) map[record.TopicID]*topicState {
	frozen := make(map[record.TopicID]*topicState, len(topics))
	for id, t := range topics {
		c := new(*t)
		c.parts = slices.Clone(t.parts)
		for i := range c.parts {
			pt := &c.parts[i].producers
			pt.slots, pt.index = slices.Clone(pt.slots), nil
		}
		frozen[id] = c
	}
	return frozen
}
