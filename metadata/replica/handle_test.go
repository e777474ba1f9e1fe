package replica_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/replica"
	"github.com/bargedata/barge/peer/peerpb"
)

// commands is the far end of a stream, in the hands of a test.
type commands struct {
	in  chan *peerpb.SubmitRequest
	out chan *peerpb.SubmitResponse
}

func (s *commands) Receive() (*peerpb.SubmitRequest, error) {
	req, ok := <-s.in
	if !ok {
		return nil, io.EOF
	}
	return req, nil
}

func (s *commands) Send(resp *peerpb.SubmitResponse) error {
	s.out <- resp
	return nil
}

func openCommands(t *testing.T, n *node) (s *commands, over chan error) {
	t.Helper()
	s = &commands{in: make(chan *peerpb.SubmitRequest), out: make(chan *peerpb.SubmitResponse, 100)}
	over = make(chan error, 1)
	go func() { over <- n.HandleSubmit(t.Context(), s) }()
	synctest.Wait()
	return s, over
}

func (s *commands) send(t *testing.T, id uint64, cmd metadata.Command) *peerpb.SubmitResponse {
	t.Helper()
	body, err := metadata.EncodeCommand(cmd)
	if err != nil {
		t.Fatal(err)
	}
	s.in <- &peerpb.SubmitRequest{Id: id, Command: body}
	resp := <-s.out
	if resp.GetId() != id {
		t.Errorf("answer %d for %d", resp.GetId(), id)
	}
	return resp
}

// A stream that its agent has given up for a later one hands in no commit any more: it could overtake one that is handed in again. Commands that
// can not be read are refused, and one who does not sequence does nothing.
func TestCommandsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.start("a1", true), c.start("b1", true)
		a.topic()
		first, firstOver := openCommands(t, a)
		second, secondOver := openCommands(t, a)
		if resp := first.send(t, 1, commitOf(b.sess, 0, 0)); resp.GetCode() != peerpb.Code_CODE_OK || resp.GetSeq() != a.view.Applied()-1 {
			t.Errorf("%v, applied %d", resp, a.view.Applied())
		}
		if resp := second.send(t, 7, commitOf(b.sess, 1, 0)); resp.GetCode() != peerpb.Code_CODE_OK {
			t.Error(resp)
		}
		if resp := first.send(t, 2, commitOf(b.sess, 2, 0)); resp.GetCode() != peerpb.Code_CODE_UNAVAILABLE || a.end(0) != 2 {
			t.Errorf("%v, end %d", resp, a.end(0))
		}
		if resp := first.send(t, 3, metadata.SealSession{Session: 99}); resp.GetCode() != peerpb.Code_CODE_OK { // no commit
			t.Error(resp)
		}
		second.in <- &peerpb.SubmitRequest{Id: 8, Command: []byte{99}}
		if resp := <-second.out; resp.GetCode() != peerpb.Code_CODE_INVALID || resp.GetId() != 8 {
			t.Error(resp)
		}
		other, otherOver := openCommands(t, b)
		if resp := other.send(t, 1, commitOf(b.sess, 2, 0)); resp.GetCode() != peerpb.Code_CODE_NOT_SEQUENCER {
			t.Error(resp)
		}
		if resp, err := b.HandleConfirm(t.Context()); err != nil || resp.GetCode() != peerpb.Code_CODE_NOT_SEQUENCER {
			t.Errorf("%v, %v", resp, err)
		}
		for _, s := range []*commands{first, second, other} {
			close(s.in)
		}
		for _, over := range []chan error{firstOver, secondOver, otherOver} {
			if err := <-over; err != nil {
				t.Error(err)
			}
		}
		b.stop()
		a.stop()
	})
}

// A call of Follow that is given up is forgotten; after the end calls are answered at once.
func TestFollowIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a1", true)
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		req := &peerpb.FollowRequest{Self: &peerpb.Member{Peer: "x"}, Next: a.view.Applied(), MembersVersion: 1 << 40, WaitMs: 1000, Term: 1}
		if _, err := a.HandleFollow(ctx, req); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		began := time.Now()
		if resp, err := a.HandleFollow(t.Context(), req); err != nil || !resp.GetSequencing() || time.Since(began) < time.Second || time.Since(began) > 1300*time.Millisecond {
			t.Errorf("%v, %v after %v", resp, err, time.Since(began))
		}
		a.stop()
		if resp, err := a.HandleFollow(t.Context(), req); err != nil || resp.GetSequencing() || !resp.GetLeaving() {
			t.Errorf("%v, %v", resp, err)
		}
	})
}

// A commit takes effect, its answer is lost, and its session is sealed before it is handed in again. That it was refused says nothing about the
// first time.
func TestDoubtfulCommitThatMeetsASealStaysDoubtful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.start("a1", true), c.start("b1", true)
		a.topic()
		time.Sleep(time.Second)
		committed := make(chan error, 1)
		go func() {
			r, err := b.Commit(t.Context(), commitOf(b.sess, 0, 0))
			if err == nil {
				err = r.Err
			}
			committed <- err
		}()
		time.Sleep(3 * time.Millisecond) // it has arrived, and is being appended
		c.cut("a1", "b1", true)
		b.log.close(true) // so that it does not take over
		time.Sleep(30 * time.Second)
		if a.end(0) != 1 || !a.view.SessionSealed(metadata.SessionID(b.sess)) {
			t.Fatalf("end %d, sealed %v", a.end(0), a.view.SessionSealed(metadata.SessionID(b.sess)))
		}
		c.cut("a1", "b1", false)
		b.log.close(false)
		if err := <-committed; !errors.Is(err, metadata.ErrUnavailable) || !errors.Is(err, metadata.ErrSessionSealed) || errors.Is(err, metadata.ErrEnded) {
			t.Errorf("the commit: %v", err)
		}
		b.stop()
		a.stop()
	})
}

func TestAdmitRefusesEarlierStreams(t *testing.T) {
	core := replica.NewCore(replica.Config{}, metadata.NewView(), rand.New(rand.NewPCG(1, 1)))
	for _, c := range []struct {
		stream  uint64
		session metadata.SessionID
		want    bool
	}{{2, 1, true}, {1, 1, false}, {2, 1, true}, {1, 2, true}, {3, 1, true}, {2, 1, false}} {
		if got := core.Admit(c.stream, c.session); got != c.want {
			t.Errorf("stream %d of session %d: %v", c.stream, c.session, got)
		}
	}
}
