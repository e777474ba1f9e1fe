package barge

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/peer"
)

// secretFilePrefix stands before the path in Config.ClusterSecret, so that nobody writes a secret where processes are listed.
const secretFilePrefix = "file:"

// maxSecretBytes bounds meta/secret and a secret's file.
const maxSecretBytes = 4096

// storedSecret is meta/secret: the secret itself, or what one that is kept elsewhere is recognized by. Source: docs/format/store.md.
type storedSecret struct {
	Format int    `json:"format"`
	Secret string `json:"secret,omitempty"` // hex
	Check  string `json:"check,omitempty"`  // hex
}

func parseSecret(body []byte) (storedSecret, error) {
	var s storedSecret
	if err := json.Unmarshal(body, &s); err != nil || s.Format < 1 {
		return s, fmt.Errorf("%s is not what an agent wrote (%d bytes): stop all agents, delete it, and start them: %w", metadata.SecretKey, len(body), metadata.ErrCorrupt)
	}
	if s.Format > 1 {
		return s, fmt.Errorf("%s has format %d, this binary knows up to 1: upgrade barge: %w", metadata.SecretKey, s.Format, metadata.ErrStoreFormat)
	}
	if secret, err := hex.DecodeString(s.Secret); err != nil || (s.Secret == "") == (s.Check == "") || s.Check == "" && len(secret) < peer.SecretBytes {
		return s, fmt.Errorf("%s holds neither a secret nor a check value: stop all agents, delete it, and start them: %w", metadata.SecretKey, metadata.ErrCorrupt)
	}
	return s, nil
}

// clusterSecret returns what the agents of a cluster prove to each other that they know. source is Config.ClusterSecret; without one
// the secret lies in the store, where the first agent puts it. The store also tells, before anything is touched, whether this agent's
// is the cluster's.
func clusterSecret(ctx context.Context, store objectstore.Store, source, cluster string) ([]byte, error) {
	own, err := ownSecret(source)
	if err != nil {
		return nil, err
	}
	mine := storedSecret{Format: 1}
	if source == "" {
		mine.Secret = hex.EncodeToString(own)
	} else if mine.Check, err = secretCheck(own, cluster); err != nil {
		return nil, err
	}
	body, err := store.Get(ctx, metadata.SecretKey, maxSecretBytes)
	if errors.Is(err, objectstore.ErrNotFound) {
		if body, err = json.Marshal(mine); err != nil { //nolint:gosec // G117: that is where it is kept, unless it comes from a file
			return nil, err
		}
		if _, err = store.Create(ctx, metadata.SecretKey, body); errors.Is(err, objectstore.ErrExists) {
			body, err = store.Get(ctx, metadata.SecretKey, maxSecretBytes) // another agent was first
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the secret of the cluster, %s: %w", metadata.SecretKey, err)
	}
	stored, err := parseSecret(body)
	if err != nil {
		return nil, err
	}
	switch {
	case source == "" && stored.Secret != "":
		return hex.DecodeString(stored.Secret)
	case source == "":
		return nil, fmt.Errorf("%w: the agents of this cluster share one that does not lie in the store: give this agent the same file with --cluster-secret file:/path", errWrongSecret)
	case stored.Secret != "":
		return nil, fmt.Errorf("%w: the agents of this cluster take theirs from the store: leave --cluster-secret out, or, to go over to the file, stop all agents and delete %s", errWrongSecret, metadata.SecretKey)
	case subtle.ConstantTimeCompare([]byte(stored.Check), []byte(mine.Check)) != 1:
		return nil, fmt.Errorf("%w: %s is not what the other agents of this cluster have: give all of them the same file; to change the secret, stop all agents and delete %s",
			errWrongSecret, strings.TrimPrefix(source, secretFilePrefix), metadata.SecretKey)
	default:
		return own, nil
	}
}

// errWrongSecret is an agent that the others of its cluster would not talk to.
var errWrongSecret = errors.New("not the secret of the cluster")

// ownSecret reads the file that source names, or makes a secret.
func ownSecret(source string) ([]byte, error) {
	if source == "" {
		secret := make([]byte, peer.SecretBytes)
		_, err := rand.Read(secret)
		return secret, err
	}
	path := strings.TrimPrefix(source, secretFilePrefix)
	f, err := os.Open(path) //nolint:gosec // the file that whoever runs the agent names
	if err != nil {
		return nil, fmt.Errorf("cluster-secret: %w", err)
	}
	defer func() { _ = f.Close() }() // was only read
	body, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return nil, fmt.Errorf("cluster-secret: %w", err)
	}
	secret := bytes.TrimSpace(body)
	if len(secret) < peer.SecretBytes || len(body) > maxSecretBytes {
		return nil, fmt.Errorf("cluster-secret: %s holds %d bytes, want %d to %d random ones: head -c 32 /dev/urandom | base64 > %s", path, len(secret), peer.SecretBytes, maxSecretBytes, path)
	}
	return secret, nil
}

// secretCheck is what a cluster's secret is recognized by, and cannot be found from.
func secretCheck(secret []byte, cluster string) (string, error) {
	check, err := hkdf.Key(sha256.New, secret, []byte(cluster), "barge secret check 1", 32)
	return hex.EncodeToString(check), err
}
