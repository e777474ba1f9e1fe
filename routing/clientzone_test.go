package routing_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bargedata/barge/routing"
)

func knows(zones ...string) func(string) bool {
	return func(z string) bool { return slices.Contains(zones, z) }
}

func TestZoneOfClientID(t *testing.T) {
	known := knows("a", "b", "us-east-1a", "us-east")
	for _, c := range []struct {
		id, want string
		named    bool
	}{
		{"", "", false},
		{"rdkafka", "", false},
		{"zone=a", "a", true},
		{"az=a", "a", true},
		{"ws_az=a", "a", true},
		{"warpstream_az=a", "a", true},
		{"diskless_az=a", "a", true},
		{"automq_az=a", "a", true},
		{"WS_AZ=a", "a", true},
		{"Zone=a", "a", true},
		{"orders,zone=us-east-1a", "us-east-1a", true},
		{"orders;zone=b;x=y", "b", true},
		{"orders zone=b x", "b", true},
		{"orders|zone=b", "b", true},
		{"ws_lbs=x,ws_az=b", "b", true},
		// MirrorMaker appends where it copies from and to.
		{"zone=a|src->dst|MirrorSourceConnector-0", "a", true},
		// Kafka Streams and Connect append a dash and more.
		{"zone=us-east-1a-5f0c3a6e-1b52-4c0e-9a77-d2f8b7d3c1aa-StreamThread-1-consumer", "us-east-1a", true},
		{"zone=us-east-9z", "us-east", true},
		{"zone=a-0", "a", true},
		// The zone is known to nobody here: it is told as it stands.
		{"zone=mars", "mars", true},
		{"zone=mars-1-producer", "mars-1-producer", true},
		{"zone=-a", "-a", true},
		// Of two, the known one.
		{"zone=mars,az=b", "b", true},
		{"zone=b,az=a", "b", true},
		{"zone=mars,az=venus", "mars", true},
		{"zone=,az=a", "a", true},
		{"zone=", "", false},
		{"=a", "", false},
		{"myzone=a", "", false},
		{"timezone=a,razzmatazz", "", false},
		{"zone=a=b", "a=b", true},
	} {
		zone, named := routing.ZoneOfClientID(c.id, known)
		if zone != c.want || named != c.named {
			t.Errorf("%q: %q, %v; want %q, %v", c.id, zone, named, c.want, c.named)
		}
	}
}

func FuzzZoneOfClientID(f *testing.F) {
	for _, id := range []string{"zone=a-1-2", "x,ws_az=b|c->d|", "az=;zone= ", strings.Repeat("zone=-", 50)} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		known := knows("a", "b-c")
		zone, named := routing.ZoneOfClientID(id, known)
		if named != (zone != "") {
			t.Fatalf("%q: zone %q, named %v", id, zone, named)
		}
		if !strings.Contains(id, zone) {
			t.Fatalf("%q: zone %q is no part of it", id, zone)
		}
		if strings.ContainsAny(zone, ",;| \t") {
			t.Fatalf("%q: zone %q holds a separator", id, zone)
		}
		// What was found is found again in the plainest spelling.
		if again, ok := routing.ZoneOfClientID("zone="+zone, known); named && (!ok || again != zone) {
			t.Fatalf("%q: zone %q, written plainly %q", id, zone, again)
		}
	})
}
