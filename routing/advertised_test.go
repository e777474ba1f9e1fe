package routing_test

import (
	"slices"
	"testing"

	"github.com/bargedata/barge/routing"
)

const mib = 1 << 20

func zoneLoad(n int, produce, fetch int64, connections int32) routing.Members {
	ms := slices.Clone(agents(n, "a"))
	ms[0].ProduceRate, ms[0].FetchRate, ms[0].Connections = produce, fetch, connections
	return ms
}

func TestLoadDecidesHowManyAreAdvertised(t *testing.T) {
	for _, c := range []struct {
		name           string
		produce, fetch int64
		connections    int32
		before, want   int
	}{
		{"idle", 0, 0, 0, 0, 1},
		{"a full agent", 32 * mib, 0, 0, 0, 1},
		{"a little more", 32*mib + 1, 0, 0, 0, 2},
		{"ten agents' worth", 320 * mib, 0, 0, 0, 10},
		{"it grows at once", 320 * mib, 0, 0, 1, 10},
		{"readers", 0, 600 * mib, 0, 0, 3},
		{"connections", 0, 0, 10_000, 0, 3},
		{"the largest of the three", 40 * mib, 600 * mib, 10_000, 0, 3},
		{"just below a bound it stays", 31 * mib, 0, 0, 2, 2},
		{"at three quarters it shrinks", 24 * mib, 0, 0, 2, 1},
		{"from far above it shrinks to what a third more needs", 100 * mib, 0, 0, 10, 5},
		{"rates that make no sense", -5, -5, -5, 0, 1},
	} {
		got := routing.Counts(zoneLoad(3, c.produce, c.fetch, c.connections), map[string]int{"a": c.before})
		if got["a"] != c.want || len(got) != 1 {
			t.Errorf("%s: %v, want %d", c.name, got, c.want)
		}
	}
}

func TestCountsAreOfEachZoneAndOfDrainingAgentsToo(t *testing.T) {
	ms := slices.Clone(agents(4, "a", "b"))
	ms[0].ProduceRate, ms[2].ProduceRate, ms[3].ProduceRate = 40*mib, 40*mib, 10*mib
	ms[2].Draining = true
	got := routing.Counts(ms, nil)
	if got["a"] != 3 || got["b"] != 1 {
		t.Errorf("counts %v, want a 3, b 1", got)
	}
}

// A load that goes up and down about a bound does not move leaders each time.
func TestALoadAtABoundDoesNotFlap(t *testing.T) {
	counts := map[string]int(nil)
	changes, last := 0, 0
	for i := range 1000 {
		rate := int64(63 * mib)
		if i%2 == 0 {
			rate = 65 * mib
		}
		counts = routing.Counts(zoneLoad(5, rate, 0, 0), counts)
		if counts["a"] != last {
			last = counts["a"]
			changes++
		}
	}
	if last != 3 || changes != 1 {
		t.Errorf("%d agents after %d changes, want 3 after one", last, changes)
	}
}

func TestGrowthKeepsThoseThatWereAdvertised(t *testing.T) {
	ms := agents(30, "a", "b", "c")
	before := map[uint64]bool{}
	for n := 1; n <= 12; n++ {
		got := routing.Advertised(ms, "b", n)
		if want := min(n, 10); len(got) != want {
			t.Fatalf("%d asked for, %d advertised, want %d", n, len(got), want)
		}
		now := map[uint64]bool{}
		for _, m := range got {
			now[m.Session] = true
			if m.Zone != "b" {
				t.Errorf("%+v is of another zone", m)
			}
		}
		for s := range before {
			if !now[s] {
				t.Errorf("session %d is not advertised any more after growing to %d", s, n)
			}
		}
		before = now
	}
	if got := routing.Advertised(ms, "b", 0); len(got) != 1 {
		t.Errorf("%d advertised of a count that nobody made, want 1", len(got))
	}
}

// One more agent takes its share of the partitions of many clients, and no partition moves between the others.
func TestGrowthMovesLittle(t *testing.T) {
	ms := agents(20, "a")
	three, four := routing.Advertised(ms, "a", 3), routing.Advertised(ms, "a", 4)
	comes := four.Where(func(m routing.Member) bool { _, was := three.BySession(m.Session); return !was })[0].NodeID()
	moved, elsewhere, all := 0, 0, 0
	for c := range 200 {
		a := routing.Place(ms, "a", client(c), map[string]int{"a": 3}).Topic(topicID(c), 48)
		b := routing.Place(ms, "a", client(c), map[string]int{"a": 4}).Topic(topicID(c), 48)
		for i := range a {
			all++
			switch {
			case a[i][0] == b[i][0]:
			case b[i][0] == comes:
				moved++
			default:
				elsewhere++ // for the bound has become lower
			}
		}
	}
	t.Logf("of %d partitions %d went to the new agent, %d elsewhere", all, moved, elsewhere)
	if moved < all/5 || moved > all*3/10 || elsewhere > all/20 {
		t.Errorf("of %d partitions %d went to the new agent, %d elsewhere", all, moved, elsewhere)
	}
}
