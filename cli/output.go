package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/pflag"
)

// outputFlag is -o: a table for people, JSON for programs.
type outputFlag string

func (o *outputFlag) register(flags *pflag.FlagSet) {
	*o = "table"
	flags.VarP(o, "output", "o", "`table` or json")
}

// String, Set and Type make it a flag.
func (o *outputFlag) String() string { return string(*o) }

// Set refuses what is neither.
func (o *outputFlag) Set(s string) error {
	if s != "table" && s != "json" {
		return errors.New("want table or json")
	}
	*o = outputFlag(s)
	return nil
}

// Type is shown in the help.
func (o *outputFlag) Type() string { return "string" }

func (o *outputFlag) json() bool { return *o == "json" }

func (a *app) writeJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// writeTable writes rows in columns: aligned on a terminal, separated by one tab elsewhere.
func (a *app) writeTable(header []string, rows [][]string) error {
	if !isTerminal(a.stdout) {
		var b strings.Builder
		for _, row := range append([][]string{header}, rows...) {
			fmt.Fprintln(&b, strings.Join(row, "\t"))
		}
		_, err := fmt.Fprint(a.stdout, b.String())
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0) // which keeps an error for Flush
	for _, row := range append([][]string{header}, rows...) {
		tell(w, "%s\n", strings.Join(row, "\t"))
	}
	return w.Flush()
}

// cell makes bytes of a record fit into a table: control characters become visible, long ones end in an ellipsis.
func cell(b []byte, maxRunes int) string {
	s := strings.ToValidUTF8(string(b[:min(len(b), 4*maxRunes)]), "\uFFFD")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsControl(r):
			return '\uFFFD'
		}
		return r
	}, s)
	runes := []rune(s)
	if len(runes) > maxRunes {
		return string(runes[:maxRunes-1]) + "…"
	}
	if len(b) > 4*maxRunes {
		return s + "…"
	}
	return s
}

// tell writes to a person. When the terminal or the pipe is gone there is nobody to tell that.
func tell(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
