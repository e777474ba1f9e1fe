package main

import (
	"strings"
	"testing"
)

func TestOneSeedAndMany(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"-seed", "3", "-steps", "300"}, 0, "seed 3: ok, cluster"},
		{[]string{"-seed", "3", "-kind", "single", "-steps", "300"}, 0, "seed 3: ok, single"},
		{[]string{"-seed", "3", "-kind", "single", "-steps", "30", "-trace"}, 0, "agent 1 start"},
		{[]string{"-kind", "flat"}, 2, "no worlds of kind"},
		{[]string{"-count", "3", "-from", "5", "-steps", "200"}, 0, "3 seeds, 0 failed"},
		{[]string{"-count", "0", "-for", "1ns"}, 1, "no seed was run"},
		{[]string{"-count", "0"}, 2, "needs -for"},
		{[]string{"-no-such-flag"}, 2, "no-such-flag"},
	} {
		var out strings.Builder
		if code := run(c.args, &out); code != c.code || !strings.Contains(out.String(), c.text) {
			t.Errorf("%v: exit %d and %q, want %d and %q", c.args, code, out.String(), c.code, c.text)
		}
	}
}
