package metadata

import "math"

// ConfigType is the type of a topic config, in the numbers of Kafka's DescribeConfigs.
type ConfigType int8

// The types that topic configs have.
const (
	ConfigBool   ConfigType = 1
	ConfigString ConfigType = 2
	ConfigInt    ConfigType = 3
	ConfigLong   ConfigType = 5
	ConfigDouble ConfigType = 6
	ConfigList   ConfigType = 7
)

// Names of the configs that our own code reads.
const (
	configCleanupPolicy       = "cleanup.policy"
	configMaxMessageBytes     = "max.message.bytes"
	configTimestampType       = "message.timestamp.type"
	configTimestampBefore     = "message.timestamp.before.max.ms"
	configTimestampAfter      = "message.timestamp.after.max.ms"
	configCompressionType     = "compression.type"
	configMinCompactionLag    = "min.compaction.lag.ms"
	configMaxCompactionLag    = "max.compaction.lag.ms"
	configRetentionMs         = "retention.ms"
	configRetentionBytes      = "retention.bytes"
	configTableEnable         = "barge.table.enable"
	configTableMode           = "barge.table.mode"
	configTableSchema         = "barge.table.schema"
	configTableCommitInterval = "barge.table.commit.interval.ms"
	configTableCommitBytes    = "barge.table.commit.bytes"
	configTableRetention      = "barge.table.retention.ms"
	configTableOnDelete       = "barge.table.on.delete"
)

const (
	onDeleteDrop       = "drop"
	onDeleteKeep       = "keep"
	timestampAppend    = "LogAppendTime"
	timestampCreate    = "CreateTime"
	maxMaxMessageBytes = 64 << 20

	cleanupDelete       = "delete"
	cleanupCompact      = "compact"
	compressionProducer = "producer"
	compressionNone     = "uncompressed"

	timestampAfterDefault = 3_600_000 // KIP-1030
)

// configSpec describes one topic config.
type configSpec struct {
	name     string
	typ      ConfigType
	synonym  string   // the broker config of this default in Kafka; "": none
	fallback string   // the default
	min, max float64  // of numbers
	except   []int64  // numbers between them that are none
	replicas bool     // a list of partition:broker, or *
	oneOf    []string // what a string, or each element of a list, may be; nil: anything
	later    bool     // other values of oneOf's kind are planned: the refusal says "not available yet"
	doc      string
}

const noEffect = " Accepted for the sake of tools, without effect."

// configTable lists every topic config by name. It is built on demand, for nothing may change it.
func configTable() []configSpec {
	const (
		long = math.MaxInt64
		i32  = math.MaxInt32
	)
	return []configSpec{
		{
			name: configTableCommitBytes, typ: ConfigLong, fallback: "134217728", min: 1, max: long,
			doc: "Bytes waiting in a topic that make a table commit due.",
		},
		{
			name: configTableCommitInterval, typ: ConfigLong, fallback: "60000", min: 1, max: long,
			doc: "Milliseconds after which waiting data is committed to the table. Set on the topic it is obeyed even when the cluster is over its budget of commits.",
		},
		{
			name: configTableEnable, typ: ConfigBool, fallback: "true",
			doc: "Whether the topic is a Delta table. Set when the topic is created, and not changed afterwards. Without, the same Parquet files are written and no _delta_log.",
		},
		{
			name: configTableMode, typ: ConfigString, fallback: "raw", oneOf: []string{"raw"}, later: true,
			doc: "How records become rows. raw: key and value as they are.",
		},
		{
			name: configTableOnDelete, typ: ConfigString, fallback: onDeleteDrop, oneOf: []string{onDeleteDrop, onDeleteKeep},
			doc: "What happens to the table when the topic is deleted.",
		},
		{
			name: configTableRetention, typ: ConfigLong, fallback: "-1", oneOf: []string{"-1"}, later: true,
			doc: "Milliseconds for which the table keeps rows, -1 for ever.",
		},
		{
			name: configTableSchema, typ: ConfigString, fallback: "none", oneOf: []string{"none"}, later: true,
			doc: "Where the schema of the values comes from. none: values stay as they are.",
		},
		{
			name: configCleanupPolicy, synonym: "log.cleanup.policy", typ: ConfigList, fallback: cleanupDelete, oneOf: []string{cleanupCompact, cleanupDelete},
			doc: "delete, compact or both. A compacted topic takes no record without a key, and is not deleted from by age or size unless delete is named too. Compaction by key itself is not done yet: such a topic keeps every record.",
		},
		{name: "compression.gzip.level", synonym: "compression.gzip.level", typ: ConfigInt, fallback: "-1", min: -1, max: 9, except: []int64{0}, doc: "Level of gzip, where compression.type names it; -1 is its default."},
		{name: "compression.lz4.level", synonym: "compression.lz4.level", typ: ConfigInt, fallback: "9", min: 1, max: 17, doc: "Level of lz4, where compression.type names it; 9 is its fast mode."},
		{
			name: configCompressionType, synonym: "compression.type", typ: ConfigString, fallback: compressionProducer,
			oneOf: []string{compressionNone, "zstd", "lz4", "snappy", "gzip", compressionProducer},
			doc:   "Codec of batches. producer keeps what the producer chose; with another one the agent compresses anew what comes otherwise, which costs it processor time. What is read back from Parquet files is not compressed.",
		},
		{name: "compression.zstd.level", synonym: "compression.zstd.level", typ: ConfigInt, fallback: "3", min: -131072, max: 22, doc: "Level of zstd, where compression.type names it; levels are put together in four groups: below 3, 3 to 5, 6 to 9, from 10 on."},
		{name: "delete.retention.ms", synonym: "log.cleaner.delete.retention.ms", typ: ConfigLong, fallback: "86400000", max: long, doc: "How long compaction keeps tombstones." + noEffect},
		{name: "file.delete.delay.ms", synonym: "log.segment.delete.delay.ms", typ: ConfigLong, fallback: "60000", max: long, doc: "Delay before a log segment is deleted." + noEffect},
		{name: "flush.messages", synonym: "log.flush.interval.messages", typ: ConfigLong, fallback: "9223372036854775807", min: 1, max: long, doc: "Records between fsyncs. A record is durable before it is acknowledged." + noEffect},
		{name: "flush.ms", typ: ConfigLong, fallback: "9223372036854775807", max: long, doc: "Time between fsyncs. A record is durable before it is acknowledged." + noEffect},
		{name: "follower.replication.throttled.replicas", typ: ConfigList, replicas: true, doc: "Replicas to throttle; there are none." + noEffect},
		{name: "index.interval.bytes", synonym: "log.index.interval.bytes", typ: ConfigInt, fallback: "4096", max: i32, doc: "Density of the offset index." + noEffect},
		{name: "leader.replication.throttled.replicas", typ: ConfigList, replicas: true, doc: "Replicas to throttle; there are none." + noEffect},
		{name: "local.retention.bytes", synonym: "log.local.retention.bytes", typ: ConfigLong, fallback: "-2", min: -2, max: long, doc: "Size of the local tier; there is none." + noEffect},
		{name: "local.retention.ms", synonym: "log.local.retention.ms", typ: ConfigLong, fallback: "-2", min: -2, max: long, doc: "Age in the local tier; there is none." + noEffect},
		{name: configMaxCompactionLag, synonym: "log.cleaner.max.compaction.lag.ms", typ: ConfigLong, fallback: "9223372036854775807", min: 1, max: long, doc: "Longest time before compaction by key." + noEffect},
		{
			name: configMaxMessageBytes, synonym: "message.max.bytes", typ: ConfigInt, fallback: "1048588", max: maxMaxMessageBytes,
			doc: "Largest record batch, in bytes, compressed as it comes; at most 64 MiB.",
		},
		{name: configTimestampAfter, synonym: "log.message.timestamp.after.max.ms", typ: ConfigLong, fallback: "3600000", max: long, doc: "Milliseconds that a producer's timestamp may lie ahead of the agent's clock; records beyond are refused. Not with LogAppendTime."},
		{name: configTimestampBefore, synonym: "log.message.timestamp.before.max.ms", typ: ConfigLong, fallback: "9223372036854775807", max: long, doc: "Milliseconds that a producer's timestamp may lie behind the agent's clock; records beyond are refused. Not with LogAppendTime."},
		{
			name: configTimestampType, synonym: "log.message.timestamp.type", typ: ConfigString, fallback: timestampCreate, oneOf: []string{timestampCreate, timestampAppend},
			doc: "Whether records keep their producer's timestamp or get the time of their arrival.",
		},
		{name: "min.cleanable.dirty.ratio", synonym: "log.cleaner.min.cleanable.ratio", typ: ConfigDouble, fallback: "0.5", max: 1, doc: "When compaction by key is due." + noEffect},
		{name: configMinCompactionLag, synonym: "log.cleaner.min.compaction.lag.ms", typ: ConfigLong, fallback: "0", max: long, doc: "Shortest time before compaction by key." + noEffect},
		{name: "min.insync.replicas", synonym: "min.insync.replicas", typ: ConfigInt, fallback: "1", min: 1, max: i32, doc: "Replicas that must have a record. Object storage replicates." + noEffect},
		{name: "preallocate", synonym: "log.preallocate", typ: ConfigBool, fallback: "false", doc: "Whether segment files are preallocated." + noEffect},
		{name: "remote.log.copy.disable", typ: ConfigBool, fallback: "false", doc: "Whether copying to the remote tier pauses; there is none." + noEffect},
		{name: "remote.log.delete.on.disable", typ: ConfigBool, fallback: "false", doc: "Whether switching the remote tier off deletes it; there is none." + noEffect},
		{
			name: "remote.storage.enable", typ: ConfigBool, fallback: "false", oneOf: []string{"false"},
			doc: "Whether a remote tier is used. Everything is in object storage already.",
		},
		{name: configRetentionBytes, synonym: "log.retention.bytes", typ: ConfigLong, fallback: "-1", min: -long, max: long, doc: "Bytes of a partition that consumers can replay, -1 for all. Whole files go, the oldest first; the table keeps them."},
		{name: configRetentionMs, typ: ConfigLong, fallback: "604800000", min: -1, max: long, doc: "Milliseconds for which consumers can replay a record, -1 for ever. Whole files go, the oldest first; the table keeps them."},
		{name: "segment.bytes", synonym: "log.segment.bytes", typ: ConfigInt, fallback: "1073741824", min: 1 << 20, max: i32, doc: "Size of a log segment; there are none." + noEffect},
		{name: "segment.index.bytes", synonym: "log.index.size.max.bytes", typ: ConfigInt, fallback: "10485760", min: 4, max: i32, doc: "Size of a segment's index; there are none." + noEffect},
		{name: "segment.jitter.ms", typ: ConfigLong, fallback: "0", max: long, doc: "Spread of segment rolls; there are none." + noEffect},
		{name: "segment.ms", typ: ConfigLong, fallback: "604800000", min: 1, max: long, doc: "Age of a log segment; there are none." + noEffect},
		{name: "unclean.leader.election.enable", synonym: "unclean.leader.election.enable", typ: ConfigBool, fallback: "false", doc: "Whether a stale replica may lead; there are none." + noEffect},
	}
}
