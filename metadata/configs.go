package metadata

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bargedata/barge/record"
)

// ConfigEntry is one topic config as DescribeConfigs shows it.
type ConfigEntry struct {
	Name      string
	Value     string // what counts: set explicitly or the default
	Default   string
	IsDefault bool   // not set explicitly
	Synonym   string // the broker config that gives the default, "" where there is none
	Type      ConfigType
	Doc       string
}

// ValidateConfigs checks topic configs set explicitly: names, types, ranges. The first fault, in the order of the names,
// comes back wrapped in ErrInvalidConfig with what to write instead.
func ValidateConfigs(explicit map[string]string) error {
	if len(explicit) == 0 {
		return nil
	}
	table := configTable()
	for _, name := range sortedKeys(explicit) {
		spec := specOf(table, name)
		if spec == nil {
			return fmt.Errorf("%w: no topic config %q%s", ErrInvalidConfig, name, suggest(name, table))
		}
		if err := spec.check(explicit[name]); err != nil {
			return fmt.Errorf("%w: %s=%q: %w", ErrInvalidConfig, name, explicit[name], err)
		}
	}
	t := Topic{Configs: explicit}
	if least, most := t.number(configMinCompactionLag, 0), t.number(configMaxCompactionLag, math.MaxInt64); least > most {
		return fmt.Errorf("%w: %s (%d) is over %s (%d)", ErrInvalidConfig, configMinCompactionLag, least, configMaxCompactionLag, most)
	}
	return nil
}

// DescribeConfigs lists every topic config by name, with the explicit values in their places. Names it does not know
// (set by a newer version) come last, as strings.
func DescribeConfigs(explicit map[string]string) []ConfigEntry {
	var list []ConfigEntry
	for _, c := range configTable() {
		e := ConfigEntry{Name: c.name, Value: c.fallback, Default: c.fallback, IsDefault: true, Type: c.typ, Doc: c.doc, Synonym: c.synonym}
		if v, ok := explicit[c.name]; ok {
			e.Value, e.IsDefault = c.canonical(v), false
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b ConfigEntry) int { return strings.Compare(a.Name, b.Name) })
	for _, name := range sortedKeys(explicit) {
		if !slices.ContainsFunc(list, func(e ConfigEntry) bool { return e.Name == name }) {
			list = append(list, ConfigEntry{Name: name, Value: explicit[name], Type: ConfigString})
		}
	}
	return list
}

// canonical is how a value that check accepts is shown: as Kafka shows what it has parsed.
func (c *configSpec) canonical(value string) string {
	switch c.typ {
	case ConfigBool:
		if b, ok := parseBool(strings.TrimSpace(value)); ok {
			return strconv.FormatBool(b)
		}
	case ConfigInt, ConfigLong:
		if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
			return strconv.FormatInt(n, 10)
		}
	case ConfigList:
		return strings.Join(elementsOf(value), ",")
	default:
	}
	return strings.TrimSpace(value)
}

func (c *configSpec) check(value string) error {
	value = strings.TrimSpace(value)
	switch c.typ {
	case ConfigBool:
		b, ok := parseBool(value)
		if !ok {
			return fmt.Errorf("want true or false")
		}
		return c.checkOneOf(strconv.FormatBool(b))
	case ConfigInt, ConfigLong:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return fmt.Errorf("want a whole number")
		}
		if c.oneOf != nil {
			return c.checkOneOf(strconv.FormatInt(n, 10))
		}
		if slices.Contains(c.except, n) {
			return fmt.Errorf("want %s to %s, but not %d", plain(c.min), plain(c.max), n)
		}
		return c.checkRange(float64(n))
	case ConfigDouble:
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("want a number")
		}
		return c.checkRange(f)
	case ConfigList:
		for _, item := range elementsOf(value) {
			if c.replicas && !isReplica(item) {
				return fmt.Errorf("want '*' or a list of partition:broker")
			}
			if err := c.checkOneOf(item); err != nil {
				return err
			}
		}
		return nil
	default:
		return c.checkOneOf(value)
	}
}

// isReplica reports whether item is '*' or two numbers with a colon between.
func isReplica(item string) bool {
	if item == "*" {
		return true
	}
	partition, broker, ok := strings.Cut(item, ":")
	_, err := strconv.ParseUint(partition, 10, 31)
	_, err2 := strconv.ParseUint(broker, 10, 31)
	return ok && err == nil && err2 == nil
}

func (c *configSpec) checkRange(v float64) error {
	if !(v >= c.min && v <= c.max) { // so written that NaN is out
		return fmt.Errorf("want %s to %s", plain(c.min), plain(c.max))
	}
	return nil
}

func plain(v float64) string {
	if v >= math.MaxInt64 { // has no float64 of its own
		return strconv.Itoa(math.MaxInt64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

func (c *configSpec) checkOneOf(v string) error {
	switch {
	case c.oneOf == nil || slices.Contains(c.oneOf, v):
		return nil
	case c.later:
		return fmt.Errorf("not available yet, want %s", strings.Join(c.oneOf, " or "))
	}
	return fmt.Errorf("want %s", strings.Join(c.oneOf, " or "))
}

func parseBool(s string) (value, ok bool) {
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

// suggest names the config that name was probably meant to be.
func suggest(name string, table []configSpec) string {
	if len(name) > 64 {
		return ""
	}
	best, at := len(name)/3+2, ""
	for i := range table {
		if d := editDistance(strings.ToLower(name), table[i].name); d < best {
			best, at = d, table[i].name
		}
	}
	if at == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", at)
}

// editDistance counts the insertions, deletions and replacements that turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// MaxMessageBytes is the largest record batch the topic takes, in bytes.
func (t Topic) MaxMessageBytes() int { return int(t.number(configMaxMessageBytes, 1048588)) }

// TableEnabled reports whether the topic is a Delta table.
func (t Topic) TableEnabled() bool {
	b, ok := parseBool(strings.TrimSpace(t.Configs[configTableEnable]))
	return b || !ok
}

// KeepsTable reports whether the table is to outlive the topic.
func (t Topic) KeepsTable() bool {
	return t.TableEnabled() && strings.TrimSpace(t.Configs[configTableOnDelete]) == onDeleteKeep
}

// CommitInterval is how long data may wait for its table commit; explicit tells whether the topic itself says so.
func (t Topic) CommitInterval() (interval time.Duration, explicit bool) {
	_, explicit = t.Configs[configTableCommitInterval]
	ms := min(t.number(configTableCommitInterval, 60_000), int64((1<<63-1)/time.Millisecond))
	return time.Duration(ms) * time.Millisecond, explicit
}

// CommitBytes is how many waiting bytes make a table commit due.
func (t Topic) CommitBytes() int64 { return t.number(configTableCommitBytes, 128<<20) }

// Compacted reports whether the topic keeps the last record of each key: its records must have keys.
func (t Topic) Compacted() bool {
	return slices.Contains(elementsOf(t.Configs[configCleanupPolicy]), cleanupCompact)
}

// Compression is what batches are to be compressed with, and at which level. keep: as their producer did.
func (t Topic) Compression() (codec record.Codec, level int, keep bool) {
	switch name := strings.TrimSpace(t.Configs[configCompressionType]); name {
	case "", compressionProducer:
		return record.None, 0, true
	case compressionNone:
		return record.None, 0, false
	default:
		codec, err := record.ParseCodec(name)
		if err != nil { // of a later release
			return record.None, 0, true
		}
		level = codec.DefaultLevel()
		if v, ok := t.Configs["compression."+name+".level"]; ok {
			if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil {
				level = n
			}
		}
		return codec, level, false
	}
}

// TimestampBounds is how far, in milliseconds, a producer's timestamp may lie back and ahead.
func (t Topic) TimestampBounds() (before, after int64) {
	return t.number(configTimestampBefore, math.MaxInt64), t.number(configTimestampAfter, timestampAfterDefault)
}

// TimestampType tells whether records keep their timestamp or get the time of their arrival.
func (t Topic) TimestampType() record.TimestampType {
	if strings.TrimSpace(t.Configs[configTimestampType]) == timestampAppend {
		return record.LogAppendTime
	}
	return record.CreateTime
}

// number reads a config that ValidateConfigs has checked. What it could not have accepted counts as not set.
func (t Topic) number(name string, fallback int64) int64 {
	v, ok := t.Configs[name]
	if !ok {
		return fallback
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil || n < 0 {
		return fallback
	}
	return n
}
