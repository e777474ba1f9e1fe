package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// didYouMean returns ": did you mean X?" with the known name nearest to what was written, or "" when none is near.
func didYouMean(written string, known []string, prefix string) string {
	plain := strings.NewReplacer(".", "-", "_", "-") // Kafka writes auto.create.topics.enable
	a := plain.Replace(strings.ToLower(written))
	best, bestDistance := "", 1+max(2, len(written)/3)
	for _, name := range known {
		b := plain.Replace(strings.ToLower(name))
		d := editDistance(a, b)
		if len(a) >= 3 && (strings.HasPrefix(b, a) || strings.HasPrefix(a, b+"-")) {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %s%s?", prefix, best)
}

// editDistance is the number of bytes to insert, delete, replace or swap with their neighbor to make b of a.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// flagError names a flag that does not exist together with the one that was perhaps meant.
func flagError(cmd *cobra.Command, err error) error {
	written, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return usageError{err}
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return usagef("unknown flag --%s%s", written, didYouMean(written, names, "--"))
}
