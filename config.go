package barge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bargedata/barge/group"
	"github.com/bargedata/barge/ingest"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/routing"
)

// Roles an agent may have. The first three decide where clients are sent; an agent serves whoever comes all the same.
const (
	RoleProduce    = "produce"    // leads partitions for producers
	RoleFetch      = "fetch"      // leads and replicates partitions for consumers, keeps objects for its zone
	RoleCoordinate = "coordinate" // coordinates consumer groups
	RoleCompact    = "compact"    // compacts, projects tables, deletes and sweeps
	RoleConsole    = "console"    // shows the overview page; health and metrics are there without
)

// Config holds the settings of one agent: plain values, each with a default in DefaultConfig. Validate before use.
type Config struct {
	Store     string // file:///dir or s3://bucket/prefix?endpoint=...&region=...
	Metadata  string // "bucket": the fenced log lies in Store; or postgres://user:password@host:port/database
	ClusterID string // refuse a store of another cluster; empty: take the store's, or a new one
	Listen    string // Kafka address; port 0 chooses a free one
	Advertise string // host:port clients are told; empty: the bound address
	HTTP      string // admin address; empty: none
	Zone      string
	Roles     []string // what this agent is for; at least one

	Peer          string // address for other agents; port 0 chooses a free one
	PeerAdvertise string // host:port other agents are told; empty: the bound address
	ClusterSecret string // "file:/path" of what all agents of the cluster know; empty: kept in Store
	ClientZones   string // zones of clients by their address: zone@cidr,cidr<>zone@cidr

	FlushInterval time.Duration // longest wait of a batch before its object is sealed
	FlushBytes    int64         // an object is sealed when it has this many bytes
	InlineBytes   int64         // an object of at most so many bytes travels in the log entry that commits it; 0: none does
	BufferBytes   int64         // what producers may have waiting in this agent
	CacheBytes    int64         // recent WAL objects kept in memory for consumers
	ReleaseGrace  time.Duration // between the release of an object and its deletion
	Retention     time.Duration // how often it is looked for what retention.ms and retention.bytes let go
	DrainTimeout  time.Duration // for everything in flight when the agent is told to stop

	GroupInitialDelay time.Duration // the first rebalance of an empty group waits so long after each member that comes
	GroupMaxSize      int32         // members of a group
	// Of groups of the consumer protocol (KIP-848), whose members have no say in either.
	GroupSessionTimeout, GroupHeartbeatInterval time.Duration

	AutoCreateTopics    bool
	NumPartitions       int32         // of topics created without a number
	TableCommitInterval time.Duration // of topics that set none of their own
	TableFence          bool          // keep foreign writers off the tables by a private writer feature
	MaxRequestBytes     int64         // largest Kafka request taken
}

// DefaultConfig returns the defaults of `barge agent`.
func DefaultConfig() Config {
	return Config{
		Store:             "file://./barge-data",
		Metadata:          MetadataBucket,
		Listen:            "127.0.0.1:9092",
		HTTP:              "127.0.0.1:8080",
		Roles:             []string{RoleProduce, RoleFetch, RoleCoordinate, RoleCompact, RoleConsole},
		Peer:              "127.0.0.1:0",
		FlushInterval:     250 * time.Millisecond,
		FlushBytes:        8 << 20,
		InlineBytes:       metadata.MaxInlineBytes - 64<<10, // beside it the entry describes its batches
		BufferBytes:       256 << 20,
		CacheBytes:        128 << 20,
		ReleaseGrace:      10 * time.Minute,
		Retention:         5 * time.Minute,
		DrainTimeout:      30 * time.Second,
		GroupInitialDelay: group.DefaultConfig().InitialDelay,
		GroupMaxSize:      int32(group.DefaultConfig().MaxMembers),

		GroupSessionTimeout:    group.DefaultConfig().ConsumerSession,
		GroupHeartbeatInterval: group.DefaultConfig().ConsumerHeartbeat,

		NumPartitions:       4,
		TableCommitInterval: time.Minute,
		TableFence:          true,
		MaxRequestBytes:     100 << 20,
	}
}

// frameBytes is what the Produce requests of all connections may hold: BufferBytes bounds their batches, but frames are lent in
// powers of two, and one is held until its reply is written.
func (c Config) frameBytes() int64 { return max(2*c.BufferBytes, c.MaxRequestBytes) }

// replyBytes is what replies may hold that clients have not taken yet.
func (c Config) replyBytes() int64 {
	return max(2*c.BufferBytes, int64(ingest.DefaultConfig().FetchBytes))
}

// otherBytes is the program itself, a compaction job, footers, the metadata of an ordinary cluster and all other requests: 256 MiB;
// and what passes between agents: 64 MiB of commands on their way to the sequencer, 16 MiB of entries kept for followers, 96 MiB of
// objects on their way out and in, and 16 MiB of connections.
const otherBytes = (256 + 192) << 20

// MemoryBytes is the resident memory that an agent of these settings keeps to: frames, the objects made of them, replies, caches
// (CacheBytes for what was written lately and half as much for what was read), and 448 MiB for the rest. The state of a cluster
// with very many topics or files comes on top.
func (c Config) MemoryBytes() int64 {
	return c.frameBytes() + c.BufferBytes + c.replyBytes() + c.CacheBytes + c.CacheBytes/2 + otherBytes
}

// unspecified tells a host that is listened on and that nobody can connect to.
func unspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// reachable tells an address that others can be told to connect to.
func reachable(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && !unspecified(host) && portErr == nil && n > 0
}

// maxRequestBytes is the most one WAL object holds, and a request is never split over objects.
const maxRequestBytes = 100 << 20

// maxGroupSize keeps what the leader of a classic group is sent, and the record of a group, in bounds.
const maxGroupSize = 20_000

// Validate reports every setting that cannot work, each with its name and a fix.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !strings.HasPrefix(c.Store, "file://") && !strings.HasPrefix(c.Store, "s3://") {
		bad("store %q: want file:///directory or s3://bucket/prefix?endpoint=...&region=...", c.Store)
	}
	if err := CheckMetadata(c.Metadata); err != nil {
		bad("metadata: %w", err) // its value may hold a password
	}
	if host, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen %q: want host:port: %w", c.Listen, err)
	} else if c.Advertise == "" && unspecified(host) {
		bad("listen %q: clients cannot be told to connect to every address: add the one they reach as advertise", c.Listen)
	}
	if c.Advertise != "" && !reachable(c.Advertise) {
		bad("advertise %q: want the host:port that clients can reach", c.Advertise)
	}
	if c.HTTP != "" {
		if _, _, err := net.SplitHostPort(c.HTTP); err != nil {
			bad("http %q: want host:port, or nothing for no admin address: %w", c.HTTP, err)
		}
	}
	if host, _, err := net.SplitHostPort(c.Peer); err != nil {
		bad("peer %q: want host:port: %w", c.Peer, err)
	} else if c.PeerAdvertise == "" && unspecified(host) {
		bad("peer %q: other agents cannot be told to connect to every address: add the one they reach as peer-advertise", c.Peer)
	}
	if c.PeerAdvertise != "" && !reachable(c.PeerAdvertise) {
		bad("peer-advertise %q: want the host:port that other agents can reach", c.PeerAdvertise)
	}
	if c.ClusterSecret != "" && (!strings.HasPrefix(c.ClusterSecret, secretFilePrefix) || c.ClusterSecret == secretFilePrefix) {
		bad("cluster-secret: want file:/path of a file that all agents of the cluster have, not the secret itself")
	}
	if _, err := routing.ParseZoneMap(c.ClientZones); err != nil {
		bad("client-zones: %w", err)
	}
	if len(c.Roles) == 0 {
		bad("roles: want at least one of %s", strings.Join(DefaultConfig().Roles, ", "))
	}
	known := DefaultConfig().Roles
	for _, r := range c.Roles {
		if !slices.Contains(known, r) {
			bad("roles: %q is none of %s", r, strings.Join(known, ", "))
		}
	}
	for _, d := range []struct {
		name string
		v    time.Duration
		min  time.Duration
	}{
		{"flush-interval", c.FlushInterval, time.Millisecond},
		{"release-grace", c.ReleaseGrace, 0},
		{"retention-check-interval", c.Retention, 100 * time.Millisecond},
		{"drain-timeout", c.DrainTimeout, time.Second},
		{"group-initial-delay", c.GroupInitialDelay, 0},
		{"group-session-timeout", c.GroupSessionTimeout, c.GroupHeartbeatInterval + time.Millisecond},
		{"group-heartbeat-interval", c.GroupHeartbeatInterval, 50 * time.Millisecond},
		{"table-commit-interval", c.TableCommitInterval, 100 * time.Millisecond},
	} {
		if d.v < d.min {
			bad("%s %v: want at least %v", d.name, d.v, d.min)
		}
	}
	for _, b := range []struct {
		name string
		v    int64
		min  int64
	}{
		{"flush-bytes", c.FlushBytes, 64 << 10},
		{"inline-bytes", c.InlineBytes, 0},
		{"buffer-bytes", c.BufferBytes, 2 * c.FlushBytes},
		{"cache-bytes", c.CacheBytes, 0},
		{"max-request-bytes", c.MaxRequestBytes, 1 << 20},
	} {
		if b.v < b.min {
			bad("%s %d: want at least %d bytes", b.name, b.v, b.min)
		}
	}
	if c.MaxRequestBytes > maxRequestBytes {
		bad("max-request-bytes %d: want at most %d", c.MaxRequestBytes, maxRequestBytes)
	}
	if c.FlushBytes > maxRequestBytes {
		bad("flush-bytes %d: want at most %d", c.FlushBytes, maxRequestBytes)
	}
	if c.InlineBytes > metadata.MaxInlineBytes {
		bad("inline-bytes %d: want at most %d", c.InlineBytes, metadata.MaxInlineBytes)
	}
	if c.NumPartitions < 1 || c.NumPartitions > 10_000 {
		bad("num-partitions %d: want 1 to 10000", c.NumPartitions)
	}
	if c.GroupMaxSize < 1 || c.GroupMaxSize > maxGroupSize {
		bad("group-max-size %d: want 1 to %d", c.GroupMaxSize, maxGroupSize)
	}
	return errors.Join(errs...)
}
