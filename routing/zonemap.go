package routing

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxNetworks bounds a ZoneMap. It is walked for each new client.
const maxNetworks = 4_096

// ZoneMap tells the zone of an address. The zero value knows none. It is never changed once made.
type ZoneMap struct {
	networks []network // longest prefix first
}

type network struct {
	prefix netip.Prefix
	zone   string
}

// ParseZoneMap reads "zone@cidr,cidr<>zone@cidr", as in "eu-1a@10.0.0.0/20,10.1.0.0/20<>eu-1b@10.0.16.0/20,fd00:b::/64". A
// zone may come more than once. Spaces around its parts are taken off. The empty text is a map of nothing. An error names
// the part that can not be read.
func ParseZoneMap(text string) (ZoneMap, error) {
	if strings.TrimSpace(text) == "" {
		return ZoneMap{}, nil
	}
	var m ZoneMap
	zones := make(map[netip.Prefix]string)
	for part := range strings.SplitSeq(text, "<>") {
		zone, list, ok := strings.Cut(part, "@")
		zone = strings.TrimSpace(zone)
		if !ok || zone == "" {
			return ZoneMap{}, fmt.Errorf("zone map: %q: want zone@cidr,cidr", strings.TrimSpace(part))
		}
		for cidr := range strings.SplitSeq(list, ",") {
			cidr = strings.TrimSpace(cidr)
			prefix, err := parseNetwork(cidr)
			if err != nil {
				return ZoneMap{}, fmt.Errorf("zone map: zone %q: %w", zone, err)
			}
			if other, twice := zones[prefix]; twice {
				return ZoneMap{}, fmt.Errorf("zone map: zone %q: %s is given to zone %q already", zone, cidr, other)
			}
			if len(zones) == maxNetworks {
				return ZoneMap{}, fmt.Errorf("zone map: zone %q: %s is one more than the %d networks that are read", zone, cidr, maxNetworks)
			}
			zones[prefix] = zone
			m.networks = append(m.networks, network{prefix, zone})
		}
	}
	slices.SortStableFunc(m.networks, func(a, b network) int { return b.prefix.Bits() - a.prefix.Bits() })
	return m, nil
}

func parseNetwork(cidr string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(cidr)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is no network in CIDR notation, as 10.0.0.0/20", cidr)
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q: write IPv4 networks as such", cidr)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its mask, the network is %s", cidr, prefix.Masked())
	}
	return prefix, nil
}

// String gives back a text that ParseZoneMap reads to the same map.
func (m ZoneMap) String() string {
	parts := make([]string, len(m.networks))
	for i, n := range m.networks {
		parts[i] = n.zone + "@" + n.prefix.String()
	}
	return strings.Join(parts, "<>")
}

// Zone finds the zone of an address: that of the smallest network it lies in. IPv4 in IPv6 counts as IPv4.
func (m ZoneMap) Zone(addr netip.Addr) (string, bool) {
	addr = addr.Unmap().WithZone("")
	for _, n := range m.networks {
		if n.prefix.Contains(addr) {
			return n.zone, true
		}
	}
	return "", false
}
