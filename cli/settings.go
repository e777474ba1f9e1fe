package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// maxSettingsFile bounds a settings file, in bytes.
const maxSettingsFile = 1 << 20

// loader brings the settings of one verb together: flags over environment over file over defaults.
type loader struct {
	settings []setting
	defaults values
	config   string // path of the settings file, "" for none
	flags    map[string]*rawFlag
}

// rawFlag keeps what was written until all sources are known.
type rawFlag struct {
	kind, text string
	given      bool
}

// String, Set and Type make it a flag.
func (f *rawFlag) String() string { return f.text }

// Set takes any text; load judges it.
func (f *rawFlag) Set(s string) error { f.text, f.given = s, true; return nil }

// Type is shown in the help.
func (f *rawFlag) Type() string { return f.kind }

// register adds the flags, with the defaults as the help shows them.
func (l *loader) register(flags *pflag.FlagSet) {
	l.flags = map[string]*rawFlag{}
	flags.SortFlags = false
	for _, s := range l.settings {
		raw := &rawFlag{kind: s.kind, text: s.get(&l.defaults)}
		f := flags.VarPF(raw, s.name, "", s.usage)
		if s.kind == "" {
			f.NoOptDefVal = "true"
			raw.kind = "bool" // whose default pflag shows without quotes
		}
		l.flags[s.name] = raw
	}
	flags.StringVar(&l.config, "config", "", "YAML `file` with any of these, by their names without the dashes")
}

// origins tells for each setting where its value came from; a setting that is not in it has its default.
type origins map[string]string

// load returns the settings. Its error is a configError with one line for each thing that is wrong.
func (l *loader) load(environ []string) (values, origins, error) {
	v, from := l.defaults, origins{}
	v.Roles = slices.Clone(v.Roles)
	var errs []error
	take := func(s setting, text, origin string) {
		// Whatever the value is, what stood below it no longer counts: a bad variable is no error under a good flag.
		errs = slices.DeleteFunc(errs, func(err error) bool {
			e, ok := errors.AsType[valueError](err)
			return ok && e.setting.name == s.name
		})
		from[s.name] = origin
		if err := s.set(&v, text); err != nil {
			errs = append(errs, valueError{setting: s, text: text, origin: origin, cause: err})
		}
	}
	path, source := l.config, "flag --config"
	if path == "" {
		path, source = lookup(environ, "BARGE_CONFIG"), "environment BARGE_CONFIG"
	}
	if path != "" {
		entries, err := readSettingsFile(path)
		if err != nil {
			return v, from, configError{fmt.Errorf("settings file (%s): %w", source, err)}
		}
		for _, e := range entries {
			s, ok := l.find(e.key)
			if !ok {
				errs = append(errs, fmt.Errorf("%s line %d: unknown key %q%s", path, e.line, e.key, didYouMean(e.key, l.names(), "")))
				continue
			}
			take(s, e.text, fmt.Sprintf("%s line %d", path, e.line))
		}
	}
	errs = append(errs, l.unknownVariables(environ)...)
	for _, s := range l.settings {
		if text, ok := lookupSet(environ, s.variable()); ok {
			take(s, text, "environment "+s.variable())
		}
	}
	for _, s := range l.settings {
		if f := l.flags[s.name]; f != nil && f.given {
			take(s, f.text, "flag "+s.flag())
		}
	}
	if len(errs) > 0 {
		return v, from, configError{errors.Join(errs...)}
	}
	return v, from, nil
}

// valueError is one setting whose value cannot be read.
type valueError struct {
	setting      setting
	text, origin string
	cause        error
}

// Error names the key, the source and the fix, and the value unless it may be a secret.
func (e valueError) Error() string {
	if e.setting.hidden || e.setting.name == "metadata" {
		return fmt.Sprintf("%s (%s): %v", e.setting.name, e.origin, e.cause)
	}
	return fmt.Sprintf("%s %q (%s): %v", e.setting.name, e.text, e.origin, e.cause)
}

// explain adds to each line of what Validate found where the value came from.
func (from origins) explain(err error) error {
	if err == nil {
		return nil
	}
	var errs []error
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimRight(line, "\n")
		name, _, _ := strings.Cut(line, " ")
		name = strings.TrimSuffix(name, ":")
		origin, ok := from[name]
		if !ok {
			origin = "default"
		}
		errs = append(errs, fmt.Errorf("%s (%s)", line, origin))
	}
	return configError{errors.Join(errs...)}
}

func (l *loader) find(name string) (setting, bool) {
	i := slices.IndexFunc(l.settings, func(s setting) bool { return s.name == name })
	if i < 0 {
		return setting{}, false
	}
	return l.settings[i], true
}

func (l *loader) names() []string {
	var names []string
	for _, s := range l.settings {
		names = append(names, s.name)
	}
	return names
}

// unknownVariables refuses BARGE_ variables that no verb of the binary reads: a typing error must not pass for a setting.
func (l *loader) unknownVariables(environ []string) []error {
	known := []string{"BARGE_CONFIG", "BARGE_BROKERS", "BARGE_STORE"}
	for _, s := range slices.Concat(agentSettings(), demoSettings()) {
		known = append(known, s.variable())
	}
	var errs []error
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "BARGE_") || slices.Contains(known, name) || foreignVariable(name) {
			continue
		}
		errs = append(errs, fmt.Errorf("environment: unknown variable %s%s", name, didYouMean(name, known, "")))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

// foreignVariable tells variables that begin with BARGE_ and are not ours: Kubernetes sets some into every pod beside a service
// called barge, and the Makefile's tell the tests where their tools are.
func foreignVariable(name string) bool {
	return name == "BARGE_TOOLS" || name == "BARGE_SERVICE_HOST" || strings.HasPrefix(name, "BARGE_SERVICE_PORT") ||
		name == "BARGE_PORT" || strings.HasPrefix(name, "BARGE_PORT_")
}

// entry is one key of a settings file.
type entry struct {
	key, text string
	line      int
}

// readSettingsFile reads a flat YAML mapping. Errors name the file and the line.
func readSettingsFile(path string) ([]entry, error) {
	f, err := os.Open(path) //nolint:gosec // the user's own file, as the user named it
	if err != nil {
		return nil, fmt.Errorf("%w: name a file that can be read with --config", err)
	}
	defer func() { _ = f.Close() }() // was only read
	body, err := io.ReadAll(io.LimitReader(f, maxSettingsFile+1))
	if err != nil {
		return nil, err // names the file
	}
	if len(body) > maxSettingsFile {
		return nil, fmt.Errorf("%s is larger than %s: it should hold one setting a line", path, formatSize(maxSettingsFile))
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(doc.Content) == 0 { // empty, or comments only
		return nil, nil
	}
	return flatten(path, doc.Content[0])
}

func flatten(path string, root *yaml.Node) ([]entry, error) {
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s line %d: want lines of the form name: value", path, root.Line)
	}
	var entries []entry
	seen := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if first, ok := seen[key.Value]; ok {
			return nil, fmt.Errorf("%s line %d: %s stands on line %d already: keep one of them", path, key.Line, key.Value, first)
		}
		seen[key.Value] = key.Line
		text, err := scalar(value)
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %s: %w", path, value.Line, key.Value, err)
		}
		entries = append(entries, entry{key: key.Value, text: text, line: key.Line})
	}
	return entries, nil
}

// scalar returns the text of a value; a list of values is one text with commas.
func scalar(n *yaml.Node) (string, error) {
	switch {
	case n.Kind == yaml.AliasNode:
		return scalar(n.Alias)
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return "", errors.New("has no value: write one, or remove the line for the default")
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode:
		var parts []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("want a list of plain values")
			}
			parts = append(parts, item.Value)
		}
		return strings.Join(parts, ","), nil
	default:
		return "", errors.New("want a plain value, settings are not nested")
	}
}

func lookup(environ []string, name string) string {
	text, _ := lookupSet(environ, name)
	return text
}

// lookupSet returns a variable and whether it is set. Of several of one name the last counts, as for a process that is started.
func lookupSet(environ []string, name string) (string, bool) {
	for _, kv := range slices.Backward(environ) {
		if text, ok := strings.CutPrefix(kv, name+"="); ok {
			return text, true
		}
	}
	return "", false
}
