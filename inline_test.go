package barge_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/objectstore"
)

// One small flush is one PUT, from the first byte to the acknowledgment and on to the consumer. Nothing else works on the
// store meanwhile.
func TestOneSmallFlushCostsOnePut(t *testing.T) {
	memory := objectstore.NewMemory(time.Now)
	meter := objectstore.NewMeter(memory)
	agent := start(t, meter, func(c *barge.Config) { c.Roles = []string{barge.RoleProduce, barge.RoleFetch} })
	producer := newClient(t, agent, kgo.DefaultProduceTopic("logs"))
	send := func(i int) {
		t.Helper()
		if err := producer.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprintf("%06d", i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	consumer := newClient(t, agent, kgo.ConsumeTopics("logs"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	receive := func() {
		t.Helper()
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil || fetches.NumRecords() == 0 {
			t.Fatalf("%d records, %v", fetches.NumRecords(), err)
		}
	}
	send(0) // makes the topic, and the producer its id
	receive()

	const flushes = 5
	before := meter.Snapshot()
	for i := range flushes {
		send(1 + i)
		receive()
	}
	after := meter.Snapshot()
	for op, want := range map[objectstore.Op]int64{objectstore.OpCreate: flushes, objectstore.OpPut: 0, objectstore.OpGet: 0, objectstore.OpGetRange: 0} {
		if got := after.Ops[op].Total() - before.Ops[op].Total(); got != want {
			t.Errorf("%d requests of %s for %d small flushes, want %d", got, op, flushes, want)
		}
	}
	if objects, err := memory.List(t.Context(), "wal/", "", 10); err != nil || len(objects) != 0 {
		t.Errorf("%d WAL objects, %v", len(objects), err)
	}

	// A fresh agent finds in the log what it did not keep in memory.
	if err := agent.stop(); err != nil {
		t.Fatal(err)
	}
	next := start(t, meter, nil)
	consume(t, next, "logs", 1+flushes)
}

// What is switched off is uploaded.
func TestInlineBytesZeroUploadsEachFlush(t *testing.T) {
	memory := objectstore.NewMemory(time.Now)
	agent := start(t, memory, func(c *barge.Config) { c.Roles, c.InlineBytes = []string{barge.RoleProduce, barge.RoleFetch}, 0 })
	produce(t, agent, "logs", 0, 10)
	consume(t, agent, "logs", 10)
	if objects, err := memory.List(t.Context(), "wal/", "", 10); err != nil || len(objects) == 0 {
		t.Errorf("%d WAL objects, %v", len(objects), err)
	}
}
