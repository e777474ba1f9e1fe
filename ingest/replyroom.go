package ingest

import (
	"context"
	"time"
)

const (
	// maxAdmitWait bounds how long a Fetch waits for room for its reply: whoever does not read holds up nobody for longer.
	maxAdmitWait = time.Second
	// replyShare: a reply gets one part in so many of the room that is free.
	replyShare = 4
	// smallReply is one batch of Kafka's default max.message.bytes. With less room than this a Fetch waits.
	smallReply = 1<<20 + 12
	// tinyReply goes out in any case.
	tinyReply = 64 << 10
	// largestBatch is the most that max.message.bytes can be set to.
	largestBatch = 64 << 20
)

// replyRoom holds room for a reply that is being read. Its admit is fetch.Request.Admit.
//
// Peers that do not read their replies use the budget up, in the end all of it. Three rules keep everybody else going:
// nobody gets more than a share of what is free, so that small replies pass for long; a reply as large as one usual batch
// passes a full budget, by a quarter of it over all, and a tiny one always; and a first batch larger than that, without
// which its consumer would be stuck, takes its turn in a budget of its own.
type replyRoom struct {
	replies, large *byteBudget

	asked bool
	taken int64 // of replies
	lane  int64 // of large
}

// admit takes room: at first for what fits of want, and when asked again, for a first batch, for all of it or nothing.
// It waits until ctx ends, a second at most. The error is always nil.
func (r *replyRoom) admit(ctx context.Context, want int64) (allowed int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxAdmitWait)
	defer cancel()
	if r.asked {
		return r.all(ctx, want), nil
	}
	r.asked = true
	return r.some(ctx, want), nil
}

func (r *replyRoom) some(ctx context.Context, want int64) int64 {
	n := r.replies.share(want, replyShare)
	if least := min(want, smallReply); n < least {
		r.replies.release(n)
		n = least
		if r.replies.acquire(ctx, n) != nil && !r.overdraw(n) {
			n = min(want, tinyReply)
			r.replies.force(n)
		}
	}
	r.taken += n
	return n
}

func (r *replyRoom) all(ctx context.Context, n int64) int64 {
	switch {
	case r.replies.try(n) || r.overdraw(n):
		r.taken += n
	case r.large.acquire(ctx, n) == nil:
		r.lane += n
	default:
		return 0
	}
	return n
}

// overdraw takes n bytes that are not free, if n is small.
func (r *replyRoom) overdraw(n int64) bool {
	over := r.replies.inUse() - r.replies.capacity
	if n > tinyReply && (n > smallReply || over > r.replies.capacity/4) {
		return false
	}
	r.replies.force(n)
	return true
}

// handOver leaves what was taken for a large first batch to the reply, until it is sent. The rest the reply has paid for
// by its size.
func (r *replyRoom) handOver(to *reply) {
	to.large = min(r.lane, to.sending)
	r.replies.release(to.large)
	r.large.release(r.lane - to.large)
	r.lane = 0
}

func (r *replyRoom) giveBack() {
	r.replies.release(r.taken)
	r.large.release(r.lane)
	r.asked, r.taken, r.lane = false, 0, 0
}
