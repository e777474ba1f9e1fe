package bench

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sync/errgroup"
)

const (
	// patience is how long a load waits for its last answers.
	patience = 30 * time.Second
	// gather is how many bytes of small requests go out in one write.
	gather = 64 << 10
	// maxReply bounds what a broker may answer to one Produce request.
	maxReply = 1 << 20
)

// route is where one connection sends what.
type route struct {
	addr       string
	partitions []int32
}

// loadResult is what one load did. All that was sent has been answered.
type loadResult struct {
	took     time.Duration // until the last answer
	requests int64
	bytes    int64 // of batches answered without an error
	records  int64
	hash     uint64 // contentHash of these records, summed
	latency  histogram
	failed   map[string]int64 // requests by Kafka's name of the error
}

// load sends what was built.
type load struct {
	cfg     Config
	batches []builtBatch
	frames  []produceFrame // one for each batch

	left atomic.Int64 // bytes that may still be sent

	mu  sync.Mutex
	sum loadResult
}

// request is one that waits for its answer.
type request struct {
	due   time.Time
	batch int
}

// newLoad builds the batches and frames of a run.
func newLoad(cfg Config) (*load, error) { return newLoadOf(cfg, clientID) }

// newLoadOf is newLoad for a client that calls itself id.
func newLoadOf(cfg Config, id string) (*load, error) {
	batches, err := buildBatches(cfg)
	if err != nil {
		return nil, err
	}
	l := &load{cfg: cfg, batches: batches}
	for _, b := range batches {
		l.frames = append(l.frames, newProduceFrame(cfg.Topic, id, len(b.raw)))
	}
	return l, nil
}

// run sends over one connection a route until d has passed or Config.TotalBytes were sent, and returns when all is
// answered. producer gives an idempotent producer's id for each connection; nil: none.
func (l *load) run(ctx context.Context, routes []route, d time.Duration, producer func(context.Context, string) (int64, int16, error)) (loadResult, error) {
	l.left.Store(l.cfg.TotalBytes)
	l.sum = loadResult{failed: map[string]int64{}}
	var pace time.Duration
	if l.cfg.Rate > 0 {
		perSecond := float64(l.cfg.Rate) / float64(len(l.batches[0].raw)) / float64(len(routes))
		pace = time.Duration(float64(time.Second) / perSecond)
	}
	g, ctx := errgroup.WithContext(ctx)
	begun := time.Now()
	for i, r := range routes {
		g.Go(func() error {
			c := connection{load: l, route: r, turn: i, end: begun.Add(d), pace: pace, due: begun.Add(pace * time.Duration(i) / time.Duration(len(routes)))}
			if producer != nil {
				var err error
				if c.producer, c.epoch, err = producer(ctx, r.addr); err != nil {
					return err
				}
				c.sequences = make(map[int32]int32)
			}
			if err := c.run(ctx); err != nil {
				return fmt.Errorf("connection to %s: %w", r.addr, err)
			}
			return nil
		})
	}
	err := g.Wait()
	l.sum.took = time.Since(begun)
	return l.sum, err
}

// connection is one of a load.
type connection struct {
	load  *load
	route route
	turn  int // counts requests, so that connections begin with different batches and partitions
	end   time.Time
	pace  time.Duration // between requests; 0: none
	due   time.Time     // of the next request, with a pace

	producer  int64
	epoch     int16
	sequences map[int32]int32 // by partition; nil: not idempotent
}

func (c *connection) run(ctx context.Context) error {
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", c.route.addr)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	_ = nc.SetDeadline(c.end.Add(patience)) // fails only on a closed connection, which the next call tells
	places := make(chan struct{}, c.load.cfg.InFlight)
	sent := make(chan request, c.load.cfg.InFlight) // never full: who sends has a place
	wrote := make(chan error, 1)
	go func() {
		defer close(sent)
		wrote <- c.write(ctx, nc, places, sent)
	}()
	readErr := c.read(nc, places, sent)
	if readErr != nil {
		cancel()
	}
	return cmp.Or(readErr, <-wrote)
}

// write sends requests, each when it has a place among those on their way.
func (c *connection) write(ctx context.Context, nc net.Conn, places chan<- struct{}, sent chan<- request) error {
	var (
		heads   = make([][]byte, c.load.cfg.InFlight)
		batches = make([][]byte, c.load.cfg.InFlight)
		number  = int32(0)
		out     net.Buffers
	)
	for goOn := true; goOn; {
		out = out[:0]
		for i, size := 0, 0; i < len(heads) && size < gather; i++ {
			if !c.place(ctx, places, i == 0) {
				break
			}
			var due time.Time
			if due, goOn = c.next(ctx); !goOn {
				break
			}
			batch := c.turn % len(c.load.batches)
			partition := c.route.partitions[c.turn%len(c.route.partitions)]
			c.turn++
			f, b := &c.load.frames[batch], &c.load.batches[batch]
			raw := b.raw
			if c.sequences != nil {
				batches[i] = sequenceBatch(batches[i], raw, c.producer, c.epoch, c.sequences[partition])
				c.sequences[partition] = (c.sequences[partition] + int32(b.records)) & math.MaxInt32
				raw = batches[i]
			}
			heads[i] = f.patch(heads[i], number, partition)
			number++
			sent <- request{due, batch}
			out = append(out, heads[i], raw, f.tail)
			size += len(raw)
		}
		if len(out) == 0 {
			return ctx.Err()
		}
		w := out // WriteTo consumes its receiver
		if _, err := w.WriteTo(nc); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// place takes a place for one more request: after waiting for it, or else only if it is free and the request due.
func (c *connection) place(ctx context.Context, places chan<- struct{}, wait bool) bool {
	if !wait {
		if c.pace > 0 && c.due.After(time.Now()) {
			return false
		}
		select {
		case places <- struct{}{}:
			return true
		default:
			return false
		}
	}
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// next tells when the next request is due, after waiting for it, and false when there is no further one.
func (c *connection) next(ctx context.Context) (time.Time, bool) {
	now := time.Now()
	if c.pace > 0 {
		at := c.due
		c.due = c.due.Add(c.pace)
		if at.After(c.end) {
			return at, false
		}
		if wait := at.Sub(now); wait > 0 {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				return at, false
			}
		}
		now = at
	}
	if ctx.Err() != nil || now.After(c.end) {
		return now, false
	}
	n := int64(len(c.load.batches[c.turn%len(c.load.batches)].raw))
	return now, c.load.left.Add(-n) >= 0
}

// read takes the answers, in the order of the requests.
func (c *connection) read(nc net.Conn, places <-chan struct{}, sent <-chan request) error {
	var (
		br     = bufio.NewReaderSize(nc, 16<<10)
		body   []byte
		head   [4]byte
		number int32
		sum    = loadResult{failed: map[string]int64{}}
	)
	defer func() { c.load.take(&sum) }()
	for r := range sent {
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > maxReply {
			return fmt.Errorf("receive: reply of %d bytes", n)
		}
		if int(n) > cap(body) {
			body = make([]byte, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(br, body); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		code, err := c.load.frames[r.batch].reply(body, number)
		if err != nil {
			return err
		}
		number++
		<-places
		sum.latency.add(time.Since(r.due))
		sum.requests++
		if code != 0 {
			sum.failed[errorName(code)]++
			continue
		}
		b := &c.load.batches[r.batch]
		sum.bytes += int64(len(b.raw))
		sum.records += int64(b.records)
		sum.hash += b.hash
	}
	return nil
}

func errorName(code int16) string {
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return fmt.Sprintf("code %d", code)
}

// take adds up what a connection did.
func (l *load) take(r *loadResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.requests += r.requests
	l.sum.bytes += r.bytes
	l.sum.records += r.records
	l.sum.hash += r.hash
	l.sum.latency.merge(&r.latency)
	for name, n := range r.failed {
		l.sum.failed[name] += n
	}
}
