package compactor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// BenchmarkTick is what a tick costs in which nothing is due, with 10,000 topics that have rows waiting.
func BenchmarkTick(b *testing.B) {
	l := newLab(b)
	var topics []metadata.Topic
	for i := range 10_000 {
		topics = append(topics, l.createTopic(fmt.Sprint("t", i), nil))
	}
	slices.SortFunc(topics, func(x, y metadata.Topic) int { return bytes.Compare(x.ID[:], y.ID[:]) })
	l.clock = l.clock.Add(time.Hour)
	for n := range uint64(20) {
		c := metadata.CommitObject{Session: l.sess, Counter: n + 1, Settled: n + 1, Key: record.ObjectKey(uint64(l.sess), n+1, "r"), Size: 1 << 19}
		for _, t := range topics {
			c.Runs = append(c.Runs, metadata.CommitRun{Partition: record.Partition{Topic: t.ID}, Batches: []metadata.CommitBatch{{Len: 50, Records: 1, ProducerID: -1}}})
		}
		if res := ask[metadata.CommitObjectResult](l, c); res.Err != nil {
			b.Fatal(res.Err)
		}
	}
	members := routing.Members{{Session: uint64(l.sess)}}
	for i := range 4 {
		members = append(members, routing.Member{Session: uint64(l.sess) + uint64(i) + 1})
	}
	for name, share := range map[string]Share{"alone": nil, "of five": Spread(func() routing.Members { return members }, l.sess)} {
		b.Run(name, func(b *testing.B) {
			c := l.compactor()
			c.cfg.Share = share
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Round(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			if c.Stats().Jobs+c.Stats().FailedJobs > 0 {
				b.Fatal("something was due")
			}
		})
	}
}

// fill writes objects of so many MiB, 16 KiB batches of records of 1 KiB that look like logs, over so many topics and partitions.
func (l *lab) fill(objects, mib, topics, partitions int) {
	rng := rand.New(rand.NewPCG(1, 1))
	value := func() []byte {
		v := fmt.Appendf(nil, `{"at":%d,"host":"web-%02d","path":"/v1/items/%d","status":%d,"text":"`, rng.Int64N(1e12), rng.IntN(40), rng.IntN(1e6), 200+rng.IntN(5)*100)
		for len(v) < 1000 {
			v = fmt.Appendf(v, "%s ", []string{"checkout", "timeout", "retry", "upstream", "cache", "miss", "ok", "user"}[rng.IntN(8)])
		}
		return append(v, '"', '}')
	}
	var parts []record.Partition
	for i := range topics {
		res := ask[metadata.CreateTopicResult](l, metadata.CreateTopic{ID: topic(fmt.Sprint("t", i), nil).ID, Name: fmt.Sprint("t", i), Partitions: int32(partitions)})
		for p := range partitions {
			parts = append(parts, record.Partition{Topic: res.Topic.ID, Index: int32(p)})
		}
	}
	slices.SortFunc(parts, record.Partition.Compare)
	builder := record.NewBuilder(record.None)
	for i := range 16 {
		if err := builder.Append(&record.Record{Offset: record.Offset(i), Timestamp: l.clock.UnixMilli(), Value: value()}); err != nil {
			l.t.Fatal(err)
		}
	}
	raw, err := builder.Build(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	batch, err := record.Parse(raw)
	if err != nil {
		l.t.Fatal(err)
	}
	each := max(1, mib<<20/len(raw)/len(parts))
	for range objects {
		l.count++
		w := record.NewObjectWriter(record.ObjectHeader{Session: uint64(l.sess), Counter: l.count}, mib<<20)
		c := metadata.CommitObject{Session: l.sess, Counter: l.count, Settled: l.count, Key: record.ObjectKey(uint64(l.sess), l.count, "r")}
		for _, p := range parts {
			if err := w.Add(p, slices.Repeat([]record.Batch{batch}, each)...); err != nil {
				l.t.Fatal(err)
			}
			c.Runs = append(c.Runs, metadata.CommitRun{Partition: p, Batches: slices.Repeat([]metadata.CommitBatch{{
				Len: batch.Len(), Records: batch.OffsetCount(), MaxTimestamp: batch.MaxTimestamp(), ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1,
			}}, each)})
		}
		body, runs, err := w.Finish()
		if err != nil {
			l.t.Fatal(err)
		}
		for i := range runs {
			c.Runs[i].Pos = runs[i].Pos
		}
		c.Size = record.Len(len(body))
		if err := l.store.Put(l.t.Context(), c.Key, body); err != nil {
			l.t.Fatal(err)
		}
		if res := ask[metadata.CommitObjectResult](l, c); res.Err != nil {
			l.t.Fatal(res.Err)
		}
	}
}

// BenchmarkJob is the work of an agent on 64 MiB of WAL objects, in a store without latency: to move them into a sorted object, to make
// files of what was moved, and both at once, as one that is alone does.
func BenchmarkJob(b *testing.B) {
	for _, topics := range []int{1, 16} {
		for _, kind := range []string{"move", "files of moved", "files"} {
			b.Run(fmt.Sprintf("%s, topics=%d", kind, topics), func(b *testing.B) {
				b.SetBytes(64 << 20)
				for range b.N {
					b.StopTimer()
					l := newLab(b)
					l.fill(8, 8, topics, 16/topics)
					l.clock = l.clock.Add(2 * time.Minute)
					c := l.compactor()
					run := func(share Share) {
						c.cfg.Share = share
						if err := c.Round(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
					moves := func() (func(string) bool, int) {
						return func(w string) bool { return w == spanWork(uint64(l.sess)) }, 2
					}
					makes := func() (func(string) bool, int) { return func(w string) bool { return len(w) == 32 }, 2 }
					switch kind {
					case "move":
						b.StartTimer()
						run(moves)
					case "files of moved":
						run(moves)
						b.StartTimer()
						run(makes)
					default:
						b.StartTimer()
						run(nil)
					}
					b.StopTimer()
					s := c.Stats()
					if wantMoved := kind != "files"; (s.ObjectsMoved > 0) != wantMoved || (s.Files > 0) == (kind == "move") {
						b.Fatalf("%+v", s)
					}
				}
			})
		}
	}
}
