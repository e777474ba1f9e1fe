package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/bargedata/barge"
)

// values holds every setting of `barge agent` and `barge demo`.
type values struct {
	barge.Config
	LogFormat string
	LogLevel  slog.Level

	DataDir  string        // demo
	Rate     int64         // demo: bytes of log lines a second
	Duration time.Duration // demo: 0 is until it is interrupted
	Seed     uint64        // demo
}

// setting is one of them: a flag, a BARGE_ variable and a key of the settings file at once.
type setting struct {
	name   string
	kind   string // shown in the help behind the flag; "" for true or false
	usage  string
	get    func(*values) string
	set    func(*values, string) error // the error says what is wanted, not where the text came from
	hidden bool                        // its text may be a secret, and is not repeated
}

func (s setting) flag() string { return "--" + s.name }

func (s setting) variable() string {
	return "BARGE_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

func textSetting(name, kind, usage string, field func(*values) *string) setting {
	return setting{
		name: name, kind: kind, usage: usage,
		get: func(v *values) string { return *field(v) },
		set: func(v *values, s string) error { *field(v) = s; return nil },
	}
}

// notEmpty refuses "", for texts where that has no meaning.
func notEmpty(s setting) setting {
	set := s.set
	s.set = func(v *values, text string) error {
		if text == "" {
			return errors.New("want a value, or leave it out for the default")
		}
		return set(v, text)
	}
	return s
}

func durationSetting(name, usage string, field func(*values) *time.Duration) setting {
	return setting{
		name: name, kind: "duration", usage: usage,
		get: func(v *values) string { return formatDuration(*field(v)) },
		set: func(v *values, s string) error {
			d, err := parseDuration(s)
			if err != nil {
				return err
			}
			*field(v) = d
			return nil
		},
	}
}

func sizeSetting(name, usage string, field func(*values) *int64) setting {
	return setting{
		name: name, kind: "size", usage: usage,
		get: func(v *values) string { return formatSize(*field(v)) },
		set: func(v *values, s string) error {
			n, err := parseSize(s)
			if err != nil {
				return err
			}
			*field(v) = n
			return nil
		},
	}
}

func boolSetting(name, usage string, field func(*values) *bool) setting {
	return setting{
		name: name, usage: usage,
		get: func(v *values) string { return strconv.FormatBool(*field(v)) },
		set: func(v *values, s string) error {
			switch strings.ToLower(s) {
			case "true", "yes", "on", "1":
				*field(v) = true
			case "false", "no", "off", "0":
				*field(v) = false
			default:
				return errors.New("want true or false")
			}
			return nil
		},
	}
}

// agentSettings lists what an agent can be told. Their names are the names barge.Config.Validate uses.
func agentSettings() []setting {
	return []setting{
		notEmpty(textSetting("store", "url", "where everything is kept: file:///directory or s3://bucket/prefix?endpoint=http://host:port&region=name; keys of S3 come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", func(v *values) *string { return &v.Store })),
		metadataSetting(),
		textSetting("cluster-id", "id", "refuse a store that belongs to another cluster (default: the store's, or a new one)", func(v *values) *string { return &v.ClusterID }),
		notEmpty(textSetting("listen", "host:port", "Kafka address; port 0 takes a free one", func(v *values) *string { return &v.Listen })),
		textSetting("advertise", "host:port", "what clients are told to connect to (default: the address of --listen)", func(v *values) *string { return &v.Advertise }),
		textSetting("http", "host:port", "address of health, metrics and the overview page; '' for none", func(v *values) *string { return &v.HTTP }),
		textSetting("zone", "name", "zone this agent runs in, told to clients as its rack", func(v *values) *string { return &v.Zone }),
		rolesSetting(),
		notEmpty(textSetting("peer", "host:port", "address for the other agents of the cluster; port 0 takes a free one", func(v *values) *string { return &v.Peer })),
		textSetting("peer-advertise", "host:port", "what other agents are told to connect to (default: the address of --peer)", func(v *values) *string { return &v.PeerAdvertise }),
		secretSetting(),
		textSetting("client-zones", "map", "zones of clients by their addresses, as in a@10.0.0.0/20,10.1.0.0/20<>b@10.0.16.0/20", func(v *values) *string { return &v.ClientZones }),
		durationSetting("flush-interval", "longest wait of a batch before its object is written", func(v *values) *time.Duration { return &v.FlushInterval }),
		sizeSetting("flush-bytes", "write an object when it has this many bytes", func(v *values) *int64 { return &v.FlushBytes }),
		sizeSetting("inline-bytes", "an object up to this size travels in the metadata log and costs no write of its own; 0 for none", func(v *values) *int64 { return &v.InlineBytes }),
		sizeSetting("buffer-bytes", "what producers may have waiting in this agent", func(v *values) *int64 { return &v.BufferBytes }),
		sizeSetting("cache-bytes", "recent objects kept in memory for consumers", func(v *values) *int64 { return &v.CacheBytes }),
		sizeSetting("max-request-bytes", "largest Kafka request taken", func(v *values) *int64 { return &v.MaxRequestBytes }),
		boolSetting("auto-create-topics", "create a topic when a client asks for one that does not exist", func(v *values) *bool { return &v.AutoCreateTopics }),
		numberSetting("num-partitions", "partitions of a topic created without a number", func(v *values) *int32 { return &v.NumPartitions }),
		durationSetting("table-commit-interval", "longest wait of a record for its table, where the topic sets none", func(v *values) *time.Duration { return &v.TableCommitInterval }),
		boolSetting("table-fence", "keep other engines from writing to the tables", func(v *values) *bool { return &v.TableFence }),
		durationSetting("release-grace", "between the release of an object and its deletion", func(v *values) *time.Duration { return &v.ReleaseGrace }),
		durationSetting("retention-check-interval", "how often to look for what retention.ms and retention.bytes of the topics let go", func(v *values) *time.Duration { return &v.Retention }),
		durationSetting("drain-timeout", "for what is in flight when the agent is told to stop", func(v *values) *time.Duration { return &v.DrainTimeout }),
		durationSetting("group-initial-delay", "the first rebalance of an empty group waits so long after each member that comes", func(v *values) *time.Duration { return &v.GroupInitialDelay }),
		numberSetting("group-max-size", "members of a consumer group; one more is told GROUP_MAX_SIZE_REACHED", func(v *values) *int32 { return &v.GroupMaxSize }),
		durationSetting("group-session-timeout", "how long a member of a group of the consumer protocol (KIP-848) may be silent", func(v *values) *time.Duration { return &v.GroupSessionTimeout }),
		durationSetting("group-heartbeat-interval", "how often such a member is told to show up", func(v *values) *time.Duration { return &v.GroupHeartbeatInterval }),
		logFormatSetting(),
		logLevelSetting(),
	}
}

// demoSettings lists what the demo can be told. The store is not among them: BARGE_STORE may well name a store of production.
func demoSettings() []setting {
	own := []setting{
		notEmpty(textSetting("data-dir", "directory", "where the demo keeps its data; it goes on with what it finds there", func(v *values) *string { return &v.DataDir })),
		rateSetting(),
		durationSetting("duration", "stop after so long; 0 is when interrupted", func(v *values) *time.Duration { return &v.Duration }),
		seedSetting(),
	}
	shared := map[string]bool{
		"listen": true, "advertise": true, "http": true, "flush-interval": true, "flush-bytes": true, "table-commit-interval": true,
		"release-grace": true, "log-format": true, "log-level": true,
	}
	for _, s := range agentSettings() {
		if shared[s.name] {
			own = append(own, s)
		}
	}
	return own
}

func metadataSetting() setting {
	s := textSetting("metadata", "engine", "where the order of records is kept: bucket, beside the data, or postgres://user:password@host:port/database", func(v *values) *string { return &v.Metadata })
	set := s.set
	s.set = func(v *values, text string) error {
		if err := barge.CheckMetadata(text); err != nil {
			return err // does not repeat the URL, which holds a password
		}
		return set(v, text)
	}
	return s
}

func rolesSetting() setting {
	return setting{
		name: "roles", kind: "list", usage: "what this agent does, separated by commas",
		get: func(v *values) string { return strings.Join(v.Roles, ",") },
		set: func(v *values, s string) error {
			v.Roles = nil
			for role := range strings.SplitSeq(s, ",") {
				if role = strings.TrimSpace(role); role != "" {
					v.Roles = append(v.Roles, role)
				}
			}
			return nil
		},
	}
}

// secretSetting never repeats what it was given: it may be the secret itself.
func secretSetting() setting {
	s := textSetting("cluster-secret", "file:path", "file that all agents of the cluster have, with at least 32 random bytes (default: a secret kept in the store)", func(v *values) *string { return &v.ClusterSecret })
	s.hidden = true
	return s
}

func numberSetting(name, usage string, field func(*values) *int32) setting {
	return setting{
		name: name, kind: "number", usage: usage,
		get: func(v *values) string { return strconv.Itoa(int(*field(v))) },
		set: func(v *values, s string) error {
			n, err := strconv.ParseInt(s, 10, 32)
			if err != nil {
				return errors.New("want a whole number")
			}
			*field(v) = int32(n)
			return nil
		},
	}
}

func logFormatSetting() setting {
	s := textSetting("log-format", "format", "json or text", func(v *values) *string { return &v.LogFormat })
	set := s.set
	s.set = func(v *values, text string) error {
		if text != "json" && text != "text" {
			return errors.New("want json or text")
		}
		return set(v, text)
	}
	return s
}

func logLevelSetting() setting {
	return setting{
		name: "log-level", kind: "level", usage: "debug, info, warn or error",
		get: func(v *values) string { return strings.ToLower(v.LogLevel.String()) },
		set: func(v *values, s string) error {
			if err := v.LogLevel.UnmarshalText([]byte(s)); err != nil {
				return errors.New("want debug, info, warn or error")
			}
			return nil
		},
	}
}

func rateSetting() setting {
	s := sizeSetting("rate", "log lines produced each second, such as 2MB or 20MB/s", func(v *values) *int64 { return &v.Rate })
	s.kind = "size/s"
	s.get = func(v *values) string { return formatSize(v.Rate) + "/s" }
	set := s.set
	s.set = func(v *values, text string) error {
		if err := set(v, strings.TrimSuffix(text, "/s")); err != nil {
			return fmt.Errorf("%w, a second", err)
		}
		if v.Rate < 1000 || v.Rate > 1e9 {
			return errors.New("want between 1kB/s and 1GB/s")
		}
		return nil
	}
	return s
}

func seedSetting() setting {
	return setting{
		name: "seed", kind: "number", usage: "of the log lines: the same seed makes the same lines",
		get: func(v *values) string { return strconv.FormatUint(v.Seed, 10) },
		set: func(v *values, s string) (err error) {
			if v.Seed, err = strconv.ParseUint(s, 10, 64); err != nil {
				return errors.New("want a whole number from 0 up")
			}
			return nil
		},
	}
}
