package metadata

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ConfigOp is what to do with one config, in the numbers of Kafka's IncrementalAlterConfigs (KIP-339).
type ConfigOp int8

// The operations.
const (
	ConfigSet      ConfigOp = 0
	ConfigDelete   ConfigOp = 1 // back to the default
	ConfigAppend   ConfigOp = 2 // elements to a list
	ConfigSubtract ConfigOp = 3 // elements from a list
)

// ConfigChange is one operation on one config.
type ConfigChange struct {
	Name  string
	Op    ConfigOp
	Value string // nothing with ConfigDelete
}

// ChangeConfigs applies the changes in order to the configs that a topic sets explicitly and returns what it sets then, in a
// map of its own. A list that is not set begins with its default; what is in it already is not appended again. Deleting
// what is not there is no error. Errors: ErrInvalidConfig, which says what is wrong with a change or with what came of them.
// Source: KIP-339, Kafka's ConfigurationControlManager.
func ChangeConfigs(explicit map[string]string, changes []ConfigChange) (map[string]string, error) {
	to := maps.Clone(explicit)
	if to == nil {
		to = make(map[string]string)
	}
	table := configTable()
	for _, c := range changes {
		switch c.Op {
		case ConfigSet:
			to[c.Name] = c.Value
		case ConfigDelete:
			delete(to, c.Name)
		case ConfigAppend, ConfigSubtract:
			spec := specOf(table, c.Name)
			if spec == nil || spec.typ != ConfigList {
				return nil, fmt.Errorf("%w: %s is no list that something can be appended to or subtracted from", ErrInvalidConfig, c.Name)
			}
			old, ok := to[c.Name]
			if !ok {
				old = spec.fallback
			}
			to[c.Name] = changeList(old, c)
		default:
			return nil, fmt.Errorf("%w: %s: no operation %d, want 0 (set), 1 (delete), 2 (append) or 3 (subtract)", ErrInvalidConfig, c.Name, c.Op)
		}
	}
	if err := CheckChange(explicit, to); err != nil {
		return nil, err
	}
	return to, nil
}

// CheckChange is ValidateConfigs for a topic that has set from so far: what a topic is made with and stays with is not to be
// changed. Errors: ErrInvalidConfig.
func CheckChange(from, to map[string]string) error {
	// Its files lie in the table's folder or do not, and what becomes of those that leave the log follows from it.
	if was := (Topic{Configs: from}).TableEnabled(); was != (Topic{Configs: to}).TableEnabled() {
		return fmt.Errorf("%w: %s is %v and stays so: it can only be set when the topic is created", ErrInvalidConfig, configTableEnable, was)
	}
	return ValidateConfigs(to)
}

func changeList(old string, c ConfigChange) string {
	list := elementsOf(old)
	for _, e := range elementsOf(c.Value) {
		i := slices.Index(list, e)
		switch {
		case c.Op == ConfigAppend && i < 0:
			list = append(list, e)
		case c.Op == ConfigSubtract && i >= 0:
			list = slices.Delete(list, i, i+1)
		}
	}
	return strings.Join(list, ",")
}

// elementsOf splits the value of a list; an empty one has no elements.
func elementsOf(value string) (list []string) {
	for e := range strings.SplitSeq(value, ",") {
		if e = strings.TrimSpace(e); e != "" {
			list = append(list, e)
		}
	}
	return list
}

func specOf(table []configSpec, name string) *configSpec {
	for i := range table {
		if table[i].name == name {
			return &table[i]
		}
	}
	return nil
}
