package bucketlog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// Store is what the log needs of an object store, with the meaning objectstore.Store gives it: Create must be atomic
// (the race probe shows it) and reads and listings must see every finished write. It may be wrapped by a decorator that
// repeats calls: a Create that answers objectstore.ErrExists may have been ours, so ids are compared every time.
type Store interface {
	Create(ctx context.Context, key string, body []byte) (time.Time, error)
	Get(ctx context.Context, key string, maxBytes int64) ([]byte, error)
	GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error)
	Delete(ctx context.Context, keys ...string) error
}

// Config holds a log's settings. Zero values of all but Prefix mean the defaults.
type Config struct {
	// Prefix is the place of the shard's log in the store, without a trailing slash: "meta/0".
	Prefix string
	// SlotLife is how long a slot lives at least before Truncate may delete it, by the store's time. Safety rests on it
	// being far above the 30 s for which a boundary check stays good, hence at least a minute. Default 24 h.
	SlotLife time.Duration
	// KeepSnapshots is how many snapshots stay, at least 2. Default 3.
	KeepSnapshots int
	// ReadAhead is how many slots Read and Acquire fetch at a time; a Read holds at most so many entries beyond its
	// maxBytes. Default 8.
	ReadAhead int
}

// boundaryFresh is for how long, by the store's time, a boundary check answers for later creates. A slot lives at least
// SlotLife, so one that was empty at a check can not have been filled and deleted again before the check grows old.
const boundaryFresh = 30 * time.Second

// Log is a metadata.Log in a bucket. Safe for concurrent use.
type Log struct {
	cfg   Config
	store Store
	newID func() [16]byte
	log   *slog.Logger

	mu       sync.Mutex // guards what follows; never held during a store call
	tip      tip
	boundary uint64 // largest seen
	cursor   link   // where the last Read ended
	empty    struct {
		from  uint64
		count int
	}
}

// tip is what the holder of a term knows about the end of the log. It changes only when an append has succeeded.
type tip struct {
	term   uint64 // 0: none acquired
	owner  string
	next   uint64
	hash   hash      // of slot next-1
	id     [16]byte  // of slot next-1
	time   time.Time // the store's, when slot next-1 was created; zero when not known
	check  time.Time // the store's, at or before the last boundary check; zero when not known
	fenced bool
}

// link says which hash slot seq must name as its predecessor's.
type link struct {
	seq   uint64
	prev  hash
	known bool
}

var _ metadata.Log = (*Log)(nil)

// New returns a handle on the log under cfg.Prefix; it touches nothing. newID makes ids that no other call anywhere makes
// again; fencing rests on it, so its source must be truly random outside simulations.
func New(store Store, cfg Config, newID func() [16]byte, log *slog.Logger) (*Log, error) {
	cfg.SlotLife = cmp.Or(cfg.SlotLife, 24*time.Hour)
	cfg.KeepSnapshots = cmp.Or(cfg.KeepSnapshots, 3)
	cfg.ReadAhead = cmp.Or(cfg.ReadAhead, 8)
	if cfg.Prefix == "" || strings.HasSuffix(cfg.Prefix, "/") {
		return nil, fmt.Errorf("bucket log: prefix %q must not be empty nor end with a slash", cfg.Prefix)
	}
	if cfg.SlotLife < 2*boundaryFresh || cfg.KeepSnapshots < 2 || cfg.ReadAhead < 1 || cfg.ReadAhead > 64 {
		return nil, fmt.Errorf("bucket log: slot life %v (at least %v), keep %d snapshots (at least 2), read ahead %d (1 to 64)",
			cfg.SlotLife, 2*boundaryFresh, cfg.KeepSnapshots, cfg.ReadAhead)
	}
	return &Log{cfg: cfg, store: store, newID: newID, log: log}, nil
}

func (l *Log) slotPrefix() string     { return l.cfg.Prefix + "/log/" }
func (l *Log) snapPrefix() string     { return l.cfg.Prefix + "/snapshot/" }
func (l *Log) boundaryPrefix() string { return l.cfg.Prefix + "/boundary/" }

func (l *Log) slotKey(seq uint64) string     { return numbered(l.slotPrefix(), seq) }
func (l *Log) snapKey(seq uint64) string     { return numbered(l.snapPrefix(), seq) }
func (l *Log) boundaryKey(seq uint64) string { return numbered(l.boundaryPrefix(), seq) }

// numbered makes keys whose order is that of their numbers.
func numbered(prefix string, seq uint64) string { return fmt.Sprintf("%s%020d", prefix, seq) }

// number reads what numbered wrote; ok is false for keys of another form, which are not ours.
func number(prefix, key string) (seq uint64, ok bool) {
	digits, ok := strings.CutPrefix(key, prefix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, err == nil
}

// before is the listing position from which slot seq comes next.
func (l *Log) before(seq uint64) string {
	if seq == 0 {
		return ""
	}
	return l.slotKey(seq - 1)
}

const listPage = 1000

// list walks all objects under prefix after the key after, in order, until yield returns false.
func (l *Log) list(ctx context.Context, prefix, after string, yield func(seq uint64, o objectstore.Object) bool) error {
	for {
		page, err := l.store.List(ctx, prefix, after, listPage)
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		for _, o := range page {
			after = o.Key
			if seq, ok := number(prefix, o.Key); ok && !yield(seq, o) {
				return nil
			}
		}
		if len(page) < listPage {
			return nil
		}
	}
}

// readTries is how often an object is read whose checks fail: what was damaged on the way is whole the next time.
const readTries = 2

// verified reads until decode takes the bytes or has refused them readTries times. Errors: read's, or decode's.
func verified[T any](key string, read func() ([]byte, error), decode func([]byte) (T, error)) (T, []byte, error) {
	var none T
	for try := 1; ; try++ {
		buf, err := read()
		if err != nil {
			return none, nil, fmt.Errorf("get %s: %w", key, err)
		}
		value, err := decode(buf)
		if err == nil {
			return value, buf, nil
		}
		if !errors.Is(err, metadata.ErrCorrupt) || try == readTries {
			return none, nil, fmt.Errorf("%s: %w", key, err)
		}
	}
}

// getSlot fetches and verifies slot seq. Errors: objectstore.ErrNotFound, metadata.ErrCorrupt, or the store's.
func (l *Log) getSlot(ctx context.Context, seq uint64) (slot, hash, error) {
	s, buf, err := l.getSlotBytes(ctx, seq)
	if err != nil {
		return slot{}, hash{}, err
	}
	return s, sha256.Sum256(buf), nil
}

// getSlotBytes is getSlot without the hash.
func (l *Log) getSlotBytes(ctx context.Context, seq uint64) (slot, []byte, error) {
	key := l.slotKey(seq)
	return verified(key, func() ([]byte, error) { return l.store.Get(ctx, key, maxSlotBytes) },
		func(buf []byte) (slot, error) { return decodeSlot(buf, seq) })
}

// getSlotHeader fetches and verifies all of slot seq but its body.
func (l *Log) getSlotHeader(ctx context.Context, seq uint64, size int64) (slot, error) {
	key := l.slotKey(seq)
	s, _, err := verified(key, func() ([]byte, error) {
		return l.store.GetRange(ctx, key, 0, min(size, slotHeaderLen+metadata.MaxOwnerBytes))
	}, func(buf []byte) (slot, error) {
		s, _, err := decodeSlotHeader(buf)
		if err == nil && s.seq != seq {
			err = fmt.Errorf("slot says it is %d: %w", s.seq, metadata.ErrCorrupt)
		}
		return s, err
	})
	return s, err
}

// readBoundary asks the store for the boundary: slots below it are gone or going, and what is created there does not count.
func (l *Log) readBoundary(ctx context.Context) (uint64, error) {
	l.mu.Lock()
	known := l.boundary
	l.mu.Unlock()
	after := ""
	if known > 0 {
		after = l.boundaryKey(known)
	}
	if err := l.list(ctx, l.boundaryPrefix(), after, func(seq uint64, _ objectstore.Object) bool {
		known = max(known, seq)
		return true
	}); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.boundary = max(l.boundary, known)
	return l.boundary, nil
}

// snapshotSeqs lists the snapshots, oldest first.
func (l *Log) snapshotSeqs(ctx context.Context) ([]uint64, error) {
	var seqs []uint64
	err := l.list(ctx, l.snapPrefix(), "", func(seq uint64, _ objectstore.Object) bool {
		seqs = append(seqs, seq)
		return true
	})
	return seqs, err
}

// holds checks that term is the one this handle acquired last and has not seen ended.
func (t tip) holds(term uint64) error { return metadata.CheckTerm(term, t.term, t.fenced) }

func (l *Log) currentTip() tip {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tip
}

// fence remembers that term has ended, so that later calls need not ask the store.
func (l *Log) fence(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tip.term == term {
		l.tip.fenced = true
	}
}

// gone reports an object that is not there.
func gone(err error) bool { return errors.Is(err, objectstore.ErrNotFound) }
