package ingest

import (
	"errors"
	"net"
	"time"
)

const (
	// Replies that are ready together go out together: up to so many, and no more than so many bytes.
	maxJoinedReplies = 64
	maxJoinedBytes   = 64 << 10
	// writePiece is what a peer has to take within Config.WriteTimeout: one that has gone is found early.
	writePiece = 1 << 20
	// minReplyRate, bytes a second, is how fast a peer has to take a reply as a whole, after a Config.WriteTimeout in
	// which it may take nothing. One that takes just its piece in time would hold the memory of large replies for long;
	// slower links than this have no use for Kafka's fetch sizes.
	minReplyRate = 64 << 10
)

// write sends replies in order until the reader closes the ring. After a failed write it only waits for the rest and
// drops it: work that was begun is awaited, so that its memory is accounted for to the end.
func (c *conn) write() {
	out := joined{c: c}
	for {
		r, open := out.next()
		if !open {
			out.flush()
			return
		}
		if !r.isReady() {
			out.flush() // it may take long
		}
		<-r.ready
		if r.await != nil && r.fault == nil {
			func() {
				defer c.recovered(r)
				r.await()
			}()
		}
		if r.fault != nil {
			out.flush()
			if !out.dead {
				c.complain(r.fault)
				out.kill()
			}
			c.settle(r)
			continue
		}
		out.add(r)
	}
}

// isReady tells whether the reply is there without waiting.
func (r *reply) isReady() bool {
	select {
	case <-r.ready:
	default:
		return false
	}
	if r.fate == nil {
		return true
	}
	select {
	case <-r.fate:
		return true
	default:
		return false
	}
}

// joined is replies on their way to the socket; only the writer uses it.
type joined struct {
	c       *conn
	dead    bool // nothing can be sent any more
	replies []*reply
	sizes   []int
	buffers net.Buffers
	bytes   int
}

// next returns the next reply, sending what there is before it waits; false when there will be none.
func (j *joined) next() (r *reply, open bool) {
	select {
	case r, open = <-j.c.replies:
		return r, open
	default:
	}
	j.flush()
	r, open = <-j.c.replies
	return r, open
}

func (j *joined) add(r *reply) {
	size := 0
	for _, b := range r.buffers {
		size += len(b)
	}
	if len(j.replies) == maxJoinedReplies || j.bytes+size > maxJoinedBytes {
		j.flush()
	}
	j.replies, j.sizes, j.bytes = append(j.replies, r), append(j.sizes, size), j.bytes+size
	j.buffers = append(j.buffers, r.buffers...)
	if size > maxJoinedBytes {
		j.flush()
	}
}

// flush sends what was added and settles it.
func (j *joined) flush() {
	if len(j.replies) == 0 {
		return
	}
	if !j.dead {
		if err := j.c.send(j.buffers, j.bytes); err != nil {
			if isTimeout(err) && j.c.work.Err() == nil {
				j.c.complain(&fault{refusedStalled, errors.New("the peer does not take its replies")})
			}
			j.kill()
		} else {
			now := j.c.s.deps.Now()
			for i, r := range j.replies {
				if r.zone != "" && r.zone != j.c.s.cfg.Zone {
					j.c.s.observe.CrossedZones(r.client, r.zone, r.bytesIn, j.sizes[i])
				}
				if r.key == keyFetch {
					j.c.s.fetched.add(now, int64(j.sizes[i]))
				}
				j.c.s.observe.Request(r.key, r.bytesIn, j.sizes[i], now.Sub(r.arrived))
			}
		}
	}
	for _, r := range j.replies {
		j.c.settle(r)
	}
	clear(j.replies)
	clear(j.buffers)
	j.replies, j.sizes, j.buffers, j.bytes = j.replies[:0], j.sizes[:0], j.buffers[:0], 0
}

func (j *joined) kill() {
	j.dead = true
	j.c.endPolls()
	_ = j.c.nc.Close()
}

// settle gives back what a reply held.
func (c *conn) settle(r *reply) {
	if r.over != nil {
		r.over()
	}
	c.free(r.key, r.held)
	c.memory.release(r.sending)
	c.s.replies.release(r.sending - r.large)
	c.s.large.release(r.large)
	c.waiting.Add(-1)
}

// send writes buffers in pieces, each under its own deadline, and all of them under one.
func (c *conn) send(buffers net.Buffers, size int) error {
	if size == 0 {
		return nil
	}
	clock := time.AfterFunc(c.s.cfg.WriteTimeout, func() { _ = c.nc.SetWriteDeadline(longAgo()) })
	defer clock.Stop()
	if size <= writePiece {
		_, err := buffers.WriteTo(c.nc)
		return err
	}
	whole := time.AfterFunc(c.s.cfg.WriteTimeout+time.Duration(size)*time.Second/minReplyRate, func() { _ = c.nc.SetWriteDeadline(longAgo()) })
	defer whole.Stop()
	piece := make(net.Buffers, 0, 64)
	n := 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		clock.Reset(c.s.cfg.WriteTimeout)
		out := piece // WriteTo consumes its receiver
		_, err := out.WriteTo(c.nc)
		piece, n = piece[:0], 0
		return err
	}
	for _, b := range buffers {
		for len(b) > 0 {
			part := b[:min(len(b), writePiece-n)]
			piece, n, b = append(piece, part), n+len(part), b[len(part):]
			if n == writePiece {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// answer sets r's reply and pays for its memory, which exists already.
func (c *conn) answer(r *reply, buffers net.Buffers) {
	var n int64
	for _, b := range buffers {
		n += int64(len(b))
	}
	c.memory.force(n)
	c.s.replies.force(n)
	r.sending = n
	r.buffers = buffers
}
