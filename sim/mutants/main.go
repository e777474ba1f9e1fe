// Command mutants breaks the product on purpose, one rule at a time, and demands that the named checker of sim notices. The tree is never
// touched: each mutant is built with go build -overlay. It fails when a mutant survives its seeds, when another checker
// than the named one is the first to notice, or when the text a mutant replaces does not stand in its file exactly once.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

func run(args []string, out io.Writer) int {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(out)
	only := flags.String("run", "", "a regular expression: mutants whose names match; all of them without one")
	part := flags.String("part", "1/1", "k/n: every n-th mutant, from the k-th on")
	limit := flags.Duration("for", 0, "start no more mutants after this time; they are taken from all over the list. 0: no limit")
	root := flags.String("root", ".", "root of the module")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		say(out, "-run: %v\n", err)
		return 2
	}
	var k, n int
	if _, err := fmt.Sscanf(*part, "%d/%d", &k, &n); err != nil || k < 1 || n < k {
		say(out, "-part %s: want k/n, k from 1 to n\n", *part)
		return 2
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		say(out, "%v\n", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tried, failed := 0, 0
	began := time.Now()
	chosen := choose(mutants(), wanted, k, n)
	for _, m := range chosen {
		if *limit > 0 && time.Since(began) > *limit {
			break
		}
		tried++
		at := time.Now()
		verdict, err := m.try(context.Background(), *root, dir)
		if err != nil {
			failed++
			verdict = "FAILED: " + err.Error()
		}
		say(out, "%-34s %5.1f s  %s\n", m.Name, time.Since(at).Seconds(), verdict)
	}
	say(out, "%d of %d mutants, %d failed, in %.0f s\n", tried, len(chosen), failed, time.Since(began).Seconds())
	if tried == 0 || failed > 0 {
		return 1
	}
	return 0
}

func say(out io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) }

// choose takes part k of n of the mutants that are wanted, in an order whose every beginning is spread over the list.
func choose(all []mutant, wanted *regexp.Regexp, k, n int) []mutant {
	var part []mutant
	seen := 0
	for _, m := range all {
		if !wanted.MatchString(m.Name) {
			continue
		}
		if seen%n == k-1 {
			part = append(part, m)
		}
		seen++
	}
	spread := make([]mutant, 0, len(part))
	stride := max(1, len(part)*5/13)
	for gcd(stride, max(1, len(part))) != 1 {
		stride++
	}
	for i := range part {
		spread = append(spread, part[i*stride%len(part)])
	}
	return spread
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// apply returns the contents of the files that m changes, by name.
func (m *mutant) apply(root string) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range m.Edits {
		text, ok := files[e.File]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, e.File)) //nolint:gosec // files of the list
			if err != nil {
				return nil, err
			}
			text = string(b)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return nil, fmt.Errorf("%s: the text %q stands there %d times, want once", e.File, e.Old, n)
		}
		files[e.File] = strings.Replace(text, e.Old, e.New, 1)
	}
	return files, nil
}

// build makes the seeds command with m in it.
func (m *mutant) build(ctx context.Context, root, dir string) (string, error) {
	files, err := m.apply(root)
	if err != nil {
		return "", err
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range files {
		changed := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(abs, name)] = changed
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	listFile, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "seeds")
	if err := os.WriteFile(listFile, list, 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", listFile, "-o", binary, "./sim/seeds") //nolint:gosec // our own names
	cmd.Dir = root
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not build: %w\n%s", err, text)
	}
	return binary, nil
}

// kind is that of the worlds it is tried in: single ones, where it does not say.
func (m *mutant) kind() string {
	if m.Kind == "" {
		return "single"
	}
	return m.Kind
}

// try runs seeds until a world fails, and tells how m was noticed.
func (m *mutant) try(ctx context.Context, root, dir string) (string, error) {
	binary, err := m.build(ctx, root, dir)
	if err != nil {
		return "", err
	}
	text, err := exec.CommandContext(ctx, binary, "-first", "-kind", m.kind(), "-count", fmt.Sprint(m.Seeds)).CombinedOutput() //nolint:gosec // built above
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", fmt.Errorf("it survived %d seeds: nobody holds the product to %q", m.Seeds, m.Breaks)
	case !errors.As(err, &exit):
		return "", err
	}
	seed, checkers := noticed(string(text))
	if len(checkers) == 0 {
		return "", fmt.Errorf("it was not judged: %w\n%s", err, text)
	}
	want := strings.Fields(m.Checker)
	if !slices.ContainsFunc(checkers, func(c string) bool { return slices.Contains(want, c) }) {
		return "", fmt.Errorf("it was noticed by %v and not by %v:\n%s", checkers, want, text)
	}
	return fmt.Sprintf("noticed by %s, %s", strings.Join(checkers, ", "), seed), nil
}

// noticed reads from the output of seeds which world failed first and who said so.
func noticed(text string) (seed string, checkers []string) {
	for line := range strings.Lines(text) {
		if name, _, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(line, "seed ") {
			if seed != "" {
				break
			}
			seed = name
		} else if ok && strings.HasPrefix(line, "  ") && seed != "" {
			if name = strings.TrimSpace(name); !slices.Contains(checkers, name) {
				checkers = append(checkers, name)
			}
		}
	}
	return seed, checkers
}
