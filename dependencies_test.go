package barge_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestEveryDirectDependencyHasItsReason(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1)
	if len(direct) < 10 {
		t.Fatalf("go.mod names %d direct dependencies; the check would pass on nothing", len(direct))
	}
	for _, m := range direct {
		short := strings.TrimPrefix(m[1], "github.com/twmb/franz-go")
		if !strings.Contains(string(reasons), "`"+m[1]+"`") && !strings.Contains(string(reasons), "`..."+short+"`") {
			t.Errorf("%s has no line in docs/dependencies.md", m[1])
		}
	}
}
