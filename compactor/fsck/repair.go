package fsck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// ErrInUse is Repair's answer when an agent seems to be at work on the store; nothing was done.
var ErrInUse = errors.New("the store is in use")

// fix says what Repair does about a finding; the zero fix is none.
type fix struct {
	drop string // delete this object
	mend string // rebuild the Delta log of the table at this path
}

// leftover remembers an object that goes by itself, for Repair to delete at once.
func (c *checker) leftover(key string) {
	if len(c.leftovers) < c.o.MaxFindings {
		c.leftovers = append(c.leftovers, key)
	}
}

// RepairOptions says how to repair.
type RepairOptions struct {
	// Force goes on though sessions are open, whose agents are taken for dead: they are fenced and their sessions sealed.
	Force bool
	Owner string // what the log is told, default "barge fsck"
	// IDs and Random are as for an agent: truly random outside simulations. IDs makes the identity of appends, Random a name for a Delta commit.
	IDs    func() [16]byte
	Random func() string
}

// Repair checks the store with Options.Full, mends what can be mended, and checks again: the report is the second check's, and says what was done and what was
// refused. It deletes objects that nothing will ever refer to, and those that wait to be swept; it deletes damaged or wrong snapshots
// where another start is left, and leaves a new one; and it rebuilds what a table's Delta log lost from the metadata log. It never touches a WAL object or a
// Parquet file that is referred to.
//
// The cluster must be stopped. ErrInUse: sessions are open and Force is not given, or the log moved during the check. Then the
// log is acquired, so that an agent which was taken for dead is fenced. Other errors: as Check's, and what kept the log from being acquired; the report then
// says what was done before.
func Repair(ctx context.Context, store objectstore.Store, o Options, ro RepairOptions) (Report, error) {
	o.Full = true
	r := &repairer{o: o.withDefaults(), ro: ro, store: store}
	if r.ro.Owner == "" {
		r.ro.Owner = "barge fsck"
	}
	c, err := r.check(ctx)
	if err == nil && c.refs == nil && r.dropFirst(c) {
		// Agents would start from what is wrong, and so would this: it goes before anything else is judged.
		if err = r.drop(ctx, r.first, "of no use"); err == nil {
			c, err = r.check(ctx)
		}
	}
	if err != nil {
		return Report{Repaired: r.done, Refused: r.refused}, fmt.Errorf("repair: %w", err)
	}
	if r.hopeless(c) {
		c.report.Repaired, c.report.Refused = r.done, r.refused
		return c.report, nil
	}
	if err := c.inUse(ctx, ro.Force); err != nil {
		return c.report, err
	}
	r.o.Cluster = c.report.Cluster
	if err := r.run(ctx, c.report.Findings, len(c.leftovers) > 0 || c.anyOpen()); err != nil {
		c.report.Repaired, c.report.Refused = r.done, r.refused
		return c.report, fmt.Errorf("repair: %w", err)
	}
	if len(r.done)+len(r.refused) == 0 {
		return c.report, nil
	}
	after, err := Check(ctx, store, o)
	after.Repaired, after.Refused = r.done, r.refused
	return after, err
}

func (r *repairer) check(ctx context.Context) (*checker, error) {
	c, err := newChecker(r.store, r.o)
	if err != nil {
		return nil, err
	}
	return c, c.run(ctx)
}

// dropFirst collects the snapshots that must go before the log can be judged. A log that nobody can read may be one in use as well as
// any other, but an agent at work does not read snapshots.
func (r *repairer) dropFirst(c *checker) bool {
	for _, f := range c.report.Findings {
		if f.Kind == LogSnapshotState && f.fix.drop != "" {
			r.first = append(r.first, f.fix.drop)
		}
	}
	return len(r.first) > 0
}

// hopeless tells when nothing may be touched.
func (r *repairer) hopeless(c *checker) bool {
	if c.refs == nil {
		r.refuse("nothing more was repaired: the metadata log cannot be read")
		return true
	}
	for _, f := range c.report.Findings {
		if f.Kind == LogOlder {
			r.refuse("nothing was repaired: the metadata log is older than the store, so what looks like litter may be the only copy of records")
			return true
		}
	}
	return false
}

// anyOpen tells whether a session is open, whose uploads become leftovers when it is sealed.
func (c *checker) anyOpen() bool {
	return slices.ContainsFunc(c.view.Sessions(), func(s metadata.Session) bool { return !s.Sealed })
}

// inUse tells signs of life: a session that is open, or a log that grows.
func (c *checker) inUse(ctx context.Context, force bool) error {
	before := c.view.Applied()
	if err := c.refresh(ctx); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if now := c.view.Applied(); now != c.began || now != before {
		return fmt.Errorf("repair: the log grew from entry %d to %d during the check, so an agent is at work; stop it first: %w", c.began, now, ErrInUse)
	}
	if force {
		return nil
	}
	for _, s := range c.view.Sessions() {
		if !s.Sealed {
			return fmt.Errorf("repair: session %d of the agent at %q is open; stop that agent, or, if it was killed, force the repair: %w", s.ID, s.Agent.Address, ErrInUse)
		}
	}
	return nil
}

// repairer is one repair under way.
type repairer struct {
	o     Options
	ro    RepairOptions
	store objectstore.Store
	view  *metadata.View
	refs  *references

	first         []string // snapshots that are deleted before anything else
	done, refused []string
}

func (r *repairer) did(format string, args ...any) {
	r.done = append(r.done, fmt.Sprintf(format, args...))
}

func (r *repairer) refuse(format string, args ...any) {
	r.refused = append(r.refused, fmt.Sprintf(format, args...))
}

// deleteBatch is how many keys go into one request: S3's own limit.
const deleteBatch = 1000

// run mends the findings. Whatever it deletes is deleted for a reason that cannot pass: nothing will refer to it again.
func (r *repairer) run(ctx context.Context, findings []Finding, sweep bool) error {
	var drop, mend []string
	for _, f := range findings {
		switch {
		case f.fix.drop != "":
			drop = append(drop, f.fix.drop)
		case f.fix.mend != "" && !slices.Contains(mend, f.fix.mend):
			mend = append(mend, f.fix.mend)
		}
	}
	if len(drop)+len(mend) == 0 && !sweep {
		return nil
	}
	return r.withLog(ctx, func(ctx context.Context) error {
		if err := r.drop(ctx, drop, "of no use"); err != nil {
			return err
		}
		for _, dir := range mend {
			if err := r.mend(ctx, dir); err != nil {
				r.refuse("%s: the Delta log could not be mended: %v", dir, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return r.sweep(ctx)
	})
}

func (r *repairer) drop(ctx context.Context, keys []string, why string) error {
	for batch := range slices.Chunk(keys, deleteBatch) {
		if err := r.store.Delete(ctx, batch...); err != nil {
			return fmt.Errorf("delete %d objects from %s on: %w", len(batch), batch[0], err)
		}
		for _, key := range batch {
			r.did("deleted %s, %s", key, why)
		}
	}
	return nil
}

// sweep deletes what goes by itself, now that every session is sealed.
func (r *repairer) sweep(ctx context.Context) error {
	o := r.o
	o.Full = false
	c, err := newChecker(r.store, o)
	if err != nil {
		return err
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	return r.drop(ctx, c.leftovers, "left over")
}

// withLog takes the log, seals the sessions that are open, does work, and leaves a snapshot.
func (r *repairer) withLog(ctx context.Context, work func(context.Context) error) error {
	log, err := r.o.openLog(r.store, r.ro.IDs)
	if err != nil {
		return err
	}
	r.view = metadata.NewView()
	sequencer := metadata.NewSequencer(metadata.SequencerConfig{Owner: r.ro.Owner}, log, r.view, r.o.Now, r.ro.IDs, r.o.Logger)
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- sequencer.Run(inner) }()
	select {
	case <-sequencer.Ready():
	case err := <-ended:
		return fmt.Errorf("take the log: %w", err)
	case <-ctx.Done():
		stop()
		return errors.Join(ctx.Err(), <-ended)
	}
	err = r.seal(ctx, sequencer)
	if err == nil {
		r.refs = refer(r.view)
		err = work(ctx)
	}
	stop() // which leaves a snapshot
	return errors.Join(err, <-ended)
}

func (r *repairer) seal(ctx context.Context, log metadata.Doer) error {
	for _, s := range r.view.Sessions() {
		if s.Sealed {
			continue
		}
		res, err := metadata.Ask[metadata.SealSessionResult](ctx, log, metadata.SealSession{Session: s.ID})
		if err := errors.Join(err, res.Err); err != nil {
			return fmt.Errorf("seal session %d: %w", s.ID, err)
		}
		r.did("sealed session %d of the agent at %s, which is taken for dead", s.ID, strings.TrimSpace(s.Agent.Address))
	}
	return nil
}
