package batcher

import "github.com/bargedata/barge/record"

// Result is the fate of one append of a call. Err nil: it is durable at BaseOffset, or a duplicate of what is. Otherwise
// one of metadata's refusals of a batch (ErrUnknownTopic, ErrOutOfOrderSequence, ErrInvalidProducerEpoch, ...), or for all
// appends of the call ErrNotWritten or ErrOutcomeUnknown. ErrNotWritten is also the fate of a single append of an
// idempotent producer that comes after one of ErrNotWritten which has not been sent again yet.
type Result struct {
	Err        error
	BaseOffset record.Offset
	LogStart   record.Offset
}

// Pending is one Append call on its way. Safe for concurrent use.
type Pending struct {
	appends  []record.Append // nil once laid out in an object
	bytes    int64           // of the batches that are not refused
	admitted chan struct{}   // closed when a call that had to wait for room got it or was refused; nil if it never waited
	refused  bool            // by a closing batcher, while it waited
	results  []Result
	done     chan struct{}
}

// NewPending makes the call that Core.Append takes. The appends are the batcher's from here on.
func NewPending(appends []record.Append) *Pending {
	p := &Pending{appends: appends, results: make([]Result, len(appends)), done: make(chan struct{})}
	for i := range appends {
		p.bytes += int64(appends[i].Batch.Len())
	}
	return p
}

// Done is closed when the results are there.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Results returns one result for each append of the call, in its order. Only after Done; the slice is the caller's.
func (p *Pending) Results() []Result { return p.results }

// cost is what the call takes of the buffer.
func (p *Pending) cost() int64 { return p.bytes + batchOverhead*int64(len(p.results)) }

// refuse gives one append its error, and leaves it out of the object of the others.
func (p *Pending) refuse(i int, err error) {
	p.bytes -= int64(p.appends[i].Batch.Len())
	p.results[i] = Result{Err: err, BaseOffset: -1, LogStart: -1}
}

// fail gives all appends that were not refused the same error.
func (p *Pending) fail(err error) {
	for i := range p.results {
		if p.results[i].Err == nil {
			p.results[i] = Result{Err: err, BaseOffset: -1, LogStart: -1}
		}
	}
}
