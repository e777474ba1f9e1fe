package delta

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// inspected is a table of five versions with checkpoints of the second and the fourth.
func inspected(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, TableConfig{})
	for range 5 {
		f.write(t, 3)
		if f.snap.Version == 2 || f.snap.Version == 4 {
			if err := f.log.Checkpoint(t.Context(), f.snap); err != nil {
				t.Fatal(err)
			}
		}
	}
	return f
}

func (f *fixture) drop(t *testing.T, key string) {
	t.Helper()
	if err := f.store.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) cut(t *testing.T, key string) {
	t.Helper()
	body, err := f.store.Get(t.Context(), key, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.store.Put(t.Context(), key, body[:len(body)/2]); err != nil {
		t.Fatal(err)
	}
}

func TestInspectFindsWhatIsWrong(t *testing.T) {
	type fault struct {
		version int64
		kind    FaultKind
	}
	for name, c := range map[string]struct {
		damage func(f *fixture)
		faults []fault // with all
		newest []fault // from the newest checkpoint on
		holes  []int64
	}{
		"nothing":                 {damage: func(*fixture) {}},
		"newest version":          {damage: func(f *fixture) { f.drop(t, f.log.commitKey(5)) }}, // nobody can tell that it was there
		"damaged newest":          {func(f *fixture) { f.cut(t, f.log.commitKey(5)) }, []fault{{5, FaultCommit}}, []fault{{5, FaultCommit}}, []int64{5}},
		"version before":          {func(f *fixture) { f.drop(t, f.log.commitKey(3)) }, []fault{{3, FaultCommitMissing}}, []fault{{3, FaultCommitMissing}}, nil},
		"damaged before":          {func(f *fixture) { f.cut(t, f.log.commitKey(3)) }, []fault{{3, FaultCommit}}, nil, nil},
		"version of a checkpoint": {func(f *fixture) { f.drop(t, f.log.commitKey(2)) }, []fault{{2, FaultCommitMissing}}, []fault{{2, FaultCommitMissing}}, nil},
		"old checkpoint":          {func(f *fixture) { f.cut(t, f.log.checkpointKey(2)) }, []fault{{2, FaultCheckpoint}}, nil, nil},
		"newest checkpoint":       {func(f *fixture) { f.cut(t, f.log.checkpointKey(4)) }, []fault{{4, FaultCheckpoint}}, []fault{{4, FaultCheckpoint}}, nil},
		"hint":                    {func(f *fixture) { f.drop(t, f.log.dir+hintName) }, []fault{{4, FaultHint}}, []fault{{4, FaultHint}}, nil},
		"damaged hint":            {func(f *fixture) { f.cut(t, f.log.dir+hintName) }, []fault{{4, FaultHint}}, []fault{{4, FaultHint}}, nil},
		"no checkpoint, a hole":   {func(f *fixture) { f.uncheck(t); f.drop(t, f.log.commitKey(3)) }, []fault{{3, FaultCommitMissing}}, []fault{{3, FaultCommitMissing}}, []int64{3}},
		"no checkpoint, no start": {func(f *fixture) { f.uncheck(t); f.drop(t, f.log.commitKey(0)) }, []fault{{0, FaultCommitMissing}}, []fault{{0, FaultCommitMissing}}, []int64{0}},
		"cleaned up": {damage: func(f *fixture) {
			f.drop(t, f.log.commitKey(0))
			f.drop(t, f.log.commitKey(1))
			f.drop(t, f.log.commitKey(2))
		}},
		// What a checkpoint lacks of its own version shows also where the commits before it are not read.
		"checkpoint of another":    {func(f *fixture) { f.otherCheckpoint(t, 4, 1) }, []fault{{4, FaultCheckpointDiffers}}, nil, nil},
		"checkpoint of one before": {func(f *fixture) { f.otherCheckpoint(t, 4, 4) }, []fault{{4, FaultCheckpointDiffers}}, []fault{{4, FaultCheckpointDiffers}}, nil},
		"checkpoint without parts": {func(f *fixture) { f.half(t) }, []fault{{3, FaultCheckpoint}}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := inspected(t)
			c.damage(f)
			for _, all := range []bool{true, false} {
				in, err := f.log.Inspect(t.Context(), all)
				if err != nil {
					t.Fatal(err)
				}
				var got []fault
				for _, x := range in.Faults {
					got = append(got, fault{x.Version, x.Kind})
					if x.Key == "" || x.Err == nil {
						t.Errorf("%+v names no key or no reason", x)
					}
				}
				want := c.faults
				if !all {
					want = c.newest
				}
				if !slices.Equal(got, want) || !slices.Equal(in.Holes, c.holes) {
					t.Errorf("all %v: faults %v, holes %v; want %v, %v", all, got, in.Holes, want, c.holes)
				}
				if len(c.holes) > 0 {
					if in.Prefix == nil || in.Prefix.Version != c.holes[0]-1 {
						t.Errorf("all %v: prefix %+v", all, in.Prefix)
					}
					continue
				}
				if strings.HasPrefix(name, "checkpoint of ") || name == "newest checkpoint" {
					continue // what a reader gets then is the caller's to judge
				}
				loaded, err := f.log.Load(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				equalSnapshots(t, loaded, in.Snapshot)
			}
		})
	}
}

// uncheck takes the checkpoints and their hint away.
func (f *fixture) uncheck(t *testing.T) {
	t.Helper()
	f.drop(t, f.log.checkpointKey(2))
	f.drop(t, f.log.checkpointKey(4))
	f.drop(t, f.log.dir+hintName)
}

// otherCheckpoint lets the checkpoint of a version lack the files that the version lacking brought.
func (f *fixture) otherCheckpoint(t *testing.T, version, lacking int64) {
	t.Helper()
	s := Empty()
	for v := range version + 1 {
		actions, err := f.log.readCommit(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.apply(v, actions); err != nil {
			t.Fatal(err)
		}
	}
	actions, err := f.log.readCommit(t.Context(), lacking)
	if err != nil {
		t.Fatal(err)
	}
	files := len(s.adds)
	for _, a := range actions {
		if add, ok := a.(Add); ok {
			maps.DeleteFunc(s.adds, func(_ string, have Add) bool { return have.Path == add.Path })
		}
	}
	if len(s.adds) == files {
		t.Fatalf("version %d brought no file", lacking)
	}
	f.drop(t, f.log.checkpointKey(version))
	if err := f.log.Checkpoint(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// half leaves one part of a checkpoint of two.
func (f *fixture) half(t *testing.T) {
	t.Helper()
	body, err := f.store.Get(t.Context(), f.log.checkpointKey(2), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("%s%020d.checkpoint.%010d.%010d.parquet", f.log.dir, 3, 1, 2)
	if err := f.store.Put(t.Context(), key, body); err != nil {
		t.Fatal(err)
	}
}

// A commit with a number far away is not walked to.
func TestInspectBoundsWhatAStrayCommitCosts(t *testing.T) {
	f := inspected(t)
	if err := f.store.Put(t.Context(), f.log.commitKey(1<<62), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	in, err := f.log.Inspect(t.Context(), true)
	if err != nil || len(in.Faults) != maxFaults || in.Last != 1<<62 {
		t.Errorf("%v, %d faults, last %d", err, len(in.Faults), in.Last)
	}
}

func TestInspectWithoutTable(t *testing.T) {
	f := inspected(t)
	if _, err := NewLog(f.store, "tables/none", stepClock()).Inspect(t.Context(), true); !errors.Is(err, ErrNoTable) {
		t.Errorf("%v, want ErrNoTable", err)
	}
}
