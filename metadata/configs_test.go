package metadata

import (
	"errors"
	"maps"
	"math"
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
		{"cleanup.policy", "", ""},
		{"cleanup.policy", "destroy", "want compact or delete"},
		{"cleanup.policy", "compact,destroy", "want compact or delete"},
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
		{"follower.replication.throttled.replicas", "0:1,1:2", ""},
		{"leader.replication.throttled.replicas", "0:1,x", "want '*' or a list of partition:broker"},
		{"leader.replication.throttled.replicas", "0:-1", "want '*' or a list of partition:broker"},
		{"compression.type", "zip", "want uncompressed or zstd or lz4 or snappy or gzip or producer"},
		{"compression.gzip.level", "-1", ""},
		{"compression.gzip.level", "0", "want -1 to 9, but not 0"},
		{"compression.lz4.level", "18", "want 1 to 17"},
		{"retention.bytes", "-5", ""},
		{"message.timestamp.after.max.ms", "-1", "want 0 to"},
		{"min.compaction.lag.ms", "9223372036854775807", ""},
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
		{"segment.bytes", "3000000000", "want 1048576 to 2147483647"},
	} {
		err := ValidateConfigs(map[string]string{c.name: c.value})
		switch {
		case c.want == "" && err != nil:
			t.Error(err)
		case c.want != "" && (!errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s=%q: %v, want ErrInvalidConfig with %q", c.name, c.value, err, c.want)
		}
	}
	lag := map[string]string{"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "9"}
	if err := ValidateConfigs(lag); !errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), "min.compaction.lag.ms (10) is over max.compaction.lag.ms (9)") {
		t.Errorf("the shortest lag over the longest: %v", err)
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

// The configs of Kafka 4.3, as its LogConfig has them: a tool that sets or expects one of them finds it here, with the default it
// has there.
func TestEveryKafkaConfigIsHere(t *testing.T) {
	const kafka = `cleanup.policy=delete compression.gzip.level=-1 compression.lz4.level=9 compression.type=producer compression.zstd.level=3
		delete.retention.ms=86400000 file.delete.delay.ms=60000 flush.messages=9223372036854775807 flush.ms=9223372036854775807
		follower.replication.throttled.replicas= index.interval.bytes=4096 leader.replication.throttled.replicas= local.retention.bytes=-2
		local.retention.ms=-2 max.compaction.lag.ms=9223372036854775807 max.message.bytes=1048588 message.timestamp.after.max.ms=3600000
		message.timestamp.before.max.ms=9223372036854775807 message.timestamp.type=CreateTime min.cleanable.dirty.ratio=0.5
		min.compaction.lag.ms=0 min.insync.replicas=1 preallocate=false remote.log.copy.disable=false remote.log.delete.on.disable=false
		remote.storage.enable=false retention.bytes=-1 retention.ms=604800000 segment.bytes=1073741824 segment.index.bytes=10485760
		segment.jitter.ms=0 segment.ms=604800000 unclean.leader.election.enable=false`
	want := map[string]string{}
	for _, pair := range strings.Fields(kafka) {
		name, value, _ := strings.Cut(pair, "=")
		want[name] = value
	}
	got := map[string]string{}
	for _, e := range DescribeConfigs(nil) {
		if !strings.HasPrefix(e.Name, "barge.") {
			got[e.Name] = e.Default
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestChangeConfigs(t *testing.T) {
	set := func(name, value string) ConfigChange { return ConfigChange{Name: name, Value: value} }
	op := func(op ConfigOp, name, value string) ConfigChange {
		return ConfigChange{Name: name, Op: op, Value: value}
	}
	for _, c := range []struct {
		name    string
		from    map[string]string
		changes []ConfigChange
		want    map[string]string
		err     string
	}{
		{"nothing", nil, nil, map[string]string{}, ""},
		{"set", nil, []ConfigChange{set("retention.ms", "5")}, map[string]string{"retention.ms": "5"}, ""},
		{"set and delete", map[string]string{"retention.ms": "5", "flush.ms": "1"}, []ConfigChange{set("retention.ms", "6"), op(ConfigDelete, "flush.ms", "")}, map[string]string{"retention.ms": "6"}, ""},
		{"delete what is not there", nil, []ConfigChange{op(ConfigDelete, "nobody.knows", "")}, map[string]string{}, ""},
		{"append to the default", nil, []ConfigChange{op(ConfigAppend, "cleanup.policy", "compact,delete")}, map[string]string{"cleanup.policy": "delete,compact"}, ""},
		{"append to nothing", nil, []ConfigChange{op(ConfigAppend, "leader.replication.throttled.replicas", "0:1")}, map[string]string{"leader.replication.throttled.replicas": "0:1"}, ""},
		{"subtract", map[string]string{"cleanup.policy": "compact, delete"}, []ConfigChange{op(ConfigSubtract, "cleanup.policy", "delete,absent")}, map[string]string{"cleanup.policy": "compact"}, ""},
		{"subtract all", nil, []ConfigChange{op(ConfigSubtract, "cleanup.policy", "delete")}, map[string]string{"cleanup.policy": ""}, ""},
		{"append to a number", nil, []ConfigChange{op(ConfigAppend, "retention.ms", "5")}, nil, "retention.ms is no list"},
		{"append to what is not known", nil, []ConfigChange{op(ConfigAppend, "nobody.knows", "5")}, nil, "nobody.knows is no list"},
		{"append what may not be", nil, []ConfigChange{op(ConfigAppend, "cleanup.policy", "destroy")}, nil, "want compact or delete"},
		{"no such operation", nil, []ConfigChange{op(9, "cleanup.policy", "delete")}, nil, "no operation 9"},
		{"one bad change spoils all", nil, []ConfigChange{set("flush.ms", "5"), set("retention.ms", "x")}, nil, `retention.ms="x": want a whole number`},
		{"a table that goes", nil, []ConfigChange{set("barge.table.enable", "false")}, nil, "barge.table.enable is true and stays so"},
		{"a table that comes", map[string]string{"barge.table.enable": "false"}, []ConfigChange{op(ConfigDelete, "barge.table.enable", "")}, nil, "barge.table.enable is false and stays so"},
		{"a table that stays", nil, []ConfigChange{set("barge.table.enable", "true")}, map[string]string{"barge.table.enable": "true"}, ""},
		{"what is left must fit", map[string]string{"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "20"}, []ConfigChange{set("max.compaction.lag.ms", "9")}, nil, "is over"},
	} {
		before := maps.Clone(c.from)
		got, err := ChangeConfigs(c.from, c.changes)
		if c.err != "" {
			if !errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want ErrInvalidConfig with %q", c.name, err, c.err)
			}
		} else if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
		if !maps.Equal(c.from, before) {
			t.Errorf("%s: the configs given were changed", c.name)
		}
	}
}

func TestTopicConfigsWithMeaning(t *testing.T) {
	topic := func(pairs ...string) Topic {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return Topic{Configs: m}
	}
	for value, want := range map[string][2]bool{"delete": {false, true}, "compact": {true, false}, " delete , compact": {true, true}, "": {false, false}} {
		if got := topic("cleanup.policy", value); got.Compacted() != want[0] || got.deletes() != want[1] {
			t.Errorf("cleanup.policy %q: compacted %v, deletes %v", value, got.Compacted(), got.deletes())
		}
	}
	if got := topic(); got.Compacted() || !got.deletes() {
		t.Error("the default of cleanup.policy is not delete")
	}
	if before, after := topic().TimestampBounds(); before != math.MaxInt64 || after != 3_600_000 {
		t.Errorf("timestamps may lie %d back and %d ahead", before, after)
	}
	if before, after := topic("message.timestamp.before.max.ms", "5", "message.timestamp.after.max.ms", " 0").TimestampBounds(); before != 5 || after != 0 {
		t.Errorf("timestamps may lie %d back and %d ahead, want 5 and 0", before, after)
	}
	for _, c := range []struct {
		topic Topic
		codec record.Codec
		level int
		keep  bool
	}{
		{topic(), record.None, 0, true},
		{topic("compression.type", "producer"), record.None, 0, true},
		{topic("compression.type", "uncompressed"), record.None, 0, false},
		{topic("compression.type", "zstd"), record.Zstd, 3, false},
		{topic("compression.type", "gzip"), record.Gzip, -1, false},
		{topic("compression.type", "lz4", "compression.lz4.level", "4"), record.LZ4, 4, false},
		{topic("compression.type", "snappy", "compression.lz4.level", "4"), record.Snappy, 0, false},
	} {
		if codec, level, keep := c.topic.Compression(); codec != c.codec || level != c.level || keep != c.keep {
			t.Errorf("%v: %s at %d, keep %v", c.topic.Configs, codec, level, keep)
		}
	}
}
