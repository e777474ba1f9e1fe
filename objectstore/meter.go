package objectstore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Op is a method of Store.
type Op int8

// The methods of Store.
const (
	OpCreate Op = iota
	OpPut
	OpGet
	OpGetRange
	OpList
	OpDelete
	NumOps // how many there are
)

func (o Op) String() string {
	return [NumOps]string{"create", "put", "get", "get_range", "list", "delete"}[o]
}

// Outcome sorts the ends of requests as a bill and an alarm need them.
type Outcome int8

// The outcomes a Meter tells apart.
const (
	OutcomeOK       Outcome = iota
	OutcomeExists           // ErrExists: the ordinary end of a lost race
	OutcomeNotFound         // ErrNotFound
	OutcomeUnknown          // ErrUnknown, time-outs and cancellations
	OutcomeDenied           // ErrDenied and ErrNoBucket
	OutcomeFull             // ErrFull
	OutcomeOther
	NumOutcomes // how many there are
)

func (o Outcome) String() string {
	return [NumOutcomes]string{"ok", "exists", "not_found", "unknown", "denied", "full", "other"}[o]
}

func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return OutcomeOK
	case errors.Is(err, ErrExists):
		return OutcomeExists
	case errors.Is(err, ErrNotFound):
		return OutcomeNotFound
	case unknownOutcome(err):
		return OutcomeUnknown
	case errors.Is(err, ErrDenied), errors.Is(err, ErrNoBucket):
		return OutcomeDenied
	case errors.Is(err, ErrFull):
		return OutcomeFull
	default:
		return OutcomeOther
	}
}

// Usage is what went through a Meter since it was made.
type Usage struct {
	Ops [NumOps]OpUsage
}

// OpUsage is the share of one method.
type OpUsage struct {
	Requests [NumOutcomes]int64 // as a store bills them: List and Delete take one per 1000 objects
	BytesOut int64              // bodies sent to the store, also those of failed attempts
	BytesIn  int64              // bodies received
	Latency  time.Duration      // sum over calls; zero without a clock
	Calls    int64              // what Latency is a sum of
}

// Total is the number of requests of any outcome.
func (u OpUsage) Total() int64 {
	var n int64
	for _, r := range u.Requests {
		n += r
	}
	return n
}

// Total is the number of requests of any method and outcome.
func (u Usage) Total() int64 {
	var n int64
	for _, op := range u.Ops {
		n += op.Total()
	}
	return n
}

// Errors is the number of requests that ended in neither success nor an answer about a key (exists, not found).
func (u Usage) Errors() int64 {
	var n int64
	for _, op := range u.Ops {
		for outcome, r := range op.Requests {
			switch Outcome(outcome) {
			case OutcomeOK, OutcomeExists, OutcomeNotFound:
			default:
				n += r
			}
		}
	}
	return n
}

// Bytes is how many bytes of bodies were received from and sent to the store.
func (u Usage) Bytes() (in, out int64) {
	for _, op := range u.Ops {
		in += op.BytesIn
		out += op.BytesOut
	}
	return in, out
}

// billedKeys is how many objects S3 lists or deletes per request.
const billedKeys = 1000

// Meter is a Store that counts what goes through it. Put it directly over the driver, below WithRetry, to count what the
// store bills; above, to count what callers asked for. It costs a few atomic additions per call.
type Meter struct {
	store Store
	now   func() time.Time // nil: no latencies
	ops   [NumOps]opMeter
}

type opMeter struct {
	requests                [NumOutcomes]atomic.Int64
	out, in, nanoseconds, n atomic.Int64
}

// NewMeter counts requests and bytes.
func NewMeter(store Store) *Meter { return &Meter{store: store} }

// NewTimedMeter also sums up latencies by the clock now.
func NewTimedMeter(store Store, now func() time.Time) *Meter { return &Meter{store: store, now: now} }

// Snapshot returns the counts so far; counts of calls under way may be seen in part.
func (m *Meter) Snapshot() Usage {
	var u Usage
	for op := range u.Ops {
		from, to := &m.ops[op], &u.Ops[op]
		for i := range to.Requests {
			to.Requests[i] = from.requests[i].Load()
		}
		to.BytesOut, to.BytesIn = from.out.Load(), from.in.Load()
		to.Latency, to.Calls = time.Duration(from.nanoseconds.Load()), from.n.Load()
	}
	return u
}

func (m *Meter) begin() time.Time {
	if m.now == nil {
		return time.Time{}
	}
	return m.now()
}

func (m *Meter) end(op Op, started time.Time, requests, out, in int, err error) {
	o := &m.ops[op]
	o.requests[outcomeOf(err)].Add(int64(requests))
	o.out.Add(int64(out))
	o.in.Add(int64(in))
	o.n.Add(1)
	if m.now != nil {
		o.nanoseconds.Add(int64(m.now().Sub(started)))
	}
}

// Create implements Store.
func (m *Meter) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	started := m.begin()
	at, err := m.store.Create(ctx, key, body)
	m.end(OpCreate, started, 1, len(body), 0, err)
	return at, err
}

// Put implements Store.
func (m *Meter) Put(ctx context.Context, key string, body []byte) error {
	started := m.begin()
	err := m.store.Put(ctx, key, body)
	m.end(OpPut, started, 1, len(body), 0, err)
	return err
}

// Get implements Store.
func (m *Meter) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	started := m.begin()
	body, err := m.store.Get(ctx, key, maxBytes)
	m.end(OpGet, started, 1, 0, len(body), err)
	return body, err
}

// GetRange implements Store. A range of no bytes is no request.
func (m *Meter) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	if length == 0 {
		return m.store.GetRange(ctx, key, pos, length)
	}
	started := m.begin()
	body, err := m.store.GetRange(ctx, key, pos, length)
	m.end(OpGetRange, started, 1, 0, len(body), err)
	return body, err
}

// List implements Store.
func (m *Meter) List(ctx context.Context, prefix, after string, limit int) ([]Object, error) {
	started := m.begin()
	objects, err := m.store.List(ctx, prefix, after, limit)
	m.end(OpList, started, max(1, pages(len(objects))), 0, 0, err)
	return objects, err
}

// Delete implements Store. A deletion of nothing is no request.
func (m *Meter) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return m.store.Delete(ctx)
	}
	started := m.begin()
	err := m.store.Delete(ctx, keys...)
	m.end(OpDelete, started, pages(len(keys)), 0, 0, err)
	return err
}

func pages(keys int) int { return (keys + billedKeys - 1) / billedKeys }
