package batcher

import (
	"fmt"
	"slices"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// FlushReason tells why an object was sealed.
type FlushReason int

// The reasons.
const (
	FlushTime  FlushReason = iota // the first append had waited for the interval
	FlushSize                     // the object was full
	FlushDrain                    // the batcher stops, or was told to hurry
	flushReasons
)

// String is the reason as metrics name it.
func (r FlushReason) String() string {
	switch r {
	case FlushTime:
		return "time"
	case FlushSize:
		return "size"
	default:
		return "drain"
	}
}

// Object is one WAL object on its way: the calls it holds and how far it has come. Core owns it; the one who carries out
// an ActionUpload may read it until he reports.
type Object struct {
	Counter uint64
	Calls   []*Pending
	Bytes   int64 // of the batches
	Batches int
	Reason  FlushReason

	sequenced []sequenced // its batches of idempotent producers, in the order of the calls

	state   objectState
	due     bool  // its time is up, but no upload slot is free
	tries   int   // how often its commit was handed in
	unclear bool  // a try was answered with an error
	lost    error // why it is not to be committed, though perhaps still uploading
	built   Built // without the body
	result  metadata.CommitObjectResult
	err     error

	opened, sealed, uploaded, answered time.Time // zero until then
}

type objectState int

const (
	stateOpen       objectState = iota
	stateSealed                 // waits for an upload slot
	stateUploading              // ActionUpload given out
	stateUploaded               // waits for its turn to commit
	stateCommitting             // ActionCommit given out
	stateAnswered
)

// place says which append of which call a batch of the object is.
type place struct {
	call  *Pending
	index int
}

// Built is an object laid out. One of at most Config.InlineBytes has neither Key nor Body: its commit carries it.
type Built struct {
	Key    string
	Body   *record.Buffer // held once, for whoever asked for the object to be built
	CRC    uint32         // CRC-32C of Body
	Commit metadata.CommitObject
	order  []place // of the batches of Commit.Runs, one after another
}

// Build lays the object out: runs sorted by partition, within a partition in the order of the calls. It copies every
// batch once and lets go of the calls' own, so it works once. putID distinguishes this very object from any other of the same name; random is part of its key.
func (o *Object) Build(cfg Config, putID [16]byte, random string) (Built, error) {
	order := make([]place, 0, o.Batches)
	for _, call := range o.Calls {
		for i := range call.appends {
			if call.results[i].Err == nil { // not refused when it came in
				order = append(order, place{call, i})
			}
		}
	}
	slices.SortStableFunc(order, func(a, b place) int {
		return a.call.appends[a.index].Partition.Compare(b.call.appends[b.index].Partition)
	})
	header := record.ObjectHeader{ClusterHash: cfg.Cluster, Session: uint64(cfg.Session), Counter: o.Counter, PutID: putID}
	runs := splitRuns(order)
	size := int(record.ObjectSize(len(runs), o.Bytes))
	inline := int64(size) <= cfg.InlineBytes
	memory := cfg.memory(size, inline)
	w := record.NewObjectWriterIn(memory.Bytes, header)
	var scratch []record.Batch
	rest := order
	for i := range runs {
		scratch = scratch[:0]
		for _, at := range rest[:len(runs[i].Batches)] {
			scratch = append(scratch, at.call.appends[at.index].Batch)
		}
		rest = rest[len(scratch):]
		if err := w.Add(runs[i].Partition, scratch...); err != nil {
			return Built{}, fmt.Errorf("lay out object %d: %w", o.Counter, err)
		}
	}
	body, entries, err := w.Finish()
	if err != nil {
		return Built{}, fmt.Errorf("lay out object %d: %w", o.Counter, err)
	}
	for i := range runs {
		runs[i].Pos = entries[i].Pos
	}
	for _, call := range o.Calls {
		call.appends = nil // the object has its own copy; let the producers' buffers go
	}
	built := Built{
		order:  order,
		Commit: metadata.CommitObject{Session: cfg.Session, Counter: o.Counter, Size: record.Len(len(body)), Runs: runs},
	}
	if inline {
		built.Commit.Inline = body
		return built, nil
	}
	memory.Bytes = body
	built.Key, built.Body, built.CRC = record.ObjectKey(uint64(cfg.Session), o.Counter, random), memory, w.Checksum()
	built.Commit.Key = built.Key
	return built, nil
}

// name is what errors call the object.
func (b *Built) name() string {
	if b.Commit.Inline != nil {
		return fmt.Sprintf("inline object %d of session %d", b.Commit.Counter, b.Commit.Session)
	}
	return b.Key
}

// splitRuns describes sorted places as the runs of a commit, whose positions are not known yet.
func splitRuns(order []place) []metadata.CommitRun {
	var runs []metadata.CommitRun
	described := make([]metadata.CommitBatch, len(order))
	start := 0
	for i, at := range order {
		a := &at.call.appends[at.index]
		described[i] = metadata.CommitBatch{
			Len:           a.Batch.Len(),
			Records:       a.Batch.OffsetCount(),
			MaxTimestamp:  a.Batch.MaxTimestamp(),
			ProducerID:    a.Batch.ProducerID(),
			ProducerEpoch: a.Batch.ProducerEpoch(),
			BaseSequence:  a.Batch.BaseSequence(),
		}
		last := i+1 == len(order)
		if !last {
			next := order[i+1]
			last = next.call.appends[next.index].Partition != a.Partition
		}
		if last {
			runs = append(runs, metadata.CommitRun{Partition: a.Partition, Batches: described[start : i+1 : i+1]})
			start = i + 1
		}
	}
	return runs
}

// Answer carries out an ActionAnswer: it hands every append its result.
func (o *Object) Answer() Flush {
	at := 0
	for i := range o.result.Batches {
		if o.err != nil {
			break
		}
		for _, r := range o.result.Batches[i] {
			p := o.built.order[at]
			p.call.results[p.index] = Result{Err: r.Err, BaseOffset: r.BaseOffset, LogStart: r.LogStartOffset}
			at++
		}
	}
	for _, call := range o.Calls {
		if o.err != nil {
			call.fail(o.err)
		}
		close(call.done)
	}
	return Flush{
		Reason: o.Reason, Key: o.built.Key, Calls: len(o.Calls), Batches: o.Batches, Bytes: o.Bytes, Err: o.err,
		Wait: since(o.opened, o.sealed), Upload: since(o.sealed, o.uploaded), Commit: since(o.uploaded, o.answered),
		Total: since(o.opened, o.answered),
	}
}

// since is 0 when a step was never reached.
func since(from, to time.Time) time.Duration {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return to.Sub(from)
}

// fits checks that a commit's result has the shape of the commit.
func (o *Object) fits(result metadata.CommitObjectResult) bool {
	if len(result.Batches) != len(o.built.Commit.Runs) {
		return false
	}
	for i, run := range o.built.Commit.Runs {
		if len(result.Batches[i]) != len(run.Batches) {
			return false
		}
	}
	return true
}
