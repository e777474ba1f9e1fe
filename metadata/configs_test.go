package metadata

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge/record"
)

func TestValidateTopicName(t *testing.T) {
	for _, name := range []string{"a", "A.b_c-9", "...", strings.Repeat("x", 249), "__consumer_offsets"} {
		if err := ValidateTopicName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", strings.Repeat("x", 250), "a b", "a/b", "a@b", "ä", "a\x00", "a:b"} {
		if err := ValidateTopicName(name); !errors.Is(err, ErrInvalidTopic) {
			t.Errorf("%q: %v, want ErrInvalidTopic", name, err)
		}
	}
}

func TestValidateConfigs(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"retention.ms", "-1", ""},
		{"retention.ms", " 1000 ", ""},
		{"retention.ms", "-2", "want -1 to"},
		{"retention.ms", "1h", "want a whole number"},
		{"retention.msec", "1", `did you mean "retention.ms"?`},
		{"Barge.Table.Enabled", "true", `did you mean "barge.table.enable"?`},
		{"zzzzzzzzzzzzzzzzzzzzzzzz", "1", `no topic config "zzzzzzzzzzzzzzzzzzzzzzzz"`},
		{"cleanup.policy", "compact", ""},
		{"cleanup.policy", "compact,delete", ""},
		{"cleanup.policy", "compact, delete", ""},
		{"cleanup.policy", "", "want some of delete, compact"},
		{"cleanup.policy", "destroy", "want delete or compact"},
		{"max.message.bytes", "67108864", ""},
		{"max.message.bytes", "67108865", "want 0 to 67108864"},
		{"message.timestamp.type", "LogAppendTime", ""},
		{"message.timestamp.type", "logappendtime", "want CreateTime or LogAppendTime"},
		{"min.cleanable.dirty.ratio", "0.7", ""},
		{"min.cleanable.dirty.ratio", "NaN", "want 0 to 1"},
		{"preallocate", "TRUE", ""},
		{"preallocate", "yes", "want true or false"},
		{"remote.storage.enable", "true", "want false"},
		{"remote.storage.enable", "false", ""},
		{"follower.replication.throttled.replicas", "*", ""},
		{"barge.table.enable", "false", ""},
		{"barge.table.mode", "raw", ""},
		{"barge.table.mode", "typed", "not available yet, want raw"},
		{"barge.table.schema", "registry", "not available yet, want none"},
		{"barge.table.retention.ms", "5", "not available yet, want -1"},
		{"barge.table.retention.ms", "-1", ""},
		{"barge.table.on.delete", "keep", ""},
		{"barge.table.on.delete", "maybe", "want drop or keep"},
		{"barge.table.commit.interval.ms", "0", "want 1 to"},
		{"barge.table.commit.bytes", "1", ""},
		{"segment.bytes", "3000000000", "want 14 to 2147483647"},
	} {
		err := ValidateConfigs(map[string]string{c.name: c.value})
		switch {
		case c.want == "" && err != nil:
			t.Error(err)
		case c.want != "" && (!errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s=%q: %v, want ErrInvalidConfig with %q", c.name, c.value, err, c.want)
		}
	}
	both := map[string]string{"retention.ms": "1", "a.retention": "1"}
	if err := ValidateConfigs(both); !errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), "a.retention") {
		t.Errorf("one good, one bad: %v", err)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	for _, e := range DescribeConfigs(nil) {
		if err := ValidateConfigs(map[string]string{e.Name: e.Default}); err != nil {
			t.Error(err)
		}
		if e.Doc == "" || !e.IsDefault || e.Value != e.Default {
			t.Errorf("%+v", e)
		}
	}
}

func TestDescribeConfigsShowsWhatCounts(t *testing.T) {
	list := DescribeConfigs(map[string]string{"retention.ms": "77", "of.tomorrow": "x"})
	if !slices.IsSortedFunc(list[:len(list)-1], func(a, b ConfigEntry) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("not in the order of the names")
	}
	if last := list[len(list)-1]; last.Name != "of.tomorrow" || last.Value != "x" || last.IsDefault {
		t.Errorf("unknown name shows as %+v", last)
	}
	for _, e := range list {
		if e.Name == "retention.ms" && (e.Value != "77" || e.IsDefault || e.Default != "604800000" || e.Type != ConfigLong) {
			t.Errorf("%+v", e)
		}
	}
}

func TestTypedConfigs(t *testing.T) {
	var plain Topic
	interval, explicit := plain.CommitInterval()
	if plain.MaxMessageBytes() != 1048588 || !plain.TableEnabled() || interval != time.Minute || explicit ||
		plain.CommitBytes() != 128<<20 || plain.TimestampType() != record.CreateTime || plain.KeepsTable() {
		t.Error("defaults are off")
	}
	set := Topic{Configs: map[string]string{
		"max.message.bytes": "5", "barge.table.enable": "False", "barge.table.commit.interval.ms": "250", "barge.table.commit.bytes": "9",
		"message.timestamp.type": "LogAppendTime", "barge.table.on.delete": "keep",
	}}
	interval, explicit = set.CommitInterval()
	if set.MaxMessageBytes() != 5 || set.TableEnabled() || interval != 250*time.Millisecond || !explicit ||
		set.CommitBytes() != 9 || set.TimestampType() != record.LogAppendTime || set.KeepsTable() {
		t.Error("explicit values are not read")
	}
	huge := Topic{Configs: map[string]string{"barge.table.commit.interval.ms": "9223372036854775807"}}
	if d, _ := huge.CommitInterval(); d <= 0 {
		t.Errorf("a huge interval overflows to %v", d)
	}
}
