package ingest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

// Pages put together hold every partition of every topic once, in order, however small they are.
func TestTopicsAreDescribedInPages(t *testing.T) {
	topics := []metadata.Topic{testTopic("a", 5), testTopic("b", 1), testTopic("c", 4_000), testTopic("d", 2)}
	w := dial(t, startServer(t, newFakeCluster(topics...)).addr)
	for _, named := range []bool{false, true} {
		for _, limit := range []int32{0, 3, 2_000, 1 << 30} {
			if limit == 0 && named {
				continue // one partition a page: once is enough
			}
			req := kmsg.NewPtrDescribeTopicPartitionsRequest()
			req.ResponsePartitionLimit = limit
			if named {
				for _, name := range []string{"d", "c", "b", "a", "a"} {
					r := kmsg.NewDescribeTopicPartitionsRequestTopic()
					r.Topic = name
					req.Topics = append(req.Topics, r)
				}
			}
			seen := map[string]int32{}
			var order []string
			pages := 0
			for {
				resp := ask[*kmsg.DescribeTopicPartitionsResponse](w, req)
				pages++
				on := 0
				for _, topic := range resp.Topics {
					if topic.ErrorCode != 0 || topic.TopicID != testTopic(*topic.Topic, 1).ID {
						t.Fatalf("%+v", topic)
					}
					if !slices.Contains(order, *topic.Topic) {
						order = append(order, *topic.Topic)
					}
					for _, p := range topic.Partitions {
						if p.Partition != seen[*topic.Topic] || p.LeaderID != 7 || p.LeaderEpoch != 0 || !slices.Equal(p.Replicas, []int32{7}) || !slices.Equal(p.ISR, []int32{7}) || p.ErrorCode != 0 {
							t.Fatalf("limit %d: %s: %+v, want partition %d", limit, *topic.Topic, p, seen[*topic.Topic])
						}
						if p.EligibleLeaderReplicas == nil || p.LastKnownELR == nil {
							t.Fatalf("%s/%d: lists of replicas are null, which Java's admin client does not take", *topic.Topic, p.Partition)
						}
						seen[*topic.Topic]++
						on++
					}
				}
				if on > int(min(max(limit, 1), 2_000)) {
					t.Errorf("limit %d: %d partitions on a page", limit, on)
				}
				if resp.NextCursor == nil {
					break
				}
				req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
			}
			if fmt.Sprint(order) != "[a b c d]" {
				t.Errorf("limit %d: topics %v", limit, order)
			}
			for _, topic := range topics {
				if seen[topic.Name] != topic.Partitions {
					t.Errorf("limit %d: %d partitions of %s, want %d", limit, seen[topic.Name], topic.Name, topic.Partitions)
				}
			}
			if limit == 1<<30 && pages != 3 {
				t.Errorf("%d pages of up to 2000 for 4008 partitions", pages)
			}
		}
	}
}

func TestDescribedTopicsThatAreNotThere(t *testing.T) {
	w := dial(t, startServer(t, newFakeCluster(testTopic("a", 5))).addr)
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 100
	for _, name := range []string{"bad name", "nowhere"} {
		r := kmsg.NewDescribeTopicPartitionsRequestTopic()
		r.Topic = name
		req.Topics = append(req.Topics, r)
	}
	resp := ask[*kmsg.DescribeTopicPartitionsResponse](w, req)
	if len(resp.Topics) != 2 || resp.Topics[0].ErrorCode != 17 || resp.Topics[1].ErrorCode != 3 || *resp.Topics[1].Topic != "nowhere" || resp.NextCursor != nil {
		t.Errorf("%+v", resp)
	}
	req.Topics = nil
	req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "a", Partition: 9} // the topic was made anew, and smaller
	if resp := ask[*kmsg.DescribeTopicPartitionsResponse](w, req); len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 0 || resp.NextCursor != nil {
		t.Errorf("a cursor beyond the end: %+v", resp)
	}
	req.Cursor.Partition = -1
	if resp := ask[*kmsg.DescribeTopicPartitionsResponse](w, req); resp.Topics[0].ErrorCode != 42 {
		t.Errorf("a cursor before the begin: %+v", resp)
	}
}

func TestConfigResources(t *testing.T) {
	w := dial(t, startServer(t, newFakeCluster(testTopic("a", 1), testTopic("b", 1))).addr)
	for _, c := range []struct {
		version int16
		types   []int8
		code    int16
		want    string
	}{
		{0, nil, 0, ""},
		{1, nil, 0, "2:a 2:b 4:7 "},
		{1, []int8{2, 2}, 0, "2:a 2:b "},
		{1, []int8{8, 4}, 0, "4:7 8:7 "},
		{1, []int8{16, 32}, 0, ""},
		{1, []int8{2, 9}, 35, ""},
	} {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.Version, req.ResourceTypes = c.version, c.types
		resp := ask[*kmsg.ListConfigResourcesResponse](w, req)
		got := ""
		for _, r := range resp.ConfigResources {
			got += fmt.Sprintf("%d:%s ", r.Type, r.Name)
		}
		if resp.ErrorCode != c.code || got != c.want {
			t.Errorf("v%d %v: code %d, %s, want %d, %s", c.version, c.types, resp.ErrorCode, got, c.code, c.want)
		}
	}
}

// The sizes that all agents tell a client together count each partition once.
func TestLogDirsTellEachPartitionOnce(t *testing.T) {
	cluster := newFakeCluster(testTopic("a", 20), testTopic("b", 1))
	batch := batchOf(t, record.None, "some value")
	for i := range int32(20) {
		b, err := record.Parse(batch)
		if err != nil {
			t.Fatal(err)
		}
		cluster.log[record.Partition{Topic: testTopic("a", 1).ID, Index: i}] = []stored{{0, b}}
	}
	members := routing.Sorted([]routing.Member{{Session: 7, Kafka: "127.0.0.1:1", Zone: "zone-a"}, {Session: 8, Kafka: "127.0.0.1:2", Zone: "zone-a"}})
	var agents []*wire
	for _, node := range []int32{7, 8} {
		agents = append(agents, dial(t, startServer(t, cluster, func(cfg *Config, d *Deps) {
			cfg.NodeID = node
			d.Members = func() routing.Members { return members }
		}).addr))
	}
	for version := int16(1); version <= 5; version++ {
		for _, only := range []bool{false, true} {
			req := kmsg.NewPtrDescribeLogDirsRequest()
			req.Version = version
			want := 20
			if only {
				want = 2
				req.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "a", Partitions: []int32{3, 99}}, {Topic: "nowhere", Partitions: []int32{0}}, {Topic: "a", Partitions: []int32{4}}}
			}
			seen := map[int32]int64{}
			for _, w := range agents {
				resp := ask[*kmsg.DescribeLogDirsResponse](w, req)
				if len(resp.Dirs) != 1 || resp.Dirs[0].ErrorCode != 0 || resp.Dirs[0].Dir == "" || resp.Dirs[0].TotalBytes != -1 || resp.Dirs[0].UsableBytes != -1 {
					t.Fatalf("v%d: %+v", version, resp)
				}
				for _, topic := range resp.Dirs[0].Topics {
					for _, p := range topic.Partitions {
						if topic.Topic == "a" {
							if _, twice := seen[p.Partition]; twice {
								t.Errorf("v%d: partition %d is told twice", version, p.Partition)
							}
							seen[p.Partition] = p.Size
						}
					}
				}
			}
			if len(seen) != want {
				t.Errorf("v%d: %d partitions, want %d", version, len(seen), want)
			}
			for p, size := range seen {
				if size != int64(len(batch)) {
					t.Errorf("v%d: partition %d has %d bytes, want %d", version, p, size, len(batch))
				}
			}
		}
	}
}

func TestNoReassignments(t *testing.T) {
	w := dial(t, startServer(t, newFakeCluster(testTopic("a", 1))).addr)
	if resp := ask[*kmsg.ListPartitionReassignmentsResponse](w, kmsg.NewPtrListPartitionReassignmentsRequest()); resp.ErrorCode != 0 || len(resp.Topics) != 0 {
		t.Errorf("%+v", resp)
	}
}

// As in Kafka, whose metrics would not tell them apart.
func TestNamesThatClashAreRefused(t *testing.T) {
	cluster := newFakeCluster(testTopic("a.b", 1))
	w := dial(t, startServer(t, cluster, func(cfg *Config, _ *Deps) { cfg.AutoCreateTopics = true }).addr)
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 5
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "a_b", 1, 1
	create.Topics = append(create.Topics, topic)
	if got := ask[*kmsg.CreateTopicsResponse](w, create).Topics[0]; got.ErrorCode != 17 || *got.ErrorMessage != `topic "a_b" collides with existing topic: a.b` {
		t.Errorf("%+v", got)
	}
	meta := kmsg.NewPtrMetadataRequest()
	meta.Version, meta.AllowAutoTopicCreation = 9, true
	for _, name := range []string{"a_b", "a-b", "a.b"} {
		asked := kmsg.NewMetadataRequestTopic()
		asked.Topic = &name
		meta.Topics = append(meta.Topics, asked)
	}
	resp := ask[*kmsg.MetadataResponse](w, meta)
	for i, want := range []int16{17, 0, 0} {
		if got := resp.Topics[i].ErrorCode; got != want {
			t.Errorf("%s: code %d, want %d", *meta.Topics[i].Topic, got, want)
		}
	}
}
