package delta

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/bargedata/barge/objectstore"
)

const (
	hintName     = "_last_checkpoint"
	maxHintBytes = 1 << 20
	listLimit    = 1000
)

// hint is the content of _last_checkpoint, as far as it is used and written.
type hint struct {
	Version       int64 `json:"version"`
	Size          int64 `json:"size"` // actions in the checkpoint
	SizeInBytes   int64 `json:"sizeInBytes,omitempty"`
	NumOfAddFiles int64 `json:"numOfAddFiles,omitempty"`
}

// Load reads the newest snapshot: the newest whole checkpoint, then every commit after it. Memory: one commit (64 MiB at
// most) or checkpoint (256 MiB at most) at a time, and the snapshot. Errors: ErrNoTable, ErrUnsupported, ErrCorrupt, or
// the store's.
func (l *Log) Load(ctx context.Context) (*Snapshot, error) { return l.load(ctx, Empty()) }

// load reads into s, which is empty.
func (l *Log) load(ctx context.Context, s *Snapshot) (*Snapshot, error) {
	from := l.hint(ctx)
	files, err := l.list(ctx, from)
	if err != nil {
		return nil, err
	}
	if from > 0 && files.newestCheckpoint() == nil { // the hint is wrong
		if files, err = l.list(ctx, 0); err != nil {
			return nil, err
		}
	}
	if files.empty() {
		return nil, fmt.Errorf("load %s: %w", l.dir, ErrNoTable)
	}
	if c := files.newestCheckpoint(); c != nil {
		if err = l.loadCheckpoint(ctx, c, s); err != nil {
			return nil, fmt.Errorf("load %s: %w", l.dir, err)
		}
	}
	last := s.Version
	if n := len(files.commits); n > 0 {
		last = max(last, files.commits[n-1])
	}
	for v := s.Version + 1; v <= last; v++ {
		actions, err := l.readCommit(ctx, v)
		if errors.Is(err, objectstore.ErrNotFound) {
			return nil, files.missing(l.dir, v)
		}
		if err != nil {
			return nil, err
		}
		if err := s.apply(v, actions); err != nil {
			return nil, fmt.Errorf("load %s: %w", l.dir, err)
		}
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("load %s: %w", l.dir, err)
	}
	return s, nil
}

// Refresh reads the versions after s, one request each and one that finds nothing, and returns the newest snapshot; s
// stays as it is. Errors as Load's.
func (l *Log) Refresh(ctx context.Context, s *Snapshot) (*Snapshot, error) {
	next := s.clone()
	for {
		actions, err := l.readCommit(ctx, next.Version+1)
		if errors.Is(err, objectstore.ErrNotFound) {
			return next, nil
		}
		if err != nil {
			return nil, err
		}
		if err := next.apply(next.Version+1, actions); err != nil {
			return nil, fmt.Errorf("refresh %s: %w", l.dir, err)
		}
	}
}

func (l *Log) readCommit(ctx context.Context, version int64) ([]Action, error) {
	key := l.commitKey(version)
	body, err := l.store.Get(ctx, key, maxCommitBytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	actions, err := parseCommit(body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return actions, nil
}

// hint returns the version of _last_checkpoint, 0 when there is none to use. It may be stale, damaged or missing: all
// that is lost then is time.
func (l *Log) hint(ctx context.Context) int64 {
	body, err := l.store.Get(ctx, l.dir+hintName, maxHintBytes)
	if err != nil {
		return 0
	}
	var h hint
	if json.Unmarshal(body, &h) != nil || h.Version < 0 {
		return 0
	}
	return h.Version
}

// logFiles is what a listing shows from some version on.
type logFiles struct {
	commits     []int64 // ascending
	checkpoints []*checkpointFiles
	v2          bool // there are checkpoints named with a UUID
}

// checkpointFiles are the parts of one checkpoint; a classic one has one part.
type checkpointFiles struct {
	version int64
	parts   int
	keys    []string
}

func (f *logFiles) empty() bool { return len(f.commits) == 0 && len(f.checkpoints) == 0 && !f.v2 }

// newestCheckpoint returns the newest one of which every part is there.
func (f *logFiles) newestCheckpoint() *checkpointFiles {
	var best *checkpointFiles
	for _, c := range f.checkpoints {
		if len(c.keys) == c.parts && (best == nil || c.version >= best.version) {
			best = c
		}
	}
	return best
}

func (f *logFiles) missing(dir string, version int64) error {
	if f.v2 {
		return fmt.Errorf("load %s: only v2Checkpoint checkpoints cover version %d: %w", dir, version, ErrUnsupported)
	}
	return fmt.Errorf("load %s: version %d is missing: %w", dir, version, ErrCorrupt)
}

// list finds commits and checkpoints of version from and later. Other files (checksums, compacted logs, leftovers) are
// not needed.
func (l *Log) list(ctx context.Context, from int64) (*logFiles, error) {
	files := &logFiles{}
	multi := make(map[string]*checkpointFiles)
	after := fmt.Sprintf("%s%020d", l.dir, from)
	for {
		objects, err := l.store.List(ctx, l.dir, after, listLimit)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", l.dir, err)
		}
		for _, o := range objects {
			files.note(o.Key, strings.TrimPrefix(o.Key, l.dir), multi)
			after = o.Key
		}
		// Versions are digits, and everything else in the directory sorts behind them.
		if len(objects) < listLimit || after >= l.dir+"A" {
			return files, nil
		}
	}
}

func (f *logFiles) note(key, name string, multi map[string]*checkpointFiles) {
	if len(name) < 21 || name[20] != '.' {
		return
	}
	version, err := strconv.ParseInt(name[:20], 10, 64)
	if err != nil || version < 0 {
		return
	}
	switch parts := strings.Split(name[21:], "."); {
	case len(parts) == 1 && parts[0] == "json":
		f.commits = append(f.commits, version)
	case parts[0] != "checkpoint":
	case len(parts) == 2 && parts[1] == "parquet":
		f.checkpoints = append(f.checkpoints, &checkpointFiles{version: version, parts: 1, keys: []string{key}})
	case len(parts) == 4 && parts[3] == "parquet":
		n, err := strconv.Atoi(parts[2])
		if err != nil || n < 1 {
			return
		}
		id := name[:20] + "." + parts[2]
		if multi[id] == nil {
			multi[id] = &checkpointFiles{version: version, parts: n}
			f.checkpoints = append(f.checkpoints, multi[id])
		}
		multi[id].keys = append(multi[id].keys, key)
	case len(parts) == 3:
		f.v2 = true
	}
}

func (l *Log) loadCheckpoint(ctx context.Context, c *checkpointFiles, s *Snapshot) error {
	for _, key := range c.keys {
		body, err := l.store.Get(ctx, key, maxCheckpointBytes)
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if err := readCheckpoint(body, s.fold); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
	}
	s.Version, s.InCommitTimestamp = c.version, 0
	if err := s.check(); err != nil {
		return err
	}
	// A checkpoint holds no commitInfo: the time stands in the commit of the same version, if that is still there.
	body, err := l.store.Get(ctx, l.commitKey(c.version), maxCommitBytes)
	if errors.Is(err, objectstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", l.commitKey(c.version), err)
	}
	first, _, _ := bytes.Cut(body, []byte("\n"))
	if a, err := ParseAction(first); err == nil {
		if info, ok := a.(CommitInfo); ok {
			s.InCommitTimestamp = info.InCommitTimestamp
		}
	}
	return nil
}
