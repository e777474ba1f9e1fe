package barge

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/compactor"
	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/group"
	"github.com/bargedata/barge/ingest"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// services is what runs between the opening and the sealing of a session.
type services struct {
	live    *liveParts
	server  *ingest.Server
	batcher *batcher.Batcher
	groups  *group.Coordinator
}

func (a *Agent) build(store objectstore.Store, meter *objectstore.Meter, cluster string, session metadata.SessionID, view *metadata.View, sequencer *metadata.Sequencer) (*services, error) {
	fetchConfig := fetch.DefaultConfig()
	fetchConfig.TailBytes = a.cfg.CacheBytes
	fetchConfig.ObjectBytes = a.cfg.CacheBytes / 2
	fetchConfig.CatchUp = sequencer.Confirm // a missing object may mean that another agent owns the log by now
	reader, err := fetch.New(fetchConfig, view, store, fetch.OpenParquet, a.log)
	if err != nil {
		return nil, err
	}

	inline := a.cfg.InlineBytes
	if view.Level() < 2 {
		inline = 0
	}
	batches, err := batcher.New(batcher.Config{
		Session: session, Cluster: metadata.Cluster{ID: cluster}.Hash(),
		FlushInterval: a.cfg.FlushInterval, FlushBytes: a.cfg.FlushBytes, BufferBytes: a.cfg.BufferBytes, InlineBytes: inline,
		DrainTimeout: a.cfg.DrainTimeout, OnUploaded: reader.Seed,
	}, store, sequencer, a.parts.Now, a.entropy.rand(), a.metrics, a.log)
	if err != nil {
		return nil, err
	}

	groupConfig := group.DefaultConfig()
	groupConfig.Owner = a.advertised()
	groups, err := group.New(groupConfig, view, sequencer, a.parts.Now, a.entropy.rand(), a.log)
	if err != nil {
		return nil, err
	}

	serverConfig := ingest.DefaultConfig()
	serverConfig.Listener, serverConfig.Advertise = a.kafka, a.cfg.Advertise
	serverConfig.NodeID, serverConfig.ClusterID, serverConfig.Zone = nodeID(session), cluster, a.cfg.Zone
	serverConfig.BrokerVersion = a.parts.Version
	serverConfig.AutoCreateTopics, serverConfig.NumPartitions = a.cfg.AutoCreateTopics, a.cfg.NumPartitions
	serverConfig.ProduceBytes, serverConfig.DrainTimeout = int(a.cfg.MaxRequestBytes), a.cfg.DrainTimeout
	serverConfig.MemoryBytes, serverConfig.ReplyBytes = a.cfg.frameBytes(), a.cfg.replyBytes()
	server, err := ingest.New(serverConfig, ingest.Deps{
		View: view, Commands: sequencer, Batches: ingest.FromBatcher(batches), Reader: reader, Groups: groups,
		Fresh: sequencer.Confirm,
		Now:   a.parts.Now, NewTopicID: a.entropy.topicID, Observer: a.metrics, Log: a.log,
	})
	if err != nil {
		return nil, err
	}

	compactConfig := compactor.DefaultConfig()
	compactConfig.Session, compactConfig.Cluster = session, cluster
	compactConfig.ReleaseGrace, compactConfig.Fence = a.cfg.ReleaseGrace, a.cfg.TableFence
	compactConfig.Limits.Interval = a.cfg.TableCommitInterval
	worker := compactor.New(compactConfig, view, sequencer, store, a.parts.Now, a.entropy.id, a.log)

	p := &services{
		live:   &liveParts{cluster: cluster, recordsBefore: recordsIn(view), view: view, sequencer: sequencer, meter: meter, batcher: batches, compactor: worker, reader: reader},
		server: server, batcher: batches, groups: groups,
	}
	return p, nil
}

// nodeID is the number clients know this agent by: its session's, which is never used again for another address.
func nodeID(session metadata.SessionID) int32 { return int32(session & 0x7fffffff) }

// run starts the parts and stops them front to back: first no new requests, then what is in flight, then background work.
func (p *services) run(ctx context.Context, a *Agent) error {
	back, stopBack := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBack()
	var fronts, backs errgroup.Group
	fail := make(chan error, 8)
	start := func(g *errgroup.Group, ctx context.Context, name string, run func(context.Context) error) {
		g.Go(func() error {
			err := run(ctx)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
				select {
				case fail <- err:
				default: // one is enough to stop the agent; Wait returns the first of each group
				}
			}
			return err
		})
	}
	front, stopFront := context.WithCancel(ctx)
	defer stopFront()
	start(&backs, back, "batcher", p.batcher.Run)
	start(&backs, back, "reader", p.live.reader.Run)
	// The coordinator and the compactor end with the front: nothing acked depends on them any more.
	start(&fronts, front, "group coordinator", p.groups.Run)
	start(&fronts, front, "compactor", func(ctx context.Context) error {
		if !a.hasRole(RoleCompact) {
			return nil
		}
		return p.live.compactor.Run(ctx)
	})
	start(&fronts, front, "kafka listener", p.server.Run)

	close(a.ready)
	a.log.InfoContext(ctx, "ready", "kafka", a.Addr(), "http", a.HTTPAddr(), "store", redact(a.cfg.Store))
	select {
	case <-ctx.Done():
	case err := <-fail:
		a.log.ErrorContext(ctx, "a part of the agent ended", "err", err)
	}
	a.draining.Store(true)
	p.batcher.Hurry()
	a.log.InfoContext(ctx, "draining")
	stopFront()
	frontErr := fronts.Wait()
	stopBack()
	return errors.Join(frontErr, backs.Wait())
}
