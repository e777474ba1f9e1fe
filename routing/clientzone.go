package routing

import "strings"

// zoneKey reports whether key is one of the names under which clients tell their zone in client.id. They are those in use
// with other services that route by zone, so that a client tagged for one of them needs no change.
func zoneKey(key string) bool {
	switch strings.ToLower(key) {
	case "zone", "az", "ws_az", "warpstream_az", "diskless_az", "automq_az":
		return true
	default:
		return false
	}
}

// ZoneOfClientID finds the zone that a client names in its client.id, as in "orders,zone=eu-1a". Pairs are set apart by
// commas, semicolons, spaces and pipes: MirrorMaker appends "|a->b|…". Kafka Streams and Connect append "-suffix"; so where
// the value is no known zone, the longest known one counts that is followed by a dash in it. A value that can not be
// brought to a known zone is returned as it stands: the client has said where it is, and nobody is there.
func ZoneOfClientID(id string, known func(zone string) bool) (zone string, named bool) {
	for pair := range strings.FieldsFuncSeq(id, func(r rune) bool { return strings.ContainsRune(",;| \t", r) }) {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || value == "" || !zoneKey(key) {
			continue
		}
		if z, ok := knownPart(value, known); ok {
			return z, true
		}
		if !named {
			zone, named = value, true
		}
	}
	return zone, named
}

// knownPart cuts "-suffix" after "-suffix" off until a known zone is left.
func knownPart(value string, known func(string) bool) (string, bool) {
	for {
		if known(value) {
			return value, true
		}
		dash := strings.LastIndexByte(value, '-')
		if dash <= 0 {
			return "", false
		}
		value = value[:dash]
	}
}
