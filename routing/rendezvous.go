package routing

import (
	"cmp"
	"slices"
)

// Pick returns the member that key belongs to, false if there are no members. It does not look at Draining.
func Pick(key string, ms Members) (Member, bool) { return pick(hashOf(key), ms) }

// PickN returns the n members that key belongs to, the first choice first; fewer where there are fewer. The first choices
// stay what they are when n grows.
func PickN(key string, ms Members, n int) []Member { return pickN(hashOf(key), ms, n) }

func pick(key uint64, ms []Member) (Member, bool) {
	best, at := uint64(0), -1
	for i := range ms {
		// A tie goes to the oldest session, on every agent.
		if s := score(key, ms[i].Session); at < 0 || s > best {
			best, at = s, i
		}
	}
	if at < 0 {
		return Member{}, false
	}
	return ms[at], true
}

func pickN(key uint64, ms []Member, n int) []Member {
	type ranked struct {
		score uint64
		at    int
	}
	all := make([]ranked, len(ms))
	for i := range ms {
		all[i] = ranked{score(key, ms[i].Session), i}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.at, b.at))
	})
	n = max(0, min(n, len(all)))
	out := make([]Member, n)
	for i := range out {
		out[i] = ms[all[i].at]
	}
	return out
}

// score is the weight of a member for a key. Members and keys are mixed on their own first: sessions are small consecutive
// numbers, and keys differ in a last digit.
func score(key, session uint64) uint64 { return mix(key ^ mix(session+0x9e3779b97f4a7c15)) }

// hashOf is FNV-1a with a finalizer, which alone would leave short keys close together.
func hashOf(key string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 0x100000001b3
	}
	return mix(h)
}

// mix is the finalizer of splitmix64: every bit of x reaches every bit of the result.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
