package metadata

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/bargedata/barge/objectstore"
)

// AppendFault is what a MemoryLog's append hook asks for.
type AppendFault int

// The faults of MemoryLog.Append.
const (
	AppendClean       AppendFault = iota // as if there were no hook
	AppendUnknownLost                    // ErrUnknown, and the entry is not written
	AppendUnknownKept                    // ErrUnknown, though the entry is written
)

// MemoryLog is a Log in memory, for tests. Several sequencers may share one: it is the store and every handle at once.
// Unlike the engines it forgets truncated slots at once. Use NewMemoryLog.
type MemoryLog struct {
	mu       sync.Mutex
	hook     func(ctx context.Context, seq uint64) AppendFault
	term     uint64
	owner    string
	boundary uint64        // slots below are gone
	slots    []memorySlot  // slots[i] is seq boundary+i
	snaps    []memoryState // ascending seq, newest last
}

type memorySlot struct {
	entry LogEntry
	id    [16]byte
}

type memoryState struct {
	seq  uint64
	body []byte
}

var _ Log = (*MemoryLog)(nil)

// keptSnapshots is how many snapshots a MemoryLog keeps.
const keptSnapshots = 3

// NewMemoryLog returns an empty log.
func NewMemoryLog() *MemoryLog { return &MemoryLog{} }

// SetAppendHook makes hook decide the fate of every later Append; nil takes it away. The hook is called without locks
// and may block, which holds that Append and nothing else; it should return when ctx ends.
func (m *MemoryLog) SetAppendHook(hook func(ctx context.Context, seq uint64) AppendFault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// CorruptNewestSnapshot makes the newest snapshot unusable, so that Acquire and Newest fall back to the one before.
func (m *MemoryLog) CorruptNewestSnapshot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.snaps = m.snaps[:max(0, len(m.snaps)-1)]
}

// Acquire implements Log. It writes a claim, as bucketlog does.
func (m *MemoryLog) Acquire(ctx context.Context, owner string, unless uint64) (Acquired, error) {
	if err := ctx.Err(); err != nil {
		return Acquired{}, fmt.Errorf("acquire log: %w", err)
	}
	if len(owner) > MaxOwnerBytes {
		return Acquired{}, fmt.Errorf("acquire log: owner of %d bytes, at most %d", len(owner), MaxOwnerBytes)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	got, err := m.newest()
	if err != nil {
		return Acquired{}, fmt.Errorf("acquire log: %w", err)
	}
	if unless > 0 && m.term >= unless && m.owner != owner {
		return Acquired{}, fmt.Errorf("acquire log: %q has term %d already: %w", m.owner, m.term, ErrFenced)
	}
	m.term++
	m.owner = owner
	m.slots = append(m.slots, memorySlot{entry: LogEntry{Seq: m.next(), Term: m.term, Claim: true}})
	got.Term, got.Next = m.term, m.next()
	return got, nil
}

// Newest implements Log.
func (m *MemoryLog) Newest(ctx context.Context) (Acquired, error) {
	if err := ctx.Err(); err != nil {
		return Acquired{}, fmt.Errorf("newest of log: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	got, err := m.newest()
	if err != nil {
		return Acquired{}, fmt.Errorf("newest of log: %w", err)
	}
	return got, nil
}

// newest is where a replay starts and ends. The caller holds mu.
func (m *MemoryLog) newest() (Acquired, error) {
	if len(m.snaps) == 0 && m.boundary > 0 {
		return Acquired{}, fmt.Errorf("slots below %d are gone and no snapshot is usable: %w", m.boundary, ErrCorrupt)
	}
	got := Acquired{Term: m.term, Next: m.next()}
	if n := len(m.snaps); n > 0 {
		got.SnapshotSeq, got.Snapshot, got.HasSnapshot = m.snaps[n-1].seq, slices.Clone(m.snaps[n-1].body), true
	}
	return got, nil
}

// Append implements Log.
func (m *MemoryLog) Append(ctx context.Context, term, seq uint64, id [16]byte, body []byte) error {
	if len(body) > MaxEntryBytes {
		return fmt.Errorf("append slot %d (%d bytes): %w", seq, len(body), ErrEntryTooLarge)
	}
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	fault := AppendClean
	if hook != nil {
		fault = hook(ctx, seq)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("append slot %d: %w: %w", seq, ErrUnknown, err)
	}
	if fault == AppendUnknownLost {
		return fmt.Errorf("append slot %d: injected: %w", seq, ErrUnknown)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.append(term, seq, id, body); err != nil {
		return err
	}
	if fault == AppendUnknownKept {
		return fmt.Errorf("append slot %d: injected: %w", seq, ErrUnknown)
	}
	return nil
}

func (m *MemoryLog) append(term, seq uint64, id [16]byte, body []byte) error {
	if seq < m.boundary {
		return fmt.Errorf("append slot %d, boundary %d: %w", seq, m.boundary, ErrFenced)
	}
	if seq < m.next() {
		held := m.slots[seq-m.boundary]
		if held.entry.Term == term && held.id == id && !held.entry.Claim {
			return nil
		}
	}
	switch {
	case term < m.term:
		return fmt.Errorf("append slot %d in term %d, newest %d: %w", seq, term, m.term, ErrFenced)
	case term > m.term:
		return fmt.Errorf("append slot %d: term %d was never acquired, newest is %d", seq, term, m.term)
	case seq != m.next():
		return fmt.Errorf("append slot %d: the next slot is %d", seq, m.next())
	}
	m.slots = append(m.slots, memorySlot{entry: LogEntry{Seq: seq, Term: term, Body: slices.Clone(body)}, id: id})
	return nil
}

// Confirm implements Log.
func (m *MemoryLog) Confirm(ctx context.Context, term, next uint64) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("confirm slot %d: %w", next, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case term < m.term:
		return fmt.Errorf("confirm term %d, newest is %d: %w", term, m.term, ErrFenced)
	case term > m.term || next > m.next():
		return fmt.Errorf("confirm term %d at slot %d: the log is at term %d slot %d", term, next, m.term, m.next())
	case next < m.next():
		return fmt.Errorf("confirm slot %d, the log ends at %d: %w", next, m.next(), ErrUnknown)
	}
	return nil
}

// Read implements Log.
func (m *MemoryLog) Read(ctx context.Context, from uint64, maxBytes int) ([]LogEntry, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read log from %d: %w", from, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if from < m.boundary {
		return nil, fmt.Errorf("read log from %d, boundary %d: %w", from, m.boundary, ErrTruncated)
	}
	var out []LogEntry
	for seq, size := from, 0; seq < m.next(); seq++ {
		entry := m.slots[seq-m.boundary].entry
		if size += len(entry.Body); len(out) > 0 && size > maxBytes {
			break
		}
		entry.Body = slices.Clone(entry.Body)
		out = append(out, entry)
	}
	return out, nil
}

// Checkpoint implements Log.
func (m *MemoryLog) Checkpoint(ctx context.Context, term, seq uint64, snapshot []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("checkpoint %d: %w", seq, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if term < m.term {
		return fmt.Errorf("checkpoint %d in term %d, newest %d: %w", seq, term, m.term, ErrFenced)
	}
	if seq > m.next() {
		return fmt.Errorf("checkpoint %d: the log ends at %d", seq, m.next())
	}
	at, found := slices.BinarySearchFunc(m.snaps, seq, func(s memoryState, seq uint64) int {
		return int(min(max(int64(s.seq)-int64(seq), -1), 1))
	})
	if found {
		return nil
	}
	m.snaps = slices.Insert(m.snaps, at, memoryState{seq: seq, body: append([]byte{}, snapshot...)})
	m.snaps = slices.Delete(m.snaps, 0, max(0, len(m.snaps)-keptSnapshots))
	return nil
}

// Truncate implements Log. It keeps what the snapshot before the newest needs, as the engines do.
func (m *MemoryLog) Truncate(ctx context.Context, term, below uint64) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("truncate below %d: %w", below, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if term < m.term {
		return fmt.Errorf("truncate below %d in term %d, newest %d: %w", below, term, m.term, ErrFenced)
	}
	if len(m.snaps) < 2 {
		return nil
	}
	below = min(below, m.snaps[0].seq)
	if below > m.boundary {
		m.slots = slices.Delete(m.slots, 0, int(below-m.boundary))
		m.boundary = below
	}
	return nil
}

// Hint implements Log.
func (m *MemoryLog) Hint(ctx context.Context) (Hint, error) {
	if err := ctx.Err(); err != nil {
		return Hint{}, fmt.Errorf("hint: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return Hint{Owner: m.owner, Term: m.term, Next: m.next()}, nil
}

// WithInline returns store, but for objects that lie in this log's entries, as the engines' WithInline do.
func (m *MemoryLog) WithInline(store objectstore.Store) objectstore.Store {
	return WithInline(store, func(ctx context.Context, slot uint64) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if slot < m.boundary || slot >= m.next() {
			return nil, fmt.Errorf("slot %d: %w", slot, objectstore.ErrNotFound)
		}
		return m.slots[slot-m.boundary].entry.Body, nil // cut copies
	})
}

// next is the first free slot. The caller holds mu.
func (m *MemoryLog) next() uint64 { return m.boundary + uint64(len(m.slots)) }
