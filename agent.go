package barge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/compactor"
	"github.com/bargedata/barge/console"
	"github.com/bargedata/barge/fetch"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/replica"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/peer"
)

// Parts are what an agent gets from outside: everything that is not a plain setting. All but Store are needed.
type Parts struct {
	Logger  *slog.Logger
	Env     func(string) string // environment, for the keys of S3
	Now     func() time.Time
	Seed    uint64 // of all randomness; truly random outside simulations, since fencing rests on ids made of it
	Version string
	Store   objectstore.Store // instead of the one Config.Store names
}

// Agent is one process of a cluster. Make it with New, run it once with Run.
type Agent struct {
	cfg     Config
	parts   Parts
	log     *slog.Logger
	entropy *entropy

	metrics  *console.Metrics
	traffic  peer.Traffic
	ready    chan struct{}
	draining atomic.Bool
	kafka    net.Listener
	admin    net.Listener
	peers    net.Listener
	opened   objectstore.Store // by Run itself
	secret   []byte            // of the cluster
	session  atomic.Uint64     // the present one, 0 before the first
	reopened atomic.Int64      // sessions opened in place of one that others had sealed
	lost     atomic.Int64      // since when the sequencer has not been heard, in Unix nanoseconds; 0: it is heard
	answers  answers
	live     atomic.Pointer[liveParts]
}

// startPatience is for how long a start goes on asking a store that does not answer, or answers that it is overloaded: that is
// weather, not a mistake, and whoever runs agents should not see them come and go with it.
const startPatience = 5 * time.Minute

// New checks the configuration. Nothing is opened and nothing starts before Run.
func New(cfg Config, parts Parts) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if isPostgres(cfg.Metadata) {
		cfg.InlineBytes = 0 // a database is no place for what producers send
	}
	if parts.Logger == nil || parts.Env == nil || parts.Now == nil {
		return nil, errors.New("barge.New: Logger, Env and Now are needed")
	}
	return &Agent{cfg: cfg, parts: parts, log: parts.Logger, entropy: newEntropy(parts.Seed), metrics: console.NewMetrics(), ready: make(chan struct{})}, nil
}

// Ready is closed when the agent takes requests.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Addr is the bound Kafka address, valid after Ready.
func (a *Agent) Addr() string { return a.kafka.Addr().String() }

// HTTPAddr is the bound admin address, valid after Ready; empty when there is none.
func (a *Agent) HTTPAddr() string {
	if a.admin == nil {
		return ""
	}
	return a.admin.Addr().String()
}

// liveParts holds the parts of a running agent that Stats and the console look at.
type liveParts struct {
	cluster       string
	recordsBefore int64 // offsets given before this agent's session
	view          *metadata.View
	node          *replica.Node
	meter         *objectstore.Meter
	batcher       *batcher.Batcher
	compactor     *compactor.Compactor
	reader        *fetch.Reader
}

// Run opens the store, joins its cluster, and serves until ctx ends; then it drains: the other agents are told and take over what this
// one leads, connections finish what is in flight, the batcher writes what waits, the session is sealed. It returns nil after a
// drain, or what kept it from starting or going on.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.listen(ctx); err != nil {
		return err
	}
	defer a.closeListeners()
	if a.admin == nil {
		return a.onStore(ctx)
	}
	// The console answers while the store keeps the start waiting, and until the drain is over: an agent without it would be
	// taken for a dead one.
	work, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	watched, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() {
		err := console.New(console.Config{Listener: a.admin, Version: a.parts.Version, NoPage: !a.hasRole(RoleConsole)}, a.sources()).Run(watched)
		if err != nil {
			err = fmt.Errorf("console: %w", err)
			a.log.ErrorContext(ctx, "a part of the agent ended", "err", err)
			fail(err)
		}
		ended <- err
	}()
	err := a.onStore(work)
	stop()
	return errors.Join(err, <-ended)
}

// onStore opens the store, joins its cluster and serves until ctx ends.
func (a *Agent) onStore(ctx context.Context) error {
	store, meter, cluster, err := a.openCluster(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while the store kept it waiting
		}
		return err
	}
	if c, ok := a.opened.(io.Closer); ok {
		defer func() {
			if err := c.Close(); err != nil {
				a.log.WarnContext(ctx, "store not closed cleanly", "err", err)
			}
		}()
	}
	return a.serve(ctx, store, meter, cluster)
}

func (a *Agent) listen(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if a.kafka, err = lc.Listen(ctx, "tcp", a.cfg.Listen); err != nil {
		return fmt.Errorf("kafka listener: %w: choose another address with --listen", err)
	}
	if a.peers, err = lc.Listen(ctx, "tcp", a.cfg.Peer); err != nil {
		a.closeListeners()
		return fmt.Errorf("peer listener: %w: choose another address with --peer", err)
	}
	if a.cfg.HTTP == "" {
		return nil
	}
	if a.admin, err = lc.Listen(ctx, "tcp", a.cfg.HTTP); err != nil {
		a.closeListeners()
		return fmt.Errorf("admin listener: %w: choose another address with --http, or none with --http ''", err)
	}
	return nil
}

func (a *Agent) closeListeners() {
	// They are closed already where their servers ended; closing twice is harmless.
	for _, l := range []net.Listener{a.kafka, a.peers, a.admin} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// openCluster opens the store behind meter and retries, joins its cluster, and probes it once.
func (a *Agent) openCluster(ctx context.Context) (objectstore.Store, *objectstore.Meter, string, error) {
	raw := a.parts.Store
	if raw == nil {
		err := a.patiently(ctx, func() (err error) {
			raw, err = OpenStore(ctx, a.cfg.Store, true, a.parts.Env, a.parts.Now)
			return err
		})
		if err != nil {
			return nil, nil, "", storeHint(err)
		}
		a.opened = raw
	}
	meter := objectstore.NewTimedMeter(raw, a.parts.Now)
	retries := objectstore.RetryConfig{}
	if strings.HasPrefix(a.cfg.Store, "file://") {
		retries.HedgeDelay = -1 // a second write waits for the same disk
	}
	store := objectstore.WithRetry(meter, retries, a.parts.Now, a.entropy.rand(), a.log)
	var cluster string
	err := a.patiently(ctx, func() (err error) {
		if cluster, err = joinCluster(ctx, store, redact(a.cfg.Store), a.cfg.ClusterID, storeFormat(a.cfg.Metadata), a.parts.Now(), a.entropy); err != nil {
			return err
		}
		if !isPostgres(a.cfg.Metadata) { // nothing there rests on a race for a key
			if err := probeOnce(ctx, store, meter, a.entropy.id()); err != nil {
				return fmt.Errorf("store %s: %w", redact(a.cfg.Store), err)
			}
		}
		if a.secret, err = clusterSecret(ctx, store, a.cfg.ClusterSecret, cluster); err != nil {
			return fmt.Errorf("store %s: %w", redact(a.cfg.Store), err)
		}
		return nil
	})
	if err != nil {
		return nil, nil, "", storeHint(err)
	}
	return store, meter, cluster, nil
}

// patiently repeats a step of the start while the store does not answer, at most for startPatience.
func (a *Agent) patiently(ctx context.Context, step func() error) error {
	over := time.NewTimer(startPatience)
	defer over.Stop()
	for wait := time.Second; ; wait = min(2*wait, 10*time.Second) {
		err := step()
		if !weather(err) || ctx.Err() != nil {
			return err
		}
		a.log.WarnContext(ctx, "store or metadata log do not answer; trying again", "store", redact(a.cfg.Store), "metadata", RedactMetadata(a.cfg.Metadata), "after", wait, "err", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-over.C:
			timer.Stop()
			return fmt.Errorf("no answer within %v: %w", startPatience, err)
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// weather tells what passes by itself: a store, or a metadata log, that does not answer.
func weather(err error) bool {
	return errors.Is(err, objectstore.ErrUnknown) || errors.Is(err, metadata.ErrUnknown)
}

// sleep waits, or returns ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func storeHint(err error) error {
	if errors.Is(err, objectstore.ErrDenied) {
		return fmt.Errorf("%w (keys of S3 come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)", err)
	}
	return err
}

// stopped is nil for an error that only says that the agent was told to stop while it started.
func stopped(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), context.Canceled) {
		return nil
	}
	return err
}

func (a *Agent) hasRole(role string) bool {
	return slices.Contains(a.cfg.Roles, role)
}

func (a *Agent) advertised() string {
	if a.cfg.Advertise != "" {
		return a.cfg.Advertise
	}
	return a.kafka.Addr().String()
}

// owner is where others find this agent.
func (a *Agent) owner() metadata.Owner {
	o := metadata.Owner{Kafka: a.advertised(), Peer: a.cfg.PeerAdvertise}
	if o.Peer == "" {
		o.Peer = a.peers.Addr().String()
	}
	return o
}
