package delta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bargedata/barge/objectstore"
)

// Inspection is what a look at the whole log of a table found.
type Inspection struct {
	First, Last int64 // versions the log spans; -1 when it holds nothing
	Commits     int   // whole ones that were read
	Checkpoints int   // whole ones that were read
	// Snapshot is the table as far as the log still tells: what a checkpoint says, and every whole commit after it, whether or not
	// the commits between are there. nil when nothing can be read. Without Holes it is what Load returns.
	Snapshot *Snapshot
	Holes    []int64   // versions above the newest usable checkpoint that are missing or damaged: readers fail
	Prefix   *Snapshot // with Holes: the table before the first of them
	Faults   []Fault   // by version; commits before checkpoints of a version; of missing ones at most 10,000
}

// Fault is one thing wrong with a log.
type Fault struct {
	Key     string
	Version int64
	Kind    FaultKind
	Err     error // wraps ErrCorrupt but for FaultHint of a hint that is missing
}

// FaultKind says what is wrong.
type FaultKind int

// The faults of a table's log.
const (
	FaultCommitMissing FaultKind = iota
	FaultCommit                  // damaged
	FaultCheckpoint              // damaged, or parts of it are missing
	FaultCheckpointDiffers
	FaultHint // _last_checkpoint is missing, damaged, or names no checkpoint
)

// Inspect reads the log of a table: versions must be dense, commits and checkpoints whole, and each checkpoint equal to the commits
// up to it. With all, every commit and checkpoint there is; otherwise what a reader needs, from the newest whole checkpoint on.
// Beside a writer it may meet a checkpoint whose hint is not written yet. Memory: two snapshots and one commit or checkpoint.
// Errors: ErrNoTable, ErrUnsupported, or the store's; damage is no error but a Fault.
func (l *Log) Inspect(ctx context.Context, all bool) (*Inspection, error) {
	files, err := l.list(ctx, 0)
	if err != nil {
		return nil, err
	}
	if files.empty() {
		return nil, fmt.Errorf("inspect %s: %w", l.dir, ErrNoTable)
	}
	in := &inspector{log: l, out: &Inspection{First: -1, Last: -1}, state: Empty(), commits: files.commits}
	slices.SortFunc(files.checkpoints, func(a, b *checkpointFiles) int { return int(min(max(a.version-b.version, -1), 1)) })
	for _, c := range files.checkpoints {
		in.span(c.version)
	}
	for _, v := range files.commits {
		in.span(v)
	}
	if !all {
		files.checkpoints = in.jump(ctx, files.checkpoints)
	}
	if err := in.walk(ctx, files.checkpoints); err != nil {
		return nil, err
	}
	if err := in.hint(ctx, files.checkpoints); err != nil {
		return nil, err
	}
	return in.out, in.finish()
}

// maxFaults bounds the faults that are named, for a stray commit may have any number.
const maxFaults = 10_000

type inspector struct {
	log     *Log
	out     *Inspection
	state   *Snapshot
	based   bool // state is the table, and not only what could be gathered
	commits []int64
}

func (in *inspector) span(version int64) {
	if in.out.First < 0 || version < in.out.First {
		in.out.First = version
	}
	in.out.Last = max(in.out.Last, version)
}

// missing notes a version that is not there though a later one is.
func (in *inspector) missing(v int64) {
	if len(in.out.Faults) < maxFaults {
		in.fault(Fault{Key: in.log.commitKey(v), Version: v, Kind: FaultCommitMissing, Err: fmt.Errorf("version %d is missing: %w", v, ErrCorrupt)})
	}
}

func (in *inspector) fault(f Fault) { in.out.Faults = append(in.out.Faults, f) }

// jump starts at the newest checkpoint that can be read, and returns those from there on.
func (in *inspector) jump(ctx context.Context, checkpoints []*checkpointFiles) []*checkpointFiles {
	for i := len(checkpoints) - 1; i >= 0; i-- {
		if s, err := in.log.loadWhole(ctx, checkpoints[i]); err == nil {
			in.state = s
			in.state.Version--
			in.based = true
			n, _ := slices.BinarySearch(in.commits, checkpoints[i].version)
			for j := 1; j <= n && j < len(in.commits); j++ {
				for v := in.commits[j-1] + 1; v < in.commits[j]; v++ {
					in.missing(v)
				}
			}
			in.commits = in.commits[n:]
			return checkpoints[i:]
		}
	}
	return checkpoints
}

// loadWhole reads a checkpoint of which every part must be there.
func (l *Log) loadWhole(ctx context.Context, c *checkpointFiles) (*Snapshot, error) {
	if len(c.keys) != c.parts {
		return nil, fmt.Errorf("checkpoint of version %d has %d of %d parts: %w", c.version, len(c.keys), c.parts, ErrCorrupt)
	}
	s := Empty()
	return s, l.loadCheckpoint(ctx, c, s)
}

func (in *inspector) walk(ctx context.Context, checkpoints []*checkpointFiles) error {
	start := in.state.Version + 1
	switch {
	case start > 0: // jumped: the commit of the checkpoint's own version is not needed
	case len(in.commits) > 0 && in.commits[0] == 0:
		in.based = true
	case len(checkpoints) > 0: // old commits have been cleaned up
		start = checkpoints[0].version
		in.state.Version = start - 1
	}
	for v := start; v <= in.out.Last; v++ {
		if len(checkpoints) > 0 && checkpoints[0].version == v {
			n := 1
			for n < len(checkpoints) && checkpoints[n].version == v {
				n++
			}
			if err := in.both(ctx, v, checkpoints[:n]); err != nil {
				return err
			}
			checkpoints = checkpoints[n:]
			continue
		}
		if _, listed := slices.BinarySearch(in.commits, v); !listed && len(in.out.Holes) >= maxFaults {
			v = in.upcoming(v, checkpoints) - 1 // a stray commit far away must not be walked to
			continue
		}
		if err := in.commit(ctx, v, false); err != nil {
			return err
		}
	}
	return nil
}

// upcoming is the next version after v of which the listing showed something.
func (in *inspector) upcoming(v int64, checkpoints []*checkpointFiles) int64 {
	next := in.out.Last
	if i, _ := slices.BinarySearch(in.commits, v); i < len(in.commits) {
		next = in.commits[i]
	}
	if len(checkpoints) > 0 {
		next = min(next, checkpoints[0].version)
	}
	return next
}

// both takes the commit and the checkpoints of one version.
func (in *inspector) both(ctx context.Context, v int64, checkpoints []*checkpointFiles) error {
	holes := len(in.out.Holes)
	known := in.based && holes == 0 && slices.Contains(in.commits, v) && v > 0 && in.state.Protocol.MinReaderVersion > 0
	optional := !slices.Contains(in.commits, v) && (len(in.commits) == 0 || in.commits[0] > v)
	if err := in.commit(ctx, v, optional); err != nil {
		return err
	}
	known = known && len(in.out.Holes) == 0
	for _, c := range checkpoints {
		s, err := in.log.loadWhole(ctx, c)
		switch {
		case errors.Is(err, ErrCorrupt), errors.Is(err, objectstore.ErrTooLarge), errors.Is(err, objectstore.ErrNotFound):
			in.fault(Fault{Key: in.log.checkpointKey(v), Version: v, Kind: FaultCheckpoint, Err: err})
			continue
		case err != nil:
			return err
		}
		in.out.Checkpoints++
		if known {
			if err := sameTable(in.state, s); err != nil {
				in.fault(Fault{Key: in.log.checkpointKey(v), Version: v, Kind: FaultCheckpointDiffers, Err: err})
				continue
			}
		}
		// Readers start here, so what is wrong below does not concern them.
		in.state, in.based, in.out.Holes, in.out.Prefix = s, true, nil, nil
	}
	return nil
}

// commit takes the commit of version v; optional when a checkpoint may stand for it.
func (in *inspector) commit(ctx context.Context, v int64, optional bool) error {
	err := fmt.Errorf("read %s: %w", in.log.commitKey(v), objectstore.ErrNotFound)
	var actions []Action
	if _, listed := slices.BinarySearch(in.commits, v); listed {
		actions, err = in.log.readCommit(ctx, v)
	}
	missing := errors.Is(err, objectstore.ErrNotFound)
	switch {
	case missing && optional:
		in.state.Version = v
		return nil
	case missing:
		in.missing(v)
	case errors.Is(err, ErrCorrupt), errors.Is(err, objectstore.ErrTooLarge):
		in.fault(Fault{Key: in.log.commitKey(v), Version: v, Kind: FaultCommit, Err: err})
	case err != nil:
		return err
	}
	if err != nil {
		if len(in.out.Holes) == 0 {
			in.out.Prefix = in.state.clone()
		}
		in.out.Holes = append(in.out.Holes, v)
		in.state.Version = v
		return nil
	}
	in.out.Commits++
	in.state.Version, in.state.InCommitTimestamp = v, 0
	for _, a := range actions {
		in.state.fold(a)
	}
	return nil
}

// hint checks _last_checkpoint. One that names an older checkpoint than there is costs readers time and is no fault: a newer one may
// just have been written.
func (in *inspector) hint(ctx context.Context, checkpoints []*checkpointFiles) error {
	if len(checkpoints) == 0 {
		return nil // and a hint that is there is ignored by Load
	}
	key := in.log.dir + hintName
	fault := Fault{Key: key, Version: checkpoints[len(checkpoints)-1].version, Kind: FaultHint}
	body, err := in.log.store.Get(ctx, key, maxHintBytes)
	var h hint
	switch {
	case errors.Is(err, objectstore.ErrNotFound):
		fault.Err = fmt.Errorf("no %s, though there are checkpoints: readers list the whole log", hintName)
	case errors.Is(err, objectstore.ErrTooLarge):
		fault.Err = fmt.Errorf("read %s: %w: %w", key, ErrCorrupt, err)
	case err != nil:
		return fmt.Errorf("read %s: %w", key, err)
	case json.Unmarshal(body, &h) != nil || h.Version < 0:
		fault.Err = fmt.Errorf("%s is no hint (%d bytes): %w", key, len(body), ErrCorrupt)
	case h.Version > in.out.Last:
		fault.Err = fmt.Errorf("%s names version %d, the log ends at %d: %w", key, h.Version, in.out.Last, ErrCorrupt)
	default:
		return nil
	}
	in.fault(fault)
	return nil
}

func (in *inspector) finish() error {
	if len(in.out.Holes) > 0 && in.state.Protocol.MinReaderVersion == 0 {
		in.out.Snapshot = in.state // gathered without the version that made the table
		return nil
	}
	err := in.state.check()
	if errors.Is(err, ErrCorrupt) {
		in.fault(Fault{Key: in.log.dir, Version: in.state.Version, Kind: FaultCommit, Err: err})
		return nil
	}
	in.out.Snapshot = in.state
	return err
}

// sameTable tells how b differs from a in what a reader sees. Removes are left out: checkpoints forget old ones.
func sameTable(a, b *Snapshot) error {
	switch {
	case a.Metadata.ID != b.Metadata.ID || a.Metadata.SchemaString != b.Metadata.SchemaString:
		return fmt.Errorf("metadata is not that of the commits: %w", ErrCorrupt)
	case a.Protocol.MinReaderVersion != b.Protocol.MinReaderVersion || a.Protocol.MinWriterVersion != b.Protocol.MinWriterVersion:
		return fmt.Errorf("protocol is not that of the commits: %w", ErrCorrupt)
	}
	for _, key := range slices.Sorted(maps.Keys(a.adds)) {
		if x, ok := b.adds[key]; !ok || x.Size != a.adds[key].Size {
			return fmt.Errorf("file %s is not as in the commits: %w", key, ErrCorrupt)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.adds)) {
		if _, ok := a.adds[key]; !ok {
			return fmt.Errorf("file %s is not in the commits: %w", key, ErrCorrupt)
		}
	}
	for _, app := range slices.Sorted(maps.Keys(a.txns)) {
		if x, ok := b.txns[app]; !ok || x.Version != a.txns[app].Version {
			return fmt.Errorf("progress of %s is not as in the commits: %w", app, ErrCorrupt)
		}
	}
	return nil
}
