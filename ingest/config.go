package ingest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/bargedata/barge/routing"
)

// Config holds the settings of the front door. Start from DefaultConfig; zero values are not defaults.
type Config struct {
	Listener      net.Listener // used and closed by Run; nil: Run listens on Listen
	Listen        string       // host:port
	Advertise     string       // host:port clients are told; empty: the address of the listener
	NodeID        int32        // of this agent, as clients see it
	ClusterID     string
	Zone          string          // of this agent, told as its broker's rack; empty: none
	ClientZones   routing.ZoneMap // zones of clients that do not name one in their client.id
	BrokerVersion string          // of this build, for the log

	AutoCreateTopics bool  // let Metadata requests make topics, as Kafka's auto.create.topics.enable does
	NumPartitions    int32 // of topics created without a number

	MaxConnections      int // beyond, new ones are closed at once
	MaxConnectionsPerIP int
	ProduceBytes        int   // largest Produce frame; the others have fixed caps, 64 KiB to 8 MiB
	FetchBytes          int   // most a Fetch answer carries beyond its first batch
	ConnectionBytes     int64 // requests and replies one connection has in memory; beyond, it is not read from
	// MemoryBytes bounds Produce requests over all connections. Beside it other requests have an eighth of it, and those
	// that wait for something to happen another eighth.
	MemoryBytes int64
	// ReplyBytes bounds replies over all connections, by their own bytes. What a reply aliases may be a small part of a
	// cached object, which then stays in memory as a whole and is not counted. A Fetch takes at most a quarter of what is
	// free and waits up to a second where that is little; then small batches may pass the bound by a quarter, and one at
	// a time a large one goes out beside it.
	ReplyBytes        int64
	DecompressedBytes int64 // most one record batch may expand to

	IdleTimeout  time.Duration // a connection without a request for so long, and none in flight, is closed
	BodyTimeout  time.Duration // a frame arrives within this, plus a second for each MiB of it, or the connection is closed
	WriteTimeout time.Duration // a peer takes each MiB of a reply within this, and all of it within this and its time at 64 KiB/s
	DrainTimeout time.Duration // for what is in flight when Run is told to stop
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Listen:              "127.0.0.1:9092",
		NumPartitions:       4,
		MaxConnections:      20_000,
		MaxConnectionsPerIP: 1_000,
		// Kafka's socket.request.max.bytes: one batch of the largest max.message.bytes (64 MiB) and room for others.
		ProduceBytes: 100 << 20,
		// Kafka's fetch.max.bytes.
		FetchBytes:      55 << 20,
		ConnectionBytes: 64 << 20,
		MemoryBytes:     512 << 20,
		ReplyBytes:      512 << 20,
		// Twice the largest max.message.bytes.
		DecompressedBytes: 128 << 20,
		IdleTimeout:       10 * time.Minute,
		BodyTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		DrainTimeout:      30 * time.Second,
	}
}

// Validate reports every setting that can not work.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Listener == nil && c.Listen == "" {
		bad("neither a listener nor an address to listen on")
	}
	if c.Advertise != "" {
		if _, _, err := splitAdvertise(c.Advertise); err != nil {
			bad("advertise %q: %w", c.Advertise, err)
		}
	}
	if c.NodeID < 0 {
		bad("node id %d: want 0 or more", c.NodeID)
	}
	if c.ClusterID == "" {
		bad("no cluster id")
	}
	for _, v := range []struct {
		name string
		v    int64
		min  int64
	}{
		{"NumPartitions", int64(c.NumPartitions), 1},
		{"MaxConnections", int64(c.MaxConnections), 1},
		{"MaxConnectionsPerIP", int64(c.MaxConnectionsPerIP), 1},
		{"ProduceBytes", int64(c.ProduceBytes), 64 << 10},
		{"FetchBytes", int64(c.FetchBytes), 64 << 10},
		{"ConnectionBytes", c.ConnectionBytes, 1 << 20},
		{"MemoryBytes", c.MemoryBytes, int64(c.ProduceBytes)},
		{"ReplyBytes", c.ReplyBytes, int64(c.FetchBytes)},
		{"DecompressedBytes", c.DecompressedBytes, 1 << 20},
		{"IdleTimeout", int64(c.IdleTimeout), 1},
		{"BodyTimeout", int64(c.BodyTimeout), 1},
		{"WriteTimeout", int64(c.WriteTimeout), 1},
		{"DrainTimeout", int64(c.DrainTimeout), 0},
	} {
		if v.v < v.min {
			bad("%s %d: want at least %d", v.name, v.v, v.min)
		}
	}
	return errors.Join(errs...)
}

// splitAdvertise splits host:port into what Metadata carries.
func splitAdvertise(hostport string) (host string, port int32, err error) {
	host, p, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	ip, ipErr := netip.ParseAddr(host)
	if err != nil || host == "" || ipErr == nil && ip.IsUnspecified() {
		return "", 0, errors.New("want host:port that clients can reach")
	}
	return host, int32(n), nil
}
