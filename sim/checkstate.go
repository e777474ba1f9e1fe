package sim

// CheckStates holds states as of the same entry to the same bytes (invariant I9), whether they were replayed from the beginning,
// replayed from a snapshot, or kept up by the agent that appends.
func CheckStates(seen []StateSeen) []Violation {
	var bad []Violation
	first := map[uint64]StateSeen{}
	for _, s := range seen {
		before, ok := first[s.Seq]
		if !ok {
			first[s.Seq] = s
			continue
		}
		if before.Holds != s.Holds {
			bad = append(bad, broken("state", "as of entry %d the state of the %s differs from that of the %s", s.Seq, s.From, before.From))
		}
	}
	return bad
}
