package barge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/replica"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/peer"
	"github.com/bargedata/barge/record"
)

// joined is what an agent keeps from its start to its end, through all its sessions.
type joined struct {
	cluster string
	store   objectstore.Store // objects inside the log included
	meter   *objectstore.Meter
	view    *metadata.View
	node    *replica.Node
	reader  *fetch.Reader
}

// serve joins the cluster and works in it until ctx ends. Three circles end one after the other: the front doors, the batcher and
// background work of a session; the end of the shared log, so that a drain can still commit; and the peer server, whose last answers
// tell the others that this agent leaves.
func (a *Agent) serve(ctx context.Context, store objectstore.Store, meter *objectstore.Meter, cluster string) error {
	peerConfig := peer.Config{Cluster: cluster, Secret: a.secret}
	client, err := peer.NewClient(peerConfig, &a.traffic, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	server, err := peer.NewServer(peerConfig, a.peers, &a.traffic, &a.answers, &a.answers, a.parts.Now, a.log)
	if err != nil {
		return err
	}
	work, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	answering, stopAnswering := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAnswering()
	answered := make(chan error, 1)
	go func() {
		err := server.Run(answering)
		if err != nil {
			fail(err)
		}
		answered <- err
	}()
	err = a.onLog(work, &joined{cluster: cluster, store: store, meter: meter}, client)
	stopAnswering()
	return errors.Join(err, <-answered)
}

// onLog opens this agent's end of the shared log and works on it until ctx ends.
func (a *Agent) onLog(ctx context.Context, j *joined, client *peer.Client) error {
	var log *OpenedLog
	err := a.patiently(ctx, func() (err error) {
		log, err = OpenLog(ctx, LogConfig{
			Metadata: a.cfg.Metadata, Store: j.store, Cluster: j.cluster, Create: true, IDs: a.entropy.id16, Now: a.parts.Now, Logger: a.log,
		})
		return err
	})
	if err != nil {
		return stopped(ctx, err)
	}
	defer log.Close()
	beside, stopBeside := context.WithCancel(context.WithoutCancel(ctx))
	witnessed := make(chan error, 1)
	go func() { witnessed <- log.Run(beside) }()
	defer func() {
		stopBeside()
		if err := <-witnessed; err != nil {
			a.log.WarnContext(ctx, "metadata log", "err", err)
		}
	}()
	j.store = log.WithInline(j.store)
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx))
	defer stopInner()
	var ended chan error
	err = a.patiently(ctx, func() error {
		j.view, ended = metadata.NewView(), make(chan error, 1)
		j.node = replica.New(replica.Config{Owner: a.owner()}, replica.Parts{
			Log: log, View: j.view, Transport: transport{client}, Now: a.parts.Now, IDs: a.entropy.id16, Rand: a.entropy.rand(), Logger: a.log,
			Sequencer: metadata.SequencerConfig{OnInline: a.keepInline},
		})
		a.answers.node.Store(j.node)
		go func() { ended <- j.node.Run(inner) }()
		select {
		case <-j.node.Ready():
			return nil
		case err := <-ended:
			return fmt.Errorf("metadata log: %w", err)
		case <-ctx.Done():
			stopInner()
			return errors.Join(ctx.Err(), <-ended)
		}
	})
	if err != nil {
		if ctx.Err() != nil {
			return stopped(ctx, err) // told to stop before there was anything to drain
		}
		return err
	}

	work, stopWork := context.WithCancelCause(ctx)
	defer stopWork(nil)
	var logErr error
	over := make(chan struct{})
	go func() {
		logErr = <-ended
		close(over)
		stopWork(logErr) // nothing can be committed any more
	}()
	workErr := a.work(work, j, client)
	stopInner()
	<-over
	return errors.Join(workErr, logErr)
}

// keepInline puts an object that was committed inside a log entry where consumers at the end of the log find it.
func (a *Agent) keepInline(key string, body []byte) {
	if reader := a.answers.reader.Load(); reader != nil {
		reader.Seed(key, record.NewBuffer(body))
	}
}

// work opens a session and runs everything that commits, until ctx ends. A session that others sealed, because this agent stood still
// for long, is followed by another one.
func (a *Agent) work(ctx context.Context, j *joined, client *peer.Client) error {
	fetchConfig := fetch.DefaultConfig()
	fetchConfig.TailBytes = a.cfg.CacheBytes
	fetchConfig.ObjectBytes = a.cfg.CacheBytes / 2
	fetchConfig.CatchUp = j.node.Confirm // a missing object may mean that the View lags
	fetchConfig.Zone = &zone{Client: client, name: a.cfg.Zone, members: j.node.Members, session: &a.session}
	var err error
	if j.reader, err = fetch.New(fetchConfig, j.view, j.store, fetch.OpenParquet, a.log); err != nil {
		return err
	}
	a.answers.reader.Store(j.reader)
	reading, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReading()
	read := make(chan error, 1)
	go func() { read <- j.reader.Run(reading) }()

	if err = a.sealBefore(ctx, j, client); err == nil {
		err = a.sessions(ctx, j)
	}
	stopReading()
	return errors.Join(stopped(ctx, err), <-read)
}

// ErrAddressTaken says that another agent of the cluster is at work at the address that this one advertises; the text says which.
var ErrAddressTaken = errors.New("another agent is at work at this address")

const (
	// aliveLimit is for one sign of life of an agent at this one's address.
	aliveLimit = 2 * time.Second
	// takenTries and takenEvery say how long such an agent has to be seen before this one gives way: six seconds. Whoever does not live any
	// more is off the list of members by then, and what answered where it had been reached is another one.
	takenTries = 12
	takenEvery = 500 * time.Millisecond
)

// sealBefore ends the sessions of the process that had this agent's address before it, and cannot live any more: its claims would hold
// topics until the cluster takes it for dead. One that answers lives, and was given the same address: ErrAddressTaken, unless it is about
// to leave. Which of two that start at the same moment is the first, nobody can tell: they seal each other's session once.
func (a *Agent) sealBefore(ctx context.Context, j *joined, client *peer.Client) error {
	for _, s := range j.view.Sessions() {
		if s.Sealed || s.Agent.Address != a.advertised() {
			continue
		}
		if err := a.awaitGone(ctx, j, client, s); err != nil {
			return err
		}
		if err := a.seal(ctx, j.node, s.ID); err != nil {
			return fmt.Errorf("seal session %d of the agent that was at this address before: %w", s.ID, err)
		}
		a.log.InfoContext(ctx, "sealed the session of the agent that was at this address before", "session", uint64(s.ID), "address", s.Agent.Address)
	}
	return nil
}

// awaitGone returns nil once the agent of a session at this agent's address does not answer: at once, where a process has taken the place of
// one that was killed.
func (a *Agent) awaitGone(ctx context.Context, j *joined, client *peer.Client, s metadata.Session) error {
	for tries := 0; ; tries++ {
		m, known := j.node.Members().BySession(uint64(s.ID))
		if !known || m.Peer == a.owner().Peer || !lives(ctx, client, m.Peer) {
			return nil
		}
		if !m.Draining && tries >= takenTries {
			return fmt.Errorf("advertise %q: %w: session %d, reached by other agents at %s, its admin address %q: give this agent another with --advertise, or stop that one",
				s.Agent.Address, ErrAddressTaken, s.ID, m.Peer, s.Agent.HTTP)
		}
		if err := sleep(ctx, takenEvery); err != nil {
			return err
		}
	}
}

// lives reports whether an agent of the cluster answers at a peer address.
func lives(ctx context.Context, client *peer.Client, addr string) bool {
	call, cancel := context.WithTimeout(ctx, aliveLimit)
	defer cancel()
	_, err := client.Confirm(call, addr)
	return err == nil
}
