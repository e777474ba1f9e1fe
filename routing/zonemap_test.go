package routing_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/bargedata/barge/routing"
)

func TestZoneMapFindsTheSmallestNetwork(t *testing.T) {
	m, err := routing.ParseZoneMap(" a@10.0.0.0/8 , 192.168.1.0/24<> b @10.1.0.0/16<>c@10.1.2.3/32,fd00:c::/32<>a@fd00:a::/32 ")
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"10.2.3.4": "a", "10.1.3.4": "b", "10.1.2.3": "c", "192.168.1.255": "a", "192.168.2.1": "", "11.0.0.1": "",
		"fd00:c::9": "c", "fd00:a::1": "a", "fd00:b::1": "", "::ffff:10.1.3.4": "b", "fd00:a::1%eth0": "a",
	} {
		zone, ok := m.Zone(netip.MustParseAddr(addr))
		if zone != want || ok != (want != "") {
			t.Errorf("%s is in %q (%v), want %q", addr, zone, ok, want)
		}
	}
	if zone, ok := m.Zone(netip.Addr{}); ok {
		t.Errorf("no address is in %q", zone)
	}
	again, err := routing.ParseZoneMap(m.String())
	if err != nil || again.String() != m.String() {
		t.Errorf("written and read again: %q, %v; was %q", again, err, m)
	}
}

func TestAnEmptyZoneMapKnowsNothing(t *testing.T) {
	m, err := routing.ParseZoneMap(" ")
	if err != nil || m.String() != "" {
		t.Fatalf("%q, %v", m, err)
	}
	if zone, ok := m.Zone(netip.MustParseAddr("10.0.0.1")); ok {
		t.Errorf("zone %q", zone)
	}
}

func TestZoneMapErrorsNameTheOffender(t *testing.T) {
	many := make([]string, 5000)
	for i := range many {
		many[i] = fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)
	}
	for text, want := range map[string]string{
		"10.0.0.0/8":                   `"10.0.0.0/8": want zone@cidr,cidr`,
		"@10.0.0.0/8":                  `"@10.0.0.0/8": want zone@cidr,cidr`,
		"a@10.0.0.0/8<>":               `"": want zone@cidr,cidr`,
		"a@10.0.0.0/8<>b":              `"b": want zone@cidr,cidr`,
		"a@10.0.0.0/8,<>b@11.0.0.0/8":  `zone "a": "" is no network`,
		"a@10.0.0.0/8<>b@10.0.0.0":     `zone "b": "10.0.0.0" is no network`,
		"a@10.0.0.0/8<>b@10.0.0.0/33":  `zone "b": "10.0.0.0/33" is no network`,
		"a@10.0.0.1/8":                 `zone "a": "10.0.0.1/8" has bits beyond its mask, the network is 10.0.0.0/8`,
		"a@::ffff:10.0.0.0/104":        `zone "a": "::ffff:10.0.0.0/104": write IPv4 networks as such`,
		"a@10.0.0.0/8<>b@10.0.0.0/8":   `zone "b": 10.0.0.0/8 is given to zone "a" already`,
		"a@" + strings.Join(many, ","): `zone "a": 10.16.0.0/24 is one more than the 4096 networks`,
		"a@10.0.0.0/8;b@11.0.0.0/8":    `zone "a": "10.0.0.0/8;b@11.0.0.0/8" is no network`,
	} {
		_, err := routing.ParseZoneMap(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseZoneMap(f *testing.F) {
	f.Add("a@10.0.0.0/8,10.1.0.0/16<>b@fd00::/8")
	f.Add("a@::/0<>b@0.0.0.0/0")
	f.Add("<>@,/")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := routing.ParseZoneMap(text)
		if err != nil {
			if m.String() != "" {
				t.Fatalf("an error and a map: %q", m)
			}
			return
		}
		again, err := routing.ParseZoneMap(m.String())
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, m, err)
		}
		if again.String() != m.String() {
			t.Fatalf("%q became %q", m, again)
		}
	})
}
