package metadata

import (
	"slices"
	"strings"
)

// keySpace is one opaque key space, sorted by key. Elements are immutable: a write puts another one in its place.
type keySpace struct{ sorted []*KeyValue }

func (k *keySpace) find(key string) (int, bool) {
	return slices.BinarySearchFunc(k.sorted, key, func(kv *KeyValue, key string) int { return strings.Compare(kv.Key, key) })
}

func (k *keySpace) version(key string) uint64 {
	if k == nil {
		return 0
	}
	if i, ok := k.find(key); ok {
		return k.sorted[i].Version
	}
	return 0
}

func (s *State) setKeys(c SetKeys) Result {
	space := s.spaces[c.Space]
	writes := false
	for i := range c.Ops {
		op := &c.Ops[i]
		if op.Check && space.version(op.Key) != op.Expect {
			return SetKeysResult{Err: ErrConflict, ConflictKey: op.Key}
		}
		writes = writes || op.Write
	}
	if !writes {
		return SetKeysResult{}
	}
	if space == nil {
		space = &keySpace{}
		s.spaces[c.Space] = space
	}
	s.lastKeyVersion++
	for i := range c.Ops {
		if op := &c.Ops[i]; op.Write {
			space.write(op, s.lastKeyVersion)
		}
	}
	if len(space.sorted) == 0 {
		delete(s.spaces, c.Space)
	}
	return SetKeysResult{Version: s.lastKeyVersion}
}

func (k *keySpace) write(op *KeyOp, version uint64) {
	i, ok := k.find(op.Key)
	kv := &KeyValue{Key: op.Key, Value: op.Value, Version: version}
	switch {
	case op.Delete && ok:
		k.sorted = slices.Delete(k.sorted, i, i+1)
	case op.Delete:
	case ok:
		k.sorted[i] = kv
	default:
		k.sorted = slices.Insert(k.sorted, i, kv)
	}
}

// prefixed returns the stretch of keys that begin with prefix.
func (k *keySpace) prefixed(prefix string) []*KeyValue {
	if k == nil {
		return nil
	}
	from, _ := k.find(prefix)
	to := from
	for to < len(k.sorted) && strings.HasPrefix(k.sorted[to].Key, prefix) {
		to++
	}
	return k.sorted[from:to]
}
