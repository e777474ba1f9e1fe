package sim

import (
	"cmp"
	"maps"
	"slices"

	"github.com/bargedata/barge/group"
	"github.com/bargedata/barge/record"
)

// generation is one generation of a group.
type generation struct {
	group  string
	number int32
}

// CheckCoordinators looks for two agents that coordinate a group at once ("coordinators"): a write that took effect though another agent
// had claimed the shard; a claim taken from one whom the claimer knew to live; a success told by an agent whose own View names somebody else; a
// heartbeat confirmed after the member's place was given away; and one generation with two assignments, or two lists of members.
func CheckCoordinators(h *GroupHistory) []Violation {
	var bad []Violation
	holders := map[int]holder{}
	for i := range h.Writes {
		w := &h.Writes[i]
		by, now := holder{w.Agent, w.Session}, holders[w.Shard]
		switch {
		case !w.Claims && by != now:
			bad = append(bad, broken("coordinators", "write %d to shard %d is agent %d's in session %d, and agent %d holds the shard in session %d", i, w.Shard, by.agent, by.session, now.agent, now.session))
		case w.Claims && by != now && slices.Contains(w.Knows, now.session):
			bad = append(bad, broken("coordinators", "agent %d claims shard %d from agent %d, which it knows to live", w.Agent, w.Shard, now.agent))
		case w.Claims:
			holders[w.Shard] = by
		}
	}
	saved := savedGroups(h)
	assigned := map[generation]*GroupCall{}
	joined := map[generation]*GroupCall{}
	claimed := claimsOf(h)
	for _, c := range h.Calls {
		if c.Ended == 0 || c.Code != 0 {
			continue
		}
		// It may have taken the group and lost it again while it was asked.
		if c.Foreign && c.Kind != GroupFetch && c.Kind != GroupLeave && !claimed.between(group.ShardOf(c.Group), c.Before, c.After) {
			bad = append(bad, broken("coordinators", "agent %d answers a %s of %s though it has heard that another one holds the group", c.Agent, c.Kind, c.Member))
		}
		at := generation{c.Group, c.Generation}
		switch c.Kind {
		case GroupSync:
			first := assigned[at]
			if first == nil {
				assigned[at] = c
			} else if one, other := lead(first.Assignment), lead(c.Assignment); one != other && one != "" && other != "" {
				bad = append(bad, broken("coordinators", "generation %d of %s has assignment %s by agent %d and %s by agent %d", c.Generation, c.Group, one, first.Agent, other, c.Agent))
			}
		case GroupJoin:
			if c.Members == "" || c.Static {
				continue
			}
			// Until a generation is saved, who takes the group over does not know of it, and hands its number out once more.
			first := joined[at]
			if first != nil && first.Agent == c.Agent && first.Members != c.Members && !claimed.between(group.ShardOf(c.Group), first.Before, c.After) {
				bad = append(bad, broken("coordinators", "generation %d of %s was handed out by agent %d with members %s and with %s", c.Generation, c.Group, c.Agent, first.Members, c.Members))
			}
			joined[at] = c
		case GroupHeartbeat:
			// Who is cut off counts as reachable, and confirms, for 5 s more, and an answer takes its time.
			if s := saved.before(c.Group, c.Before); s != nil && c.EndedAt-s.At > stillReachable && s.Generation > c.Generation && len(s.Members) > 0 && !slices.Contains(s.Members, c.Member) {
				bad = append(bad, broken("coordinators", "agent %d confirms %s in generation %d of %s after generation %d without it", c.Agent, c.Member, c.Generation, c.Group, s.Generation))
			}
		default:
		}
	}
	members := map[generation]*GroupWrite{}
	for _, name := range slices.Sorted(maps.Keys(saved)) {
		for _, s := range saved[name] {
			w := s.GroupWrite
			at := generation{name, w.Generation}
			if first := members[at]; first == nil && len(w.Members) > 0 {
				members[at] = w
			} else if first != nil && len(w.Members) > 0 && len(w.Members) != len(first.Members) {
				bad = append(bad, broken("coordinators", "generation %d of %s was saved with members %v and with %v", w.Generation, name, first.Members, w.Members))
			}
		}
	}
	return bad
}

// stillReachable is for how long, in milliseconds, an agent that is cut off may confirm members by what it knew.
const stillReachable = 10_000

// lead is what tells a leader's assignments from another's.
func lead(assignment string) string {
	for i := range assignment {
		if assignment[i] == ':' {
			return assignment[:i]
		}
	}
	return ""
}

// savedGroup is one save of a group and its place among the writes.
type savedGroup struct {
	*GroupWrite
	at int
}

// saves are those of each group, in the order of the log.
type saves map[string][]savedGroup

func savedGroups(h *GroupHistory) saves {
	all := saves{}
	for i := range h.Writes {
		if w := &h.Writes[i]; w.Group != "" {
			all[w.Group] = append(all[w.Group], savedGroup{w, i})
		}
	}
	return all
}

// before is the last save of a group among the first n writes.
func (s saves) before(name string, n int) *GroupWrite {
	all := s[name]
	i, _ := slices.BinarySearchFunc(all, n, func(s savedGroup, n int) int { return cmp.Compare(s.at, n) })
	if i == 0 {
		return nil
	}
	return all[i-1].GroupWrite
}

// claims are the places among the writes where each shard was claimed, ascending.
type claims map[int][]int

func claimsOf(h *GroupHistory) claims {
	all := claims{}
	for i := range h.Writes {
		if w := &h.Writes[i]; w.Claims {
			all[w.Shard] = append(all[w.Shard], i)
		}
	}
	return all
}

// between tells whether the shard was claimed by one of the writes from one to the other.
func (c claims) between(shard, from, to int) bool {
	i, _ := slices.BinarySearch(c[shard], from)
	return i < len(c[shard]) && c[shard][i] < to
}

// CheckOffsets looks at committed offsets ("offsets"): one is acknowledged only when it is durable; who asks afterwards, whichever agent
// answers, is told of it or of a later one, and never of less than somebody was told before; only members of the generation that the log
// holds commit; and commits take effect in the order in which an agent took them, none after it was told to have failed and
// another one came.
func CheckOffsets(h *GroupHistory) []Violation {
	var bad []Violation
	calls, effect := map[int]*GroupCall{}, map[int]int{}
	for _, c := range h.Calls {
		if c.Kind == GroupCommit {
			calls[c.Commit] = c
		}
	}
	bad = append(bad, checkEffects(h, calls, effect)...)
	type place struct {
		group     string
		partition record.Partition
	}
	type known struct {
		step, at, commit int
		place
	}
	var told []known
	for _, c := range h.Calls {
		if c.Ended == 0 || c.Code != 0 {
			continue
		}
		switch c.Kind {
		case GroupCommit:
			at, ok := effect[c.Commit]
			if !ok || at >= c.After {
				bad = append(bad, broken("offsets", "agent %d acknowledges commit %d of %s, which is not in the log", c.Agent, c.Commit, c.Group))
				continue
			}
			told = append(told, known{c.Ended, at, c.Commit, place{c.Group, c.Partition}})
		case GroupFetch:
			for _, f := range c.Fetched {
				at, ok := effect[f.Commit]
				if f.Commit == 0 {
					continue
				}
				if !ok || calls[f.Commit].Offset != f.Offset {
					bad = append(bad, broken("offsets", "agent %d tells offset %d by commit %d of %s, which is not what the log holds", c.Agent, f.Offset, f.Commit, c.Group))
					continue
				}
				told = append(told, known{c.Ended, at, f.Commit, place{c.Group, f.Partition}})
			}
		default:
		}
	}
	slices.SortStableFunc(told, func(a, b known) int { return cmp.Compare(a.step, b.step) })
	newest := map[place]known{}
	next := 0
	for _, c := range h.Calls { // in the order in which they came
		for ; next < len(told) && told[next].step < c.Began; next++ {
			if k := told[next]; newest[k.place].commit == 0 || newest[k.place].at < k.at {
				newest[k.place] = k
			}
		}
		if c.Kind != GroupFetch || c.Ended == 0 || c.Code != 0 {
			continue
		}
		for _, f := range c.Fetched {
			k := newest[place{c.Group, f.Partition}]
			if at, ok := effect[f.Commit]; k.commit != 0 && (!ok || at < k.at) {
				bad = append(bad, broken("offsets", "agent %d tells offset %d (commit %d) of %s in %s after commit %d was told of", c.Agent, f.Offset, f.Commit, c.Group, f.Partition, k.commit))
			}
		}
	}
	return bad
}

// checkEffects goes through the commits as they took effect.
func checkEffects(h *GroupHistory, calls map[int]*GroupCall, effect map[int]int) []Violation {
	var bad []Violation
	saved := savedGroups(h)
	type place struct {
		group     string
		partition record.Partition
	}
	last := map[place][]*GroupCall{}
	for i := range h.Writes {
		c := calls[h.Writes[i].Commit]
		if c == nil {
			continue
		}
		effect[c.Commit] = i
		s := saved.before(c.Group, i+1)
		switch {
		case s == nil:
			bad = append(bad, broken("offsets", "commit %d of %s takes effect before the group was saved", c.Commit, c.Group))
		case s.Generation != c.Generation || len(s.Members) > 0 && !slices.Contains(s.Members, c.Member):
			bad = append(bad, broken("offsets", "commit %d of %s in generation %d of %s takes effect in generation %d of %v", c.Commit, c.Member, c.Generation, c.Group, s.Generation, s.Members))
		}
		at := place{c.Group, c.Partition}
		for _, before := range last[at] {
			switch {
			case c.Ended != 0 && c.After <= i && before.Began > c.Ended:
				bad = append(bad, broken("offsets", "commit %d of %s takes effect after it was answered with code %d and after commit %d, which came later", c.Commit, c.Group, c.Code, before.Commit))
			case before.Agent == c.Agent && before.Session == c.Session && before.Began > c.Began:
				bad = append(bad, broken("offsets", "agent %d lets commit %d of %s take effect after commit %d, which came later", c.Agent, c.Commit, c.Group, before.Commit))
			}
		}
		last[at] = append(last[at], c)
	}
	return bad
}

// CheckMembership looks at what is to survive a coordinator's death ("membership"): a generation is durable before a member learns its
// assignment; generations of a group never go back; and after a hand-over the members that the log holds are in the generation they
// were in: for a whole session nobody tells them otherwise, unless somebody joins or leaves.
func CheckMembership(h *GroupHistory) []Violation {
	var bad []Violation
	saved := savedGroups(h)
	for _, name := range slices.Sorted(maps.Keys(saved)) {
		all := saved[name]
		for i := 1; i < len(all); i++ {
			if all[i].Generation < all[i-1].Generation {
				bad = append(bad, broken("membership", "generation %d of %s is saved after generation %d", all[i].Generation, name, all[i-1].Generation))
			}
		}
	}
	tenures := tenuresOf(h)
	for _, c := range h.Calls {
		if c.Ended == 0 {
			continue
		}
		if c.Kind == GroupSync && c.Code == 0 {
			s := saved.before(c.Group, c.After)
			if s == nil || s.Generation < c.Generation || s.Generation == c.Generation && len(s.Members) > 0 && !slices.Contains(s.Members, c.Member) && !c.Static {
				bad = append(bad, broken("membership", "%s learns its assignment in generation %d of %s before that is durable", c.Member, c.Generation, c.Group))
			}
		}
		lost := c.Code == codeIllegalGeneration || c.Code == codeUnknownMember || c.Code == codeRebalance
		if !lost || c.Kind != GroupHeartbeat && c.Kind != GroupCommit {
			continue
		}
		t := tenures.of(c)
		if t == nil || c.EndedAt-t.since >= leastLapse {
			continue
		}
		s := saved.before(c.Group, t.at)
		if s != nil && s.Generation == c.Generation && slices.Contains(s.Members, c.Member) && !moved(h, c, t) {
			bad = append(bad, broken("membership", "agent %d took %s over in generation %d and tells %s code %d, %d ms later", c.Agent, c.Group, s.Generation, c.Member, c.Code, c.EndedAt-t.since))
		}
	}
	return bad
}

// tenure is the time in which an agent holds a shard.
type tenure struct {
	holder
	at    int // the write that began it
	step  int
	since int64
}

// tenures are those of each shard, in their order.
type tenures map[int][]tenure

func tenuresOf(h *GroupHistory) tenures {
	all := tenures{}
	for i := range h.Writes {
		w := &h.Writes[i]
		by := holder{w.Agent, w.Session}
		if t := all[w.Shard]; w.Claims && (len(t) == 0 || t[len(t)-1].holder != by) {
			all[w.Shard] = append(t, tenure{by, i, w.Step, w.At})
		}
	}
	return all
}

// of is the tenure in which a call was answered, nil if its agent did not hold the group.
func (t tenures) of(c *GroupCall) *tenure {
	all := t[group.ShardOf(c.Group)]
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].at < c.After {
			if all[i].holder != (holder{c.Agent, c.Session}) {
				return nil
			}
			return &all[i]
		}
	}
	return nil
}

// moved tells whether somebody may have begun a rebalance, in that tenure and before c was answered.
func moved(h *GroupHistory, c *GroupCall, t *tenure) bool {
	return slices.ContainsFunc(h.Calls, func(o *GroupCall) bool {
		return (o.Kind == GroupJoin || o.Kind == GroupLeave) && o.Group == c.Group && o.Agent == c.Agent && o.Began <= c.Ended && (o.Ended == 0 || o.Ended >= t.step)
	})
}
