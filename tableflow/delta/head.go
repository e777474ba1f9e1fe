package delta

import (
	"context"
	"errors"
	"fmt"
)

// Head is what appending to a table takes to know of its newest version. It knows no file, so that a writer can keep the heads of
// ten thousand tables in a few megabytes.
type Head struct {
	Version           int64  // -1: no commit yet
	InCommitTimestamp int64  // of the last commit, milliseconds; 0: unknown
	TableID           string // of the table's metadata
	App               string // the application that is followed
	Progress          int64  // how far it has come, -1: it has no txn
}

// EmptyHead is the head before version 0.
func EmptyHead(app string) Head { return Head{Version: -1, App: app, Progress: -1} }

// Head returns what appending to s takes to know.
func (s *Snapshot) Head(app string) Head {
	h := Head{Version: s.Version, InCommitTimestamp: s.InCommitTimestamp, TableID: s.Metadata.ID, App: app, Progress: -1}
	if v, ok := s.Txn(app); ok {
		h.Progress = v
	}
	return h
}

// LoadHead reads the same objects as Load and keeps no file of them. Errors: as Load's, and ErrUnsupported for a table that Commit would refuse.
func (l *Log) LoadHead(ctx context.Context, app string) (Head, error) {
	s := Empty()
	s.follow = &app
	s, err := l.load(ctx, s)
	if err != nil {
		return Head{}, err
	}
	if err := writable(s.Protocol, s.Metadata); err != nil {
		return Head{}, fmt.Errorf("load %s: %w", l.dir, err)
	}
	return s.Head(app), nil
}

// Append is Commit for a writer that only appends: it takes and returns the head, and one request when all goes well. Its actions are Add (with
// DataChange) and Txn alone, but for version 0, which also takes the table's protocol and metadata. Errors: as Commit's; after ErrVersionExists
// the head is stale, LoadHead.
func (l *Log) Append(ctx context.Context, h Head, c Commit) (Head, error) {
	if h.Version < 0 {
		s, err := l.Commit(ctx, Empty(), c)
		if err != nil {
			return Head{}, err
		}
		return s.Head(h.App), nil
	}
	version := h.Version + 1
	if !onlyAppends(c.Actions) {
		return Head{}, fmt.Errorf("append version %d of %s: %w", version, l.dir, errNotAppend)
	}
	actions, err := l.complete(version, h.InCommitTimestamp, c)
	if err != nil {
		return Head{}, fmt.Errorf("append version %d of %s: %w", version, l.dir, err)
	}
	found, err := l.create(ctx, version, c.TxnID, actions)
	if err != nil {
		return Head{}, err
	}
	if found != nil {
		actions = found
	}
	h.Version, h.InCommitTimestamp = version, 0
	for _, a := range actions {
		switch a := a.(type) { // no other action of an append is in a head
		case CommitInfo:
			h.InCommitTimestamp = a.InCommitTimestamp
		case Txn:
			if a.AppID == h.App {
				h.Progress = a.Version
			}
		}
	}
	return h, nil
}

var errNotAppend = errors.New("an append adds files and txns and nothing else")
