package barge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/file"
	"github.com/bargedata/barge/objectstore/s3"
)

// OpenStore opens the store a --store URL names, without decorators: file:///dir or s3://bucket/prefix?endpoint=...&region=...
// The keys of S3 come from env (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN). With create, a missing directory
// is made.
func OpenStore(ctx context.Context, rawURL string, create bool, env func(string) string, now func() time.Time) (objectstore.Store, error) {
	switch scheme, rest, _ := strings.Cut(rawURL, "://"); scheme {
	case "file":
		dir, err := filepath.Abs(rest)
		if err != nil || rest == "" {
			return nil, fmt.Errorf("store %s: want file:///directory", rawURL)
		}
		if create {
			if err := os.MkdirAll(dir, 0o750); err != nil {
				return nil, fmt.Errorf("store %s: make the directory: %w", rawURL, err)
			}
		}
		return file.Open(dir, now)
	case "s3":
		cfg, err := s3.ParseURL(rawURL)
		if err != nil {
			return nil, err
		}
		cfg.AccessKey, cfg.SecretKey, cfg.SessionToken = env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), env("AWS_SESSION_TOKEN")
		return s3.Open(ctx, cfg)
	default:
		return nil, fmt.Errorf("store %q: want file:///directory or s3://bucket/prefix?endpoint=http://host:port&region=name", redact(rawURL))
	}
}

func redact(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		scheme, _, _ := strings.Cut(rawURL, "://")
		return scheme + "://(not an URL)" // what it holds may be a password
	}
	return u.Redacted()
}

const probedKey = "meta/probed-bucketlog"

// storeFormat is the format of a store whose cluster begins with that --metadata.
func storeFormat(rawMetadata string) int {
	if isPostgres(rawMetadata) {
		return metadata.StoreFormat
	}
	return 1
}

// joinCluster returns the id of the cluster the store belongs to, making the store ours when it is empty. A store of another
// cluster, of a later format, or with foreign objects in it is refused.
func joinCluster(ctx context.Context, store objectstore.Store, name, wantID string, format int, now time.Time, ids *entropy) (string, error) {
	body, err := store.Get(ctx, metadata.ClusterKey, metadata.MaxClusterBytes)
	if errors.Is(err, objectstore.ErrNotFound) {
		body, err = createCluster(ctx, store, wantID, format, now, ids)
	}
	if err != nil {
		return "", fmt.Errorf("store %s: %w", name, err)
	}
	c, err := metadata.ParseCluster(body)
	if err != nil {
		return "", fmt.Errorf("store %s: %w", name, err)
	}
	if wantID != "" && c.ID != wantID {
		return "", fmt.Errorf("store %s belongs to the cluster %q, this agent is to run %q: name the right store, or leave --cluster-id out", name, c.ID, wantID)
	}
	return c.ID, nil
}

func createCluster(ctx context.Context, store objectstore.Store, id string, format int, now time.Time, ids *entropy) ([]byte, error) {
	there, err := store.List(ctx, "", "", 1)
	if err != nil {
		return nil, err
	}
	if len(there) > 0 {
		return nil, fmt.Errorf("it holds objects (%s) but no %s, so it is not a Barge store: choose an empty directory or prefix", there[0].Key, metadata.ClusterKey)
	}
	if id == "" {
		id = ids.id()
	}
	body, err := json.Marshal(metadata.Cluster{ID: id, Format: format, Created: now.UTC().Format(time.RFC3339)})
	if err != nil {
		return nil, err
	}
	_, err = store.Create(ctx, metadata.ClusterKey, body)
	if errors.Is(err, objectstore.ErrExists) {
		return store.Get(ctx, metadata.ClusterKey, metadata.MaxClusterBytes) // another agent was first, or our own first try arrived after all
	}
	return body, err
}

// probeOnce races writers on the store the first time a cluster uses it with this engine: a store whose create-if-absent
// lets two writers win would lose acknowledged records.
//
// The race runs on the bare store: retries would blur who won.
func probeOnce(ctx context.Context, store, bare objectstore.Store, random string) error {
	_, err := store.Get(ctx, probedKey, metadata.MaxClusterBytes)
	if err == nil {
		return nil
	}
	if !errors.Is(err, objectstore.ErrNotFound) {
		return fmt.Errorf("read %s: %w", probedKey, err)
	}
	if err := objectstore.Probe(ctx, []objectstore.Store{bare}, "meta/probe/", random); err != nil {
		return fmt.Errorf("the store cannot hold the metadata log: %w", err)
	}
	if _, err := store.Create(ctx, probedKey, []byte("passed\n")); err != nil && !errors.Is(err, objectstore.ErrExists) {
		return fmt.Errorf("create %s: %w", probedKey, err)
	}
	return nil
}
