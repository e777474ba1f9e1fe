package ingest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/metadata"
)

const (
	// maxAltered bounds the resources of one request that alters configs.
	maxAltered = 2_000
	// maxConfigRaces bounds how often a change is worked out anew because another one was faster.
	maxConfigRaces = 20
	// levelOfChanges is the level of the log from which on topics can be changed.
	levelOfChanges = 4
)

// alteration is what a request wants of one resource.
type alteration struct {
	kind  kmsg.ConfigResourceType
	name  string
	names []string // of the configs it mentions, as often as it does
	null  []string // those that have no value and need one
	// change works out what the topic is to set from what it sets.
	change func(explicit map[string]string) (map[string]string, error)
}

// verdict is the answer about one resource.
type verdict struct {
	code    code
	message string
}

func refused(c code, format string, args ...any) verdict {
	return verdict{c, fmt.Sprintf(format, args...)}
}

func verdictOf(err error) verdict { return verdict{codeOf(err), messageOf(err)} }

// text is the message as answers carry it: null beside no error.
func (v verdict) text() *string {
	if v.code == codeNone {
		return nil
	}
	return &v.message
}

// incrementalAlterConfigs answers key 44, versions 0-1 (KIP-339): each topic's changes take effect together or not at all, on
// top of what others have changed meanwhile.
func (s *Server) incrementalAlterConfigs(ctx context.Context, req *kmsg.IncrementalAlterConfigsRequest) *kmsg.IncrementalAlterConfigsResponse {
	wanted := make([]alteration, len(req.Resources))
	for i, r := range req.Resources {
		a := &wanted[i]
		a.kind, a.name = r.ResourceType, r.ResourceName
		changes := make([]metadata.ConfigChange, 0, len(r.Configs))
		for _, c := range r.Configs {
			change := metadata.ConfigChange{Name: c.Name, Op: metadata.ConfigOp(c.Op)}
			a.names = append(a.names, c.Name)
			switch {
			case c.Value != nil:
				change.Value = *c.Value
			case change.Op != metadata.ConfigDelete:
				a.null = append(a.null, c.Name)
			}
			changes = append(changes, change)
		}
		a.change = func(explicit map[string]string) (map[string]string, error) {
			return metadata.ChangeConfigs(explicit, changes)
		}
	}
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	for i, v := range s.alterConfigs(ctx, keyIncrementalAlterConfigs, wanted, req.ValidateOnly) {
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		out.ErrorCode, out.ErrorMessage = s.refuse(keyIncrementalAlterConfigs, v.code), v.text()
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// replaceConfigs answers AlterConfigs, key 33, versions 0-2: a topic sets what the request names, and nothing else any more.
func (s *Server) replaceConfigs(ctx context.Context, req *kmsg.AlterConfigsRequest) *kmsg.AlterConfigsResponse {
	wanted := make([]alteration, len(req.Resources))
	for i, r := range req.Resources {
		a := &wanted[i]
		a.kind, a.name = r.ResourceType, r.ResourceName
		to := make(map[string]string, len(r.Configs))
		for _, c := range r.Configs {
			a.names = append(a.names, c.Name)
			if c.Value == nil {
				a.null = append(a.null, c.Name)
				continue
			}
			to[c.Name] = *c.Value
		}
		a.change = func(explicit map[string]string) (map[string]string, error) {
			return to, metadata.CheckChange(explicit, to)
		}
	}
	resp := kmsg.NewPtrAlterConfigsResponse()
	for i, v := range s.alterConfigs(ctx, keyAlterConfigs, wanted, req.ValidateOnly) {
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
		out.ErrorCode, out.ErrorMessage = s.refuse(keyAlterConfigs, v.code), v.text()
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// alterConfigs carries the alterations out, each for itself, and answers them in order. Answers come when this agent's View
// has what was altered; others follow as they follow the log.
func (s *Server) alterConfigs(ctx context.Context, key int16, wanted []alteration, validateOnly bool) []verdict {
	verdicts := make([]verdict, len(wanted))
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	named := make(map[resource]int)
	for _, a := range wanted {
		named[resource{a.kind, a.name}]++
	}
	look := s.lookup(ctx)
	if validateOnly {
		look.catchUp() // what is altered is judged by the log, this by the View
	}
	var g errgroup.Group
	g.SetLimit(parallelCommands)
	for i, a := range wanted {
		switch {
		case named[resource{a.kind, a.name}] > 1:
			verdicts[i] = refused(codeInvalidRequest, "each resource must appear at most once")
			continue
		case i >= maxAltered:
			verdicts[i] = refused(codePolicyViolation, "a request may alter at most %d resources", maxAltered)
			continue
		}
		topic, v := s.planAlteration(look, a)
		if verdicts[i] = v; v.code != codeNone || a.kind != kmsg.ConfigResourceTypeTopic {
			continue
		}
		if validateOnly {
			_, err := a.change(topic.Configs)
			verdicts[i] = verdictOf(err)
			continue
		}
		g.Go(func() error {
			verdicts[i] = verdictOf(s.guarded(ctx, key, func() error { return s.alterTopic(ctx, topic, a.change) }))
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return verdicts
}

// planAlteration judges what can be judged without a look at the present configs, and finds the topic meant.
func (s *Server) planAlteration(look *lookup, a alteration) (metadata.Topic, verdict) {
	none := metadata.Topic{}
	seen := make(map[string]bool, len(a.names))
	for _, name := range a.names {
		if seen[name] {
			return none, refused(codeInvalidRequest, "config %q is named twice", name)
		}
		seen[name] = true
	}
	if len(a.null) > 0 {
		return none, refused(codeInvalidRequest, "null value not supported for: %s", strings.Join(a.null, ", "))
	}
	switch a.kind {
	case kmsg.ConfigResourceTypeTopic:
	case kmsg.ConfigResourceTypeBroker:
		if a.name != "" && a.name != strconv.Itoa(int(s.cfg.NodeID)) {
			return none, refused(codeInvalidRequest, "unexpected broker id, expected %d or empty string, but received %s", s.cfg.NodeID, a.name)
		}
		if len(a.names) > 0 {
			return none, refused(codeInvalidRequest, "cannot update these configs dynamically: %s; they are set where the agent is started", strings.Join(a.names, ", "))
		}
		return none, verdict{}
	default:
		return none, refused(codeInvalidRequest, "only the configs of topics can be altered here, not those of resources of type %d", a.kind)
	}
	if err := metadata.ValidateTopicName(a.name); err != nil {
		return none, verdictOf(err)
	}
	topic, err := look.named(a.name)
	if err == nil {
		err = s.canChange()
	}
	return topic, verdictOf(err)
}

// canChange tells why topics can not be changed now: some agent of the cluster would not understand it.
func (s *Server) canChange() error {
	if level := s.deps.View.Level(); level < levelOfChanges {
		return fmt.Errorf("an agent of the cluster is older than this one, and the log at level %d, want %d: upgrade it before topics are changed: %w", level, levelOfChanges, metadata.ErrLevel)
	}
	return nil
}

// alterTopic gives the topic what change makes of its configs, again and again until nobody else was faster.
func (s *Server) alterTopic(ctx context.Context, topic metadata.Topic, change func(map[string]string) (map[string]string, error)) error {
	for range maxConfigRaces {
		to, err := change(topic.Configs)
		if err != nil {
			return err
		}
		res, err := do[metadata.AlterTopicConfigsResult](ctx, s.deps.Commands, metadata.AlterTopicConfigs{ID: topic.ID, From: topic.Configs, To: to})
		switch {
		case err != nil:
			return fmt.Errorf("alter topic %q: %w", topic.Name, err)
		case errors.Is(res.Err, metadata.ErrConflict):
			topic = res.Topic
		case res.Err != nil:
			return fmt.Errorf("alter topic %q: %w", topic.Name, res.Err)
		default:
			s.log.InfoContext(ctx, "topic altered", "topic", topic.Name, "id", topic.ID.String(), "configs", len(to))
			return nil
		}
	}
	return fmt.Errorf("alter topic %q: others altered it %d times meanwhile: %w", topic.Name, maxConfigRaces, metadata.ErrConflict)
}
