package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// A mutant whose text is gone from the code, or stands there twice, guards nothing any more.
func TestEveryMutantFindsItsPlace(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants() {
		if names[m.Name] {
			t.Errorf("two mutants are named %s", m.Name)
		}
		names[m.Name] = true
		files, err := m.apply(root)
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		if len(files) == 0 || m.Seeds < 1 || m.Breaks == "" {
			t.Errorf("%s is not whole: %+v", m.Name, m)
		}
		for _, c := range strings.Fields(m.Checker) {
			if !slices.Contains([]string{"log", "kafka", "starts", "table", "objects", "state", "stale", "unseen", "sealed", "zone", "upkeep", "coordinators", "offsets", "membership", "stall", "changes", "rest"}, c) {
				t.Errorf("%s names the checker %q, which there is not", m.Name, c)
			}
		}
		if m.Checker == "" {
			t.Errorf("%s names no checker", m.Name)
		}
	}
	if len(names) < 20 {
		t.Errorf("%d mutants", len(names))
	}
}

func TestApplyDemandsOnePlace(t *testing.T) {
	for _, c := range []struct{ old, want string }{
		{"no such text in this file", "0 times"},
		{"return", "times"},
		{"func main() { os.Exit(", ""},
	} {
		m := mutant{Edits: []edit{{"sim/mutants/main.go", c.old, "x"}}}
		_, err := m.apply(root)
		if c.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.old, err, c.want)
		}
	}
}

func TestNoticedReadsTheFirstFailedWorld(t *testing.T) {
	seed, checkers := noticed("seed 12: FAILED, 3 violations, 4 steps, trace 1\n  kafka: a: b\n  kafka: c\n  log: d\nseed 13: FAILED\n  table: e\n2 seeds, 2 failed\n")
	if seed != "seed 12" || !slices.Equal(checkers, []string{"kafka", "log"}) {
		t.Errorf("got %q and %v", seed, checkers)
	}
}

func TestPartsCoverTheListOnce(t *testing.T) {
	all := mutants()
	for _, n := range []int{1, 2, 3, 7, len(all)} {
		seen := map[string]int{}
		for k := 1; k <= n; k++ {
			for _, m := range choose(all, regexp.MustCompile(""), k, n) {
				seen[m.Name]++
			}
		}
		for _, m := range all {
			if seen[m.Name] != 1 {
				t.Errorf("in %d parts %s is there %d times", n, m.Name, seen[m.Name])
			}
		}
	}
	if got := choose(all, regexp.MustCompile("^grace-ignored$"), 1, 1); len(got) != 1 {
		t.Errorf("%d mutants are named grace-ignored", len(got))
	}
	if got := choose(all, regexp.MustCompile("no such"), 1, 1); len(got) != 0 {
		t.Errorf("%d mutants of no name", len(got))
	}
}

// One mutant from end to end: it builds, it is noticed, and by the right one.
func TestAMutantIsNoticed(t *testing.T) {
	var out strings.Builder
	if code := run([]string{"-root", root, "-run", "^progress-too-high$"}, &out); code != 0 || !strings.Contains(out.String(), "noticed by table") {
		t.Errorf("exit %d:\n%s", code, out.String())
	}
	if code := run([]string{"-part", "3/2"}, &out); code != 2 {
		t.Errorf("part 3 of 2: exit %d", code)
	}
	out.Reset()
	if code := run([]string{"-root", root, "-run", "^no such mutant$"}, &out); code != 1 {
		t.Errorf("no mutant at all: exit %d", code)
	}
}
