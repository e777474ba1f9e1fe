package delta

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Snapshot is the table at one version. Treat it as read-only: Commit and Refresh return new ones.
type Snapshot struct {
	Version           int64 // -1: no commit yet
	Protocol          Protocol
	Metadata          Metadata
	InCommitTimestamp int64 // of the last commit, milliseconds; 0: unknown

	adds    map[string]Add // live files, by fileKey
	removes map[string]Remove
	txns    map[string]Txn // by application id
	domains map[string]DomainMetadata

	follow *string // not nil: files and domains are not kept, and of the txns only this application's. Never leaves the package
}

// Empty is the snapshot before version 0.
func Empty() *Snapshot {
	return &Snapshot{
		Version: -1, adds: make(map[string]Add), removes: make(map[string]Remove), txns: make(map[string]Txn),
		domains: make(map[string]DomainMetadata),
	}
}

// Adds returns the live files by path.
func (s *Snapshot) Adds() []Add {
	return slices.SortedFunc(maps.Values(s.adds), func(a, b Add) int { return cmp.Compare(a.Path, b.Path) })
}

// Files returns the number of live files.
func (s *Snapshot) Files() int { return len(s.adds) }

// Has reports whether the file at path (relative, not encoded, as NewAdd takes it) is live.
func (s *Snapshot) Has(path string) bool {
	_, ok := s.adds[fileKey(encodePath(path))]
	return ok
}

// Removes returns the files taken out that have not been forgotten, by path.
func (s *Snapshot) Removes() []Remove {
	return slices.SortedFunc(maps.Values(s.removes), func(a, b Remove) int { return cmp.Compare(a.Path, b.Path) })
}

// Txn returns how far the application has come.
func (s *Snapshot) Txn(appID string) (version int64, ok bool) {
	t, ok := s.txns[appID]
	return t.Version, ok
}

// Txns returns the progress of all applications, by id.
func (s *Snapshot) Txns() []Txn {
	return slices.SortedFunc(maps.Values(s.txns), func(a, b Txn) int { return cmp.Compare(a.AppID, b.AppID) })
}

// Domains returns the live domain metadata, by domain.
func (s *Snapshot) Domains() []DomainMetadata {
	return slices.SortedFunc(maps.Values(s.domains), func(a, b DomainMetadata) int { return cmp.Compare(a.Domain, b.Domain) })
}

func (s *Snapshot) clone() *Snapshot {
	c := *s
	c.adds, c.removes, c.txns, c.domains = maps.Clone(s.adds), maps.Clone(s.removes), maps.Clone(s.txns), maps.Clone(s.domains)
	return &c
}

// apply folds the actions of one version into s, which is the version before.
func (s *Snapshot) apply(version int64, actions []Action) error {
	if version != s.Version+1 {
		return fmt.Errorf("version %d after %d: %w", version, s.Version, ErrCorrupt)
	}
	s.Version, s.InCommitTimestamp = version, 0
	for _, a := range actions {
		s.fold(a)
	}
	return s.check()
}

// check tells whether s is a table that can be read.
func (s *Snapshot) check() error {
	switch {
	case s.Protocol.MinReaderVersion == 0:
		return fmt.Errorf("version %d has no protocol: %w", s.Version, ErrCorrupt)
	case s.Metadata.ID == "" && s.Metadata.SchemaString == "":
		return fmt.Errorf("version %d has no metadata: %w", s.Version, ErrCorrupt)
	}
	if err := readable(s.Protocol, s.Metadata); err != nil {
		return fmt.Errorf("version %d: %w", s.Version, err)
	}
	return nil
}

// fold takes one action of a commit or a checkpoint.
func (s *Snapshot) fold(a Action) {
	if s.follow != nil && !s.wanted(a) {
		return
	}
	switch a := a.(type) {
	case CommitInfo:
		s.InCommitTimestamp = a.InCommitTimestamp
	case Protocol:
		s.Protocol = a
	case Metadata:
		s.Metadata = a
	case Add:
		key := fileKey(a.Path)
		delete(s.removes, key)
		s.adds[key] = a
	case Remove:
		key := fileKey(a.Path)
		delete(s.adds, key)
		s.removes[key] = a
	case Txn:
		s.txns[a.AppID] = a
	case DomainMetadata:
		if a.Removed {
			delete(s.domains, a.Domain)
		} else {
			s.domains[a.Domain] = a
		}
	}
}

// wanted tells what a snapshot that is to become a Head keeps.
func (s *Snapshot) wanted(a Action) bool {
	switch a := a.(type) {
	case Add, Remove, DomainMetadata:
		return false
	case Txn:
		return a.AppID == *s.follow
	default:
		return true
	}
}
