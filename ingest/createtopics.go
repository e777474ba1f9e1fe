package ingest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/metadata"
)

const (
	// maxNewPartitions bounds the partitions one CreateTopics request makes, over all its topics.
	maxNewPartitions = 10_000
	// minAdminTimeout is the least a change of topics is given, whatever timeout.ms says. The most is maxHandling.
	minAdminTimeout = 5 * time.Second
)

// createTopics answers key 19, versions 0-7. Any replication factor and assignment of it is accepted and told back: what
// it asks for is the store's business here. The answer comes when this agent can serve the topic.
func (s *Server) createTopics(ctx context.Context, req *kmsg.CreateTopicsRequest) *kmsg.CreateTopicsResponse {
	ctx, cancel := adminTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	resp := kmsg.NewPtrCreateTopicsResponse()
	resp.Topics = make([]kmsg.CreateTopicsResponseTopic, len(req.Topics))
	named := make(map[string]int)
	for _, t := range req.Topics {
		named[t.Topic]++
	}
	var g errgroup.Group
	g.SetLimit(parallelCommands)
	partitions := 0
	look := s.lookup(ctx)
	if req.ValidateOnly {
		look.catchUp() // a topic that is made is judged by the log, this by the View
	}
	for i, t := range req.Topics {
		out := &resp.Topics[i]
		*out = kmsg.NewCreateTopicsResponseTopic()
		out.Topic = t.Topic
		out.NumPartitions, out.ReplicationFactor = -1, -1
		plan := s.planTopic(t, look)
		if named[t.Topic] > 1 {
			plan.refuse(codeInvalidRequest, "topic named twice in one request")
		}
		if partitions += int(max(plan.cmd.Partitions, 0)); plan.code == codeNone && partitions > maxNewPartitions {
			plan.refuse(codePolicyViolation, fmt.Sprintf("a request may create at most %d partitions", maxNewPartitions))
		}
		if plan.code != codeNone || req.ValidateOnly {
			plan.cmd.ID = s.deps.NewTopicID() // Kafka makes one up, too
			s.tellCreated(out, plan)
			continue
		}
		g.Go(func() error {
			var topic metadata.Topic
			err := s.guarded(ctx, keyCreateTopics, func() (err error) {
				topic, err = s.createTopic(ctx, plan.cmd)
				return err
			})
			if err != nil {
				plan.refuse(codeOf(err), messageOf(err))
			}
			plan.cmd.ID = topic.ID
			s.tellCreated(out, plan)
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return resp
}

// topicPlan is one topic of a CreateTopics request, judged.
type topicPlan struct {
	cmd         metadata.CreateTopic
	replication int16
	code        code
	message     string
}

func (p *topicPlan) refuse(code code, message string) {
	if p.code == codeNone {
		p.code, p.message = code, message
	}
}

// planTopic judges what can be judged without a command. A topic that seems to be there may have been deleted through
// another agent a moment ago, so the View catches up first.
func (s *Server) planTopic(t kmsg.CreateTopicsRequestTopic, look *lookup) topicPlan {
	plan := topicPlan{
		cmd:         metadata.CreateTopic{Name: t.Topic, Partitions: t.NumPartitions},
		replication: t.ReplicationFactor,
	}
	if err := metadata.ValidateTopicName(t.Topic); err != nil {
		plan.refuse(codeOf(err), messageOf(err))
		return plan
	}
	if _, exists := s.deps.View.Topic(t.Topic); exists {
		look.catchUp()
	}
	if _, exists := s.deps.View.Topic(t.Topic); look.err != nil {
		plan.refuse(codeOf(look.err), messageOf(look.err))
		return plan
	} else if exists {
		plan.refuse(codeTopicAlreadyExists, fmt.Sprintf("topic %q exists", t.Topic))
		return plan
	}
	if other, found := s.deps.View.Clash(t.Topic); found {
		plan.refuse(codeInvalidTopic, fmt.Sprintf("topic %q collides with existing topic: %s", t.Topic, other))
		return plan
	}
	if len(t.ReplicaAssignment) > 0 {
		plan.assigned(t)
	} else {
		switch {
		case t.NumPartitions == -1:
			plan.cmd.Partitions = s.cfg.NumPartitions
		case t.NumPartitions <= 0:
			plan.refuse(codeInvalidPartitions, fmt.Sprintf("%d partitions: want at least 1, or -1 for the default", t.NumPartitions))
		}
		switch {
		case t.ReplicationFactor == -1:
			plan.replication = 1
		case t.ReplicationFactor <= 0:
			plan.refuse(codeInvalidReplicationFactor, fmt.Sprintf("replication factor %d: want at least 1, or -1 for the default", t.ReplicationFactor))
		}
	}
	configs := make(map[string]string, len(t.Configs))
	for _, c := range t.Configs {
		if c.Value == nil {
			plan.refuse(codeInvalidConfig, fmt.Sprintf("config %q has no value", c.Name))
			continue
		}
		configs[c.Name] = *c.Value
	}
	if err := metadata.ValidateConfigs(configs); err != nil {
		plan.refuse(codeOf(err), messageOf(err))
	}
	plan.cmd.Configs = configs
	return plan
}

// assigned takes the partitions from a manual assignment: indexes 0 to n-1, each with the same number of replicas.
func (p *topicPlan) assigned(t kmsg.CreateTopicsRequestTopic) {
	if t.NumPartitions != -1 || t.ReplicationFactor != -1 {
		p.refuse(codeInvalidRequest, "a replica assignment excludes a number of partitions and a replication factor")
		return
	}
	p.cmd.Partitions = int32(len(t.ReplicaAssignment))
	p.replication = int16(len(t.ReplicaAssignment[0].Replicas))
	indexes := make([]int32, 0, len(t.ReplicaAssignment))
	for _, a := range t.ReplicaAssignment {
		indexes = append(indexes, a.Partition)
		if len(a.Replicas) == 0 || len(a.Replicas) != int(p.replication) {
			p.refuse(codeInvalidReplicaAssignment, "every partition needs the same number of replicas, at least one")
		}
	}
	slices.Sort(indexes)
	for i, index := range indexes {
		if int(index) != i {
			p.refuse(codeInvalidReplicaAssignment, "an assignment names partitions 0 to n-1, each once")
			return
		}
	}
}

// tellCreated writes the answer about one topic.
func (s *Server) tellCreated(out *kmsg.CreateTopicsResponseTopic, plan topicPlan) {
	out.ErrorCode = s.refuse(keyCreateTopics, plan.code)
	out.Configs = []kmsg.CreateTopicsResponseTopicConfig{} // null would say that nobody may know them
	if plan.code != codeNone {
		out.ErrorMessage = &plan.message
		return
	}
	out.TopicID = plan.cmd.ID
	out.NumPartitions, out.ReplicationFactor = plan.cmd.Partitions, plan.replication
	for _, e := range metadata.DescribeConfigs(plan.cmd.Configs) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value = e.Name, &e.Value
		c.Source = int8(sourceOf(e))
		out.Configs = append(out.Configs, c)
	}
}

// adminTimeout bounds ctx by what the client waits for.
func adminTimeout(ctx context.Context, millis int32) (context.Context, context.CancelFunc) {
	d := time.Duration(millis) * time.Millisecond
	return context.WithTimeout(ctx, max(d, minAdminTimeout))
}
