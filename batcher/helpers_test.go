package batcher

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

func part(topic byte, index int32) record.Partition {
	return record.Partition{Topic: record.TopicID{topic}, Index: index}
}

// batchOf makes a batch of so many records, each with a value of so many bytes that begins with mark.
func batchOf(tb testing.TB, mark string, records, size int) record.Batch {
	tb.Helper()
	b := record.NewBuilder(record.None)
	for i := range records {
		value := make([]byte, max(size, len(mark)))
		copy(value, mark)
		if err := b.Append(&record.Record{Offset: record.Offset(i), Timestamp: 1000, Value: value}); err != nil {
			tb.Fatal(err)
		}
	}
	raw, err := b.Build(nil)
	if err != nil {
		tb.Fatal(err)
	}
	batch, err := record.Parse(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return batch
}

func one(tb testing.TB, p record.Partition, mark string, size int) []record.Append {
	tb.Helper()
	return []record.Append{{Partition: p, Batch: batchOf(tb, mark, 1, size)}}
}

// idempotent makes an append of one batch as an idempotent producer sends it.
func idempotent(tb testing.TB, p record.Partition, id int64, epoch int16, first int32, records int) record.Append {
	tb.Helper()
	raw := slices.Clone(batchOf(tb, fmt.Sprintf("%d/%d/%d", id, epoch, first), records, 20).Bytes())
	binary.BigEndian.PutUint64(raw[43:], uint64(id))
	binary.BigEndian.PutUint16(raw[51:], uint16(epoch))
	binary.BigEndian.PutUint32(raw[53:], uint32(first))
	binary.BigEndian.PutUint32(raw[17:], record.Checksum(raw[21:]))
	batch, err := record.Parse(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return record.Append{Partition: p, Batch: batch}
}

// put is one call of the store.
type put struct {
	key  string
	body []byte
	at   time.Duration
}

// store is a Putter whose calls take as long and fail as the test says.
type store struct {
	start time.Time
	fate  func(counter int) (time.Duration, error) // of the object's upload; nil: at once

	mu      sync.Mutex
	calls   int
	now     int // under way
	most    int
	objects map[string][]byte
	puts    []put // finished, in order
}

func (s *store) Put(ctx context.Context, key string, body []byte) error {
	s.mu.Lock()
	s.calls++
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	var wait time.Duration
	var err error
	if s.fate != nil {
		var session, counter int
		if _, err := fmt.Sscanf(key, "wal/1/%x/%x-", &session, &counter); err != nil {
			panic(key)
		}
		wait, err = s.fate(counter)
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	if err != nil {
		return err
	}
	if held, taken := s.objects[key]; taken && !slices.Equal(held, body) {
		panic("object " + key + " written with other bytes")
	}
	s.objects[key] = slices.Clone(body)
	s.puts = append(s.puts, put{key: key, body: s.objects[key], at: time.Since(s.start)})
	return nil
}

// ledger is a Committer with the rules of metadata.State for sessions, that gives offsets.
type ledger struct {
	delay time.Duration
	fault func(try int, c metadata.CommitObject) (effect bool, err error) // nil error: as it should be
	stuck chan struct{}                                                   // not nil: Submit waits until it is closed

	mu      sync.Mutex
	tries   int
	queue   chan func()
	next    uint64
	settled uint64
	sealed  bool
	results map[uint64]metadata.CommitObjectResult
	ends    map[record.Partition]record.Offset
	commits []metadata.CommitObject // that took effect, in order
}

func newLedger() *ledger {
	return &ledger{
		queue: make(chan func(), 1000), results: map[uint64]metadata.CommitObjectResult{}, ends: map[record.Partition]record.Offset{},
	}
}

// run answers in the order of submission, each after the delay but all at once, as a group commit does.
func (l *ledger) run(ctx context.Context) {
	for {
		select {
		case answer := <-l.queue:
			answer()
		case <-ctx.Done():
			return
		}
	}
}

func (l *ledger) Submit(cmd metadata.Command, done func(metadata.Result, error)) {
	if l.stuck != nil {
		<-l.stuck
	}
	at := time.Now()
	l.queue <- func() {
		time.Sleep(l.delay - time.Since(at))
		c, ok := cmd.(metadata.CommitObject)
		if !ok {
			panic(fmt.Sprintf("%T submitted", cmd))
		}
		result, err := l.try(c)
		if err != nil {
			done(nil, err)
			return
		}
		done(result, nil)
	}
}

func (l *ledger) try(c metadata.CommitObject) (metadata.CommitObjectResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault != nil {
		effect, err := l.fault(l.tries, c)
		l.tries++
		if err != nil {
			if effect {
				l.apply(c)
			}
			return metadata.CommitObjectResult{}, err
		}
	}
	return l.apply(c), nil
}

func (l *ledger) apply(c metadata.CommitObject) metadata.CommitObjectResult {
	if l.sealed {
		return metadata.CommitObjectResult{Err: metadata.ErrSessionSealed}
	}
	if c.Settled > c.Counter || c.Settled < l.settled {
		panic(fmt.Sprintf("object %d says %d is settled after %d", c.Counter, c.Settled, l.settled))
	}
	l.settled = c.Settled
	if c.Counter < l.next {
		if held, ok := l.results[c.Counter]; ok {
			return held
		}
		return metadata.CommitObjectResult{Err: metadata.ErrOutOfOrderCounter}
	}
	l.next = c.Counter + 1
	l.commits = append(l.commits, c)
	var result metadata.CommitObjectResult
	for _, run := range c.Runs {
		var results []metadata.BatchResult
		for _, b := range run.Batches {
			results = append(results, metadata.BatchResult{BaseOffset: l.ends[run.Partition]})
			l.ends[run.Partition] += record.Offset(b.Records)
		}
		result.Batches = append(result.Batches, results)
	}
	l.results[c.Counter] = result
	return result
}

func (l *ledger) end(p record.Partition) record.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ends[p]
}

// rig is a batcher between a store and a ledger, inside a synctest bubble.
type rig struct {
	*Batcher
	t       *testing.T
	store   *store
	ledger  *ledger
	start   time.Time
	stop    context.CancelFunc
	stopped chan struct{}
	err     error // of Run, after stopped
	flushes []Flush
}

func (r *rig) Flushed(f Flush) { r.flushes = append(r.flushes, f) }

// inBubble runs test with a running batcher, and stops it afterwards if the test has not. cfg may be changed before.
func inBubble(t *testing.T, cfg Config, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, start: time.Now(), stopped: make(chan struct{}), ledger: newLedger()}
		r.store = &store{start: r.start, objects: map[string][]byte{}}
		if cfg.Session == 0 {
			cfg.Session = 7
		}
		var err error
		r.Batcher, err = New(cfg, r.store, r.ledger, time.Now, rand.New(rand.NewPCG(1, 2)), r, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		r.stop = stop
		ledgerCtx, stopLedger := context.WithCancel(t.Context())
		go r.ledger.run(ledgerCtx)
		go func() {
			defer close(r.stopped)
			r.err = r.Run(ctx)
		}()
		test(r)
		stop()
		<-r.stopped
		stopLedger()
		synctest.Wait()
	})
}

func (r *rig) append(appends []record.Append) *Pending {
	r.t.Helper()
	p, err := r.Append(r.t.Context(), appends)
	if err != nil {
		r.t.Fatalf("append: %v", err)
	}
	return p
}

// wait waits for the results and returns when they came, counted from the start.
func (r *rig) wait(p *Pending) ([]Result, time.Duration) {
	r.t.Helper()
	select {
	case <-p.Done():
	case <-time.After(time.Hour):
		r.t.Fatal("append was not answered within an hour")
	}
	return p.Results(), time.Since(r.start)
}

// offset waits for a call of one append and wants it committed at an offset.
func (r *rig) offset(p *Pending, want record.Offset) time.Duration {
	r.t.Helper()
	got, at := r.wait(p)
	if len(got) != 1 || got[0].Err != nil || got[0].BaseOffset != want {
		r.t.Fatalf("answered %+v, want offset %d", got, want)
	}
	return at
}

// fails waits for a call and wants every append of it refused with an error; what is not written is never called unknown.
func (r *rig) fails(p *Pending, want error) {
	r.t.Helper()
	got, _ := r.wait(p)
	for _, g := range got {
		if !errors.Is(g.Err, want) || g.BaseOffset != -1 {
			r.t.Fatalf("answered %+v, want %v", g, want)
		}
		if errors.Is(g.Err, ErrNotWritten) == errors.Is(g.Err, ErrOutcomeUnknown) {
			r.t.Fatalf("answered %v, which must be either not written or unknown", g.Err)
		}
	}
}
