package ingest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/routing"
)

const (
	// maxAutoCreated bounds the topics one Metadata request makes. The rest hears LEADER_NOT_AVAILABLE and comes again.
	maxAutoCreated = 100
	// parallelCommands bounds the commands of one request under way at a time; they share log entries.
	parallelCommands = 256
	// leaderEpoch never changes: any agent serves any partition and nothing is ever truncated.
	leaderEpoch = 0
)

// What a client may do, as bits of Kafka's ACL operations. Everything, as long as there are no ACLs.
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
	notAsked          = math.MinInt32
)

// metadata answers key 3, versions 0-13. All agents are told as brokers; who leads a partition, always with leader epoch 0,
// depends on the client. The controller is this agent. From v10 topics carry ids, from v12 they may be asked for by id
// (KIP-516).
func (s *Server) metadata(ctx context.Context, c caller, req *kmsg.MetadataRequest) *kmsg.MetadataResponse {
	resp := kmsg.NewPtrMetadataResponse()
	agents := s.cluster()
	for _, m := range agents.live {
		b := kmsg.NewMetadataResponseBroker()
		at := agents.endpoints[m.NodeID()]
		b.NodeID, b.Host, b.Port, b.Rack = m.NodeID(), at.host, at.port, rackOf(m.Zone)
		resp.Brokers = append(resp.Brokers, b)
	}
	resp.ClusterID = &s.cfg.ClusterID
	resp.ControllerID = agents.controller(s.cfg.NodeID)
	place, outcome := s.place(c, agents)
	s.observe.Placed(outcome)
	resp.AuthorizedOperations = notAsked
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}

	switch {
	case req.Topics == nil, req.Version == 0 && len(req.Topics) == 0: // all; v0 has no null
		for _, t := range s.deps.View.Topics() {
			resp.Topics = append(resp.Topics, metadataTopic(t, place, req))
		}
	default:
		resp.Topics = s.namedTopics(ctx, place, req)
	}
	for _, t := range resp.Topics {
		s.refuse(keyMetadata, code(t.ErrorCode))
	}
	return resp
}

// namedTopics answers for each topic asked for, in order, making those that are missing where that is allowed. A topic
// named more than once is answered once, as Kafka does: the answer stays as large as the cluster, whatever the request.
func (s *Server) namedTopics(ctx context.Context, place routing.Placement, req *kmsg.MetadataRequest) []kmsg.MetadataResponseTopic {
	type naming struct {
		id   record.TopicID
		name string
	}
	seen := make(map[naming]bool)
	var out []kmsg.MetadataResponseTopic
	missing := make(map[string]int) // to their places in out
	// Requests before v4 could not say no.
	create := s.cfg.AutoCreateTopics && (req.Version < 4 || req.AllowAutoTopicCreation)
	look := s.lookup(ctx)
	for _, asked := range req.Topics {
		id, name := record.TopicID(asked.TopicID), ""
		if asked.Topic != nil {
			name = *asked.Topic
		}
		if seen[naming{id, name}] {
			continue
		}
		seen[naming{id, name}] = true
		switch {
		case !id.IsZero() && req.Version >= 12:
			t, err := look.identified(id)
			if err == nil {
				out = append(out, metadataTopic(t, place, req))
				continue
			}
			unknown := noTopic(nil, missingCode(err, codeUnknownTopicID))
			unknown.TopicID = id
			out = append(out, unknown)
		case asked.Topic == nil || !id.IsZero():
			out = append(out, noTopic(asked.Topic, codeInvalidRequest))
		default:
			t, err := s.mentioned(look, name, create)
			switch {
			case err == nil:
				out = append(out, metadataTopic(t, place, req))
			case errors.Is(err, metadata.ErrUnknownTopic):
				missing[name] = len(out)
				out = append(out, kmsg.MetadataResponseTopic{})
			default:
				out = append(out, noTopic(&name, missingCode(err, codeUnknownTopicOrPartition)))
			}
		}
	}
	if len(missing) == 0 {
		return out
	}
	made := s.autoCreate(ctx, missing, create)
	for name, i := range missing {
		if answer := made[name]; answer.code == codeNone {
			out[i] = metadataTopic(answer.topic, place, req)
		} else {
			out[i] = noTopic(&name, answer.code)
		}
	}
	return out
}

// mentioned finds a topic by name. One that will be created if it is missing needs no second look: the log knows it then.
func (s *Server) mentioned(look *lookup, name string, create bool) (metadata.Topic, error) {
	if !create {
		return look.named(name)
	}
	t, ok := s.deps.View.Topic(name)
	if !ok {
		return t, unknownTopic(name)
	}
	return t, nil
}

// missingCode is unknown for a topic that does not exist, and LEADER_NOT_AVAILABLE, upon which clients ask again, where that
// could not be found out.
func missingCode(err error, unknown code) code {
	if errors.Is(err, metadata.ErrUnknownTopic) {
		return unknown
	}
	return codeLeaderNotAvailable
}

type autoCreated struct {
	topic metadata.Topic
	code  code
}

// autoCreate judges the names and, if create is set, makes the topics.
func (s *Server) autoCreate(ctx context.Context, missing map[string]int, create bool) map[string]autoCreated {
	names := make([]string, 0, len(missing))
	for name := range missing {
		names = append(names, name)
	}
	slices.Sort(names)
	answers := make([]autoCreated, len(names))
	var g errgroup.Group
	g.SetLimit(parallelCommands)
	begun := 0
	for i, name := range names {
		switch {
		case metadata.ValidateTopicName(name) != nil:
			answers[i].code = codeInvalidTopic
		case !create:
			answers[i].code = codeUnknownTopicOrPartition
		case s.clashes(name):
			answers[i].code = codeInvalidTopic
		case begun == maxAutoCreated:
			answers[i].code = codeLeaderNotAvailable
		default:
			begun++
			g.Go(func() error {
				var t metadata.Topic
				err := s.guarded(ctx, keyMetadata, func() (err error) {
					t, err = s.createTopic(ctx, metadata.CreateTopic{Name: name, Partitions: s.cfg.NumPartitions})
					return err
				})
				answers[i] = autoCreated{t, codeOf(err)}
				switch answers[i].code {
				case codeTopicAlreadyExists: // somebody else was first
					answers[i].code = codeNone
				case codeUnknownServerError, codeRequestTimedOut:
					answers[i].code = codeLeaderNotAvailable // the client asks again
				default:
				}
				return nil
			})
		}
	}
	_ = g.Wait() // the functions return no error
	byName := make(map[string]autoCreated, len(names))
	for i, name := range names {
		byName[name] = answers[i]
	}
	return byName
}

func (s *Server) clashes(name string) bool {
	_, found := s.deps.View.Clash(name)
	return found
}

// createTopic gives cmd an id and carries it out. With ErrTopicExists the topic is the one that exists.
func (s *Server) createTopic(ctx context.Context, cmd metadata.CreateTopic) (metadata.Topic, error) {
	cmd.ID = s.deps.NewTopicID()
	res, err := do[metadata.CreateTopicResult](ctx, s.deps.Commands, cmd)
	if err != nil {
		return metadata.Topic{}, fmt.Errorf("create topic %q: %w", cmd.Name, err)
	}
	if res.Err == nil {
		s.log.InfoContext(ctx, "topic created", "topic", cmd.Name, "id", res.Topic.ID.String(), "partitions", cmd.Partitions)
	}
	return res.Topic, res.Err
}

// do carries cmd out and gives its result the type it has.
func do[R metadata.Result](ctx context.Context, c Commands, cmd metadata.Command) (R, error) {
	var none R
	res, err := c.Do(ctx, cmd)
	if err != nil {
		return none, err
	}
	typed, ok := res.(R)
	if !ok {
		return none, fmt.Errorf("command %T was answered with %T", cmd, res)
	}
	return typed, nil
}

// metadataTopic describes one topic.
func metadataTopic(t metadata.Topic, place routing.Placement, req *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic = &t.Name
	out.TopicID = t.ID
	out.AuthorizedOperations = notAsked
	if req.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = topicOperations
	}
	nodes := place.Topic(t.ID, int(t.Partitions))
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, t.Partitions)
	for i := range out.Partitions {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition = int32(i)
		p.Leader, p.LeaderEpoch = nodes[i][0], leaderEpoch
		p.Replicas, p.ISR = nodes[i], nodes[i] // nobody changes an answer
		out.Partitions[i] = p
	}
	return out
}

func noTopic(name *string, code code) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic = name
	out.ErrorCode = int16(code)
	out.AuthorizedOperations = notAsked
	return out
}
