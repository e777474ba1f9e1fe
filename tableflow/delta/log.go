package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/objectstore"
)

// Errors a caller acts on; compare with errors.Is.
var (
	// ErrNoTable: the directory holds no Delta log.
	ErrNoTable = errors.New("no delta table")
	// ErrVersionExists: another writer made the version. Load or Refresh.
	ErrVersionExists = errors.New("delta version exists")
	// ErrUnsupported: the table needs a feature that this package lacks; the error names it.
	ErrUnsupported = errors.New("unsupported delta feature")
	// ErrCorrupt: the log's bytes do not follow the protocol, or versions are missing.
	ErrCorrupt = errors.New("corrupt delta log")
)

const (
	// CheckpointEvery is how many commits lie between the checkpoints that callers write.
	CheckpointEvery = 50

	maxCommitBytes     = 64 << 20
	maxCheckpointBytes = 256 << 20
	createTries        = 3 // of a create whose outcome stays unknown and of which nothing is seen
	engineInfo         = "Barge"
)

// Store is what the log needs of an object store.
type Store interface {
	Create(ctx context.Context, key string, body []byte) (time.Time, error)
	Put(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string, maxBytes int64) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error)
}

// Log is the Delta log of one table directory. It keeps no state between calls and is safe for concurrent use.
type Log struct {
	store Store
	dir   string
	now   func() time.Time
}

// NewLog makes a handle on the table at dir ("tables/orders", no trailing slash); nothing is read. now stamps commits.
func NewLog(store Store, dir string, now func() time.Time) *Log {
	return &Log{store: store, dir: dir + "/_delta_log/", now: now}
}

// Commit is what one version adds.
type Commit struct {
	TxnID     string // not empty; random or derived, never used for other actions: a repeat is recognized by it
	Operation string // for people: "CREATE TABLE", "WRITE", "OPTIMIZE", ...
	Actions   []Action
}

// Commit makes version base.Version+1 of the actions and returns the snapshot after it; base stays as it is. The first
// line is commitInfo with the TxnID and inCommitTimestamp = max(now, base's + 1). An ambiguous answer of the store is
// resolved by reading the version back; a version found with the same TxnID is taken as this commit. Errors:
// ErrVersionExists - Load or Refresh, then decide anew; ErrUnsupported - the table asks more of writers than this
// package does; objectstore.ErrUnknown - repeat the same call; or another error of the store.
func (l *Log) Commit(ctx context.Context, base *Snapshot, c Commit) (*Snapshot, error) {
	version := base.Version + 1
	actions, err := l.complete(version, base.InCommitTimestamp, c)
	if err != nil {
		return nil, fmt.Errorf("commit version %d of %s: %w", version, l.dir, err)
	}
	next := base.clone()
	if err := errors.Join(next.apply(version, actions), writable(next.Protocol, next.Metadata)); err != nil {
		return nil, fmt.Errorf("commit version %d of %s: %w", version, l.dir, err)
	}
	found, err := l.create(ctx, version, c.TxnID, actions)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return next, nil
	}
	next = base.clone()
	if err := next.apply(version, found); err != nil {
		return nil, fmt.Errorf("read %s: %w", l.commitKey(version), err)
	}
	return next, nil
}

// complete puts the commitInfo of a version before its actions.
func (l *Log) complete(version, lastTimestamp int64, c Commit) ([]Action, error) {
	if c.TxnID == "" {
		return nil, errors.New("no TxnID")
	}
	if err := checkActions(c.Actions); err != nil {
		return nil, err
	}
	blind := version > 0 && onlyAppends(c.Actions)
	now := l.now().UnixMilli()
	info := CommitInfo{
		Timestamp: now, InCommitTimestamp: max(now, lastTimestamp+1), Operation: c.Operation,
		Parameters: map[string]any{}, IsBlindAppend: &blind, EngineInfo: engineInfo, TxnID: c.TxnID,
	}
	return append([]Action{info}, c.Actions...), nil
}

// onlyAppends reports whether the actions bring new files, and how far applications have come, and nothing else.
func onlyAppends(actions []Action) bool {
	for _, a := range actions {
		switch a := a.(type) {
		case Add:
			if !a.DataChange {
				return false
			}
		case Txn:
		default:
			return false
		}
	}
	return true
}

// create writes a version. found are the actions of one that is there already with the same TxnID; nil when it was written now.
func (l *Log) create(ctx context.Context, version int64, txnID string, actions []Action) (found []Action, err error) {
	key := l.commitKey(version)
	body, err := encodeCommit(actions)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", key, err)
	}
	for try := 1; ; try++ {
		_, err := l.store.Create(ctx, key, body)
		if err == nil {
			return nil, nil
		}
		exists := errors.Is(err, objectstore.ErrExists)
		if !exists && !errors.Is(err, objectstore.ErrUnknown) {
			return nil, fmt.Errorf("create %s (%d bytes): %w", key, len(body), err)
		}
		there, readErr := l.store.Get(ctx, key, maxCommitBytes)
		switch {
		case readErr == nil:
			return ownCommit(key, txnID, there)
		case !errors.Is(readErr, objectstore.ErrNotFound):
			return nil, fmt.Errorf("create %s: %w; read it back: %w", key, err, errors.Join(readErr, objectstore.ErrUnknown))
		case exists || try == createTries || ctx.Err() != nil:
			return nil, fmt.Errorf("create %s (%d bytes): %w", key, len(body), err)
		}
	}
}

func encodeCommit(actions []Action) ([]byte, error) {
	var body bytes.Buffer
	for _, a := range actions {
		text, err := EncodeAction(a)
		if err != nil {
			return nil, err
		}
		body.Write(text)
		body.WriteByte('\n')
	}
	if body.Len() > maxCommitBytes {
		return nil, fmt.Errorf("%d bytes of actions, at most %d", body.Len(), maxCommitBytes)
	}
	return body.Bytes(), nil
}

// checkActions holds the protocol's rules on what one commit may bring twice.
func checkActions(actions []Action) error {
	seen := make(map[string]bool)
	once := func(kind, name string) error {
		key := kind + "\x00" + name
		if seen[key] {
			return fmt.Errorf("%s %s twice in one commit", kind, name)
		}
		seen[key] = true
		return nil
	}
	for _, a := range actions {
		var err error
		switch a := a.(type) {
		case CommitInfo:
			err = errors.New("commitInfo is written by Commit")
		case Protocol:
			err = once("protocol", "")
		case Metadata:
			err = once("metaData", "")
		case Add:
			err = once("file", fileKey(a.Path))
		case Remove:
			err = once("file", fileKey(a.Path))
		case Txn:
			err = once("txn", a.AppID)
		case DomainMetadata:
			err = once("domainMetadata", a.Domain)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ownCommit reads the version that was found, if it carries our id.
func ownCommit(key, txnID string, body []byte) ([]Action, error) {
	actions, err := parseCommit(body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	for _, a := range actions {
		if info, ok := a.(CommitInfo); ok && info.TxnID == txnID {
			return actions, nil
		}
	}
	return nil, fmt.Errorf("create %s: %w", key, ErrVersionExists)
}

func (l *Log) commitKey(version int64) string { return fmt.Sprintf("%s%020d.json", l.dir, version) }

func (l *Log) checkpointKey(version int64) string {
	return fmt.Sprintf("%s%020d.checkpoint.parquet", l.dir, version)
}
