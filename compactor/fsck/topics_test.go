package fsck_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/compactor/fsck"
	"github.com/bargedata/barge/objectstore"
)

func (a agent) client() *kgo.Client {
	a.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(a.Addr()))
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(c.Close)
	return c
}

func (a agent) create(topic, config, value string) {
	a.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = []kmsg.CreateTopicsRequestTopic{{
		Topic: topic, NumPartitions: 2, ReplicationFactor: -1, Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: config, Value: &value}},
	}}
	resp, err := req.RequestWith(a.t.Context(), a.client())
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		a.t.Fatalf("create %s: %+v, %v", topic, resp, err)
	}
}

func (a agent) remove(topic string) {
	a.t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{topic}
	req.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &topic}}
	resp, err := req.RequestWith(a.t.Context(), a.client())
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		a.t.Fatalf("delete %s: %+v, %v", topic, resp, err)
	}
}

// A table that outlives its topic is known to itself alone; a topic without a table has files and no Delta log; what is deleted
// goes. All of it is clean, and damage of a kept table is found all the same.
func TestTopicsWithoutTablesAndTablesWithoutTopics(t *testing.T) {
	b := bench{objectstore.NewMemory(time.Now), t}
	a := start(t, b, nil)
	a.create("kept", "barge.table.on.delete", "keep")
	a.create("dropped", "barge.table.on.delete", "drop")
	a.create("bare", "barge.table.enable", "false")
	for _, topic := range []string{"kept", "dropped", "bare"} {
		a.produce(topic, 100)
	}
	a.compacted("kept", 100)
	a.compacted("dropped", 100)
	for end := time.Now().Add(20 * time.Second); len(b.list("tables/bare/_data/")) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the topic without a table was not compacted within 20 s")
		}
	}
	a.remove("kept")
	a.remove("dropped")
	clean(t, b, "right after the topics were deleted")
	for end := time.Now().Add(20 * time.Second); len(b.list("tables/dropped/")) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the table was not dropped within 20 s")
		}
	}
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	report := clean(t, b, "stopped")
	if n := report.Counts; n.Tables != 1 || n.Topics != 1 || n.Rows != 200 {
		t.Errorf("looked at %+v", n)
	}
	file := b.drop(b.last("tables/kept/_data/", "*"))
	want{fsck.FileMissing, fsck.Error, "numRecords", true, ""}.in(t, check(t, b, options), file)
	if r, err := repair(t, b, false); err != nil || len(r.Repaired) > 0 || r.Clean() {
		t.Errorf("repaired %q, %v", r.Repaired, err)
	}
	b.drop(b.keys("tables/kept/_delta_log/", "*.json")[0])
	for _, f := range check(t, b, options).Findings {
		if !strings.HasPrefix(f.Key, "tables/kept/") || f.Repair {
			t.Errorf("a kept table without its log: %s", f)
		}
	}
}

func (b bench) list(prefix string) []objectstore.Object {
	b.t.Helper()
	objects, err := b.List(b.t.Context(), prefix, "", 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	return objects
}
