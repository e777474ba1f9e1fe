package fetch

import (
	"fmt"
	"strings"
	"sync"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// extentKey names bytes of an object that are read and kept together.
type extentKey struct {
	object   string
	pos, len int64
}

func (k extentKey) String() string { return fmt.Sprintf("%s, %d bytes at %d", k.object, k.len, k.pos) }

// extent is bytes of an object and, where it is a WAL object, which of its runs have been verified. A run's checks touch only
// its own bytes, so damage to one run leaves the others readable.
type extent struct {
	key     extentKey
	buffer  *record.Buffer
	lent    bool // by a pool: who reads it holds it. Other memory is left to the garbage collector
	checked bool // made here, of batches that were checked

	mu       sync.Mutex
	verified map[record.Pos]record.Len
}

// newExtent is an extent of memory that nobody lends. data must not change.
func newExtent(key extentKey, data []byte) *extent {
	return &extent{key: key, buffer: record.NewBuffer(data), verified: map[record.Pos]record.Len{}}
}

// memory is how many bytes the extent takes.
func (e *extent) memory() int64 { return int64(cap(e.buffer.Bytes)) }

// from is what e holds of its object from pos on. e must reach there.
func (e *extent) from(pos int64) []byte { return e.buffer.Bytes[pos-e.key.pos:] }

// run returns the bytes of a run, after verifying them once: every batch's CRC, and that the batches fill the run and its offsets.
func (e *extent) run(run *metadata.Run) ([]byte, error) {
	bytes, err := cutRange(e.buffer.Bytes, record.Pos(e.key.pos), run)
	if err != nil || e.checked {
		return bytes, err
	}
	e.mu.Lock()
	done := e.verified[run.Pos] == run.Len
	e.mu.Unlock()
	if done {
		return bytes, nil
	}
	next := run.Base
	for rest := bytes; len(rest) > 0; {
		b, err := record.Parse(rest)
		if err != nil {
			return nil, fmt.Errorf("batch of offset %d at byte %d of %s: %w: %w", next, int64(run.Pos)+int64(len(bytes)-len(rest)), run.Key, ErrCorrupt, err)
		}
		next += record.Offset(b.OffsetCount())
		rest = rest[b.Len():]
	}
	if next != run.End {
		return nil, fmt.Errorf("run at byte %d of %s ends before offset %d, the log says %d: %w", run.Pos, run.Key, next, run.End, ErrCorrupt)
	}
	e.mu.Lock()
	e.verified[run.Pos] = run.Len
	e.mu.Unlock()
	return bytes, nil
}

// want is bytes of an object that somebody reads.
type want struct {
	object         string
	size, pos, len int64 // of the object; of what is read
	lagging        bool  // the reader is far from the log's end
	store          bool  // not by way of another agent
	peer           bool  // for another agent: what was begun is finished though that one may have left
}

// stored is the extent that is got from the store for the sake of w, the same for all who need a part of it: a WAL object of up
// to WholeObjectBytes; else the cell of CellBytes, or just what is wanted where that lies in two of them.
func (w *want) stored(cfg *Config) extentKey {
	if w.size <= cfg.WholeObjectBytes && !isTableFile(w.object) {
		return extentKey{w.object, 0, w.size}
	}
	return w.cell(cfg.CellBytes)
}

// cell is the cell of size bytes in which w lies, or w itself where it lies in two.
func (w *want) cell(size int64) extentKey {
	if from := w.pos - w.pos%size; w.pos+w.len <= from+size {
		return extentKey{w.object, from, min(size, w.size-from)}
	}
	return extentKey{w.object, w.pos, w.len}
}

// isTableFile tells the keys of Parquet files from those of WAL objects.
func isTableFile(key string) bool {
	return strings.HasPrefix(key, "tables/") && strings.Contains(key, "/_data/")
}

// isObject tells the keys of WAL objects, in the store or in the log.
func isObject(key string) bool {
	_, ok := record.ParseObjectKey(key)
	if !ok {
		_, _, _, ok = metadata.ParseInlineKey(key)
	}
	return ok
}
