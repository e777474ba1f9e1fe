package barge

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/compactor"
	"github.com/bargedata/barge/group"
	"github.com/bargedata/barge/ingest"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/routing"
)

// services is what runs between the opening and the sealing of a session.
type services struct {
	live    *liveParts
	self    routing.Member // but for what changes
	server  *ingest.Server
	batcher *batcher.Batcher
	groups  *group.Coordinator
}

// build makes the parts of one session.
func (a *Agent) build(j *joined, session metadata.SessionID) (*services, error) {
	view, node := j.view, j.node
	inline := a.cfg.InlineBytes
	if view.Level() < 2 {
		inline = 0 // until the next session
	}
	batches, err := batcher.New(batcher.Config{
		Session: session, Cluster: metadata.Cluster{ID: j.cluster}.Hash(),
		FlushInterval: a.cfg.FlushInterval, FlushBytes: a.cfg.FlushBytes, BufferBytes: a.cfg.BufferBytes, InlineBytes: inline,
		DrainTimeout: a.cfg.DrainTimeout, OnUploaded: j.reader.Seed,
	}, j.store, node, a.parts.Now, a.entropy.rand(), a.metrics, a.log)
	if err != nil {
		return nil, err
	}

	groupConfig := group.DefaultConfig()
	groupConfig.Owner, groupConfig.Session, groupConfig.Cluster = a.advertised(), session, node
	groupConfig.InitialDelay, groupConfig.MaxMembers = a.cfg.GroupInitialDelay, int(a.cfg.GroupMaxSize)
	groupConfig.ConsumerSession, groupConfig.ConsumerHeartbeat = a.cfg.GroupSessionTimeout, a.cfg.GroupHeartbeatInterval
	groups, err := group.New(groupConfig, view, node, a.parts.Now, a.entropy.rand(), a.log)
	if err != nil {
		return nil, err
	}

	serverConfig := ingest.DefaultConfig()
	listener, err := lend(a.kafka)
	if err != nil {
		return nil, err
	}
	zones, err := routing.ParseZoneMap(a.cfg.ClientZones)
	if err != nil {
		return nil, err
	}
	serverConfig.Listener, serverConfig.Advertise = listener, a.cfg.Advertise
	serverConfig.NodeID, serverConfig.ClusterID = nodeID(session), j.cluster
	serverConfig.Zone, serverConfig.ClientZones = a.cfg.Zone, zones
	serverConfig.BrokerVersion = a.parts.Version
	serverConfig.AutoCreateTopics, serverConfig.NumPartitions = a.cfg.AutoCreateTopics, a.cfg.NumPartitions
	serverConfig.ProduceBytes, serverConfig.DrainTimeout = int(a.cfg.MaxRequestBytes), a.cfg.DrainTimeout
	serverConfig.MemoryBytes, serverConfig.ReplyBytes = a.cfg.frameBytes(), a.cfg.replyBytes()
	server, err := ingest.New(serverConfig, ingest.Deps{
		View: view, Commands: node, Batches: ingest.FromBatcher(batches), Reader: j.reader, Groups: groups,
		Fresh: node.Confirm, Members: node.Members, Reachable: node.Reachable, Coordinators: groups,
		Now: a.parts.Now, NewTopicID: a.entropy.topicID, Observer: a.metrics, Log: a.log,
	})
	if err != nil {
		return nil, err
	}

	compactConfig := compactor.DefaultConfig()
	compactConfig.Session, compactConfig.Cluster = session, j.cluster
	compactConfig.Share = compactor.Spread(node.Members, session)
	compactConfig.ReleaseGrace, compactConfig.Fence = a.cfg.ReleaseGrace, a.cfg.TableFence
	compactConfig.Retention = a.cfg.Retention
	compactConfig.Limits.Interval = a.cfg.TableCommitInterval
	worker := compactor.New(compactConfig, view, node, j.store, a.parts.Now, a.entropy.id, a.log)

	p := &services{
		live:   &liveParts{cluster: j.cluster, recordsBefore: recordsIn(view), view: view, node: node, meter: j.meter, batcher: batches, compactor: worker, reader: j.reader},
		server: server, batcher: batches, groups: groups,
	}
	return p, nil
}

// nodeID is the number clients know this agent by: its session's, which is never used again for another address.
func nodeID(session metadata.SessionID) int32 { return int32(session & 0x7fffffff) }

// run starts the parts and stops them front to back: first no new requests, then what is in flight, then background work. It returns
// when ctx has ended, with what a part failed on, or with true when others have sealed the session.
func (p *services) run(ctx context.Context, a *Agent, j *joined) (sealed bool, err error) {
	back, stopBack := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBack()
	var fronts, backs errgroup.Group
	broken := make(chan struct{})
	var failure error // of the part that ended first; valid once broken is closed
	var once sync.Once
	start := func(g *errgroup.Group, ctx context.Context, name string, run func(context.Context) error) {
		g.Go(func() error {
			err := run(ctx)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
				a.log.ErrorContext(ctx, "a part of the agent ended", "err", err)
				once.Do(func() {
					failure = err
					close(broken)
				})
			}
			return err
		})
	}
	front, stopFront := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFront()
	start(&backs, back, "batcher", p.batcher.Run)
	// The coordinator and the compactor end with the front: nothing acked depends on them any more.
	start(&fronts, front, "group coordinator", p.groups.Run)
	start(&fronts, front, "compactor", func(ctx context.Context) error {
		if !a.hasRole(RoleCompact) {
			return nil
		}
		return p.live.compactor.Run(ctx)
	})
	start(&fronts, front, "kafka listener", p.server.Run)
	start(&fronts, front, "signs of life", func(ctx context.Context) error { return p.tellSelf(ctx, a, j.node) })

	a.isReady(ctx)
	session, sealed := awaitEnd(ctx, broken, &failure, j.node.SelfSealed())
	if sealed {
		a.log.WarnContext(ctx, "the others took this agent for dead and sealed its session; opening a new one", "session", session)
	} else {
		a.draining.Store(true)
		a.log.InfoContext(ctx, "draining")
		if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
			p.giveAway(context.WithoutCancel(ctx), a, j.node, broken)
		}
	}
	p.batcher.Hurry()
	stopFront()
	frontErr := fronts.Wait()
	stopBack()
	return sealed, errors.Join(frontErr, backs.Wait())
}

// awaitEnd waits for what ends the work of a session: ctx, a part that breaks (failure tells why), or that others have sealed it. A part
// may hear of that first, by the refusal of a commit; the node, which looks at every tick, tells it then too.
func awaitEnd(ctx context.Context, broken <-chan struct{}, failure *error, selfSealed <-chan uint64) (session uint64, sealed bool) {
	select {
	case <-ctx.Done():
		return 0, false
	case session = <-selfSealed:
		return session, true
	case <-broken:
	}
	if !errors.Is(*failure, metadata.ErrSessionSealed) {
		return 0, false
	}
	select {
	case session = <-selfSealed:
		return session, true
	case <-ctx.Done():
		return 0, false
	}
}

// isReady lets the first session tell that requests are taken.
func (a *Agent) isReady(ctx context.Context) {
	select {
	case <-a.ready:
	default:
		close(a.ready)
		a.log.InfoContext(ctx, "ready", "kafka", a.Addr(), "http", a.HTTPAddr(), "peer", a.owner().Peer, "store", redact(a.cfg.Store))
	}
}
