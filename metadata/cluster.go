package metadata

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
)

// ClusterKey is where a store says which cluster it belongs to; its bytes are a Cluster, at most MaxClusterBytes.
const (
	ClusterKey      = "cluster.json"
	MaxClusterBytes = 64 << 10
)

// SecretKey is where a store keeps the secret of its agents, or what one that is kept elsewhere is recognized by.
const SecretKey = "meta/secret"

// StoreFormat is the highest version of the layout of a store as a whole that this binary reads. It writes 1, or 2 for a cluster whose log
// does not lie in the bucket: binaries that know 1 alone would begin another log there.
const StoreFormat = 2

// ErrStoreFormat says that the store has a later format than this binary knows.
var ErrStoreFormat = errors.New("unknown store format")

// Cluster is cluster.json: what a store says about the cluster it belongs to. Source: docs/format/store.md.
type Cluster struct {
	ID      string `json:"id"`
	Format  int    `json:"format"`
	Created string `json:"created"` // RFC 3339, for people
}

// ParseCluster reads cluster.json. Errors: ErrCorrupt; ErrStoreFormat, with both numbers.
func ParseCluster(body []byte) (Cluster, error) {
	var c Cluster
	if err := json.Unmarshal(body, &c); err != nil || c.ID == "" {
		return Cluster{}, fmt.Errorf("%s is not what an agent wrote (%d bytes); was it changed by hand?: %w", ClusterKey, len(body), ErrCorrupt)
	}
	if c.Format > StoreFormat {
		return Cluster{}, fmt.Errorf("store has format %d, this binary knows up to %d: upgrade barge: %w", c.Format, StoreFormat, ErrStoreFormat)
	}
	return c, nil
}

// Hash stands for the cluster's id in the header of a WAL object.
func (c Cluster) Hash() uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.ID)) // never fails
	return h.Sum64()
}
