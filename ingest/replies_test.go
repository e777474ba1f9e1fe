package ingest

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestRepliesThatAreReadyGoOutTogether: and none waits for one that is not.
func TestRepliesThatAreReadyGoOutTogether(t *testing.T) {
	ours, theirs := net.Pipe()
	received := make(chan string, 100)
	go func() {
		defer close(received)
		b := make([]byte, 1)
		for {
			if _, err := io.ReadFull(theirs, b); err != nil {
				return
			}
			received <- string(b)
		}
	}()
	budget := func() *byteBudget { return newByteBudget(1 << 20) }
	s := &Server{cfg: DefaultConfig(), observe: nobody{}, deps: Deps{Now: time.Now}, memory: budget(), replies: budget(), large: budget(), control: budget()}
	c := &conn{s: s, nc: ours, memory: budget(), replies: make(chan *reply, 100), endPolls: func() {}}
	ready, late, fate := make(chan struct{}), make(chan struct{}), make(chan struct{})
	close(ready)
	over := ""
	add := func(text string, ready, fate chan struct{}) {
		r := &reply{key: keyMetadata, ready: ready, fate: fate, buffers: net.Buffers{[]byte(text)}, over: func() { over += text }}
		if fate != nil {
			r.await = func() { <-fate }
		}
		c.waiting.Add(1)
		c.replies <- r
	}
	expect := func(want string) {
		t.Helper()
		for _, w := range strings.Split(want, "") {
			if got := <-received; got != w {
				t.Fatalf("received %q where %q was due", got, w)
			}
		}
	}
	add("a", ready, nil)
	add("b", ready, nil)
	add("c", late, nil)
	add("d", ready, fate)
	add("e", ready, nil)
	out := joined{c: c}
	r1, _ := out.next()
	out.add(r1)
	r2, _ := out.next()
	out.add(r2)
	if len(out.replies) != 2 || len(received) != 0 {
		t.Errorf("%d replies are joined, %d were sent", len(out.replies), len(received))
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		out.flush()
		c.write()
	}()
	expect("ab") // though c is not ready
	close(late)
	expect("c") // though d is not
	close(fate)
	close(c.replies)
	expect("de")
	<-ended
	if over != "abcde" || c.waiting.Load() != 0 {
		t.Errorf("replies %q are over, %d wait", over, c.waiting.Load())
	}
	_ = ours.Close()
	if left, more := <-received; more {
		t.Errorf("received %q after the last reply", left)
	}
}
