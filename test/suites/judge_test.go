package suites

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseExclusions(t *testing.T) {
	got, err := ParseExclusions("# kept\n\nkgo TestTxnEtl transactions: not there yet: later\n  rdk 0001_x slow: a minute\n")
	want := []Exclusion{{"kgo", "TestTxnEtl", "transactions", "not there yet: later"}, {"rdk", "0001_x", "slow", "a minute"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, %v", got, err)
	}
	for text, says := range map[string]string{
		"kgo TestTxnEtl: why":                                "line 1: want `suite test class: reason`",
		"kgo TestTxnEtl transactions":                        "line 1: want",
		"kgo TestTxnEtl transactions:  ":                     "line 1: want",
		"\nkgo TestTxnEtl lazy: why":                         "line 2: lazy is no class",
		"kgo T suite: why\nkgo U slow: why\nkgo T slow: too": "line 3: kgo T stands on line 1 already",
	} {
		if _, err := ParseExclusions(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q", text, err, says)
		}
	}
}

func TestExclusionsOfASuite(t *testing.T) {
	all := []Exclusion{{"kgo", "A", "slow", "r"}, {"rdk", "B", "slow", "r"}, {"kgo", "C", "suite", "r"}}
	if got := Of(all, "kgo", false); !reflect.DeepEqual(got, []Exclusion{all[0], all[2]}) {
		t.Errorf("a share: %v", got)
	}
	if got := Of(all, "kgo", true); !reflect.DeepEqual(got, []Exclusion{all[2]}) {
		t.Errorf("all: %v", got)
	}
}

func TestJudge(t *testing.T) {
	excluded := []Exclusion{
		{"s", "Skips", "transactions", "r"}, {"s", "Sub/one", "suite", "r"}, {"s", "Passes", "suite", "r"}, {"s", "NotRun", "suite", "r"},
	}
	results := []Result{
		{"Good", Passed, ""},
		{"Skips", Skipped, ""},
		{"Sub/one", Failed, ""},
		{"Sub/one/deeper", Passed, ""},
		{"Sub/two", Passed, ""},
		{"Passes", Passed, ""},
		{"Bad", Failed, "why"},
		{"SilentlySkipped", Skipped, "why not"},
		{"Sub", Passed, ""},
	}
	got := Judge([]string{"Good", "Skips", "Sub", "Passes", "Bad", "SilentlySkipped", "NotRun", "Lost"}, results, excluded)
	want := Report{
		Passed: 3, Bad: []Result{{"Bad", Failed, "why"}, {"SilentlySkipped", Skipped, "why not"}}, Missing: []string{"Lost"},
		Needless: []string{"Passes"}, Excluded: map[string]int{"transactions": 1, "suite": 3},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestStaleExclusions(t *testing.T) {
	got := Stale([]string{"A", "B"}, []Exclusion{{"s", "A/x", "suite", "r"}, {"s", "Gone", "suite", "r"}})
	if !reflect.DeepEqual(got, []string{"Gone"}) {
		t.Errorf("got %v", got)
	}
}
