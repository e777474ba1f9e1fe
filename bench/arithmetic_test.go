package bench

import (
	"math"
	"testing"
	"time"
)

// The numbers of ADR 0009.
func TestArithmeticOfTenThousandTopics(t *testing.T) {
	five := DefaultTopicsConfig()
	five.Agents, five.Zones = 5, 3
	for name, c := range map[string]struct {
		cfg                TopicsConfig
		objects, puts, get float64 // a minute
		inline             bool
	}{
		"one agent":                {DefaultTopicsConfig(), 240, 3_500, 305, false},
		"five agents, three zones": {five, 720, 3_700, 785, true},
	} {
		const minutes = 60 // so long that the beginning does not count
		a := c.cfg.arithmetic(minutes * time.Minute)
		for what, v := range map[string][2]float64{
			"objects": {a.objects / minutes, c.objects}, "PUT": {a.puts() / minutes, c.puts}, "GET": {a.gets() / minutes, c.get},
			"table commits a second": {a.commits / minutes / 60, 20}, "bytes in a file": {a.fileBytes, 0.5e6},
		} {
			if math.Abs(v[0]-v[1]) > 0.07*v[1] {
				t.Errorf("%s: %s %.0f, the page says %.0f", name, what, v[0], v[1])
			}
		}
		if a.inline != c.inline {
			t.Errorf("%s: objects in the log: %v", name, a.inline)
		}
	}
}

func TestFiguresAreJudged(t *testing.T) {
	for _, c := range []struct {
		f   Figure
		off bool
	}{
		{Figure{Expected: 100, Measured: 149}, false},
		{Figure{Expected: 100, Measured: 151}, true},
		{Figure{Expected: 100, Measured: 67}, false},
		{Figure{Expected: 100, Measured: 66}, true},
		{Figure{Expected: 100, Measured: 1, Most: true}, false},
		{Figure{Expected: 100, Measured: 151, Most: true}, true},
	} {
		if c.f.judge(1.5); c.f.Off != c.off {
			t.Errorf("%+v", c.f)
		}
	}
}

// reference/performance.md 2.2: 128 objects a GiB at full size; more where a zone's share does not fill them.
func TestModelOfAClusterIsThatOfTheCostModel(t *testing.T) {
	c := DefaultClusterConfig()
	full, part, small := c.model(3*32<<20), c.model(3*16<<20), c.model(3*2<<20)
	if full.puts < 2*128 || full.puts > 2*128*2+41 || full.reads < 2*128-1 {
		t.Errorf("at 32 MiB/s a zone: %+v", full)
	}
	if want := 2*gib/(4<<20) + 40.0; part.puts != want || part.reads != 2*gib/(4<<20) {
		t.Errorf("at 16 MiB/s a zone: %+v, want %.0f PUT", part, want)
	}
	if want := gib/(512<<10) + 40.0; small.puts != want {
		t.Errorf("at 2 MiB/s a zone objects travel in the log: %+v, want %.0f PUT", small, want)
	}
}
