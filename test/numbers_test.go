//go:build realworld

package test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// numbers produces values of six digits from one number on, and notes those that were acknowledged.
type numbers struct {
	mu    sync.Mutex
	acked map[string]bool
	next  int
}

func (n *numbers) produce(t *testing.T, a *agent, topic string, count int) {
	t.Helper()
	c := client(t, a.brokers, kgo.DefaultProduceTopic(topic))
	for range count {
		n.send(t, c)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// send produces the next number.
func (n *numbers) send(t *testing.T, c *kgo.Client) {
	n.next++
	value := fmt.Sprintf("%06d", n.next)
	c.Produce(t.Context(), kgo.StringRecord(value), func(_ *kgo.Record, err error) {
		if err != nil {
			t.Errorf("produce %s: %v", value, err)
			return
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.acked == nil {
			n.acked = map[string]bool{}
		}
		n.acked[value] = true
	})
}

func (n *numbers) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.acked)
}

// stream produces without pause until finish is called, which wants every record acknowledged. A record that fails fails the test.
func (n *numbers) stream(t *testing.T, brokers, topic string) (finish func()) {
	t.Helper()
	c := client(t, brokers, kgo.DefaultProduceTopic(topic), kgo.RecordDeliveryTimeout(3*time.Minute))
	producing, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for producing.Err() == nil {
			n.send(t, c)
			time.Sleep(time.Millisecond)
		}
	}()
	return func() {
		t.Helper()
		stop()
		<-ended
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n.count() != n.next {
			t.Fatalf("%d of %d records were acknowledged", n.count(), n.next)
		}
	}
}

// more waits until 200 more records are acknowledged.
func (n *numbers) more(t *testing.T) {
	t.Helper()
	before := n.count()
	waitFor(t, time.Minute, "200 more records are acknowledged", func() bool { return n.count() >= before+200 })
}
