package fsck

import (
	"context"
	"errors"
	"fmt"

	"github.com/bargedata/barge/compactor"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// walArea checks what lies under wal/, and the objects that runs lie in.
//
// A suspicion arises against an older View, and is judged by a newer one: an object that is missing, damaged or of the wrong size was referred
// to when that was seen if it still is later, since no key is ever referred to again (I3). One that nobody knows, of a session
// that was sealed before it was seen, can not become known.
func (c *checker) walArea(ctx context.Context) error {
	c.o.Progress("WAL objects")
	suspects := map[string]string{} // key to what is wrong
	stray := map[string]int64{}
	listed := map[string]bool{}
	refs := c.refs
	if err := c.each(ctx, "wal/", "", func(o objectstore.Object) bool {
		c.report.Counts.Listed.add(o.Size)
		if ref := refs.objects[o.Key]; ref != nil {
			listed[o.Key] = true
			c.report.Counts.Objects.add(o.Size)
			if o.Size != int64(ref.size) {
				suspects[o.Key] = fmt.Sprintf("has %d bytes, the log says %d", o.Size, ref.size)
			}
			return true
		}
		switch c.explain(o) {
		case explained:
			c.report.Counts.Waiting.add(o.Size)
		case swept:
			c.report.Counts.Waiting.add(o.Size)
			c.leftover(o.Key)
		case stranger:
			c.unknown(o.Key, o.Size)
		case unexplained:
			if len(stray) <= c.o.MaxFindings {
				stray[o.Key] = o.Size
			}
		}
		return true
	}); err != nil {
		return err
	}
	for key, ref := range refs.objects {
		if !listed[key] && !ref.inline() {
			suspects[key] = "missing"
		}
	}
	if err := c.readObjects(ctx, refs, suspects); err != nil {
		return err
	}
	if len(suspects) == 0 && len(stray) == 0 {
		return nil
	}
	if err := c.refresh(ctx); err != nil {
		return err
	}
	for _, key := range sortedKeys(suspects) {
		if ref := c.refs.objects[key]; ref != nil {
			c.lostObject(ctx, ref, suspects[key])
		}
	}
	for _, key := range sortedKeys(stray) {
		if c.explain(objectstore.Object{Key: key}) != unexplained {
			continue
		}
		size, ok, err := c.exists(ctx, key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if parsed, _ := record.ParseObjectKey(key); metadata.SessionID(parsed.Session) > c.view.LastSession() {
			c.add(olderLog(key, size, fmt.Sprintf("is of session %d, and the log has opened %d", parsed.Session, c.view.LastSession())))
			continue
		}
		c.add(Finding{
			Severity: Warning, Kind: Orphan, Key: key, Bytes: size, What: "belongs to a session that is over and forgotten, and no entry committed it",
			Do: "it takes up room and nothing else; --repair deletes it", fix: fix{drop: key},
		})
	}
	return nil
}

// explanation says why an object that no run lies in may be there.
type explanation int

const (
	unexplained explanation = iota
	explained               // known to the log, or may become so
	swept                   // goes with the next sweep
	stranger                // has no key of ours
)

func (c *checker) explain(o objectstore.Object) explanation {
	if c.view.KnowsObject(o.Key) {
		return explained
	}
	key, ok := record.ParseObjectKey(o.Key)
	if !ok {
		return stranger
	}
	s, ok := c.refs.sessions[metadata.SessionID(key.Session)]
	switch {
	case !ok:
		return unexplained
	case !s.Sealed && key.Sorted:
		return explained // by a job that was claimed after the View was taken, for all one knows; its agent sweeps what is not
	case len(compactor.Leftovers(s, true, []objectstore.Object{o}, c.view.KnowsObject)) > 0:
		return swept
	}
	return explained
}

// readObjects reads the objects whole and adds what is wrong with them to suspects.
func (c *checker) readObjects(ctx context.Context, refs *references, suspects map[string]string) error {
	for _, key := range sortedKeys(refs.objects) {
		ref := refs.objects[key]
		inline := ref.inline()
		if inline {
			c.report.Counts.Inline.add(int64(ref.size))
		}
		c.report.Counts.Runs += int64(len(ref.runs))
		if suspects[key] != "" || !c.o.Full && !inline {
			continue
		}
		body, err := c.store.Get(ctx, key, int64(ref.size))
		switch {
		case err == nil:
			batches, wrong := c.wrongWith(ref, body)
			c.report.Counts.Batches += batches
			if wrong != "" {
				suspects[key] = wrong
			}
		case damage(err):
			suspects[key] = err.Error()
		default:
			return err
		}
	}
	return nil
}

// wrongWith holds the bytes of an object against the log; "" when all is well.
func (c *checker) wrongWith(ref *objectRef, body []byte) (batches int64, wrong string) {
	if int64(len(body)) != int64(ref.size) {
		return 0, fmt.Sprintf("has %d bytes, the log says %d", len(body), ref.size)
	}
	h, entries, err := record.ReadObject(body)
	if err != nil {
		return 0, err.Error()
	}
	cluster := metadata.Cluster{ID: c.report.Cluster}
	if h.ClusterHash != 0 && cluster.ID != "" && h.ClusterHash != cluster.Hash() {
		return 0, "was written by another cluster"
	}
	if key, ok := record.ParseObjectKey(ref.key); ok && (h.Session != key.Session || !key.Sorted && h.Counter != key.Counter) {
		return 0, fmt.Sprintf("says that it is object %d of session %d", h.Counter, h.Session)
	}
	byPartition := make(map[record.Partition]record.RunEntry, len(entries))
	for _, e := range entries {
		byPartition[e.Partition] = e
	}
	for _, r := range ref.runs {
		e, ok := byPartition[r.partition]
		if !ok || r.run.Pos < e.Pos || int64(r.run.Pos)+int64(r.run.Len) > int64(e.Pos)+int64(e.Len) {
			return batches, fmt.Sprintf("holds no run of %s at %d, %d bytes, where the log has one", r.partition, r.run.Pos, r.run.Len)
		}
		n, err := checkRun(r.run, body)
		if err != nil {
			return batches, err.Error()
		}
		batches += n
	}
	return batches, ""
}

var errRun = errors.New("run is not as the log says")

// checkRun holds the batches of a run against the log: whole, and as many offsets as it has.
func checkRun(run metadata.Run, body []byte) (batches int64, err error) {
	if end := int64(run.Pos) + int64(run.Len); run.Pos < 0 || run.Len < 0 || end > int64(len(body)) {
		return 0, fmt.Errorf("%d bytes at %d of %d: %w", run.Len, run.Pos, len(body), record.ErrTruncated)
	}
	next := run.Base
	for rest := body[run.Pos:][:run.Len]; len(rest) > 0; {
		b, err := record.Parse(rest)
		if err != nil {
			return batches, fmt.Errorf("batch at offset %d: %w", next, err)
		}
		next += record.Offset(b.OffsetCount())
		rest = rest[b.Len():]
		batches++
	}
	if next != run.End {
		return batches, fmt.Errorf("%w: batches end at offset %d, the log says %d", errRun, next, run.End)
	}
	return batches, nil
}

// lostObject reports what is lost with an object: of one that is there, only the runs whose batches do not pass.
func (c *checker) lostObject(ctx context.Context, ref *objectRef, wrong string) {
	found := Finding{
		Severity: Error, Kind: ObjectDamaged, Key: ref.key, Bytes: int64(ref.size), What: wrong,
		Do: "these records are lost unless the object is brought back, byte for byte, from a copy of the store",
	}
	body, err := c.store.Get(ctx, ref.key, int64(ref.size))
	if errors.Is(err, objectstore.ErrNotFound) {
		found.Kind = ObjectMissing
	}
	lost := 0
	for _, r := range ref.runs {
		if err == nil {
			if _, bad := checkRun(r.run, body); bad == nil {
				continue
			} else if found.What = wrong + ": " + bad.Error(); errors.Is(bad, errRun) {
				found.Kind = RunMismatch
			}
		}
		lost++
		c.add(found.at(r.topic, r.partition.Index, r.run.Base, r.run.End))
	}
	if lost == 0 {
		found.Do = "consumers can read every batch that the log refers to, but compaction refuses the object: bring it back from a copy of the store"
		c.add(found)
	}
}

// olderLog reports what only a later state of the log can explain: somebody brought an old copy of the log back. What is in the store
// and not in the log is then no litter but the only copy of acknowledged records.
func olderLog(key string, size int64, what string) Finding {
	return Finding{
		Severity: Error, Kind: LogOlder, Key: key, Bytes: size, What: what,
		Do: "the metadata log is older than the store, as after an old copy was brought back: bring the newer log back; --repair does nothing meanwhile",
	}
}
