package compactor

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// Share says which part of the cluster's background work is this agent's at the moment: mine takes a piece of work, agents is how
// many share it all. A nil mine takes everything. It is asked once a round. Agents that hear the same of one another give each piece to one of them.
// While they do not, two may do the same piece, or nobody: claims, and the checks of the log and of the Delta log, let one of two
// count, and what nobody does waits for a later round.
//
// The pieces: "sweep" is the deletion of released objects and of what sealed sessions left; "spans/" and a session in decimal
// is the regrouping of its WAL objects, "spans/inline" of those in log entries; TopicWork is a topic's files, its
// table and, when it was deleted, what is left of it. A session's own agent alone sweeps it while it is open.
type Share func() (mine func(work string) bool, agents int)

// Spread shares the work among those live members with the role that are not draining, by rendezvous hash.
func Spread(members func() routing.Members, self metadata.SessionID) Share {
	return func() (mine func(work string) bool, agents int) {
		able := members().Live().WithRole(routing.RoleCompact)
		if len(able) == 1 && able[0].Session == uint64(self) {
			return nil, 1
		}
		return func(work string) bool {
			m, ok := routing.Pick("upkeep/"+work, able)
			return ok && m.Session == uint64(self)
		}, len(able)
	}
}

const (
	sweepWork  = "sweep"
	inlineSpan = "spans/inline"
)

// TopicWork is the piece of work that a topic's files and its table belong to, where so many agents share them: that of its neighbors by id.
// Sorted objects are in the order of ids, so that what one agent reads of them lies together and not in a stretch for each topic
// (ADR 0009). An agent has 16 to 32 pieces, so that those who come and go move few, and nobody has much more than others.
func TopicWork(id record.TopicID, agents int) string {
	n := min(bits.Len(uint(max(agents, 1)))+4, 32)
	return fmt.Sprintf("topics/%d/%d", n, binary.BigEndian.Uint32(id[:4])>>(32-n))
}

func spanWork(session uint64) string { return "spans/" + strconv.FormatUint(session, 10) }

// roundShare is a Share as one round sees it.
type roundShare struct {
	agents int
	ask    func(work string) bool // nil: all
}

func shareOf(s Share) roundShare {
	if s == nil {
		return roundShare{agents: 1}
	}
	mine, agents := s()
	return roundShare{agents: max(agents, 1), ask: mine}
}

// alone reports that no other agent does background work.
func (s roundShare) alone() bool { return s.ask == nil }

func (s roundShare) mine(work string) bool { return s.ask == nil || s.ask(work) }

func (s roundShare) mineTopic(id record.TopicID) bool {
	return s.ask == nil || s.ask(TopicWork(id, s.agents))
}

// mineObject tells of a backlog object by its key whether this agent regroups it, and remembers what it was told of a session.
func (s roundShare) mineObject() func(key string) bool {
	inline := s.mine(inlineSpan)
	sessions := map[uint64]bool{}
	return func(key string) bool {
		k, ok := record.ParseObjectKey(key)
		if !ok {
			return inline
		}
		mine, known := sessions[k.Session]
		if !known {
			mine = s.mine(spanWork(k.Session))
			sessions[k.Session] = mine
		}
		return mine
	}
}

// summed sums objects up as View.Backlog does all of them.
func summed(objects []metadata.BacklogObject) (b metadata.Backlog) {
	for _, o := range objects {
		b.Objects++
		b.Bytes += o.Size
		if b.Oldest == 0 {
			b.Oldest = o.CommittedAt
		}
		if o.Inline {
			b.Inline++
			if b.OldestInline == 0 {
				b.OldestInline = o.CommittedAt
			}
		}
	}
	return b
}
