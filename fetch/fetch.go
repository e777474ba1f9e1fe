package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

const (
	// locateTries is how often a partition is located again because an object it lies in is gone.
	locateTries = 3
	// coldReads is how many slices of a partition that are not in the tail one fetch reads, once it has something to
	// answer: each costs a read of up to a whole object.
	coldReads = 8
)

// errPanicked is the error of a partition whose read panicked.
var errPanicked = errors.New("the read panicked")

// Request asks for records of partitions, each at most once. Sizes are bytes as on the wire, compressed.
type Request struct {
	MinBytes int           // wait until so many are there; 0 does not wait
	MaxBytes int           // of the whole response beyond its first batch
	MaxWait  time.Duration // then answer with what there is
	// Admit, when set, is asked for room once there is something to read: want is the most that the response will hold by
	// its limits, which are cut to what is allowed. Where the first batch is larger than its limit, Admit is asked once
	// more, for the rest of it; with less than that the partition answers with nothing, and its reader comes again. ctx
	// ends when MaxWait has passed: then Admit should not wait any longer. An error becomes that of the partitions it was
	// asked for.
	Admit func(ctx context.Context, want int64) (allowed int64, err error)
	// Turn counts the requests of one consumer. Where the response's bounds cut, each partition comes first in its turn.
	Turn       uint64
	Partitions []PartitionRequest
}

// PartitionRequest asks for one partition from an offset on.
type PartitionRequest struct {
	Partition record.Partition
	Offset    record.Offset
	MaxBytes  int
}

// Response answers a Request, partition by partition in its order.
type Response struct {
	Partitions []PartitionResponse

	held *held // nil: nothing
}

// Release says that nobody reads the response's chunks any more: their memory is used again. Without it they stay as they
// are, and the memory is left to the garbage collector.
func (r *Response) Release() {
	if r.held != nil {
		r.held.release()
	}
}

// PartitionResponse is whole record batches, or none yet. Bounds are set without an error and with
// metadata.ErrOffsetOutOfRange; they are those of the moment at which the records were located, or older.
type PartitionResponse struct {
	Err    error
	Bounds metadata.Bounds
	// Chunks are the batches in order, two chunks each: 16 bytes of header with its place in the log, and the rest. They
	// alias memory that others read: write them out, change nothing, and Release the Response. The first batch is the one that holds the offset
	// asked for, and may begin before it.
	Chunks [][]byte
	Size   int // of all chunks
}

// Fetch answers req as Kafka does. It returns as soon as MinBytes are there or a partition has an error, at the latest
// when MaxWait has passed or ctx ends, and every partition is in the response. Waiting costs nothing: the View wakes it.
//
// The first partition that has records gives at least one batch whatever the limits; otherwise a partition gives what
// fits its own MaxBytes and what the partitions before it have left of the request's, and of Config.MaxBytes. Where that
// first partition stands rotates with Request.Turn.
func (r *Reader) Fetch(ctx context.Context, req Request) Response {
	if len(req.Partitions) == 0 {
		return Response{}
	}
	patience, cancel := context.WithTimeout(ctx, req.MaxWait)
	defer cancel()
	budget := int64(min(max(req.MaxBytes, 0), r.cfg.MaxBytes))
	looks := r.await(ctx, req, budget)
	order := rotation(len(looks), req.Turn)
	limits, total, forced := allot(looks, order, budget)
	response := Response{Partitions: make([]PartitionResponse, len(looks)), held: &held{}}
	if req.Admit != nil && forced >= 0 {
		allowed, err := req.Admit(patience, total)
		if err != nil {
			for i := range looks {
				response.Partitions[i] = PartitionResponse{Err: err, Bounds: looks[i].loc.Bounds}
			}
			return response
		}
		if allowed < total {
			limits, _, forced = allot(looks, order, max(allowed, 0))
		}
	}
	var g errgroup.Group
	g.SetLimit(r.cfg.PartitionReads)
	for _, i := range order {
		l, out := &looks[i], &response.Partitions[i]
		out.Err, out.Bounds = l.err, l.loc.Bounds
		if l.err != nil || len(l.loc.Slices) == 0 || limits[i] == 0 && i != forced {
			continue
		}
		read := func() error {
			defer r.recovered(ctx, l, out)
			*out = r.readPartition(ctx, l, limits[i], i == forced, response.held)
			if over := int64(out.Size) - limits[i]; i == forced && over > 0 && req.Admit != nil {
				*out = admitFirst(patience, req, *out, over)
			}
			return nil // a partition's error is its own
		}
		if r.cfg.PartitionReads == 1 {
			_ = read() // always nil
			continue
		}
		g.Go(read)
	}
	_ = g.Wait() // always nil
	return response
}

// admitFirst asks for the bytes by which a first batch passes its limit.
func admitFirst(ctx context.Context, req Request, p PartitionResponse, over int64) PartitionResponse {
	allowed, err := req.Admit(ctx, over)
	if err != nil || allowed < over {
		return PartitionResponse{Err: err, Bounds: p.Bounds}
	}
	return p
}

// recovered, deferred, turns a panic in the read of one partition into its error: it runs on a goroutine that nobody else
// would recover, and the files it decodes come from outside.
func (r *Reader) recovered(ctx context.Context, l *look, out *PartitionResponse) {
	v := recover()
	if v == nil {
		return
	}
	r.log.LogAttrs(ctx, slog.LevelError, "read panicked", slog.String("partition", l.ask.p.String()), slog.Int64("offset", int64(l.ask.from)),
		slog.String("err", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
	*out = PartitionResponse{Err: fmt.Errorf("fetch %s from offset %d: %w: %v", l.ask.p, l.ask.from, errPanicked, v), Bounds: l.loc.Bounds}
}

// await looks at the partitions until there is a reason to answer.
func (r *Reader) await(ctx context.Context, req Request, budget int64) []look {
	looks := make([]look, len(req.Partitions))
	parts := make([]record.Partition, len(req.Partitions))
	for i, p := range req.Partitions {
		parts[i] = p.Partition
		looks[i].ask = metadataAsk{p: p.Partition, from: p.Offset, limit: min(int64(max(p.MaxBytes, 0)), budget)}
	}
	enough := min(int64(req.MinBytes), budget)
	if req.MaxWait <= 0 {
		r.look(looks)
		return looks
	}
	watch := r.view.Watch(parts) // before looking, so that no change falls between
	defer watch.Close()
	timer := time.NewTimer(req.MaxWait)
	defer timer.Stop()
	for !r.look(looks).ready(enough) {
		select {
		case <-watch.C():
		case <-timer.C:
			r.look(looks)
			return looks
		case <-ctx.Done():
			return looks
		}
	}
	return looks
}

// readiness is what a look at all partitions of a request found.
type readiness struct {
	bytes  int64
	failed bool
}

func (s readiness) ready(enough int64) bool { return s.failed || s.bytes >= enough }

// look asks the View where every partition's records lie.
func (r *Reader) look(looks []look) readiness {
	var s readiness
	for i := range looks {
		l := &looks[i]
		l.loc, l.err = r.view.Locate(l.ask.p, l.ask.from, max(l.ask.limit, 1))
		if l.err != nil {
			s.failed = true
			continue
		}
		if len(l.loc.Slices) > 0 {
			s.bytes += max(1, min(l.ask.limit, available(l.loc.Slices, l.ask.from)))
		}
	}
	return s
}

// readPartition reads what was located, and locates anew when an object has gone meanwhile.
func (r *Reader) readPartition(ctx context.Context, l *look, limit int64, force bool, hold *held) PartitionResponse {
	out := PartitionResponse{Bounds: l.loc.Bounds}
	loc := l.loc
	for try := 1; ; try++ {
		batches, size, err := r.readSlices(ctx, loc.Slices, l.ask.from, limit, force, hold)
		if err == nil || len(batches) > 0 {
			// What was read before an error goes out; the next read begins at the error.
			out.Chunks, out.Size = chunks(make([][]byte, 0, 2*len(batches)), batches), int(size)
			return out
		}
		if !errors.Is(err, objectstore.ErrNotFound) || try == locateTries {
			r.report(ctx, l.ask, err)
			out.Err = fmt.Errorf("fetch %s from offset %d: %w", l.ask.p, l.ask.from, err)
			return out
		}
		if loc, err = r.relocate(ctx, l.ask, limit); err != nil {
			out.Err = err
			if !errors.Is(err, metadata.ErrOffsetOutOfRange) {
				return out
			}
		}
		out.Bounds = loc.Bounds
		if out.Err != nil || len(loc.Slices) == 0 {
			return out
		}
	}
}

// relocate asks the View again after it has caught up with the log: compaction replaces objects before it deletes them,
// so an object that is missing means that the View was behind.
func (r *Reader) relocate(ctx context.Context, ask metadataAsk, limit int64) (metadata.Location, error) {
	if r.cfg.CatchUp != nil {
		if err := r.cfg.CatchUp(ctx); err != nil {
			return metadata.Location{}, fmt.Errorf("catch up with the log: %w", err)
		}
	}
	return r.view.Locate(ask.p, ask.from, max(limit, 1))
}

// report logs what an operator must know: a client only learns that its read failed.
func (r *Reader) report(ctx context.Context, ask metadataAsk, err error) {
	if ctx.Err() != nil {
		return // the client has left
	}
	r.log.LogAttrs(ctx, slog.LevelError, "read failed",
		slog.String("partition", ask.p.String()), slog.Int64("offset", int64(ask.from)), slog.Any("err", err))
}

// readSlices reads consecutive slices until a batch does not fit any more. With an error come the batches before it.
func (r *Reader) readSlices(ctx context.Context, from []metadata.Slice, offset record.Offset, limit int64, force bool, hold *held) (batches []placed, size int64, err error) {
	cold := 0
	for i := range from {
		s := &from[i]
		if size > 0 && (size >= limit || cold >= coldReads) {
			break
		}
		more, n, full, outside, err := r.readSlice(ctx, s, offset, limit-size, force && size == 0, hold)
		batches, size = append(batches, more...), size+n
		if err != nil {
			return batches, size, err
		}
		if full {
			break
		}
		if outside {
			cold++
		}
	}
	return batches, size, nil
}

// readSlice reads one slice; outside tells that it is not in the tail.
func (r *Reader) readSlice(ctx context.Context, s *metadata.Slice, from record.Offset, limit int64, force bool, hold *held) (batches []placed, size int64, full, outside bool, err error) {
	if s.File != nil {
		batches, size, full, err = r.readFile(ctx, s, from, limit, force)
		return batches, size, full, true, err
	}
	bytes, outside, err := r.run(ctx, s.Run, hold)
	if err != nil {
		return nil, 0, false, outside, err
	}
	batches, size, full, err = cutRun(bytes, s.Run, from, limit, force)
	return batches, size, full, outside, err
}
