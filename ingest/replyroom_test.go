package ingest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata"
)

// fullRoom is where replies hold over bytes more than they should, and no large first batch is out.
func fullRoom(over int64) *replyRoom {
	r := &replyRoom{replies: newByteBudget(512 << 20), large: newByteBudget(largestBatch)}
	r.replies.force(512<<20 + over)
	return r
}

func admit(t *testing.T, r *replyRoom, wait time.Duration, want int64) (allowed int64, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	start := time.Now()
	allowed, err := r.admit(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	return allowed, time.Since(start)
}

// However many take all they can get and give nothing back, a small reply passes at once.
func TestRepliesShareWhatIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newByteBudget(512 << 20)
		if n, took := admit(t, &replyRoom{replies: b}, time.Minute, 55<<20); n != 55<<20 || took != 0 {
			t.Errorf("the first got %d after %v, want all of 55 MiB at once", n, took)
		}
		for range 20 {
			admit(t, &replyRoom{replies: b}, time.Minute, 55<<20)
		}
		if n, took := admit(t, &replyRoom{replies: b}, time.Minute, 1000); n != 1000 || took != 0 {
			t.Errorf("a small one got %d after %v, with %d in use; want 1000 at once", n, took, b.inUse())
		}
	})
}

func TestFullBudgetDelaysAReplyForASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name       string
			over       int64 // in use beyond the bound
			wait       time.Duration
			want       int64
			allowed    int64
			takes      time.Duration
			firstBatch int64 // then asked for
			whole      bool
		}{
			{"small", 0, time.Minute, 1000, 1000, time.Second, 0, false},
			{"the client waits for less", 0, 300 * time.Millisecond, 1000, 1000, 300 * time.Millisecond, 0, false},
			{"the client does not wait", 0, 0, 1000, 1000, 0, 0, false},
			{"large", 0, time.Minute, 55 << 20, smallReply, time.Second, 0, false},
			{"over by a quarter", 129 << 20, time.Minute, 55 << 20, tinyReply, time.Second, 0, false},
			{"usual batch with a small limit", 0, time.Minute, 1, 1, time.Second, smallReply, true},
			{"large batch", 0, time.Minute, 1, 1, time.Second, 40 << 20, true},
			{"usual batch, over by a quarter", 129 << 20, time.Minute, 1, 1, time.Second, smallReply, true},
		} {
			r := fullRoom(c.over)
			before := r.replies.inUse()
			if n, took := admit(t, r, c.wait, c.want); n != c.allowed || took != c.takes {
				t.Errorf("%s: %d after %v, want %d after %v", c.name, n, took, c.allowed, c.takes)
			}
			if c.firstBatch > 0 {
				if n, _ := admit(t, r, c.wait, c.firstBatch); (n == c.firstBatch) != c.whole {
					t.Errorf("%s: %d of %d for the first batch", c.name, n, c.firstBatch)
				}
			}
			r.giveBack()
			if r.replies.inUse() != before || r.large.inUse() != 0 {
				t.Errorf("%s: %d and %d held at the end", c.name, r.replies.inUse()-before, r.large.inUse())
			}
		}
	})
}

// Where nothing is left, batches larger than usual take turns: every consumer gets on in the end.
func TestLargeFirstBatchesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := fullRoom(0)
		second := &replyRoom{replies: first.replies, large: first.large}
		for _, r := range []*replyRoom{first, second} {
			admit(t, r, 0, 1)
		}
		if n, _ := admit(t, first, time.Minute, largestBatch); n != largestBatch {
			t.Fatalf("the first got %d", n)
		}
		if n, took := admit(t, second, time.Minute, 2<<20); n != 0 || took != time.Second {
			t.Errorf("the second got %d after %v, want nothing after 1s", n, took)
		}
		// The first one's room stays taken until its reply is sent.
		sent := &reply{sending: largestBatch + 100}
		first.replies.force(sent.sending)
		first.handOver(sent)
		first.giveBack()
		if first.large.inUse() != largestBatch {
			t.Errorf("%d held for the reply", first.large.inUse())
		}
		go func() {
			time.Sleep(500 * time.Millisecond)
			first.large.release(sent.large)
		}()
		if n, took := admit(t, second, time.Minute, 2<<20); n != 2<<20 || took != 500*time.Millisecond {
			t.Errorf("the second got %d after %v, want its batch after 500ms", n, took)
		}
	})
}

// admitTwice stands in for a reader whose first answer is dropped.
type admitTwice struct {
	*fakeCluster
	room  *replyRoom
	t     *testing.T
	calls int
}

func (a *admitTwice) Fetch(ctx context.Context, req fetch.Request) fetch.Response {
	a.calls++
	if _, err := req.Admit(ctx, 1000); err != nil || a.room.replies.inUse() != 1000 {
		a.t.Errorf("call %d: %v, %d in use; want 1000", a.calls, err, a.room.replies.inUse())
	}
	return fetch.Response{Partitions: []fetch.PartitionResponse{{Err: metadata.ErrOffsetOutOfRange}}}
}

func TestASecondReadGivesBackWhatTheFirstTook(t *testing.T) {
	room := &replyRoom{replies: newByteBudget(1 << 20), large: newByteBudget(1)}
	a := &admitTwice{room: room, t: t}
	s := &Server{deps: Deps{Reader: a, Now: time.Now, Fresh: func(context.Context) error { return nil }}}
	s.read(t.Context(), fetch.Request{Admit: room.admit}, room)
	if a.calls != 2 {
		t.Errorf("%d calls, want 2", a.calls)
	}
}

// A peer that takes each piece just in time still has to take the whole reply at 64 KiB/s.
func TestReplyTakenTooSlowlyAsAWholeIsCutOff(t *testing.T) {
	for _, c := range []struct {
		name  string
		pause time.Duration // before each MiB
		cut   time.Duration // 0: not at all
	}{
		{"at the minimum", 16 * time.Second, 0},
		{"each piece just in time", 29 * time.Second, 30*time.Second + 55*16*time.Second},
		{"not at all", time.Hour, 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer func() { _ = theirs.Close() }()
			cn := &conn{s: &Server{cfg: DefaultConfig()}, nc: ours}
			var peer sync.WaitGroup
			peer.Go(func() {
				buf := make([]byte, 1<<20)
				for {
					time.Sleep(c.pause)
					if _, err := io.ReadFull(theirs, buf); err != nil {
						return
					}
				}
			})
			start := time.Now()
			err := cn.send(net.Buffers{make([]byte, 55<<20)}, 55<<20)
			took := time.Since(start)
			if c.cut == 0 && err != nil || c.cut != 0 && (!isTimeout(err) || took != c.cut) {
				t.Errorf("%s: %v after %v, want the cut after %v", c.name, err, took, c.cut)
			}
			_ = ours.Close()
			peer.Wait()
		})
	}
}
