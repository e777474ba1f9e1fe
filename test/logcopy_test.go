//go:build realworld

package test

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	root "github.com/bargedata/barge"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/pglog/pgtest"
	"github.com/bargedata/barge/objectstore"
)

var errCut = errors.New("cut off")

// cut is a store that fails at one call and ever after, as for a process that dies there; the call itself has its effect or not.
type cut struct {
	objectstore.Store

	left   int
	effect bool
	die    context.CancelFunc
}

func (c *cut) call() (effect bool, err error) {
	c.left--
	switch {
	case c.left > 0:
		return true, nil
	case c.left == 0:
		c.die()
		return c.effect, errCut
	}
	return false, errCut
}

func (c *cut) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	effect, err := c.call()
	if effect {
		at, own := c.Store.Create(ctx, key, body)
		return at, errors.Join(own, err)
	}
	return time.Time{}, err
}

func (c *cut) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	if _, err := c.call(); err != nil {
		return nil, err
	}
	return c.Store.Get(ctx, key, maxBytes)
}

func (c *cut) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	if _, err := c.call(); err != nil {
		return nil, err
	}
	return c.Store.List(ctx, prefix, after, limit)
}

func randomID() (id [16]byte) {
	_, _ = crand.Read(id[:])
	return id
}

func random() string { id := randomID(); return hex.EncodeToString(id[:]) }

// work runs a sequencer on a log that does a little, and ends it; it returns the state's bytes.
func work(t *testing.T, cfg root.LogConfig, topic string) []byte {
	t.Helper()
	log, err := root.OpenLog(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	view := metadata.NewView()
	s := metadata.NewSequencer(metadata.SequencerConfig{Owner: "work"}, log, view, cfg.Now, cfg.IDs, cfg.Logger)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if topic != "" {
		if _, err := s.Do(t.Context(), metadata.CreateTopic{ID: randomID(), Name: topic, Partitions: 3}); err != nil {
			t.Fatal(err)
		}
	} else {
		<-s.Ready()
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	_, encode := view.Freeze()
	return encode()
}

// TestCopyOfALogCanBeRunAgainAfterAnyStep: whatever request to the store it dies at, the cluster goes on at the old place, or at none until
// the copy is run again; and then all of it is at the new one.
func TestCopyOfALogCanBeRunAgainAfterAnyStep(t *testing.T) {
	server := pgtest.Start(t)
	for _, way := range []string{"to PostgreSQL", "to the bucket"} {
		t.Run(way, func(t *testing.T) {
			dead := false
			outcomes := map[string]int{}
			for step := 1; !dead; step++ {
				for _, effect := range []bool{false, true} {
					died, outcome := copyAndDie(t, server, way == "to the bucket", step, effect)
					outcomes[outcome]++
					dead = dead || !died
				}
				if step > 500 {
					t.Fatal("a copy takes more than 500 requests")
				}
			}
			t.Logf("%v", outcomes)
			if outcomes["old place"] == 0 || outcomes["no place"] == 0 || outcomes["new place"] == 0 {
				t.Errorf("not every outcome came up: %v", outcomes)
			}
		})
	}
}

func copyAndDie(t *testing.T, server *pgtest.Server, back bool, step int, effect bool) (died bool, outcome string) {
	t.Helper()
	store := objectstore.NewMemory(time.Now)
	base := root.LogConfig{
		Metadata: "bucket", Store: store, Cluster: random(), Create: true, IDs: randomID, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	there := base
	there.Metadata = server.URL()
	if back {
		base, there = there, base
	}
	work(t, base, "before")
	copies := root.CopyConfig{
		From: base.Metadata, To: there.Metadata, Store: store, Bare: store, Cluster: base.Cluster, IDs: randomID, Now: time.Now, Logger: base.Logger,
	}
	if back {
		// The race of the probe is not what is tested, and does not come in a fixed order.
		if _, err := store.Create(t.Context(), "meta/probed-bucketlog", []byte("passed\n")); err != nil {
			t.Fatal(err)
		}
	}
	dying := copies
	ctx, die := context.WithCancel(t.Context())
	defer die()
	c := &cut{Store: store, left: step, effect: effect, die: die}
	dying.Store = c
	_, err := root.CopyLog(ctx, dying)
	died = c.left <= 0
	if died != (err != nil) {
		t.Fatalf("step %d: died %v, and the copy says %v", step, died, err)
	}

	oldErr, newErr := open(t, base), open(t, there)
	want := ""
	switch {
	case oldErr == nil && errors.Is(newErr, root.ErrLogPlace):
		outcome, want = "old place", "between"
		work(t, base, want)
	case errors.Is(oldErr, metadata.ErrMoved) && errors.Is(newErr, root.ErrLogPlace):
		outcome = "no place"
	case errors.Is(oldErr, root.ErrLogPlace) && newErr == nil:
		outcome = "new place"
	default:
		t.Fatalf("step %d (effect %v, %v): at the old place %v, at the new one %v", step, effect, err, oldErr, newErr)
	}
	again, err := root.CopyLog(t.Context(), copies)
	if err != nil || again.Already != (outcome == "new place") {
		t.Fatalf("step %d: again: %+v, %v", step, again, err)
	}
	if err := open(t, base); !errors.Is(err, root.ErrLogPlace) {
		t.Fatalf("step %d: after all, at the old place: %v", step, err)
	}
	work(t, there, "after")
	for _, topic := range []string{"before", want, "after"} {
		if topic != "" && !hasTopic(t, there, topic) {
			t.Fatalf("step %d: %q is lost", step, topic)
		}
	}
	return died, outcome
}

// open tells whether an agent could start.
func open(t *testing.T, cfg root.LogConfig) error {
	t.Helper()
	cfg.Create = false
	log, err := root.OpenLog(t.Context(), cfg)
	if err != nil {
		return err
	}
	defer log.Close()
	_, err = metadata.Follow(t.Context(), log, metadata.NewView(), pause)
	return err
}

func hasTopic(t *testing.T, cfg root.LogConfig, topic string) bool {
	t.Helper()
	log, err := root.OpenLog(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	view := metadata.NewView()
	if _, err := metadata.Follow(t.Context(), log, view, pause); err != nil {
		t.Fatal(err)
	}
	_, ok := view.Topic(topic)
	return ok
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("pause: %w", ctx.Err())
	}
}
