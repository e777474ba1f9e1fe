package suites

import (
	"fmt"
	"slices"
	"strings"
)

// State is how a test of a suite ended.
type State string

// The states.
const (
	Passed  State = "passed"
	Failed  State = "failed"
	Skipped State = "skipped" // by itself
)

// Result is what one test of a suite came to.
type Result struct {
	Test   string
	State  State
	Output string
}

// Exclusion says of one test of a suite that it is not expected to pass, and why.
type Exclusion struct {
	Suite, Test   string
	Class, Reason string
}

// classes are why a test is not expected to pass. A slow one does, and is left to full runs.
func classes() []string {
	return []string{"transactions", "compaction", "authorization", "share-groups", "telemetry", "design", "suite", "slow"}
}

// ParseExclusions reads lines of the form
//
//	suite test class: reason
//
// Empty lines and those that begin with # say nothing. Two lines about one test are an error, and so is an unknown class.
func ParseExclusions(text string) ([]Exclusion, error) {
	var all []Exclusion
	seen := map[string]int{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		names, reason, ok := strings.Cut(line, ": ")
		fields := strings.Fields(names)
		if !ok || len(fields) != 3 || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("line %d: want `suite test class: reason`, have %q", i+1, line)
		}
		e := Exclusion{Suite: fields[0], Test: fields[1], Class: fields[2], Reason: strings.TrimSpace(reason)}
		if !slices.Contains(classes(), e.Class) {
			return nil, fmt.Errorf("line %d: %s is no class; they are %s", i+1, e.Class, strings.Join(classes(), ", "))
		}
		key := e.Suite + " " + e.Test
		if before, ok := seen[key]; ok {
			return nil, fmt.Errorf("line %d: %s stands on line %d already", i+1, key, before)
		}
		seen[key] = i + 1
		all = append(all, e)
	}
	return all, nil
}

// Of returns the exclusions of a suite. In a full run slow tests are not excluded.
func Of(all []Exclusion, suite string, full bool) []Exclusion {
	return slices.DeleteFunc(slices.Clone(all), func(e Exclusion) bool {
		return e.Suite != suite || full && e.Class == "slow"
	})
}

// Report is what a run of a suite came to.
type Report struct {
	Passed   int
	Bad      []Result       // failed, or skipped themselves, and are not excluded
	Missing  []string       // were to run, are not excluded, and no result tells of them
	Needless []string       // excluded, and passed
	Excluded map[string]int // by class
}

// Judge holds results against the exclusions. Expected names the tests that were to run; results may tell of their subtests too, by
// names with slashes. An exclusion covers the subtests of its test.
func Judge(expected []string, results []Result, excluded []Exclusion) Report {
	r := Report{Excluded: map[string]int{}}
	for _, e := range excluded {
		r.Excluded[e.Class]++
	}
	told := map[string]bool{}
	for _, res := range results {
		told[res.Test] = true
		switch _, ok := covering(excluded, res.Test); {
		case res.State == Passed && ok && isNamed(excluded, res.Test):
			r.Needless = append(r.Needless, res.Test)
		case ok:
		case res.State == Passed:
			r.Passed++
		default:
			r.Bad = append(r.Bad, res)
		}
	}
	for _, name := range expected {
		if _, ok := covering(excluded, name); !ok && !told[name] {
			r.Missing = append(r.Missing, name)
		}
	}
	return r
}

// Stale returns the exclusions of tests that a suite does not have. Subtests are not known before they ran: only their test is
// looked for.
func Stale(known []string, excluded []Exclusion) []string {
	var stale []string
	for _, e := range excluded {
		top, _, _ := strings.Cut(e.Test, "/")
		if !slices.Contains(known, top) {
			stale = append(stale, e.Test)
		}
	}
	return stale
}

func covering(excluded []Exclusion, test string) (Exclusion, bool) {
	for _, e := range excluded {
		if test == e.Test || strings.HasPrefix(test, e.Test+"/") {
			return e, true
		}
	}
	return Exclusion{}, false
}

func isNamed(excluded []Exclusion, test string) bool {
	return slices.ContainsFunc(excluded, func(e Exclusion) bool { return e.Test == test })
}
