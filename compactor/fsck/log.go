package fsck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/pglog"
	"github.com/bargedata/barge/objectstore"
)

// logObjects checks the log itself: every slot and snapshot whole and in the chain, and each snapshot the state that the entries before it give.
func (c *checker) logObjects(ctx context.Context) error {
	c.o.Progress("the metadata log")
	r := &replay{checker: c}
	in, err := c.log.Inspect(ctx, c.o.Full, metadata.Visitor{Snapshot: r.snapshot, Entry: r.entry, Break: r.broken})
	if err != nil {
		return err
	}
	c.report.Counts.Slots, c.report.Counts.Snapshots = int64(in.Slots), int64(in.Snapshots)
	for _, f := range in.Faults {
		c.add(logFault(f, in))
	}
	for _, key := range in.Leftover {
		c.report.Counts.Waiting.add(0)
		c.leftover(key)
	}
	for _, key := range in.Foreign {
		c.unknown(key, 0)
	}
	return nil
}

// logFault tells what a fault means to whoever starts from the log.
func logFault(f metadata.Fault, in *metadata.Inspection) Finding {
	found := Finding{Severity: Error, Key: f.Key, What: f.Err.Error()}
	switch {
	case f.Snapshot:
		found.Kind = LogSnapshot
		found.Severity = Warning
		found.Do = "agents start from an older one and the slots after it; --repair deletes it and leaves a new one"
		switch {
		case in.Objects == 0 && (in.HasBase || in.Boundary == 0): // in a database
			found.Do = "agents start from an older one and the entries after it; the next checkpoints replace it"
		case in.HasBase || in.Boundary == 0:
			found.fix = fix{drop: f.Key}
		default:
			found.Severity = Error
			found.Do = "no other snapshot is usable and older slots are gone: bring a snapshot back from a copy of the store"
		}
	case in.HasBase && f.Seq < in.Base:
		found.Kind, found.Severity = LogSlot, Warning
		found.Do = fmt.Sprintf("agents start from the snapshot of %d and do not need it; it goes with the next truncation", in.Base)
	default:
		found.Kind = LogSlot
		found.Do = "entries from here on cannot be replayed, so no agent can start: bring the slot back from a copy of the store"
	}
	return found
}

// replay folds the entries and compares each snapshot with what they give.
type replay struct {
	checker *checker
	state   *metadata.State // nil: what comes next is not known
	started bool
	sure    bool // state follows from slot 0, or another snapshot agreed with it: not this one is wrong, but that which differs
}

func (r *replay) begin(seq uint64) {
	if !r.started && seq == 0 {
		r.state, r.sure = metadata.NewState(), true
	}
	r.started = true
}

func (r *replay) snapshot(seq uint64, body []byte) error {
	r.begin(seq)
	stored, err := metadata.DecodeState(body)
	key := r.checker.snapshotName(seq)
	found := Finding{Severity: Error, Kind: LogSnapshotState, Key: key}
	switch {
	case err != nil:
		found.What = fmt.Sprintf("decodes to no state: %v", err)
		found.Do = "agents that start from it fail; --repair deletes it and leaves a new one"
	case stored.Next() != seq:
		found.What = fmt.Sprintf("holds the state before entry %d", stored.Next())
		found.Do = "agents that start from it fail; --repair deletes it and leaves a new one"
	case r.state != nil && !bytes.Equal(r.state.Encode(), stored.Encode()):
		found.What = "is not the state that the entries before it give"
		found.Do = "agents that start from it differ from those that followed the log: keep a copy of the store, and report it; --repair deletes it and leaves a new one"
	default:
		r.sure = r.sure || r.state != nil
		r.state = stored
		return nil
	}
	switch {
	case r.state != nil && r.sure && r.checker.o.Log != nil:
		found.Do = "agents that start from it differ from those that followed the log: keep a copy of the database, report it, and delete that row of the table snapshot"
	case r.state != nil && r.sure:
		found.fix = fix{drop: key}
	default:
		found.Do = "it or an older one is wrong, and nothing tells which: keep a copy of the store, and report it"
	}
	r.checker.unsound = true
	r.checker.add(found)
	return nil
}

func (r *replay) entry(e metadata.LogEntry) error {
	r.begin(e.Seq)
	if r.state == nil {
		return nil
	}
	entry, damaged := metadata.DecodeLogEntry(e)
	if damaged == nil {
		r.state.Apply(entry)
		return nil
	}
	r.checker.add(Finding{
		Severity: Error, Kind: LogSlot, Key: r.checker.entryName(e.Seq), What: damaged.Error(),
		Do: "entries from here on cannot be replayed: bring the slot back from a copy of the store, or upgrade barge if it is of a later version",
	})
	r.state = nil
	return nil
}

func (r *replay) broken(uint64) error {
	r.state, r.started, r.sure = nil, true, false
	return nil
}

// snapshotName and entryName are what findings call a part of the log: its key, or that it lies in a database.
func (c *checker) snapshotName(seq uint64) string {
	if c.o.Log != nil {
		return fmt.Sprintf("%s snapshot %d", c.o.LogPrefix, seq)
	}
	return fmt.Sprintf("%s/snapshot/%020d", c.o.LogPrefix, seq)
}

func (c *checker) entryName(seq uint64) string {
	if c.o.Log != nil {
		return fmt.Sprintf("%s entry %d", c.o.LogPrefix, seq)
	}
	return fmt.Sprintf("%s/log/%020d", c.o.LogPrefix, seq)
}

// probed and probing are what the race probe leaves under meta/.
const (
	probedKey   = "meta/probed-bucketlog"
	probePrefix = "meta/probe"
)

// metaArea explains what lies under meta/ beside the log.
func (c *checker) metaArea(ctx context.Context) error {
	return c.each(ctx, "meta/", "", func(o objectstore.Object) bool {
		c.report.Counts.Listed.add(o.Size)
		switch {
		case c.logArea(o.Key), o.Key == probedKey, o.Key == metadata.SecretKey:
			c.report.Counts.Log.add(o.Size)
		case strings.HasPrefix(o.Key, probePrefix):
			c.report.Counts.Waiting.add(o.Size)
			c.leftover(o.Key)
		default:
			c.unknown(o.Key, o.Size)
		}
		return true
	})
}

// logArea tells keys of a log in the bucket, of one that was moved away or only half copied, of the places a log has had, and of witnesses.
func (c *checker) logArea(key string) bool {
	if strings.HasPrefix(key, c.o.LogPrefix+"/") || strings.HasPrefix(key, metadata.FirstLogPrefix+"/") || strings.HasPrefix(key, metadata.MovedLogPrefix) {
		return true
	}
	if _, ok := metadata.LogPlaceNumber(key); ok {
		return true
	}
	_, ok := pglog.ParseWitness(key)
	return ok
}

// strangers finds what lies beside the places that agents use.
func (c *checker) strangers(ctx context.Context) error {
	for after := ""; ; {
		page, err := c.store.List(ctx, "", after, 1)
		if err != nil {
			return fmt.Errorf("list the store: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		key := page[0].Key
		switch area, _, _ := strings.Cut(key, "/"); {
		case key == metadata.ClusterKey:
			c.report.Counts.Listed.add(page[0].Size)
			after = key
		case area != key && (area == "meta" || area == "wal" || area == "tables"):
			after = area + "0" // the byte after the slash
		default:
			c.report.Counts.Listed.add(page[0].Size)
			c.unknown(key, page[0].Size)
			after = key
		}
	}
}

// unknown reports an object that no part of Barge writes.
func (c *checker) unknown(key string, size int64) {
	c.add(Finding{
		Severity: Warning, Kind: Unknown, Key: key, Bytes: size, What: "nothing of Barge's has such a key",
		Do: "agents ignore it and nothing deletes it: move it out of the store",
	})
}

// errIsAny reports whether err is one of targets.
func errIsAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
