package bucketlog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
)

// world runs several sequencers against one store in one goroutine: each is a coroutine that gives control away at
// every store call, and a seeded scheduler picks who goes on. Creates may be lost, answered with an error though they
// took effect, or take effect long after; days may pass between two calls of a paused sequencer.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	clock   *clock
	store   *objectstore.Memory
	limbo   []func()          // creates that will still land
	entries map[uint64]string // what anybody has been told slot n holds
	digests map[uint64]hash   // state as of slot n
	last    uint64            // highest acknowledged slot
	acks    int
	fenced  int
	cuts    int
}

// yielding is one sequencer's way to the store.
type yielding struct {
	w     *world
	yield func(struct{}) bool
}

// dead ends a coroutine whose world is over.
type dead struct{}

func (y *yielding) pause() {
	if !y.yield(struct{}{}) {
		panic(dead{})
	}
}

func (y *yielding) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	y.pause()
	w := y.w
	switch w.rng.IntN(12) {
	case 0:
		return time.Time{}, errReset
	case 1:
		w.limbo = append(w.limbo, func() { _, _ = w.store.Create(ctx, key, body) })
		return time.Time{}, errReset
	case 2:
		_, _ = w.store.Create(ctx, key, body)
		return time.Time{}, errReset
	case 3: // a decorator repeated it and met its own effect
		_, _ = w.store.Create(ctx, key, body)
		return w.store.Create(ctx, key, body)
	}
	at, err := w.store.Create(ctx, key, body)
	y.pause()
	return at, err
}

func (y *yielding) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	y.pause()
	return y.w.store.Get(ctx, key, maxBytes)
}

func (y *yielding) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	y.pause()
	return y.w.store.GetRange(ctx, key, pos, length)
}

func (y *yielding) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	y.pause()
	return y.w.store.List(ctx, prefix, after, limit)
}

// Delete deletes one by one, so that others act in between.
func (y *yielding) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		y.pause()
		if err := y.w.store.Delete(ctx, key); err != nil {
			return err
		}
		y.w.cuts++
	}
	return nil
}

// saw holds what one sequencer learnt about a slot against what all others did.
func (w *world) saw(seq uint64, what string) {
	if held, ok := w.entries[seq]; ok && held != what {
		w.t.Fatalf("slot %d was %q and is %q", seq, held, what)
	}
	w.entries[seq] = what
}

func (w *world) state(seq uint64, d hash) {
	if held, ok := w.digests[seq]; ok && held != d {
		w.t.Fatalf("two states as of slot %d", seq)
	}
	w.digests[seq] = d
}

// sequencer is one agent's life: acquire, replay, append, checkpoint, truncate, until fenced; then again.
func (w *world) sequencer(name int) iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		defer func() {
			if r := recover(); r != nil && r != (dead{}) {
				panic(r)
			}
		}()
		y := &yielding{w: w, yield: yield}
		newID := ids(w.rng.Uint64())
		log, err := New(y, Config{Prefix: "meta/0", ReadAhead: 1}, newID, slog.New(slog.DiscardHandler))
		if err != nil {
			w.t.Fatal(err)
		}
		for round := 0; ; round++ {
			y.pause()
			w.term(log, fmt.Sprintf("%d.%d", name, round), newID)
		}
	}
}

// term lives through one term.
func (w *world) term(log *Log, name string, newID func() [16]byte) {
	ctx := context.Background()
	got, err := log.Acquire(ctx, name, 0)
	if err != nil {
		if errors.Is(err, metadata.ErrCorrupt) {
			w.t.Fatalf("%s: %v", name, err)
		}
		return
	}
	var digest hash
	copy(digest[:], got.Snapshot)
	w.state(got.SnapshotSeq, digest)
	next := got.SnapshotSeq
	step := func(what string) {
		digest = sha256.Sum256(fmt.Appendf(digest[:], "%d %s", next, what))
		next++
		w.state(next, digest)
	}
	for next < got.Next {
		entries, err := log.Read(ctx, next, 100)
		if errors.Is(err, metadata.ErrTruncated) {
			return // paused for days
		}
		if err != nil || len(entries) == 0 {
			w.t.Fatalf("%s: replay at %d of %d: %d entries, %v", name, next, got.Next, len(entries), err)
		}
		for _, e := range entries {
			what := fmt.Sprintf("%d %v %s", e.Term, e.Claim, e.Body)
			w.saw(e.Seq, what)
			if next < got.Next {
				step(what)
			}
		}
	}
	checkpoints := 0
	for range 1 + w.rng.IntN(40) {
		switch w.rng.IntN(8) {
		case 0:
			began := w.last
			if err := log.Confirm(ctx, got.Term, next); err == nil && began >= next {
				w.t.Fatalf("%s: confirmed slot %d though %d was acknowledged before", name, next, began)
			}
		case 1:
			if err := log.Checkpoint(ctx, got.Term, next, digest[:]); err == nil {
				checkpoints++
			}
		case 2:
			if checkpoints > 0 {
				_ = log.Truncate(ctx, got.Term, next)
			}
		default:
			body := fmt.Sprintf("%s slot %d", name, next)
			if !w.append(log, got.Term, next, newID(), body) {
				return
			}
			step(fmt.Sprintf("%d %v %s", got.Term, false, body))
		}
	}
}

// append repeats one append until it is settled; false when the term is over.
func (w *world) append(log *Log, term, seq uint64, id [16]byte, body string) bool {
	for {
		err := log.Append(context.Background(), term, seq, id, []byte(body))
		switch {
		case err == nil:
			w.saw(seq, fmt.Sprintf("%d %v %s", term, false, body))
			w.last = max(w.last, seq)
			w.acks++
			return true
		case errors.Is(err, metadata.ErrFenced):
			w.fenced++
			return false
		case !errors.Is(err, metadata.ErrUnknown):
			w.t.Fatalf("append %d: %v", seq, err)
		}
	}
}

// run lets the world turn for some steps and then reads the log once more from outside.
func (w *world) run(sequencers, steps int) {
	type actor struct {
		next func() (struct{}, bool)
		stop func()
	}
	var actors []actor
	for i := range sequencers {
		next, stop := iter.Pull(w.sequencer(i))
		actors = append(actors, actor{next, stop})
		defer stop()
	}
	favorite, awake := 0, sequencers
	for range steps {
		switch w.rng.IntN(100) {
		case 0:
			w.clock.move(25 * time.Hour)
		case 1, 2:
			w.clock.move(20 * time.Second)
		case 3, 4:
			favorite = w.rng.IntN(sequencers)
		case 5:
			awake = 1 + w.rng.IntN(sequencers) // the others are paused, for days perhaps
		case 6, 7:
			if n := len(w.limbo); n > 0 {
				i := w.rng.IntN(n)
				w.limbo[i]()
				w.limbo[i], w.limbo = w.limbo[n-1], w.limbo[:n-1]
			}
		}
		at := (favorite + w.rng.IntN(awake)) % sequencers
		if w.rng.IntN(3) > 0 {
			at = favorite
		}
		actors[at].next()
	}
	log := open(w.t, w.store, 999)
	got, err := log.Acquire(context.Background(), "judge", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if got.Next <= w.last {
		w.t.Fatalf("slot %d was acknowledged, the log ends at %d", w.last, got.Next)
	}
	var digest hash
	copy(digest[:], got.Snapshot)
	w.state(got.SnapshotSeq, digest)
	entries, err := log.Read(context.Background(), got.SnapshotSeq, 1<<30)
	if err != nil || uint64(len(entries)) != got.Next-got.SnapshotSeq {
		w.t.Fatalf("read from %d to %d: %d entries, %v", got.SnapshotSeq, got.Next, len(entries), err)
	}
	for _, e := range entries {
		w.saw(e.Seq, fmt.Sprintf("%d %v %s", e.Term, e.Claim, e.Body))
	}
}

func TestSequencersThatFailAndPauseNeverDisagree(t *testing.T) {
	seeds, steps := uint64(150), 2500
	if testing.Short() {
		seeds = 20
	}
	var acks, fenced, cuts int
	for seed := range seeds {
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), clock: newClock(), entries: map[uint64]string{}, digests: map[uint64]hash{}}
		w.store = objectstore.NewMemory(w.clock.now)
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			w.t = t
			w.run(4, steps)
		})
		acks, fenced, cuts = acks+w.acks, fenced+w.fenced, cuts+w.cuts
	}
	t.Logf("%d appends acknowledged, %d fenced, %d objects deleted", acks, fenced, cuts)
	if acks == 0 || fenced == 0 || cuts == 0 {
		t.Fatal("the worlds were too quiet to show anything")
	}
}
