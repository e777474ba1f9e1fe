package peer

import (
	"errors"
	"fmt"
	"time"
)

// SecretBytes is the least a cluster's secret has.
const SecretBytes = 32

// MaxObjectBytes is the most that one ReadObject or SeedObject carries. What is larger is read from the store.
const MaxObjectBytes = 32 << 20

const (
	maxMessageBytes = 20 << 20  // a command of 16 MiB, or as many entries as fit
	chunkBytes      = 512 << 10 // of an object in one message

	maxConnections = 1024     // to one agent
	maxStreams     = 256      // of one connection
	maxReadBytes   = 64 << 20 // of objects on their way to others; more wait
	minReadBytes   = 64 << 10 // which a read counts at least
	maxSeedBytes   = 32 << 20 // of objects on their way here; more are refused

	followMargin   = 2 * time.Second // beyond the time a Follow may wait
	confirmTimeout = 10 * time.Second
	objectTimeout  = 30 * time.Second
	callTimeout    = 2 * objectTimeout // of anything that is no stream of commands
	dialTimeout    = 2 * time.Second

	pingAfter   = 2 * time.Second // without a frame
	pingTimeout = 3 * time.Second
	idleTimeout = 5 * time.Minute
)

// Config is what an agent shows to others and expects of them.
type Config struct {
	Cluster string // the id of the cluster
	Secret  []byte // at least SecretBytes; only read
}

// Validate reports what cannot work.
func (c Config) Validate() error {
	if c.Cluster == "" {
		return errors.New("peer: the id of the cluster is needed")
	}
	if len(c.Secret) < SecretBytes {
		return fmt.Errorf("peer: a secret of %d bytes: want at least %d, and random ones", len(c.Secret), SecretBytes)
	}
	return nil
}
