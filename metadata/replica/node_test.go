package replica_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/routing"
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
		time.Sleep(4 * time.Second)
		if _, there := d.Members().BySession(a.sess); there || len(d.Members()) != 2 {
			t.Errorf("4 s after a sequencer's death it is still named: %v", d.Members())
		}
		time.Sleep(16 * time.Second)
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

// An agent alone takes the log at once and asks no more of the store than a Sequencer does, and when nothing is asked of it, it asks nothing.
func TestAgentAloneCostsWhatASequencerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		began := time.Now()
		a := c.start("a1", true)
		if took := time.Since(began); took > 10*time.Millisecond { // the append of its session
			t.Errorf("ready after %v", took)
		}
		a.topic()
		for i := range uint64(10) {
			if _, err := a.Commit(t.Context(), commitOf(a.sess, i, 0)); err != nil {
				t.Fatal(err)
			}
		}
		before := a.log.count()
		if before != 2+1+12+1 { // Newest and Read, Acquire, 12 appends, the Read of its own claim
			t.Errorf("%d calls to the log", before)
		}
		time.Sleep(10 * time.Minute)
		if n := a.log.count() - before; n != 0 {
			t.Errorf("%d calls to the log in ten idle minutes", n)
		}
		if !a.Reachable() || len(a.Members()) != 1 || a.Members()[0].Session != a.sess {
			t.Errorf("reachable %v, members %v", a.Reachable(), a.Members())
		}
		a.stop()

		// The next start finds nobody at work.
		began = time.Now()
		b := c.start("b1", false)
		<-b.Ready()
		if took := time.Since(began); took < 3*time.Second {
			t.Logf("ready after %v though a session is open", took)
		}
		b.stop()
	})
}

// A start after a kill: nobody listens where the last owner was, and that is soon known. Where it is silent, the start waits.
func TestStartAfterAKill(t *testing.T) {
	for _, c := range []struct {
		silent   bool
		min, max time.Duration
	}{{false, 0, time.Second}, {true, 3 * time.Second, 4 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			w := newCluster(t)
			a := w.start("a1", true)
			a.topic()
			a.kill()
			w.cut("a1", "b1", c.silent)
			began := time.Now()
			b := w.start("b1", true)
			if took := time.Since(began); took < c.min || took > c.max {
				t.Errorf("silent %v: ready after %v", c.silent, took)
			}
			b.stop()
		})
	}
}

// Five agents that have nothing to do ask nothing of the log, and all know each other.
func TestIdleClusterLeavesTheLogAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var nodes []*node
		for _, name := range []string{"a1", "a2", "b3", "b4", "c5"} {
			nodes = append(nodes, c.start(name, true))
		}
		time.Sleep(2 * time.Second)
		before := 0
		for _, n := range nodes {
			before += n.log.count()
		}
		time.Sleep(10 * time.Minute)
		for _, n := range nodes {
			before -= n.log.count()
			if len(n.Members()) != 5 || !n.Reachable() {
				t.Errorf("%s: members %v, reachable %v", n.name, n.Members(), n.Reachable())
			}
		}
		if before != 0 {
			t.Errorf("%d calls to the log in ten idle minutes", -before)
		}
		for _, n := range nodes {
			n.stop()
		}
	})
}

// A sequencer that can neither be heard nor write for a while is deposed. It answers nothing meanwhile: neither its commit nor its question. When
// it is back it follows, and both are answered, the commit once.
func TestDeposedSequencerAnswersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b, d := c.start("a1", true), c.start("b1", true), c.start("c1", true)
		a.topic()
		time.Sleep(time.Second)
		c.cut("a1", "b1", true)
		c.cut("a1", "c1", true)
		a.log.close(true)
		committed, confirmed := make(chan metadata.CommitObjectResult, 1), make(chan error, 1)
		go func() {
			r, err := a.Commit(t.Context(), commitOf(a.sess, 0, 0))
			if err != nil {
				t.Error(err)
			}
			committed <- r
		}()
		go func() { confirmed <- a.Confirm(t.Context()) }()
		time.Sleep(10 * time.Second)
		now := c.leader(b, d)
		if _, err := now.Commit(t.Context(), commitOf(now.sess, 0, 0)); err != nil {
			t.Fatal(err)
		}
		if !a.Sequencing() {
			t.Error("the deposed one knows already")
		}
		if len(committed)+len(confirmed) != 0 {
			t.Error("the deposed one answered")
		}
		a.log.close(false)
		c.cut("a1", "b1", false)
		c.cut("a1", "c1", false)
		r := <-committed
		if err := <-confirmed; err != nil {
			t.Errorf("confirm: %v", err)
		}
		if r.Err != nil || r.Batches[0][0].BaseOffset != 1 || a.end(0) < 2 {
			t.Errorf("the commit: %+v, end %d", r, a.end(0))
		}
		if a.Sequencing() || a.Stats().Deposed != 1 || !now.Sequencing() {
			t.Errorf("sequencing %v, deposed %d", a.Sequencing(), a.Stats().Deposed)
		}
		for _, n := range []*node{a, b, d} {
			n.stop()
		}
	})
}

// A sequencer that is heard but can not write gives the log away to one that may.
func TestSequencerThatCanNotWriteIsRelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b, d := c.start("a1", true), c.start("b1", true), c.start("c1", true)
		a.topic()
		p := produce(b, 1)
		time.Sleep(2 * time.Second)
		a.log.close(true)
		time.Sleep(15 * time.Second)
		if count, worst := p.end(); worst > 6*time.Second || count < 500 {
			t.Errorf("%d commits, the slowest took %v", count, worst)
		}
		a.log.close(false)
		time.Sleep(15 * time.Second)
		if a.Sequencing() || !a.Reachable() {
			t.Errorf("sequencing %v, reachable %v", a.Sequencing(), a.Reachable())
		}
		for _, n := range []*node{a, b, d} {
			n.stop()
		}
	})
}

// Who is cut off from all others reads the log itself: its View goes on, a question is answered by the log, and it takes the log from nobody who
// moves it. Its commit waits, and is answered once the cut is healed.
func TestFollowerThatIsCutOffReadsTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b, d := c.start("a1", true), c.start("b1", true), c.start("c1", true)
		a.topic()
		p := produce(a, 1)
		time.Sleep(time.Second)
		c.cut("b1", "a1", true)
		c.cut("b1", "c1", true)
		committed := make(chan metadata.CommitObjectResult, 1)
		time.Sleep(4 * time.Second)
		go func() {
			r, _ := b.Commit(t.Context(), commitOf(b.sess, 0, 0))
			committed <- r
		}()
		for range 5 {
			time.Sleep(5 * time.Second)
			at := a.end(1)
			if err := b.Confirm(t.Context()); err != nil {
				t.Fatal(err)
			}
			if b.end(1) < at {
				t.Errorf("confirmed at %d, and %d was acknowledged", b.end(1), at)
			}
		}
		if b.Reachable() || b.Stats().TakeOvers != 0 || len(committed) != 0 {
			t.Errorf("reachable %v, %d terms, %d answers", b.Reachable(), b.Stats().TakeOvers, len(committed))
		}
		// 25 s are enough to be sealed: nobody has heard of it.
		select {
		case sealed := <-b.SelfSealed():
			if sealed != b.sess {
				t.Errorf("session %d sealed, want %d", sealed, b.sess)
			}
		default:
			t.Error("its session is not sealed")
		}
		c.cut("b1", "a1", false)
		c.cut("b1", "c1", false)
		if r := <-committed; !errors.Is(r.Err, metadata.ErrSessionSealed) {
			t.Errorf("the commit of a sealed session: %+v", r)
		}
		b.open()
		if _, err := b.Commit(t.Context(), commitOf(b.sess, 0, 0)); err != nil || !b.Reachable() {
			t.Errorf("after the cut: %v, reachable %v", err, b.Reachable())
		}
		p.end()
		for _, n := range []*node{a, b, d} {
			n.stop()
		}
	})
}

// Two that can not see each other while a third sees both: nobody takes the log, and the one that follows does so through the third.
func TestNobodyTakesOverWhileAThirdHearsTheSequencer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b, d := c.start("a1", true), c.start("b1", true), c.start("c1", true)
		a.topic()
		p := produce(d, 1)
		time.Sleep(time.Second)
		c.cut("a1", "b1", true)
		time.Sleep(5 * time.Second)
		reads := b.Stats().LogReads
		time.Sleep(time.Minute)
		if n := a.Stats().TakeOvers + b.Stats().TakeOvers + d.Stats().TakeOvers; n != 1 || !a.Sequencing() {
			t.Errorf("%d terms were taken", n)
		}
		if b.Stats().LogReads-reads > 1 || b.Reachable() {
			t.Errorf("it read the log %d times, reachable %v", b.Stats().LogReads-reads, b.Reachable())
		}
		at := d.end(1)
		time.Sleep(time.Second)
		if b.end(1) < at || at < 1000 {
			t.Errorf("it is at %d, the others were at %d", b.end(1), at)
		}
		if err := b.Confirm(t.Context()); err != nil {
			t.Error(err)
		}
		p.end()
		for _, n := range []*node{a, b, d} {
			n.stop()
		}
	})
}

// One agent of a zone that the sequencer is not in asks it for entries, and the zone's others ask that one; when it dies they go on.
func TestRelayTailsForItsZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a1", true)
		zone := []*node{c.start("b1", true), c.start("b2", true), c.start("b3", true), c.start("b4", true)}
		a.topic()
		time.Sleep(3 * time.Second)
		for _, n := range zone {
			for _, to := range append(zone, a) {
				c.asked(n.name, to.name)
			}
		}
		p := produce(a, 1)
		time.Sleep(5 * time.Second)
		relay, ok := routing.Pick("relay", a.Members().InZone("b"))
		if !ok {
			t.Fatalf("members %v", a.Members())
		}
		for _, n := range zone {
			direct, relayed := c.asked(n.name, "a1"), c.asked(n.name, relay.Peer)
			if n.name == relay.Peer && (direct < 100 || relayed != 0) || n.name != relay.Peer && (direct > 5 || relayed < 100) {
				t.Errorf("%s asked the sequencer %d times and %s %d times", n.name, direct, relay.Peer, relayed)
			}
			if !n.Reachable() || n.end(1) < a.end(1)-5 {
				t.Errorf("%s: reachable %v, end %d of %d", n.name, n.Reachable(), n.end(1), a.end(1))
			}
		}
		for _, n := range zone { // it falls silent
			c.cut(n.name, relay.Peer, true)
		}
		time.Sleep(2500 * time.Millisecond)
		for _, n := range zone {
			if n.name != relay.Peer && n.end(1) < a.end(1)-5 {
				t.Errorf("%s with a silent relay: end %d of %d", n.name, n.end(1), a.end(1))
			}
		}
		c.nodes[relay.Peer].kill()
		time.Sleep(3 * time.Second)
		for _, n := range zone {
			if n.name != relay.Peer && (n.end(1) < a.end(1)-5 || n.Stats().TakeOvers != 0) {
				t.Errorf("%s without the relay: end %d of %d", n.name, n.end(1), a.end(1))
			}
		}
		p.end()
		for _, n := range append(zone, a) {
			if n.name != relay.Peer {
				n.stop()
			}
		}
	})
}

// Who is silent is no member after five seconds, and its session is sealed after twenty, by the sequencer alone; also when that took over
// meanwhile, which then waits twenty seconds more. Nobody else's is.
func TestSilentAgentsAreSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b, d, e := c.start("a1", true), c.start("b1", true), c.start("c1", true), c.start("d1", true)
		time.Sleep(2 * time.Second)
		sealed := func(n *node) bool { return b.view.SessionSealed(metadata.SessionID(n.sess)) }
		e.kill()
		time.Sleep(4 * time.Second)
		if len(b.Members()) != 4 {
			t.Errorf("after 4 s: members %v", b.Members())
		}
		time.Sleep(3 * time.Second)
		if len(b.Members()) != 3 || sealed(e) {
			t.Errorf("after 7 s: members %v, sealed %v", b.Members(), sealed(e))
		}
		time.Sleep(12 * time.Second)
		if sealed(e) {
			t.Error("sealed after 19 s")
		}
		a.kill() // who knows since when the other one is silent
		time.Sleep(20 * time.Second)
		if sealed(e) || sealed(a) {
			t.Errorf("a new sequencer sealed %v, %v before its twenty seconds were over", sealed(e), sealed(a))
		}
		time.Sleep(5 * time.Second)
		if !sealed(e) || !sealed(a) || sealed(b) || sealed(d) {
			t.Errorf("sealed %v %v, %v %v", sealed(e), sealed(a), sealed(b), sealed(d))
		}
		if n := b.Stats().Seals + d.Stats().Seals; n != 2 {
			t.Errorf("%d seals", n)
		}
		b.stop()
		d.stop()
	})
}

// What waits for the sequencer is bounded: then Submit waits, and whoever gives up leaves nothing behind.
func TestPendingCommandsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a1", true)
		a.topic()
		c.cfg.PendingCommands = 5
		b := c.start("b1", true)
		d := c.start("c1", true)
		time.Sleep(2 * time.Second)
		c.cut("a1", "b1", true)
		time.Sleep(10 * time.Second) // d hears the sequencer, so that nobody takes over
		answers := make(chan uint64, 10)
		in := make(chan struct{})
		go func() {
			defer close(in)
			for i := range uint64(7) {
				b.Submit(commitOf(b.sess, i, 0), func(r metadata.Result, err error) {
					if res, _ := r.(metadata.CommitObjectResult); err != nil || res.Err != nil || uint64(res.Batches[0][0].BaseOffset) != i {
						t.Errorf("commit %d: %+v, %v", i, r, err)
					}
					answers <- i
				})
			}
		}()
		time.Sleep(time.Second)
		select {
		case <-in:
			t.Error("seven commands were taken")
		default:
		}
		if n := b.Stats().Pending; n != 5 {
			t.Errorf("%d pending", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Do(ctx, metadata.SealSession{Session: 99}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without room: %v", err)
		}
		c.cut("a1", "b1", false)
		for i := range uint64(7) {
			if got := <-answers; got != i {
				t.Errorf("answer %d came for %d", got, i)
			}
		}
		<-in
		// One that is in and given up is never handed on.
		c.cut("a1", "b1", true)
		time.Sleep(10 * time.Second)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Do(ctx, metadata.CreateTopic{ID: [16]byte{9}, Name: "late", Partitions: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a command that waits: %v", err)
		}
		c.cut("a1", "b1", false)
		time.Sleep(10 * time.Second)
		if _, ok := a.view.Topic("late"); ok || b.Stats().Pending != 0 {
			t.Errorf("it was handed on: %v; %d pending", ok, b.Stats().Pending)
		}
		for _, n := range []*node{b, d, a} {
			n.stop()
		}
	})
}

// Every kind of command and question works at a follower, errors keep their names, and after the end all are refused.
func TestFollowerAnswersAsASequencerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.start("a1", true), c.start("b1", true)
		b.topic()
		if r, err := metadata.Ask[metadata.CreateTopicResult](t.Context(), b, metadata.CreateTopic{ID: [16]byte{7}, Name: "logs", Partitions: 1}); err != nil || !errors.Is(r.Err, metadata.ErrTopicExists) || r.Topic.ID != topicID {
			t.Errorf("%+v, %v", r, err)
		}
		if _, ok := b.view.Topic("logs"); !ok {
			t.Error("answered before the own View shows it")
		}
		inline := commitOf(b.sess, 0, 0)
		inline.Key, inline.Inline = "", bytes.Repeat([]byte{7}, 100)
		if r, err := b.Commit(t.Context(), inline); err != nil || r.Err != nil {
			t.Errorf("%+v, %v", r, err)
		}
		if err := b.Confirm(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := b.Do(t.Context(), nil); !errors.Is(err, metadata.ErrInvalidCommand) {
			t.Errorf("no command: %v", err)
		}
		_, one := a.view.Freeze()
		_, other := b.view.Freeze()
		if !bytes.Equal(one(), other()) {
			t.Error("the Views differ (I9)")
		}
		b.stop()
		if _, err := b.Do(t.Context(), metadata.SealSession{Session: 1}); !errors.Is(err, metadata.ErrEnded) || !errors.Is(err, metadata.ErrUnavailable) {
			t.Errorf("Do after the end: %v", err)
		}
		if err := b.Confirm(t.Context()); !errors.Is(err, metadata.ErrEnded) {
			t.Errorf("Confirm after the end: %v", err)
		}
		if err := b.Run(t.Context()); err == nil {
			t.Error("it ran twice")
		}
		a.stop()
	})
}
