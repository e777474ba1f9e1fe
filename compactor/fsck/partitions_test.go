package fsck

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bargedata/barge/metadata"
)

func TestCoverFindsGapsAndOverlaps(t *testing.T) {
	bounds := metadata.Bounds{LogStart: 10, LastStable: 100, HighWatermark: 100}
	for name, c := range map[string]struct {
		files, runs []stretch
		want        string
	}{
		"sound":                   {[]stretch{{0, 30, "a"}, {30, 60, "b"}}, []stretch{{60, 80, "c"}, {80, 100, "d"}}, ""},
		"file begins late":        {[]stretch{{20, 60, "a"}}, []stretch{{60, 100, "c"}}, "offset-gap a 10-20"},
		"gap between files":       {[]stretch{{10, 30, "a"}, {40, 60, "b"}}, []stretch{{60, 100, "c"}}, "offset-gap b 30-40"},
		"files overlap":           {[]stretch{{10, 40, "a"}, {30, 60, "b"}}, []stretch{{60, 100, "c"}}, "offset-twice b 30-40"},
		"file within another":     {[]stretch{{10, 60, "a"}, {20, 30, "b"}}, []stretch{{60, 100, "c"}}, "offset-twice b 20-30"},
		"files end early":         {[]stretch{{10, 50, "a"}}, []stretch{{60, 100, "c"}}, "offset-gap tables/t 50-60"},
		"run overlaps a file":     {[]stretch{{10, 60, "a"}}, []stretch{{50, 100, "c"}}, "offset-twice c 50-60"},
		"gap between runs":        {[]stretch{{10, 60, "a"}}, []stretch{{60, 70, "c"}, {80, 100, "d"}}, "offset-gap d 70-80"},
		"runs end early":          {[]stretch{{10, 60, "a"}}, []stretch{{60, 90, "c"}}, "offset-gap tables/t 90-100"},
		"runs end late":           {[]stretch{{10, 60, "a"}}, []stretch{{60, 110, "c"}}, "offset-twice tables/t 100-110"},
		"nothing":                 {nil, nil, "offset-gap tables/t 10-60, offset-gap tables/t 60-100"},
		"all below the log start": {[]stretch{{0, 10, "a"}}, []stretch{{60, 100, "c"}}, "offset-gap tables/t 10-60"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range cover(metadata.Topic{Name: "t", TableDir: "tables/t"}, 3, bounds, 60, c.files, c.runs) {
				got = append(got, fmt.Sprintf("%s %s %d-%d", f.Kind, f.Key, *f.Base, *f.End))
				if f.Topic != "t" || *f.Partition != 3 || f.Severity != Error {
					t.Errorf("%+v", f)
				}
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("found %s, want %s", s, c.want)
			}
		})
	}
	// Records were deleted up to the middle of a run, which took the compacted end along.
	start := metadata.Bounds{LogStart: 70, LastStable: 100, HighWatermark: 100}
	for name, files := range map[string][]stretch{"no files": nil, "files that wait for the table": {{0, 30, "a"}, {30, 60, "b"}}} {
		if found := cover(metadata.Topic{}, 0, start, 70, files, []stretch{{60, 80, "c"}, {80, 100, "d"}}); len(found) != 0 {
			t.Errorf("%s, and a run that begins below the start: %v", name, found)
		}
	}
	if found := cover(metadata.Topic{}, 0, metadata.Bounds{}, 0, nil, nil); len(found) != 0 {
		t.Errorf("an empty partition: %v", found)
	}
}
