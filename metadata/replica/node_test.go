package replica_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
)

// producer commits one object after another, as fast as answers come, and notes how long the slowest took.
type producer struct {
	n     *node
	next  uint64
	stop  chan struct{}
	over  chan struct{}
	mu    sync.Mutex
	count int
	worst time.Duration
}

func produce(n *node, partition int32) *producer {
	p := &producer{n: n, stop: make(chan struct{}), over: make(chan struct{})}
	go func() {
		defer close(p.over)
		for {
			select {
			case <-p.stop:
				return
			default:
			}
			began := time.Now()
			r, err := n.Commit(n.c.t.Context(), commitOf(n.sess, p.next, partition))
			if err != nil {
				return
			}
			if r.Err != nil {
				n.c.t.Errorf("%s: commit %d: %v", n.name, p.next, r.Err)
				return
			}
			if got := r.Batches[0][0]; got.Err != nil || uint64(got.BaseOffset) != p.next || got.Duplicate {
				n.c.t.Errorf("%s: commit %d was answered %+v", n.name, p.next, got)
			}
			if n.end(partition) <= r.Batches[0][0].BaseOffset {
				n.c.t.Errorf("%s: commit %d answered before the own View shows it", n.name, p.next)
			}
			p.next++
			p.mu.Lock()
			p.count++
			p.worst = max(p.worst, time.Since(began))
			p.mu.Unlock()
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return p
}

func (p *producer) end() (count int, worst time.Duration) {
	close(p.stop)
	<-p.over
	return p.count, p.worst
}

// The sequencer dies without a word. The producers of the others wait for less than six seconds, and every commit is answered once, in
// order.
func TestSequencerDiesAndProducersWaitForLessThanSixSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b, d := c.start("a1", true), c.start("b1", true), c.start("c1", true)
		if !a.Sequencing() || b.Sequencing() || d.Sequencing() {
			t.Fatalf("sequencing: %v %v %v", a.Sequencing(), b.Sequencing(), d.Sequencing())
		}
		a.topic()
		pb, pd := produce(b, 1), produce(d, 2)
		time.Sleep(5 * time.Second)
		a.kill()
		time.Sleep(20 * time.Second)
		for _, p := range []*producer{pb, pd} {
			count, worst := p.end()
			t.Logf("%s: %d commits, the slowest took %v", p.n.name, count, worst)
			if worst > 6*time.Second || worst < 100*time.Millisecond || count < 500 {
				t.Errorf("%s: %d commits, the slowest took %v", p.n.name, count, worst)
			}
		}
		b.stop()
		d.stop()
	})
}

// A sequencer that stops gives the log away at once.
func TestSequencerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b, d := c.start("a1", true), c.start("b1", true), c.start("c1", true)
		a.topic()
		pb, pd := produce(b, 1), produce(d, 2)
		time.Sleep(2 * time.Second)
		a.stop()
		time.Sleep(5 * time.Second)
		for _, p := range []*producer{pb, pd} {
			if count, worst := p.end(); worst > 500*time.Millisecond || count < 300 {
				t.Errorf("%s: %d commits, the slowest took %v", p.n.name, count, worst)
			}
		}
		if b.Stats().TakeOvers+d.Stats().TakeOvers != 1 {
			t.Errorf("%d and %d terms taken for one that was given away", b.Stats().TakeOvers, d.Stats().TakeOvers)
		}
		b.stop()
		d.stop()
	})
}

var _ = metadata.MaxLevel
