package fsck

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
)

// Options says how to check. Zero values are the defaults but for Now, which is needed.
type Options struct {
	// Cluster is the id of the cluster, for stores without a cluster.json (simulations); "" takes what the store says.
	Cluster string
	// Full reads every byte that the log refers to. Without it objects are listed and their sizes compared, the log is read from
	// its newest snapshot and each table from its newest checkpoint on.
	Full bool
	// Log is a log that does not lie in the store, opened by the caller; Repair appends to it. nil: it lies in the store under LogPrefix.
	// LogPrefix is then what findings call it.
	Log Log
	// LogPrefix is where the metadata log lies, default "meta/0".
	LogPrefix string
	// ReadAhead is how many slots of the log are read side by side, default 1: no goroutines.
	ReadAhead int
	// MaxFindings bounds the findings that are listed, default 10,000; the rest is counted.
	MaxFindings int
	Now         func() time.Time
	// Sleep waits while the log lags behind its own end; default: a timer.
	Sleep  func(context.Context, time.Duration) error
	Logger *slog.Logger // default: none
	// Progress, when set, is told now and then what is being looked at.
	Progress func(what string)
}

func (o Options) withDefaults() Options {
	if o.LogPrefix == "" {
		o.LogPrefix = "meta/0"
	}
	o.ReadAhead = max(o.ReadAhead, 1)
	if o.MaxFindings <= 0 {
		o.MaxFindings = 10_000
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Store is what a check reads; bytes are never written. Repair needs all of objectstore.Store.
type Store interface {
	Get(ctx context.Context, key string, maxBytes int64) ([]byte, error)
	GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error)
}

// Log is what a check needs of a metadata log.
type Log interface {
	metadata.Log
	Inspect(ctx context.Context, all bool, v metadata.Visitor) (*metadata.Inspection, error)
	WithInline(store objectstore.Store) objectstore.Store
}

// openLog returns the log of a store: the one that was given, or the one that lies in it.
func (o Options) openLog(store bucketlog.Store, ids func() [16]byte) (Log, error) {
	if o.Log != nil {
		return o.Log, nil
	}
	return bucketlog.New(store, bucketlog.Config{Prefix: o.LogPrefix, ReadAhead: o.ReadAhead}, ids, o.Logger)
}

// readOnly makes an objectstore.Store of a Store, for parts that ask for one: it refuses to write.
type readOnly struct{ Store }

var errReadOnly = errors.New("fsck: a check does not write")

// Create implements objectstore.Store.
func (readOnly) Create(context.Context, string, []byte) (time.Time, error) {
	return time.Time{}, errReadOnly
}

// Put implements objectstore.Store.
func (readOnly) Put(context.Context, string, []byte) error { return errReadOnly }

// Delete implements objectstore.Store.
func (readOnly) Delete(context.Context, ...string) error { return errReadOnly }

// Check holds the store against its log and returns what is wrong. It writes nothing. Errors: the store's, ctx's; damage of whatever
// kind is no error. Not safe for concurrent use of one Options.Progress; otherwise calls are independent.
func Check(ctx context.Context, store Store, o Options) (Report, error) {
	c, err := newChecker(store, o)
	if err != nil {
		return Report{}, err
	}
	if err := c.run(ctx); err != nil {
		return c.report, fmt.Errorf("check: %w", err)
	}
	return c.report, nil
}

// checker is one check under way.
type checker struct {
	o      Options
	store  objectstore.Store
	log    Log
	view   *metadata.View
	refs   *references // what view refers to
	report Report
	seen   map[string]bool // findings by id
	// unsound is set when a snapshot holds another state than the entries give: no View can be trusted.
	unsound bool
	began   uint64 // end of the log when the references were first looked at
	// leftovers are objects that go by themselves, at most Options.MaxFindings of them.
	leftovers []string
}

func newChecker(store Store, o Options) (*checker, error) {
	o = o.withDefaults()
	if o.Now == nil {
		return nil, errors.New("fsck: Options.Now is needed")
	}
	ro := readOnly{store}
	log, err := o.openLog(ro, func() [16]byte { return [16]byte{} })
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	return &checker{
		o: o, store: log.WithInline(ro), log: log, view: metadata.NewView(), report: Report{Full: o.Full, Findings: []Finding{}}, seen: map[string]bool{},
	}, nil
}

func (c *checker) run(ctx context.Context) error {
	if err := c.cluster(ctx); err != nil {
		return err
	}
	if err := c.logObjects(ctx); err != nil {
		return err
	}
	if c.unsound {
		// What a wrong state does not know would look like litter.
		c.add(Finding{
			Severity: Error, Kind: NotChecked, Key: c.o.LogPrefix, What: "nothing that the log refers to was checked, because a snapshot of it is wrong",
			Do: "mend the log first, and check again",
		})
		return nil
	}
	if err := c.refresh(ctx); err != nil {
		if !errors.Is(err, metadata.ErrCorrupt) {
			return err
		}
		c.add(Finding{
			Severity: Error, Kind: LogUnusable, Key: c.o.LogPrefix, What: err.Error(),
			Do: "no agent can start from it, and nothing else was checked: bring the missing or damaged objects back from a copy of the store",
		})
		return nil
	}
	c.began = c.view.Applied()
	c.partitions()
	for _, area := range []func(context.Context) error{c.strangers, c.metaArea, c.walArea, c.tablesArea} {
		if err := area(ctx); err != nil {
			return err
		}
	}
	return nil
}

// refresh brings the View, and what it refers to, to the end of the log as it is now.
func (c *checker) refresh(ctx context.Context) error {
	before := c.view.Applied()
	if _, err := metadata.Follow(ctx, c.log, c.view, c.o.Sleep); err != nil {
		return err
	}
	if c.refs == nil || c.view.Applied() != before {
		c.refs = refer(c.view)
	}
	c.report.Next = c.view.Applied()
	return nil
}

// add lists a finding, once.
func (c *checker) add(found ...Finding) {
	for _, f := range found {
		if id := f.id(); c.seen[id] {
			continue
		} else if len(c.seen) < c.o.MaxFindings {
			c.seen[id] = true
		}
		if len(c.report.Findings) >= c.o.MaxFindings {
			c.report.Left++
			continue
		}
		f.Repair = f.fix != (fix{})
		c.report.Findings = append(c.report.Findings, f)
	}
}

// cluster reads cluster.json.
func (c *checker) cluster(ctx context.Context) error {
	c.report.Cluster = c.o.Cluster
	found := Finding{
		Severity: Error, Kind: ClusterFile, Key: metadata.ClusterKey,
		Do: "no agent takes this store: bring the file back, with the cluster's id and format as docs/format/store.md says",
	}
	body, err := c.store.Get(ctx, metadata.ClusterKey, metadata.MaxClusterBytes)
	switch {
	case errors.Is(err, objectstore.ErrNotFound) && c.o.Cluster != "":
		return nil
	case errors.Is(err, objectstore.ErrNotFound):
		found.What = "missing"
	case errors.Is(err, objectstore.ErrTooLarge):
		found.What = err.Error()
	case err != nil:
		return err
	default:
		cluster, err := metadata.ParseCluster(body)
		switch {
		case err != nil:
			found.What = err.Error()
		case c.o.Cluster != "" && cluster.ID != c.o.Cluster:
			found.What = fmt.Sprintf("the store is of the cluster %q, not of %q", cluster.ID, c.o.Cluster)
			found.Do = "name the right store"
		default:
			c.report.Cluster = cluster.ID
			return nil
		}
	}
	c.add(found)
	return nil
}

const listPage = 1000

// each lists the objects under prefix that come after the key after, until yield returns false.
func (c *checker) each(ctx context.Context, prefix, after string, yield func(objectstore.Object) bool) error {
	for {
		page, err := c.store.List(ctx, prefix, after, listPage)
		if err != nil {
			return fmt.Errorf("list %q: %w", prefix, err)
		}
		for _, o := range page {
			if after = o.Key; !yield(o) {
				return nil
			}
		}
		if len(page) < listPage {
			return nil
		}
	}
}

// exists tells whether there is an object under key, and its size.
func (c *checker) exists(ctx context.Context, key string) (size int64, ok bool, err error) {
	page, err := c.store.List(ctx, key, "", 1)
	if err != nil {
		return 0, false, fmt.Errorf("look for %s: %w", key, err)
	}
	if len(page) == 0 || page[0].Key != key {
		return 0, false, nil
	}
	return page[0].Size, true, nil
}

// damage tells an object that is not what it should be from a store that does not answer.
func damage(err error) bool {
	for _, target := range []error{objectstore.ErrNotFound, objectstore.ErrTooLarge, metadata.ErrCorrupt} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
