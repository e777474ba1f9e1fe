package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/record"
)

// quarter is the agents of one zone over one store, with calls between them that tests may spoil.
type quarter struct {
	w       *world
	readers []*Reader
	owner   func(key string) int // an agent

	mu    sync.Mutex
	reads int
	spoil func(ctx context.Context, addr string, body []byte) ([]byte, error) // what becomes of an answer, or of a seed
}

// place is where one agent of a quarter stands.
type place struct {
	q *quarter
	n int
}

func (p place) Owner(key string) (string, bool) {
	n := p.q.owner(key)
	return fmt.Sprint(n), n == p.n
}

func (p place) to(addr string) *Reader {
	var n int
	if _, err := fmt.Sscan(addr, &n); err != nil || n == p.n {
		p.q.w.tb.Errorf("agent %d calls %q", p.n, addr)
	}
	return p.q.readers[n]
}

func (p place) pass(ctx context.Context, addr string, body []byte) ([]byte, error) {
	p.q.mu.Lock()
	spoil := p.q.spoil
	p.q.mu.Unlock()
	if spoil == nil {
		return body, nil
	}
	return spoil(ctx, addr, body)
}

func (p place) ReadObject(ctx context.Context, addr string, req *peerpb.ReadObjectRequest) ([]byte, error) {
	p.q.mu.Lock()
	p.q.reads++
	p.q.mu.Unlock()
	body, err := p.to(addr).HandleRead(ctx, req)
	if err != nil {
		return nil, err
	}
	return p.pass(ctx, addr, bytes.Clone(body))
}

func (p place) SeedObject(ctx context.Context, addr, key string, body []byte) error {
	body, err := p.pass(ctx, addr, bytes.Clone(body))
	if err != nil {
		return err
	}
	return p.to(addr).HandleSeed(ctx, key, body)
}

// zone makes a quarter of n agents, whose Run runs until the test ends.
func (w *world) zone(n int, change func(*Config)) *quarter {
	w.tb.Helper()
	q := &quarter{w: w}
	q.owner = func(key string) int {
		h := fnv.New32a()
		_, _ = h.Write([]byte(key)) // never fails
		return int(h.Sum32()>>8) % n
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range n {
		r := w.reader(func(c *Config) {
			c.Zone = place{q, i}
			if change != nil {
				change(c)
			}
		})
		q.readers = append(q.readers, r)
		running.Go(func() {
			if err := r.Run(ctx); err != nil {
				w.tb.Error(err)
			}
		})
	}
	w.tb.Cleanup(func() { stop(); running.Wait() })
	return q
}

func (q *quarter) spoils(how func(ctx context.Context, addr string, body []byte) ([]byte, error)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spoil = how
}

// sum adds up what the agents did.
func (q *quarter) sum(field func(Stats) int64) (n int64) {
	for _, r := range q.readers {
		n += field(r.Stats())
	}
	return n
}

// gets counts the reads of the store by object.
func (w *world) gets() map[string]int {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	counts := map[string]int{}
	for _, r := range w.store.reads {
		key, _, _ := strings.Cut(r, "@")
		counts[key]++
	}
	return counts
}

// slow makes reads of the store take d.
func (w *world) slow(d time.Duration) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.hook = func(ctx context.Context, _ string) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow reads partitions with one fetch at a time, from their starts up to end, and tells how many bytes came.
func (w *world) follow(r *Reader, end record.Offset, indexes ...int32) (total int64) {
	at := map[int32]record.Offset{}
	for turn := uint64(0); len(indexes) > 0; turn++ {
		req := Request{MinBytes: 1, MaxBytes: 50 << 20, MaxWait: time.Minute, Turn: turn}
		for _, i := range indexes {
			req.Partitions = append(req.Partitions, PartitionRequest{w.part(i), at[i], 1 << 20})
		}
		got := r.Fetch(context.Background(), req)
		for n, p := range got.Partitions {
			if p.Err != nil {
				w.tb.Errorf("partition %d at %d: %v", indexes[n], at[indexes[n]], p.Err)
				return total
			}
			total += int64(p.Size)
			for _, b := range batches(w.tb, p) {
				at[indexes[n]] = b.LastOffset() + 1
			}
		}
		got.Release()
		indexes = slices.DeleteFunc(slices.Clone(indexes), func(i int32) bool { return at[i] >= end })
	}
	return total
}

// TestOneReadOfAnObjectInAZone: whatever the number of partitions, consumers and agents.
func TestOneReadOfAnObjectInAZone(t *testing.T) {
	const objects, partitions, agents = 20, 12, 3
	for _, groups := range []int{1, 10} {
		for name, change := range map[string]func(*Config){
			"small objects":           nil,
			"one partition at a time": func(c *Config) { c.PartitionReads = 1 },
		} {
			t.Run(fmt.Sprintf("%d groups, %s", groups, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, partitions)
					w.slow(20 * time.Millisecond)
					q := w.zone(agents, change)
					var consumers sync.WaitGroup
					var read sync.Map
					for g := range groups {
						for a := range agents { // each reads four partitions, by way of its own agent
							consumers.Go(func() {
								read.Store([2]int{g, a}, w.follow(q.readers[a], 2*objects, int32(a), int32(a+3), int32(a+6), int32(a+9)))
							})
						}
					}
					var size int64
					for range objects {
						runs := map[int32][]record.Batch{}
						for p := range int32(partitions) {
							runs[p] = []record.Batch{w.batch(p, record.None, 2, 1000+int(p))}
							size += int64(runs[p][0].Len())
						}
						w.commit(runs)
						time.Sleep(50 * time.Millisecond)
					}
					consumers.Wait()
					var total int64
					read.Range(func(_, n any) bool { total += n.(int64); return true })
					if total != size*int64(groups) {
						t.Errorf("%d bytes read, want %d", total, size*int64(groups))
					}
					gets := w.gets()
					for key, n := range gets {
						if n != 1 {
							t.Errorf("%s was read %d times", key, n)
						}
					}
					if len(gets) != objects {
						t.Errorf("%d objects were read, want %d", len(gets), objects)
					}
					if n := q.sum(func(s Stats) int64 { return s.Store }); n != objects || q.sum(func(s Stats) int64 { return s.Fallbacks + s.Refused + s.Cold }) != 0 {
						t.Errorf("agents count %d reads of the store, want %d: %+v", n, objects, q.readers[0].Stats())
					}
					if q.reads == 0 || q.sum(func(s Stats) int64 { return s.Served }) != q.sum(func(s Stats) int64 { return s.Owner }) {
						t.Errorf("%d calls between agents; served are %d, received %d", q.reads, q.sum(func(s Stats) int64 { return s.Served }), q.sum(func(s Stats) int64 { return s.Owner }))
					}
				})
			})
		}
	}
}

// TestSeededObjectsAreNotReadAtAll: the agent that made an object hands it to the one that keeps it.
func TestSeededObjectsAreNotReadAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		q := w.zone(3, nil)
		var consumers sync.WaitGroup
		for a := range 3 {
			for range 4 {
				consumers.Go(func() { w.follow(q.readers[a], 30, int32(a)) })
			}
		}
		var pool record.BufferPool
		for n := range 30 {
			key, body := w.layOut(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 500)}, 1: {w.batch(1, record.LZ4, 1, 50)}, 2: {w.batch(2, record.None, 1, 9)}})
			lent := pool.Lend(len(body))
			copy(lent.Bytes, body)
			q.readers[n%3].Seed(key, lent)
			lent.Release()
			time.Sleep(10 * time.Millisecond) // the commit takes longer than the way to the owner
			w.commitAll()
		}
		consumers.Wait()
		if w.store.count() != 0 {
			t.Errorf("%d reads of the store, want none", w.store.count())
		}
		sent, taken := q.sum(func(s Stats) int64 { return s.SeedsSent }), q.sum(func(s Stats) int64 { return s.SeedsTaken })
		if sent == 0 || sent == 30 || sent != taken || q.sum(func(s Stats) int64 { return s.SeedsDropped + s.SeedsRefused }) != 0 {
			t.Errorf("%d seeds sent, %d taken, want as many: those whose owner is another agent", sent, taken)
		}
	})
}

// away makes agent 1 the owner of everything, and gives a consumer of agent 0.
func (w *world) away(change func(*Config)) *quarter {
	q := w.zone(2, change)
	q.owner = func(string) int { return 1 }
	return q
}

func TestOwnerThatHangsIsPassedOverForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		q := w.away(nil)
		hangs := func(ctx context.Context, _ string, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }
		q.spoils(hangs)
		read := func(calls, gets int, least, most time.Duration) {
			t.Helper()
			w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 100)}, 1: {w.batch(1, record.None, 1, 100)}})
			start := time.Now()
			calls, gets = q.reads+calls, w.store.count()+gets
			w.wantConsumed(q.readers[0], 0, w.next[0]-1, 1<<20)
			w.wantConsumed(q.readers[0], 1, w.next[1]-1, 1<<20)
			if took := time.Since(start); took < least || took > most || q.reads != calls || w.store.count() != gets {
				t.Errorf("%v, %d calls and %d reads of the store; want %v to %v, %d and %d", took, q.reads, w.store.count(), least, most, calls, gets)
			}
		}
		read(1, 2, 300*time.Millisecond, 310*time.Millisecond) // the owner reads it, and so does agent 0
		read(0, 1, 0, 0)
		time.Sleep(shunTime)
		read(1, 2, 300*time.Millisecond, 310*time.Millisecond)
		time.Sleep(shunTime)
		q.spoils(nil)
		read(1, 1, 0, 0)
		if s := q.readers[0].Stats(); s.Fallbacks != 3 {
			t.Errorf("%d fallbacks, want 3", s.Fallbacks)
		}
	})
}

func TestOwnerThatDiesInTheMiddleOfAReadCostsOneReadMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		q := w.away(nil)
		w.slow(50 * time.Millisecond)
		q.spoils(func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("connection reset") })
		var consumers sync.WaitGroup
		for i := range int32(4) {
			for range 3 {
				consumers.Go(func() { w.follow(q.readers[0], 1, i) })
			}
		}
		runs := map[int32][]record.Batch{}
		for i := range int32(4) {
			runs[i] = []record.Batch{w.batch(i, record.None, 1, 100)}
		}
		time.Sleep(time.Second)
		key, _ := w.commit(runs)
		consumers.Wait()
		if got := w.gets()[key]; got != 2 {
			t.Errorf("the object was read %d times, want twice: by the dead owner and by the agent that asked it", got)
		}
	})
}

func TestWhatTheOwnerBeganIsFinishedThoughTheCallerLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		q := w.away(nil)
		w.slow(time.Second)
		key, body := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 100)}})
		req := &peerpb.ReadObjectRequest{Key: key, Size: int64(len(body)), Pos: 64, Length: 70}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if got, err := q.readers[1].HandleRead(ctx, req); err != nil || !bytes.Equal(got, body[64:134]) {
			t.Errorf("%v", err)
		}
		if got, err := q.readers[1].HandleRead(t.Context(), req); err != nil || !bytes.Equal(got, body[64:134]) || w.store.count() != 1 {
			t.Errorf("%v after %d reads of the store, want one", err, w.store.count())
		}
	})
}

// TestAgentsThatDisagreeAboutTheOwnerDoNotWaitForEachOther: each takes the other for it.
func TestAgentsThatDisagreeAboutTheOwnerDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		q := w.zone(2, nil)
		for i, r := range q.readers {
			r.cfg.Zone = fixed{place{q, i}, 1 - i}
		}
		w.slow(50 * time.Millisecond)
		start := time.Now()
		var consumers sync.WaitGroup
		for _, r := range q.readers {
			consumers.Go(func() { w.follow(r, 1, 0) })
		}
		w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 100)}})
		consumers.Wait()
		if took := time.Since(start); took > 100*time.Millisecond || w.store.count() != 2 || q.sum(func(s Stats) int64 { return s.Fallbacks }) != 0 {
			t.Errorf("%d reads of the store after %v, want two and no waiting", w.store.count(), took)
		}
	})
}

// fixed is a place whose agent believes that owner owns everything.
type fixed struct {
	place
	owner int
}

func (f fixed) Owner(string) (string, bool) { return fmt.Sprint(f.owner), false }

func TestOnlyObjectsAreReadForOthers(t *testing.T) {
	w := newWorld(t, 1)
	key, body := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 20, 100)}})
	w.compact("tables/t/_data/1.parquet", nil, map[int32]record.Offset{0: 20}, nil)
	file, err := w.store.Get(t.Context(), "tables/t/_data/1.parquet", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"meta/secret", "cluster.json", "tables/t/_delta_log/0.json", "wal/2/x"} {
		if err := w.store.Put(t.Context(), k, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	r := w.reader(nil)
	size := int64(len(body))
	for _, c := range []struct {
		key            string
		size, pos, len int64
		want           []byte
	}{
		{key, size, 0, size, body},
		{key, size, 70, 1, body[70:71]},
		{"tables/t/_data/1.parquet", int64(len(file)), 4, 100, file[4:104]},
		{key, size, 0, size + 1, nil},
		{key, size, -1, 10, nil},
		{key, size, size - 1, 2, nil},
		{key, size, 0, 0, nil},
		{key, size, 1 << 62, 1 << 62, nil},
		{key, 0, 0, 10, nil},
		{key, 1 << 40, 0, maxPeerBytes + 1, nil},
		{"meta/secret", 100, 0, 100, nil},
		{"cluster.json", 100, 0, 100, nil},
		{"tables/t/_delta_log/0.json", 100, 0, 100, nil},
		{"wal/2/x", 100, 0, 100, nil},
		{"", 100, 0, 100, nil},
		{"tables/t/_data/../../../meta/secret", 100, 0, 100, nil},
		{"wal/1/0000000000000001/sorted-x/../../../../meta/secret", 100, 0, 100, nil},
	} {
		got, err := r.HandleRead(t.Context(), &peerpb.ReadObjectRequest{Key: c.key, Size: c.size, Pos: c.pos, Length: c.len})
		if c.want == nil && !errors.Is(err, ErrRefused) || c.want != nil && (err != nil || !bytes.Equal(got, c.want)) {
			t.Errorf("%d bytes at %d of %q (%d): %d bytes, %v", c.len, c.pos, c.key, c.size, len(got), err)
		}
	}
	if gets := w.gets(); len(gets) != 2 || gets[key] != 1 {
		t.Errorf("reads of the store: %v", gets)
	}
	if err := w.store.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if _, err := w.reader(nil).HandleRead(t.Context(), &peerpb.ReadObjectRequest{Key: key, Size: size, Length: size}); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("an object that is gone: %v", err)
	}
}

// FuzzReadsForOthers: whatever another agent asks for, nothing but what is kept for others is read, and an answer is as long as asked.
func FuzzReadsForOthers(f *testing.F) {
	f.Add("wal/1/0000000000000001/0000000000000001-x", int64(100), int64(3), int64(10), false)
	f.Add("inline/7/100/200", int64(200), int64(0), int64(200), true)
	f.Add("tables/t/_data/x.parquet", int64(9<<20), int64(5<<20), int64(4<<20), true)
	f.Add("meta/secret", int64(32), int64(0), int64(32), false)
	f.Add("tables/_data/../meta/secret", int64(32), int64(0), int64(32), false)
	f.Fuzz(func(t *testing.T, key string, size, pos, length int64, lagging bool) {
		cfg := DefaultConfig()
		var read int64
		store := zeros(func(k string, n int64) {
			read += n
			if k != key || !strings.HasPrefix(k, "wal/1/") && !strings.HasPrefix(k, "inline/") && !strings.HasPrefix(k, "tables/") || slices.Contains(strings.Split(k, "/"), "..") {
				t.Errorf("%q was read for %q", k, key)
			}
		})
		r, err := New(cfg, metadata.NewView(), store, OpenParquet, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.HandleRead(t.Context(), &peerpb.ReadObjectRequest{Key: key, Size: size, Pos: pos, Length: length, Lagging: lagging})
		if err == nil && int64(len(got)) != length || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%d bytes at %d of %q: %d bytes, %v", length, pos, key, len(got), err)
		}
		if read > cfg.WholeObjectBytes {
			t.Errorf("%d bytes were read for %d", read, length)
		}
	})
}

// zeros is a store of objects of zeros, which tells what is read.
type zeros func(key string, n int64)

func (z zeros) GetRange(_ context.Context, key string, _, length int64) ([]byte, error) {
	z(key, length)
	return make([]byte, length), nil
}

func TestReadsForOthersAreBoundedByKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		key, body := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 20, 100)}})
		w.slow(time.Second)
		r := w.reader(nil)
		ask := func(lagging bool, size int64) error {
			_, err := r.HandleRead(t.Context(), &peerpb.ReadObjectRequest{Key: key, Size: size, Length: 10, Lagging: lagging})
			return err
		}
		var asking sync.WaitGroup
		for range peerBytes / leastPeerBytes {
			asking.Go(func() {
				if err := ask(true, int64(len(body))); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := ask(true, int64(len(body))); !errors.Is(err, ErrBusy) {
			t.Errorf("one read for a lagging reader more: %v, want ErrBusy", err)
		}
		if err := ask(false, int64(len(body))); err != nil {
			t.Errorf("a read at the log's end beside them: %v", err)
		}
		asking.Wait()
		if w.store.count() != 1 || r.Stats().Refused != 1 {
			t.Errorf("%d reads of the store, %d refused; want one each", w.store.count(), r.Stats().Refused)
		}
	})
}

func TestSeedsAreChecked(t *testing.T) {
	w := newWorld(t, 1)
	key, body := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 20, 100)}})
	other, _ := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 1, 10)}})
	damaged := bytes.Clone(body)
	damaged[200] ^= 4
	r := w.reader(func(c *Config) { c.WholeObjectBytes = int64(len(body)) })
	for name, c := range map[string]struct {
		key  string
		body []byte
		want error
	}{
		"damaged":           {key, damaged, ErrCorrupt},
		"cut off":           {key, body[:len(body)-1], ErrCorrupt},
		"empty":             {key, nil, ErrCorrupt},
		"another object":    {other, body, ErrCorrupt},
		"a file of a table": {"tables/t/_data/1.parquet", body, ErrRefused},
		"another key":       {"meta/secret", body, ErrRefused},
		"too large":         {key, append(bytes.Clone(body), 0), ErrRefused},
	} {
		if err := r.HandleSeed(t.Context(), c.key, c.body); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if s := r.Stats(); s.SeedsTaken != 0 || s.SeedsRefused != 7 || r.objects.tail.used != 0 {
		t.Errorf("%+v, %d bytes in the tail", s, r.objects.tail.used)
	}
	for _, k := range []string{key, "inline/7/100/" + fmt.Sprint(len(body))} {
		if err := r.HandleSeed(t.Context(), k, body); err != nil {
			t.Errorf("%s: %v", k, err)
		}
	}
	w.wantConsumed(r, 0, 0, 1<<20)
	if gets := w.gets(); len(gets) != 1 || gets[key] != 0 {
		t.Errorf("reads of the store: %v, want none of %s", gets, key)
	}
}

func TestSeedsThatFindNoRoomAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		q := w.zone(3, func(c *Config) { c.SeedBytes = 40_000 })
		q.owner = func(key string) int { return int(key[len(key)-1] - '0') }
		q.spoils(func(ctx context.Context, addr string, body []byte) ([]byte, error) {
			if addr == "1" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return body, nil
		})
		synctest.Wait() // for Run
		var pool record.BufferPool
		seed := func(n, owner int) {
			w.objects++
			ow := record.NewObjectWriter(record.ObjectHeader{Session: 1, Counter: w.objects}, 0)
			if err := ow.Add(w.part(0), w.batch(0, record.None, 1, 4000)); err != nil {
				t.Fatal(err)
			}
			body, _, err := ow.Finish()
			if err != nil {
				t.Fatal(err)
			}
			b := pool.Lend(len(body))
			copy(b.Bytes, body)
			q.readers[0].Seed(record.ObjectKey(1, w.objects, fmt.Sprint("x", owner)), b)
			b.Release()
			synctest.Wait()
		}
		start := time.Now()
		for n := range 10 { // of 4.5 KiB: one on its way, four wait
			seed(n, 1)
		}
		for n := range 5 {
			seed(n, 2)
		}
		if s := q.readers[0].Stats(); s.SeedsDropped != 5 || s.SeedsSent != 5 || time.Since(start) != 0 {
			t.Errorf("%d dropped, %d sent after %v; want 5 and 5 at once", s.SeedsDropped, s.SeedsSent, time.Since(start))
		}
		time.Sleep(seedTimeout)
		synctest.Wait()
		seed(0, 1) // left alone for a while
		if s := q.readers[0].Stats(); s.SeedsDropped != 11 || q.readers[0].seeds.bytes != 0 {
			t.Errorf("%d dropped, %d bytes wait; want 11, 0", s.SeedsDropped, q.readers[0].seeds.bytes)
		}
		time.Sleep(shunTime)
		q.spoils(nil)
		seed(0, 1)
		if s := q.readers[0].Stats(); s.SeedsDropped != 11 || s.SeedsSent != 6 {
			t.Errorf("%d dropped, %d sent; want 11 and 6", s.SeedsDropped, s.SeedsSent)
		}
	})
}

func TestNothingWaitsWhereNobodySends(t *testing.T) {
	w := newWorld(t, 1)
	q := &quarter{w: w, owner: func(string) int { return 1 }}
	r := w.reader(func(c *Config) { c.Zone = place{q, 0} })
	_, body := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 20, 100)}})
	r.Seed("wal/x", record.NewBuffer(body))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
	r.Seed("wal/y", record.NewBuffer(body))
	if s := r.Stats(); s.SeedsDropped != 2 || r.seeds.bytes != 0 {
		t.Errorf("%d dropped, %d bytes wait; want 2, 0", s.SeedsDropped, r.seeds.bytes)
	}
}

// TestDamageOnTheWayFromAnotherAgentIsMended: the store is asked, and what was damaged is not kept.
func TestDamageOnTheWayFromAnotherAgentIsMended(t *testing.T) {
	here := func(body []byte) {
		for i := range body {
			if i%100 == 99 {
				body[i] ^= 1
			}
		}
	}
	// The length of the footer, four bytes before the magic, then asks for a gigabyte.
	length := func(body []byte) { body[len(body)-5] ^= 0x40 }
	for name, c := range map[string]struct {
		compacted bool
		damage    func([]byte)
	}{"object": {false, here}, "parquet": {true, here}, "parquet's length": {true, length}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			q := w.away(nil)
			w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 500, 100)}})
			if c.compacted {
				w.compact("tables/t/_data/1.parquet", nil, map[int32]record.Offset{0: 500}, nil)
			}
			q.spoils(func(_ context.Context, _ string, body []byte) ([]byte, error) {
				c.damage(body)
				return body, nil
			})
			w.wantConsumed(q.readers[0], 0, 0, 1<<20)
			calls := q.reads
			if calls == 0 {
				t.Fatal("the owner was not asked")
			}
			w.wantConsumed(q.readers[0], 0, 0, 1<<20)
			if q.reads != calls {
				t.Errorf("%d calls more: what came from the store was not kept", q.reads-calls)
			}
		})
	}
}

// TestWhatCameBetweenTheLookAndTheReadIsNotReadAgain: by another's read that has just ended.
func TestWhatCameBetweenTheLookAndTheReadIsNotReadAgain(t *testing.T) {
	w := newWorld(t, 1)
	q := w.away(nil)
	key, body := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 50, 100)}})
	for _, lagging := range []bool{false, true} {
		o := q.readers[0].objects
		wanted := want{object: key, size: int64(len(body)), pos: 0, len: 100, lagging: lagging}
		k := wanted.stored(o.cfg)
		o.tail.forget(k)
		o.keep(newExtent(k, body), lagging)
		if e, err := o.fromStore(t.Context(), &wanted, k); err != nil || !bytes.Equal(e.from(0), body) {
			t.Error(err)
		}
		if e, err := o.ask(t.Context(), "1", &wanted, k, k); err != nil || !bytes.Equal(e.from(0), body) {
			t.Error(err)
		}
	}
	if w.store.count() != 0 || q.reads != 0 {
		t.Errorf("%d reads of the store, %d calls; want none", w.store.count(), q.reads)
	}
}

func TestAnswersOfTheWrongLengthAreNotTaken(t *testing.T) {
	w := newWorld(t, 1)
	q := w.away(nil)
	w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 50, 100)}})
	q.spoils(func(_ context.Context, _ string, body []byte) ([]byte, error) { return body[:len(body)-1], nil })
	w.wantConsumed(q.readers[0], 0, 0, 1<<20)
	if s := q.readers[0].Stats(); s.Fallbacks != 1 || s.Store != 1 {
		t.Errorf("%+v, want one fallback to the store", s)
	}
}

// TestAnObjectThatIsGoneIsLocatedAgainAtOnce: the owner's word is enough.
func TestAnObjectThatIsGoneIsLocatedAgainAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	key, _ := w.commit(map[int32][]record.Batch{0: {w.batch(0, record.None, 20, 100)}})
	q := w.away(func(c *Config) {
		c.CatchUp = func(context.Context) error {
			w.compact("tables/t/_data/1.parquet", nil, map[int32]record.Offset{0: 20}, nil)
			return nil
		}
	})
	if err := w.store.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	w.wantConsumed(q.readers[0], 0, 0, 1<<20)
	if got := w.gets()[key]; got != 1 {
		t.Errorf("the object that is gone was asked for %d times, want once", got)
	}
	if q.readers[0].objects.owners.shuns("1", false) {
		t.Error("the owner is shunned for having told the truth")
	}
}

// TestCellsOfLargeObjectsAndFilesAreReadOnce: by many consumers, each of its own partition, at many agents.
func TestCellsOfLargeObjectsAndFilesAreReadOnce(t *testing.T) {
	const partitions, agents, cell = 20, 4, 64 << 10
	for name, compacted := range map[string]bool{"object": false, "parquet": true} {
		for _, groups := range []int{1, 10} {
			t.Run(fmt.Sprintf("%s, %d groups", name, groups), func(t *testing.T) {
				w := newWorld(t, partitions)
				runs := map[int32][]record.Batch{}
				ends := map[int32]record.Offset{}
				for p := range int32(partitions) {
					runs[p] = []record.Batch{w.batch(p, record.None, 100, 300)}
					ends[p] = 100
				}
				key, _ := w.commit(runs)
				if compacted {
					key = "tables/t/_data/1.parquet"
					w.groupRows = 40
					w.compact(key, nil, ends, nil)
				}
				body, err := w.store.Get(t.Context(), key, 1<<30)
				if err != nil {
					t.Fatal(err)
				}
				w.store.reads = nil
				q := w.zone(agents, func(c *Config) { c.WholeObjectBytes, c.CellBytes = 1000, cell })
				var consumers sync.WaitGroup
				for range groups {
					for p := range int32(partitions) {
						consumers.Go(func() { w.follow(q.readers[p%agents], 100, p) })
					}
				}
				consumers.Wait()
				seen := map[string]int{}
				for _, r := range w.store.reads {
					seen[r]++
				}
				cells := (len(body) + cell - 1) / cell
				want := cells
				if !compacted {
					want += cells - 1 // runs that lie in two
				}
				if len(seen) > want || slices.Max(slices.Collect(maps.Values(seen))) != 1 {
					t.Errorf("%d bytes in %d cells: %d reads of %v", len(body), cells, w.store.count(), seen)
				}
			})
		}
	}
}
