package ingest

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// logDir is the name of the one directory there is: the store.
const logDir = "object-store"

// describeLogDirs answers key 35, versions 1-5: one directory, the store, with what each partition takes of it. An agent tells of
// the partitions it leads for this client, so that a tool that asks every broker and adds up counts each once. How large the
// store is and what is free nobody knows.
func (s *Server) describeLogDirs(ctx context.Context, c caller, req *kmsg.DescribeLogDirsRequest) *kmsg.DescribeLogDirsResponse {
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	place, _ := s.place(c, s.cluster())
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = logDir
	tell := func(t metadata.Topic, wanted func(int32) bool) {
		nodes := place.Topic(t.ID, int(t.Partitions))
		out := kmsg.NewDescribeLogDirsResponseDirTopic()
		out.Topic = t.Name
		for i := range t.Partitions {
			if nodes[i][0] != s.cfg.NodeID || !wanted(i) {
				continue
			}
			size, err := s.deps.View.PartitionBytes(record.Partition{Topic: t.ID, Index: i})
			if err != nil {
				continue // deleted since
			}
			p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			p.Partition, p.Size = i, size
			out.Partitions = append(out.Partitions, p)
		}
		if len(out.Partitions) > 0 {
			dir.Topics = append(dir.Topics, out)
		}
	}
	if req.Topics == nil {
		for _, t := range s.deps.View.Topics() {
			tell(t, func(int32) bool { return true })
		}
	} else {
		look := s.lookup(ctx)
		asked := make(map[string]map[int32]bool)
		for _, t := range req.Topics {
			if asked[t.Topic] == nil {
				asked[t.Topic] = make(map[int32]bool)
			}
			for _, p := range t.Partitions {
				asked[t.Topic][p] = true
			}
		}
		for _, t := range req.Topics {
			wanted := asked[t.Topic]
			if wanted == nil {
				continue // told before
			}
			asked[t.Topic] = nil
			if topic, err := look.named(t.Topic); err == nil { // Kafka leaves out what it does not have, too
				tell(topic, func(i int32) bool { return wanted[i] })
			}
		}
	}
	resp.Dirs = append(resp.Dirs, dir)
	return resp
}

// listPartitionReassignments answers key 46, version 0: nothing moves, ever.
func (s *Server) listPartitionReassignments() *kmsg.ListPartitionReassignmentsResponse {
	return kmsg.NewPtrListPartitionReassignmentsResponse()
}
